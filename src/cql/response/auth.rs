//! AUTH_CHALLENGE and AUTH_SUCCESS (§4.2.7, §4.2.8): a token of SASL.

use core::fmt;

use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};

/// AUTH_CHALLENGE or AUTH_SUCCESS. Its debug form does not show the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthToken<'a> {
    /// What the authenticator's server side says.
    pub token: Option<&'a [u8]>,
}

impl<'a> AuthToken<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let token = reader.bytes()?;
        reader.finish()?;
        Ok(Self { token })
    }
}

impl fmt::Debug for AuthToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthToken").finish_non_exhaustive()
    }
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, token: Option<&[u8]>) {
    w.bytes(token);
}
