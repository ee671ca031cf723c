//! The slab of sockets: a slot per socket, used again only after the kernel is done with it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::types::Fd;
use socket2::SockAddr;

use super::event::SocketId;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Free,
    Listener,
    Stream,
}

/// The receive operation of a stream, or the accept operation of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// No operation is with the kernel.
    Idle,
    /// The operation is with the kernel.
    Armed,
    /// The operation is with the kernel, and so is a request to cancel it.
    Cancelling,
    /// End of stream or an error: never armed again.
    Ended,
}

/// Memory that the kernel may read while an operation is with it.
#[derive(Debug)]
pub(super) enum Payload {
    None,
    Bytes(Vec<u8>),
    /// Where a connect goes.
    Address(#[expect(dead_code, reason = "only the kernel reads it")] Box<SockAddr>),
}

/// One socket.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) payload: Payload,
    /// How much of the payload is sent.
    pub(super) sent: usize,
    descriptor: Option<OwnedFd>,
    generation: u32,
    /// Operations with the kernel that name this slot.
    pub(super) in_flight: u16,
    pub(super) kind: Kind,
    pub(super) intake: Intake,
    /// The owner wants bytes (or connections).
    pub(super) wanted: bool,
    pub(super) sending: bool,
    /// The send under way is quiet, and the kernel has not told of it.
    pub(super) quiet: bool,
    pub(super) connecting: bool,
    pub(super) closing: bool,
}

const _: () = assert!(size_of::<Slot>() <= 64, "idle sockets are many");

impl Slot {
    /// The descriptor; -1, which every operation refuses, for a free slot.
    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub(super) fn fd(&self) -> Fd {
        Fd(self.raw())
    }

    pub(super) fn descriptor(&self) -> Option<&OwnedFd> {
        self.descriptor.as_ref()
    }
}

/// All sockets of a ring.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Sockets {
    pub(super) fn insert(&mut self, descriptor: OwnedFd, kind: Kind) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                payload: Payload::None,
                sent: 0,
                descriptor: None,
                generation: 0,
                in_flight: 0,
                kind: Kind::Free,
                intake: Intake::Idle,
                wanted: false,
                sending: false,
                quiet: false,
                connecting: false,
                closing: false,
            });
            // A process has far fewer descriptors than 2^32.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.descriptor = Some(descriptor);
        slot.kind = kind;
        SocketId {
            index,
            generation: slot.generation,
        }
    }

    /// The slot of an id that is not closed.
    pub(super) fn open(&mut self, id: SocketId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index())
            .filter(|slot| slot.generation == id.generation && !slot.closing)
            .filter(|slot| slot.kind != Kind::Free)
    }

    /// As [`open`](Self::open), to look only.
    pub(super) fn peek(&self, id: SocketId) -> Option<&Slot> {
        self.slots
            .get(id.index())
            .filter(|slot| slot.generation == id.generation && !slot.closing)
            .filter(|slot| slot.kind != Kind::Free)
    }

    /// The slot that a completion names, closing or not.
    pub(super) fn slot(&mut self, index: u32) -> Option<(SocketId, &mut Slot)> {
        let slot = self.slots.get_mut(index as usize)?;
        Some((
            SocketId {
                index,
                generation: slot.generation,
            },
            slot,
        ))
    }

    /// Closes the descriptor and makes the slot available, if it is closing and the kernel is done
    /// with it.
    pub(super) fn release_if_done(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if !slot.closing || slot.in_flight > 0 {
            return;
        }
        *slot = Slot {
            payload: Payload::None,
            sent: 0,
            descriptor: None,
            generation: slot.generation.wrapping_add(1),
            in_flight: 0,
            kind: Kind::Free,
            intake: Intake::Idle,
            wanted: false,
            sending: false,
            quiet: false,
            connecting: false,
            closing: false,
        };
        self.free.push(index);
    }

    /// Slots in use, those being closed included.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots there are, used or free.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }
}
