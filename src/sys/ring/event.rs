//! What the ring tells its owner.

use std::io;
use std::os::fd::OwnedFd;

/// Names a socket of one ring. The id of a closed socket stays stale for good: what is asked of it
/// is ignored, and no event carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SocketId {
    /// A name that another source of events than the ring gives.
    #[must_use]
    pub fn new(index: u32, generation: u32) -> SocketId {
        SocketId { index, generation }
    }

    /// A small number, unique among the open sockets of the ring and used again after a close: fit
    /// to index an array.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Something that happened on a socket. `S` is an accepted connection.
#[derive(Debug)]
pub enum Event<'a, S = OwnedFd> {
    /// A client connected. Give the socket to [`Ring::adopt`](super::Ring::adopt).
    Accepted {
        /// The listener it came through.
        listener: SocketId,
        /// The connected socket.
        socket: S,
    },
    /// Accepting failed. The listener goes on by itself, after a pause when the process or the
    /// machine ran out of something.
    AcceptFailed {
        /// The listener.
        listener: SocketId,
        /// Why.
        error: io::Error,
    },
    /// A connect ended. After an error the socket is good for nothing but `close`.
    Connected {
        /// The socket.
        id: SocketId,
        /// How it ended.
        result: io::Result<()>,
    },
    /// Bytes came in; at most one buffer at a time.
    Received {
        /// The socket.
        id: SocketId,
        /// The bytes, never empty; the ring takes the memory back at its next call.
        bytes: &'a [u8],
    },
    /// The peer will send nothing more. Sending is still possible.
    Eof {
        /// The socket.
        id: SocketId,
    },
    /// Receiving failed and has ended (connection reset, timed out).
    Failed {
        /// The socket.
        id: SocketId,
        /// Why.
        error: io::Error,
    },
    /// A send ended, and its buffer comes back.
    Sent {
        /// The socket.
        id: SocketId,
        /// The buffer, as it was given.
        buffer: Vec<u8>,
        /// `Ok`: the kernel has taken all of it.
        result: io::Result<()>,
    },
    /// [`Ring::sync`](super::Ring::sync) has ended.
    Synced {
        /// `Ok`: everything that the file held when it began is on the disk.
        result: io::Result<()>,
    },
    /// A watched descriptor became readable.
    Readable {
        /// What [`Ring::watch`](super::Ring::watch) was given.
        token: u32,
    },
}
