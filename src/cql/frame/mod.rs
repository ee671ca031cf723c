//! Frames, the outer format of v5 (`doc/native_protocol_v5.spec`, section 2): after STARTUP was
//! answered, envelopes travel inside frames whose header and payload are covered by checksums.
//!
//! ```text
//! plain   | length:17 self_contained:1 0:6          | crc24 | payload            | crc32 |
//! LZ4     | length:17 plain:17 self_contained:1 0:5 | crc24 | payload            | crc32 |
//!           3 or 5 bytes, little-endian bits          3       `length` bytes       4
//! ```
//! A self-contained frame holds whole envelopes, one or more. An envelope that does not fit is
//! spread over frames of its own, which are not self-contained. With LZ4 a payload that would not
//! shrink goes as it is, and `plain`, the length before compression, is 0.
//!
//! [`Format::split`] cuts received bytes, [`Encoder`] makes frames of envelopes. Neither holds
//! more than one frame, so memory is bounded by [`FRAME_MAX_BYTES`] whoever speaks.

mod crc;
mod encoder;

pub use encoder::Encoder;

/// Longest payload, before and after compression, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = (1 << 17) - 1;
/// Longest frame, in bytes.
pub const FRAME_MAX_BYTES: usize = LZ4_HEADER + CRC24_LEN + PAYLOAD_MAX_BYTES + CRC32_LEN;

const PLAIN_HEADER: usize = 3;
const LZ4_HEADER: usize = 5;
const CRC24_LEN: usize = 3;
const CRC32_LEN: usize = 4;
const LENGTH_MASK: u64 = 0x1_FFFF;

/// Which of the two layouts a connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// STARTUP named no compression.
    Plain,
    /// STARTUP named LZ4, the only compression of v5.
    Lz4,
}

/// The stream of frames is broken: nothing behind this point can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header does not fit its checksum.
    #[error("a frame's header does not fit its checksum (0x{found:06X} on the wire)")]
    Header {
        /// The checksum on the wire.
        found: u32,
    },
    /// The payload does not fit its checksum.
    #[error("a frame's payload does not fit its checksum (0x{found:08X} on the wire)")]
    Payload {
        /// The checksum on the wire.
        found: u32,
    },
    /// The payload is no LZ4 block of the length that the header says.
    #[error("a frame's payload cannot be decompressed")]
    Compressed,
    /// A self-contained frame ends inside an envelope, or begins inside one.
    #[error("a self-contained frame does not hold whole envelopes")]
    NotSelfContained,
    /// An envelope ended and the frame goes on, though it is not self-contained.
    #[error("a frame holds more than its part of one envelope")]
    Overlong,
}

/// One frame whose checksums hold, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The payload as it came.
    pub payload: &'a [u8],
    /// Length of the payload before compression, in bytes; 0: it is not compressed.
    pub plain_len: usize,
    /// Whether it holds whole envelopes.
    pub self_contained: bool,
    /// Header, payload and checksums together, in bytes.
    pub len: usize,
}

/// What a header says.
struct Header {
    payload_len: usize,
    plain_len: usize,
    self_contained: bool,
}

impl Format {
    /// Length of the header with its checksum, in bytes.
    #[must_use]
    pub const fn header_len(self) -> usize {
        CRC24_LEN
            + match self {
                Self::Plain => PLAIN_HEADER,
                Self::Lz4 => LZ4_HEADER,
            }
    }

    fn header(self, buf: &[u8]) -> Result<Option<Header>, FrameError> {
        let Some(bytes) = buf.get(..self.header_len()) else {
            return Ok(None);
        };
        let (fields, checksum) = bytes.split_at(bytes.len() - CRC24_LEN);
        let found = little_endian(checksum);
        if u64::from(crc::crc24(fields)) != found {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(FrameError::Header { found });
        }
        let bits = little_endian(fields);
        let length = |shift: u32| usize::try_from(bits >> shift & LENGTH_MASK).unwrap_or(0);
        Ok(Some(match self {
            Self::Plain => Header {
                payload_len: length(0),
                plain_len: 0,
                self_contained: bits >> 17 & 1 != 0,
            },
            Self::Lz4 => Header {
                payload_len: length(0),
                plain_len: length(17),
                self_contained: bits >> 34 & 1 != 0,
            },
        }))
    }

    /// Cuts the first frame off and checks it; `None` when more bytes are needed.
    ///
    /// # Errors
    /// A checksum does not fit.
    #[inline]
    pub fn split(self, buf: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(header) = self.header(buf)? else {
            return Ok(None);
        };
        let behind = buf.get(self.header_len()..).unwrap_or_default();
        let Some((payload, trailer)) = behind.split_at_checked(header.payload_len) else {
            return Ok(None);
        };
        let Some(checksum) = trailer.first_chunk::<CRC32_LEN>() else {
            return Ok(None);
        };
        let found = u32::from_le_bytes(*checksum);
        if crc::crc32(payload) != found {
            return Err(FrameError::Payload { found });
        }
        Ok(Some(Frame {
            payload,
            plain_len: header.plain_len,
            self_contained: header.self_contained,
            len: self.header_len() + header.payload_len + CRC32_LEN,
        }))
    }

    /// How many bytes are missing until [`Format::split`] gives something else than `None`: first
    /// the rest of the header, then the rest of the frame. 0 means that a whole frame is there.
    ///
    /// # Errors
    /// The header does not fit its checksum.
    pub fn missing(self, buf: &[u8]) -> Result<usize, FrameError> {
        let Some(header) = self.header(buf)? else {
            return Ok(self.header_len() - buf.len());
        };
        let len = self.header_len() + header.payload_len + CRC32_LEN;
        Ok(len.saturating_sub(buf.len()))
    }
}

impl<'a> Frame<'a> {
    /// The payload before compression: where it is, or in `scratch`, which is cleared.
    ///
    /// # Errors
    /// [`FrameError::Compressed`].
    #[inline]
    pub fn open<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], FrameError>
    where
        'a: 'b,
    {
        if self.plain_len == 0 {
            return Ok(self.payload);
        }
        scratch.clear();
        scratch.resize(self.plain_len, 0);
        match lz4_flex::block::decompress_into(self.payload, scratch) {
            Ok(written) if written == self.plain_len => Ok(scratch),
            _ => Err(FrameError::Compressed),
        }
    }
}

/// Up to eight bytes, the lowest first.
#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
