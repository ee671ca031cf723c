//! `twinring copy` and `twinring verify` over many rows, as processes whose memory is watched.
//!
//! Small by default. At size, with what it measured printed:
//! `TWINRING_COPY_ROWS=1000000 cargo test --release --test it at_size -- --nocapture`

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::copy::Copying;
use super::support::bulk::{self, Live};
use super::support::compare::{self, Place};
use super::support::proxy::Proxy;
use super::support::{lab, now_us};

/// What copy and verify may hold, whatever the number of rows.
const MEMORY_KIB: u64 = 256 << 10;
/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Rows that the tests' own comparison looks at, about; it holds them in memory.
const SAMPLE_ROWS: i32 = 60_000;

fn rows() -> i32 {
    let said = std::env::var("TWINRING_COPY_ROWS").ok();
    said.map_or(4000, |text| text.parse().expect("a number of rows"))
}

/// How a process ended: exit code and its JSON.
struct Ended {
    code: i32,
    json: Value,
}

impl Ended {
    /// Waits, and looks at the most memory that it held.
    fn wait(what: &str, child: Child) -> Ended {
        let status = format!("/proc/{}/status", child.id());
        let gauge = std::thread::spawn(move || {
            let mut peak_kib = 0;
            // A process that has ended tells it no more.
            while let Some(kib) = peak_of(&status) {
                peak_kib = kib;
                std::thread::sleep(Duration::from_millis(10));
            }
            peak_kib
        });
        let output = child.wait_with_output().unwrap();
        let peak_kib = gauge.join().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        eprintln!("{what}: {peak_kib} KiB at most, {json}");
        assert!(
            0 < peak_kib && peak_kib <= MEMORY_KIB,
            "{what}: {peak_kib} KiB"
        );
        Ended {
            code: output.status.code().unwrap(),
            json,
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap()
    }
}

fn peak_of(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl Copying {
    fn verify_apart(&self, more: &[&str]) -> Ended {
        let what = format!("verify {}", more.join(" "));
        let settle = ["--settle-ms", "500", "--json", "--failures-to-fetch", "3"];
        let words = [&settle[..], more].concat();
        Ended::wait(&what, self.spawn_verify(&words))
    }

    /// The tests' own comparison: all rows, or four pieces of the ring.
    fn assert_sample_is_equal(&self) {
        const PIECES: i32 = 4;
        let (mut left, mut right) = (self.source.connect(), self.target.connect());
        let keyspace = self.keyspace.as_str();
        let share = (f64::from(SAMPLE_ROWS) / f64::from(rows())).min(1.0);
        let step = (i128::from(u64::MAX) + 1) / i128::from(PIECES);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a share of a piece is less"
        )]
        let width = (share * step as f64) as i128;
        let (mut rows, mut cells) = (0, 0);
        for piece in 0..i128::from(PIECES) {
            let after = i128::from(i64::MIN) + piece * step;
            let up_to = (after + width).min(i64::MAX.into());
            let condition = format!("WHERE token(p) > {after} AND token(p) <= {up_to}");
            let [mut here, mut there] = [&mut left, &mut right].map(|cql| Place { cql, keyspace });
            let report = compare::compare_part(&mut here, &mut there, "history", &condition);
            let report = report.unwrap();
            assert!(report.is_equal(), "{report}");
            rows += report.rows;
            cells += report.cells;
        }
        eprintln!("{keyspace}: {rows} rows, {cells} cells compared: equal");
        assert!(cells > 0);
    }

    fn load(name: &str) -> Copying {
        let copying = Copying::new(name, lab::source_50(), lab::target_50());
        for what in bulk::SCHEMA {
            copying.create(copying.source, what);
        }
        let began = Instant::now();
        bulk::write(copying.source, &copying.keyspace, rows(), now_us());
        eprintln!(
            "{}: {} rows in {:?}",
            copying.keyspace,
            rows(),
            began.elapsed()
        );
        copying
    }
}

/// Copied beside 400 writes a second through the proxy, killed twice and resumed: nothing differs,
/// neither for verify, beside the same writes, nor for the tests' own comparison.
#[test]
fn copied_at_size_beside_live_writes() {
    let _turn = lab::alone();
    let copying = Copying {
        splits: 64,
        ..Copying::load("size_live")
    };
    assert!(copying.copy(&["--schema-only"]).failed.is_empty());
    let ip = lab::proxy_address();
    let proxy = Proxy::start(&copying.keyspace, ip, copying.source, copying.target);
    let live = Live::start(proxy.listen, &copying.keyspace, rows());
    // Slow enough to be killed twice; what is written again after a kill counts once.
    let rate = (rows() / 8).to_string();
    let slow = ["--write-rate", &rate];
    let began = Instant::now();
    for kill_at in [16, 40] {
        let mut child = copying.spawn(&slow);
        while copying.checkpoint_lines() < kill_at {
            assert!(began.elapsed() < PATIENCE, "no progress");
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let copied = Ended::wait("copy", copying.spawn(&["--json"]));
    eprintln!("copied in {:?} with both kills", began.elapsed());
    assert_eq!(
        (copied.code, &copied.json["complete"]),
        (0, &Value::Bool(true))
    );
    assert!(copied.count("ranges_resumed") >= 39, "{}", copied.json);
    let found = copying.verify_apart(&[]);
    let (writes, lived) = live.stop();
    let per_second = writes * 1000 / u64::try_from(lived.as_millis()).unwrap();
    eprintln!("{writes} writes through the proxy meanwhile, {per_second} a second");
    assert_eq!(
        (found.code, &found.json["is_equal"]),
        (0, &Value::Bool(true))
    );
    assert_eq!(found.json["differences"], serde_json::json!({}));
    assert!(writes > 400 && found.count("equal") > u64::from(rows().unsigned_abs()) / 2);
    assert!(proxy.held().is_empty());
    drop(proxy.terminate(Duration::from_secs(20)));
    copying.assert_sample_is_equal();
}

/// What is planted: at both sides, at the source, at the target, and what verify must call it.
/// A cell that the source shall win back is younger there.
struct Plant {
    source: &'static [&'static str],
    target: &'static [&'static str],
    class: &'static str,
    column: Option<&'static str>,
}

