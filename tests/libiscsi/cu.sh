# shellcheck shell=bash
# cu.sh - libiscsi's suite, test by test: each has a session of its own and a time limit, for what one leaves behind
# (a reservation, a command number) must not decide the next. Source it.

# cu_names PATTERN: the names of the tests.
cu_names() { iscsi-test-cu -l | grep -E '^(SCSI|iSCSI)\.[^.]+\.[^.]+$' | grep -E "$1"; }

# outcome NAME URL...: passed, failed or skipped; what it said is in $WORK/cu.
outcome() {
	local name=$1 rc=0 seconds=${CU_SECONDS:-60}
	shift
	# It looks once a minute whether the operation has ended.
	[ "$name" != SCSI.Sanitize.Reset ] || seconds=600
	timeout -k 2 "$seconds" iscsi-test-cu --dataloss --allow-sanitize -f -v -V -t "$name" "$@" >"$WORK/cu" 2>&1 || rc=$?
	if [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
		echo failed
	elif ! grep -qE '^ *tests +[1-9]' "$WORK/cu"; then
		echo failed # it never ran
	elif ! grep -qE '^ *asserts .* 0 +n/a' "$WORK/cu" || [ $rc -ne 0 ]; then
		echo failed
	elif sed -n '/^Suite:/,$p' "$WORK/cu" | grep -q '\[SKIPPED\]'; then
		echo skipped
	else
		echo passed
	fi
}

# Without judgement, for targets that are not ours:
# cu_play writable|protected PATTERN URL: the tests that need such a unit; says which did not pass.
declare -A CU_COUNT=([passed]=0 [failed]=0 [skipped]=0)
cu_play() {
	local name got kind urls
	for name in $(cu_names "$2"); do
		kind=writable urls=("$3")
		case $name in
		SCSI.ReadOnly.*) kind=protected ;;
		SCSI.MultipathIO.*) urls+=("$3") ;;
		esac
		[ "$kind" = "$1" ] || continue
		got=$(outcome "$name" "${urls[@]}")
		CU_COUNT[$got]=$((${CU_COUNT[$got]} + 1))
		[ "$got" = passed ] || echo "     $got $name"
	done
}
cu_total() { # cu_total WHO
	local p=${CU_COUNT[passed]} f=${CU_COUNT[failed]} s=${CU_COUNT[skipped]}
	echo "$1: $p passed / $f failed / $s skipped of $((p + f + s))"
}
