//! Conditional writes, and those to lists whose fate is not known, are read back from the source,
//! and what it shows goes to the target.
//!
//! A first look is taken at once (and of a busy row four times a second): it settles what has
//! stamps. What is left waits for a second look behind a fence; see [`crate::relay::readback`].
//! The fence is passed when no shard has a write without a verdict that arrived before it; the
//! shards ask each other. Looks at a table with lists are taken by its owner alone (see
//! [`super::lanes`]).

use std::cmp::Reverse;
use std::rc::Rc;

mod state;

pub use self::state::ReadBack;
use self::state::{Kept, Key, Reading, Unplanned, Wanted};
use super::inbox::{Ask, Message};
use super::{Shard, lanes};
use crate::journal::{Full, State};
use crate::limits;
use crate::metrics::Event as Counted;
use crate::relay::link::Ticket;
use crate::relay::mirror::Origin;
use crate::relay::readback::{self, Look, Moment, Unclear};
use crate::relay::spilled;
use crate::relay::write::{Body, Write};
use crate::tables::{Known, Shape, Table};

/// A first look waits this long for others at the same row (µs).
const GATHER_US: i64 = 5_000;
/// Pause between first looks at one row (µs): each is a Paxos round of its own there.
const PAUSE_US: i64 = 250_000;
/// The fence is this far behind the source's answer (µs): more than clocks differ.
const FENCE_US: i64 = 500_000;
/// The second look is taken this long after its fence (µs): what clients have stamped before the
/// fence has arrived.
const SETTLE_US: i64 = 500_000;
/// A request without an answer may still be carried out for this long (µs).
const LATE_US: i64 = 5_000_000;
/// A busy row's second look is put off for no longer than this (µs).
const LONGEST_US: i64 = 5_000_000;
/// A table that is not known by then is not one of the source (µs).
const UNKNOWN_US: i64 = 30_000_000;
/// Looks that the source refused are taken again, with fresh knowledge of the tables.
const TRIES: u8 = 5;
const AGAIN_US: i64 = 1_000_000;
/// Why a write is in doubt.
const ROWS_UNKNOWN: &str = "it does not tell which rows it changed";
const TOO_MUCH: &str = "too much waits to be read back";
const MASKED: &str = "columns of its table are masked, so what a client's login reads there may \
                      not be what they hold; name a --source-username that may UNMASK";

impl Shard {
    /// A write that only the source's rows tell of was applied there, or without `is_sure` may have
    /// been: what it changed is read and written to the target. `may_be_there`: it may have it, or
    /// what was made of it.
    pub(super) fn read_back(&mut self, write: Write, is_sure: bool, may_be_there: bool) {
        let unplanned = Unplanned {
            write: Rc::new(Kept::new(write, &self.readback.bytes)),
            is_sure,
            may_be_there,
            answered_us: self.now_us,
        };
        self.plan_look(unplanned);
    }

    /// What a look was for is seen. The writes are done when what was made of them is, and no other
    /// look needs them: until then they wait for the target.
    fn close_look(&mut self, mut wanted: Wanted) {
        let journal = &mut self.common.journal;
        wanted.made.retain(|place| !journal.is_done(*place));
        if !wanted.made.is_empty() {
            return self.readback.closing.push(wanted);
        }
        for write in wanted.writes.into_iter().filter_map(Rc::into_inner) {
            journal.mark(write.journal, State::Done);
        }
    }

    /// Ten times a second: what is done now?
    pub(super) fn close_looks(&mut self) {
        for wanted in std::mem::take(&mut self.readback.closing) {
            self.close_look(wanted);
        }
    }

    /// Puts a write that came from no client into the journal.
    pub(super) fn keep(&mut self, write: &mut Write, state: State) -> Result<(), Full> {
        let journal = &mut self.common.journal;
        spilled::journal_awaited(write, journal)?;
        journal.mark(write.journal, state);
        Ok(())
    }

    /// Whether a look is for the table's owner: the shard, if it is another. Once this one stops,
    /// the owner may have ended.
    fn owner_of(&self, looks: &[Look]) -> Option<usize> {
        let known = self.common.plans.known();
        let has_lists = |look: &&Look| {
            Self::table_of(known, look).is_some_and(|table| table.has_shape(Shape::List))
        };
        let look = looks.iter().find(has_lists)?;
        let owner = lanes::owner(&look.keyspace, &look.table, self.table_owners);
        (owner != self.index && self.stop_at_us.is_none()).then_some(owner)
    }

