//! Schema changes and TRUNCATE on their way to the target, behind a barrier over all shards.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::barrier::{Change, ChangeId, Hold};
use super::inbox::Message;
use crate::cql::response::ErrorCode;
use crate::journal::State;
use crate::metrics::{Event as Counted, Gauge};
use crate::relay::link::Ticket;
use crate::relay::mirror::{Entry, Origin};
use crate::relay::spilled;
use crate::relay::verdict::{self, Unknown};
use crate::relay::write::{Body, Write};
use crate::spill::Kind;
use crate::statement::{self, Action, rewrite};
use crate::tables::Known;

/// Pause after a failed try (µs).
const RETRY_US: i64 = 500_000;
/// So often a change is tried whose only answer is an error of the server: for some twenty seconds,
/// with each one's own second tries.
const TRIES: u32 = 10;

impl Shard {
    /// The node that refused it has not heard of the table yet: the target has it.
    pub(super) fn is_behind(&self, write: &Write, code: i32, message: &str) -> bool {
        let target = &self.common.plans.known().target;
        let name = match verdict::unknown(code, message) {
            Some(Unknown::Table(name)) => name,
            Some(Unknown::Keyspace(name)) if *write.keyspace == *name => &write.table,
            Some(Unknown::Keyspace(_)) | None => return false,
        };
        target.get(&write.keyspace, name).is_some()
    }

    /// The source has changed its schema: every shard holds back what comes later, before the
    /// client sees the answer.
    pub(super) fn announce(&mut self, write: Write) {
        let id = self.barriers.name(self.index);
        let mut record = Vec::new();
        let encoded = spilled::record(&write, None, |record_view| {
            crate::spill::record::encode(record_view, &mut record)
        });
        if let Err(error) = encoded {
            tracing::error!("a schema change cannot be handed on: {error}");
            return;
        }
        for shard in 0..self.count {
            if shard == self.index {
                continue;
            }
            self.inbox.tell(
                shard,
                Message::Hold {
                    id,
                    keyspace: (*write.keyspace).into(),
                    arrived_us: write.arrived_us,
                    record: if shard == 0 {
                        record.clone()
                    } else {
                        Vec::new()
                    },
                    journal: write.journal.filter(|_| shard == 0),
                },
            );
        }
        let (keyspace, arrived_us) = (write.keyspace.clone(), write.arrived_us);
        if self.index != 0 {
            self.common.journal.lend(write.journal);
        }
        if self.index == 0 {
            self.queue_change(id, write, true);
        }
        self.hold(id, keyspace, arrived_us);
    }

    pub(super) fn hold(&mut self, id: ChangeId, keyspace: Rc<str>, arrived_us: i64) {
        let hold = Hold {
            id,
            keyspace,
            arrived_us,
            fence: None,
            reached: false,
        };
        self.barriers.add(hold);
    }

    pub(super) fn queue_change(&mut self, id: ChangeId, write: Write, is_wanted: bool) {
        let place = (write.arrived_us, id);
        let change = Change {
            id,
            arrived_us: write.arrived_us,
            write: Some(write),
            waiting: self.count,
            ticket: None,
            not_before_us: 0,
            is_wanted,
        };
        let before = |other: &Change| other.is_under_way() || (other.arrived_us, other.id) < place;
        let at = self.changes.partition_point(before);
        self.changes.insert(at, change);
    }

