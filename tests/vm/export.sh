# shellcheck shell=bash
# export.sh - on the host: the disks of the VM scenarios, and the target that serves them on port 3260
# of every address. One target per disk:
#   sample   10 GiB, one-way CHAP: the walkthrough's
#   mutual   mutual CHAP
#   thin     for file systems that give back what they no longer use
#   io       plain, 512-byte blocks
#   b4k      4 KiB blocks
#   thick    keeps all its space
#   void     keeps nothing, and says that it writes atomically
#   elastic  is as large as its file
#   scratch  for who only writes and reads, and does not look at what
#   tools    for the commands that people send by hand; its LUN 1 is the disk lun1, with a removable medium
#   disc     (ringtgt only) an ISO 9660 image in a drive
#   alua     (ringtgt only) two ports of different target port groups: 3261 over IPv4, and 3262 over IPv6, the better one
# All let $EXPORT_INITIATOR in; io and tools $EXPORT_OTHER, too.
EXPORT_IQN=iqn.2023-03.sample.ec2
EXPORT_INITIATOR=$EXPORT_IQN:sample-initiator
EXPORT_OTHER=$EXPORT_IQN:other-initiator
# name:size:block size
EXPORT_DISKS=(sample:10G:512 mutual:256M:512 thin:2G:512 io:1G:512 b4k:1G:4096 thick:64M:512 void:1G:512 elastic:64M:512 tools:64M:512 scratch:1G:512)

export_start() {
	case $TARGET in
	ringtgt) export_ringtgt ;;
	tgt) export_tgt ;;
	esac
}

# export_image: an ISO 9660 image with two files, one in a directory with a long name, and their checksums.
export_image() {
	local tree=$WORK/disc
	[ ! -e "$WORK/disc.iso" ] || return 0
	mkdir -p "$tree/a directory with a long name"
	head -c 5000001 /dev/urandom >"$tree/one"
	head -c 300 /dev/urandom >"$tree/a directory with a long name/Two.bin"
	: >"$tree/empty"
	(cd "$tree" && find . -type f ! -name sums -print0 | xargs -0 sha256sum >"$WORK/sums" && mv "$WORK/sums" sums)
	xorriso -as mkisofs -quiet -R -V RINGTGT -o "$WORK/disc.iso" "$tree"
}

