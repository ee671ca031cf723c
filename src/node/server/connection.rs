//! One connection: bytes in, envelopes to [`handle`], answers out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::cql::decoder::{DecodeLimits, split};
use crate::cql::{Compression, EnvelopeError, Opcode, Version};
use crate::limits;

use super::Shared;
use super::handle::{Answer, Session, handle};
use super::reply::{self, Envelope};
use crate::node::error::CqlError;

/// Unsent bytes at which no more requests are read.
const HIGH_WATER_BYTES: usize = limits::OUT_HIGH_WATER_DEFAULT_BYTES;

/// Answers on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: RefCell<Vec<u8>>,
    filled: Notify,
    emptied: Notify,
    closing: Cell<bool>,
    /// Delayed answers that are not in `bytes` yet.
    waiting: Cell<usize>,
    /// The version of this client, for events.
    pub(super) version: Cell<Option<Version>>,
    pub(super) compression: Cell<Compression>,
}

impl Outbox {
    /// Appends what `write` writes and wakes the writer.
    pub(super) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes.borrow_mut());
        self.filled.notify_one();
    }

    /// Takes what is there to send.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.borrow_mut())
    }

    fn len(&self) -> usize {
        self.bytes.borrow().len()
    }
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(shared: &Rc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let outbox = Rc::new(Outbox::default());
    let writing = write_all(&outbox, writer);
    tokio::pin!(writing);
    tokio::select! {
        polite = read_all(shared, &outbox, reader) => {
            if polite {
                outbox.closing.set(true);
                outbox.filled.notify_one();
                writing.await;
            }
        }
        () = &mut writing => {}
    }
}

async fn write_all(outbox: &Outbox, mut writer: OwnedWriteHalf) {
    let mut sending = Vec::new();
    loop {
        std::mem::swap(&mut sending, &mut *outbox.bytes.borrow_mut());
        if sending.is_empty() {
            if outbox.closing.get() {
                return;
            }
            outbox.filled.notified().await;
            continue;
        }
        if writer.write_all(&sending).await.is_err() {
            return;
        }
        sending.clear();
        if sending.capacity() > limits::BUFFER_KEEP_BYTES {
            sending = Vec::new();
        }
        outbox.emptied.notify_one();
    }
}

/// Reads and handles requests; true when what is still to be sent should be sent.
async fn read_all(shared: &Rc<Shared>, outbox: &Rc<Outbox>, mut reader: OwnedReadHalf) -> bool {
    let mut session = Session::default();
    let mut buffer = BytesMut::with_capacity(limits::RECEIVE_BUFFER_BYTES);
    loop {
        loop {
            while shared.faults.borrow().plan.stall {
                shared.faults_changed.notified().await;
            }
            let limit = body_limit(shared, &session);
            let limits = DecodeLimits::requests(limit).up_to(Version::V4);
            let (answer, used, envelope) = match split(&buffer, &limits) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    let envelope = Envelope {
                        version: request.header.protocol().unwrap_or(Version::V4),
                        stream: request.header.stream,
                        compression: Compression::None,
                        tracing_id: None,
                    };
                    (
                        handle(shared, &mut session, outbox, &request),
                        request.raw.len(),
                        envelope,
                    )
                }
                Err(error) => {
                    refuse(outbox, &error);
                    return true;
                }
            };
            buffer.advance(used);
            match answer {
                Answer::Now => {}
                Answer::After(delay, bytes) => later(outbox, delay, bytes),
                Answer::Drop => return false,
                Answer::Stall => std::future::pending::<()>().await,
                Answer::Fatal(error) => {
                    outbox.push(|out| {
                        reply::push(out, envelope, Opcode::Error, |out| {
                            reply::push_error(out, &error);
                        });
                    });
                    return true;
                }
            }
            while outbox.len() > HIGH_WATER_BYTES {
                outbox.emptied.notified().await;
            }
            while outbox.waiting.get() > limits::IN_FLIGHT_PER_CONNECTION {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if buffer.is_empty() && buffer.capacity() > limits::BUFFER_KEEP_BYTES {
            buffer = BytesMut::with_capacity(limits::RECEIVE_BUFFER_BYTES);
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

fn body_limit(shared: &Shared, session: &Session) -> u32 {
    let bytes = if session.is_ready() {
        shared.config.body_max_bytes
    } else {
        shared
            .config
            .body_max_bytes
            .min(limits::PRE_AUTH_BODY_MAX_BYTES)
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The one ERROR that a client gets whose bytes cannot be cut any further.
fn refuse(outbox: &Outbox, error: &EnvelopeError) {
    let version = match error {
        EnvelopeError::UnsupportedVersion { version_byte, .. } if version_byte & 0x7F < 3 => {
            Version::V3
        }
        EnvelopeError::UnknownOpcode { version, .. }
        | EnvelopeError::WrongOpcode { version, .. }
        | EnvelopeError::NegativeLength { version, .. }
        | EnvelopeError::TooLarge { version, .. } => {
            Version::from_number(*version).unwrap_or(Version::V4)
        }
        _ => Version::V4,
    };
    // Cassandra answers a version that it does not speak on stream 0, and gocql counts on it.
    let stream = match error {
        EnvelopeError::UnsupportedVersion { .. } => 0,
        other => other.stream(),
    };
    let envelope = Envelope {
        version,
        stream,
        compression: Compression::None,
        tracing_id: None,
    };
    let error = CqlError::protocol(error.to_string());
    outbox.push(|out| {
        reply::push(out, envelope, Opcode::Error, |out| {
            reply::push_error(out, &error)
        });
    });
}

/// Sends an answer after a while; answers may overtake each other, as on a real node.
fn later(outbox: &Rc<Outbox>, delay: Duration, bytes: Vec<u8>) {
    outbox.waiting.set(outbox.waiting.get() + 1);
    let outbox = Rc::clone(outbox);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(delay).await;
        outbox.waiting.set(outbox.waiting.get().saturating_sub(1));
        outbox.push(|out| out.extend_from_slice(&bytes));
    });
}
