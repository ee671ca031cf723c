#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::os::unix::fs::PermissionsExt;

use super::super::append::WriterConfig;
use super::super::samples::insert;
use super::*;

#[test]
fn files_and_directories_are_the_owners_alone() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("spill");
    let dir = SpillDir::open_or_create(&root).unwrap();
    let shard = dir.shard(7).unwrap();
    let mut writer = DirWriter::new(shard.clone(), WriterConfig::new(Holds::Backlog, 7, 1, 12));
    writer.writer().append(&insert(0, b"v"), 1).unwrap();
    writer.close().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&shard.path), 0o700);
    assert_eq!(mode(&shard.segment_path(Holds::Backlog, 12)), 0o600);
    assert!(shard.path.ends_with("shard-0007"));
}

#[test]
fn one_process_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("spill");
    let held = SpillDir::open_or_create(&root).unwrap();
    let error = SpillDir::open(&root).unwrap_err();
    assert!(matches!(error, DirError::Locked { .. }));
    let words = error.to_string();
    assert!(
        words.contains(&format!("process {}", std::process::id())),
        "{words}"
    );
    assert!(words.contains("stop it first"), "{words}");
    drop(held);
    SpillDir::open(&root).unwrap();
}

#[test]
fn other_places_are_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("missing");
    assert!(matches!(
        SpillDir::open(&missing),
        Err(DirError::Missing(_))
    ));
    let other = temp.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("data"), b"x").unwrap();
    assert!(matches!(
        SpillDir::open(&other),
        Err(DirError::NotASpillDir(_))
    ));
    assert!(matches!(
        SpillDir::open_or_create(&other),
        Err(DirError::NotASpillDir(_))
    ));
    fs::write(
        other.join(LOCK_NAME),
        b"twinring spill directory, format 9\n",
    )
    .unwrap();
    let words = SpillDir::open(&other).unwrap_err().to_string();
    assert!(
        words.contains("format 9") && words.contains("use the version"),
        "{words}"
    );
    fs::write(other.join(LOCK_NAME), b"something else").unwrap();
    assert!(matches!(
        SpillDir::open(&other),
        Err(DirError::NotASpillDir(_))
    ));
}

#[test]
fn a_link_in_the_place_of_a_segment_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let victim = temp.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    let dir = SpillDir::open_or_create(&temp.path().join("spill")).unwrap();
    let shard = dir.shard(0).unwrap();
    std::os::unix::fs::symlink(&victim, shard.segment_path(Holds::Backlog, 1)).unwrap();
    let mut writer = DirWriter::new(shard.clone(), WriterConfig::new(Holds::Backlog, 0, 1, 1));
    writer.writer().append(&insert(0, b"v"), 1).unwrap();
    assert!(writer.flush(true).is_err());
    assert!(open_file(&shard.segment_path(Holds::Backlog, 1)).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn segments_are_listed_in_order_and_numbers_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let dir = SpillDir::open_or_create(&temp.path().join("spill")).unwrap();
    let shard = dir.shard(0).unwrap();
    assert_eq!(shard.next_segment(Holds::Backlog, 1).unwrap(), 1);
    assert_eq!(shard.next_segment(Holds::Backlog, 40).unwrap(), 40);
    let config = WriterConfig::new(Holds::Backlog, 0, 1, 9);
    let config = WriterConfig {
        limit_bytes: 1,
        ..config
    };
    let mut writer = DirWriter::new(shard.clone(), config);
    for number in 0..3 {
        writer.writer().append(&insert(number, b"v"), 1).unwrap();
    }
    writer.close().unwrap();
    let config = WriterConfig::new(Holds::Rejected, 0, 1, 2);
    let mut rejected = DirWriter::new(shard.clone(), config);
    rejected.writer().append(&insert(0, b"v"), 1).unwrap();
    rejected.close().unwrap();
    let numbers = |holds| {
        shard
            .segments(holds)
            .unwrap()
            .iter()
            .map(|file| file.segment)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(Holds::Backlog), [9, 10, 11]);
    assert_eq!(numbers(Holds::Rejected), [2]);
    assert_eq!(shard.next_segment(Holds::Backlog, 1).unwrap(), 12);
    shard.retire(Holds::Backlog, 9, Retire::Remove).unwrap();
    shard.retire(Holds::Backlog, 10, Retire::Done).unwrap();
    shard.retire(Holds::Backlog, 10, Retire::Done).unwrap();
    assert_eq!(numbers(Holds::Backlog), [11]);
    shard.retire(Holds::Backlog, 11, Retire::Damaged).unwrap();
    assert!(shard.path.join("0000000000000011.spill.damaged").exists());
    assert!(numbers(Holds::Backlog).is_empty());
    assert!(shard.path.join("0000000000000010.spill.done").exists());
    assert_eq!(dir.shards().unwrap(), [shard]);
}
