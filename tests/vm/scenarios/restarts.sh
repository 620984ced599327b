# shellcheck shell=bash
# The target dies (kill -9), or is stopped and started (SIGTERM), under checked I/O: the initiator waits,
# comes back, and no application sees an error.
#
# Every step follows from what the disk has done, none from the time, and nobody gives up while the machine stands still
# or crawls: the kernel waits a day for a session, and five minutes for a command.
iqn=$IQN:io
set_node "$iqn" "$V4" node.session.timeo.replacement_timeout 86400
check "login" login "$iqn" "$V4"
block=/sys/block/${DEV#/dev/}
echo 300 >"$block/device/timeout"
load() { # writes, and reads back by checksum, over and over until there is /tmp/enough
	until [ -e /tmp/enough ]; do
		fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=16m --iodepth=16 || return
	done
}
ended() { awk '{ print $1 + $5 }' "$block/stat"; }
# moves: a hundred I/Os more have ended. Fails when the load is over, or nothing has ended 200 times in turn.
moves() {
	local goal=$(($(ended) + 100)) now before=0 turns=0
	while now=$(ended) && [ "$now" -lt $goal ]; do
		kill -0 "$1" || { echo "the load has ended" && return 1; }
		[ "$now" = "$before" ] || turns=0
		[ $((turns += 1)) -lt 200 ] || { echo "nothing moves" && return 1; }
		before=$now
		sleep 0.2
	done
}
stands() { # nothing ends any more, and the load waits for it
	local at
	until at=$(ended) && sleep 1 && [ "$(ended)" = "$at" ]; do :; done
	kill -0 "$1" || { echo "the load has ended" && return 1; }
}
# busy VERB: the load goes on over it and a new start.
busy() {
	local load rc=0
	rm -f /tmp/enough
	load &
	load=$!
	interrupt "$1" $load || rc=$?
	touch /tmp/enough
	wait $load && return $rc
}
interrupt() {
	moves "$2" || return
	host "$1" || { echo "$1: status $?" && return 1; }
	stands "$2" || return
	host start || return
	moves "$2"
}
port() { ss -tnH dst "$HOST_IP" | awk '{ print $4 }'; } # of the session's connection, on this side
for verb in $(for _ in $(seq "$TIMES"); do echo kill9 term; done); do
	before=$(port)
	check "checked I/O goes on over $verb and start" busy "$verb"
	check "the session has a new connection" [ "$(port)" != "$before" ]
done
check "no I/O error on the way" quiet_kernel
logout "$iqn" "$V4"
