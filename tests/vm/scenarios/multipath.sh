# shellcheck shell=bash
# Two sessions to one disk, over IPv4 and IPv6, under dm-multipath; one is cut off during I/O.
iqn=$IQN:io
modprobe -a dm-multipath dm-round-robin dm-service-time
cat >/etc/multipath.conf <<-CONF
	defaults {
		user_friendly_names no
		find_multipaths no
		path_grouping_policy multibus
		path_selector "round-robin 0"
		polling_interval 1
		max_polling_interval 2
		no_path_retry 30
	}
CONF
# A path that is cut off is given up after 3 s; the other then takes over.
for portal in "$V4" "$V6"; do
	set_node "$iqn" "$portal" node.session.timeo.replacement_timeout 3 \
		'node.conn[0].timeo.noop_out_interval' 1 'node.conn[0].timeo.noop_out_timeout' 2
	check "login over $portal" login "$iqn" "$portal"
	echo "$DEV" >>/tmp/paths
done
mapfile -t paths </tmp/paths
# As multipath sees it: by the name that udev's rules made of the disk's designators.
id() { udevadm info -q property "$1" | sed -n 's/^ID_SERIAL=//p'; }
wwid=$(id "${paths[0]}")
check "both paths name the same disk" [ "$wwid" = "$(id "${paths[1]}")" ]
multipathd -d >/tmp/multipathd.log 2>&1 &
multipathd=$!
trap 'multipath -F 2>/dev/null || :; kill $multipathd 2>/dev/null || :' EXIT
map=/dev/mapper/$wwid
check "two active paths" paths_up 2
for _ in $(seq 100); do [ ! -b "$map" ] || break; sleep 0.1; done
check "the map is a disk" [ -b "$map" ]
written() { awk '{print $5}' "/sys/block/${1#/dev/}/stat"; }
before=("$(written "${paths[0]}")" "$(written "${paths[1]}")")
fio_verify "$map" --rw=randwrite --bssplit="$MIXED" --size=80m --iodepth=16 --rate=5m &
fio=$!
sleep 4
check "both paths carry I/O" [ "$(written "${paths[0]}")" -gt "${before[0]}" -a "$(written "${paths[1]}")" -gt "${before[1]}" ]
host cut "$HOST_IP6"
check "I/O under way when one path is cut off" kill -0 $fio
check "the path is found dead" paths_up 1
host mend "$HOST_IP6"
check "the path comes back" paths_up 2
check "checked writes ended without an error" wait $fio
quiet_map() { ! dmesg | grep -E "dev dm-[0-9]+.*error|error.*dev dm-"; }
check "the map gave no error" quiet_map
check "the map can be removed" map_removed
kill $multipathd
wait $multipathd || :
trap - EXIT
logout "$iqn" "$V4"
logout "$iqn" "$V6"
