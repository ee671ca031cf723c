//! The statement matrix with real drivers, default discovery, then both clusters cell by cell.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::support::cassandra::{Cassandra, setup, tests_dir};
use crate::support::compare::{Depth, Place, compare};
use crate::support::lab::{self, Pair};

/// Tables whose content may differ: conditional writes, and values that the cluster makes.
const SKIPPED: &[&str] = &["lwt_", "gen_"];

/// One way to run a suite. Zero or empty: the driver's own default.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    protocol: u8,
    lz4: bool,
    /// The driver sends no timestamps.
    unstamped: bool,
    vector: bool,
}

fn drivers_dir() -> PathBuf {
    tests_dir().join("it/drivers")
}

fn run(mut command: Command, contact: SocketAddr, pair: &Pair, keyspace: &str, way: Way) {
    let flag = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
    command.env("TWINRING_CONTACT", contact.to_string());
    command.env("TWINRING_DIRECT", pair.source.address.to_string());
    command.env("TWINRING_KEYSPACE", keyspace);
    command.env("TWINRING_COMPRESSION", flag(way.lz4, "lz4", "none"));
    command.env("TWINRING_STAMPS", flag(way.unstamped, "server", "client"));
    command.env("TWINRING_VECTOR", flag(way.vector, "1", "0"));
    command.env("TWINRING_PROTOCOL", way.protocol.to_string());
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = String::from_utf8_lossy(&output.stdout);
    let bad: Vec<_> = words
        .lines()
        .filter(|line| !line.contains(r#""ok": true"#))
        .collect();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && words.contains(r#""suite""#),
        "{keyspace} {way:?}: {}\n{}\n{}",
        output.status,
        bad.join("\n").replace("\\n", "\n    "),
        trouble
            .lines()
            .rev()
            .take(30)
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

/// Runs a suite through the proxy and compares the clusters; then directly at the source, and
/// compares what the two runs left there.
fn matrix(suite: fn() -> Command, name: &str, nodes: [fn() -> &'static Cassandra; 2], way: Way) {
    let _turn = lab::beside_others();
    setup();
    let pair = Pair::new(name, nodes[0](), nodes[1]());
    run(suite(), pair.contact(), &pair, &pair.keyspace, way);
    pair.assert_equal(SKIPPED);
    let plain = format!("{}_plain", pair.keyspace);
    lab::create_keyspace(pair.source, &plain);
    run(suite(), pair.source.address, &pair, &plain, way);
    let (mut left, mut right) = (pair.source.connect(), pair.source.connect());
    let report = compare(
        &mut Place {
            cql: &mut left,
            keyspace: &plain,
        },
        &mut Place {
            cql: &mut right,
            keyspace: &pair.keyspace,
        },
        Depth::Values,
        &["gen_"],
    )
    .unwrap();
    assert!(report.is_equal() && report.cells > 0, "{plain}: {report}");
}

fn python() -> Command {
    let dir = drivers_dir().join("python");
    let mut command = Command::new(dir.join("run"));
    command.arg("suite.py");
    command
}

#[test]
fn python_from_41_to_50() {
    matrix(
        python,
        "python",
        [lab::source_41, lab::target_50],
        Way::default(),
    );
}

#[test]
fn python_unstamped_from_41_to_50() {
    let way = Way {
        protocol: 4,
        lz4: true,
        unstamped: true,
        ..Way::default()
    };
    matrix(
        python,
        "python_unstamped",
        [lab::source_41, lab::target_50],
        way,
    );
}

#[test]
fn python_v3_from_41_to_41() {
    let way = Way {
        protocol: 3,
        unstamped: true,
        ..Way::default()
    };
    matrix(python, "python_v3", [lab::source_41, lab::durable_41], way);
}

#[test]
fn python_from_50_to_50() {
    let way = Way {
        unstamped: true,
        vector: true,
        ..Way::default()
    };
    matrix(python, "python_50", [lab::source_50, lab::target_50], way);
}
