#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use super::*;
use crate::spill::samples::insert;
use crate::spill::{DirWriter, Refusal, SpillDir, WriterConfig};

fn run(dir: &Path, json: bool) -> (ExitCode, String) {
    let args = ListArgs {
        dir: dir.to_owned(),
        texts: true,
        spill_key_file: None,
        json,
    };
    let mut out = Vec::new();
    let code = list(&args, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn write(dir: &Path, refusals: &[(i32, &str, bool)]) {
    let dir = SpillDir::open_or_create(dir).unwrap();
    let config = WriterConfig::new(Holds::Rejected, 3, 7, 1);
    let mut writer = DirWriter::new(dir.shard(3).unwrap(), config);
    for (number, (code, words, in_doubt)) in (1..).zip(refusals) {
        let refusal = Some(Refusal {
            code: *code,
            words,
            in_doubt: *in_doubt,
        });
        let record = Record {
            refusal,
            ..insert(number, b"secret")
        };
        writer.writer().append(&record, 1).unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn records_are_grouped_by_table_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = "Undefined column name v in table ks.t";
    let refusals = [
        (0x2200, unknown, false),
        (0, "the source did not say", true),
        (0x2200, unknown, false),
    ];
    write(dir.path(), &refusals);
    // beside a proxy: the lock is not asked for
    let _running = SpillDir::open(dir.path()).unwrap();
    let (code, text) = run(dir.path(), false);
    assert_eq!(code, ExitCode::from(SOME));
    for line in [
        "ks.t: refused, 2 write, ",
        "  0x2200 Undefined column name v in table ks.t\n",
        "ks.t: in doubt, 1 write, ",
        "  INSERT INTO ks.t (k, v) VALUES (?, ?)\n",
        "2 refused, 1 in doubt\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("secret"));
    let (_, json) = run(dir.path(), true);
    let groups: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(groups[0]["records"], 2);
    assert_eq!(groups[1]["in_doubt"], true);
}

#[test]
fn a_directory_without_rejects_is_clean_and_one_of_others_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let (code, text) = run(dir.path(), false);
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(text, "nothing was rejected, and nothing is in doubt\n");
    let other = tempfile::tempdir().unwrap();
    let args = ListArgs {
        dir: other.path().to_owned(),
        texts: false,
        spill_key_file: None,
        json: false,
    };
    let error = list(&args, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("holds no spill"), "{error}");
}
