# shellcheck shell=bash
# The target dies (kill -9), or is stopped and started (SIGTERM), under checked I/O: the initiator waits,
# comes back, and no application sees an error.
iqn=$IQN:io
check "login" login "$iqn" "$V4"
# A disk that has a session on it takes writes for longer than the interruption.
busy() { # busy VERB
	fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=48m --iodepth=16 --rate=6m &
	local fio=$! t rc=0
	sleep 3
	kill -0 $fio || { echo "fio had ended before" && return 1; }
	host "$1" || { echo "$1: status $?" && return 1; }
	sleep 2
	t=$SECONDS
	host start || return 1
	kill -0 $fio || { echo "fio had ended before the target was back" && return 1; }
	wait $fio || rc=$?
	echo "fio ended with $rc after $((SECONDS - t)) s"
	return $rc
}
port() { ss -tnH dst "$HOST_IP" | awk '{ print $4 }'; } # of the session's connection, on this side
for verb in $(for _ in $(seq "$TIMES"); do echo kill9 term; done); do
	before=$(port)
	check "checked writes go on over $verb and start" busy "$verb"
	check "the session has a new connection" [ "$(port)" != "$before" ]
done
check "no I/O error on the way" quiet_kernel
logout "$iqn" "$V4"
