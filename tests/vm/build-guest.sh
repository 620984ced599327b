#!/usr/bin/env bash
# build-guest.sh - make the kernel, initramfs and root image that run-guest.sh boots.
#
#   [LAB_CACHE=DIR] [KERNEL=cloud-amd64] tests/vm/build-guest.sh
#
# Everything comes from the machine's own apt sources (Debian 12); nothing is
# installed, the .debs are only downloaded and unpacked. Re-runnable: a step
# whose inputs did not change is skipped. Result in $LAB_CACHE
# (default ~/.cache/ringtgt-lab):
#
#   debs/                 the guest's packages          (about  85 MB)
#   kernel-$KERNEL/       vmlinux (ELF, for QEMU's PVH boot), initrd.cpio, release
#   rootfs.ext4           the guest's root, no kernel parts (run-guest.sh opens it
#                         with snapshot=on, so no run ever changes it)
#
# KERNEL names a Debian meta package less its "linux-image-":
#   cloud-amd64 (6.1, default) | amd64 | 6.12-cloud-amd64 | 6.12-amd64
set -euo pipefail

: "${LAB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/ringtgt-lab}"
: "${KERNEL:=cloud-amd64}"

# What the guest has. One list, so that the stamp below covers it.
GUEST_PACKAGES=(
  bash coreutils dash sed grep tar gzip findutils diffutils procps util-linux mount kmod udev iproute2 busybox-static
  systemd open-iscsi sg3-utils dmsetup multipath-tools kpartx e2fsprogs xfsprogs fio
  base-files base-passwd libc-bin mawk python3-minimal tgt python3-rtslib-fb tcpdump strace)

# Modules that must be in the initramfs: those that find and mount the root disk.
BOOT_MODULES="virtio_pci virtio_blk crc32c_generic ext4"
# Modules the guest can load later; each with all that it depends on.
GUEST_MODULES="
  virtio_net virtio_rng loop brd null_blk scsi_debug ublk_drv xfs crc32c-intel
  sd_mod sr_mod isofs sg virtio_scsi scsi_transport_iscsi libiscsi libiscsi_tcp iscsi_tcp
  dm-mod dm-multipath dm-round-robin dm-service-time dm-queue-length scsi_dh_alua dm-flakey dm-delay
  configfs target_core_mod target_core_file target_core_iblock target_core_pscsi target_core_user
  iscsi_target_mod tcm_loop
  veth dummy bridge sch_netem sch_tbf sch_fq tun
  nvme nvme-tcp nvmet nvmet-tcp"

say() { printf 'build-guest: %s\n' "$*" >&2; }
PATH=$PATH:/usr/sbin:/sbin # where mke2fs is, for those who are not root
# What only root can do to files is done in a user namespace by others.
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(unshare --map-root-user)
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null && return
	[ "$(id -u)" -eq 0 ] || { say "missing: $2 (Debian package; installed here when root)"; exit 1; }
	say "installing $2 (for $1)"
	apt-get install -y --no-install-recommends "$2" >&2
}
need qemu-system-x86_64 qemu-system-x86
need cpio cpio
need mke2fs e2fsprogs
need zstd zstd
need lz4 lz4
need xz xz-utils
need modprobe kmod

self_sum=$(sha256sum <"${BASH_SOURCE[0]}")        # a changed recipe makes everything anew
mkdir -p "$LAB_CACHE"/{debs,none}/partial
cd "$LAB_CACHE"; LAB_CACHE=$PWD
apt_as_root=(-qq -o APT::Sandbox::User=root)
exec 9>.lock; flock 9              # two builds in one cache wait for each other

