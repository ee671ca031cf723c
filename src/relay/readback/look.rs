//! One row, or the static cells of one partition, to read from the source.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::piece::Piece;
use crate::cql::Consistency;
use crate::cql::DecodeError;
use crate::cql::response::rows::Rows;
use crate::cql::{ColumnType, TypeView};
use crate::limits;
use crate::statement::quote;
use crate::tables::{Column, Role, Shape, Table};

/// What a statement did to a column whose value has several cells; of others it does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// All of it was replaced.
    pub overwritten: bool,
    /// What was taken out of a set or map: its keys.
    pub removed: Vec<Piece>,
    /// Something else: fields, list elements.
    pub unclear: bool,
}

impl Touch {
    /// Adds what another statement did.
    pub fn merge(&mut self, other: Self) {
        self.overwritten |= other.overwritten;
        self.unclear |= other.unclear;
        other.removed.into_iter().for_each(|key| self.remove(key));
    }

    /// Something was taken out of a set or map.
    pub fn remove(&mut self, key: Piece) {
        if self.removed.contains(&key) {
            return;
        }
        if self.removed.len() < limits::READ_BACK_KEYS {
            self.removed.push(key);
        } else {
            self.unclear = true;
        }
    }

    /// The keys that the source is asked for one by one, if it tells the stamps of elements.
    fn asked(&self, table: &Table, name: &str) -> &[Piece] {
        let shape = table.column(name).map(|column| column.shape);
        match shape {
            Some(Shape::Set | Shape::Map) if !self.unclear => &self.removed,
            _ => &[],
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
    /// The same of the last statement that inserted the row: that of the row's marker.
    pub inserted_ttl_s: i64,
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
            let removed = removed.map(|key| key.text.len() + key.values.len() + COLUMN);
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
        if later.inserted {
            self.inserted = true;
            self.inserted_ttl_s = later.inserted_ttl_s;
        }
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
        let mut select = Piece::of("SELECT ");
        let mut more = "";
        let mut want = |wanted: &Piece| {
            select.text(std::mem::replace(&mut more, ", "));
            select.push(wanted);
        };
        for key in self.keys(table) {
            want(&Piece::of(quote(&key.name)));
        }
        for (name, touch) in &self.columns {
            let quoted = quote(name);
            want(&Piece::of(&*quoted));
            if !has_stamps(table, name, element_stamps) {
                continue;
            }
            want(&Piece::of(format!("WRITETIME({quoted})")));
            want(&Piece::of(format!("TTL({quoted})")));
            for key in touch.asked(table, name) {
                want(&key.in_brackets(&quoted));
            }
        }
        select.text(&format!(
            " FROM {}.{} WHERE ",
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
                stamps,
                ..Read::default()
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
        let (mut cells, mut specs) = (rows.cells(), rows.metadata.columns());
        let mut next = || -> Result<_, DecodeError> {
            let bytes = cells.next().transpose()?.and_then(|cell| cell.bytes);
            Ok((bytes, specs.next().map(|spec| spec.column_type)))
        };
        let mut answer = Answer::default();
        for key in self.keys(table) {
            answer.keys.push((key.name.clone(), next()?.0));
        }
        for (name, touch) in &self.columns {
            let (value, kind) = next()?;
            let mut read = Read {
                value,
                ..Read::default()
            };
            if has_stamps(table, name, element_stamps) {
                (read.stamps, read.ttls) = (next()?.0, next()?.0);
                read.fields = fields(kind)?;
                for _ in touch.asked(table, name) {
                    read.is_there.push(next()?.0.is_some());
                }
            }
            answer.cells.push(read);
        }
        Ok(Some(answer))
    }
}

/// The names of a user type's fields.
fn fields(kind: Option<TypeView<'_>>) -> Result<Vec<String>, DecodeError> {
    Ok(match kind.map(|kind| kind.to_type()).transpose()? {
        Some(ColumnType::Udt(udt)) => udt.fields.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    })
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read<'m> {
    /// Its value.
    pub value: Option<&'m [u8]>,
    /// WRITETIME: a bigint, or a list of them for several cells.
    pub stamps: Option<&'m [u8]>,
    /// TTL: an int, or a list of them.
    pub ttls: Option<&'m [u8]>,
    /// Of each key in [`Touch::removed`]: it is there, again or still. Empty if that was not asked.
    pub is_there: Vec<bool>,
    /// Of a user type: the names of its fields.
    pub fields: Vec<String>,
}
