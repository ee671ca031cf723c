//! Envelopes → frames.

use super::{CRC24_LEN, CRC32_LEN, Format, LZ4_HEADER, PAYLOAD_MAX_BYTES, PLAIN_HEADER, crc};
use crate::envelope::HEADER_LEN;

/// Makes frames of the envelopes of one direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoder {
    format: Format,
    /// What is still to come of an envelope that is spread over frames, in bytes.
    left: usize,
}

impl Encoder {
    /// Starts behind the last envelope that went without a frame.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self { format, left: 0 }
    }

    /// Appends to `out` the frames for `bytes`: whole envelopes, as many to a frame as fit. The
    /// last may be a beginning; the next call then goes on where this one ended.
    pub fn encode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        let frames = bytes.len() / PAYLOAD_MAX_BYTES + 1;
        out.reserve(bytes.len() + frames * (LZ4_HEADER + CRC24_LEN + CRC32_LEN));
        while !bytes.is_empty() {
            if self.left == 0 {
                let (whole, rest) = bytes.split_at(whole_envelopes(bytes));
                if !whole.is_empty() {
                    put(self.format, whole, true, out);
                    bytes = rest;
                    continue;
                }
                // no header at all would be a mistake of the caller: the bytes go as they are
                self.left = envelope_len(bytes).unwrap_or(bytes.len()).max(1);
            }
            let length = self.left.min(bytes.len()).min(PAYLOAD_MAX_BYTES);
            let (piece, rest) = bytes.split_at(length);
            put(self.format, piece, false, out);
            self.left -= length;
            bytes = rest;
        }
    }
}

/// Length of the envelope at the beginning of `bytes`, if its header is there.
#[inline]
fn envelope_len(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, _, _, length @ ..] = *bytes.first_chunk::<HEADER_LEN>()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    length.checked_add(HEADER_LEN)
}

/// How many bytes of whole envelopes at the beginning fit into one frame.
#[inline]
fn whole_envelopes(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = bytes.get(end..).and_then(envelope_len) {
        let next = end.saturating_add(length);
        if next > PAYLOAD_MAX_BYTES || next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

/// Appends one frame.
fn put(format: Format, payload: &[u8], self_contained: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + format.header_len(), 0);
    let payload_at = out.len();
    let mut plain_len = 0;
    match format {
        Format::Plain => out.extend_from_slice(payload),
        Format::Lz4 => {
            out.resize(
                payload_at + lz4_flex::block::get_maximum_output_size(payload.len()),
                0,
            );
            let place = out.get_mut(payload_at..).unwrap_or_default();
            match lz4_flex::block::compress_into(payload, place) {
                Ok(written) if written < payload.len() => {
                    out.truncate(payload_at + written);
                    plain_len = payload.len();
                }
                _ => {
                    out.truncate(payload_at);
                    out.extend_from_slice(payload);
                }
            }
        }
    }
    let written = out.get(payload_at..).unwrap_or_default();
    let checksum = crc::crc32(written).to_le_bytes();
    let (length, flag) = (written.len() as u64, u64::from(self_contained));
    out.extend_from_slice(&checksum);
    let (bits, bytes) = match format {
        Format::Plain => (length | flag << 17, PLAIN_HEADER),
        Format::Lz4 => (length | (plain_len as u64) << 17 | flag << 34, LZ4_HEADER),
    };
    let bits = bits.to_le_bytes();
    let fields = bits.get(..bytes).unwrap_or_default();
    let checksum = crc::crc24(fields).to_le_bytes();
    if let Some(place) = out.get_mut(start..payload_at) {
        let (head, tail) = place.split_at_mut(bytes);
        head.copy_from_slice(fields);
        tail.copy_from_slice(checksum.get(..CRC24_LEN).unwrap_or_default());
    }
}
