//! The spill format: a record's body as it is, the bytes as a segment, and a segment with a good
//! frame around the body, so that checksums do not hide what lies behind them.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../../src/spill/mod.rs"]
mod spill;

use spill::format::{HEADER_BYTES, Seeds, close_frame, open_frame};
use spill::record;
use spill::scan::{Scanner, Step};
use spill::segment::{Header, Holds};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let piece = usize::from(*first) + 1;
    scan(data, piece);
    let decoded = record::decode(data);
    if let Ok(decoded) = &decoded {
        let mut again = Vec::new();
        record::encode(decoded, &mut again).expect("it came from bytes");
        assert_eq!(record::decode(&again).as_ref(), Ok(decoded));
    }
    // Two frames around the same body, and the bytes themselves as damage between them.
    let mut segment = segment_header().to_vec();
    let seed = Seeds::of(&segment_header()).seed();
    frame(&mut segment, data, seed);
    segment.extend_from_slice(data);
    frame(&mut segment, data, seed);
    let found = scan(&segment, piece);
    assert_eq!(found > 0, decoded.is_ok());
});

fn segment_header() -> [u8; HEADER_BYTES] {
    let holds = Holds::Backlog;
    Header {
        holds,
        shard: 1,
        instance: 2,
        segment: 3,
        created_us: 4,
    }
    .encode()
}

fn frame(out: &mut Vec<u8>, body: &[u8], seed: u32) {
    let start = open_frame(out);
    out.extend_from_slice(body);
    close_frame(out, start, seed).expect("short enough");
}

/// Feeds a scanner piece by piece to the end; gives the number of records.
fn scan(bytes: &[u8], piece: usize) -> usize {
    let mut scanner = Scanner::new();
    let mut pieces = bytes.chunks(piece);
    let (mut records, mut last) = (0, 0);
    loop {
        match scanner.next_step() {
            Err(_) => return records,
            Ok(Step::End(_)) => break,
            Ok(Step::NeedBytes) => match pieces.next() {
                Some(piece) => scanner.push(piece),
                None => scanner.finish(),
            },
            Ok(Step::Damage(damage)) => assert!(damage.from <= damage.to),
            Ok(Step::Record { offset, end, .. }) => {
                assert!(offset >= last && end > offset && end <= bytes.len() as u64);
                (records, last) = (records + 1, end);
            }
        }
    }
    records
}
