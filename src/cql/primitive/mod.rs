//! The notations of §3: [`Reader`] and [`Writer`] for each, and lists and maps as views.

mod collections;
mod reader;
mod writer;

pub use collections::{BytesMap, StringList, StringMap, StringMultimap};
pub use reader::Reader;
pub use writer::Writer;

/// A bound `[value]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Length -1: null, which deletes the cell.
    Null,
    /// Length -2 (v4): leave the cell alone.
    Unset,
    /// The value in the format of its type.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes, unless it is null or unset.
    #[must_use]
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Null | Self::Unset => None,
        }
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::Null, Self::Bytes)
    }
}
