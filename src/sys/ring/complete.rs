//! From completions to events: what each answer of the kernel means, and what is armed again.

use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Instant;

use super::event::{Event, SocketId};
use super::kernel::Completion;
use super::sockets::{Intake, Payload};
use super::{ACCEPT_PAUSE, Operation, Ring};

/// What a completion amounts to.
pub(super) enum Outcome {
    Event(Event<'static>),
    /// A provided buffer with bytes for an open socket.
    Received {
        id: SocketId,
        buffer: u16,
        length: u32,
    },
}

impl Ring {
    /// Handles one completion; `None` if there is nothing to tell.
    pub(super) fn complete(&mut self, completion: Completion) -> Option<Outcome> {
        let operation = operation_of(&completion)?;
        let index = index_of(&completion);
        match operation {
            Operation::Cancel => return None,
            Operation::Watch => return self.watch_fired(index, completion).map(Outcome::Event),
            Operation::Sync => return self.synced(completion.result).map(Outcome::Event),
            Operation::Send => self.hear_of_send(index),
            _ => {}
        }
        let (id, slot) = self.sockets.slot(index)?;
        if !completion.more() {
            slot.in_flight -= 1;
            self.in_flight -= 1;
        }
        if slot.closing {
            self.drop_unwanted(operation, completion);
            self.sockets.release_if_done(index);
            return None;
        }
        match operation {
            Operation::Accept => self.accepted(id, completion).map(Outcome::Event),
            Operation::Receive => self.received(id, completion),
            Operation::Send => self.sent(id, completion.result).map(Outcome::Event),
            Operation::Connect => self.connected(id, completion.result).map(Outcome::Event),
            Operation::Cancel | Operation::Watch | Operation::Sync => None,
        }
    }

    /// Counts a completion of a ring that is being dropped.
    pub(super) fn discard(&mut self, completion: Completion) {
        let Some(operation) = operation_of(&completion) else {
            return;
        };
        if operation != Operation::Cancel && !completion.more() {
            self.in_flight -= 1;
        }
        if operation == Operation::Send {
            self.hear_of_send(index_of(&completion));
        }
        self.drop_unwanted(operation, completion);
    }

    /// Gives back what a completion carries and nobody wants any more.
    fn drop_unwanted(&mut self, operation: Operation, completion: Completion) {
        if operation == Operation::Accept && completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for us, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
        }
        if let Some(buffer) = completion.buffer() {
            self.buffers.recycle(buffer);
        }
    }

    fn accepted(&mut self, listener: SocketId, completion: Completion) -> Option<Event<'static>> {
        if completion.result >= 0 {
            if !completion.more() {
                self.intake_ended(listener);
            }
            // SAFETY: the kernel made this descriptor for us, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            return Some(Event::Accepted { listener, socket });
        }
        let error = io::Error::from_raw_os_error(-completion.result);
        match error.raw_os_error() {
            Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {
                self.intake_ended(listener);
                return None;
            }
            // The client's fault (it is gone) or the firewall's: the next one may be fine.
            Some(libc::ECONNABORTED | libc::EPROTO | libc::EPERM) => self.intake_ended(listener),
            // Out of something: at once it would fail again.
            _ => {
                if let Some(slot) = self.sockets.open(listener) {
                    slot.intake = Intake::Idle;
                    if slot.wanted {
                        self.resting.push((Instant::now() + ACCEPT_PAUSE, listener));
                    }
                }
            }
        }
        Some(Event::AcceptFailed { listener, error })
    }

    fn received(&mut self, id: SocketId, completion: Completion) -> Option<Outcome> {
        if let (Ok(length @ 1..), Some(buffer)) =
            (u32::try_from(completion.result), completion.buffer())
        {
            if !completion.more() {
                self.intake_ended(id);
            }
            return Some(Outcome::Received { id, buffer, length });
        }
        if let Some(buffer) = completion.buffer() {
            self.buffers.recycle(buffer);
        }
        match -completion.result {
            // ENOBUFS: all buffers were full at that moment; they come back as events are read.
            libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                self.intake_ended(id);
                None
            }
            error => {
                let slot = self.sockets.open(id)?;
                slot.intake = Intake::Ended;
                slot.wanted = false;
                Some(Outcome::Event(match error {
                    0 => Event::Eof { id },
                    _ => Event::Failed {
                        id,
                        error: io::Error::from_raw_os_error(error),
                    },
                }))
            }
        }
    }

    /// The operation ended though the socket did not: arms it again if it is still wanted.
    fn intake_ended(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        slot.intake = Intake::Idle;
        if slot.wanted {
            self.push_intake(id);
        }
    }

    fn sent(&mut self, id: SocketId, result: i32) -> Option<Event<'static>> {
        let slot = self.sockets.open(id)?;
        let Payload::Bytes(buffer) = &slot.payload else {
            return None;
        };
        let result = match usize::try_from(result) {
            Ok(sent) => {
                slot.sent += sent;
                if slot.sent < buffer.len() && sent > 0 {
                    self.push_send(id, false);
                    return None;
                }
                if slot.sent < buffer.len() {
                    Err(io::ErrorKind::WriteZero.into())
                } else {
                    Ok(())
                }
            }
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {
                self.push_send(id, false);
                return None;
            }
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        slot.sending = false;
        match mem::replace(&mut slot.payload, Payload::None) {
            Payload::Bytes(buffer) => Some(Event::Sent { id, buffer, result }),
            Payload::None | Payload::Address(_) => None,
        }
    }

    fn connected(&mut self, id: SocketId, result: i32) -> Option<Event<'static>> {
        let slot = self.sockets.open(id)?;
        slot.connecting = false;
        slot.payload = Payload::None;
        let result = if result < 0 {
            Err(io::Error::from_raw_os_error(-result))
        } else {
            Ok(())
        };
        Some(Event::Connected { id, result })
    }

    fn synced(&mut self, result: i32) -> Option<Event<'static>> {
        self.in_flight -= 1;
        let file = self.syncing.take();
        if let (libc::EINTR | libc::EAGAIN, Some(file)) = (-result, file) {
            self.push_sync(file); // nothing is known to have gone wrong
            return None;
        }
        let result = match result {
            0.. => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
        Some(Event::Synced { result })
    }

    fn watch_fired(&mut self, index: u32, completion: Completion) -> Option<Event<'static>> {
        let token = self.watches.get(index as usize)?.token;
        if !completion.more() {
            self.in_flight -= 1;
            if completion.result >= 0 {
                self.push_watch(index as usize);
            }
        }
        if completion.result < 0 {
            return None;
        }
        match token {
            Some(token) => Some(Event::Readable { token }),
            None => {
                self.executor_stirred = true;
                None
            }
        }
    }
}

/// The low half of the `user_data`.
fn index_of(completion: &Completion) -> u32 {
    u32::try_from(completion.user_data & 0xffff_ffff).unwrap_or(u32::MAX)
}

fn operation_of(completion: &Completion) -> Option<Operation> {
    [
        Operation::Accept,
        Operation::Receive,
        Operation::Send,
        Operation::Connect,
        Operation::Cancel,
        Operation::Watch,
        Operation::Sync,
    ]
    .into_iter()
    .find(|operation| u64::from(*operation as u8) == completion.user_data >> 56)
}
