//! RESULT (§4.2.5): what kind, and the two smallest of them.

use super::{Prepared, Rows, SchemaChange};
use crate::error::{DecodeError, Notation};
use crate::primitive::{Reader, Writer};
use crate::version::Version;

/// What a RESULT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ResultKind {
    /// Nothing more to say.
    Void = 1,
    /// Rows, also of a conditional statement (`[applied]`).
    Rows = 2,
    /// The session uses another keyspace.
    SetKeyspace = 3,
    /// The answer to PREPARE.
    Prepared = 4,
    /// The schema changed.
    SchemaChange = 5,
}

impl ResultKind {
    /// Length of the kind in front of the message, in bytes.
    pub const LEN: usize = 4;

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.int()? {
            1 => Self::Void,
            2 => Self::Rows,
            3 => Self::SetKeyspace,
            4 => Self::Prepared,
            5 => Self::SchemaChange,
            found => {
                return Err(DecodeError::Unknown {
                    what: Notation::ResultKind,
                    at: 0,
                    found,
                });
            }
        })
    }

    /// Appends the kind.
    pub fn encode(self, w: &mut Writer<'_>) {
        w.int(self as i32);
    }
}

/// The kind of a RESULT, without a look at the rest.
///
/// # Errors
/// Cut short or an unknown kind.
#[inline]
pub fn peek_result_kind(message: &[u8]) -> Result<ResultKind, DecodeError> {
    ResultKind::read(&mut Reader::new(message))
}

/// RESULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultBody<'a> {
    /// Nothing more to say.
    Void,
    /// Rows.
    Rows(Rows<'a>),
    /// Name of the keyspace that the session uses from now on.
    SetKeyspace(&'a str),
    /// The answer to PREPARE.
    Prepared(Prepared<'a>),
    /// The schema changed.
    SchemaChange(SchemaChange<'a>),
}

impl<'a> ResultBody<'a> {
    /// Reads the message. Offsets inside count from its beginning, so with the kind.
    ///
    /// # Errors
    /// Malformed, or bytes left over (behind rows they are found only by walking these; behind
    /// schema changes they are left alone).
    pub fn parse(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let body = match ResultKind::read(&mut reader)? {
            ResultKind::Void => Self::Void,
            ResultKind::Rows => return Rows::parse(message).map(Self::Rows),
            ResultKind::SetKeyspace => Self::SetKeyspace(reader.string()?),
            ResultKind::Prepared => return Prepared::parse(message, version).map(Self::Prepared),
            ResultKind::SchemaChange => {
                return SchemaChange::read(&mut reader).map(Self::SchemaChange);
            }
        };
        reader.finish()?;
        Ok(body)
    }
}

/// Appends a RESULT that says nothing more.
pub fn encode_void(w: &mut Writer<'_>) {
    ResultKind::Void.encode(w);
}

/// Appends a RESULT that names the session's keyspace.
pub fn encode_set_keyspace(w: &mut Writer<'_>, keyspace: &str) {
    ResultKind::SetKeyspace.encode(w);
    w.string(keyspace);
}

/// Appends a RESULT that describes a schema change.
pub fn encode_schema_change(w: &mut Writer<'_>, change: &SchemaChange<'_>) {
    ResultKind::SchemaChange.encode(w);
    change.encode(w);
}
