# shellcheck shell=bash disable=SC2317 # functions are called by tool
# The commands that people send by hand with sg3-utils: each tool runs through the kernel's initiator, and what it
# prints, reads or leaves on the disk is what the standard says of such a unit. Ends with a table of them.
iqn=$IQN:tools
check "login" login "$iqn" "$V4"
disk=$DEV name=${DEV#/dev/}
second() { # the disk of LUN 1 of that session
	local n
	for n in $(seq 100); do
		lun1=$(ls -d /sys/block/"$name"/device/../../target*/*:1/block/* 2>/dev/null) || { sleep 0.1; continue; }
		lun1=/dev/${lun1##*/}
		[ ! -b "$lun1" ] || return 0
	done
	return 1
}
check "LUN 1 is a disk, too" second
# The kernel asks a removable medium every two seconds whether it has changed; whenever it has, udev opens the disk to
# look at it, and the kernel keeps the medium in meanwhile, in this same nexus' name. Not while the tools are tried.
echo 0 >/sys/block/"${lun1#/dev/}"/events_poll_msecs
udevadm settle --timeout=30
# The generic nodes: nobody looks at the disk when they are closed.
sg=/dev/$(ls "/sys/block/$name/device/scsi_generic") sg1=/dev/$(ls "/sys/block/${lun1#/dev/}/device/scsi_generic")

rows=()
tool() { # tool NAME WHAT COMMAND...: one check, one row of the table
	local result=passed
	check "$1: $2" "${@:3}" || result=FAILED
	rows+=("| \`$1\` | $2 | $result |")
}
says() { # says REGEX... -- COMMAND...: succeeds, and prints every one of these
	local want=()
	while [ "$1" != -- ]; do
		want+=("$1")
		shift
	done
	shift
	"$@" >/tmp/said 2>&1 || { echo "$*: status $?" && cat /tmp/said && return 1; }
	has "${want[@]}"
}
has() { # has REGEX...: so says /tmp/said
	local r
	for r in "$@"; do
		grep -qE -- "$r" /tmp/said || { echo "without: $r" && cat /tmp/said && return 1; }
	done
}
ends() { # ends STATUS COMMAND...: sg3-utils' statuses are in sg3_utils(8): 2 NOT READY, 5 ILLEGAL REQUEST,
	# 6 UNIT ATTENTION, 9 the same as 5 with INVALID COMMAND OPERATION CODE, 14 MISCOMPARE
	local rc=0
	"${@:2}" >/tmp/said 2>&1 || rc=$?
	[ "$rc" = "$1" ] || { echo "status $rc" && cat /tmp/said && return 1; }
}
tell() { dd if="$sg_file" of="$disk" bs=512 seek="$1" oflag=direct conv=notrunc status=none; }
# same LBA FILE: from that block on the disk holds what the file does.
same() { dd if="$disk" bs=512 skip="$1" count=$(($(stat -c %s "$2") / 512)) iflag=direct status=none | cmp - "$2"; }
sg_file=/tmp/eight
for f in eight other; do head -c 4096 /dev/urandom >/tmp/$f; done
head -c 4096 /dev/zero >/tmp/zeroes
head -c 512 /tmp/eight >/tmp/one
for _ in 1 2 3 4 5 6 7 8; do cat /tmp/one; done >/tmp/eight-times

# --- what the unit says of itself ---
serial=$(sg_inq -p sn "$disk" | sed -n 's/.*serial number: //p')
inquiry() { says 'PDT=0 ' 'version=0x0[67]' '3PC=1' 'CmdQue=1' 'Vendor identification: RINGTGT' "serial number: $serial" -- sg_inq "$disk"; }
tool sg_inq "a disk, with commands queued and third-party copy" inquiry
pages() { # each page that is listed can be had, and is the one
	local n p some=0
	sg_vpd -p sv -H "$disk" >/tmp/said || return
	p=$(sg_raw -r 64 "$disk" 12 01 00 00 40 00 2>&1 | sed -nE 's/^ *[0-9a-f]0 +//p' | cut -c1-48)
	read -ra p <<<"${p//$'\n'/ }"
	for n in "${p[@]:4:$((16#${p[3]}))}"; do
		says "^ 00 +00 $n " -- sg_vpd -p "0x$n" -H "$disk" || return
		some=$((some + 1))
	done
	[ $some -ge 13 ]
}
tool sg_vpd "every page of the list of pages" pages
named() { says "0x$serial" 'Target port group: 0x' "$iqn,t,0x0001" 'UUID' -- sg_vpd -p di "$disk"; }
tool sg_vpd "83h: NAA that is also the serial number, UUID, port and its group" named
limits() {
	says 'Maximum unmap LBA count: [1-9]' 'Maximum compare and write length: 255' -- sg_vpd -p bl "$disk" || return
	local unmap
	unmap=$(sed -n 's/.*Maximum unmap LBA count: //p' /tmp/said)
	[ "$(cat "/sys/block/$name/queue/discard_max_hw_bytes")" = $((unmap * 512)) ]
}
tool sg_vpd "B0h: the limits, and the kernel's own are these" limits
tool sg_vpd "B2h: thin, and what is unmapped reads as zeroes" says 'thin provisioned' '\(LBPRZ\): 1' '\(LBPU\): 1' -- sg_vpd -p lbpv "$disk"
luns() { says '^ +0000000000000000$' '^ +0001000000000000$' -- sg_luns "$disk" && says c101000000000000 -- sg_luns -s 1 "$disk"; }
tool sg_luns "both units, and the well known one when it is asked for" luns
capacity() {
	local blocks
	blocks=$(blockdev --getsz "$disk")
	says "blocks=$blocks\$" -- sg_readcap "$disk" && says "blocks=$blocks\$" 'lbpme=1, lbprz=1' 'physical block length=4096' -- sg_readcap --16 "$disk"
}
tool sg_readcap "(10) and (16): the kernel's size; thin; physical blocks of 4096" capacity
tool sg_turs "eight times ready" says 'with 0 errors' -- sg_turs -v -n 8 "$disk"
tool sg_requests "nothing is the matter" says 'Sense key: No Sense' -- sg_requests "$disk"
opcodes() {
	says '^ 28 .*Read\(10\)' '^ 42 .*Unmap' '^ 83 .*[cC]opy' '^ 93 .*Write same' '^ 5f .*' -- sg_opcodes "$disk" &&
		says 'Command is supported' 'Usage data: 28 ' -- sg_opcodes -o 0x28 "$disk" &&
		says 'NOT supported' -- sg_opcodes -o 0x80 "$disk" &&
		says 'Abort task set' 'Logical unit reset' -- sg_opcodes -t "$disk"
}
tool sg_opcodes "all commands, one of them, one that is not there, task management" opcodes
modes() {
	says 'Caching' 'Control,' 'Informational exceptions' -- sg_modes -a "$disk" || return
	says '^ 00 +88 12 04 ' -- sg_modes -p 8 "$disk" # write cache enabled
	[ "$(cat "/sys/block/$name/queue/write_cache")" = "write back" ]
}
tool sg_modes "the pages, and the cache as the kernel has it" modes
cache() { sg_wr_mode -p 8 -c "88,12,$1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0" "$disk"; }
write_mode() { cache 0 && says '^ 00 +88 12 00 ' -- sg_modes -p 8 "$disk" && cache 4 && says '^ 00 +88 12 04 ' -- sg_modes -p 8 "$disk"; }
tool sg_wr_mode "switches the cache off and on" write_mode
read_bytes() { sg_logs -p 3 "$disk" | sed -n 's/.*bytes processed = //p'; }
logs() {
	says '0x02 +Write error' '0x2f ' -- sg_logs "$disk" || return
	local before
	before=$(read_bytes)
	dd if="$disk" of=/dev/null bs=64k count=4 iflag=direct status=none
	[ "$(read_bytes)" -ge $((before + 262144)) ]
}
tool sg_logs "the pages, and a counter that has counted what was read" logs
stamp() { # what was set, and not a minute later
	local now
	sg_timestamp --milliseconds=1700000000000 "$disk" && now=$(sg_timestamp "$disk") || return
	[ "$now" -ge 1700000000000 ] && [ "$now" -lt 1700000060000 ]
}
tool sg_timestamp "goes on from where it was set" stamp
ident() { printf shelf-7 | sg_ident --set "$disk" && [ "$(sg_ident -A "$disk")" = shelf-7 ] && sg_ident --clear "$disk" && [ -z "$(sg_ident -A "$disk")" ]; }
tool sg_ident "is set, told and cleared" ident
tool sg_senddiag "the self-test passes" says 'GOOD' -- sg_senddiag -t "$disk"
tool sg_reassign "no grown defects" says 'grown defect list: 0' -- sg_reassign --grown "$disk"

# --- data ---
tool sg_dd "writes by hand what the kernel reads" sg_dd if=/tmp/eight of="$sg" bs=512 seek=8 oflag=sgio
tool sg_dd "… every byte" same 8 /tmp/eight
read_back() { sg_dd if="$sg" of=/tmp/back bs=512 skip=8 count=8 2>/dev/null && cmp /tmp/back /tmp/eight; }
tool sg_dd "reads by hand what is there" read_back
tool sg_read "reads" says '8\+0 records in' -- sg_read if="$sg" bs=512 skip=8 count=8
tool sg_sync "the cache is written" sg_sync "$disk"
verify() { sg_verify --lba=8 --count=8 "$disk" && sg_verify --lba=8 --count=8 --ndo=4096 --in=/tmp/eight "$disk"; }
tool sg_verify "the medium, and data byte by byte" verify
tool sg_verify "MISCOMPARE of other data" ends 14 sg_verify -q --lba=8 --count=8 --ndo=4096 --in=/tmp/other "$disk"
write_verify() { sg_write_verify --lba=16 --num=8 --bytchk=1 --in=/tmp/other "$disk" && same 16 /tmp/other; }
tool sg_write_verify "is written and found" write_verify
swap() { sg_compare_and_write --in=/tmp/eight --inw=/tmp/other --lba=8 --num=8 --xferlen=8192 "$disk" && same 8 /tmp/other; }
tool sg_compare_and_write "equal: is written" swap
no_swap() { ends 14 sg_compare_and_write -q --in=/tmp/eight --inw=/tmp/zeroes --lba=8 --num=8 --xferlen=8192 "$disk" && same 8 /tmp/other; }
tool sg_compare_and_write "unequal: MISCOMPARE, and nothing is written" no_swap
ten() { sg_write_same --10 --in=/tmp/one --lba=32 --num=8 "$disk" && same 32 /tmp/eight-times; }
sixteen() { sg_write_same --16 --in=/tmp/one --lba=40 --num=8 "$disk" && same 40 /tmp/eight-times; }
thirtytwo() { sg_write_same --32 --in=/tmp/one --lba=48 --num=8 "$disk" && same 48 /tmp/eight-times; }
no_data() { sg_write_same --16 --ndob --lba=32 --num=8 "$disk" && same 32 /tmp/zeroes; }
for f in ten sixteen thirtytwo; do tool sg_write_same "one block eight times, $f" $f; done
tool sg_write_same "without data: zeroes" no_data
status_of() { sg_get_lba_status --lba="$1" "$disk" | sed -n 's/.*blocks: *\([0-9]*\) *\([a-z]*\).*/\1 \2/p' | head -1; }
mapped() { [[ $(status_of 40) = *" mapped"* ]] || { status_of 40 && return 1; }; }
unmapped() { sg_unmap --lba=40 --num=8 --force "$disk" && [[ $(status_of 40) = *" deallocated" ]] && same 40 /tmp/zeroes; }
by_write_same() { [[ $(status_of 48) = *" mapped"* ]] && sg_write_same --unmap --lba=48 --num=8 "$disk" && [[ $(status_of 48) = *" deallocated" ]] && same 48 /tmp/zeroes; }
tool sg_get_lba_status "what was written is mapped" mapped
tool sg_unmap "… no longer, and reads as zeroes" unmapped
tool sg_write_same "with UNMAP likewise" by_write_same
x32() { sg_write_x --normal --32 --bs=512 --in=/tmp/eight --lba=64 --num=8 --timeout=60 "$disk" && same 64 /tmp/eight; }
x_or() {
	sg_write_x --or --bs=512 --in=/tmp/other --lba=64 --num=8 --timeout=60 "$disk" || return
	python3 - <<-'PY' >/tmp/or && same 64 /tmp/or
		import sys
		pair = zip(open('/tmp/eight', 'rb').read(), open('/tmp/other', 'rb').read())
		sys.stdout.buffer.write(bytes(a | b for a, b in pair))
	PY
}
tool sg_write_x "WRITE(32)" x32
tool sg_write_x "ORWRITE: the bits of both" x_or
tool sg_write_x "WRITE ATOMIC, which a file cannot promise: ILLEGAL REQUEST" ends 9 sg_write_x --atomic=0 --bs=512 --in=/tmp/eight --lba=64 --num=8 --timeout=60 "$disk"
copy() {
	dd if=/dev/urandom of="$disk" bs=64k count=4 seek=16 oflag=direct status=none
	sg_xcopy if="$disk" of="$lun1" bs=512 skip=2048 seek=1024 count=512 || return
	dd if="$disk" bs=64k skip=16 count=4 iflag=direct status=none >/tmp/copied
	dd if="$lun1" bs=64k skip=8 count=4 iflag=direct status=none | cmp - /tmp/copied
}
tool sg_xcopy "from unit to unit inside the target: every byte" copy
tool sg_copy_results "what the copier can" says 'Copy from block device to block device' 'Identification descriptor' -- sg_copy_results -p "$disk"
# (sg_read_buffer of sg3-utils 1.46 asks for no byte, whatever it is told: sg_raw asks for 512.)
echo_buffer() { sg_write_buffer -m 0xa -I /tmp/one -l 512 "$disk" && sg_raw -o /tmp/back -r 512 "$disk" 3c 0a 0 0 0 0 0 2 0 0 && cmp /tmp/back /tmp/one; }
tool sg_write_buffer "the echo is what was called" echo_buffer
tool sg_rbuf "the buffer, over and over" says '131072 bytes|128 KiB|0.12' -- sg_rbuf --size=131072 "$sg"
tool sg_test_rwbuf "a whole buffer, three times, by checksum" sg_test_rwbuf --size=4096 --times=3 "$sg"

# --- reservations: forms, by one initiator (fence.sh has two) ---
persist() {
	says 'NO registered' -- sg_persist -k "$disk" && says '\(PTPL_C\): 1' 'all registrants: 1' -- sg_persist -c "$disk" &&
		sg_persist -o -G -S 0xabc "$disk" && says '0xabc' -- sg_persist -k "$disk" &&
		sg_persist -o -R -K 0xabc -T 5 "$disk" && says 'Write Exclusive, registrants only' -- sg_persist -r "$disk" &&
		says 'Key=0xabc' 'Reservation holder' "$IQN:sample-initiator" -- sg_persist -s "$disk" &&
		sg_persist -o -L -K 0xabc -T 5 "$disk" && says 'NO reservation' -- sg_persist -r "$disk" &&
		sg_persist -o -C -K 0xabc "$disk" && says 'NO registered' -- sg_persist -k "$disk"
}
tool sg_persist "register, reserve, who holds it, release, clear" persist

# --- states ---
stop() { # medium access is refused until it is started
	sg_start --stop "$sg" || return
	ends 2 sg_turs "$sg" || return
	sg_requests "$sg" >/tmp/said 2>&1 || : # what it says is a status, too
	has 'Not Ready' 'not ready, initializing command required' || return
	sg_start --start "$sg" && sg_turs "$sg"
}
tool sg_start "stopped: NOT READY until it is started" stop
# What udev began before that may still have the disk open.
let_out() {
	local n
	for n in 1 2 3 4 5; do
		udevadm settle --timeout=60
		! sg_start --eject "$sg1" || return 0
		sleep "0.$n"
	done
	return 1
}
eject() { let_out && ends 2 sg_turs "$sg1" && sg_start --load "$sg1" && { sg_turs "$sg1" || sg_turs "$sg1"; }; }
tool sg_start "ejects and loads a removable medium" eject
keep() { udevadm settle --timeout=60 && sg_prevent --prevent=1 "$sg1" && ends 5 sg_start --eject "$sg1" && sg_turs "$sg1" && sg_prevent --allow "$sg1" && eject; }
tool sg_prevent "keeps the medium in, and lets it go" keep
reset() { sg_reset -d "$sg" && ends 6 sg_raw "$sg" 00 00 00 00 00 00 && has '[rR]eset' && sg_raw "$sg" 00 00 00 00 00 00; }
tool sg_reset "the unit, which tells of it once" reset

# --- the whole unit ---
erased() { sg_sanitize --block --quick --wait "$sg" && same 8 /tmp/zeroes && [[ $(status_of 8) = *" deallocated" ]]; }
overwritten() {
	echo S4n >/tmp/four # four bytes
	yes S4n | head -c 4096 >/tmp/fours || :
	sg_sanitize --overwrite --ipl=4 --pattern=/tmp/four --quick --wait "$sg" && same 8 /tmp/fours && same 131064 /tmp/fours
}
formatted() { sg_format --format --quick --wait "$sg" && same 8 /tmp/zeroes && says 'blocks=131072$' -- sg_readcap "$disk"; }
offers() { sg_opcodes -o "$1" "$disk" | grep -q 'Command is supported'; }
if offers 0x48,2; then # BLOCK ERASE
	tool sg_sanitize "BLOCK ERASE: nothing is mapped, all reads as zeroes" erased
	tool sg_sanitize "OVERWRITE: the pattern from the first block to the last" overwritten
	tool sg_sanitize "CRYPTOGRAPHIC ERASE, where nothing is encrypted: ILLEGAL REQUEST" ends 5 sg_sanitize --crypto --quick "$sg"
else
	tool sg_sanitize "not offered: ILLEGAL REQUEST" ends 9 sg_sanitize --block --quick "$sg"
fi
if offers 0x04; then
	tool sg_format "all reads as zeroes, and the size stays" formatted
else
	tool sg_format "not offered: ILLEGAL REQUEST" ends 9 sg_format --format --quick --wait "$sg"
fi

# --- ports (multipath-alua.sh has two of them) ---
tool sg_rtpg "one group, optimized" says 'group id : 0x0' 'access state : 0x00' -- sg_rtpg -d "$disk"
tool sg_referrals "one segment, of all blocks, by its only group" ends 0 sg_referrals "$disk"
tool sg_stpg "only an administrator sets states: ILLEGAL REQUEST" says 'Illegal request' -- sg_stpg --tp=0 --state=2 "$disk"

# --- what is not a disk's, or not this one's ---
refused() { # each is answered ILLEGAL REQUEST (5), or 9: INVALID COMMAND OPERATION CODE
	local c rc
	for c in "sg_seek --lba=0" "sg_read_long --lba=0" "sg_write_long --lba=0" sg_rep_zones "sg_zone --open --all" \
		"sg_reset_wp --all" sg_read_attr sg_get_elem_status sg_rep_pip "sg_stream_ctl --get" sg_bg_ctl; do
		rc=0
		$c "$sg" >/tmp/said 2>&1 || rc=$?
		[ $rc = 5 ] || [ $rc = 9 ] || { echo "$c: status $rc" && cat /tmp/said && return 1; }
	done
}
tool "sg_seek, sg_rep_zones and nine more" "what the unit has not is ILLEGAL REQUEST" refused

logout "$iqn" "$V4"
printf '     | tool | what | result |\n     |---|---|---|\n'
printf '     %s\n' "${rows[@]}"
