//! What becomes of a write once the source has spoken.

use super::age::DrainRules;
use super::drain::{Found, Means};
use super::inbox::Message;
use super::net::Net;
use super::remote::RemoteEvent;
use super::{Shard, lanes};
use crate::cql::response::ErrorCode;
use crate::journal::{Place, State};
use crate::limits;
use crate::metrics::Event as Counted;
use crate::relay::link::{LinkEvent, Ticket};
use crate::relay::mirror::{Entry, Mirror, Origin, Outcome};
use crate::relay::plan::Repeat;
use crate::relay::write::Write;
use crate::relay::{Output, partition, spilled};
use crate::side::Side;
use crate::spill::Kind;
use crate::spill::record::{self, TooLarge};

/// A target that is down for longer than this gets its writes through the spill (µs).
const GRACE_US: i64 = 1_000_000;
/// What goes from the spill into a journal in memory leaves the spill after this (µs): by then the
/// `running` file, renewed each second, says how far back the window reaches if the machine dies.
const PARTING_US: i64 = 2_200_000;
/// An open segment is completed for the drain no more often than this (µs).
const SEAL_US: i64 = 100_000;

/// Whether so much waits for the target that nothing more of clients may.
fn is_full(owed: &Mirror) -> bool {
    owed.bytes() > limits::PENDING_MIRROR_PER_SHARD_BYTES
        || owed.live_len() >= limits::PENDING_WRITES_PER_SHARD
}

