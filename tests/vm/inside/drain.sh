# shellcheck shell=bash disable=SC2317 # functions are called by check
# Initiators are asked to log out while checked I/O is under way: the kernel's does, comes back by itself, and is sent to
# another portal when that is said; whoever does not hear is dropped at the deadline. Nobody's I/O fails by any of it.
iqn=$IQN:drained elsewhere=127.0.0.1:3261
config drained=block:/dev/ram0 | sed 's/^portals = .*/portals = ["127.0.0.1:3260", "127.0.0.1:3261"]/' >/tmp/ringtgt.toml
chmod 600 /tmp/ringtgt.toml
drain() { ringtgt drain --control-socket /tmp/state/control.sock "$@"; }
# at PORTAL: whether the session is logged in there.
at() {
	local conn=/sys/class/iscsi_connection
	head $conn/*/{address,port} /sys/class/iscsi_session/*/state
	grep -qx LOGGED_IN /sys/class/iscsi_session/*/state && [ "$(cat $conn/*/address):$(cat $conn/*/port)" = "$1" ]
}
ends() { grep -c 'session ends' /tmp/target.log; }
logins() { grep -c 'login: login initiator' /tmp/target.log; }
# again TIMES PORTAL: so many logins there have been, the last one there.
again() { [ "$(logins)" -ge "$1" ] && at "$2"; }
moved=0
# on: checked I/O goes on, and has done something since this was asked last.
on() {
	local before=$moved
	kill -0 $fio || { cat /tmp/fio.log && return 1; }
	moved=$(awk '{ print $7 }' "/sys/class/block/${DEV##*/}/stat")
	[ "$moved" -gt "$before" ]
}

target_begin
check "the target serves" target_ready
check "login" login "$iqn" "$V4"
kernel_mark
fio --name=on --filename="$DEV" --direct=1 --ioengine=libaio --rw=randwrite --bs=4k --iodepth=8 --size=32m --rate_iops=500 \
	--verify=crc32c --verify_fatal=1 --loops=1000 --time_based --runtime=600 --eta=never --output-format=json --output=/tmp/on.json 2>/tmp/fio.log &
fio=$!
check "checked writes are under way" until_true 10 on
check "the initiator is asked to log out" drain --initiator "$IQN:sample-initiator" --deadline 30
check "it comes back" until_true 30 again 2 127.0.0.1:3260
check "it has logged out by itself" grep -qE 'session ends.*reason=logged out( |$)' /tmp/target.log
check "its I/O goes on" until_true 30 on

pkill -STOP iscsid # nobody answers
check "it is asked again" drain --initiator "$IQN:sample-initiator" --deadline 3
ended() { [ "$(ends)" -ge 2 ]; }
early() { sleep 1 && ! ended; }
check "it has time until the deadline" early
check "then it is dropped" until_true 15 grep -q 'session ends.*reason=put out by an administrator' /tmp/target.log
pkill -CONT iscsid
check "it comes back" until_true 60 again 3 127.0.0.1:3260
check "its I/O goes on" until_true 30 on

check "who comes to the portal is sent to another" drain --portal 127.0.0.1:3260 --to "$elsewhere" --deadline 20
check "it is there" until_true 30 again 4 "$elsewhere"
check "its I/O goes on" until_true 30 on
sleep 20
check "after that it is asked to log out" drain --portal "$elsewhere" --deadline 30
check "and comes back to where it began" until_true 30 again 5 127.0.0.1:3260
check "its I/O goes on" until_true 30 on
kill -INT $fio
wait $fio || : # it was told to end
check "no I/O has failed, and all that was read was right" [ "$(sed -n 's/^ *"error" : \([0-9]*\).*/\1/p' /tmp/on.json)" = 0 ]
check "the kernel has told nobody of an error" quiet_kernel
logout "$iqn" "$V4"
check "the target ends on SIGTERM with status 0" target_end TERM
