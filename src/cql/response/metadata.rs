//! Columns of rows and of bind markers (§4.2.5.2, §4.2.5.4).

use core::ops::Range;

use crate::column_type::{ColumnType, TypeView};
use crate::error::{DecodeError, Notation, offset};
use crate::primitive::{Reader, Writer};

/// All columns are of one table, named once.
const GLOBAL_TABLE: i32 = 0x0001;
const HAS_MORE_PAGES: i32 = 0x0002;
const NO_METADATA: i32 = 0x0004;
/// v5: the columns changed since PREPARE; their new id follows.
const METADATA_CHANGED: i32 = 0x0008;
/// ScyllaDB marks conditional statements so, if the client asked for it; no field belongs to it.
const SCYLLA_LWT: i32 = i32::MIN;
const KNOWN: i32 = 0x000F | SCYLLA_LWT;

/// Columns, checked once; they stay in their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Flags as they came.
    pub flags: i32,
    /// How many columns.
    pub column_count: usize,
    /// Whether indices of the partition key are part of the layout.
    with_pk: bool,
    /// Prepared statements from v4 on: index of the bind marker of each part of the partition
    /// key, as big-endian `[short]`s. Empty if not all parts are bound.
    pk_indices: &'a [u8],
    /// Where this page ended; `None` on the last page.
    pub paging_state: Option<&'a [u8]>,
    /// v5: new id of the columns.
    pub new_metadata_id: Option<&'a [u8]>,
    /// Keyspace and table of all columns, if they are the same.
    pub global_table: Option<(&'a str, &'a str)>,
    /// The column specs, without the global table.
    specs: &'a [u8],
    /// Offset of the flags in the message, in bytes.
    pub start: usize,
    /// Offset of the first column spec in the message, in bytes.
    pub specs_at: usize,
    /// Offset of what follows the columns, in bytes.
    pub end: usize,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSpec<'a> {
    /// Keyspace of its table.
    pub keyspace: &'a str,
    /// Its table.
    pub table: &'a str,
    /// Its name, or that of the bind marker.
    pub name: &'a str,
    /// Its type.
    pub column_type: TypeView<'a>,
    /// Where the spec lies in the message, in bytes.
    pub at: (usize, usize),
}

impl ColumnSpec<'_> {
    /// Where the spec lies in the message.
    #[must_use]
    pub const fn span(&self) -> Range<usize> {
        self.at.0..self.at.1
    }
}

impl<'a> Metadata<'a> {
    /// Reads the columns at the position of `reader`. `with_pk`: as PREPARE's answer describes
    /// bind markers from v4 on.
    ///
    /// # Errors
    /// Malformed, unknown flags, unknown types.
    pub fn read(reader: &mut Reader<'a>, with_pk: bool) -> Result<Self, DecodeError> {
        let start = reader.position();
        let flags = reader.int()?;
        if flags & !KNOWN != 0 {
            let (what, at) = (Notation::Columns, offset(start));
            return Err(DecodeError::Unknown {
                what,
                at,
                found: flags,
            });
        }
        let column_count = reader.count(Notation::Columns)?;
        let pk_indices = if with_pk { read_pk(reader)? } else { &[] };
        let paging_state = match flags & HAS_MORE_PAGES {
            0 => None,
            _ => reader.bytes()?,
        };
        let new_metadata_id = match flags & METADATA_CHANGED {
            0 => None,
            _ => Some(reader.short_bytes()?),
        };
        let mut metadata = Self {
            flags,
            column_count,
            with_pk,
            pk_indices,
            paging_state,
            new_metadata_id,
            global_table: None,
            specs: &[],
            start,
            specs_at: reader.position(),
            end: reader.position(),
        };
        if !metadata.has_columns() {
            return Ok(metadata);
        }
        if flags & GLOBAL_TABLE != 0 {
            metadata.global_table = Some((reader.string()?, reader.string()?));
        }
        metadata.specs_at = reader.position();
        for _ in 0..column_count {
            read_spec(reader, metadata.global_table)?;
        }
        metadata.specs = reader.since(metadata.specs_at);
        metadata.end = reader.position();
        Ok(metadata)
    }

    /// Whether the columns are described (and not left out because the client knows them).
    #[inline]
    #[must_use]
    pub const fn has_columns(&self) -> bool {
        self.flags & NO_METADATA == 0
    }

    /// The columns; none if they are not described.
    #[must_use]
    pub fn columns(&self) -> Columns<'a> {
        let left = if self.has_columns() {
            self.column_count
        } else {
            0
        };
        let reader = Reader::new(self.specs);
        Columns {
            left,
            reader,
            global: self.global_table,
            offset: self.specs_at,
        }
    }

    /// Index of the bind marker of each part of the partition key, in the order of the key; none
    /// before v4 and when not all parts are bound.
    pub fn pk_indices(&self) -> impl ExactSizeIterator<Item = u16> + 'a {
        let (pairs, _) = self.pk_indices.as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair))
    }
}

