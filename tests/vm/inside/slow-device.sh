# shellcheck shell=bash
# The daemon is killed while writes of it are on their way into a slow device, another is started at once, and
# the same blocks are written anew: what was written last stands, whenever the old writes land.
iqn=$IQN:slow
# overtaken WAY DEVICE: worked on in that way
overtaken() {
	local way=$1 device=$2 old early
	config "slow=block:$device" | sed "/^path = /a io = \"$way\"" >/tmp/ringtgt.toml
	chmod 600 /tmp/ringtgt.toml
	target_begin
	check "$way: the target is ready" target_ready
	# When its target is gone, the initiator is made to forget what it would send once more.
	check "$way: login" login "$iqn" "$V4"
	# 12 writes of 64 KiB, all under way at once; QEMU lets no more than 16 into the device at a time, and later ones
	# need a place, too. Not merged by anybody, so that they stay 12.
	echo 2 >"/sys/block/${device#/dev/}/queue/nomerges"
	put() { # put BYTE: writes it to all of the blocks
		echo 2 >"/sys/block/${DEV#/dev/}/queue/nomerges"
		fio --name=put --filename="$DEV" --direct=1 --ioengine=libaio --rw=write --buffer_pattern="$1" \
			--bs=64k --size=768k --iodepth=12 --eta=never --output=/tmp/put.log
	}
	holds() { # holds BYTE: all of the blocks do, on the medium itself
		local others
		others=$(dd if="$device" bs=64k count=12 iflag=direct status=none | tr -d "\\$(printf %o "$1")" | wc -c)
		[ "$others" -eq 0 ] || { echo "$others bytes are others" && return 1; }
	}
	writes() { # writes N: within a minute or so that many are on their way
		local n
		for ((n = 0; n < 100; n++)); do
			[ "$(host writes)" -ne "$1" ] || return 0
			sleep 0.2
		done
		echo "there are $(host writes)"
		return 1
	}
	check "$way: the blocks are written first" put 0x11
	check "$way: they are on the medium" holds 0x11

	host hold
	put 0x22 2>/dev/null &
	old=$!
	check "$way: 12 writes are in the device" writes 12
	host pass # what is written from now on overtakes them
	kill -KILL "$TARGET_PID"
	target_begin
	node "$iqn" "$V4" --logout >/dev/null || : # without waiting for udev, which waits for an answer from the disk
	wait $old || : # with an error: nobody has answered
	refuses() { # for 5 s nobody gets in, while it waits for the dead one's writes (30 s at most: so no longer)
		local t=$SECONDS
		while [ $((SECONDS - t)) -lt 5 ]; do
			kill -0 "$TARGET_PID" || return
			! grep -qx ready /tmp/target.log || { echo "it serves, and 12 old writes have still to land" && return 1; }
			sleep 0.2
		done
	}
	early=''
	check "$way: the new daemon serves nobody while old writes are in the device" refuses || early=1
	[ -n "$early" ] || host release
	check "$way: the new daemon gets ready" target_ready
	check "$way: login to it" login "$iqn" "$V4"
	check "$way: the same blocks are written anew" put 0x33
	[ -z "$early" ] || host release
	check "$way: all old writes have landed" writes 0
	check "$way: what was written last is on the medium" holds 0x33
	logout "$iqn" "$V4"
	check "$way: the target ends on SIGTERM with status 0" target_end TERM
}
overtaken direct "/dev/$(grep -lx slow /sys/block/vd*/serial | cut -d/ -f4)"
# Commands go around the block device, and it is held all the same until they have ended. It is the third of its kind.
modprobe nvme
for ((n = 0; n < 100; n++)); do
	slow=$(grep -lx 3 /sys/block/nvme*/nsid | cut -d/ -f4) && [ -b "/dev/$slow" ] && break
	sleep 0.1
done
check "a slow disk of NVMe" [ -b "/dev/$slow" ]
overtaken passthrough "/dev/$slow"
as_configured() { ! grep 'as io = "direct"' /tmp/target.log; }
case $(uname -r) in
6.1.*) check "passthrough: direct, for this kernel does not tell truly how commands end" grep 'only Linux 6.12' /tmp/target.log ;;
*) check "passthrough: that was by commands" as_configured ;;
esac
