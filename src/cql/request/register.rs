//! REGISTER (§4.1.8): asks for events.

use crate::error::DecodeError;
use crate::primitive::{Reader, StringList, Writer};

/// REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// Names of the event types, for example `SCHEMA_CHANGE`.
    pub events: StringList<'a>,
}

impl<'a> Register<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let events = reader.string_list()?;
        reader.finish()?;
        Ok(Self { events })
    }
}

/// Appends the message.
pub fn encode<'s>(w: &mut Writer<'_>, events: impl IntoIterator<Item = &'s str>) {
    w.string_list(events);
}
