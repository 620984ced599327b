#!/usr/bin/env bash
# compare.sh - ringtgt, tgt, istgt and the limit of this machine side by side.
#
#   benches/compare.sh [--rounds N] [--secs S] [--quick] [--out DIR] [--history] [--vm] [--other NAME=URL,PID]...
#
#   --rounds, --secs   so many rounds, with so many seconds for each row (3 and 2)
#   --quick            3 rounds with rows of a second: all rows in about ten minutes
#   --out DIR          where the results go (./compare)
#   --history          appends them to benches/HISTORY.md, and draws them into benches/compare.svg
#   --vm               runs benches/vm.sh behind the rest: beside LIO, by the kernel's initiator, in a virtual machine
#   --other            adds a target that runs already and by itself on processor 0 (SPDK, SCST in user space, another
#                      ringtgt): its LUN of memory or nothing by URL, and its process, which is stopped (SIGSTOP) while
#                      others are measured. What serves from inside the kernel, like LIO, has no process whose time could
#                      be told.
#
# Servers are pinned to processor 0, one after the other and in turns (A B C A B C), the load to processor 1. The load
# never sleeps, so that no server pays for waking it, except where the server's disk needs the load's processor. What is
# compared is the server's processor time for each I/O: the limit is what a program pays that moves the bytes and does
# nothing else (benches/limits). Only ratios of one run are worth anything: absolute numbers depend on the machine and its
# neighbours.
#
# Into DIR: compare.md (PASS or missed for each target, then tables), compare.svg (bars), results.jsonl (every
# measurement); with --vm also vm.md and vm.jsonl. The exit status is 1 when a target was missed or a row is missing. What
# was not asked for is named at the end.
#
# ringtgt serves null and ram stores, and a loop device over a file in /dev/shm; tgt its null store and, for memory, a file
# in /dev/shm; istgt, which has no null store, such a file. tgt is told to keep its heap and to take data unasked, both to
# its advantage.
#
# Needs root, and of Debian python3, util-linux, mount, tgt and istgt, which it installs; the services of the last two are
# stopped then and do not start again. RINGTGT and LIMITS name other binaries, PROFILE another build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d'
	exit 2
}
COMMAND="benches/compare.sh${*:+ $*}"
ROUNDS=3 SECS=2 OUT=compare OTHERS=() HISTORY=() VM=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick)
		ROUNDS=3 SECS=1
		shift
		continue
		;;
	--history)
		HISTORY=(--history benches --command "$COMMAND")
		shift
		continue
		;;
	--vm)
		VM=1
		shift
		continue
		;;
	esac
	[ $# -gt 1 ] || usage
	case $1 in
	--rounds) ROUNDS=$2 ;;
	--secs) SECS=$2 ;;
	--out) OUT=$2 ;;
	--other)
		[[ $2 =~ ^[^=]+=iscsi://.*,[0-9]+$ ]] || { echo "--other NAME=URL,PID" >&2 && exit 2; }
		OTHERS+=("$2")
		;;
	*) usage ;;
	esac
	shift 2
done
[[ $ROUNDS =~ ^[1-9][0-9]*$ && $SECS =~ ^[1-9][0-9]*$ ]] || { echo "rounds and seconds are whole numbers" >&2 && exit 2; }
PROFILE=${PROFILE:-release} IQN=iqn.2026-11.org.example:compare SIZE=256M MANY=1024
PATH=$PATH:/usr/sbin
[ "$(id -u)" -eq 0 ] || { echo "root is needed: tgtd, congestion control, the shared processor" >&2 && exit 2; }
install() { # install PACKAGE PROGRAM
	command -v "$2" >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$1" >/dev/null
}
rival() { # rival PACKAGE PROGRAM: what the package starts by itself is stopped, and stays so
	! command -v "$2" >/dev/null || return 0
	install "$@" || { echo "$1 cannot be installed: its rows will be missing" >&2 && return 0; }
	if [ -d /run/systemd/system ]; then
		systemctl --quiet disable --now "$1" || :
	else
		service "$1" stop >/dev/null 2>&1 || :
		update-rc.d "$1" disable >/dev/null 2>&1 || :
	fi
}
for needed in python3:python3 util-linux:taskset mount:losetup; do
	install "${needed%:*}" "${needed#*:}" || { echo "missing: ${needed#*:}, and ${needed%:*} cannot be installed" >&2 && exit 2; }
done
rival tgt tgtd
rival istgt istgt
if [ -z "${RINGTGT:-}" ]; then
	cargo build --quiet --profile "$PROFILE" --bin ringtgt
	RINGTGT=target/$PROFILE/ringtgt
fi
if [ -z "${LIMITS:-}" ]; then
	cargo build --quiet --release --manifest-path benches/limits/Cargo.toml --target-dir target/limits
	LIMITS=target/limits/release/limits
fi

mkdir -p "$OUT"
: >"$OUT/results.jsonl"
WORK=$(mktemp -d /dev/shm/compare.XXXXXX)
SERVER='' LOOP='' BESIDE='' CONGESTION=/proc/sys/net/ipv4/tcp_congestion_control WAS=$(cat /proc/sys/net/ipv4/tcp_congestion_control)
stop() {
	[ -n "$SERVER" ] || return 0
	kill -KILL "$SERVER" 2>/dev/null || :
	wait "$SERVER" 2>/dev/null || :
	SERVER=''
}
others() { # others SIGNAL
	local other
	for other in "${OTHERS[@]}"; do kill "-$1" "${other##*,}" || :; done
}
# Neither nice values nor other sessions then matter much: all that is compared runs in this one.
GROUP=/proc/$$/autogroup GROUP_WAS=$(sed -nE 's/.* nice (-?[0-9]+)$/\1/p' "/proc/$$/autogroup" 2>/dev/null || echo 0)
cleanup() {
	[ -z "$BESIDE" ] || kill "$BESIDE" 2>/dev/null || :
	stop
	[ -z "$LOOP" ] || losetup -d "$LOOP" || :
	others CONT
	echo "$GROUP_WAS" 2>/dev/null >"$GROUP" || :
	echo "$WAS" 2>/dev/null >"$CONGESTION" || :
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Others pace themselves by measured bandwidth, which on loopback costs more than the work itself.
echo cubic 2>/dev/null >"$CONGESTION" || echo "cannot set cubic: all have $WAS" >&2

echo -20 2>/dev/null >"$GROUP" || echo "cannot raise this session's priority: neighbours will show" >&2

wait_for() { # wait_for COMMAND...: until it succeeds, at most 20 s
	local n
	for ((n = 0; n < 200; n++)); do
		kill -0 "$SERVER" 2>/dev/null || break
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "the server did not start:" >&2
	cat "$WORK/log" >&2
	return 1
}
start_ringtgt() { # start_ringtgt STORE...; REACTORS says where
	# What the last one has said is not this one's.
	: >"$WORK/log"
	"$RINGTGT" serve --log info --listen 127.0.0.1:0 --iqn "$IQN" --state-dir "$WORK/state" \
		--reactors "${REACTORS:-0-0}" "$@" >"$WORK/log" 2>&1 &
	SERVER=$!
	wait_for grep -q '^ready$' "$WORK/log"
	PORTAL=$(sed -nE 's/^ *portal (.*)/\1/p' "$WORK/log" | head -1)
	URL=iscsi://$PORTAL/$IQN
}
tgt() { tgtadm -C "$CONTROL" --lld iscsi "$@"; }
start_tgt() { # LUNs: 1 null, 2 the file
	local port=$((20000 + RANDOM % 10000)) name
	CONTROL=$((1 + RANDOM % 30000))
	PORTAL=127.0.0.1:$port
	mkdir -p /var/run/tgtd
	truncate -s "$SIZE" "$WORK/file"
	MALLOC_MMAP_THRESHOLD_=67108864 MALLOC_TRIM_THRESHOLD_=268435456 \
		taskset -c 0 tgtd -f -C "$CONTROL" --iscsi "portal=$PORTAL" >"$WORK/log" 2>&1 &
	SERVER=$!
	wait_for tgt --mode sys --op show
	tgt --mode target --op new --tid 1 -T "$IQN"
	for name in InitialR2T=No ImmediateData=Yes FirstBurstLength=262144 MaxRecvDataSegmentLength=262144 \
		HeaderDigest=CRC32C,None DataDigest=CRC32C,None; do
		tgt --mode target --op update --tid 1 --name "${name%=*}" --value "${name#*=}"
	done
	tgt --mode logicalunit --op new --tid 1 --lun 1 --bstype null -b /dev/null
	tgt --mode logicalunit --op new --tid 1 --lun 2 --bstype rdwr -b "$WORK/file"
	tgt --mode target --op bind --tid 1 -I ALL
}

start_istgt() { # LUN 0: the file. It takes no data unasked but immediate data.
	local port=$((20000 + RANDOM % 10000))
	PORTAL=127.0.0.1:$port
	truncate -s "$SIZE" "$WORK/file"
	cat >"$WORK/istgt.conf" <<-CONF
		[Global]
		  NodeBase "${IQN%%:*}"
		  PidFile $WORK/istgt.pid
		  AuthFile $WORK/istgt.auth
		  LogFacility "local7"
		  Timeout 30
		  NopInInterval 20
		  DiscoveryAuthMethod None
		  MaxSessions 32
		  MaxConnections 4
		  MaxR2T 32
		  MaxOutstandingR2T 16
		  FirstBurstLength 262144
		  MaxBurstLength 1048576
		  MaxRecvDataSegmentLength 262144
		  InitialR2T Yes
		  ImmediateData Yes
		  DataPDUInOrder Yes
		  DataSequenceInOrder Yes
		  ErrorRecoveryLevel 0
		[UnitControl]
		  AuthMethod None
		  Portal UC1 127.0.0.1:$((port + 1))
		  Netmask 127.0.0.1
		[PortalGroup1]
		  Portal DA1 $PORTAL
		[InitiatorGroup1]
		  InitiatorName "ALL"
		  Netmask 127.0.0.1/8
		[LogicalUnit1]
		  TargetName ${IQN##*:}
		  Mapping PortalGroup1 InitiatorGroup1
		  AuthMethod None
		  UnitType Disk
		  QueueDepth 128
		  LUN0 Storage $WORK/file $SIZE
	CONF
	: >"$WORK/istgt.auth"
	chmod 600 "$WORK/istgt.auth"
	taskset -c 0 istgt -D -c "$WORK/istgt.conf" >"$WORK/log" 2>&1 &
	SERVER=$!
	wait_for "$RINGTGT" bench "iscsi://$PORTAL/$IQN/0" --qd 1 --secs 0.01 --warm 0
}

# What has died is not measured any further.
alive() { kill -0 "$1" 2>/dev/null || { echo "server $1 has died:" && tail -5 "$WORK/log" && exit 1; } >&2; }
# ask WHO WHAT URL PID OPTION...: one measurement into the results.
PLACE=(--cpus 1) # of the load
ask() {
	local who=$1 what=$2 url=$3 pid=$4
	shift 4
	if timeout $((SECS + 120)) "$RINGTGT" bench "$url" --pid "$pid" "${PLACE[@]}" --secs "$SECS" --json - "$@" \
		>"$WORK/json" 2>"$WORK/error"; then
		python3 - "$who" "$what" "$ROUND" "$WORK/json" >>"$OUT/results.jsonl" <<-'PY'
			import json, sys
			who, what, number, file = sys.argv[1:]
			run = json.load(open(file))["runs"][-1]
			latency = (run["read"] or run["write"])["latency_us"]["percentiles"]
			print(json.dumps({"who": who, "what": what, "round": int(number), "us": run["server_cpu_us_per_io"],
			    "client": run["client_cpu_us_per_io"], "iops": run["iops"], "p50": latency["p50"], "p99": latency["p99"]}))
		PY
	else
		echo "$who, $what: $(cat "$WORK/error")" >&2
		alive "$pid"
	fi
}
# row WHO WHAT URL PID OPTION...: by a load that never sleeps.
row() { ask "$@" --busy; }
# limit WHAT MODE OPTION...
limit() {
	local what=$1 mode=$2
	shift 2
	# What the system does by itself is what the others have.
	if "$LIMITS" "$mode" --runs 1 --secs "$SECS" --cc default --client-copy --noprio --nolock "$@" >"$WORK/limit" 2>"$WORK/error"; then
		python3 - "$what" "$ROUND" "$WORK/limit" >>"$OUT/results.jsonl" <<-'PY'
			import json, re, sys
			what, number, file = sys.argv[1:]
			said = re.search(r"IOPS +(\d+).*srv us/IO +([\d.]+).*srv +(\d+)% cli +(\d+)%.*lat +([\d.]+)us", open(file).read())
			iops, us, server, client, p50 = map(float, said.groups())
			print(json.dumps({"who": "limit", "what": what, "round": int(number), "us": us, "iops": iops, "p50": p50,
			    "busy": server, "client": client * 1e4 / iops}))
		PY
	else
		echo "limit, $what: $(cat "$WORK/error")" >&2
	fi
}
fact() { [ -z "$2" ] || echo "{\"who\": \"ringtgt\", \"what\": \"$1\", \"round\": $ROUND, \"value\": $2}" >>"$OUT/results.jsonl"; }

# What all targets are asked: usual WHO URL_OF_NULL URL_OF_MEMORY PID; either URL may be empty.
SPAN=(--span "$SIZE")
usual() {
	local who=$1 null=$2 ram=$3 pid=$4
	if [ -n "$null" ]; then
		row "$who" null-4k-read "$null" "$pid" --rw randread --qd 32 --sessions 4 "${SPAN[@]}"
		row "$who" null-4k-write "$null" "$pid" --rw randwrite --qd 32 --sessions 4 "${SPAN[@]}"
		row "$who" null-4k-write-r2t "$null" "$pid" --rw randwrite --qd 32 --sessions 4 --no-immediate "${SPAN[@]}"
		row "$who" null-128k-read "$null" "$pid" --rw read --bs 128k --qd 16 "${SPAN[@]}"
		row "$who" null-128k-write "$null" "$pid" --rw write --bs 128k --qd 16 "${SPAN[@]}"
		row "$who" digest-128k-read "$null" "$pid" --rw read --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
		row "$who" digest-128k-write "$null" "$pid" --rw write --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
		row "$who" qd1-4k-read "$null" "$pid" --rw randread --qd 1 "${SPAN[@]}"
	fi
	[ -n "$ram" ] || return 0
	# Memory that was never written is not there yet, and making it costs more than writing it. No more than what goes with
	# its command: istgt counts StatSN wrongly in what it asks for.
	"$RINGTGT" bench "$ram" --rw write --bs 128k --qd 8 --cpus 1 --secs 2 --warm 0 "${SPAN[@]}" >/dev/null || alive "$pid"
	row "$who" ram-4k-read "$ram" "$pid" --rw randread --qd 32 --sessions 4 "${SPAN[@]}"
	row "$who" ram-4k-write "$ram" "$pid" --rw randwrite --qd 32 --sessions 4 "${SPAN[@]}"
}
LARGE=(1m:8 16m:2) # bytes, and how many of these are outstanding

play_limit() {
	local large size qd
	# A read of nothing leaves from one place, which is in the cache (--hot); one of memory from where it lies.
	limit null-4k-read read --qd 32 --conns 4 --hot --client-spin
	limit ram-4k-read read --qd 32 --conns 4 --client-spin
	# As much in one receive as ringtgt takes of small writes.
	limit null-4k-write write --qd 32 --conns 4 --rxbuf 32768 --client-spin
	# What a load costs that does nothing but move the bytes, and sleeps.
	limit client-4k-read read --qd 32 --conns 1 --hot
	limit client-4k-write write --qd 32 --conns 1 --rxbuf 32768
	limit null-128k-read read --qd 16 --conns 1 --payload 128k --hot --client-spin
	limit null-128k-write write --qd 16 --conns 1 --payload 128k --client-spin
	limit qd1-4k-read read --qd 1 --conns 1 --hot --spin inf --client-spin
	limit few-deep read --qd 256 --conns 4 --hot --client-spin
	limit many-thin read --qd 4 --conns 256 --hot --client-spin
	for large in "${LARGE[@]}"; do
		size=${large%:*} qd=${large#*:}
		limit "null-$size-read" read --qd "$qd" --conns 1 --payload "$size" --hot --client-spin
		limit "null-$size-write" write --qd "$qd" --conns 1 --payload "$size" --client-spin
	done
	[ -n "$LOOP" ] || return 0
	# The loop device's own threads need the other processor.
	limit loop-4k-read read --qd 32 --conns 4 --disk "$LOOP"
	limit loop-4k-write write --qd 32 --conns 4 --rxbuf 32768 --disk "$LOOP"
}
# report: what the server's counters are now, in a line of its log for each reactor.
report() {
	local reactors before n
	reactors=${REACTORS:-0-0}
	reactors=$((${reactors#*-} - ${reactors%-*} + 1))
	before=$(grep -c ' disk requests ' "$WORK/log" || :)
	alive "$SERVER"
	kill -USR1 "$SERVER"
	for ((n = 0; n < 200; n++)); do
		[ "$(grep -c ' disk requests ' "$WORK/log" || :)" -lt "$((before + reactors))" ] || break
		alive "$SERVER"
		sleep 0.05
	done
	[ "$n" -lt 200 ] || { echo "the server does not tell its counters" >&2 && exit 1; }
	grep ' disk requests ' "$WORK/log" | tail -"$reactors"
}
# counters: I/Os, enters, bytes read and written, bytes copied since the start, of all reactors.
counters() {
	report | sed -nE 's/.* ([0-9]+) disk requests .* read ([0-9]+) written ([0-9]+) copied ([0-9]+) .* ([0-9]+) enters.*/\1 \5 \2 \3 \4/p' |
		awk '{ for (n = 1; n <= 5; n++) sum[n] += $n } END { print sum[1], sum[2], sum[3], sum[4], sum[5] }'
}
# enters A B: for each I/O between these counters.
enters() { awk -v a="$1" -v b="$2" 'BEGIN { split(a, x); split(b, y); print (y[2] - x[2]) / (y[1] - x[1]) }'; }
# counted WHAT OPTION...: enters for each I/O and bytes copied for each byte moved, of a load of its own.
counted() {
	local what=$1 a b
	shift
	a=$(counters)
	if ! "$RINGTGT" bench "$URL/0" --busy --cpus 1 --secs "$SECS" --warm 0 "${SPAN[@]}" "$@" >/dev/null; then
		alive "$SERVER"
		return 0
	fi
	b=$(counters)
	fact "enters-$what" "$(enters "$a" "$b")"
	fact "copied-$what" "$(awk -v a="$a" -v b="$b" 'BEGIN { split(a, x); split(b, y); print (y[5] - x[5]) / (y[3] + y[4] - x[3] - x[4]) }')"
}
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$SERVER/status"; }
# The number of the clock of a process is made of its own (clock_getcpuclockid(3)).
spent() { python3 -c 'import sys, time; print(time.clock_gettime_ns((~int(sys.argv[1]) << 3) | 2))' "$SERVER"; }
# loaded: the memory that is resident when small and large transfers have come and gone.
loaded() {
	local options
	for options in "randread 4k 32 4" "randwrite 4k 32 4" "read 128k 32 4" "write 128k 32 4" "write 1m 8 4"; do
		read -r -a options <<<"$options"
		"$RINGTGT" bench "$URL/0" --rw "${options[0]}" --bs "${options[1]}" --qd "${options[2]}" --sessions "${options[3]}" \
			--cpus 1 --secs 0.3 --warm 0 "${SPAN[@]}" >/dev/null || alive "$SERVER"
	done
	resident
}
# What a thousand sessions that do nothing cost: a fresh server has nothing lying about that they could use.
play_idle() {
	local before n a b
	start_ringtgt "null:$SIZE"
	# The first load makes what is made once; the same again is to find it there.
	a=$(loaded) b=$(loaded) n=$(loaded)
	fact load-mib "$(awk -v a="$a" -v b="$b" 'BEGIN { print (b - a) / 1024 }')"
	fact load-again-mib "$(awk -v a="$b" -v b="$n" 'BEGIN { print (b - a) / 1024 }')"
	before=$(resident)
	"$RINGTGT" bench "$URL/0" --sessions 1000 --qd 1 --rate 0.01 --secs 600 --warm 0 --cpus 1 >"$WORK/idle" 2>&1 &
	BESIDE=$!
	for ((n = 0; n < 120; n++)); do
		if [[ $(report) =~ :\ 100[0-9]\ connections ]]; then break; fi
		kill -0 "$BESIDE" 2>/dev/null || break
		sleep 0.5
	done
	if [[ $(report) =~ :\ 100[0-9]\ connections ]]; then
		sleep 2
		a=$(spent)
		sleep 5
		b=$(spent)
		[[ $(report) =~ :\ 1000\ connections ]] || { echo "there are not 1,000 sessions any more" >&2 && exit 1; }
		fact idle-1000-mib "$(awk -v a="$before" -v b="$(resident)" 'BEGIN { print (b - a) / 1024 }')"
		fact idle-1000-percent "$(awk -v a="$a" -v b="$b" 'BEGIN { print (b - a) / 5e9 * 100 }')"
	else
		echo "there are no 1,000 sessions: $(cat "$WORK/idle")" >&2
	fi
	kill "$BESIDE" 2>/dev/null || :
	wait "$BESIDE" 2>/dev/null || :
	BESIDE=''
	stop
}
# What small reads wait for beside large transfers of another session, on the same reactor. The load that moves these runs
# when the one that reads sleeps: what is asked is what the server lets reads wait for, not what two loads do to each other.
# So the reads come at a rate that leaves it most of the processor.
SMALL=(--rw randread --qd 4 --rate 2000)
play_fairness() { # play_fairness VERB LUN: what is beside
	# It begins before the reads, which take a second to warm up, and ends after them.
	chrt --idle 0 "$RINGTGT" bench "$URL/$2" --rw "$1" --bs 1M --qd 16 --cpus 1 --secs $((SECS + 4)) --warm 0 "${SPAN[@]}" --json "$WORK/beside" >/dev/null 2>&1 &
	BESIDE=$!
	sleep 0.3
	ask ringtgt "fair-beside-$1" "$URL/0" "$SERVER" "${SMALL[@]}" "${SPAN[@]}"
	kill -0 "$BESIDE" 2>/dev/null || { echo "nothing was beside the reads" >&2 && exit 1; }
	wait "$BESIDE"
	BESIDE=''
	fact "fair-$1" "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["runs"][-1]["iops"])' "$WORK/beside")"
}
play_ringtgt() {
	local large size qd verb what before
	start_ringtgt "null:$SIZE" "ram:$SIZE"
	usual ringtgt "$URL/0" "$URL/1" "$SERVER"
	for large in "${LARGE[@]}"; do
		size=${large%:*} qd=${large#*:}
		for verb in read write; do
			row ringtgt "null-$size-$verb" "$URL/0" "$SERVER" --rw "$verb" --bs "$size" --qd "$qd" "${SPAN[@]}"
		done
	done
	# A load that sleeps tells its own cost.
	ask ringtgt client-4k-read "$URL/0" "$SERVER" --rw randread --qd 32 "${SPAN[@]}"
	ask ringtgt client-4k-write "$URL/0" "$SERVER" --rw randwrite --qd 32 "${SPAN[@]}"
	ask ringtgt client-128k-read "$URL/0" "$SERVER" --rw read --bs 128k --qd 16 "${SPAN[@]}"
	ask ringtgt client-digest-128k-read "$URL/0" "$SERVER" --rw read --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
	ask ringtgt client-128k-write "$URL/0" "$SERVER" --rw write --bs 128k --qd 16 "${SPAN[@]}"
	ask ringtgt client-digest-128k-write "$URL/0" "$SERVER" --rw write --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
	ask ringtgt fair-alone "$URL/0" "$SERVER" "${SMALL[@]}" "${SPAN[@]}"
	play_fairness write 0
	play_fairness read 1
	counted 4k-read --rw randread --qd 32 --sessions 4
	counted 4k-write --rw randwrite --qd 32 --sessions 4
	counted 64k-read --rw read --bs 64k --qd 16
	counted 256k-read --rw read --bs 256k --qd 16
	counted 64k-write --rw write --bs 64k --qd 16
	counted 256k-write --rw write --bs 256k --qd 16
	stop
	if [ -n "$LOOP" ]; then
		# Polling takes the processor that a loop device does its work on, and the limit does none.
		start_ringtgt --poll-us 0 "$LOOP"
		ask ringtgt loop-4k-read "$URL/0" "$SERVER" --rw randread --qd 32 --sessions 4
		ask ringtgt loop-4k-write "$URL/0" "$SERVER" --rw randwrite --qd 32 --sessions 4
		stop
	fi
	# The load goes wherever the system puts it, and sleeps, as with two processors each reactor needs its own. Three share
	# the two then: who polls takes the processor from the others, and pays for it.
	PLACE=()
	for what in one:0-0 two:0-1; do
		REACTORS=${what#*:}
		start_ringtgt --poll-us 0 "null:$SIZE"
		for verb in read write; do
			before=$(counters)
			ask ringtgt "${what%:*}-4k-$verb" "$URL/0" "$SERVER" --rw "rand$verb" --qd 32 --sessions 4 "${SPAN[@]}"
			fact "${what%:*}-enters-4k-$verb" "$(enters "$before" "$(counters)")"
		done
		stop
	done
	PLACE=(--cpus 1) REACTORS=''
	# All rows of one server: each session does as much, or all of them together do.
	mapfile -t stores < <(yes null:64M | head -$MANY)
	start_ringtgt "${stores[@]}"
	row ringtgt few "$URL/0" "$SERVER" --rw randread --qd 32 --sessions 4 --span 64M
	row ringtgt few-deep "$URL/0" "$SERVER" --rw randread --qd 256 --sessions 4 --span 64M
	# Each unit has something to report to each session first, which takes a quarter of a million commands.
	row ringtgt many "$URL/0" "$SERVER" --rw randread --qd 32 --sessions 256 --luns $MANY --span 64M --warm 6
	row ringtgt many-thin "$URL/0" "$SERVER" --rw randread --qd 4 --sessions 256 --luns $MANY --span 64M --warm 6
	stop
	[ "$ROUND" -gt 1 ] || play_idle
}
play_tgt() {
	command -v tgtd tgtadm >/dev/null || return 0
	start_tgt
	usual tgt "iscsi://$PORTAL/$IQN/1" "iscsi://$PORTAL/$IQN/2" "$SERVER"
	stop
}
play_istgt() {
	command -v istgt >/dev/null || return 0
	start_istgt
	usual istgt "" "iscsi://$PORTAL/$IQN/0" "$SERVER"
	stop
}

# Its memory must be there before it is measured.
dd if=/dev/zero of="$WORK/disk" bs=1M count=256 status=none
LOOP=$(losetup --find --show --direct-io=on "$WORK/disk" || losetup --find --show "$WORK/disk") ||
	echo "no loop device: its rows will be missing" >&2
others STOP
for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
	play_limit
	play_ringtgt
	play_tgt
	play_istgt
	for other in "${OTHERS[@]}"; do
		kill -CONT "${other##*,}"
		place=${other#*=}
		usual "${other%%=*}" "${place%,*}" "" "${other##*,}"
		kill -STOP "${other##*,}"
	done
	echo "round $ROUND of $ROUNDS done" >&2
done
# Missed targets are its exit status, and then this one's.
python3 benches/compare.py "$OUT" "${HISTORY[@]}" && missed=0 || missed=$?
cat "$OUT/compare.md"
if [ -n "$VM" ]; then
	echo
	RINGTGT=$RINGTGT benches/vm.sh --rounds "$ROUNDS" --out "$OUT" ${HISTORY:+--history} || missed=1
else
	echo "left out: ringtgt beside LIO through the kernel's initiator in a virtual machine (--vm, or benches/vm.sh)"
fi
[ "$missed" -eq 0 ]
