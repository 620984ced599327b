# shellcheck shell=bash disable=SC2317 # functions are called by check
# Local disks by ublk: made while the target serves, used by this machine and by an initiator at once, kept while they are in
# use, there again after a restart and after a kill. Where the kernel has no ublk, that is said.
iqn=$IQN:disk
disk=/srv/local.img
mkdir -p /srv
rm -f $disk
{
	printf '[server]\ncontrol_socket = "/run/ringtgt/control.sock"\n' # where commands look that are told nothing
	config "disk=fileio:$disk:256M"
} >/tmp/ringtgt.toml
mkdir -p /run/ringtgt
ringtgt_() { /usr/bin/ringtgt "$@" --config /tmp/ringtgt.toml; }
said() { # said WORDS COMMAND...: it fails, and says that
	local words=$1
	shift
	if "$@" >/tmp/said 2>&1 || ! grep -qF -- "$words" /tmp/said; then
		cat /tmp/said
		return 1
	fi
}
target_begin
check "the target is ready" target_ready

if ! modprobe ublk_drv 2>/dev/null; then
	check "the kernel has no ublk, and the command says so" said 'modprobe ublk_drv' ringtgt_ create /loopback disk
	check "with what is needed" grep -q 'Linux 6.0 or newer.*CONFIG_BLK_DEV_UBLK' /tmp/said
	unchanged() { ! grep loopback /tmp/ringtgt.toml; }
	check "nothing has changed" unchanged
	printf '[[loopback]]\nbackstore = "disk"\n' >>/tmp/ringtgt.toml
	check "so does apply" said 'modprobe ublk_drv' /usr/bin/ringtgt apply /tmp/ringtgt.toml --yes
	check "the target ends on SIGTERM with status 0" target_end TERM
	target_begin
	check "a target that begins with one begins nevertheless" target_ready
	check "with a warning" grep -q 'local disk disk is not there yet.*modprobe ublk_drv' /tmp/target.log
	check "and serves the network" login "$iqn" "$V4"
	logout "$iqn" "$V4"
	check "it ends on SIGTERM with status 0" target_end TERM
	return 0
fi

