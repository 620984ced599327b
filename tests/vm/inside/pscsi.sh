# shellcheck shell=bash disable=SC2317 # functions are called by check
# A SCSI device of this machine, the kernel's scsi_debug, passed through to two initiators: its names, data, sense data
# and residuals are its own; what reaches beyond it is refused; what is kept for each initiator is kept by the target.
knobs=/sys/bus/pseudo/drivers/scsi_debug
generic() { echo "/dev/$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }
raw() { # sets raw and raw_sg: the device itself, within 10 s
	local n
	for ((n = 0; n < 100; n++)); do
		raw=$(grep -l scsi_debug /sys/block/sd*/device/model 2>/dev/null | head -1 | cut -d/ -f4)
		[ -z "$raw" ] || { raw=/dev/$raw raw_sg=$(generic "$raw") && udevadm settle --timeout=30 && return; }
		sleep 0.1
	done
	return 1
}
# Another scenario may have left the module loaded, with other settings and no device.
afresh() {
	local n
	for ((n = 0; n < 100; n++)); do
		[ -d /sys/module/scsi_debug ] || break
		rmmod scsi_debug 2>/dev/null || sleep 0.1
	done
	modprobe scsi_debug dev_size_mb=64 lbpu=1
}
check "the device" eval "afresh && raw"
says() { # says REGEX COMMAND...: its output has that
	"${@:2}" >/tmp/said 2>&1 || :
	grep -qE -- "$1" /tmp/said || { echo "${*:2}: without: $1" && cat /tmp/said && return 1; }
}

# --- opening ---
config "debug=pscsi:$raw_sg" >/tmp/ringtgt.toml
cat >>/tmp/ringtgt.toml <<-TOML
	[[target]]
	iqn = "$IQN:read-only"
	[[target.tpg]]
	tag = 1
	portals = ["127.0.0.1:3260"]
	[[target.tpg.lun]]
	lun = 0
	backstore = "debug"
	read_only = true
	[[target.tpg.acl]]
	initiator = "$IQN:sample-initiator"
TOML
chmod 600 /tmp/ringtgt.toml
busy_device() {
	mkfs.ext4 -q "$raw" && mount "$raw" /mnt || return
	timeout 20 ringtgt serve --config /tmp/ringtgt.toml --state-dir /tmp/state >/tmp/said 2>&1 && return 1
	umount /mnt || return
	grep -q mounted /tmp/said || { cat /tmp/said && return 1; }
}
check "a device that is mounted is not passed through" busy_device
sg_inq "$raw_sg" | grep -E 'identification|revision|Unit serial' >/tmp/names
sg_vpd -p di_lu "$raw_sg" >/tmp/di
target_begin
check "the target is ready" target_ready
iqn=$IQN:debug
check "login" login "$iqn" "$V4"
one=$DEV sg=$(generic "$DEV")
check "another initiator" another_initiator
IFACE=other check "login of the other" login "$iqn" "$V4"
other_sg=$(generic "$DEV")

# --- what it is ---
names() { sg_inq "$sg" | grep -E 'identification|revision|Unit serial' | diff /tmp/names -; }
check "vendor, product, revision and serial number are the device's" names
designators() { sg_vpd -p di_lu "$sg" | diff /tmp/di -; }
check "so are the names of the logical unit" designators
check "the names of the port are ours" says "$iqn,t,0x0001" sg_vpd -p di "$sg"
check "third-party copy is not offered" says '3PC=0' sg_inq "$sg"
check "no transfer is longer than a slot" says 'Maximum transfer length: 512 blocks' sg_vpd -p bl "$sg"
longest() { [ "$(cat "/sys/block/${one#/dev/}/queue/max_sectors_kb")" -le 256 ]; }
check "and the kernel has heard it" longest
check "which commands it has" says 'Write\(10\)' sg_opcodes "$sg"
copy_is_hidden() { ! sg_opcodes "$sg" | grep -i 'copy'; }
check "and which not" copy_is_hidden

# --- data ---
head -c 8M /dev/urandom >/tmp/data
files() {
	mkfs.ext4 -q "$one" && mount "$one" /mnt && cp /tmp/data /mnt && umount /mnt && mount "$one" /mnt || return
	cmp /tmp/data /mnt/data && umount /mnt
}
check "a file system on it" files
checked() { fio_verify "$one" --rw=randwrite --bssplit="$MIXED" --size=8m --offset=32m --iodepth=16; }
check "checked writes of mixed sizes" checked
on_device() { dd if="$one" bs=1M skip=32 count=8 iflag=direct status=none | cmp - <(dd if="$raw" bs=1M skip=32 count=8 iflag=direct status=none); }
check "and they are on the device" on_device

# --- status, sense data, residual ---
# alike COMMAND...: sg_raw says the same of the device and of the LUN, and fails.
alike() {
	sg_raw -r 512 "$raw_sg" "$@" >/tmp/raw 2>&1 && return 1
	sg_raw -r 512 "$sg" "$@" >/tmp/said 2>&1 && return 1
	diff /tmp/raw /tmp/said && grep -q 'Sense key' /tmp/said
}
bad_block() { # bad_block REGEX: what the device says of one, has that, too
	echo 2 >$knobs/opts && alike 28 0 0 0 0x12 0x34 0 0 1 0 && grep -q 'Unrecovered read error' /tmp/said || return
	grep -qiE "$1" /tmp/said
}
check "an error of the medium, with its block, in fixed format" eval "bad_block '1234|4660' || { cat /tmp/said && false; }"
echo 1 >$knobs/dsense
check "in descriptor format" eval "bad_block 'descriptor format' || { cat /tmp/said && false; }"
echo 0 >$knobs/dsense
echo 0 >$knobs/opts
check "a block beyond the end" alike 28 0 0xff 0xff 0xff 0xff 0 0 1 0
check "a page that is not there" alike 12 1 0xee 0 0xff 0
check "less data than was asked for is told" says 'Received 36 bytes' sg_raw -r 4096 "$sg" 12 0 0 0 24 0

# --- what is refused ---
refused() { # refused REGEX CDB...: so, and nothing but that
	local want=$1
	shift
	sg_raw -r 512 "$sg" "$@" >/tmp/said 2>&1 && return 1
	grep -q "$want" /tmp/said || { cat /tmp/said && return 1; }
}
opcode='Invalid command operation code' field='Invalid field in cdb'
check "EXTENDED COPY" refused "$opcode" 83 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
check "RECEIVE COPY RESULTS" refused "$opcode" 84 3 0 0 0 0 0 0 0 0 0 0 2 0 0 0
check "ATA PASS-THROUGH" refused "$opcode" 85 8 0x0e 0 0 0 1 0 0 0 0 0 0 0 0xec 0
check "SECURITY PROTOCOL IN" refused "$opcode" a2 0 0 0 0 0 0 0 2 0 0 0
check "a vendor's own" refused "$opcode" c0 0 0 0 0 0 0 0 0 0
check "SET TARGET PORT GROUPS" refused "$field" a4 0x0a 0 0 0 0 0 0 0 0 0 0
check "microcode" refused "$field" 3b 5 0 0 0 0 0 0 0 0
check "a transfer that does not fit" refused "$field" 28 0 0 0 0 0 0 2 1 0

# --- each initiator for itself ---
registered() { sg_persist -o -G -S 0xa "$sg" && sg_persist -o -G -S 0xb "$other_sg" && sg_persist -o -R -K 0xa -T 1 "$sg"; }
check "both register, one reserves (write exclusive)" registered
keys() { says '0xb' sg_persist -i -k "$sg" && grep -q '0xa' /tmp/said; }
check "both keys are there" keys
check "the other may not write" says '[Rr]eservation [Cc]onflict' sg_raw -s 512 -i /tmp/data "$other_sg" 2a 0 0 0 0 0 0 0 1 0
check "but read" sg_raw -r 512 "$other_sg" 28 0 0 0 0 0 0 0 1 0
check "the holder may write" sg_raw -s 512 -i /tmp/data "$sg" 2a 0 0 0 0 0 0 0 1 0
check "the reservation ends" sg_persist -o -C -K 0xa "$sg"
ready() { sg_turs "$1" >/dev/null 2>&1 || sg_turs "$1"; }
check "the other may write again" eval "ready $other_sg; sg_raw -s 512 -i /tmp/data $other_sg 2a 0 0 0 0 0 0 0 1 0"
check "login where it is read-only" login "$IQN:read-only" "$V4"
protected() { [ "$(cat "/sys/block/${DEV#/dev/}/ro")" = 1 ] && says 'Write protected' sg_raw -s 512 -i /tmp/data "$(generic "$DEV")" 2a 0 0 0 0 0 0 0 1 0; }
check "nobody writes there" protected
check "but reads" sg_raw -r 512 "$(generic "$DEV")" 28 0 0 0 0 0 0 0 1 0
logout "$IQN:read-only" "$V4"

# --- a command that the device still has ---
udevadm settle --timeout=60
udevadm control --stop-exec-queue # it would look at the disks after the reset, by many commands
pattern() { head -c 512 /dev/zero | tr '\0' "$1"; }
send() { pattern "$2" >"/tmp/sent.$2" && sg_raw -t 60 -s 512 -i "/tmp/sent.$2" "$1" 2a 0 0 1 0 0 0 0 1 0; }
late() { # each command takes the device some seconds; the first is aborted by a reset, and the next writes the same block
	local started old
	echo "$(($(getconf CLK_TCK) * 12))" >$knobs/delay || return # jiffies: 4.8 s where there are 250 a second
	send "$sg" A >/tmp/old 2>&1 &
	old=$!
	sleep 1
	started=$SECONDS
	sg_reset -d -N "$sg" || return
	[ $((SECONDS - started)) -lt 3 ] || { echo "the reset took $((SECONDS - started)) s" && return 1; }
	! wait $old || { echo "it was not aborted" && return 1; }
	! sg_turs "$other_sg" # who hears of the reset
	send "$other_sg" B || return
	[ $((SECONDS - started)) -gt 6 ] || { echo "it did not wait" && return 1; }
}
check "a write is aborted while the device has it, and another waits for that" late
fast() { # once it has no command
	local n
	for ((n = 0; n < 300; n++)); do
		! (echo 1 >$knobs/delay) 2>/dev/null || return 0
		sleep 0.2
	done
	return 1
}
check "the device is fast again" fast
udevadm control --start-exec-queue
last() { sg_raw -r 512 -o /tmp/got "$sg" 28 0 0 1 0 0 0 0 1 0 && cmp /tmp/got <(pattern B); }
check "what was written last is on the device" eval "ready $sg; last"

logout "$iqn" "$V4"
IFACE=other logout "$iqn" "$V4"
check "the target ends on SIGTERM with status 0" target_end TERM

# --- an adapter with a limit, and a medium that can be taken out ---
narrow() { # sets raw and raw_sg
	local n
	modprobe virtio_scsi
	for ((n = 0; n < 100; n++)); do
		raw=$(grep -l QEMU /sys/block/sd*/device/vendor 2>/dev/null | head -1 | cut -d/ -f4)
		[ -z "$raw" ] || { raw=/dev/$raw raw_sg=$(generic "$raw") && udevadm settle --timeout=30 && return; }
		sleep 0.1
	done
	return 1
}
check "a removable disk behind another adapter" narrow
takes() { [ "$(cat "/sys/block/${raw#/dev/}/queue/max_hw_sectors_kb")" = 120 ]; }
check "which takes 120 KiB at a time" takes
too_long() { ! sg_raw -r 123392 "$raw" 28 0 0 0 0 0 0 0 0xf1 0; }
check "and the kernel sends it no longer command" too_long
config "narrow=pscsi:$raw_sg" >/tmp/ringtgt.toml
target_begin
check "the target is ready for it" target_ready
eject() { sg_raw "$1" 1b 0 0 0 2 0; }
load() { sg_raw "$1" 1b 0 0 0 3 0; }
taken_out() { eject "$raw_sg" && load "$raw_sg"; }
check "it does not keep its medium in by itself" taken_out
check "login" login "$IQN:narrow" "$V4"
one=$DEV sg=$(generic "$DEV")
check "no transfer is longer than the adapter takes" says 'Maximum transfer length: 240 blocks' sg_vpd -p bl "$sg"
heard() { [ "$(cat "/sys/block/${one#/dev/}/queue/max_sectors_kb")" -le 120 ]; }
check "and the initiator's kernel has heard it" heard
check "one that long goes through" says 'Writing 122880 bytes' sg_raw -r 122880 -o /dev/null "$sg" 28 0 0 0 0 0 0 0 0xf0 0
check "a longer one is refused in words" refused "$field" 28 0 0 0 0 0 0 0 0xf1 0
through() { dd if=/tmp/data of="$one" bs=1M oflag=direct status=none && dd if="$raw" bs=1M count=8 iflag=direct status=none | cmp - /tmp/data; }
check "long writes are on the device" through
udevadm settle --timeout=60
udevadm control --stop-exec-queue # it would open the disk, and the initiator's kernel keep the medium in for that
back() { # the medium is in again, and everybody has heard of that
	local n
	load "$sg" || return
	for n in 1 2 3; do ! sg_turs "$sg" || return 0; done
	return 1
}
check "nobody keeps its medium in" eject "$sg"
check "it is out" says 'Medium not present' sg_turs -v "$sg"
check "and in again" back
kept_in() { sg_prevent --prevent=1 "$sg" && ! eject "$raw_sg" && ! eject "$sg"; }
check "an initiator keeps it in, and the device obeys" kept_in
let_go() { sg_prevent --allow "$sg" && eject "$raw_sg" && back; }
check "it lets go" let_go
again() { sg_prevent --prevent=1 "$sg" && ! eject "$raw_sg"; }
check "it keeps it in again" again
logout "$IQN:narrow" "$V4"
gone() { # the target has heard of the end of the session in its own time
	local n
	for ((n = 0; n < 100; n++)); do
		! eject "$raw_sg" || { load "$raw_sg" && return; }
		sleep 0.1
	done
	return 1
}
check "and is gone: nobody keeps it in" gone
udevadm control --start-exec-queue
check "the target ends on SIGTERM with status 0 here, too" target_end TERM

# --- a device without a block node ---
unload() { # when udev has looked at it for the last time
	local n
	for ((n = 0; n < 100; n++)); do
		! rmmod scsi_debug 2>/dev/null || return 0
		sleep 0.1
	done
	rmmod scsi_debug
}
check "nobody has the device any more" unload
tape() { # sets raw_sg
	modprobe scsi_debug ptype=1 && udevadm settle --timeout=30
	raw_sg=$(grep -lx 1 /sys/class/scsi_generic/sg*/device/type | head -1 | cut -d/ -f5)
	[ -n "$raw_sg" ] && raw_sg=/dev/$raw_sg
}
# The target starts before the device is there.
config "tape=pscsi:/run/tape" >/tmp/ringtgt.toml
target_begin
check "the target is ready without it" target_ready
node "$IQN:tape" "$V4" --login >/dev/null
absent() { # whatever the initiator takes it for, it is not ready
	local n
	for ((n = 0; n < 100; n++)); do
		sg=$(compgen -G '/sys/class/iscsi_session/session*/device/target*/*:*/scsi_generic/sg*') && break
		sleep 0.1
	done
	sg=/dev/${sg##*/}
	sg_turs "$sg"
	says 'manual intervention required' sg_turs -v "$sg"
}
check "an initiator finds it not ready" absent
logout "$IQN:tape" "$V4"
check "a tape drive" tape
ln -s "$raw_sg" /run/tape
kept() {
	local n
	for ((n = 0; n < 50; n++)); do
		flock --nonblock "$raw_sg" true || return 0
		sleep 0.2
	done
	tail /tmp/target.log && return 1
}
check "its node is locked within 10 s" kept
node "$IQN:tape" "$V4" --login >/dev/null
found() { # sets sg
	local n
	for ((n = 0; n < 100; n++)); do
		sg=$(grep -lx 1 /sys/class/iscsi_session/session*/device/target*/*:*/type 2>/dev/null | head -1)
		[ -z "$sg" ] || { sg=/dev/$(ls "${sg%/type}/scsi_generic") && return; }
		sleep 0.1
	done
	return 1
}
check "the initiator has a tape drive" eval "found && says 'PDT=1' sg_inq $sg"
logout "$IQN:tape" "$V4"
check "the target ends on SIGTERM with status 0 again" target_end TERM
check "nobody has the tape drive any more" unload
rm /run/tape
