//! A broken target: the client notices nothing, and afterwards nothing is missing.

use std::time::Duration;

use crate::support::lab::{self, Pair, is_direct};
use crate::support::ledger::{self, Ledger, Writers};
use crate::support::proxy::{self, Proxy};

const CONNECTIONS: i32 = 8;
const WRITES_PER_SECOND_EACH: u32 = 50;
/// How long after the target is back the clusters may take to be equal.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);
/// How long the proxy may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

fn pair_with_ledger(name: &str) -> Pair {
    let pair = Pair::new(name, lab::source_41(), lab::durable_41());
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    pair
}

fn start_writers(pair: &Pair) -> Writers {
    Writers::start(
        pair.contact(),
        &pair.keyspace,
        CONNECTIONS,
        WRITES_PER_SECOND_EACH,
    )
}

fn seconds(count: u64) {
    std::thread::sleep(Duration::from_secs(count));
}

/// Both clusters equal, and both hold what the clients were told.
fn assert_nothing_lost(pair: &Pair, ledger: &Ledger) {
    let report = pair.compare(&[], CATCH_UP_LIMIT);
    eprintln!(
        "{}: {} writes, slowest {:?}; {report}",
        pair.keyspace, ledger.acknowledged, ledger.slowest
    );
    assert!(report.is_equal() && report.cells > 0, "{report}");
    let target = if is_direct() {
        pair.source
    } else {
        pair.target
    };
    for node in [pair.source, target] {
        assert_eq!(
            ledger.check(node, &pair.keyspace),
            (0, vec![]),
            "at {}",
            node.address
        );
    }
}

fn assert_no_errors(ledger: &Ledger) {
    let shown = &ledger.errors[..ledger.errors.len().min(5)];
    assert!(
        ledger.errors.is_empty(),
        "{} client errors: {shown:#?}",
        ledger.errors.len()
    );
}

#[test]
fn target_killed_for_ten_seconds() {
    let _turn = lab::alone();
    let pair = pair_with_ledger("killed");
    let writers = start_writers(&pair);
    seconds(3);
    let outage = pair.target.kill9();
    seconds(10);
    outage.end();
    seconds(3);
    let ledger = writers.finish();
    assert_no_errors(&ledger);
    assert!(
        ledger.acknowledged > 4000,
        "only {} writes in 16 s",
        ledger.acknowledged
    );
    assert_nothing_lost(&pair, &ledger);
}

/// A target that hangs keeps its sockets open: nothing says that it is broken.
#[test]
fn target_stopped_for_five_seconds() {
    let _turn = lab::alone();
    let pair = pair_with_ledger("stopped");
    let writers = start_writers(&pair);
    seconds(2);
    let outage = pair.target.pause();
    seconds(5);
    outage.end();
    seconds(2);
    let ledger = writers.finish();
    assert_no_errors(&ledger);
    let slowest = ledger.slowest;
    assert!(
        slowest < Duration::from_secs(4),
        "a client waited {slowest:?} for the target"
    );
    assert_nothing_lost(&pair, &ledger);
}

/// A target that is not there when the proxy starts is no reason not to start.
#[test]
fn target_away_from_the_beginning() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to start
    }
    let mut pair = pair_with_ledger("away");
    pair.proxy = None;
    let outage = pair.target.kill9();
    pair.proxy = Some(Proxy::start(
        "away",
        lab::proxy_address(),
        pair.source,
        pair.target,
    ));
    let writers = start_writers(&pair);
    seconds(3);
    outage.end();
    let ledger = writers.finish();
    assert_no_errors(&ledger);
    assert_nothing_lost(&pair, &ledger);
}

/// SIGTERM under load: exit 0 in time. What was acknowledged is at the target, or in the spill
/// that the next start drains.
#[test]
fn graceful_stop_under_load() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no proxy to stop
    }
    let mut pair = pair_with_ledger("graceful");
    let proxy = pair.proxy.take().unwrap();
    let writers = Writers::start(
        proxy.listen,
        &pair.keyspace,
        CONNECTIONS,
        WRITES_PER_SECOND_EACH,
    );
    seconds(3);
    let data_dir = proxy.data_dir.clone();
    let (status, words) = proxy.terminate(STOP_LIMIT);
    assert!(status.success(), "{status}:\n{words}");
    let ledger = writers.finish();
    assert!(ledger.acknowledged > 500, "{}", ledger.acknowledged);
    let address = lab::proxy_address();
    pair.proxy = Some(Proxy::start_on(
        "graceful-2",
        &data_dir,
        address,
        pair.source,
        pair.target,
    ));
    assert_nothing_lost(&pair, &ledger);
}

/// Stopped while the target is away: the spill on disk holds all, and `twinring replay` brings it
/// to the target without the proxy.
#[test]
fn spill_is_replayed_offline() {
    let _turn = lab::alone();
    if is_direct() {
        return; // there is no spill without a proxy
    }
    let mut pair = pair_with_ledger("offline");
    let proxy = pair.proxy.take().unwrap();
    let writers = Writers::start(
        proxy.listen,
        &pair.keyspace,
        CONNECTIONS,
        WRITES_PER_SECOND_EACH,
    );
    seconds(1);
    let outage = pair.target.kill9();
    seconds(3);
    let data_dir = proxy.data_dir.clone();
    let (status, words) = proxy.terminate(STOP_LIMIT);
    assert!(status.success(), "{status}:\n{words}");
    let ledger = writers.finish();
    outage.end();
    let report = pair.compare(&[], Duration::ZERO);
    assert!(!report.is_equal(), "nothing was left to replay");
    let output = proxy::replay(&data_dir, pair.target);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    assert_nothing_lost(&pair, &ledger);
}
