# shellcheck shell=bash
# slow.sh - on the host: a disk of which writes can be held on their way to the medium, while later ones pass
# them. (dm-delay and QEMU's throttling keep the order.) And the guest's verbs for it:
#
#   host hold      from now on writes are held when they arrive
#   host pass      from now on they pass; those that are held stay so
#   host release   all pass, also those that are held
#   host writes    how many are on their way

# slow_disk: serves it at $WORK/slow.sock (WORK is exported); sets SLOW_PID.
# shellcheck disable=SC2034 # used by who sources this
slow_disk() {
	mkdir "$WORK/writes"
	truncate -s 64M "$WORK/slow.img"
	# $4 is a write's place. Its data are taken whole first, as a cache would.
	# shellcheck disable=SC2016 # expanded by nbdkit's shell
	local write='d=$(mktemp "$WORK/writes/XXXXXX"); cat >"$d"
		if [ -e "$WORK/hold" ]; then until [ -e "$WORK/release" ]; do sleep 0.1; done; fi
		dd if="$d" of="$WORK/slow.img" bs=1M seek="$4" oflag=seek_bytes conv=notrunc status=none; rm "$d"'
	# shellcheck disable=SC2016
	nbdkit --foreground --threads 32 --unix "$WORK/slow.sock" eval \
		thread_model='echo parallel' get_size='echo 64M' can_write='exit 0' \
		pread='dd if="$WORK/slow.img" bs=1M skip="$4" count="$3" iflag=skip_bytes,count_bytes status=none' \
		pwrite="$write" 2>"$WORK/slow.log" &
	SLOW_PID=$!
	for _ in $(seq 100); do
		[ ! -S "$WORK/slow.sock" ] || return 0
		sleep 0.05
	done
	return 1
}

verb_hold() { rm -f "$WORK/release" && : >"$WORK/hold"; }
verb_pass() { rm -f "$WORK/hold"; }
verb_release() { verb_pass && : >"$WORK/release"; }
verb_allocated() { du -k "$WORK/forgets.img" | cut -f1; } # KiB of the forgetful disk
verb_writes() { find "$WORK/writes" -type f | wc -l; }
