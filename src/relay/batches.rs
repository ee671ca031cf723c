//! BATCH: several statements at once, texts and prepared ones mixed.

use super::inflight::Pending;
use super::output::RequestKind;
use super::plan::{Repeat, Treatment};
use super::requests::{Opened, as_v4, new_write, stamp, unknown_id};
use super::session::{Context, Session, Taken};
use super::spilled;
use super::write::{Body, Child, ChildStatement};
use crate::cql::envelope::Envelope;
use crate::cql::error::DecodeError;
use crate::cql::request::Batch;
use crate::cql::stamp::Tail;
use crate::cql::{Reader, Version};
use crate::spill::Kind as RecordKind;

impl Session {
    pub(super) fn batch(
        &mut self,
        opened: &Opened<'_>,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
        after_news: bool,
    ) -> Result<Taken, DecodeError> {
        let mut reader = Reader::new(opened.message);
        let kind = reader.byte()?;
        let count = reader.short()?;
        let keyspace = match opened.version() {
            Version::V3 | Version::V4 => self.keyspace.clone(),
            // the keyspace stands at the end, the names that need it before
            version => self.keyspace_of(Batch::parse_as(opened.message, version)?.keyspace),
        };
        let mut children = Vec::with_capacity(usize::from(count).min(1_024));
        let mut values = Vec::new();
        for _ in 0..count {
            let statement = match reader.byte()? {
                0 => {
                    let text = String::from_utf8_lossy(reader.bytes()?.unwrap_or_default());
                    ChildStatement::Text(cx.common.plans.plan(&text, keyspace.as_ref()))
                }
                _ => {
                    let id = reader.short_bytes()?;
                    match cx.common.registry.get(id) {
                        Some(prepared) => ChildStatement::Prepared(prepared.clone()),
                        None => return Ok(unknown_id(id, envelope, cx, after_news)),
                    }
                }
            };
            let start = reader.position();
            for _ in 0..reader.short()? {
                reader.value()?;
            }
            let from = values.len();
            values.extend_from_slice(reader.since(start));
            children.push(Child {
                statement,
                values: from..values.len(),
            });
        }
        let before = reader.position();
        if let Some(made) = self.with_generated(kind, &children, &values, cx) {
            let tail = opened.message.get(before..).unwrap_or_default();
            return Ok(self.substitute_batch(kind, made, opened, tail, cx));
        }
        self.run_batch(kind, children, values, opened, before, envelope, cx);
        Ok(Taken::Yes)
    }

    #[allow(clippy::too_many_arguments)] // the parts of one request
    pub(super) fn run_batch(
        &mut self,
        kind: u8,
        mut children: Vec<Child>,
        values: Vec<u8>,
        opened: &Opened<'_>,
        before: usize,
        envelope: &Envelope<'_>,
        cx: &mut Context<'_>,
    ) {
        let lwt = children
            .iter()
            .any(|child| child.statement.plan().treatment == Treatment::Lwt);
        children.retain(|child| {
            matches!(
                child.statement.plan().treatment,
                Treatment::Mirror | Treatment::Lwt
            )
        });
        let (head, tail) = opened.message.split_at(before);
        let Some(worst) = children
            .iter()
            .map(|child| child.statement.plan())
            .max_by_key(|plan| plan.repeat)
            .cloned()
        else {
            cx.common.tally.request(RequestKind::Other); // empty, or nothing that is mirrored
            return self.forward(envelope, cx);
        };
        let Ok(end) = Tail::find(tail, opened.version()) else {
            return self.forward_opaque(envelope, cx);
        };
        let first = children[0].statement.plan().clone();
        let counters = worst.kind == RecordKind::Counter || kind == 2;
        let deletes = children.iter().any(|child| child.statement.plan().deletes);
        let first = children
            .iter()
            .map(|child| child.statement.plan())
            .find(|plan| plan.kind != RecordKind::Write)
            .cloned()
            .unwrap_or(first);
        let body = |tail: Vec<u8>| Body::Batch {
            kind,
            children,
            values,
            tail,
        };
        if lwt {
            cx.common.tally.request(RequestKind::Lwt);
            let end = as_v4(tail, opened.version());
            let mut write = new_write(&first, cx, None, body(end));
            if !self.journal(&mut write, true, cx) {
                return;
            }
            self.expect_answer(envelope.header.stream, Pending::Lwt(write), cx);
            return self.forward(envelope, cx);
        }
        cx.common.tally.request(RequestKind::Batch);
        let (stamp_us, stamped) = stamp(&end, counters, cx);
        let mut write = new_write(&first, cx, stamp_us, body(stamped));
        if let Some(second) = end.now_in_seconds {
            spilled::count_from_arrival(&mut write, second, &mut cx.common.plans);
        }
        write.repeat = if counters { Repeat::Once } else { worst.repeat };
        write.deletes = deletes;
        write.kind = if counters {
            RecordKind::Counter
        } else {
            worst.kind
        };
        if !self.journal(&mut write, false, cx) {
            return;
        }
        self.expect_answer(envelope.header.stream, Pending::Write(write), cx);
        self.send_stamped(stamp_us, opened, head, &end, envelope, cx);
    }
}
