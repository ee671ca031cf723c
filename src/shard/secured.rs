//! TLS on the two halves of a client connection: records come in here and go on as plain bytes.
//!
//! ```text
//! accept ─▶ Greeting ── the client's handshake ends ──▶ Connecting ─▶ Securing ─▶ Open
//!              │                                            │            │
//!   a probe that ends here                     a plain listener     a plain source
//!   costs the source nothing                   begins here          leaves it out
//! ```
//! What needs the ring waits until the bytes of the turn are worked through
//! ([`Shard::work_on_tls`]).

use super::Shard;
use super::connection::{ConnectionId, Phase};
use super::net::Net;
use crate::metrics::{Flow, TlsFailure};
use crate::relay::Ending;
use crate::side::Side;
use crate::sys::ring::SocketId;
use crate::tls::{Material, Received, Secure, SecureError};

/// At most one warning about clients in this time (µs): whoever can connect can cause one.
const WARNING_PAUSE_US: i64 = 1_000_000;

/// What the handshakes and closings of a turn have left to do.
#[derive(Debug)]
pub(super) enum Due {
    /// The client's handshake has ended: the source is wanted.
    ClientReady,
    /// The source's handshake has ended.
    SourceReady,
    /// A side has ended the connection.
    Ended(Side),
    /// The source's handshake cannot end well.
    SourceFailed(String),
}

/// What a shard knows about TLS.
#[derive(Debug)]
pub(super) struct Tls {
    /// For new connections.
    pub material: Material,
    /// Work for the ring.
    pub due: Vec<(ConnectionId, Due)>,
    scratch: Vec<u8>,
    warned_us: i64,
}

impl Tls {
    pub(super) fn new(material: &Material) -> Self {
        Self {
            material: material.for_one_shard(),
            due: Vec::new(),
            scratch: Vec::new(),
            warned_us: 0,
        }
    }
}

impl Shard {
    /// Bytes of a side. Gives the number of requests or answers in them.
    pub(super) fn received_bytes(&mut self, at: ConnectionId, side: Side, bytes: &[u8]) -> u64 {
        let count = bytes.len() as u64;
        self.recorder.bytes(side, Flow::In, count);
        let connection = self.clients.get(at);
        match connection.and_then(|connection| connection.half(side).tls.take()) {
            None => self.plain_bytes(at, side, bytes),
            Some(secure) => self.open_records(at, side, secure, bytes),
        }
    }

    fn open_records(
        &mut self,
        at: ConnectionId,
        side: Side,
        mut secure: Box<Secure>,
        bytes: &[u8],
    ) -> u64 {
        let mut scratch = std::mem::take(&mut self.tls.scratch);
        let mut count = 0;
        let received = secure.receive(bytes, &mut scratch, |plain| {
            if side == Side::Client {
                self.greeted(at);
            }
            count += self.plain_bytes(at, side, plain);
        });
        self.tls.scratch = scratch;
        if let Some(connection) = self.clients.get(at) {
            connection.half(side).tls = Some(secure);
        }
        match received {
            Ok(Received { ready, closed }) => {
                if ready {
                    self.recorder.tls_ready(side);
                    match side {
                        Side::Client => self.greeted(at),
                        Side::Source | Side::Target => self.tls.due.push((at, Due::SourceReady)),
                    }
                }
                if closed {
                    self.tls.due.push((at, Due::Ended(side)));
                }
            }
            Err(error) => self.insecure(at, side, &error),
        }
        self.clients.mark(at); // records of the handshake may have to go out
        count
    }

    /// The client's handshake has ended: what it sends from here on is kept for the source.
    fn greeted(&mut self, at: ConnectionId) {
        if let Some(connection) = self.clients.get(at)
            && connection.phase == Phase::Greeting
        {
            connection.phase = Phase::Connecting;
            self.tls.due.push((at, Due::ClientReady));
        }
    }

    fn insecure(&mut self, at: ConnectionId, side: Side, error: &SecureError) {
        self.recorder.tls_failed(side, error.reason());
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        if side == Side::Client {
            connection.client.out.clear(); // nobody reads it; the alert goes
            self.warn_of_client(&format!("TLS with a client failed: {error}"));
            self.end(at, &Ending::Insecure);
        } else if connection.phase == Phase::Securing {
            let why = error.to_string();
            self.tls.due.push((at, Due::SourceFailed(why)));
        } else {
            tracing::warn!("TLS with the source failed: {error}");
            self.tls.due.push((at, Due::Ended(Side::Source)));
        }
    }

