//! Protocol versions.

use core::fmt;

/// A version of the native protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// Version 3: Cassandra 2.1 and later.
    V3 = 3,
    /// Version 4: Cassandra 2.2 and later.
    V4 = 4,
    /// Version 5: Cassandra 4.0 and later.
    V5 = 5,
}

impl Version {
    /// The number on the wire, without the direction bit.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The version with this number (direction bit cleared), if it is known.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}
