# shellcheck shell=bash disable=SC2317 # functions are called by check
# Atomic writes on a device: scsi_debug has them from Linux 6.11 on, and so has the kernel for its devices. What it has is
# told to initiators and goes through; where nothing is known of it, WRITE ATOMIC is no command.
generic() { echo "/dev/$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }
afresh() { # another scenario may have left the module loaded
	local n
	for ((n = 0; n < 100; n++)); do
		[ -d /sys/module/scsi_debug ] || break
		rmmod scsi_debug 2>/dev/null || sleep 0.1
	done
	modprobe scsi_debug dev_size_mb=64 lbpu=1 "$@"
}
raw() { # sets raw: the device itself, within 10 s
	local n
	for ((n = 0; n < 100; n++)); do
		raw=$(grep -l scsi_debug /sys/block/sd*/device/model 2>/dev/null | head -1 | cut -d/ -f4)
		[ -z "$raw" ] || { raw=/dev/$raw && udevadm settle --timeout=30 && return; }
		sleep 0.1
	done
	return 1
}
says() { # says REGEX COMMAND...: its output has that
	"${@:2}" >/tmp/said 2>&1 || :
	grep -qE -- "$1" /tmp/said || { echo "${*:2}: without: $1" && cat /tmp/said && return 1; }
}
has() { modinfo scsi_debug | grep -q '^parm: *atomic_wr:'; }
device() {
	if has; then afresh atomic_wr=1 atomic_wr_align=1 atomic_wr_gran=1 atomic_wr_max_length=64; else afresh; fi && raw
}
check "the device" device
limit=$(cat "/sys/block/${raw#/dev/}/queue/atomic_write_unit_max_bytes" 2>/dev/null || echo 0)
config "atomic=block:$raw" >/tmp/ringtgt.toml
target_begin
check "the target is ready" target_ready
iqn=$IQN:atomic
check "login" login "$iqn" "$V4"
one=$DEV sg=$(generic "$DEV")
udevadm settle --timeout=60
head -c 64K /dev/urandom >/tmp/atomic
# write BLOCKS: WRITE ATOMIC(16) of so many blocks from block 32 on
write() { sg_raw -s $(($1 * 512)) -i /tmp/atomic "$sg" 9c 0 0 0 0 0 0 0 0 20 0 0 0 "$(printf %x "$1")" 0 0; }
read_back() { dd if="$raw" bs=512 skip=32 count=16 iflag=direct status=none | cmp -n 8192 - /tmp/atomic; }
if has; then
	known() { [ "$limit" -gt 0 ] && echo "$limit bytes at a time"; }
	check "the kernel writes to it atomically" known
	told() { says "Maximum atomic transfer length: $((limit / 512))( |\$)" sg_vpd -p bl "$sg"; }
	check "the initiator is told how much" told
	offered() { [ "$(cat "/sys/block/${one#/dev/}/queue/atomic_write_unit_max_bytes")" -gt 0 ]; }
	check "its kernel offers that to programs" offered
	check "WRITE ATOMIC(16) goes through" write 16
	check "and is on the device" read_back
	longer() { says 'Illegal [Rr]equest' write $((limit / 512 + 1)); }
	check "one that is longer is refused" longer
	# RWF_ATOMIC, by the initiator's kernel; it takes no other way than WRITE ATOMIC.
	program() {
		python3 - "$one" <<-'PY'
		import os, sys
		memory = bytearray(1 << 20)  # behind 16 bytes of the allocator's, at the start of a page
		page = memoryview(memory)[4080:8176]
		page[:] = b"atomic" * 682 + b"end."
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
		assert os.pwritev(fd, [page], 1 << 20, 0x40) == 4096
		PY
	}
	check "a program writes with RWF_ATOMIC" program
	written() { [ "$(dd if="$raw" bs=4096 skip=256 count=1 iflag=direct status=none | tail -c 10)" = "atomicend." ]; }
	check "and that is on the device, too" written
else
	untold() { [ "$limit" = 0 ] && says 'Maximum atomic transfer length: 0' sg_vpd -p bl "$sg"; }
	check "nothing is known of atomic writes, and nothing is said of them" untold
	check "WRITE ATOMIC(16) is no command" says 'Invalid command operation code' write 16
fi
logout "$iqn" "$V4"
check "the target ends on SIGTERM with status 0" target_end TERM
unload() { # when udev has looked at it for the last time
	local n
	for ((n = 0; n < 100; n++)); do
		! rmmod scsi_debug 2>/dev/null || return 0
		sleep 0.1
	done
	rmmod scsi_debug
}
check "nobody has the device any more" unload
