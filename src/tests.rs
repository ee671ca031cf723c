//! Answers of a source for the tests of several modules.
#![allow(clippy::unwrap_used)] // tests may

use crate::cql::response::metadata::{ColumnDef, MetadataHead};
use crate::cql::response::rows;
use crate::cql::{ColumnType, Writer};

/// The message of a RESULT with rows of these columns, cell by cell.
pub(crate) fn rows_message(columns: &[(&str, ColumnType)], cells: &[Option<&[u8]>]) -> Vec<u8> {
    page_message(columns, cells, None)
}

/// As [`rows_message`]; with a paging state there are more rows to come.
pub(crate) fn page_message(
    columns: &[(&str, ColumnType)],
    cells: &[Option<&[u8]>],
    paging_state: Option<&[u8]>,
) -> Vec<u8> {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, column_type)| ColumnDef {
            keyspace: "ks",
            table: "t",
            name,
            column_type: column_type.clone(),
        })
        .collect();
    let head = MetadataHead {
        paging_state,
        ..MetadataHead::default()
    };
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    let mut encoder = rows::encode(&mut writer, &head, &columns);
    cells.iter().for_each(|cell| encoder.cell(*cell));
    encoder.finish();
    writer.finish().unwrap();
    out
}

/// Columns whose types do not matter.
pub(crate) fn blobs<'a>(names: &[&'a str]) -> Vec<(&'a str, ColumnType)> {
    names.iter().map(|name| (*name, ColumnType::Blob)).collect()
}
