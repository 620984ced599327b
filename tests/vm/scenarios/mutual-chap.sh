# shellcheck shell=bash
# CHAP both ways, over IPv6: the initiator takes no target that cannot prove itself.
iqn=$IQN:mutual
set_node "$iqn" "$V6" node.session.auth.authmethod CHAP \
	node.session.auth.username sample-user node.session.auth.password supersecret \
	node.session.auth.username_in target-user node.session.auth.password_in not-the-targets
wrong() { ! login "$iqn" "$V6"; }
check "a target with another secret is not taken" wrong
set_node "$iqn" "$V6" node.session.auth.password_in another-secret
check "mutual CHAP login over IPv6" login "$iqn" "$V6"
login_check() { dd if=/dev/urandom of="$DEV" bs=64k count=16 oflag=direct status=none; }
check "the disk takes data" login_check
logout "$iqn" "$V6"
