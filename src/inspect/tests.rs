#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use super::*;
use crate::journal::{Geometry, Header, Heap, Journal, Nature, State};
use crate::spill::samples::{insert, one_segment};
use crate::spill::{Kind, Repeat};

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
