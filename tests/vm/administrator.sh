# shellcheck shell=bash
# administrator.sh - on the host: the walkthrough's target part. A daemon that serves nothing yet, and what an
# administrator types into its shell, word by word, at a terminal. Sourced by verbs.sh.

ADMIN_TARGET=/iscsi/iqn.2023-03.sample.ec2:sample

# administrator_serve: the daemon, by the file as it is. It takes the place of the scenarios' one.
administrator_serve() {
	local dir=$WORK/admin log
	mkdir -p "$dir"
	# Nothing but where it keeps what it knows, which tells the shell where it listens.
	[ -e "$dir/ringtgt.toml" ] || printf '[server]\nstate_dir = "%s"\n' "$dir/state" >"$dir/ringtgt.toml"
	chmod 600 "$dir/ringtgt.toml"
	log=$WORK/target.$(date +%s.%N).log
	"$RINGTGT" serve --config "$dir/ringtgt.toml" >"$log" 2>&1 &
	TARGET_PID=$!
	wait_line "$log" '^ready$' "$TARGET_PID" 40 || {
		cat "$log"
		return 1
	}
}

# administrator_disk: the block device of 10 GiB that the story exports.
administrator_disk() {
	truncate -s 10G "$WORK/admin/disk.img"
	ADMIN_DISK=$(losetup --find --show --direct-io=on "$WORK/admin/disk.img")
}
administrator_end() {
	[ -z "${ADMIN_DISK-}" ] || losetup --detach "$ADMIN_DISK"
	ADMIN_DISK=''
}

# What is typed: the story's lines, with this device in the place of its.
administrator_lines() {
	cat <<-LINES
		ls
		/backstores/block create name=sample-bs dev=$ADMIN_DISK
		/iscsi create iqn.2023-03.sample.ec2:sample
		$ADMIN_TARGET/tpg1/luns create /backstores/block/sample-bs
		$ADMIN_TARGET/tpg1/acls create iqn.2023-03.sample.ec2:sample-initiator
		ls
		$ADMIN_TARGET/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator set auth userid=sample-user
		$ADMIN_TARGET/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator set auth password=supersecret
		ls
		saveconfig
		exit
	LINES
}

# What the shell must have said to that, line by line and in this order.
administrator_expected() {
	cat <<-LINES
		every change takes effect at once
		o- iscsi .* \[Targets: 0\]
		^Created block storage object sample-bs using $ADMIN_DISK\.$
		^Created target iqn.2023-03.sample.ec2:sample\.$
		^Created TPG 1\.$
		^Global pref auto_add_default_portal=true$
		^Created default portal listening on all IPs (0\.0\.0\.0), port 3260\.$
		^Created LUN 0\.$
		^Created Node ACL for iqn.2023-03.sample.ec2:sample-initiator$
		^Created mapped LUN 0\.$
		o- sample-bs \.* \[$ADMIN_DISK (10\.0GiB) .* activated\]
		o- tpg1 \.* \[no-gen-acls, no-auth\]
		o- mapped_lun0 \.* \[lun0 block/sample-bs (rw)\]
		o- lun0 \.* \[block/sample-bs ($ADMIN_DISK) (default_tg_pt_gp)\]
		o- 0\.0\.0\.0:3260 \.* \[OK\]
		^Parameter userid is now 'sample-user'\.$
		^Parameter password is now set\.$
		o- tpg1 \.* \[no-gen-acls, auth per-acl\]
		o- iqn.2023-03.sample.ec2:sample-initiator \.* \[1-way auth, Mapped LUNs: 1\]
		^Configuration saved to $WORK/admin/ringtgt\.toml$
		^Global pref auto_save_on_exit=true$
		^Last 10 configs saved in $WORK/admin/backup/\.$
		^Configuration saved to $WORK/admin/ringtgt\.toml$
	LINES
}

administrator_types() {
	local said=$WORK/admin/said wanted at=0 found
	administrator_lines | HOME=$WORK/admin COLUMNS=94 NO_COLOR=1 python3 "$ROOT/tests/vm/typist.py" \
		"$RINGTGT" shell --config "$WORK/admin/ringtgt.toml" >"$said" || {
		echo "status $?" && cat "$said" && return 1
	}
	while IFS= read -r wanted; do
		# All of it is read: whoever writes into a pipe that nobody reads any more has failed.
		found=$(tail -n +$((at + 1)) "$said" | grep -n -- "$wanted" | sed -n 1p) || :
		[ -n "$found" ] || {
			echo "not said after line $at: $wanted" && cat "$said" && return 1
		}
		at=$((at + ${found%%:*}))
	done < <(administrator_expected)
}
