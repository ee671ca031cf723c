//! What the machine must offer, checked before anything starts: each finding says what is wrong,
//! why it matters and the command that mends it.

use std::fs;

use super::ring::{Ring, RingConfig, RingError, Spin};

/// glommio refuses to start an executor below this, whatever it needs.
const LOCKED_BYTES_MIN: u64 = 512 * 1024;
/// What an executor locks: three rings with registered memory of 64 KiB each (see
/// [`executor`](super::executor)), and as much again for their queues on kernels that count those.
const LOCKED_BYTES_PER_EXECUTOR: u64 = 2 * 3 * 64 * 1024;

/// Why twinring cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel switches io_uring off.
    #[error(
        "io_uring is switched off (kernel.io_uring_disabled = {value}): run `sysctl -w \
         kernel.io_uring_disabled=0`"
    )]
    Disabled {
        /// The value of the sysctl: 1 (only privileged processes) or 2 (nobody).
        value: u32,
    },
    /// The limit of locked memory is too low.
    #[error(
        "{executors} shards lock {needed_bytes} bytes of memory, the limit is {limit_bytes}: \
         run `ulimit -l {}`, or set `LimitMEMLOCK={needed_bytes}` in the unit file",
        needed_bytes.div_ceil(1024)
    )]
    LockedMemory {
        /// Shards that were to start.
        executors: usize,
        /// What they need.
        needed_bytes: u64,
        /// What they may have (`RLIMIT_MEMLOCK`).
        limit_bytes: u64,
    },
    /// A ring could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// Checks that `executors` shards can run here.
///
/// # Errors
/// The first thing that is missing.
pub fn check(executors: usize) -> Result<(), ProbeError> {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    check_sysctl(&sysctl, is_root())?;
    check_locked_memory(executors, locked_bytes_limit())?;
    // The proof of the pudding: a small ring with every feature that is used.
    let config = RingConfig {
        submission_entries: 8,
        completion_entries: 16,
        buffers: 1,
        buffer_bytes: 4096,
        spin: Spin::Never,
    };
    Ring::new(&config)?;
    Ok(())
}

/// The release of the running kernel, as `uname -r` shows it.
#[must_use]
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |_| "unknown".to_owned(),
        |release| release.trim().to_owned(),
    )
}

pub(super) fn too_old(feature: &'static str, needs: &'static str) -> RingError {
    RingError::KernelTooOld {
        feature,
        needs,
        running: kernel_release(),
    }
}

/// No such sysctl (Linux before 6.6) means that io_uring is on.
fn check_sysctl(text: &str, root: bool) -> Result<(), ProbeError> {
    match text.trim().parse() {
        Ok(value @ 1) if !root => Err(ProbeError::Disabled { value }),
        Ok(value @ 2) => Err(ProbeError::Disabled { value }),
        _ => Ok(()),
    }
}

fn check_locked_memory(executors: usize, limit_bytes: u64) -> Result<(), ProbeError> {
    let executors_bytes = u64::try_from(executors)
        .unwrap_or(u64::MAX)
        .saturating_mul(LOCKED_BYTES_PER_EXECUTOR);
    let needed_bytes = executors_bytes.max(LOCKED_BYTES_MIN);
    // The kernel does not hold root to it, but glommio looks at the number itself.
    let needed = if is_root() {
        LOCKED_BYTES_MIN
    } else {
        needed_bytes
    };
    if limit_bytes < needed {
        return Err(ProbeError::LockedMemory {
            executors,
            needed_bytes,
            limit_bytes,
        });
    }
    Ok(())
}

fn is_root() -> bool {
    // SAFETY: no arguments, no memory.
    unsafe { libc::geteuid() == 0 }
}

fn locked_bytes_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the one structure that the call writes.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if answer == 0 { limit.rlim_cur } else { 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_machine_passes() {
        check(1).unwrap();
    }

    #[test]
    fn the_sysctl_is_understood() {
        assert!(check_sysctl("0\n", false).is_ok());
        assert!(check_sysctl("", false).is_ok());
        assert!(check_sysctl("1\n", true).is_ok());
        assert!(matches!(
            check_sysctl("1\n", false),
            Err(ProbeError::Disabled { value: 1 })
        ));
        assert!(matches!(
            check_sysctl("2\n", true),
            Err(ProbeError::Disabled { value: 2 })
        ));
    }

    #[test]
    fn too_little_locked_memory_is_named_with_the_command() {
        let error = check_locked_memory(2, 64 * 1024).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the limit is 65536"), "{text}");
        assert!(text.contains("ulimit -l 768"), "{text}");
    }
}
