//! What comes before the first statement, and the answers that tell drivers about the cluster.

use super::session::{Context, Session};
use crate::cql::envelope::{Envelope, request_message, response_message};
use crate::cql::frame::Format;
use crate::cql::request::{auth_response::AuthResponse, startup::Startup};
use crate::cql::response::{AuthToken, ErrorCode, Event, Supported};
use crate::cql::{Compression, Flags, Header, Opcode, Version, encode};
use crate::limits;
use crate::statement::SystemTable;
use crate::statement::rewrite::AddedMarker;
use crate::topology::{self, Facts};

impl Session {
    /// STARTUP names the compression of everything that follows.
    pub(super) fn startup(&mut self, envelope: &Envelope<'_>) {
        let Ok(opened) = envelope.request_body() else {
            return;
        };
        let Ok(startup) = Startup::parse(opened.message) else {
            return;
        };
        let named = startup.compression().and_then(Compression::from_name);
        let compression = named.unwrap_or(Compression::None);
        if envelope.header.protocol() < Some(Version::V5) {
            self.compression = compression;
            return;
        }
        // v5 compresses frames, and knows LZ4 alone: the source refuses anything else
        self.asked = Some(match compression {
            Compression::Lz4 => Format::Lz4,
            Compression::None | Compression::Snappy => Format::Plain,
        });
    }

    /// Keeps what the client logs in with: the target's connections use it too, unless the target
    /// has credentials of its own.
    pub(super) fn auth_response(&mut self, envelope: &Envelope<'_>) {
        let mut scratch = Vec::new();
        let opened = self
            .open(envelope, &mut scratch, limits::PRE_AUTH_BODY_MAX_BYTES)
            .and_then(|body| request_message(envelope.header.flags, body).ok());
        let response = opened.and_then(|opened| AuthResponse::parse(opened.message).ok());
        // one that cannot be read is still a step of the talk
        let response = response.unwrap_or(AuthResponse { token: None });
        self.login.say(envelope.header.stream, &response);
    }

    /// The source wants another token of the client.
    pub(super) fn auth_challenge(&mut self, envelope: &Envelope<'_>) {
        let mut scratch = Vec::new();
        let challenge = self
            .response(envelope, &mut scratch, limits::PRE_AUTH_BODY_MAX_BYTES)
            .and_then(|message| AuthToken::parse(message).ok());
        self.login.challenge(challenge.and_then(|said| said.token));
    }

    /// The answer to OPTIONS, less what we do not speak.
    pub(super) fn supported(&mut self, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        let mut scratch = std::mem::take(&mut cx.common.scratch);
        let rewritten = self
            .response(envelope, &mut scratch, cx.common.max_body_bytes)
            .and_then(|message| Supported::parse(message).ok())
            .is_some_and(|supported| {
                let header = envelope.header;
                topology::put_supported(cx.to_client, header, &supported, self.facts()).is_ok()
            });
        if !rewritten {
            cx.to_client.extend_from_slice(envelope.raw);
        }
        cx.common.scratch = scratch;
    }

    /// News of the schema reach the client. News of nodes do so only where each node has its own
    /// proxy, and name that: else a driver would try to reach nodes behind our back.
    pub(super) fn event(&self, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        let mut scratch = Vec::new();
        let max_bytes = cx.common.max_body_bytes;
        let Some(message) = self.response(envelope, &mut scratch, max_bytes) else {
            return;
        };
        let facts = self.facts();
        let event = match Event::parse(message) {
            Ok(Event::Topology(..) | Event::Status(..)) if !facts.shows_peers() => return,
            Ok(Event::Topology(change, node)) => Event::Topology(change, facts.proxy_of(node)),
            Ok(Event::Status(change, node)) => Event::Status(change, facts.proxy_of(node)),
            _ => return cx.to_client.extend_from_slice(envelope.raw),
        };
        let header = envelope.header;
        let version = header.protocol().unwrap_or(Version::V4);
        let (stream, flags) = (header.stream, Flags::NONE);
        let put = encode::envelope(
            cx.to_client,
            version,
            flags,
            stream,
            Opcode::Event,
            |body| {
                event.encode(body);
            },
        );
        debug_assert!(put.is_ok()); // no longer than what came
    }

    /// The message of an envelope of the source, decompressed if it has to be.
    fn response<'b>(
        &self,
        envelope: &Envelope<'b>,
        scratch: &'b mut Vec<u8>,
        max_bytes: usize,
    ) -> Option<&'b [u8]> {
        let body = self.open(envelope, scratch, max_bytes)?;
        let opened = response_message(envelope.header.flags, body).ok()?;
        Some(opened.message)
    }
}

/// A RESULT of the source, opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub header: Header,
    /// Tracing id, warnings and custom payload: the client's, whatever becomes of the message.
    pub prelude: &'a [u8],
    pub message: &'a [u8],
}

impl Answer<'_> {
    /// Puts it with another message, not compressed. `message` says whether it could be made.
    /// False: it could not, and nothing was put.
    pub fn put(&self, to_client: &mut Vec<u8>, message: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let header = self.header;
        let version = header.protocol().unwrap_or(Version::V4);
        let flags = header.flags.without(Flags::COMPRESSION);
        let (start, mut made) = (to_client.len(), false);
        let put = encode::envelope(
            to_client,
            version,
            flags,
            header.stream,
            Opcode::Result,
            |body| {
                body.raw(self.prelude);
                made = message(body.out());
            },
        );
        if !made {
            to_client.truncate(start);
        }
        made && put.is_ok()
    }
}

/// Puts rows of a system table as drivers shall see them. False: the answer cannot be read, and
/// nothing was put.
pub(super) fn rewrite_rows(
    table: SystemTable,
    answer: &Answer<'_>,
    facts: &Facts,
    to_client: &mut Vec<u8>,
) -> bool {
    answer.put(to_client, |out| {
        topology::put_rows(out, table, answer.message, facts).is_ok()
    })
}

/// Puts the answer to PREPARE without the markers that the client does not know of. False: it
/// cannot be read, and nothing was put.
pub(super) fn put_prepared(
    answer: &Answer<'_>,
    added: &[AddedMarker],
    to_client: &mut Vec<u8>,
) -> bool {
    let version = answer.header.protocol().unwrap_or(Version::V4);
    answer.put(to_client, |out| {
        super::hidden::hide(answer.message, version, added, out).is_some()
    })
}

/// Tells the client to prepare again, in the source's words.
pub(super) fn put_unprepared(to_client: &mut Vec<u8>, header: Header, id: &[u8]) {
    let version = header.protocol().unwrap_or(Version::V4);
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let message = format!(
        "Prepared query with ID {hex} not found (either the query was not prepared on this host \
         (maybe the host has been restarted?) or you have prepared too many queries and it has \
         been evicted from the internal cache)"
    );
    // an id is a [short bytes] that was just read from one, so it fits
    let _ = encode::envelope(
        to_client,
        version,
        Flags::NONE,
        header.stream,
        Opcode::Error,
        |b| {
            b.int(ErrorCode::Unprepared.number());
            b.string(&message);
            b.short_bytes(id);
        },
    );
}
