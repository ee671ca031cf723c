//! What waits to be read back.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::{GATHER_US, LONGEST_US, SETTLE_US};
use crate::journal::Place;
use crate::limits;
use crate::relay::link::Ticket;
use crate::relay::readback::{ListStamps, Look};
use crate::relay::write::Write;
use crate::tables::Known;

/// Names a row.
pub(super) type Key = Rc<[u8]>;

/// A conditional write until all that was to be looked at for it is settled. Its memory and that of
/// its looks counts in a sum.
#[derive(Debug)]
pub(super) struct Kept {
    write: Write,
    bytes: Cell<usize>,
    sum: Rc<Cell<usize>>,
}

impl Kept {
    pub(super) fn new(write: Write, sum: &Rc<Cell<usize>>) -> Self {
        let kept = Self {
            bytes: Cell::default(),
            sum: Rc::clone(sum),
            write,
        };
        kept.count(kept.write.cost_bytes());
        kept
    }

    pub(super) fn count(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.sum.set(self.sum.get() + bytes);
    }
}

impl Deref for Kept {
    type Target = Write;
    fn deref(&self) -> &Write {
        &self.write
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.bytes.get());
    }
}

/// Something to look at, and the writes that made it. They stay in the journal until what the looks
/// have made of them is done there.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) look: Look,
    pub(super) writes: Vec<Rc<Kept>>,
    pub(super) tries: u8,
    /// What was made of them, in the journal.
    pub(super) made: Vec<Place>,
}

impl Wanted {
    pub(super) fn merge(&mut self, later: Self) {
        self.look.merge(later.look);
        self.writes.extend(later.writes);
        self.made.extend(later.made);
    }
}

/// First looks at one row.
#[derive(Debug, Default)]
pub(super) struct First {
    pub(super) next: Option<Wanted>,
    pub(super) reading: bool,
    /// When the next look may be taken (µs).
    pub(super) free_us: i64,
}

/// The second look at one row.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) wanted: Wanted,
    pub(super) fence_us: i64,
    pub(super) since_us: i64,
    /// What came when it could not be put off any more.
    pub(super) next: Option<Wanted>,
}

/// A look that is on its way.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) key: Key,
    pub(super) wanted: Wanted,
    pub(super) fence_us: Option<i64>,
    /// What was known when it was asked.
    pub(super) known: Arc<Known>,
}

/// A write whose table is not known yet.
#[derive(Debug)]
pub(super) struct Unplanned {
    pub(super) write: Rc<Kept>,
    pub(super) is_sure: bool,
    pub(super) may_be_there: bool,
    pub(super) answered_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct ReadBack {
    /// Of lists.
    pub stamps: ListStamps,
    pub(super) unplanned: VecDeque<Unplanned>,
    /// Memory of all writes that are kept here, and of their looks (bytes).
    pub(super) bytes: Rc<Cell<usize>>,
    pub(super) first: HashMap<Key, First>,
    pub(super) second: HashMap<Key, Second>,
    pub(super) reading: HashMap<Ticket, Reading>,
    /// Nothing is left to see, but what was made is not done.
    pub(super) closing: Vec<Wanted>,
    /// When something is due (µs), with true for second looks.
    pub(super) due: BinaryHeap<Reverse<(i64, bool, Key)>>,
    /// Of each shard: all that arrived before this has its verdict (µs).
    pub(super) settled_us: Vec<i64>,
    /// Which shards have been asked for that and have not answered yet.
    pub(super) asked: BTreeSet<usize>,
}

impl ReadBack {
    /// `shard`: its index.
    #[must_use]
    pub fn new(shard: usize, now_us: i64) -> Self {
        Self {
            stamps: ListStamps::new(shard, now_us),
            unplanned: VecDeque::new(),
            bytes: Rc::default(),
            first: HashMap::new(),
            second: HashMap::new(),
            reading: HashMap::new(),
            closing: Vec::new(),
            due: BinaryHeap::new(),
            settled_us: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Whether nothing is left to look at, and all that was made of it is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unplanned.is_empty()
            && self.second.is_empty()
            && self.reading.is_empty()
            && self.closing.is_empty()
            && self.first.values().all(|first| first.next.is_none())
    }

    /// Rows to look at, or whose looks are not done with.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unplanned.len() + self.first.len() + self.second.len() + self.closing.len()
    }

    /// Looks that the source has been asked for.
    pub fn asked(&self) -> usize {
        self.reading.len()
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        let too_large = self.bytes.get() > limits::READ_BACK_PENDING_BYTES;
        too_large || self.len() >= limits::READ_BACK_PENDING
    }

    /// When something is due (µs).
    #[must_use]
    pub fn next_due_us(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_us, ..))| *due_us)
    }

    /// When the oldest request arrived that is not settled (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        let unplanned = self.unplanned.iter().map(|one| one.write.arrived_us);
        let first = self.first.values().filter_map(|first| first.next.as_ref());
        let second = self.second.values().map(|second| &second.wanted);
        let reading = self.reading.values().map(|reading| &reading.wanted);
        let looks = first.chain(second).chain(reading).chain(&self.closing);
        unplanned
            .chain(looks.map(|wanted| wanted.look.since_us))
            .min()
    }

    pub(super) fn add_first(&mut self, key: Key, wanted: Wanted, now_us: i64) {
        let first = self.first.entry(key.clone()).or_default();
        match &mut first.next {
            Some(next) => return next.merge(wanted),
            None => first.next = Some(wanted),
        }
        if !first.reading {
            let due_us = (now_us + GATHER_US).max(first.free_us);
            self.due.push(Reverse((due_us, false, key)));
        }
    }

    pub(super) fn add_second(&mut self, key: Key, wanted: Wanted, fence_us: i64) {
        if let Some(second) = self.second.get_mut(&key) {
            if fence_us - second.since_us > LONGEST_US {
                match &mut second.next {
                    Some(next) => next.merge(wanted),
                    None => second.next = Some(wanted),
                }
                return;
            }
            second.wanted.merge(wanted);
            second.fence_us = second.fence_us.max(fence_us);
            return; // its place in the queue is moved when it is due
        }
        let second = Second {
            wanted,
            fence_us,
            since_us: fence_us,
            next: None,
        };
        self.second.insert(key.clone(), second);
        self.due.push(Reverse((fence_us + SETTLE_US, true, key)));
    }

    /// A look goes on under another name.
    pub fn renamed(&mut self, from: Ticket, to: Ticket) {
        if let Some(reading) = self.reading.remove(&from) {
            self.reading.insert(to, reading);
        }
    }

    /// Whether the ticket is that of a look.
    #[must_use]
    pub fn is_look(&self, ticket: Ticket) -> bool {
        self.reading.contains_key(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::write::Body;

    fn write(size: usize) -> Write {
        let body = Body::Query {
            text: "".into(),
            params: vec![0; size],
        };
        Write::new(1, "ks", "t", body)
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let mut readback = ReadBack::new(0, 0);
        let mut keep = |size| {
            let write = Rc::new(Kept::new(write(size), &readback.bytes));
            write.count(100); // a look
            readback.unplanned.push_back(Unplanned {
                write,
                is_sure: false,
                may_be_there: false,
                answered_us: 1,
            });
            readback.is_full()
        };
        let large = limits::READ_BACK_PENDING_BYTES / 4;
        assert!(!keep(large) && !keep(large) && !keep(large));
        assert!(keep(large));
        readback.unplanned.pop_front();
        assert!(!readback.is_full());
        readback.unplanned.clear();
        assert_eq!(readback.bytes.get(), 0);
    }
}
