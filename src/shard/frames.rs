//! The frames of one half of a v5 connection: received ones opened, envelopes to send wrapped.

use crate::cql::frame::{Encoder, Format, FrameError};
use crate::limits::BUFFER_KEEP_BYTES;

/// See the module. Exists from the moment when STARTUP was accepted.
#[derive(Debug)]
pub struct Frames {
    format: Format,
    encoder: Encoder,
    /// The beginning of a frame whose rest has not come: at most one frame.
    partial: Vec<u8>,
    /// An envelope has begun and not ended in the frames so far.
    inside: bool,
    /// Bytes in the buffer to send that go without frames: the answer to STARTUP.
    unframed: usize,
}

impl Frames {
    /// From now on frames are used, but for the `unframed` bytes that wait already.
    #[must_use]
    pub fn new(format: Format, unframed: usize) -> Self {
        Self {
            format,
            encoder: Encoder::new(format),
            partial: Vec::new(),
            inside: false,
            unframed,
        }
    }

    /// Opens the frames in `bytes`, which follow what came before, and hands each payload to
    /// `each`, which says how many envelopes ended in it and whether none is unfinished.
    ///
    /// # Errors
    /// The bytes are no frames, or the frames no envelopes; nothing behind them can be trusted.
    pub fn open(
        &mut self,
        mut bytes: &[u8],
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]) -> (u64, bool),
    ) -> Result<(), FrameError> {
        let mut partial = std::mem::take(&mut self.partial);
        while !partial.is_empty() {
            let missing = self.format.missing(&partial)?;
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            partial.extend_from_slice(head);
            bytes = rest;
            if self.one(&partial, scratch, &mut each)?.is_some() {
                partial.clear();
            } else if bytes.is_empty() {
                break;
            }
        }
        if partial.capacity() <= BUFFER_KEEP_BYTES || !partial.is_empty() {
            self.partial = partial;
        }
        while let Some(length) = self.one(bytes, scratch, &mut each)? {
            bytes = bytes.get(length..).unwrap_or_default();
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Opens the frame at the beginning of `bytes`, if it is there whole, and gives its length.
    fn one(
        &mut self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        each: &mut impl FnMut(&[u8]) -> (u64, bool),
    ) -> Result<Option<usize>, FrameError> {
        let Some(frame) = self.format.split(bytes)? else {
            return Ok(None);
        };
        if frame.self_contained && self.inside {
            return Err(FrameError::NotSelfContained);
        }
        let (ended, finished) = each(frame.open(scratch)?);
        match (frame.self_contained, finished, ended) {
            (true, false, _) => return Err(FrameError::NotSelfContained),
            (false, _, 2..) | (false, false, 1) => return Err(FrameError::Overlong),
            _ => self.inside = !finished,
        }
        Ok(Some(frame.len))
    }

    /// Appends to `out` what goes on the wire for `envelopes`, which follow those before.
    pub fn wrap(&mut self, envelopes: &[u8], out: &mut Vec<u8>) {
        let (unframed, framed) = envelopes.split_at(self.unframed.min(envelopes.len()));
        self.unframed -= unframed.len();
        out.extend_from_slice(unframed);
        self.encoder.encode(framed, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::frame::PAYLOAD_MAX_BYTES;
    use crate::cql::{Flags, Opcode, Version, encode};

    fn envelope(length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let (flags, opcode) = (Flags::NONE, Opcode::Query);
        let body = |w: &mut crate::cql::Writer<'_>| w.raw(&vec![b'x'; length]);
        encode::envelope(&mut out, Version::V5, flags, 1, opcode, body).unwrap();
        out
    }

    #[test]
    fn the_answer_to_startup_goes_before_the_first_frame() {
        let (ready, answer) = (envelope(0), envelope(30));
        let mut frames = Frames::new(Format::Plain, ready.len());
        let mut wire = Vec::new();
        frames.wrap(&ready[..4], &mut wire);
        frames.wrap(&[&ready[4..], &answer[..]].concat(), &mut wire);
        assert_eq!(wire[..9], ready[..]);
        let frame = Format::Plain.split(&wire[9..]).unwrap().unwrap();
        assert_eq!(frame.payload, answer);
    }

    /// Feeds the bytes in steps to a receiver that counts envelopes as a connection does.
    fn receive(format: Format, wire: &[u8], step: usize) -> Result<Vec<u8>, FrameError> {
        let mut frames = Frames::new(format, 0);
        let (mut partial, mut back) = (crate::shard::buffers::Partial::default(), Vec::new());
        let limits = crate::cql::decoder::DecodeLimits::requests(1 << 20);
        let mut scratch = Vec::new();
        for piece in wire.chunks(step) {
            frames.open(piece, &mut scratch, |payload| {
                let mut ended = 0;
                let each = |envelope: &crate::cql::Envelope<'_>| {
                    ended += 1;
                    back.extend_from_slice(envelope.raw);
                };
                let rest = partial.cut(payload, &limits, each).unwrap();
                partial.keep(rest);
                (ended, partial.is_empty())
            })?;
        }
        Ok(back)
    }

    #[test]
    fn envelopes_come_out_whole_however_the_frames_come_in() {
        let stream = [
            envelope(5),
            envelope(6),
            envelope(PAYLOAD_MAX_BYTES * 2),
            envelope(7),
        ]
        .concat();
        for format in [Format::Plain, Format::Lz4] {
            let mut wire = Vec::new();
            Frames::new(format, 0).wrap(&stream, &mut wire);
            for step in [1, 7, 1_000, 16_384, wire.len()] {
                assert_eq!(receive(format, &wire, step).unwrap(), stream, "{step}");
            }
        }
    }

    #[test]
    fn marks_that_lie_are_found() {
        let (short, long) = (envelope(5), envelope(50));
        let mut encoder = Encoder::new(Format::Plain);
        let mut frame = |bytes: &[u8]| {
            let mut out = Vec::new();
            encoder.encode(bytes, &mut out);
            out
        };
        // the encoder marks a beginning as such, and what follows it until it ends
        let (first, rest) = (frame(&long[..20]), frame(&long[20..]));
        let whole = frame(&short);
        let step = usize::MAX;
        let both = [&first[..], &rest].concat();
        assert_eq!(receive(Format::Plain, &both, step), Ok(long.clone()));
        let early = [&first[..], &whole].concat();
        let error = Err(FrameError::NotSelfContained);
        assert_eq!(receive(Format::Plain, &early, step), error);
        let _ = frame(&envelope(100)[..40]); // 69 bytes are still to come
        let two = frame(&[&short[..], &short[..]].concat());
        assert_eq!(
            receive(Format::Plain, &two, step),
            Err(FrameError::Overlong)
        );
    }
}
