#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::os::unix::fs::PermissionsExt;

use super::super::append::{Position, SegmentWriter, WriterConfig};
use super::super::dir::{DirWriter, SpillDir};
use super::super::format::{self, FRAME_BYTES, HEADER_BYTES, Seeds};
use super::super::progress::Progress;
use super::super::record::Record;
use super::super::samples::insert;
use super::super::scan::{Ending, ScanError, Scanner, Step};
use super::super::stat;
use super::*;

fn keys(byte: u8) -> Keys {
    Keys::parse(&[byte; KEY_BYTES]).unwrap()
}

fn segment(keys: &Keys, records: &[Record<'_>]) -> (Vec<u8>, Vec<Position>) {
    let config = WriterConfig::new(Holds::Backlog, 3, 77, 12);
    let mut writer = SegmentWriter::new(config).with_keys(keys.clone());
    let places = records.iter().map(|r| writer.append(r, 1).unwrap());
    let places = places.collect();
    (writer.take().unwrap().bytes, places)
}

/// Values of the records, and the number of damaged places.
fn scan(keys: &Keys, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize), ScanError> {
    let mut scanner = Scanner::with_keys(keys.clone());
    scanner.push(bytes);
    scanner.finish();
    let (mut values, mut damaged) = (Vec::new(), 0);
    loop {
        match scanner.next_step()? {
            Step::Record { record, .. } => match record.body {
                super::super::Body::Query { params, .. } => values.push(params.to_vec()),
                super::super::Body::Batch { .. } => panic!("a query"),
            },
            Step::Damage(_) => damaged += 1,
            Step::NeedBytes => panic!("finished"),
            Step::End(ending) => {
                damaged += usize::from(ending != Ending::Clean);
                return Ok((values, damaged));
            }
        }
    }
}

#[test]
fn what_is_sealed_is_unreadable_without_its_key() {
    let secret = b"a secret value";
    let (bytes, _) = segment(&keys(1), &[insert(1, secret), insert(2, b"x")]);
    let shows = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    assert!(!shows(secret) && !shows(b"INSERT") && !shows(b"ks"));
    let (values, damaged) = scan(&keys(1), &bytes).unwrap();
    assert_eq!((values, damaged), (vec![secret.to_vec(), b"x".to_vec()], 0));
    let id = keys(1).sealing().unwrap();
    for other in [Keys::default(), keys(2)] {
        assert_eq!(scan(&other, &bytes), Err(ScanError::Key(id)));
    }
}

#[test]
fn plain_segments_are_read_beside_sealed_ones_and_old_keys_open() {
    let (plain, _) = segment(&Keys::default(), &[insert(1, b"v")]);
    assert_eq!(scan(&keys(1), &plain).unwrap().0, [b"v"]);
    let (old, _) = segment(&keys(1), &[insert(1, b"v")]);
    let both = format!("{}\n{}\n", "02".repeat(KEY_BYTES), "01".repeat(KEY_BYTES));
    let both = Keys::parse(both.as_bytes()).unwrap();
    assert_eq!(both.sealing(), keys(2).sealing());
    assert_eq!(scan(&both, &old).unwrap().0, [b"v"]);
}

/// Puts right checksums over whatever stands there now, as somebody who knows the format would.
fn mend_checksums(bytes: &mut [u8], place: Position, end: usize) {
    let header = bytes.first_chunk::<HEADER_BYTES>().unwrap();
    let seed = Seeds::of(header).seed();
    let at = usize::try_from(place.offset).unwrap();
    let crc = format::crc(seed, &bytes[at + FRAME_BYTES..end]);
    bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn tampering_is_damage_even_with_right_checksums() {
    let records = [insert(1, b"one"), insert(2, b"two"), insert(3, b"six")];
    let (good, places) = segment(&keys(1), &records);
    let at = |n: usize| usize::try_from(places[n].offset).unwrap();
    for byte in at(1) + FRAME_BYTES..at(2) {
        let mut bytes = good.clone();
        bytes[byte] ^= 1;
        mend_checksums(&mut bytes, places[1], at(2));
        let (values, damaged) = scan(&keys(1), &bytes).unwrap();
        assert_eq!((values.len(), damaged), (2, 1), "byte {byte}");
    }
    // two records change places, with their frames
    let mut bytes = good.clone();
    let (first, second) = (at(0)..at(1), at(1)..at(2));
    bytes[first.clone()].copy_from_slice(&good[second.clone()]);
    bytes[second].copy_from_slice(&good[first]);
    let (values, damaged) = scan(&keys(1), &bytes).unwrap();
    assert!(damaged > 0, "{values:?}");
}

#[test]
fn each_flipped_bit_of_a_sealed_segment_costs_its_record_only_and_is_reported() {
    let records = [insert(1, b"one"), insert(2, b"two"), insert(3, b"six")];
    let (good, places) = segment(&keys(1), &records);
    let at = |n: usize| usize::try_from(places[n].offset).unwrap();
    let whole = scan(&keys(1), &good).unwrap().0;
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[byte] ^= 1 << bit;
            let (values, damaged) = match scan(&keys(1), &bytes) {
                Ok(found) => found,
                // which key it needs is not known without the header: nothing is read, and said so
                Err(error) => {
                    assert!(byte < HEADER_BYTES, "byte {byte}: {error}");
                    continue;
                }
            };
            assert_eq!(damaged, 1, "byte {byte} bit {bit}");
            let hit = (0..3).rev().find(|n| byte >= at(*n));
            let mut kept = whole.clone();
            if let Some(hit) = hit {
                kept.remove(hit);
            }
            if hit.is_some() || !values.is_empty() {
                assert_eq!(values, kept, "byte {byte} bit {bit}");
            }
        }
    }
}

