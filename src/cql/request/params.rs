//! `<query_parameters>` of QUERY and EXECUTE (§4.1.4; v5: the same section there).

use crate::consistency::Consistency;
use crate::error::{DecodeError, EncodeError, Notation};
use crate::primitive::{Reader, Writer};
use crate::values::{self, Edit, Values};
use crate::version::Version;

/// Flags of `<query_parameters>` and of the end of BATCH: a `[byte]` up to v4, an `[int]` in v5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueryFlags(pub u32);

impl QueryFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Bound values follow.
    pub const VALUES: Self = Self(0x01);
    /// The client knows the result's columns already.
    pub const SKIP_METADATA: Self = Self(0x02);
    /// A page size follows.
    pub const PAGE_SIZE: Self = Self(0x04);
    /// A paging state follows.
    pub const PAGING_STATE: Self = Self(0x08);
    /// A serial consistency follows.
    pub const SERIAL_CONSISTENCY: Self = Self(0x10);
    /// A default timestamp follows.
    pub const TIMESTAMP: Self = Self(0x20);
    /// Bound values have names.
    pub const NAMES: Self = Self(0x40);
    /// v5: a keyspace follows.
    pub const KEYSPACE: Self = Self(0x80);
    /// v5: the current second follows.
    pub const NOW_IN_SECONDS: Self = Self(0x100);
    /// All bits that v3 and v4 define.
    pub const KNOWN: Self = Self(0x7F);
    /// The bits that only v5 defines.
    pub const V5_ONLY: Self = Self(0x180);

    /// Whether all bits of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without those of `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These flags, with those of `other` if `yes`.
    #[inline]
    #[must_use]
    pub const fn with_if(self, yes: bool, other: Self) -> Self {
        if yes { self.with(other) } else { self }
    }

    /// The bits that a version defines.
    const fn known(version: Version) -> Self {
        match version {
            Version::V3 | Version::V4 => Self::KNOWN,
            Version::V5 => Self::KNOWN.with(Self::V5_ONLY),
        }
    }

    /// How many bytes the flags take.
    #[inline]
    #[must_use]
    pub const fn len(version: Version) -> usize {
        match version {
            Version::V3 | Version::V4 => 1,
            Version::V5 => 4,
        }
    }

    /// Reads the flags. A bit that the version does not define would announce fields of unknown
    /// length, so it is an error (Cassandra 4 reads the keyspace of v5 when a v4 client sets it).
    #[inline]
    pub(crate) fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let at = crate::error::offset(reader.position());
        let flags = match version {
            Version::V3 | Version::V4 => Self(reader.byte()?.into()),
            Version::V5 => Self(reader.int()?.cast_unsigned()),
        };
        if flags.without(Self::known(version)) != Self::NONE {
            let (what, found) = (Notation::QueryFlags, flags.0.cast_signed());
            return Err(DecodeError::Unknown { what, at, found });
        }
        Ok(flags)
    }

    /// Appends the flags; bits that the version does not define are left out.
    #[inline]
    pub fn put(self, out: &mut Vec<u8>, version: Version) {
        let [a, b, c, low] = (self.0 & Self::known(version).0).to_be_bytes();
        match version {
            Version::V3 | Version::V4 => out.push(low),
            Version::V5 => out.extend_from_slice(&[a, b, c, low]),
        }
    }
}

/// `<query_parameters>`, checked to the last byte. The fields can be changed and written again
/// with [`QueryParams::encode`], for example without the paging state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryParams<'a> {
    /// The bytes this was read from; empty if it was not read.
    pub raw: &'a [u8],
    /// Consistency level.
    pub consistency: Consistency,
    /// Flags as they came. [`QueryParams::encode`] takes only
    /// [`QueryFlags::SKIP_METADATA`] from here and the rest from the fields.
    pub flags: QueryFlags,
    /// Bound values.
    pub values: Option<Values<'a>>,
    /// Offset in `raw` of what follows the values (the page size or a later field), in bytes.
    pub tail_at: usize,
    /// Wanted rows per page.
    pub page_size: Option<i32>,
    /// Where the page before ended.
    pub paging_state: Option<&'a [u8]>,
    /// Serial consistency of a conditional statement.
    pub serial_consistency: Option<Consistency>,
    /// Default write timestamp, in µs since 1970.
    pub timestamp: Option<i64>,
    /// v5: keyspace of unqualified names, instead of the session's.
    pub keyspace: Option<&'a str>,
    /// v5: the second from which TTLs count and expiry is judged, since 1970.
    pub now_in_seconds: Option<i32>,
}

impl<'a> QueryParams<'a> {
    /// Parameters with a consistency level and nothing else.
    #[must_use]
    pub const fn new(consistency: Consistency) -> Self {
        Self {
            raw: &[],
            consistency,
            flags: QueryFlags::NONE,
            values: None,
            tail_at: 0,
            page_size: None,
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
            keyspace: None,
            now_in_seconds: None,
        }
    }

    /// Consistency and flags, without a look at the rest.
    ///
    /// # Errors
    /// Cut short, an unknown level or flag.
    #[inline]
    pub fn peek(raw: &[u8], version: Version) -> Result<(Consistency, QueryFlags), DecodeError> {
        let mut reader = Reader::new(raw);
        let consistency = reader.consistency()?;
        Ok((consistency, QueryFlags::read(&mut reader, version)?))
    }

