#!/usr/bin/env bash
# instructions.sh - counts the instructions of the protocol core, and compares them with benches/instructions.txt.
#
#   benches/instructions.sh            PASS or FAIL for each: more than 2 % beside what is written there fails
#   benches/instructions.sh --accept   what is counted now is written there: commit it with the change that is the reason
#   benches/instructions.sh --install  only makes the program that runs callgrind, where there is none
#
# Counted by callgrind, so neither load nor clock matters, but the compiler does: the file names the one that it is for,
# which is taken where rustup has it. With another one what is counted says nothing about the source: it is printed, and a
# line NOT COMPARED.
# Each conversation is 32 commands; see benches/instructions/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1-} in
'' | --accept | --install) ;;
*) sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d' && exit 2 ;;
esac
command -v valgrind >/dev/null || { echo "missing: valgrind (Debian package; tests/run installs it when root)" && exit 2; }
tools=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ringtgt-lab}/tools
# The runner must be of the library's very version.
version=$(sed -n '/^name = "gungraun-runner"/{n;s/^version = "\(.*\)"/\1/p}' Cargo.lock)
export GUNGRAUN_RUNNER=$tools/gungraun-$version/bin/gungraun-runner
[ -x "$GUNGRAUN_RUNNER" ] ||
	cargo install --locked --quiet --debug --root "$tools/gungraun-$version" --target-dir "$tools/build-$version" gungraun-runner --version "$version"
[ "${1-}" != --install ] || exit 0

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
baseline=$(sed -n 's/^# //p' benches/instructions.txt)
compiler=$(rustc --version)
# What is accepted is what this machine's own compiler makes.
if [ "$compiler" != "$baseline" ] && [ "${1-}" != --accept ] && command -v rustup >/dev/null; then
	toolchain=$(cut -d' ' -f2 <<<"$baseline")
	! rustup toolchain list | grep -q "^$toolchain-" || export RUSTUP_TOOLCHAIN=$toolchain
	compiler=$(rustc --version)
fi
cargo bench --locked --quiet --bench instructions -- --output-format=json |
	python3 -c '
import json, sys
for line in sys.stdin:
    run = json.loads(line)
    count = run["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"]
    print(run["function_name"] + "." + run["id"], count)
' >"$counts"
if [ "${1-}" = --accept ]; then
	{ echo "# $compiler" && cat "$counts"; } >benches/instructions.txt
	exec cat benches/instructions.txt
fi
awk -v compiler="# $compiler" '
	FNR == NR && /^#/ { other = $0 != compiler ? substr($0, 3) : ""; next }
	FNR == NR { old[$1] = $2; next }
	!($1 in old) { print "FAIL " $1 ": " $2 ", not counted before"; bad = 1; next }
	{
		ratio = $2 / old[$1]
		well = other || (ratio > 0.98 && ratio < 1.02)
		printf "%s %s: %d instructions, %.3f of %d\n", well ? "PASS" : "FAIL", $1, $2, ratio, old[$1]
		bad = bad || !well
		delete old[$1]
	}
	END {
		for (name in old) { print "FAIL " name ": not counted any more"; bad = 1 }
		if (other) print "NOT COMPARED: the counts are those of " other
		exit bad
	}' benches/instructions.txt "$counts"
