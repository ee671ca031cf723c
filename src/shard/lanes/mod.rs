//! Writes whose order matters go to the target one after the other, partition by partition.
//!
//! Stamps make most writes commute; these do not: list operations (an append's place is the moment
//! of its arrival, an index means what is there), and deletes of counters. They all go through one
//! shard, the table's *owner*, which is told before the client sees the answer: so what one client
//! does in sequence, over whatever connections, arrives there in sequence. Counter updates commute
//! with each other and go together. Everything else waits for what came before in its partition; or
//! where that is not certain, in its table, and all that comes later there waits for it. See
//! [`crate::relay::partition`] and [`queue`].

mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use self::queue::{Place, Queue};
use crate::limits;
use crate::relay::link::Ticket;
use crate::relay::write::{Table, Write};
use crate::spill::Kind;
use crate::tables::{Column, Known, Role, Shape};

/// The lanes of the tables that this shard owns, and the tables that need one. `N`: what is kept
/// beside each write.
#[derive(Debug, Default)]
pub struct Lanes<N> {
    /// At most [`limits::SENSITIVE_TABLES`].
    sensitive: HashMap<Table, Kind>,
    /// There may be more than these: a table that the schema does not show counts as one of them.
    doubtful: bool,
    known: Arc<Known>,
    queue: Queue<(Write, N)>,
    bytes: usize,
}

/// The shard that a table's ordered writes go through.
#[must_use]
pub fn owner(keyspace: &str, table: &str, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (keyspace, table).hash(&mut hasher);
    usize::try_from(hasher.finish() % shards.max(1) as u64).unwrap_or(0)
}

impl<N> Lanes<N> {
    /// `doubtful`: lists or counters may have been written that it will not be told of.
    #[must_use]
    pub fn new(doubtful: bool) -> Self {
        Self {
            sensitive: HashMap::new(),
            doubtful,
            known: Arc::default(),
            queue: Queue::default(),
            bytes: 0,
        }
    }

    /// Whether the write has to keep its place among others. A list or counter write makes its
    /// table one in which deletes keep theirs too: see [`Self::is_news`].
    #[must_use]
    pub fn is_ordered(&self, write: &Write) -> bool {
        match write.kind {
            Kind::List | Kind::Counter => true,
            Kind::Write => write.deletes && self.kind_of(write).is_some(),
            Kind::Ddl | Kind::Truncate => false,
        }
    }

    /// Whether the write shows for the first time that its table has lists or counters: all shards
    /// must [`Self::note`] it before the client sees the answer.
    #[must_use]
    pub fn is_news(&self, write: &Write) -> bool {
        matches!(write.kind, Kind::List | Kind::Counter) && self.noted(write).is_none()
    }

    /// A table has lists or counters.
    pub fn note(&mut self, keyspace: Rc<str>, table: Rc<str>, kind: Kind) {
        if self.sensitive.len() < limits::SENSITIVE_TABLES {
            self.sensitive.entry((keyspace, table)).or_insert(kind);
        } else {
            self.doubtful |= !self.sensitive.contains_key(&(keyspace, table));
        }
    }

    /// What the control plane knows of the tables; it decides about those that were not noted.
    pub fn know(&mut self, known: Arc<Known>) {
        self.known = known;
    }

    fn noted(&self, write: &Write) -> Option<Kind> {
        if self.sensitive.is_empty() {
            return None;
        }
        self.sensitive.get(&write.of_table()).copied()
    }

    /// What makes a write's table one with lanes, if it is one.
    fn kind_of(&self, write: &Write) -> Option<Kind> {
        if let Some(noted) = self.noted(write) {
            return Some(noted);
        }
        self.shown(&write.keyspace, &write.table)
    }

    /// Whether a table has lanes.
    #[must_use]
    pub fn has_order(&self, table: &Table) -> bool {
        let (keyspace, name) = table;
        self.sensitive.contains_key(table) || self.shown(keyspace, name).is_some()
    }

    /// What the control plane knows of a table that was not noted.
    fn shown(&self, keyspace: &str, table: &str) -> Option<Kind> {
        let shown = self.known.source.get(keyspace, table);
        match shown.filter(|table| !table.columns.is_empty()) {
            Some(table) if table.has_shape(Shape::Counter) => Some(Kind::Counter),
            Some(table) => table.has_shape(Shape::List).then_some(Kind::List),
            None => self.doubtful.then_some(Kind::List),
        }
    }

    /// Whether nothing waits and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Memory of what waits (bytes).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are on their way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.queue.under_way()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// When the first of what waits arrived (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        self.queue.oldest_us()
    }

    /// A counter's cells have the time at which each cluster counted, which is later at the target.
    /// So a delete that comes after them gets the target's time too, or it would miss them.
    pub fn prepare(&self, write: &mut Write) {
        if write.kind == Kind::Write && self.kind_of(write) == Some(Kind::Counter) {
            write.unstamp();
        }
    }

    /// Puts a write behind those that it must not pass. `partition`: see
    /// [`crate::relay::partition::of`].
    pub fn push(&mut self, write: Write, partition: Option<u64>, name: N) {
        self.bytes += write.cost_bytes();
        // a counter batch may delete, which has its place
        let is_counter = write.kind == Kind::Counter && !write.deletes;
        let place = Place {
            table: write.of_table(),
            partition,
            is_counter: is_counter && self.counts_together(&write),
        };
        self.queue.push(place, write.arrived_us, (write, name));
    }

    /// Whether updates of the table's counters can be under way together. Cassandra (4.1.10) loses
    /// some of those of one static counter that come at once.
    fn counts_together(&self, write: &Write) -> bool {
        let source = &self.known.source;
        let is_static = |one: &Column| (one.role, one.shape) == (Role::Static, Shape::Counter);
        match source.get(&write.keyspace, &write.table) {
            Some(table) => !table.columns.iter().any(is_static),
            None => source.is_empty(), // else it has just been made
        }
    }

    /// Sends one that may go: `admit` gives the mirror's name for it. False if there is none.
    pub fn send_next(&mut self, admit: impl FnOnce(Write, N) -> Ticket) -> bool {
        let bytes = &mut self.bytes;
        self.queue.send_next(|(write, name)| {
            *bytes -= write.cost_bytes();
            admit(write, name)
        })
    }

    /// A write has left the mirror, whatever became of it. None if it was in no lane, else whether
    /// later writes that had to wait for it are in the spill already.
    pub fn left(&mut self, ticket: Ticket) -> Option<bool> {
        self.queue.left(ticket)
    }

    /// Takes everything that waits, in order, to be spilled.
    pub fn take_waiting(&mut self) -> Vec<Write> {
        self.bytes = 0;
        let taken = self.queue.take_waiting().into_iter();
        taken.map(|(write, _)| write).collect()
    }
}
