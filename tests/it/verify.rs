//! `twinring verify` between real Cassandra nodes: what was planted is found, nothing else is,
//! and a repair makes both equal.

use twinring::cli::{self, Command as Sub};
use twinring::verify::{self, Class, Summary, VerifyArgs};

use super::copy::Copying;
use super::support::lab;

impl Copying {
    pub fn verify(&self, more: &[&str]) -> Summary {
        let (source, target) = (self.source.address, self.target.address);
        let mut words = format!(
            "twinring verify {source} {target} --keyspace {} --splits 16 --settle-ms 300",
            self.keyspace
        )
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>();
        words.extend(more.iter().map(|&word| word.to_owned()));
        let summary = verify::run(&args(&words)).unwrap_or_else(|e| panic!("{e:#}"));
        eprintln!("{}: {summary}", self.keyspace);
        summary
    }
}

fn args(words: &[String]) -> VerifyArgs {
    match cli::parse(words).unwrap().command {
        Sub::Verify(args) => *args,
        _ => panic!("not verify"),
    }
}

/// Differences made on purpose at the target: statement, and the class and column that verify must
/// name. The rows are `p = 900…`, written alike at both sides.
const PLANTED: [(&str, Class, Option<&str>); 13] = [
    (
        "DELETE FROM T USING TIMESTAMP 999 WHERE R0",
        Class::Missing,
        None,
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET t = 'other' WHERE R1",
        Class::Value,
        Some("t"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET t = 'text' WHERE R2",
        Class::Stamp,
        Some("t"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 AND TTL 5000 SET t = 'text' WHERE R3",
        Class::Stamp,
        Some("t"),
    ),
    ("INSERT INTO T (V) VALUES (W4)", Class::Extra, None),
    (
        "UPDATE T USING TIMESTAMP 1000 SET v = 5 WHERE R5",
        Class::Extra,
        Some("v"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET m['a'] = 7 WHERE R6",
        Class::Value,
        Some("m"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET st = {8} WHERE R7",
        Class::Extra,
        Some("st"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET l = ['a', 'x'] WHERE R8",
        Class::Value,
        Some("l"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET u.street = 'z' WHERE R9",
        Class::Value,
        Some("u"),
    ),
    (
        "UPDATE T USING TIMESTAMP 900 SET s = 6 WHERE P10",
        Class::Value,
        Some("s"),
    ),
    (
        "UPDATE T USING TIMESTAMP 1000 AND TTL 5000 SET b = 1 WHERE R11",
        Class::Expiry,
        Some("b"),
    ),
    (
        "UPDATE T USING TIMESTAMP 2000 SET b = 4 WHERE R12",
        Class::Value,
        Some("b"),
    ),
];

/// The short words of `PLANTED`, written out.
fn spelled(text: &str, row: usize, table: &str) -> String {
    let partition = format!("p = {} AND \"P 2\" = 'planted'", 900 + row);
    let rest = "c = 1 AND d = 00000000-0000-4000-8000-000000000001";
    let values = format!(
        "{}, 'planted', 1, 00000000-0000-4000-8000-000000000001",
        900 + row
    );
    text.replace(" T ", &format!(" {table} "))
        .replace(&format!("R{row}"), &format!("{partition} AND {rest}"))
        .replace(&format!("P{row}"), &partition)
        .replace(&format!("W{row}"), &values)
        .replace("(V)", "(p, \"P 2\", c, d)")
}

/// Writes the rows that differences are planted in; the extra row is at the target alone.
fn ground(copying: &Copying) {
    let table = format!("{}.every", copying.keyspace);
    for node in [copying.source, copying.target] {
        for row in (0..PLANTED.len()).filter(|row| *row != 4) {
            let target_lacks = std::ptr::eq(node, copying.target);
            let skip = |n: usize| target_lacks && row == n;
            let set = [
                ("t = 'text'", !skip(1) && !skip(2) && !skip(3)),
                ("b = 1", !skip(11) && !skip(12)),
                ("m = m + {'a': 1}", !skip(6)),
                ("st = st + {5}", true),
                ("l = l + ['a', 'b']", !skip(8)),
                ("u.street = 'x'", !skip(9)),
            ];
            let set: Vec<_> = set
                .iter()
                .filter(|(_, has)| *has)
                .map(|(s, _)| *s)
                .collect();
            if !skip(0) {
                let ttl = if row == 11 { 90_000 } else { 0 };
                let text = format!(
                    "UPDATE T USING TIMESTAMP 1000 AND TTL {ttl} SET {} WHERE R{row}",
                    set.join(", ")
                );
                copying.run_at(node, &spelled(&text, row, &table));
            }
            if !skip(10) {
                let text = format!("UPDATE T USING TIMESTAMP 1000 SET s = 5 WHERE P{row}");
                copying.run_at(node, &spelled(&text, row, &table));
            }
        }
    }
}

/// Each planted difference is found, in its class, and nothing else; what can be repaired is; what
/// the target holds with a newer stamp is named and left.
#[test]
fn planted_differences_are_found_and_repaired() {
    let _turn = lab::beside_others();
    let copying = super::copy::everything(lab::source_50(), "verify_planted", 3);
    assert!(copying.copy(&["--create-schema"]).is_complete());
    ground(&copying);
    let table = format!("{}.every", copying.keyspace);
    for (row, (text, ..)) in PLANTED.iter().enumerate() {
        copying.run_at(copying.target, &spelled(text, row, &table));
    }
    let report = copying.dir.path().join("report");
    let to_report = ["--report", report.to_str().unwrap()];
    let found = copying.verify(&to_report);
    let lines = std::fs::read_to_string(&report).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(u64::try_from(lines.len()).unwrap(), found.found());
    for (row, (text, class, column)) in PLANTED.iter().enumerate() {
        let key = format!("{:08x}", 900 + row);
        let class = serde_json::to_value(class).unwrap();
        let here = lines
            .iter()
            .filter(|line| line["key"][0][1] == key.as_str());
        let named = here
            .clone()
            .any(|line| line["class"] == class && line["column"].as_str() == *column);
        assert!(named, "{text}: {:?}", here.collect::<Vec<_>>());
    }
    let rows: std::collections::BTreeSet<_> = lines
        .iter()
        .map(|line| line["key"][0][1].to_string())
        .collect();
    assert_eq!(rows.len(), PLANTED.len(), "nothing but what was planted");
    let repaired = copying.verify(&["--repair"]);
    assert!(repaired.repaired > 0 && !repaired.is_equal());
    // The younger value at the target is not overruled, nor is what only the target has deleted.
    let left = copying.verify(&["--repair", "--delete-extra"]);
    assert_eq!(
        left.found() - left.repaired,
        left.of(Class::Shadowed),
        "{left}"
    );
    let last = copying.verify(&[]);
    let keys: Vec<_> = last.shown.iter().map(|d| d.key[0].1.clone()).collect();
    assert!(!last.is_equal() && last.rows_differing <= 2, "{last}");
    assert!(keys.contains(&format!("{:08x}", 912)), "{last}");
}

/// Counters are compared, and made equal only when that is asked for.
#[test]
fn counters_are_repaired_by_difference() {
    let _turn = lab::beside_others();
    let copying = super::copy::everything(lab::source_41(), "verify_counted", 4);
    assert!(copying.copy(&["--create-schema"]).is_complete());
    assert!(copying.verify(&[]).is_equal());
    copying.run_at(
        copying.target,
        "UPDATE KS.counted SET n = n + 5 WHERE k = 3 AND c = 1",
    );
    copying.run_at(
        copying.source,
        "UPDATE KS.counted SET s = s + 5 WHERE k = 4",
    );
    let found = copying.verify(&["--repair"]);
    assert_eq!((found.of(Class::Value), found.repaired), (2, 0));
    let repaired = copying.verify(&["--repair-counters"]);
    assert!(repaired.is_equal() && repaired.repaired == 2, "{repaired}");
    assert!(copying.verify(&[]).is_equal());
}

/// What only the target deleted: cells keep their stamps, so the younger delete stays and is named;
/// a row of nothing but a key has no stamp that CQL tells, so there the source is right. A delete
/// that comes later wins over either.
#[test]
fn a_delete_at_the_target_alone_hides_cells_but_no_key() {
    let _turn = lab::beside_others();
    let copying = Copying::new("verify_keys", lab::source_50(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    for node in [copying.source, copying.target] {
        copying.create(node, "TABLE t (k int PRIMARY KEY, v int)");
        copying.run_at(node, "INSERT INTO KS.t (k) VALUES (1)");
        copying.run_at(
            node,
            "UPDATE KS.t USING TIMESTAMP 1000 SET v = 2 WHERE k = 2",
        );
    }
    assert!(copying.verify(&[]).is_equal());
    copying.run_at(copying.target, "DELETE FROM KS.t WHERE k IN (1, 2)");
    assert_eq!(copying.verify(&[]).of(Class::Missing), 2);
    let repaired = copying.verify(&["--repair"]);
    let of = |class| repaired.of(class);
    assert_eq!((of(Class::Missing), of(Class::Shadowed)), (1, 1));
    assert_eq!(repaired.repaired, 1);
    let one = vec![Some(1i32.to_be_bytes().to_vec())];
    let keys = || copying.run_at(copying.target, "SELECT k FROM KS.t");
    assert_eq!(keys(), [one]);
    for node in [copying.source, copying.target] {
        copying.run_at(node, "DELETE FROM KS.t WHERE k IN (1, 2)");
    }
    assert!(keys().is_empty() && copying.verify(&[]).is_equal());
}

/// Tolerances, and the choice to compare values alone.
#[test]
fn what_may_differ_is_chosen() {
    let _turn = lab::beside_others();
    let copying = Copying::new("verify_near", lab::source_50(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    for (node, stamp, double) in [
        (copying.source, 1_000_000, "1.0"),
        (copying.target, 1_500_000, "1.0001"),
    ] {
        copying.create(node, "TABLE t (k int PRIMARY KEY, d double, v int)");
        copying.run_at(
            node,
            &format!("INSERT INTO KS.t (k, d, v) VALUES (1, {double}, 2) USING TIMESTAMP {stamp}"),
        );
    }
    let found = copying.verify(&[]);
    assert_eq!((found.of(Class::Value), found.of(Class::Stamp)), (1, 1));
    let near = ["--floating-point-tolerance", "0.001"];
    assert_eq!(copying.verify(&near).of(Class::Stamp), 2);
    let blind = [&near[..], &["--compare-timestamps", "false"]].concat();
    assert!(copying.verify(&blind).is_equal());
    let wide = [&near[..], &["--writetime-tolerance-millis", "500"]].concat();
    assert!(copying.verify(&wide).is_equal());
    let wide = [&near[..], &["--writetime-tolerance-millis", "499"]].concat();
    assert!(!copying.verify(&wide).is_equal());
}

/// A type that is a Java class of the cluster: its table is named as left out, all others are
/// copied and compared.
#[test]
fn a_table_that_only_the_cluster_can_read_is_named() {
    let _turn = lab::beside_others();
    let copying = Copying::new("verify_custom", lab::source_41(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    let class = "'org.apache.cassandra.db.marshal.LexicalUUIDType'";
    for node in [copying.source, copying.target] {
        copying.create(node, "TABLE t (k int PRIMARY KEY, v int)");
        copying.create(node, &format!("TABLE odd (k int PRIMARY KEY, v {class})"));
    }
    // 4.1 alone may make one of the old kind; the others are left out as the whole table
    copying.create(
        copying.source,
        "TABLE old (k int PRIMARY KEY, v int) WITH COMPACT STORAGE",
    );
    copying.create(copying.target, "TABLE old (k int PRIMARY KEY, v int)");
    copying.run_at(copying.source, "INSERT INTO KS.t (k, v) VALUES (1, 2)");
    let copied = copying.copy(&[]);
    assert_eq!((copied.tally.rows, copied.is_complete()), (1, false));
    let found = copying.verify(&[]);
    assert_eq!((found.tables, found.equal, found.is_equal()), (1, 1, true));
    for mut failed in [copied.failed, found.failed] {
        failed.sort_by_key(|failed| failed.table.clone());
        let [odd, old] = &failed[..] else {
            panic!("{failed:?}");
        };
        assert_eq!((&*odd.table, &*old.table), ("odd", "old"));
        assert!(odd.words.contains(class), "{}", odd.words);
        assert!(old.words.contains("COMPACT STORAGE"), "{}", old.words);
    }
}
