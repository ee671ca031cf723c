#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::super::format::FRAME_BYTES;
use super::super::record::Body;
use super::super::samples::{any_record, insert, one_segment, segment_by};
use super::*;

/// What a scan of `bytes` gives: arrival number of each record with its place, damage, ending.
#[derive(Debug, PartialEq)]
struct Seen {
    records: Vec<(u64, u64, u64)>,
    damage: Vec<Damage>,
    ending: Ending,
}

fn scan(bytes: &[u8], chunk: usize) -> Seen {
    scan_with(Scanner::new(), bytes, chunk)
}

fn scan_with(mut scanner: Scanner, bytes: &[u8], chunk: usize) -> Seen {
    let mut chunks = bytes.chunks(chunk.max(1));
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    loop {
        match scanner.next_step().unwrap() {
            Step::NeedBytes => match chunks.next() {
                Some(chunk) => scanner.push(chunk),
                None => scanner.finish(),
            },
            Step::Record {
                offset,
                end,
                record,
            } => {
                records.push((record.arrival_us - 1_700_000_000_000_000, offset, end));
            }
            Step::Damage(found) => damage.push(found),
            Step::End(ending) => {
                return Seen {
                    records,
                    damage,
                    ending,
                };
            }
        }
    }
}

fn segment_of(count: u64) -> Vec<u8> {
    let records: Vec<_> = (0..count).map(|n| insert(n, b"value")).collect();
    one_segment(&records)
}

