//! Envelope: the nine bytes of header (§2), the body, and what stands before the message in a
//! body (§2.2: tracing id, warnings, custom payload).

use core::ops::Range;

use crate::error::DecodeError;
use crate::opcode::Opcode;
use crate::primitive::{BytesMap, Reader, StringList};
use crate::version::Version;

/// Bytes of a header in v3, v4 and v5.
pub const HEADER_LEN: usize = 9;

/// Bit of the version byte that marks a response.
pub const RESPONSE_BIT: u8 = 0x80;

/// Stream of an envelope that answers no request (events).
pub const EVENT_STREAM: i16 = -1;

/// The flags byte of a header (§2.2). Unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The body is compressed.
    pub const COMPRESSION: Self = Self(0x01);
    /// Request: trace it. Response: a tracing id comes first.
    pub const TRACING: Self = Self(0x02);
    /// A custom payload stands before the message.
    pub const CUSTOM_PAYLOAD: Self = Self(0x04);
    /// Response: warnings stand before the message.
    pub const WARNING: Self = Self(0x08);
    /// The client accepts a protocol version that is not final.
    pub const BETA: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without those of `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A header that was checked: the version is spoken, the opcode exists, the length is in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether a server sent it.
    pub response: bool,
    /// Protocol version, direction bit cleared.
    pub version: u8,
    /// Flags byte.
    pub flags: Flags,
    /// Stream id: ≥ 0 chosen by the client; negative ones belong to the server.
    pub stream: i16,
    /// What the body is.
    pub opcode: Opcode,
    /// Length of the body, in bytes.
    pub body_len: u32,
}

impl Header {
    /// The nine bytes.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let direction = if self.response { RESPONSE_BIT } else { 0 };
        let [s0, s1] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.body_len.to_be_bytes();
        let (version, opcode) = (self.version | direction, self.opcode.number());
        [version, self.flags.0, s0, s1, opcode, l0, l1, l2, l3]
    }

    /// Header and body together, in bytes.
    #[inline]
    #[must_use]
    pub fn envelope_len(&self) -> usize {
        // A u32 fits in usize wherever this runs; saturating keeps it honest elsewhere.
        HEADER_LEN.saturating_add(usize::try_from(self.body_len).unwrap_or(usize::MAX))
    }

    /// The version as an enum; `None` only in headers that the decoder did not make.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Option<Version> {
        Version::from_number(self.version)
    }
}

/// One header with its whole body, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The header.
    pub header: Header,
    /// The body as it came: maybe compressed, with tracing id and the like before the message.
    pub body: &'a [u8],
    /// Header and body as they came.
    pub raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// The message of a request, behind its custom payload.
    ///
    /// # Errors
    /// [`DecodeError::Compressed`] when the flag is set (use [`request_message`] on the
    /// decompressed body), or a malformed payload.
    #[inline]
    pub fn request_body(&self) -> Result<RequestMessage<'a>, DecodeError> {
        if self.header.flags.contains(Flags::COMPRESSION) {
            return Err(DecodeError::Compressed);
        }
        request_message(self.header.flags, self.body)
    }

    /// The message of a response, behind tracing id, warnings and custom payload.
    ///
    /// # Errors
    /// As [`Envelope::request_body`].
    #[inline]
    pub fn response_body(&self) -> Result<ResponseMessage<'a>, DecodeError> {
        if self.header.flags.contains(Flags::COMPRESSION) {
            return Err(DecodeError::Compressed);
        }
        response_message(self.header.flags, self.body)
    }
}

/// The message of a request and what stood before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMessage<'a> {
    /// Custom payload, if the flag says so.
    pub payload: Option<BytesMap<'a>>,
    /// The message that the opcode names.
    pub message: &'a [u8],
    /// Offset of the message in the (decompressed) body, in bytes.
    pub message_at: usize,
}

/// The message of a response and what stood before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseMessage<'a> {
    /// Tracing id, if the flag says so.
    pub tracing_id: Option<[u8; 16]>,
    /// Warnings, if the flag says so.
    pub warnings: Option<StringList<'a>>,
    /// Custom payload, if the flag says so.
    pub payload: Option<BytesMap<'a>>,
    /// The message that the opcode names.
    pub message: &'a [u8],
    /// Offset of the message in the (decompressed) body, in bytes.
    pub message_at: usize,
}

impl ResponseMessage<'_> {
    /// Where the tracing id, warnings and payload lie in the (decompressed) body.
    #[must_use]
    pub const fn prelude(&self) -> Range<usize> {
        0..self.message_at
    }
}

/// Splits the decompressed body of a request.
///
/// # Errors
/// A malformed custom payload.
#[inline]
pub fn request_message(flags: Flags, body: &[u8]) -> Result<RequestMessage<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let payload = match flags.contains(Flags::CUSTOM_PAYLOAD) {
        true => Some(reader.bytes_map()?),
        false => None,
    };
    Ok(RequestMessage {
        payload,
        message: reader.rest(),
        message_at: reader.position(),
    })
}

/// Splits the decompressed body of a response. The order is tracing id, warnings, payload.
///
/// # Errors
/// A malformed tracing id, list of warnings or custom payload.
#[inline]
pub fn response_message(flags: Flags, body: &[u8]) -> Result<ResponseMessage<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let tracing_id = match flags.contains(Flags::TRACING) {
        true => Some(reader.uuid()?),
        false => None,
    };
    let warnings = match flags.contains(Flags::WARNING) {
        true => Some(reader.string_list()?),
        false => None,
    };
    let payload = match flags.contains(Flags::CUSTOM_PAYLOAD) {
        true => Some(reader.bytes_map()?),
        false => None,
    };
    let (message, message_at) = (reader.rest(), reader.position());
    Ok(ResponseMessage {
        tracing_id,
        warnings,
        payload,
        message,
        message_at,
    })
}
