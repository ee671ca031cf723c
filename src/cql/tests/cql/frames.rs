//! Frames of v5: what is put into them comes out, however it is cut, and damage is found.

use proptest::collection::vec;
use proptest::prelude::*;
use twinring_cql::frame::{self, Encoder, Format, FrameError};
use twinring_cql::{Flags, Opcode, Version, encode};

const FORMATS: [Format; 2] = [Format::Plain, Format::Lz4];

/// Envelopes with bodies of these lengths, one after the other.
fn envelopes(lengths: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for (stream, length) in (0..).zip(lengths) {
        let put = |w: &mut twinring_cql::Writer<'_>| {
            for at in 0..*length {
                w.byte(u8::try_from((at ^ at >> 8) & 0xFF).unwrap());
            }
        };
        let (version, opcode) = (Version::V5, Opcode::Query);
        encode::envelope(&mut out, version, Flags::NONE, stream, opcode, put).unwrap();
    }
    out
}

/// Payloads with the mark of each.
fn cut(format: Format, mut bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let (mut found, mut scratch) = (Vec::new(), Vec::new());
    while let Some(frame) = format.split(bytes).unwrap() {
        let payload = frame.open(&mut scratch).unwrap().to_vec();
        found.push((payload, frame.self_contained));
        bytes = &bytes[frame.len..];
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn small_envelopes_share_a_frame_and_a_large_one_has_several() {
    let max = frame::PAYLOAD_MAX_BYTES;
    for format in FORMATS {
        let mut out = Vec::new();
        let stream = envelopes(&[0, 10, 1_000, max - 9, max - 8, 300_000, 5, 6]);
        Encoder::new(format).encode(&stream, &mut out);
        let found = cut(format, &out);
        let shape: Vec<_> = found
            .iter()
            .map(|(payload, whole)| (payload.len(), *whole))
            .collect();
        let wanted = [
            (3 * 9 + 1_010, true),
            (max, true),
            (max, false),
            (1, false),
            (max, false),
            (max, false),
            (300_009 - 2 * max, false),
            (2 * 9 + 11, true),
        ];
        assert_eq!(shape, wanted);
        let back: Vec<u8> = found.into_iter().flat_map(|(payload, _)| payload).collect();
        assert_eq!(back, stream);
    }
}

#[test]
fn an_envelope_may_be_encoded_as_it_comes() {
    for format in FORMATS {
        let stream = envelopes(&[200_000, 7]);
        let (mut encoder, mut out) = (Encoder::new(format), Vec::new());
        for piece in [&stream[..100], &stream[100..150_000], &stream[150_000..]] {
            encoder.encode(piece, &mut out);
        }
        let found = cut(format, &out);
        let marks: Vec<_> = found.iter().map(|(_, whole)| *whole).collect();
        assert_eq!(marks, [false, false, false, false, true]);
        let back: Vec<u8> = found.into_iter().flat_map(|(payload, _)| payload).collect();
        assert_eq!(back, stream);
    }
}

#[test]
fn a_wrong_bit_anywhere_is_found() {
    for format in FORMATS {
        let mut out = Vec::new();
        Encoder::new(format).encode(&envelopes(&[40, 30]), &mut out);
        for at in 0..out.len() * 8 {
            let mut damaged = out.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            let error = format.split(&damaged).expect_err("a wrong bit");
            let header = at / 8 < format.header_len();
            assert_eq!(
                matches!(error, FrameError::Header { .. }),
                header,
                "{at}: {error}"
            );
        }
        for end in 0..out.len() {
            assert_eq!(format.split(&out[..end]), Ok(None));
            let missing = format.missing(&out[..end]).unwrap();
            assert!(missing > 0 && end + missing <= out.len());
        }
    }
}

#[test]
fn what_would_not_shrink_goes_as_it_is() {
    let noise: Vec<u8> = (0..2_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let mut out = Vec::new();
    Encoder::new(Format::Lz4).encode(&noise[..500], &mut out);
    let frame = Format::Lz4.split(&out).unwrap().unwrap();
    assert_eq!((frame.plain_len, frame.payload), (0, &noise[..500]));
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out(lengths in vec(0_usize..2_000, 0..40), step in 1_usize..9_000) {
        let stream = envelopes(&lengths);
        for format in FORMATS {
            let mut out = Vec::new();
            Encoder::new(format).encode(&stream, &mut out);
            // As a receiver does it: what is missing is asked for, and no more is kept.
            let (mut kept, mut back, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
            for mut piece in out.chunks(step) {
                while !piece.is_empty() {
                    let missing = format.missing(&kept).unwrap();
                    let (head, rest) = piece.split_at(missing.min(piece.len()));
                    kept.extend_from_slice(head);
                    piece = rest;
                    if let Some(frame) = format.split(&kept).unwrap() {
                        assert_eq!(frame.len, kept.len());
                        back.extend_from_slice(frame.open(&mut scratch).unwrap());
                        kept.clear();
                    }
                }
            }
            assert!(kept.is_empty());
            assert_eq!(back, stream);
        }
    }
}
