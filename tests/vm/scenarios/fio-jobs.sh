# shellcheck shell=bash
# The jobs of tuning/fio, each for a second: fio can read them, and they do what their names say. What they write destroys
# only the disk of this scenario.
iqn=$IQN:scratch
check "login" login "$iqn" "$V4"
# plays JOB: its report has the directions that it asks for.
plays() {
	local verbs
	sed 's/^runtime=.*/runtime=1/; s/^ramp_time=.*/ramp_time=0/' "$1" >/tmp/job.fio
	DISK=$DEV fio --eta=never --output=/tmp/fio.log /tmp/job.fio || { cat /tmp/fio.log && return 1; }
	cat /tmp/fio.log
	case $(sed -n 's/^rw=//p' "$1") in
	read | randread) verbs='read' ;;
	write | randwrite) verbs='write' ;;
	*) verbs='read write' ;;
	esac
	[ "$(sed -n 's/^ *\(read\|write\): IOPS=[1-9].*/\1/p' /tmp/fio.log | paste -sd ' ')" = "$verbs" ]
}
for job in /lab/job/fio/*.fio; do
	check "${job##*/}" plays "$job"
done
logout "$iqn" "$V4"
check "no I/O error on the way" quiet_kernel
