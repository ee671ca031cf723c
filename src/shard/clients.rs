//! Client connections: how they begin, what their bytes become, how they end.

use std::rc::Rc;

use super::Shard;
use super::connection::{Connection, ConnectionId, Half, Phase, WaterMarks};
use super::inbox::{Ask, Inbox, Message};
use super::net::Net;
use super::points::Points;
use super::seats::Seats;
use super::secured::say_goodbye;
use crate::config::{ProxyConfig, Topology};
use crate::cql::decoder::{self, DecodeLimits};
use crate::cql::envelope::Envelope;
use crate::limits;
use crate::relay::link::Credentials;
use crate::relay::{Context, Session, Taken};
use crate::side::Side;
use crate::topology::{Offer, Proxies, Shown};

/// Answers pass through in pieces, so only those that are looked into are bounded by this.
const ANSWER_LIMITS: DecodeLimits = DecodeLimits::responses(256 << 20);
/// A client that left gets its writes' verdicts for this long (µs).
const OWING_US: i64 = 15_000_000;
/// A client that has closed its side gets its answers for this long (µs): longer than Cassandra's
/// own timeouts of reads and writes.
const ANSWERING_US: i64 = 10_000_000;

/// The table of connections.
#[derive(Debug)]
pub(super) struct Clients {
    table: Vec<Option<Box<Connection>>>,
    free: Vec<ConnectionId>,
    dirty: Vec<ConnectionId>,
    /// Those with requests that wait for room in the journal, in the order in which they came.
    stalled: Vec<ConnectionId>,
    marks: WaterMarks,
    pub(super) shown: Rc<Shown>,
    pub(super) offer: Rc<Offer>,
    pub(super) points: Points,
    pub(super) seats: Seats,
}

impl Clients {
    pub(super) fn new(config: &ProxyConfig, seats: Seats) -> Self {
        let shown = match &config.topology {
            Topology::Single => Shown::Single,
            Topology::PerNode { ghost_ips } => Shown::PerNode(ghost_ips.clone()),
            Topology::Ring { proxies, own } => Shown::Ring(Proxies {
                all: proxies.clone(),
                own: *own,
            }),
        };
        let offer = Offer {
            protocol_versions: config.offer.protocol_versions.clone(),
            cql_versions: config.offer.cql_versions.clone(),
            compressions: config.offer.compressions.clone(),
            no_compression: config.offer.no_compression,
        };
        Self {
            table: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            marks: WaterMarks {
                high_bytes: config.clients.out_high_water_bytes,
                low_bytes: config.clients.out_low_water_bytes,
            },
            shown: Rc::new(shown),
            offer: Rc::new(offer),
            points: Points::new(config.source.contact_points.len()),
            seats,
        }
    }

    /// Whether a client waits for room in the journal.
    pub(super) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    pub(super) fn get(&mut self, at: ConnectionId) -> Option<&mut Connection> {
        self.table.get_mut(at as usize)?.as_deref_mut()
    }

    /// Notes that a connection has something to flush, or may be ready to end.
    pub(super) fn mark(&mut self, at: ConnectionId) {
        if let Some(connection) = self.table.get_mut(at as usize).and_then(Option::as_mut)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(at);
        }
    }

    /// Lets the answers of a connection go whose commit has ended. True if others still wait.
    pub(super) fn release(&mut self, at: ConnectionId, committed: u64) -> bool {
        let Some(connection) = self.get(at) else {
            return false;
        };
        connection.release(committed);
        connection.waits = !connection.session.held().is_empty();
        connection.waits
    }

    /// When the oldest write arrived that waits for the source's verdict (µs).
    pub(super) fn oldest_unanswered_us(&self) -> Option<i64> {
        let open = self.table.iter().flatten();
        open.filter_map(|connection| connection.session.oldest_unanswered_us())
            .min()
    }

    /// See [`Shard::follow_clock`].
    pub(super) fn follow_step(&mut self, step_us: i64) {
        for connection in self.table.iter_mut().flatten() {
            connection.since_us += step_us;
            connection.connect_since_us += step_us;
        }
        self.points.follow_step(step_us);
    }

    /// Those whose connect to the source takes too long, where another contact point can be tried.
    pub(super) fn late_connects(&self, now_us: i64) -> Vec<ConnectionId> {
        let limit_us = i64::try_from(limits::SOURCE_CONNECT_TIMEOUT_MS * 1_000);
        let limit_us = limit_us.unwrap_or(i64::MAX);
        let is_late = |connection: &Connection| {
            connection.phase == Phase::Connecting
                && now_us - connection.connect_since_us > limit_us
                && self.points.has_other(connection.contact_point, now_us)
        };
        let open = (0..).zip(&self.table);
        open.filter(|(_, slot)| slot.as_deref().is_some_and(is_late))
            .map(|(at, _)| at)
            .collect()
    }

    fn ids(&self) -> Vec<ConnectionId> {
        (0..)
            .zip(&self.table)
            .filter(|(_, c)| c.is_some())
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn insert(&mut self, connection: Connection) -> ConnectionId {
        match self.free.pop() {
            Some(at) => {
                self.table[at as usize] = Some(Box::new(connection));
                at
            }
            None => {
                self.table.push(Some(Box::new(connection)));
                ConnectionId::try_from(self.table.len() - 1).unwrap_or(ConnectionId::MAX)
            }
        }
    }
}