    pub(super) fn read_inbox(&mut self) {
        while let Some(message) = self.inbox.take() {
            match message {
                Message::News(news) => super::inbox::learn(news, &mut self.common),
                Message::Hold {
                    id,
                    keyspace,
                    arrived_us,
                    record,
                    journal,
                } => {
                    if let Some(write) = self.received(&record, journal) {
                        self.queue_change(id, write, true);
                    }
                    self.hold(id, keyspace.into(), arrived_us);
                }
                Message::Lane {
                    keyspace,
                    table,
                    kind,
                } => {
                    self.lanes.note(keyspace.into(), table.into(), kind);
                }
                Message::Ordered(record, journal) => {
                    if let Some(write) = self.received(&record, journal) {
                        self.place(write);
                    }
                }
                Message::ReadBack {
                    record,
                    journal,
                    is_sure,
                    may_be_there,
                } => {
                    if let Some(write) = self.received(&record, journal) {
                        self.read_back(write, is_sure, may_be_there);
                    }
                }
                Message::Reached { id } => self.reached(id),
                Message::Found { id } => self.want_change(id),
                Message::Release { id } => self.release(id),
                Message::Login(login) => _ = self.learn_login(&login),
                Message::Tables(known) => self.learn_tables(known),
                Message::Nodes(nodes) => self.learn_nodes(&nodes),
                Message::Points(points) => self.target.learn_points(&points),
                Message::Agreed(question) => self.nodes_agree(question),
                Message::MayDrop => self.may_drop(),
                Message::DiskIsLow(low) => self.full.disk_is_low = low,
                Message::Inherited(bytes) => self.inherited_bytes = bytes,
                Message::DirtyWindows(count) => {
                    self.recorder.set(Gauge::DirtyWindows, count as u64);
                }
                Message::Settled { asker } => self.tell_settled(asker),
                Message::SettledUntil { shard, until_us } => self.note_settled(shard, until_us),
                Message::Tls(material) => self.renew_tls(&material),
                Message::TlsUnfit => self.recorder.count(Counted::TlsReloadFailed, 1),
                Message::Stop => self.stop_wanted = true,
            }
        }
    }

    /// The control plane has read the schemas.
    fn learn_tables(&mut self, known: Arc<Known>) {
        let common = &mut self.common;
        common.registry.plan_again(&common.plans, &known);
        self.lanes.know(known.clone());
        self.drain.know(known.clone());
        common.plans.know(known);
        self.plan_looks_again();
    }

    /// Looks whether what came before the oldest change is on the target, and, on shard 0, whether
    /// the oldest change can go.
    pub(super) fn work_on_schema(&mut self) {
        if self.barriers.holds.is_empty() && self.changes.is_empty() {
            return;
        }
        let nothing_spilled = self.drain.is_caught_up()
            && (self.drain.waits_at_gate() || !self.spiller.is_open())
            && self.spiller.unsafe_bytes() == 0;
        if let Some(hold) = self.barriers.holds.front_mut() {
            let fence = *hold.fence.get_or_insert_with(|| self.target.owed.fence());
            let resolved = !self.resolver.owed.owes(&hold.keyspace);
            if !hold.reached
                && resolved
                && nothing_spilled
                && self.lanes.is_empty()
                && self.target.owed.has_passed(fence)
                // what a next process would send again must not come behind the change
                && self.drain.write_down(self.now_us)
            {
                hold.reached = true;
                let id = hold.id;
                if self.index == 0 {
                    self.reached(id);
                } else {
                    self.inbox.tell(0, Message::Reached { id });
                }
            }
        }
        self.drop_unwanted_change();
        self.wait_for_agreement();
        let (up, now_us) = (self.target.is_up(), self.now_us);
        if let Some(change) = self.changes.front_mut()
            && change.waiting == 0
            && up
            && now_us >= change.not_before_us
            && let Some(write) = change.write.take()
        {
            change.ticket = Some(self.target.owed.admit(write, Origin::Live));
        }
    }

    /// All shards have drained what is older than a change that was in the spill, and it was not
    /// there: somebody has sent it meanwhile.
    fn drop_unwanted_change(&mut self) {
        let is_dropped = |change: &mut Change| change.waiting == 0 && !change.is_wanted;
        if let Some(change) = self.changes.pop_front_if(is_dropped) {
            let place = change.write.and_then(|write| write.journal);
            self.common.journal.mark(place, State::Done);
            self.release_everywhere(change.id);
        }
    }

