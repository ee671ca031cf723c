#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::side::Side;

const NOW_US: u64 = 1_700_000_000_000_000;

fn facts() -> Facts {
    Facts {
        version: "0.0.0".to_owned(),
        source: "old \"one\"".to_owned(),
        target: "new".to_owned(),
        started_us: NOW_US - 5_000_000,
    }
}

/// Two shards with known numbers in them.
fn filled() -> (Vec<Recorder>, Hub) {
    let (mut recorders, views) = shards(2);
    let mut hub = Hub::new(facts(), views);
    for recorder in &mut recorders {
        recorder.requests(RequestKind::Write, 1);
        recorder.requests(RequestKind::Write, 1);
        recorder.bytes(Side::Client, Flow::In, 100);
        recorder.bytes(Side::Target, Flow::Out, 70);
        recorder.verdicts(Verdict::Applied, 1);
        recorder.skipped(Skip::Filter, 1);
        recorder.count(Event::Mirrored, 3);
        recorder.opened(Side::Client);
        recorder.opened(Side::Client);
        recorder.closed(Side::Client);
        recorder.set(Gauge::TargetUp, 1);
        recorder.set(Gauge::Listening, 1);
        recorder.raise(Gauge::BacklogBytes, 10);
        recorder.lower(Gauge::BacklogBytes, 4);
        recorder.time_inside(Direction::Request, 20_000, 4);
    }
    recorders[1].oldest_unmirrored(Some(NOW_US - 2_500_000));
    hub.ask();
    assert!(!hub.gather(NOW_US), "no shard has ticked yet");
    for recorder in &mut recorders {
        recorder.tick(NOW_US - 1_000);
    }
    assert!(hub.gather(NOW_US));
    (recorders, hub)
}

/// One parsed sample line: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// A parser of its own for the exposition format, so that a malformed line cannot pass.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    let mut types = BTreeMap::new();
    let mut samples = Vec::new();
    assert!(text.ends_with("# EOF\n"), "must end with the end mark");
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            match words[0] {
                "TYPE" => {
                    let before = types.insert(words[1].to_owned(), words[2].to_owned());
                    assert_eq!(before, None, "family {} twice", words[1]);
                }
                "HELP" => assert!(
                    words[2].ends_with('.') && !words[2].ends_with(".."),
                    "{line}"
                ),
                "UNIT" => assert!(words[1].ends_with(words[2]), "{line}"),
                "EOF" => {}
                other => panic!("unknown comment {other}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        samples.push((
            name.to_owned(),
            parse_labels(labels),
            value.parse().unwrap(),
        ));
    }
    (types, samples)
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(chars.next().unwrap().1),
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        assert_eq!(labels.insert(key.to_owned(), value), None);
        rest = after[end + 1..].trim_start_matches(',');
    }
    labels
}

