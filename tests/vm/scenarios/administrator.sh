# shellcheck shell=bash disable=SC2317 # functions are called by check
# The walkthrough from its first word: a daemon that serves nothing, a shell into which the administrator types, an
# initiator that logs in with what was typed, a file system, and a target that dies and comes back by what was saved.
iqn=$IQN:sample
check "the scenarios' target ends" host term
check "a daemon with nothing to serve" host administrator_start
none() { ! iscsiadm -m discovery -t sendtargets -p "$HOST_IP" >/tmp/found 2>&1; }
check "nothing is to be discovered" none
check "what is typed is answered as the story has it" host administrator_types

# Nobody has restarted or reloaded anything.
found() { iscsiadm -m discovery -t sendtargets -p "$HOST_IP" | tee /tmp/found | grep -qxF "$V4,1 $iqn"; }
check "the target is discovered" found
refused() {
	local rc=0
	iscsiadm -m node -T "$iqn" --login >/tmp/login.log 2>&1 || rc=$?
	[ "$rc" = 24 ] || {
		cat /tmp/login.log
		echo "status $rc"
		return 1
	}
}
check "nobody without the secret gets in" refused
default_chap sample-user supersecret
fresh() { iscsiadm -m node -o delete && found; }
check "iscsid.conf says the secret" fresh
log_in() {
	local n
	iscsiadm -m node -T "$iqn" --login || return
	for ((n = 0; n < 200; n++)); do
		DEV=$(session_disk "$iqn" "$HOST_IP") && [ -b "$DEV" ] && break
		sleep 0.05
	done
	udevadm settle --timeout=60 || : # not all of it is about this disk
}
check "who knows it gets in" log_in
check "the disk has 10 GiB" [ "$(lsblk -bdno SIZE "$DEV")" = 10737418240 ]
sessions() { [[ $(host administrator_sessions) == *"name: $IQN:sample-initiator (authenticated)"*"mapped-lun: 0 backstore: block/sample-bs mode: rw"* ]]; }
check "the shell tells who is logged in" sessions
mkfs.ext4 "$DEV" >/tmp/mkfs.log 2>&1 || { cat /tmp/mkfs.log && false; }
check "mkfs.ext4 makes 2621440 blocks of 4 KiB" grep -q 2621440 /tmp/mkfs.log
udevadm settle --timeout=30
mkdir -p /mnt/iscsi
echo "UUID=$(lsblk -dno UUID "$DEV")  /mnt/iscsi  ext4  defaults,noatime,_netdev  0  2" >/etc/fstab
check "mount -a" mount -a
check "it is mounted" mountpoint /mnt/iscsi
for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/iscsi/big$i bs=1M count=4 status=none; done
sync
(cd /mnt/iscsi && sha256sum big?) >/tmp/sums
same() { echo 3 >/proc/sys/vm/drop_caches && (cd /mnt/iscsi && sha256sum --quiet -c /tmp/sums); }

check "the target is killed" host kill9
check "and starts from what was saved" host administrator_start
check "every byte is there, under the same mount" same
check "more can be written" dd if=/dev/urandom of=/mnt/iscsi/more bs=1M count=4 conv=fsync status=none
# A change while it is mounted: another disk comes, and goes.
check "a disk is added by a command" host administrator_adds
soon() {
	local n
	for ((n = 0; n < 100; n++)); do
		"$@" && return
		sleep 0.1
	done
	return 1
}
more() { MORE=$(compgen -G "/sys/class/scsi_device/*:5") && compgen -G "$MORE/device/block/s*" >/dev/null; }
check "it is there by itself" soon more
udevadm settle --timeout=60 || :
check "and goes by another" host administrator_takes
echo 1 >"$MORE/device/delete"
check "whoever used the other saw nothing" same

# Both sides start again.
umount /mnt/iscsi
check "logout" iscsiadm -m node -T "$iqn" --logout
check "the target stops" host term
check "it starts again" host administrator_start
check "login again" log_in
check "mount -a again" mount -a
check "every byte is there" same
umount /mnt/iscsi
check "the file system is sound" e2fsck -fn "$DEV"
: >/etc/fstab
iscsiadm -m node -T "$iqn" --logout >/dev/null
sed -i '/^node.session.auth/d' /etc/iscsi/iscsid.conf
check "no I/O error on the way" quiet_kernel
host term
host administrator_end
check "the scenarios' target is back" host start
