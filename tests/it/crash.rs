//! The proxy itself is killed with SIGKILL, in the middle of everything: what a client was told is
//! at both clusters afterwards, and both are equal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::cql::Cql;
use crate::support::lab::{self, Pair, is_direct};
use crate::support::ledger::{self, Ledger, Writers};
use crate::support::proxy::Proxy;

const LIMIT: Duration = Duration::from_secs(60);

/// A pair whose proxy can be killed and started again at the same place.
struct Mortal {
    pair: Pair,
    ip: Ipv4Addr,
    data_dir: PathBuf,
    lives: u32,
    flags: &'static [&'static str],
}

impl Mortal {
    fn new(name: &str, flags: &'static [&'static str]) -> Mortal {
        let pair = Pair::without_proxy(name, lab::source_41(), lab::durable_41());
        pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
        let ip = lab::proxy_address();
        let data_dir = crate::support::cassandra::run_dir().join(&pair.keyspace);
        let mut mortal = Mortal {
            pair,
            ip,
            data_dir,
            lives: 0,
            flags,
        };
        mortal.start();
        mortal
    }

    fn start(&mut self) {
        self.lives += 1;
        let name = format!("{}-{}", self.pair.keyspace, self.lives);
        let addresses = [self.pair.source.address, self.pair.target.address];
        let proxy = Proxy::start_with(&name, &self.data_dir, self.ip, addresses, self.flags, &[]);
        self.pair.proxy = Some(proxy);
    }

    /// SIGKILL, then at once the next life.
    fn kill_and_start(&mut self) {
        drop(self.pair.proxy.take()); // kills
        self.start();
    }

    /// Waits until the spill has all writes: what must not be repeated is in doubt before.
    fn settle_in_spill(&self) {
        seconds(1); // the number is as old as the shard's last tick
        let began = Instant::now();
        while self.metric("twinring_journal_records") > 0 {
            assert!(began.elapsed() < LIMIT, "not in the spill");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn status(&self) -> serde_json::Value {
        let proxy = self.pair.proxy.as_ref().unwrap();
        serde_json::from_str(&proxy.get("/status").1).unwrap()
    }

    fn total(&self, name: &str) -> u64 {
        self.status()["totals"][name].as_u64().unwrap()
    }

    /// The sum of a metric over the shards.
    fn metric(&self, name: &str) -> u64 {
        let text = self.pair.proxy.as_ref().unwrap().get("/metrics").1;
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// Waits until nothing of an earlier life is left to do.
    fn settle(&self) {
        let began = Instant::now();
        while self.total("unsettled") + self.total("backlog_records") > 0 {
            assert!(began.elapsed() < LIMIT, "not settled: {}", self.status());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Nothing differs, nothing is in doubt. `words`: what was written.
    fn assert_equal(&self, words: &str) {
        self.settle();
        let report = self.pair.compare(&[], LIMIT);
        eprintln!("{}: {words}; {report}", self.pair.keyspace);
        assert!(report.is_equal() && report.cells > 0, "{report}");
        for held in ["in_doubt_held", "rejected_held", "dirty_windows"] {
            assert_eq!(self.total(held), 0, "{held}");
        }
    }

    /// As [`Self::assert_equal`], and nothing is lost.
    fn assert_whole(&self, ledger: &Ledger) {
        self.assert_equal(&format!(
            "{} acknowledged, {} errors of {} broken connections' writes",
            ledger.acknowledged,
            ledger.errors.len(),
            ledger.unknown.len()
        ));
        for node in [self.pair.source, self.pair.target] {
            let wrong = ledger.check(node, &self.pair.keyspace);
            assert_eq!(wrong, (0, vec![]), "at {}", node.address);
        }
        let only_broken = |words: &&String| !words.contains("onnection");
        let other: Vec<_> = ledger.errors.iter().filter(only_broken).take(5).collect();
        assert!(other.is_empty(), "{other:#?}");
    }
}

/// Writers on 64 connections, together at as many writes a second as `TWINRING_IT_RATE` says: by
/// default what a machine of two cores keeps up with beside two nodes of Cassandra.
fn crowd(pair: &Pair) -> Writers {
    const CONNECTIONS: i32 = 64;
    let rate = std::env::var("TWINRING_IT_RATE").map_or(1_600, |rate| rate.parse().unwrap());
    let each = (rate / CONNECTIONS.cast_unsigned()).max(1);
    Writers::start_stubborn(pair.contact(), &pair.keyspace, CONNECTIONS, each)
}

fn seconds(count: u64) {
    std::thread::sleep(Duration::from_secs(count));
}

#[test]
fn killed_twice_under_load() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash", &[]);
    let writers = crowd(&mortal.pair);
    seconds(3);
    mortal.kill_and_start();
    // the second time while the first is being settled
    mortal.kill_and_start();
    seconds(3);
    mortal.kill_and_start();
    seconds(2);
    let ledger = writers.finish();
    assert!(ledger.acknowledged > 1_000, "{}", ledger.acknowledged);
    mortal.assert_whole(&ledger);
    // a stop in order leaves nothing behind
    let data_dir = mortal.data_dir.clone();
    let (status, words) = mortal.pair.proxy.take().unwrap().terminate(LIMIT);
    assert!(status.success(), "{words}");
    assert!(!data_dir.join("running").exists(), "{words}");
}

#[test]
fn killed_while_the_target_is_down_and_while_it_catches_up() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash_down", &[]);
    let writers = crowd(&mortal.pair);
    seconds(2);
    let outage = mortal.pair.target.kill9();
    seconds(2);
    mortal.kill_and_start();
    seconds(4);
    mortal.kill_and_start();
    seconds(1);
    outage.end();
    // into the drain
    mortal.kill_and_start();
    seconds(1);
    mortal.kill_and_start();
    seconds(2);
    let ledger = writers.finish();
    mortal.assert_whole(&ledger);
}

/// What only the source's rows tell, conditional writes and those to lists, is read back: none of
/// it is in doubt, whoever dies.
#[test]
fn killed_amid_conditional_writes_and_lists() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash_lists", &[]);
    let keyspace = mortal.pair.keyspace.clone();
    for table in [
        "conditional (p int PRIMARY KEY, a int)",
        "lists (p int PRIMARY KEY, l list<int>)",
    ] {
        mortal
            .pair
            .run_at_both(&format!("CREATE TABLE {keyspace}.{table}"));
    }
    let (contact, stop) = (mortal.pair.contact(), AtomicBool::new(false));
    let written: u32 = std::thread::scope(|scope| {
        let scribblers: Vec<_> = (0..6)
            .map(|number| {
                let (keyspace, stop) = (&keyspace, &stop);
                scope.spawn(move || scribble(contact, keyspace, number, stop))
            })
            .collect();
        seconds(3);
        mortal.kill_and_start();
        mortal.kill_and_start();
        seconds(3);
        let outage = mortal.pair.target.kill9();
        seconds(2);
        mortal.kill_and_start();
        outage.end();
        seconds(3);
        stop.store(true, Ordering::Relaxed);
        let ended = scribblers.into_iter().map(|one| one.join().unwrap());
        ended.sum()
    });
    assert!(written > 300, "{written}");
    mortal.assert_equal(&format!("{written} acknowledged"));
}

/// Writes conditionally, and to lists, until told to stop; gives how often it was acknowledged.
fn scribble(contact: SocketAddr, keyspace: &str, number: i32, stop: &AtomicBool) -> u32 {
    let (mut line, mut written) = (None, 0);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        let p = number * 100 + n / 4 % 20;
        let text = match n % 4 {
            0 => {
                format!("INSERT INTO {keyspace}.conditional (p, a) VALUES ({p}, {n}) IF NOT EXISTS")
            }
            1 => format!("UPDATE {keyspace}.conditional SET a = {n} WHERE p = {p} IF EXISTS"),
            2 => format!("UPDATE {keyspace}.lists SET l = l + [{n}] WHERE p = {p}"),
            _ => format!("UPDATE {keyspace}.lists SET l = [{n}] + l WHERE p = {p}"),
        };
        line = line.or_else(|| Cql::connect(contact).ok());
        match line.as_mut().map(|line| line.query(&text)) {
            Some(Ok(_)) => written += 1,
            _ => line = None, // its connection is broken: what became of the write is not known
        }
    }
    written
}