    /// Gives a write to the shard that takes the looks. False if it cannot be given.
    fn give_look(&mut self, unplanned: &Unplanned, owner: usize) -> bool {
        let Unplanned {
            is_sure,
            may_be_there,
            ..
        } = *unplanned;
        let message = |record, journal| Message::ReadBack {
            record,
            journal,
            is_sure,
            may_be_there,
        };
        self.give(&unplanned.write, owner, message) == Ok(true)
    }

    fn plan_look(&mut self, mut unplanned: Unplanned) {
        let Unplanned {
            write,
            may_be_there,
            answered_us,
            ..
        } = &unplanned;
        let mut looks = readback::looks(write, &mut self.common.plans, *answered_us, *may_be_there);
        if let Ok(looks) = &mut looks
            && let Some(owner) = self.owner_of(looks)
        {
            if self.give_look(&unplanned, owner) {
                return;
            }
            // what the owner sends is not known here
            unplanned.may_be_there = true;
            for look in looks {
                look.may_be_there = true;
            }
        }
        let Unplanned {
            write,
            is_sure,
            answered_us,
            ..
        } = &unplanned;
        for look in looks.iter().flatten() {
            write.count(look.memory_bytes());
        }
        let full = self.readback.is_full();
        let masked = looks.as_ref().is_ok_and(|looks| self.are_masked(looks));
        match looks {
            // applied, and nothing is changed by it
            Ok(looks) if looks.is_empty() => {
                self.common.journal.mark(write.journal, State::Done);
            }
            Ok(looks) if !full && !masked => {
                for look in looks {
                    let key: Key = look.key().into();
                    let wanted = Wanted {
                        look,
                        writes: vec![write.clone()],
                        tries: 0,
                        made: Vec::new(),
                    };
                    if *is_sure {
                        self.readback.add_first(key, wanted, self.now_us);
                    } else {
                        let fence_us = answered_us + LATE_US;
                        self.readback.add_second(key, wanted, fence_us);
                    }
                }
            }
            Err(Unclear::Table) if !full && self.now_us - answered_us < UNKNOWN_US => {
                let _ = self.asks.try_send(Ask::Tables); // full: it is asked already
                self.readback.unplanned.push_back(unplanned);
            }
            Ok(_) if masked => self.give_up(write, MASKED),
            Ok(_) => self.give_up(write, TOO_MUCH),
            Err(Unclear::Table) if full => self.give_up(write, TOO_MUCH),
            Err(Unclear::Table) => self.give_up(write, "its table is not known"),
            Err(Unclear::Rows) => self.give_up(write, ROWS_UNKNOWN),
        }
    }

    fn give_up(&mut self, write: &Write, why: &str) {
        let words = format!("only the source's rows tell what became of it, and {why}");
        self.reject(write, 0, &words, true);
    }

    fn give_up_all(&mut self, writes: &[Rc<Kept>], why: &str) {
        for write in writes {
            self.give_up(write, why);
        }
    }

    /// No snapshot has told for long of a table: it is not one of the source.
    pub(super) fn expire_looks(&mut self) {
        let late = |one: &Unplanned, now_us: i64| now_us - one.answered_us >= UNKNOWN_US;
        while self
            .readback
            .unplanned
            .front()
            .is_some_and(|one| late(one, self.now_us))
            && let Some(unplanned) = self.readback.unplanned.pop_front()
        {
            self.plan_look(unplanned);
        }
    }

    /// Whether what is read may be masks instead of values.
    fn are_masked(&self, looks: &[Look]) -> bool {
        let source = &self.common.plans.known().source;
        let is_masked = |look: &Look| {
            let table = source.get(&look.keyspace, &look.table);
            table.is_some_and(|table| table.is_masked)
        };
        self.resolver.logs_in_as_client() && looks.iter().any(is_masked)
    }

    /// Looks whose tables were not known are planned again.
    pub(super) fn plan_looks_again(&mut self) {
        for unplanned in std::mem::take(&mut self.readback.unplanned) {
            self.plan_look(unplanned);
        }
    }

    /// Takes the looks that are due.
    pub(super) fn work_on_readback(&mut self) {
        while let Some(Reverse((due_us, is_second, key))) = self.readback.due.peek().cloned() {
            if due_us > self.now_us {
                return;
            }
            self.readback.due.pop();
            if is_second {
                self.second_look(key);
            } else {
                self.first_look(key);
            }
        }
    }

