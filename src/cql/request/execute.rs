//! EXECUTE (§4.1.6): run a prepared statement.

use super::params::QueryParams;
use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};

/// EXECUTE with its parameters parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Id that PREPARE's answer gave.
    pub id: &'a [u8],
    /// Parameters, the same as those of QUERY.
    pub params: QueryParams<'a>,
    /// Offset of the parameters in the message, in bytes.
    pub params_at: usize,
}

impl<'a> Execute<'a> {
    /// Splits the message into id and raw parameters, without a look at the latter.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn split(message: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
        let mut reader = Reader::new(message);
        let id = reader.short_bytes()?;
        Ok((id, reader.rest()))
    }

    /// Reads the message.
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (id, raw) = Self::split(message)?;
        let params_at = message.len() - raw.len();
        Ok(Self {
            id,
            params: QueryParams::parse(raw)?,
            params_at,
        })
    }
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, id: &[u8], params: &QueryParams<'_>) {
    w.short_bytes(id);
    params.encode(w);
}

/// Appends the message with parameters that are bytes already.
#[inline]
pub fn encode_raw(w: &mut Writer<'_>, id: &[u8], raw_params: &[u8]) {
    w.short_bytes(id);
    w.raw(raw_params);
}
