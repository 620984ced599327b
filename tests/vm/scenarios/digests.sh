# shellcheck shell=bash
# Header and data digests, each alone and both, and I/O under them.
iqn=$IQN:io
agreed() { # agreed HEADER DATA: what the kernel's connection says (0 for none, else 1)
	local c header=${1/CRC32C/1} data=${2/CRC32C/1}
	for c in /sys/class/iscsi_connection/*; do
		[ "$(cat "$c/header_digest"):$(cat "$c/data_digest")" = "$header:$data" ] || return 1
	done
}
for pair in CRC32C:None None:CRC32C CRC32C:CRC32C; do
	header=${pair%:*} data=${pair#*:}
	set_node "$iqn" "$V4" 'node.conn[0].iscsi.HeaderDigest' "$header" 'node.conn[0].iscsi.DataDigest' "$data"
	check "login with header digest $header, data digest $data" login "$iqn" "$V4"
	check "these were agreed" agreed "${header/None/0}" "${data/None/0}"
	check "mixed sizes under $pair" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=8m --iodepth=8
	logout "$iqn" "$V4"
done
check "no I/O error on the way" quiet_kernel
