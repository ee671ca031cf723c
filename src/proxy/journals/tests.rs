#![allow(clippy::unwrap_used)]

use super::*;
use crate::journal::Heap;
use crate::journal::format::Nature;
use crate::spill::samples::insert;
use crate::spill::{Kind, Repeat};

const NATURES: [(Kind, Repeat); 3] = [
    (Kind::Write, Repeat::Free),
    (Kind::Counter, Repeat::Once),
    (Kind::Ddl, Repeat::Free),
];

/// What a journal made in this boot begins with.
fn header(boot: u64) -> Header {
    Header {
        shard: 0,
        instance: 1,
        created_us: 1,
        boot,
        geometry: Geometry {
            block_bytes: 4096,
            blocks: 2,
        },
    }
}

/// The file of a journal with an applied record of each nature, made in this boot.
fn left_in(boot: u64, path: &Path) -> Heap {
    let header = header(boot);
    let heap = Heap::new(header);
    let mut journal = Journal::new([heap.words()].into(), 0, &header, heap.lend());
    for (number, (kind, repeat)) in (1..).zip(NATURES) {
        let nature = Nature {
            kind,
            repeat,
            conditional: false,
        };
        let place = journal.append(&insert(number, b"v"), nature).unwrap();
        journal.mark(place, State::Applied);
    }
    drop(journal);
    fs::write(path, heap.image()).unwrap();
    heap
}

fn states(path: &Path, boot: u64) -> Vec<Option<State>> {
    let (kept, records, _) = take_over(path, 0, boot).unwrap().unwrap();
    assert_eq!((kept.left.len(), kept.damaged), (3, false));
    records.into_iter().map(|record| record.state).collect()
}

#[test]
fn states_of_another_boot_are_taken_for_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let applied = Some(State::Applied);
    left_in(7, &path);
    assert_eq!(
        states(&path, 7),
        [applied; 3],
        "the same boot: they are exact"
    );
    let stale = [applied, Some(State::Sent), None];
    assert_eq!(states(&path, 8), stale);
    assert_eq!(
        states(&path, 8),
        stale,
        "a process that died in it changes nothing"
    );
    left_in(0, &path);
    assert_eq!(
        states(&path, 8),
        [applied; 3],
        "an older version does not tell"
    );
}

#[test]
fn a_boot_has_a_name_that_is_not_0() {
    assert_eq!(
        name_of("6a3b0c0e-0000-4a5b-8000-000000000000"),
        0x6A3B_0C0E_0000_4A5B
    );
    assert_eq!((name_of(""), name_of("short")), (0, 0));
}

/// One shard has written all it had, another has not: the next start must find the files of both,
/// or it would take one for lost.
#[test]
fn a_stop_that_leaves_writes_leaves_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [0, 1].map(|shard| {
        dir.path()
            .join(format!("shard-{shard:04}-{:016x}{SUFFIX}", 1))
    });
    let start = Start {
        now_us: 1_000_000,
        boot: "boot",
    };
    let journals = |heaps: [Heap; 2]| {
        let own = paths.iter().zip(heaps).map(|(path, heap)| {
            fs::write(path, heap.image()).unwrap();
            Kept {
                path: path.clone(),
                words: heap.words(),
                left: Vec::new(),
                damaged: false,
            }
        });
        let run = Run::new(1, Durability::Process, dir.path(), 2, start).unwrap();
        run.store(dir.path()).unwrap();
        Journals {
            data_dir: dir.path().to_owned(),
            run,
            own: own.collect(),
            old: Vec::new(),
            old_us: None,
            _locks: Vec::new(),
        }
    };
    let empty = || Heap::new(header(7));
    journals([empty(), left_in(7, &paths[1])]).end(true);
    assert!(paths.iter().all(|path| path.exists()));
    let run = Run::load(dir.path()).unwrap().unwrap();
    assert_eq!(run.loss(&paths, "boot"), None, "nothing is lost");
    journals([empty(), empty()]).end(true);
    assert!(!paths.iter().any(|path| path.exists()));
    assert!(Run::load(dir.path()).unwrap().is_none());
}
