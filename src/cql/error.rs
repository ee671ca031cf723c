//! What can be wrong with bytes, as closed enums. All are small and `Copy`.

use core::fmt;

use crate::version::Version;

/// The notation of the specification (§3) at which reading or writing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Notation {
    Byte,
    Short,
    Int,
    Long,
    String,
    LongString,
    Uuid,
    StringList,
    Bytes,
    Value,
    ShortBytes,
    Inet,
    Consistency,
    StringMap,
    StringMultimap,
    BytesMap,
    Type,
    QueryFlags,
    BatchType,
    BatchEntryKind,
    ResultKind,
    EventType,
    SchemaChange,
    Columns,
    Rows,
    Body,
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Byte => "[byte]",
            Self::Short => "[short]",
            Self::Int => "[int]",
            Self::Long => "[long]",
            Self::String => "[string]",
            Self::LongString => "[long string]",
            Self::Uuid => "[uuid]",
            Self::StringList => "[string list]",
            Self::Bytes => "[bytes]",
            Self::Value => "[value]",
            Self::ShortBytes => "[short bytes]",
            Self::Inet => "[inet]",
            Self::Consistency => "[consistency]",
            Self::StringMap => "[string map]",
            Self::StringMultimap => "[string multimap]",
            Self::BytesMap => "[bytes map]",
            Self::Type => "[option]",
            Self::QueryFlags => "query flags",
            Self::BatchType => "batch type",
            Self::BatchEntryKind => "kind of batch entry",
            Self::ResultKind => "kind of result",
            Self::EventType => "event type",
            Self::SchemaChange => "schema change",
            Self::Columns => "column count",
            Self::Rows => "row count",
            Self::Body => "body",
        })
    }
}

/// A body does not hold what its opcode promises. `at` is the offset in the bytes given to the
/// parser, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside the thing.
    #[error("{what} at byte {at} is cut short")]
    Truncated {
        /// What was being read.
        what: Notation,
        /// Offset in bytes.
        at: u32,
    },
    /// A text is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// What was being read.
        what: Notation,
        /// Offset in bytes.
        at: u32,
    },
    /// A number has no meaning there: a negative length, an unknown level, kind, flag or type.
    #[error("{what} at byte {at} cannot be {found}")]
    Unknown {
        /// What was being read.
        what: Notation,
        /// Offset in bytes.
        at: u32,
        /// What is on the wire.
        found: i32,
    },
    /// A column type is nested deeper than [`crate::column_type::MAX_DEPTH`].
    #[error("type at byte {at} is nested too deep")]
    TooDeep {
        /// Offset in bytes.
        at: u32,
    },
    /// Bytes are left behind the last field.
    #[error("{left} bytes are left behind the last field")]
    Trailing {
        /// How many bytes.
        left: u32,
    },
    /// The body is compressed: decompress it before looking inside.
    #[error("the body is compressed")]
    Compressed,
}

