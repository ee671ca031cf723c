//! Bytes → envelopes, without copying. "More bytes needed" is `Ok(None)`; an error means that the
//! stream cannot be cut any further and the connection ends after one ERROR answer.

use crate::envelope::{Envelope, Flags, HEADER_LEN, Header, RESPONSE_BIT};
use crate::error::EnvelopeError;
use crate::opcode::Opcode;
use crate::version::Version;

/// Which way the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a server.
    Request,
    /// From a server to a client.
    Response,
}

/// What this side accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Longest body, in bytes. Checked as soon as the header is there.
    pub max_body_bytes: u32,
    /// Which way the bytes travel.
    pub direction: Direction,
    /// Newest version that is spoken.
    pub newest: Version,
}

impl DecodeLimits {
    /// Limits for bytes from a client.
    #[must_use]
    pub const fn requests(max_body_bytes: u32) -> Self {
        Self {
            max_body_bytes,
            direction: Direction::Request,
            newest: Version::V5,
        }
    }

    /// Limits for bytes from a server.
    #[must_use]
    pub const fn responses(max_body_bytes: u32) -> Self {
        Self {
            max_body_bytes,
            direction: Direction::Response,
            newest: Version::V5,
        }
    }

    /// These limits with another newest version.
    #[must_use]
    pub const fn up_to(self, newest: Version) -> Self {
        Self { newest, ..self }
    }
}

/// Reads the header without judging length or direction; `None` until nine bytes are there.
///
/// An unsupported version is reported as soon as its stream id is known, so that a client whose
/// header is shorter (v1, v2) or that does not speak CQL gets its answer.
///
/// # Errors
/// [`EnvelopeError::UnsupportedVersion`], `UnknownOpcode`, `NegativeLength`.
#[inline(always)]
pub fn peek_header(buf: &[u8]) -> Result<Option<Header>, EnvelopeError> {
    let Some(&[version_byte, flags, s0, s1, opcode, l0, l1, l2, l3]) = buf.first_chunk() else {
        return peek_short(buf);
    };
    let version = version_byte & !RESPONSE_BIT;
    let stream = i16::from_be_bytes([s0, s1]);
    if !is_spoken(version) {
        return Err(unsupported(version_byte, s0, s1));
    }
    let Ok(opcode) = Opcode::try_from(opcode) else {
        return Err(EnvelopeError::UnknownOpcode {
            version,
            stream,
            opcode,
        });
    };
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    let Ok(body_len) = u32::try_from(length) else {
        return Err(EnvelopeError::NegativeLength {
            version,
            stream,
            length,
        });
    };
    let response = version_byte & RESPONSE_BIT != 0;
    Ok(Some(Header {
        response,
        version,
        flags: Flags(flags),
        stream,
        opcode,
        body_len,
    }))
}

/// Cuts the first envelope off; `None` when more bytes are needed.
///
/// # Errors
/// Everything in [`EnvelopeError`].
#[inline(always)] // an envelope goes through memory otherwise, and is waited for
pub fn split<'a>(
    buf: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Option<Envelope<'a>>, EnvelopeError> {
    let Some(header) = peek_header(buf).map_err(|error| error.up_to(limits.newest))? else {
        return Ok(None);
    };
    check(&header, limits)?;
    let Some(raw) = buf.get(..header.envelope_len()) else {
        return Ok(None);
    };
    Ok(raw
        .get(HEADER_LEN..)
        .map(|body| Envelope { header, body, raw }))
}

/// How many bytes are missing until [`split`] gives something else than `None`: what is known so
/// far, so first the rest of the header and then the rest of the body. 0 means a whole envelope
/// is there.
///
/// # Errors
/// Everything in [`EnvelopeError`].
pub fn missing(buf: &[u8], limits: &DecodeLimits) -> Result<usize, EnvelopeError> {
    let Some(header) = peek_header(buf).map_err(|error| error.up_to(limits.newest))? else {
        return Ok(HEADER_LEN - buf.len());
    };
    check(&header, limits)?;
    Ok(header.envelope_len().saturating_sub(buf.len()))
}

/// Checks direction and length of a header.
#[inline(always)]
fn check(header: &Header, limits: &DecodeLimits) -> Result<(), EnvelopeError> {
    let Header {
        version,
        stream,
        opcode,
        body_len: length,
        response,
        ..
    } = *header;
    let wanted = limits.direction == Direction::Response;
    let version_byte = version | if response { RESPONSE_BIT } else { 0 };
    if version > limits.newest.number() {
        return Err(EnvelopeError::UnsupportedVersion {
            version_byte,
            stream,
            newest: limits.newest,
        });
    }
    if response != wanted {
        return Err(EnvelopeError::WrongDirection {
            version_byte,
            stream,
        });
    }
    if opcode.is_response() != wanted {
        return Err(EnvelopeError::WrongOpcode {
            version,
            stream,
            opcode: opcode.number(),
        });
    }
    if length > limits.max_body_bytes {
        let limit = limits.max_body_bytes;
        return Err(EnvelopeError::TooLarge {
            version,
            stream,
            length,
            limit,
        });
    }
    Ok(())
}

#[inline]
fn is_spoken(version: u8) -> bool {
    Version::from_number(version).is_some()
}

/// Less than a header is there: judge the version once the stream is known (byte 2 in v1 and v2,
/// bytes 2 and 3 in everything else).
#[cold]
fn peek_short(buf: &[u8]) -> Result<Option<Header>, EnvelopeError> {
    match *buf {
        [version_byte @ (0x01 | 0x02 | 0x81 | 0x82), _, stream, ..] => {
            Err(unsupported(version_byte, stream, 0))
        }
        [version_byte, _, s0, s1, ..] if !is_spoken(version_byte & !RESPONSE_BIT) => {
            Err(unsupported(version_byte, s0, s1))
        }
        _ => Ok(None),
    }
}

#[cold]
fn unsupported(version_byte: u8, s0: u8, s1: u8) -> EnvelopeError {
    let stream = match version_byte & !RESPONSE_BIT {
        1 | 2 => i16::from(i8::from_be_bytes([s0])),
        _ => i16::from_be_bytes([s0, s1]),
    };
    EnvelopeError::UnsupportedVersion {
        version_byte,
        stream,
        newest: Version::V5,
    }
}
