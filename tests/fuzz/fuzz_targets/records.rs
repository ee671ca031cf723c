//! Where TLS records end, however the stream of them is cut: the first byte says into what pieces.
#![no_main]

#[path = "../../../src/tls/records.rs"]
mod records;

use records::Records;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let (places, nonsense_at) = ends(data);
    let (mut records, mut begin) = (Records::default(), 0);
    for piece in data.chunks(usize::from(*first) + 1) {
        let end = begin + piece.len();
        let ended = places.iter().any(|at| (begin + 1..=end).contains(at));
        let nonsense = nonsense_at.is_some_and(|at| end >= at);
        assert_eq!(records.end_in(piece), ended || nonsense, "{begin}..{end}");
        begin = end;
    }
});

/// The lengths of the stream at which a record ends, and from which on it is none of records.
fn ends(stream: &[u8]) -> (Vec<usize>, Option<usize>) {
    let (mut places, mut at) = (Vec::new(), 0);
    while let Some(&[kind, major, _, high, low]) = stream.get(at..at + 5) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(20..=24).contains(&kind) || major != 3 || length > (1 << 14) + 2048 {
            return (places, Some(at + 5));
        }
        at += 5 + length;
        places.push(at); // beyond the stream: no piece holds it
    }
    (places, None)
}
