//! PREPARE (§4.1.5).

use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};

/// PREPARE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// The statement.
    pub text: &'a str,
}

impl<'a> Prepare<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Cut short, not UTF-8, or bytes left over.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let text = reader.long_string()?;
        reader.finish()?;
        Ok(Self { text })
    }
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, text: &str) {
    w.long_string(text);
}
