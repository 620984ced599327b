# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source this
# initiator.sh - in the guest: what the scenarios share. Source it.
#
# What a scenario saw:   pass WHAT, fail WHAT, check WHAT COMMAND...  print one line each, PASS or FAIL.
#   within TURNS COMMAND...       its output and status; it is ended when it says nothing for so long
#   until_true SECONDS COMMAND... until it succeeds; its status
#   each COMMAND...               each of these words, a command with its arguments, until one fails
# A ringtgt in the guest:
#   until_ready PID LOG           waits at most 60 s until it has said in LOG that it is ready; prints LOG if it does not
# The kernel's iSCSI initiator:
#   initiator_up                  load the modules, start udevd and iscsid
#   default_chap USER SECRET      what iscsid tells who it is, from the next discovery on
#   node IQN PORTAL ARG...        iscsiadm on that node record, which is made when absent
#   set_node IQN PORTAL KEY VALUE [KEY VALUE]...
#   login IQN PORTAL              log in; sets DEV to the disk and HCTL_HOST to the session's number
#   logout IQN PORTAL
#   another_initiator             makes one of another name; `IFACE=other` before node, login and logout means it
#   paths_up N, map_removed       of the multipath map of $wwid
#   initiator_clean               log out of everything and forget it
# The host is asked by `host VERB ARG...` (see verbs.sh).

IQN=iqn.2023-03.sample.ec2
V4=$HOST_IP:3260
V6="[$HOST_IP6]:3260"

pass() { printf 'PASS %s: %s\n' "$SCENARIO" "$*"; }
fail() { printf 'FAIL %s: %s\n' "$SCENARIO" "$*"; }
check() {
	local what=$1
	shift
	if "$@" >/tmp/check.out 2>&1; then # no subshell: what the command sets stays
		pass "$what"
	else
		fail "$what"
		tail -n 20 /tmp/check.out | sed 's/^/     | /'
		return 1
	fi
}

# What it says the last time is said.
until_true() {
	local n=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $((n -= 1)) -gt 0 ] || {
			"$@"
			return
		}
		sleep 0.2
	done
}
each() {
	local c
	for c in "$@"; do $c || { echo "$c: status $?" && return 1; }; done
}

until_ready() {
	local n
	for ((n = 0; n < 600; n++)); do
		! grep -qx ready "$2" || return 0
		kill -0 "$1" || break
		sleep 0.1
	done
	cat "$2"
	return 1
}

# within TURNS COMMAND...: its output and its status. It is ended when it has said nothing for that many turns of a
# second or longer: time in which the machine stands still is none.
within() {
	local limit=$1 quiet=0 size=0 now pid tail
	shift
	: >/tmp/output
	setsid "$@" >/tmp/output 2>&1 &
	pid=$!
	tail -f -n +1 -s 0.2 --pid=$pid /tmp/output &
	tail=$!
	while kill -0 $pid 2>/dev/null; do
		sleep 1
		now=$(stat -c %s /tmp/output)
		[ "$now" = "$size" ] || quiet=0
		size=$now
		[ $((quiet += 1)) -le "$limit" ] || {
			echo "     silent for too long: ended"
			kill -TERM -- -$pid
			sleep 5
			kill -KILL -- -$pid
		} 2>/dev/null
	done
	wait $tail
	wait $pid
}

initiator_up() {
	modprobe -a iscsi_tcp sd_mod sg
	modprobe crc32c-intel 2>/dev/null || modprobe crc32c_generic 2>/dev/null || : # for digests
	mkdir -p /run/lock/iscsi
	[ -d /run/systemd/system ] || /usr/lib/systemd/systemd-udevd --daemon # else it runs
	udevadm trigger --type=subsystems --action=add
	udevadm trigger --type=devices --action=add
	udevadm settle --timeout=30
	if [ -d /run/systemd/system ]; then systemctl start iscsid; else iscsid; fi
}

default_chap() {
	sed -i '/^node.session.auth/d' /etc/iscsi/iscsid.conf
	cat >>/etc/iscsi/iscsid.conf <<-CONF
		node.session.auth.authmethod = CHAP
		node.session.auth.username = $1
		node.session.auth.password = $2
	CONF
}

