//! Conditional writes: the source decides, and the target ends cell by cell as the source,
//! WRITETIME and TTL included.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::cassandra::Cassandra;
use crate::support::cql::{Cell, Cql, Failure};
use crate::support::lab::{self, Pair};

const SERIAL: u16 = 8;
const LOCAL_SERIAL: u16 = 9;

const SCHEMA: &[&str] = &[
    "CREATE TABLE lwt_row (p int, c int, a int, b text, PRIMARY KEY (p, c))",
    "CREATE TABLE lwt_key (p int PRIMARY KEY)",
    "CREATE TABLE lwt_static (p int, c int, s int STATIC, a int, PRIMARY KEY (p, c))",
    "CREATE TABLE lwt_ttl (p int PRIMARY KEY, a int, b int) WITH default_time_to_live = 3600",
    "CREATE TABLE lwt_many (p int PRIMARY KEY, a int, s set<int>, m map<text, int>, l list<int>, \
     f frozen<list<int>>)",
    "CREATE TABLE lwt_names (\"P\" text PRIMARY KEY, \"select\" int, \"A b\" int)",
];

/// Statements that are run in order; `{}` becomes LOCAL_SERIAL's turn on every other one.
const STATEMENTS: &[&str] = &[
    // one row
    "INSERT INTO lwt_row (p, c, a, b) VALUES (1, 1, 1, 'x') IF NOT EXISTS",
    "INSERT INTO lwt_row (p, c, a, b) VALUES (1, 1, 2, 'y') IF NOT EXISTS",
    "INSERT INTO lwt_row (p, c) VALUES (1, 2) IF NOT EXISTS",
    "INSERT INTO lwt_row (p, c, a, b) VALUES (1, 3, 1, null) IF NOT EXISTS",
    "UPDATE lwt_row SET a = 5 WHERE p = 1 AND c = 1 IF a = 1",
    "UPDATE lwt_row SET a = 6 WHERE p = 1 AND c = 1 IF a = 1",
    "UPDATE lwt_row SET a = 7, b = null WHERE p = 1 AND c = 1 IF b = 'x'",
    "UPDATE lwt_row USING TTL 3000 SET b = 'z' WHERE p = 1 AND c = 1 IF a IN (7, 8)",
    "UPDATE lwt_row SET a = 1 WHERE p = 9 AND c = 9 IF a = null",
    "UPDATE lwt_row SET a = 1 WHERE p = 9 AND c = 8 IF EXISTS",
    "INSERT INTO lwt_row (p, c, a) VALUES (2, 1, 1)",
    "INSERT INTO lwt_row (p, c, a) VALUES (2, 2, 1)",
    "INSERT INTO lwt_row (p, c, a) VALUES (2, 3, 1)",
    "DELETE FROM lwt_row WHERE p = 2 AND c = 1 IF EXISTS",
    "DELETE FROM lwt_row WHERE p = 2 AND c = 2 IF a = 2",
    "DELETE a FROM lwt_row WHERE p = 2 AND c = 3 IF a = 1",
    "DELETE FROM lwt_row WHERE p = 2 AND c = 77 IF EXISTS",
    "INSERT INTO lwt_row (p, c, a) VALUES (2, 4, 1)",
    "DELETE FROM lwt_row WHERE p = 2 AND c = 4 IF a = 1",
    "INSERT INTO lwt_row (p, c, b) VALUES (2, 4, 'back') IF NOT EXISTS",
    "INSERT INTO lwt_row (p, c, a, b) VALUES (3, 1, 1, 'old')",
    "DELETE FROM lwt_row WHERE p = 3 AND c = 1 IF a = 1",
    "UPDATE lwt_row SET a = 9 WHERE p = 3 AND c = 1",
    "INSERT INTO lwt_row (p, c, a, b) VALUES (4, 1, 1, 'ttl') IF NOT EXISTS USING TTL 5000",
    "INSERT INTO lwt_row JSON '{\"p\": 5, \"c\": 1, \"b\": \"it''s\"}' IF NOT EXISTS",
    "INSERT INTO lwt_key (p) VALUES (1) IF NOT EXISTS",
    "INSERT INTO lwt_key (p) VALUES (2) IF NOT EXISTS",
    "DELETE FROM lwt_key WHERE p = 2 IF EXISTS",
    // batches and statics
    "BEGIN BATCH INSERT INTO lwt_row (p, c, a) VALUES (6, 1, 1) IF NOT EXISTS \
     UPDATE lwt_row SET b = 'two' WHERE p = 6 AND c = 2 \
     DELETE a FROM lwt_row WHERE p = 6 AND c = 3 APPLY BATCH",
    "BEGIN BATCH UPDATE lwt_row SET a = 2 WHERE p = 6 AND c = 1 IF a = 7 \
     UPDATE lwt_row SET b = 'never' WHERE p = 6 AND c = 2 APPLY BATCH",
    "INSERT INTO lwt_static (p, c, s, a) VALUES (1, 1, 1, 1) IF NOT EXISTS",
    "UPDATE lwt_static SET s = 2 WHERE p = 1 IF s = 1",
    "UPDATE lwt_static SET a = 3 WHERE p = 1 AND c = 1 IF s = 2",
    "BEGIN BATCH UPDATE lwt_static SET s = 3 WHERE p = 1 IF s = 2 \
     INSERT INTO lwt_static (p, c, a) VALUES (1, 2, 4) \
     DELETE FROM lwt_static WHERE p = 1 AND c = 1 APPLY BATCH",
    "INSERT INTO lwt_static (p, s) VALUES (2, 1) IF NOT EXISTS",
    "UPDATE lwt_static SET s = null WHERE p = 2 IF s = 1",
    // times to live of the table
    "INSERT INTO lwt_ttl (p, a, b) VALUES (1, 1, 1) IF NOT EXISTS",
    "UPDATE lwt_ttl USING TTL 0 SET a = 2 WHERE p = 1 IF a = 1",
    "UPDATE lwt_ttl USING TTL 100000 SET b = 2 WHERE p = 1 IF b = 1",
    // collections
    "INSERT INTO lwt_many (p, a, s, m, l, f) VALUES (1, 1, {1, 2}, {'x': 1}, [1, 2, 2], [3]) \
     IF NOT EXISTS",
    "UPDATE lwt_many SET s = s + {3} WHERE p = 1 IF a = 1",
    "UPDATE lwt_many SET m['y'] = 2 WHERE p = 1 IF a = 1",
    "UPDATE lwt_many SET f = [4, 4] WHERE p = 1 IF a = 1",
    "INSERT INTO lwt_many (p, a, s, m, l) VALUES (2, 1, {1, 2}, {'x': 1, 'y': 2}, [1])",
    "UPDATE lwt_many SET s = {7}, m = null WHERE p = 2 IF a = 1",
    "UPDATE lwt_many SET l = [5, 6] WHERE p = 2 IF a = 1",
    // names
    "INSERT INTO lwt_names (\"P\", \"select\", \"A b\") VALUES ('k', 1, 2) IF NOT EXISTS",
    "UPDATE lwt_names SET \"A b\" = null WHERE \"P\" = 'k' IF \"select\" = 1",
];