    fn first_look(&mut self, key: Key) {
        let Some(first) = self.readback.first.get_mut(&key) else {
            return;
        };
        let wanted = first.next.take();
        first.free_us = self.now_us + PAUSE_US;
        match wanted {
            Some(wanted) => {
                first.reading = true;
                self.take_look(key, wanted, None);
            }
            None => {
                self.readback.first.remove(&key);
            }
        }
    }

    fn second_look(&mut self, key: Key) {
        let Some(second) = self.readback.second.get(&key) else {
            return;
        };
        let due_us = second.fence_us + SETTLE_US;
        let fence_us = second.fence_us;
        let wait_us = if due_us > self.now_us {
            due_us
        } else if self.has_passed(fence_us) {
            if let Some(second) = self.readback.second.remove(&key) {
                if let Some(next) = second.next {
                    let fence_us = next.look.answered_us + FENCE_US;
                    self.readback.add_second(key.clone(), next, fence_us);
                }
                self.take_look(key, second.wanted, Some(fence_us));
            }
            return;
        } else {
            self.now_us + i64::try_from(limits::TICK_MS * 1_000).unwrap_or(i64::MAX)
        };
        self.readback.due.push(Reverse((wait_us, true, key)));
    }

    /// Whether every write that arrived before the fence has its verdict, on all shards. If that is
    /// not known, the others are asked.
    fn has_passed(&mut self, fence_us: i64) -> bool {
        let own_us = self.settled_us();
        if own_us < fence_us {
            return false;
        }
        if self.stop_at_us.is_some() {
            return true; // no shard has clients any more, and some have ended
        }
        self.readback.settled_us.resize(self.count, i64::MIN);
        let mut passed = true;
        for shard in (0..self.count).filter(|shard| *shard != self.index) {
            if self.readback.settled_us[shard] < fence_us {
                passed = false;
                let asker = self.index;
                if self.readback.asked.insert(shard) {
                    self.inbox.tell(shard, Message::Settled { asker });
                }
            }
        }
        passed
    }

    /// All that arrived here before this has its verdict (µs).
    fn settled_us(&mut self) -> i64 {
        let clients = self.clients.oldest_unanswered_us();
        let resolved = self.resolver.owed.oldest_arrival_us();
        let oldest = [clients, resolved].into_iter().flatten().min();
        oldest.unwrap_or(self.now_us).min(self.now_us)
    }

    /// Another shard asks how far this one is.
    pub(super) fn tell_settled(&mut self, asker: usize) {
        let until_us = self.settled_us();
        let shard = self.index;
        self.inbox
            .tell(asker, Message::SettledUntil { shard, until_us });
    }

    pub(super) fn note_settled(&mut self, shard: usize, until_us: i64) {
        self.readback.asked.remove(&shard);
        self.readback.settled_us.resize(self.count, i64::MIN);
        if let Some(known_us) = self.readback.settled_us.get_mut(shard) {
            *known_us = until_us.max(*known_us);
        }
    }

