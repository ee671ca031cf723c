//! AUTHENTICATE (§4.2.3): credentials are wanted.

use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};

/// AUTHENTICATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// Name of the server's authenticator class.
    pub authenticator: &'a str,
}

impl<'a> Authenticate<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let authenticator = reader.string()?;
        reader.finish()?;
        Ok(Self { authenticator })
    }
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, authenticator: &str) {
    w.string(authenticator);
}
