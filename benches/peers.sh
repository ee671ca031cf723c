#!/usr/bin/env bash
# Proxies that already run, side by side, with `loadgen compare`; the method is in benches/peers.md.
#
#   benches/peers.sh [options] direct=HOST:PORT NAME=HOST:PORT[@PID[,PID…]] …
#
#   -r N        rounds (9)               -s SECONDS  measured in each (5)
#   -R RATE     requests per second (5000)           -c N  connections (32)
#   -m MIX      what is sent (write=1)   -S          also a sweep: the highest rate with p99 < 1 ms
#   -o DIR      where results go (benches/runs/<date>-<kernel>/peers)
#   -x "ARGS"   more arguments for loadgen, e.g. "--cores 0 --value-bytes 1000"
#
# The first endpoint is the server without a proxy: what the others add is measured against it.
# Every proxy must mirror to the same kind of target, and each to one of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=9 seconds=5 rate=5000 connections=32 mix=write=1 sweep='' out='' more=()
while getopts r:s:R:c:m:So:x: option; do
  case $option in
    r) rounds=$OPTARG ;;
    s) seconds=$OPTARG ;;
    R) rate=$OPTARG ;;
    c) connections=$OPTARG ;;
    m) mix=$OPTARG ;;
    S) sweep=yes ;;
    o) out=$OPTARG ;;
    x) read -ra more <<<"$OPTARG" ;;
    *) sed -n '2,14s/^# \?//p' "$0" >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 1 ] || { sed -n '2,14s/^# \?//p' "$0" >&2 && exit 2; }

loadgen=${LOADGEN:-target/release/loadgen}
[ -x "$loadgen" ] || { echo "build it first: cargo build --release -p twinring-loadgen" >&2 && exit 1; }
out=${out:-benches/runs/$(date +%F)-$(uname -r | cut -d. -f1,2)/peers}

ends=() names=()
for end in "$@"; do
  name=${end%%=*} pids=''
  case $end in *@*) pids=${end##*@} ;; esac
  ends+=(--endpoint "${end%@*}")
  names+=("$name")
  for pid in ${pids//,/ }; do ends+=(--pid "$name=$pid"); done
done

mkdir -p "$out"
{
  echo "kernel: $(uname -r)"
  echo "processor: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
  echo "loadgen: $("$loadgen" --version)"
  echo "endpoints: ${names[*]}"
  echo "command: compare --rounds $rounds --rate $rate --connections $connections --mix $mix" \
    "--duration $seconds ${more[*]}"
} >"$out/host.txt"

# The loadgen's exit code says whether every run was valid; the tables are shown all the same.
"$loadgen" compare "${ends[@]}" --create --rounds "$rounds" --rate "$rate" --mix "$mix" \
  --connections "$connections" --duration "$seconds" --warm-up 1 --out "$out/compare" \
  "${more[@]}" | tee "$out/compare.txt" || true
[ -z "$sweep" ] ||
  "$loadgen" sweep "${ends[@]}" --rate 1000 --to 200000 --factor 1.4 --refine 3 --mix "$mix" \
    --connections "$connections" --duration "$seconds" --warm-up 1 --p99-limit-us 1000 \
    --out "$out/sweep" "${more[@]}" | tee "$out/sweep.txt" || true
echo "kept in $out"
