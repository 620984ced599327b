# shellcheck shell=bash disable=SC2317 # functions are called by check
# A disk that hangs with a write of one node in it, and everything that ends such a write: each is answered while the
# disk still has it, on the connection that was there; whoever writes the same blocks then waits for the old write,
# nobody else does; and when the disk goes on, what was written last stands.
device=/dev/$(grep -lx slow /sys/block/vd*/serial | cut -d/ -f4)
modprobe dm-delay
delay() { echo "0 131072 delay /dev/ram1 0 0 /dev/ram1 0 $1"; } # of writes, in milliseconds
delay 600000 | dmsetup create delayed
config "slow=block:$device" delayed=block:/dev/mapper/delayed >/tmp/ringtgt.toml
chmod 600 /tmp/ringtgt.toml
target_begin
check "the target is ready" target_ready
iqn=$IQN:slow
check "login" login "$iqn" "$V4"
one=$DEV
check "another initiator" another_initiator
IFACE=other check "login of the other" login "$iqn" "$V4"
other=$DEV
# What is sent by hand goes by the generic nodes: when a block device that could be written is closed, udev reads it, and
# that read would wait for the disk, too.
generic() { echo "/dev/$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }
sg=$(generic "$one") other_sg=$(generic "$other")

pattern() { head -c 65536 /dev/zero | tr '\0' "$1"; }
# send SECONDS NODE BYTE: WRITE(10) of the first 64 KiB, by hand, so that the kernel does not repeat it; it waits so long.
send() { pattern "$3" >/tmp/sent && sg_raw -t "$1" -s 65536 -i /tmp/sent "$2" 2a 0 0 0 0 0 0 0 80 0; }
put() { pattern "$2" | dd of="$1" bs=64k count=1 oflag=direct iflag=fullblock conv=notrunc status=none; }
holds() { pattern "$1" >/tmp/wanted && dd if="$2" bs=64k count=1 iflag=direct status=none | cmp - /tmp/wanted; }
connection() { ss -tnH dst 127.0.0.1:3260 | awk '{ print $4 }' | sort | xargs; }
inside() { [ "$(in_disk)" = "$1" ]; } # that many writes are in the disk
in_disk() { host writes | xargs; }
ended() { ! kill -0 "$1" 2>/dev/null; }

ready() { # and no attention is left to be told
	local d
	for d in "$sg" "$other_sg"; do until_true 60 sg_turs "$d" >/dev/null 2>&1 || return; done
	udevadm settle --timeout=60 # nor anybody who looks at what was written
}

# hang WHAT CONNECTION COMMAND...: what ends the write is that command, or its own time limit when there is none; after
# which the connections are the same or new ones.
hang() {
	local what=$1 connections=$2 limit=600 before old new
	shift 2
	[ $# -gt 0 ] || limit=5
	check "$what: both are ready" ready
	before=$(connection)
	host hold
	send $limit "$sg" A >/tmp/old 2>&1 &
	old=$!
	check "$what: a write is in the disk, which hangs" until_true 60 inside 1
	[ $# -eq 0 ] || check "$what: it is answered" "$@"
	check "$what: the write has ended" until_true 60 ended $old
	check "$what: and with an error" eval "! wait $old"
	check "$what: the disk still has it" inside 1
	case $connections in
	same) check "$what: nobody had to connect anew" [ "$(connection)" = "$before" ] ;;
	new) check "$what: there is a new connection" until_true 60 eval "[ \"\$(connection)\" != '$before' ]" ;;
	esac
	host pass
	put "$other" B &
	new=$!
	check "$what: the rest of the disk is served" dd if=/dev/zero of="$other" bs=64k seek=100 count=8 oflag=direct status=none
	check "$what: who writes the same blocks waits" eval "sleep 1 && kill -0 $new"
	check "$what: nothing of it is in the disk" inside 1
	host release
	check "$what: the disk goes on, and so does he" wait $new
	check "$what: all is written" until_true 30 inside 0
	check "$what: what was written last is on the medium" holds B "$device"
	check "$what: and both read it" eval "until_true 60 holds B $one && holds B $other"
}
hang "abort of a command that is out of time" same
hang "reset of the logical unit" same sg_reset -d -N "$sg"
hang "reset of the target" same sg_reset -t -N "$sg"
disconnect() { # all, under the kernel's feet: by the descriptors that iscsid keeps of them
	local daemons
	pgrep -x iscsid >/tmp/iscsid
	mapfile -t daemons </tmp/iscsid
	python3 - "${daemons[@]}" <<-'PY'
		import ctypes, os, socket, sys
		cut = 0
		for pid in map(int, sys.argv[1:]):
		    process = os.pidfd_open(pid)
		    for fd in os.listdir(f'/proc/{pid}/fd'):
		        if not os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:'):
		            continue
		        s = socket.socket(fileno=ctypes.CDLL(None).syscall(438, process, int(fd), 0)) # pidfd_getfd
		        if s.family == socket.AF_INET and s.getpeername()[1] == 3260:
		            s.shutdown(socket.SHUT_RDWR)
		            cut += 1
		sys.exit(cut == 0)
	PY
}
hang "loss of the connections" new disconnect
registered() { sg_persist -o -G -S 0xa "$sg" && sg_persist -o -G -S 0xb "$other_sg"; }
check "both register" registered
hang "PREEMPT AND ABORT by the other" same sg_persist -o -A -K 0xb -S 0xa -T 5 "$other_sg"
logout "$iqn" "$V4"
IFACE=other logout "$iqn" "$V4"

# The same with a mapped device that is slow by itself, until it is told not to be.
iqn=$IQN:delayed
check "login to a slow device" login "$iqn" "$V4"
node=$(generic "$DEV")
has_it() { # by the daemon's own account, which it gives for each of its cores
	kill -USR1 "$TARGET_PID"
	sleep 0.2
	grep ' disk requests ' /tmp/target.log | tail -n "$(nproc)" | grep '(1 now' && ! holds A /dev/ram1
}
send 900 "$node" A >/tmp/old 2>&1 &
old=$!
check "a write is in it" until_true 60 has_it
check "reset of the logical unit is answered" sg_reset -d -N "$node"
check "while it still has it" has_it
check "the write has ended with an error" eval "! wait $old"
put "$DEV" B &
new=$!
check "who writes the same blocks waits" eval "sleep 1 && kill -0 $new"
delay 0 >/tmp/fast
fast() { dmsetup load delayed </tmp/fast && dmsetup suspend delayed && dmsetup resume delayed; }
check "the device is told to be fast" fast
check "he goes on" wait $new
check "what was written last is on the medium" holds B /dev/ram1
logout "$iqn" "$V4"
no_panic() { ! grep -i panicked /tmp/target.log && ! dmesg | grep -E 'BUG:|Oops'; }
check "nobody has panicked" no_panic
check "the target ends on SIGTERM with status 0" target_end TERM
dmsetup remove delayed