impl Shard {
    /// Does what the sessions decided.
    pub(super) fn do_outputs(&mut self) {
        if self.outputs.is_empty() {
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        self.read_inbox(); // another shard may have changed the schema meanwhile
        for output in outputs.drain(..) {
            match output {
                Output::Mirror(write) => self.place(write),
                Output::Resolve(write) => self.resolve(*write),
                Output::Schema(write) => self.announce(*write),
                Output::Conditional { write, is_sure } => {
                    self.read_back(*write, is_sure, false);
                }
                Output::Publish(news) => self.inbox.publish(&news),
            }
        }
        if self.outputs.is_empty() {
            self.outputs = outputs; // keeps its memory
        }
    }

    /// The source has it: the target gets it, now or from the spill.
    pub(super) fn mirror(&mut self, write: impl Into<Box<Write>>) {
        self.read_inbox(); // another shard may have changed the schema meanwhile
        self.place(write);
    }

    /// As [`Self::mirror`], for a write that comes out of the inbox or was held: what is still in
    /// the inbox came later, and must not overtake it.
    pub(super) fn place(&mut self, write: impl Into<Box<Write>>) {
        let write = write.into();
        if self.lanes.is_ordered(&write) {
            if self.lanes.is_news(&write) {
                self.tell_all_of_lane(&write);
            }
            return self.order(*write);
        }
        if self.barriers.holds(&write.keyspace, write.arrived_us) {
            return self.lay_aside(*write);
        }
        let full = is_full(&self.target.owed);
        // a node that is to be tried again is tried with what comes
        let down = self.target.down_us(self.now_us) > GRACE_US;
        if full || (down && self.target.room(self.now_us) == 0) {
            return self.spill(&write);
        }
        self.target.owed.admit(write, Origin::Live);
    }

    /// Every shard must know that the table's deletes keep their place, before the client goes on.
    fn tell_all_of_lane(&mut self, write: &Write) {
        let (keyspace, table, kind) = (&write.keyspace, &write.table, write.kind);
        self.lanes.note(keyspace.clone(), table.clone(), kind);
        self.inbox.tell_others(|| Message::Lane {
            keyspace: (**keyspace).into(),
            table: (**table).into(),
            kind,
        });
    }

    /// A write that must keep its place goes to the shard that owns its table.
    fn order(&mut self, write: Write) {
        let owner = lanes::owner(&write.keyspace, &write.table, self.table_owners);
        if owner == self.index {
            return self.order_here(write);
        }
        if self.stop_at_us.is_some() {
            return self.spill(&write); // the owner may have ended; the next start keeps the order
        }
        match self.give(&write, owner, Message::Ordered) {
            Ok(true) => {}
            Ok(false) => self.spill(&write), // the next start keeps the order
            Err(TooLarge) => self.reject(&write, 0, "it does not fit into a record", false),
        }
    }

    /// Gives a write to another shard, and its record in the journal with it. False if that shard
    /// has ended.
    pub(super) fn give(
        &mut self,
        write: &Write,
        shard: usize,
        message: impl FnOnce(Vec<u8>, Option<Place>) -> Message,
    ) -> Result<bool, TooLarge> {
        let mut encoded = Vec::new();
        spilled::record(write, None, |view| record::encode(view, &mut encoded))?;
        let given = self.inbox.try_tell(shard, message(encoded, write.journal));
        if given.is_ok() {
            self.common.journal.lend(write.journal);
        }
        Ok(given.is_ok())
    }

    /// A write that another shard has given, if there is one.
    pub(super) fn received(&mut self, encoded: &[u8], journal: Option<Place>) -> Option<Write> {
        let view = record::decode(encoded).ok()?;
        let mut write = spilled::write(&view, &mut self.common.plans, 0);
        write.journal = journal;
        Some(write)
    }

    fn order_here(&mut self, mut write: Write) {
        // not before: several shards that let go what a schema change has held do so in any order
        if self.barriers.holds(&write.keyspace, write.arrived_us) {
            return self.lay_aside(write);
        }
        self.lanes.prepare(&mut write);
        if let (Kind::List, Some(stamp_us)) = (write.kind, write.stamp_us) {
            let stamps = &mut self.readback.stamps;
            stamps.note(&write.keyspace, &write.table, stamp_us);
        }
        let partition = partition::of(&write, &mut self.common.plans);
        self.lanes.push(write, partition, ());
        // behind what is in the spill, if anything is
        let behind = !self.drain.is_empty()
            || self.spiller.is_open()
            || self.spiller.unsafe_bytes() > 0
            || self.target.down_us(self.now_us) > GRACE_US
            || self.lanes.bytes() > limits::PENDING_MIRROR_PER_SHARD_BYTES / 4;
        if behind {
            self.spill_lanes();
        }
    }

    /// What waits in the lanes goes into the spill, and before it what the mirror cannot send.
    pub(super) fn spill_lanes(&mut self) {
        if self.target.down_us(self.now_us) > GRACE_US {
            self.put_back_unsent();
        }
        for write in self.lanes.take_waiting() {
            self.lay_aside(write);
        }
    }

    pub(super) fn put_back_unsent(&mut self) {
        for (ticket, entry) in self.target.owed.take_unsent() {
            self.put_back(entry, ticket);
        }
    }

    /// Sends what is next in the lanes.
    pub(super) fn work_on_lanes(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        if self.target.down_us(self.now_us) > GRACE_US {
            self.spill_lanes();
        }
        // what finds no room waits in the lanes; one always goes, as other writes may fill the room
        // again and again
        let target = &mut self.target;
        while self.lanes.under_way() == 0 || !is_full(&target.owed) {
            let sent = self.lanes.send_next(|write, ()| {
                target.hurry = true;
                target.owed.admit(write, Origin::Live)
            });
            if !sent {
                break;
            }
        }
    }

    pub(super) fn spill(&mut self, write: &Write) {
        if self.full.drops() {
            return self.drop_write(write);
        }
        self.spill_for_sure(write);
    }

    /// As [`Self::spill`], whether there is room or not.
    fn spill_for_sure(&mut self, write: &Write) {
        if write.repeat != Repeat::Free {
            // should the process die before the journal knows that the spill has it, it must not be
            // sent from both as it is
            self.common.journal.mark(write.journal, State::Sent);
        }
        if write.kind.is_barrier() {
            self.barriers.spilled.extend(write.journal);
        }
        match self.spiller.append(write, None, self.now_us) {
            Ok(()) => {
                self.backlog_records += 1;
                self.drain.note_arrival(write.arrived_us);
                self.recorder.count(Counted::Spilled, 1);
            }
            Err(error) => {
                tracing::error!(keyspace = %write.keyspace, table = %write.table, "lost: {error}");
                self.recorder.count(Counted::InDoubt, 1);
            }
        }
    }

    /// A write is sent to the source again, with its own stamp, until it answers.
    pub(super) fn ask(&mut self, write: Write) {
        self.recorder.count(Counted::Resent, 1);
        self.resolver.owed.admit(write, Origin::Live);
    }

    /// Deals with what the target's links reported. `node`: where the answers came from.
    pub(super) fn settle_target(&mut self, node: usize) {
        if self.remote_events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.remote_events);
        for event in events.drain(..) {
            match event {
                RemoteEvent::Answer(answer) => self.target_answered(answer, node),
                RemoteEvent::Up => self.recorder.opened(Side::Target),
                RemoteEvent::Secured => self.recorder.tls_ready(Side::Target),
                RemoteEvent::Insecure(why) => self.recorder.tls_failed(Side::Target, why),
                RemoteEvent::Down {
                    sent,
                    unsent,
                    was_ready,
                } => {
                    if was_ready {
                        self.recorder.closed(Side::Target);
                    } else {
                        self.recorder.connect_failed(Side::Target);
                    }
                    for (tickets, left) in [(sent, true), (unsent, false)] {
                        for ticket in tickets {
                            let outcome = self.target.owed.lost(ticket, left);
                            self.after_failure(ticket, outcome, 0, "the connection was lost");
                        }
                    }
                }
                RemoteEvent::Impossible(ticket) => {
                    if let Some(entry) = self.target.owed.applied(ticket) {
                        self.reject(&entry.write, 0, "it cannot be said in the protocol", false);
                        self.finish(&entry, ticket);
                    }
                }
            }
        }
        self.remote_events = events;
    }

