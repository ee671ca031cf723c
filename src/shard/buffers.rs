//! Received bytes → envelopes, through the receive buffer as far as possible.

use crate::cql::decoder::{self, DecodeLimits};
use crate::cql::envelope::Envelope;
use crate::cql::error::EnvelopeError;
use crate::limits::BUFFER_KEEP_BYTES;

/// The beginning of an envelope whose rest has not come yet. Empty most of the time: whole
/// envelopes are taken out of the receive buffer where they are.
#[derive(Debug, Default)]
pub struct Partial {
    bytes: Vec<u8>,
}

impl Partial {
    /// Cuts `bytes`, which follow what came before, into envelopes and hands each to `each`. Gives
    /// the beginning of the next envelope, for [`Self::keep`].
    ///
    /// # Errors
    /// The bytes cannot be cut any further.
    pub fn cut<'b>(
        &mut self,
        mut bytes: &'b [u8],
        limits: &DecodeLimits,
        mut each: impl FnMut(&Envelope<'_>),
    ) -> Result<&'b [u8], EnvelopeError> {
        while !self.bytes.is_empty() {
            let missing = decoder::missing(&self.bytes, limits)?;
            if missing == 0 {
                if let Some(envelope) = decoder::split(&self.bytes, limits)? {
                    each(&envelope);
                }
                self.bytes.clear();
                if self.bytes.capacity() > BUFFER_KEEP_BYTES {
                    self.bytes = Vec::new();
                }
                break;
            }
            if bytes.is_empty() {
                return Ok(bytes);
            }
            let (head, tail) = bytes.split_at(missing.min(bytes.len()));
            self.bytes.extend_from_slice(head);
            bytes = tail;
        }
        while let Some(envelope) = decoder::split(bytes, limits)? {
            each(&envelope);
            bytes = bytes.get(envelope.raw.len()..).unwrap_or_default();
        }
        Ok(bytes)
    }

    /// Keeps the beginning of an envelope until the rest of it comes.
    pub fn keep(&mut self, rest: &[u8]) {
        self.bytes.extend_from_slice(rest);
    }

    /// Whether no envelope has begun.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory that it holds (bytes).
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::{Flags, Opcode, Version, encode};

    fn stream_of(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (stream, length) in (0i16..).zip(lengths) {
            encode::envelope(
                &mut bytes,
                Version::V4,
                Flags::NONE,
                stream,
                Opcode::Query,
                |body| {
                    body.raw(&vec![b'x'; *length]);
                },
            )
            .unwrap();
        }
        bytes
    }

    #[test]
    fn envelopes_come_out_whole_however_the_bytes_come_in() {
        let lengths = [0, 1, 300, 9, 70_000, 2];
        let bytes = stream_of(&lengths);
        let limits = DecodeLimits::requests(1 << 20);
        for step in [1, 2, 3, 8, 9, 10, 11, 1_000, 16_384, bytes.len()] {
            let mut partial = Partial::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                let each = |e: &Envelope<'_>| seen.push((e.header.stream, e.body.len()));
                let rest = partial.cut(piece, &limits, each).unwrap();
                partial.keep(rest);
            }
            let expected: Vec<_> = (0i16..).zip(lengths).collect();
            assert_eq!(seen, expected, "in steps of {step}");
            assert!(partial.capacity() <= BUFFER_KEEP_BYTES);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_takes_no_memory() {
        let mut partial = Partial::default();
        let header = [0x04, 0, 0, 1, 0x07, 0x10, 0, 0, 0];
        let limits = DecodeLimits::requests(1 << 20);
        let cut = partial.cut(&header, &limits, |_| panic!("no envelope"));
        assert!(matches!(cut, Err(EnvelopeError::TooLarge { .. })));
        assert_eq!(partial.capacity(), 0);
    }

    #[test]
    fn a_rest_that_is_not_kept_is_given_back() {
        let bytes = stream_of(&[5, 100]);
        let limits = DecodeLimits::requests(1 << 20);
        let mut partial = Partial::default();
        let rest = partial.cut(&bytes[..50], &limits, |_| {}).unwrap();
        assert_eq!(rest, &bytes[14..50]);
        assert_eq!(partial.capacity(), 0);
    }
}
