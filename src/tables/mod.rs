//! What the data plane knows of the tables of both clusters: keys, column shapes, times to live.
//!
//! Plain data. The control plane reads it ([`crate::watch`]) and hands it to the shards as
//! snapshots that never change. What is not known is treated with the greatest care: a table that
//! no snapshot holds may have lists, counters and a time to live of its own.

mod nodes;
mod read;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits;

pub use nodes::{Nodes, NodesReading, OWN_QUERY, PEERS_QUERY, PEERS_V2_QUERY};
pub use read::{COLUMNS_QUERY, MASKS_QUERY, MASKS_SINCE, Reading, TABLES_QUERY};

/// How the server stores the values of a column, as far as a second write of the same matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One cell: everything that is frozen or has no parts.
    Single,
    /// A list whose elements are cells.
    List,
    /// A set whose elements are cells.
    Set,
    /// A map whose entries are cells.
    Map,
    /// A user type whose fields are cells.
    UserType,
    /// A counter.
    Counter,
}

impl Shape {
    /// The shape of a column whose type `system_schema.columns` writes so.
    #[must_use]
    pub fn of(cql_type: &str) -> Self {
        let head = cql_type.split('<').next().unwrap_or_default();
        match head {
            "counter" => Self::Counter,
            "list" => Self::List,
            "set" => Self::Set,
            "map" => Self::Map,
            "frozen" | "tuple" | "vector" => Self::Single,
            _ if head.starts_with('\'') || NATIVE.contains(&head) => Self::Single,
            _ => Self::UserType,
        }
    }

    /// Whether values of this type are kept as they came: the server takes collections, tuples and
    /// user types apart and puts them together again, a set in another order maybe.
    #[must_use]
    fn is_plain(cql_type: &str) -> bool {
        NATIVE.contains(&cql_type)
    }

    /// Whether a value takes several cells, each with a stamp of its own.
    #[must_use]
    pub fn is_multi_cell(self) -> bool {
        !matches!(self, Self::Single | Self::Counter)
    }
}

/// The native types (Cassandra 5.0, `CQL3Type.Native`), and `empty`.
const NATIVE: &[&str] = &[
    "ascii",
    "bigint",
    "blob",
    "boolean",
    "counter",
    "date",
    "decimal",
    "double",
    "duration",
    "empty",
    "float",
    "inet",
    "int",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timeuuid",
    "tinyint",
    "uuid",
    "varchar",
    "varint",
];

/// What a column is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Part of the partition key.
    Partition,
    /// Orders the rows of a partition.
    Clustering,
    /// Shared by the rows of a partition.
    Static,
    /// Everything else.
    Regular,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as stored.
    pub name: Box<str>,
    /// What it is in the table.
    pub role: Role,
    /// How its values are stored.
    pub shape: Shape,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Partition key, in order; then the clustering columns, in order; then all others by name.
    /// Empty if only the times are known.
    pub columns: Vec<Column>,
    /// Values of its partition key are the same where their bytes are, and only there. False if
    /// that is not known.
    pub has_plain_key: bool,
    /// Some users see masks in the place of some of its values (Cassandra 5.0, `MASKED WITH`).
    pub is_masked: bool,
    /// `default_time_to_live` (s); 0: none.
    pub default_ttl_s: u32,
    /// `gc_grace_seconds`: deletes are forgotten after this.
    pub gc_grace_s: u32,
}

impl Table {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| *column.name == *name)
    }

    /// The columns of the primary key, in order.
    pub fn key(&self) -> impl Iterator<Item = &Column> {
        let is_key = |column: &&Column| matches!(column.role, Role::Partition | Role::Clustering);
        self.columns.iter().filter(is_key)
    }

    /// Whether a column of the role exists.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.columns.iter().any(|column| column.role == role)
    }

    /// Whether a column has the shape.
    #[must_use]
    pub fn has_shape(&self, shape: Shape) -> bool {
        self.columns.iter().any(|column| column.shape == shape)
    }
}

/// The tables of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    keyspaces: HashMap<Box<str>, HashMap<Box<str>, Table>>,
    /// First part of `release_version`; 0 if it is not known.
    pub release: u32,
}

impl Tables {
    /// The table, if it is known.
    #[must_use]
    pub fn get(&self, keyspace: &str, table: &str) -> Option<&Table> {
        self.keyspaces.get(keyspace)?.get(table)
    }

    /// Enters a table.
    pub fn add(&mut self, keyspace: &str, name: &str, table: Table) {
        let tables = self.keyspaces.entry(keyspace.into()).or_default();
        tables.insert(name.into(), table);
    }

    /// How many tables are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keyspaces.values().map(HashMap::len).sum()
    }

    /// Whether no table is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keyspaces.is_empty()
    }

    /// Whether the cluster tells WRITETIME and TTL of each element of a collection
    /// (CASSANDRA-8877, 5.0).
    #[must_use]
    pub fn tells_element_stamps(&self) -> bool {
        self.release >= 5
    }

    /// The table's default time to live (s); none if it has none or is not known.
    #[must_use]
    pub fn default_ttl_s(&self, keyspace: &str, table: &str) -> Option<u32> {
        self.get(keyspace, table)
            .map(|table| table.default_ttl_s)
            .filter(|ttl_s| *ttl_s > 0)
    }

    /// The shortest time for which a table outside of the system's keyspaces keeps deletes (s).
    /// `None` if no such table is known, or none keeps them at all.
    #[must_use]
    pub fn shortest_gc_grace_s(&self) -> Option<u32> {
        self.keyspaces
            .iter()
            .filter(|(keyspace, _)| !keyspace.starts_with("system"))
            .flat_map(|(_, tables)| tables.values().map(|table| table.gc_grace_s))
            .filter(|grace_s| *grace_s > 0)
            .min()
    }

    /// For how long the table keeps deletes (s); none if it is not known.
    #[must_use]
    pub fn gc_grace_s(&self, keyspace: &str, table: &str) -> Option<u32> {
        self.get(keyspace, table).map(|table| table.gc_grace_s)
    }
}

/// What is known of both clusters: one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Of the source; empty until it was read.
    pub source: Arc<Tables>,
    /// Of the target; empty until it was read.
    pub target: Arc<Tables>,
}

impl Known {
    /// The time to live (s) that a write without one gets at the source; `None` when the source's
    /// table is not known.
    #[must_use]
    pub fn source_ttl_s(&self, keyspace: &str, table: &str) -> Option<u32> {
        self.source
            .get(keyspace, table)
            .map(|table| table.default_ttl_s)
    }

    /// The TTL (s) to write into a statement without one that is `elapsed_s` old, so that its cells
    /// expire at the target when they do at the source. `None`: the target does right by itself.
    #[must_use]
    pub fn explicit_ttl_s(&self, keyspace: &str, table: &str, elapsed_s: i64) -> Option<i64> {
        let source = self.source.get(keyspace, table);
        let target = self.target.get(keyspace, table);
        let (wanted_s, given_s) = match (source, target) {
            (Some(source), Some(target)) => (source.default_ttl_s, target.default_ttl_s),
            (Some(known), None) | (None, Some(known)) => (known.default_ttl_s, known.default_ttl_s),
            (None, None) => return None,
        };
        if wanted_s == given_s && (wanted_s == 0 || elapsed_s == 0) {
            return None;
        }
        if wanted_s == 0 {
            return Some(0); // overrules the target's default
        }
        Some((i64::from(wanted_s) - elapsed_s).clamp(1, limits::TTL_MAX_S))
    }
}
