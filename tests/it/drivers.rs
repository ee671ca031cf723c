//! The statement matrix with real drivers, default discovery, then both clusters cell by cell.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::support::cassandra::{Cassandra, setup, tests_dir};
use crate::support::compare::{Depth, Place, compare};
use crate::support::lab::{self, Pair};

/// Tables whose content may differ: none.
const SKIPPED: &[&str] = &[];

/// What marks the line of a step that passed.
const OK: &str = r#""ok": true"#;

/// One way to run a suite. Zero or empty: the driver's own default.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    protocol: u8,
    compression: &'static str,
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
    command.env("TWINRING_COMPRESSION", way.compression);
    command.env("TWINRING_STAMPS", flag(way.unstamped, "server", "client"));
    command.env("TWINRING_VECTOR", flag(way.vector, "1", "0"));
    command.env("TWINRING_PROTOCOL", way.protocol.to_string());
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = String::from_utf8_lossy(&output.stdout);
    let bad: Vec<_> = words.lines().filter(|line| !line.contains(OK)).collect();
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

/// A driver's suite, as `tests/it/drivers/NAME/run` starts it.
fn suite(driver: &str) -> Command {
    let mut command = Command::new(drivers_dir().join(driver).join("run"));
    command.env("TWINRING_DRIVERS", drivers_dir());
    command
}

/// Runs a suite through the proxy and compares the clusters.
fn mirrored(driver: &str, nodes: [fn() -> &'static Cassandra; 2], way: Way) -> Pair {
    setup();
    let pair = Pair::new(driver, nodes[0](), nodes[1]());
    run(suite(driver), pair.contact(), &pair, &pair.keyspace, way);
    pair.assert_equal(SKIPPED);
    pair
}

/// As `mirrored`; then the suite directly at the source: the values must be the same, so the
/// proxy has not changed what the client wrote.
fn mirrored_and_unchanged(driver: &str, nodes: [fn() -> &'static Cassandra; 2], way: Way) {
    let pair = mirrored(driver, nodes, way);
    let plain = format!("{}_plain", pair.keyspace);
    lab::create_keyspace(pair.source, &plain);
    run(suite(driver), pair.source.address, &pair, &plain, way);
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

const FROM_41_TO_50: [fn() -> &'static Cassandra; 2] = [lab::source_41, lab::target_50];
const FROM_41_TO_41: [fn() -> &'static Cassandra; 2] = [lab::source_41, lab::durable_41];
const FROM_50_TO_50: [fn() -> &'static Cassandra; 2] = [lab::source_50, lab::target_50];
const UNSTAMPED_V4_LZ4: Way = Way {
    protocol: 4,
    compression: "lz4",
    unstamped: true,
    vector: false,
};
const UNSTAMPED_V3: Way = Way {
    protocol: 3,
    compression: "",
    unstamped: true,
    vector: false,
};

const UNSTAMPED_V5: Way = Way {
    protocol: 5,
    compression: "",
    unstamped: true,
    vector: false,
};
const UNSTAMPED_V5_LZ4: Way = Way {
    compression: "lz4",
    ..UNSTAMPED_V5
};

#[test]
fn python() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("python", FROM_41_TO_50, Way::default());
}

#[test]
fn python_unstamped_v4_lz4() {
    let _turn = lab::beside_others();
    mirrored("python", FROM_41_TO_50, UNSTAMPED_V4_LZ4);
}

#[test]
fn python_unstamped_v5() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("python", FROM_41_TO_50, UNSTAMPED_V5);
}

#[test]
fn python_unstamped_v5_lz4() {
    let _turn = lab::beside_others();
    mirrored("python", FROM_41_TO_50, UNSTAMPED_V5_LZ4);
}

#[test]
fn python_unstamped_v3_to_41() {
    let _turn = lab::beside_others();
    mirrored("python", FROM_41_TO_41, UNSTAMPED_V3);
}

/// Between two 5.0 nodes the elements of collections have WRITETIME and TTL too.
#[test]
fn python_unstamped_from_50_to_50() {
    let _turn = lab::beside_others();
    mirrored(
        "python",
        FROM_50_TO_50,
        Way {
            unstamped: true,
            vector: true,
            ..Way::default()
        },
    );
}

#[test]
fn go() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("go", FROM_41_TO_50, Way::default());
}

#[test]
fn go_unstamped_v4_lz4_to_41() {
    let _turn = lab::beside_others();
    mirrored("go", FROM_41_TO_41, UNSTAMPED_V4_LZ4);
}

#[test]
fn java() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("java", FROM_41_TO_50, Way::default());
}

#[test]
fn java_unstamped_v4_lz4() {
    let _turn = lab::beside_others();
    mirrored("java", FROM_41_TO_50, UNSTAMPED_V4_LZ4);
}

#[test]
fn java_unstamped_v5_lz4() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("java", FROM_41_TO_50, UNSTAMPED_V5_LZ4);
}

#[test]
fn java_unstamped_v3_snappy_to_41() {
    let _turn = lab::beside_others();
    let compression = "snappy";
    let way = Way {
        compression,
        ..UNSTAMPED_V3
    };
    mirrored("java", FROM_41_TO_41, way);
}

#[test]
fn node() {
    let _turn = lab::beside_others();
    mirrored_and_unchanged("node", FROM_41_TO_50, Way::default());
}

#[test]
fn node_unstamped_v3_to_41() {
    let _turn = lab::beside_others();
    mirrored("node", FROM_41_TO_41, UNSTAMPED_V3);
}
