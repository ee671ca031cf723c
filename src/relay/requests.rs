//! The requests that carry statements: QUERY, PREPARE, EXECUTE, BATCH.
//!
//! A write without a stamp gets one on its way to the source, in the client's version of the
//! protocol; its copy for the target, in the layout of v4, is kept until the source's verdict.
//! [`Tail`] finds the place of the stamp behind the bound values without walking them.

use std::rc::Rc;

use super::hidden;
use super::inflight::{Pending, Preparing};
use super::output::RequestKind;
use super::plan::{Plan, Repeat, Treatment};
use super::session::{Context, Session, Taken};
use super::spilled;
use super::write::{Body, Write};
use crate::cql::envelope::{Envelope, request_message};
use crate::cql::error::DecodeError;
use crate::cql::request::prepare;
use crate::cql::stamp::{FLAGS_AT, STAMP_LEN, Tail};
use crate::cql::{Flags, Header, Opcode, QueryFlags, Reader, Version};
use crate::spill::Kind as RecordKind;
use crate::statement;

/// A client's stamp that is this far ahead of the clock is counted (µs).
const FUTURE_US: i64 = 60_000_000;

/// A request's message and what stands before it in the body.
pub(super) struct Opened<'b> {
    pub(super) header: Header,
    pub(super) prelude: &'b [u8],
    pub(super) message: &'b [u8],
}

impl Opened<'_> {
    pub(super) fn version(&self) -> Version {
        self.header.protocol().unwrap_or(Version::V4)
    }
}

impl Session {
    /// The keyspace of unqualified names: the request's own, which v5 knows, or the session's.
    pub(super) fn keyspace_of(&self, own: Option<&str>) -> Option<Rc<str>> {
        match (own, &self.keyspace) {
            (Some(own), Some(session)) if **session == *own => Some(session.clone()),
            (Some(own), _) => Some(own.into()),
            (None, session) => session.clone(),
        }
    }

    pub(super) fn statement(
        &mut self,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
        scratch: &mut Vec<u8>,
    ) -> Taken {
        let opened = self
            .open(envelope, scratch, self.body_limit(cx.common))
            .and_then(|body| {
                let message = request_message(envelope.header.flags, body).ok()?;
                let (prelude, message) = body.split_at_checked(message.message_at)?;
                Some(Opened {
                    header: envelope.header,
                    prelude,
                    message,
                })
            });
        let taken = match (&opened, envelope.header.opcode) {
            (None, _) => Ok(None),
            (Some(opened), Opcode::Query) => self.query(opened, envelope, cx).map(Some),
            (Some(opened), Opcode::Prepare) => self.prepare(opened, envelope, cx).map(Some),
            (Some(opened), Opcode::Batch) => self.batch(opened, envelope, cx, after_news).map(Some),
            (Some(opened), _) => self.execute(opened, envelope, cx, after_news).map(Some),
        };
        match taken {
            Ok(Some(taken)) => taken,
            // not to be read: the source will say what is wrong with it
            Ok(None) | Err(_) => {
                self.forward_opaque(envelope, cx);
                Taken::Yes
            }
        }
    }

    /// Sends a statement on that cannot be read.
    pub(super) fn forward_opaque(&mut self, envelope: &Envelope<'_>, cx: &mut Context<'_>) {
        cx.common.tally.opaque += 1;
        self.expect_answer(envelope.header.stream, Pending::Opaque, cx);
        self.forward(envelope, cx);
    }

