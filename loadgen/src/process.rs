//! What other processes cost: processor time and memory, as the kernel counts them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// What a set of processes has used, from their start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, kernel included, of all threads that are alive.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub rss_bytes: u64,
}

/// What one run has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Processor time per answered request, in µs.
    pub cpu_us_per_request: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
}

/// Reads what these processes have used.
///
/// # Errors
/// One of them does not run, or may not be looked at.
pub fn usage(pids: &[u32]) -> anyhow::Result<Usage> {
    let mut all = Usage::default();
    for pid in pids {
        let one = usage_of(*pid).with_context(|| format!("look at process {pid}"))?;
        all.cpu += one.cpu;
        all.rss_bytes += one.rss_bytes;
    }
    Ok(all)
}

fn usage_of(pid: u32) -> anyhow::Result<Usage> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut ns = 0;
    for task in fs::read_dir(process.join("task"))? {
        // A thread may end between the two steps.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        ns += on_processor_ns(&text).context("read schedstat")?;
    }
    let status = fs::read_to_string(process.join("status"))?;
    Ok(Usage {
        cpu: Duration::from_nanos(ns),
        rss_bytes: resident_bytes(&status).unwrap_or(0), // a process that has just ended
    })
}

/// The first number of `/proc/PID/task/TID/schedstat`.
fn on_processor_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// `VmRSS:   1234 kB` of `/proc/PID/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(on_processor_ns("8391277 81811 12\n"), Some(8_391_277));
        let status = "Name:\ttwinring\nVmHWM:\t   9000 kB\nVmRSS:\t    5120 kB\n";
        assert_eq!(resident_bytes(status), Some(5120 * 1024));
        assert_eq!(resident_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let before = usage(&[std::process::id()]).unwrap();
        let mut sum = 0_u64;
        while usage(&[std::process::id()]).unwrap().cpu <= before.cpu {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(before.rss_bytes > 100_000, "{before:?}");
        assert!(usage(&[0]).is_err());
    }
}
