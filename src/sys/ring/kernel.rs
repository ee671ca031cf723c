//! The two queues shared with the kernel, and the two system calls that move them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::RingError;
use crate::sys::probe;

/// `IORING_REGISTER_RING_FDS` and `IORING_ENTER_REGISTERED_RING` of `<linux/io_uring.h>`: the crate
/// keeps the registered index in a handle that borrows the ring, so it is kept here instead.
const REGISTER_RING_FDS: libc::c_uint = 20;
const ENTER_REGISTERED_RING: u32 = 1 << 4;

/// `struct io_uring_rsrc_update` of `<linux/io_uring.h>`.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg` of `<linux/io_uring.h>`.
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTime {
    seconds: i64,
    nanoseconds: i64,
}

/// One completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    /// What the system call would have returned; negative: an error number.
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the same operation will complete again.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that holds the data, if one was taken.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// The queues of one io_uring instance; used by the thread that made it only.
pub(super) struct Kernel {
    ring: IoUring,
    /// Index of the ring's descriptor among the registered ones, which saves a look-up per call.
    registered: Option<i32>,
    /// Entries for which the submission queue had no room, in order.
    waiting: VecDeque<squeue::Entry>,
    /// How often the kernel was called.
    calls: u64,
}

impl Kernel {
    /// `looks`: [`look`](Self::look) will be used, for which the kernel sets a flag whenever there
    /// is something to do.
    pub(super) fn new(
        submissions: u32,
        completions: u32,
        looks: bool,
    ) -> Result<Kernel, RingError> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(completions)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun();
        if looks {
            builder.setup_taskrun_flag();
        }
        let built: io::Result<IoUring> = builder.build(submissions);
        let ring = built.map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => probe::too_old("SINGLE_ISSUER and DEFER_TASKRUN", "6.1"),
            _ => RingError::from_os("set up an io_uring", error),
        })?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(probe::too_old("EXT_ARG and NODROP", "6.1"));
        }
        let registered = register_own_descriptor(&ring);
        Ok(Kernel {
            ring,
            registered,
            waiting: VecDeque::new(),
            calls: 0,
        })
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an entry for the next [`enter`](Self::enter). Never fails: what does not fit waits.
    ///
    /// # Safety
    /// All memory that the entry points to stays valid until its last completion (addresses of
    /// sockets: until it is submitted; the ring keeps them longer).
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.waiting.is_empty() {
            // SAFETY: the caller vouches for the memory behind the entry.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.waiting.push_back(entry);
        // A refusal leaves the entries where they are; the next call tries again.
        let _ = self.submit();
    }

    /// Hands all queued entries to the kernel without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        loop {
            let queued = self.refill();
            if queued == 0 {
                return Ok(());
            }
            let taken = self.call(queued, 0, EnterFlags::empty().bits(), None)?;
            if taken == 0 {
                return Ok(());
            }
        }
    }

    /// Submits everything and waits for `want` completions or until `timeout`.
    ///
    /// An expired timeout and a signal are no errors.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let queued = self.refill();
        let mut flags = EnterFlags::GETEVENTS.bits();
        let answer = if timeout.is_none() {
            self.call(queued, want, flags, None)
        } else {
            flags |= EnterFlags::EXT_ARG.bits();
            let time = timeout.map(|limit| KernelTime {
                seconds: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: i64::from(limit.subsec_nanos()),
            });
            let argument = WaitArgument {
                signal_mask: 0,
                signal_mask_bytes: 0,
                min_wait_us: 0,
                timeout: time.as_ref().map_or(0, |time| ptr::from_ref(time) as u64),
            };
            self.call(queued, want, flags, Some(&argument))
        };
        match answer {
            Ok(_) => Ok(()),
            // ETIME: the timeout; EINTR: a signal; EBUSY, EAGAIN: the kernel wants us to take
            // completions first, and they are there.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Submits everything and looks for completions, without sleeping, until `until`: whether there
    /// are any. Looking is no system call.
    pub(super) fn look(&mut self, until: Instant) -> io::Result<bool> {
        loop {
            self.enter(0, None)?;
            if self.ready() > 0 {
                return Ok(true);
            }
            loop {
                if Instant::now() >= until {
                    return Ok(false);
                }
                if self.ring.submission().taskrun() {
                    break;
                }
                std::hint::spin_loop();
            }
        }
    }

    /// The oldest completion.
    pub(super) fn pop(&mut self) -> Option<Completion> {
        self.ring.completion().next().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        })
    }

    /// How many completions can be taken now.
    pub(super) fn ready(&mut self) -> usize {
        self.ring.completion().len()
    }

    /// Brings completions back that found the queue full; true if there is now something to take.
    pub(super) fn flush_overflow(&mut self) -> bool {
        self.ring.submission().cq_overflow()
            && self.enter(0, Some(Duration::ZERO)).is_ok()
            && self.ready() > 0
    }

    /// `IORING_REGISTER_PBUF_STATUS`: how many buffers of a group the kernel has taken so far,
    /// modulo 2^16.
    #[cfg(test)]
    pub(super) fn buffer_head(&self, group: u16) -> io::Result<u16> {
        /// `struct io_uring_buf_status` of `<linux/io_uring.h>`.
        #[repr(C)]
        struct Status {
            group: u32,
            head: u32,
            reserved: [u32; 8],
        }
        let mut status = Status {
            group: group.into(),
            head: 0,
            reserved: [0; 8],
        };
        // SAFETY: `status` is valid for the one element that the call reads and writes.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                26,
                ptr::from_mut(&mut status),
                1,
            )
        };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        u16::try_from(status.head & 0xffff).map_err(io::Error::other)
    }

    /// Moves waiting entries into the queue; how many the queue now holds.
    fn refill(&mut self) -> u32 {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: whoever pushed the entry vouched for the memory behind it.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        u32::try_from(queue.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing is queued any more.
    pub(super) fn is_all_submitted(&mut self) -> bool {
        self.waiting.is_empty() && self.ring.submission().is_empty()
    }

    /// How often the kernel was called.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// `io_uring_enter(2)`.
    fn call(
        &mut self,
        submit: u32,
        want: u32,
        flags: u32,
        argument: Option<&WaitArgument>,
    ) -> io::Result<usize> {
        let (descriptor, flags) = match self.registered {
            Some(index) => (index, flags | ENTER_REGISTERED_RING),
            None => (self.ring.as_raw_fd(), flags),
        };
        self.calls += 1;
        let bytes = argument.map_or(0, size_of_val);
        let argument = argument.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the argument and the time it points to outlive the call; the entries' memory is
        // vouched for by `push`.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                descriptor,
                submit,
                want,
                flags,
                argument,
                bytes,
            )
        };
        usize::try_from(answer).map_err(|_| io::Error::last_os_error())
    }
}

/// Registers the ring's descriptor with this thread; `None` if the kernel will not: only slower.
fn register_own_descriptor(ring: &IoUring) -> Option<i32> {
    let descriptor = ring.as_raw_fd();
    let mut update = ResourceUpdate {
        offset: u32::MAX,
        reserved: 0,
        data: u64::try_from(descriptor).ok()?,
    };
    // SAFETY: `update` is valid for the one element that the call reads and writes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            descriptor,
            REGISTER_RING_FDS,
            ptr::from_mut(&mut update),
            1,
        )
    };
    if answer == 1 {
        i32::try_from(update.offset).ok()
    } else {
        None
    }
}
