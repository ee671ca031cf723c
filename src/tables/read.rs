//! Rows of `system_schema` → [`Tables`].

use std::collections::{HashMap, HashSet};

use super::{Column, Role, Shape, Table, Tables};
use crate::cql::DecodeError;
use crate::cql::response::rows::Rows;

/// Asks for the times of all tables.
pub const TABLES_QUERY: &str = "SELECT keyspace_name, table_name, default_time_to_live, \
                                gc_grace_seconds FROM system_schema.tables";
/// Asks for the columns of all tables and views.
pub const COLUMNS_QUERY: &str = "SELECT keyspace_name, table_name, column_name, kind, position, \
                                 type FROM system_schema.columns";

/// Asks for the tables with columns that only some users see as they are.
pub const MASKS_QUERY: &str =
    "SELECT keyspace_name, table_name, column_name FROM system_schema.column_masks";
/// Releases from this one on have such columns.
pub const MASKS_SINCE: u32 = 5;

/// Keyspace and table.
type Name = (Box<str>, Box<str>);

/// Collects the answers, page by page.
#[derive(Debug, Default)]
pub struct Reading {
    tables: Tables,
    columns: HashMap<Name, Vec<(i32, Column)>>,
    /// Tables whose partition key has a column that is not plain.
    other_keys: HashSet<Name>,
    masked: HashSet<Name>,
}

impl Reading {
    /// A page of the answer to [`TABLES_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn tables_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 4]| {
            let table = Table {
                default_ttl_s: seconds(row[2]),
                gc_grace_s: seconds(row[3]),
                ..Table::default()
            };
            self.tables.add(&text(row[0]), &text(row[1]), table);
        })
    }

    /// A page of the answer to [`COLUMNS_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn columns_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 6]| {
            let role = match &*text(row[3]) {
                "partition_key" => Role::Partition,
                "clustering" => Role::Clustering,
                "static" => Role::Static,
                _ => Role::Regular,
            };
            let cql_type = text(row[5]);
            let column = Column {
                name: text(row[2]),
                role,
                shape: Shape::of(&cql_type),
            };
            let table = (text(row[0]), text(row[1]));
            if role == Role::Partition && !Shape::is_plain(&cql_type) {
                self.other_keys.insert(table.clone());
            }
            let columns = self.columns.entry(table).or_default();
            columns.push((int(row[4]), column));
        })
    }

    /// A page of the answer to [`MASKS_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn masks_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 3]| {
            self.masked.insert((text(row[0]), text(row[1])));
        })
    }

    /// The release, 0 if it was not read.
    #[must_use]
    pub fn release(&self) -> u32 {
        self.tables.release
    }

    /// The answer to `SELECT release_version FROM system.local`.
    ///
    /// # Errors
    /// The page is malformed.
    pub fn release_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 1]| {
            let version = text(row[0]);
            let first = version.split('.').next().unwrap_or_default();
            self.tables.release = first.parse().unwrap_or(0);
        })
    }

    /// What was read.
    #[must_use]
    pub fn finish(mut self) -> Tables {
        for (of, mut columns) in self.columns {
            let has_plain_key = !self.other_keys.contains(&of);
            let is_masked = self.masked.contains(&of);
            let (keyspace, name) = of;
            let Some(tables) = self.tables.keyspaces.get_mut(&keyspace) else {
                continue;
            };
            // the columns of views have no table: nobody writes to a view
            let Some(table) = tables.get_mut(&name) else {
                continue;
            };
            columns.sort_by(|(one, a), (two, b)| {
                let rank = |role| match role {
                    Role::Partition => 0,
                    Role::Clustering => 1,
                    Role::Static | Role::Regular => 2,
                };
                (rank(a.role), one, &a.name).cmp(&(rank(b.role), two, &b.name))
            });
            table.has_plain_key = has_plain_key;
            table.is_masked = is_masked;
            table.columns = columns.into_iter().map(|(_, column)| column).collect();
        }
        self.tables
    }
}

/// Calls `visit` with the cells of each row. A server that answers with another number of columns
/// than were asked for is no server: nothing is learned then.
pub(super) fn each_row<const WIDTH: usize>(
    message: &[u8],
    mut visit: impl FnMut(&[Option<&[u8]>; WIDTH]),
) -> Result<(), DecodeError> {
    let rows = Rows::parse(message)?;
    if rows.metadata.column_count != WIDTH {
        return Ok(());
    }
    let mut cells = rows.cells();
    for _ in 0..rows.row_count {
        let mut row = [None; WIDTH];
        for cell in &mut row {
            *cell = cells.next().transpose()?.and_then(|cell| cell.bytes);
        }
        visit(&row);
    }
    Ok(())
}

pub(super) fn text(cell: Option<&[u8]>) -> Box<str> {
    String::from_utf8_lossy(cell.unwrap_or_default()).into()
}

pub(super) fn int(cell: Option<&[u8]>) -> i32 {
    let bytes = cell.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, i32::from_be_bytes)
}

fn seconds(cell: Option<&[u8]>) -> u32 {
    u32::try_from(int(cell)).unwrap_or(0)
}
