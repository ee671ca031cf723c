//! Envelopes from parts.

use crate::envelope::{Flags, HEADER_LEN, Header};
use crate::error::{EncodeError, EnvelopeError, Notation};
use crate::opcode::Opcode;
use crate::primitive::Writer;
use crate::response::{ErrorBody, ErrorCode};
use crate::version::Version;

/// Appends one envelope to `out`. `body` writes the message; the length is filled in afterwards.
/// The direction follows from the opcode. `flags` go out as given: whoever sets
/// [`Flags::COMPRESSION`], [`Flags::TRACING`] and the like writes the body accordingly.
///
/// # Errors
/// Something in the body is too long for its length field. `out` is then as before.
pub fn envelope(
    out: &mut Vec<u8>,
    version: Version,
    flags: Flags,
    stream: i16,
    opcode: Opcode,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    let start = out.len();
    let header = Header {
        response: opcode.is_response(),
        version: version.number(),
        flags,
        stream,
        opcode,
        body_len: 0,
    };
    out.extend_from_slice(&header.encode());
    let mut writer = Writer::new(out);
    body(&mut writer);
    let written = writer.finish();
    if let Err(error) = written.and_then(|()| patch_length(out, start)) {
        out.truncate(start);
        return Err(error);
    }
    Ok(())
}

/// Appends an ERROR envelope.
///
/// # Errors
/// A name in the detail is too long; the words of the error are cut. `out` is then as before.
pub fn error(
    out: &mut Vec<u8>,
    version: Version,
    stream: i16,
    error: &ErrorBody<'_>,
) -> Result<(), EncodeError> {
    envelope(out, version, Flags::NONE, stream, Opcode::Error, |w| {
        error.encode(w)
    })
}

/// Appends the answer that a header deserves which cannot be accepted: a protocol error on its
/// stream ([`EnvelopeError::stream`]), in its version or, if that is not spoken here, in the newest
/// one that is. Drivers look for these words to find a version that both sides speak.
///
/// # Errors
/// None in fact: the words are short.
pub fn refusal(out: &mut Vec<u8>, refused: EnvelopeError) -> Result<(), EncodeError> {
    let words = refused.to_string();
    let code = match refused {
        EnvelopeError::TooLarge { .. } => ErrorCode::Invalid,
        _ => ErrorCode::Protocol,
    };
    let body = ErrorBody::new(code, &words);
    error(out, refused.answer_version(), refused.stream(), &body)
}

/// Writes the length of the body that follows the header at `start` into it. For callers who put
/// header ([`Header::encode`]) and body into `out` themselves.
///
/// # Errors
/// The body is longer than an `[int]` can say.
pub fn patch_length(out: &mut [u8], start: usize) -> Result<(), EncodeError> {
    let length = out.len().saturating_sub(start + HEADER_LEN);
    let too_long = EncodeError::TooLong {
        what: Notation::Body,
        length,
    };
    let field = i32::try_from(length).map_err(|_| too_long)?.to_be_bytes();
    if let Some(place) = out.get_mut(start + HEADER_LEN - 4..start + HEADER_LEN) {
        place.copy_from_slice(&field);
    }
    Ok(())
}
