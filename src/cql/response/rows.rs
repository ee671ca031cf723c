//! RESULT with rows (§4.2.5.2).

use super::metadata::{self, ColumnDef, Metadata, MetadataHead};
use super::result::ResultKind;
use crate::error::{DecodeError, EncodeError, Notation, offset};
use crate::primitive::{Reader, Writer};

/// Rows: the columns are checked, the cells only as they are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    /// The whole message, beginning with the kind.
    pub raw: &'a [u8],
    /// The columns.
    pub metadata: Metadata<'a>,
    /// How many rows. They fit into the message at four bytes a cell, so that memory for them
    /// can be taken ahead.
    pub row_count: usize,
    /// Offset of the first cell in the message, in bytes.
    pub cells_at: usize,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The value; `None` is null.
    pub bytes: Option<&'a [u8]>,
    /// Offset of the cell (its length) in the message, in bytes.
    pub at: usize,
}

impl<'a> Rows<'a> {
    /// Reads the message of a RESULT whose kind is [`ResultKind::Rows`].
    ///
    /// # Errors
    /// Malformed columns, or more cells claimed than the message can hold.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        reader.int()?; // the kind
        let metadata = Metadata::read(&mut reader, false)?;
        let at = offset(reader.position());
        let row_count = reader.count(Notation::Rows)?;
        let least = row_count.checked_mul(metadata.column_count.max(1).saturating_mul(4));
        if least.is_none_or(|least| least > reader.remaining()) {
            return Err(DecodeError::Truncated {
                what: Notation::Rows,
                at,
            });
        }
        Ok(Self {
            raw: message,
            metadata,
            row_count,
            cells_at: reader.position(),
        })
    }

    /// All cells, row by row. Ends after the first error.
    #[inline]
    #[must_use]
    pub fn cells(&self) -> Cells<'a> {
        // Cannot overflow: `parse` compared the product with the message's length.
        let left = self.row_count * self.metadata.column_count;
        let reader = Reader::new(self.raw.get(self.cells_at..).unwrap_or_default());
        Cells {
            left,
            reader,
            offset: self.cells_at,
        }
    }

    /// Walks all cells.
    ///
    /// # Errors
    /// A cell is cut short or bytes are left behind the last.
    pub fn check(&self) -> Result<(), DecodeError> {
        let mut cells = self.cells();
        for cell in &mut cells {
            cell?;
        }
        cells.reader.finish()
    }
}

/// Iterator over the cells of [`Rows`].
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    left: usize,
    reader: Reader<'a>,
    offset: usize,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let at = self.offset + self.reader.position();
        match self.reader.bytes() {
            Ok(bytes) => Some(Ok(Cell { bytes, at })),
            Err(_) => {
                self.left = 0;
                let (what, at) = (Notation::Bytes, offset(at));
                Some(Err(DecodeError::Truncated { what, at }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Calls `visit` with each element of a cell that is a list or a set (§6, `list`), nulls left out.
/// A cell that is null has none.
///
/// # Errors
/// Cut short.
pub fn each_element<'a>(
    cell: Option<&'a [u8]>,
    mut visit: impl FnMut(&'a [u8]),
) -> Result<(), DecodeError> {
    let Some(cell) = cell else { return Ok(()) };
    let mut reader = Reader::new(cell);
    for _ in 0..reader.int()? {
        reader.bytes()?.into_iter().for_each(&mut visit);
    }
    Ok(())
}

/// Writes rows cell by cell; the number of rows is filled in at the end.
#[derive(Debug)]
#[must_use = "call finish() to fill in the number of rows"]
pub struct RowsEncoder<'w, 'o> {
    w: &'w mut Writer<'o>,
    count_at: usize,
    columns: usize,
    cells: usize,
}

/// Begins a RESULT with rows.
pub fn encode<'w, 'o>(
    w: &'w mut Writer<'o>,
    head: &MetadataHead<'_>,
    columns: &[ColumnDef<'_>],
) -> RowsEncoder<'w, 'o> {
    ResultKind::Rows.encode(w);
    metadata::encode(w, head, columns);
    let count_at = w.out().len();
    w.int(0);
    RowsEncoder {
        w,
        count_at,
        columns: columns.len(),
        cells: 0,
    }
}

impl RowsEncoder<'_, '_> {
    /// Appends the next cell of the row, or the first of the next row.
    pub fn cell(&mut self, bytes: Option<&[u8]>) {
        self.w.bytes(bytes);
        self.cells += 1;
    }

    /// Ends the rows. Uneven rows are an error of the [`Writer`].
    pub fn finish(self) {
        let Self {
            w,
            count_at,
            columns,
            cells,
        } = self;
        let rows = cells / columns.max(1);
        if cells != rows * columns {
            w.fail(EncodeError::UnevenRows { cells, columns });
        }
        match i32::try_from(rows) {
            Ok(count) => {
                if let Some(place) = w.out().get_mut(count_at..count_at + 4) {
                    place.copy_from_slice(&count.to_be_bytes());
                }
            }
            Err(_) => w.fail(EncodeError::TooLong {
                what: Notation::Rows,
                length: rows,
            }),
        }
    }
}
