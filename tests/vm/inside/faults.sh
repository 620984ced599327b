# shellcheck shell=bash
# Devices that fail, are full, or vanish: the initiator is told so in the standard's words, the daemon and its
# other disks go on, and so does the disk itself when the device is well again.
modprobe scsi_debug dev_size_mb=64 max_luns=1 num_tgts=1 add_host=1
udevadm settle
vanishing=$(basename "$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block/sd*)")
SECTORS=131072 # 64 MiB in blocks of 512 bytes
linear() { echo "0 $SECTORS linear /dev/ram1 0"; }
table() { # table FILE: sick gets that table, with I/O under way waiting meanwhile
	dmsetup load sick <"$1" && dmsetup suspend sick && dmsetup resume sick
}
linear | dmsetup create sick
mkfs.ext4 -q -F -m 0 /dev/ram2 # nothing kept back for root, who ringtgt is
mkdir -p /srv/full
mount /dev/ram2 /srv/full

config well=block:/dev/ram0 sick=block:/dev/mapper/sick full=fileio:/srv/full/disk.img:1G \
	"vanishing=block:/dev/$vanishing" >/tmp/ringtgt.toml
chmod 600 /tmp/ringtgt.toml
target_begin
check "the target is ready" target_ready
declare -A disk
for name in well sick full vanishing; do
	login "$IQN:$name" "$V4"
	disk[$name]=$DEV
done

# sense COMMAND...: runs it (one of sg3-utils); what it says of the sense data is in /tmp/sense.
sense() { ! "$@" >/tmp/sense 2>&1; }
told() { # told KEY MEANING
	if ! grep -qi "sense key: $1" /tmp/sense || ! grep -qi "additional sense: $2" /tmp/sense; then
		cat /tmp/sense
		return 1
	fi
}
head -c 4096 /dev/urandom >/tmp/page
# READ(10) and WRITE(10) of 8 blocks at 4096 (0x1000), in the middle of what will fail.
read_there() { sg_raw -r 4096 "$1" 28 00 00 00 10 00 00 00 08 00; }
write_there() { sg_raw -s 4096 -i /tmp/page "$1" 2a 00 00 00 10 00 00 00 08 00; }
alive() {
	kill -0 "$TARGET_PID" && fio_verify "${disk[well]}" --rw=randwrite --bssplit="$MIXED" --size=4m --iodepth=8
}
checked() { fio_verify "$1" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16; }

# --- a part of the device fails ---
sick=${disk[sick]}
check "checked I/O before" checked "$sick"
printf '0 2048 linear /dev/ram1 0\n2048 4096 error\n6144 %d linear /dev/ram1 6144\n' $((SECTORS - 6144)) >/tmp/bad
table /tmp/bad
check "a read of what fails is an error" sense read_there "$sick"
check "its sense is MEDIUM ERROR, unrecovered read error" told "medium error" "unrecovered read error"
check "a write to what fails is an error" sense write_there "$sick"
check "its sense is MEDIUM ERROR, write error" told "medium error" "write error"
check "the rest of the disk works" dd if=/dev/zero of="$sick" bs=64k seek=64 count=16 oflag=direct status=none
check "the other disks work" alive
linear >/tmp/good
table /tmp/good
check "the device is well again: read" read_there "$sick"
check "the device is well again: checked I/O" checked "$sick"

# --- the device fails off and on, under I/O ---
echo "0 $SECTORS flakey /dev/ram1 0 1 1" >/tmp/flakey
table /tmp/flakey
errors=0 n=0
t=$SECONDS
while [ $((SECONDS - t)) -lt 8 ]; do
	n=$((n + 1))
	dd if=/dev/zero of="$sick" bs=4k seek=$((n % 1000)) count=1 oflag=direct status=none 2>/dev/null || errors=$((errors + 1))
done
check "a device that fails off and on: $errors of $n writes failed" [ "$errors" -gt 0 -a "$errors" -lt "$n" ]
table /tmp/good
check "well again: checked I/O" checked "$sick"
check "the daemon has taken no harm" alive

# --- no space ---
full=${disk[full]}
for bs in 64k 4k; do # to the last block
	dd if=/dev/zero of=/srv/full/filler.$bs bs=$bs oflag=direct status=none 2>/dev/null || :
