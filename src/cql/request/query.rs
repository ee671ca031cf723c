//! QUERY (§4.1.4): a statement as text.

use super::params::QueryParams;
use crate::error::DecodeError;
use crate::primitive::{Reader, Writer};
use crate::version::Version;

/// QUERY with its parameters parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The statement.
    pub text: &'a str,
    /// Its parameters.
    pub params: QueryParams<'a>,
    /// Offset of the parameters in the message, in bytes.
    pub params_at: usize,
}

impl<'a> Query<'a> {
    /// Splits the message into text and raw parameters, without a look at the latter.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    #[inline]
    pub fn split(message: &'a [u8]) -> Result<(&'a str, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(message);
        let text = reader.long_string()?;
        Ok((text, reader.rest()))
    }

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
        let (text, raw) = Self::split(message)?;
        let params_at = message.len() - raw.len();
        Ok(Self {
            text,
            params: QueryParams::parse_as(raw, version)?,
            params_at,
        })
    }
}

/// Appends the message for v3 or v4.
pub fn encode(w: &mut Writer<'_>, text: &str, params: &QueryParams<'_>) {
    encode_as(w, Version::V4, text, params);
}

/// Appends the message.
pub fn encode_as(w: &mut Writer<'_>, version: Version, text: &str, params: &QueryParams<'_>) {
    w.long_string(text);
    params.encode_as(w, version);
}

/// Appends the message with parameters that are bytes already.
#[inline]
pub fn encode_raw(w: &mut Writer<'_>, text: &str, raw_params: &[u8]) {
    w.long_string(text);
    w.raw(raw_params);
}
