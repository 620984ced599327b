#!/usr/bin/env bash
# compare.sh - ringtgt, tgt and the limit of this machine side by side.
#
#   benches/compare.sh [--rounds N] [--secs S] [--out DIR] [--other NAME=URL,PID]...      (3 rounds of 2 s; ./compare)
#
# Servers are pinned to processor 0, one after the other and in turns (A B C A B C), the load to processor 1. The load
# never sleeps, so that no server pays for waking it. What is compared is the server's processor time for each I/O: the
# limit is what a program pays that moves the bytes and does nothing else (benches/limits). Only ratios of one run are
# worth anything: absolute numbers depend on the machine and its neighbours.
#
# Into DIR: compare.md (tables), compare.svg (bars), results.jsonl (every measurement).
#
# ringtgt serves null and ram stores; tgt its null store and, for memory, a file in /dev/shm. tgt is told to keep its heap
# and to take data unasked, both to its advantage. --other adds a target that runs already and by itself on processor 0
# (SPDK, istgt, LIO …): its LUN of memory or nothing by URL, and its process, which is stopped (SIGSTOP) while others are
# measured.
#
# Needs root, python3, util-linux and the Debian package tgt, which it installs. RINGTGT and LIMITS name other binaries,
# PROFILE another build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROUNDS=3 SECS=2 OUT=compare OTHERS=()
while [ $# -gt 0 ]; do
	[ $# -gt 1 ] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d' && exit 2; }
	case $1 in
	--rounds) ROUNDS=$2 ;;
	--secs) SECS=$2 ;;
	--out) OUT=$2 ;;
	--other)
		[[ $2 =~ ^[^=]+=iscsi://.*,[0-9]+$ ]] || { echo "--other NAME=URL,PID" >&2 && exit 2; }
		OTHERS+=("$2")
		;;
	*) sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d' && exit 2 ;;
	esac
	shift 2
done
PROFILE=${PROFILE:-release} IQN=iqn.2026-11.org.example:compare SIZE=256M MANY=1024
PATH=$PATH:/usr/sbin
[ "$(id -u)" -eq 0 ] || { echo "root is needed: tgtd, congestion control, the shared processor" >&2 && exit 2; }
if ! command -v tgtd tgtadm >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends tgt >/dev/null
fi
for command in tgtd tgtadm taskset python3; do
	command -v "$command" >/dev/null || { echo "missing: $command" >&2 && exit 2; }
done
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
SERVER='' CONGESTION=/proc/sys/net/ipv4/tcp_congestion_control WAS=$(cat /proc/sys/net/ipv4/tcp_congestion_control)
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
	stop
	others CONT
	echo "$GROUP_WAS" 2>/dev/null >"$GROUP" || :
	echo "$WAS" 2>/dev/null >"$CONGESTION" || :
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Others pace themselves by measured bandwidth, which on loopback costs more than the work itself.
echo cubic 2>/dev/null >"$CONGESTION" || echo "cannot set cubic: congestion control is $WAS" >&2

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
start_ringtgt() { # start_ringtgt STORE...
	# What the last one has said is not this one's.
	: >"$WORK/log"
	"$RINGTGT" serve --log info --listen 127.0.0.1:0 --iqn "$IQN" --state-dir "$WORK/state" --reactors 0-0 "$@" >"$WORK/log" 2>&1 &
	SERVER=$!
	wait_for grep -q '^ready$' "$WORK/log"
	PORTAL=$(sed -nE 's/^ *portal (.*)/\1/p' "$WORK/log" | head -1)
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

# row WHO WHAT URL PID OPTION...: one measurement into the results.
row() {
	local who=$1 what=$2 url=$3 pid=$4
	shift 4
	if "$RINGTGT" bench "$url" --pid "$pid" --busy --cpus 1 --secs "$SECS" --json - "$@" >"$WORK/json" 2>"$WORK/error"; then
		python3 - "$who" "$what" "$ROUND" "$WORK/json" >>"$OUT/results.jsonl" <<-'PY'
			import json, sys
			who, what, number, file = sys.argv[1:]
			run = json.load(open(file))["runs"][-1]
			side = run["read"] or run["write"]
			print(json.dumps({"who": who, "what": what, "round": int(number), "us": run["server_cpu_us_per_io"],
			    "iops": run["iops"], "p50": side["latency_us"]["percentiles"]["p50"]}))
		PY
	else
		echo "$who, $what: $(cat "$WORK/error")" >&2
	fi
}
# limit WHAT MODE OPTION...
limit() {
	local what=$1 mode=$2
	shift 2
	"$LIMITS" "$mode" --runs 1 --secs "$SECS" --client-spin --client-copy --noprio --nolock "$@" >"$WORK/limit"
	sed -nE "s/.*IOPS +([0-9]+) .*srv us\/IO +([0-9.]+) .*lat +([0-9.]+)us.*/{\"who\": \"limit\", \"what\": \"$what\", \"round\": $ROUND, \"us\": \2, \"iops\": \1, \"p50\": \3}/p" \
		"$WORK/limit" >>"$OUT/results.jsonl"
}
fact() { echo "{\"who\": \"ringtgt\", \"what\": \"$1\", \"round\": $ROUND, \"value\": $2}" >>"$OUT/results.jsonl"; }

# What all targets are asked: usual WHO URL_OF_NULL URL_OF_MEMORY PID
SPAN=(--span "$SIZE")
usual() {
	local who=$1 null=$2 ram=$3 pid=$4
	row "$who" null-4k-read "$null" "$pid" --rw randread --qd 32 --sessions 4 "${SPAN[@]}"
	row "$who" null-4k-write "$null" "$pid" --rw randwrite --qd 32 --sessions 4 "${SPAN[@]}"
	row "$who" null-4k-write-r2t "$null" "$pid" --rw randwrite --qd 32 --sessions 4 --no-immediate "${SPAN[@]}"
	row "$who" null-128k-read "$null" "$pid" --rw read --bs 128k --qd 16 "${SPAN[@]}"
	row "$who" null-128k-write "$null" "$pid" --rw write --bs 128k --qd 16 "${SPAN[@]}"
	row "$who" digest-128k-read "$null" "$pid" --rw read --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
	row "$who" digest-128k-write "$null" "$pid" --rw write --bs 128k --qd 16 --digests header,data "${SPAN[@]}"
	row "$who" qd1-4k-read "$null" "$pid" --rw randread --qd 1 "${SPAN[@]}"
	[ -n "$ram" ] || return 0
	# Memory that was never written is not there yet, and making it costs more than writing it.
	"$RINGTGT" bench "$ram" --rw write --bs 1M --qd 8 --cpus 1 --secs 2 --warm 0 "${SPAN[@]}" >/dev/null
	row "$who" ram-4k-read "$ram" "$pid" --rw randread --qd 32 --sessions 4 "${SPAN[@]}"
	row "$who" ram-4k-write "$ram" "$pid" --rw randwrite --qd 32 --sessions 4 "${SPAN[@]}"
}

play_limit() {
	limit null-4k-read read --qd 32 --conns 4
	limit null-4k-write write --qd 32 --conns 4
	limit null-128k-read read --qd 16 --conns 1 --payload 128k
	limit null-128k-write write --qd 16 --conns 1 --payload 128k
	limit qd1-4k-read read --qd 1 --conns 1 --spin inf
}
# counters: I/Os, enters, bytes moved, bytes copied since the start.
counters() {
	local before
	before=$(grep -c ' disk requests ' "$WORK/log" || :)
	kill -USR1 "$SERVER"
	while [ "$(grep -c ' disk requests ' "$WORK/log" || :)" -le "$before" ]; do sleep 0.05; done
	sed -nE 's/.* ([0-9]+) disk requests .* read ([0-9]+) written ([0-9]+) copied ([0-9]+), .* ([0-9]+) enters.*/\1 \5 \2 \3 \4/p' "$WORK/log" | tail -1
}
# counted WHAT OPTION...: enters for each I/O and bytes copied for each byte moved, of a load of its own.
counted() {
	local what=$1 a b
	shift
	a=$(counters)
	"$RINGTGT" bench "iscsi://$PORTAL/$IQN/0" --busy --cpus 1 --secs "$SECS" --warm 0 "${SPAN[@]}" "$@" >/dev/null
	b=$(counters)
	fact "enters-$what" "$(awk -v a="$a" -v b="$b" 'BEGIN { split(a, x); split(b, y); print (y[2] - x[2]) / (y[1] - x[1]) }')"
	fact "copied-$what" "$(awk -v a="$a" -v b="$b" 'BEGIN { split(a, x); split(b, y); print (y[5] - x[5]) / (y[3] + y[4] - x[3] - x[4]) }')"
}
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$SERVER/status"; }
play_ringtgt() {
	local before generator
	start_ringtgt "null:$SIZE" "ram:$SIZE"
	usual ringtgt "iscsi://$PORTAL/$IQN/0" "iscsi://$PORTAL/$IQN/1" "$SERVER"
	counted 4k-read --rw randread --qd 32 --sessions 4
	counted 4k-write --rw randwrite --qd 32 --sessions 4
	counted 64k-write --rw write --bs 64k --qd 16
	counted 256k-write --rw write --bs 256k --qd 16
	before=$(resident)
	"$RINGTGT" bench "iscsi://$PORTAL/$IQN/0" --sessions 1000 --qd 1 --rate 1 --secs 2 --warm 8 >"$WORK/idle" 2>&1 &
	generator=$!
	sleep 8
	fact idle-1000-mib "$(($(resident) - before >> 10))"
	wait "$generator" || cat "$WORK/idle" >&2
	stop
	mapfile -t stores < <(yes null:64M | head -$MANY)
	start_ringtgt "${stores[@]}"
	# Each unit has something to report to each session first, which takes a quarter of a million commands.
	row ringtgt many "iscsi://$PORTAL/$IQN/0" "$SERVER" --rw randread --qd 32 --sessions 256 --luns $MANY --warm 6
	stop
}
play_tgt() {
	start_tgt
	usual tgt "iscsi://$PORTAL/$IQN/1" "iscsi://$PORTAL/$IQN/2" "$SERVER"
	stop
}

others STOP
for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
	play_limit
	play_ringtgt
	play_tgt
	for other in "${OTHERS[@]}"; do
		kill -CONT "${other##*,}"
		place=${other#*=}
		usual "${other%%=*}" "${place%,*}" "" "${other##*,}"
		kill -STOP "${other##*,}"
	done
	echo "round $ROUND of $ROUNDS done" >&2
done
python3 benches/compare.py "$OUT"
cat "$OUT/compare.md"
