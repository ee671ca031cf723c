//! Bound values: the `<n><value_1>…<value_n>` of QUERY, EXECUTE and BATCH (§4.1.4), with or
//! without names, as a view and as something to edit.

use crate::error::{DecodeError, EncodeError, Notation};
use crate::primitive::{Reader, Value, Writer};

/// Bound values that were checked once and stay in their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a> {
    block: &'a [u8],
    count: u16,
    named: bool,
}

/// One bound value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// Its name, if values are named.
    pub name: Option<&'a str>,
    /// The value.
    pub value: Value<'a>,
    /// Name and value as they lie in the buffer.
    pub raw: &'a [u8],
}

impl<'a> Values<'a> {
    /// No values, as BATCH writes them for a statement without.
    pub const EMPTY: Self = Self {
        block: &[0, 0],
        count: 0,
        named: false,
    };

    /// Reads and checks values at the position of `reader`.
    ///
    /// # Errors
    /// Cut short, a name that is not UTF-8, a length below -2.
    #[inline]
    pub fn read(reader: &mut Reader<'a>, named: bool) -> Result<Self, DecodeError> {
        let start = reader.position();
        let count = reader.short()?;
        for _ in 0..count {
            if named {
                reader.string()?;
            }
            reader.value()?;
        }
        Ok(Self {
            block: reader.since(start),
            count,
            named,
        })
    }

    /// Reads values that [`Values::block`] gave or [`write()`] wrote.
    ///
    /// # Errors
    /// As [`Values::read`], and bytes left over.
    pub fn parse(block: &'a [u8], named: bool) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(block);
        let values = Self::read(&mut reader, named)?;
        reader.finish()?;
        Ok(values)
    }

    /// How many values.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether there is no value.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether each value has a name.
    #[inline]
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.named
    }

    /// Count and values as they lie in the buffer.
    #[inline]
    #[must_use]
    pub const fn block(&self) -> &'a [u8] {
        self.block
    }

    /// The values in order.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> ValuesIter<'a> {
        let reader = Reader::new(self.block.get(2..).unwrap_or_default());
        ValuesIter {
            left: self.count,
            named: self.named,
            reader,
        }
    }

    /// The value at this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Bound<'a>> {
        self.iter().nth(index)
    }
}

impl<'a> IntoIterator for Values<'a> {
    type Item = Bound<'a>;
    type IntoIter = ValuesIter<'a>;
    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Values`].
#[derive(Clone, Debug)]
pub struct ValuesIter<'a> {
    left: u16,
    named: bool,
    reader: Reader<'a>,
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Bound<'a>;

    #[inline]
    fn next(&mut self) -> Option<Bound<'a>> {
        self.left = self.left.checked_sub(1)?;
        let start = self.reader.position();
        // Checked by `Values::read`: neither can fail here.
        let name = match self.named {
            true => Some(self.reader.string().ok()?),
            false => None,
        };
        let value = self.reader.value().ok()?;
        Some(Bound {
            name,
            value,
            raw: self.reader.since(start),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

/// Appends count and values to `out`; [`Values::parse`] reads them. Either all have names or none.
///
/// # Errors
/// More than 65,535 values, too long a name or value, names mixed. `out` is then as before.
pub fn write<'v>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = (Option<&'v str>, Value<'v>)>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = write_block(out, values);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

#[inline]
fn write_block<'v>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = (Option<&'v str>, Value<'v>)>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut w = Writer::new(out);
    w.short(0);
    let mut length = 0_usize;
    let mut named = false;
    for (name, value) in values {
        if length == 0 {
            named = name.is_some();
        }
        put(&mut w, named, name, value)?;
        length += 1;
    }
    w.finish()?;
    let what = Notation::Value;
    let count = u16::try_from(length).map_err(|_| EncodeError::TooLong { what, length })?;
    if let Some(place) = out.get_mut(start..start + 2) {
        place.copy_from_slice(&count.to_be_bytes());
    }
    Ok(())
}

/// One change of bound values. Indices are those of the values before any edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'e> {
    /// Other bytes for the value at `index`; its name stays.
    Replace {
        /// Which value.
        index: usize,
        /// Its new bytes.
        value: Value<'e>,
    },
    /// A new value in front of the value at `before` (their number: behind all).
    Insert {
        /// Which value comes next.
        before: usize,
        /// Its name, if values are named.
        name: Option<&'e str>,
        /// Its bytes.
        value: Value<'e>,
    },
    /// A new value behind all.
    Append {
        /// Its name, if values are named.
        name: Option<&'e str>,
        /// Its bytes.
        value: Value<'e>,
    },
}

/// Appends to `out` the values after the edits, and says whether they are named.
///
/// Edits stand in ascending order of their index, an insertion before the replacement at the same
/// index, [`Edit::Append`] last. Without values before (`None`), the first edit decides whether
/// they are named.
///
/// # Errors
/// An index that is not there or out of order, names mixed, more than 65,535 values, a value too
/// long. `out` is then as before.
pub fn rewrite(
    out: &mut Vec<u8>,
    values: Option<Values<'_>>,
    edits: &[Edit<'_>],
) -> Result<bool, EncodeError> {
    let start = out.len();
    let result = rewrite_block(out, values, edits);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn rewrite_block(
    out: &mut Vec<u8>,
    values: Option<Values<'_>>,
    edits: &[Edit<'_>],
) -> Result<bool, EncodeError> {
    let old = values.unwrap_or(Values::EMPTY);
    // An empty list has no names that an added value could contradict.
    let named = match edits.first() {
        Some(Edit::Insert { name, .. } | Edit::Append { name, .. }) if old.is_empty() => {
            name.is_some()
        }
        _ => old.named,
    };
    let added = edits
        .iter()
        .filter(|edit| !matches!(edit, Edit::Replace { .. }))
        .count();
    let length = old.len() + added;
    let what = Notation::Value;
    let count = u16::try_from(length).map_err(|_| EncodeError::TooLong { what, length })?;
    let mut w = Writer::new(out);
    w.short(count);
    let mut edits = edits.iter().copied().peekable();
    for (index, bound) in old.iter().enumerate() {
        while let Some(Edit::Insert { name, value, .. }) =
            edits.next_if(|edit| matches!(edit, Edit::Insert { before, .. } if *before == index))
        {
            put(&mut w, named, name, value)?;
        }
        let here = |edit: &Edit<'_>| matches!(edit, Edit::Replace { index: i, .. } if *i == index);
        match edits.next_if(here) {
            Some(Edit::Replace { value, .. }) => put(&mut w, named, bound.name, value)?,
            _ => w.raw(bound.raw),
        }
    }
    for edit in edits {
        match edit {
            Edit::Append { name, value } => put(&mut w, named, name, value)?,
            Edit::Insert {
                before,
                name,
                value,
            } if named || before == old.len() => {
                // by name there may be fewer values than markers: one can stand for several
                put(&mut w, named, name, value)?;
            }
            Edit::Insert { before: index, .. } | Edit::Replace { index, .. } => {
                return Err(EncodeError::NoSuchValue {
                    index,
                    count: old.len(),
                });
            }
        }
    }
    w.finish().map(|()| named)
}

#[inline]
fn put(
    w: &mut Writer<'_>,
    named: bool,
    name: Option<&str>,
    value: Value<'_>,
) -> Result<(), EncodeError> {
    match (named, name) {
        (true, Some(name)) => w.string(name),
        (false, _) => {} // markers with names take values by place too
        _ => return Err(EncodeError::MixedNames),
    }
    w.value(value);
    Ok(())
}