    fn query(
        &mut self,
        opened: &Opened<'_>,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Taken, DecodeError> {
        let mut reader = Reader::new(opened.message);
        let text = String::from_utf8_lossy(reader.bytes()?.unwrap_or_default());
        let params = reader.rest();
        let own = match opened.version() {
            Version::V3 | Version::V4 => None,
            version => Tail::find(params, version)?.keyspace,
        };
        let plan = match own {
            None => cx.common.plans.plan(&text, self.keyspace.as_ref()),
            own => cx.common.plans.plan(&text, self.keyspace_of(own).as_ref()),
        };
        if let Some(generated) =
            super::functions::literal(&plan, cx.now_us, &mut cx.common.generator)
        {
            return Ok(self.with_literals(&generated, &plan, opened, params, cx));
        }
        let target_text = plan.target_text.clone();
        let before = opened.message.len() - params.len();
        self.run(&plan, opened, before, envelope, cx, |params| Body::Query {
            text: target_text,
            params,
        });
        Ok(Taken::Yes)
    }

    fn prepare(
        &mut self,
        opened: &Opened<'_>,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Taken, DecodeError> {
        let mut reader = Reader::new(opened.message);
        let text = String::from_utf8_lossy(reader.bytes()?.unwrap_or_default());
        let behind = reader.rest();
        let own = prepare::read_keyspace(&mut reader, opened.version())?;
        cx.common.tally.request(RequestKind::Prepare);
        let keyspace = self.keyspace_of(own);
        let plan = cx.common.plans.plan(&text, keyspace.as_ref());
        let Some(parametrized) = hidden::parametrize(&plan) else {
            let preparing = Preparing {
                text: plan.text.clone(),
                added: Box::default(),
                keyspace,
            };
            let pending = Pending::Prepare(Box::new(preparing));
            self.expect_answer(envelope.header.stream, pending, cx);
            self.forward(envelope, cx);
            return Ok(Taken::Yes);
        };
        let text = parametrized.text;
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let parts = [opened.prelude, &length, text.as_bytes(), behind];
        put_request(cx.to_source, opened.header, &parts);
        self.count_sent();
        let pending = Pending::Prepare(Box::new(Preparing {
            text: text.into(),
            added: parametrized.added,
            keyspace,
        }));
        self.expect_answer(envelope.header.stream, pending, cx);
        Ok(Taken::Yes)
    }

    fn execute(
        &mut self,
        opened: &Opened<'_>,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
    ) -> Result<Taken, DecodeError> {
        let mut reader = Reader::new(opened.message);
        let id = reader.short_bytes()?;
        let Some(prepared) = cx.common.registry.get(id).cloned() else {
            return Ok(unknown_id(id, envelope, cx, after_news));
        };
        if opened.version() >= Version::V5 {
            reader.short_bytes()?; // the result's columns, between client and source
        }
        let before = reader.position();
        let plan = prepared.plan.clone();
        if !plan.added.is_empty()
            && let Some(taken) = self.with_added(&prepared, opened, before, cx)
        {
            return Ok(taken);
        }
        let generator = &mut cx.common.generator;
        if let Some(text) = super::functions::literal(&plan, cx.now_us, generator) {
            // markers cannot stand where the calls do: the same values, with a text
            return Ok(self.with_literals(&text, &plan, opened, reader.rest(), cx));
        }
        self.run(&plan, opened, before, envelope, cx, |params| {
            Body::Execute { prepared, params }
        });
        Ok(Taken::Yes)
    }

