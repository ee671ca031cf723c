#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeMap;

use super::super::samples::insert;
use super::super::scan::{Ending, Scanner, Step};
use super::*;

fn writer(limit_bytes: u64) -> SegmentWriter {
    let config = WriterConfig::new(Holds::Backlog, 1, 42, 5);
    SegmentWriter::new(WriterConfig {
        limit_bytes,
        ..config
    })
}

/// A disk that only takes what the contract allows.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u64, Vec<u8>>,
    complete: Vec<u64>,
}

impl Disk {
    fn write(&mut self, batch: &Batch) {
        assert!(
            !self.complete.contains(&batch.segment),
            "written after its end"
        );
        if batch.offset == 0 {
            assert!(
                self.files.insert(batch.segment, Vec::new()).is_none(),
                "made twice"
            );
        }
        let file = self.files.get_mut(&batch.segment).expect("made first");
        assert_eq!(file.len() as u64, batch.offset, "no gap, no overlap");
        file.extend_from_slice(&batch.bytes);
        if batch.is_last {
            self.complete.push(batch.segment);
        }
    }

    /// The records' arrivals, when nothing is torn.
    fn arrivals(&self) -> Vec<u64> {
        let (arrivals, endings) = self.read();
        assert!(
            endings.iter().all(|ending| *ending == Ending::Clean),
            "{endings:?}"
        );
        arrivals
    }

