//! What a reader sees of one row at one second.

use crate::node::schema::{ColumnDef, ColumnKind, Table};
use crate::node::store::Partition;
use crate::node::store::row::Row;
use crate::node::types::CqlType;
use crate::node::value::{join_collection, push_bytes};

/// One row of a partition; without a row, only key and statics.
#[derive(Clone, Copy)]
pub(crate) struct RowView<'d> {
    pub(crate) table: &'d Table,
    /// The key's components.
    pub(crate) components: &'d [Vec<u8>],
    pub(crate) statics: Option<&'d Row>,
    pub(crate) row: Option<&'d Row>,
    pub(crate) now_s: i64,
}

impl<'d> RowView<'d> {
    pub(crate) fn new(
        table: &'d Table,
        partition: &'d Partition,
        row: Option<&'d Row>,
        now_s: i64,
    ) -> RowView<'d> {
        RowView {
            table,
            components: &partition.components,
            statics: Some(&partition.statics),
            row,
            now_s,
        }
    }

    fn row_of(&self, column: &ColumnDef) -> Option<&'d Row> {
        if column.kind == ColumnKind::Static {
            self.statics
        } else {
            self.row
        }
    }

    /// The value of the column at this place of the table.
    pub(crate) fn value(&self, at: usize) -> Option<Vec<u8>> {
        let column = self.table.columns.get(at)?;
        match column.kind {
            ColumnKind::Partition(i) => self.components.get(i).cloned(),
            ColumnKind::Clustering(i) => self.row?.clustering.get(i).map(|value| value.to_vec()),
            ColumnKind::Static | ColumnKind::Regular => {
                column_value(self.row_of(column)?, column, self.now_s)
            }
        }
    }

    /// Microseconds of the last write of a column with one cell.
    pub(crate) fn writetime(&self, at: usize) -> Option<i64> {
        let column = self.table.columns.get(at)?;
        let row = self.row_of(column)?;
        if column.ty == CqlType::Counter {
            return row.counter(column.id).map(|(_, stamp)| stamp);
        }
        row.cell(column.id, self.now_s).map(|cell| cell.stamp)
    }

    /// Seconds that a column with one cell has left.
    pub(crate) fn ttl_s(&self, at: usize) -> Option<i32> {
        let column = self.table.columns.get(at)?;
        let cell = self.row_of(column)?.cell(column.id, self.now_s)?;
        cell.ttl_left_s(self.now_s)
            .and_then(|left| i32::try_from(left).ok())
    }
}

fn column_value(row: &Row, column: &ColumnDef, now_s: i64) -> Option<Vec<u8>> {
    if column.ty == CqlType::Counter {
        return row
            .counter(column.id)
            .map(|(sum, _)| sum.to_be_bytes().to_vec());
    }
    if !column.ty.is_multi_cell() {
        return row
            .cell(column.id, now_s)?
            .value
            .as_deref()
            .map(<[u8]>::to_vec);
    }
    let elements: Vec<_> = row.elements(column.id, now_s).collect();
    if elements.is_empty() {
        return None;
    }
    let value = |element: &'_ crate::node::store::row::Element| {
        element.cell.value.clone().unwrap_or_default()
    };
    let values: Vec<Box<[u8]>> = elements.iter().map(|element| value(element)).collect();
    let pairs = elements.iter().zip(&values);
    Some(match &column.ty {
        CqlType::List(..) => join_collection(values.len(), values.iter().map(|v| &**v)),
        CqlType::Set(..) => join_collection(values.len(), elements.iter().map(|e| &*e.path)),
        CqlType::Map(..) => {
            join_collection(values.len(), pairs.flat_map(|(e, v)| [&*e.path, &**v]))
        }
        CqlType::Udt(udt, _) => {
            let mut out = Vec::new();
            for number in 0..udt.fields.len() {
                let path = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
                let found = elements.iter().zip(&values).find(|(e, _)| *e.path == path);
                push_bytes(&mut out, found.map(|(_, value)| &**value));
            }
            out
        }
        _ => return None,
    })
}