    /// Reads all of `raw` in the layout of v3 and v4.
    ///
    /// # Errors
    /// Malformed, or bytes left behind the last field.
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_as(raw, Version::V4)
    }

    /// Reads all of `raw` in the layout of `version`.
    ///
    /// # Errors
    /// Malformed, or bytes left behind the last field.
    #[inline]
    pub fn parse_as(raw: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        let consistency = reader.consistency()?;
        let flags = QueryFlags::read(&mut reader, version)?;
        let mut params = Self {
            raw,
            flags,
            ..Self::new(consistency)
        };
        if flags.contains(QueryFlags::VALUES) {
            params.values = Some(Values::read(
                &mut reader,
                flags.contains(QueryFlags::NAMES),
            )?);
        }
        params.tail_at = reader.position();
        if flags.contains(QueryFlags::PAGE_SIZE) {
            params.page_size = Some(reader.int()?);
        }
        if flags.contains(QueryFlags::PAGING_STATE) {
            params.paging_state = reader.bytes()?;
        }
        if flags.contains(QueryFlags::SERIAL_CONSISTENCY) {
            params.serial_consistency = Some(reader.consistency()?);
        }
        if flags.contains(QueryFlags::TIMESTAMP) {
            params.timestamp = Some(reader.long()?);
        }
        if flags.contains(QueryFlags::KEYSPACE) {
            params.keyspace = Some(reader.string()?);
        }
        if flags.contains(QueryFlags::NOW_IN_SECONDS) {
            params.now_in_seconds = Some(reader.int()?);
        }
        reader.finish()?;
        Ok(params)
    }

    /// Appends the parameters as the fields say, for v3 or v4.
    pub fn encode(&self, w: &mut Writer<'_>) {
        self.encode_as(w, Version::V4);
    }

    /// Appends the parameters as the fields say, but for what the version cannot say.
    pub fn encode_as(&self, w: &mut Writer<'_>, version: Version) {
        w.consistency(self.consistency);
        let named = self.values.map(|values| values.is_named());
        self.flags_for(named).put(w.out(), version);
        if let Some(values) = self.values {
            w.raw(values.block());
        }
        self.encode_tail(w, version);
    }

    /// The flags that the fields make; `named`: whether there are values and whether with names.
    fn flags_for(&self, named: Option<bool>) -> QueryFlags {
        QueryFlags::NONE
            .with_if(named.is_some(), QueryFlags::VALUES)
            .with_if(
                self.flags.contains(QueryFlags::SKIP_METADATA),
                QueryFlags::SKIP_METADATA,
            )
            .with_if(self.page_size.is_some(), QueryFlags::PAGE_SIZE)
            .with_if(self.paging_state.is_some(), QueryFlags::PAGING_STATE)
            .with_if(
                self.serial_consistency.is_some(),
                QueryFlags::SERIAL_CONSISTENCY,
            )
            .with_if(self.timestamp.is_some(), QueryFlags::TIMESTAMP)
            .with_if(named == Some(true), QueryFlags::NAMES)
            .with_if(self.keyspace.is_some(), QueryFlags::KEYSPACE)
            .with_if(self.now_in_seconds.is_some(), QueryFlags::NOW_IN_SECONDS)
    }

    fn encode_tail(&self, w: &mut Writer<'_>, version: Version) {
        if let Some(page_size) = self.page_size {
            w.int(page_size);
        }
        if self.paging_state.is_some() {
            w.bytes(self.paging_state);
        }
        if let Some(serial) = self.serial_consistency {
            w.consistency(serial);
        }
        if let Some(timestamp) = self.timestamp {
            w.long(timestamp);
        }
        if version < Version::V5 {
            return;
        }
        if let Some(keyspace) = self.keyspace {
            w.string(keyspace);
        }
        if let Some(now) = self.now_in_seconds {
            w.int(now);
        }
    }

    /// Appends these parameters to `out` in the layout of v4 with the edits applied to the bound
    /// values; the other fields as they stand in `self`. With `stamp` (µs since 1970) as default
    /// timestamp, if given, else with the one that is there.
    ///
    /// # Errors
    /// Those of [`values::rewrite`]. `out` is then as before.
    pub fn rewrite(
        &self,
        out: &mut Vec<u8>,
        edits: &[Edit<'_>],
        stamp: Option<i64>,
    ) -> Result<(), EncodeError> {
        self.rewrite_as(out, Version::V4, edits, stamp)
    }

    /// As [`QueryParams::rewrite`], in the layout of `version`.
    ///
    /// # Errors
    /// Those of [`values::rewrite`]. `out` is then as before.
    pub fn rewrite_as(
        &self,
        out: &mut Vec<u8>,
        version: Version,
        edits: &[Edit<'_>],
        stamp: Option<i64>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let result = self.rewrite_at(out, version, edits, stamp);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn rewrite_at(
        &self,
        out: &mut Vec<u8>,
        version: Version,
        edits: &[Edit<'_>],
        stamp: Option<i64>,
    ) -> Result<(), EncodeError> {
        let changed = QueryParams {
            timestamp: stamp.or(self.timestamp),
            ..*self
        };
        out.extend_from_slice(&self.consistency.number().to_be_bytes());
        // the flags before the values, though only these say whether there are names
        let flags_at = out.len();
        QueryFlags::NONE.put(out, version);
        let named = match (self.values, edits) {
            (None, []) => None,
            _ => Some(values::rewrite(out, self.values, edits)?),
        };
        let mut flags = Vec::new();
        changed.flags_for(named).put(&mut flags, version);
        if let Some(place) = out.get_mut(flags_at..flags_at + flags.len()) {
            place.copy_from_slice(&flags);
        }
        let mut w = Writer::new(out);
        changed.encode_tail(&mut w, version);
        w.finish()
    }
}
