//! One client connection: what happens to its requests and to the source's answers.
//!
//! Pure. The caller cuts the received bytes into envelopes and calls [`Session::request`] and
//! [`Session::answer`]; what is to be sent is appended to the two buffers of the [`Context`], all
//! else comes out as [`Output`]s. Order does not matter between the two calls.
//!
//! Stream ids are the client's own on both sides, so an answer that nobody here waits for is
//! passed on without being looked at.

use std::rc::Rc;

use super::clock::StampClock;
use super::functions::Generator;
use super::handshake::Answer;
use super::held::Held;
use super::inflight::{Inflight, Pending, Preparing};
use super::link::Credentials;
use super::login::Login;
use super::output::{Ending, News, Output, RequestKind, Tally};
use super::plan::{BindKind, PlanCache, Repeat};
use super::registry::Registry;
use super::spare::SpareWrites;
use super::spilled;
use super::verdict::{self, Verdict};
use super::write::Write;
use crate::cql::envelope::Envelope;
use crate::cql::frame::{Format, FrameError};
use crate::cql::response::rows::Rows;
use crate::cql::response::{ErrorBody, ErrorCode, Prepared, ResultBody};
use crate::cql::{Compression, EnvelopeError, Flags, Header, Opcode, Reader, Version, encode};
use crate::journal::{Full, Journal, State};
use crate::spill::Kind as RecordKind;
use crate::statement::rewrite::AddedMarker;
use crate::topology::Facts;

/// What a shard lends to a session for one call.
#[derive(Debug)]
pub struct Context<'s> {
    /// Now, µs since the Unix epoch.
    pub now_us: i64,
    /// Bytes for the client.
    pub to_client: &'s mut Vec<u8>,
    /// Bytes for the source.
    pub to_source: &'s mut Vec<u8>,
    /// Everything else.
    pub outputs: &'s mut Vec<Output>,
    /// What all sessions of the shard share.
    pub common: &'s mut Common,
}

/// What all sessions of a shard share.
#[derive(Debug)]
pub struct Common {
    /// Gives stamps.
    pub clock: StampClock,
    /// Statement texts seen before.
    pub plans: PlanCache,
    /// Prepared statements.
    pub registry: Registry,
    /// Values for `now()`, `uuid()` and kin.
    pub generator: Generator,
    /// Every write is in it before it goes to the source.
    pub journal: Journal,
    /// What happened.
    pub tally: Tally,
    /// Longest body after decompression (bytes).
    pub max_body_bytes: usize,
    /// Memory for writes.
    pub spare: SpareWrites,
    /// For bodies that have to be decompressed.
    pub scratch: Vec<u8>,
    /// For frames that have to be decompressed.
    pub scratch_frame: Vec<u8>,
}

impl Common {
    /// Gives back memory that one large body needed.
    pub fn trim(&mut self) {
        for scratch in [&mut self.scratch, &mut self.scratch_frame] {
            if scratch.capacity() > crate::limits::BUFFER_KEEP_BYTES {
                *scratch = Vec::new();
            }
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was dealt with.
    Yes,
    /// It was answered with an error, after which the connection ends.
    End(Ending),
    /// It names a prepared statement that is not known here. Nothing was done: take the news of
    /// the other shards and call again with `after_news`.
    UnknownId,
    /// The journal has no room for it. Nothing was done: call again when there is.
    NoRoom,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    pub(super) keyspace: Option<Rc<str>>,
    pub(super) compression: Compression,
    pub(super) inflight: Inflight,
    /// What the client logs in with, until the source has said yes.
    pub(super) login: Login,
    /// What the client logged in with.
    identity: Option<Credentials>,
    unanswered: u64,
    open: bool,
    /// The request at hand found no room in the journal.
    no_room: bool,
    /// What STARTUP asked for, if it was one of v5.
    pub(super) asked: Option<Format>,
    framing: Option<Format>,
    /// Answers whose writes are not on the disk yet.
    held: Held,
    facts: Facts,
    /// Since when the source's nodes have different schemas, as far as the client was told (µs).
    pub(super) disagree_since_us: Option<i64>,
}

impl Session {
    /// A fresh connection; `facts` is what its driver is told about the cluster.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            keyspace: None,
            compression: Compression::None,
            inflight: Inflight::default(),
            login: Login::default(),
            identity: None,
            unanswered: 0,
            open: false,
            no_room: false,
            asked: None,
            framing: None,
            held: Held::default(),
            facts,
            disagree_since_us: None,
        }
    }

