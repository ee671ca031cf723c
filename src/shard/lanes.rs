//! Writes whose order matters go to the target one after the other, table by table.
//!
//! Stamps make most writes commute; these do not: list operations (an append's place is the moment
//! of its arrival, an index means what is there), and deletes of counters. They all go through one
//! shard, the table's *owner*, which is told before the client sees the answer: so what one client
//! does in sequence, over whatever connections, arrives there in sequence. Counter updates commute
//! with each other and go together; everything else in such a table waits for what came before.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use crate::limits;
use crate::relay::link::Ticket;
use crate::relay::write::Write;
use crate::spill::Kind;
use crate::tables::{Column, Known, Role, Shape};

/// Keyspace and table.
pub type Table = (Rc<str>, Rc<str>);

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Write>,
    /// Writes on their way.
    sent: usize,
    /// What is on its way are counter updates.
    sent_counters: bool,
    /// Later writes went into the spill while some were on their way.
    overtaken: bool,
}

/// The lanes of the tables that this shard owns, and the tables that need one.
#[derive(Debug, Default)]
pub struct Lanes {
    /// At most [`limits::SENSITIVE_TABLES`].
    sensitive: HashMap<Table, Kind>,
    /// There may be more than these: a table that the schema does not show counts as one of them.
    doubtful: bool,
    known: Arc<Known>,
    /// In order, so that a simulation that runs again does the same.
    lanes: BTreeMap<Table, Lane>,
    tickets: HashMap<Ticket, Table>,
    bytes: usize,
}

/// The shard that a table's ordered writes go through.
#[must_use]
pub fn owner(keyspace: &str, table: &str, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (keyspace, table).hash(&mut hasher);
    usize::try_from(hasher.finish() % shards.max(1) as u64).unwrap_or(0)
}

impl Lanes {
    /// `doubtful`: lists or counters may have been written that it will not be told of.
    #[must_use]
    pub fn new(doubtful: bool) -> Self {
        Self {
            doubtful,
            ..Self::default()
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
        let table = (write.keyspace.clone(), write.table.clone());
        self.sensitive.get(&table).copied()
    }

    /// What makes a write's table one with lanes, if it is one.
    fn kind_of(&self, write: &Write) -> Option<Kind> {
        if let Some(noted) = self.noted(write) {
            return Some(noted);
        }
        let shown = self.known.source.get(&write.keyspace, &write.table);
        match shown.filter(|table| !table.columns.is_empty()) {
            Some(table) if table.has_shape(Shape::Counter) => Some(Kind::Counter),
            Some(table) => table.has_shape(Shape::List).then_some(Kind::List),
            None => self.doubtful.then_some(Kind::List),
        }
    }

    /// Whether nothing waits and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Memory of what waits (bytes).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of what waits arrived (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        self.lanes
            .values()
            .filter_map(|lane| lane.waiting.front())
            .map(|w| w.arrived_us)
            .min()
    }

    /// A counter's cells have the time at which each cluster counted, which is later at the target.
    /// So a delete that comes after them gets the target's time too, or it would miss them.
    pub fn prepare(&self, write: &mut Write) {
        if write.kind == Kind::Write && self.kind_of(write) == Some(Kind::Counter) {
            write.unstamp();
        }
    }

    /// Puts a write at the end of its lane.
    pub fn push(&mut self, write: Write) {
        self.bytes += write.cost_bytes();
        let table = (write.keyspace.clone(), write.table.clone());
        self.lanes
            .entry(table)
            .or_default()
            .waiting
            .push_back(write);
    }

    /// Sends what may go: `admit` gives the mirror's name for it.
    pub fn pump(&mut self, mut admit: impl FnMut(Write) -> Ticket) {
        for (table, lane) in &mut self.lanes {
            while let Some(next) = lane.waiting.front() {
                // a counter batch may delete, which has its place
                let counter = next.kind == Kind::Counter && !next.deletes;
                let together =
                    || counter && lane.sent_counters && counts_together(&self.known, table);
                if lane.sent > 0 && !together() {
                    break;
                }
                let Some(write) = lane.waiting.pop_front() else {
                    break;
                };
                self.bytes -= write.cost_bytes();
                lane.sent += 1;
                lane.sent_counters = counter;
                self.tickets.insert(admit(write), table.clone());
            }
        }
    }

    /// A write has left the mirror, whatever became of it. None if it was in no lane, else whether
    /// later writes of its table are in the spill already.
    pub fn left(&mut self, ticket: Ticket) -> Option<bool> {
        let table = self.tickets.remove(&ticket)?;
        let lane = self.lanes.get_mut(&table)?;
        let overtaken = lane.overtaken;
        lane.sent -= 1;
        if lane.sent == 0 && lane.waiting.is_empty() {
            self.lanes.remove(&table);
        }
        Some(overtaken)
    }

    /// Takes everything that waits, in order, to be spilled.
    pub fn take_waiting(&mut self) -> Vec<Write> {
        let mut taken: Vec<Write> = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.overtaken |= !lane.waiting.is_empty();
            taken.extend(lane.waiting.drain(..));
        }
        self.lanes.retain(|_, lane| lane.sent > 0);
        self.bytes = 0;
        taken.sort_by_key(|write| write.arrived_us);
        taken
    }
}

