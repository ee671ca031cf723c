//! The tools of these tests, checked: a comparison that cannot fail proves nothing.

use std::time::Duration;

use crate::support::compare::{Depth, Place, compare};
use crate::support::lab;
use crate::support::ledger::{self, Writers};

const TABLES: [&str; 2] = [
    "t (k int, c int, s text STATIC, v text, w int, m map<text, int>, PRIMARY KEY (k, c))",
    "n (k text PRIMARY KEY, n counter)",
];

/// Each kind of difference, made on purpose at one side, is found and counted.
#[test]
fn comparison_finds_each_kind_of_difference() {
    let _turn = lab::beside_others();
    let (one, two) = ("check_one", "check_two");
    let node = lab::source_41();
    let mut cql = node.connect();
    for keyspace in [one, two] {
        lab::create_keyspace(node, keyspace);
        for table in TABLES {
            cql.query(&format!("CREATE TABLE {keyspace}.{table}"))
                .unwrap();
        }
        for k in 0..4 {
            cql.query(&format!(
                "INSERT INTO {keyspace}.t (k, c, s, v, w, m) VALUES \
                 ({k}, 1, 's', 'v', 1, {{'a': 1}}) USING TIMESTAMP 1000 AND TTL 5000"
            ))
            .unwrap();
        }
        cql.query(&format!("UPDATE {keyspace}.n SET n = n + 5 WHERE k = 'a'"))
            .unwrap();
    }
    let counts = |cql: &mut crate::support::cql::Cql| {
        let mut other = node.connect();
        let mut left = Place { cql, keyspace: one };
        let mut right = Place {
            cql: &mut other,
            keyspace: two,
        };
        let report = compare(&mut left, &mut right, Depth::Cells, &[]).unwrap();
        (report.missing, report.extra, report.differing)
    };
    assert_eq!(counts(&mut cql), (0, 0, 0));
    let changes = [
        ("INSERT INTO check_one.t (k, c) VALUES (9, 9)", (1, 0, 0)),
        ("INSERT INTO check_two.t (k, c) VALUES (8, 8)", (1, 1, 0)),
        // value and writetime of one cell
        (
            "UPDATE check_two.t USING TTL 5000 SET v = 'x' WHERE k = 0 AND c = 1",
            (1, 1, 2),
        ),
        // only the writetime
        (
            "UPDATE check_two.t USING TIMESTAMP 1001 AND TTL 5000 \
             SET v = 'v' WHERE k = 1 AND c = 1",
            (1, 1, 3),
        ),
        // only the TTL
        (
            "UPDATE check_two.t USING TIMESTAMP 1000 AND TTL 5100 SET w = 1 WHERE k = 2 AND c = 1",
            (1, 1, 4),
        ),
        (
            "UPDATE check_two.t SET m['b'] = 2 WHERE k = 3 AND c = 1",
            (1, 1, 5),
        ),
        ("UPDATE check_one.n SET n = n + 1 WHERE k = 'a'", (1, 1, 6)),
        // the writetime, and no TTL
        (
            "UPDATE check_one.t USING TIMESTAMP 1001 SET s = 's' WHERE k = 3",
            (1, 1, 8),
        ),
        ("CREATE TABLE check_one.only (k int PRIMARY KEY)", (2, 1, 8)),
        ("ALTER TABLE check_two.t ADD z int", (1, 0, 2)),
    ];
    for (text, expected) in changes {
        cql.query(text).unwrap();
        assert_eq!(counts(&mut cql), expected, "{text}");
    }
}

/// The writers' ledger agrees with a node that nothing happened to, and notices one lost write.
#[test]
fn ledger_notices_a_lost_write() {
    let _turn = lab::beside_others();
    let node = lab::source_41();
    let keyspace = "check_ledger";
    lab::create_keyspace(node, keyspace);
    let mut cql = node.connect();
    cql.query(&format!("CREATE TABLE {keyspace}.{}", ledger::TABLE))
        .unwrap();
    let writers = Writers::start(node.address, keyspace, 4, 100);
    std::thread::sleep(Duration::from_secs(1));
    let ledger = writers.finish();
    assert!(
        ledger.errors.is_empty() && ledger.acknowledged > 200,
        "{ledger:?}"
    );
    assert_eq!(ledger.check(node, keyspace), (0, vec![]));
    cql.query(&format!(
        "DELETE FROM {keyspace}.ledger WHERE writer = 2 AND seq = 5"
    ))
    .unwrap();
    assert_eq!(ledger.check(node, keyspace).0, 1);
}
