//! Reads a table back, whole, to see whether two clusters hold the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context;

use crate::session::Session;

/// A row of the table `(key, value)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The cell's value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The cell's write timestamp, in µs since 1970; `None` when there is no cell.
    pub writetime_us: Option<i64>,
}

/// Key as it stands on the wire → row.
pub type Table = BTreeMap<Vec<u8>, Stored>;

/// Where two tables differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Rows of the first.
    pub rows: u64,
    /// Rows that only the first has.
    pub missing: u64,
    /// Rows that only the second has.
    pub surplus: u64,
    /// Cells with another value or another write timestamp.
    pub differing: u64,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.missing == 0 && self.surplus == 0 && self.differing == 0
    }
}

/// Reads all rows with their write timestamps.
///
/// # Errors
/// The connection or the table is not there.
pub fn read_table(endpoint: SocketAddr, keyspace: &str, table: &str) -> anyhow::Result<Table> {
    read_rows(Session::connect(endpoint)?, keyspace, table)
}

/// The same on a connection that is there already.
///
/// # Errors
/// The table is not there.
pub fn read_rows(mut session: Session, keyspace: &str, table: &str) -> anyhow::Result<Table> {
    let text = format!("SELECT key, value, WRITETIME(value) FROM {keyspace}.{table}");
    let mut found = Table::new();
    for row in session.query(&text)? {
        let mut cells = row.into_iter();
        let mut next = || cells.next().context("a row lacks a column");
        let key = next()?.context("a row has no key")?;
        let value = next()?;
        let stamp = match next()? {
            None => None,
            Some(bytes) => {
                let bytes = bytes.try_into().ok().context("a timestamp has 8 bytes")?;
                Some(i64::from_be_bytes(bytes))
            }
        };
        let stored = Stored {
            value,
            writetime_us: stamp,
        };
        found.insert(key, stored);
    }
    Ok(found)
}

/// Compares two tables cell by cell.
#[must_use]
pub fn difference(first: &Table, second: &Table) -> Difference {
    let mut found = Difference::default();
    for (key, row) in first {
        found.rows += 1;
        match second.get(key) {
            None => found.missing += 1,
            Some(other) => found.differing += u64::from(other != row),
        }
    }
    for key in second.keys() {
        found.surplus += u64::from(!first.contains_key(key));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: u8, stamp: i64) -> Stored {
        Stored {
            value: Some(vec![value]),
            writetime_us: Some(stamp),
        }
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let first = Table::from([
            (vec![1], row(1, 1)),
            (vec![2], row(2, 2)),
            (vec![3], row(3, 3)),
            (vec![4], row(4, 4)),
        ]);
        assert!(difference(&first, &first).is_none());
        let second = Table::from([
            (vec![1], row(9, 1)),
            (vec![2], row(2, 9)),
            (vec![4], row(4, 4)),
            (vec![5], row(5, 5)),
        ]);
        let found = difference(&first, &second);
        assert_eq!(
            (found.rows, found.missing, found.surplus, found.differing),
            (4, 1, 1, 2)
        );
        assert!(!found.is_none());
    }
}
