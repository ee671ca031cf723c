//! One row: marker, deletion, columns. Nothing in it is older than a deletion that covers it.

use std::collections::BTreeMap;

use super::cell::{Cell, Marker, NOT_DELETED};

/// Number of a column, never given again within a table: a dropped column's cells stay unread.
pub(crate) type ColumnId = u32;

/// The cells of a column that has one per element, by order key of the element's path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    /// Stamp of the last deletion of the whole column.
    deleted: Option<i64>,
    pub(crate) cells: BTreeMap<Vec<u8>, Element>,
}

/// One element of a collection, or one field of a user type.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    /// Set element, map key, list position or field number.
    pub(crate) path: Box<[u8]>,
    pub(crate) cell: Cell,
}

#[derive(Clone, Debug)]
pub(crate) enum Column {
    Simple(Cell),
    Elements(Elements),
    /// Sum, and the stamp of the last addition.
    Counter {
        sum: i64,
        stamp: i64,
    },
    /// A counter that was deleted never counts again, as in Cassandra.
    DeadCounter,
}

/// The live and dead content of one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The clustering values; empty for a static row.
    pub(crate) clustering: Vec<Box<[u8]>>,
    pub(crate) marker: Option<Marker>,
    deleted: i64,
    columns: Vec<(ColumnId, Column)>,
}

/// One change to a row; the stamps are in the cells.
#[derive(Clone, Debug)]
pub(crate) enum RowChange {
    Marker(Marker),
    /// The whole row, up to this stamp.
    DeleteRow(i64),
    Cell(ColumnId, Cell),
    /// All elements of a column, up to this stamp.
    DeleteElements(ColumnId, i64),
    /// Order key, path, cell.
    Element(ColumnId, Vec<u8>, Box<[u8]>, Cell),
    /// Adds to a counter, at this stamp.
    Add(ColumnId, i64, i64),
    DeleteCounter(ColumnId),
}

impl Row {
    pub(crate) fn new(clustering: Vec<Box<[u8]>>) -> Row {
        Row {
            clustering,
            marker: None,
            deleted: NOT_DELETED,
            columns: Vec::new(),
        }
    }

    /// Applies one change; `covered` is the greatest stamp deleted around this row.
    pub(crate) fn apply(&mut self, change: RowChange, covered: i64) {
        let dead = covered.max(self.deleted);
        match change {
            RowChange::Marker(marker) if marker.stamp > dead => {
                let old = self.marker.filter(|old| !marker.beats(old));
                self.marker = Some(old.unwrap_or(marker));
            }
            RowChange::DeleteRow(stamp) if stamp > dead => {
                self.deleted = stamp;
                self.drop_older(stamp);
            }
            RowChange::Cell(id, cell) if cell.stamp > dead => self.put_cell(id, cell),
            RowChange::DeleteElements(id, stamp) if stamp > dead => {
                let elements = self.elements_mut(id);
                if elements.deleted.is_none_or(|old| stamp > old) {
                    elements.deleted = Some(stamp);
                    elements
                        .cells
                        .retain(|_, element| element.cell.stamp > stamp);
                }
            }
            RowChange::Element(id, key, path, cell) if cell.stamp > dead => {
                self.elements_mut(id).put(key, path, cell);
            }
            RowChange::Add(id, amount, stamp) if stamp > dead => self.add(id, amount, stamp),
            RowChange::DeleteCounter(id) => self.set(id, Column::DeadCounter),
            _ => {}
        }
    }

    /// Forgets all that a deletion around the row, at `stamp`, covers.
    pub(crate) fn drop_older(&mut self, stamp: i64) {
        if self.marker.is_some_and(|marker| marker.stamp <= stamp) {
            self.marker = None;
        }
        self.columns.retain_mut(|(_, column)| match column {
            Column::Simple(cell) => cell.stamp > stamp,
            Column::Counter { stamp: added, .. } => *added > stamp,
            Column::DeadCounter => true,
            Column::Elements(elements) => {
                elements
                    .cells
                    .retain(|_, element| element.cell.stamp > stamp);
                !elements.cells.is_empty() || elements.deleted.is_some_and(|old| old > stamp)
            }
        });
    }