    fn warn_of_client(&mut self, words: &str) {
        if self.now_us - self.tls.warned_us >= WARNING_PAUSE_US {
            self.tls.warned_us = self.now_us;
            tracing::warn!("{words}");
        } else {
            tracing::debug!("{words}");
        }
    }

    /// What the records of the turn have left to do.
    pub(super) fn work_on_tls(&mut self, ring: &mut impl Net) {
        for (at, due) in std::mem::take(&mut self.tls.due) {
            let phase = self.clients.get(at).map(|connection| connection.phase);
            match (due, phase) {
                (_, None) => {}
                (Due::ClientReady, Some(Phase::Connecting)) => self.connect_source(at, ring),
                (Due::SourceReady, Some(Phase::Securing)) => {
                    if let Some(connection) = self.clients.get(at) {
                        connection.phase = Phase::Open;
                    }
                    self.clients.mark(at);
                }
                (Due::SourceFailed(why), Some(Phase::Securing)) => {
                    self.source_insecure(at, Some(&why), ring);
                }
                (Due::Ended(Side::Client), _) => self.client_ended(at, ring),
                (Due::Ended(_), _) => self.source_ended(at, ring),
                (Due::ClientReady | Due::SourceReady | Due::SourceFailed(_), _) => {}
            }
        }
    }

    /// TLS with the source does not come about, which is as a connect that failed. `why`: `None`
    /// when it was closed.
    pub(super) fn source_insecure(
        &mut self,
        at: ConnectionId,
        why: Option<&str>,
        ring: &mut impl Net,
    ) {
        if why.is_none() {
            self.count_unfinished(Phase::Securing, false);
        }
        let why = why.unwrap_or("it was closed during the handshake");
        if let Some(connection) = self.clients.get(at) {
            connection.phase = Phase::Connecting;
            connection.source.tls = None;
            connection.connected = false;
            self.recorder.closed(Side::Source);
            let why = std::io::Error::other(format!("TLS failed: {why}"));
            self.source_connected(at, Err(why), ring);
        }
    }

    /// Begins TLS with the source on a connection that has just come about. False: it is plain.
    pub(super) fn secure_source(&mut self, at: ConnectionId) -> Result<bool, String> {
        let Some(source) = &self.tls.material.source else {
            return Ok(false);
        };
        let points = &self.config.source.contact_points;
        let Some(connection) = self.clients.get(at) else {
            return Ok(false);
        };
        let address = connection.source_address(points);
        let host = self.config.source.name_of(address);
        let name = source
            .name_of(&host)
            .ok_or_else(|| format!("`{host}` is no name that a certificate can have"))?;
        let secure = Secure::client(&source.config, name).map_err(|error| error.to_string())?;
        connection.source.tls = Some(Box::new(secure));
        Ok(true)
    }

    /// Counts a handshake that did not come to its end, when its connection goes.
    pub(super) fn count_unfinished(&self, phase: Phase, late: bool) {
        let side = match phase {
            Phase::Greeting => Side::Client,
            Phase::Securing => Side::Source,
            Phase::Connecting | Phase::Open | Phase::Owing | Phase::Closing => return,
        };
        let reason = match late {
            true => TlsFailure::Late,
            false => TlsFailure::Closed,
        };
        self.recorder.tls_failed(side, reason);
    }

    /// New connections use this; those that are there go on with what they have.
    pub(super) fn renew_tls(&mut self, material: &Material) {
        self.tls.material = material.for_one_shard();
        self.target.secure_with(self.tls.material.target.clone());
        self.resolver.secure_with(self.tls.material.source.clone());
        self.publish_expiry();
    }

    /// When the certificates expire.
    pub(super) fn publish_expiry(&self) {
        let Material {
            listener,
            source,
            target,
        } = &self.tls.material;
        let sides = [
            (Side::Client, listener.as_ref().map(|own| own.expiry_s)),
            (Side::Source, source.as_ref().and_then(|own| own.expiry_s)),
            (Side::Target, target.as_ref().and_then(|own| own.expiry_s)),
        ];
        for (side, expiry_s) in sides {
            let at_s = expiry_s.and_then(|at_s| u64::try_from(at_s).ok());
            self.recorder.tls_expiry(side, at_s.unwrap_or(0));
        }
    }
}

/// Says that nothing more comes, on a socket that is about to be closed.
pub(super) fn say_goodbye(secure: Option<&mut Box<Secure>>, id: SocketId, ring: &mut impl Net) {
    if let Some(secure) = secure
        && !ring.is_sending(id)
    {
        let mut records = Vec::new();
        secure.close();
        secure.take_records(&mut records);
        if !records.is_empty() {
            ring.send(id, records);
        }
    }
}
