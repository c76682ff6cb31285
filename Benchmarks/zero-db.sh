#!/usr/bin/env bash
# Zero-DB beside Redis in the same run: SET and GET of 64 B, GET of 256 KiB, without and with pipelining.
#   ZERO_BIN  folder of the release programs (default build/release)
#   ROUNDS    rounds that take turns; the median is printed (default 3)
#   PERCENT   of the requests of each case (default 100): a quicker, noisier run
#   BENCH_ROWS  a file to which rows are added for script/bench
# Pairs: zero-db --sync always | redis appendfsync always; zero-db --sync interval | redis appendfsync everysec.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${ZERO_BIN:-build/release}/zero-db
rounds=${ROUNDS:-3}
percent=${PERCENT:-100}
[ -x "$bin" ] || { echo "no $bin: run make build, or set ZERO_BIN" >&2; exit 1; }
for tool in redis-server redis-benchmark redis-cli; do
    command -v $tool >/dev/null || { echo "$tool is missing (Debian: redis)" >&2; exit 1; }
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/zero-db-bench.XXXXXX")
pids=()
finish() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

pin_server=() pin_client=()
if command -v taskset >/dev/null && [ "$(nproc)" -ge 2 ]; then
    pin_server=(taskset -c 0) pin_client=(taskset -c 1)
fi

declare -A socket
start() { # name, command…
    local name=$1
    shift
    socket[$name]=$dir/$name.sock
    mkdir -p "$dir/$name"
    "${pin_server[@]}" "$@" >"$dir/$name.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do
        redis-cli -s "${socket[$name]}" ping >/dev/null 2>&1 && return
        sleep 0.05
    done
    echo "$name did not start:" >&2
    cat "$dir/$name.log" >&2
    exit 1
}
redis=(redis-server --port 0 --save "" --appendonly yes --daemonize no)
start zero-always "$bin" --data "$dir/zero-always" --socket "$dir/zero-always.sock" --sync always
start redis-always "${redis[@]}" --dir "$dir/redis-always" --unixsocket "$dir/redis-always.sock" --appendfsync always
start zero-interval "$bin" --data "$dir/zero-interval" --socket "$dir/zero-interval.sock" --sync interval
start redis-everysec "${redis[@]}" --dir "$dir/redis-everysec" --unixsocket "$dir/redis-everysec.sock" --appendfsync everysec
servers=(zero-always redis-always zero-interval redis-everysec)

measure() { # server, operation, bytes, pipeline, requests, keys -> "rps p99_ms"
    local keys=()
    [ "$6" -gt 0 ] && keys=(-r "$6")
    timeout 180 "${pin_client[@]}" redis-benchmark -s "${socket[$1]}" -t "$2" -d "$3" -P "$4" -n "$5" -c 50 \
        "${keys[@]}" --csv 2>/dev/null | awk -F'","' -v op="\"${2^^}" '$1 == op { print $2, $7 }'
}
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# operation, bytes, pipeline, requests, keys
cases=("set 64 1 60000 50000" "get 64 1 60000 50000" "set 64 16 400000 50000" "get 64 16 600000 50000"
    "get 262144 1 8000 0" "get 262144 16 8000 0")
for server in "${servers[@]}"; do measure "$server" set 262144 1 60 0 >/dev/null; done
for round in $(seq "$rounds"); do
    for index in "${!cases[@]}"; do
        read -r op bytes pipeline requests keys <<<"${cases[$index]}"
        for server in "${servers[@]}"; do
            measure "$server" "$op" "$bytes" "$pipeline" \
                $((requests * percent / 100)) "$keys" >>"$dir/result.$index.$server"
        done
    done
    [ -t 2 ] && printf '\rround %d of %d' "$round" "$rounds" >&2
done
[ -t 2 ] && printf '\r\033[K' >&2

rps() { cut -d' ' -f1 "$dir/result.$1.$2" | median; }
p99() { cut -d' ' -f2 "$dir/result.$1.$2" | median; }
echo "requests/s, median of $rounds rounds, 50 connections, one Unix socket; p99 in ms in brackets"
printf '%-14s %3s | %22s %22s %6s | %22s %22s %6s\n' "" P "zero-db always" "redis always" ratio \
    "zero-db interval" "redis everysec" ratio
for index in "${!cases[@]}"; do
    read -r op bytes pipeline _ _ <<<"${cases[$index]}"
    row=$(printf '%-14s %3s' "${op^^} $bytes B" "$pipeline")
    for pair in "zero-always redis-always" "zero-interval redis-everysec"; do
        read -r ours theirs <<<"$pair"
        [ -z "${BENCH_ROWS:-}" ] || awk -v what="${op^^} $bytes B, $pipeline at once, ${ours#zero-}" \
            -v a="$(rps "$index" "$ours")" -v b="$(rps "$index" "$theirs")" -v pa="$(p99 "$index" "$ours")" \
            -v pb="$(p99 "$index" "$theirs")" -v theirs="${theirs#redis-}" 'BEGIN {
                printf "{\"what\":\"Zero-DB %s\",\"ours\":\"%d/s, p99 %.2f ms\",", what, a, pa
                printf "\"peer\":\"redis %s: %d/s, p99 %.2f ms\",", theirs, b, pb
                printf "\"ratio\":\"%.2f\",\"target\":\"\",\"met\":\"\"}\n", (b > 0 ? a / b : 0)
            }' >>"$BENCH_ROWS"
        row+=$(awk -v a="$(rps "$index" "$ours")" -v b="$(rps "$index" "$theirs")" -v pa="$(p99 "$index" "$ours")" \
            -v pb="$(p99 "$index" "$theirs")" \
            'BEGIN { printf " | %12d (%7.2f) %12d (%7.2f) %6.2f", a, pa, b, pb, (b > 0 ? a / b : 0) }')
    done
    echo "$row"
done
