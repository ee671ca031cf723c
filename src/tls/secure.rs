//! One side of a TLS connection: records in → plain bytes out, plain bytes in → records out.
//!
//! Call order: [`Secure::receive`] with what came; [`Secure::take_records`] afterwards, because the
//! handshake and alerts have something to say; [`Secure::seal`] for plain bytes, as soon as
//! [`Secure::is_ready`]. After an error the last records (an alert) are still to be sent.

use std::fmt;
use std::mem;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{ClientConfig, Error, ServerConfig};

use super::failure::SecureError;
use super::records::Records;
use crate::limits;

/// Plain bytes in one record (RFC 8446, 5.1).
const PLAIN_MAX_BYTES: usize = 1 << 14;
/// What a record needs beside its plain bytes: header, nonce, type, tag.
const SEAL_BYTES: usize = 5 + 8 + 1 + 16;

/// See the module.
#[derive(Debug)]
pub struct Secure {
    end: End,
    records: Records,
    /// Records that are not whole, or handshake messages that are not.
    partial: Vec<u8>,
    /// Records to send before all others.
    out: Vec<u8>,
    ready: bool,
    /// Bytes of the handshake so far.
    greeted_bytes: usize,
    /// We have said that nothing more comes.
    closed: bool,
    /// The peer has said so.
    heard_all: bool,
    /// Nothing that comes is looked at any more.
    failed: bool,
}

enum End {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

/// What [`Secure::receive`] came to know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The handshake has ended just now.
    pub ready: bool,
    /// The peer says that nothing more comes.
    pub closed: bool,
}

impl Secure {
    /// For a client that has connected.
    ///
    /// # Errors
    /// The configuration does not allow it.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, SecureError> {
        let end = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::new(End::Server(Box::new(end))))
    }

    /// For a connection to a node whose certificate must have `name`. There is something to send
    /// at once.
    ///
    /// # Errors
    /// The configuration does not allow it.
    pub fn client(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, SecureError> {
        let end = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        let mut secure = Self::new(End::Client(Box::new(end)));
        secure.work(&mut [], &mut |_| {})?;
        Ok(secure)
    }

    fn new(end: End) -> Self {
        Self {
            end,
            records: Records::default(),
            partial: Vec::new(),
            out: Vec::new(),
            ready: false,
            greeted_bytes: 0,
            closed: false,
            heard_all: false,
            failed: false,
        }
    }

    /// Whether plain bytes can go both ways.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether there was an error, so that only an alert is still to be sent.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether there are records to send.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.out.is_empty()
    }

    /// Appends the records to send to `out`.
    pub fn take_records(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
        self.out = Vec::new(); // they are rare, and their memory is not worth keeping
    }

    /// Bytes that are kept between two calls.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.partial.capacity() + self.out.capacity()
    }

    /// Takes bytes that came, and hands each piece of plain bytes in them to `each`. `scratch` is
    /// overwritten.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Received, SecureError> {
        if self.failed || self.heard_all {
            return Ok(Received::default());
        }
        let was_ready = self.ready;
        if !was_ready {
            self.greeted_bytes += bytes.len();
            if self.greeted_bytes > limits::TLS_HANDSHAKE_MAX_BYTES {
                self.failed = true;
                return Err(SecureError::TooLong);
            }
        }
        if !self.records.end_in(bytes) {
            self.partial.extend_from_slice(bytes);
            return Ok(Received::default());
        }
        scratch.clear();
        scratch.extend_from_slice(&self.partial);
        scratch.extend_from_slice(bytes);
        self.partial.clear();
        let worked = self.work(scratch, &mut each);
        let (used, closed) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                self.say_the_last();
                return Err(error);
            }
        };
        self.heard_all = closed;
        let rest = match closed {
            true => &[],
            false => scratch.get(used..).unwrap_or_default(),
        };
        if rest.len() > limits::TLS_HANDSHAKE_MAX_BYTES {
            // a message in a great many records, all of which each new one makes us work through
            (self.failed, self.ready) = (true, false);
            return Err(SecureError::TooLong);
        }
        self.partial.extend_from_slice(rest);
        if self.partial.is_empty() && self.partial.capacity() > limits::RECEIVE_BUFFER_BYTES {
            self.partial = Vec::new();
        }
        Ok(Received {
            ready: self.ready && !was_ready,
            closed,
        })
    }

    /// Appends the records that carry `plain` to `out`.
    ///
    /// # Errors
    /// It is not ready, or the keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SecureError> {
        if !self.ready {
            return Err(Error::HandshakeNotComplete.into());
        }
        self.take_records(out);
        let mut partial = mem::take(&mut self.partial);
        let sealed = match &mut self.end {
            End::Server(end) => write(end.as_mut(), &mut partial, Some(plain), out),
            End::Client(end) => write(end.as_mut(), &mut partial, Some(plain), out),
        };
        self.partial = partial;
        sealed
    }

    /// Says that nothing more comes (close_notify), once; there is something to send then.
    pub fn close(&mut self) {
        if self.ready && !mem::replace(&mut self.closed, true) {
            let mut out = mem::take(&mut self.out);
            let mut partial = mem::take(&mut self.partial);
            // an error means that there is nobody to say it to
            let _ = match &mut self.end {
                End::Server(end) => write(end.as_mut(), &mut partial, None, &mut out),
                End::Client(end) => write(end.as_mut(), &mut partial, None, &mut out),
            };
            (self.out, self.partial) = (out, partial);
        }
    }

    /// Works through `bytes`. Gives how many are used up, and whether the peer has closed.
    fn work(
        &mut self,
        bytes: &mut [u8],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(usize, bool), SecureError> {
        let (worked, handshaking) = match &mut self.end {
            End::Server(end) => {
                let worked = read(end.as_mut(), bytes, &mut self.out, each);
                (worked, end.is_handshaking())
            }
            End::Client(end) => {
                let worked = read(end.as_mut(), bytes, &mut self.out, each);
                (worked, end.is_handshaking())
            }
        };
        self.ready = worked.is_ok() && !handshaking;
        worked
    }

    /// After an error: the alert that tells the peer.
    fn say_the_last(&mut self) {
        (self.failed, self.ready) = (true, false);
        let _ = match &mut self.end {
            End::Server(end) => pending(end.as_mut(), &mut self.out),
            End::Client(end) => pending(end.as_mut(), &mut self.out),
        };
    }
}

