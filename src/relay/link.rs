//! One connection to a target node: handshake, stream ids, prepared statements, answers.
//!
//! Pure: bytes in through [`Link::handle`], bytes out through [`Link::out`]; what happened comes
//! back as [`LinkEvent`]s. Without compression, and in v4, whatever the clients speak; in v5 where
//! that is wanted and the node names it in its answer to OPTIONS, which so comes before STARTUP.
//! The frames of v5 are the caller's business: see [`Link::is_framed`].

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::write::{Form, Ids, Slot, Write};
use crate::cql::envelope::Envelope;
use crate::cql::request::prepare::Prepare;
use crate::cql::response::{
    AuthToken, Authenticate, ErrorBody, Prepared, ResultKind, Supported, peek_result_kind,
};
use crate::cql::{Consistency, Flags, Opcode, Version, Writer, encode, request};

/// Names a write within its shard's mirror.
pub type Ticket = u32;

/// What the link is told to log in with, if the target asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User name.
    pub user: Box<[u8]>,
    /// Password; never logged.
    pub password: Box<[u8]>,
}

impl Credentials {
    /// The token of PLAIN (RFC 4616).
    fn token(&self) -> Vec<u8> {
        [&[0], &*self.user, &[0], &*self.password].concat()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, …)", String::from_utf8_lossy(&self.user))
    }
}

/// DSE has the mechanism named first, and asks for its token then.
const PLAIN: &[u8] = b"PLAIN";
/// That is how; see `login`, where a client does it.
pub(super) const PLAIN_START: &[u8] = b"PLAIN-START";

/// What an answer of the target means for a write or for the link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The handshake is over: writes may be sent.
    Ready,
    /// The target does not let us in, or does not speak as it should: give the connection up.
    Broken(String),
    /// The write is on the target.
    Applied(Ticket),
    /// The rows that a read asked for: the message of the answer.
    Rows(Ticket, Vec<u8>),
    /// The target answered with an error.
    Failed {
        /// Which write.
        ticket: Ticket,
        /// The native protocol's error code.
        code: i32,
        /// The target's words.
        message: String,
    },
    /// Writes that waited for a statement to be prepared can be sent now.
    Unparked(Ticket),
    /// Any answer to a heartbeat.
    Alive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
}

#[derive(Debug)]
enum Waiting {
    Options,
    Startup,
    Auth,
    Heartbeat,
    Prepare(Slot),
    Write(Ticket),
}

#[derive(Debug)]
enum TargetId {
    Preparing(Vec<Ticket>),
    Known {
        statement: Box<[u8]>,
        columns: Box<[u8]>,
    },
}

/// Whether [`Link::send`] could send.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The request is in [`Link::out`].
    Now,
    /// A statement is being prepared first; [`LinkEvent::Unparked`] will name the ticket.
    Parked,
    /// All stream ids are in use: try again after an answer.
    Full,
    /// It cannot be said in the protocol.
    Impossible,
}

/// A request without an answer.
#[derive(Debug)]
struct Asked {
    what: Waiting,
    sent_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Link {
    state: State,
    version: Version,
    framed: bool,
    level: Option<Consistency>,
    credentials: Option<Credentials>,
    waiting: Vec<Option<Asked>>,
    /// Writes that wait for a statement to be prepared.
    parked: usize,
    free: Vec<i16>,
    prepared: HashMap<Slot, TargetId, RandomState>,
    order: VecDeque<Slot>,
    max_prepared: usize,
    max_streams: usize,
    /// Bytes to send.
    pub out: Vec<u8>,
}

impl Link {
    /// A new connection; its first request is in `out`. At most `max_streams` requests are in
    /// flight. `newest`: v4, or v5 where the node speaks it.
    #[must_use]
    pub fn new(
        newest: Version,
        credentials: Option<Credentials>,
        max_streams: usize,
        max_prepared: usize,
        now_us: i64,
    ) -> Self {
        let mut link = Self {
            state: State::Starting,
            version: Version::V4,
            framed: false,
            level: None,
            credentials,
            waiting: Vec::new(),
            parked: 0,
            free: Vec::new(),
            prepared: HashMap::default(),
            order: VecDeque::new(),
            max_prepared,
            max_streams: max_streams.clamp(1, 32_768),
            out: Vec::new(),
        };
        match newest {
            Version::V3 | Version::V4 => link.start(now_us),
            Version::V5 => link.ask(Waiting::Options, now_us),
        }
        link
    }

