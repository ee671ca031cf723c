//! One row, or the static cells of one partition, to read from the source.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::piece::Piece;
use crate::cql::Consistency;
use crate::cql::DecodeError;
use crate::cql::response::rows::Rows;
use crate::statement::quote;
use crate::tables::{Column, Role, Table};

/// What a statement did to a column whose value has several cells; of others it does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// All of it was replaced.
    pub overwritten: bool,
    /// What was taken out: a term for `c - term`, or with true the key in `c[key]`.
    pub removed: Vec<(Piece, bool)>,
    /// Something else: fields, list elements.
    pub unclear: bool,
}

impl Touch {
    /// Adds what another statement did.
    pub fn merge(&mut self, other: Self) {
        self.overwritten |= other.overwritten;
        self.unclear |= other.unclear;
        for removed in other.removed {
            if !self.removed.contains(&removed) {
                self.removed.push(removed);
            }
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Keyspace.
    pub keyspace: Rc<str>,
    /// Table.
    pub table: Rc<str>,
    /// Names the row: what stands behind WHERE.
    pub relation: Piece,
    /// It is about static columns: the relation names a partition.
    pub is_static: bool,
    /// The columns that may have changed, without the key.
    pub columns: BTreeMap<Box<str>, Touch>,
    /// The row was deleted as a whole.
    pub whole_row: bool,
    /// Rows of one partition were deleted that the relation does not name one by one.
    pub range: bool,
    /// The row was inserted: it exists without any cell.
    pub inserted: bool,
    /// SERIAL or LOCAL_SERIAL.
    pub serial: Consistency,
    /// Consistency of the writes.
    pub level: Consistency,
    /// Time to live that the statement gave (s); 0 for none.
    pub ttl_s: i64,
    /// When the first of its requests arrived (µs).
    pub since_us: i64,
    /// When the source answered the last of them (µs).
    pub answered_us: i64,
    /// The target may have them already, or what an earlier look has made of them. It matters for
    /// lists, which double when the same cells are written twice with one stamp.
    pub may_be_there: bool,
    /// Hashes of the lists that the look before has written to the target as it saw them.
    pub seen: Vec<u64>,
}

impl Look {
    /// Memory that it takes while it waits, its place in queues included (bytes), about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        /// A piece, its allocation and its share of a node of the map.
        const COLUMN: usize = 96;
        let columns = self.columns.iter().map(|(name, touch)| {
            let removed = touch.removed.iter();
            let removed = removed.map(|(term, _)| term.text.len() + term.values.len() + COLUMN);
            name.len() + COLUMN + removed.sum::<usize>()
        });
        let row = self.relation.text.len() + self.relation.values.len();
        size_of::<Self>() + 3 * row + 256 + columns.sum::<usize>()
    }

    /// The same for all looks at one row.
    #[must_use]
    pub fn key(&self) -> Box<[u8]> {
        let parts = [
            self.keyspace.as_bytes(),
            self.table.as_bytes(),
            &[u8::from(self.is_static)],
            self.relation.text.as_bytes(),
            &self.relation.values,
        ];
        parts.join(&0).into()
    }

    /// Adds a later look at the same row.
    pub fn merge(&mut self, later: Self) {
        for (column, touch) in later.columns {
            self.columns.entry(column).or_default().merge(touch);
        }
        self.whole_row |= later.whole_row;
        self.range |= later.range;
        self.inserted |= later.inserted;
        if later.serial == Consistency::Serial {
            self.serial = Consistency::Serial;
        }
        self.level = later.level;
        self.ttl_s = later.ttl_s;
        self.since_us = self.since_us.min(later.since_us);
        self.answered_us = self.answered_us.max(later.answered_us);
        self.may_be_there |= later.may_be_there;
        self.seen.clear();
    }

    /// The columns of the key that the answer begins with.
    fn keys<'t>(&self, table: &'t Table) -> impl Iterator<Item = &'t Column> + use<'t> {
        let is_static = self.is_static;
        table
            .key()
            .filter(move |column| !is_static || column.role == Role::Partition)
    }

