# shellcheck shell=bash disable=SC2317 # functions are called by check
# Moving in from LIO, the kernel's target: it serves two disks to an initiator that is logged in with CHAP; its
# configuration, as targetctl saves it, is imported; LIO ends, ringtgt takes over at the same portal, and the same
# session goes on with the same data. Logged in anew, the disks have the names that they had. And moving out again:
# targetctl takes what is exported, and LIO serves what it did.
iqn=$IQN:lio core=/sys/kernel/config/target/core
tpg=/sys/kernel/config/target/iscsi/$iqn/tpgt_1
acl=$tpg/acls/$IQN:sample-initiator
fast=$core/iblock_0/fast slow=$core/fileio_0/slow
fast_wwn=b2fd6c1e-9f3c-4b0e-a7e0-6a9d3d7b1c55 slow_wwn=5d2f0c9a-1c1c-4a62-8a7e-1f0cd6a5a7ef

lio_up() {
	local n
	modprobe -a configfs target_core_mod target_core_iblock target_core_file iscsi_target_mod || return
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config || return
	mkdir -p /etc/rtslib-fb-target && targetctl clear || return # which is where it has LIO keep reservations
	mkdir -p /srv $fast $slow && truncate -s 64M /srv/lio.img || return
	echo udev_path=/dev/ram0 >$fast/control
	echo fd_dev_name=/srv/lio.img,fd_dev_size=67108864,fd_buffered_io=1 >$slow/control
	echo -n /dev/ram0 >$fast/udev_path
	echo $fast_wwn >$fast/wwn/vpd_unit_serial
	echo $slow_wwn >$slow/wwn/vpd_unit_serial
	echo 1 >$fast/enable && echo 1 >$slow/enable && echo 1 >$fast/attrib/emulate_model_alias || return
	mkdir -p "$tpg/np/127.0.0.1:3260" "$tpg/lun/lun_0" "$tpg/lun/lun_1" "$acl" || return
	ln -s $fast "$tpg/lun/lun_0/it" && ln -s $slow "$tpg/lun/lun_1/it" || return
	for n in 0 1; do
		mkdir -p "$acl/lun_$n" && ln -s "$tpg/lun/lun_$n" "$acl/lun_$n/it" && echo 0 >"$acl/lun_$n/write_protect" || return
	done
	echo 1 >"$tpg/attrib/authentication"
	echo -n sample-user >"$acl/auth/userid"
	echo -n supersecret-1 >"$acl/auth/password"
	echo 1 >"$tpg/enable"
}
lio_down() {
	local n
	echo 0 >"$tpg/enable"
	for n in 0 1; do rm "$acl/lun_$n/it" && rmdir "$acl/lun_$n" || return; done
	for n in 0 1; do rm "$tpg/lun/lun_$n/it" && rmdir "$tpg/lun/lun_$n" || return; done
	rmdir "$acl" "$tpg"/np/* "$tpg" "${tpg%/*}" && rmdir $fast $slow
}
# plain FILE: what targetctl has saved, without its order and the names that rtslib-fb gives to LUNs by chance.
plain() {
	python3 - "$1" <<-'PY'
		import json, sys
		def plain(o):
		    if isinstance(o, list):
		        return sorted(map(plain, o), key=json.dumps)
		    return {name: plain(value) for name, value in o.items() if name != "alias"} if isinstance(o, dict) else o
		print(json.dumps(plain(json.load(open(sys.argv[1]))), indent=1, sort_keys=True))
	PY
}
# What LIO serves is that of FILE from now on, and targetctl has nothing to say about it.
restore() {
	local rc=0
	targetctl restore "$1" >/tmp/restored 2>&1 || rc=1
	[ $rc = 0 ] && [ ! -s /tmp/restored ] && return
	cat /tmp/restored
	return 1
}
# disk LUN: the disk of the session, once it is there.
disk() {
	local n at
	for ((n = 0; n < 100; n++)); do
		for at in /sys/class/iscsi_session/session*/device/target*/*:"$1"/block/*; do
			[ ! -e "$at" ] || { echo "/dev/${at##*/}" && return; }
		done
		sleep 0.1
	done
	return 1
}
# What initiators call a disk: the links of udev, and what the unit says of itself.
names() {
	udevadm settle --timeout=30
	udevadm info -q symlink "$1" | tr ' ' '\n' | grep by-id | sort
	sg_inq --export "$1" | grep -aE '^SCSI_(VENDOR|MODEL|REVISION|IDENT_SERIAL)=' | sed 's/ *$//'
	sg_inq --export --page=di "$1" | grep -aE '^SCSI_IDENT_LUN_(NAA|T10)' | tr -d '\000'
	sg_inq --page=sn --raw "$1" | tail -c +5 | tr -d '\000'
	echo
}

dd if=/dev/zero of=/dev/ram0 bs=1M count=64 status=none
check "LIO serves two disks" lio_up
set_node "$iqn" "$V4" node.session.auth.authmethod CHAP node.session.auth.username sample-user \
	node.session.auth.password supersecret-1
