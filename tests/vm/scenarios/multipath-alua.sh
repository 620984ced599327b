# shellcheck shell=bash
# One disk through two ports of different target port groups under dm-multipath: the optimized one is used, the other
# takes over when it is cut off and gives back, and an initiator changes which is which. With the kernel's handler
# (scsi_dh_alua) where there is one, by multipath's own priorities where not.
iqn=$IQN:alua
best=[$HOST_IP6]:3262 other=$HOST_IP:3261
modprobe -a dm-multipath dm-round-robin dm-service-time
handler=0
! modprobe scsi_dh_alua 2>/dev/null || handler='1 alua'
cat >/etc/multipath.conf <<-CONF
	defaults {
		user_friendly_names no
		find_multipaths no
		path_grouping_policy group_by_prio
		prio alua
		hardware_handler "$handler"
		failback immediate
		path_checker tur
		path_selector "round-robin 0"
		polling_interval 1
		max_polling_interval 2
		no_path_retry 30
	}
CONF
declare -A disk
for portal in "$best" "$other"; do
	set_node "$iqn" "$portal" node.session.timeo.replacement_timeout 3 \
		'node.conn[0].timeo.noop_out_interval' 1 'node.conn[0].timeo.noop_out_timeout' 2
	check "login over $portal" login "$iqn" "$portal"
	disk[$portal]=$DEV
done
best=${disk[$best]} other=${disk[$other]}
id() { udevadm info -q property "$1" | sed -n 's/^ID_SERIAL=//p'; }
wwid=$(id "$best")
check "both paths name the same disk" [ "$wwid" = "$(id "$other")" ]
# group DISK: the target port group of the port that it came through.    state GROUP DISK: what is said there of it.
group() { sg_vpd -p di --raw "$1" | od -An -v -tx1 | tr -d ' \n' | sed -n 's/.*519500040000\(....\).*/\1/p'; }
state() { sg_rtpg -d "$2" | sed -n "/group id : 0x$1 /,/access state/s/.*access state : 0x0*\([0-9a-f]\).*/\1/p"; }
check "each port is in its group" [ "$(group "$best") $(group "$other")" = "0001 0000" ]
multipathd -d >/tmp/multipathd.log 2>&1 &
multipathd=$!
trap 'multipath -F 2>/dev/null || :; kill $multipathd 2>/dev/null || :' EXIT
map=/dev/mapper/$wwid
shown() { multipathd show paths raw format '%d %p %t %T' 2>/dev/null | tr -s ' '; }
# prios BEST OTHER: within 30 s multipath gives the paths these priorities.
prios() {
	local n
	for ((n = 0; n < 60; n++)); do
		[ "$(shown | grep -c -e "^${best#/dev/} $1 " -e "^${other#/dev/} $2 ")" != 2 ] || return 0
		sleep 0.5
	done
	shown
	sg_rtpg -d "$best"
	return 1
}
check "the optimized port has the higher priority" prios 50 10
for _ in $(seq 100); do [ ! -b "$map" ] || break; sleep 0.1; done
check "the map is a disk" [ -b "$map" ]
has_handler() { dmsetup table "$wwid" | grep -q " multipath [0-9]* .*$handler"; }
check "its handler is $handler" has_handler
written() { awk '{print $5}' "/sys/block/${1#/dev/}/stat"; }
# goes_by DISK NOT: within 30 s, for 2 s I/O goes by one and not by the other.
goes_by() {
	local n a b
	for ((n = 0; n < 15; n++)); do
		a=$(written "$1") b=$(written "$2")
		sleep 2
		[ "$(written "$1")" -gt "$a" ] && [ "$(written "$2")" -eq "$b" ] && return 0
	done
	multipath -ll
	return 1
}
fio_verify "$map" --rw=randwrite --bssplit="$MIXED" --size=330m --iodepth=8 --rate=3m &
fio=$!
check "I/O goes by the optimized port" goes_by "$best" "$other"
host cut "$HOST_IP6"
check "the other takes over when that is cut off" goes_by "$other" "$best"
if [ "$handler" != 0 ]; then
	check "the kernel's handler has made that one optimized" [ "$(state 0 "$other")" = 0 ]
	sg_stpg --tp=0 --state=1 "$other"
fi
host mend "$HOST_IP6"
check "and gives back" goes_by "$best" "$other"
check "an initiator makes the other optimized (sg_stpg)" sg_stpg --tp=0,1 --state=0,1 "$other"
check "multipath sees it" prios 10 50
check "I/O follows" goes_by "$other" "$best"
check "an initiator puts the first into standby" sg_stpg --tp=1 --state=2 "$other"
check "multipath sees that too" prios 1 50
not_ready() {
	sg_turs -v "$best" >/tmp/turs 2>&1 || :
	grep -qi standby /tmp/turs
}
check "that port says that it is in standby" not_ready
refuses() { ! dd if=/dev/zero of="$best" bs=4k count=1 oflag=direct; }
check "and refuses to write" refuses
check "I/O is still under way" kill -0 $fio
check "an initiator makes both as they were" sg_stpg --tp=0,1 --state=1,0 "$other"
check "I/O goes by the first again" goes_by "$best" "$other"
check "checked writes ended without an error" wait $fio
quiet_map() { ! dmesg | grep -E "dev dm-[0-9]+.*error|error.*dev dm-"; }
check "the map gave no error" quiet_map
check "the map can be removed" map_removed
kill $multipathd
wait $multipathd || :
trap - EXIT
logout "$iqn" "$HOST_IP:3261"
logout "$iqn" "[$HOST_IP6]:3262"
