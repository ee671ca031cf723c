//! What a session asks its shard to do, beside the bytes for client and source.

use super::plan::BindKind;
use super::verdict::Verdict;
use super::write::Write;
use crate::cql::frame::FrameError;
use crate::statement::rewrite::AddedMarker;

/// One thing to do. The shard's match over this is the whole border between deciding and doing.
#[derive(Debug)]
pub enum Output {
    /// The source applied it: the target gets it.
    Mirror(Box<Write>),
    /// The source may have applied it: what is done then depends on its kind
    /// ([`crate::journal::settle`]).
    Resolve(Box<Write>),
    /// The source changed its schema or emptied a table: the target follows behind a barrier.
    Schema(Box<Write>),
    /// A conditional write: what the source made of it is to be read back.
    Conditional {
        /// The write.
        write: Box<Write>,
        /// The source has applied it; else it may have.
        is_sure: bool,
    },
    /// Every other shard must know this before the client sees its answer.
    Publish(Box<News>),
}

/// What shards tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A statement was prepared at the source.
    Prepared {
        /// The source's id.
        id: Box<[u8]>,
        /// The client's text.
        text: Box<str>,
        /// The session's keyspace at that time.
        keyspace: Option<Box<str>>,
        /// What the source said about its markers.
        binds: Box<[BindKind]>,
        /// Markers that clients do not know of.
        added: Box<[AddedMarker]>,
    },
}

/// Why a session ends; the words go to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// The client's bytes cannot be cut into envelopes; it was told.
    #[error("the client's bytes are no requests: {0}")]
    Client(crate::cql::EnvelopeError),
    /// The source's bytes cannot be cut into envelopes.
    #[error("the source's bytes are no answers: {0}")]
    Source(crate::cql::EnvelopeError),
    /// The client's frames are broken; it was told.
    #[error("the client's frames are broken: {0}")]
    ClientFrame(FrameError),
    /// The source's frames are broken.
    #[error("the source's frames are broken: {0}")]
    SourceFrame(FrameError),
    /// TLS with the client cannot go on.
    #[error("TLS with the client failed")]
    Insecure,
}

/// What happened in a shard's sessions since it last looked; plain numbers, added to its metrics.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Requests of clients by [`RequestKind`].
    pub requests: [u64; RequestKind::ALL.len()],
    /// Stamps that the proxy gave.
    pub stamped: u64,
    /// Stamps that came from clients.
    pub client_stamped: u64,
    /// Stamps of clients more than a minute ahead of the clock: they win over all later writes.
    pub stamped_in_future: u64,
    /// Writes that the source applied.
    pub applied: u64,
    /// Writes that the source turned down.
    pub refused: u64,
    /// Writes whose outcome at the source is unknown.
    pub ambiguous: u64,
    /// EXECUTEs with an id that no shard knows, answered with UNPREPARED.
    pub unprepared: u64,
    /// Statements for the source alone, by [`Reason`](super::plan::Reason).
    pub skipped: [u64; super::plan::Reason::ALL.len()],
    /// Writes that are larger than the journal, and not in it.
    pub unjournaled: u64,
    /// Requests that could not be read and were passed on as they are.
    pub opaque: u64,
    /// Those among them that the source did not refuse: whatever they wrote, the target lacks it.
    pub opaque_applied: u64,
}

/// Kinds of requests, as the metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// SELECT and everything else that changes nothing.
    Read,
    /// INSERT, UPDATE, DELETE.
    Write,
    /// Counter updates.
    Counter,
    /// List operations that cannot be repeated.
    List,
    /// Conditional writes.
    Lwt,
    /// BATCH.
    Batch,
    /// CREATE, ALTER, DROP of schema objects.
    Ddl,
    /// TRUNCATE.
    Truncate,
    /// PREPARE.
    Prepare,
    /// USE.
    Use,
    /// OPTIONS, also as heartbeat.
    Options,
    /// STARTUP.
    Startup,
    /// AUTH_RESPONSE.
    Auth,
    /// REGISTER.
    Register,
    /// Roles, grants, filtered tables: source only.
    Other,
}

impl RequestKind {
    /// All kinds, in the order of [`Tally::requests`].
    pub const ALL: [Self; 15] = [
        Self::Read,
        Self::Write,
        Self::Counter,
        Self::List,
        Self::Lwt,
        Self::Batch,
        Self::Ddl,
        Self::Truncate,
        Self::Prepare,
        Self::Use,
        Self::Options,
        Self::Startup,
        Self::Auth,
        Self::Register,
        Self::Other,
    ];
}

impl Tally {
    /// Counts what became of a write.
    pub fn verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Applied => self.applied += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::Ambiguous => self.ambiguous += 1,
        }
    }

    /// Counts a request.
    #[inline]
    pub fn request(&mut self, kind: RequestKind) {
        self.requests[kind as usize] += 1;
    }
}
