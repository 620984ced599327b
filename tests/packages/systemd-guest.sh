# shellcheck shell=bash disable=SC2317 # functions are called by check
# systemd-guest.sh first|second - in the guest, under its systemd: a new user of the package, until his machine is shut
# down; and from its next start on until he has the package no more (see systemd).
set -euo pipefail
export HOST_IP=127.0.0.1 HOST_IP6=::1 SCENARIO=packages
# shellcheck source=tests/vm/inside/target.sh
. /lab/job/target.sh
iqn=$IQN:sample toml=/etc/ringtgt/ringtgt.toml
prop() { systemctl show -p "$1" --value "${2-ringtgt}"; }
is() { # is UNIT ACTIVE ENABLED
	[ "$(systemctl is-active "$1" || :) $(systemctl is-enabled "$1" || :)" = "$2 $3" ] || {
		systemctl status --no-pager "$1"
		return 1
	}
}

initiator_up
kernel_mark
read_back() { echo 3 >/proc/sys/vm/drop_caches && sha256sum --quiet -c /var/lib/sum; }
# It is right that it tells of the README's secret, shorter than the standard wants, with the line, and of what iscsid offers first.
no_warning() {
	! journalctl -b -o cat -u ringtgt -u ringtgt.socket | grep -E 'WARN|ERROR|[Ff]ailed|already exists' |
		grep -vE 'fewer than 12 bytes|admin::live: +[0-9]* *\||CHAP by MD5'
}
nothing_runs() { is ringtgt inactive disabled && is ringtgt.socket inactive disabled; }

# --- what a new user does ---
new_user() {
	install -m 644 /lab/job/status /var/lib/dpkg/status
	: >/var/lib/dpkg/available
	check "dpkg finds what the package needs, and installs it" dpkg -i /lab/job/one.deb
	check "nothing is started or enabled unasked" nothing_runs
	readme() { # its configuration, for a disk that is here
		zcat -f /usr/share/doc/ringtgt/README.md* | awk '/^```/ { inside = $0 == "```toml"; next } inside' |
			sed 's#/dev/nvme1n1#/dev/vdb#' >"$toml" && ringtgt check "$toml"
	}
	check "the README's configuration is right" readme
	check "systemctl enable --now ringtgt" systemctl enable --now ringtgt
	check "it is active and enabled" is ringtgt active enabled
	listed() { ringtgt ls && ringtgt ls | grep -F "$iqn"; }
	check "ringtgt ls: the target" listed
	check "ringtgt doctor: nothing is wrong" ringtgt doctor
	check "the journal warns of nothing" no_warning
	default_chap sample-user supersecret
	discovered() { iscsiadm -m discovery -t sendtargets -p 127.0.0.1 | tee /tmp/found && grep -Fx "127.0.0.1:3260,1 $iqn" /tmp/found; }
	check "the target is discovered" discovered
	check "login" login "$iqn" "$V4"
	mounted() { mkfs.ext4 -q "$DEV" && mount -o noatime "$DEV" /mnt && head -c 8M /dev/urandom >/mnt/data && sha256sum /mnt/data >/var/lib/sum && sync -f /mnt; }
	check "a file system is made and written to" mounted
	check "and read" read_back
	umount /mnt
	logout "$iqn" "$V4"
	systemctl -q add-wants default.target multi-user.target # the goal of every machine but of this one
}
if [ "$1" = first ]; then
	new_user
	echo END
	exit
fi

# --- the machine has been shut down, and starts again ---
up() { is ringtgt active enabled; }
check "it serves again, and nobody has started it" until_true 60 up
check "the initiator logs in" login "$iqn" "$V4"
found() { mount -o noatime "$DEV" /mnt && read_back; }
check "and finds its data" found
check "the journal warns of nothing after that start" no_warning
modprobe brd rd_nr=1 rd_size=65536 # 64 MiB

