//! Tables that are not the same at both clusters: what the target refuses is counted, kept, and
//! named in the log once per table; all else goes on.

use std::time::{Duration, Instant};

use crate::support::cql::Cql;
use crate::support::lab::{self, Pair, is_direct};

const ROWS: i32 = 40;
const LIMIT: Duration = Duration::from_secs(20);

/// A table is missing, a column is missing, a type is another.
#[test]
fn differences_are_met_with_grace() {
    let _turn = lab::beside_others();
    if is_direct() {
        return; // nothing is refused without a proxy
    }
    let pair = Pair::new("schemas", lab::source_41(), lab::target_50());
    let ks = &pair.keyspace;
    let (mut source, mut target) = (pair.source.connect(), pair.target.connect());
    let whole = "k int PRIMARY KEY, a int, b int";
    let tables = [
        ("same", Some(whole)),
        ("lacks", Some("k int PRIMARY KEY, a int")),
        ("types", Some("k int PRIMARY KEY, a int, b list<text>")),
        ("absent", None),
    ];
    for (table, at_target) in tables {
        let create = |columns: &str| format!("CREATE TABLE {ks}.{table} ({columns})");
        source.query(&create(whole)).unwrap();
        if let Some(columns) = at_target {
            target.query(&create(columns)).unwrap();
        }
    }
    // several connections, so that all shards meet it
    let mut clients: Vec<_> = (0..6)
        .map(|_| Cql::connect(pair.contact()).unwrap())
        .collect();
    for k in 0..ROWS {
        for (table, _) in tables {
            let client = &mut clients[usize::try_from(k).unwrap() % 6];
            let text = format!("INSERT INTO {ks}.{table} (k, a, b) VALUES ({k}, 1, 2)");
            client.query(&text).unwrap();
        }
    }
    let proxy = pair.proxy.as_ref().unwrap();
    let kept = format!("\"rejected_held\":{}", 3 * ROWS);
    let began = Instant::now();
    while !proxy.get("/status").1.contains(&kept) {
        let status = proxy.get("/status").1;
        assert!(began.elapsed() < LIMIT, "not {kept}: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
    pair.assert_equal(&["lacks", "types", "absent"]);
    let words = proxy.words();
    for table in ["lacks", "types", "absent"] {
        let named = |line: &&str| {
            line.contains("the target refused a write") && line.contains(&format!("table={table}"))
        };
        let count = words.lines().filter(named).count();
        assert_eq!(count, 1, "{table} is named once:\n{words}");
    }
}