node() {
	local at=(iscsiadm -m node -T "$1" -p "$2" -I "${IFACE-default}")
	shift 2
	"${at[@]}" >/dev/null 2>&1 || "${at[@]}" -o new >/dev/null
	"${at[@]}" "$@"
}
set_node() {
	local iqn=$1 portal=$2
	shift 2
	while [ $# -gt 0 ]; do
		node "$iqn" "$portal" -o update -n "$1" -v "$2"
		shift 2
	done
}

# session_disk IQN ADDRESS: the disk of the session (of the initiator $IFACE) to that address.
session_disk() {
	local s d
	for s in /sys/class/iscsi_session/session*; do
		[ "$(cat "$s/targetname" 2>/dev/null)" = "$1" ] || continue
		[ "$(cat "$s/ifacename")" = "${IFACE-default}" ] || continue
		[ "$(cat "$s"/device/connection*/iscsi_connection/*/persistent_address)" = "$2" ] || continue
		for d in "$s"/device/target*/*:*/block/s[dr]*; do
			if [ -e "$d" ]; then
				echo "/dev/${d##*/}"
				return
			fi
		done
	done
	return 1
}
login() {
	local n address=${2%:*}
	address=${address#[}
	address=${address%]}
	node "$1" "$2" --login >/tmp/login.log 2>&1 || {
		n=$?
		cat /tmp/login.log
		return "$n"
	}
	for ((n = 0; n < 200; n++)); do
		if DEV=$(session_disk "$1" "$address") && [ -b "$DEV" ]; then
			udevadm settle --timeout=30
			return 0
		fi
		sleep 0.05
	done
	echo "login: a session, but no disk came"
	return 1
}
# logout IQN PORTAL: when udev has let go of the disks. It reads those that were written, and to be cut short in that
# would be an I/O error of the initiator's own making.
logout() {
	udevadm settle --timeout=30 || :
	node "$1" "$2" --logout >/dev/null
}
another_initiator() {
	iscsiadm -m iface -I other -o new && iscsiadm -m iface -I other -o update -n iface.initiatorname -v "$IQN:other-initiator"
}

# paths_up N: within 30 s the map has N paths that work.
paths_up() {
	local n
	for ((n = 0; n < 60; n++)); do
		[ "$(multipathd show paths raw format '%w %t' 2>/dev/null | grep -c "^${wwid:?} .*active")" != "$1" ] || return 0
		sleep 0.5
	done
	multipathd show paths
	return 1
}
# map_removed: within 10 s, for udev may still be looking at it.
map_removed() {
	local n
	for n in $(seq 50); do
		[ ! -e "/dev/mapper/$wwid" ] || multipath -f "$wwid" >/dev/null && return
		sleep 0.2
	done
	return 1
}
initiator_clean() {
	iscsiadm -m node --logoutall=all >/dev/null 2>&1 || :
	iscsiadm -m node -o delete >/dev/null 2>&1 || :
	iscsiadm -m iface -I other -o delete >/dev/null 2>&1 || :
	iscsiadm -m discoverydb -o delete >/dev/null 2>&1 || :
}

# fio_verify FILE ARG...: writes blocks of mixed sizes, each with its own checksum, and reads them back.
fio_verify() {
	local file=$1
	shift
	fio --name=verify --filename="$file" --direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 \
		--eta=never --output=/tmp/fio.log "$@" || {
		cat /tmp/fio.log
		return 1
	}
}
# The sizes, in which small ones are most of the I/Os and big ones most of the bytes.
MIXED=512/25:1k/10:2k/10:4k/25:8k/5:16k/5:64k/8:128k/5:256k/4:1m/3

# quiet_kernel: no I/O error since kernel_mark.
kernel_mark() { dmesg -C; }
quiet_kernel() { ! dmesg | grep -iE 'I/O error|Medium Error|Aborted Command|offlined|EXT4-fs error|XFS.*(error|corrupt)'; }
