# shellcheck shell=bash disable=SC2317 # functions are called by check
# An image as a disc in a drive: the kernel's CD driver reads an ISO 9660 file system from it, is told when it is ejected
# and loaded, and cannot write it.
modprobe -a sr_mod isofs
iqn=$IQN:disc
check "login" login "$iqn" "$V4"
name=${DEV#/dev/}
sg=/dev/$(ls "/sys/block/$name/device/scsi_generic")
is_drive() { [[ $DEV == /dev/sr* ]] && [ "$(cat "/sys/block/$name/device/type")" = 5 ]; }
check "a CD or DVD drive" is_drive
check "blocks of 2048 bytes" [ "$(blockdev --getss "$DEV")" = 2048 ]
check "the size is that of the image" [ "$(blockdev --getsize64 "$DEV")" = "$(host size_of disc.iso)" ]
udevadm settle --timeout=60

# --- what is on it ---
same() { [ "$(dd if="$DEV" bs=64k iflag=direct status=none | sha256sum)" = "$(host sum_of disc.iso)" ]; }
check "every byte is that of the image" same
check "mount" mount -t iso9660 -o ro "$DEV" /mnt
files() { (cd /mnt && [ "$(wc -l <sums)" = 3 ] && sha256sum --quiet -c sums); }
check "every file is what was put into it" files
no_file() { ! touch /mnt/new 2>/dev/null; }
check "no file can be made" no_file
umount /mnt
label() { [ "$(blkid -p -s LABEL -o value "$DEV")" = RINGTGT ]; }
check "blkid knows its label" label

# --- nobody writes it ---
ends() { # ends STATUS COMMAND...: see sg3_utils(8): 2 NOT READY, 5 ILLEGAL REQUEST, 9 INVALID COMMAND OPERATION CODE
	local rc=0
	"${@:2}" >/tmp/said 2>&1 || rc=$?
	[ "$rc" = "$1" ] || { echo "$*: status $rc" && cat /tmp/said && return 1; }
}
no_write() { ! dd if=/dev/zero of="$DEV" bs=2048 count=1 status=none 2>/dev/null; }
check "the kernel does not write" no_write
head -c 2048 /dev/zero >/tmp/block
by_hand() { ends 9 sg_raw -s 2048 -i /tmp/block "$sg" 2a 00 00 00 00 00 00 00 01 00; }
check "WRITE(10) by hand: INVALID COMMAND OPERATION CODE" by_hand

# --- the drive ---
profile() { sg_get_config --current "$sg" >/tmp/said && grep -q 'CD-ROM' /tmp/said && grep -q 'Random Readable' /tmp/said -i; }
check "GET CONFIGURATION: the features of a CD-ROM" profile
modes() { sg_modes -p 0x2a "$sg" >/tmp/said && grep -qi 'MM capabilities' /tmp/said; }
check "MODE SENSE: the capabilities page" modes
toc() { sg_raw -r 20 -o /tmp/toc "$sg" 43 00 00 00 00 00 00 00 14 00 && [ "$(od -An -tx1 -j 4 -N 4 /tmp/toc)" = " 00 14 01 00" ]; }
check "READ TOC: one track of data" toc
# What looks at new discs (udev) keeps them in while it does: it must have ended, and let go.
free() { udevadm settle --timeout=60 && sg_prevent --allow "$sg"; }
keep() { free && sg_prevent --prevent=1 "$sg" && ends 5 sg_start --eject "$sg" && sg_turs "$sg"; }
check "kept in, it is not ejected" keep
eject() { free && sg_start --eject "$sg" && ends 2 sg_turs "$sg" && ends 2 sg_raw -r 2048 "$sg" 28 00 00 00 00 00 00 00 01 00; }
check "ejected, it is not there" eject
look() { dd if="$DEV" of=/dev/null bs=2048 count=1 status=none 2>/dev/null; }
nothing() { echo 0 >/proc/sys/dev/cdrom/autoclose && ! look; }
check "and the kernel finds none" nothing
closed() { echo 1 >/proc/sys/dev/cdrom/autoclose && look && sg_turs "$sg" && eject; }
check "unless it may close the tray itself" closed
load() { sg_start --load "$sg" && { sg_turs "$sg" || sg_turs "$sg"; } && udevadm settle --timeout=60; }
check "loaded, it is there" load
check "mount again" mount -t iso9660 -o ro "$DEV" /mnt
check "every file is there" files
umount /mnt
logout "$iqn" "$V4"
