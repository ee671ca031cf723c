//! Write timestamps of requests: read, put in, replace; and the same request in the layout of v4.
//!
//! The default timestamp stands behind the bound values in `<query_parameters>` (§4.1.4) and in
//! the end of BATCH (§4.1.7). In v3 and v4 it is the last field; v5 has keyspace and
//! `now_in_seconds` behind it. So it is found from the end, and a stamp costs one copy, one bit
//! and eight bytes, however many values there are; they are walked only if a keyspace is given.

use crate::error::{DecodeError, Notation, offset};
use crate::primitive::Reader;
use crate::request::params::{QueryFlags, QueryParams};
use crate::version::Version;

/// Length of a stamp, in bytes.
pub const STAMP_LEN: usize = 8;

/// Offset of the flags in `<query_parameters>` and in the end of BATCH, behind the consistency.
pub const FLAGS_AT: usize = 2;

/// `<query_parameters>`, or the end of BATCH, seen from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail<'a> {
    raw: &'a [u8],
    version: Version,
    /// Flags as they came.
    pub flags: QueryFlags,
    /// Default timestamp, in µs since 1970.
    pub timestamp: Option<i64>,
    /// Offset at which the timestamp stands or would stand, in bytes.
    stamp_at: usize,
    /// v5: the keyspace of unqualified names.
    pub keyspace: Option<&'a str>,
    /// v5: the second from which TTLs count, since 1970.
    pub now_in_seconds: Option<i32>,
}

impl<'a> Tail<'a> {
    /// Looks at the fields behind the values. Right for bytes without trailing ones, which
    /// [`QueryParams::parse_as`] checks.
    ///
    /// # Errors
    /// Cut short, or flags that the version does not know.
    #[inline(always)] // its fields go through memory otherwise, and are waited for
    pub fn find(raw: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        reader.consistency()?;
        let flags = QueryFlags::read(&mut reader, version)?;
        if flags.contains(QueryFlags::KEYSPACE) {
            return Self::behind_values(raw, version);
        }
        let least = reader.position();
        let mut tail = Self {
            raw,
            version,
            flags,
            timestamp: None,
            stamp_at: raw.len(),
            keyspace: None,
            now_in_seconds: None,
        };
        if flags.contains(QueryFlags::NOW_IN_SECONDS) {
            let bytes = tail.take_back(least)?;
            tail.now_in_seconds = Some(i32::from_be_bytes(bytes));
        }
        if flags.contains(QueryFlags::TIMESTAMP) {
            let bytes = tail.take_back(least)?;
            tail.timestamp = Some(i64::from_be_bytes(bytes));
        }
        Ok(tail)
    }

    /// The last bytes before `stamp_at`, which moves in front of them.
    fn take_back<const N: usize>(&mut self, least: usize) -> Result<[u8; N], DecodeError> {
        let fields = self.raw.get(least..self.stamp_at).unwrap_or_default();
        let Some(bytes) = fields.last_chunk::<N>() else {
            let (what, at) = (Notation::Long, offset(least));
            return Err(DecodeError::Truncated { what, at });
        };
        self.stamp_at -= N;
        Ok(*bytes)
    }

    #[cold]
    fn behind_values(raw: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let params = QueryParams::parse_as(raw, version)?;
        let behind = params.keyspace.map_or(0, |keyspace| 2 + keyspace.len())
            + params.now_in_seconds.map_or(0, |_| 4)
            + params.timestamp.map_or(0, |_| STAMP_LEN);
        Ok(Self {
            raw,
            version,
            flags: params.flags,
            timestamp: params.timestamp,
            stamp_at: raw.len() - behind,
            keyspace: params.keyspace,
            now_in_seconds: params.now_in_seconds,
        })
    }

    /// The bytes it was found in.
    #[inline]
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Offset of the first byte behind the flags.
    const fn fields_at(&self) -> usize {
        FLAGS_AT + QueryFlags::len(self.version)
    }

    fn between(&self, start: usize, end: usize) -> &'a [u8] {
        self.raw.get(start..end).unwrap_or_default()
    }

    /// Appends the bytes in their own version with `stamp` (µs since 1970) as default timestamp;
    /// one that is there is replaced.
    #[inline]
    pub fn put_stamped(&self, out: &mut Vec<u8>, stamp: i64) {
        out.reserve(self.raw.len() + STAMP_LEN);
        out.extend_from_slice(self.between(0, FLAGS_AT));
        self.flags
            .with(QueryFlags::TIMESTAMP)
            .put(out, self.version);
        out.extend_from_slice(self.between(self.fields_at(), self.stamp_at));
        out.extend_from_slice(&stamp.to_be_bytes());
        let had = self.timestamp.map_or(0, |_| STAMP_LEN);
        out.extend_from_slice(self.between(self.stamp_at + had, self.raw.len()));
    }

    /// Appends the bytes in the layout of v4, without what only v5 can say, and with `stamp` (µs
    /// since 1970) as default timestamp; without one the timestamp stays as it is.
    #[inline]
    pub fn put_v4(&self, out: &mut Vec<u8>, stamp: Option<i64>) {
        let stamp = stamp.or(self.timestamp);
        out.reserve(self.raw.len() + STAMP_LEN);
        out.extend_from_slice(self.between(0, FLAGS_AT));
        self.flags
            .without(QueryFlags::V5_ONLY)
            .with_if(stamp.is_some(), QueryFlags::TIMESTAMP)
            .put(out, Version::V4);
        out.extend_from_slice(self.between(self.fields_at(), self.stamp_at));
        if let Some(stamp) = stamp {
            out.extend_from_slice(&stamp.to_be_bytes());
        }
    }
}
