# shellcheck shell=bash
# target.sh - in the guest: a ringtgt of its own. Source it; it brings initiator.sh.
#
#   config NAME=KIND:PATH[:SIZE]...   prints a configuration: one target, $IQN:NAME, for each disk
#   target_begin                      starts ringtgt with /tmp/ringtgt.toml; sets TARGET_PID
#   target_ready                      waits until it is ready, at most 60 s
#   target_end SIGNAL                 sends it and waits, at most 60 s; the exit status
# shellcheck source=tests/vm/initiator.sh
. /lab/job/initiator.sh

config() {
	local disk name kind path size
	for disk in "$@"; do
		name=${disk%%=*}
		IFS=: read -r kind path size <<<"${disk#*=}"
		[ -z "$size" ] || size="size = \"$size\""
		cat <<-TOML
			[[backstore]]
			kind = "$kind"
			name = "$name"
			path = "$path"
			$size
			[[target]]
			iqn = "$IQN:$name"
			[[target.tpg]]
			tag = 1
			portals = ["127.0.0.1:3260"]
			[[target.tpg.lun]]
			lun = 0
			backstore = "$name"
			[[target.tpg.acl]]
			initiator = "$IQN:sample-initiator"
			[[target.tpg.acl]]
			initiator = "$IQN:other-initiator"
		TOML
	done
}
target_begin() {
	: >/tmp/target.log # a line of an earlier one must not be taken for one of this
	/usr/bin/ringtgt serve --config /tmp/ringtgt.toml --state-dir /tmp/state >>/tmp/target.log 2>&1 &
	TARGET_PID=$!
	echo $TARGET_PID >/tmp/target.pid
}
target_ready() { until_ready "$TARGET_PID" /tmp/target.log; }
target_end() {
	local n rc=0
	kill "-$1" "$TARGET_PID"
	for ((n = 0; n < 600; n++)); do
		kill -0 "$TARGET_PID" 2>/dev/null || break
		sleep 0.1
	done
	[ "$n" -lt 600 ] || { echo "it still runs after 60 s" && return 99; }
	rm -f /tmp/target.pid
	wait "$TARGET_PID" || rc=$?
	return $rc
}

# busy DISK WHAT...: checked writes to DISK go on, without an error, while WHAT happens.
busy() {
	local disk=$1 fio rc=0
	shift
	fio_verify "$disk" --rw=randwrite --bssplit="$MIXED" --size=32m --iodepth=16 --rate=4m &
	fio=$!
	sleep 2
	kill -0 $fio || { echo "fio had ended before" && return 1; }
	"$@" || { echo "$*: status $?" && return 1; }
	kill -0 $fio || { echo "fio had ended too early" && return 1; }
	wait $fio || rc=$?
	return $rc
}