impl Shard {
    /// Plain bytes of a side. Gives the number of requests or answers in them.
    pub(super) fn plain_bytes(&mut self, at: ConnectionId, side: Side, bytes: &[u8]) -> u64 {
        let half = self.clients.get(at).map(|one| one.half(side));
        let Some(mut frames) = half.and_then(|half| half.frames.take()) else {
            return self.envelopes(at, side, bytes);
        };
        let mut scratch = std::mem::take(&mut self.common.scratch_frame);
        let mut count = 0;
        let opened = frames.open(bytes, &mut scratch, |payload| {
            let ended = self.envelopes(at, side, payload);
            count += ended;
            (
                ended,
                self.clients.get(at).is_none_or(|one| one.is_between(side)),
            )
        });
        self.common.scratch_frame = scratch;
        let Some(connection) = self.clients.get(at) else {
            return count;
        };
        connection.half(side).frames = Some(frames);
        let Err(error) = opened else {
            return count;
        };
        let why = match side {
            Side::Client if connection.phase == Phase::Closing => return count,
            Side::Client => Session::bad_frame(error, &mut connection.client.out),
            Side::Source | Side::Target => crate::relay::Ending::SourceFrame(error),
        };
        self.recorder.protocol_error(side);
        self.end(at, &why);
        count
    }

    #[inline]
    fn envelopes(&mut self, at: ConnectionId, side: Side, bytes: &[u8]) -> u64 {
        match side {
            Side::Client => self.requests(at, bytes),
            Side::Source | Side::Target => self.answers(at, bytes),
        }
    }

    /// Envelopes of a client. Gives the number of requests in them.
    fn requests(&mut self, at: ConnectionId, bytes: &[u8]) -> u64 {
        let Self {
            clients,
            common,
            outputs,
            inbox,
            now_us,
            ..
        } = self;
        let Some(connection) = clients.get(at) else {
            return 0;
        };
        if !connection.takes_requests() {
            return 0;
        }
        connection.since_us = *now_us;
        let Connection {
            session,
            client,
            source,
            stalled,
            ..
        } = connection;
        let waited = !stalled.is_empty();
        let max_body = match session.is_open() {
            true => common.max_body_bytes,
            false => limits::PRE_AUTH_BODY_MAX_BYTES,
        };
        let bounds = DecodeLimits::requests(u32::try_from(max_body).unwrap_or(u32::MAX))
            .up_to(session.newest());
        let Half {
            partial,
            out: to_client,
            ..
        } = client;
        let to_source = &mut source.out;
        let mut count = 0;
        let mut ending = None;
        let cut = partial.cut(bytes, &bounds, |envelope| {
            count += 1;
            if !stalled.is_empty() {
                return stalled.extend_from_slice(envelope.raw); // behind those that wait
            }
            let mut cx = Context {
                now_us: *now_us,
                to_client,
                to_source,
                outputs,
                common,
            };
            match request(session, envelope, &mut cx, inbox) {
                Taken::NoRoom => stalled.extend_from_slice(envelope.raw),
                Taken::End(why) => ending = Some(why),
                Taken::Yes | Taken::UnknownId => {}
            }
        });
        match cut {
            Ok(rest) => partial.keep(rest),
            Err(error) => ending = Some(Session::bad_request(&error, to_client)),
        }
        if !waited && !stalled.is_empty() {
            clients.stalled.push(at);
        }
        if let Some(why) = ending {
            self.recorder.protocol_error(Side::Client);
            self.end(at, &why);
        }
        self.clients.mark(at);
        count
    }