    /// One statement, text or prepared. `before`: what comes before `<query_parameters>` (bytes).
    pub(super) fn run(
        &mut self,
        plan: &Rc<Plan>,
        opened: &Opened<'_>,
        before: usize,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        body: impl FnOnce(Vec<u8>) -> Body,
    ) {
        cx.common.tally.request(kind_of(plan));
        let stream = envelope.header.stream;
        let params = opened.message.get(before..).unwrap_or_default();
        let pending = match plan.treatment {
            Treatment::Pass => return self.forward(envelope, cx),
            Treatment::SourceOnly(reason) => {
                cx.common.tally.skipped[reason as usize] += 1;
                return self.forward(envelope, cx);
            }
            Treatment::System(table) => {
                let mut request = Vec::new();
                put_with_metadata(&mut request, opened, before);
                if self.facts().proxies().is_some() {
                    return self.read_ring((table, plan), opened, before, request, cx);
                }
                self.expect_answer(stream, Pending::System(Box::new(table)), cx);
                cx.to_source.extend_from_slice(&request);
                return self.count_sent();
            }
            Treatment::Use => Pending::Use,
            Treatment::Mirror => return self.write(plan, opened, before, envelope, cx, body),
            Treatment::Lwt | Treatment::Schema => {
                let body = dated(body(as_v4(params, opened.version())), plan, cx.now_us);
                let mut write = new_write(plan, cx, None, body);
                let conditional = plan.treatment == Treatment::Lwt;
                if !self.journal(&mut write, conditional, cx) {
                    return;
                }
                if conditional {
                    Pending::Lwt(write)
                } else {
                    Pending::Schema(write)
                }
            }
        };
        self.expect_answer(stream, pending, cx);
        self.forward(envelope, cx);
    }

    fn write(
        &mut self,
        plan: &Rc<Plan>,
        opened: &Opened<'_>,
        before: usize,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        body: impl FnOnce(Vec<u8>) -> Body,
    ) {
        let (head, params) = opened.message.split_at(before);
        let Ok(tail) = Tail::find(params, opened.version()) else {
            return self.forward_opaque(envelope, cx);
        };
        let own_stamp = plan.kind == RecordKind::Counter || plan.has_literal_stamp();
        let (stamp_us, stamped) = stamp(&tail, own_stamp, cx);
        let mut write = new_write(plan, cx, stamp_us, body(stamped));
        if let Some(second) = tail.now_in_seconds {
            spilled::count_from_arrival(&mut write, second, &mut cx.common.plans);
        }
        if plan.repeat == Repeat::Bump && plan.is_json() && !params.contains(&b'[') {
            write.repeat = Repeat::Free; // a document without `[` writes no list
            write.kind = RecordKind::Write;
        }
        if !self.journal(&mut write, false, cx) {
            return;
        }
        self.expect_answer(envelope.header.stream, Pending::Write(write), cx);
        self.send_stamped(stamp_us, opened, head, &tail, envelope, cx);
    }

    /// Sends a write on, with `stamp_us` in its `tail` unless it has a stamp already.
    pub(super) fn send_stamped(
        &mut self,
        stamp_us: Option<i64>,
        opened: &Opened<'_>,
        head: &[u8],
        tail: &Tail<'_>,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
    ) {
        let Some(stamp_us) = stamp_us.filter(|_| tail.timestamp.is_none()) else {
            return self.forward(envelope, cx);
        };
        let more = tail.raw().len() + STAMP_LEN;
        put_head(cx.to_source, envelope.header, &[opened.prelude, head], more);
        tail.put_stamped(cx.to_source, stamp_us);
        self.count_sent();
    }
}

/// Puts a read that asks for the columns' names, whatever the client asked for: its answer is
/// rewritten by name.
fn put_with_metadata(out: &mut Vec<u8>, opened: &Opened<'_>, before: usize) {
    let mut message = opened.message.to_vec();
    // the flag is in the lowest byte, which comes last
    let flags_at = before + FLAGS_AT + QueryFlags::len(opened.version()) - 1;
    if let (Some(flags), Ok(skip)) = (
        message.get_mut(flags_at),
        u8::try_from(QueryFlags::SKIP_METADATA.0),
    ) {
        *flags &= !skip;
    }
    put_request(out, opened.header, &[opened.prelude, &message]);
}

/// Parameters without a stamp of ours, as the target gets them.
pub(super) fn as_v4(params: &[u8], version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    match Tail::find(params, version) {
        Ok(tail) => tail.put_v4(&mut out, None),
        Err(_) => out.extend_from_slice(params), // the source will not take them either
    }
    out
}

