# What check and apply share: where the kernel keeps each setting. Sourced, not run.
# shellcheck shell=bash

# Tests read from, and write to, another root.
ROOT=${TWINRING_TUNING_ROOT:-}

value() { # FILE: its first line, or nothing
  [ -r "$ROOT$1" ] && head -n 1 "$ROOT$1" 2>/dev/null
}

# The choice in brackets: `always [madvise] never` → madvise
chosen() { # FILE
  value "$1" | sed -n 's/.*\[\(.*\)\].*/\1/p'
}

SOMAXCONN=/proc/sys/net/core/somaxconn
SYN_BACKLOG=/proc/sys/net/ipv4/tcp_max_syn_backlog
IO_URING=/proc/sys/kernel/io_uring_disabled
CLOCK=/sys/devices/system/clocksource/clocksource0/current_clocksource
HUGE=/sys/kernel/mm/transparent_hugepage/enabled
UPPER_LAYERS=/proc/sys/net/ipv4/tcp_available_ulp
BUSY_READ=/proc/sys/net/core/busy_read
ISOLATED=/sys/devices/system/cpu/isolated

# What is asked for; the reasons and gains are in README.md.
export WANT_QUEUE=4096
export WANT_MEMLOCK_KIB=512
export WANT_FILES=65536

governors() { # every core's, without repetition
  { cat "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null || true; } |
    sort -u | paste -sd, -
}

export SOMAXCONN SYN_BACKLOG IO_URING CLOCK HUGE BUSY_READ ISOLATED UPPER_LAYERS