const BASE: &str = "UPDATE T USING TIMESTAMP NEW SET d = 0.5, st = st + {5} WHERE ROW";
const PLANTS: [Plant; 8] = [
    Plant {
        source: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW SET t = 'text' WHERE ROW",
        ],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP OLD SET t = 'other' WHERE ROW",
        ],
        class: "value",
        column: Some("t"),
    },
    Plant {
        source: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW SET t = 'text' WHERE ROW",
        ],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP OLD SET t = 'text' WHERE ROW",
        ],
        class: "stamp",
        column: Some("t"),
    },
    Plant {
        source: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW AND TTL 400000 SET b = 1 WHERE ROW",
        ],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW AND TTL 300000 SET b = 1 WHERE ROW",
        ],
        class: "expiry",
        column: Some("b"),
    },
    Plant {
        source: &[BASE],
        target: &[],
        class: "missing",
        column: None,
    },
    Plant {
        source: &[],
        target: &[BASE],
        class: "extra",
        column: None,
    },
    Plant {
        source: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW SET s = 5 WHERE PARTITION",
        ],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP OLD SET s = 6 WHERE PARTITION",
        ],
        class: "value",
        column: Some("s"),
    },
    Plant {
        source: &[
            BASE,
            "UPDATE T USING TIMESTAMP NEW SET m['a'] = 1 WHERE ROW",
        ],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP OLD SET m['a'] = 7 WHERE ROW",
        ],
        class: "value",
        column: Some("m"),
    },
    Plant {
        source: &[BASE],
        target: &[
            BASE,
            "UPDATE T USING TIMESTAMP OLD SET st = st + {8} WHERE ROW",
        ],
        class: "extra",
        column: Some("st"),
    },
];

/// Plants so many differences, each in a partition of its own; gives what verify must find.
fn plant(copying: &Copying, first: i32, count: i32) -> BTreeSet<(String, String, String)> {
    let mut expected = BTreeSet::new();
    let new = now_us() - 1_000_000_000;
    let (mut source, mut target) = (copying.source.connect(), copying.target.connect());
    for p in first..first + count {
        let kind = usize::try_from(p - first).unwrap() % PLANTS.len();
        let plant = &PLANTS[kind];
        for (cql, texts) in [(&mut source, plant.source), (&mut target, plant.target)] {
            for text in texts {
                let text = text
                    .replace(" T ", &format!(" {}.history ", copying.keyspace))
                    .replace("NEW", &new.to_string())
                    .replace("OLD", &(new - 100).to_string())
                    .replace("ROW", &format!("p = {p} AND c = 1"))
                    .replace("PARTITION", &format!("p = {p}"));
                cql.query(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            }
        }
        let column = plant.column.unwrap_or_default().to_owned();
        expected.insert((format!("{p:08x}"), plant.class.to_owned(), column));
    }
    expected
}

/// Every thousandth row differs, in every way: all are found, none is invented; repaired, both are
/// equal.
#[test]
fn planted_at_size_all_are_found_and_repaired() {
    let _turn = lab::alone();
    let copying = Copying::load("size_planted");
    let copied = Ended::wait("copy", copying.spawn(&["--create-schema", "--json"]));
    assert_eq!((copied.code, copied.count("ranges_resumed")), (0, 0));
    let count = (rows() / 1000).max(16);
    let expected = plant(&copying, bulk::partitions(rows()), count);
    let report = copying.dir.path().join("report");
    let found = copying.verify_apart(&["--report", report.to_str().unwrap()]);
    assert_eq!(found.code, 4);
    let text = std::fs::read_to_string(&report).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named: BTreeSet<_> = lines
        .iter()
        .map(|line| {
            (
                word(&line["key"][0][1]),
                word(&line["class"]),
                word(&line["column"]),
            )
        })
        .collect();
    assert_eq!(named, expected);
    assert_eq!(lines.len(), expected.len(), "each once");
    let repaired = copying.verify_apart(&["--repair", "--delete-extra"]);
    assert_eq!(repaired.code, 0);
    assert_eq!(repaired.count("repaired"), u64::from(count.unsigned_abs()));
    let again = copying.verify_apart(&[]);
    assert_eq!((again.code, again.count("rows_differing")), (0, 0));
    copying.assert_sample_is_equal();
}