    /// The records' arrivals, and how each segment ends.
    fn read(&self) -> (Vec<u64>, Vec<Ending>) {
        let (mut arrivals, mut endings) = (Vec::new(), Vec::new());
        for bytes in self.files.values() {
            let mut scanner = Scanner::new();
            scanner.push(bytes);
            scanner.finish();
            loop {
                match scanner.next_step().unwrap() {
                    Step::Record { record, .. } => {
                        arrivals.push(record.arrival_us - 1_700_000_000_000_000);
                    }
                    Step::End(ending) => {
                        endings.push(ending);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        (arrivals, endings)
    }

    /// Whether a segment ends behind its header or a record, by the lengths that stand in it.
    fn ends_whole(&self, segment: u64) -> bool {
        let bytes = &self.files[&segment];
        let mut at = if bytes.is_empty() { 0 } else { HEADER_BYTES };
        while at < bytes.len() {
            let Some(length) = format::u32_at(bytes, at + 4) else {
                return false;
            };
            at += FRAME_BYTES + usize::try_from(length).unwrap();
        }
        at == bytes.len()
    }
}

#[test]
fn segments_turn_at_the_limit_and_hold_everything_in_order() {
    for taken_every in [1, 2, 3, 7, 100] {
        let mut writer = writer(400);
        let mut disk = Disk::default();
        let mut positions = Vec::new();
        for number in 0..20 {
            positions.push(writer.append(&insert(number, b"some value"), 1).unwrap());
            if number % taken_every == 0 {
                while let Some(batch) = writer.take() {
                    disk.write(&batch);
                    writer.recycle(batch.bytes);
                }
            }
        }
        writer.seal();
        while let Some(batch) = writer.take() {
            disk.write(&batch);
        }
        assert_eq!(writer.pending_bytes(), 0);
        assert_eq!(disk.arrivals(), (0..20).collect::<Vec<_>>());
        assert!(disk.files.len() > 5);
        assert_eq!(
            disk.complete,
            disk.files.keys().copied().collect::<Vec<_>>()
        );
        assert!(disk.files.values().all(|bytes| bytes.len() <= 400));
        assert_eq!(*disk.files.keys().next().unwrap(), 5);
        assert!(positions.is_sorted());
    }
}

#[test]
fn a_record_beyond_the_limit_gets_its_own_segment() {
    let large = vec![7; 2000];
    let mut writer = writer(400);
    for value in [b"a".as_slice(), &large, b"b"] {
        writer.append(&insert(0, value), 1).unwrap();
    }
    let batches: Vec<_> = std::iter::from_fn(|| writer.take()).collect();
    assert_eq!(
        batches
            .iter()
            .map(|b| (b.segment, b.records))
            .collect::<Vec<_>>(),
        [(5, 1), (6, 1), (7, 1)]
    );
    assert_eq!(
        batches.iter().map(|b| b.is_last).collect::<Vec<_>>(),
        [true, true, false]
    );
}

#[test]
fn a_segment_can_be_completed_after_all_was_taken() {
    let mut writer = writer(400);
    writer.seal();
    assert_eq!(writer.take(), None);
    writer.append(&insert(0, b"a"), 1).unwrap();
    let first = writer.take().unwrap();
    assert_eq!(
        writer.end(),
        Some(Position {
            segment: 5,
            offset: first.bytes.len() as u64
        })
    );
    writer.seal();
    let last = writer.take().unwrap();
    assert_eq!(
        (last.offset, last.bytes.len(), last.is_last),
        (first.bytes.len() as u64, 0, true)
    );
    assert_eq!(writer.end(), None);
}

#[test]
fn a_record_that_does_not_fit_leaves_the_log_as_it_was() {
    let name = "k".repeat(70_000);
    let mut writer = writer(u64::MAX);
    writer.append(&insert(0, b"a"), 1).unwrap();
    let before = writer.pending_bytes();
    let too_large = Record {
        keyspace: &name,
        ..insert(1, b"b")
    };
    assert!(writer.append(&too_large, 1).is_err());
    assert_eq!(writer.pending_bytes(), before);
    writer.append(&insert(2, b"c"), 1).unwrap();
    let mut disk = Disk::default();
    disk.write(&writer.take().unwrap());
    assert_eq!(disk.arrivals(), [0, 2]);
}

#[test]
fn after_a_failed_sync_the_records_go_into_a_new_segment() {
    let mut writer = writer(450);
    let mut disk = Disk::default();
    writer.append(&insert(0, b"a"), 1).unwrap();
    let first = writer.take().unwrap();
    let header = *first.bytes.first_chunk().unwrap();
    writer.append(&insert(1, b"b"), 1).unwrap();
    let failed = writer.take().unwrap();
    for number in 2..6 {
        writer.append(&insert(number, b"c"), 1).unwrap();
    }
    assert!(
        writer.end().unwrap().segment > 5,
        "the log has gone on to a later segment"
    );
    // Only the first write reached the disk.
    disk.write(&first);
    let moved = writer.reissue(&failed, &header, 1).unwrap();
    assert!(moved >= 1);
    writer.append(&insert(6, b"d"), 1).unwrap();
    writer.seal();
    while let Some(batch) = writer.take() {
        disk.write(&batch);
    }
    let mut arrivals = disk.arrivals();
    arrivals.sort_unstable();
    assert_eq!(arrivals, (0..7).collect::<Vec<_>>());
    assert_eq!(writer.pending_bytes(), 0);
}

/// Wherever a process dies while it writes, all records that were whole on disk are read, the torn
/// one is reported, and the next process goes on behind without touching what is there.
#[test]
fn a_crash_at_any_byte_costs_the_torn_record_only() {
    let mut batches = Vec::new();
    let mut writer = writer(300);
    for number in 0..6 {
        writer.append(&insert(number, b"value"), 1).unwrap();
        batches.extend(writer.take());
    }
    writer.seal();
    batches.extend(std::iter::from_fn(|| writer.take()));
    assert!(batches.iter().filter(|batch| batch.offset == 0).count() >= 3);
    for (whole, torn) in batches.iter().enumerate() {
        for length in 0..torn.bytes.len() {
            let mut disk = Disk::default();
            batches[..whole].iter().for_each(|batch| disk.write(batch));
            let before = disk.arrivals();
            let file = disk.files.entry(torn.segment).or_default();
            file.extend_from_slice(&torn.bytes[..length]);
            let last = *disk.files.keys().last().unwrap();
            let config = WriterConfig::new(Holds::Backlog, 1, 43, last + 1);
            let mut next = SegmentWriter::new(config);
            next.append(&insert(99, b"after"), 2).unwrap();
            disk.write(&next.take().unwrap());
            let (arrivals, endings) = disk.read();
            let (after, found) = arrivals.split_last().unwrap();
            assert_eq!(*after, 99);
            assert!(found.starts_with(&before) && found.len() <= before.len() + 1);
            let torn_tails = endings
                .iter()
                .filter(|ending| **ending != Ending::Clean)
                .count();
            let is_whole = disk.ends_whole(torn.segment);
            assert_eq!(
                torn_tails,
                usize::from(!is_whole),
                "batch {whole} cut at {length}"
            );
        }
    }
}
