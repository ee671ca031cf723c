//! Records whose place among others matters, or that must not be repeated, go in groups: what must
//! not be repeated is entered as started for the whole group, stored once, and only then sent, each
//! write in its lane: see [`crate::shard::lanes`].
//!
//! ```text
//! collect … → due → all before it is on the target, started is stored → released → lanes → sent
//! ```

use std::sync::Arc;

use crate::relay::link::Ticket;
use crate::relay::partition;
use crate::relay::plan::{PlanCache, Repeat};
use crate::relay::write::{Table, Write};
use crate::shard::lanes::Lanes;
use crate::spill::Kind;
use crate::spill::append::Position;
use crate::tables::Known;

/// Most records of a group.
const GROUP_MAX: usize = 256;
/// A group does not wait for more records for longer than this (µs).
const GROUP_WAIT_US: i64 = 20_000;

struct Member {
    write: Write,
    key: u64,
}

/// The group that is being collected, and those on their way.
#[derive(Default)]
pub struct Group {
    /// With the drain's names of the records.
    lanes: Lanes<u64>,
    /// Writes in the lanes, sent or not.
    under_way: usize,
    members: Vec<Member>,
    since_us: i64,
    /// Log and place of the members that have to be stored as started.
    pub awaited: Vec<(usize, Position)>,
}

/// The mirror's names are 32 bits wide; far fewer records than that are under way.
fn name_of(key: u64) -> Ticket {
    Ticket::try_from(key & u64::from(Ticket::MAX)).unwrap_or_default()
}

impl Group {
    /// What the control plane knows of the tables.
    pub fn know(&mut self, known: Arc<Known>) {
        self.lanes.know(known);
    }

    /// Whether a write belongs into a group.
    #[must_use]
    pub fn wants(&self, write: &Write) -> bool {
        write.repeat != Repeat::Free || self.lanes.is_ordered(write)
    }

    /// Whether the places of writes matter in a table.
    #[must_use]
    pub fn is_ordered(&self, table: &Table) -> bool {
        self.lanes.has_order(table)
    }

    /// Takes a write. `place`: where it has to be stored as started.
    pub fn collect(
        &mut self,
        mut write: Write,
        key: u64,
        place: Option<(usize, Position)>,
        now_us: i64,
    ) {
        if matches!(write.kind, Kind::List | Kind::Counter) {
            let (keyspace, table) = write.of_table();
            self.lanes.note(keyspace, table, write.kind);
        }
        self.lanes.prepare(&mut write);
        if self.members.is_empty() {
            self.since_us = now_us;
        }
        self.awaited.extend(place);
        self.members.push(Member { write, key });
    }

    /// Whether the collected ones should go. `stuck`: nothing more can be read now.
    #[must_use]
    pub fn is_due(&self, stuck: bool, now_us: i64) -> bool {
        !self.members.is_empty()
            && (stuck || self.members.len() >= GROUP_MAX || now_us - self.since_us >= GROUP_WAIT_US)
    }

    /// Records that are collected or under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len() + self.under_way
    }

    /// What was collected may go.
    pub fn release(&mut self, plans: &mut PlanCache) {
        self.under_way += self.members.len();
        for Member { write, key } in self.members.drain(..) {
            let partition = partition::of(&write, plans);
            self.lanes.push(write, partition, key);
        }
    }

    /// Sends what is next in the lanes.
    pub fn pump(&mut self, mut admit: impl FnMut(Write, u64)) {
        let mut admit = |write, key| {
            admit(write, key);
            name_of(key)
        };
        while self.lanes.send_next(&mut admit) {}
    }

    /// A record is dealt with. True if it was in a lane.
    pub fn left(&mut self, key: u64) -> bool {
        let known = self.lanes.left(name_of(key)).is_some();
        self.under_way -= usize::from(known);
        known
    }
}
