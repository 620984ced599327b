# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source this
# lib.sh - what the shell tests on the host share. Source it.
#
# A test says what it saw in lines `PASS what` and `FAIL what`; tests/run counts these. `finish` ends a
# test: its status is 0 only if something passed and nothing failed.
#
# TARGET says who serves: ringtgt (default) or tgt. The second is for judging the tests: what fails
# against both is more likely the test's fault than ringtgt's.
# KERNEL_LEVEL, when set, masks what newer kernels have: ringtgt's --kernel-level. REACTORS, when set, is how many
# reactors it has; without, one for each processor.

PATH=$PATH:/usr/sbin:/sbin # not everybody's, but there is what makes and checks file systems
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${TARGET:=ringtgt}"
: "${RINGTGT:=$ROOT/target/release/ringtgt}"

PASSED=0 FAILED=0
say() { printf '%s\n' "$*" >&2; }
pass() {
	PASSED=$((PASSED + 1))
	printf 'PASS %s\n' "$*"
}
fail() {
	FAILED=$((FAILED + 1))
	printf 'FAIL %s\n' "$*"
}
# check WHAT COMMAND...: one line by the command's status; its output only when it failed.
check() {
	local what=$1 log
	shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1; then # no subshell: what the command sets stays
		pass "$what"
	else
		fail "$what"
		tail -n 20 "$log" | sed 's/^/     | /'
	fi
	rm -f "$log"
}
finish() {
	[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
	exit
}

# need PACKAGE:COMMAND...: ends the test when a command is missing (tests/run installs them).
need() {
	local p missing=()
	for p in "$@"; do command -v "${p#*:}" >/dev/null || missing+=("${p%%:*}"); done
	[ ${#missing[@]} -eq 0 ] || {
		say "missing: ${missing[*]} (Debian packages; tests/run installs them when root)"
		exit 2
	}
}

# --- a scratch directory and a target, both gone at exit ------------------------
: "${WORK:=}"
TARGET_PID=''
scratch() {
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/ringtgt-test.XXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}
cleanup() {
	target_stop KILL || :
	[ -z "$WORK" ] || rm -rf "$WORK"
}

# wait_line FILE REGEX PID SECONDS: until FILE has such a line; fails when PID has ended or time is up.
wait_line() {
	local n=$(($4 * 20))
	until grep -qE "$2" "$1" 2>/dev/null; do
		kill -0 "$3" 2>/dev/null || return 1
		[ $((n -= 1)) -gt 0 ] || return 1
		sleep 0.05
	done
}

# target_stop SIGNAL: sends it and waits, at most 30 s; the target's exit status, 137 when it had to be killed.
target_stop() {
	local pid=$TARGET_PID rc=0 n
	[ -n "$pid" ] || return 0
	TARGET_PID=''
	if [ "$TARGET:$1" = tgt:TERM ]; then # it would wait for ever for its targets to be removed
		kill -KILL "$pid"
		wait "$pid" 2>/dev/null || return 0
	fi
	kill "-$1" "$pid" 2>/dev/null || :
	for ((n = 0; n < 600; n++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -KILL "$pid" 2>/dev/null || :
	wait "$pid" 2>/dev/null || rc=$?
	return "$rc"
}

# serve IQN [OPTION...] STORE...: one target on a free port of 127.0.0.1, as `ringtgt serve` takes it.
# Sets URL (its first LUN) and PORT.
serve() {
	case $TARGET in
	ringtgt) serve_ringtgt "$@" ;;
	tgt) serve_tgt "$@" ;;
	*) say "TARGET=$TARGET: ringtgt or tgt" && exit 2 ;;
	esac
	URL=iscsi://127.0.0.1:$PORT/$1/$FIRST_LUN
}
serve_ringtgt() {
	local log=$WORK/target.log
	: >"$log"
	# A configuration says name and address itself.
	if [ "$2" = --config ]; then set -- "${@:2}"; else set -- --listen 127.0.0.1:0 --iqn "$@"; fi
	"$RINGTGT" serve --state-dir "$WORK/state" ${KERNEL_LEVEL:+--kernel-level "$KERNEL_LEVEL"} ${REACTORS:+--reactors "$REACTORS"} \
		"$@" >"$log" 2>&1 &
	TARGET_PID=$!
	wait_line "$log" '^ready$' "$TARGET_PID" 40 || {
		say "ringtgt did not get ready:"
		cat "$log" >&2
		return 1
	}
	PORT=$(grep -oE '127\.0\.0\.1:[0-9]+' "$log" | head -1 | cut -d: -f2)
	FIRST_LUN=0
}
# tgt takes neither 0 as port nor LUN 0; of the options it knows --block-size=N and --read-only.
serve_tgt() {
	local iqn=$1 block=512 lun=0 store readonly=0
	shift
	PORT=$((20000 + $$ % 10000)) FIRST_LUN=1
	tgtd_start "127.0.0.1:$PORT"
	tgt target new --tid 1 -T "$iqn"
	for store in "$@"; do
		case $store in
		--block-size=*) block=${store#*=} ;;
		--read-only) readonly=1 ;;
		*)
			[ "$store" = "${store%:*}" ] || truncate -s "${store##*:}" "${store%:*}"
			tgt logicalunit new --tid 1 --lun $((lun += 1)) -b "${store%:*}" --blocksize "$block"
			tgt logicalunit update --tid 1 --lun "$lun" --params "thin_provisioning=1,readonly=$readonly"
			;;
		esac
	done
	tgt target bind --tid 1 -I ALL
}
tgt() { # tgt MODE OP ARG...
	local mode=$1 op=$2
	shift 2
	tgtadm -C "$TGT_CONTROL" --lld iscsi --mode "$mode" --op "$op" "$@"
}
tgtd_start() { # tgtd_start PORTAL
	local n
	mkdir -p /var/run/tgtd
	TGT_CONTROL=$(($$ % 30000))
	tgtd -f -C "$TGT_CONTROL" --iscsi "portal=$1" >"$WORK/target.log" 2>&1 &
	TARGET_PID=$!
	for ((n = 0; n < 100; n++)); do
		tgt sys show >/dev/null 2>&1 && return
		sleep 0.05
	done
	return 1
}
