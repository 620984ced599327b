# shellcheck shell=bash disable=SC2317 # functions are called by check
# NVMe, worked on in every way that there is: by direct I/O, and polled. Each serves the same namespace to this machine's own
# initiator; what each has written is then on the device, and zero where it was discarded.
# namespace BYTES: the one with such blocks; they are numbered in the order in which they are found
namespace() { grep -lx "$1" /sys/block/nvme0n*/queue/logical_block_size | sed 's,/sys/block/\([^/]*\)/.*,/dev/\1,'; }
nvme() { # nvme N: the driver anew, with so many queues to be polled; waits for the namespaces, and sets disk
	local n driver=/sys/bus/pci/drivers/nvme controller
	modprobe nvme # many kernels have it built in
	controller=$(cd $driver && echo 0000:*)
	echo "$1" >/sys/module/nvme/parameters/poll_queues
	echo "$controller" >$driver/unbind
	echo "$controller" >$driver/bind
	for ((n = 0; n < 100; n++)); do
		[ ! -b /dev/nvme0n2 ] || { udevadm settle --timeout=30 && disk=$(namespace 512) && return; }
		sleep 0.1
	done
	return 1
}
configured() { # configured WAY DEVICE: how the daemon is to work on it
	config "nvme=block:$2" | sed "/^path = /a io = \"$1\"" >/tmp/ringtgt.toml
}
interrupts() { awk '/nvme0q[1-9]/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts; }
# reads COUNT: so many of 4 KiB through the target, one after the other, so that none ends by another's interrupt
reads() { fio --name=reads --filename="$DEV" --direct=1 --ioengine=libaio --rw=randread --bs=4k --size=16m --io_size="$(($1 * 4))k" --iodepth=1 --output=/tmp/fio.log --eta=never; }
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
	local way=$1 dev=$2 sizes=$3
	disk=$dev
	target_begin
	check "$way: the target is ready" target_ready
	check "$way: it alone has the device" taken "$dev"
	check "$way: login" login "$iqn" "$V4"
	check "$way: checked writes of mixed sizes" fio_verify "$DEV" --rw=randwrite --bssplit="$sizes" --size=12m --iodepth=16
	write() { dd if=/tmp/sample of="$DEV" bs=3M seek=8 oflag=direct conv=fsync,notrunc status=none; }
	flush() {
		local before
		before=$(flushes)
		write && sg_sync "$DEV" && { [ "$way" = passthrough ] || [ "$(flushes)" -gt "$before" ]; }
	}
	check "$way: a write in one piece, and a flush of the device" flush
	check "$way: it is read back" marked "$DEV" 24
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
	[ "$way" != direct ] || check "$way: each read ends by an interrupt" interrupted -ge 900
	if [ "$way" = polled ]; then
		check "$way: reads end without interrupts" interrupted -lt 300
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
for way in direct polled; do
	configured $way "$disk"
	served $way "$disk" "$MIXED"
	check "$way: no warning" eval "! grep -E 'WARN|ERROR' /tmp/target.log"
done
check "no I/O error on the way" quiet_kernel
