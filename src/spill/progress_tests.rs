#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::super::dir::SpillDir;
use super::*;

fn at(segment: u64, offset: u64) -> Position {
    Position { segment, offset }
}

fn any_progress() -> impl Strategy<Value = Progress> {
    let place = (any::<u64>(), any::<u64>()).prop_map(|(s, o)| at(s, o));
    let places = || proptest::collection::btree_set((any::<u64>(), any::<u64>()), 0..9);
    (place, places(), places()).prop_map(|(next, done, started)| Progress {
        next,
        done: done.into_iter().map(|(s, o)| at(s, o)).collect(),
        started: started.into_iter().map(|(s, o)| at(s, o)).collect(),
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(progress in any_progress(), bit in any::<usize>()) {
        let bytes = progress.encode(Holds::Rejected, 9);
        prop_assert_eq!(Progress::decode(&bytes, Holds::Rejected, 9), Ok(progress));
        prop_assert_eq!(Progress::decode(&bytes, Holds::Rejected, 8), Err(None));
        prop_assert_eq!(Progress::decode(&bytes, Holds::Backlog, 9), Err(None));
        let mut bad = bytes.clone();
        let bit = bit % (bytes.len() * 8);
        bad[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Progress::decode(&bad, Holds::Rejected, 9), Err(None));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        prop_assert_eq!(Progress::decode(&bytes, Holds::Backlog, 0), Err(None));
    }

    /// Whatever the order in which records are finished and wherever the process dies: what the
    /// next one finds to do is exactly what was not finished.
    #[test]
    fn resuming_finds_exactly_what_is_left(
        order in Just((0u64..30).collect::<Vec<_>>()).prop_shuffle(),
        finished in 0usize..30,
        seen in 0u64..30,
    ) {
        let mut ledger = Ledger::default();
        let record = |n: u64| (at(1 + n / 10, 64 + n % 10), at(1 + n / 10, 65 + n % 10));
        let read = |ledger: &mut Ledger, upto: u64| {
            let mut to_do = Vec::new();
            for n in 0..upto {
                let (start, end) = record(n);
                if ledger.seen(start, end) == Standing::ToDo {
                    to_do.push(n);
                }
                if n % 10 == 9 {
                    ledger.segment_ended(start.segment);
                }
            }
            to_do
        };
        read(&mut ledger, seen);
        let done: Vec<u64> = order.into_iter().filter(|n| *n < seen).take(finished).collect();
        for n in &done {
            ledger.finish(record(*n).0);
        }
        let written = ledger.progress();
        let mut next = Ledger::resume(written.clone());
        let left = read(&mut next, 30);
        let wanted: Vec<u64> = (0..30).filter(|n| !done.contains(n)).collect();
        prop_assert_eq!(&left, &wanted);
        for n in left {
            next.finish(record(n).0);
        }
        prop_assert_eq!(next.progress(), Progress { next: at(4, 0), ..Progress::default() });
        prop_assert!(next.progress().next >= written.next);
    }
}

#[test]
fn a_started_record_is_in_doubt_for_the_next_process_only() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.seen(at(1, 64), at(1, 100)), Standing::ToDo);
    ledger.start(at(1, 64));
    assert_eq!(ledger.seen(at(1, 64), at(1, 100)), Standing::ToDo);
    let mut next = Ledger::resume(ledger.progress());
    assert_eq!(next.seen(at(1, 64), at(1, 100)), Standing::InDoubt);
    next.finish(at(1, 64));
    assert_eq!(
        next.progress(),
        Progress {
            next: at(1, 100),
            ..Progress::default()
        }
    );
    ledger.unstart(at(1, 64));
    let mut next = Ledger::resume(ledger.progress());
    assert_eq!(next.seen(at(1, 64), at(1, 100)), Standing::ToDo);
}

#[test]
fn a_segment_is_finished_when_its_last_record_is() {
    let mut ledger = Ledger::default();
    for n in 0..3 {
        ledger.seen(at(1, 64 + n), at(1, 65 + n));
    }
    ledger.finish(at(1, 66));
    ledger.finish(at(1, 64));
    ledger.segment_ended(1);
    ledger.seen(at(2, 64), at(2, 70));
    assert_eq!(ledger.take_finished_segments(), [] as [u64; 0]);
    ledger.finish(at(1, 65));
    assert_eq!(ledger.take_finished_segments(), [1]);
    assert_eq!(ledger.take_finished_segments(), [] as [u64; 0]);
    assert_eq!(ledger.next(), at(2, 64));
    assert_eq!(ledger.open_count(), 1);
}

#[test]
fn the_file_is_replaced_whole_and_damage_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let dir = SpillDir::open_or_create(&temp.path().join("spill")).unwrap();
    let shard = dir.shard(2).unwrap();
    let load = || Progress::load(&shard, Holds::Backlog);
    assert_eq!(load().unwrap(), Progress::default());
    let mut progress = Progress {
        next: at(3, 64),
        ..Progress::default()
    };
    progress.store(&shard, Holds::Backlog).unwrap();
    progress.started.insert(at(3, 99));
    // What a process that died while it was writing leaves behind is in nobody's way.
    std::fs::write(shard.path.join("progress.new"), b"half").unwrap();
    progress.store(&shard, Holds::Backlog).unwrap();
    assert_eq!(load().unwrap(), progress);
    assert_eq!(
        Progress::load(&shard, Holds::Rejected).unwrap(),
        Progress::default()
    );
    let path = path_of(&shard, Holds::Backlog);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let words = load().unwrap_err().to_string();
    assert!(
        words.contains("progress is damaged") && words.contains("move the file"),
        "{words}"
    );
    bytes[20] ^= 1;
    bytes[8] = 7;
    let length = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..length]);
    bytes[length..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert!(load().unwrap_err().to_string().contains("format version 7"));
}

#[test]
fn only_so_many_done_places_are_written_down() {
    let done: BTreeSet<_> = (0..DONE_MAX_PLACES as u64 + 5).map(|n| at(1, n)).collect();
    let progress = Progress {
        done,
        ..Progress::default()
    };
    let read = Progress::decode(&progress.encode(Holds::Backlog, 0), Holds::Backlog, 0).unwrap();
    assert_eq!(read.done.len(), DONE_MAX_PLACES);
    assert_eq!(read.done.last(), Some(&at(1, DONE_MAX_PLACES as u64 - 1)));
}
