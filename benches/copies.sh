#!/usr/bin/env bash
# copies.sh - counts what ringtgt copies from outside, and compares that with what it says itself.
#
#   benches/copies.sh [SECS]      (a second for each row)
#
# A library put before the C library counts the bytes of every memcpy and memmove of 1 KiB and more: what is smaller are
# headers and tables, not payload. For reads and writes of 4, 64 and 256 KiB, on a null store and on a ramdisk, it prints
# how many bytes were copied for each byte of payload, by the counters that the server tells in its log (SIGUSR1), and by
# that library.
#
# It is an error (status 1) when the two differ by more than 0.02, when a read copies anything, or a write more than
# staging's 16 KiB of each data PDU. To a ramdisk all is copied once, from staging if the whole write lies there; of 4 KiB
# writes one in each receive of 32 KiB does not. What goes past the cache into a larger ramdisk is not copied by the C
# library, and not seen here: this one is small.
#
# Needs cc, which it installs (Debian's gcc) when it is root. RINGTGT names another binary, PROFILE another build. valgrind
# counts the same by --tool=dhat --mode=copy, but cannot run the server: while one of its threads waits in io_uring_enter no
# other may run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SECS=${1:-1} PROFILE=${PROFILE:-release} IQN=iqn.2026-11.org.example:copies
[[ $SECS =~ ^[0-9.]+$ ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d' && exit 2; }
if ! command -v cc >/dev/null; then
	{ [ "$(id -u)" -eq 0 ] && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends gcc libc6-dev >/dev/null; } ||
		{ echo "missing: cc (as root: apt-get install gcc libc6-dev)" >&2 && exit 2; }
fi
if [ -z "${RINGTGT:-}" ]; then
	cargo build --quiet --profile "$PROFILE" --bin ringtgt
	RINGTGT=target/$PROFILE/ringtgt
fi
WORK=$(mktemp -d) SERVER=''
cleanup() {
	if [ -n "$SERVER" ]; then
		kill -KILL "$SERVER" 2>/dev/null || :
		wait "$SERVER" 2>/dev/null || :
	fi
	rm -rf "$WORK"
}
trap cleanup EXIT

cat >"$WORK/count.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void *copy(void *, const void *, size_t);
static copy *next_copy, *next_move;
static atomic_ulong mine, *total = &mine;

__attribute__((constructor)) static void begin(void) {
	int fd = open(getenv("COPIES"), O_RDWR);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || page == MAP_FAILED) abort();
	next_copy = (copy *)dlsym(RTLD_NEXT, "memcpy");
	next_move = (copy *)dlsym(RTLD_NEXT, "memmove");
	total = page;
}
static void count(size_t n) {
	if (n >= 1024) atomic_fetch_add_explicit(total, n, memory_order_relaxed);
}
/* What comes before the constructor, byte by byte: volatile, or the compiler makes a memmove of it. */
static void *slowly(void *to, const void *from, size_t n) {
	volatile char *t = to;
	const volatile char *f = from;
	if (t < f) for (size_t i = 0; i < n; i++) t[i] = f[i];
	else while (n--) t[n] = f[n];
	return to;
}
void *memcpy(void *to, const void *from, size_t n) {
	count(n);
	return next_copy ? next_copy(to, from, n) : slowly(to, from, n);
}
void *memmove(void *to, const void *from, size_t n) {
	count(n);
	return next_move ? next_move(to, from, n) : slowly(to, from, n);
}
C
cc -O2 -fno-builtin -fPIC -shared -o "$WORK/count.so" "$WORK/count.c" -ldl
truncate -s 4096 "$WORK/count"
COPIES=$WORK/count LD_PRELOAD=$WORK/count.so "$RINGTGT" serve --log info --listen 127.0.0.1:0 --iqn "$IQN" \
	--state-dir "$WORK/state" --reactors 1 null:64M ram:4M >"$WORK/log" 2>&1 &
SERVER=$!
alive() { kill -0 "$SERVER" 2>/dev/null || { cat "$WORK/log" >&2 && exit 1; }; }
until grep -q '^ready$' "$WORK/log"; do alive && sleep 0.1; done
URL=iscsi://$(sed -nE 's/^ *portal (.*)/\1/p' "$WORK/log" | head -1)/$IQN

# counters: bytes moved, bytes copied as the server says, bytes copied as is counted outside.
counters() {
	local before n
	before=$(grep -c ' disk requests ' "$WORK/log" || :)
	kill -USR1 "$SERVER"
	for ((n = 0; n < 400; n++)); do
		[ "$(grep -c ' disk requests ' "$WORK/log" || :)" -le "$before" ] || break
		alive && sleep 0.05
	done
	[ "$n" -lt 400 ] || { echo "the server does not tell its counters" >&2 && exit 1; }
	sed -nE 's/.* bytes read ([0-9]+) written ([0-9]+) copied ([0-9]+) .*/\1 \2 \3/p' "$WORK/log" | tail -1 | tr '\n' ' '
	od -An -tu8 -N8 "$WORK/count"
}

FAILED=0
printf '%-28s %10s %10s\n' 'copied for each byte' 'it says' 'counted'
for store in 0:null 1:ram; do
	for size in 4k 64k 256k; do
		for verb in read write; do
			a=$(counters)
			"$RINGTGT" bench "$URL/${store%:*}" --rw "$verb" --bs "$size" --qd 8 --secs "$SECS" --warm 0 >/dev/null
			b=$(counters)
			# What staging has of a PDU is copied to its slot, and all is copied to a ramdisk: straight from staging if it
			# has the whole, which all 4 KiB writes are but the one that the end of a receive cuts.
			case $store:$verb:$size in
			*:null:read:*) most=0.001 ;;
			*:null:write:4k) most=1.001 ;;
			*:null:write:64k) most=0.251 ;;
			*:null:write:256k) most=0.0635 ;;
			*:ram:read:*) most=0.001 ;;
			*:ram:write:4k) most=1.13 ;;
			*:ram:write:64k) most=1.251 ;;
			*:ram:write:256k) most=1.0635 ;;
			esac
			awk -v a="$a" -v b="$b" -v most="$most" -v name="${store#*:} $size $verb" 'BEGIN {
				split(a, x); split(b, y)
				moved = y[1] + y[2] - x[1] - x[2]
				says = (y[3] - x[3]) / moved; counted = (y[4] - x[4]) / moved
				well = moved > 0 && says <= most && counted <= most + 0.02 && counted - says < 0.02 && says - counted < 0.02
				printf "%-28s %10.4f %10.4f %s\n", name, says, counted, well ? "PASS" : "FAIL, at most " most
				exit !well
			}' || FAILED=1
		done
	done
done
[ "$FAILED" -eq 0 ]
