//! Writers at a fixed rate that keep a ledger: what each acknowledged write must have left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cassandra::Cassandra;
use super::cql::{Cql, Failure};

/// The error code of a statement that the node does not know (any more).
const UNPREPARED: i32 = 0x2500;
/// The table that the writers write.
pub const TABLE: &str = "ledger (writer int, seq int, v text, w int, PRIMARY KEY (writer, seq))";

/// What a key must hold in the end: its columns `v` and `w`, or no row.
type Expected = Option<(Option<String>, i32)>;

/// Key (writer, seq) → what the last acknowledged write of it leaves.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<(i32, i32), Expected>,
    /// Writes the client saw as done.
    pub acknowledged: usize,
    /// Errors that a client saw, in words.
    pub errors: Vec<String>,
    /// The longest that one write took.
    pub slowest: Duration,
    /// Keys that a write touched whose client got no answer, or an error that says "perhaps":
    /// what they hold is checked between the clusters only.
    pub unknown: BTreeSet<(i32, i32)>,
}

/// The writers at work.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Ledger>>,
}

impl Writers {
    /// `connections` writers, each at `per_second` writes, without client timestamps: inserts,
    /// updates and deletes of earlier rows, prepared and as text.
    pub fn start(
        contact: SocketAddr,
        keyspace: &str,
        connections: i32,
        per_second: u32,
    ) -> Writers {
        Self::start_all(contact, keyspace, connections, per_second, false)
    }

    /// As [`Writers::start`], and a writer that loses its connection connects again, for as long
    /// as it takes: for tests that break the proxy or the source.
    pub fn start_stubborn(
        contact: SocketAddr,
        keyspace: &str,
        connections: i32,
        per_second: u32,
    ) -> Writers {
        Self::start_all(contact, keyspace, connections, per_second, true)
    }

    fn start_all(
        contact: SocketAddr,
        keyspace: &str,
        connections: i32,
        per_second: u32,
        stubborn: bool,
    ) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..connections)
            .map(|writer| {
                let (stop, keyspace) = (Arc::clone(&stop), keyspace.to_owned());
                let gap = Duration::from_secs(1) / per_second;
                std::thread::spawn(move || {
                    let mut one = Writer::new(writer, contact, &keyspace);
                    one.stubborn = stubborn;
                    one.run(gap, &stop)
                })
            })
            .collect();
        Writers { stop, threads }
    }

    /// Ends the writing; the ledgers of all writers as one.
    pub fn finish(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for thread in self.threads {
            let mut one = thread.join().unwrap();
            all.entries.append(&mut one.entries);
            all.acknowledged += one.acknowledged;
            all.errors.append(&mut one.errors);
            all.slowest = all.slowest.max(one.slowest);
            all.unknown.append(&mut one.unknown);
        }
        all
    }
}

struct Writer {
    number: i32,
    contact: SocketAddr,
    stubborn: bool,
    cql: Cql,
    keyspace: String,
    insert: Vec<u8>,
    update: Vec<u8>,
    ledger: Ledger,
}

impl Writer {
    fn new(number: i32, contact: SocketAddr, keyspace: &str) -> Writer {
        let mut cql = Cql::connect(contact).unwrap();
        let (insert, update) = prepare(&mut cql, keyspace).unwrap();
        let ledger = Ledger::default();
        Writer {
            number,
            contact,
            stubborn: false,
            cql,
            keyspace: keyspace.to_owned(),
            insert,
            update,
            ledger,
        }
    }