/// Lists, and deletes of counters, keep their order over the spill when each life has another
/// number of cores: the owner of a table is then another shard than the one that spilled it.
#[test]
fn another_number_of_cores_with_lists_in_the_spill() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash_cores", &["--cores", "2"]);
    let keyspace = mortal.pair.keyspace.clone();
    // several, so that most of them change their owner
    let tables: Vec<_> = (0..8)
        .map(|n| (format!("{keyspace}.l{n}"), format!("{keyspace}.c{n}")))
        .collect();
    for (lists, counters) in &tables {
        let lists = format!("CREATE TABLE {lists} (p int PRIMARY KEY, l list<int>)");
        let counters = format!("CREATE TABLE {counters} (p int PRIMARY KEY, n counter)");
        mortal.pair.run_at_both(&lists);
        mortal.pair.run_at_both(&counters);
    }
    let outage = mortal.pair.target.kill9();
    let write = |mortal: &Mortal, life: i32| {
        let mut line = Cql::connect(mortal.pair.contact()).unwrap();
        for (lists, counters) in &tables {
            for p in 0..10 {
                // what an earlier life has put there goes, and something new comes
                let (old, new) = (life - 1, life);
                for text in [
                    format!("UPDATE {lists} SET l = l + [{new}, {new}] WHERE p = {p}"),
                    format!("UPDATE {lists} SET l = l - [{old}] WHERE p = {p}"),
                    format!("UPDATE {lists} SET l = [{}] + l WHERE p = {p}", 100 + new),
                    format!("UPDATE {lists} SET l[0] = {} WHERE p = {p}", 200 + new),
                    format!("DELETE FROM {counters} WHERE p = {}", 10 * old + p),
                    format!("UPDATE {counters} SET n = n + 5 WHERE p = {}", 10 * new + p),
                ] {
                    line.query(&text).unwrap();
                }
            }
        }
    };
    write(&mortal, 1);
    mortal.settle_in_spill();
    mortal.flags = &["--cores", "1"];
    mortal.kill_and_start();
    write(&mortal, 2);
    mortal.settle_in_spill();
    mortal.flags = &["--cores", "2"];
    mortal.kill_and_start();
    write(&mortal, 3);
    let (status, words) = mortal.pair.proxy.take().unwrap().terminate(LIMIT);
    assert!(status.success(), "{words}");
    mortal.start();
    write(&mortal, 4);
    outage.end();
    write(&mortal, 5);
    mortal.assert_equal("five lives");
}