/// The two kinds of rustls' connections, which have no name in common.
trait Connection {
    type Data;
    /// Whether the next step does no more than to hand out a record to send.
    fn has_record(&self) -> bool;
    /// `bytes`: what the step before has not discarded, and what follows.
    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Connection for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn has_record(&self) -> bool {
        self.wants_write()
    }
    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

impl Connection for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn has_record(&self) -> bool {
        self.wants_write()
    }
    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

/// After an error: takes the records that are left, and looks at nothing that came.
fn pending<C: Connection>(connection: &mut C, out: &mut Vec<u8>) -> Result<(), SecureError> {
    while connection.has_record() {
        let UnbufferedStatus { state, .. } = connection.step(&mut []);
        let ConnectionState::EncodeTlsData(mut encode) = state? else {
            break;
        };
        append(out, 0, |room| encode.encode(room).map_err(encode_room))?;
    }
    Ok(())
}

/// Works through `bytes` until more are needed.
fn read<C: Connection>(
    connection: &mut C,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(usize, bool), SecureError> {
    let (mut used, mut closed) = (0, false);
    loop {
        let rest = bytes.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = connection.step(rest);
        let more = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    each(record.payload);
                }
                true
            }
            ConnectionState::EncodeTlsData(mut encode) => {
                append(out, 0, |room| encode.encode(room).map_err(encode_room))?;
                true
            }
            ConnectionState::TransmitTlsData(transmit) => {
                transmit.done(); // `out` goes before all that is sealed later
                true
            }
            ConnectionState::PeerClosed => {
                closed = true;
                true
            }
            _ => false,
        };
        used += discard;
        if !more {
            return Ok((used, closed));
        }
    }
}

/// Seals `plain`, or a close_notify. `partial` are the bytes that [`read`] did not use up.
fn write<C: Connection>(
    connection: &mut C,
    partial: &mut Vec<u8>,
    plain: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), SecureError> {
    loop {
        let UnbufferedStatus { discard, state } = connection.step(partial);
        let written = match state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let likely = plain.map_or(SEAL_BYTES, |plain| {
                    plain.len() + (plain.len() / PLAIN_MAX_BYTES + 1) * SEAL_BYTES
                });
                append(out, likely, |room| match plain {
                    Some(plain) => traffic.encrypt(plain, room).map_err(encrypt_room),
                    None => traffic.queue_close_notify(room).map_err(encrypt_room),
                })?;
                true
            }
            ConnectionState::EncodeTlsData(mut encode) => {
                append(out, 0, |room| encode.encode(room).map_err(encode_room))?;
                false
            }
            ConnectionState::TransmitTlsData(transmit) => {
                transmit.done();
                false
            }
            _ => return Err(Error::HandshakeNotComplete.into()),
        };
        partial.drain(..discard);
        if written {
            return Ok(());
        }
    }
}

/// How much room is missing, or an error.
type Room = Result<usize, SecureError>;

fn encode_room(error: EncodeError) -> Room {
    match error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Ok(required_size),
        EncodeError::AlreadyEncoded => Err(Error::General("encoded twice".to_owned()).into()),
    }
}

fn encrypt_room(error: EncryptError) -> Room {
    match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
            Ok(required_size)
        }
        EncryptError::EncryptExhausted => Err(SecureError::UsedUp),
    }
}

/// Appends what `put` writes, with as much room as is likely, or as it asks for.
fn append(
    out: &mut Vec<u8>,
    likely: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, Room>,
) -> Result<(), SecureError> {
    let begin = out.len();
    let mut room = likely;
    for _ in 0..3 {
        out.resize(begin + room, 0);
        match put(&mut out[begin..]) {
            Ok(written) => {
                out.truncate(begin + written);
                return Ok(());
            }
            Err(wanted) => room = wanted?,
        }
    }
    out.truncate(begin);
    Err(Error::General("it asks for ever more room".to_owned()).into())
}
