//! Targets and sources that are slow, silent, cut off or gone, at higher rates than `faults`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::cql::Cql;
use crate::support::lab::{self, Pair, is_direct};
use crate::support::ledger::{self, Ledger, Writers};
use crate::support::proxy::{self, Proxy};
use crate::support::wire::Wire;

/// Clients that no fault of the target may reach wait for the source alone; a machine that is busy
/// with the tests themselves needs some room.
const SLOWEST: Duration = Duration::from_secs(4);
/// How long the clusters may take to be equal, once the fault is over.
const CATCH_UP: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A keyspace with the ledger's table at both, and a proxy that reaches the target by a wire.
struct Bench {
    pair: Pair,
    wire: Wire,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let (source, target) = (lab::source_41(), lab::durable_41());
        let mut pair = Pair::without_proxy(name, source, target);
        pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
        let wire = Wire::start(lab::proxy_address(), target.address);
        pair.proxy = (!is_direct()).then(|| start(&pair, [source.address, wire.address], &[], &[]));
        Bench { pair, wire }
    }

    fn writers(&self, connections: i32, per_second: u32) -> Writers {
        let (contact, keyspace) = (self.pair.contact(), &self.pair.keyspace);
        Writers::start(contact, keyspace, connections, per_second)
    }
}

fn start(pair: &Pair, ends: [SocketAddr; 2], flags: &[&str], variables: &[(&str, &str)]) -> Proxy {
    let name = &pair.keyspace;
    let data_dir = crate::support::cassandra::run_dir().join(name);
    let address = lab::proxy_address();
    Proxy::start_with(name, &data_dir, address, ends, flags, variables)
}

fn rest(time: Duration) {
    std::thread::sleep(time);
}

fn seconds(count: u64) {
    rest(Duration::from_secs(count));
}

/// The clients have noticed nothing.
fn assert_unharmed(ledger: &Ledger, at_least: usize) {
    let errors = &ledger.errors;
    let shown = &errors[..errors.len().min(5)];
    assert!(errors.is_empty(), "{} errors: {shown:#?}", errors.len());
    let (slowest, count) = (ledger.slowest, ledger.acknowledged);
    assert!(slowest < SLOWEST, "a client waited {slowest:?}");
    assert!(count >= at_least, "only {count} writes");
}

/// Both clusters are equal, and hold what the clients were told.
fn assert_settled(pair: &Pair, ledger: &Ledger) {
    let report = pair.compare(&[], CATCH_UP);
    eprintln!(
        "{}: {} writes, {} of unknown fate, {} errors, slowest {:?}; {report}",
        pair.keyspace,
        ledger.acknowledged,
        ledger.unknown.len(),
        ledger.errors.len(),
        ledger.slowest
    );
    assert!(report.is_equal() && report.cells > 0, "{report}");
    for node in [
        pair.source,
        if is_direct() {
            pair.source
        } else {
            pair.target
        },
    ] {
        let wrong = ledger.check(node, &pair.keyspace);
        assert_eq!(wrong, (0, vec![]), "at {}", node.address);
    }
}

/// A target that hangs for longer than every timeout, with its sockets open.
#[test]
fn target_stopped_for_fifteen_seconds_under_thousands_of_writes() {
    let _turn = lab::alone();
    let bench = Bench::new("hang");
    let writers = bench.writers(64, 40);
    seconds(2);
    let outage = bench.pair.target.pause();
    seconds(15);
    outage.end();
    seconds(2);
    let ledger = writers.finish();
    assert_unharmed(&ledger, 5_000);
    assert_settled(&bench.pair, &ledger);
}

#[test]
fn target_answers_after_four_hundred_milliseconds() {
    let _turn = lab::alone();
    let bench = Bench::new("slow");
    let writers = bench.writers(16, 60);
    seconds(1);
    bench.wire.delay(Duration::from_millis(200));
    seconds(10);
    bench.wire.delay(Duration::ZERO);
    seconds(1);
    let ledger = writers.finish();
    assert_unharmed(&ledger, 3_000);
    assert_settled(&bench.pair, &ledger);
}

/// Resets in the middle of requests and answers: what was on its way is sent again.
#[test]
fn connections_to_the_target_are_reset_again_and_again() {
    let _turn = lab::alone();
    let bench = Bench::new("reset");
    let writers = bench.writers(16, 60);
    seconds(1);
    let mut cut = 0;
    for round in 0..20 {
        cut += bench.wire.reset();
        rest(Duration::from_millis(200 + 40 * round));
    }
    seconds(1);
    let ledger = writers.finish();
    assert!(is_direct() || cut >= 5, "only {cut} connections were cut");
    assert_unharmed(&ledger, 3_000);
    assert_settled(&bench.pair, &ledger);
}