/// Whether updates of the table's counters can be under way together. Cassandra (4.1.10) loses some
/// of those of one static counter that come at once.
fn counts_together(known: &Known, (keyspace, table): &Table) -> bool {
    let is_static = |column: &Column| (column.role, column.shape) == (Role::Static, Shape::Counter);
    match known.source.get(keyspace, table) {
        Some(table) => !table.columns.iter().any(is_static),
        None => known.source.is_empty(), // else it has just been made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::plan::Repeat;
    use crate::relay::write::Body;

    fn write(table: &str, kind: Kind, deletes: bool, arrived_us: i64) -> Write {
        Write {
            arrived_us,
            stamp_us: Some(arrived_us),
            repeat: Repeat::Once,
            kind,
            deletes,
            aged_s: 0,
            unaged: None,
            journal: None,
            keyspace: "ks".into(),
            table: table.into(),
            body: Body::Query {
                text: "".into(),
                params: Vec::new(),
            },
        }
    }

    fn sent(lanes: &mut Lanes, next: &mut Ticket) -> Vec<i64> {
        let mut arrivals = Vec::new();
        lanes.pump(|write| {
            arrivals.push(write.arrived_us);
            *next += 1;
            *next
        });
        arrivals
    }

    #[test]
    fn list_writes_go_one_by_one_and_counters_together() {
        let (mut lanes, mut next) = (Lanes::default(), 0);
        for at in 1..=3 {
            lanes.push(write("l", Kind::List, false, at));
        }
        assert_eq!(sent(&mut lanes, &mut next), [1]);
        assert!(sent(&mut lanes, &mut next).is_empty());
        lanes.left(1);
        assert_eq!(sent(&mut lanes, &mut next), [2]);
        for at in 4..=5 {
            lanes.push(write("c", Kind::Counter, false, at));
        }
        lanes.push(write("c", Kind::Write, true, 6));
        lanes.push(write("c", Kind::Counter, false, 7));
        assert_eq!(sent(&mut lanes, &mut next), [4, 5]);
        lanes.left(3);
        assert!(sent(&mut lanes, &mut next).is_empty());
        lanes.left(4);
        assert_eq!(sent(&mut lanes, &mut next), [6]);
        lanes.left(5);
        assert_eq!(sent(&mut lanes, &mut next), [7]);
        let waiting: Vec<_> = lanes.take_waiting().iter().map(|w| w.arrived_us).collect();
        assert_eq!(waiting, [3]);
        assert_eq!(lanes.left(2), Some(true), "the third is in the spill");
        assert_eq!(lanes.left(2), None);
        assert_eq!(lanes.left(6), Some(false));
    }

    #[test]
    fn deletes_keep_their_place_only_where_it_matters() {
        let mut lanes = Lanes::default();
        assert!(!lanes.is_ordered(&write("t", Kind::Write, true, 1)));
        let counter = write("t", Kind::Counter, false, 2);
        assert!(lanes.is_ordered(&counter) && lanes.is_news(&counter));
        lanes.note("ks".into(), "t".into(), Kind::Counter);
        assert!(!lanes.is_news(&counter));
        assert!(lanes.is_ordered(&write("t", Kind::Write, true, 3)));
        assert!(!lanes.is_ordered(&write("t", Kind::Write, false, 4)));
        assert!(!lanes.is_ordered(&write("u", Kind::Write, true, 5)));
    }

    #[test]
    fn tables_that_find_no_room_are_taken_for_what_the_schema_says() {
        use crate::tables::{Column, Role, Table};
        let mut lanes = Lanes::default();
        for n in 0..limits::SENSITIVE_TABLES {
            lanes.note("ks".into(), n.to_string().into(), Kind::List);
        }
        let delete = |table: &str| write(table, Kind::Write, true, 1);
        assert!(lanes.is_ordered(&delete("0")) && !lanes.is_ordered(&delete("plain")));
        lanes.note("ks".into(), "0".into(), Kind::List); // no new one
        assert!(!lanes.is_ordered(&delete("plain")));
        for n in 0..10 {
            lanes.note("ks".into(), format!("more{n}").into(), Kind::List);
        }
        assert_eq!(lanes.sensitive.len(), limits::SENSITIVE_TABLES);
        // nothing is known of the tables: every delete keeps its place
        assert!(lanes.is_ordered(&delete("more3")) && lanes.is_ordered(&delete("plain")));
        assert!(lanes.is_news(&write("more3", Kind::List, false, 2)));
        let mut known = Known::default();
        let shapes = [
            ("plain", Shape::Single),
            ("more3", Shape::List),
            ("counts", Shape::Counter),
        ];
        for (name, shape) in shapes {
            let column = Column {
                name: "c".into(),
                role: Role::Regular,
                shape,
            };
            let table = Table {
                columns: vec![column],
                ..Table::default()
            };
            Arc::make_mut(&mut known.source).add("ks", name, table);
        }
        lanes.know(Arc::new(known));
        assert!(lanes.is_ordered(&delete("more3")) && !lanes.is_ordered(&delete("plain")));
        let mut of_counters = delete("counts");
        of_counters.body = Body::Query {
            text: "".into(),
            params: [&[0, 1, 0x20][..], &7i64.to_be_bytes()].concat(),
        };
        lanes.prepare(&mut of_counters);
        assert_eq!(of_counters.stamp_us, None);
    }

    #[test]
    fn a_delete_of_counters_gets_the_targets_time() {
        let mut lanes = Lanes::default();
        lanes.note("ks".into(), "t".into(), Kind::Counter);
        let mut delete = write("t", Kind::Write, true, 1);
        let mut params = vec![0, 1, 0x20];
        params.extend_from_slice(&7i64.to_be_bytes());
        delete.body = Body::Query {
            text: "".into(),
            params,
        };
        lanes.prepare(&mut delete);
        lanes.push(delete);
        lanes.pump(|write| {
            let Body::Query { params, .. } = &write.body else {
                panic!("a text")
            };
            assert_eq!((&params[..], write.stamp_us), (&[0, 1, 0][..], None));
            1
        });
    }
}