    /// The SELECT. `element_stamps`: the source tells the stamps of a collection's elements.
    #[must_use]
    pub fn select(&self, table: &Table, element_stamps: bool) -> Piece {
        if self.range {
            return self.select_oldest(table);
        }
        let mut wanted: Vec<String> = Vec::new();
        wanted.extend(self.keys(table).map(|key| quote(&key.name).into_owned()));
        for name in self.columns.keys() {
            let quoted = quote(name);
            wanted.push(quoted.clone().into_owned());
            if has_stamps(table, name, element_stamps) {
                wanted.push(format!("WRITETIME({quoted})"));
                wanted.push(format!("TTL({quoted})"));
            }
        }
        let mut select = Piece::of(format!(
            "SELECT {} FROM {}.{} WHERE ",
            wanted.join(", "),
            quote(&self.keyspace),
            quote(&self.table)
        ));
        select.push(&self.relation);
        if self.is_static {
            select.text(" LIMIT 1");
        }
        select
    }

    /// Of a range: how many rows there are, and the oldest stamp of each column that has one in
    /// every version. However many there are, the answer is short.
    fn select_oldest(&self, table: &Table) -> Piece {
        let mut select = Piece::of("SELECT count(*)");
        for name in self
            .columns
            .keys()
            .filter(|name| has_stamps(table, name, false))
        {
            select.text(&format!(", min(WRITETIME({}))", quote(name)));
        }
        let (keyspace, name) = (quote(&self.keyspace), quote(&self.table));
        select.text(&format!(" FROM {keyspace}.{name} WHERE "));
        select.push(&self.relation);
        select
    }

    /// Of a range: the oldest stamps of the rows that are there; none if there are no rows.
    fn read_oldest<'m>(
        &self,
        table: &Table,
        message: &'m [u8],
    ) -> Result<Option<Answer<'m>>, DecodeError> {
        let rows = Rows::parse(message)?;
        let mut cells = rows.cells();
        let mut next = || -> Result<Option<&'m [u8]>, DecodeError> {
            Ok(cells.next().transpose()?.and_then(|cell| cell.bytes))
        };
        let count = next()?.unwrap_or_default();
        if count.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut answer = Answer::default();
        for name in self.columns.keys() {
            let stamps = match has_stamps(table, name, false) {
                true => next()?,
                false => None,
            };
            answer.cells.push(Read {
                value: None,
                stamps,
                ttls: None,
            });
        }
        Ok(Some(answer))
    }

    /// The row in an answer to [`Self::select`]; `None`: there is no such row.
    ///
    /// # Errors
    /// The answer is malformed.
    pub fn read<'m>(
        &self,
        table: &Table,
        element_stamps: bool,
        message: &'m [u8],
    ) -> Result<Option<Answer<'m>>, DecodeError> {
        if self.range {
            return self.read_oldest(table, message);
        }
        let rows = Rows::parse(message)?;
        if rows.row_count == 0 {
            return Ok(None);
        }
        let mut cells = rows.cells();
        let mut next = || -> Result<Option<&'m [u8]>, DecodeError> {
            Ok(cells.next().transpose()?.and_then(|cell| cell.bytes))
        };
        let mut answer = Answer::default();
        for key in self.keys(table) {
            answer.keys.push((key.name.clone(), next()?));
        }
        for name in self.columns.keys() {
            let value = next()?;
            let stamped = has_stamps(table, name, element_stamps);
            let (stamps, ttls) = if stamped {
                (next()?, next()?)
            } else {
                (None, None)
            };
            answer.cells.push(Read {
                value,
                stamps,
                ttls,
            });
        }
        Ok(Some(answer))
    }
}

fn has_stamps(table: &Table, name: &str, element_stamps: bool) -> bool {
    element_stamps
        || table
            .column(name)
            .is_none_or(|column| !column.shape.is_multi_cell())
}

/// A row as the source has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<'m> {
    /// The key's columns.
    pub keys: Vec<(Box<str>, Option<&'m [u8]>)>,
    /// The look's columns, in its order.
    pub cells: Vec<Read<'m>>,
}

/// A column in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<'m> {
    /// Its value.
    pub value: Option<&'m [u8]>,
    /// WRITETIME: a bigint, or a list of them for several cells.
    pub stamps: Option<&'m [u8]>,
    /// TTL: an int, or a list of them.
    pub ttls: Option<&'m [u8]>,
}
