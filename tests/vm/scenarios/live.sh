# shellcheck shell=bash disable=SC2317 # functions are called by check
# A LUN comes while another of the same session is in use: it is there by itself, goes, and comes again with what it
# held; whoever uses the other one sees nothing of it.
iqn=$IQN:io
check "login" login "$iqn" "$V4"
kernel_mark
fio --name=beside --filename="$DEV" --direct=1 --ioengine=libaio --rw=randwrite --bs=4k --iodepth=8 --size=32m \
	--verify=crc32c --verify_fatal=1 --loops=1000 --time_based --runtime=6 --eta=never --output=/tmp/beside.log &
beside=$!
soon() { # soon COMMAND...: within ten seconds
	local n
	for ((n = 0; n < 100; n++)); do
		"$@" && return
		sleep 0.1
	done
	return 1
}
there() {
	local d
	for d in /sys/class/scsi_device/*:7/device/block/s*; do
		[ -b "/dev/${d##*/}" ] && NEW=/dev/${d##*/} && return
	done
	return 1
}
check "a LUN comes by a reload" host live_reload 7
check "it is there, and nobody has asked for a scan" soon there
head -c 4M /dev/urandom >/tmp/content
check "it takes data" dd if=/tmp/content of="$NEW" bs=1M oflag=direct
check "it goes by ringtgt apply" host live_apply
silent() { ! dd if="$NEW" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; }
check "it serves nothing any more" soon silent
echo 1 >"/sys/class/block/${NEW##*/}/device/delete"
check "it comes again" host live_reload 7
check "it is there" soon there
check "what was on it is on it" cmp -n $((4 << 20)) /tmp/content "$NEW"
check "it goes again" host live_apply
check "whoever used the other one saw nothing" wait "$beside" || cat /tmp/beside.log
clean() { ! dmesg | grep -E "(I/O error, dev|Medium Error.*|Aborted Command.*)${DEV##*/}"; }
check "the kernel neither" clean
logout "$iqn" "$V4"
