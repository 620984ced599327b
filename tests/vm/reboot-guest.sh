# shellcheck shell=bash disable=SC2317 # functions are called by check
# reboot-guest.sh once|again - in the guest, under its systemd: what an administrator does once, and what is there when
# the machine has started again (see reboot).
set -euo pipefail
SCENARIO=reboot
# shellcheck source=tests/vm/initiator.sh
. /lab/job/initiator.sh
iqn=$IQN:sample

once() {
	initiator_up
	sed -i 's/^node.startup.*/node.startup = automatic/' /etc/iscsi/iscsid.conf
	default_chap sample-user supersecret
	check "the target is discovered" iscsiadm -m discovery -t sendtargets -p "$HOST_IP"
	check "login" login "$iqn" "$V4"
	check "mkfs.ext4" mkfs.ext4 -q "$DEV"
	udevadm settle --timeout=30
	mkdir -p /mnt/iscsi
	echo "UUID=$(lsblk -dno UUID "$DEV")  /mnt/iscsi  ext4  defaults,noatime,_netdev  0  2" >/etc/fstab
	systemctl daemon-reload
	check "mount -a" mount -a
	for i in 1 2 3 4; do head -c 4M /dev/urandom >/mnt/iscsi/big$i; done
	(cd /mnt/iscsi && sha256sum big?) >/root/sums
	cat /proc/sys/kernel/random/boot_id >/root/boot
	# As Debian's installer and the package's scripts have it.
	check "the services are enabled" systemctl enable iscsid.service open-iscsi.service
	check "file systems of the network belong to what is started" systemctl add-wants default.target remote-fs.target
}

mounted() {
	local n
	for ((n = 0; n < 300; n++)); do
		! mountpoint -q /mnt/iscsi || return 0
		sleep 0.2
	done
	systemctl --no-pager status iscsid open-iscsi mnt-iscsi.mount
	return 1
}
again() {
	check "it is another start" [ "$(cat /proc/sys/kernel/random/boot_id)" != "$(cat /root/boot)" ]
	check "the file system is mounted by itself" mounted
	check "by systemd, from fstab" systemctl is-active mnt-iscsi.mount
	logged_in() { iscsiadm -m session | grep -F "$iqn"; }
	check "with a session that nobody has asked for" logged_in
	same() { (cd /mnt/iscsi && sha256sum --quiet -c /root/sums); }
	check "every byte is there" same
	sound() { # the kernel names the device before what it says of it
		local dev
		dev=$(basename "$(findmnt -no SOURCE /mnt/iscsi)")
		[ -n "$dev" ] && ! dmesg | grep -E "EXT4-fs \($dev\).*(recovery|unchecked)|EXT4-fs error \(device $dev\)"
	}
	check "it was unmounted before the network went" sound
	check "more can be written" dd if=/dev/urandom of=/mnt/iscsi/more bs=1M count=4 conv=fsync status=none
	check "no I/O error on the way" quiet_kernel
}
"$1"
echo END
