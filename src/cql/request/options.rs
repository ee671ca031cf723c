//! OPTIONS (§4.1.3): asks for SUPPORTED. The message is empty.

use crate::error::DecodeError;
use crate::primitive::Reader;

/// OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options;

impl Options {
    /// Checks that the message is empty.
    ///
    /// # Errors
    /// It is not.
    pub const fn parse(message: &[u8]) -> Result<Self, DecodeError> {
        match Reader::new(message).finish() {
            Ok(()) => Ok(Self),
            Err(error) => Err(error),
        }
    }
}
