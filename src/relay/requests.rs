//! The requests that carry statements: QUERY, PREPARE, EXECUTE, BATCH.
//!
//! A write without a stamp gets one on its way to the source; its copy for the target is kept
//! until the source's verdict. `<query_parameters>` and the end of a BATCH have the same layout in
//! protocol v3 and v4, with the timestamp as the last field (native protocol v4, sections 4.1.4 and
//! 4.1.7), so giving a stamp is setting a flag and appending eight bytes.

use std::rc::Rc;

use super::hidden;
use super::inflight::Pending;
use super::output::RequestKind;
use super::plan::{Plan, Repeat, Treatment};
use super::session::{Context, Session, Taken};
use super::write::{Body, Write};
use crate::cql::envelope::{Envelope, request_message};
use crate::cql::error::DecodeError;
use crate::cql::{Flags, Header, Opcode, Reader};
use crate::spill::Kind as RecordKind;

/// The flag of `<query_parameters>` and BATCH that announces a default timestamp.
const WITH_TIMESTAMP: u8 = 0x20;
/// The flag of `<query_parameters>` that asks for rows without the columns' names.
const SKIP_METADATA: u8 = 0x02;
/// Where the flags byte stands in `<query_parameters>` and in the end of a BATCH: behind the
/// consistency.
pub(super) const FLAGS_AT: usize = 2;
/// A client's stamp that is this far ahead of the clock is counted (µs).
const FUTURE_US: i64 = 60_000_000;

/// A request's message and what stands before it in the body.
pub(super) struct Opened<'b> {
    pub(super) header: Header,
    pub(super) prelude: &'b [u8],
    pub(super) message: &'b [u8],
}

