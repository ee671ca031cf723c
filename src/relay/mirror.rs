//! The writes that one shard owes the target, and what becomes of each.
//!
//! Pure bookkeeping: which write is next, which one is tried again and when, which one goes to the
//! spill. The data plane moves the bytes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use super::link::Ticket;
use super::plan::Repeat;
use super::verdict::{self, AtTarget, Verdict};
use super::write::{Table, Write};
use crate::cql::response::ErrorCode;
use crate::limits;

/// One write of the spill is sent for every so many of all, while live ones wait.
const SPILL_SHARE: u8 = 8;

/// Where a write came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client, just now.
    Live,
    /// The shard's own spill; the number is the drain's name for the record.
    Spill(u64),
}

/// A write that leaves the mirror.
#[derive(Debug)]
pub struct Entry {
    /// The write.
    pub write: Box<Write>,
    /// Where it came from.
    pub origin: Origin,
    /// Its number among all that were ever admitted.
    pub sequence: u64,
    attempts: u8,
}

/// What becomes of a write after a failed try.
#[derive(Debug)]
pub enum Outcome {
    /// It will be tried again from here.
    Again,
    /// Not now: to the spill (or back to it).
    Spill(Entry),
    /// The target turned it down for good.
    Rejected(Entry),
    /// It may be there or not, and must not be sent twice.
    InDoubt(Entry),
}

/// How often and how patiently a write is tried before it is spilled.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Tries after the first one.
    pub retries: u8,
    /// Pause before the first retry (µs); doubled for each further one.
    pub first_pause_us: i64,
    /// Longest pause (µs).
    pub longest_pause_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Mirror {
    entries: Vec<Option<Entry>>,
    free: Vec<Ticket>,
    /// What is to be sent, of clients and of the spill.
    queue: VecDeque<Ticket>,
    spilled: VecDeque<Ticket>,
    /// Live writes sent since the last one of the spill.
    live_run: u8,
    retries: BinaryHeap<Reverse<(i64, Ticket)>>,
    /// Sequence, ticket and arrival of the live writes, in the order in which they were admitted.
    arrivals: VecDeque<(u64, Ticket, i64)>,
    next_sequence: u64,
    policy: RetryPolicy,
    bytes: usize,
    spilled_records: usize,
    /// Tables of which the target could not take a write, and has not taken one since.
    failing: HashSet<Table>,
}