/// With the journal on a disk, where each answer waits for it.
#[test]
fn killed_twice_with_the_journal_on_a_disk() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash_disk", &["--durability", "machine"]);
    let writers = Writers::start_stubborn(mortal.pair.contact(), &mortal.pair.keyspace, 8, 50);
    seconds(3);
    let commits = mortal.metric("twinring_journal_commits_total");
    assert!(commits > 100, "{commits}");
    mortal.kill_and_start();
    mortal.kill_and_start();
    seconds(2);
    let outage = mortal.pair.target.kill9();
    seconds(2);
    mortal.kill_and_start();
    outage.end();
    seconds(2);
    let ledger = writers.finish();
    assert!(ledger.acknowledged > 500, "{}", ledger.acknowledged);
    mortal.assert_whole(&ledger);
    assert_eq!(mortal.metric("twinring_journal_failed"), 0);
    let files = std::fs::read_dir(mortal.data_dir.join("journal")).unwrap();
    assert!(files.count() > 1, "it is not on the disk");
}

/// Without a journal the same is at least said: the time in which writes may be missing.
#[test]
fn killed_without_a_journal_leaves_a_window() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to kill
    }
    let mut mortal = Mortal::new("crash_none", &["--durability", "none"]);
    let writers = Writers::start_stubborn(mortal.pair.contact(), &mortal.pair.keyspace, 4, 50);
    seconds(2);
    mortal.kill_and_start();
    seconds(1);
    writers.finish();
    assert_eq!(mortal.total("dirty_windows"), 1);
    let windows = std::fs::read_to_string(mortal.data_dir.join("dirty-windows")).unwrap();
    assert!(windows.contains(" * * machine-crash "), "{windows}");
    assert_eq!(mortal.status()["cutover"]["safe"], false);
}