    /// Writes ask for this many replicas, whatever the client asked for; `None`: for as many.
    #[must_use]
    pub fn at_level(self, level: Option<Consistency>) -> Self {
        Self { level, ..self }
    }

    fn start(&mut self, now_us: i64) {
        if let Some(stream) = self.claim(Waiting::Startup, now_us) {
            self.put(stream, Opcode::Startup, |body| {
                request::startup::encode(body, request::startup::OWN);
            });
        }
    }

    /// Sends OPTIONS.
    fn ask(&mut self, why: Waiting, now_us: i64) {
        if let Some(stream) = self.claim(why, now_us) {
            self.put(stream, Opcode::Options, |_| {});
        }
    }

    /// The version that is spoken, once it is ready.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether what is sent and received from now on is in the frames of v5.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.framed
    }

    /// Whether writes may be sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.waiting.len() - self.free.len()
    }

    /// What it has to do: requests in flight, and writes that wait for a statement to be prepared.
    #[must_use]
    pub fn load(&self) -> usize {
        self.in_flight() + self.parked
    }

    /// When the oldest request without an answer was sent (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        self.waiting
            .iter()
            .flatten()
            .map(|asked| asked.sent_us)
            .min()
    }

    /// The clock was set forward: waits are as long as they were.
    pub fn follow_step(&mut self, step_us: i64) {
        for asked in self.waiting.iter_mut().flatten() {
            asked.sent_us += step_us;
        }
    }

    fn claim(&mut self, what: Waiting, sent_us: i64) -> Option<i16> {
        let waiting = Asked { what, sent_us };
        if let Some(stream) = self.free.pop() {
            self.waiting[usize::from(stream.cast_unsigned())] = Some(waiting);
            return Some(stream);
        }
        if self.waiting.len() >= self.max_streams {
            return None;
        }
        let stream = i16::try_from(self.waiting.len()).ok()?;
        self.waiting.push(Some(waiting));
        Some(stream)
    }

    fn put(&mut self, stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        // our own requests are short, but for a statement text that the source took as well
        let put = encode::envelope(
            &mut self.out,
            self.version,
            Flags::NONE,
            stream,
            opcode,
            body,
        );
        debug_assert!(put.is_ok());
    }

    /// Puts a write into `out`, after preparing what it needs. `second`: what the node is to take
    /// for the current one, in v5.
    pub fn send(
        &mut self,
        ticket: Ticket,
        write: &Write,
        second: Option<i32>,
        now_us: i64,
    ) -> Sent {
        let mut missing = 0;
        let mut full = false;
        write.each_prepared(|prepared| match self.prepared.get_mut(&prepared.slot) {
            Some(TargetId::Known { .. }) => {}
            Some(TargetId::Preparing(parked)) => {
                if missing == 0 {
                    parked.push(ticket);
                }
                missing += 1;
            }
            None => {
                let Some(stream) = self.claim(Waiting::Prepare(prepared.slot), now_us) else {
                    full = true;
                    return;
                };
                let version = self.version;
                self.put(stream, Opcode::Prepare, |body| {
                    let (text, keyspace) = (&*prepared.plan.target_text, None);
                    request::prepare::encode_as(body, version, &Prepare { text, keyspace });
                });
                let parked = if missing == 0 {
                    vec![ticket]
                } else {
                    Vec::new()
                };
                self.remember(prepared.slot, TargetId::Preparing(parked));
                missing += 1;
            }
        });
        if missing > 0 {
            self.parked += 1;
            return Sent::Parked;
        }
        if full {
            return Sent::Full;
        }
        let Some(stream) = self.claim(Waiting::Write(ticket), now_us) else {
            return Sent::Full;
        };
        let form = Form {
            version: self.version,
            now_s: second,
            level: self.level,
        };
        let prepared = &self.prepared;
        let encoded = write.encode(&mut self.out, stream, form, |slot| {
            match prepared.get(&slot) {
                Some(TargetId::Known { statement, columns }) => Ids { statement, columns },
                _ => Ids::default(),
            }
        });
        if encoded.is_err() {
            self.waiting[usize::from(stream.cast_unsigned())] = None;
            self.free.push(stream);
            return Sent::Impossible;
        }
        Sent::Now
    }

    fn remember(&mut self, slot: Slot, id: TargetId) {
        if self.prepared.insert(slot, id).is_none() {
            self.order.push_back(slot);
        }
        while self.order.len() > self.max_prepared {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(TargetId::Preparing(_)) = self.prepared.get(&oldest) {
                self.order.push_back(oldest); // somebody waits for it
                break;
            }
            self.prepared.remove(&oldest);
        }
    }

    /// Asks whether the node still answers.
    pub fn heartbeat(&mut self, now_us: i64) {
        self.ask(Waiting::Heartbeat, now_us);
    }

    /// Takes one answer. Gives how long it took (µs), if it answers a write.
    pub fn handle(
        &mut self,
        envelope: &Envelope<'_>,
        now_us: i64,
        events: &mut Vec<LinkEvent>,
    ) -> Option<i64> {
        let stream = envelope.header.stream;
        let Ok(index) = usize::try_from(stream) else {
            return None;
        }; // an event that we did not ask for
        let Some(asked) = self.waiting.get_mut(index).and_then(Option::take) else {
            events.push(LinkEvent::Broken(format!(
                "an answer on the unused stream {stream}"
            )));
            return None;
        };
        self.free.push(stream);
        let body = match envelope.response_body() {
            Ok(body) => body.message,
            Err(error) => {
                self.waiting[index] = Some(asked); // its write is still unanswered
                self.free.pop();
                events.push(LinkEvent::Broken(format!(
                    "an answer that cannot be read: {error}"
                )));
                return None;
            }
        };
        let took_us = now_us - asked.sent_us;
        let is_write = matches!(asked.what, Waiting::Write(_));
        match asked.what {
            Waiting::Options => {
                if envelope.header.opcode == Opcode::Supported && names_v5(body) {
                    self.version = Version::V5;
                }
                self.start(now_us);
            }
            Waiting::Startup | Waiting::Auth => {
                let accepted =
                    matches!(envelope.header.opcode, Opcode::Ready | Opcode::Authenticate);
                self.framed |= accepted && self.version >= Version::V5;
                self.handle_handshake(envelope.header.opcode, body, now_us, events);
            }
            Waiting::Heartbeat => events.push(LinkEvent::Alive),
            Waiting::Prepare(slot) => {
                self.handle_prepared(slot, envelope.header.opcode, body, events);
            }
            Waiting::Write(ticket) => match envelope.header.opcode {
                Opcode::Result => events.push(match peek_result_kind(body) {
                    Ok(ResultKind::Rows) => LinkEvent::Rows(ticket, body.to_vec()),
                    _ => LinkEvent::Applied(ticket),
                }),
                _ => {
                    let (code, message) = self.error_of(envelope.header.opcode, body);
                    events.push(LinkEvent::Failed {
                        ticket,
                        code,
                        message,
                    });
                }
            },
        }
        is_write.then_some(took_us)
    }

    fn handle_handshake(
        &mut self,
        opcode: Opcode,
        body: &[u8],
        now_us: i64,
        events: &mut Vec<LinkEvent>,
    ) {
        match (opcode, &self.credentials) {
            (Opcode::Ready | Opcode::AuthSuccess, _) => {
                self.state = State::Ready;
                events.push(LinkEvent::Ready);
            }
            (Opcode::Authenticate, Some(credentials)) => {
                let class = Authenticate::parse(body).map_or("", |asks| asks.authenticator);
                let token = match class.ends_with("DseAuthenticator") {
                    true => PLAIN.to_vec(),
                    false => credentials.token(),
                };
                self.say(&token, now_us);
            }
            (Opcode::AuthChallenge, Some(credentials)) => {
                let challenge = AuthToken::parse(body).ok().and_then(|asks| asks.token);
                if challenge == Some(PLAIN_START) {
                    let token = credentials.token();
                    self.say(&token, now_us);
                } else {
                    events.push(LinkEvent::Broken(
                        "its login takes more than a user and a password".to_owned(),
                    ));
                }
            }
            (Opcode::Authenticate, None) => events.push(LinkEvent::Broken(
                "it asks for credentials: give --target-username and --target-password-file, or \
                 let a client log in with a user that both clusters know"
                    .to_owned(),
            )),
            _ => {
                let (code, message) = self.error_of(opcode, body);
                events.push(LinkEvent::Broken(format!("{message} (0x{code:04X})")));
            }
        }
    }

    /// Answers with a token of the login.
    fn say(&mut self, token: &[u8], now_us: i64) {
        if let Some(stream) = self.claim(Waiting::Auth, now_us) {
            self.put(stream, Opcode::AuthResponse, |body| {
                request::auth_response::encode(body, Some(token));
            });
        }
    }

    fn handle_prepared(
        &mut self,
        slot: Slot,
        opcode: Opcode,
        body: &[u8],
        events: &mut Vec<LinkEvent>,
    ) {
        let parked = match self.prepared.remove(&slot) {
            Some(TargetId::Preparing(parked)) => parked,
            _ => Vec::new(),
        };
        self.parked = self.parked.saturating_sub(parked.len());
        let prepared = match opcode {
            Opcode::Result => Prepared::parse(body, self.version).ok(),
            _ => None,
        };
        let Some(prepared) = prepared else {
            self.order.retain(|known| *known != slot);
            let (code, message) = self.error_of(opcode, body);
            events.extend(parked.into_iter().map(|ticket| LinkEvent::Failed {
                ticket,
                code,
                message: message.clone(),
            }));
            return;
        };
        let known = TargetId::Known {
            statement: prepared.id.into(),
            columns: prepared.result_metadata_id.unwrap_or_default().into(),
        };
        self.prepared.insert(slot, known);
        events.extend(parked.into_iter().map(LinkEvent::Unparked));
    }

    /// Forgets the target's ids of a write's statements, after UNPREPARED.
    pub fn forget_prepared(&mut self, write: &Write) {
        write.each_prepared(|prepared| {
            if let Some(TargetId::Known { .. }) = self.prepared.get(&prepared.slot) {
                self.prepared.remove(&prepared.slot);
                self.order.retain(|known| *known != prepared.slot);
            }
        });
    }

    /// Code and words of an ERROR; code −1 for anything that is none.
    fn error_of(&self, opcode: Opcode, body: &[u8]) -> (i32, String) {
        if opcode != Opcode::Error {
            return (-1, format!("an unexpected {opcode} answer"));
        }
        match ErrorBody::parse(body, self.version) {
            Ok(error) => (error.code.number(), error.message.to_owned()),
            Err(error) => (-1, format!("an ERROR that cannot be read: {error}")),
        }
    }

    /// What was sent without an answer, and what never left: when the connection is lost.
    #[must_use]
    pub fn into_unanswered(self) -> (Vec<Ticket>, Vec<Ticket>) {
        let sent = self
            .waiting
            .into_iter()
            .flatten()
            .filter_map(|asked| match asked.what {
                Waiting::Write(ticket) => Some(ticket),
                _ => None,
            })
            .collect();
        let mut prepared: Vec<_> = self.prepared.into_iter().collect();
        prepared.sort_unstable_by_key(|(slot, _)| *slot); // a simulation runs the same way twice
        let parked = prepared
            .into_iter()
            .flat_map(|(_, id)| match id {
                TargetId::Preparing(parked) => parked,
                TargetId::Known { .. } => Vec::new(),
            })
            .collect();
        (sent, parked)
    }
}

/// Whether SUPPORTED names v5, as Cassandra does from 4.0 on; `5/v5-beta` of 3.11 is another.
fn names_v5(body: &[u8]) -> bool {
    let supported = Supported::parse(body).ok();
    let versions = supported.and_then(|supported| supported.options.get("PROTOCOL_VERSIONS"));
    versions.is_some_and(|versions| versions.iter().any(|version| version == "5/v5"))
}