done
check "a write that finds no space is an error" sense write_there "$full"
check "its sense is DATA PROTECT, space allocation failed" told "data protect" "space allocation failed"
rm /srv/full/filler.*
check "with space again it is written" write_there "$full"
check "and read" read_there "$full"

# --- the device vanishes, under I/O ---
gone=${disk[vanishing]}
check "checked I/O before" checked "$gone"
fio --name=load --filename="$gone" --direct=1 --ioengine=libaio --rw=randrw --bs=4k --iodepth=32 --time_based --runtime=30 \
	--eta=never --output=/tmp/load.log &
load=$!
sleep 2
check "I/O is under way" kill -0 $load
echo 1 >"/sys/block/$vanishing/device/delete"
ends() { # within 30 s, by itself, and with an error
	local n
	for ((n = 0; n < 150; n++)); do
		kill -0 $load 2>/dev/null || break
		sleep 0.2
	done
	! wait $load && [ "$n" -lt 150 ]
}
check "I/O to a device that vanishes ends with an error" ends
away() { # away COMMAND: within 15 s it fails with the words that mean that somebody has to do something
	local n
	for ((n = 0; n < 75; n++)); do
		sense "$1" "$gone" || return
		! told "not ready" "logical unit not ready, manual intervention required" >/dev/null || return 0
		sleep 0.2
	done
	cat /tmp/sense && return 1
}
check "a read of it is an error, and its sense NOT READY" away read_there
check "so is a write" away write_there
check "the daemon and the other disks go on" alive

# --- it comes back ---
# back WHAT...: what brings it back; within 20 s the initiator reads it, after 10 s with an administrator's help.
back() {
	local n
	"$@" || return
	for ((n = 0; n < 100; n++)); do
		# While it was away the initiator may have found it to be of no size at all, and nobody but iscsid hears that it
		# is there again.
		[ "$n" -ne 50 ] || echo 1 >"/sys/block/${gone##*/}/device/rescan"
		[ "$(dd if="$gone" bs=4k count=1 iflag=direct status=none 2>/dev/null | wc -c)" != 4096 ] || return 0
		sleep 0.2
	done
	tail /tmp/target.log && return 1
}
found() { # by the name of before, which is free because nobody has it open any more
	local n
	for ((n = 0; n < 100; n++)); do
		[ ! -b "/dev/$vanishing" ] || { udevadm settle --timeout=30 && return; }
		sleep 0.1
	done
	ls /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block && return 1
}
# shellcheck disable=SC2317
rescan() { echo "- - -" >"$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/scsi_host/host*)/scan" && found; }
check "it comes back" back rescan
held() { ! mkfs.ext4 -q -F "/dev/$vanishing"; }
check "it is held as before" held
check "checked I/O after" checked "$gone"
renewed() { # renewed MIB: once nobody has it open any more, another device of that size and of the same name is there
	local n
	echo 1 >"/sys/block/$vanishing/device/delete"
	for ((n = 0; n < 100; n++)); do
		! rmmod scsi_debug 2>/dev/null || break
		sleep 0.1
	done
	modprobe scsi_debug dev_size_mb="$1" max_luns=1 num_tgts=1 add_host=1 && found
}
check "another device comes, by the same name, and smaller" renewed 32
left_alone() { # what is to be typed is in the log, once, and the LUN is not ready
	sleep 6
	away read_there && [ "$(grep -c "/dev/$vanishing is another than before" /tmp/target.log)" = 1 ] &&
		grep -q 'ringtgt apply' /tmp/target.log && ! held
}
check "it is left alone" left_alone
check "the one of before comes back" back renewed 64
check "checked I/O once more" checked "$gone"
check "the daemon and the other disks have taken no harm" alive
dmsetup remove --force sick 2>/dev/null || : # it is in use: all that is left of it is errors
check "so they do when a mapped device is torn away" alive
check "a read of that one is an error" sense read_there "$sick"

for name in well sick full vanishing; do logout "$IQN:$name" "$V4"; done
no_panic() { ! grep -i panicked /tmp/target.log && ! dmesg | grep -E 'BUG:|Oops|blocked for more than'; }
check "nobody has panicked or hung" no_panic
ended() { # its last flush may fail: a device is gone. But it ends, by itself.
	local rc=0
	target_end TERM || rc=$?
	echo "status $rc"
	[ $rc -le 1 ]
}
check "the target ends on SIGTERM" ended
umount /srv/full
dmsetup remove sick