    /// Requests that found no room in the journal are tried again, the oldest client first.
    pub(super) fn go_on_with_stalled(&mut self) {
        let mut waiting = std::mem::take(&mut self.clients.stalled);
        waiting.retain(|at| self.go_on_with(*at));
        self.clients.stalled = waiting;
        self.do_outputs();
    }

    /// True if the client still waits.
    fn go_on_with(&mut self, at: ConnectionId) -> bool {
        let Self {
            clients,
            common,
            outputs,
            inbox,
            now_us,
            ..
        } = self;
        let Some(connection) = clients.get(at) else {
            return false;
        };
        if !connection.takes_requests() {
            connection.stalled.clear();
            return false;
        }
        let requests = std::mem::take(&mut connection.stalled);
        let session = &mut connection.session;
        let bounds = DecodeLimits::requests(u32::MAX).up_to(session.newest());
        let mut rest = requests.as_slice();
        let mut ending = None;
        while let Ok(Some(envelope)) = decoder::split(rest, &bounds) {
            let mut cx = Context {
                now_us: *now_us,
                to_client: &mut connection.client.out,
                to_source: &mut connection.source.out,
                outputs,
                common,
            };
            match request(session, &envelope, &mut cx, inbox) {
                Taken::NoRoom => break,
                Taken::End(why) => ending = Some(why),
                Taken::Yes | Taken::UnknownId => {}
            }
            rest = rest.get(envelope.raw.len()..).unwrap_or_default();
        }
        connection.stalled = rest.to_vec();
        let waits = !rest.is_empty();
        self.clients.mark(at);
        if let Some(why) = ending {
            self.end(at, &why);
        }
        waits
    }

    /// The connection ends when what is in the buffer for the client has left.
    pub(super) fn end(&mut self, at: ConnectionId, why: &crate::relay::Ending) {
        tracing::debug!("connection ends: {why}");
        if let Some(connection) = self.clients.get(at) {
            connection.phase = Phase::Closing;
            self.clients.mark(at);
        }
    }

    /// Envelopes of the source. Gives the number of answers in them.
    fn answers(&mut self, at: ConnectionId, mut bytes: &[u8]) -> u64 {
        let Self {
            clients,
            common,
            outputs,
            now_us,
            ..
        } = self;
        let Some(connection) = clients.get(at) else {
            return 0;
        };
        let Connection {
            session,
            client,
            source,
            streaming,
            writes,
            ..
        } = connection;
        if *streaming > 0 {
            let (piece, rest) = bytes.split_at((*streaming).min(bytes.len()));
            client.out.extend_from_slice(piece);
            *streaming -= piece.len();
            bytes = rest;
        }
        let (to_client, to_source) = (&mut client.out, &mut source.out);
        let mut count = 0;
        let cut = source.partial.cut(bytes, &ANSWER_LIMITS, |envelope| {
            count += 1;
            let mut cx = Context {
                now_us: *now_us,
                to_client,
                to_source,
                outputs,
                common,
            };
            session.answer(envelope, &mut cx);
        });
        *writes |= !outputs.is_empty();
        match cut {
            Ok(rest) => match decoder::peek_header(rest) {
                Ok(Some(header)) if session.may_stream(&header) => {
                    to_client.extend_from_slice(rest);
                    *streaming = header.envelope_len() - rest.len();
                    session.streamed();
                }
                _ => source.partial.keep(rest),
            },
            Err(error) => {
                self.recorder.protocol_error(Side::Source);
                self.end(at, &crate::relay::Ending::Source(error));
            }
        }
        if let Some(connection) = self.clients.get(at) {
            connection.follow_framing();
            if !connection.session.held().is_empty() {
                connection.release(self.common.journal.committed());
                if !std::mem::replace(&mut connection.waits, true) {
                    self.commit.wait(at);
                }
            }
            if let Some(login) = connection.session.take_identity() {
                self.logged_in(login);
            }
        }
        self.clients.mark(at);
        count
    }

