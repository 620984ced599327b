# shellcheck shell=bash
# The sample unit, as it is in tuning/, under a real systemd: start, READY, STATUS, restart under I/O, watchdog,
# stop; and that what it forbids the daemon is nothing that the daemon needs.
unit=/etc/systemd/system/ringtgt.service
prop() { systemctl show -p "$1" --value ringtgt; }
said() { journalctl -b -o cat -u ringtgt | grep -E "$1"; } # what daemon and manager said about it
is() { # is PROPERTY VALUE
	[ "$(prop "$1")" = "$2" ] || {
		systemctl status --no-pager ringtgt
		return 1
	}
}
started() { # started UNITS: is up, has said READY and what it serves
	is ActiveState active && is SubState running && is StatusText "serving $1 logical units"
}
stopped() { is Result success && is ExecMainCode 1 && is ExecMainStatus 0; } # 1: by exit, not by a signal

install -m 644 /lab/job/ringtgt.service $unit
install -D -m 600 /lab/job/ringtgt.toml /etc/ringtgt/ringtgt.toml
# An inactive unit that nothing names is forgotten, with how it ended.
mkdir -p /run/systemd/system/basic.target.d
printf '[Unit]\nBefore=ringtgt.service\n' >/run/systemd/system/basic.target.d/ringtgt.conf
systemctl daemon-reload
sound() { systemd-analyze verify $unit 2>&1 | tee /tmp/verify | { ! grep ringtgt; }; }
check "systemd has nothing to say against the unit" sound
# Type=notify: start returns only when READY=1 has come.
check "systemctl start, with the sample configuration as it is" systemctl start ringtgt
check "it is active and says what it serves" started 0
check "systemctl stop" systemctl stop ringtgt
check "it ended with status 0" stopped

mkdir -p /srv
config disk=fileio:/srv/disk.img:256M ram=block:/dev/ram0 >/etc/ringtgt/ringtgt.toml
start() {
	systemctl start ringtgt || {
		said .
		return 1
	}
}
check "systemctl start, with a file and a block device" start
check "both are served" started 2
pid=$(prop MainPID)
confined() {
	grep -qx 'NoNewPrivs:.1' "/proc/$pid/status" && grep -qx 'Seccomp:.2' "/proc/$pid/status" &&
		[ "$(sed -n 's/^CapEff:.*0*\([1-9a-f][0-9a-f]*\)$/\1/p' "/proc/$pid/status")" = 2 ]
}
check "the daemon is confined: one capability, filtered calls" confined
first() { # each of its threads
	local task
	for task in "/proc/$pid"/task/*; do
		[ "$(ionice -p "${task##*/}")" = 'best-effort: prio 0' ] || { cat "$task/comm" && ionice -p "${task##*/}" && return 1; }
	done
}
check "where a scheduler sorts requests, its own come first" first
direct() { # direct PATH: the daemon has it open with O_DIRECT (octal 40000)
	local fd
	for fd in "/proc/$pid"/fd/*; do
		[ "$(readlink "$fd")" != "$1" ] || {
			[ $((8#$(sed -n 's/^flags:[[:space:]]*//p' "/proc/$pid/fdinfo/${fd##*/}") & 8#40000)) -ne 0 ]
			return
		}
	done
	return 1
}
check "the file is open for direct I/O" direct /srv/disk.img
check "so is the block device" direct /dev/ram0
no_warning() { ! said 'WARN|ERROR'; }
check "no warning: buffers registered, limits raised, threads placed" no_warning
# Of protocol 15, the kernel's announcements, and with the number of the process.
hears() { awk -v pid="$pid" '$2 == 15 && $3 == pid { n++ } END { exit !n }' /proc/net/netlink; }
check "it hears of devices that grow" hears
private() { [ "$(stat -c %a /var/lib/ringtgt)" = 700 ] && [ -n "$(ls /var/lib/ringtgt)" ]; }
check "identities are kept in the state directory, for nobody else" private

# A reload is done, or refused, when systemctl returns, and its status says which.
toml=/etc/ringtgt/ringtgt.toml
cp $toml /tmp/served.toml
config more=fileio:/srv/more.img:1M >>$toml
check "systemctl reload" systemctl reload ringtgt
check "what the file says now is served" ringtgt diff
check "by the same process" [ "$(prop MainPID)" = "$pid" ]
printf '[[backstore]]\nkind = "nul"\nname = "wrong"\n' >>$toml
refused() { ! systemctl reload ringtgt; }
check "systemctl reload fails where the file is wrong" refused
check "the journal says where" said 'ringtgt.toml:[0-9]+:[0-9]+'
cp /tmp/served.toml $toml
check "systemctl reload of what was served before" systemctl reload ringtgt

login "$IQN:ram" "$V4"
check "checked I/O on the block device" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16
logout "$IQN:ram" "$V4"
iqn=$IQN:disk
check "login" login "$iqn" "$V4"
name=$(udevadm info -q property "$DEV" | sed -n 's/^ID_SERIAL=//p')
check "checked writes go on over systemctl restart" busy "$DEV" systemctl restart ringtgt
check "it is another process" [ "$(prop MainPID)" != "$pid" ]
check "both are served again" started 2
check "the disk is the same" [ "$(udevadm info -q property "$DEV" | sed -n 's/^ID_SERIAL=//p')" = "$name" ]
pid=$(prop MainPID)
killed() {
	systemctl kill -s KILL ringtgt
	until_true 60 is NRestarts 1 && until_true 60 started 2
}
check "checked writes go on over kill -9, after which systemd starts it by itself" busy "$DEV" killed