    fn target_answered(&mut self, answer: LinkEvent, node: usize) {
        match answer {
            LinkEvent::Applied(ticket) | LinkEvent::Rows(ticket, _) => {
                if let Some(entry) = self.target.owed.applied(ticket) {
                    let counted = match entry.origin {
                        Origin::Live => Counted::Mirrored,
                        Origin::Spill(_) => Counted::Replayed,
                    };
                    self.recorder.count(counted, 1);
                    self.common.journal.mark(entry.write.journal, State::Done);
                    self.finish(&entry, ticket);
                    self.common.spare.recycle(entry.write);
                }
            }
            LinkEvent::Failed {
                ticket,
                code,
                message,
            } => {
                if code == ErrorCode::Unprepared.number() {
                    self.recorder.count(Counted::Reprepared, 1);
                    self.target.forget_prepared(node, ticket);
                }
                let outcome = self.target.owed.failed(ticket, code, &message, self.now_us);
                if let (Some(Outcome::Again), Some(entry)) =
                    (&outcome, self.target.owed.get(ticket))
                    && entry.write.repeat == Repeat::Once
                {
                    // tried again, so it is certain that the target does not have it
                    self.common
                        .journal
                        .mark(entry.write.journal, State::Applied);
                }
                self.after_failure(ticket, outcome, code, &message);
            }
            LinkEvent::Unparked(ticket) => self.target.owed.unpark(ticket),
            LinkEvent::Ready | LinkEvent::Broken(_) | LinkEvent::Alive => {}
        }
    }