/// Narrows an offset for an error.
#[inline]
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A header that ends the conversation, with what a correct ERROR answer needs. Whoever gets one
/// cannot find the next envelope in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The version is not spoken here, or the bytes are no CQL at all.
    #[error("Invalid or unsupported protocol version ({}); supported versions are ({})",
        version_byte & 0x7F, versions_up_to(*newest))]
    UnsupportedVersion {
        /// First byte of the header as it came, direction bit included.
        version_byte: u8,
        /// Stream of the header; for v1 and v2, whose header is shorter, widened from 8 bits.
        stream: i16,
        /// Newest version that is spoken here.
        newest: Version,
    },
    /// The direction bit is wrong for this side.
    #[error("Wrong protocol direction in version byte 0x{version_byte:02X}")]
    WrongDirection {
        /// First byte of the header as it came.
        version_byte: u8,
        /// Stream of the header.
        stream: i16,
    },
    /// The opcode does not exist.
    #[error("Unknown opcode 0x{opcode:02X}")]
    UnknownOpcode {
        /// Protocol version, direction bit cleared.
        version: u8,
        /// Stream of the header.
        stream: i16,
        /// The opcode as it came.
        opcode: u8,
    },
    /// The opcode belongs to the other direction.
    #[error("Wrong protocol direction for opcode 0x{opcode:02X}")]
    WrongOpcode {
        /// Protocol version, direction bit cleared.
        version: u8,
        /// Stream of the header.
        stream: i16,
        /// The opcode as it came.
        opcode: u8,
    },
    /// The body length is negative.
    #[error("Invalid body length {length}")]
    NegativeLength {
        /// Protocol version, direction bit cleared.
        version: u8,
        /// Stream of the header.
        stream: i16,
        /// The length as it came.
        length: i32,
    },
    /// The body is longer than the limit of this side. In the words of Cassandra, which counts the
    /// header, too.
    #[error(
        "Request is too big: length {} exceeds maximum allowed length {limit}.",
        u64::from(*length) + crate::envelope::HEADER_LEN as u64
    )]
    TooLarge {
        /// Protocol version, direction bit cleared.
        version: u8,
        /// Stream of the header.
        stream: i16,
        /// The length as it came, in bytes.
        length: u32,
        /// [`crate::decoder::DecodeLimits::max_body_bytes`].
        limit: u32,
    },
}

/// The versions as Cassandra lists them; drivers look for this.
const fn versions_up_to(newest: Version) -> &'static str {
    match newest {
        Version::V3 => "3/v3",
        Version::V4 => "3/v3, 4/v4",
        Version::V5 => "3/v3, 4/v4, 5/v5",
    }
}

impl EnvelopeError {
    /// The same error where `newest` is the newest version that is spoken.
    #[must_use]
    pub(crate) const fn up_to(self, newest: Version) -> Self {
        match self {
            Self::UnsupportedVersion {
                version_byte,
                stream,
                ..
            } => Self::UnsupportedVersion {
                version_byte,
                stream,
                newest,
            },
            other => other,
        }
    }

    /// Stream on which an ERROR answer belongs. Cassandra looks at the version before it reads the
    /// stream id, and gocql relies on its 0; a negative id is the server's own and gets 0 too.
    #[must_use]
    pub fn stream(self) -> i16 {
        match self {
            Self::UnsupportedVersion { .. } => 0,
            Self::WrongDirection { stream, .. }
            | Self::UnknownOpcode { stream, .. }
            | Self::WrongOpcode { stream, .. }
            | Self::NegativeLength { stream, .. }
            | Self::TooLarge { stream, .. } => stream.max(0),
        }
    }
}

impl EnvelopeError {
    /// The version in which an ERROR answer is understood: that of the header, or the newest one
    /// that is spoken here.
    #[must_use]
    pub fn answer_version(self) -> Version {
        let number = match self {
            Self::UnsupportedVersion { newest, .. } => return newest,
            Self::WrongDirection { version_byte, .. } => version_byte & 0x7F,
            Self::UnknownOpcode { version, .. }
            | Self::WrongOpcode { version, .. }
            | Self::NegativeLength { version, .. }
            | Self::TooLarge { version, .. } => version,
        };
        Version::from_number(number).unwrap_or(Version::V4)
    }
}

/// Something cannot be said in this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than its length field can say.
    #[error("{what} of {length} is longer than the protocol allows")]
    TooLong {
        /// What was being written.
        what: Notation,
        /// Its length, in bytes or items.
        length: usize,
    },
    /// The cells written do not fill whole rows.
    #[error("{cells} cells do not fill rows of {columns} columns")]
    UnevenRows {
        /// Cells written.
        cells: usize,
        /// Columns of the result.
        columns: usize,
    },
    /// An edit names a value that is not there, or edits are not in ascending order.
    #[error("no bound value {index} among {count}")]
    NoSuchValue {
        /// Index asked for.
        index: usize,
        /// Values there are.
        count: usize,
    },
    /// Bound values are either all named or all positional.
    #[error("named and positional values do not mix")]
    MixedNames,
}