/// The parameters as the target gets them, and their stamp: the client's, or a new one unless the
/// statement has its own (`own_stamp`).
pub(super) fn stamp(
    tail: &Tail<'_>,
    own_stamp: bool,
    cx: &mut Context<'_>,
) -> (Option<i64>, Vec<u8>) {
    let mut params = cx.common.spare.params();
    let stamp_us = match tail.timestamp {
        Some(stamp_us) => {
            cx.common.tally.client_stamped += 1;
            if stamp_us > cx.now_us + FUTURE_US {
                cx.common.tally.stamped_in_future += 1;
            }
            Some(stamp_us)
        }
        None if own_stamp => None,
        None => {
            cx.common.tally.stamped += 1;
            Some(cx.common.clock.stamp(cx.now_us))
        }
    };
    tail.put_v4(&mut params, stamp_us);
    (stamp_us, params)
}

#[inline(always)] // as for `boxed`
pub(super) fn new_write(
    plan: &Rc<Plan>,
    cx: &mut Context<'_>,
    stamp_us: Option<i64>,
    body: Body,
) -> Box<Write> {
    cx.common.spare.boxed(Write {
        stamp_us,
        repeat: plan.repeat,
        kind: plan.kind,
        deletes: plan.deletes,
        ..Write::new(cx.now_us, plan.keyspace.clone(), plan.table.clone(), body)
    })
}

/// Columns are dropped at the target as of the moment when the request came. Left alone, the target
/// would take its own, which is later than the stamp of what is written to a column of the same
/// name that is added right behind, and hide that for ever.
fn dated(body: Body, plan: &Plan, now_us: i64) -> Body {
    let drops = |ddl: &statement::Ddl| ddl.undated_drop.is_some();
    if !plan.statement.ddl.as_deref().is_some_and(drops) {
        return body;
    }
    let text = &plan.target_text;
    match statement::rewrite::date_drop(text, &statement::classify(text), now_us) {
        None => body,
        Some(text) => match body {
            Body::Query { params, .. } | Body::Execute { params, .. } => Body::Query {
                text: text.into(),
                params,
            },
            Body::Batch { .. } => body,
        },
    }
}

/// Appends a request whose body was rewritten; it is not compressed, which any server accepts.
pub(super) fn put_request(out: &mut Vec<u8>, header: Header, parts: &[&[u8]]) {
    put_head(out, header, parts, 0);
}

/// As [`put_request`], where the caller appends `more` bytes to the body.
fn put_head(out: &mut Vec<u8>, header: Header, parts: &[&[u8]], more: usize) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() + more;
    let header = Header {
        flags: header.flags.without(Flags::COMPRESSION),
        body_len: u32::try_from(length).unwrap_or(u32::MAX),
        ..header
    };
    out.extend_from_slice(&header.encode());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// First time: ask for the news. Second time: the client is told to prepare again.
pub(super) fn unknown_id(
    id: &[u8],
    envelope: &Envelope<'_>,
    cx: &mut Context<'_>,
    after_news: bool,
) -> Taken {
    if !after_news {
        return Taken::UnknownId;
    }
    cx.common.tally.unprepared += 1;
    super::handshake::put_unprepared(cx.to_client, envelope.header, id);
    Taken::Yes
}

fn kind_of(plan: &Plan) -> RequestKind {
    match (plan.treatment, plan.kind) {
        (Treatment::Pass | Treatment::System(_), _) => RequestKind::Read,
        (Treatment::SourceOnly(_), _) => RequestKind::Other,
        (Treatment::Use, _) => RequestKind::Use,
        (Treatment::Lwt, _) => RequestKind::Lwt,
        (Treatment::Schema, RecordKind::Truncate) => RequestKind::Truncate,
        (Treatment::Schema, _) => RequestKind::Ddl,
        (Treatment::Mirror, RecordKind::Counter) => RequestKind::Counter,
        (Treatment::Mirror, RecordKind::List) if plan.repeat == Repeat::Once => RequestKind::List,
        (Treatment::Mirror, _) => RequestKind::Write,
    }
}