# --- kernel -----------------------------------------------------------------
# Prints the uncompressed kernel held in a bzImage. QEMU can start such an ELF
# directly (PVH note), which spares the guest the unpacking.
extract_vmlinux() { # extract_vmlinux BZIMAGE OUT
	python3 - "$1" "$2" <<-'PY'
	import re, subprocess, sys
	data = open(sys.argv[1], 'rb').read()
	for magic, cmd in ((b'\x28\xb5\x2f\xfd', ['zstd', '-dcq']), (b'\x02\x21\x4c\x18', ['lz4', '-dcq']),
	                   (b'\xfd7zXZ\x00', ['xz', '-dcq', '--single-stream']), (b'\x1f\x8b\x08', ['gzip', '-dcq'])):
	    for m in re.finditer(re.escape(magic), data):
	        elf = subprocess.run(cmd, input=data[m.start():], capture_output=True).stdout
	        if elf[:4] == b'\x7fELF':
	            open(sys.argv[2], 'wb').write(elf)
	            sys.exit()
	sys.exit('no kernel found in ' + sys.argv[1])
	PY
}

real=$(apt-cache depends "linux-image-$KERNEL" | sed -n 's/^ *Depends: *//p' | head -1)
[ -n "$real" ] || { say "no package linux-image-$KERNEL: run apt-get update?"; exit 1; }
release=${real#linux-image-}
kdir=$LAB_CACHE/kernel-$KERNEL
kstamp="$release $(apt-cache policy "$real" | sed -n 's/.*Candidate: //p') ${self_sum%% *}"
if [ "$(cat "$kdir/stamp" 2>/dev/null)" != "$kstamp" ]; then
	say "kernel $release"
	rm -rf "$kdir" ktmp; mkdir -p "$kdir" ktmp/deb ktmp/root
	(cd ktmp/deb && apt-get "${apt_as_root[@]}" download "$real" >&2)
	dpkg-deb -x ktmp/deb/*.deb ktmp/root
	extract_vmlinux "ktmp/root/boot/vmlinuz-$release" "$kdir/vmlinux"
	cp "ktmp/root/boot/config-$release" "$kdir/config"
	depmod -b ktmp/root "$release"
	# The wanted modules, each with its dependencies; one not there is only noted.
	mkdir -p "$kdir/modules/lib/modules/$release"
	for m in $BOOT_MODULES $GUEST_MODULES; do
		modprobe -d ktmp/root -S "$release" -a --show-depends "$m" 2>/dev/null |
			sed -n 's/^insmod \([^ ]*\).*/\1/p' || echo "$m" >>"$kdir/modules.missing"
	done | sort -u | sed "s,.*/lib/modules/,lib/modules/," >ktmp/list
	(cd ktmp/root && xargs cp --parents -t "$kdir/modules" <../list)
	cp ktmp/root/lib/modules/"$release"/modules.{order,builtin,builtin.modinfo} "$kdir/modules/lib/modules/$release/"
	# Debian's 6.12 ships modules as .ko.xz; busybox modprobe takes plain ones.
	find "$kdir/modules" -name '*.ko.xz' -exec xz -d {} +
	depmod -b "$kdir/modules" "$release"
	echo "$release" >"$kdir/release"
	rm -rf ktmp
	[ ! -s "$kdir/modules.missing" ] || say "not in $release: $(tr '\n' ' ' <"$kdir/modules.missing")"
	rm -f "$kdir/initrd.cpio"
fi

# --- initramfs: busybox, all modules, and an init that goes on to the root disk --
# (The modules ride here and not in the root image, so that one root image serves
# every kernel; the init below hands them on.)
if [ ! -e "$kdir/initrd.cpio" ]; then
	busybox=$LAB_CACHE/busybox
	if [ ! -x "$busybox" ]; then
		mkdir -p bbtmp && (cd bbtmp && apt-get "${apt_as_root[@]}" download busybox-static >&2 && dpkg-deb -x ./*.deb . )
		cp bbtmp/bin/busybox "$busybox" 2>/dev/null || cp bbtmp/usr/bin/busybox "$busybox"
		rm -rf bbtmp
	fi
	rm -rf itmp; mkdir -p itmp/{bin,dev,proc,sys,newroot,job}
	cp "$busybox" itmp/bin/busybox; for a in sh mount modprobe cp mkdir switch_root sleep; do ln -s busybox itmp/bin/$a; done
	cp -a "$kdir/modules/lib" itmp/lib
	cat >itmp/init <<-'INIT'
	#!/bin/sh
	mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
	for m in virtio_pci virtio_blk crc32c-intel crc32c_generic ext4; do modprobe $m 2>/dev/null; done
	n=0; while [ ! -b /dev/vda ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done
	mount -t ext4 -o noatime /dev/vda /newroot || { echo 'initrd: no root disk'; /bin/busybox poweroff -f; }
	for d in dev proc sys; do mount --move /$d /newroot/$d; done
	# what must outlive switch_root goes to a tmpfs: the job, and the kernel's modules
	mount -t tmpfs -o mode=755 lab /newroot/lab
	cp -a /job /newroot/lab/job; cp -a /lib/modules /newroot/lab/modules
	mount --bind /newroot/lab/modules /newroot/lib/modules
	exec switch_root /newroot /bin/bash /lab/job/.init
	INIT
	chmod +x itmp/init
	(cd itmp && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible 2>/dev/null) >"$kdir/initrd.tmp"
	mv "$kdir/initrd.tmp" "$kdir/initrd.cpio"; rm -rf itmp
	echo "$kstamp" >"$kdir/stamp"
fi

# --- root image -------------------------------------------------------------
: >empty                          # an empty dpkg status: apt resolves the whole closure
apt_guest=(apt-get -o Dir::State::status="$PWD/empty" -o Debug::NoLocking=1 -o Dir::Cache::archives="$PWD/debs"
	-o APT::Install-Recommends=0 -y "${apt_as_root[@]}")
# (asked with no archives at hand, for --print-uris leaves out what is already there)
"${apt_guest[@]}" -o Dir::Cache::archives="$PWD/none" --print-uris install "${GUEST_PACKAGES[@]}" | awk '{print $2}' | sort >debs.list
rstamp=$({ cat debs.list; echo "${self_sum%% *}"; } | sha256sum)
if [ "$(cat rootfs.stamp 2>/dev/null)" != "$rstamp" ] || [ ! -e rootfs.ext4 ]; then
	say "root image"
	"${apt_guest[@]}" -d install "${GUEST_PACKAGES[@]}" >&2
	rm -rf rtmp; mkdir -p rtmp/usr/{bin,sbin,lib,lib64}
	for d in bin sbin lib lib64; do ln -s usr/$d rtmp/$d; done     # merged /usr, as Debian 12 has it
	# apt keeps "%3a" in the names of .debs whose version has an epoch, as the list has.
	while read -r deb; do
		dpkg-deb --fsys-tarfile "debs/$deb" | tar -x -C rtmp --keep-directory-symlink \
			--exclude=./usr/share/{doc,man,locale,info,lintian,bash-completion} --exclude=./usr/share/icons
	done <debs.list
	# What the packages' own scripts would have done, as far as the guest needs it.
	mkdir -p rtmp/{lab,mnt,usr/lib/modules,etc/target/pr,proc,sys,dev,run,tmp,root,var/lib/iscsi,etc/tgt/conf.d}
	rm -rf rtmp/var/{run,lock}; ln -s /run rtmp/var/run; ln -s /run/lock rtmp/var/lock
	cp rtmp/usr/share/base-passwd/passwd.master rtmp/etc/passwd
	cp rtmp/usr/share/base-passwd/group.master rtmp/etc/group
	for a in mawk gawk; do [ -x rtmp/usr/bin/$a ] && ln -sf $a rtmp/usr/bin/awk; done
	echo 'ringtgt-lab' >rtmp/etc/hostname; echo '127.0.0.1 localhost ringtgt-lab' >rtmp/etc/hosts
	: >rtmp/etc/fstab; : >rtmp/etc/ld.so.cache
	ldconfig -r rtmp
	size=$(( $(du -sm rtmp | cut -f1) * 5 / 4 + 512 ))
	rm -f rootfs.tmp
	# Who made the files owns them: root, in the image.
	${as_root[@]+"${as_root[@]}"} mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d rtmp rootfs.tmp ${size}M
	rm -rf rtmp; mv rootfs.tmp rootfs.ext4; echo "$rstamp" >rootfs.stamp
fi
say "ready: kernel $release in $kdir, root image $LAB_CACHE/rootfs.ext4 ($(du -m rootfs.ext4 | cut -f1) MiB on disk)"
