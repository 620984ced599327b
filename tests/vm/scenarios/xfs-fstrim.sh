# shellcheck shell=bash
# XFS, and blocks that the file system gives back: the host's file shrinks by them.
iqn=$IQN:thin
check "login" login "$iqn" "$V4"
check "discard is offered" [ "$(cat "/sys/block/${DEV#/dev/}/queue/discard_max_bytes")" -gt 0 ]
mkfs_xfs() { mkfs.xfs -q -f "$DEV"; }
check "mkfs.xfs" mkfs_xfs
check "mount" mount "$DEV" /mnt
dd if=/dev/urandom of=/mnt/keep bs=1M count=8 status=none
keep=$(sha256sum </mnt/keep)
dd if=/dev/urandom of=/mnt/gone bs=1M count=64 status=none
sync
full=$(host allocated thin)
rm /mnt/gone
sync
check "fstrim" fstrim -v /mnt
umount /mnt # so that XFS's own deferred discards are done, too
trimmed=$(host allocated thin)
check "the host's file gave back at least 60 MiB (from $((full >> 20)) to $((trimmed >> 20)) MiB)" [ $((full - trimmed)) -ge $((60 << 20)) ]
check "mount again" mount "$DEV" /mnt
check "what was kept is there" [ "$(sha256sum </mnt/keep)" = "$keep" ]
umount /mnt
check "blkdiscard of the whole disk" blkdiscard -f "$DEV"
check "the host's file holds next to nothing" [ "$(host allocated thin)" -le $((1 << 20)) ]
check "write zeroes" blkdiscard -z -f -o 0 -l 16777216 "$DEV"
zeroes() { cmp -n 16777216 "$DEV" /dev/zero; }
check "what was given back reads as zeroes" zeroes
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