    fn after_failure(
        &mut self,
        ticket: Ticket,
        outcome: Option<Outcome>,
        code: i32,
        message: &str,
    ) {
        let outcome = match outcome {
            Some(Outcome::Rejected(entry)) if self.is_behind(&entry.write, code, message) => {
                Some(Outcome::Spill(entry))
            }
            Some(Outcome::Rejected(mut entry)) => {
                match Self::take_date_out(&mut entry.write, code) {
                    true => Some(Outcome::Spill(entry)),
                    false => Some(Outcome::Rejected(entry)),
                }
            }
            Some(Outcome::Spill(entry))
                if entry.write.kind.is_barrier()
                    && code == ErrorCode::Server.number()
                    && self.change_tires() =>
            {
                Some(Outcome::InDoubt(entry))
            }
            other => other,
        };
        match outcome {
            Some(Outcome::Again) => self.recorder.count(Counted::Retried, 1),
            Some(Outcome::Spill(entry)) => {
                let in_lane = entry.origin == Origin::Live && self.lanes.is_ordered(&entry.write);
                self.put_back(entry, ticket);
                if in_lane {
                    self.spill_lanes(); // what waited for it stays behind it
                }
            }
            Some(Outcome::Rejected(entry)) if self.is_done_already(&entry, code, message) => {
                self.common.journal.mark(entry.write.journal, State::Done);
                self.finish(&entry, ticket);
            }
            // what the source could do with its list, the target cannot: one of them is behind,
            // with what is read back of a conditional write for instance
            Some(Outcome::Rejected(entry))
                if entry.write.kind == Kind::List
                    && entry.write.repeat == Repeat::Once
                    && code == ErrorCode::Invalid.number() =>
            {
                self.look_instead(entry, ticket);
            }
            Some(Outcome::Rejected(entry)) => {
                self.reject(&entry.write, code, message, false);
                self.finish(&entry, ticket);
            }
            Some(Outcome::InDoubt(entry)) if entry.write.kind == Kind::List => {
                self.look_instead(entry, ticket);
            }
            Some(Outcome::InDoubt(entry)) => {
                self.reject(&entry.write, code, message, true);
                self.finish(&entry, ticket);
            }
            None => {}
        }
    }

    /// The target may have a list write, or cannot take it: it gets the list as the source has it.
    fn look_instead(&mut self, entry: Entry, ticket: Ticket) {
        match entry.origin {
            Origin::Spill(key) => self.look_at_spilled(*entry.write, key),
            Origin::Live => {
                self.finish(&entry, ticket);
                self.read_back(*entry.write, true, true);
            }
        }
    }

    /// A list write of the spill is read back. It stays there until the journal has it.
    fn look_at_spilled(&mut self, mut write: Write, key: u64) {
        let kept = self.keep(&mut write, State::Sent);
        let commit = self.common.journal.record_commit(write.journal);
        match kept {
            Ok(()) => self.read_back(write, true, true),
            Err(_) => self.reject(&write, 0, "the journal has no room to read it back", true),
        }
        match commit {
            Some(commit) => self.commit.take_from_spill(commit, key),
            None => self.parting.push_back((self.now_us + PARTING_US, key)),
        }
    }

    /// A write is dealt with for good.
    fn finish(&mut self, entry: &Entry, ticket: Ticket) {
        if entry.origin == Origin::Live {
            self.lanes.left(ticket);
        }
        if entry.write.kind.is_barrier() {
            self.barriers.failures = 0;
        }
        match entry.origin {
            Origin::Spill(key) => self.leave_spill(key),
            Origin::Live if entry.write.kind.is_barrier() => self.change_done(ticket),
            Origin::Live => {}
        }
    }

    /// The target cannot take a write now.
    pub(super) fn put_back(&mut self, entry: Entry, ticket: Ticket) {
        let overtaken = entry.origin == Origin::Live && self.lanes.left(ticket) == Some(true);
        match entry.origin {
            Origin::Spill(key) => self.drain.postpone(key, entry.write, self.now_us),
            Origin::Live if entry.write.kind.is_barrier() => self.change_failed(entry, ticket),
            // in the spill it would come behind its successors
            Origin::Live if overtaken && entry.write.kind == Kind::List => {
                self.read_back(*entry.write, true, true);
            }
            Origin::Live => self.lay_aside(*entry.write),
        }
    }

    /// Into the spill; or if it waits for a schema change into memory, where there is room: in the
    /// spill it would keep what must come before the change behind it.
    fn lay_aside(&mut self, write: Write) {
        let is_held = self.barriers.holds(&write.keyspace, write.arrived_us);
        if is_held && self.barriers.held_bytes < limits::PENDING_MIRROR_PER_SHARD_BYTES / 4 {
            self.barriers.keep(write);
        } else {
            self.spill(&write);
        }
    }

