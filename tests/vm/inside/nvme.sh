# shellcheck shell=bash disable=SC2317 # functions are called by check
# NVMe, worked on in every way that there is: by direct I/O, polled, and by commands. Each serves the same namespace to this
# machine's own initiator; what each has written is then on the device, and zero where it was discarded.
namespace() { # namespace SERIAL ID: the one of that controller; they are named in the order in which they are found
	local disk
	for disk in /sys/block/nvme*n*; do
		if grep -q "^$1 *$" "$disk/device/serial" && grep -qx "$2" "$disk/nsid" && [ -b "/dev/${disk##*/}" ]; then
			echo "/dev/${disk##*/}"
			return
		fi
	done
	return 1
}
nvme() { # nvme N: the driver anew, with so many queues to be polled; waits for the namespaces, and sets disk
	local n driver=/sys/bus/pci/drivers/nvme controller
	modprobe nvme # many kernels have it built in
	echo "$1" >/sys/module/nvme/parameters/poll_queues
	for controller in $(cd $driver && echo 0000:*); do
		echo "$controller" >$driver/unbind
		echo "$controller" >$driver/bind
	done
	for ((n = 0; n < 100; n++)); do
		namespace nvme 2 && namespace forgetful 4 && udevadm settle --timeout=30 && disk=$(namespace nvme 1) && return
		sleep 0.1
	done
	return 1
}
generic() { echo "${1/nvme/ng}"; }
configured() { # configured WAY DEVICE: how the daemon is to work on it, which has seen none by that name before
	rm -rf /tmp/state
	config "nvme=block:$2" | sed "/^path = /a io = \"$1\"" >/tmp/ringtgt.toml
}
interrupts() { awk '/nvme[0-9]q[1-9]/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts; }
# reads COUNT: so many of 4 KiB through the target, one after the other, so that none ends by another's interrupt
reads() { fio --name=reads --filename="$DEV" --direct=1 --ioengine=libaio --rw=randread --bs=4k --size=16m --io_size="$(($1 * 4))k" --iodepth=1 --output=/tmp/fio.log --eta=never; }
# requests that the block layer has made of the device: reads, writes, discards, flushes
requests() { awk '{ print $1, $5, $12, $16 }' "/sys/block/${disk#/dev/}/stat"; }
flushes() { awk '{ print $16 }' "/sys/block/${disk#/dev/}/stat"; }
taken() { # nobody else gets it
	python3 - "$1" <<-'PY'
	import errno, os, sys
	try:
	    os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)
	except OSError as e:
	    sys.exit(e.errno != errno.EBUSY)
	sys.exit("it could be opened")
	PY
}
blank() { cmp -i "$(($2 << 20)):0" -n "$(($3 << 20))" "$1" /dev/zero; } # blank DEVICE AT LENGTH, MiB
marked() { # marked DEVICE AT: the sample is there, MiB
	dd if="$1" bs=1M skip="$2" count=3 iflag=direct status=none | cmp - /tmp/sample
}
head -c 3M /dev/urandom >/tmp/sample
iqn=$IQN:nvme

# served WAY DEVICE SIZES: everything that an initiator does to a disk
served() {
	local way=$1 dev=$2 sizes=$3 before
	disk=$dev
	target_begin
	check "$way: the target is ready" target_ready
	check "$way: it alone has the device" taken "$dev"
	check "$way: login" login "$iqn" "$V4"
	udevadm settle --timeout=60
	before=$(requests)
	check "$way: checked writes of mixed sizes" fio_verify "$DEV" --rw=randwrite --bssplit="$sizes" --size=12m --iodepth=16
	write() { dd if=/tmp/sample of="$DEV" bs=3M seek=8 oflag=direct conv=fsync,notrunc status=none; }
	flush() {
		local before
		before=$(flushes)
		write && sg_sync "$DEV" && { [ "$way" = passthrough ] || [ "$(flushes)" -gt "$before" ]; }
	}
	check "$way: a write in one piece, and a flush of the device" flush
	check "$way: it is read back" marked "$DEV" 24
	around_it() { # the block layer has made no request of the device
		echo "$before, and $(requests)"
		[ "$before" = "$(requests)" ]
	}
	[ "$way" != passthrough ] || check "$way: all that went around the block layer" around_it
	fill() { dd if=/dev/urandom of="$DEV" bs=1M seek=32 count=16 oflag=direct conv=notrunc status=none; }
	check "$way: blocks are filled" fill
	check "$way: some are discarded" blkdiscard -o 32M -l 4M "$DEV"
	check "$way: and read as zeroes" blank "$DEV" 32 4
	check "$way: some are zeroed" blkdiscard -z -o 40M -l 3M "$DEV"
	check "$way: and read as zeroes" blank "$DEV" 40 3
	around() { ! blank "$DEV" 36 1 && ! blank "$DEV" 39 1 && ! blank "$DEV" 43 1; }
	check "$way: those around are as they were" around
	interrupted() { # interrupted TEST COUNT: how many interrupts 1000 reads take
		local before after
		udevadm settle --timeout=60
		before=$(interrupts)
		reads 1000
		after=$(interrupts)
		echo "$((after - before)) interrupts"
		test $((after - before)) "$1" "$2"
	}
	if [ "$way" = polled ]; then
		check "$way: reads end without interrupts" interrupted -lt 300
	else
		check "$way: each read ends by an interrupt" interrupted -ge 900
	fi
	if [ "$way" != direct ]; then
		idle() { # clock ticks of the daemon in 2 s
			local before after
			before=$(awk '{ print $14 + $15 }' "/proc/$TARGET_PID/stat")
			sleep 2
			after=$(awk '{ print $14 + $15 }' "/proc/$TARGET_PID/stat")
			echo "$((after - before)) ticks"
			[ $((after - before)) -lt 20 ]
		}
		check "$way: nothing is polled while nothing is in flight" idle
	fi
	logout "$iqn" "$V4"
	check "$way: the target ends on SIGTERM with status 0" target_end TERM
	check "$way: the device has what was written" marked "$dev" 24
	check "$way: and zeroes where it was discarded" blank "$dev" 32 4
}