    /// The drain has found a change in the spill, whose record there is done with.
    pub(super) fn found_change(&mut self, id: ChangeId) {
        let place = self.barriers.earlier.iter().find(|change| change.id == id);
        let place = place.map(|change| change.place);
        self.common.journal.mark(place, State::Applied); // from here on the journal has it
        if self.index == 0 {
            self.want_change(id);
        } else {
            self.inbox.tell(0, Message::Found { id });
        }
    }

    fn want_change(&mut self, id: ChangeId) {
        if let Some(change) = self.changes.iter_mut().find(|change| change.id == id) {
            change.is_wanted = true;
        }
    }

    fn reached(&mut self, id: ChangeId) {
        if let Some(change) = self.changes.iter_mut().find(|change| change.id == id) {
            change.waiting = change.waiting.saturating_sub(1);
        }
    }

    pub(super) fn release_everywhere(&mut self, id: ChangeId) {
        for shard in 1..self.count {
            self.inbox.tell(shard, Message::Release { id });
        }
        self.release(id);
    }

    /// The target could not be asked: again, once it can.
    pub(super) fn change_failed(&mut self, entry: Entry, _ticket: Ticket) {
        let not_before_us = self.now_us + RETRY_US;
        if let Some(change) = self.changes.front_mut() {
            change.write = Some(*entry.write);
            change.ticket = None;
            change.not_before_us = not_before_us;
        }
    }

    /// The target has an error of its own for a change. True: it was asked often enough. What the
    /// source could not do either, such as a function in a language that its Java lacks, fails for
    /// ever, and everything waits for it.
    pub(super) fn change_tires(&mut self) -> bool {
        self.barriers.failures += 1;
        self.barriers.failures >= TRIES
    }

    /// A schema change that an earlier try, or somebody else, has made.
    pub(super) fn is_done_already(&self, entry: &Entry, code: i32, message: &str) -> bool {
        let dropped = |text: &str| {
            matches!(
                statement::classify(text).kind,
                statement::Kind::Ddl(Action::Drop, _)
            )
        };
        match (&entry.write.body, entry.write.kind) {
            (_, Kind::Ddl) if code == ErrorCode::AlreadyExists.number() => true,
            // its first answer was lost, or came too late
            (Body::Query { text, .. }, Kind::Ddl) if dropped(text) => {
                ["doesn't exist", "does not exist", "unconfigured table"]
                    .iter()
                    .any(|words| message.contains(words))
            }
            _ => false,
        }
    }

    /// A target that does not know `ALTER TABLE … DROP … USING TIMESTAMP` gets it without. False if
    /// that is not what it refused.
    pub(super) fn take_date_out(write: &mut Write, code: i32) -> bool {
        let Body::Query { text, .. } = &mut write.body else {
            return false;
        };
        if write.kind != Kind::Ddl || code != ErrorCode::Syntax.number() {
            return false;
        }
        let plain = rewrite::undate_drop(text);
        plain.map(|plain| *text = plain.into()).is_some()
    }

    fn release(&mut self, id: ChangeId) {
        for write in self.barriers.release(id) {
            self.place(write);
        }
    }

    /// Puts everything that waits into the spill, for the stop.
    pub(super) fn spill_held(&mut self) {
        self.barriers.holds.clear();
        self.barriers.held_bytes = 0;
        let changes = std::mem::take(&mut self.changes).into_iter();
        // one that is not wanted yet is in the spill, or done
        let changes = changes.filter(|change| change.is_wanted);
        let mut waiting: Vec<Write> = changes.filter_map(|change| change.write).collect();
        waiting.extend(std::mem::take(&mut self.barriers.held));
        waiting.sort_by_key(|write| write.arrived_us); // what is held may be from before a change
        for write in waiting {
            self.spill(&write);
        }
    }
}