fn find(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let found: Vec<f64> = samples
        .iter()
        .filter(|(n, l, _)| {
            n == name
                && labels
                    .iter()
                    .all(|(k, v)| l.get(*k).is_some_and(|x| x == v))
        })
        .map(|(_, _, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0]
}

#[test]
fn export_is_well_formed() {
    let (_recorders, mut hub) = filled();
    let text = export(&mut hub, NOW_US).unwrap();
    let (types, samples) = parse(&text);
    let mut seen = BTreeSet::new();
    for (name, labels, _) in &samples {
        assert!(
            seen.insert((name.clone(), labels.clone())),
            "{name} {labels:?} twice"
        );
        let family = ["_total", "_info", "_sum", "_count", ""]
            .iter()
            .find_map(|suffix| types.get_key_value(name.strip_suffix(suffix)?));
        let (family, kind) = family.unwrap_or_else(|| panic!("{name} has no TYPE"));
        assert!(family.starts_with("twinring_"), "{family}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
    }
}

#[test]
fn export_tells_the_truth() {
    let (_recorders, mut hub) = filled();
    let (_, samples) = parse(&export(&mut hub, NOW_US).unwrap());
    let shard0 = ("shard", "0");
    let get = |name: &str, labels: &[(&str, &str)]| find(&samples, name, labels);
    let near = |got: f64, want: f64| assert!((got - want).abs() <= want * 0.01, "{got} {want}");
    near(
        get(
            "twinring_client_requests_total",
            &[shard0, ("kind", "write")],
        ),
        2.0,
    );
    near(
        get("twinring_client_requests_total", &[shard0, ("kind", "lwt")]),
        0.0,
    );
    let client_in = [shard0, ("side", "client"), ("direction", "in")];
    near(get("twinring_transferred_bytes_total", &client_in), 100.0);
    let target_out = [shard0, ("side", "target"), ("direction", "out")];
    near(get("twinring_transferred_bytes_total", &target_out), 70.0);
    near(
        get("twinring_verdicts_total", &[shard0, ("verdict", "applied")]),
        1.0,
    );
    near(
        get(
            "twinring_skipped_writes_total",
            &[shard0, ("reason", "filter")],
        ),
        1.0,
    );
    near(get("twinring_mirrored_writes_total", &[shard0]), 3.0);
    near(
        get("twinring_connections", &[shard0, ("side", "client")]),
        1.0,
    );
    near(get("twinring_backlog_bytes", &[shard0]), 6.0);
    near(get("twinring_mirror_lag_seconds", &[shard0]), 0.0);
    near(get("twinring_mirror_lag_seconds", &[("shard", "1")]), 2.5);
    near(get("twinring_heartbeat_age_seconds", &[shard0]), 0.001);
    let request = ("direction", "request");
    near(
        get(
            "twinring_proxy_time_seconds",
            &[request, ("quantile", "0.99")],
        ),
        20e-6,
    );
    near(get("twinring_proxy_time_seconds_count", &[request]), 8.0);
    near(get("twinring_proxy_time_seconds_sum", &[request]), 160e-6);
    near(
        get(
            "twinring_build_info",
            &[("source", "old \"one\""), ("target", "new")],
        ),
        1.0,
    );
}

#[test]
fn every_label_value_and_family_is_exported() {
    let (_recorders, mut hub) = filled();
    let (types, samples) = parse(&export(&mut hub, NOW_US).unwrap());
    for &event in Event::ALL {
        assert_eq!(types[&format!("twinring_{}", event.label())], "counter");
    }
    let kinds: BTreeSet<_> = samples
        .iter()
        .filter_map(|(_, labels, _)| labels.get("kind"))
        .collect();
    assert_eq!(kinds.len(), RequestKind::COUNT);
    let gauges = Gauge::ALL.iter().filter(|gauge| {
        let name = format!("twinring_{}", gauge.label());
        types.contains_key(&name) || types.contains_key(&format!("{name}_bytes"))
    });
    assert_eq!(gauges.count(), Gauge::COUNT);
}

#[test]
fn rejected_and_in_doubt_are_counted_and_held() {
    let (recorders, _views) = shards(1);
    recorders[0].set(Gauge::RejectedHeld, 5); // from an earlier run
    recorders[0].count(Event::Rejected, 1);
    recorders[0].count(Event::InDoubt, 2);
    let seen = recorders[0].shared();
    assert_eq!(
        (seen.event(Event::Rejected), seen.gauge(Gauge::RejectedHeld)),
        (1, 6)
    );
    assert_eq!(
        (seen.event(Event::InDoubt), seen.gauge(Gauge::InDoubtHeld)),
        (2, 2)
    );
    recorders[0].lower(Gauge::InDoubtHeld, 9);
    assert_eq!(
        seen.gauge(Gauge::InDoubtHeld),
        0,
        "a gauge never goes below 0"
    );
}

#[test]
fn histograms_survive_when_nobody_takes_them() {
    let (mut recorders, views) = shards(1);
    for round in 0..10 {
        recorders[0].time_inside(Direction::Answer, 1_000, 1);
        views[0].want_times();
        recorders[0].tick(NOW_US + round);
    }
    let mut hub = Hub::new(facts(), views);
    hub.gather(NOW_US);
    hub.ask();
    recorders[0].tick(NOW_US);
    assert!(hub.gather(NOW_US));
    let report = report(&mut hub, Phase::Running, true, NOW_US);
    assert_eq!(report.answer_time.count, 10);
}

#[test]
fn cutover_names_each_reason() {
    let (_recorders, mut hub) = filled();
    let lagging = report(&mut hub, Phase::Running, true, NOW_US);
    assert_eq!(lagging.cutover.reasons, ["the target is 2.5 s behind"]);
    assert_eq!(lagging.uptime_s, 5);
    assert_eq!(lagging.totals.requests["write"], 4);
    let shards = lagging.shards;
    let clean = Totals {
        lag_us: 900_000,
        pending_writes: 3,
        ..Totals::default()
    };
    assert_eq!(
        cutover(Phase::Running, &clean, &shards),
        Cutover {
            safe: true,
            reasons: vec![]
        }
    );
    let cases: [(Totals, &str); 4] = [
        (
            Totals {
                backlog_records: 1,
                ..clean.clone()
            },
            "1 write is spilled",
        ),
        (
            Totals {
                rejected_held: 2,
                ..clean.clone()
            },
            "2 writes are rejected",
        ),
        (
            Totals {
                in_doubt_held: 1,
                ..clean.clone()
            },
            "1 write is in doubt",
        ),
        (
            Totals {
                unsupported: 7,
                ..clean.clone()
            },
            "7 writes are of a kind",
        ),
    ];
    for (totals, words) in cases {
        let answer = cutover(Phase::Running, &totals, &shards);
        assert!(!answer.safe);
        assert!(answer.reasons[0].starts_with(words), "{:?}", answer.reasons);
    }
    assert!(!cutover(Phase::Starting, &clean, &shards).safe);
    assert!(!cutover(Phase::Draining, &clean, &shards).safe);
    let stale = report(&mut hub, Phase::Running, true, NOW_US + 60_000_000);
    assert!(
        stale
            .cutover
            .reasons
            .contains(&"shard 0 does not answer".to_owned())
    );
    let mut down = shards;
    down[1].totals.target_up = 0;
    let answer = cutover(Phase::Running, &clean, &down);
    assert_eq!(answer.reasons, ["1 of 2 shards have no target connection"]);
}

#[test]
fn a_recorder_can_move_to_its_shard_but_has_one_user() {
    fn movable<T: Send>() {}
    movable::<Recorder>();
    movable::<Hub>();
}