    /// A client has logged in: so can the links of all shards. This one may be the only one that
    /// hears of it, and what it gives to the owner of a table leaves by the owner's links.
    fn logged_in(&mut self, login: Credentials) {
        let _ = self.asks.try_send(Ask::Login(login.clone())); // full: many have just now
        if self.learn_login(&login) {
            self.inbox.tell_others(|| Message::Login(login.clone()));
        }
    }

    /// True if it is another login than before.
    pub(super) fn learn_login(&mut self, login: &Credentials) -> bool {
        let remotes = [&mut self.target, &mut self.resolver];
        let news = remotes.map(|remote| remote.offer_credentials(login));
        news.contains(&true)
    }

    /// The client has closed its side. What it has asked before is answered: it may still listen.
    pub(super) fn client_said_all(&mut self, at: ConnectionId, ring: &mut impl Net) {
        let now_us = self.now_us;
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        connection.client.ended = true;
        let asks = connection.session.unanswered() > 0
            || !connection.stalled.is_empty()
            || !connection.client_is_served(ring);
        match connection.phase {
            Phase::Open if asks => connection.since_us = now_us,
            _ => self.client_ended(at, ring),
        }
    }

    /// The client has gone. Its writes still get their verdicts.
    pub(super) fn client_ended(&mut self, at: ConnectionId, ring: &mut impl Net) {
        let now_us = self.now_us;
        let Some(connection) = self.clients.get(at) else {
            return;
        };
        // what never left for the source has no verdict to wait for
        let owes = connection.session.owes_verdict()
            && connection.connected
            && matches!(connection.phase, Phase::Open | Phase::Closing);
        if !owes {
            return self.close(at, ring);
        }
        if let Some(id) = connection.client.socket.take() {
            ring.close(id);
            self.recorder.closed(Side::Client);
        }
        if let Some(connection) = self.clients.get(at) {
            connection.phase = Phase::Owing;
            connection.since_us = now_us;
        }
    }

    /// The source has closed: the client gets what came before, then the same.
    pub(super) fn source_ended(&mut self, at: ConnectionId, ring: &mut impl Net) {
        if self
            .clients
            .get(at)
            .is_some_and(|c| c.phase == Phase::Securing)
        {
            return self.source_insecure(at, None, ring);
        }
        let Self {
            clients,
            common,
            outputs,
            ..
        } = self;
        let Some(connection) = clients.get(at) else {
            return;
        };
        let unanswered = connection.session.unanswered();
        tracing::debug!(unanswered, "the source has closed a connection");
        connection.session.source_lost(&mut common.tally, outputs);
        if connection.phase == Phase::Owing {
            return self.close(at, ring);
        }
        connection.phase = Phase::Closing;
        if let Some(id) = connection.source.socket.take() {
            ring.close(id);
            if std::mem::take(&mut connection.connected) {
                self.recorder.closed(Side::Source);
            }
        }
        self.clients.mark(at);
    }

    pub(super) fn close(&mut self, at: ConnectionId, ring: &mut impl Net) {
        self.close_as(at, ring, false);
    }

