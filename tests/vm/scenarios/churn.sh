# shellcheck shell=bash disable=SC2317 # functions are called by check
# A thousand logical units and initiators come and go, one after the other, by the control socket; whoever reads another
# disk does not notice. Three runs: two in which nothing happens, which tell how much the latency differs by itself, and
# one meanwhile.
FACTOR=3 # this machine is emulated by the processors that the target works on
iqn=$IQN:void
check "login" login "$iqn" "$V4"
kernel_mark
read_on() { # read_on NAME SECONDS
	exec fio --name="$1" --filename="$DEV" --direct=1 --ioengine=libaio --rw=randread --bs=4k --iodepth=4 --time_based \
		--runtime="$2" --percentile_list=99 --eta=never --output-format=json --output="/tmp/$1.json"
}
p99() { sed -n '/"99.000000" : [1-9]/{s/.* : \([0-9]*\).*/\1/p;q}' "/tmp/$1.json"; } # nanoseconds
errors() { sed -n 's/^ *"error" : \([0-9]*\).*/\1/p' "/tmp/$1.json"; }
for run in once again; do check "nothing comes or goes: $run" eval "(read_on $run 8)"; done
(read_on meanwhile 600) &
reader=$!
check "a thousand come and go" host churn 1000
cat /tmp/check.out
kill -INT "$reader"
wait "$reader" || : # it was told to end
read -r a b c <<<"$(p99 once) $(p99 again) $(p99 meanwhile)"
larger=$((a > b ? a : b)) smaller=$((a > b ? b : a))
limit=$((larger * larger * FACTOR / smaller))
echo "     99 % of reads: $((a / 1000)) us, $((b / 1000)) us; meanwhile $((c / 1000)) us, $((c * 100 / larger)) % of the larger"
unmoved() { [ "$c" -le "$limit" ] || { echo "$c ns, more than $limit" && return 1; }; }
check "whoever reads another disk does not notice" unmoved
check "no read has failed" [ "$(errors once)$(errors again)$(errors meanwhile)" = 000 ]
check "no I/O error on the way" quiet_kernel
logout "$iqn" "$V4"
