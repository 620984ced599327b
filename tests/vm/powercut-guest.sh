# shellcheck shell=bash
# powercut-guest.sh TARGET NAME:KIND... - in the guest: serves the disks, logs in to them over loopback and
# writes until the power goes (see powercut).
set -euo pipefail
HOST_IP=127.0.0.1 HOST_IP6=::1 SCENARIO=powercut
# shellcheck source=tests/vm/initiator.sh
. /lab/job/initiator.sh
serve=serve_$1
shift
streams=("$@")
declare -A path # of what is served, by name
for stream in "${streams[@]}"; do
	name=${stream%:*}
	path[$name]=/dev/$(grep -lx "$name" /sys/block/vd*/serial | cut -d/ -f4)
	[ "$(cat "/sys/block/${path[$name]#/dev/}/queue/write_cache")" = "write back" ]
	if [ "${name#file}" != "$name" ]; then
		mkfs.ext4 -q -F "${path[$name]}"
		mkdir -p "/srv/$name"
		mount "${path[$name]}" "/srv/$name"
		path[$name]=/srv/$name/disk.img
	fi
done

config() { # one target per disk
	local name
	for name in "${!path[@]}"; do
		local kind=block size=''
		[ "${name#file}" = "$name" ] || kind=fileio size='size = "256M"'
		cat <<-TOML
			[[backstore]]
			kind = "$kind"
			name = "$name"
			path = "${path[$name]}"
			$size
			[[target]]
			iqn = "$IQN:$name"
			[[target.tpg]]
			tag = 1
			portals = ["127.0.0.1:3260"]
			[[target.tpg.lun]]
			lun = 0
			backstore = "$name"
			[[target.tpg.acl]]
			initiator = "$IQN:sample-initiator"
		TOML
	done
}
serve_ringtgt() {
	local state
	state=/dev/$(grep -lx state /sys/block/vd*/serial | cut -d/ -f4)
	mkfs.ext4 -q -F "$state"
	mkdir -p /srv/state
	mount "$state" /srv/state
	config >/tmp/ringtgt.toml
	chmod 600 /tmp/ringtgt.toml
	/lab/job/ringtgt serve --config /tmp/ringtgt.toml --state-dir /srv/state/ringtgt >/tmp/target.log 2>&1 &
	until_ready $! /tmp/target.log
}
serve_lio() { # the kernel's target, through configfs
	local c=/sys/kernel/config/target name dev
	modprobe -a configfs target_core_mod target_core_iblock target_core_file iscsi_target_mod
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	for name in "${!path[@]}"; do
		if [ "${name#file}" != "$name" ]; then
			dev=$c/core/fileio_0/$name
			mkdir -p "$dev"
			truncate -s 256M "${path[$name]}"
			echo "fd_dev_name=${path[$name]},fd_dev_size=268435456,fd_buffered_io=1" >"$dev/control"
		else
			dev=$c/core/iblock_0/$name
			mkdir -p "$dev"
			echo "udev_path=${path[$name]}" >"$dev/control"
		fi
		echo "lab-$name" >"$dev/wwn/vpd_unit_serial"
		echo 1 >"$dev/enable"
		local tpg=$c/iscsi/$IQN:$name/tpgt_1
		mkdir -p "$tpg/lun/lun_0"
		mkdir "$tpg/np/127.0.0.1:3260"
		ln -s "$dev" "$tpg/lun/lun_0/$name"
		echo 1 >"$tpg/attrib/generate_node_acls"
		echo 0 >"$tpg/attrib/demo_mode_write_protect"
		echo 0 >"$tpg/attrib/authentication"
		echo 1 >"$tpg/enable"
	done
}
"$serve"
initiator_up
declare -A disk
for stream in "${streams[@]}"; do
	login "$IQN:${stream%:*}" "$V4"
	[ "$(cat "/sys/block/${DEV#/dev/}/queue/write_cache")" = "write back" ]
	disk[${stream%:*}]=$DEV
done
register() { # with key after key, until the power goes
	local key
	for ((key = 1; ; key++)); do
		sg_persist --out --register-ignore --param-aptpl --param-sark="$(printf %x "$key")" "$1" >/dev/null
		echo "REGISTERED $key by APTPL"
		[ "$key" -ne 30 ] || echo "GOING state"
	done
}
udevadm control --exit # it would look at the disk again after every write
for stream in "${streams[@]}"; do
	python3 /lab/job/powercut-writer.py write "${stream%:*}" "${stream#*:}" "${disk[${stream%:*}]}" &
done
[ "$serve" = serve_lio ] || register "${disk[forget]}" &
wait