impl Mirror {
    /// An empty mirror.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            spilled: VecDeque::new(),
            live_run: 0,
            retries: BinaryHeap::new(),
            arrivals: VecDeque::new(),
            next_sequence: 0,
            policy,
            bytes: 0,
            spilled_records: 0,
            failing: HashSet::new(),
        }
    }

    /// Takes a write in; it is sent in its turn.
    pub fn admit(&mut self, write: impl Into<Box<Write>>, origin: Origin) -> Ticket {
        self.enter(write.into(), origin, 0)
    }

    /// Takes a write in again that the target could not take before: it has two tries more.
    pub fn admit_again(&mut self, write: Box<Write>, origin: Origin) -> Ticket {
        let attempts = self.policy.retries.saturating_sub(1).max(1);
        self.enter(write, origin, attempts)
    }

    fn enter(&mut self, write: Box<Write>, origin: Origin, attempts: u8) -> Ticket {
        self.bytes += write.cost_bytes();
        let arrived_us = write.arrived_us;
        if matches!(origin, Origin::Spill(_)) {
            self.spilled_records += 1;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let entry = Some(Entry {
            write,
            origin,
            attempts,
            sequence,
        });
        let ticket = match self.free.pop() {
            Some(ticket) => {
                self.entries[ticket as usize] = entry;
                ticket
            }
            None => {
                self.entries.push(entry);
                Ticket::try_from(self.entries.len() - 1).unwrap_or(Ticket::MAX)
            }
        };
        if origin == Origin::Live {
            self.arrivals.push_back((sequence, ticket, arrived_us));
        }
        self.queue_of(origin).push_back(ticket);
        ticket
    }

    fn queue_of(&mut self, origin: Origin) -> &mut VecDeque<Ticket> {
        match origin {
            Origin::Live => &mut self.queue,
            Origin::Spill(_) => &mut self.spilled,
        }
    }

    fn queue_of_ticket(&mut self, ticket: Ticket) -> Option<&mut VecDeque<Ticket>> {
        let origin = self.get(ticket)?.origin;
        Some(self.queue_of(origin))
    }

    /// Live writes go first, but for one of [`SPILL_SHARE`], so that the spill gets on too.
    fn is_spills_turn(&self) -> bool {
        !self.spilled.is_empty() && (self.queue.is_empty() || self.live_run >= SPILL_SHARE - 1)
    }

    /// The next write to send, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<(Ticket, &Write)> {
        let queue = match self.is_spills_turn() {
            true => &self.spilled,
            false => &self.queue,
        };
        let ticket = *queue.front()?;
        self.get(ticket).map(|entry| (ticket, &*entry.write))
    }

    /// Takes the next write off the queue: it was sent, or waits for a statement to be prepared.
    pub fn mark_sent(&mut self) {
        if self.is_spills_turn() {
            self.spilled.pop_front();
            self.live_run = 0;
        } else {
            self.queue.pop_front();
            self.live_run = self.live_run.saturating_add(1);
        }
    }

    /// Puts a write in front of the queue: what it waited for is there.
    pub fn unpark(&mut self, ticket: Ticket) {
        if let Some(queue) = self.queue_of_ticket(ticket) {
            queue.push_front(ticket);
        }
    }

    /// Puts another form of a write in its place.
    pub fn replace(&mut self, ticket: Ticket, write: Write) {
        if let Some(entry) = self
            .entries
            .get_mut(ticket as usize)
            .and_then(Option::as_mut)
        {
            self.bytes -= entry.write.cost_bytes();
            self.bytes += write.cost_bytes();
            *entry.write = write;
        }
    }

    /// The write behind a ticket.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&Entry> {
        self.entries.get(ticket as usize).and_then(Option::as_ref)
    }

    /// The target has it.
    pub fn applied(&mut self, ticket: Ticket) -> Option<Entry> {
        let entry = self.remove(ticket);
        if !self.failing.is_empty()
            && let Some(Entry { write, .. }) = &entry
        {
            self.failing.remove(&write.of_table());
        }
        entry
    }

    /// Whether a failure may say more about the write than about the node that answered: it has
    /// failed before, or the last one of its table did.
    #[must_use]
    pub fn is_doubtful(&self, ticket: Ticket) -> bool {
        let doubtful = |entry: &Entry| entry.attempts > 0 || self.is_failing(&entry.write);
        self.get(ticket).is_some_and(doubtful)
    }

    /// Whether the last write of the same table failed.
    #[must_use]
    pub fn is_failing(&self, write: &Write) -> bool {
        !self.failing.is_empty() && self.failing.contains(&write.of_table())
    }

    /// The target answered a try with an error.
    pub fn failed(
        &mut self,
        ticket: Ticket,
        code: i32,
        message: &str,
        now_us: i64,
    ) -> Option<Outcome> {
        let repeat = self.get(ticket)?.write.repeat;
        if code == ErrorCode::Unprepared.number() {
            // the caller has forgotten the ids: sent again at once, though not without end
            return self.again(ticket, now_us, 0);
        }
        let AtTarget { verdict, passes } = verdict::at_target(code, message);
        match (verdict, repeat) {
            (Verdict::Refused, _) if !passes => self.remove(ticket).map(Outcome::Rejected),
            (Verdict::Refused, _) | (Verdict::Ambiguous, Repeat::Free) => {
                self.again(ticket, now_us, self.pause_us(ticket, message))
            }
            (Verdict::Ambiguous, Repeat::Bump) => {
                self.entries[ticket as usize].as_mut()?.write.bump_stamp();
                self.again(ticket, now_us, self.pause_us(ticket, message))
            }
            (Verdict::Ambiguous, Repeat::Once) => self.remove(ticket).map(Outcome::InDoubt),
            (Verdict::Applied, _) => None,
        }
    }

    /// The connection was lost, or the answer did not come in time. `left`: bytes of the request
    /// may have left for the target.
    pub fn lost(&mut self, ticket: Ticket, left: bool) -> Option<Outcome> {
        let entry = self.entries.get_mut(ticket as usize)?.as_mut()?;
        match entry.write.repeat {
            Repeat::Once if left => return self.remove(ticket).map(Outcome::InDoubt),
            Repeat::Bump if left => entry.write.bump_stamp(),
            _ => {}
        }
        self.queue_of_ticket(ticket)?.push_back(ticket);
        Some(Outcome::Again)
    }

    fn pause_us(&self, ticket: Ticket, message: &str) -> i64 {
        let attempts = self.get(ticket).map_or(0, |entry| entry.attempts);
        let own = self.policy.first_pause_us << attempts.min(20);
        retry_after_us(message)
            .unwrap_or(own)
            .min(self.policy.longest_pause_us)
    }

    fn again(&mut self, ticket: Ticket, now_us: i64, pause_us: i64) -> Option<Outcome> {
        let retries = self.policy.retries;
        let entry = self.entries.get_mut(ticket as usize)?.as_mut()?;
        entry.attempts = entry.attempts.saturating_add(1);
        if pause_us > 0 && self.failing.len() < limits::TABLES_NAMED {
            self.failing.insert(entry.write.of_table());
        }
        if entry.attempts > retries {
            return self.remove(ticket).map(Outcome::Spill);
        }
        if pause_us == 0 {
            self.queue_of_ticket(ticket)?.push_front(ticket);
        } else {
            self.retries.push(Reverse((now_us + pause_us, ticket)));
        }
        Some(Outcome::Again)
    }

    /// Moves the writes whose pause is over back into the queue.
    pub fn wake(&mut self, now_us: i64) {
        while let Some(Reverse((due_us, ticket))) = self.retries.peek().copied() {
            if due_us > now_us {
                return;
            }
            self.retries.pop();
            if let Some(queue) = self.queue_of_ticket(ticket) {
                queue.push_back(ticket);
            }
        }
    }

    /// When [`Self::wake`] has something to do (µs).
    #[must_use]
    pub fn next_wake_us(&self) -> Option<i64> {
        self.retries.peek().map(|Reverse((due_us, _))| *due_us)
    }

    /// Takes everything that is not on its way, to be spilled: the target is gone.
    pub fn take_unsent(&mut self) -> Vec<(Ticket, Entry)> {
        let mut tickets: Vec<Ticket> = self.queue.drain(..).collect();
        tickets.extend(self.spilled.drain(..));
        tickets.extend(self.retries.drain().map(|Reverse((_, ticket))| ticket));
        let mut taken: Vec<_> = tickets
            .into_iter()
            .filter_map(|t| self.remove(t).map(|entry| (t, entry)))
            .collect();
        taken.sort_by_key(|(_, entry)| entry.write.arrived_us);
        taken
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Entry> {
        let entry = self.entries.get_mut(ticket as usize)?.take()?;
        self.free.push(ticket);
        self.bytes -= entry.write.cost_bytes();
        if matches!(entry.origin, Origin::Spill(_)) {
            self.spilled_records -= 1;
        }
        Some(entry)
    }

    /// When the oldest write arrived that came from a client and is not yet on the target (µs).
    pub fn oldest_arrival_us(&mut self) -> Option<i64> {
        self.oldest_live().map(|(_, arrived_us)| arrived_us)
    }

    /// A mark between the writes admitted so far and all later ones; see [`Self::has_passed`].
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether no live write from before the fence is left.
    pub fn has_passed(&mut self, fence: u64) -> bool {
        self.oldest_live()
            .is_none_or(|(sequence, _)| sequence >= fence)
    }

    fn oldest_live(&mut self) -> Option<(u64, i64)> {
        while let Some((sequence, ticket, arrived_us)) = self.arrivals.front().copied() {
            if self
                .get(ticket)
                .is_some_and(|entry| entry.sequence == sequence)
            {
                return Some((sequence, arrived_us));
            }
            self.arrivals.pop_front();
        }
        None
    }

    /// Writes of clients that are not yet on the target, those of the spill not counted.
    #[must_use]
    pub fn live_len(&self) -> usize {
        self.len() - self.spilled_records
    }

    /// Writes that came out of the spill and are not yet on the target.
    #[must_use]
    pub fn spilled_len(&self) -> usize {
        self.spilled_records
    }

    /// All writes in the mirror.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a write to the keyspace, or one of which that is not known, is among them.
    #[must_use]
    pub fn owes(&self, keyspace: &str) -> bool {
        let mut all = self.entries.iter().flatten();
        all.any(|entry| matches!(&*entry.write.keyspace, own if own.is_empty() || own == keyspace))
    }

    /// Writes of clients that wait for their turn to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// All writes that wait for their turn to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.spilled.len()
    }

    /// Memory of all writes (bytes).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// `RetryAfterMs=120` in the words of an overloaded target, as Cosmos DB writes it (µs).
pub(super) fn retry_after_us(message: &str) -> Option<i64> {
    let (_, rest) = message.split_once("RetryAfterMs=")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<i64>().ok()?.checked_mul(1_000)
}
