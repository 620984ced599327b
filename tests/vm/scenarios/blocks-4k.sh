# shellcheck shell=bash
# 4 KiB logical blocks.
iqn=$IQN:b4k
check "login" login "$iqn" "$V4"
q=/sys/block/${DEV#/dev/}/queue
check "logical blocks of 4096 bytes" [ "$(cat "$q/logical_block_size"):$(cat "$q/physical_block_size")" = 4096:4096 ]
check "the size is right" [ "$(lsblk -bdno SIZE "$DEV")" = 1073741824 ]
check "random writes of 4 KiB to 1 MiB" fio_verify "$DEV" --rw=randwrite --bssplit=4k/60:8k/10:64k/15:256k/10:1m/5 --size=24m --iodepth=16
mkfs.ext4 -q -F "$DEV"
check "mount" mount "$DEV" /mnt
for i in 1 2 3; do dd if=/dev/urandom of=/mnt/f$i bs=1M count=4 status=none; done
(cd /mnt && sha256sum f?) >/tmp/sums4k
umount /mnt
logout "$iqn" "$V4"
check "login again" login "$iqn" "$V4"
check "mount again" mount "$DEV" /mnt
same() { (cd /mnt && sha256sum --quiet -c /tmp/sums4k); }
check "every byte is there" same
umount /mnt
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