#[test]
fn a_clean_segment_gives_its_records_whatever_the_pieces() {
    let bytes = segment_of(5);
    let whole = scan(&bytes, bytes.len());
    assert_eq!(
        whole.records.iter().map(|r| r.0).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(whole.records[0].1, 64);
    assert_eq!(whole.records[4].2, bytes.len() as u64);
    assert_eq!((whole.damage.len(), whole.ending), (0, Ending::Clean));
    for chunk in 1..100 {
        assert_eq!(scan(&bytes, chunk), whole, "pieces of {chunk}");
    }
}

#[test]
fn cut_anywhere_only_the_cut_record_is_missing_and_the_tail_is_reported() {
    let bytes = segment_of(4);
    let whole = scan(&bytes, 4096).records;
    for length in 0..bytes.len() {
        let seen = scan(&bytes[..length], 37);
        let kept: Vec<_> = whole
            .iter()
            .copied()
            .filter(|r| r.2 <= length as u64)
            .collect();
        assert_eq!(seen.records, kept, "cut at {length}");
        assert!(seen.damage.is_empty(), "cut at {length}");
        let good = kept
            .last()
            .map_or(if length < 64 { 0 } else { 64 }, |r| r.2);
        let wanted = if good == length as u64 {
            Ending::Clean
        } else {
            Ending::TornTail {
                from: good,
                to: length as u64,
            }
        };
        assert_eq!(seen.ending, wanted, "cut at {length}");
    }
}

#[test]
fn each_flipped_bit_costs_its_record_only_and_is_reported() {
    let bytes = segment_of(4);
    let whole = scan(&bytes, 4096).records;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            if at == 8 || at == 9 {
                // A version with a wrong checksum is damage, not another version.
                let header = bad.first_chunk().unwrap();
                assert!(Scanner::resume(header, 64, Keys::default()).is_ok());
            }
            let seen = scan(&bad, 61);
            let hit = whole.iter().position(|r| (r.1..r.2).contains(&(at as u64)));
            let kept: Vec<_> = whole
                .iter()
                .enumerate()
                .filter(|(n, _)| Some(*n) != hit)
                .map(|(_, r)| *r)
                .collect();
            assert_eq!(seen.records, kept, "byte {at} bit {bit}");
            match hit {
                None => {
                    let header = Damage {
                        from: 0,
                        to: 64,
                        records: None,
                    };
                    assert_eq!((seen.damage, seen.ending), (vec![header], Ending::Clean));
                }
                Some(3) => {
                    let (from, to) = (whole[3].1, whole[3].2);
                    let torn = Ending::TornTail { from, to };
                    assert_eq!((seen.damage, seen.ending), (vec![], torn), "byte {at}");
                }
                Some(n) => {
                    let (from, to) = (whole[n].1, whole[n].2);
                    let damage = Damage {
                        from,
                        to,
                        records: Some(1),
                    };
                    assert_eq!(
                        (seen.damage, seen.ending),
                        (vec![damage], Ending::Clean),
                        "{at}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_hole_of_zeros_loses_what_it_covers_and_says_how_many() {
    let mut bytes = segment_of(6);
    let whole = scan(&bytes, 4096).records;
    let (from, to) = (whole[1].1 + 5, whole[3].1 + 9);
    bytes[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()].fill(0);
    let seen = scan(&bytes, 50);
    assert_eq!(
        seen.records.iter().map(|r| r.0).collect::<Vec<_>>(),
        [0, 4, 5]
    );
    assert_eq!(
        seen.damage,
        [Damage {
            from: whole[1].1,
            to: whole[4].1,
            records: Some(3)
        }]
    );
    assert_eq!(seen.ending, Ending::Clean);
}

#[test]
fn records_that_vanished_without_a_trace_are_reported() {
    let mut bytes = segment_of(5);
    let whole = scan(&bytes, 4096).records;
    bytes.drain(usize::try_from(whole[1].1).unwrap()..usize::try_from(whole[3].1).unwrap());
    let seen = scan(&bytes, 4096);
    assert_eq!(
        seen.records.iter().map(|r| r.0).collect::<Vec<_>>(),
        [0, 3, 4]
    );
    let at = whole[1].1;
    assert_eq!(
        seen.damage,
        [Damage {
            from: at,
            to: at,
            records: Some(2)
        }]
    );
}

#[test]
fn a_spill_record_inside_of_a_value_is_never_taken_for_one() {
    // A client stores a whole segment as a value, and the record around it is damaged.
    let foreign = segment_by(77, &[insert(900, b"forged")]);
    let mut bytes = one_segment(&[insert(0, b"a"), insert(1, &foreign), insert(2, b"b")]);
    let place = scan(&bytes, 4096).records[1];
    for at in place.1..place.1 + FRAME_BYTES as u64 {
        let at = usize::try_from(at).unwrap();
        bytes[at] ^= 0x40;
        let seen = scan(&bytes, 4096);
        assert_eq!(seen.records.iter().map(|r| r.0).collect::<Vec<_>>(), [0, 2]);
        bytes[at] ^= 0x40;
    }
}

#[test]
fn scanning_goes_on_from_any_record() {
    let bytes = segment_of(5);
    let whole = scan(&bytes, 4096);
    let header = bytes.first_chunk().unwrap();
    for skip in 0..5 {
        let offset = whole.records[skip].1;
        let scanner = Scanner::resume(header, offset, Keys::default()).unwrap();
        assert_eq!(scanner.wanted_offset(), offset);
        let rest = scan_with(scanner, &bytes[usize::try_from(offset).unwrap()..], 13);
        assert_eq!(rest.records, whole.records[skip..]);
        assert_eq!((rest.damage.len(), rest.ending), (0, Ending::Clean));
    }
}

#[test]
fn a_segment_that_grows_is_read_as_it_grows() {
    let bytes = segment_of(3);
    let mut scanner = Scanner::new();
    let mut seen = 0;
    for byte in &bytes {
        scanner.push(&[*byte]);
        while let Step::Record { .. } = scanner.next_step().unwrap() {
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
    assert!(matches!(scanner.next_step().unwrap(), Step::NeedBytes));
    assert_eq!(scanner.wanted_offset(), bytes.len() as u64);
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut bytes = segment_of(1);
    bytes[8] = 3;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let mut scanner = Scanner::new();
    scanner.push(&bytes);
    let error = scanner.next_step().unwrap_err();
    assert_eq!(error, ScanError::Version(3));
    assert!(
        error
            .to_string()
            .contains("format version 3, this program reads version 2")
    );
}

proptest! {
    #[test]
    fn records_survive_the_way_through_a_segment(
        many in proptest::collection::vec(any_record(), 0..8),
        chunk in 1usize..200,
    ) {
        let children: Vec<_> = many.iter().map(|owned| owned.children()).collect();
        let records: Vec<_> = many.iter().zip(&children).map(|(o, c)| o.record(c)).collect();
        let bytes = one_segment(&records);
        let mut scanner = Scanner::new();
        let mut chunks = bytes.chunks(chunk);
        let mut number = 0;
        loop {
            match scanner.next_step().unwrap() {
                Step::NeedBytes => match chunks.next() {
                    Some(chunk) => scanner.push(chunk),
                    None => scanner.finish(),
                },
                Step::Record { record, .. } => {
                    let sequence = (12 << 32) | number as u64;
                    prop_assert_eq!(record, Record { sequence, ..records[number] });
                    number += 1;
                }
                Step::Damage(damage) => prop_assert!(false, "{:?}", damage),
                Step::End(ending) => {
                    prop_assert_eq!(ending, Ending::Clean);
                    break;
                }
            }
        }
        prop_assert_eq!(number, records.len());
    }

    #[test]
    fn any_bytes_are_survived(
        front in 0usize..300,
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        chunk in 1usize..80,
    ) {
        let mut bytes = segment_of(3);
        bytes.truncate(front);
        bytes.extend_from_slice(&noise);
        let seen = scan(&bytes, chunk);
        prop_assert!(seen.records.len() <= 3);
    }
}

#[test]
fn the_view_shows_the_bytes_of_the_buffer() {
    let mut scanner = Scanner::new();
    scanner.push(&one_segment(&[insert(0, b"value")]));
    let Step::Record { record, .. } = scanner.next_step().unwrap() else {
        panic!("no record")
    };
    let Body::Query { params, .. } = record.body else {
        panic!("no query")
    };
    assert_eq!(params, b"value");
    assert_eq!(scanner.header().unwrap().shard, 3);
}