    /// Deals with what the links to the source reported.
    pub(super) fn settle_resolver(&mut self, node: usize) {
        let mut events = std::mem::take(&mut self.remote_events);
        for event in events.drain(..) {
            match event {
                RemoteEvent::Answer(LinkEvent::Applied(ticket)) => {
                    if let Some(entry) = self.resolver.owed.applied(ticket) {
                        let place = entry.write.journal;
                        self.common.journal.mark(place, State::Applied);
                        self.mirror(entry.write);
                    }
                }
                RemoteEvent::Answer(LinkEvent::Failed {
                    ticket,
                    code,
                    message,
                }) => {
                    if code == ErrorCode::Unprepared.number() {
                        self.resolver.forget_prepared(node, ticket);
                    }
                    match self
                        .resolver
                        .owed
                        .failed(ticket, code, &message, self.now_us)
                    {
                        Some(Outcome::Rejected(_)) if self.readback.is_look(ticket) => {
                            self.look_refused(ticket, &message);
                        }
                        // the source has said no: it is nowhere
                        Some(Outcome::Rejected(entry)) => {
                            self.common.journal.mark(entry.write.journal, State::Done);
                        }
                        Some(Outcome::Again) | None => {}
                        Some(Outcome::Spill(entry)) => {
                            self.resolver_tires(entry, ticket, code, &message);
                        }
                        Some(Outcome::InDoubt(entry)) => {
                            self.reject(&entry.write, code, &message, true);
                        }
                    }
                }
                RemoteEvent::Answer(LinkEvent::Rows(ticket, message)) => {
                    if let Some(entry) = self.resolver.owed.applied(ticket) {
                        self.rows_of(ticket, &entry, &message);
                    }
                }
                RemoteEvent::Answer(LinkEvent::Unparked(ticket)) => {
                    self.resolver.owed.unpark(ticket);
                }
                RemoteEvent::Answer(_) | RemoteEvent::Up => {}
                RemoteEvent::Secured => self.recorder.tls_ready(Side::Source),
                RemoteEvent::Insecure(why) => self.recorder.tls_failed(Side::Source, why),
                RemoteEvent::Down { sent, unsent, .. } => {
                    for ticket in sent.into_iter().chain(unsent) {
                        self.resolver.owed.lost(ticket, false);
                    }
                }
                RemoteEvent::Impossible(ticket) => {
                    let words = "it cannot be said in the protocol";
                    if let Some(entry) = self.resolver.owed.applied(ticket) {
                        if self.readback.is_look(ticket) {
                            self.look_refused(ticket, words);
                        } else {
                            self.reject(&entry.write, 0, words, true);
                        }
                    }
                }
            }
        }
        self.remote_events = events;
    }

    /// The source has been asked very often. Unless the write fails there, it is asked on.
    fn resolver_tires(&mut self, entry: Entry, ticket: Ticket, code: i32, message: &str) {
        if let ErrorCode::WriteFailure | ErrorCode::Server = ErrorCode::from_number(code) {
            // nothing else is to be expected, and changes of the schema wait for it
            let words = format!("it fails at the source each time: {message}");
            return match self.readback.is_look(ticket) {
                true => self.look_refused(ticket, &words),
                false => self.reject(&entry.write, code, &words, true),
            };
        }
        let again = self.resolver.owed.admit(entry.write, Origin::Live);
        self.readback.renamed(ticket, again);
    }

    /// The source has answered with rows: a look, or else a condition that was not seen in a write.
    fn rows_of(&mut self, ticket: Ticket, entry: &Entry, message: &[u8]) {
        if self.readback.is_look(ticket) {
            return self.looked(ticket, message);
        }
        let words = "the source answered a second try with rows";
        self.reject(&entry.write, 0, words, true);
    }

    pub(super) fn lose(&mut self, side: Side, node: usize, why: &str, ring: &mut impl Net) {
        let remote = match side {
            Side::Target => &mut self.target,
            Side::Source | Side::Client => &mut self.resolver,
        };
        let event = remote.lose(node, why, ring, self.now_us);
        self.remote_events.push(event);
        match side {
            Side::Target => self.settle_target(node),
            Side::Source | Side::Client => self.settle_resolver(node),
        }
    }

