# shellcheck shell=bash disable=SC2317 # functions are called by check
# Reservations through dm-multipath: mpathpersist registers all paths of a map as one node, against another node that
# has a path of its own; the fence holds on each path, also on one that was cut off and came back.
iqn=$IQN:io
modprobe -a dm-multipath dm-round-robin dm-service-time
check "another initiator on this machine" another_initiator
IFACE=other check "login of the other node" login "$iqn" "$V4"
other=$DEV
mkdir -p /etc/multipath /var/lib/multipath
cat >/etc/multipath.conf <<-CONF
	defaults {
		user_friendly_names no
		find_multipaths no
		path_grouping_policy multibus
		polling_interval 1
		max_polling_interval 2
		no_path_retry 30
		reservation_key 0x123abc
	}
	blacklist {
		devnode "^${other#/dev/}\$"
		devnode "^(vd|ram|loop)"
	}
CONF
for portal in "$V4" "$V6"; do
	set_node "$iqn" "$portal" node.session.timeo.replacement_timeout 3 \
		'node.conn[0].timeo.noop_out_interval' 1 'node.conn[0].timeo.noop_out_timeout' 2
	check "login over $portal" login "$iqn" "$portal"
done
wwid=$(udevadm info -q property "$DEV" | sed -n 's/^ID_SERIAL=//p')
map=/dev/mapper/$wwid
multipathd -d >/tmp/multipathd.log 2>&1 &
multipathd=$!
trap 'multipath -F 2>/dev/null || :; kill $multipathd 2>/dev/null || :' EXIT
check "two active paths" paths_up 2
for _ in $(seq 100); do [ ! -b "$map" ] || break; sleep 0.1; done

mp() { mpathpersist --out "$@" "$map"; }
told() { # told KEY REGEX: what mpathpersist --in KEY says
	mpathpersist --in "$1" "$map" >/tmp/told 2>&1 || { cat /tmp/told && return 1; }
	grep -qE -- "$2" /tmp/told || { cat /tmp/told && return 1; }
}
# Each path has a registration; sg_persist lists the keys of all.
keys() { [ "$(sg_persist -k "$other" | grep -oE '0x[0-9a-f]+$' | sort | xargs)" = "$*" ] || { sg_persist -k "$other" && return 1; }; }
put() { dd if=/dev/urandom of="$1" bs=64k seek=16 count=8 oflag=direct conv=notrunc status=none; }
refused() { ! put "$1" 2>/tmp/refused && grep -q 'Invalid exchange' /tmp/refused; }
sg_persist -o -I -S 0xb "$other" >/dev/null && sg_persist -o -C -K 0xb "$other" >/dev/null

check "mpathpersist registers the map" mp --register --param-sark=123abc
check "each path is registered" keys 0x123abc 0x123abc
check "it says so" told -k '0x123abc'
check "it reserves: write exclusive, registrants only" mp --reserve --param-rk=123abc --prout-type=5
check "it says who holds it" told -r 'Key = 0x123abc'
check "the capabilities" told -c 'Persist Through Power Loss Capable\(PTPL_C\): *1'
check "the full status names both ports" told -s "$IQN:sample-initiator"
both_paths() { each "put $map" "put $map" "put $map" "put $map"; } # round robin
check "the map writes, on both paths" both_paths
check "the other node does not" refused "$other"
check "the other node registers" sg_persist -o -G -S 0xb "$other"
check "and writes" put "$other"

host cut "$HOST_IP6"
check "a path is cut off" paths_up 1
check "the map writes on" put "$map"
check "the other node is fenced meanwhile" mp --preempt-abort --param-rk=123abc --param-sark=b --prout-type=5
check "it writes no more" refused "$other"
host mend "$HOST_IP6"
check "the path comes back" paths_up 2
check "both paths write" both_paths
check "both are registered still" keys 0x123abc 0x123abc
check "the other node writes nothing still" refused "$other"
check "the reservation is released" mp --release --param-rk=123abc --prout-type=5
check "nobody holds one" told -r 'NO reservation'
check "the other node writes" put "$other"
check "the map is cleared of all registrations" mp --clear --param-rk=123abc
check "none is left" keys
check "the map can be removed" map_removed
kill $multipathd
wait $multipathd || :
trap - EXIT
logout "$iqn" "$V4"
logout "$iqn" "$V6"
IFACE=other logout "$iqn" "$V4"
