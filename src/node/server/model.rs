//! The node without threads, sockets or a clock of its own: one request in, one answer out. For
//! simulations, which deliver the bytes, move the clock, and look at every cell in the end.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::connection::Outbox;
use super::handle::{Answer, Session, handle};
use super::{Shared, reply};
use crate::cql;
use crate::limits;
use crate::node::clock::Clock;
use crate::node::exec::{Engine, Identity};
use crate::node::fault::{FaultPlan, Faults};
use crate::node::schema::Table;
use crate::node::store::row::{Column, Row};
use crate::node::store::{Partition, cell::NOT_DELETED};
use crate::node::types::CqlType;
use crate::node::{NodeConfig, error::CqlError};

/// A cluster's data and schema, and what its coordinators do to requests.
pub struct Model {
    shared: Rc<Shared>,
    hands: Rc<Cell<i64>>,
}

/// One connection to it.
pub struct Line {
    shared: Rc<Shared>,
    session: Session,
    outbox: Rc<Outbox>,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// These bytes, after this while; none: no answer.
    Bytes(Duration, Vec<u8>),
    /// The connection is closed without an answer.
    Drop,
    /// Nothing more is read from the connection.
    Stall,
}

/// Something that the data holds: a cell, a row's marker, a deletion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// Keyspace and table, with a dot between them.
    pub table: String,
    /// The partition key's components.
    pub key: Vec<Vec<u8>>,
    /// The clustering values; for a deleted range its ends.
    pub row: Vec<Vec<u8>>,
    /// The column; or `(marker)`, `(row)`, `(range)`, `(partition)`, `(elements of …)`.
    pub what: String,
    /// Which element, where the column has several: key, member, or place in the list.
    pub element: Vec<u8>,
    /// `None`: a deletion. A counter has its sum.
    pub value: Option<Vec<u8>>,
    /// Write timestamp (µs); 0 for a counter, which has each cluster's own.
    pub stamp_us: i64,
    /// When it ends (s since 1970); 0: never, or a deletion.
    pub ends_s: i64,
}

impl Model {
    /// An empty cluster. Its random numbers follow from `seed`; its time is that of
    /// [`Self::set_now_us`].
    ///
    /// # Errors
    /// The system tables cannot be made.
    pub fn new(name: &str, seed: u64, now_us: i64) -> anyhow::Result<Model> {
        let hands = Rc::new(Cell::new(now_us));
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 9042));
        let mut config = NodeConfig::new(listen);
        name.clone_into(&mut config.cluster);
        let mut clock = Clock::seeded(seed, Some(Rc::clone(&hands)));
        let identity = Identity {
            cluster: config.cluster.clone(),
            data_center: config.data_center.clone(),
            address: listen,
            host_id: clock.next_uuid(),
        };
        let engine = Engine::new(identity, clock)
            .map_err(|error| anyhow::anyhow!("make the system tables: {}", error.message))?;
        let shared = Rc::new(Shared {
            engine: engine.into(),
            faults: Faults::default().into(),
            faults_changed: Notify::new(),
            config,
            subscribers: Vec::new().into(),
            tasks: HashMap::new().into(),
            next_task: Cell::new(0),
        });
        Ok(Model { shared, hands })
    }

    /// Moves the clock (µs since 1970).
    pub fn set_now_us(&self, now_us: i64) {
        self.hands.set(now_us);
    }

    /// Replaces latency and rules; the counters of rules begin anew.
    pub fn set_faults(&self, plan: FaultPlan) {
        *self.shared.faults.borrow_mut() = Faults::new(plan);
    }

    /// Forgets every prepared statement, as a restarted node has.
    pub fn forget_prepared(&self) {
        self.shared.engine.borrow_mut().forget_prepared();
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Line {
        Line {
            shared: Rc::clone(&self.shared),
            session: Session::default(),
            outbox: Rc::new(Outbox::default()),
        }
    }

    /// Everything in the tables of users, sorted.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let engine = self.shared.engine.borrow();
        let mut facts = Vec::new();
        for (name, keyspace) in &engine.schema.keyspaces {
            if crate::node::exec::system::is_system(name) {
                continue;
            }
            for table in keyspace.tables.values() {
                let data = engine.data.get(&table.id);
                for partition in data.into_iter().flat_map(|data| data.all()) {
                    facts_of_partition(table, partition, &mut facts);
                }
            }
        }
        facts.sort();
        facts
    }

    /// The names of the users' tables with their columns, sorted.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let engine = self.shared.engine.borrow();
        let user = |name: &&String| !crate::node::exec::system::is_system(name);
        let keyspaces = engine.schema.keyspaces.iter();
        let mut tables: Vec<String> = keyspaces
            .filter(|(name, _)| user(name))
            .flat_map(|(_, keyspace)| keyspace.tables.values())
            .map(|table| {
                let columns: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
                format!("{}({})", table.full_name(), columns.join(","))
            })
            .collect();
        tables.sort();
        tables
    }
}

