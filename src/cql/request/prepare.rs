//! PREPARE (§4.1.5; v5 adds flags and a keyspace).

use crate::error::{DecodeError, Notation, offset};
use crate::primitive::{Reader, Writer};
use crate::version::Version;

/// v5: a keyspace follows.
const WITH_KEYSPACE: i32 = 0x01;

/// PREPARE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// The statement.
    pub text: &'a str,
    /// v5: keyspace of unqualified names, instead of the session's.
    pub keyspace: Option<&'a str>,
}

impl<'a> Prepare<'a> {
    /// Reads the message of v3 or v4.
    ///
    /// # Errors
    /// Cut short, not UTF-8, or bytes left over.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_as(message, Version::V4)
    }

    /// Reads the message.
    ///
    /// # Errors
    /// Cut short, not UTF-8, an unknown flag, or bytes left over.
    #[inline]
    pub fn parse_as(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let text = reader.long_string()?;
        let keyspace = read_keyspace(&mut reader, version)?;
        reader.finish()?;
        Ok(Self { text, keyspace })
    }
}

/// Reads what follows the text.
///
/// # Errors
/// Cut short, not UTF-8, or an unknown flag.
pub fn read_keyspace<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<Option<&'a str>, DecodeError> {
    if version < Version::V5 {
        return Ok(None);
    }
    let (what, at) = (Notation::QueryFlags, offset(reader.position()));
    match reader.int()? {
        0 => Ok(None),
        WITH_KEYSPACE => reader.string().map(Some),
        found => Err(DecodeError::Unknown { what, at, found }),
    }
}

/// Appends the message for v3 or v4.
pub fn encode(w: &mut Writer<'_>, text: &str) {
    w.long_string(text);
}

/// Appends the message; before v5 a keyspace cannot be said.
pub fn encode_as(w: &mut Writer<'_>, version: Version, prepare: &Prepare<'_>) {
    w.long_string(prepare.text);
    if version < Version::V5 {
        return;
    }
    w.int(prepare.keyspace.map_or(0, |_| WITH_KEYSPACE));
    if let Some(keyspace) = prepare.keyspace {
        w.string(keyspace);
    }
}
