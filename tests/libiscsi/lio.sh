# shellcheck shell=bash
# lio.sh IQN - in the guest: LIO, set up through configfs, serves two thin disks as IQN and a write-protected one as
# IQN-protected to anybody, while the host plays the suite.
set -euo pipefail
modprobe -a configfs target_core_mod target_core_file iscsi_target_mod
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
root=/sys/kernel/config/target

store() { # store NAME MIB
	local at=$root/core/fileio_0/$1
	truncate -s "$2M" "/tmp/$1"
	mkdir -p "$at"
	echo "fd_dev_name=/tmp/$1,fd_dev_size=$(($2 << 20))" >"$at/control"
	echo "$1" >"$at/wwn/vpd_unit_serial"
	echo 1 >"$at/enable"
	for a in emulate_tpu emulate_tpws; do echo 1 >"$at/attrib/$a"; done
}
target() { # target IQN PROTECT STORE...: the stores are LUN 0, 1, …
	local tpg=$root/iscsi/$1/tpgt_1 protect=$2 lun=0 s
	shift 2
	mkdir -p "$tpg/np/$GUEST_IP:3260"
	for s in "$@"; do
		mkdir -p "$tpg/lun/lun_$lun"
		ln -s "$root/core/fileio_0/$s" "$tpg/lun/lun_$lun/$s"
		lun=$((lun + 1))
	done
	echo 1 >"$tpg/attrib/generate_node_acls"
	echo 1 >"$tpg/attrib/cache_dynamic_acls"
	echo "$protect" >"$tpg/attrib/demo_mode_write_protect"
	echo 0 >"$tpg/attrib/authentication"
	echo None >"$tpg/param/AuthMethod"
	echo 1 >"$tpg/enable"
}
store a 320
store b 64
store c 64
target "$1" 0 a b
target "$1-protected" 1 c
host suite
