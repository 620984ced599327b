#!/usr/bin/env bash
# run-guest.sh - boot the test guest, run a script in it, exit with its exit status.
#
#   run-guest.sh [options] 'shell script'        run-guest.sh [options] -f script.sh [arg...]
#
#   -t SECONDS   the guest is ended when its job has said nothing for so long (default 300; then the exit status is
#                124); time in which this machine stands still is not counted
#   -s DIR|FILE  also put this into the guest, under /lab/job/ by its own name (may be repeated).
#                It is copied in at start: nothing the guest does changes the host's files.
#   -x FILE      source FILE; its functions verb_NAME are what the guest may ask of the host: in the
#                guest `host NAME ARG...` prints what verb_NAME printed and returns its status
#   -d           systemd is the guest's process 1, and the script one of its services
#   -o FILE      what the guest writes to its root stays in FILE, which is made when absent: the next guest with the same
#                FILE is the same machine, started again. With -d it is shut down as machines are
#   -m MIB       guest memory (default 1536)      -c N    virtual CPUs (default 2)
#   -n NET       tap: a tap device in the network namespace that this runs in (so run it in one made
#                     for it: unshare --net); the host is $HOST_IP and $HOST_IP6
#                user: QEMU's user networking; the host's 127.0.0.1 is $HOST_IP
#                none (default): only the guest's own loopback
#   -a ARG       one more argument for QEMU (may be repeated)
#   -v           show the guest's console on stderr (always kept in $LAB_CONSOLE, if that is set)
#
# The script's stdout and stderr come on this script's stdout, as they are written.
# In the guest: /lab/job (tmpfs), $HOST_IP, $GUEST_IP; root is writable, changes are dropped (but for -o).
# Needs what build-guest.sh made in $LAB_CACHE for $KERNEL; runs it if that is absent.
# ACCEL picks QEMU's accelerator (default tcg,thread=multi); CPU its processor model (default
# Nehalem: has SSE4.2's crc32, and no AVX, which TCG emulates slowly. So a program that is to run
# in the guest must not be built with target-cpu=native).
# Exit status: the script's; 124 after too long a silence; 125 if the guest died (panic, no status).
set -euo pipefail

: "${LAB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/ringtgt-lab}"
: "${KERNEL:=cloud-amd64}"
: "${ACCEL:=tcg,thread=multi}"
: "${CPU:=Nehalem}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
	sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '/^set -/d'
	exit 2
}

limit=300 mem=1536 cpus=2 net=none file='' verbose='' verbs='' systemd='' overlay=''
share=() qargs=()
while getopts t:s:m:c:n:a:f:x:o:dvh o; do
	case $o in
	t) limit=$OPTARG ;;
	s) share+=("$(realpath "$OPTARG")") ;;
	x) verbs=$OPTARG ;;
	d) systemd=1 ;;
	o) overlay=$(realpath -m "$OPTARG") ;;
	m) mem=$OPTARG ;;
	c) cpus=$OPTARG ;;
	n) net=$OPTARG ;;
	f) file=$OPTARG ;;
	a) qargs+=("$OPTARG") ;;
	v) verbose=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ -n "$file" ] || [ $# -ge 1 ] || usage

kdir=$LAB_CACHE/kernel-$KERNEL
if [ ! -e "$kdir/initrd.cpio" ] || [ ! -e "$LAB_CACHE/rootfs.ext4" ]; then
	LAB_CACHE=$LAB_CACHE KERNEL=$KERNEL "$here/build-guest.sh"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/ringtgt-guest.XXXXXX")
qemu='' tap=''
# shellcheck disable=SC2317 # called by the trap
guest_cleanup() {
	if [ -n "$qemu" ]; then
		kill "$qemu" 2>/dev/null || :
		wait "$qemu" 2>/dev/null || :
	fi
	[ "$(type -t verbs_end)" != function ] || verbs_end
	[ -z "$tap" ] || ip link del "$tap" 2>/dev/null || :
	rm -rf "$work"
}
trap guest_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the job: a second cpio that the kernel unpacks over the first ------------
job=$work/cpio/job
mkdir -p "$job"
if [ -n "$file" ]; then
	cp "$file" "$job/.script"
else
	printf '%s\n' "$1" >"$job/.script"
	shift
fi
{
	printf 'set --'
	[ $# -eq 0 ] || printf ' %q' "$@"
	echo
} >"$job/.args"
for s in ${share[@]+"${share[@]}"}; do cp -RP --preserve=mode,timestamps "$s" "$job/"; done

# Addresses are those kept for documentation (192.0.2.0/24, 2001:db8::/32), inside QEMU or the
# namespace only; the guest gets no default route.
host_ip='' guest_ip='' host_ip6='' guest_ip6=''
case $net in
none) qargs+=(-nic none) ;;
user)
	host_ip=192.0.2.2 guest_ip=192.0.2.15
	qargs+=(-netdev "user,id=n0,net=192.0.2.0/24,host=$host_ip,dhcpstart=$guest_ip,dns=192.0.2.3,ipv6=off"
		-device "virtio-net-pci,netdev=n0,romfile=")
	;;
