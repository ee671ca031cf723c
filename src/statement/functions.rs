//! Functions that give another value at each call, so that two clusters would store two values.

use super::lexer::Span;
use std::fmt::{self, Write};

/// A call of such a function in a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCall {
    /// The type of what it returns, which says what to generate.
    pub returns: Generated,
    /// The call, from its name (or `system.`) to its `)`.
    pub span: Span,
    /// Index into [`Statement::mutations`](super::Statement::mutations).
    pub mutation: u16,
    /// How many bind markers stand before it.
    pub markers_before: u16,
    /// It stands in a list, set or map, where no server takes a bind marker (`bind variables are
    /// not supported inside collection literals`, Cassandra 3.11 to 5.0): only a literal can
    /// replace it.
    pub in_collection: bool,
}

/// The type of a generated value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generated {
    /// `now()`, `current_timeuuid()`, `currentTimeUUID()`: a version 1 UUID.
    TimeUuid,
    /// `uuid()`: a version 4 UUID.
    Uuid,
    /// `current_timestamp()`, `currentTimestamp()`: milliseconds since 1970.
    Timestamp,
    /// `current_date()`, `currentDate()`: a day.
    Date,
    /// `current_time()`, `currentTime()`: nanoseconds since midnight.
    Time,
}

impl Generated {
    /// The function named `name` (folded) without arguments, if it is one of them.
    pub(super) fn by_function(name: &str) -> Option<Self> {
        Some(match name {
            "now" | "current_timeuuid" | "currenttimeuuid" => Self::TimeUuid,
            "uuid" => Self::Uuid,
            "current_timestamp" | "currenttimestamp" => Self::Timestamp,
            "current_date" | "currentdate" => Self::Date,
            "current_time" | "currenttime" => Self::Time,
            _ => return None,
        })
    }

    /// The type's CQL name.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::TimeUuid => "timeuuid",
            Self::Uuid => "uuid",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Time => "time",
        }
    }
}

/// A value to stand in for a function call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedValue {
    /// The 16 bytes of a version 1 UUID, most significant first.
    TimeUuid([u8; 16]),
    /// The 16 bytes of a version 4 UUID, most significant first.
    Uuid([u8; 16]),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// Days since 1970-01-01; may be negative.
    Date(i32),
    /// Nanoseconds since midnight, 0..86 400 000 000 000.
    Time(i64),
}

impl GeneratedValue {
    /// Its type.
    pub fn kind(self) -> Generated {
        match self {
            Self::TimeUuid(_) => Generated::TimeUuid,
            Self::Uuid(_) => Generated::Uuid,
            Self::Timestamp(_) => Generated::Timestamp,
            Self::Date(_) => Generated::Date,
            Self::Time(_) => Generated::Time,
        }
    }

    /// The bytes of a bound value of its type (protocol v4, section 6).
    pub fn bytes(self) -> GeneratedBytes {
        let mut bytes = [0; 16];
        let length = match self {
            Self::TimeUuid(uuid) | Self::Uuid(uuid) => {
                bytes = uuid;
                16
            }
            Self::Timestamp(wide) | Self::Time(wide) => {
                bytes[..8].copy_from_slice(&wide.to_be_bytes());
                8
            }
            Self::Date(days) => {
                let centred = days.cast_unsigned() ^ 0x8000_0000; // day 0 is 2^31 on the wire
                bytes[..4].copy_from_slice(&centred.to_be_bytes());
                4
            }
        };
        GeneratedBytes { bytes, length }
    }
}

/// Up to 16 bytes of a bound value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedBytes {
    bytes: [u8; 16],
    length: usize,
}

impl std::ops::Deref for GeneratedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The value as a CQL literal with its type in front, `(timestamp)1700000000000`: with the cast a
/// function that exists for several types still finds its argument's, and a column of a wrong type
/// is refused as it was for the function.
impl fmt::Display for GeneratedValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "({})", self.kind().type_name())?;
        match *self {
            Self::TimeUuid(bytes) | Self::Uuid(bytes) => write_uuid(out, &bytes),
            Self::Timestamp(ms) => write!(out, "{ms}"),
            Self::Date(days) => {
                let (year, month, day) = civil(days);
                write!(out, "'{year:04}-{month:02}-{day:02}'")
            }
            Self::Time(ns) => {
                let seconds = ns / 1_000_000_000;
                let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                write!(out, "'{h:02}:{m:02}:{s:02}.{:09}'", ns % 1_000_000_000)
            }
        }
    }
}

fn write_uuid(out: &mut impl Write, bytes: &[u8; 16]) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Year, month, day of a day since 1970-01-01 in the proleptic Gregorian calendar.
fn civil(days: i32) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day is the last day of a year; 400 years are
    // 146 097 days.
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