    /// The live simple cell of a column.
    pub(crate) fn cell(&self, id: ColumnId, now_s: i64) -> Option<&Cell> {
        match self.column(id)? {
            Column::Simple(cell) if cell.is_live(now_s) => Some(cell),
            _ => None,
        }
    }

    /// The live elements of a column, in the order of their paths.
    pub(crate) fn elements(&self, id: ColumnId, now_s: i64) -> impl Iterator<Item = &Element> {
        let cells = match self.column(id) {
            Some(Column::Elements(elements)) => Some(&elements.cells),
            _ => None,
        };
        cells
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(move |element| element.cell.is_live(now_s))
    }

    /// Sum and stamp of a counter.
    pub(crate) fn counter(&self, id: ColumnId) -> Option<(i64, i64)> {
        match self.column(id)? {
            Column::Counter { sum, stamp } => Some((*sum, *stamp)),
            _ => None,
        }
    }

    /// True when a SELECT shows this row: a live marker or any live cell.
    pub(crate) fn is_live(&self, now_s: i64) -> bool {
        self.marker.is_some_and(|marker| marker.is_live(now_s))
            || self.columns.iter().any(|(_, column)| match column {
                Column::Simple(cell) => cell.is_live(now_s),
                Column::Elements(elements) => elements
                    .cells
                    .values()
                    .any(|element| element.cell.is_live(now_s)),
                Column::Counter { .. } => true,
                Column::DeadCounter => false,
            })
    }

    /// The stamp of the whole row's deletion.
    pub(crate) fn deleted(&self) -> i64 {
        self.deleted
    }

    /// Its columns, live or not.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &(ColumnId, Column)> {
        self.columns.iter()
    }

    fn column(&self, id: ColumnId) -> Option<&Column> {
        self.columns
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, column)| column)
    }

    fn place(&mut self, id: ColumnId) -> Option<&mut Column> {
        self.columns
            .iter_mut()
            .find(|(known, _)| *known == id)
            .map(|(_, column)| column)
    }

    fn set(&mut self, id: ColumnId, column: Column) {
        match self.place(id) {
            Some(place) => *place = column,
            None => self.columns.push((id, column)),
        }
    }

    fn put_cell(&mut self, id: ColumnId, cell: Cell) {
        match self.place(id) {
            Some(Column::Simple(old)) if old.beats(&cell) => {}
            Some(place) => *place = Column::Simple(cell),
            None => self.columns.push((id, Column::Simple(cell))),
        }
    }

    fn add(&mut self, id: ColumnId, amount: i64, now: i64) {
        match self.place(id) {
            Some(Column::Counter { sum, stamp }) => {
                *sum = sum.wrapping_add(amount);
                *stamp = now.max(*stamp);
            }
            Some(_) => {}
            None => self.columns.push((
                id,
                Column::Counter {
                    sum: amount,
                    stamp: now,
                },
            )),
        }
    }

    fn elements_mut(&mut self, id: ColumnId) -> &mut Elements {
        let at = match self.columns.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                self.columns
                    .push((id, Column::Elements(Elements::default())));
                self.columns.len() - 1
            }
        };
        let column = &mut self.columns[at].1;
        if !matches!(column, Column::Elements(_)) {
            *column = Column::Elements(Elements::default());
        }
        match column {
            Column::Elements(elements) => elements,
            _ => unreachable!("set to elements on the line above"),
        }
    }
}

impl Elements {
    /// Stamp of the last deletion of the whole column.
    pub(crate) fn deleted(&self) -> Option<i64> {
        self.deleted
    }

    fn put(&mut self, key: Vec<u8>, path: Box<[u8]>, cell: Cell) {
        if self.deleted.is_some_and(|deleted| cell.stamp <= deleted) {
            return;
        }
        match self.cells.get_mut(&key) {
            Some(old) if old.cell.beats(&cell) => {}
            Some(old) => old.cell = cell,
            None => {
                self.cells.insert(key, Element { path, cell });
            }
        }
    }
}
