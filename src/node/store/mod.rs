//! The data: partitions in token order, rows in clustering order, last write wins.
//!
//! Nothing is ever purged but what a deletion covers, so a late write meets every tombstone that
//! could hide it, however old: the comparison of two nodes never depends on when they compacted.

pub(crate) mod cell;
pub(crate) mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use cell::NOT_DELETED;
use row::{Row, RowChange};

/// A partition's place on the ring, then its serialized key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionKey {
    pub(crate) token: i64,
    pub(crate) bytes: Box<[u8]>,
}

impl PartitionKey {
    /// From the key's components, serialized as Cassandra does: one alone as it is, several
    /// each as length, bytes, zero.
    pub(crate) fn new(components: &[Vec<u8>]) -> PartitionKey {
        let bytes = match components {
            [single] => single.clone(),
            several => {
                let mut out = Vec::new();
                for component in several {
                    let len = u16::try_from(component.len()).unwrap_or(u16::MAX);
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(component);
                    out.push(0);
                }
                out
            }
        };
        PartitionKey {
            token: super::digest::token(&bytes),
            bytes: bytes.into(),
        }
    }
}

/// Rows from `start` on and before `end` (order keys; no end is the partition's end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl Slice {
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    fn covers(&self, other: &Slice) -> bool {
        self.start <= other.start
            && match (&self.end, &other.end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => mine >= theirs,
            }
    }
}

/// One partition.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// The key's components.
    pub(crate) components: Vec<Vec<u8>>,
    deleted: i64,
    ranges: Vec<(Slice, i64)>,
    pub(crate) statics: Row,
    rows: BTreeMap<Vec<u8>, Row>,
}

/// One change to a partition.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The whole partition, statics and all, up to this stamp.
    DeletePartition(i64),
    DeleteRange(Slice, i64),
    Static(RowChange),
    /// Order key of the row, clustering values, the change.
    Row(Vec<u8>, Vec<Box<[u8]>>, Vec<RowChange>),
}

impl Partition {
    fn new(components: Vec<Vec<u8>>) -> Partition {
        Partition {
            components,
            deleted: NOT_DELETED,
            ranges: Vec::new(),
            statics: Row::new(Vec::new()),
            rows: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::DeletePartition(stamp) if stamp > self.deleted => {
                self.deleted = stamp;
                self.ranges.retain(|(_, old)| *old > stamp);
                self.statics.drop_older(stamp);
                self.rows.values_mut().for_each(|row| row.drop_older(stamp));
            }
            Change::DeletePartition(_) => {}
            Change::DeleteRange(slice, stamp) => self.delete_range(slice, stamp),
            Change::Static(change) => self.statics.apply(change, self.deleted),
            Change::Row(key, clustering, changes) => {
                let covered = self.covered(&key);
                let row = self.rows.entry(key).or_insert_with(|| Row::new(clustering));
                changes
                    .into_iter()
                    .for_each(|change| row.apply(change, covered));
            }
        }
    }

    fn delete_range(&mut self, slice: Slice, stamp: i64) {
        let known = self
            .ranges
            .iter()
            .any(|(old, old_stamp)| *old_stamp >= stamp && old.covers(&slice));
        if slice.is_empty() || stamp <= self.deleted || known {
            return;
        }
        self.ranges
            .retain(|(old, old_stamp)| *old_stamp > stamp || !slice.covers(old));
        let inside: Vec<Vec<u8>> = self.keys_in(&slice);
        for key in inside {
            if let Some(row) = self.rows.get_mut(&key) {
                row.drop_older(stamp);
            }
        }
        self.ranges.push((slice, stamp));
    }

    fn keys_in(&self, slice: &Slice) -> Vec<Vec<u8>> {
        self.rows_in(slice).map(|(key, _)| key.clone()).collect()
    }

    /// The greatest stamp that a deletion around the row `key` has.
    fn covered(&self, key: &[u8]) -> i64 {
        let ranges = self.ranges.iter().filter(|(slice, _)| slice.contains(key));
        ranges.map(|(_, stamp)| *stamp).fold(self.deleted, i64::max)
    }

    /// The stamp of the whole partition's deletion, and the deleted ranges.
    pub(crate) fn deletions(&self) -> (i64, &[(Slice, i64)]) {
        (self.deleted, &self.ranges)
    }

    /// All rows in clustering order, each with the greatest stamp that a deletion around it has.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Row, i64)> {
        self.rows.iter().map(|(key, row)| (row, self.covered(key)))
    }

    pub(crate) fn row(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The rows of a slice, in clustering order.
    pub(crate) fn rows_in<'p>(&'p self, slice: &Slice) -> Range<'p, Vec<u8>, Row> {
        let start = slice.start.as_slice();
        let end = match &slice.end {
            Some(_) if slice.is_empty() => Bound::Excluded(start),
            Some(end) => Bound::Excluded(end.as_slice()),
            None => Bound::Unbounded,
        };
        self.rows.range::<[u8], _>((Bound::Included(start), end))
    }
}

/// The partitions of one table.
#[derive(Debug, Default)]
pub(crate) struct TableData {
    partitions: BTreeMap<PartitionKey, Partition>,
}

impl TableData {
    /// Applies the changes of one mutation to the partition of these key components.
    pub(crate) fn apply(
        &mut self,
        key: PartitionKey,
        components: Vec<Vec<u8>>,
        changes: impl IntoIterator<Item = Change>,
    ) {
        let partition = self
            .partitions
            .entry(key)
            .or_insert_with(|| Partition::new(components));
        changes
            .into_iter()
            .for_each(|change| partition.apply(change));
    }

    pub(crate) fn get(&self, key: &PartitionKey) -> Option<&Partition> {
        self.partitions.get(key)
    }

    /// The partitions from `start` on, in token order.
    pub(crate) fn from(
        &self,
        start: &PartitionKey,
    ) -> impl Iterator<Item = (&PartitionKey, &Partition)> {
        self.partitions.range(start..)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    pub(crate) fn truncate(&mut self) {
        self.partitions.clear();
    }
}
