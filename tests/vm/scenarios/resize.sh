# shellcheck shell=bash disable=SC2317 # functions are called by check
# The disk grows and shrinks on the host, under a mounted file system: the kernel is told, and sees it on a rescan,
# without logging out.
iqn=$IQN:elastic
check "login" login "$iqn" "$V4"
size() { [ "$(blockdev --getsize64 "$DEV")" = $(($1 << 20)) ] || { blockdev --getsize64 "$DEV" && return 1; }; }
check "64 MiB" size 64
port() { ss -tnH dst "$HOST_IP" | awk '{ print $4 }'; } # of the session's connection, on this side
connection=$(port)
mkfs.ext4 -q -F "$DEV"
check "mount" mount "$DEV" /mnt
dd if=/dev/urandom of=/mnt/kept bs=1M count=8 status=none
sum=$(sha256sum </mnt/kept)
# The attention comes with the answer to whatever is asked next.
told() { # told TIMES: so often the kernel has been told, for a minute or so at most
	local n
	for ((n = 0; n < 150; n++)); do
		sg_turs "$DEV" >/dev/null 2>&1 || :
		[ "$(dmesg | grep -ci 'capacity data has changed')" -lt "$1" ] || return 0
		sleep 0.2
	done
	dmesg | tail -n 3
	return 1
}
rescan() { iscsiadm -m node -T "$iqn" -p "$V4" -R; }
check "the disk grows" host resize elastic 96M
check "the kernel is told: capacity data has changed" told 1
check "it still has the old size" size 64
check "rescan" rescan
check "96 MiB" size 96
check "nobody had to connect anew" [ "$(port)" = "$connection" ]
check "the file system grows while it is mounted" resize2fs "$DEV"
check "it is larger by far" [ "$(df -k --output=size /mnt | tail -n 1)" -gt 80000 ]
more() { dd if=/dev/urandom of=/mnt/more bs=1M count=60 status=none && sync && sync -f /mnt; }
check "it takes what would not have fitted" more
check "what was there is there" [ "$(sha256sum </mnt/kept)" = "$sum" ]
umount /mnt
check "the file system is sound" e2fsck -fn "$DEV"
check "the disk shrinks" host resize elastic 32M
check "the kernel is told again" told 2
beyond() { ! sg_raw -r 512 "$DEV" 28 0 0 1 0 0 0 0 1 0 >/tmp/sense 2>&1 && grep -qi 'out of range' /tmp/sense; } # at 32 MiB
check "a read behind the new end: LBA OUT OF RANGE" beyond
check "rescan" rescan
check "32 MiB" size 32
check "still the same connection" [ "$(port)" = "$connection" ]
logout "$iqn" "$V4"