    fn run(mut self, gap: Duration, stop: &AtomicBool) -> Ledger {
        let mut due = Instant::now();
        for seq in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += gap;
            let began = Instant::now();
            let mut outcome = self.write(seq);
            if matches!(outcome, Err(Failure::Server(UNPREPARED, _))) {
                outcome = self.prepare_again().and_then(|()| self.write(seq));
            }
            self.ledger.slowest = self.ledger.slowest.max(began.elapsed());
            match outcome {
                Ok((key, expected)) => {
                    self.ledger.acknowledged += 1;
                    self.ledger.entries.insert((self.number, key), expected);
                }
                Err(error) => {
                    self.ledger
                        .errors
                        .push(format!("writer {} seq {seq}: {error}", self.number));
                    let refused = matches!(error, Failure::Server(code, _) if code >= 0x2000);
                    assert!(!refused, "a good write was refused: {error}");
                    self.ledger.unknown.insert((self.number, seq));
                    self.ledger.unknown.insert((self.number, seq - 3));
                    if matches!(error, Failure::Connection(_)) && !self.connect_again(stop) {
                        break;
                    }
                    due = Instant::now();
                }
            }
        }
        self.ledger
    }

    /// False if that is not wanted, or not any more.
    fn connect_again(&mut self, stop: &AtomicBool) -> bool {
        while self.stubborn && !stop.load(Ordering::Relaxed) {
            if let Ok(cql) = Cql::connect(self.contact) {
                self.cql = cql;
                if self.prepare_again().is_ok() {
                    return true;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// As drivers do. Cassandra (4.1.10) forgets a statement for a moment when several clients
    /// prepare it at once: each takes away what was there before it puts its own.
    fn prepare_again(&mut self) -> Result<(), Failure> {
        (self.insert, self.update) = prepare(&mut self.cql, &self.keyspace)?;
        Ok(())
    }

    /// Every fourth write goes to an earlier row: an update, a delete of a column or of the row,
    /// or a batch.
    fn write(&mut self, seq: i32) -> Result<(i32, Expected), Failure> {
        let (writer, earlier) = (self.number, seq - 3);
        let table = format!("{}.ledger", self.keyspace);
        let at = format!("WHERE writer = {writer} AND seq = {earlier}");
        let text = |words: String| words.into_bytes();
        let int = |value: i32| Some(value.to_be_bytes().to_vec());
        match seq % 16 {
            3 => {
                self.cql
                    .execute(&self.update, &[int(-seq), int(writer), int(earlier)])?;
                Ok((earlier, Some((Some(format!("value {earlier}")), -seq))))
            }
            7 => {
                self.cql.query(&format!("DELETE v FROM {table} {at}"))?;
                Ok((earlier, Some((None, earlier))))
            }
            11 => {
                self.cql.query(&format!("DELETE FROM {table} {at}"))?;
                Ok((earlier, None))
            }
            15 => {
                self.cql.query(&format!(
                    "BEGIN BATCH UPDATE {table} SET v = 'batch' {at}; \
                     UPDATE {table} SET w = {seq} {at}; APPLY BATCH"
                ))?;
                Ok((earlier, Some((Some("batch".into()), seq))))
            }
            _ => {
                let value = format!("value {seq}");
                let cells = [int(writer), int(seq), Some(text(value.clone())), int(seq)];
                self.cql.execute(&self.insert, &cells)?;
                Ok((seq, Some((Some(value), seq))))
            }
        }
    }
}

/// The ids of INSERT and UPDATE.
fn prepare(cql: &mut Cql, keyspace: &str) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let table = format!("{keyspace}.ledger");
    let insert = format!("INSERT INTO {table} (writer, seq, v, w) VALUES (?, ?, ?, ?)");
    let update = format!("UPDATE {table} SET w = ? WHERE writer = ? AND seq = ?");
    Ok((cql.prepare(&insert)?, cql.prepare(&update)?))
}

impl Ledger {
    /// Checks every entry at a node itself: how many are missing or differ, and the first few.
    pub fn check(&self, node: &Cassandra, keyspace: &str) -> (usize, Vec<String>) {
        self.check_by(&mut node.connect(), keyspace)
    }

    /// As [`Ledger::check`], over any connection.
    pub fn check_by(&self, node: &mut Cql, keyspace: &str) -> (usize, Vec<String>) {
        let rows = node
            .query(&format!("SELECT writer, seq, v, w FROM {keyspace}.ledger"))
            .unwrap_or_else(|e| panic!("reading the ledger's table: {e}"));
        let int = |cell: &Option<Vec<u8>>| {
            cell.as_ref()
                .map(|b| i32::from_be_bytes(b.as_slice().try_into().unwrap()))
        };
        let found: BTreeMap<_, _> = rows
            .iter()
            .map(|row| {
                let v = row[2]
                    .as_ref()
                    .map(|b| String::from_utf8_lossy(b).into_owned());
                (
                    (int(&row[0]).unwrap(), int(&row[1]).unwrap()),
                    (v, int(&row[3]).unwrap()),
                )
            })
            .collect();
        let wrong: Vec<_> = self
            .entries
            .iter()
            .filter(|(key, _)| !self.unknown.contains(key))
            .filter(|(key, expected)| found.get(key) != expected.as_ref())
            .map(|(key, expected)| format!("{key:?}: {:?}, not {expected:?}", found.get(key)))
            .collect();
        (wrong.len(), wrong.into_iter().take(10).collect())
    }
}