/// A wire that swallows bytes without an end: no reset, no FIN.
#[test]
fn the_way_to_the_target_is_silent_for_fifteen_seconds() {
    let _turn = lab::alone();
    let bench = Bench::new("silent");
    let writers = bench.writers(16, 60);
    seconds(1);
    bench.wire.silent(true);
    seconds(15);
    bench.wire.silent(false);
    seconds(1);
    let ledger = writers.finish();
    assert_unharmed(&ledger, 5_000);
    assert_settled(&bench.pair, &ledger);
}

/// The table is made at the target when the writes have begun already: they are kept as rejected,
/// and brought there when the operator says so.
#[test]
fn a_table_that_the_target_gets_late() {
    let _turn = lab::alone();
    if is_direct() {
        return; // nothing is rejected without a proxy
    }
    let (source, target) = (lab::source_41(), lab::durable_41());
    let mut pair = Pair::without_proxy("late", source, target);
    let table = format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE);
    source.connect().query(&table).unwrap();
    let proxy = start(&pair, [source.address, target.address], &[], &[]);
    let writers = Writers::start(proxy.listen, &pair.keyspace, 8, 50);
    seconds(3);
    target.connect().query(&table).unwrap();
    seconds(2);
    let ledger = writers.finish();
    assert_unharmed(&ledger, 500);
    let data_dir = proxy.data_dir.clone();
    let (status, words) = proxy.terminate(STOP_LIMIT);
    assert!(status.success(), "{status}:\n{words}");
    let named = words.matches("the target refused a write").count();
    assert_eq!(named, 1, "a table is named once, not each write:\n{words}");
    let report = pair.compare(&[], Duration::ZERO);
    assert!(!report.is_equal(), "nothing was rejected");
    let output = proxy::replay_with(&data_dir, pair.target, &["--include-rejected"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    pair.proxy = None;
    assert_settled(&pair, &ledger);
}

/// Writes whose answer the source took to its grave are sent to it again, with their stamp, and
/// then mirrored: both clusters end equal.
#[test]
fn source_killed_and_started_again_under_load() {
    let _turn = lab::alone();
    let (source, target) = (lab::durable_41(), lab::target_50());
    let mut pair = Pair::without_proxy("source", source, target);
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    pair.proxy = (!is_direct()).then(|| start(&pair, [source.address, target.address], &[], &[]));
    let writers = Writers::start_stubborn(pair.contact(), &pair.keyspace, 32, 40);
    seconds(3);
    let outage = source.kill9();
    seconds(3);
    outage.end();
    seconds(5);
    let ledger = writers.finish();
    assert!(ledger.acknowledged > 2_000, "{}", ledger.acknowledged);
    assert_settled(&pair, &ledger);
}

/// The clock is set an hour ahead and back again: no stamp goes back, no connection ends, nothing
/// is lost, and what expires does so by the clocks of the nodes.
#[test]
fn the_clock_steps_an_hour_and_back() {
    let _turn = lab::alone();
    if is_direct() {
        return; // the clock is the proxy's
    }
    let Some(library) = proxy::faketime() else {
        panic!("libfaketime is missing: tests/cassandra/setup --drivers installs it");
    };
    let (source, target) = (lab::source_41(), lab::durable_41());
    let mut pair = Pair::without_proxy("clock", source, target);
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    let brief = format!("{}.brief", pair.keyspace);
    pair.run_at_both(&format!("CREATE TABLE {brief} (k int PRIMARY KEY, v int)"));
    let offset = crate::support::cassandra::run_dir().join("clock-offset");
    let set = |words: &str| std::fs::write(&offset, words).unwrap();
    set("+0");
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let ends = [source.address, target.address];
    let idle = ["--tcp-idle-time-out", "30"];
    pair.proxy = Some(start(&pair, ends, &idle, &variables));
    let writers = Writers::start(pair.contact(), &pair.keyspace, 8, 50);
    let mut cql = Cql::connect(pair.contact()).unwrap();
    let mut expiring = |from: i32| {
        for k in from..from + 20 {
            let values = format!("(k, v) VALUES ({k}, {k}) USING TTL 9000");
            cql.query(&format!("INSERT INTO {brief} {values}")).unwrap();
        }
    };
    seconds(3);
    expiring(0);
    set("+3600");
    seconds(4);
    expiring(20);
    set("+0");
    seconds(4);
    expiring(40);
    let ledger = writers.finish();
    let words = pair.proxy.as_ref().map(Proxy::words).unwrap_or_default();
    assert!(words.contains("the clock was set back"), "{words}");
    assert_unharmed(&ledger, 2_000);
    assert_settled(&pair, &ledger);
    let lost = words.lines().filter(|line| line.contains("no answer for"));
    assert_eq!(lost.count(), 0, "links were taken for dead:\n{words}");
}
