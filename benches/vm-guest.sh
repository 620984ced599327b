# shellcheck shell=bash
# vm-guest.sh ROUNDS SECS DISKS - in the guest of vm.sh: ringtgt and LIO by turns on each disk, and what fio gets of them.
# Each measurement is a line of JSON; other lines are for people.
set -euo pipefail
export HOST_IP=127.0.0.1 HOST_IP6=::1 SCENARIO=bench
# shellcheck source=tests/vm/initiator.sh
. /lab/job/initiator.sh
ROUNDS=$1 SECS=$2
read -ra DISKS <<<"$3"
NAME=$IQN:bench SESSIONS=4
HBA=/sys/kernel/config/target/core/iblock_0 FABRIC=/sys/kernel/config/target/iscsi
TPG=$FABRIC/$NAME/tpgt_1

# Neither asks a disk for anything that takes time: a completion of null_blk comes in the call that asked.
declare -A AT=([null]=/dev/nullb0 [brd]=/dev/ram0)
disks_up() {
	modprobe null_blk nr_devices=1 gb=1 bs=512 queue_mode=2 irqmode=0 submit_queues="$(nproc)"
	modprobe brd rd_nr=1 rd_size=131072
	# Memory that was never written is not there yet.
	dd if=/dev/zero of=/dev/ram0 bs=1M count=128 oflag=direct status=none
}

ringtgt_up() {
	: >/tmp/target.log
	/lab/job/ringtgt serve --listen "$V4" --iqn "$NAME" --state-dir /tmp/state "$1" >/tmp/target.log 2>&1 &
	SERVER=$!
	until_ready "$SERVER" /tmp/target.log
}
ringtgt_down() { kill -TERM "$SERVER" && wait "$SERVER"; }

# Whoever comes may write, as with ringtgt on a loopback address.
lio_up() {
	modprobe -a configfs target_core_mod target_core_iblock iscsi_target_mod
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	mkdir -p "$HBA/disk"
	echo "udev_path=$1" >"$HBA/disk/control"
	echo 1 >"$HBA/disk/enable"
	mkdir -p "$TPG/np/$V4" "$TPG/lun/lun_0"
	ln -s "$HBA/disk" "$TPG/lun/lun_0/it"
	local attribute
	for attribute in authentication=0 generate_node_acls=1 demo_mode_write_protect=0 cache_dynamic_acls=1; do
		echo "${attribute#*=}" >"$TPG/attrib/${attribute%=*}"
	done
	echo 1 >"$TPG/enable"
}
lio_down() {
	echo 0 >"$TPG/enable"
	rm "$TPG/lun/lun_0/it"
	rmdir "$TPG/lun/lun_0" "$TPG/np/$V4" "$TPG" "$FABRIC/$NAME" "$HBA/disk"
}

# Sets PATHS to the disks of the sessions.
sessions_up() {
	set_node "$NAME" "$V4" node.session.nr_sessions "$SESSIONS"
	node "$NAME" "$V4" --login >/tmp/login.log || { cat /tmp/login.log && return 1; }
	local n
	for ((n = 0; n < 300; n++)); do
		PATHS=()
		for at in /sys/class/iscsi_session/session*/device/target*/*:0/block/*; do
			[ ! -b "/dev/${at##*/}" ] || PATHS+=("/dev/${at##*/}")
		done
		[ "${#PATHS[@]}" -lt "$SESSIONS" ] || break
		sleep 0.1
	done
	[ "${#PATHS[@]}" -eq "$SESSIONS" ] || { echo "${#PATHS[@]} disks of $SESSIONS" && return 1; }
	udevadm settle --timeout=60 || :
	# What merges and orders I/Os would be measured, too.
	for at in "${PATHS[@]}"; do echo none >"/sys/block/${at##*/}/queue/scheduler"; done
}
sessions_down() { logout "$NAME" "$V4" && node "$NAME" "$V4" -o delete; }

# row WHO DISK NAME RW QD PATH...: the depth is that of each path.
row() {
	local who=$1 disk=$2 name=$3 rw=$4 qd=$5 at jobs=() iops
	shift 5
	for at in "$@"; do jobs+=(--name="${at##*/}" --filename="$at"); done
	fio --direct=1 --ioengine=libaio --rw="$rw" --bs=4k --iodepth="$qd" --size=100m --norandommap --time_based --runtime="$SECS" \
		--ramp_time=1 --group_reporting --minimal --terse-version=3 "${jobs[@]}" >/tmp/fio.out || { cat /tmp/fio.out && return 1; }
	# KiB that were read and in how many milliseconds are fields 6 and 9, those that were written 47 and 50.
	iops=$(awk -F';' '$1 == 3 { kib += $6 + $47; ms += $9 + $50 } END { if (ms) print kib / 4 * 1000 / ms }' /tmp/fio.out)
	[ "${iops:-0}" != 0 ] || { cat /tmp/fio.out && return 1; }
	echo "{\"who\": \"$who\", \"what\": \"$disk-$name-$rw\", \"round\": $ROUND, \"iops\": $iops}"
}
turn() { # turn WHO DISK
	local who=$1 disk=$2 rw
	"${who}_up" "${AT[$disk]}"
	sessions_up
	for rw in randread randwrite; do
		row "$who" "$disk" qd1 $rw 1 "${PATHS[0]}"
		row "$who" "$disk" qd32 $rw 32 "${PATHS[0]}"
		row "$who" "$disk" qd128 $rw $((128 / SESSIONS)) "${PATHS[@]}"
	done
	sessions_down
	"${who}_down"
}

echo "guest $(uname -r), $(nproc) processors, fio $(fio --version)"
disks_up
# A slow machine is still busy with its devices then, which is no harm.
initiator_up || { echo "the initiator cannot be started" && exit 1; }
for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
	for disk in "${DISKS[@]}"; do
		turn ringtgt "$disk"
		turn lio "$disk"
	done
	echo "round $ROUND of $ROUNDS done"
done