impl Line {
    /// Takes one whole request.
    #[must_use]
    pub fn request(&mut self, raw: &[u8]) -> Reply {
        let bounds = cql::decoder::DecodeLimits::requests(
            u32::try_from(limits::ENVELOPE_BODY_DEFAULT_BYTES).unwrap_or(u32::MAX),
        );
        let Ok(Some(request)) = cql::decoder::split(raw, &bounds) else {
            return Reply::Drop;
        };
        let answer = handle(&self.shared, &mut self.session, &self.outbox, &request);
        match answer {
            Answer::Now => Reply::Bytes(Duration::ZERO, self.outbox.take()),
            Answer::After(delay, bytes) => Reply::Bytes(delay, bytes),
            Answer::Drop => Reply::Drop,
            Answer::Stall => Reply::Stall,
            Answer::Fatal(error) => Reply::Bytes(Duration::ZERO, fatal(&request, &error)),
        }
    }
}

fn fatal(request: &cql::Envelope<'_>, error: &CqlError) -> Vec<u8> {
    let mut bytes = Vec::new();
    let envelope = reply::Envelope {
        version: request.header.protocol().unwrap_or(cql::Version::V4),
        stream: request.header.stream,
        compression: cql::Compression::None,
        tracing_id: None,
    };
    reply::push(&mut bytes, envelope, cql::Opcode::Error, |out| {
        reply::push_error(out, error);
    });
    bytes
}

fn facts_of_partition(table: &Table, partition: &Partition, facts: &mut Vec<Fact>) {
    let blank = Fact {
        table: format!("{}.{}", table.keyspace, table.name),
        key: partition.components.clone(),
        row: Vec::new(),
        what: String::new(),
        element: Vec::new(),
        value: None,
        stamp_us: 0,
        ends_s: 0,
    };
    let (deleted, ranges) = partition.deletions();
    let deletion = |what: &str, row: Vec<Vec<u8>>, stamp_us: i64| Fact {
        what: what.to_owned(),
        row,
        stamp_us,
        ..blank.clone()
    };
    if deleted != NOT_DELETED {
        facts.push(deletion("(partition)", Vec::new(), deleted));
    }
    for (slice, stamp_us) in ranges {
        let ends = [slice.start.clone(), slice.end.clone().unwrap_or_default()];
        facts.push(deletion("(range)", ends.to_vec(), *stamp_us));
    }
    facts_of_row(table, &partition.statics, deleted, &blank, facts);
    for (row, covered) in partition.rows() {
        facts_of_row(table, row, covered, &blank, facts);
    }
}

/// `covered`: what a deletion around the row hides; it is no fact any more.
fn facts_of_row(table: &Table, row: &Row, covered: i64, blank: &Fact, facts: &mut Vec<Fact>) {
    let clustering = row.clustering.iter().map(|value| value.to_vec()).collect();
    let blank = Fact {
        row: clustering,
        ..blank.clone()
    };
    if let Some(marker) = row.marker {
        facts.push(Fact {
            what: "(marker)".to_owned(),
            value: Some(Vec::new()),
            stamp_us: marker.stamp,
            ends_s: if marker.ttl_s == 0 { 0 } else { marker.ends_s },
            ..blank.clone()
        });
    }
    if row.deleted() > covered {
        facts.push(Fact {
            what: "(row)".to_owned(),
            stamp_us: row.deleted(),
            ..blank.clone()
        });
    }
    for (id, column) in row.columns() {
        let Some(def) = table.columns.iter().find(|def| def.id == *id) else {
            continue; // dropped
        };
        let blank = Fact {
            what: def.name.clone(),
            ..blank.clone()
        };
        let covered = covered.max(row.deleted());
        facts_of_column(&def.ty, column, covered, &blank, facts);
    }
}

fn facts_of_column(
    ty: &CqlType,
    column: &Column,
    covered: i64,
    blank: &Fact,
    facts: &mut Vec<Fact>,
) {
    let of_cell = |cell: &crate::node::store::cell::Cell| Fact {
        value: cell.value.as_ref().map(|value| value.to_vec()),
        stamp_us: cell.stamp,
        ends_s: match (&cell.value, cell.ttl_s) {
            (None, _) | (_, 0) => 0,
            _ => cell.ends_s,
        },
        ..blank.clone()
    };
    match column {
        Column::Simple(cell) => facts.push(of_cell(cell)),
        Column::Counter { sum, .. } => facts.push(Fact {
            value: Some(sum.to_be_bytes().to_vec()),
            ..blank.clone()
        }),
        Column::DeadCounter => facts.push(blank.clone()),
        Column::Elements(elements) => {
            if let Some(stamp_us) = elements.deleted().filter(|stamp| *stamp > covered) {
                facts.push(Fact {
                    what: format!("(elements of {})", blank.what),
                    stamp_us,
                    ..blank.clone()
                });
            }
            // the place of a list element is a time UUID that each cluster gives anew
            let is_list = matches!(ty, CqlType::List(..));
            let live = |cell: &crate::node::store::cell::Cell| !is_list || cell.value.is_some();
            let cells = elements.cells.values().filter(|e| live(&e.cell));
            for (place, element) in (0u32..).zip(cells) {
                let path = match is_list {
                    true => place.to_be_bytes().to_vec(),
                    false => element.path.to_vec(),
                };
                facts.push(Fact {
                    element: path,
                    ..of_cell(&element.cell)
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
