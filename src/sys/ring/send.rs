//! Sends, of which the kernel tells when they did not go through at once.
//!
//! A send nearly always ends while it is being submitted: the socket has room. Its completion would
//! then end the wait that follows, and one more system call would be needed to sleep: two of them
//! for each thing that happens. So a first try is *quiet*: with `MSG_DONTWAIT` it ends within the
//! submission, whatever comes of it, and with `IOSQE_CQE_SKIP_SUCCESS` there is a completion only
//! if not all was taken. No completion after the call that submitted it: all is sent. The rest of
//! one that was not is sent again, in the way that waits for room.
//!
//! The owner hears of the end with what happens next. If it waits for that end, because more is to
//! be sent on the socket, the wait does not sleep ([`Ring::is_sending`]).

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{opcode, squeue, types};

use super::event::{Event, SocketId};
use super::kernel::Kernel;
use super::sockets::Payload;
use super::{Operation, Ring};

/// The most that one send operation carries: its result is an `i32`.
const SEND_BYTES_MAX: usize = 1 << 30;

/// The quiet sends of a ring.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Sends are quiet at first.
    on: bool,
    /// Those that are queued, or submitted and not heard of, in order.
    sends: VecDeque<SocketId>,
    /// So many of the first ones have ended.
    ended: usize,
    /// Somebody waits for the end of one.
    awaited: Cell<bool>,
}

impl Quiet {
    /// `on`: the kernel does as it should; see [`works`].
    pub(super) fn new(on: bool) -> Quiet {
        Quiet {
            on,
            ..Quiet::default()
        }
    }

    /// Whether the next wait shall not sleep.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.get() || self.ended > 0
    }

    /// Somebody waits for one that has not been heard of.
    pub(super) fn await_it(&self) {
        self.awaited.set(true);
    }

    /// All that were queued are submitted.
    pub(super) fn have_ended(&mut self) {
        self.ended = self.sends.len();
        self.awaited.set(false);
    }

    /// Those that ended and were not told of.
    pub(super) fn ended(&self) -> usize {
        self.ended
    }

    /// The kernel tells of this one itself.
    pub(super) fn forget(&mut self, id: SocketId) {
        if let Some(at) = self.sends.iter().position(|send| *send == id) {
            self.sends.remove(at);
            self.ended -= usize::from(at < self.ended);
        }
    }

    fn next_ended(&mut self) -> Option<SocketId> {
        self.ended = self.ended.checked_sub(1)?;
        self.sends.pop_front()
    }
}

impl Ring {
    /// Queues the unsent rest of the payload. `quiet`: the first try.
    pub(super) fn push_send(&mut self, id: SocketId, quiet: bool) {
        let quiet = quiet && self.quiet.on;
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        let Payload::Bytes(buffer) = &slot.payload else {
            return;
        };
        let rest = &buffer[slot.sent.min(buffer.len())..];
        let quiet = quiet && rest.len() <= SEND_BYTES_MAX;
        let rest = &rest[..rest.len().min(SEND_BYTES_MAX)];
        let entry = entry(slot.fd(), rest, quiet);
        slot.quiet = quiet;
        if quiet {
            self.quiet.sends.push_back(id);
        }
        self.push(Operation::Send, id, entry);
    }

    /// After a call of the kernel: what it has submitted has ended.
    pub(super) fn end_quiet_sends(&mut self) {
        if self.kernel.is_all_submitted() {
            self.quiet.have_ended();
        }
    }

    /// The next of the sends that went through without a word.
    pub(super) fn next_quietly_sent(&mut self) -> Option<Event<'static>> {
        loop {
            let id = self.quiet.next_ended()?;
            let Some((_, slot)) = self.sockets.slot(id.index) else {
                continue;
            };
            slot.quiet = false;
            slot.in_flight -= 1;
            self.in_flight -= 1;
            if slot.closing {
                self.sockets.release_if_done(id.index);
                continue;
            }
            slot.sending = false;
            if let Payload::Bytes(buffer) = mem::replace(&mut slot.payload, Payload::None) {
                let result = Ok(());
                return Some(Event::Sent { id, buffer, result });
            }
        }
    }

    /// The kernel tells of a send: a quiet one did not go through.
    pub(super) fn hear_of_send(&mut self, index: u32) {
        if let Some((id, slot)) = self.sockets.slot(index)
            && mem::take(&mut slot.quiet)
        {
            self.quiet.forget(id);
        }
    }
}

fn entry(socket: types::Fd, bytes: &[u8], quiet: bool) -> squeue::Entry {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let send = opcode::Send::new(socket, bytes.as_ptr(), length);
    let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
    if quiet {
        // with MSG_WAITALL a part is no success
        let send = send.flags(flags | libc::MSG_DONTWAIT).build();
        send.flags(squeue::Flags::SKIP_SUCCESS)
    } else {
        send.flags(flags).build()
    }
}

/// Whether quiet sends do on this kernel what the [module](self) says: silent when all was taken,
/// told of within the call when a part was, or nothing.
pub(super) fn works(kernel: &mut Kernel) -> io::Result<bool> {
    let (ours, _theirs) = UnixStream::pair()?;
    let much = vec![0; 4 << 20];
    let mut answers = Vec::new();
    for length in [1, much.len(), much.len()] {
        let entry = entry(types::Fd(ours.as_raw_fd()), &much[..length], true);
        // SAFETY: `much` is there until the end, and the send is not, after `enter`: should it be,
        // the socket closes below, and nothing can be sent any more.
        unsafe { kernel.push(entry) };
        kernel.enter(0, None)?;
        answers.push(kernel.pop().map(|completion| completion.result));
    }
    let part = 1..i32::try_from(much.len()).unwrap_or(i32::MAX);
    Ok(matches!(answers[..], [None, Some(taken), Some(refused)]
        if part.contains(&taken) && refused == -libc::EAGAIN))
}