tap)
	host_ip=192.0.2.1 guest_ip=192.0.2.15 host_ip6=2001:db8::1 guest_ip6=2001:db8::15 tap=lab$$
	ip tuntap add dev "$tap" mode tap
	ip addr add "$host_ip/24" dev "$tap"
	ip -6 addr add "$host_ip6/64" dev "$tap" nodad
	ip link set "$tap" up
	ip link set lo up
	qargs+=(-netdev "tap,id=n0,ifname=$tap,script=no,downscript=no" -device "virtio-net-pci,netdev=n0,romfile=")
	;;
*) usage ;;
esac
cat >"$job/.env" <<-EOT
	HOST_IP=$host_ip
	HOST_IP6=$host_ip6
	GUEST_IP=$guest_ip
	GUEST_IP6=$guest_ip6
	SYSTEMD=$systemd
	STAYS=${overlay:+1}
	KERNEL_RELEASE=$(cat "$kdir/release")
EOT

cat >"$job/.init" <<'INIT'
# Second half of the guest's boot, as process 1, on the root image.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb LANG=C.UTF-8
set -a; . /lab/job/.env; set +a
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp; mkdir -p /run/lock
echo ringtgt-lab >/proc/sys/kernel/hostname
ip link set lo up
if [ -n "$GUEST_IP" ]; then
	modprobe virtio_net
	ip addr add "$GUEST_IP/24" dev eth0
	[ -z "$GUEST_IP6" ] || ip -6 addr add "$GUEST_IP6/64" dev eth0 nodad
	ip link set eth0 up
fi
echo 'InitiatorName=iqn.2023-03.sample.ec2:sample-initiator' >/etc/iscsi/initiatorname.iscsi
echo "lab: up $(cut -d' ' -f1 /proc/uptime)" >/dev/console
# ttyS1 carries the job's output, ttyS2 its exit status, ttyS3 what it asks of the host; as plain bytes.
for t in 1 2 3; do stty -F /dev/ttyS$t raw -echo; done
# Held open, because a serial line that nobody has open loses what arrives; and as the controlling
# terminal of a session of its own, so that it never becomes the job's and stops its background readers.
setsid -c sleep infinity <>/dev/ttyS3 &
cd /lab/job
cat .args .host .script >.run
[ -n "$SYSTEMD" ] || exec bash .job
# A machine that has been started before (the first start would enable whatever is installed), whose goal is
# the job; the job comes when the basic system is up.
echo 5eed5eed5eed5eed5eed5eed5eed5eed >/etc/machine-id
cat >/etc/systemd/system/lab.service <<-UNIT
	[Service]
	Type=oneshot
	ExecStart=/bin/bash /lab/job/.job
UNIT
cat >/etc/systemd/system/default.target <<-UNIT
	[Unit]
	Requires=basic.target lab.service
	After=basic.target
UNIT
exec /usr/lib/systemd/systemd
INIT
cat >"$job/.job" <<'JOB'
# The end of the guest's boot: the script, and then the end of the guest.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb LANG=C.UTF-8
set -a; . /lab/job/.env; set +a
cd /lab/job
setsid bash .run >/dev/ttyS1 2>&1 </dev/null
rc=$?
echo "$rc" >/dev/ttyS2
[ "$SYSTEMD$STAYS" != 11 ] || exec systemctl --no-block poweroff
sync
echo o >/proc/sysrq-trigger
sleep 60
JOB
# One line asked (number, verb, arguments), one line answered (number, status, text). The lock keeps one
# talk at a time; an answer with another number belongs to one who did not wait for it.
cat >"$job/.host" <<'HOST'
host() {
	local lock tty id answered rc text
	exec {lock}>/tmp/.host-lock {tty}<>/dev/ttyS3
	flock "$lock"
	id=$(($(cat /tmp/.host-id 2>/dev/null || echo 0) + 1))
	echo "$id" >/tmp/.host-id
	printf '%s\n' "$id $*" >&"$tty"
	while IFS=' ' read -r answered rc text <&"$tty"; do
		[ "$answered" != "$id" ] || break
	done
	exec {lock}>&- {tty}>&-
	[ -z "$text" ] || printf '%s\n' "$text"
	return "$rc"
}
export -f host
HOST

