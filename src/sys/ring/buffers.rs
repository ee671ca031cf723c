//! The provided buffers: memory that the kernel fills with received bytes, one ring of them for all
//! sockets, so that an idle socket holds none.

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::RingError;
use super::kernel::Kernel;
use crate::sys::probe;

/// The group that all receive operations draw from.
pub(super) const GROUP: u16 = 0;

/// `count` buffers of `bytes` each. A buffer is either the kernel's, or ours from the completion
/// that names it until [`recycle`](Buffers::recycle).
pub(super) struct Buffers {
    /// The shared array of descriptors, followed by the data of all buffers.
    map: Mapping,
    data: NonNull<u8>,
    count: u16,
    bytes: u32,
    tail: u16,
}

impl Buffers {
    /// Maps the memory and gives all buffers to the kernel. `count` is a power of two up to 32768.
    pub(super) fn new(kernel: &Kernel, count: u16, bytes: u32) -> Result<Buffers, RingError> {
        let fail = |source| RingError::from_os("map the receive buffers", source);
        let descriptors = usize::from(count) * size_of::<BufRingEntry>();
        // Data starts on a page of its own.
        let descriptors = descriptors.next_multiple_of(4096);
        let map = Mapping::new(descriptors + usize::from(count) * bytes as usize).map_err(fail)?;
        // SAFETY: `descriptors` is less than the length of the mapping.
        let data = unsafe { map.address.add(descriptors) };
        let mut buffers = Buffers {
            map,
            data,
            count,
            bytes,
            tail: 0,
        };
        for buffer in 0..count {
            buffers.offer(buffer);
        }
        buffers.publish();
        let address = buffers.map.address.as_ptr() as u64;
        // SAFETY: the mapping outlives the registration: `Ring` drops the kernel's side first.
        unsafe {
            kernel
                .submitter()
                .register_buf_ring_with_flags(address, count, GROUP, 0)
        }
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => probe::too_old("rings of provided buffers", "5.19"),
            _ => RingError::from_os("register the receive buffers", error),
        })?;
        Ok(buffers)
    }

    /// The first `length` bytes of a buffer that a completion named.
    pub(super) fn filled(&self, buffer: u16, length: u32) -> &[u8] {
        let buffer = buffer.min(self.count - 1);
        let length = length.min(self.bytes) as usize;
        let offset = usize::from(buffer) * self.bytes as usize;
        // SAFETY: in bounds by the first `min`.
        let start = unsafe { self.data.add(offset) };
        // SAFETY: in bounds by the second one; initialised, as the mapping is zeroed; not written
        // to, as the kernel leaves the buffer alone until `recycle`, which needs `&mut self`.
        unsafe { slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn recycle(&mut self, buffer: u16) {
        self.offer(buffer);
        self.publish();
    }

    /// Gives the memory up for good, mapped.
    pub(super) fn leak(&mut self) {
        self.map.length = 0;
    }

    /// How many buffers are with the kernel, by its own account (Linux 6.8).
    #[cfg(test)]
    pub(super) fn with_kernel(&self, kernel: &Kernel) -> io::Result<u16> {
        let head = kernel.buffer_head(GROUP)?;
        Ok(self.tail.wrapping_sub(head))
    }

    fn offer(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        let offset = usize::from(buffer.min(self.count - 1)) * self.bytes as usize;
        // SAFETY: `slot` is below `count`, so within the array.
        let mut entry = unsafe { self.map.address.cast::<BufRingEntry>().add(slot) };
        // SAFETY: valid, aligned and ours alone: the kernel reads an entry only after `publish`.
        // The tail overlays a field of the first entry that is not written here.
        let entry = unsafe { entry.as_mut() };
        // SAFETY: in bounds, as `buffer` is.
        entry.set_addr(unsafe { self.data.as_ptr().add(offset) } as u64);
        entry.set_len(self.bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        let base = self.map.address.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the array that the tail is part of.
        let tail = unsafe { BufRingEntry::tail(base) }.cast::<AtomicU16>();
        // SAFETY: valid and aligned for a u16 that the kernel only reads.
        unsafe { &*tail }.store(self.tail, Ordering::Release);
    }
}

/// Anonymous private memory, unmapped on drop.
struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
        // SAFETY: asks for fresh memory; no existing mapping is touched.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A child of fork() must not share the pages that the kernel writes to.
        // SAFETY: the range was just mapped.
        unsafe { libc::madvise(address, length, libc::MADV_DONTFORK) };
        let address = NonNull::new(address.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { address, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length == 0 {
            return;
        }
        // SAFETY: the range was mapped by `new` and nothing borrows from it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}