    /// Newest protocol version that clients may speak.
    #[must_use]
    pub fn newest(&self) -> Version {
        self.facts.newest()
    }

    /// Requests that the source has not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Whether the source has let the client in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The frames that both sides use from the next envelope on: v5, once STARTUP was accepted.
    #[must_use]
    pub fn framing(&self) -> Option<Format> {
        self.framing
    }

    /// Whether a write waits for its verdict.
    #[must_use]
    pub fn owes_verdict(&self) -> bool {
        !self.inflight.is_empty()
    }

    /// Answers that wait until their writes are on the disk.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Puts the answers that wait for `committed`, or an earlier commit, behind what is in
    /// `to_client`, which must end with a whole envelope.
    pub fn release(&mut self, committed: u64, to_client: &mut Vec<u8>) {
        self.held.release(committed, to_client);
    }

    /// When the oldest write arrived that waits for its verdict (µs).
    #[must_use]
    pub fn oldest_unanswered_us(&self) -> Option<i64> {
        self.inflight.oldest_write_us()
    }

    /// What the client logged in with, once the source has accepted it.
    pub fn take_identity(&mut self) -> Option<Credentials> {
        self.identity.take()
    }

    /// Takes a request of the client.
    ///
    /// A request that cannot be read is passed on as it is: the source words the error.
    pub fn request(
        &mut self,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
    ) -> Taken {
        let tally = cx
            .common
            .journal
            .is_tight()
            .then(|| cx.common.tally.clone());
        let mut scratch = std::mem::take(&mut cx.common.scratch);
        let taken = self.dispatch(envelope, cx, after_news, &mut scratch);
        cx.common.scratch = scratch;
        if std::mem::take(&mut self.no_room) {
            if let Some(tally) = tally {
                cx.common.tally = tally; // it is counted when it is done
            }
            return Taken::NoRoom;
        }
        taken
    }

    /// Puts a write into the journal, as the last thing before anything of it is done. False if
    /// there is no room now.
    pub(super) fn journal(
        &mut self,
        write: &mut Write,
        conditional: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        let Common { journal, tally, .. } = &mut *cx.common;
        match spilled::journal(write, conditional, journal) {
            Ok(()) => {}
            Err(Full::Now) => {
                self.no_room = true;
                return false;
            }
            // larger than the whole journal: it goes on, and is counted
            Err(Full::Never) => tally.unjournaled += 1,
        }
        true
    }

    fn dispatch(
        &mut self,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
        scratch: &mut Vec<u8>,
    ) -> Taken {
        let version = envelope.header.version;
        if !self.facts.speaks(version) {
            let error = EnvelopeError::UnsupportedVersion {
                version_byte: version,
                stream: envelope.header.stream,
                newest: self.newest(),
            };
            return Taken::End(Self::bad_request(&error, cx.to_client));
        }
        let kind = match envelope.header.opcode {
            Opcode::Query | Opcode::Prepare | Opcode::Execute | Opcode::Batch => {
                return self.statement(envelope, cx, after_news, scratch);
            }
            Opcode::Startup => {
                self.startup(envelope);
                RequestKind::Startup
            }
            Opcode::AuthResponse => {
                self.auth_response(envelope);
                RequestKind::Auth
            }
            Opcode::Options => RequestKind::Options,
            Opcode::Register => RequestKind::Register,
            _ => RequestKind::Other,
        };
        cx.common.tally.request(kind);
        self.forward(envelope, cx);
        Taken::Yes
    }

    /// Sends a request on as it is.
    #[inline]
    pub(super) fn forward(&mut self, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        cx.to_source.extend_from_slice(envelope.raw);
        self.unanswered += 1;
    }

    /// Notes that a request goes to the source whose answer matters.
    pub(super) fn expect_answer(&mut self, stream: i16, pending: Pending, cx: &mut Context<'_>) {
        for unclear in self.inflight.insert(stream, pending).into_iter().flatten() {
            unanswered(unclear, &mut cx.common.tally, cx.outputs);
        }
    }

