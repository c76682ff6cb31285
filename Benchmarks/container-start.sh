#!/usr/bin/env bash
# How long a container takes to start under zero-shim, beside plain `runc run` of the same bundle, in the same run.
#
#   Benchmarks/container-start.sh [FOLDER WITH PROGRAMS] [ROUNDS]     (default: build/release 20; needs root)
#
# Measured is the time from starting the command to the first instruction of the container's program, which prints the clock.
# zero-shim's time includes its own start, the overlay mount and the bundle; runc finds both ready. Prints JSON: medians, and
# the best of the rounds (on a busy machine the steadier one).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
bin=$(cd "${1:-$top/build/release}" && pwd)
rounds=${2:-20}
world=$(mktemp -d /tmp/zero-start-XXXXXX)
image=$world/image
clean() {
    cut -d' ' -f2 /proc/mounts | grep "^$world/" | tac | xargs -r umount -l
    rm -rf "$world"
}
trap clean EXIT

mkdir -p "$image"/{bin,etc,proc,sys,dev,tmp,run,lib64}
for name in dash date sleep; do
    path=$(readlink -f "$(command -v $name)")
    cp "$path" "$image/bin/$name"
    ldd "$path" | grep -oE '/[^ ]+' | while read -r library; do
        mkdir -p "$image$(dirname "$library")" && cp -nL "$library" "$image$library"
    done
done

# One spec; $1 is the container's id.
order() {
    local folder=$world/state/compute/containers/$1
    mkdir -p "$folder/image" "$world/run"
    mount --bind "$image" "$folder/image"
    cat > "$folder/spec.json" <<JSON
{"format":1,"desired":"run","generation":1,"spec":{"id":"$1","contract":"00","workload":"w","version":1,"epoch":1,
"image":{"root":"00"},"args":["/bin/dash","-c","date +%s%N; exec sleep 1000"],"stop_signal":"KILL",
"limits":{"cpu_milli":1000,"memory":134217728,"pids":64}}}
JSON
}

shim() { # id
    "$bin/zero-shim" --state "$world/state" --run "$world/run" --instance "$1" \
        --seccomp "$top/Packaging/seccomp.json" --init /nonexistent 2>> "$world/shim.log" &
}

# Best, and median.
figures() { sort -n | awk '{v[NR]=$1} END {print v[1], v[int((NR+1)/2)]}'; }

shim_times() {
    for round in $(seq "$rounds"); do
        order "b$round"
        before=$(date +%s%N)
        shim "b$round"
        pid=$!
        log=$world/state/shim/b$round/logs/current
        until [ -s "$log" ]; do sleep 0.005; done
        after=$(cut -d' ' -f4 "$log" | head -1)
        echo $(((after - before) / 1000))
        if [ "$round" = "$rounds" ]; then
            sleep 1
            awk '/VmRSS/ {print $2} /VmHWM/ {print $2}' "/proc/$pid/status" > "$world/rss"
            cp -r "$world/run/shim/b$round/private/bundle" "$world/bundle"
            awk '/^Pss:/ {s += $2} END {print s}' "/proc/$pid/smaps_rollup" >> "$world/rss"
        fi
        kill -TERM $pid
        wait $pid || true
    done
}

runc_times() {
    mkdir -p "$world"/{upper,work,root}
    mount -t overlay none -o "lowerdir=$image,upperdir=$world/upper,workdir=$world/work" "$world/root"
    for file in hosts resolv.conf hostname; do cp "$world/bundle/$file" "$world/$file"; done
    python3 - "$world" "$rounds" <<'PY'
import json, sys
world, rounds = sys.argv[1], sys.argv[2]
config = json.load(open(f"{world}/bundle/config.json"))
config["root"]["path"] = f"{world}/root"
config["process"]["args"] = ["/bin/dash", "-c", "date +%s%N"]
for mount in config["mounts"]:
    if mount["type"] == "bind":
        mount["source"] = world + "/" + mount["source"].rsplit("/", 1)[1]
json.dump(config, open(f"{world}/bundle/config.json", "w"))
PY
    for round in $(seq "$rounds"); do
        before=$(date +%s%N)
        after=$(runc --root "$world/runc" run --bundle "$world/bundle" "zero-start-$$-$round")
        echo $(((after - before) / 1000))
    done
}

read -r shim_best shim < <(shim_times | figures)
read -r runc_best runc < <(runc_times | figures)
{ read -r high; read -r rss; read -r pss; } < "$world/rss"
printf '{"rounds":%d,"shim_us":%d,"runc_us":%d,"shim_best_us":%d,"runc_best_us":%d,' \
    "$rounds" "$shim" "$runc" "$shim_best" "$runc_best"
awk -v s="$shim" -v r="$runc" -v sb="$shim_best" -v rb="$runc_best" \
    'BEGIN {printf "\"ratio\":%.2f,\"ratio_best\":%.2f,", s / r, sb / rb}'
printf '"shim_rss_kib":%d,"shim_peak_kib":%d,"shim_pss_kib":%d}\n' "$rss" "$high" "$pss"
