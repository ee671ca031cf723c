//! How the kernel shares the processors out.

use std::fs;
use std::time::Duration;

/// Processor time that the calling thread has taken (`CLOCK_THREAD_CPUTIME_ID`).
pub fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the write.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if answer != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// Whether the calling thread has a real-time priority and is taken off its core for some of each
/// second if it does not sleep (sched(7), "Limiting the CPU usage of real-time and deadline
/// processes"): by default for 50 ms.
pub fn is_throttled() -> bool {
    // SAFETY: no pointers.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if !matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR) {
        return false;
    }
    let limit = fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").unwrap_or_default();
    limit.trim() != "-1"
}

/// Voluntary switches of the calling thread to others: how often it slept.
#[cfg(test)]
pub(super) fn sleeps() -> i64 {
    // SAFETY: all-zero is a value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the call to fill.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(answer, 0);
    usage.ru_nvcsw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a thread of a test may sleep")]
    fn a_thread_that_works_takes_time_and_one_that_sleeps_does_not() {
        let before = thread_time();
        let mut sum = 0u64;
        while thread_time() < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_time() < before + Duration::from_millis(45));
    }
}
