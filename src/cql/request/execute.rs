//! EXECUTE (§4.1.6): run a prepared statement.

use super::params::QueryParams;
use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};
use crate::version::Version;

/// EXECUTE with its parameters parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Id that PREPARE's answer gave.
    pub id: &'a [u8],
    /// v5: id of the result's columns that the client knows.
    pub result_metadata_id: Option<&'a [u8]>,
    /// Parameters, the same as those of QUERY.
    pub params: QueryParams<'a>,
    /// Offset of the parameters in the message, in bytes.
    pub params_at: usize,
}

impl<'a> Execute<'a> {
    /// Reads the message of v3 or v4.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_as(message, Version::V4)
    }

    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    #[inline]
    pub fn parse_as(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let id = reader.short_bytes()?;
        let result_metadata_id = match version {
            Version::V3 | Version::V4 => None,
            Version::V5 => Some(reader.short_bytes()?),
        };
        let params_at = reader.position();
        Ok(Self {
            id,
            result_metadata_id,
            params: QueryParams::parse_as(reader.rest(), version)?,
            params_at,
        })
    }
}

/// Appends the message for v3 or v4.
pub fn encode(w: &mut Writer<'_>, id: &[u8], params: &QueryParams<'_>) {
    w.short_bytes(id);
    params.encode(w);
}

/// Appends the message; for v5 with the id of the result's columns, or an empty one.
pub fn encode_as(w: &mut Writer<'_>, version: Version, execute: &Execute<'_>) {
    w.short_bytes(execute.id);
    if version >= Version::V5 {
        w.short_bytes(execute.result_metadata_id.unwrap_or_default());
    }
    execute.params.encode_as(w, version);
}

/// Appends the message with parameters that are bytes already.
#[inline]
pub fn encode_raw(w: &mut Writer<'_>, id: &[u8], raw_params: &[u8]) {
    w.short_bytes(id);
    w.raw(raw_params);
}