/// Changes of a collection that leave other elements as they are: between nodes that do not tell
/// the elements' stamps only the values are equal, which the comparison knows.
const REMOVALS: &[&str] = &[
    "INSERT INTO lwt_many (p, a, s, m, l) VALUES (3, 1, {1, 2, 3}, {'x': 1, 'y': 2}, [1, 2, 3])",
    "INSERT INTO lwt_many (p, a, s, m, l) VALUES (4, 1, {1, 2, 3}, {'x': 1, 'y': 2}, [1, 2, 3])",
    "SLEEP",
    "UPDATE lwt_many SET s = s - {2, 9} WHERE p = 3 IF a = 1",
    "UPDATE lwt_many SET m['x'] = null WHERE p = 3 IF a = 1",
    "DELETE m['y'] FROM lwt_many WHERE p = 4 IF a = 1",
    "DELETE s[1] FROM lwt_many WHERE p = 4 IF a = 1",
];

/// Only values can be equal: lists that are not written whole.
const LISTS: &[&str] = &[
    "INSERT INTO lwt_many (p, a, l) VALUES (5, 1, [1, 2, 3])",
    "UPDATE lwt_many SET l = l + [4, 4] WHERE p = 5 IF a = 1",
    "UPDATE lwt_many SET l[0] = 9 WHERE p = 5 IF a = 1",
    "UPDATE lwt_many SET l = l - [2] WHERE p = 5 IF a = 1",
];

/// In this keyspace, for the proxy's client.
fn connect(address: SocketAddr, keyspace: &str) -> Cql {
    let mut cql = Cql::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    cql.query(&format!("USE {keyspace}")).unwrap();
    cql
}

