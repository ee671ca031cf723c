//! BATCH (§4.1.7): several statements at once.

use crate::consistency::Consistency;
use crate::error::{DecodeError, EncodeError, Notation, offset};
use crate::primitive::{Reader, Writer};
use crate::request::params::{QueryFlags, QueryParams};
use crate::values::Values;
use crate::version::Version;

/// What a batch promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BatchType {
    /// All or nothing, by way of the batch log.
    Logged = 0,
    /// Nothing.
    Unlogged = 1,
    /// Counter updates only.
    Counter = 2,
}

impl BatchType {
    /// The type with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Logged),
            1 => Some(Self::Unlogged),
            2 => Some(Self::Counter),
            _ => None,
        }
    }
}

/// BATCH, checked to its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The whole message.
    pub raw: &'a [u8],
    /// What it promises.
    pub kind: BatchType,
    /// How many entries.
    pub count: u16,
    /// Offset in `raw` of the end: consistency, flags, serial consistency, timestamp; in bytes.
    pub tail_at: usize,
    /// Consistency level.
    pub consistency: Consistency,
    /// Flags as they came.
    pub flags: QueryFlags,
    /// Serial consistency of conditional statements.
    pub serial_consistency: Option<Consistency>,
    /// Default write timestamp, in µs since 1970.
    pub timestamp: Option<i64>,
    /// v5: keyspace of unqualified names, instead of the session's.
    pub keyspace: Option<&'a str>,
    /// v5: the second from which TTLs count, since 1970.
    pub now_in_seconds: Option<i32>,
}

/// Offset of the first entry: behind type and count.
const ENTRIES_AT: usize = 3;

/// Flags whose fields BATCH has; and two that the specification does not give it, but Cassandra's
/// own clients do, and its nodes read (`QueryOptions.Codec`): no metadata, and a page size. Names
/// of values cannot work there (CASSANDRA-10246: the flag stands behind the values).
const BATCH_FLAGS: QueryFlags = QueryFlags(0x36).with(QueryFlags::V5_ONLY);

impl<'a> Batch<'a> {
    /// Reads the message of v3 or v4.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_as(message, Version::V4)
    }

    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse_as(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let number = reader.byte()?;
        let (what, found) = (Notation::BatchType, i32::from(number));
        let kind =
            BatchType::from_number(number).ok_or(DecodeError::Unknown { what, at: 0, found })?;
        let count = reader.short()?;
        for _ in 0..count {
            BatchEntry::read(&mut reader)?;
        }
        let tail_at = reader.position();
        let consistency = reader.consistency()?;
        let flags_at = offset(reader.position());
        let flags = QueryFlags::read(&mut reader, version)?;
        if flags.without(BATCH_FLAGS) != QueryFlags::NONE {
            let (what, found) = (Notation::QueryFlags, flags.0.cast_signed());
            return Err(DecodeError::Unknown {
                what,
                at: flags_at,
                found,
            });
        }
        if flags.contains(QueryFlags::PAGE_SIZE) {
            reader.int()?;
        }
        let serial_consistency = match flags.contains(QueryFlags::SERIAL_CONSISTENCY) {
            true => Some(reader.consistency()?),
            false => None,
        };
        let timestamp = match flags.contains(QueryFlags::TIMESTAMP) {
            true => Some(reader.long()?),
            false => None,
        };
        let keyspace = match flags.contains(QueryFlags::KEYSPACE) {
            true => Some(reader.string()?),
            false => None,
        };
        let now_in_seconds = match flags.contains(QueryFlags::NOW_IN_SECONDS) {
            true => Some(reader.int()?),
            false => None,
        };
        reader.finish()?;
        let raw = message;
        Ok(Self {
            raw,
            kind,
            count,
            tail_at,
            consistency,
            flags,
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
        })
    }

    /// The entries in order.
    #[inline]
    #[must_use]
    pub fn entries(&self) -> BatchEntries<'a> {
        let entries = self.raw.get(ENTRIES_AT..self.tail_at).unwrap_or_default();
        BatchEntries {
            left: self.count,
            reader: Reader::new(entries),
        }
    }

    /// Consistency, flags and what they announce, as they lie in the message.
    #[must_use]
    pub fn tail(&self) -> &'a [u8] {
        self.raw.get(self.tail_at..).unwrap_or_default()
    }
}

