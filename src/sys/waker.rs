//! Waking another shard's ring: an eventfd with a sending and a receiving end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Wakes the shard that holds the [`Wakeup`]. Clones go to other threads.
#[derive(Clone, Debug)]
pub struct Waker(Arc<File>);

/// The receiving end; [`Ring::watch`](super::ring::Ring::watch) its descriptor.
#[derive(Debug)]
pub struct Wakeup(Arc<File>);

/// Makes the two ends.
///
/// # Errors
/// When the process is out of descriptors.
pub fn pair() -> io::Result<(Waker, Wakeup)> {
    // SAFETY: takes no memory.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and known to nobody else.
    let file = Arc::new(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }));
    Ok((Waker(Arc::clone(&file)), Wakeup(file)))
}

impl Waker {
    /// Makes the other end readable. Wake-ups that were not yet seen become one.
    pub fn wake(&self) {
        // It fails only when 2^64 - 1 wake-ups are unseen: the other end is readable then, too.
        let _ = (&*self.0).write(&1u64.to_ne_bytes());
    }
}

impl Wakeup {
    /// Makes this end unreadable until the next wake-up. Call it *before* looking at what the waker
    /// has left, so that nothing is missed.
    pub fn clear(&self) {
        // It fails only when there was no wake-up.
        let _ = (&*self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