check "login" login "$iqn" "$V4"
one=$(disk 0) two=$(disk 1)
names "$one" >/tmp/names.one
names "$two" >/tmp/names.two
sed 's/^/     /' /tmp/names.one
check "LIO is who serves them" grep -q '^SCSI_VENDOR=LIO-ORG$' /tmp/names.one
head -c 8M /dev/urandom >/tmp/data
check "data on the one" dd if=/tmp/data of="$one" bs=1M seek=40 oflag=direct conv=notrunc
file_system() { mkfs.ext4 -q "$two" && mount "$two" /mnt && cp /tmp/data /mnt && sync -f /mnt/data; }
check "a file system on the other, which stays mounted" file_system
check "targetctl saves LIO's configuration" targetctl save /tmp/saveconfig.json
import() { ringtgt import lio /tmp/saveconfig.json --output /tmp/ringtgt.toml --force >/tmp/imported 2>&1 || { cat /tmp/imported && return 1; }; }
check "LIO's configuration is imported" import
check "and is right" ringtgt check /tmp/ringtgt.toml
take_over() { lio_down && target_begin && target_ready; }
check "checked writes go on while LIO ends and ringtgt takes over" busy "$one" take_over
gone() { [ ! -e "$tpg" ] && [ ! -e $fast ]; }
check "LIO has nothing any more" gone
same_disks() { [ "$(disk 0) $(disk 1)" = "$one $two" ]; }
check "the session has the same disks" same_disks
on_the_one() { dd if="$one" bs=1M skip=40 count=8 iflag=direct status=none | cmp - /tmp/data; }
check "the data is on the one" on_the_one
on_the_other() { echo 3 >/proc/sys/vm/drop_caches && cmp /mnt/data /tmp/data && cp /mnt/data /mnt/more && umount /mnt; }
check "and in the file system, which takes more" on_the_other
logout "$iqn" "$V4"
check "login anew" login "$iqn" "$V4"
one=$(disk 0) two=$(disk 1)
check "the one has the names that it had" eval "names $one | diff /tmp/names.one -"
check "so has the other" eval "names $two | diff /tmp/names.two -"
check "the file system is sound" eval "fsck.ext4 -fn $two && mount -o ro $two /mnt && cmp /mnt/more /tmp/data; umount /mnt"
logout "$iqn" "$V4"
stranger() { set_node "$iqn" "$V4" node.session.auth.password another-secret && ! login "$iqn" "$V4"; }
check "who does not know the secret is not let in" stranger
check "the target ends on SIGTERM with status 0" target_end TERM
export_as() { ringtgt export lio --config "$1" --output "$2" --force >/tmp/exported 2>&1 || { cat /tmp/exported && return 1; }; }
check "the configuration is exported" export_as /tmp/ringtgt.toml /tmp/exported.json
check "targetctl takes that" restore /tmp/exported.json
saved_again() { targetctl save /tmp/again.json && diff <(plain /tmp/saveconfig.json) <(plain /tmp/again.json); }
check "LIO has what it had" saved_again
set_node "$iqn" "$V4" node.session.auth.password supersecret-1
check "login at LIO again" login "$iqn" "$V4"
one=$(disk 0) two=$(disk 1)
check "the one still has its names" eval "names $one | diff /tmp/names.one -"
check "and the other" eval "names $two | diff /tmp/names.two -"
check "and what was written" eval "fsck.ext4 -fn $two && mount -o ro $two /mnt && cmp /mnt/more /tmp/data; umount /mnt"
logout "$iqn" "$V4"

# LIO's own group stays as it is, and nobody else can have its number.
cat >/tmp/groups.toml <<-TOML
	[[backstore]]
	kind = "ramdisk"
	name = "ram"
	size = "16M"
	[[backstore.alua.group]]
	name = "default_tg_pt_gp"
	id = 7
	state = "standby"
	preferred = true
	[[backstore.alua.group]]
	name = "far"
	id = 0
	access = "explicit"
	state = "active/non-optimized"
	supported_states = ["active/optimized", "active/non-optimized"]
	[[target]]
	iqn = "$IQN:groups"
	[[target.tpg]]
	portals = ["127.0.0.1:3261"]
	[[target.tpg.lun]]
	lun = 0
	backstore = "ram"
	[[target.tpg]]
	portals = ["127.0.0.1:3262"]
	tag = 2
	[[target.tpg.lun]]
	lun = 0
	backstore = "ram"
	alua_group = "far"
TOML
chmod 600 /tmp/groups.toml
check "target port groups are exported" export_as /tmp/groups.toml /tmp/groups.json
check "targetctl takes them" restore /tmp/groups.json
groups() {
	local group
	for group in "$core"/rd_mcp_*/ram/alua/*; do
		echo "${group##*/} $(cat "$group"/{tg_pt_gp_id,alua_access_state,alua_access_type,preferred,alua_support_standby,members} | tr -d '\000' | xargs)"
	done
}
in_their_groups() {
	diff - <(groups) <<-GROUPS
		default 7 2 Implicit 1 1 iSCSI/$IQN:groups/tpgt_1/lun_0
		default_tg_pt_gp 0 0 Implicit and Explicit 0 1
		far 1 1 Explicit 0 0 iSCSI/$IQN:groups/tpgt_2/lun_0
	GROUPS
}
check "each port is in its group, and each group is as it was" in_their_groups
check "LIO lets go of all" targetctl clear