    /// `late`: it took too long.
    fn close_as(&mut self, at: ConnectionId, ring: &mut impl Net, late: bool) {
        let Some(mut connection) = self
            .clients
            .table
            .get_mut(at as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.clients.free.push(at);
        self.clients.seats.give();
        // its place may be another connection's before these are looked at
        self.tls.due.retain(|(of, _)| *of != at);
        self.count_unfinished(connection.phase, late);
        connection
            .session
            .source_lost(&mut self.common.tally, &mut self.outputs);
        if let Some(id) = connection.client.socket {
            say_goodbye(connection.client.tls.as_mut(), id, ring);
            ring.close(id);
            self.recorder.closed(Side::Client);
        }
        if let Some(id) = connection.source.socket {
            say_goodbye(connection.source.tls.as_mut(), id, ring);
            ring.close(id);
            if connection.connected {
                self.recorder.closed(Side::Source);
            }
        }
    }

    /// Sends what the turn has made.
    pub(super) fn flush(&mut self, ring: &mut impl Net) {
        let mut dirty = std::mem::take(&mut self.clients.dirty);
        for at in dirty.drain(..) {
            let (marks, holding) = (self.clients.marks, self.holding);
            let Some(connection) = self
                .clients
                .table
                .get_mut(at as usize)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            connection.dirty = false;
            let holding = holding && connection.writes;
            let flushed = connection.flush(ring, &mut self.spare, marks, holding);
            if flushed.paused_client {
                self.recorder.paused(Side::Client);
            }
            if flushed.paused_source {
                self.recorder.paused(Side::Source);
            }
            let over = match connection.phase {
                Phase::Closing => connection.client_is_served(ring),
                Phase::Open if connection.client.ended => {
                    connection.session.unanswered() == 0
                        && connection.stalled.is_empty()
                        && connection.streaming == 0
                        && connection.client_is_served(ring)
                }
                Phase::Owing => !connection.session.owes_verdict(),
                Phase::Greeting | Phase::Connecting | Phase::Securing | Phase::Open => false,
            };
            match flushed.broken {
                Some((Side::Client, error)) => {
                    tracing::warn!("TLS with a client: {error}");
                    self.client_ended(at, ring);
                    continue;
                }
                Some((_, error)) => {
                    tracing::warn!("TLS with the source: {error}");
                    self.source_ended(at, ring);
                    continue;
                }
                None => {}
            }
            if over {
                self.client_ended(at, ring);
            }
        }
        if self.clients.dirty.is_empty() {
            self.clients.dirty = dirty; // keeps its memory
        }
        self.do_outputs();
    }

    /// Clients that are too slow to begin, idle for too long, or gone and still waited for.
    pub(super) fn expire_clients(&mut self, ring: &mut impl Net) {
        let now_us = self.now_us;
        let handshake_us = i64::try_from(limits::HANDSHAKE_TIMEOUT_MS * 1_000).unwrap_or(i64::MAX);
        let idle_us = self.config.clients.idle_timeout.map_or(i64::MAX, |idle| {
            i64::try_from(idle.as_micros()).unwrap_or(i64::MAX)
        });
        let late: Vec<_> = (0..)
            .zip(&self.clients.table)
            .filter(|(_, slot)| {
                slot.as_ref().is_some_and(|connection| {
                    let silent_us = now_us - connection.since_us;
                    let limit_us = match connection.phase {
                        Phase::Greeting | Phase::Connecting | Phase::Securing => handshake_us,
                        Phase::Owing | Phase::Closing => OWING_US,
                        Phase::Open if connection.client.ended => ANSWERING_US,
                        Phase::Open if connection.session.is_open() => idle_us,
                        Phase::Open => handshake_us.saturating_mul(6),
                    };
                    silent_us > limit_us
                })
            })
            .map(|(at, _)| at)
            .collect();
        for at in late {
            self.close_as(at, ring, true);
        }
    }

    /// Marks all connections, so that each looks at its water marks.
    pub(super) fn mark_all(&mut self) {
        for at in self.clients.ids() {
            self.clients.mark(at);
        }
    }

    /// Closes the connections that have nothing in flight. For the stop.
    pub(super) fn close_idle(&mut self, ring: &mut impl Net, all: bool) {
        for at in self.clients.ids() {
            let idle = self.clients.get(at).is_some_and(|connection| {
                connection.session.unanswered() == 0
                    && connection.stalled.is_empty()
                    && connection.streaming == 0
                    && connection.source.out.is_empty()
                    && connection.client_is_served(ring)
            });
            if idle || all {
                self.close(at, ring);
            }
        }
    }
}

/// Hands a request to its session, with the news of other shards if it needs them.
fn request(
    session: &mut Session,
    envelope: &Envelope<'_>,
    cx: &mut Context<'_>,
    inbox: &mut Inbox,
) -> Taken {
    match session.request(envelope, cx, false) {
        Taken::UnknownId => {
            inbox.learn_news(cx.common);
            session.request(envelope, cx, true)
        }
        taken => taken,
    }
}
