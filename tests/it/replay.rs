//! `twinring replay` against a real Cassandra: values, stamps, expiry, barriers, refusals, kill -9.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use twinring::replay::{self, ReplayArgs, Summary};
use twinring::spill::{
    Body, ChildrenBuf, DirWriter, Holds, Kind, Record, Refusal, SpillDir, WriterConfig, stat,
};

use super::support::cql::Cql;
use super::support::{lab, now_us};

/// A bound value.
#[derive(Clone, Copy)]
enum Bound<'a> {
    Int(i32),
    Text(&'a str),
    Null,
    Unset,
}
use Bound::{Int, Null, Text, Unset};

/// A record to spill: its kind, how many seconds ago it arrived, text and parameters.
struct Spill<'a>(Kind, u64, &'a str, Vec<u8>);

fn write<'a>(ago: u64, text: &'a str, params: Vec<u8>) -> Spill<'a> {
    Spill(Kind::Write, ago, text, params)
}

/// A spill directory that a test fills, with the keyspace that its sessions used.
struct Spilled {
    _temp: tempfile::TempDir,
    path: PathBuf,
    keyspace: String,
}

impl Spilled {
    fn new(keyspace: &str) -> Spilled {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("spill");
        Spilled {
            _temp: temp,
            path,
            keyspace: keyspace.to_owned(),
        }
    }

