# shellcheck shell=bash
# The walkthrough: what an administrator does from discovery to a mounted file system that survives.
iqn=$IQN:sample

found() { iscsiadm -m discovery -t sendtargets -p "$1" | tee /tmp/found | grep -qxF "$2"; }
check "discovery over IPv6" found "$V6" "$V6,1 $iqn"
iscsiadm -m node -o delete
check "discovery over IPv4" found "$V4" "$V4,1 $iqn"
check "discovery lists every target once" [ "$(sort -u /tmp/found | wc -l)" = "$(wc -l </tmp/found)" ]

refused() { # login ends with 24: "authorization failure"
	local rc=0
	node "$iqn" "$V4" --login >/tmp/login.log 2>&1 || rc=$?
	[ "$rc" = 24 ] || {
		cat /tmp/login.log
		echo "status $rc"
		return 1
	}
}
check "no secret is refused" refused
# The story's way: the daemon's own file, read when nodes are discovered.
sed -i '/^node.session.auth/d' /etc/iscsi/iscsid.conf
cat >>/etc/iscsi/iscsid.conf <<-CONF
	node.session.auth.authmethod = CHAP
	node.session.auth.username = sample-user
	node.session.auth.password = not-the-secret
CONF
iscsiadm -m node -o delete
iscsiadm -m discovery -t sendtargets -p "$HOST_IP" >/dev/null
check "a wrong secret is refused" refused
set_node "$iqn" "$V4" node.session.auth.username someone-else node.session.auth.password supersecret
check "a wrong user is refused" refused
sed -i 's/not-the-secret/supersecret/' /etc/iscsi/iscsid.conf
iscsiadm -m node -o delete
iscsiadm -m discovery -t sendtargets -p "$HOST_IP" >/dev/null
check "one-way CHAP login" iscsiadm -m node -T "$iqn" --login
login_again() { # the disk of the session that is there
	local n
	for ((n = 0; n < 200; n++)); do
		DEV=$(session_disk "$iqn" "$HOST_IP") && [ -b "$DEV" ] && break
		sleep 0.05
	done
	udevadm settle --timeout=30
}
login_again

check "lsblk shows 10 GiB" [ "$(lsblk -bdno SIZE "$DEV")" = 10737418240 ]
lsblk -S -o NAME,VENDOR,MODEL,SERIAL,TRAN "$DEV"
check "the disk has a stable name" ls -l /dev/disk/by-id/scsi-*
mkfs.ext4 "$DEV" >/tmp/mkfs.log 2>&1 || { cat /tmp/mkfs.log && false; }
check "mkfs.ext4 makes 2621440 blocks of 4 KiB" grep -q 2621440 /tmp/mkfs.log
udevadm settle --timeout=30
uuid=$(lsblk -dno UUID "$DEV")
check "lsblk knows the file system" [ "$(lsblk -dno FSTYPE "$DEV"):${#uuid}" = ext4:36 ]
mkdir -p /mnt/iscsi
echo "UUID=$uuid  /mnt/iscsi  ext4  defaults,noatime,_netdev  0  2" >/etc/fstab
check "mount -a" mount -a
check "it is mounted" mountpoint /mnt/iscsi
for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/iscsi/big$i bs=1M count=6 status=none; done
for i in $(seq 100); do
	mkdir -p "/mnt/iscsi/d$((i % 7))"
	head -c "$((i * 97))" /dev/urandom >"/mnt/iscsi/d$((i % 7))/f$i"
done
(cd /mnt/iscsi && find . -type f -exec sha256sum {} +) >/tmp/sums
check "104 files written" [ "$(wc -l </tmp/sums)" = 104 ]
sync
umount /mnt/iscsi
check "logout" iscsiadm -m node -T "$iqn" --logout
check "login again" iscsiadm -m node -T "$iqn" --login
login_again
check "mount -a again" mount -a
same() { (cd /mnt/iscsi && sha256sum --quiet -c /tmp/sums); }
check "every byte is there" same
umount /mnt/iscsi
check "the file system is sound" e2fsck -fn "$DEV"
: >/etc/fstab
logout "$iqn" "$V4"
sed -i '/^node.session.auth/d' /etc/iscsi/iscsid.conf
check "no I/O error on the way" quiet_kernel
