//! LZ4 and Snappy of bodies (§5).

use core::fmt;

use crate::error::EncodeError;

/// How the bodies of a connection are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// A big-endian `[int]` with the length before compression, then one LZ4 block.
    Lz4,
    /// One raw Snappy block, which begins with its own length.
    Snappy,
}

/// Compressed bytes cannot be turned back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// A compressed body on a connection without compression.
    #[error("a compressed body on a connection without compression")]
    NotNegotiated,
    /// Too short or broken inside.
    #[error("malformed compressed body")]
    Malformed,
    /// Claims to be longer than the limit, or than these bytes can possibly hold.
    #[error("compressed body claims {claimed} bytes, limit {limit}")]
    TooLarge {
        /// The length it claims, in bytes.
        claimed: u64,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// A byte of LZ4 stands for at most 255 bytes (§ "LZ4 block format"); one of Snappy for fewer.
const MAX_RATIO: usize = 255;

impl Compression {
    /// The algorithm with the name that STARTUP uses, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Lz4, Self::Snappy].into_iter().find(|known| {
            let known = known.name().unwrap_or_default();
            known.eq_ignore_ascii_case(name)
        })
    }

    /// The name for STARTUP and SUPPORTED; `None` without compression.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Lz4 => Some("lz4"),
            Self::Snappy => Some("snappy"),
        }
    }

    /// Appends the decompressed form of `body` to `out` and gives its length. The length that
    /// `body` claims is checked against `max_len` (bytes), and against what its size can hold,
    /// before memory is taken.
    ///
    /// # Errors
    /// [`CompressionError`]; `out` is then as before.
    pub fn decompress(
        self,
        body: &[u8],
        out: &mut Vec<u8>,
        max_len: usize,
    ) -> Result<usize, CompressionError> {
        let (claimed, block) = match self {
            Self::None => return Err(CompressionError::NotNegotiated),
            Self::Lz4 => {
                let (length, block) = body
                    .split_first_chunk()
                    .ok_or(CompressionError::Malformed)?;
                (u64::from(u32::from_be_bytes(*length)), block)
            }
            Self::Snappy => (snappy_claim(body)?, body),
        };
        let limit = max_len.min(block.len().saturating_mul(MAX_RATIO));
        let too_large = CompressionError::TooLarge { claimed, limit };
        let claimed = usize::try_from(claimed).map_err(|_| too_large)?;
        if claimed > limit {
            return Err(too_large);
        }
        if claimed == 0 && self == Self::Lz4 {
            return Ok(0); // servers differ in what follows the length of an empty body
        }
        let start = out.len();
        out.resize(start + claimed, 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let written = match self {
            Self::Lz4 => lz4_flex::block::decompress_into(block, place).ok(),
            _ => snap::raw::Decoder::new().decompress(block, place).ok(),
        };
        if written == Some(claimed) {
            return Ok(claimed);
        }
        out.truncate(start);
        Err(CompressionError::Malformed)
    }

    /// Appends the compressed form of `body` to `out`.
    ///
    /// # Errors
    /// `body` is too long for the algorithm's length field; `out` is then as before.
    pub fn compress(self, body: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let length = body.len();
        let too_long = EncodeError::TooLong {
            what: crate::error::Notation::Body,
            length,
        };
        let claimed = i32::try_from(length).map_err(|_| too_long)?;
        let start = out.len();
        let written = match self {
            Self::None => {
                out.extend_from_slice(body);
                return Ok(());
            }
            Self::Lz4 => {
                out.extend_from_slice(&claimed.to_be_bytes());
                let block_at = out.len();
                out.resize(
                    block_at + lz4_flex::block::get_maximum_output_size(length),
                    0,
                );
                let place = out.get_mut(block_at..).unwrap_or_default();
                lz4_flex::block::compress_into(body, place)
                    .ok()
                    .map(|written| block_at + written)
            }
            Self::Snappy => {
                out.resize(start + snap::raw::max_compress_len(length), 0);
                let place = out.get_mut(start..).unwrap_or_default();
                let compressed = snap::raw::Encoder::new().compress(body, place);
                compressed.ok().map(|written| start + written)
            }
        };
        out.truncate(written.unwrap_or(start));
        written.map(|_| ()).ok_or(too_long)
    }
}

/// The length that a Snappy block claims.
fn snappy_claim(body: &[u8]) -> Result<u64, CompressionError> {
    let claimed = snap::raw::decompress_len(body).map_err(|_| CompressionError::Malformed)?;
    u64::try_from(claimed).map_err(|_| CompressionError::Malformed)
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("none"))
    }
}