    /// Adds a shard with these records: kind, seconds since arrival, text, parameters.
    fn shard(&self, number: u32, records: &[Spill<'_>]) {
        self.fill(number, Holds::Backlog, |writer| {
            for Spill(kind, seconds_ago, text, params) in records {
                let body = Body::Query { text, params };
                let record = self.record(*kind, *seconds_ago, body);
                writer
                    .writer()
                    .append(&record, now_us().cast_unsigned())
                    .unwrap();
            }
        });
    }

    fn fill(&self, number: u32, holds: Holds, fill: impl FnOnce(&mut DirWriter)) {
        let dir = SpillDir::open_or_create(&self.path).unwrap();
        let shard = dir.shard(number).unwrap();
        let first = shard.next_segment(holds, 1).unwrap();
        let config = WriterConfig::new(holds, number, 7, first);
        let config = WriterConfig {
            limit_bytes: 64 << 10,
            ..config
        };
        let mut writer = DirWriter::new(shard, config);
        fill(&mut writer);
        writer.close().unwrap();
    }

    fn record<'a>(&'a self, kind: Kind, seconds_ago: u64, body: Body<'a>) -> Record<'a> {
        Record {
            sequence: 0,
            arrival_us: now_us().cast_unsigned() - seconds_ago * 1_000_000,
            stamp_us: None,
            kind,
            version: 4,
            session_keyspace: &self.keyspace,
            keyspace: &self.keyspace,
            table: "",
            refusal: None,
            body,
        }
    }

    fn args(&self) -> ReplayArgs {
        args(&self.path, lab::target_50().address.to_string())
    }

    fn replay(&self) -> Summary {
        run(&self.args())
    }
}

fn args(path: &Path, target: String) -> ReplayArgs {
    ReplayArgs {
        dir: path.to_owned(),
        target: vec![target],
        target_bundle: Default::default(),
        target_port: 9042,
        target_username: None,
        target_password_file: None,
        target_tls: Default::default(),
        rate: None,
        concurrency: 64,
        give_up_seconds: 30,
        include_rejected: false,
        only_rejected: false,
        dry_run: false,
        keep: false,
        target_consistency: None,
        spill_key_file: None,
        force: false,
        json: true,
    }
}

fn run(args: &ReplayArgs) -> Summary {
    let mut summary = Summary::default();
    replay::run(args, &mut summary).unwrap();
    summary
}

/// A fresh keyspace at the target with tables, and a connection in it.
fn prepared(name: &str, tables: &[&str]) -> (String, Cql) {
    let node = lab::target_50();
    let keyspace = format!("{name}_{}", now_us() % 1_000_000_000);
    lab::create_keyspace(node, &keyspace);
    let mut cql = node.connect();
    cql.query(&format!("USE {keyspace}")).unwrap();
    for table in tables {
        cql.query(table).unwrap();
    }
    (keyspace, cql)
}

/// `<query_parameters>` of native protocol v4: consistency ONE, values, timestamp.
fn params(values: &[Bound<'_>], stamp_us: Option<i64>) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.push(u8::from(!values.is_empty()) | if stamp_us.is_some() { 0x20 } else { 0 });
    if !values.is_empty() {
        bytes.extend(block(values));
    }
    bytes.extend(stamp_us.iter().flat_map(|stamp| stamp.to_be_bytes()));
    bytes
}

fn block(values: &[Bound<'_>]) -> Vec<u8> {
    let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Null => bytes.extend((-1i32).to_be_bytes()),
            Unset => bytes.extend((-2i32).to_be_bytes()),
            Int(n) => {
                bytes.extend(4i32.to_be_bytes());
                bytes.extend(n.to_be_bytes());
            }
            Text(text) => {
                bytes.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}

/// The cells of the only row, numbers as numbers of their width.
fn row(cql: &mut Cql, text: &str) -> Vec<Option<i64>> {
    let rows = cql.query(text).unwrap();
    assert_eq!(rows.len(), 1, "{text}");
    rows[0]
        .iter()
        .map(|cell| cell.as_deref().map(number))
        .collect()
}

fn number(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|b| *b >= 0x80) {
        -1i64
    } else {
        0
    };
    bytes
        .iter()
        .fold(sign, |n, byte| (n << 8) | i64::from(*byte))
}

fn texts(cql: &mut Cql, text: &str) -> Vec<Option<String>> {
    let cell = |cell: &Option<Vec<u8>>| cell.clone().map(|b| String::from_utf8(b).unwrap());
    cql.query(text)
        .unwrap()
        .iter()
        .map(|row| cell(&row[0]))
        .collect()
}

#[test]
fn values_and_stamps_arrive_as_they_were() {
    let _turn = lab::beside_others();
    let table = "CREATE TABLE t (k int PRIMARY KEY, v text, n int)";
    let (keyspace, mut cql) = prepared("replay_values", &[table]);
    cql.query("INSERT INTO t (k, v, n) VALUES (2, 'old', 22) USING TIMESTAMP 1000")
        .unwrap();
    let insert = "INSERT INTO t (k, v, n) VALUES (?, ?, ?)";
    let update = "UPDATE t USING TIMESTAMP 3333 SET v = 'it''s' WHERE k = 3";
    let spilled = Spilled::new(&keyspace);
    spilled.shard(
        0,
        &[
            write(
                9,
                insert,
                params(&[Int(1), Text("one"), Int(11)], Some(1_111_111)),
            ),
            write(8, insert, params(&[Int(2), Null, Unset], Some(2_000))),
            write(7, update, params(&[], None)),
        ],
    );
    spilled.shard(
        1,
        &[write(
            6,
            "DELETE FROM t WHERE k = ?",
            params(&[Int(6)], Some(60)),
        )],
    );
    spilled.shard(
        1,
        &[write(
            7,
            "INSERT INTO t (k, v) VALUES (6, 'x')",
            params(&[], Some(50)),
        )],
    );
    let summary = spilled.replay();
    assert_eq!((summary.read, summary.replayed, summary.left), (5, 5, 0));
    assert!(summary.is_clean());
    let select = |k: i32| format!("SELECT n, writetime(v) FROM t WHERE k = {k}");
    assert_eq!(row(&mut cql, &select(1)), [Some(11), Some(1_111_111)]);
    assert_eq!(
        row(&mut cql, &select(2)),
        [Some(22), None],
        "null deletes, unset leaves alone"
    );
    assert_eq!(row(&mut cql, &select(3)), [None, Some(3333)]);
    assert!(
        cql.query(&select(6)).unwrap().is_empty(),
        "the later stamp wins"
    );
    let values = texts(&mut cql, "SELECT v FROM t WHERE k IN (1, 3)");
    assert_eq!(values, ["one", "it's"].map(|v| Some(v.to_owned())));
    let again = spilled.replay();
    assert_eq!((again.read, again.is_clean()), (0, true));
}

#[test]
fn batches_and_named_values_arrive_whole() {
    let _turn = lab::beside_others();
    let (keyspace, mut cql) = prepared(
        "replay_batches",
        &["CREATE TABLE t (k int PRIMARY KEY, v text)"],
    );
    let mut children = ChildrenBuf::default();
    children
        .push(
            "INSERT INTO t (k, v) VALUES (?, ?)",
            &block(&[Int(4), Text("b1")]),
        )
        .unwrap();
    children
        .push("INSERT INTO t (k, v) VALUES (5, 'b2')", &[0, 0])
        .unwrap();
    let tail = [[0, 1, 0x20].as_slice(), &5555i64.to_be_bytes()].concat();
    // Consistency ONE, names and a timestamp, v = 'nm', k = 7.
    let mut named = vec![0, 1, 0x61, 0, 2, 0, 1, b'v', 0, 0, 0, 2];
    named.extend(b"nm\x00\x01k\x00\x00\x00\x04\x00\x00\x00\x07");
    named.extend(7777i64.to_be_bytes());
    let spilled = Spilled::new(&keyspace);
    spilled.shard(
        0,
        &[write(6, "INSERT INTO t (k, v) VALUES (:k, :v)", named)],
    );
    for batch_type in [0, 1] {
        spilled.fill(1, Holds::Backlog, |writer| {
            let body = Body::Batch {
                batch_type,
                children: children.children(),
                tail: &tail,
            };
            writer
                .writer()
                .append(&spilled.record(Kind::Write, 4, body), 1)
                .unwrap();
        });
    }
    let summary = spilled.replay();
    assert_eq!((summary.replayed, summary.is_clean()), (3, true));
    for (k, stamp) in [(4, 5555), (5, 5555), (7, 7777)] {
        let text = format!("SELECT writetime(v) FROM t WHERE k = {k}");
        assert_eq!(row(&mut cql, &text), [Some(stamp)], "{k}");
    }
    let values = texts(&mut cql, "SELECT v FROM t WHERE k IN (4, 5, 7)");
    assert_eq!(values, ["b1", "b2", "nm"].map(|v| Some(v.to_owned())));
}

#[test]
fn cells_expire_when_they_do_at_the_source() {
    let _turn = lab::beside_others();
    let tables = [
        "CREATE TABLE t (k int PRIMARY KEY, v text)",
        "CREATE TABLE d (k int PRIMARY KEY, v text) WITH default_time_to_live = 1000",
    ];
    let (keyspace, mut cql) = prepared("replay_expiry", &tables);
    cql.query("INSERT INTO t (k, v) VALUES (4, 'older') USING TIMESTAMP 10")
        .unwrap();
    let stamp = Some(now_us() - 400_000_000);
    let one = |k, ttl: &[Bound<'_>]| params(&[&[Int(k), Text("x")], ttl].concat(), stamp);
    let literal = "INSERT INTO t (k, v) VALUES (?, ?) USING TTL 1000";
    let bound = "INSERT INTO t (k, v) VALUES (?, ?) USING TTL ?";
    let text = "INSERT INTO t (k, v) VALUES (3, 'x') USING TTL 1000";
    let over = "INSERT INTO t (k, v) VALUES (?, ?) USING TTL 300";
    let spilled = Spilled::new(&keyspace);
    spilled.shard(
        0,
        &[
            write(400, literal, one(1, &[])),
            write(400, bound, one(2, &[Int(1000)])),
            write(400, text, params(&[], stamp)),
            write(400, over, one(4, &[])),
            write(400, bound, one(5, &[Int(0)])),
            write(400, "INSERT INTO d (k, v) VALUES (?, ?)", one(1, &[])),
            write(
                400,
                "INSERT INTO d (k, v) VALUES (2, 'x')",
                params(&[], stamp),
            ),
            write(
                400,
                "INSERT INTO d (k, v) VALUES (?, ?) USING TTL ?",
                one(3, &[Unset]),
            ),
        ],
    );
    assert_eq!(spilled.replay().replayed, 8);
    for (table, k) in [("t", 1), ("t", 2), ("t", 3), ("d", 1), ("d", 2), ("d", 3)] {
        let cells = row(
            &mut cql,
            &format!("SELECT ttl(v) FROM {table} WHERE k = {k}"),
        );
        let left = cells[0].unwrap();
        assert!((590..=600).contains(&left), "{table} {k}: {left}");
    }
    assert_eq!(
        row(&mut cql, "SELECT ttl(v) FROM t WHERE k = 5"),
        [None],
        "0 is forever"
    );
    std::thread::sleep(Duration::from_millis(2500));
    let expired = cql.query("SELECT v FROM t WHERE k = 4").unwrap();
    assert!(
        expired.is_empty() || expired[0][0].is_none(),
        "the older value must stay hidden"
    );
}

#[test]
fn schema_changes_and_truncate_part_before_from_after() {
    let _turn = lab::beside_others();
    let (keyspace, mut cql) = prepared(
        "replay_barriers",
        &["CREATE TABLE t (k int PRIMARY KEY, v int)"],
    );
    let spilled = Spilled::new(&keyspace);
    let insert = "INSERT INTO t (k, v) VALUES (?, ?)";
    let late = "INSERT INTO made (k, v) VALUES (?, ?)";
    let one = |k| params(&[Int(k), Int(k)], Some(now_us()));
    // The second shard's log is out of order: 41 arrived before the TRUNCATE, 42 after it.
    spilled.shard(
        0,
        &[
            write(50, insert, one(1)),
            Spill(Kind::Truncate, 40, "TRUNCATE t", params(&[], None)),
            write(30, insert, one(2)),
            Spill(
                Kind::Ddl,
                20,
                "CREATE TABLE made (k int PRIMARY KEY, v int)",
                params(&[], None),
            ),
        ],
    );
    spilled.shard(
        1,
        &[
            write(35, insert, one(42)),
            write(45, insert, one(41)),
            write(10, late, one(3)),
            Spill(
                Kind::Ddl,
                5,
                "ALTER TABLE made ADD more int",
                params(&[], None),
            ),
            write(4, "INSERT INTO made (k, more) VALUES (?, ?)", one(4)),
            write(3, late, one(5)),
        ],
    );
    let summary = spilled.replay();
    assert_eq!(
        (summary.replayed, summary.rejected, summary.left),
        (10, 0, 0)
    );
    let mut keys: Vec<_> = cql
        .query("SELECT k FROM t")
        .unwrap()
        .iter()
        .map(|r| number(r[0].as_ref().unwrap()))
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, [2, 42]);
    let made = cql.query("SELECT k FROM made").unwrap();
    assert_eq!(made.len(), 3);
}

#[test]
fn what_the_target_refuses_is_kept_with_its_words_and_sent_again_when_asked() {
    let _turn = lab::beside_others();
    let (keyspace, mut cql) = prepared(
        "replay_rejects",
        &["CREATE TABLE t (k int PRIMARY KEY, v int)"],
    );
    let spilled = Spilled::new(&keyspace);
    let one = |k| params(&[Int(k), Int(k)], Some(77));
    spilled.shard(
        3,
        &[
            write(5, "INSERT INTO later (k, v) VALUES (?, ?)", one(1)),
            write(4, "INSERT INTO t (k, v) VALUES (?, ?)", one(2)),
        ],
    );
    let summary = spilled.replay();
    assert_eq!(
        (summary.replayed, summary.rejected, summary.left),
        (1, 1, 0)
    );
    assert!(!summary.is_clean());
    let (_, rejected) = stat::of_dir(&spilled.path).unwrap();
    assert_eq!((rejected.records, rejected.rejected), (1, 1));
    let again = spilled.replay();
    assert_eq!((again.read, again.skipped, again.is_clean()), (0, 1, false));
    // Still refused: kept once, not doubled.
    let asked = ReplayArgs {
        include_rejected: true,
        ..spilled.args()
    };
    assert_eq!(run(&asked).rejected, 1);
    assert_eq!(stat::of_dir(&spilled.path).unwrap().1.records, 1);
    cql.query("CREATE TABLE later (k int PRIMARY KEY, v int)")
        .unwrap();
    let healed = run(&asked);
    assert_eq!((healed.replayed, healed.is_clean()), (1, true));
    assert_eq!(
        row(&mut cql, "SELECT writetime(v) FROM later WHERE k = 1"),
        [Some(77)]
    );
    assert_eq!(stat::of_dir(&spilled.path).unwrap().1.records, 0);
}

#[test]
fn deletes_beyond_the_grace_stay_unless_forced() {
    let _turn = lab::beside_others();
    let table = "CREATE TABLE t (k int PRIMARY KEY, v int) WITH gc_grace_seconds = 60";
    let (keyspace, mut cql) = prepared("replay_grace", &[table]);
    cql.query("INSERT INTO t (k, v) VALUES (1, 1) USING TIMESTAMP 10")
        .unwrap();
    let spilled = Spilled::new(&keyspace);
    spilled.shard(
        0,
        &[
            write(
                100,
                "DELETE FROM t WHERE k = ?",
                params(&[Int(1)], Some(20)),
            ),
            write(
                100,
                "INSERT INTO t (k, v) VALUES (2, 2)",
                params(&[], Some(20)),
            ),
        ],
    );
    let summary = spilled.replay();
    assert_eq!(
        (summary.replayed, summary.too_old, summary.late_writes),
        (1, 1, 1)
    );
    assert_eq!((summary.left, summary.is_clean()), (0, false));
    assert_eq!(cql.query("SELECT k FROM t WHERE k = 1").unwrap().len(), 1);
    let forced = run(&ReplayArgs {
        force: true,
        include_rejected: true,
        ..spilled.args()
    });
    assert_eq!((forced.read, forced.replayed), (1, 1));
    assert!(cql.query("SELECT k FROM t WHERE k = 1").unwrap().is_empty());
}

#[test]
fn counters_and_lists_arrive_once_and_lists_in_order() {
    let _turn = lab::beside_others();
    let (keyspace, mut cql) = prepared(
        "replay_once",
        &[
            "CREATE TABLE c (k int PRIMARY KEY, n counter)",
            "CREATE TABLE l (k int PRIMARY KEY, l list<int>)",
        ],
    );
    let spilled = Spilled::new(&keyspace);
    let mut records = Vec::new();
    for n in 0..200 {
        records.push(Spill(
            Kind::Counter,
            9,
            "UPDATE c SET n = n + 1 WHERE k = 1",
            params(&[], None),
        ));
        let item = [
            &[0u8, 1, 1, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 4][..],
            &i32::to_be_bytes(n),
        ];
        records.push(Spill(
            Kind::List,
            9,
            "UPDATE l SET l = l + ? WHERE k = 1",
            item.concat(),
        ));
    }
    spilled.shard(0, &records);
    let summary = spilled.replay();
    assert_eq!((summary.replayed, summary.in_doubt), (400, 0));
    assert_eq!(row(&mut cql, "SELECT n FROM c WHERE k = 1"), [Some(200)]);
    let list = cql.query("SELECT l FROM l WHERE k = 1").unwrap()[0][0]
        .clone()
        .unwrap();
    let items: Vec<_> = list[4..].chunks(8).map(|item| number(&item[4..])).collect();
    assert_eq!(items, (0..200).collect::<Vec<_>>());
}

#[test]
fn what_is_in_doubt_is_never_sent() {
    let _turn = lab::beside_others();
    let (keyspace, mut cql) = prepared(
        "replay_doubt",
        &["CREATE TABLE c (k int PRIMARY KEY, n counter)"],
    );
    let spilled = Spilled::new(&keyspace);
    spilled.fill(0, Holds::Rejected, |writer| {
        let params = params(&[], None);
        let body = Body::Query {
            text: "UPDATE c SET n = n + 1 WHERE k = 1",
            params: &params,
        };
        let refusal = Some(Refusal {
            code: 0x1100,
            words: "timed out",
            in_doubt: true,
        });
        let record = Record {
            refusal,
            ..spilled.record(Kind::Counter, 9, body)
        };
        writer.writer().append(&record, 1).unwrap();
    });
    for _ in 0..2 {
        let summary = run(&ReplayArgs {
            include_rejected: true,
            ..spilled.args()
        });
        assert_eq!(
            (summary.read, summary.kept_in_doubt, summary.is_clean()),
            (1, 1, false)
        );
    }
    assert_eq!(stat::of_dir(&spilled.path).unwrap().1.in_doubt, 1);
    assert!(cql.query("SELECT n FROM c").unwrap().is_empty());
}

/// Starts a replay as a process; kills it after `limit` unless it ended. `None`: killed.
fn replay_process(path: &Path, limit: Duration) -> Option<ExitStatus> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .arg("replay")
        .arg(path)
        .arg(lab::target_50().address.to_string())
        .args(["--rate", "3000", "--concurrency", "32", "--json"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let killed_at = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= killed_at {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

const WRITES: i32 = 6000;
const COUNTS: i32 = 600;

/// Every other write of a table and a third of as many counts.
fn half(rest: i32) -> Vec<Spill<'static>> {
    let mut records = Vec::new();
    for n in (0..WRITES).filter(|n| n % 2 == rest) {
        let values = params(&[Int(n), Int(n)], Some(1_000_000 + i64::from(n)));
        records.push(write(9, "INSERT INTO t (k, v) VALUES (?, ?)", values));
        if n < COUNTS {
            let text = "UPDATE c SET n = n + 1 WHERE k = ?";
            records.push(Spill(Kind::Counter, 9, text, params(&[Int(n % 3)], None)));
        }
    }
    records
}

#[test]
fn a_replay_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let _turn = lab::beside_others();
    let tables = [
        "CREATE TABLE t (k int PRIMARY KEY, v int)",
        "CREATE TABLE c (k int PRIMARY KEY, n counter)",
    ];
    let (keyspace, mut cql) = prepared("replay_killed", &tables);
    let spilled = Spilled::new(&keyspace);
    spilled.shard(0, &half(0));
    spilled.shard(1, &half(1));
    let mut kills = 0;
    let status = loop {
        let limit = if kills < 8 {
            700 + 137 * kills
        } else {
            120_000
        };
        match replay_process(&spilled.path, Duration::from_millis(limit)) {
            None => kills += 1,
            Some(status) => break status,
        }
    };
    assert!(kills >= 2, "it was over too soon to be a test");
    let (backlog, rejected) = stat::of_dir(&spilled.path).unwrap();
    assert_eq!(
        (backlog.records, backlog.segments, rejected.rejected),
        (0, 0, 0)
    );
    assert_eq!(
        status.code(),
        Some(if rejected.in_doubt == 0 { 0 } else { 3 })
    );
    let stamps = cql.query("SELECT k, writetime(v) FROM t").unwrap();
    assert_eq!(stamps.len(), usize::try_from(WRITES).unwrap());
    for row in stamps {
        let cell = |n: usize| number(row[n].as_ref().unwrap());
        assert_eq!(cell(1), 1_000_000 + cell(0));
    }
    let counts = cql.query("SELECT n FROM c").unwrap();
    let counted: i64 = counts
        .iter()
        .map(|row| number(row[0].as_ref().unwrap()))
        .sum();
    let in_doubt = i64::try_from(rejected.in_doubt).unwrap();
    eprintln!("{kills} kills, {counted} counted, {in_doubt} in doubt");
    assert!(counted <= COUNTS.into(), "none twice: {counted}");
    assert!(
        counted + in_doubt >= COUNTS.into(),
        "none lost: {counted} + {in_doubt} in doubt"
    );
}
