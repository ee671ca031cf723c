//! What a process has used: processor time, context switches, and with `perf` instructions and
//! system calls.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Use so far, over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    /// On a processor, in nanoseconds (first field of `schedstat`).
    pub(crate) cpu_ns: u64,
    /// Times that a thread went to sleep by itself.
    pub(crate) voluntary_switches: u64,
    /// Times that a thread was taken off the processor.
    pub(crate) involuntary_switches: u64,
}

impl Use {
    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Use) -> Use {
        Use {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            voluntary_switches: self
                .voluntary_switches
                .saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(earlier.involuntary_switches),
        }
    }
}

/// What the threads of `pids` have used so far.
pub(crate) fn used(pids: &[u32]) -> anyhow::Result<Use> {
    let mut sum = Use::default();
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
            let path = task?.path();
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let Ok(status) = fs::read_to_string(path.join("status")) else {
                continue;
            };
            let ns = schedstat
                .split_whitespace()
                .next()
                .and_then(|first| first.parse().ok());
            sum.cpu_ns += ns.unwrap_or(0);
            sum.voluntary_switches += field(&status, "voluntary_ctxt_switches:");
            sum.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    Ok(sum)
}

fn field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Events that `perf stat` counts.
const EVENTS: &str = "instructions:u,instructions:k,raw_syscalls:sys_enter";

/// A `perf stat` that counts from now until [`finish`](Perf::finish).
pub(crate) struct Perf(Child);

/// What it counted; `None`: the machine does not count this.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) user_instructions: Option<f64>,
    pub(crate) kernel_instructions: Option<f64>,
    pub(crate) syscalls: Option<f64>,
}

impl Perf {
    pub(crate) fn attach(pids: &[u32]) -> anyhow::Result<Perf> {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        Command::new("perf")
            .args(["stat", "-x", ";", "-e", EVENTS, "-p", &list.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Perf)
            .context("start perf stat")
    }

    /// Stops counting.
    pub(crate) fn finish(self) -> anyhow::Result<Counts> {
        let pid = self.0.id().to_string();
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .context("end perf stat")?;
        let output = self.0.wait_with_output().context("read perf stat")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = |event: &str| {
            text.lines()
                .find(|line| line.split(';').nth(2) == Some(event))
                .and_then(|line| line.split(';').next()?.parse().ok())
        };
        Ok(Counts {
            user_instructions: count("instructions:u"),
            kernel_instructions: count("instructions:k"),
            syscalls: count("raw_syscalls:sys_enter"),
        })
    }
}