    fn table_of<'k>(known: &'k Known, look: &Look) -> Option<&'k Table> {
        known.source.get(&look.keyspace, &look.table)
    }

    /// Asks the source.
    fn take_look(&mut self, key: Key, mut wanted: Wanted, fence_us: Option<i64>) {
        let known = self.common.plans.known().clone();
        let Some(table) = Self::table_of(&known, &wanted.look) else {
            self.close_look(wanted);
            return self.end_look(&key, fence_us); // dropped since: nothing is left to show
        };
        wanted
            .look
            .columns
            .retain(|name, _| table.column(name).is_some());
        let select = wanted
            .look
            .select(table, known.source.tells_element_stamps());
        const WITH_VALUES: u8 = 0x01;
        let mut params = wanted.look.serial.number().to_be_bytes().to_vec();
        params.push(WITH_VALUES);
        params.extend_from_slice(&select.count.to_be_bytes());
        params.extend_from_slice(&select.values);
        let (keyspace, table) = (wanted.look.keyspace.clone(), wanted.look.table.clone());
        let text = select.text.into();
        let read = Write::new(self.now_us, keyspace, table, Body::Query { text, params });
        self.recorder.count(Counted::ReadBack, 1);
        let ticket = self.resolver.owed.admit(read, Origin::Live);
        let reading = Reading {
            key,
            wanted,
            fence_us,
            known,
        };
        self.readback.reading.insert(ticket, reading);
    }

    /// The source's answer to a look.
    pub(super) fn looked(&mut self, ticket: Ticket, message: &[u8]) {
        let Some(reading) = self.readback.reading.remove(&ticket) else {
            return;
        };
        let Reading {
            key,
            mut wanted,
            fence_us,
            known,
        } = reading;
        let Some(table) = Self::table_of(&known, &wanted.look) else {
            self.close_look(wanted);
            return self.end_look(&key, fence_us);
        };
        let element_stamps = known.source.tells_element_stamps();
        let Ok(row) = wanted.look.read(table, element_stamps, message) else {
            self.end_look(&key, fence_us);
            return self.give_up_all(&wanted.writes, "its answer cannot be read");
        };
        // above all that was stamped before a clock was set back
        let latest_us = self.now_us.max(self.common.clock.last_us());
        let own_us = self.readback.stamps.own_us(latest_us);
        let stamps = &self.readback.stamps;
        let Look {
            keyspace,
            table: name,
            ..
        } = &wanted.look;
        let moment = Moment {
            now_us: self.now_us,
            own_us,
            fence_us,
            is_taken: &|stamp_us| stamps.is_taken(keyspace, name, stamp_us),
        };
        let composed = readback::compose(&wanted.look, table, row.as_ref(), moment);
        let mut kept = true;
        for mut write in composed.writes {
            // without room the look is taken again later; one that never fits goes without
            kept &= self.keep(&mut write, State::Applied) != Err(Full::Now);
            wanted.made.extend(write.journal);
            self.mirror(write);
        }
        self.end_look(&key, fence_us);
        if composed.settled && kept {
            self.close_look(wanted);
        } else {
            let again_us = if kept {
                i64::MIN
            } else {
                self.now_us + AGAIN_US
            };
            if fence_us.is_some() {
                wanted.look.may_be_there = true; // one without a fence says no list
            }
            if !composed.seen.is_empty() {
                wanted.look.answered_us = self.now_us; // what was under way comes before the next
                wanted.look.seen = composed.seen;
            }
            let fence_us = again_us.max(wanted.look.answered_us + FENCE_US);
            self.readback.add_second(key, wanted, fence_us);
        }
    }

    /// A look is over: the next at the same row may be taken.
    fn end_look(&mut self, key: &Key, fence_us: Option<i64>) {
        if fence_us.is_some() {
            return;
        }
        if let Some(first) = self.readback.first.get_mut(key) {
            first.reading = false;
            let due_us = first.free_us;
            self.readback
                .due
                .push(Reverse((due_us, false, key.clone())));
        }
    }

    /// The source has refused a look: its table has changed, or is gone.
    pub(super) fn look_refused(&mut self, ticket: Ticket, words: &str) {
        let Some(reading) = self.readback.reading.remove(&ticket) else {
            return;
        };
        self.end_look(&reading.key, reading.fence_us);
        let mut wanted = reading.wanted;
        wanted.tries += 1;
        if wanted.tries > TRIES {
            return self.give_up_all(&wanted.writes, &format!("it answered: {words}"));
        }
        let _ = self.asks.try_send(Ask::Tables); // full: it is asked already
        let fence_us = reading
            .fence_us
            .unwrap_or(wanted.look.answered_us + FENCE_US);
        let fence_us = fence_us.max(self.now_us + AGAIN_US - SETTLE_US);
        self.readback.add_second(reading.key, wanted, fence_us);
    }

    /// The process stops and cannot wait any longer.
    pub(super) fn give_up_looks(&mut self) {
        let why = "the proxy stopped before they were read back";
        let readback = &mut self.readback;
        let unplanned = readback.unplanned.drain(..).map(|one| one.write);
        let first = readback.first.drain().filter_map(|(_, first)| first.next);
        let reading = readback.reading.drain();
        let reading = reading.map(|(_, reading)| reading.wanted);
        let second = readback.second.drain();
        let second = second.flat_map(|(_, second)| [Some(second.wanted), second.next]);
        let wanted = first.chain(reading).chain(second.flatten());
        let writes: Vec<_> = unplanned
            .chain(wanted.flat_map(|wanted| wanted.writes))
            .collect();
        for write in writes {
            self.give_up(&write, why);
        }
    }
}
