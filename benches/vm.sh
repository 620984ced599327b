#!/usr/bin/env bash
# vm.sh - ringtgt and LIO, the kernel's own target, by turns in one virtual machine, asked by the kernel's initiator there.
#
#   benches/vm.sh [--rounds N] [--secs S] [--disks LIST] [--kernel NAME] [--out DIR] [--history]
#
#   --rounds, --secs   so many rounds, with so many seconds for each row (3 and 3)
#   --disks LIST       what is served, with commas between: null (null_blk), brd (a RAM disk of the kernel); both
#   --kernel NAME      the guest's kernel, as tests/vm/build-guest.sh calls it (cloud-amd64)
#   --out DIR          where the results go (./compare)
#   --history          appends them to benches/HISTORY.md
#
# Servers, initiator and load (fio) share the guest, by loopback. Both targets serve the same device, one after the other
# (A B A B), with their defaults, and to both the initiator logs in with its own. What is compared is the rate of I/Os.
#
# Into DIR: vm.md (PASS or missed, then the rates), vm.jsonl (every measurement). The exit status is 1 when a target was
# missed or a row is missing.
#
# Where QEMU emulates the processor (ACCEL, by default tcg), the figures are distorted: an instruction costs many of its
# own, a change between user space and kernel hundreds, and both processors share what translates them. What such a
# machine says is only who does less.
#
# Needs what tests/vm/run-guest.sh needs. RINGTGT names another binary than target/release/ringtgt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d'
	exit 2
}
COMMAND="benches/vm.sh${*:+ $*}"
ROUNDS=3 SECS=3 DISKS=null,brd OUT=compare HISTORY=''
: "${KERNEL:=cloud-amd64}" "${ACCEL:=tcg,thread=multi}"
export KERNEL ACCEL
while [ $# -gt 0 ]; do
	if [ "$1" = --history ]; then
		HISTORY=benches/HISTORY.md
		shift
		continue
	fi
	[ $# -gt 1 ] || usage
	case $1 in
	--rounds) ROUNDS=$2 ;;
	--secs) SECS=$2 ;;
	--disks) DISKS=$2 ;;
	--kernel) KERNEL=$2 ;;
	--out) OUT=$2 ;;
	*) usage ;;
	esac
	shift 2
done
[[ $ROUNDS =~ ^[1-9][0-9]*$ && $SECS =~ ^[1-9][0-9]*$ ]] || { echo "rounds and seconds are whole numbers" >&2 && exit 2; }
[[ $DISKS =~ ^(null|brd)(,(null|brd))*$ ]] || { echo "--disks null,brd or one of them" >&2 && exit 2; }
if [ -z "${RINGTGT:-}" ]; then
	cargo build --quiet --release --bin ringtgt
	RINGTGT=target/release/ringtgt
fi

mkdir -p "$OUT"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cp "$RINGTGT" "$WORK/ringtgt" # under this name in the guest, whatever it is called here
status=0
tests/vm/run-guest.sh -s "$WORK/ringtgt" -s tests/vm/initiator.sh -f benches/vm-guest.sh "$ROUNDS" "$SECS" "${DISKS//,/ }" |
	tee "$WORK/said" | grep --line-buffered -v '^{' >&2 || status=${PIPESTATUS[0]}
[ "$status" -eq 0 ] || echo "the guest ended with status $status: rows are missing" >&2
grep '^{' "$WORK/said" >"$OUT/vm.jsonl" || :
python3 -B benches/vm.py "$OUT" --disks "$DISKS" --machine "Linux $(sed -n 's/^guest //p' "$WORK/said"), QEMU -accel $ACCEL" && missed=0 || missed=$?
cat "$OUT/vm.md"
[ -z "$HISTORY" ] || {
	printf '\n## %s, %s\n\n    %s\n\n' "$(date -u +%F)" "$(git describe --always --dirty --tags)" "$COMMAND"
	cat "$OUT/vm.md"
} >>"$HISTORY"
[ "$missed" -eq 0 ]