export_config() {
	local d name size block
	echo '[server]'
	echo "control_socket = \"$WORK/control.sock\""
	for d in "${EXPORT_DISKS[@]}"; do
		IFS=: read -r name size block <<<"$d"
		[ "$name" != elastic ] || [ -e "$WORK/elastic.img" ] || truncate -s "$size" "$WORK/elastic.img"
		echo '[[backstore]]'
		case $name in
		void) echo 'kind = "null"' ;;
		*) printf 'kind = "fileio"\npath = "%s"\n' "$WORK/$name.img" ;;
		esac
		[ "$name" != thick ] || echo 'thin = false'
		cat <<-TOML
			name = "$name-bs"
			$([ "$name" = elastic ] || echo "size = \"$size\"")
			block_size = $block
			[[target]]
			iqn = "$EXPORT_IQN:$name"
			[[target.tpg]]
			tag = 1
			portals = ["0.0.0.0:3260", "[::]:3260"]
			[[target.tpg.lun]]
			lun = 0
			backstore = "$name-bs"
			[[target.tpg.acl]]
			initiator = "$EXPORT_INITIATOR"
		TOML
		case $name in
		io | tools) printf '[[target.tpg.acl]]\ninitiator = "%s"\n' "$EXPORT_OTHER" ;;&
		tools)
			cat <<-TOML
				[[target.tpg.lun]]
				lun = 1
				backstore = "lun1-bs"
				[[backstore]]
				kind = "fileio"
				name = "lun1-bs"
				path = "$WORK/lun1.img"
				size = "64M"
				block_size = 512
				removable = true
			TOML
			;;
		sample) echo 'chap = { user = "sample-user", secret = "supersecret" }' ;;
		mutual)
			echo 'chap = { user = "sample-user", secret = "supersecret" }'
			echo 'mutual_chap = { user = "target-user", secret = "another-secret" }'
			;;
		esac
	done
	cat <<-TOML
		[[backstore]]
		kind = "fileio"
		device_type = "cdrom"
		name = "disc-bs"
		path = "$WORK/disc.iso"
		[[target]]
		iqn = "$EXPORT_IQN:disc"
		[[target.tpg]]
		tag = 1
		portals = ["0.0.0.0:3260", "[::]:3260"]
		lun = [{ lun = 0, backstore = "disc-bs" }]
		acl = [{ initiator = "$EXPORT_INITIATOR" }]
	TOML
	cat <<-TOML
		[[backstore]]
		kind = "fileio"
		name = "alua-bs"
		path = "$WORK/alua.img"
		size = "1G"
		[[backstore.alua.group]]
		name = "default_tg_pt_gp"
		access = "both"
		state = "active/non-optimized"
		[[backstore.alua.group]]
		name = "second"
		id = 1
		access = "both"
		[[target]]
		iqn = "$EXPORT_IQN:alua"
		[[target.tpg]]
		tag = 1
		portals = ["0.0.0.0:3261"]
		lun = [{ lun = 0, backstore = "alua-bs" }]
		acl = [{ initiator = "$EXPORT_INITIATOR" }]
		[[target.tpg]]
		tag = 2
		portals = ["[::]:3262"]
		lun = [{ lun = 0, backstore = "alua-bs", alua_group = "second" }]
		acl = [{ initiator = "$EXPORT_INITIATOR" }]
	TOML
}
# export_live LUN: the configuration with one more LUN of the target "io", or none.
export_live() {
	if [ -z "$1" ]; then
		export_config >"$WORK/ringtgt.toml"
		return
	fi
	{
		export_config | sed "/^backstore = \"io-bs\"/a [[target.tpg.lun]]\nlun = $1\nbackstore = \"live-bs\""
		printf '[[backstore]]\nkind = "fileio"\nname = "live-bs"\npath = "%s"\nsize = "32M"\n' "$WORK/live.img"
	} >"$WORK/ringtgt.toml"
}
export_ringtgt() {
	export_image
	export_config >"$WORK/ringtgt.toml"
	chmod 600 "$WORK/ringtgt.toml"
	# A log for each start, so that a line of an earlier one is not taken for one of this.
	local log
	log=$WORK/target.$(date +%s.%N).log
	"$RINGTGT" serve --config "$WORK/ringtgt.toml" --state-dir "$WORK/state" >"$log" 2>&1 &
	TARGET_PID=$!
	wait_line "$log" '^ready$' "$TARGET_PID" 40 || {
		cat "$log"
		return 1
	}
}

# The same with tgt. It may listen only once everything is there, else initiators that come back too
# early are told that their target does not exist and give up.
export_tgt() {
	local d name size block tid=0
	tgtd_start 127.0.0.1:3259
	tgt account new --user sample-user --password supersecret
	tgt account new --user target-user --password another-secret
	for d in "${EXPORT_DISKS[@]}"; do
		IFS=: read -r name size block <<<"$d"
		[ -e "$WORK/$name.img" ] || truncate -s "$size" "$WORK/$name.img"
		tgt target new --tid $((tid += 1)) -T "$EXPORT_IQN:$name"
		tgt logicalunit new --tid $tid --lun 1 -b "$WORK/$name.img" --blocksize "$block"
		tgt logicalunit update --tid $tid --lun 1 --params thin_provisioning=1
		tgt target update --tid $tid -n HeaderDigest -v None,CRC32C
		tgt target update --tid $tid -n DataDigest -v None,CRC32C
		case $name in
		sample) tgt account bind --tid $tid --user sample-user ;;
		mutual)
			tgt account bind --tid $tid --user sample-user
			tgt account bind --tid $tid --user target-user --outgoing
			;;
		esac
		tgt target bind --tid $tid -Q "$EXPORT_INITIATOR"
		tgt target bind --tid $tid -Q "$EXPORT_OTHER"
	done
	tgt portal new --param portal=0.0.0.0:3260
	tgt portal new --param 'portal=[::]:3260'
}
