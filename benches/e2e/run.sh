#!/usr/bin/env bash
# Interleaved rounds of relays between one client and stub nodes; medians and ratios at the end.
# Method: benches/README.md.
#
#   benches/e2e/run.sh [options] [name=command ...]
#
#   -t PATH    a twinring binary: adds the relay "twinring" (source and target: the two stubs)
#   -r N       rounds (5)           -s SECONDS  of each measurement (3)
#   -p PORT    first of 100 ports (21200)
#   -c A,B     cores: relay on A, client and stubs on B (0,1)
#   -S LIST    shapes, connections x depth: c1 c32 2x64 or NxD ("c1 c32 2x64")
#   -w WRAP    run everything under this, e.g. "chrt -f 5" where others use the cores too
#   -P         one more round under perf (system calls, instructions where the machine counts them)
#   -T         the client speaks TLS 1.3 (AES-128-GCM, X25519) to HAProxy and twinring
#   -G         the client reads (a prepared SELECT by key): nothing is mirrored
#   -d US      the target stub holds its answers back this long (0)
#   -o DIR     keep lines, summary and host there
#   -b "LIST"  built-in relays ("haproxy ring")
#
# In a command, @LISTEN, @SOURCE, @TARGET (addresses), @LISTEN_PORT, @SOURCE_PORT, @TARGET_PORT,
# @CORE, @E2E (the lab's binary) and @PEM (certificate and key, with -T) are filled in; it must run
# in the foreground.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=5 seconds=3 base=21200 cores=0,1 shapes="c1 c32 2x64" perf= out= twinring= wrap=
builtin="haproxy ring" delay=0 tls= reads=
while getopts "t:r:s:p:c:S:Po:b:w:d:TG" option; do
  case $option in
    t) twinring=$OPTARG ;; r) rounds=$OPTARG ;; s) seconds=$OPTARG ;; p) base=$OPTARG ;;
    c) cores=$OPTARG ;; S) shapes=$OPTARG ;; P) perf=yes ;; o) out=$OPTARG ;; b) builtin=$OPTARG ;; w) wrap=$OPTARG ;;
    d) delay=$OPTARG ;; T) tls=yes builtin=haproxy ;; G) reads=yes ;;
    *) sed -n '2,25p' "$0" >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))

e2e=${E2E:-target/release/examples/e2e}
[ -x "$e2e" ] || { echo "build it first: cargo build --release --example e2e" >&2; exit 1; }
relay_core=${cores%,*} other_core=${cores#*,}
source_port=$base target_port=$((base + 1)) next_port=$((base + 2))
work=$(mktemp -d)
started=()

stop() { # only what we started
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}
trap 'stop "${started[@]}"; rm -rf "$work"' EXIT

await_port() {
  for _ in $(seq 100); do
    (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.05
  done
  echo "nothing listens on port $1" >&2
  return 1
}

pem=$work/relay.pem # certificate and key in one file, as HAProxy wants them
if [ -n "$tls" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=relay \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
  cat "$work/cert.pem" "$work/key.pem" >"$pem"
fi

declare -A commands
names=()
add() { names+=("$1"); commands[$1]=$2; }
for name in $builtin; do
  case $name in
    haproxy) add haproxy "haproxy -db -q -f $work/haproxy.@LISTEN_PORT" ;;
    ring) add ring "@E2E relay --listen @LISTEN --source @SOURCE --core @CORE" ;;
    *) echo "no built-in relay $name" >&2; exit 2 ;;
  esac
done
[ -z "$twinring" ] || add twinring "$twinring proxy 127.0.0.1 127.0.0.1 --source-port @SOURCE_PORT \
  --target-port @TARGET_PORT --proxy-port @LISTEN_PORT --cores 1 \
  --data-dir $work/data --disable-source-tls true --disable-target-tls true ${TWINRING_FLAGS:-} \
  ${tls:+--proxy-pem-certfile @PEM --proxy-pem-keyfile @PEM}"
for pair in "$@"; do add "${pair%%=*}" "${pair#*=}"; done