impl Session {
    pub(super) fn statement(
        &mut self,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
        scratch: &mut Vec<u8>,
    ) -> Taken {
        let opened = self
            .open(envelope, scratch, cx.common.max_body_bytes)
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
                cx.common.tally.opaque += 1;
                self.forward(envelope, cx);
                Taken::Yes
            }
        }
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
        let plan = cx.common.plans.plan(&text, self.keyspace.as_ref());
        if let Some(generated) =
            super::functions::literal(&plan, cx.now_us, &mut cx.common.generator)
        {
            return Ok(self.with_literals(&generated, opened, params, cx));
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
        let text =
            String::from_utf8_lossy(Reader::new(opened.message).bytes()?.unwrap_or_default());
        cx.common.tally.request(RequestKind::Prepare);
        let keyspace = self.keyspace.clone();
        let plan = cx.common.plans.plan(&text, keyspace.as_ref());
        let Some(parametrized) = hidden::parametrize(&plan) else {
            let pending = Pending::Prepare {
                text: plan.text.clone(),
                added: Box::default(),
                keyspace,
            };
            self.expect_answer(envelope.header.stream, pending, cx);
            self.forward(envelope, cx);
            return Ok(Taken::Yes);
        };
        let text = parametrized.text;
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let parts = [opened.prelude, &length, text.as_bytes()];
        put_request(cx.to_source, opened.header, &parts);
        self.count_sent();
        let pending = Pending::Prepare {
            text: text.into(),
            added: parametrized.added,
            keyspace,
        };
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
        let before = opened.message.len() - reader.rest().len();
        let plan = prepared.plan.clone();
        if !plan.added.is_empty()
            && let Some(taken) = self.with_added(&prepared, opened, before, cx)
        {
            return Ok(taken);
        }
        let generator = &mut cx.common.generator;
        if let Some(text) = super::functions::literal(&plan, cx.now_us, generator) {
            // markers cannot stand where the calls do: the same values, with a text
            return Ok(self.with_literals(&text, opened, reader.rest(), cx));
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
                self.expect_answer(stream, Pending::System(table), cx);
                return self.forward_with_metadata(opened, before, cx);
            }
            Treatment::Use => Pending::Use,
            Treatment::Mirror => return self.write(plan, opened, before, envelope, cx, body),
            Treatment::Lwt | Treatment::Schema => {
                let mut write = new_write(plan, cx.now_us, None, body(params.to_vec()));
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

    /// Sends a read on that asks for the columns' names, whatever the client asked for: its answer
    /// is rewritten by name.
    fn forward_with_metadata(&mut self, opened: &Opened<'_>, before: usize, cx: &mut Context<'_>) {
        let mut message = opened.message.to_vec();
        if let Some(flags) = message.get_mut(before + FLAGS_AT) {
            *flags &= !SKIP_METADATA;
        }
        put_request(cx.to_source, opened.header, &[opened.prelude, &message]);
        self.count_sent();
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
        if params.len() <= FLAGS_AT {
            cx.common.tally.opaque += 1;
            return self.forward(envelope, cx);
        }
        let own_stamp = plan.kind == RecordKind::Counter || plan.has_literal_stamp();
        let (stamp_us, stamped) = stamp(params, own_stamp, cx);
        let mut write = new_write(plan, cx.now_us, stamp_us, body(stamped));
        if plan.repeat == Repeat::Bump && plan.is_json() && !params.contains(&b'[') {
            write.repeat = Repeat::Free; // a document without `[` writes no list
            write.kind = RecordKind::Write;
        }
        if !self.journal(&mut write, false, cx) {
            return;
        }
        self.expect_answer(envelope.header.stream, Pending::Write(write), cx);
        self.send_stamped(stamp_us, opened, head, params, envelope, cx);
    }

    /// Sends a write on, with `stamp_us` behind its `params` unless it has a stamp already.
    pub(super) fn send_stamped(
        &mut self,
        stamp_us: Option<i64>,
        opened: &Opened<'_>,
        head: &[u8],
        params: &[u8],
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
    ) {
        match (stamp_us, params.split_at_checked(FLAGS_AT)) {
            (Some(stamp_us), Some((level, [flags, rest @ ..]))) if flags & WITH_TIMESTAMP == 0 => {
                let (flags, stamp) = ([flags | WITH_TIMESTAMP], stamp_us.to_be_bytes());
                let parts = [opened.prelude, head, level, &flags, rest, &stamp];
                put_request(cx.to_source, envelope.header, &parts);
                self.count_sent();
            }
            _ => self.forward(envelope, cx),
        }
    }
}

/// The parameters as the target gets them, and their stamp: the client's, or a new one unless the
/// statement has its own (`own_stamp`).
pub(super) fn stamp(
    params: &[u8],
    own_stamp: bool,
    cx: &mut Context<'_>,
) -> (Option<i64>, Vec<u8>) {
    let flags = params.get(FLAGS_AT).copied().unwrap_or_default();
    if flags & WITH_TIMESTAMP != 0 {
        let stamp_us = params.last_chunk().copied().map(i64::from_be_bytes);
        cx.common.tally.client_stamped += 1;
        if stamp_us.is_some_and(|stamp_us| stamp_us > cx.now_us + FUTURE_US) {
            cx.common.tally.stamped_in_future += 1;
        }
        return (stamp_us, params.to_vec());
    }
    if own_stamp {
        return (None, params.to_vec());
    }
    let stamp_us = cx.common.clock.stamp(cx.now_us);
    cx.common.tally.stamped += 1;
    let mut stamped = Vec::with_capacity(params.len() + 8);
    stamped.extend_from_slice(params);
    stamped[FLAGS_AT] = flags | WITH_TIMESTAMP;
    stamped.extend_from_slice(&stamp_us.to_be_bytes());
    (Some(stamp_us), stamped)
}

pub(super) fn new_write(
    plan: &Rc<Plan>,
    arrived_us: i64,
    stamp_us: Option<i64>,
    body: Body,
) -> Box<Write> {
    Box::new(Write {
        arrived_us,
        stamp_us,
        repeat: plan.repeat,
        kind: plan.kind,
        deletes: plan.deletes,
        aged_s: 0,
        journal: None,
        keyspace: plan.keyspace.clone(),
        table: plan.table.clone(),
        body,
    })
}

/// Appends a request whose body was rewritten; it is not compressed, which any server accepts.
pub(super) fn put_request(out: &mut Vec<u8>, header: Header, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
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