fn run(cql: &mut Cql, statements: &[&str]) {
    for (index, text) in statements.iter().enumerate() {
        if *text == "SLEEP" {
            // what is taken out must be older than the clocks' slack to keep the others' stamps
            std::thread::sleep(Duration::from_millis(1_500));
            continue;
        }
        let serial = if index % 2 == 0 { SERIAL } else { LOCAL_SERIAL };
        let answer = cql.query_serial(text, serial);
        answer.unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

fn int(value: i32) -> Cell {
    Some(value.to_be_bytes().to_vec())
}

fn prepared(cql: &mut Cql) {
    let insert = "INSERT INTO lwt_row (p, c, a, b) VALUES (?, ?, ?, ?) IF NOT EXISTS";
    let insert = cql.prepare(insert).unwrap();
    for (p, c) in [(20, 1), (20, 2), (20, 3), (20, 1)] {
        let values = [int(p), int(c), int(p + c), Some(b"text".to_vec())];
        cql.execute(&insert, &values).unwrap();
    }
    let update = "UPDATE lwt_row USING TTL ? SET a = ?, b = ? WHERE p = ? AND c = ? IF a = ?";
    let update = cql.prepare(update).unwrap();
    for (c, old) in [(1, 21), (2, 21), (3, 23)] {
        let values = [int(4000), int(7), None, int(20), int(c), int(old)];
        cql.execute(&update, &values).unwrap();
    }
    // in a conditional batch another row may be changed without a condition, by IN
    let several = "BEGIN BATCH UPDATE lwt_row SET a = ? WHERE p = ? AND c = ? IF b = ? \
                   UPDATE lwt_row SET b = ? WHERE p = ? AND c IN ? APPLY BATCH";
    if let Ok(several) = cql.prepare(several) {
        let list = [0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 3].to_vec();
        let condition = [int(8), int(20), int(3), None];
        let change = [Some(b"in".to_vec()), int(20), Some(list)];
        let values = [&condition[..], &change].concat();
        let _ = cql.execute(&several, &values); // 4.1 and 5.0 take it to pieces or refuse it
    }
    let delete = "DELETE FROM lwt_row WHERE p = ? AND c = ? IF EXISTS";
    let delete = cql.prepare(delete).unwrap();
    cql.execute(&delete, &[int(20), int(2)]).unwrap();
}

fn matrix(name: &str, source: &'static Cassandra, target: &'static Cassandra, same_50: bool) {
    let pair = Pair::new(name, source, target);
    let mut cql = connect(pair.contact(), &pair.keyspace);
    for text in SCHEMA {
        cql.query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    run(&mut cql, STATEMENTS);
    run(&mut cql, REMOVALS);
    if !same_50 {
        run(&mut cql, LISTS); // their elements' stamps differ, which only 5.0 would tell
    }
    prepared(&mut cql);
    pair.assert_equal(&[]);
    assert_settled(&pair);
}

/// Nothing is left in doubt.
fn assert_settled(pair: &Pair) {
    if let Some(proxy) = &pair.proxy {
        let (_, metrics) = proxy.get("/metrics");
        let in_doubt = metrics
            .lines()
            .filter(|line| line.starts_with("twinring_in_doubt_writes_total"));
        for line in in_doubt {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
}

#[test]
fn between_41() {
    let _turn = lab::beside_others();
    matrix("lwt41", lab::source_41(), lab::durable_41(), false);
}

#[test]
fn between_50() {
    let _turn = lab::beside_others();
    matrix("lwt50", lab::source_50(), lab::target_50(), true);
}

/// Eight clients count up one cell by 5,000 compare-and-set.
#[test]
fn contended() {
    const GOAL: u32 = 5_000;
    let _turn = lab::beside_others();
    let pair = Pair::new("lwtrace", lab::source_41(), lab::durable_41());
    let mut cql = connect(pair.contact(), &pair.keyspace);
    cql.query("CREATE TABLE lwt_race (p int PRIMARY KEY, n int, who int)")
        .unwrap();
    cql.query("INSERT INTO lwt_race (p, n) VALUES (1, 0) IF NOT EXISTS")
        .unwrap();
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for who in 0..8 {
            let mut cql = connect(pair.contact(), &pair.keyspace);
            let done = &done;
            scope.spawn(move || count_up(&mut cql, who, done, GOAL));
        }
    });
    pair.assert_equal(&[]);
    let report = pair.compare(&[], Duration::ZERO);
    assert!(report.cells >= 2, "{report}");
}

fn count_up(cql: &mut Cql, who: i32, done: &AtomicU32, goal: u32) {
    let mut seen = 0;
    while done.fetch_add(1, Ordering::Relaxed) < goal {
        let text = format!(
            "UPDATE lwt_race SET n = {}, who = {who} WHERE p = 1 IF n = {seen}",
            seen + 1
        );
        match cql.query(&text) {
            // [applied], and else the value that is there
            Ok(rows) => match &rows[0][..] {
                [_, Some(n)] => seen = i32::from_be_bytes(n[..].try_into().unwrap()),
                _ => seen += 1,
            },
            // contention: it may have been applied
            Err(Failure::Server(0x1100 | 0x1200 | 0x1700, _)) => {}
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

/// Contended conditional writes, and plain ones beside them, while the target is killed and comes
/// back: the clients notice nothing, and the target ends as the source.
#[test]
fn contended_while_the_target_is_down() {
    const GOAL: u32 = 4_000;
    let _turn = lab::alone();
    let pair = Pair::new("lwtdown", lab::source_41(), lab::durable_41());
    let mut cql = connect(pair.contact(), &pair.keyspace);
    for text in [
        "CREATE TABLE lwt_race (p int PRIMARY KEY, n int, who int)",
        "CREATE TABLE lwt_mix (p int, c int, a int, b int, PRIMARY KEY (p, c))",
        "INSERT INTO lwt_race (p, n) VALUES (1, 0) IF NOT EXISTS",
    ] {
        cql.query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for who in 0..4 {
            let [mut racing, mut mixing] =
                [(); 2].map(|()| connect(pair.contact(), &pair.keyspace));
            let done = &done;
            scope.spawn(move || count_up(&mut racing, who, done, GOAL));
            scope.spawn(move || {
                let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(who.unsigned_abs().into());
                state |= 1;
                while done.load(Ordering::Relaxed) < GOAL {
                    mix(&mut mixing, &mut state);
                }
            });
        }
        // by what is done, not by time: some before, some meanwhile, some after
        let wait_for = |part: u32| {
            while done.load(Ordering::Relaxed) < GOAL / 8 * part {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(1);
        let outage = pair.target.kill9();
        wait_for(5);
        outage.end();
    });
    cql.query("INSERT INTO lwt_mix (p, c, a) VALUES (9, 9, 9)")
        .unwrap();
    let report = pair.compare(&[], Duration::from_secs(60));
    eprintln!("{}: {report}", pair.keyspace);
    assert!(report.is_equal() && report.cells >= 4, "{report}");
    assert_settled(&pair);
    let held = pair.proxy.as_ref().map(|proxy| proxy.held());
    assert_eq!(held.unwrap_or_default(), Vec::<String>::new());
}

/// Conditional and plain writes of eight clients on the same few rows.
#[test]
fn mixed_with_plain_writes() {
    let _turn = lab::beside_others();
    let pair = Pair::new("lwtmix", lab::source_41(), lab::durable_41());
    let mut cql = connect(pair.contact(), &pair.keyspace);
    cql.query("CREATE TABLE lwt_mix (p int, c int, a int, b int, PRIMARY KEY (p, c))")
        .unwrap();
    std::thread::scope(|scope| {
        for who in 0..8_u64 {
            let mut cql = connect(pair.contact(), &pair.keyspace);
            scope.spawn(move || {
                let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(who + 1);
                for _ in 0..300 {
                    mix(&mut cql, &mut state);
                }
            });
        }
    });
    // all others may end deleted
    cql.query("INSERT INTO lwt_mix (p, c, a) VALUES (9, 9, 9)")
        .unwrap();
    pair.assert_equal(&[]);
}

fn mix(cql: &mut Cql, state: &mut u64) {
    let mut next = |below: u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % below
    };
    let key = format!("p = {} AND c = {}", next(2), next(3));
    let (p, c, v) = (next(2), next(3), next(5));
    let text = match next(9) {
        0 => format!("INSERT INTO lwt_mix (p, c, a, b) VALUES ({p}, {c}, {v}, 1) IF NOT EXISTS"),
        1 => format!("UPDATE lwt_mix SET a = {v} WHERE {key} IF a = {}", next(5)),
        2 => format!("UPDATE lwt_mix SET b = null WHERE {key} IF EXISTS"),
        3 => format!("DELETE FROM lwt_mix WHERE {key} IF a = {v}"),
        4 => format!("DELETE FROM lwt_mix WHERE {key} IF EXISTS"),
        5 => format!("INSERT INTO lwt_mix (p, c, a) VALUES ({p}, {c}, {v})"),
        6 => format!("UPDATE lwt_mix SET b = {v} WHERE {key}"),
        7 => format!("DELETE a FROM lwt_mix WHERE {key}"),
        _ => format!("DELETE FROM lwt_mix WHERE {key}"),
    };
    match cql.query(&text) {
        Ok(_) | Err(Failure::Server(0x1100 | 0x1200 | 0x1700, _)) => {}
        Err(error) => panic!("{text}: {error}"),
    }
}