    /// Moves records to the disk and back. True if tasks were spawned.
    pub(super) fn work_on_spill(&mut self) -> bool {
        if self.target.down_us(self.now_us) > GRACE_US {
            self.put_back_unsent();
        }
        if self.spill_rests() {
            return false;
        }
        if let Some(grown) = self.spiller.poll(self.now_us)
            && grown.complete
        {
            self.drain.add_segment(grown.segment, grown.bytes);
        }
        self.rejects.poll(self.now_us);
        self.drain.poll(self.now_us, &*self.disk);
        while let Some((_, key)) = self
            .parting
            .pop_front_if(|(at_us, _)| *at_us <= self.now_us)
        {
            self.leave_spill(key);
        }
        let mut spawned = self.work_on_drain();
        spawned |= self.spiller.kick(self.now_us, &*self.disk);
        spawned |= self.rejects.kick(self.now_us, &*self.disk);
        let carried = self.spiller.safe_records() >= self.carried_records;
        if self.rejects.unsafe_bytes() == 0 && carried {
            spawned |= self.drain.store(self.now_us, &*self.disk);
        }
        if self.drain.is_empty() && !self.spiller.is_open() && self.spiller.unsafe_bytes() == 0 {
            self.backlog_records = 0;
            self.drain.clear_arrival();
        }
        spawned
    }

    /// Whether nothing is spilled and all of that is done: it is so in nearly every turn, and what
    /// the rest looks at would have to come into the cache first (`benches/README.md`).
    fn spill_rests(&self) -> bool {
        self.backlog_records == 0
            && self.parting.is_empty()
            && !self.spiller.is_open()
            && self.spiller.rests()
            && self.rejects.rests()
            && self.drain.rests()
    }

    /// Lets the drain feed the mirror. True if tasks were spawned.
    fn work_on_drain(&mut self) -> bool {
        let mut spawned = self.drain.count(self.now_us, &*self.disk);
        let room = self.target.room(self.now_us);
        let up = self.target.is_up();
        if up || room > 0 {
            let known = self.common.plans.known().clone();
            let rules = DrainRules {
                barriers: &self.barriers,
                changes: &self.changes,
                target: &known.target,
                spill: &self.config.spill,
                now_us: self.now_us,
            };
            let mut means = Means {
                owed: &mut self.target.owed,
                plans: &mut self.common.plans,
                disk: &*self.disk,
                now_us: self.now_us,
                limit: if up { usize::MAX } else { room },
                is_tried: !up,
                found: Vec::new(),
            };
            spawned |= self.drain.fill(&mut means, &rules);
            let found = means.found;
            self.see_to(found);
            let due = self.now_us - self.sealed_us >= SEAL_US;
            if self.drain.is_read() && self.spiller.is_open() && due {
                self.sealed_us = self.now_us;
                self.spiller.seal();
            }
        }
        let recount = self.drain.take_recount();
        self.backlog_records = self.backlog_records.saturating_add_signed(recount);
        spawned
    }

    fn see_to(&mut self, found: Vec<Found>) {
        for found in found {
            let key = match found {
                Found::InDoubt(write, key)
                    if write.kind == Kind::List || write.repeat == Repeat::Bump =>
                {
                    self.look_at_spilled(write, key);
                    continue;
                }
                Found::InDoubt(write, key) => {
                    let words = "it was being sent when the proxy died";
                    self.reject(&write, 0, words, true);
                    key
                }
                Found::TooOld(write, key) => {
                    let words = "a delete older than gc_grace_seconds: the target may have \
                                 forgotten deletes of that age, and older data could come back; \
                                 --force-old-deletes sends it";
                    self.recorder.count(Counted::OldDelete, 1);
                    self.reject(&write, 0, words, false);
                    key
                }
                Found::Carry(write, key) => {
                    self.spill_for_sure(&write);
                    self.carried_records = self.spiller.appended_records();
                    key
                }
                Found::Change(id, key) => {
                    self.found_change(id);
                    key
                }
                Found::Damage(words) => {
                    tracing::error!("the spill is damaged: {words}");
                    continue;
                }
            };
            self.leave_spill(key);
        }
    }

    /// A record of the spill is not needed there any more.
    pub(super) fn leave_spill(&mut self, key: u64) {
        self.backlog_records = self.backlog_records.saturating_sub(1);
        self.drain.finish(key);
    }
}
