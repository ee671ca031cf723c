#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::log::{Logs, Turn};
use super::*;
use crate::cql::Consistency;
use crate::spill::{Body, DirWriter, Record, WriterConfig};

fn args(dir: &Path) -> ReplayArgs {
    ReplayArgs {
        dir: dir.to_owned(),
        target: vec!["127.0.0.49:21499".to_owned()],
        target_bundle: Default::default(),
        target_port: 9042,
        target_username: None,
        target_password_file: None,
        target_tls: Default::default(),
        rate: None,
        concurrency: 8,
        give_up_seconds: 1,
        include_rejected: false,
        only_rejected: false,
        dry_run: false,
        keep: false,
        target_consistency: None,
        spill_key_file: None,
        force: false,
        json: false,
    }
}

fn record(kind: Kind, arrival_us: u64) -> Record<'static> {
    Record {
        sequence: 0,
        arrival_us,
        stamp_us: None,
        kind,
        version: 4,
        session_keyspace: "",
        keyspace: "ks",
        table: "t",
        refusal: None,
        body: Body::Query {
            text: "INSERT INTO ks.t (k) VALUES (1)",
            params: &[0, 1, 0],
        },
    }
}

/// A spill directory with these records, shard by shard.
fn spilled(shards: &[Vec<(Kind, u64)>], limit_bytes: u64) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("spill");
    let dir = SpillDir::open_or_create(&path).unwrap();
    for (number, records) in (0u32..).zip(shards) {
        let config = WriterConfig::new(Holds::Backlog, number, 1, 1);
        let config = WriterConfig {
            limit_bytes,
            ..config
        };
        let mut writer = DirWriter::new(dir.shard(number).unwrap(), config);
        for (kind, arrival_us) in records {
            writer
                .writer()
                .append(&record(*kind, *arrival_us), 1)
                .unwrap();
        }
        writer.close().unwrap();
    }
    (temp, path)
}

fn any_log() -> impl Strategy<Value = Vec<(Kind, u64)>> {
    let kind = prop_oneof![9 => Just(Kind::Write), 1 => Just(Kind::Truncate)];
    // Arrivals rise slowly with some disorder.
    proptest::collection::vec((kind, 0u64..30), 0..40).prop_map(|records| {
        let place = |(n, (kind, noise)): (u64, (Kind, u64))| (kind, n * 5 + noise);
        (0u64..).zip(records).map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Between two barriers comes exactly what arrived between them, whatever the disorder.
    #[test]
    fn barriers_part_what_arrived_before_from_what_came_after(
        shards in proptest::collection::vec(any_log(), 1..4),
        limit_bytes in 200u64..2000,
        die_after in 0usize..60,
    ) {
        let (_temp, path) = spilled(&shards, limit_bytes);
        let total: usize = shards.iter().map(Vec::len).sum();
        let mut done: Vec<Turn> = Vec::new();
        // The first process dies after some records; the second does the rest.
        for budget in [die_after, usize::MAX] {
            let dir = SpillDir::open(&path).unwrap();
            let mut logs = Logs::open(&dir, &[Holds::Backlog]).unwrap();
            prop_assert_eq!(logs.found.records, (total - done.len()) as u64);
            work_off(&mut logs, budget, &mut done);
            logs.store(false).unwrap();
        }
        prop_assert_eq!(done.len(), total, "each once");
        let mut sorted = done.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), total);
        let is_barrier = |turn: &Turn| shards[turn.stream].iter()
            .any(|(kind, us)| kind.is_barrier() && *us == turn.arrival_us);
        for (at, turn) in done.iter().enumerate().filter(|(_, turn)| is_barrier(turn)) {
            let barrier = shards[turn.stream].iter().filter(|(_, us)| *us == turn.arrival_us);
            if barrier.clone().any(|(kind, _)| !kind.is_barrier()) {
                continue; // a write with the same arrival: the turn alone does not tell them apart
            }
            prop_assert!(done[..at].iter().all(|before| before < turn), "nothing late before it");
            prop_assert!(done[at + 1..].iter().all(|after| after > turn), "nothing early after it");
        }
        let left = stat::of_dir(&path).unwrap().0;
        prop_assert_eq!((left.records, left.segments), (0, 0), "done segments are gone");
    }
}