stub() { # port, delay
  # shellcheck disable=SC2086 # a command line, split on purpose
  $wrap taskset -c "$other_core" "$e2e" stub --listen "127.0.0.1:$1" --delay-us "$2" &
  started+=($!)
}
stub "$source_port" 0
stub "$target_port" "$delay"
await_port "$source_port"
await_port "$target_port"

haproxy_tls=${tls:+ssl crt $pem ssl-min-ver TLSv1.3 curves X25519}
haproxy_tls+=${tls:+ ciphersuites TLS_AES_128_GCM_SHA256}
haproxy_file() {
  cat >"$work/haproxy.$1" <<CONFIG
global
  nbthread 1
  maxconn 6000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen relay
  bind 127.0.0.1:$1 $haproxy_tls
  server source 127.0.0.1:$source_port
CONFIG
}

measure() { # relay shape round [perf]
  local name=$1 shape=$2 round=$3 port=$next_port command connections depth pid
  next_port=$((base + 2 + (next_port - base - 1) % 98))
  case $shape in
    c*) connections=${shape#c} depth=1 ;;
    *) connections=${shape%x*} depth=${shape#*x} ;;
  esac
  haproxy_file "$port"
  command=${commands[$name]}
  command=${command//@LISTEN_PORT/$port} command=${command//@LISTEN/127.0.0.1:$port}
  command=${command//@SOURCE_PORT/$source_port} command=${command//@SOURCE/127.0.0.1:$source_port}
  command=${command//@TARGET_PORT/$target_port} command=${command//@TARGET/127.0.0.1:$target_port}
  command=${command//@CORE/$relay_core} command=${command//@E2E/$e2e}
  command=${command//@PEM/$pem}
  # shellcheck disable=SC2086 # a command line, split on purpose
  $wrap taskset -c "$relay_core" $command >"$work/relay.log" 2>&1 &
  pid=$!
  started+=("$pid")
  await_port "$port" || { cat "$work/relay.log" >&2; return 1; }
  # shellcheck disable=SC2086 # a command line, split on purpose
  $wrap taskset -c "$other_core" "$e2e" load --target "127.0.0.1:$port" \
    --connections "$connections" --depth "$depth" --seconds "$seconds" --pids "$pid" ${4:+--perf} \
    ${tls:+--tls-ca "$work/cert.pem"} ${reads:+--reads} \
    --label "relay=$name shape=$shape round=$round" | tee -a "$work/lines${4:+.perf}"
  stop "$pid"
}

for round in $(seq "$rounds"); do
  for shape in $shapes; do
    for name in "${names[@]}"; do measure "$name" "$shape" "$round"; done
  done
done
echo
"$e2e" summary <"$work/lines" | tee "$work/summary"
if [ -n "$perf" ]; then
  for shape in $shapes; do
    for name in "${names[@]}"; do measure "$name" "$shape" perf perf; done
  done
  echo "under perf (counts are valid, times are not):" | tee -a "$work/summary"
  "$e2e" summary <"$work/lines.perf" | tee -a "$work/summary"
fi
if [ -n "$out" ]; then
  mkdir -p "$out"
  {
    echo "kernel   $(uname -r)"
    echo "cpu      $(sed -n 's/^model name\t*: //p' /proc/cpuinfo | head -1), $(nproc) cores"
    echo "haproxy  $(haproxy -v 2>/dev/null | head -1)"
    echo "commit   $(git rev-parse --short HEAD)"
    echo "rounds   $rounds of $seconds s, shapes $shapes"
    echo "target   answers after $delay us"
    echo "client   $([ -n "$tls" ] && echo "TLS 1.3, AES-128-GCM, X25519, P-256" || echo plain)"
    echo "requests $([ -n "$reads" ] && echo "prepared SELECT" || echo "prepared INSERT")"
    echo "under    ${wrap:-nothing}"
    for name in "${names[@]}"; do echo "relay    $name: ${commands[$name]//$work\//}"; done
  } >"$out/host.txt"
  cat "$work"/lines* >"$out/lines.txt"
  cp "$work/summary" "$out/summary.txt"
fi
