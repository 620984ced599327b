# shellcheck shell=bash
# lib.sh - what the tuning scripts share. Source it.
#
#   set_to FILE VALUE WHY     writes it, keeps what was there before for `undo`, and prints both
#   show FILE WHY             prints what is there
#   undo                      puts everything back, last first; what cannot be is kept for the next `undo`, and the status is 1
#
# ROOT stands before every path, so that a script can be tried on a copy of /proc and /sys; STATE is the file where the
# old values are kept until they are put back (by default in /run: they are gone with the settings, at a reboot).

: "${ROOT:=}"
: "${STATE:=$ROOT/run/ringtgt-tuning/${0##*/}}"

# value FILE: its one line, with spaces between what it tells, or the choice in brackets where a file shows all of them.
value() {
	local all
	all=$(cat "$ROOT$1" 2>/dev/null) || return
	all=${all//$'\t'/ }
	case $all in
	*\[*\]*)
		all=${all#*\[}
		all=${all%%\]*}
		;;
	esac
	printf '%s\n' "$all"
}
show() {
	local now
	if now=$(value "$1"); then printf '%s = %s    # %s\n' "$1" "$now" "$2"; else printf '%s is not there    # %s\n' "$1" "$2"; fi
}
set_to() {
	local old new
	old=$(value "$1") || { printf '%s is not there: left out    # %s\n' "$1" "$3" && return; }
	if [ "$old" = "$2" ]; then
		printf '%s = %s already    # %s\n' "$1" "$old" "$3"
		return
	fi
	mkdir -p "${STATE%/*}"
	# What stood there first counts, however often this is applied.
	grep -q "^$1 " "$STATE" 2>/dev/null || printf '%s %s\n' "$1" "$old" >>"$STATE"
	if ! printf '%s\n' "$2" 2>/dev/null >"$ROOT$1"; then
		printf '%s = %s: the kernel refuses %s    # %s\n' "$1" "$old" "$2" "$3"
		return
	fi
	new=$(value "$1")
	printf '%s: %s -> %s    # %s\n' "$1" "$old" "$new" "$3"
}
undo() {
	local file old now left=''
	[ -s "$STATE" ] || { echo "nothing was changed" && return; }
	while read -r file old; do
		# What is gone comes back as the kernel makes it.
		now=$(value "$file") || { printf '%s is not there: left out\n' "$file" && continue; }
		[ "$now" != "$old" ] || continue
		if printf '%s\n' "$old" 2>/dev/null >"$ROOT$file"; then
			printf '%s: %s -> %s\n' "$file" "$now" "$old"
		else
			printf '%s = %s: cannot be put back to %s\n' "$file" "$now" "$old"
			left=$file' '$old$'\n'$left
		fi
	done < <(tac "$STATE")
	[ -n "$left" ] || { rm -f "$STATE" && return; }
	printf %s "$left" >"$STATE"
	refuse "what could not be put back is remembered in $STATE: undo again when it can be"
}
# refuse TEXT: why nothing more is done.
refuse() { echo "$1" >&2 && exit 1; }
# cpus LIST: each processor of a list like 0-3,6 on a line.
cpus() {
	local part
	for part in ${1//,/ }; do
		case $part in
		*-*) seq "${part%-*}" "${part#*-}" ;;
		*) echo "$part" ;;
		esac
	done
}
# mask CPU...: these processors as the kernel writes a mask: groups of 32 bits in hexadecimal, the highest first.
mask() {
	local cpu top=0 groups=() n text=''
	for cpu in "$@"; do
		n=$((cpu / 32))
		[ $n -le $top ] || top=$n
		groups[n]=$((${groups[n]-0} | 1 << (cpu % 32)))
	done
	for ((n = top; n >= 0; n--)); do
		if [ -z "$text" ]; then text=$(printf '%x' "${groups[n]-0}"); else text+=$(printf ',%08x' "${groups[n]-0}"); fi
	done
	printf '%s\n' "$text"
}
# has MASK CPU: whether it names that processor.
has() {
	local groups at
	IFS=, read -ra groups <<<"$1"
	at=$((${#groups[@]} - 1 - $2 / 32))
	[ $at -ge 0 ] && (((16#${groups[at]} >> ($2 % 32)) & 1))
}
# usage: the head of the script.
usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" | sed '/^set -/d'
	exit 2
}
