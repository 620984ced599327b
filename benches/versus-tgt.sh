#!/usr/bin/env bash
# versus-tgt.sh - ringtgt and tgt side by side: processor time of the server for each random 4 KiB I/O.
#
#   benches/versus-tgt.sh [ROUNDS] [SECONDS]      (default: 3 rounds of 3 s)
#
# Both serve from processor 0, one after the other and in turns (A B A B), to the same load generator on
# processor 1, which polls, so that the server pays for no wake-ups of its client: 32 I/Os outstanding in each of
# 4 sessions. Stores: nothing (ringtgt's null, tgt's null) and memory (ringtgt's ram, for tgt a file in /dev/shm,
# as it has no memory of its own). tgt is told to keep its heap and to take data unasked, both to its advantage.
# Needs root (tgtd) and the Debian package tgt. RINGTGT and LOAD name other binaries; PROFILE another build.
# Absolute numbers depend on the machine and its neighbours: look at the ratios, and at the spread.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROUNDS=${1:-3} SECS=${2:-3} PROFILE=${PROFILE:-release}
IQN=iqn.2026-11.org.example:versus
SIZE=256M

for command in tgtd tgtadm taskset; do
	PATH=$PATH:/usr/sbin command -v "$command" >/dev/null || { echo "missing: $command (Debian packages tgt, util-linux)" >&2 && exit 2; }
done
PATH=$PATH:/usr/sbin
if [ -z "${RINGTGT:-}" ]; then
	cargo build --quiet --profile "$PROFILE" --bin ringtgt
	RINGTGT=target/$PROFILE/ringtgt
fi
if [ -z "${LOAD:-}" ]; then
	LOAD=$(cargo bench --profile "$PROFILE" --no-run --bench load --message-format=json 2>/dev/null |
		sed -nE 's/.*"executable":"([^"]*load-[^"]*)".*/\1/p' | tail -1)
fi

WORK=$(mktemp -d /dev/shm/versus.XXXXXX)
declare -A LUN
SERVER='' CONGESTION=/proc/sys/net/ipv4/tcp_congestion_control WAS=$(cat /proc/sys/net/ipv4/tcp_congestion_control)
stop() {
	[ -n "$SERVER" ] || return 0
	kill -KILL "$SERVER" 2>/dev/null || :
	wait "$SERVER" 2>/dev/null || :
	SERVER=''
}
cleanup() {
	stop
	echo "$WAS" 2>/dev/null >"$CONGESTION" || :
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Others pace themselves by measured bandwidth, which on loopback costs more than the work itself.
echo cubic 2>/dev/null >"$CONGESTION" || echo "cannot set cubic: congestion control is $WAS" >&2

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
start_ringtgt() { # LUNs: 0 null, 1 ram
	"$RINGTGT" serve --log warn --listen 127.0.0.1:0 --iqn "$IQN" --state-dir "$WORK/state" --reactors 0-0 \
		"null:$SIZE" "ram:$SIZE" >"$WORK/log" 2>&1 &
	SERVER=$!
	wait_for grep -q '^ready$' "$WORK/log"
	PORTAL=$(sed -nE 's/^ *portal (.*)/\1/p' "$WORK/log" | head -1)
	LUN=([null]=0 [ram]=1)
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
	for name in InitialR2T=No ImmediateData=Yes FirstBurstLength=262144 MaxRecvDataSegmentLength=262144; do
		tgt --mode target --op update --tid 1 --name "${name%=*}" --value "${name#*=}"
	done
	tgt --mode logicalunit --op new --tid 1 --lun 1 --bstype null -b /dev/null
	tgt --mode logicalunit --op new --tid 1 --lun 2 --bstype rdwr -b "$WORK/file"
	tgt --mode target --op bind --tid 1 -I ALL
	LUN=([null]=1 [ram]=2)
}

# play NAME ROUND: every workload once; lines `NAME STORE VERB IOPS MICROSECONDS …` into the results.
play() {
	local store verb load verb_args
	"start_$1"
	for store in null ram; do
		load=("$LOAD" --portal "$PORTAL" --target "$IQN" --lun "${LUN[$store]}" --pid "$SERVER" --span $((256 << 20)) --terse)
		# Memory that was never written is not there yet, and making it costs more than writing it.
		[ "$store" = null ] || "${load[@]}" --write --size 65536 --secs 2 >/dev/null
		for verb in write read; do
			verb_args=()
			[ "$verb" = read ] || verb_args=(--write)
			echo "$1 $store $verb $("${load[@]}" --secs "$SECS" "${verb_args[@]}")" >>"$WORK/results"
		done
	done
	stop
}
for ((round = 1; round <= ROUNDS; round++)); do
	play ringtgt
	play tgt
	echo "round $round of $ROUNDS done" >&2
done

# Medians of the rounds, and the spread of what counts.
awk '
function median(list, n,    parts, i, j, t) {
	n = split(list, parts, " ")
	for (i = 2; i <= n; i++) for (j = i; j > 1 && parts[j] + 0 < parts[j - 1] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
	low = parts[1]; high = parts[n]
	return parts[int((n + 1) / 2)]
}
{ k = $2 " " $3; key = $1 " " k; iops[key] = iops[key] " " $4; cpu[key] = cpu[key] " " $5; if (!(k in seen)) { seen[k] = 1; order[++count] = k } }
END {
	print "| 4 KiB random, qd 32 × 4 | ringtgt µs/IO | tgt µs/IO | tgt ÷ ringtgt | ringtgt IOPS | tgt IOPS |"
	print "|---|---|---|---|---|---|"
	for (n = 1; n <= count; n++) {
		k = order[n]
		a = median(cpu["ringtgt " k]); ra = sprintf("%.2f (%.2f–%.2f)", a, low, high)
		b = median(cpu["tgt " k]); rb = sprintf("%.2f (%.2f–%.2f)", b, low, high)
		printf "| %s | %s | %s | **%.1f** | %d | %d |\n", k, ra, rb, b / a, median(iops["ringtgt " k]), median(iops["tgt " k])
	}
}' "$WORK/results"