dev=/dev/ublkb0
appears() { # within 10 s
	local n
	for ((n = 0; n < 100; n++)); do
		[ ! -b "$dev" ] || { udevadm settle --timeout=30 && return; }
		sleep 0.1
	done
	return 1
}
gone() { [ ! -e "$dev" ] && [ ! -e /dev/ublkc0 ]; }
create() { ringtgt_ create /loopback disk | tee /tmp/said && grep -q "$dev" /tmp/said && [ -b "$dev" ]; }
check "it is made while the target serves" create
# The kernel knows of each thread that it writes back what others wait for (PF_MEMALLOC_NOIO).
flushers() { # flushers PID
	local stat words
	for stat in "/proc/$1/task"/*/stat; do
		read -r -a words < <(sed 's/.*) //' "$stat")
		((words[6] & 0x80000)) || { cat "$stat" && return 1; }
	done
}
check "no thread waits for memory that only it can free" flushers "$TARGET_PID"
listed() { ringtgt_ ls / | tee /tmp/said && grep -qE "o- disk \.+ \[$dev\]" /tmp/said; }
check "the tree shows it" listed
json() { ringtgt_ ls /loopback --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["tree"]["children"][0]["summary"] == "/dev/ublkb0"'; }
check "so does the tree for programs" json
like() { # like FILE VALUE
	[ "$(cat "/sys/block/ublkb0/$1")" = "$2" ] || { echo "$1: $(cat "/sys/block/ublkb0/$1")" && return 1; }
}
limits() { like size $((256 << 11)) && like queue/rotational 0 && like queue/write_cache 'write back' && [ "$(cat /sys/block/ublkb0/queue/discard_max_bytes)" -gt 0 ] && [ "$(cat /sys/block/ublkb0/queue/write_zeroes_max_bytes)" -gt 0 ]; }
check "the kernel has it as it is" limits
logged_in() { /usr/bin/ringtgt sessions | tee /tmp/said && grep -q 'iqn.2026-11.org.ringtgt:loopback .*iqn.2026-11.org.ringtgt.loopback:disk' /tmp/said; }
check "it is a session of its own" logged_in
check "no discovery shows it" test -z "$(iscsiadm -m discovery -t sendtargets -p "$V4" | grep loopback)"

check "checked writes of mixed sizes" fio_verify "$dev" --rw=randwrite --bssplit="$MIXED" --size=24m --iodepth=32
check "mkfs.ext4" mkfs.ext4 -q -F "$dev"
mounted() { mount -o discard "$dev" /mnt; }
check "it is mounted" mounted
check "checked writes to a file of it" fio_verify /mnt/file --rw=randwrite --bssplit="$MIXED" --size=32m --iodepth=16 --fsync=32
allocated() { stat -c %b $disk; }
trimmed() {
	local before after
	sync && before=$(allocated) && rm /mnt/file && sync && fstrim -v /mnt && sync && after=$(allocated)
	echo "$before blocks, then $after"
	[ $((before - after)) -ge 50000 ]
}
check "fstrim gives the space of a file back" trimmed
in_use() { said "$dev is in use" ringtgt_ delete /loopback disk && [ -b "$dev" ] && touch /mnt/there && sync; }
check "it is not deleted while it is mounted" in_use
# Another way to the same disk: read-only use of the network is safe beside a mounted file system.
check "the same disk by the network" login "$iqn" "$V4"
both() { /usr/bin/ringtgt sessions | tee /tmp/said && [ "$(grep -cE 'loopback:disk|sample-initiator' /tmp/said)" = 2 ]; }
check "both are sessions" both
head -c 1M /dev/urandom >/tmp/sample
check "it is unmounted" umount /mnt
through() { # what is written here is read there, and the other way round
	dd if=/tmp/sample of="$dev" bs=1M seek=200 oflag=direct conv=fsync,notrunc status=none &&
		dd if="$DEV" bs=1M skip=200 count=1 iflag=direct status=none | cmp - /tmp/sample &&
		dd if=/tmp/sample of="$DEV" bs=1M seek=210 oflag=direct conv=fsync,notrunc status=none &&
		dd if="$dev" bs=1M skip=210 count=1 iflag=direct status=none | cmp - /tmp/sample
}
check "both write to and read from the same disk" through
reserved() { # what the initiator reserves, the local disk may not write
	sg_persist --out --register --param-sark=abc "$DEV" && sg_persist --out --reserve --param-rk=abc --prout-type=1 "$DEV" || return
	! dd if=/tmp/sample of="$dev" bs=1M seek=200 oflag=direct conv=notrunc status=none || return
	dd if="$dev" bs=1M skip=200 count=1 iflag=direct status=none | cmp - /tmp/sample || return
	sg_persist --out --release --param-rk=abc --prout-type=1 "$DEV" && dd if=/tmp/sample of="$dev" bs=1M seek=200 oflag=direct conv=notrunc status=none
}
check "a reservation of the initiator's holds for it" reserved
logout "$iqn" "$V4"
zeroed() { blkdiscard -z -o 200M -l 1M "$dev" && cmp -i 200M:0 -n 1M "$dev" /dev/zero && blkdiscard -o 210M -l 1M "$dev" && cmp -i 210M:0 -n 1M "$dev" /dev/zero; }
check "blocks are zeroed, and discarded" zeroed
kick() { /usr/bin/ringtgt kick --target iqn.2026-11.org.ringtgt.loopback:disk; }
check "its session is put out under checked writes, and they go on" busy "$dev" kick
quiet_kernel_() { ! dmesg | grep -E "I/O error, dev ublkb0" | grep -v 'critical\|reservation conflict'; }
check "no I/O error on the way" quiet_kernel_

check "a file system for what follows" mkfs.ext4 -q -F "$dev"
delete() { ringtgt_ delete /loopback disk && gone; }
check "it is deleted" delete
check "and made again, by a number" ringtgt_ create /loopback disk device=0
read_only() { # read_only 0|1: it becomes so, under the same number
	sed -i "/^read_only/d; /^device = 0/a read_only = $2" /tmp/ringtgt.toml
	/usr/bin/ringtgt apply /tmp/ringtgt.toml --yes && like ro "$1"
}
check "it cannot be written any more" read_only 1 true
check "and can again" read_only 0 false
head -c 64M /dev/zero >/srv/other.img
other() { # other FILE: the backstore of that name is on another file
	sed "s|^path = .*|path = \"$1\"|; /^size/d" /tmp/ringtgt.toml >/tmp/other.toml
}
other /srv/other.img
check "it is mounted once more" mounted
check "no other disk comes in the place of one that is mounted" said "$dev is in use" /usr/bin/ringtgt apply /tmp/other.toml --yes --prune
check "it is unmounted once more" umount /mnt
swapped() { /usr/bin/ringtgt apply /tmp/other.toml --yes --prune && like size $((64 << 11)) && /usr/bin/ringtgt apply /tmp/ringtgt.toml --yes --prune && like size $((256 << 11)); }
check "but in the place of one that is not, and back" swapped
check "the target ends on SIGTERM with status 0" target_end TERM
check "and no device is left" gone
target_begin
check "the target begins anew" target_ready
check "and the disk is there again" appears
check "with what was on it" mounted
check "it is unmounted again" umount /mnt
kill -KILL "$TARGET_PID"
wait "$TARGET_PID" || :
target_begin
check "another target after a kill" target_ready
check "has the disk" appears
check "with what is on it" mounted
check "and it is unmounted" umount /mnt
check "the target ends on SIGTERM" target_end TERM
check "nothing is left" gone

# The system reads a new disk, and waits for a store that hangs.
cp /tmp/ringtgt.toml /tmp/one.toml
dmsetup create hung --table "0 131072 linear /dev/ram2 0"
config "hung=block:/dev/mapper/hung" >>/tmp/ringtgt.toml
sed -i 's/^\[\[loopback]]/&\nbackstore = "hung"\n&/' /tmp/ringtgt.toml
dmsetup suspend hung
target_begin
check "a target one of whose disks hangs is ready" target_ready
check "nobody else waits for that" timeout 15 /usr/bin/ringtgt create /backstores/ramdisk name=more size=1M --config /tmp/ringtgt.toml
another() { timeout 15 /usr/bin/ringtgt create /loopback more --config /tmp/ringtgt.toml | tee /tmp/said && grep -q '/dev/ublkb' /tmp/said; }
check "another disk is made meanwhile" another
check "and deleted" timeout 15 /usr/bin/ringtgt delete /loopback more --config /tmp/ringtgt.toml
without() { timeout 15 /usr/bin/ringtgt delete /loopback hung --config /tmp/ringtgt.toml; }
alone() { [[ $(echo /dev/ublkc*) = /dev/ublkc? ]]; }
check "the one that hangs is deleted while the kernel shows it" without
check "and leaves nothing" until_true 10 alone
with() { timeout 15 /usr/bin/ringtgt create /loopback hung --config /tmp/ringtgt.toml; }
check "it is to be there again" with
dmsetup resume hung
both() { [ "$(lsblk -dnbo SIZE /dev/ublkb0 /dev/ublkb1 | sort -n | xargs)" = "$((64 << 20)) $((256 << 20))" ]; }
check "both disks appear" until_true 60 both
hung=$(lsblk -dpnbo NAME,SIZE /dev/ublkb0 /dev/ublkb1 | awk -v size=$((64 << 20)) '$2 == size { print $1 }')
udevadm settle --timeout=30
dmsetup suspend hung
dd if=/dev/zero of="$hung" bs=4k count=1 oflag=direct conv=notrunc status=none 2>/tmp/said &
write=$!
waits() { awk '{ exit !($1 + $2) }' "/sys/block/${hung#/dev/}/inflight"; }
check "a write hangs in one" until_true 10 waits
check "it is deleted all the same, and nobody waits for its store" without
ended() { ! kill -0 "$write" 2>/dev/null; }
check "the write ends" until_true 10 ended
check "with an error" eval "! wait $write"
check "and nothing is left of the disk" until_true 10 alone
check "the other works" dd if="$(echo /dev/ublkb?)" of=/dev/null bs=4k count=1 iflag=direct status=none
dmsetup resume hung
check "it is made once more" with
check "both disks appear again" until_true 60 both
check "it ends on SIGTERM" target_end TERM
check "no device is left of them" gone
dmsetup remove hung
mv /tmp/one.toml /tmp/ringtgt.toml

# The unit, with the drop-in of tuning/README.md.
install -m 644 /lab/job/ringtgt.service /etc/systemd/system/ringtgt.service
install -D -m 600 /tmp/ringtgt.toml /etc/ringtgt/ringtgt.toml
mkdir -p /etc/systemd/system/ringtgt.service.d
cat >/etc/systemd/system/ringtgt.service.d/local-disks.conf <<-'END'
	[Service]
	CapabilityBoundingSet=CAP_SYS_ADMIN
	CapabilityBoundingSet=CAP_SYS_RESOURCE
	DeviceAllow=/dev/ublk-control rw
	DeviceAllow=char-ublk-char rw
END
systemctl daemon-reload
unit() { systemctl start ringtgt && appears && flushers "$(systemctl show -P MainPID ringtgt)" && fio_verify "$dev" --rw=randwrite --bssplit="$MIXED" --size=4m --iodepth=8; }
unit_ends() { systemctl stop ringtgt && gone; }
check "the unit makes it, with its drop-in" unit
check "and ends it" unit_ends
rm -r /etc/systemd/system/ringtgt.service.d
check "without the drop-in the unit begins nevertheless" eval 'systemctl daemon-reload && systemctl start ringtgt'
lacking() { journalctl -b -o cat -u ringtgt | grep 'local disk disk is not there yet.*CAP_SYS_ADMIN'; }
check "and says what is lacking" lacking
check "it ends" systemctl stop ringtgt
check "nobody uses ublk any more" rmmod ublk_drv