(cd "$work/cpio" && find . | cpio -o -H newc -R 0:0 2>/dev/null) >"$work/job.cpio"
cat "$kdir/initrd.cpio" "$work/job.cpio" >"$work/initrd"

root="file=$LAB_CACHE/rootfs.ext4,format=raw,snapshot=on"
if [ -n "$overlay" ]; then
	[ -e "$overlay" ] || qemu-img create -q -f qcow2 -b "$LAB_CACHE/rootfs.ext4" -F raw "$overlay"
	root="file=$overlay,format=qcow2"
fi
touch "$work/status"
mkfifo "$work/ctl.in" "$work/ctl.out"
console=${LAB_CONSOLE:-$work/console}
# When QEMU is ended, so is the guest, whatever state that is in.
qemu-system-x86_64 \
	-accel "$ACCEL" -machine q35,graphics=off -cpu "$CPU" -smp "$cpus" -m "$mem" \
	-nodefaults -no-user-config -display none -no-reboot \
	-kernel "$kdir/vmlinux" -initrd "$work/initrd" \
	-append 'console=ttyS0 quiet panic=-1 no_timer_check mitigations=off nokaslr random.trust_cpu=on' \
	-drive "$root,if=none,id=root,cache=unsafe" -device virtio-blk-pci,drive=root \
	-device virtio-rng-pci \
	-serial "file:$console" -chardev "stdio,id=job,signal=off,logfile=$work/said" -serial chardev:job -serial "file:$work/status" \
	-chardev "pipe,id=ctl,path=$work/ctl" -serial chardev:ctl \
	${qargs[@]+"${qargs[@]}"} </dev/null &
qemu=$!

# --- what the guest asks of the host -----------------------------------------
exec 8<>"$work/ctl.out" 9<>"$work/ctl.in"
answer() { # answer NUMBER VERB WORD...
	local id=$1 verb=${2-} text rc=0
	shift 2
	if [ "$(type -t "verb_$verb")" = function ]; then
		# Not in a command substitution: a verb may start a server that stays.
		"verb_$verb" "$@" >"$work/answer" 2>&1 8<&- 9<&- || rc=$?
		text=$(tr '\n' ' ' <"$work/answer")
	else
		rc=127 text="no such verb: $verb"
	fi
	printf '%s %s %s\n' "$id" "$rc" "$text" >&9
}
if [ -n "$verbs" ]; then
	# shellcheck source=/dev/null
	. "$verbs"
fi
# Seconds are counted as far as this loop has seen them.
line='' quiet=0 seen=$SECONDS size=0 stopped=''
while kill -0 "$qemu" 2>/dev/null; do
	if [ "$SECONDS" != "$seen" ]; then
		now=$(stat -c %s "$work/said" 2>/dev/null) || now=0
		[ "$now" = "$size" ] || quiet=0
		seen=$SECONDS size=$now
		[ $((quiet += 1)) -le "$limit" ] || stopped=1
		[ -z "$stopped" ] || kill -KILL "$qemu"
	fi
	part=''
	if IFS= read -r -t 0.5 -u 8 part; then
		read -ra words <<<"$line$part"
		line=''
		[ ${#words[@]} -lt 2 ] || answer "${words[@]}"
	else
		line+=$part
	fi
done

qrc=0
wait "$qemu" || qrc=$?
qemu=''
[ -z "$verbose" ] || cat "$console" >&2
if [ -n "$stopped" ]; then
	echo "run-guest: stopped after $limit s of silence; the console's end:" >&2
	tail -n 15 "$console" >&2
	exit 124
fi
rc=$(tr -dc 0-9 <"$work/status")
if [ -z "$rc" ]; then
	echo "run-guest: the guest ended without a status (qemu: $qrc); the console's end:" >&2
	tail -n 25 "$console" >&2
	exit 125
fi
exit "$rc"