# --- upgrades ---
# goes_on COMMAND...: checked writes, round after round, go on without an error while it runs.
goes_on() {
	local writer rc=0
	rm -f /tmp/enough /tmp/rounds
	(
		until [ -e /tmp/enough ]; do
			fio_verify /mnt/checked --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=16 || exit
			echo . >>/tmp/rounds
		done
	) &
	writer=$!
	until_true 60 [ -s /tmp/rounds ] || rc=1
	"$@" || { rc=$? && echo "$*: status $rc"; }
	touch /tmp/enough
	wait $writer && return $rc
}
# upgraded TO: another process, of that version's package, while all else is as it was.
pid=$(prop MainPID)
upgraded() {
	local before=$pid
	pid=$(prop MainPID)
	[ "$pid" -gt 0 ] && [ "$pid" != "$before" ] && is ringtgt active enabled &&
		[ "$(dpkg-query -W -f '${Status} ${Version}' ringtgt)" = "install ok installed $1" ]
}
version=$(dpkg-query -W -f '${Version}' ringtgt)
check "checked writes go on over an upgrade" goes_on dpkg -i /lab/job/two.deb
check "the target was started anew" upgraded 99.0.0-1
systemctl reset-failed ringtgt # so many starts in so short a time are over the unit's limit

# --- a change of the file ---
more() {
	sed -i '/^backstore = "sample-bs"$/a [[target.tpg.lun]]\nlun = 1\nbackstore = "more-bs"' $toml
	printf '[[backstore]]\nkind = "block"\nname = "more-bs"\npath = "/dev/ram0"\n' >>$toml
	systemctl reload ringtgt
}
check "systemctl reload, with one more disk" goes_on more
there() {
	local d
	for d in /sys/class/scsi_device/*:1/device/block/s*; do
		[ -b "/dev/${d##*/}" ] && dd if=/dev/urandom of="/dev/${d##*/}" bs=64k count=1 oflag=direct && return
	done
	return 1
}
check "the initiator has it, and nobody has asked for a scan" until_true 20 there
check "from the same process" [ "$(prop MainPID)" = "$pid" ]
shell() { ringtgt shell '/backstores/ramdisk create name=third-bs size=1M' && grep third-bs $toml && ls /etc/ringtgt/backup/*; }
check "what is typed is saved, and the earlier file kept" shell

# --- its sockets, as their file says ---
sockets() {
	sed -n 's/^# *\(systemctl enable .*\)/\1/p' /usr/lib/systemd/system/ringtgt.socket >/tmp/typed
	[ -s /tmp/typed ] && bash -e /tmp/typed
}
check "checked writes go on while systemd takes the sockets" goes_on sockets
with_sockets() { is ringtgt.socket active enabled && upgraded 99.0.0-1; }
check "it has them, and the target was started anew" with_sockets
check "the journal warns of nothing again" no_warning
check "checked writes go on over another package's turn" goes_on dpkg -i /lab/job/one.deb
with_sockets() { is ringtgt.socket active enabled && upgraded "$version"; }
check "the target was started anew, with the sockets" with_sockets
systemctl reset-failed ringtgt

# --- what rpm runs ---
rpm_upgrades() { sh /lab/job/rpm.POSTIN 2 && sh /lab/job/rpm.PREUN 1 && sh /lab/job/rpm.POSTUN 1; }
check "checked writes go on over what rpm runs for an upgrade" goes_on rpm_upgrades
check "the target was started anew" with_sockets
check "every byte is there" read_back
check "no I/O error on the way" quiet_kernel
umount /mnt
logout "$iqn" "$V4"
gone() { # gone: nothing runs, listens, or is to be started
	! pgrep -x ringtgt && ! (: <>/dev/tcp/127.0.0.1/3260) 2>/dev/null && ! find /etc/systemd/system /run/systemd -name 'ringtgt*' | grep .
}
check "what rpm runs for a removal" sh /lab/job/rpm.PREUN 0
rpm_removed() { nothing_runs && gone; }
check "service and socket are stopped and disabled" rpm_removed

# --- removed ---
check "both are enabled again" systemctl enable --now ringtgt.socket ringtgt.service
check "and serve" login "$iqn" "$V4"
logout "$iqn" "$V4"
check "it is removed" dpkg -r ringtgt
removed() {
	gone && [ ! -e /usr/bin/ringtgt ] && [ "$(prop LoadState) $(prop LoadState ringtgt.socket)" = "not-found not-found" ] &&
		[ -s $toml ]
}
check "service and socket are gone, the configuration is not" removed
check "it is purged" dpkg -P ringtgt
purged() { [ ! -e /etc/ringtgt ] && [ -n "$(ls /var/lib/ringtgt)" ]; }
check "the configuration is gone with its backups, the names of the disks are not" purged
echo "     whole: $SECONDS s on kernel $KERNEL_RELEASE"
echo END
