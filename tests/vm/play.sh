# shellcheck shell=bash
# play.sh SCENARIO[=TIMES]... - in the guest: plays the scenarios in turn against the one target on the host.
set -uo pipefail
# shellcheck source=tests/vm/initiator.sh
. /lab/job/initiator.sh
export SCENARIO=start
started=$SECONDS
initiator_up || fail "initiator_up"
host start || fail "the target did not start"
for scenario in "$@"; do
	SCENARIO=${scenario%=*} TIMES=1
	[ "$scenario" = "$SCENARIO" ] || TIMES=${scenario#*=}
	export TIMES
	kernel_mark
	t=$SECONDS
	# shellcheck disable=SC2016 # expanded by the inner shell
	if within 480 bash -euo pipefail -c '. /lab/job/initiator.sh; . "/lab/job/scenarios/$SCENARIO.sh"'; then
		echo "END $scenario"
	else
		fail "ended with status $?"
		dmesg | tail -n 15 | sed 's/^/     | /'
	fi
	echo "     $SCENARIO: $((SECONDS - t)) s on kernel $KERNEL_RELEASE"
	umount -R /mnt 2>/dev/null
	initiator_clean
	host alive >/dev/null || { fail "the target is no longer there" && host start; }
done
SCENARIO=end
check "the target ends on SIGTERM with status 0" host term
echo "     whole: $((SECONDS - started)) s"
