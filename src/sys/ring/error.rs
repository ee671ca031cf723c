//! Why a ring could not be made.

use std::io;

/// A ring could not be made: says what is missing and, where there is one, the command that mends
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The kernel lacks something that the ring is built on.
    #[error("the kernel offers no {feature}: Linux {needs} or later is needed, this is {running}")]
    KernelTooOld {
        /// What is missing.
        feature: &'static str,
        /// The first release that has it.
        needs: &'static str,
        /// The release of the running kernel.
        running: String,
    },
    /// io_uring is switched off, by sysctl or by a seccomp filter (as container engines have).
    #[error(
        "io_uring may not be used here: run `sysctl -w kernel.io_uring_disabled=0`, and in a \
         container allow the io_uring system calls (`--security-opt seccomp=unconfined` or a \
         profile with io_uring_setup, io_uring_enter and io_uring_register)"
    )]
    Forbidden,
    /// The kernel may not lock the memory that the ring asks for.
    #[error(
        "no memory for the ring's queues: raise the limit of locked memory (`ulimit -l \
         unlimited`, or `LimitMEMLOCK=infinity` in the unit file)"
    )]
    LockedMemory,
    /// A number in [`RingConfig`](super::RingConfig) is out of range.
    #[error("{what} is {value}, allowed are {allowed}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it was.
        value: u32,
        /// What it may be.
        allowed: &'static str,
    },
    /// Any other refusal by the kernel.
    #[error("failed to {step}: {source}")]
    Os {
        /// The step that failed, as a verb phrase.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl RingError {
    /// Names the refusal `source` of the system call that carries out `step`.
    pub(super) fn from_os(step: &'static str, source: io::Error) -> RingError {
        match source.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => RingError::Forbidden,
            Some(libc::ENOMEM) => RingError::LockedMemory,
            _ => RingError::Os { step, source },
        }
    }
}
