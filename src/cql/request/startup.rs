//! STARTUP (§4.1.1).

use crate::error::DecodeError;
use crate::primitive::{Reader, StringMap, Writer};

/// The options of connections that are twinring's own: as a driver's, they tell an operator whose
/// they are (`system_views.clients` of Cassandra 4.0 and later).
pub const OWN: [(&str, &str); 3] = [
    ("CQL_VERSION", "3.0.0"),
    ("DRIVER_NAME", "twinring"),
    ("DRIVER_VERSION", env!("CARGO_PKG_VERSION")),
];

/// STARTUP: the options of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Startup<'a> {
    /// All options, in the order of the wire.
    pub options: StringMap<'a>,
}

impl<'a> Startup<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let options = reader.string_map()?;
        reader.finish()?;
        Ok(Self { options })
    }

    /// `COMPRESSION`: the algorithm that the client wants; its name may be in any case.
    #[must_use]
    pub fn compression(&self) -> Option<&'a str> {
        self.options.get("COMPRESSION")
    }

    /// `CQL_VERSION`.
    #[must_use]
    pub fn cql_version(&self) -> Option<&'a str> {
        self.options.get("CQL_VERSION")
    }
}

/// Appends the message.
pub fn encode<'s>(w: &mut Writer<'_>, options: impl IntoIterator<Item = (&'s str, &'s str)>) {
    w.string_map(options);
}
