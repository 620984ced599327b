#!/usr/bin/env bash
# luns.sh - what many logical units cost: until all are served, in memory, and with every change of one of them.
#
#   benches/luns.sh [[KIND:]COUNT]...      (null:10, null:10000 and fileio:10000)
#
# For each a server starts with so many stores of that kind, null or fileio (files of 1 MiB that are there already), a LUN
# each, in ten targets. It prints how long that takes until it is ready, what it has in memory then, and how long a command takes that changes one thing while all are served: a
# store and its LUN come, a parameter of a target changes, both go; the middle one of five. Every command starts, asks the
# server what is served, has the change served and saves the file. The last column, which others on this machine change
# little, is what a command takes of the processors, at both ends together.
#
# It is an error (status 1) when a server takes more than ten seconds to be ready, or a change a second.
#
# RINGTGT names another binary, PROFILE another build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROFILE=${PROFILE:-release} IQN=iqn.2026-11.org.example:t TARGETS=10 ROUNDS=5
[[ " $*" =~ ^(\ ((null|fileio):)?[0-9]+|\ )*$ ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d' && exit 2; }
[ $# -gt 0 ] || set -- null:10 null:10000 fileio:10000
if [ -z "${RINGTGT:-}" ]; then
	cargo build --quiet --profile "$PROFILE" --bin ringtgt
	RINGTGT=target/$PROFILE/ringtgt
fi
WORK=$(mktemp -d) SERVER=''
end() {
	[ -n "$SERVER" ] || return 0
	kill -KILL "$SERVER" 2>/dev/null || :
	wait "$SERVER" 2>/dev/null || :
	SERVER=''
}
cleanup() {
	end
	rm -rf "$WORK"
}
trap cleanup EXIT

configuration() { # configuration KIND COUNT
	local n t
	mkdir "$WORK/disks"
	for ((n = 0; n < $2; n++)); do
		printf '[[backstore]]\nkind = "%s"\nname = "n%d"\nsize = "1M"\n' "$1" "$n"
		[ "$1" = null ] || printf 'path = "disks/n%d"\n' "$n"
	done
	for ((t = 0; t < TARGETS; t++)); do
		printf '[[target]]\niqn = "%s%d"\n[[target.tpg]]\nportals = ["127.0.0.1:0"]\nany_initiator = true\n' "$IQN" "$t"
		for ((n = t; n < $2; n += TARGETS)); do
			printf '[[target.tpg.lun]]\nlun = %d\nbackstore = "n%d"\n' $((n / TARGETS)) "$n"
		done
	done
}

now() { echo "${EPOCHREALTIME/[.,]/}"; }
begin() {
	local begun
	rm -f "$WORK"/{log,socket} # those of one before
	begun=$(now)
	"$RINGTGT" serve --config "$WORK/ringtgt.toml" --state-dir "$WORK/state" --control-socket "$WORK/socket" >"$WORK/log" 2>&1 &
	SERVER=$!
	until grep -qs '^ready$' "$WORK/log" && [ -S "$WORK/socket" ]; do
		kill -0 "$SERVER" 2>/dev/null || { cat "$WORK/log" >&2 && exit 1; }
		sleep 0.005
	done
	START=$((($(now) - begun) / 1000))
}

FAILED=0
processors() { # what server and commands have taken so far, milliseconds
	local fields tick
	tick=$(getconf CLK_TCK)
	fields=$(sed 's/.*) //' "/proc/$SERVER/stat" "/proc/$$/stat")
	# Times of its own, and for the commands those of children.
	awk -v tick="$tick" 'NR == 1 { sum = $12 + $13 } NR == 2 { sum += $14 + $15 } END { printf "%d\n", sum * 1000 / tick }' <<<"$fields"
}
timed() { # timed NAME WORD...: how long the command takes, milliseconds
	local name=$1 begun
	shift
	begun=$(now)
	"$RINGTGT" "$@" --config "$WORK/ringtgt.toml" --control-socket "$WORK/socket" >"$WORK/said" 2>&1 || { cat "$WORK/said" >&2 && exit 1; }
	echo $((($(now) - begun) / 1000)) >>"$WORK/$name"
}
change() { # each change of one thing
	timed store create /backstores/null name=more size=1G
	timed lun create "/iscsi/${IQN}0/tpg1/luns" more
	timed set set "/iscsi/${IQN}1/tpg1" parameter "MaxOutstandingR2T=$1"
	timed unlun delete "/iscsi/${IQN}0/tpg1/luns" "$2"
	timed unstore delete /backstores/null more
}
middle() { sort -n "$WORK/$1" | sed -n "$((ROUNDS / 2 + 1))p"; }

printf '%8s %8s %9s %8s %14s %12s %10s %12s %14s %7s\n' kind luns 'ready ms' MiB 'create store' 'create LUN' set 'delete LUN' 'delete store' CPU
for luns in "$@"; do
	[[ $luns = *:* ]] || luns=null:$luns
	kind=${luns%:*} count=${luns#*:}
	rm -rf "${WORK:?}"/*
	configuration "$kind" "$count" >"$WORK/ringtgt.toml"
	chmod 600 "$WORK/ringtgt.toml"
	[ "$kind" = null ] || { begin && end; } # which makes the files
	begin
	memory=$(($(sed -nE 's/^VmRSS:[^0-9]*([0-9]+) kB/\1/p' "/proc/$SERVER/status") / 1024))
	before=$(processors)
	for ((round = 1; round <= ROUNDS; round++)); do change "$round" $(((count + TARGETS - 1) / TARGETS)); done
	processors=$((($(processors) - before) / (5 * ROUNDS)))
	times=()
	for name in store lun set unlun unstore; do times+=("$(middle "$name")"); done
	printf '%8s %8d %9d %8d %14d %12d %10d %12d %14d %7d\n' "$kind" "$count" "$START" "$memory" "${times[@]}" "$processors"
	[ "$START" -le 10000 ] || FAILED=1
	for time in "${times[@]}"; do [ "$time" -le 1000 ] || FAILED=1; done
	end
done
[ "$FAILED" -eq 0 ]
