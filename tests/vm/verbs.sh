# shellcheck shell=bash
# verbs.sh - on the host: what a scenario in the guest may ask for (run-guest.sh -x). Runs in the
# network namespace of the guest's tap device, with WORK a directory for disks and state.

# shellcheck source=tests/lib.sh
. "$ROOT/tests/lib.sh"
# shellcheck source=tests/vm/export.sh
. "$ROOT/tests/vm/export.sh"

verb_start() { export_start; }
# kill9: the target dies as by a crash.    term: as `systemctl stop` ends it; its exit status must be 0.
verb_kill9() {
	[ -n "$TARGET_PID" ] || return 1
	target_stop KILL || [ $? -eq 137 ]
}
verb_term() {
	[ -n "$TARGET_PID" ] || return 1
	target_stop TERM
}
verb_alive() { kill -0 "$TARGET_PID"; }
# allocated NAME: bytes that the disk's file really holds on the host.
verb_allocated() { echo $(($(stat -c %b "$WORK/$1.img") * 512)); }
# size_of FILE / sum_of FILE: bytes, and checksum of a file, as the guest's own tools say them.
verb_size_of() { stat -c %s "$WORK/$1"; }
verb_sum_of() { sha256sum <"$WORK/$1"; }
verb_resize() { truncate -s "$2" "$WORK/$1.img"; }
# live_reload LUN: the target "io" has one more LUN from now on, by SIGHUP.   live_apply: none but its first, by the command.
verb_live_reload() {
	export_live "$1"
	kill -HUP "$TARGET_PID"
}
verb_live_apply() {
	export_live ''
	"$RINGTGT" apply "$WORK/ringtgt.toml" --yes --prune --control-socket "$WORK/control.sock"
}
# churn COUNT: so many logical units and initiators come and go.
verb_churn() { python3 "$ROOT/tests/vm/churn.py" "$WORK/control.sock" "$1"; }
# cut / mend: the host's IPv6 address vanishes from the wire, with no reset and no word: what was sent to
# it is lost, what it sends never leaves.
verb_cut() { ip -6 addr del "$1/64" dev "$(tap_device)"; }
verb_mend() { ip -6 addr add "$1/64" dev "$(tap_device)" nodad; }
tap_device() { ip -o link | grep -oE 'lab[0-9]+' | head -1; }
# The walkthrough's target part (see administrator.sh).
# shellcheck source=tests/vm/administrator.sh
. "$ROOT/tests/vm/administrator.sh"
verb_administrator_start() {
	administrator_serve && { [ -n "${ADMIN_DISK-}" ] || administrator_disk; }
}
verb_administrator_types() { administrator_types; }
verb_administrator_sessions() { "$RINGTGT" shell --config "$WORK/admin/ringtgt.toml" sessions detail; }
verb_administrator_adds() {
	"$RINGTGT" create /backstores/ramdisk more 64M --config "$WORK/admin/ringtgt.toml" &&
		"$RINGTGT" create "$ADMIN_TARGET/tpg1/luns" more 5 --config "$WORK/admin/ringtgt.toml"
}
verb_administrator_takes() { "$RINGTGT" delete /backstores/ramdisk more --config "$WORK/admin/ringtgt.toml"; }
verb_administrator_end() { administrator_end; }
# What outlives the namespaces, whatever becomes of the scenarios.
verbs_end() { administrator_end; }