impl Metadata<'_> {
    /// Appends bind markers without those in `hidden`; indices are there and ascend.
    pub(super) fn encode_without(&self, out: &mut Vec<u8>, hidden: &[u16]) {
        let mut w = Writer::new(out);
        let left = self.column_count.saturating_sub(hidden.len());
        let global = self.global_table.filter(|_| left > 0);
        w.int(if global.is_some() {
            self.flags
        } else {
            self.flags & !GLOBAL_TABLE
        });
        w.count(left, Notation::Columns);
        if self.with_pk {
            let hides_key = self.pk_indices().any(|index| hidden.contains(&index));
            let kept = if hides_key {
                0
            } else {
                self.pk_indices().len()
            };
            w.count(kept, Notation::Columns);
            for index in self.pk_indices().take(kept) {
                let before = hidden.iter().filter(|h| **h < index).count();
                w.short(index - u16::try_from(before).unwrap_or(0));
            }
        }
        if let Some((keyspace, table)) = global {
            w.string(keyspace);
            w.string(table);
        }
        for (index, column) in self.columns().enumerate() {
            let is_hidden = hidden.iter().any(|h| usize::from(*h) == index);
            if !is_hidden {
                let span = column.at.0 - self.specs_at..column.at.1 - self.specs_at;
                w.raw(self.specs.get(span).unwrap_or_default());
            }
        }
    }
}

fn read_pk<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let count = reader.count(Notation::Columns)?;
    let start = reader.position();
    for _ in 0..count {
        reader.short()?;
    }
    Ok(reader.since(start))
}

#[inline]
fn read_spec<'a>(
    reader: &mut Reader<'a>,
    global: Option<(&'a str, &'a str)>,
) -> Result<ColumnSpec<'a>, DecodeError> {
    let start = reader.position();
    let (keyspace, table) = match global {
        Some(names) => names,
        None => (reader.string()?, reader.string()?),
    };
    let (name, column_type) = (reader.string()?, reader.option()?);
    Ok(ColumnSpec {
        keyspace,
        table,
        name,
        column_type,
        at: (start, reader.position()),
    })
}

/// Iterator over the columns of [`Metadata`].
#[derive(Clone, Debug)]
pub struct Columns<'a> {
    left: usize,
    reader: Reader<'a>,
    global: Option<(&'a str, &'a str)>,
    offset: usize,
}

impl<'a> Iterator for Columns<'a> {
    type Item = ColumnSpec<'a>;

    fn next(&mut self) -> Option<ColumnSpec<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Checked by `Metadata::read`: cannot fail here.
        let mut spec = read_spec(&mut self.reader, self.global).ok()?;
        spec.at = (spec.at.0 + self.offset, spec.at.1 + self.offset);
        Some(spec)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Columns<'_> {}

/// A column to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef<'a> {
    /// Keyspace of its table.
    pub keyspace: &'a str,
    /// Its table.
    pub table: &'a str,
    /// Its name, or that of the bind marker.
    pub name: &'a str,
    /// Its type.
    pub column_type: ColumnType,
}

/// What stands around the columns to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataHead<'a> {
    /// Where this page ended, if there are more.
    pub paging_state: Option<&'a [u8]>,
    /// Leave the columns out: the client knows them.
    pub no_metadata: bool,
    /// Bind markers from v4 on: index of the marker of each part of the partition key.
    pub pk_indices: Option<&'a [u16]>,
    /// v5: id of columns that changed since PREPARE.
    pub new_metadata_id: Option<&'a [u8]>,
}

/// Appends columns. If all are of one table, it is named once.
pub fn encode(w: &mut Writer<'_>, head: &MetadataHead<'_>, columns: &[ColumnDef<'_>]) {
    let global = columns.first().filter(|first| {
        columns
            .iter()
            .all(|c| c.keyspace == first.keyspace && c.table == first.table)
    });
    let flag = |yes: bool, bit: i32| if yes { bit } else { 0 };
    w.int(
        flag(global.is_some(), GLOBAL_TABLE)
            | flag(head.paging_state.is_some(), HAS_MORE_PAGES)
            | flag(head.no_metadata, NO_METADATA)
            | flag(head.new_metadata_id.is_some(), METADATA_CHANGED),
    );
    w.count(columns.len(), Notation::Columns);
    if let Some(indices) = head.pk_indices {
        w.count(indices.len(), Notation::Columns);
        indices.iter().for_each(|index| w.short(*index));
    }
    if head.paging_state.is_some() {
        w.bytes(head.paging_state);
    }
    if let Some(id) = head.new_metadata_id {
        w.short_bytes(id);
    }
    if head.no_metadata {
        return;
    }
    if let Some(first) = global {
        w.string(first.keyspace);
        w.string(first.table);
    }
    for column in columns {
        if global.is_none() {
            w.string(column.keyspace);
            w.string(column.table);
        }
        w.string(column.name);
        w.option(&column.column_type);
    }
}
