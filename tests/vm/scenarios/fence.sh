# shellcheck shell=bash disable=SC2317 # functions are called by check
# Two nodes of a cluster, that is two initiators with names of their own, share a disk by a reservation (write
# exclusive, registrants only), and one is fenced under I/O: what it still sends fails, and nothing of it lands any
# more. With APTPL all that outlives the target's death.
iqn=$IQN:io
check "login of the one node" login "$iqn" "$V4"
a=$DEV
check "another initiator on this machine" another_initiator
IFACE=other check "login of the other node" login "$iqn" "$V4"
b=$DEV
for d in "$a" "$b"; do echo 10 >"/sys/block/${d#/dev/}/device/timeout"; done
pr() { sg_persist --out "$@"; }
keys() { [ "$(sg_persist -k "$a" | grep -oE '0x[0-9a-f]+$' | sort | xargs)" = "$*" ] || { sg_persist -k "$a" && return 1; }; }
held() { sg_persist -r "$a" >/tmp/held && grep -q "Key=$1" /tmp/held && grep -q 'Write Exclusive, registrants only' /tmp/held; }
# 64 KiB of a byte, at the place of 64 KiB given by a number.
pattern() { head -c 65536 /dev/zero | tr '\0' "$1"; }
put() { pattern "$3" | dd of="$1" bs=64k seek="$2" oflag=direct iflag=fullblock conv=notrunc status=none; }
there() { pattern "$2" >/tmp/pattern && dd if="$a" bs=64k skip="$1" count=1 iflag=direct status=none | cmp - /tmp/pattern; }
# sg3-utils end with 24 when the status is RESERVATION CONFLICT, and the kernel says EBADE.
conflict() {
	local rc=0
	"$@" >/tmp/conflict 2>&1 || rc=$?
	[ $rc = 24 ] || grep -q 'Invalid exchange' /tmp/conflict || { echo "status $rc" && cat /tmp/conflict && return 1; }
}

check "nobody is registered" each "pr -I -S 0xa $a" "pr -C -K 0xa $a" keys
check "both register" each "pr -G -S 0xa $a" "pr -G -S 0xb $b" "keys 0xa 0xb"
check "the one reserves: write exclusive, registrants only" pr -R -K 0xa -T 5 "$a"
check "that is so" held 0xa
check "the other cannot reserve it otherwise" conflict pr -R -K 0xb -T 3 "$b"
check "both write" each "put $a 0 A" "put $b 1 B" "there 0 A" "there 1 B"
check "the other takes back its registration" pr -G -K 0xb "$b"
check "its writes are a conflict" conflict put "$b" 1 C
check "nothing of them is there" there 1 B
check "it may read" dd if="$b" of=/dev/null bs=64k count=2 iflag=direct status=none

# A node is fenced under I/O. It works on the first 16 MiB, at a depth of 32; what the winner writes there afterwards
# stays.
fence() { # fence PREEMPTION
	pr -G -S 0xb "$b" || return
	fio --name=loser --filename="$b" --direct=1 --ioengine=libaio --rw=randwrite --bs=4k --size=16m --iodepth=32 --time_based --runtime=600 \
		--buffer_pattern=0x42 --eta=never --output=/tmp/loser.log &
	local loser=$! before n
	before=$(written "$b")
	for ((n = 0; n < 300; n++)); do
		[ "$(written "$b")" -lt $((before + 1000)) ] || break
		sleep 0.1
	done
	kill -0 $loser || return
	[ "$n" -lt 300 ] || { echo "no I/O under way" && return 1; }
	pr "$1" -K 0xa -S 0xb -T 5 "$a" || return
	fio --name=winner --filename="$a" --direct=1 --ioengine=libaio --rw=write --bs=256k --size=16m --iodepth=4 --buffer_pattern=0x41 --eta=never \
		--output=/tmp/winner.log || { cat /tmp/winner.log && return 1; }
	! wait $loser || { echo "the loser saw no error" && return 1; }
	grep -q 'Invalid exchange' /tmp/loser.log || { cat /tmp/loser.log && return 1; }
	[ "$(dd if="$a" bs=1M count=16 iflag=direct status=none | tr -d A | wc -c)" = 0 ] || { echo "the loser's data landed" && return 1; }
}
written() { awk '{ print $5 }' "/sys/block/${1#/dev/}/stat"; } # writes that have ended
check "PREEMPT AND ABORT under I/O: it fails, and nothing of it lands afterwards" fence --preempt-abort
check "one registration is left, and the reservation" each "keys 0xa" "held 0xa"
check "the fenced node writes nothing" conflict put "$b" 300 B
check "it cannot preempt in its turn" conflict pr --preempt -K 0xb -S 0xa -T 5 "$b"
check "it cannot register with the key it had" conflict pr -G -K 0xb -S 0xc "$b"
check "PREEMPT under I/O: the same" fence --preempt
check "a registration anew lets it write" each "pr -G -S 0xb $b" "put $b 300 B" "there 300 B"
check "CLEAR ends it all" each "pr -C -K 0xa $a" "keys" "put $b 300 C" "there 300 C"

# Persistent through power loss, and not.
back() { # both nodes have their sessions again
	local n d
	for d in "$a" "$b"; do
		for ((n = 0; n < 60; n++)); do
			! timeout 20 sg_turs "$d" >/dev/null 2>&1 || break
			sleep 0.5
		done
	done
	[ "$n" -lt 60 ]
}
died() { host kill9 && host start && back; }
check "both register, persistent through power loss; the one reserves" each "pr -G -S 0xa -Z $a" "pr -G -S 0xb -Z $b" "pr -R -K 0xa -T 5 $a"
check "the target dies and is started again" died
check "registrations and reservation are there" each "keys 0xa 0xb" "held 0xa"
check "both write" each "put $a 0 a" "put $b 1 b" "there 0 a" "there 1 b"
check "the other node is fenced" pr --preempt-abort -K 0xa -S 0xb -T 5 "$a"
check "the target dies again" died
check "it is fenced still" each "keys 0xa" "held 0xa" "conflict put $b 1 X" "there 1 b"
check "the one registers without persistence" pr -G -K 0xa -S 0xa "$a"
check "the target dies once more" died
check "and has nothing" each "keys" "put $b 1 c" "there 1 c"
logout "$iqn" "$V4"
IFACE=other logout "$iqn" "$V4"
