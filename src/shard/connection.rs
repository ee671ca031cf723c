//! One client connection and its twin to the source: buffers, water marks, how it ends.

use std::net::SocketAddr;

use crate::relay::Session;
use crate::side::Side;
use crate::sys::ring::SocketId;
use crate::tls::{Secure, SecureError};

use super::buffers::Partial;
use super::frames::Frames;
use super::net::Net;

/// Index of a connection in its shard.
pub type ConnectionId = u32;

/// One of the two sockets of a connection.
#[derive(Debug, Default)]
pub struct Half {
    /// The socket; none before the connect and after the close.
    pub socket: Option<SocketId>,
    /// Bytes of an envelope that has not come whole.
    pub partial: Partial,
    /// TLS, unless the connection is plain.
    pub tls: Option<Box<Secure>>,
    /// What v5 puts around envelopes, once STARTUP was accepted.
    pub frames: Option<Box<Frames>>,
    /// Envelopes to send, in order, behind those that the ring has.
    pub out: Vec<u8>,
    /// Reading stopped because the other half does not keep up.
    pub paused: bool,
    /// Nothing more comes from this side.
    pub ended: bool,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The TLS handshake with the client is under way; nothing else has begun.
    Greeting,
    /// The connect to the source is under way; what the client sends is kept.
    Connecting,
    /// The TLS handshake with the source is under way; what the client sends is kept.
    Securing,
    /// Both sides are there.
    Open,
    /// The client has gone; the source still owes verdicts.
    Owing,
    /// What is in the buffer for the client goes out, then it ends.
    Closing,
}

/// A client connection and its twin.
#[derive(Debug)]
pub struct Connection {
    /// What it means.
    pub session: Session,
    /// The client's half.
    pub client: Half,
    /// The source's half.
    pub source: Half,
    /// How far it has come.
    pub phase: Phase,
    /// The source is connected and may be sent to. Not so when the client has said nonsense before:
    /// then [`Phase::Closing`] comes first.
    pub connected: bool,
    /// It has something to flush at the end of this turn.
    pub dirty: bool,
    /// Bytes of an answer that are passed on as they come, and are still to come.
    pub streaming: usize,
    /// It has written: it waits when there is no room for writes.
    pub writes: bool,
    /// It is among those whose answers wait for a commit.
    pub waits: bool,
    /// When the present phase began, or when bytes last came in (µs).
    pub since_us: i64,
    /// Whole requests that wait for room in the journal, in order.
    pub stalled: Vec<u8>,
    /// Which of the source's contact points it uses.
    pub contact_point: usize,
    /// When the connect there began (µs).
    pub connect_since_us: i64,
    /// Contact points that did not answer.
    pub failed_connects: usize,
}

impl Connection {
    /// A connection whose client socket was just accepted.
    #[must_use]
    pub fn new(session: Session, client: SocketId, now_us: i64, contact_point: usize) -> Self {
        Self {
            session,
            client: Half {
                socket: Some(client),
                ..Half::default()
            },
            source: Half::default(),
            phase: Phase::Connecting,
            connected: false,
            dirty: false,
            streaming: 0,
            writes: false,
            waits: false,
            since_us: now_us,
            stalled: Vec::new(),
            contact_point,
            connect_since_us: now_us,
            failed_connects: 0,
        }
    }

    /// The half towards a side.
    #[inline]
    pub fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Source | Side::Target => &mut self.source,
        }
    }

    /// Whether what came from a side ended with an envelope.
    #[must_use]
    pub fn is_between(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.partial.is_empty(),
            Side::Source | Side::Target => self.streaming == 0 && self.source.partial.is_empty(),
        }
    }

    /// Which of the source's `points` it uses.
    #[must_use]
    pub fn source_address(&self, points: &[SocketAddr]) -> SocketAddr {
        points[self.contact_point]
    }

    /// Both halves use frames from here on, if the source has accepted a STARTUP of v5.
    pub fn follow_framing(&mut self) {
        if let Some(format) = self.session.framing()
            && self.client.frames.is_none()
        {
            for half in [&mut self.client, &mut self.source] {
                half.frames = Some(Box::new(Frames::new(format, half.out.len())));
            }
        }
    }

    /// Lets the answers go whose commit has ended, unless another one is on its way in pieces.
    pub fn release(&mut self, committed: u64) {
        if self.streaming == 0 {
            self.session.release(committed, &mut self.client.out);
        }
    }

    /// Hands to the ring what waits for each side, and stops or resumes reading by the water
    /// marks. `spare` gives and takes buffers. `holding`: the client shall wait in any case.
    pub fn flush(
        &mut self,
        ring: &mut impl Net,
        spare: &mut SpareBuffers,
        marks: WaterMarks,
        holding: bool,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        if self.phase == Phase::Closing
            && self.client.out.is_empty()
            && self.session.held().is_empty()
            && let Some(tls) = &mut self.client.tls
        {
            tls.close();
        }
        let mut sent = send(&mut self.client, ring, spare).map_err(|e| (Side::Client, e));
        if self.connected {
            let source = send(&mut self.source, ring, spare).map_err(|e| (Side::Source, e));
            sent = sent.and(source);
        }
        flushed.broken = sent.err();
        let to_source = if holding || !self.stalled.is_empty() {
            usize::MAX
        } else {
            self.source.out.len()
        };
        flushed.paused_client = hold(&mut self.client, to_source, ring, marks);
        let to_client = self.client.out.len() + self.session.held().bytes();
        flushed.paused_source = hold(&mut self.source, to_client, ring, marks);
        flushed
    }

    /// Whether what the client sends has a meaning.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connecting | Phase::Securing | Phase::Open
        )
    }

    /// Whether everything for the client has left.
    #[must_use]
    pub fn client_is_served(&self, ring: &impl Net) -> bool {
        let records = self
            .client
            .tls
            .as_ref()
            .is_some_and(|tls| tls.has_records());
        self.client.out.is_empty()
            && self.session.held().is_empty()
            && !records
            && self
                .client
                .socket
                .is_none_or(|socket| !ring.is_sending(socket))
    }
}