check "the devices" nvme 0
configured polled "$disk"
target_begin
check "polled: without poll queues it is served all the same" target_ready
check "polled: and the remedy is told" grep -q 'options nvme poll_queues=' /tmp/target.log
check "polled: the target ends" target_end TERM
check "the devices, with queues to be polled" nvme 2
check "they can be polled" grep -qx 1 "/sys/block/${disk#/dev/}/queue/io_poll"
quiet() { ! grep -E 'WARN|ERROR' /tmp/target.log; }
for way in direct polled passthrough; do
	configured $way "$disk"
	served $way "$disk" "$MIXED"
	check "$way: no warning" quiet
done

wide=$(namespace nvme 2)
configured passthrough "$(generic "$wide")"
served passthrough "$wide" 4k/40:8k/10:64k/20:128k/10:256k/10:1m/10
check "passthrough: no warning with blocks of 4096 bytes, by the generic node" quiet

# Where zeroing is not to be had, space is given back by Dataset Management.
disk=$(namespace forgetful 1)
configured passthrough "$disk"
target_begin
check "passthrough: a target that discards" target_ready
check "passthrough: login" login "$iqn" "$V4"
fill() { dd if=/dev/urandom of="$DEV" bs=1M seek=8 count=16 oflag=direct conv=notrunc status=none; }
check "passthrough: blocks are filled" fill
udevadm settle --timeout=60
before=$(requests)
check "passthrough: some are discarded" blkdiscard -o 8M -l 12M "$DEV"
forgotten() { [ "$before" = "$(requests)" ] && blank "$disk" 8 12 && ! blank "$disk" 20 1; }
check "passthrough: the device has done that, and no more, without the block layer" forgotten
trimmed() {
	local before after
	mkfs.ext4 -q -F -E nodiscard "$DEV" && mount "$DEV" /mnt || return
	head -c 16M /dev/urandom >/mnt/file && sync && before=$(host allocated) && rm /mnt/file && sync || return
	fstrim -v /mnt && umount /mnt && after=$(host allocated) || return
	echo "$before KiB, then $after"
	[ $((before - after)) -ge 10000 ]
}
check "passthrough: fstrim gives the space of a file back" trimmed
crash() { kill -KILL "$TARGET_PID" && target_begin && target_ready; }
check "passthrough: it is killed and another takes over under checked writes" busy "$DEV" crash
logout "$iqn" "$V4"
check "passthrough: the target ends on SIGTERM with status 0" target_end TERM
check "passthrough: no warning" quiet

# What it must not be used for is refused, with the reason.
refused() { # refused DEVICE REASON: it is not served, and the log says why
	configured passthrough "$1"
	target_begin
	target_ready && target_end TERM && grep -F "$2" /tmp/target.log
}
check "passthrough: metadata are refused" refused "$(namespace forgetful 2)" "8 bytes of metadata beside each block, with protection information"
check "passthrough: other disks are refused" refused /dev/ram0 "is no NVMe namespace"
check "no I/O error on the way" quiet_kernel

# What the device says of itself is what the initiator is told.
configured passthrough "$(namespace forgetful 4)"
target_begin
check "passthrough: a target of a sick disk" target_ready
check "passthrough: login" login "$iqn" "$V4"
read_at() { sg_raw -r 4096 "$DEV" 28 00 00 00 "$1" 00 00 00 08 00 >/tmp/sense 2>&1; } # 8 blocks at 0xXX00
fails() { ! read_at "$1" && cat /tmp/sense && grep -qi "sense key: $2" /tmp/sense; }
check "passthrough: a block that cannot be read is a medium error" fails 90 "medium error"
check "passthrough: others are read" read_at 10
fio --name=load --filename="$DEV" --direct=1 --ioengine=libaio --rw=randwrite --bs=4k --iodepth=32 --time_based --runtime=60 \
	--eta=never --output=/tmp/load.log &
load=$!
sleep 2
check "passthrough: I/O is under way" kill -0 $load
controller=$(grep -l '^forgetful' /sys/class/nvme/nvme*/serial)
basename "$(readlink -f "${controller%/serial}/device")" >/sys/bus/pci/drivers/nvme/unbind
ends() { # within 30 s, by itself, and with an error
	local n
	for ((n = 0; n < 150; n++)); do
		kill -0 $load 2>/dev/null || break
		sleep 0.2
	done
	! wait $load && [ "$n" -lt 150 ]
}
check "passthrough: I/O to a device that vanishes ends with an error" ends
# It may be told first that something else stands there now.
is_not_ready() { fails 10 "not ready" || fails 10 "not ready"; }
check "passthrough: it is not ready any more" is_not_ready
logout "$iqn" "$V4"
gone() { # its last flush may fail
	local rc=0
	target_end TERM || rc=$?
	[ $rc -le 1 ] && ! grep -i panicked /tmp/target.log
}
check "passthrough: the target ends on SIGTERM" gone
