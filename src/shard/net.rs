//! What a shard asks of its sockets, and of its journal's file. [`Ring`] answers in production;
//! `tests/sim` has a network of its own. Dispatch is static: the seam costs nothing.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::ring::{Event, Ring, SocketId};
use crate::sys::socket;

/// Sockets, as [`Ring`] describes them: calls only queue, a closed id is ignored.
pub trait Net {
    /// A connection that a client has opened and that was not taken over yet.
    type Stream;

    /// The next thing that happened; `None`: nothing more in this turn.
    fn next_event(&mut self) -> Option<Event<'_, Self::Stream>>;

    /// Takes over a client's connection. Gives its name, and the address that the client chose.
    ///
    /// # Errors
    /// It has closed already.
    fn adopt(&mut self, stream: Self::Stream) -> io::Result<(SocketId, SocketAddr)>;

    /// Starts connecting.
    ///
    /// # Errors
    /// No socket can be made.
    fn connect(&mut self, address: SocketAddr) -> io::Result<SocketId>;

    /// A connect has succeeded: sets the options that a stream shall have.
    fn tune(&mut self, id: SocketId);

    /// Asks for bytes.
    fn start_recv(&mut self, id: SocketId);

    /// Asks for no more bytes.
    fn pause_recv(&mut self, id: SocketId);

    /// Sends all of `buffer`; one send per socket at a time.
    fn send(&mut self, id: SocketId, buffer: Vec<u8>);

    /// Whether a send is under way.
    fn is_sending(&self, id: SocketId) -> bool;

    /// Ends a socket or listener: no further event names it.
    fn close(&mut self, id: SocketId);

    /// Brings to the disk what the file of the journal holds now; one at a time.
    fn sync(&mut self, file: Arc<File>);
}

impl Net for Ring {
    type Stream = OwnedFd;

    #[inline]
    fn next_event(&mut self) -> Option<Event<'_>> {
        Self::next_event(self)
    }

    fn adopt(&mut self, stream: OwnedFd) -> io::Result<(SocketId, SocketAddr)> {
        socket::set_stream_options(stream.as_fd(), &socket::StreamOptions::default())?;
        let address = socket2::SockRef::from(&stream).local_addr()?;
        let address = address.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok((Self::adopt(self, stream), address))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<SocketId> {
        Self::connect(self, address)
    }

    fn tune(&mut self, id: SocketId) {
        if let Some(descriptor) = self.descriptor(id) {
            let options = socket::StreamOptions::default();
            let _ = socket::set_stream_options(descriptor, &options); // works without them, too
        }
    }

    #[inline]
    fn start_recv(&mut self, id: SocketId) {
        Self::start_recv(self, id);
    }

    #[inline]
    fn pause_recv(&mut self, id: SocketId) {
        Self::pause_recv(self, id);
    }

    #[inline]
    fn send(&mut self, id: SocketId, buffer: Vec<u8>) {
        Self::send(self, id, buffer);
    }

    #[inline]
    fn is_sending(&self, id: SocketId) -> bool {
        Self::is_sending(self, id)
    }

    fn close(&mut self, id: SocketId) {
        Self::close(self, id);
    }

    fn sync(&mut self, file: Arc<File>) {
        Self::sync(self, file);
    }
}
