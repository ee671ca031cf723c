//! Many connections, and prepared statements across them.

use std::process::Command;
use std::time::Duration;

use crate::support::cql::Cql;
use crate::support::lab::{self, Pair, wait_until};
use crate::support::ledger::{self, Writers};

const IDLE_CONNECTIONS: u64 = 1000;
const IDLE_LIMIT_KIB: u64 = 16;

fn pair_with_ledger(name: &str) -> Pair {
    let pair = Pair::new(name, lab::source_41(), lab::target_50());
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    pair
}

/// An id from one connection is good on 200 others at once, on every shard, under load.
#[test]
fn prepared_on_one_connection_works_on_200() {
    let _turn = lab::alone();
    let pair = pair_with_ledger("prepared");
    let table = format!("{}.many", pair.keyspace);
    pair.run_at_both(&format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, round int, v text)"
    ));
    let writers = Writers::start(pair.contact(), &pair.keyspace, 4, 50);
    let mut others: Vec<_> = (0..200)
        .map(|_| Cql::connect(pair.contact()).unwrap())
        .collect();
    let mut first = Cql::connect(pair.contact()).unwrap();
    let int = |value: usize| Some(i32::try_from(value).unwrap().to_be_bytes().to_vec());
    for round in 0..5 {
        let text = format!("INSERT INTO {table} (id, round, v) VALUES (?, {round}, ?)");
        let id = first.prepare(&text).unwrap();
        for (n, other) in others.iter_mut().enumerate() {
            let cells = [int(n), Some(format!("round {round}").into_bytes())];
            other
                .execute(&id, &cells)
                .unwrap_or_else(|e| panic!("connection {n}: {e}"));
        }
    }
    let ledger = writers.finish();
    assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    let rows = pair
        .source
        .connect()
        .query(&format!("SELECT id FROM {table}"))
        .unwrap();
    assert_eq!(rows.len(), 200);
    pair.assert_equal(&[]);
}

/// What an idle client costs the proxy, and that idle clients are still served afterwards.
#[test]
fn idle_connections_are_cheap() {
    let _turn = lab::alone();
    // Two descriptors for each, and the usual soft limit is 1,024.
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--nofile=8192:", "--pid", &pid])
        .status();
    assert!(raised.unwrap().success());
    let pair = Pair::new("idle", lab::source_41(), lab::target_50());
    let Some(proxy) = pair.proxy.as_ref() else {
        return;
    };
    drop(Cql::connect(proxy.listen).unwrap());
    let before_kib = proxy.rss_kib();
    let mut clients: Vec<_> = (0..IDLE_CONNECTIONS)
        .map(|_| Cql::connect(proxy.listen).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let grown_kib = proxy.rss_kib().saturating_sub(before_kib);
    eprintln!("{IDLE_CONNECTIONS} idle connections: {grown_kib} KiB");
    assert!(
        grown_kib <= IDLE_LIMIT_KIB * IDLE_CONNECTIONS,
        "{grown_kib} KiB"
    );
    for client in &mut clients {
        client.options().unwrap();
    }
}

/// Health answers, and every line of the metrics is one that Prometheus can read.
#[test]
fn health_and_metrics_answer() {
    let _turn = lab::beside_others();
    let pair = pair_with_ledger("metrics");
    let Some(proxy) = pair.proxy.as_ref() else {
        return;
    };
    let writers = Writers::start(proxy.listen, &pair.keyspace, 2, 50);
    std::thread::sleep(Duration::from_secs(1));
    for path in ["/healthz", "/readyz"] {
        let (status, body) = proxy.get(path);
        assert_eq!(status, 200, "{path}: {body}");
    }
    let (status, body) = proxy.get("/metrics");
    assert_eq!(status, 200);
    let mut samples = 0;
    for line in body
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("twinring_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(samples > 10, "only {samples} samples:\n{body}");
    assert!(writers.finish().errors.is_empty());
    pair.assert_equal(&[]);
}

/// The operator of a cluster sees whose the proxy's own connections are.
#[test]
fn own_connections_have_a_name() {
    let _turn = lab::beside_others();
    let pair = pair_with_ledger("named");
    if pair.proxy.is_none() {
        return;
    }
    let writers = Writers::start(pair.contact(), &pair.keyspace, 2, 50);
    for node in [pair.source, pair.target] {
        wait_until("twinring is among the clients", || {
            let text = "SELECT driver_name FROM system_views.clients";
            let names = node.connect().query(text).unwrap();
            let own = Some(&b"twinring"[..]);
            names.iter().any(|row| row[0].as_deref() == own)
        });
    }
    assert!(writers.finish().errors.is_empty());
    pair.assert_equal(&[]);
}