# The watchdog. Pings come at half of WatchdogSec=30.
ping() { prop WatchdogTimestampMonotonic; }
before=$(ping)
later() { [ "$(ping)" -gt "$before" ]; }
check "WATCHDOG=1 arrives" until_true 20 later
mkdir -p /run/systemd/system/ringtgt.service.d
printf '[Service]\nWatchdogSec=6\n' >/run/systemd/system/ringtgt.service.d/hang.conf
systemctl daemon-reload
systemctl reset-failed ringtgt # so many starts in so short a time are over the unit's limit
systemctl restart ringtgt
# One reactor hangs, all else lives: a tracer that is itself stopped stops it at its next system call.
hung() {
	local pid task tracer
	pid=$(prop MainPID)
	task=$(grep -lx reactor-0 "/proc/$pid"/task/*/comm | cut -d/ -f5)
	strace -qq -o /dev/null -p "$task" &
	tracer=$!
	sleep 1
	kill -STOP $tracer
	until_true 40 said 'Watchdog timeout'
	kill -KILL $tracer
	until_true 60 is NRestarts 1 && until_true 60 started 2
}
check "checked writes go on over a reactor that hangs: the watchdog ends it, and it is started anew" busy "$DEV" hung
rm -r /run/systemd/system/ringtgt.service.d
systemctl daemon-reload
systemctl reset-failed ringtgt

check "systemctl stop, with an initiator logged in" systemctl stop ringtgt
check "it ended with status 0 again" stopped
check "systemctl start" systemctl start ringtgt
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
systemctl stop ringtgt

# As a user of its own, who may do nothing but what the group disk may.
systemd-sysusers /lab/job/sysusers.conf
install -D -m 644 /lab/job/own-user.conf /run/systemd/system/ringtgt.service.d/own-user.conf
chown -R ringtgt: /etc/ringtgt /var/lib/ringtgt /srv/disk.img
systemctl daemon-reload
systemctl reset-failed ringtgt
check "systemctl start, as a user of its own" start
check "it serves both, too" started 2
pid=$(prop MainPID)
nobody() { # no process of root's, and none with a capability
	local status=/proc/$pid/status
	[ "$(stat -c %U "/proc/$pid")" = ringtgt ] && grep -qx 'CapEff:.0*' "$status" && grep -qx 'CapBnd:.0*' "$status" &&
		grep -qw "$(getent group disk | cut -d: -f3)" <(grep '^Groups:' "$status")
}
check "by the group disk, and without any capability" nobody
check "login to the block device" login "$IQN:ram" "$V4"
check "checked I/O on it" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16
logout "$IQN:ram" "$V4"
check "login to the file" login "$iqn" "$V4"
check "checked I/O on that" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16
logout "$iqn" "$V4"
check "it warns of nothing" no_warning
systemctl stop ringtgt
rm -r /run/systemd/system/ringtgt.service.d
systemctl daemon-reload
chown -R root: /etc/ringtgt /var/lib/ringtgt /srv/disk.img

# The sockets in the hands of systemd, as the sample has them but for the address.
install -m 644 /lab/job/ringtgt.socket /etc/systemd/system/ringtgt.socket
mkdir -p /run/systemd/system/ringtgt.socket.d
printf '[Socket]\nListenStream=\nListenStream=%s\n' "$V4" >/run/systemd/system/ringtgt.socket.d/portal.conf
systemctl daemon-reload
systemctl reset-failed ringtgt
check "systemctl start ringtgt.socket" systemctl start ringtgt.socket
is_away() { is ActiveState inactive; }
check "the target is not there" is_away
check "who logs in starts it" login "$iqn" "$V4"
check "it serves both" started 2
unrefused() { # each of many who come while it restarts
	local restart n=0
	systemctl restart ringtgt &
	restart=$!
	while kill -0 $restart 2>/dev/null; do
		(: <>"/dev/tcp/${V4%:*}/${V4#*:}") || return
		n=$((n + 1))
		sleep 0.02
	done
	wait $restart || return
	[ "$n" -gt 5 ] || { echo "only $n came" && return 1; }
}
check "nobody is refused while it restarts" unrefused
check "checked writes go on over that, too" busy "$DEV" unrefused
check "it has nothing to say against the sockets" no_warning
logout "$iqn" "$V4"
systemctl stop ringtgt.socket ringtgt
rm -r /etc/systemd/system/ringtgt.socket /run/systemd/system/ringtgt.socket.d
systemctl daemon-reload

# A block device that is there only after the start.
config disk=fileio:/srv/disk.img:256M late=block:/dev/mapper/late >/etc/ringtgt/ringtgt.toml
systemctl reset-failed ringtgt
check "systemctl start, with a block device that is not there" start
check "both are served" started 2
check "login to the one that is there" login "$iqn" "$V4"
check "checked I/O on it" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16
logout "$iqn" "$V4"
dmsetup create late --table "0 131072 linear /dev/ram1 0"
alive() { said '/backstores/block/late .*it is there'; }
check "the other one appears, and comes alive" until_true 20 alive
check "login to that one" login "$IQN:late" "$V4"
check "checked I/O there" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16
logout "$IQN:late" "$V4"
systemctl stop ringtgt
dmsetup remove late