#[test]
fn a_sealed_segment_that_was_cut_short_gives_what_is_left() {
    let records = [insert(1, b"one"), insert(2, b"two"), insert(3, b"six")];
    let (good, places) = segment(&keys(1), &records);
    let whole = scan(&keys(1), &good).unwrap().0;
    for length in HEADER_BYTES..good.len() {
        let ends = places.iter().skip(1).map(|place| place.offset);
        let kept = ends.filter(|end| *end <= length as u64).count();
        let (values, damaged) = scan(&keys(1), &good[..length]).unwrap();
        assert_eq!(values, whole[..kept], "cut at {length}");
        let is_clean = places.iter().any(|place| place.offset == length as u64);
        assert_eq!(damaged, usize::from(!is_clean), "cut at {length}");
    }
}

#[test]
fn keys_are_read_from_three_forms_and_nothing_else() {
    let raw = keys(0xA5);
    let hex = "a5".repeat(KEY_BYTES);
    let base64 = "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=";
    for content in [hex.clone(), format!("\n {base64} \r\n")] {
        assert_eq!(Keys::parse(content.as_bytes()), Some(raw.clone()));
    }
    for bad in ["", "a5", &hex[1..], &base64[1..], "x".repeat(64).as_str()] {
        assert_eq!(Keys::parse(bad.as_bytes()), None, "{bad}");
    }
    assert!(!format!("{raw:?}").contains("a5a5"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("key");
    std::fs::write(&path, [7; KEY_BYTES]).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(Keys::load(&path), Err(KeyError::Open(_, 0o640))));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(Keys::load(&path).unwrap(), keys(7));
}

#[test]
fn a_directory_is_written_and_counted_with_its_keys() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("spill");
    let open = |keys| SpillDir::open_or_create(&path).unwrap().with_keys(keys);
    let dir = open(keys(1));
    let config = WriterConfig::new(Holds::Backlog, 0, 1, 1);
    let mut writer = DirWriter::new(dir.shard(0).unwrap(), config);
    writer.writer().append(&insert(1, b"v"), 1).unwrap();
    writer.close().unwrap();
    let shard = dir.shards().unwrap().remove(0);
    assert_eq!(stat::of_shard(&shard, Holds::Backlog).unwrap().records, 1);
    drop(dir);
    let shard = open(Keys::default()).shards().unwrap().remove(0);
    let file = shard.segments(Holds::Backlog).unwrap().remove(0);
    let error = stat::of_segment(&file, &Progress::default(), |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("--spill-key-file"), "{error}");
}
