# shellcheck shell=bash
# 512-byte blocks: everything written with a checksum in sizes of 512 B to 1 MiB is read back right.
iqn=$IQN:io
check "login" login "$iqn" "$V4"
check "logical blocks of 512 bytes" [ "$(cat "/sys/block/${DEV#/dev/}/queue/logical_block_size")" = 512 ]
check "random writes of 512 B to 1 MiB" fio_verify "$DEV" --rw=randwrite --bssplit="$MIXED" --size=24m --iodepth=16
check "sequential writes of 512 B to 1 MiB" fio_verify "$DEV" --rw=write --bssplit="$MIXED" --offset=256m --size=24m --iodepth=16
check "1 MiB blocks, read and written at once" fio_verify "$DEV" --rw=randrw --bs=1m --offset=512m --size=48m --iodepth=8
other_sizes() {
	dd if=/dev/urandom of=/tmp/data bs=1M count=6 status=none
	dd if=/tmp/data of="$DEV" bs=1M oflag=direct status=none
	local bs
	for bs in 2k 12k 96k 3M 6M; do
		dd if="$DEV" bs=$bs iflag=direct,count_bytes count=6M status=none | cmp - /tmp/data || return 1
	done
}
check "read in other sizes than written" other_sizes
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
