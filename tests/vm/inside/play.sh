# shellcheck shell=bash
# play.sh SCENARIO... - in the guest: plays the scenarios in turn, with target and initiator on one machine.
set -uo pipefail
export HOST_IP=127.0.0.1 HOST_IP6=::1 SCENARIO=start
# shellcheck source=tests/vm/inside/target.sh
. /lab/job/inside/target.sh
started=$SECONDS
# A failed scenario's daemon must not keep the next one's devices.
clean() {
	host release # neither guest nor QEMU can end with writes under way
	umount -R /mnt 2>/dev/null
	initiator_clean
	systemctl stop ringtgt 2>/dev/null
	[ ! -e /tmp/target.pid ] || kill -KILL "$(cat /tmp/target.pid)" 2>/dev/null
}
install -m 755 /lab/job/ringtgt /usr/bin/ringtgt
modprobe brd rd_nr=3 rd_size=65536 # 64 MiB each
modprobe -a dm-mod dm-flakey
initiator_up || fail "initiator_up"
for scenario in "$@"; do
	SCENARIO=$scenario
	kernel_mark
	t=$SECONDS
	# shellcheck disable=SC2016 # expanded by the inner shell
	if within 600 bash -euo pipefail -c '. /lab/job/inside/target.sh; . "/lab/job/inside/$SCENARIO.sh"'; then
		echo "END $scenario"
	else
		fail "ended with status $?"
		dmesg | tail -n 15 | sed 's/^/     | /'
		tail -n 15 /tmp/target.log 2>/dev/null | sed 's/^/     | /'
	fi
	echo "     $SCENARIO: $((SECONDS - t)) s on kernel $KERNEL_RELEASE"
	clean
done
echo "     whole: $((SECONDS - started)) s"