/// One statement of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEntry<'a> {
    /// A statement as text.
    Text {
        /// The statement.
        text: &'a str,
        /// Its bound values; [`Values::block`] is their span.
        values: Values<'a>,
    },
    /// A prepared statement.
    Prepared {
        /// Id that PREPARE's answer gave.
        id: &'a [u8],
        /// Its bound values; [`Values::block`] is their span.
        values: Values<'a>,
    },
}

impl<'a> BatchEntry<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = offset(reader.position());
        match reader.byte()? {
            0 => {
                let text = reader.long_string()?;
                Ok(Self::Text {
                    text,
                    values: Values::read(reader, false)?,
                })
            }
            1 => {
                let id = reader.short_bytes()?;
                Ok(Self::Prepared {
                    id,
                    values: Values::read(reader, false)?,
                })
            }
            other => {
                let (what, found) = (Notation::BatchEntryKind, i32::from(other));
                Err(DecodeError::Unknown { what, at, found })
            }
        }
    }

    /// The bound values.
    #[inline]
    #[must_use]
    pub const fn values(&self) -> Values<'a> {
        match self {
            Self::Text { values, .. } | Self::Prepared { values, .. } => *values,
        }
    }

    /// Appends the entry.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Text { text, .. } => {
                w.byte(0);
                w.long_string(text);
            }
            Self::Prepared { id, .. } => {
                w.byte(1);
                w.short_bytes(id);
            }
        }
        w.raw(self.values().block());
        if self.values().is_named() {
            w.fail(EncodeError::MixedNames);
        }
    }
}

/// Iterator over the entries of a [`Batch`].
#[derive(Clone, Debug)]
pub struct BatchEntries<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for BatchEntries<'a> {
    type Item = BatchEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<BatchEntry<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Checked by `Batch::parse`: cannot fail here.
        BatchEntry::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

/// What stands at the end of BATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTail<'a> {
    /// Consistency level.
    pub consistency: Consistency,
    /// Serial consistency of conditional statements.
    pub serial_consistency: Option<Consistency>,
    /// Default write timestamp, in µs since 1970.
    pub timestamp: Option<i64>,
    /// v5: keyspace of unqualified names.
    pub keyspace: Option<&'a str>,
    /// v5: the second from which TTLs count, since 1970.
    pub now_in_seconds: Option<i32>,
}

impl<'a> From<&Batch<'a>> for BatchTail<'a> {
    fn from(batch: &Batch<'a>) -> Self {
        let Batch {
            consistency,
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
            ..
        } = *batch;
        Self {
            consistency,
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
        }
    }
}

/// Appends the message for v3 or v4.
pub fn encode<'e>(
    w: &mut Writer<'_>,
    kind: BatchType,
    entries: impl IntoIterator<Item = BatchEntry<'e>>,
    tail: &BatchTail<'_>,
) {
    encode_as(w, Version::V4, kind, entries, tail);
}

/// Appends the message, but for what the version cannot say.
pub fn encode_as<'e>(
    w: &mut Writer<'_>,
    version: Version,
    kind: BatchType,
    entries: impl IntoIterator<Item = BatchEntry<'e>>,
    tail: &BatchTail<'_>,
) {
    w.byte(kind as u8);
    let count_at = w.out().len();
    w.short(0);
    let mut length = 0_usize;
    for entry in entries {
        entry.encode(w);
        length += 1;
    }
    match u16::try_from(length) {
        Ok(count) => {
            if let Some(place) = w.out().get_mut(count_at..count_at + 2) {
                place.copy_from_slice(&count.to_be_bytes());
            }
        }
        Err(_) => w.fail(EncodeError::TooLong {
            what: Notation::Body,
            length,
        }),
    }
    let params = QueryParams {
        serial_consistency: tail.serial_consistency,
        timestamp: tail.timestamp,
        keyspace: tail.keyspace,
        now_in_seconds: tail.now_in_seconds,
        ..QueryParams::new(tail.consistency)
    };
    params.encode_as(w, version); // the same fields in the same order, without values
}
