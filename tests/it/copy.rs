//! `twinring copy` between real Cassandra nodes: every type, every stamp, killed and resumed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use twinring::cli::{self, Command as Sub};
use twinring::copy::{self, CopyArgs, Summary};
use twinring::verify::Class;

use super::support::cassandra::Cassandra;
use super::support::compare::{self, Depth, Place, Report};
use super::support::history::{Past, SCHEMA};
use super::support::{lab, now_us};

const LIMIT: Duration = Duration::from_secs(120);

/// Two nodes, a keyspace on both, and a place for checkpoints.
pub struct Copying {
    pub source: &'static Cassandra,
    pub target: &'static Cassandra,
    pub keyspace: String,
    /// Token ranges that a copy cuts the ring into, at least.
    pub splits: u32,
    pub dir: tempfile::TempDir,
}

impl Copying {
    pub fn new(name: &str, source: &'static Cassandra, target: &'static Cassandra) -> Copying {
        let keyspace = format!("{name}_{}", now_us() % 1_000_000_000);
        lab::create_keyspace(source, &keyspace);
        Copying {
            source,
            target,
            keyspace,
            splits: 16,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn run_at(&self, node: &Cassandra, text: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        let text = text.replace("KS", &self.keyspace);
        let mut cql = node.connect();
        cql.query(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    pub fn create(&self, node: &Cassandra, what: &str) {
        let (kind, rest) = what.split_once(' ').unwrap();
        self.run_at(node, &format!("CREATE {kind} KS.{rest}"));
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let checkpoint = self.dir.path().join("checkpoint");
        let words = [
            "twinring",
            "copy",
            &self.source.address.to_string(),
            &self.target.address.to_string(),
            "--keyspace",
            &self.keyspace,
            "--checkpoint",
            checkpoint.to_str().unwrap(),
            "--counter-quiet-ms",
            "300",
            "--splits",
            &self.splits.to_string(),
        ];
        words.iter().chain(more).map(|&w| w.to_owned()).collect()
    }

    pub fn copy(&self, more: &[&str]) -> Summary {
        let args = args(&self.words(more));
        let summary = copy::run(&args).unwrap_or_else(|e| panic!("{e:#}"));
        eprintln!("{}: {summary}", self.keyspace);
        summary
    }

    fn compare(&self) -> Report {
        let (mut left, mut right) = (self.source.connect(), self.target.connect());
        let keyspace = self.keyspace.as_str();
        let mut left = Place {
            cql: &mut left,
            keyspace,
        };
        let mut right = Place {
            cql: &mut right,
            keyspace,
        };
        compare::compare(&mut left, &mut right, Depth::Cells, &[]).unwrap()
    }

    fn assert_equal(&self) {
        let report = self.compare();
        eprintln!("{}: {report}", self.keyspace);
        assert!(report.is_equal() && report.cells > 0, "{report}");
    }

    pub fn checkpoint_lines(&self) -> usize {
        let path: PathBuf = self.dir.path().join("checkpoint");
        std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
    }

    pub fn spawn(&self, more: &[&str]) -> Child {
        program(&self.words(more)[1..])
    }

    /// `twinring verify` beside this process.
    pub fn spawn_verify(&self, more: &[&str]) -> Child {
        program(self.verify_words(more))
    }

    fn verify_words(&self, more: &[&str]) -> Vec<String> {
        let ends = [self.source, self.target].map(|node| node.address.to_string());
        let words = ["verify", &ends[0], &ends[1], "--keyspace", &self.keyspace];
        words.iter().chain(more).map(|&w| w.to_owned()).collect()
    }

    /// How many replicas the keyspace shall have, of which there is one.
    fn set_replicas(&self, node: &Cassandra, count: u32) {
        let class = "'class': 'SimpleStrategy'";
        let text = format!(
            "ALTER KEYSPACE KS WITH replication = {{{class}, 'replication_factor': {count}}}"
        );
        self.run_at(node, &text);
    }

    /// The keys of a table of one int.
    fn keys(&self, node: &Cassandra, table: &str) -> BTreeSet<i32> {
        let rows = self.run_at(node, &format!("SELECT k FROM KS.{table}"));
        let key = |row: Vec<Option<Vec<u8>>>| {
            let bytes = row[0].as_deref().unwrap();
            i32::from_be_bytes(bytes.try_into().unwrap())
        };
        rows.into_iter().map(key).collect()
    }
}

/// What a program says on its standard error, line by line.
struct Said {
    lines: Receiver<String>,
    before: Vec<String>,
}

impl Said {
    fn start(words: &[String]) -> (Child, Said) {
        let mut child = command(words).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let before = Vec::new();
        (child, Said { lines, before })
    }

    /// Waits until a line has these words.
    fn until(&mut self, words: &str) {
        while !self.before.iter().any(|line| line.contains(words)) {
            let line = self.lines.recv_timeout(LIMIT);
            self.before
                .push(line.unwrap_or_else(|e| panic!("{words}: {e}: {:?}", self.before)));
        }
    }
}

fn program(words: impl IntoIterator<Item: AsRef<std::ffi::OsStr>>) -> Child {
    command(words).stderr(Stdio::null()).spawn().unwrap()
}

fn command(words: impl IntoIterator<Item: AsRef<std::ffi::OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.args(words).stdout(Stdio::piped());
    command
}

fn args(words: &[String]) -> CopyArgs {
    match cli::parse(words).unwrap().command {
        Sub::Copy(args) => *args,
        _ => panic!("not copy"),
    }
}

pub fn everything(source: &'static Cassandra, name: &str, seed: u64) -> Copying {
    let copying = Copying::new(name, source, lab::target_50());
    SCHEMA.iter().for_each(|what| copying.create(source, what));
    let mut past = Past::new(&copying.keyspace, seed, now_us());
    past.write(&mut source.connect(), 300);
    copying
}

/// Between two nodes that tell the writetime of every element: nothing may differ.
#[test]
fn every_cell_keeps_its_stamp_and_expiry() {
    let _turn = lab::beside_others();
    let copying = everything(lab::source_50(), "copy_every", 1);
    assert_eq!(copying.copy(&["--schema-only"]), Summary::default());
    let summary = copying.copy(&[]);
    assert!(summary.is_complete());
    assert_eq!(summary.tally.counters_added, 40);
    copying.assert_equal();
    // Again, as if nothing were known: nothing is doubled, no list and no counter.
    let again = copying.copy(&["--restart"]);
    assert_eq!(
        (again.tally.lists, again.tally.lists_replaced),
        (0, 0),
        "{again}"
    );
    assert_eq!(again.tally.counters_added, 0);
    copying.assert_equal();
}

/// From a source that does not tell the stamps of elements: values and all other stamps are right,
/// and what is deleted later stays deleted.
#[test]
fn from_an_older_source_everything_but_the_stamps_of_elements() {
    let _turn = lab::beside_others();
    let copying = everything(lab::source_41(), "copy_older", 2);
    assert!(copying.copy(&["--create-schema"]).is_complete());
    copying.assert_equal();
    // A delete between the first stamp and the copy's beginning hides what was backdated; later
    // ones do, too.
    let stamp = now_us();
    for node in [copying.source, copying.target] {
        let text = format!(
            "DELETE FROM KS.every USING TIMESTAMP {stamp} WHERE p = 3 \
                            AND \"P 2\" = 'x'"
        );
        copying.run_at(node, &text);
    }
    copying.assert_equal();
}

/// A delete that reached the target before the copy: what it deleted does not come back, also
/// where the row's other cells are younger than the delete.
#[test]
fn a_delete_that_came_first_is_not_undone() {
    let _turn = lab::beside_others();
    let copying = Copying::new("copy_deleted", lab::source_50(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    for node in [copying.source, copying.target] {
        copying.create(
            node,
            "TABLE t (k int PRIMARY KEY, a int, b int, m map<int, int>)",
        );
    }
    // b is younger than the delete of a, which the source has not applied yet.
    copying.run_at(
        copying.source,
        "INSERT INTO KS.t (k, a, m) VALUES (1, 1, {1: 1, 2: 2}) USING TIMESTAMP 100",
    );
    copying.run_at(
        copying.source,
        "UPDATE KS.t USING TIMESTAMP 200 SET b = 2, m[3] = 3 WHERE k = 1",
    );
    let deletes = [
        "DELETE a, m[1] FROM KS.t USING TIMESTAMP 150 WHERE k = 1",
        "UPDATE KS.t USING TIMESTAMP 150 SET a = null WHERE k = 1",
    ];
    deletes
        .iter()
        .for_each(|text| drop(copying.run_at(copying.target, text)));
    assert!(copying.copy(&[]).is_complete());
    let rows = copying.run_at(copying.target, "SELECT a, b, m FROM KS.t");
    let int = |n: i32| n.to_be_bytes().to_vec();
    let map = [2, 2, 3, 3]
        .iter()
        .fold(int(2), |bytes, n| [bytes, int(4), int(*n)].concat());
    assert_eq!(rows, [vec![None, Some(int(2)), Some(map)]]);
    deletes
        .iter()
        .for_each(|text| drop(copying.run_at(copying.source, text)));
    copying.assert_equal();
}

/// A copy that is killed twice goes on where it was, and leaves no trace of that: lists are not
/// doubled.
#[test]
fn killed_twice_it_goes_on() {
    let _turn = lab::beside_others();
    let copying = Copying::new("copy_killed", lab::source_50(), lab::target_50());
    copying.create(
        copying.source,
        "TABLE t (k int, c int, v text, l list<int>, PRIMARY KEY (k, c))",
    );
    let mut cql = copying.source.connect();
    let insert = format!(
        "INSERT INTO {}.t (k, c, v, l) VALUES (?, ?, ?, [1, 2, 3]) USING TIMESTAMP 5000",
        copying.keyspace
    );
    let insert = cql.prepare(&insert).unwrap();
    let int = |n: i32| Some(n.to_be_bytes().to_vec());
    for n in 0..3000 {
        let cells = [int(n), int(n % 7), Some(format!("value {n}").into_bytes())];
        cql.execute(&insert, &cells).unwrap();
    }
    let slow = [
        "--create-schema",
        "--write-rate",
        "600",
        "--read-concurrency",
        "2",
    ];
    for kill_at in [4, 9] {
        let mut child = copying.spawn(&slow);
        let began = Instant::now();
        while copying.checkpoint_lines() < kill_at {
            assert!(began.elapsed() < LIMIT, "no progress");
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let summary = copying.copy(&[]);
    assert!(
        summary.is_complete() && summary.ranges_resumed >= 7,
        "{summary}"
    );
    assert_eq!(summary.tally.rows, 3000);
    copying.assert_equal();
    // What is done is done.
    let nothing = copying.copy(&[]);
    assert_eq!(nothing.ranges_done, 0);
}

/// What cannot be done is said: exit code, table, token range, reason.
#[test]
fn what_cannot_be_copied_is_named() {
    let _turn = lab::beside_others();
    let copying = Copying::new("copy_refused", lab::source_50(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    copying.create(copying.source, "TABLE t (k int PRIMARY KEY, v blob)");
    // A write larger than half a commit log segment is refused for good.
    let mut cql = copying.source.connect();
    let words = copying.words(&[]);
    let missing = copy::run(&args(&words)).unwrap_err().to_string();
    assert!(missing.contains("t is not at the target"), "{missing}");
    copying.create(copying.target, "TABLE t (k int PRIMARY KEY, v text)");
    let other = copy::run(&args(&words)).unwrap_err().to_string();
    assert!(
        other.contains("v blob") && other.contains("v text"),
        "{other}"
    );
    copying.run_at(copying.target, "DROP TABLE KS.t");
    copying.create(copying.target, "TABLE t (k int PRIMARY KEY, v blob)");
    let insert = format!("INSERT INTO {}.t (k, v) VALUES (?, ?)", copying.keyspace);
    let insert = cql.prepare(&insert).unwrap();
    for k in 0..40i32 {
        let cells = [Some(k.to_be_bytes().to_vec()), Some(vec![7; 200])];
        cql.execute(&insert, &cells).unwrap();
    }
    let output = copying.spawn(&["--json"]).wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        output.status.success() && report["complete"] == true,
        "{report}"
    );
    assert_eq!(report["rows"], 40);
    copying.assert_equal();
    let unreachable = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args([
            "copy",
            "127.71.255.253",
            "127.71.255.253",
            "--keyspace",
            "k",
        ])
        .output()
        .unwrap();
    assert_eq!(unreachable.status.code(), Some(1));
    let words = String::from_utf8_lossy(&unreachable.stderr).into_owned();
    assert!(words.contains("cannot reach the source"), "{words}");
}

/// While replicas are missing nobody waits in the dark: what the requests fail of is said once for
/// each side, with the flag that helps; when the replicas are there, it goes on.
#[test]
fn what_is_tried_again_and_again_is_said_once() {
    let _turn = lab::beside_others();
    let copying = Copying::new("copy_lonely", lab::source_41(), lab::target_50());
    lab::create_keyspace(copying.target, &copying.keyspace);
    for node in [copying.source, copying.target] {
        copying.create(node, "TABLE t (k int PRIMARY KEY, s int)");
    }
    for k in 0..20 {
        copying.run_at(
            copying.source,
            &format!("INSERT INTO KS.t (k, s) VALUES ({k}, 1)"),
        );
    }
    let mut copy = copying.words(&[]);
    copy.remove(0);
    for words in [copy, copying.verify_words(&[])] {
        let ends = [
            (copying.source, "--source-consistency"),
            (copying.target, "--target-consistency"),
        ];
        ends.iter()
            .for_each(|(node, _)| copying.set_replicas(node, 3));
        let (mut child, mut said) = Said::start(&words);
        for (node, flag) in ends {
            said.until(flag);
            assert_eq!(child.try_wait().unwrap(), None, "it goes on");
            copying.set_replicas(node, 1);
        }
        assert!(child.wait().unwrap().success(), "{:?}", said.before);
        said.before.extend(said.lines.iter());
        for (_, flag) in ends {
            let lines = said.before.iter().filter(|line| line.contains(flag));
            let [line] = lines.collect::<Vec<_>>()[..] else {
                panic!("{flag}: {:?}", said.before);
            };
            let words = "Cannot achieve consistency level LOCAL_QUORUM";
            assert!(line.contains(words) && line.contains(".t: "), "{line}");
        }
    }
    copying.assert_equal();
}

/// A row that INSERT made is there without any cell. Where the cells were gone before the copy, the
/// row marker is all that it has, and is written. Where they go after it, the source keeps the row:
/// no request tells whether a row with cells has a marker, so it is a choice whether the target
/// does, too. Verify finds what was chosen wrong.
#[test]
fn rows_that_lost_their_cells_are_copied() {
    let _turn = lab::beside_others();
    let copying = Copying::new("copy_markers", lab::source_50(), lab::target_50());
    for table in ["inferred", "marked"] {
        let columns = "(k int PRIMARY KEY, v int, m map<int, int>)";
        copying.create(copying.source, &format!("TABLE {table} {columns}"));
        for text in [
            "INSERT INTO T (k, v, m) VALUES (1, 1, {1: 1})",
            "DELETE v, m FROM T WHERE k = 1",
            "INSERT INTO T (k, v) VALUES (2, 1)",
            "UPDATE T SET v = null WHERE k = 2",
            "INSERT INTO T (k) VALUES (3)",
            "UPDATE T USING TTL 1 SET v = 1, m = {1: 1} WHERE k = 3",
            "INSERT INTO T (k) VALUES (4)",
            "UPDATE T SET v = 1 WHERE k = 5",
            "DELETE v FROM T WHERE k = 5",
            "INSERT INTO T (k, v) VALUES (6, 1) USING TTL 1",
            "INSERT INTO T (k, v) VALUES (7, 1)",
            "UPDATE T SET v = 1 WHERE k = 8",
        ] {
            copying.run_at(
                copying.source,
                &text.replace(" T ", &format!(" KS.{table} ")),
            );
        }
    }
    std::thread::sleep(Duration::from_secs(2)); // until the TTLs are over
    let copy = |more: &[&str]| {
        let words = [&["--create-schema", "--restart"], more].concat();
        assert!(copying.copy(&words).is_complete());
    };
    copy(&["--table", "inferred"]);
    copy(&["--table", "marked", "--row-marker", "always"]);
    copying.assert_equal();
    let keys = |node, table| copying.keys(node, table).into_iter().collect::<Vec<_>>();
    for table in ["inferred", "marked"] {
        assert_eq!(keys(copying.target, table), [1, 2, 3, 4, 7, 8], "{table}");
        for node in [copying.source, copying.target] {
            copying.run_at(node, &format!("DELETE v FROM KS.{table} WHERE k IN (7, 8)"));
        }
        assert_eq!(keys(copying.source, table), [1, 2, 3, 4, 7], "{table}");
    }
    assert_eq!(keys(copying.target, "inferred"), [1, 2, 3, 4]);
    assert_eq!(keys(copying.target, "marked"), [1, 2, 3, 4, 7, 8]);
    let found = copying.verify(&["--repair", "--delete-extra"]);
    assert_eq!((found.of(Class::Missing), found.of(Class::Extra)), (1, 1));
    assert!(
        found.is_equal() && copying.verify(&[]).is_equal(),
        "{found}"
    );
    copying.assert_equal();
    // What was written for a marker loses against a delete of the row.
    for table in ["inferred", "marked"] {
        let text = format!("DELETE FROM KS.{table} WHERE k IN (1, 7)");
        copying.run_at(copying.target, &text);
        assert_eq!(keys(copying.target, table), [2, 3, 4], "{table}");
    }
}