/// What [`Connection::flush`] did.
#[derive(Debug, Default)]
pub struct Flushed {
    /// TLS with this side cannot go on.
    pub broken: Option<(Side, SecureError)>,
    /// Reading from the client stopped just now.
    pub paused_client: bool,
    /// Reading from the source stopped just now.
    pub paused_source: bool,
}

/// Unsent bytes towards one side at which reading from the other stops, and goes on.
#[derive(Debug, Clone, Copy)]
pub struct WaterMarks {
    /// Stop at this many bytes.
    pub high_bytes: usize,
    /// Go on at this many.
    pub low_bytes: usize,
}

fn send(half: &mut Half, ring: &mut impl Net, spare: &mut SpareBuffers) -> Result<(), SecureError> {
    let Some(socket) = half.socket else {
        half.out.clear();
        return Ok(());
    };
    if half.tls.is_some() {
        return send_records(half, socket, ring, spare);
    }
    if !half.out.is_empty() && !ring.is_sending(socket) {
        let bytes = framed(half, spare);
        ring.send(socket, bytes);
    }
    Ok(())
}

/// What waits in `half`, in frames if there are any.
fn framed(half: &mut Half, spare: &mut SpareBuffers) -> Vec<u8> {
    let Some(frames) = &mut half.frames else {
        return std::mem::replace(&mut half.out, spare.take());
    };
    let mut framed = spare.take();
    frames.wrap(&half.out, &mut framed);
    spare.give(std::mem::take(&mut half.out));
    framed
}

/// Records of the handshake, and what waits as soon as it has ended.
fn send_records(
    half: &mut Half,
    socket: SocketId,
    ring: &mut impl Net,
    spare: &mut SpareBuffers,
) -> Result<(), SecureError> {
    let Some(tls) = &half.tls else { return Ok(()) };
    if tls.has_failed() {
        half.out.clear(); // nobody can read it
    }
    let plain = tls.is_ready() && !half.out.is_empty();
    if ring.is_sending(socket) || !(plain || tls.has_records()) {
        return Ok(());
    }
    let plain = plain.then(|| framed(half, spare));
    let mut records = spare.take();
    if let Some(tls) = &mut half.tls {
        tls.take_records(&mut records);
        if let Some(plain) = plain {
            tls.seal(&plain, &mut records)?;
            spare.give(plain);
        }
    }
    ring.send(socket, records);
    Ok(())
}

fn hold(half: &mut Half, waiting: usize, ring: &mut impl Net, marks: WaterMarks) -> bool {
    let Some(socket) = half.socket else {
        return false;
    };
    if !half.paused && waiting > marks.high_bytes {
        half.paused = true;
        ring.pause_recv(socket);
        return true;
    }
    if half.paused && waiting <= marks.low_bytes && !half.ended {
        half.paused = false;
        ring.start_recv(socket);
    }
    false
}

/// Empty buffers for reuse: a turn takes one per send, and each comes back when it is sent.
#[derive(Debug, Default)]
pub struct SpareBuffers {
    buffers: Vec<Vec<u8>>,
}

/// More are not kept: 64 × 64 KiB is the most that a shard spends on them.
const SPARE_BUFFERS: usize = 64;

impl SpareBuffers {
    /// An empty buffer. It has no memory if none is spare: an idle connection costs none.
    pub fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0
            && capacity <= crate::limits::BUFFER_KEEP_BYTES
            && self.buffers.len() < SPARE_BUFFERS
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
