//! SUPPORTED (§4.2.4): the answer to OPTIONS.

use crate::error::DecodeError;
use crate::primitive::{Reader, StringMultimap, Writer};

/// SUPPORTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported<'a> {
    /// All options and their values, in the order of the wire.
    pub options: StringMultimap<'a>,
}

impl<'a> Supported<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let options = reader.string_multimap()?;
        reader.finish()?;
        Ok(Self { options })
    }
}

/// Appends the message.
pub fn encode<'s, L>(w: &mut Writer<'_>, options: impl IntoIterator<Item = (&'s str, L)>)
where
    L: IntoIterator<Item = &'s str>,
{
    w.string_multimap(options);
}
