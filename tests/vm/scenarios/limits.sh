# shellcheck shell=bash disable=SC2317 # functions are called by check
# What the kernel makes of a unit's limits, and what it does with them: discard, zeroes, and what is refused.
iqn=$IQN:thin
check "login" login "$iqn" "$V4"
queue=/sys/block/${DEV#/dev/}/queue
is() { # is FILE VALUE: of the queue
	[ "$(cat "$queue/$1")" = "$2" ] || { echo "$1 is $(cat "$queue/$1")" && return 1; }
}
at_least() { [ "$(cat "$queue/$1")" -ge "$2" ] || { echo "$1 is $(cat "$queue/$1")" && return 1; }; }
check "blocks: logical 512, physical and least 4096, best 256 KiB" each "is logical_block_size 512" \
	"is physical_block_size 4096" "is minimum_io_size 4096" "is optimal_io_size 262144"
check "32 MiB (but a block) go in one command" at_least max_hw_sectors_kb 32767
check "discard: by 4 KiB, up to 512 MiB" each "is discard_granularity 4096" "is discard_max_hw_bytes $((512 << 20))"
check "zeroes without data: at least 32 MiB" at_least write_zeroes_max_bytes $((32 << 20))
check "a cache that is written back" is write_cache "write back"
check "FUA" is fua 1
check "nothing rotates, and there are no zones" each "is rotational 0" "is zoned none"
sd=$(echo "$queue"/../device/scsi_disk/*)
provisioned() { [ "$(cat "$sd/thin_provisioning"):$(cat "$sd/provisioning_mode")" = 1:unmap ] || { head "$sd"/*prov* && return 1; }; }
check "thin, by UNMAP" provisioned

# --- what is there before, between and behind stays ---
MIB=$((1 << 20))
fill() { head -c $((12 * MIB)) /dev/urandom >/tmp/fill && dd if=/tmp/fill of="$DEV" bs=1M oflag=direct conv=notrunc status=none; }
# holes OFFSET LENGTH: the disk has /tmp/fill but zeroes there.
holes() {
	dd if=/dev/zero of=/tmp/fill bs=64k seek=$(($1 / 65536)) count=$(($2 / 65536)) conv=notrunc status=none
	dd if="$DEV" bs=1M count=12 iflag=direct status=none | cmp - /tmp/fill
}
held() { host allocated thin; }
check "12 MiB are written" fill
before=$(held)
check "blkdiscard of 2 MiB" blkdiscard -o $((2 * MIB)) -l $((2 * MIB)) "$DEV"
check "they read as zeroes, and nothing else does" holes $((2 * MIB)) $((2 * MIB))
check "the host's file gave them back" [ $((before - $(held))) -ge $((2 * MIB)) ]
check "blkdiscard -z of 3 MiB" blkdiscard -z -o $((5 * MIB)) -l $((3 * MIB)) "$DEV"
check "they read as zeroes, and nothing else does" holes $((5 * MIB)) $((3 * MIB))
check "fallocate punches a hole of 64 KiB" fallocate -p -o $((10 * MIB)) -l 65536 "$DEV"
check "it reads as zeroes, and nothing else does" holes $((10 * MIB)) 65536
check "fallocate zeroes 64 KiB" fallocate -z -o $((11 * MIB)) -l 65536 "$DEV"
check "they read as zeroes, and nothing else does" holes $((11 * MIB)) 65536

# --- what is refused ---
refuses() { # refuses WORDS COMMAND...: it fails with those words
	local words=$1
	shift
	! "$@" >/tmp/refused 2>&1 || { echo "it did not fail" && return 1; }
	grep -qiE "$words" /tmp/refused || { cat /tmp/refused && return 1; }
}
check "blkzone report is refused" refuses 'zone' blkzone report "$DEV"
check "blkzone reset is refused" refuses 'zone' blkzone reset "$DEV"
check "secure discard is refused" refuses 'not supported' blkdiscard -s -o 0 -l 65536 "$DEV"
logout "$iqn" "$V4"

iqn=$IQN:thick
check "login to a thick disk" login "$iqn" "$V4"
queue=/sys/block/${DEV#/dev/}/queue
check "it offers no discard" is discard_max_bytes 0
check "blkdiscard is refused" refuses 'not supported' blkdiscard -o 0 -l 65536 "$DEV"
check "zeroes are written all the same" each fill "blkdiscard -z -o 65536 -l 65536 $DEV" "holes 65536 65536"
check "they keep their space" [ "$(host allocated thick)" -ge $((64 * MIB)) ]
logout "$iqn" "$V4"

# Atomic writes: kernels know of them from 6.11 on.
iqn=$IQN:void
check "login to a disk that writes atomically" login "$iqn" "$V4"
queue=/sys/block/${DEV#/dev/}/queue
atomic() { # one write of 64 KiB, RWF_ATOMIC
	python3 - "$DEV" <<-'PY'
		import mmap, os, sys
		disk = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
		sys.exit(os.pwritev(disk, [mmap.mmap(-1, 65536)], 65536, 0x40) != 65536)
	PY
}
case $KERNEL_RELEASE in
6.1.*) check "this kernel knows nothing of that" [ ! -e "$queue/atomic_write_max_bytes" ] ;;
*)
	head "$queue"/atomic_write_*
	check "the limits are known: 64 KiB at least in one piece" at_least atomic_write_unit_max_bytes 65536
	check "one is written" atomic
	;;
esac
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
