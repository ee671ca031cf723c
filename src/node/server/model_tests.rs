#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::cql::{Flags, Opcode, Version, encode};

fn query(line: &mut Line, text: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    encode::envelope(
        &mut raw,
        Version::V4,
        Flags::NONE,
        5,
        Opcode::Query,
        |body| {
            body.long_string(text);
            body.raw(&[0, 1, 0]);
        },
    )
    .unwrap();
    match line.request(&raw) {
        Reply::Bytes(_, bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn open(model: &Model) -> Line {
    let mut line = model.connect();
    let startup = b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0";
    let Reply::Bytes(_, ready) = line.request(startup) else {
        panic!("no answer");
    };
    assert_eq!(ready[4], 0x02, "READY");
    line
}

#[test]
fn a_model_runs_on_the_hands_that_it_is_given() {
    let model = Model::new("m", 7, 1_000_000_000_000).unwrap();
    let mut line = open(&model);
    for text in [
        "CREATE KEYSPACE k WITH replication={'class':'SimpleStrategy','replication_factor':1}",
        "CREATE TABLE k.t (a text PRIMARY KEY, b int, l list<int>)",
        "INSERT INTO k.t (a, b) VALUES ('x', 1) USING TTL 60",
        "UPDATE k.t USING TIMESTAMP 9 SET l = l + [4, 5] WHERE a = 'y'",
        "DELETE b FROM k.t USING TIMESTAMP 10 WHERE a = 'y'",
    ] {
        assert_eq!(query(&mut line, text)[4], 0x08, "{text}");
    }
    let facts = model.facts();
    let names: Vec<_> = facts.iter().map(|f| (f.what.as_str(), f.ends_s)).collect();
    assert_eq!(
        names,
        [
            ("(marker)", 1_000_060),
            ("b", 1_000_060),
            ("b", 0),
            ("l", 0),
            ("l", 0)
        ]
    );
    assert_eq!(facts[2].stamp_us, 10);
    assert_eq!(facts[2].value, None);
    assert_eq!(model.tables(), ["k.t(a,b,l)"]);
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let outcome = |seed| -> Vec<u8> {
        let model = Model::new("m", seed, 1).unwrap();
        let mut line = open(&model);
        let rule = "opcode=QUERY,chance=0.5->error=overloaded".parse().unwrap();
        model.set_faults(FaultPlan {
            rules: vec![rule],
            ..FaultPlan::default()
        });
        (0..64)
            .map(|_| query(&mut line, "SELECT key FROM system.local")[4])
            .collect()
    };
    assert_eq!(outcome(3), outcome(3));
    assert_ne!(outcome(3), outcome(4));
}