/// Does what the engine does, without a target; at most `budget` records.
fn work_off(logs: &mut Logs, budget: usize, done: &mut Vec<Turn>) {
    let mut left = budget;
    let barriers = std::mem::take(&mut logs.barriers);
    for barrier in barriers.iter().copied().map(Some).chain([None]) {
        logs.begin();
        while let Some(entry) = logs.next(barrier).unwrap() {
            if left == 0 {
                return;
            }
            left -= 1;
            finish(logs, entry.turn, done);
        }
        let Some(barrier) = barrier else { return };
        if left == 0 {
            return;
        }
        left -= 1;
        let entry = logs.fetch(barrier).unwrap().expect("the barrier is there");
        finish(logs, entry.turn, done);
    }
}

fn finish(logs: &mut Logs, turn: Turn, done: &mut Vec<Turn>) {
    logs.stream(turn.stream).unwrap().ledger.finish(turn.start);
    done.push(turn);
}

#[test]
fn what_cannot_be_replayed_is_refused_by_name() {
    let words = |args: &ReplayArgs| {
        let mut summary = Summary::default();
        format!("{:#}", run(args, &mut summary).unwrap_err())
    };
    let (temp, path) = spilled(&[vec![(Kind::Write, 1)]], 1000);
    assert!(words(&args(&temp.path().join("none"))).contains("does not exist"));
    assert!(words(&args(temp.path())).contains("is not a spill directory"));
    let held = SpillDir::open(&path).unwrap();
    assert!(words(&args(&path)).contains("in use by process"));
    drop(held);
    let lonely = words(&args(&path));
    assert!(
        lonely.contains("cannot reach the target at 127.0.0.49:21499"),
        "{lonely}"
    );
    let user = ReplayArgs {
        target_username: Some("u".to_owned()),
        ..args(&path)
    };
    assert!(words(&user).contains("needs a password"));
    // Nothing was lost on the way.
    assert_eq!(stat::of_dir(&path).unwrap().0.records, 1);
}

#[test]
fn a_dry_run_counts_and_touches_nothing() {
    let (_temp, path) = spilled(
        &[vec![(Kind::Write, 1), (Kind::Ddl, 2), (Kind::Counter, 3)]],
        1000,
    );
    let mut summary = Summary::default();
    run(
        &ReplayArgs {
            dry_run: true,
            json: true,
            ..args(&path)
        },
        &mut summary,
    )
    .unwrap();
    assert_eq!(
        (summary.read, summary.left, summary.is_clean()),
        (3, 3, false)
    );
    assert_eq!(stat::of_dir(&path).unwrap().0.records, 3);
}

#[test]
fn an_empty_log_is_complete() {
    let (_temp, path) = spilled(&[vec![]], 1000);
    let mut summary = Summary::default();
    run(&args(&path), &mut summary).unwrap();
    assert!(summary.is_clean());
}

#[test]
fn damage_costs_its_record_only_and_the_segment_is_kept() {
    let records: Vec<_> = (0..9).map(|n| (Kind::Write, n)).collect();
    let (_temp, path) = spilled(&[records], 500);
    let shard = SpillDir::open(&path).unwrap().shards().unwrap().remove(0);
    let files = shard.segments(Holds::Backlog).unwrap();
    let mut bytes = std::fs::read(&files[0].path).unwrap();
    bytes[90] ^= 1;
    std::fs::write(&files[0].path, &bytes).unwrap();
    let mut done = Vec::new();
    // Even if one process passes the damage and another one finishes the segment.
    for budget in [1, usize::MAX] {
        let dir = SpillDir::open(&path).unwrap();
        let mut logs = Logs::open(&dir, &[Holds::Backlog]).unwrap();
        let damaged = u64::from(budget == 1);
        assert_eq!(
            (logs.found.damaged_places, logs.found.damaged_records),
            (damaged, damaged)
        );
        work_off(&mut logs, budget, &mut done);
        logs.store(false).unwrap();
    }
    assert_eq!(
        done.iter().map(|turn| turn.arrival_us).collect::<Vec<_>>(),
        (1..9).collect::<Vec<_>>()
    );
    assert!(shard.segments(Holds::Backlog).unwrap().is_empty());
    let mut name = files[0].path.clone().into_os_string();
    name.push(".damaged");
    assert_eq!(std::fs::read(PathBuf::from(name)).unwrap(), bytes);
}

#[test]
fn with_a_bundle_the_level_is_local_quorum_unless_one_is_named() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }
    let level = |line: &str| {
        let words = ["replay", "dir"].into_iter().chain(line.split_whitespace());
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        line.args.target_consistency
    };
    let bundle = "--target-secure-connect-bundle b.zip";
    assert_eq!(level("new"), None);
    assert_eq!(level(bundle), Some(Consistency::LocalQuorum));
    let quorum = format!("{bundle} --target-consistency quorum");
    assert_eq!(level(&quorum), Some(Consistency::Quorum));
}