    pub(super) fn count_sent(&mut self) {
        self.unanswered += 1;
    }

    /// Whether the answer with this header may be passed on piece by piece as it arrives.
    #[inline]
    #[must_use]
    pub fn may_stream(&self, header: &Header) -> bool {
        header.opcode == Opcode::Result && !self.inflight.has(header.stream)
    }

    /// Notes that an answer was passed on in pieces.
    pub fn streamed(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Takes an answer or event of the source.
    pub fn answer(&mut self, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        let header = &envelope.header;
        if header.opcode == Opcode::Event {
            return self.event(envelope, cx);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        match header.opcode {
            Opcode::Supported => return self.supported(envelope, cx),
            Opcode::AuthSuccess => {
                self.identity = self.login.accept(header.stream);
                self.open = true;
            }
            Opcode::AuthChallenge => self.auth_challenge(envelope),
            Opcode::Error => self.login.refuse(header.stream),
            Opcode::Ready => {
                self.open = true;
                self.framing = self.framing.or(self.asked);
            }
            Opcode::Authenticate => self.framing = self.framing.or(self.asked),
            _ => {}
        }
        let Some(pending) = self.inflight.take(header.stream) else {
            cx.to_client.extend_from_slice(envelope.raw);
            return;
        };
        let plain = header.flags != Flags::NONE || !is_rows(envelope.body);
        if let (Pending::Write(_), Opcode::Result, true) = (&pending, header.opcode, plain) {
            // the usual case: nothing inside the answer matters
            cx.common.tally.applied += 1;
            if let Pending::Write(write) = pending {
                note(&write, Verdict::Applied, &mut cx.common.journal);
                let commit = commit_of(&write, Verdict::Applied, &mut cx.common.journal);
                self.tell(commit, envelope.raw, cx.to_client);
                cx.outputs.push(Output::Mirror(write));
            }
            return;
        }
        self.answer_to(pending, envelope, cx);
    }

    /// An answer that has to be looked into.
    fn answer_to(&mut self, pending: Pending, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        let mut scratch = std::mem::take(&mut cx.common.scratch);
        let body = self.open(envelope, &mut scratch, cx.common.max_body_bytes);
        let header = envelope.header;
        let answer = body.and_then(|body| {
            let opened = crate::cql::envelope::response_message(header.flags, body).ok()?;
            Some(Answer {
                header,
                prelude: body.get(opened.prelude())?,
                message: opened.message,
            })
        });
        let mut commit = None;
        let rewritten = match (pending, answer) {
            (Pending::System(table), Some(answer)) if header.opcode == Opcode::Result => {
                super::handshake::rewrite_rows(*table, &answer, &self.facts, cx.to_client)
            }
            (Pending::Ring(read), Some(answer)) if header.opcode == Opcode::Result => {
                self.ring_answered(read, &answer, cx);
                true
            }
            (Pending::Prepare(asked), Some(answer))
                if !asked.added.is_empty() && header.opcode == Opcode::Result =>
            {
                let version = header.protocol().unwrap_or(Version::V4);
                let Preparing {
                    text,
                    added,
                    keyspace,
                } = *asked;
                learn_prepared(&text, &added, keyspace, answer.message, version, cx);
                super::handshake::put_prepared(&answer, &added, cx.to_client)
            }
            (pending, answer) => {
                let message = answer.map_or(&[][..], |answer| answer.message);
                commit = self.learn(pending, header, message, cx);
                false
            }
        };
        if !rewritten {
            self.tell(commit, envelope.raw, cx.to_client);
        }
        cx.common.scratch = scratch;
    }

    /// Passes an answer on, after the commit if there is one.
    #[inline]
    fn tell(&mut self, commit: Option<u64>, answer: &[u8], to_client: &mut Vec<u8>) {
        match commit {
            None => to_client.extend_from_slice(answer),
            Some(commit) => self.held.keep(commit, answer),
        }
    }

    /// Does what an answer asks for. Gives the commit that the client's word has to wait for.
    fn learn(
        &mut self,
        pending: Pending,
        header: Header,
        message: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<u64> {
        let version = header.protocol().unwrap_or(Version::V4);
        let opcode = header.opcode;
        let code = match opcode {
            Opcode::Error => Reader::new(message).int().ok(),
            _ => None,
        };
        let verdict = verdict::of_answer(opcode, code);
        let Common { journal, tally, .. } = &mut *cx.common;
        match pending {
            Pending::Write(write) => {
                // rows: the answer of a read that the client had in flight on the same stream
                let verdict = match is_rows(message) {
                    true if opcode == Opcode::Result => Verdict::Ambiguous,
                    _ => verdict,
                };
                tally.verdict(verdict);
                note(&write, verdict, journal);
                let commit = commit_of(&write, verdict, journal);
                match verdict {
                    Verdict::Applied => cx.outputs.push(Output::Mirror(write)),
                    Verdict::Refused => {}
                    Verdict::Ambiguous => cx.outputs.push(Output::Resolve(write)),
                }
                return commit;
            }
            Pending::Prepare(asked) if verdict == Verdict::Applied => {
                learn_prepared(&asked.text, &[], asked.keyspace, message, version, cx);
            }
            Pending::Use if verdict == Verdict::Applied => {
                if let Ok(ResultBody::SetKeyspace(name)) = ResultBody::parse(message, version) {
                    self.keyspace = Some(name.into());
                }
            }
            Pending::Schema(write) => {
                note(&write, verdict, journal);
                let commit = commit_of(&write, verdict, journal);
                match verdict {
                    Verdict::Applied => cx.outputs.push(Output::Schema(write)),
                    Verdict::Refused => {}
                    Verdict::Ambiguous => cx.outputs.push(unknown_change(write)),
                }
                return commit;
            }
            Pending::Lwt(write) => {
                let verdict = match verdict {
                    Verdict::Applied if !lwt_applied(message) => Verdict::Refused,
                    verdict => verdict,
                };
                note(&write, verdict, journal);
                let commit = commit_of(&write, verdict, journal);
                let is_sure = verdict == Verdict::Applied;
                tally.verdict(verdict);
                if verdict != Verdict::Refused {
                    cx.outputs.push(Output::Conditional { write, is_sure });
                }
                return commit;
            }
            Pending::Opaque if verdict != Verdict::Refused => tally.opaque_applied += 1,
            Pending::Opaque
            | Pending::Prepare(_)
            | Pending::Use
            | Pending::System(_)
            | Pending::Ring(_)
            | Pending::Unclear(_) => {}
        }
        None
    }

    /// The source is gone. Every write that waits for its verdict is ambiguous.
    pub fn source_lost(&mut self, tally: &mut Tally, outputs: &mut Vec<Output>) {
        self.unanswered = 0;
        for pending in self.inflight.drain() {
            unanswered(pending, tally, outputs);
        }
    }

    /// The client's bytes cannot be cut any further: its answer, after which it is closed.
    pub fn bad_request(error: &EnvelopeError, to_client: &mut Vec<u8>) -> Ending {
        let put = encode::refusal(to_client, *error);
        debug_assert!(put.is_ok());
        Ending::Client(*error)
    }

    /// The client's frames are broken: its answer, after which it is closed.
    pub fn bad_frame(error: FrameError, to_client: &mut Vec<u8>) -> Ending {
        let words = error.to_string();
        let body = ErrorBody::new(ErrorCode::Protocol, &words);
        let put = encode::error(to_client, Version::V5, 0, &body);
        debug_assert!(put.is_ok());
        Ending::ClientFrame(error)
    }

    /// Longest body of the client after decompression (bytes): little before it is let in.
    pub(super) fn body_limit(&self, common: &Common) -> usize {
        match self.open {
            true => common.max_body_bytes,
            false => crate::limits::PRE_AUTH_BODY_MAX_BYTES,
        }
    }

    /// The body, decompressed if it has to be.
    pub(super) fn open<'b>(
        &self,
        envelope: &Envelope<'b>,
        scratch: &'b mut Vec<u8>,
        max_bytes: usize,
    ) -> Option<&'b [u8]> {
        // in v5 it is the frames that are compressed, and the flag says nothing: the Java driver
        // sets it, and Cassandra does not look
        let flagged = envelope.header.flags.contains(Flags::COMPRESSION);
        if !flagged || envelope.header.version >= Version::V5.number() {
            return Some(envelope.body);
        }
        scratch.clear();
        self.compression
            .decompress(envelope.body, scratch, max_bytes)
            .ok()?;
        Some(scratch)
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Stores in the journal what the source has said.
fn note(write: &Write, verdict: Verdict, journal: &mut Journal) {
    match verdict {
        Verdict::Applied => journal.mark(write.journal, State::Applied),
        Verdict::Refused => journal.mark(write.journal, State::Done),
        Verdict::Ambiguous => {}
    }
}

/// The commit after which the client may be told: when the next start, should the machine die,
/// comes to the same end ([`crate::journal`]). From the record alone it does for most writes.
#[inline]
fn commit_of(write: &Write, verdict: Verdict, journal: &mut Journal) -> Option<u64> {
    match verdict {
        Verdict::Applied if write.repeat == Repeat::Free => journal.record_commit(write.journal),
        Verdict::Applied | Verdict::Refused => journal.state_commit(write.journal),
        Verdict::Ambiguous => journal.record_commit(write.journal),
    }
}

/// No answer will tell what became of a request.
fn unanswered(pending: Pending, tally: &mut Tally, outputs: &mut Vec<Output>) {
    match pending {
        Pending::Write(write) => {
            tally.ambiguous += 1;
            outputs.push(Output::Resolve(write));
        }
        Pending::Lwt(write) => {
            tally.ambiguous += 1;
            let is_sure = false;
            outputs.push(Output::Conditional { write, is_sure });
        }
        Pending::Schema(write) => outputs.push(unknown_change(write)),
        Pending::Opaque => tally.opaque_applied += 1,
        Pending::Prepare(_)
        | Pending::Use
        | Pending::System(_)
        | Pending::Ring(_)
        | Pending::Unclear(_) => {}
    }
}

/// A change whose outcome at the source is unknown. A schema change does no harm at the target that
/// the source has not seen as well, and its error there is reported; a TRUNCATE on a guess does.
fn unknown_change(write: Box<Write>) -> Output {
    match write.kind {
        RecordKind::Truncate => Output::Resolve(write),
        _ => Output::Schema(write),
    }
}

/// Remembers what was prepared and tells the other shards.
fn learn_prepared(
    text: &str,
    added: &[AddedMarker],
    keyspace: Option<Rc<str>>,
    message: &[u8],
    version: Version,
    cx: &mut Context<'_>,
) {
    let Ok(prepared) = Prepared::parse(message, version) else {
        return;
    };
    let id = prepared.id;
    if cx.common.registry.get(id).is_some_and(|known| {
        let plan = &known.plan;
        let same_names = plan.statement.unqualified.is_empty() || plan.session_keyspace == keyspace;
        *plan.text == *text && same_names
    }) {
        return; // every driver prepares on every connection: known since the first one
    }
    let binds: Box<[_]> = prepared
        .bind
        .columns()
        .map(|column| BindKind::of(column.name, column.column_type.number()))
        .collect();
    let plans = &cx.common.plans;
    let mut plan = plans.prepared(text, keyspace.clone(), binds.clone());
    let mut added: Box<[_]> = added.into();
    if !plan.statement.markers.is_empty() {
        super::hidden::name(&mut added, &prepared);
    }
    plan.added = added.clone();
    cx.common.registry.insert(id, Rc::new(plan));
    cx.outputs.push(Output::Publish(Box::new(News::Prepared {
        id: id.into(),
        text: text.into(),
        keyspace: keyspace.as_deref().map(Into::into),
        binds,
        added,
    })));
}

/// Whether the message of a RESULT holds rows.
fn is_rows(message: &[u8]) -> bool {
    message.first_chunk() == Some(&[0, 0, 0, 2])
}

/// The first column of a conditional write's answer: `[applied]`.
fn lwt_applied(message: &[u8]) -> bool {
    let Ok(rows) = Rows::parse(message) else {
        return false;
    };
    matches!(rows.cells().next(), Some(Ok(cell)) if cell.bytes == Some(&[1]))
}
