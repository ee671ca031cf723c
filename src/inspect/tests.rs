#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::journal::{Geometry, Header, Heap, Journal, Nature, State};
use crate::spill::append::WriterConfig;
use crate::spill::samples::{insert, one_segment};
use crate::spill::{Holds, Kind, Repeat, SegmentWriter};

fn inspect(paths: &[&Path], more: impl FnOnce(&mut InspectArgs)) -> (ExitCode, String) {
    let mut args = InspectArgs {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        records: false,
        values: false,
        spill_key_file: None,
        json: false,
    };
    more(&mut args);
    let mut out = Vec::new();
    let code = main(&args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

/// A journal with one record in each state.
fn journal() -> Vec<u8> {
    let geometry = Geometry {
        block_bytes: 4096,
        blocks: 2,
    };
    let header = Header {
        shard: 7,
        instance: 0xC0FFEE,
        created_us: 1,
        boot: 0,
        geometry,
    };
    let heap = Heap::new(header);
    let mut journal = Journal::new(Arc::from([heap.words()]), 0, &header, heap.lend());
    let nature = Nature {
        kind: Kind::Write,
        repeat: Repeat::Free,
        conditional: false,
    };
    for (number, state) in (1..).zip(State::ALL) {
        let place = journal.append(&insert(number, b"secret"), nature).unwrap();
        journal.mark(place, state);
    }
    drop(journal);
    heap.image()
}

#[test]
fn a_journal_says_what_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shard-0007-0000000000c0ffee.journal");
    fs::write(&path, journal()).unwrap();
    let (code, text) = inspect(&[&path], |_| {});
    assert_eq!(code, ExitCode::SUCCESS);
    for line in [
        "  process        0000000000c0ffee",
        "  not done       3",
        r#"  states         {"applied":1,"intent":1,"sent":1}"#,
        r#"  kinds          {"write":3}"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let secret = "736563726574";
    let (_, text) = inspect(&[&path], |args| args.records = true);
    assert!(
        text.contains("state=intent statements=1 table=ks.t") && !text.contains(secret),
        "{text}"
    );
    let (_, text) = inspect(&[&path], |args| {
        (args.records, args.values, args.json) = (true, true, true);
    });
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json[0]["records"].as_array().unwrap().len(), 3);
    assert!(text.contains(secret));
}

#[test]
fn damage_is_told_with_its_place_and_changes_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.journal");
    let mut bytes = journal();
    bytes[4096] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, text) = inspect(&[dir.path()], |_| {});
    assert_eq!(code, ExitCode::from(DAMAGED));
    assert!(
        text.contains("DAMAGED        state word 0 is damaged"),
        "{text}"
    );
    let path = dir.path().join("0000000000000012.spill");
    let mut bytes = one_segment(&[insert(1, b"a"), insert(2, b"b"), insert(3, b"c")]);
    bytes[250] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, text) = inspect(&[&path], |_| {});
    assert_eq!(code, ExitCode::from(DAMAGED));
    assert!(text.contains("are no good record (1 are lost)"), "{text}");
    assert!(text.contains("  records        2"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is changed");
}

/// A segment of three records, sealed with a key or not.
fn segment(keys: &Keys) -> Vec<u8> {
    let config = WriterConfig::new(Holds::Backlog, 3, 77, 12);
    let mut writer = SegmentWriter::new(config).with_keys(keys.clone());
    for (number, value) in [(1, b"a"), (2, b"b"), (3, b"c")] {
        writer.append(&insert(number, value), 1).unwrap();
    }
    writer.take().unwrap().bytes
}

#[test]
fn damage_to_any_byte_of_a_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    fs::write(&key_file, [7; 32]).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = Keys::load(&key_file).unwrap();
    let (plain, sealed) = (segment(&Keys::default()), segment(&sealed));
    for (name, good) in [("plain.spill", plain), ("sealed.spill", sealed)] {
        let path = dir.path().join(name);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let (code, text) = inspect(&[&path], |args| {
                args.spill_key_file = Some(key_file.clone());
            });
            assert_eq!(code, ExitCode::from(DAMAGED), "{name}, byte {at}:\n{text}");
            assert!(text.contains("DAMAGED"), "{name}, byte {at}:\n{text}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    fs::write(&key_file, [7; 32]).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = segment(&Keys::load(&key_file).unwrap());
    fs::write(dir.path().join("1.spill"), sealed).unwrap();
    fs::write(dir.path().join("2.spill"), segment(&Keys::default())).unwrap();
    fs::write(dir.path().join("3.progress"), "nonsense").unwrap();
    let (code, text) = inspect(&[dir.path()], |_| {}); // without the key
    assert_eq!(code, ExitCode::from(DAMAGED));
    assert!(text.contains("it cannot be read on: "), "{text}");
    assert!(text.contains("  records        3"), "{text}");
    assert!(text.contains("3.progress: progress"), "{text}");
}

#[test]
fn a_data_directory_leads_to_its_journal() {
    let (data, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(memory.path().join("b.journal"), journal()).unwrap();
    let running = format!(
        "twinring running, format 1\njournal {}\n",
        memory.path().display()
    );
    fs::write(data.path().join("running"), running).unwrap();
    let (_, text) = inspect(&[data.path()], |_| {});
    assert!(
        text.contains("b.journal: journal") && text.contains("running: text"),
        "{text}"
    );
    let empty = tempfile::tempdir().unwrap();
    let args = InspectArgs {
        paths: vec![empty.path().to_owned()],
        records: false,
        values: false,
        spill_key_file: None,
        json: false,
    };
    let error = main(&args, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("holds no file of twinring"), "{error}");
}
