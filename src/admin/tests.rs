#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use super::keeper::now_us;
use super::*;
use crate::metrics::{CONTENT_TYPE, Direction, Event, Gauge, Phase, Recorder, Report, shards};

/// A source that accepts, the admin server and the shards' recorders.
struct Rig {
    source: Option<TcpListener>,
    admin: Admin,
    recorders: Vec<Recorder>,
}

fn rig() -> Rig {
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let contact_points = vec![source.local_addr().unwrap()];
    let (recorders, views) = shards(2);
    let facts = Facts {
        version: "1.2.3".to_owned(),
        source: "old".to_owned(),
        target: "new".to_owned(),
        started_us: now_us() - 60_000_000,
    };
    let admin = start("127.0.0.1:0".parse().unwrap(), contact_points, facts, views).unwrap();
    Rig {
        source: Some(source),
        admin,
        recorders,
    }
}

impl Rig {
    fn all_well(&mut self) {
        for recorder in &mut self.recorders {
            recorder.set(Gauge::Listening, 1);
            recorder.set(Gauge::TargetUp, 1);
            recorder.tick(now_us());
        }
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("http://{}{path}", self.admin.local_addr());
        let mut response = agent.get(&url).call().unwrap();
        let kind = response.headers().get("content-type");
        let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
        (
            response.status().as_u16(),
            kind,
            response.body_mut().read_to_string().unwrap(),
        )
    }
}

#[test]
fn metrics_come_as_open_metrics_text() {
    let mut rig = rig();
    rig.all_well();
    rig.recorders[0].count(Event::Spilled, 7);
    let (code, kind, text) = rig.get("/metrics");
    assert_eq!((code, kind.as_str()), (200, CONTENT_TYPE));
    assert!(
        text.contains("twinring_spilled_writes_total{shard=\"0\"} 7\n"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
    rig.admin.stop();
}

#[test]
fn health_is_about_heartbeats() {
    let mut rig = rig();
    let (code, _, text) = rig.get("/healthz");
    assert_eq!(
        code, 503,
        "no shard has turned for the minute since the start: {text}"
    );
    assert!(text.contains("shard 0 has not turned for 6"), "{text}");
    rig.all_well();
    assert_eq!(rig.get("/healthz").0, 200);
    rig.recorders[1].tick(now_us() - 60_000_000);
    let (code, kind, text) = rig.get("/healthz");
    assert_eq!((code, kind.as_str()), (503, "application/json"));
    assert!(
        text.contains("shard 1") && !text.contains("shard 0"),
        "{text}"
    );
    rig.admin.stop();
}

#[test]
fn ready_means_listening_with_a_source_and_not_stopping() {
    let mut rig = rig();
    let (code, _, text) = rig.get("/readyz");
    assert_eq!(code, 503);
    assert!(
        text.contains("shard 0 does not listen") && text.contains("shard 1"),
        "{text}"
    );
    rig.all_well();
    assert_eq!(
        rig.get("/readyz"),
        (
            200,
            "application/json".into(),
            "{\"ok\":true,\"reasons\":[]}\n".into()
        )
    );
    rig.source = None; // closes the listener
    let (code, _, text) = rig.get("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("no contact point of the source"), "{text}");
    rig.admin.draining();
    assert!(rig.get("/readyz").2.contains("the proxy is stopping"));
    rig.admin.stop();
}

#[test]
fn status_is_the_whole_report() {
    let mut rig = rig();
    let read = |rig: &Rig| serde_json::from_str::<Report>(&rig.get("/status").2).unwrap();
    assert_eq!(read(&rig).phase, Phase::Starting);
    rig.all_well();
    let report = read(&rig);
    assert_eq!(
        (report.phase, report.source_reachable),
        (Phase::Running, true)
    );
    assert!(report.cutover.safe, "{report:?}");
    assert!((60..70).contains(&report.uptime_s), "{}", report.uptime_s);
    rig.admin.draining();
    assert_eq!(read(&rig).phase, Phase::Draining);
    rig.admin.stop();
}

#[test]
fn times_are_fetched_from_shards_that_turn_and_not_awaited_from_others() {
    let mut rig = rig();
    rig.all_well();
    for recorder in &mut rig.recorders {
        recorder.time_inside(Direction::Answer, 5_000, 1);
    }
    let [mut alive, _stuck] = <[Recorder; 2]>::try_from(std::mem::take(&mut rig.recorders))
        .unwrap_or_else(|_| panic!("two shards"));
    let turning = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            alive.tick(now_us());
            std::thread::yield_now();
        }
    });
    let began = Instant::now();
    let report: Report = serde_json::from_str(&rig.get("/status").2).unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "a stuck shard must not hold it up"
    );
    assert_eq!(report.answer_time.count, 1);
    assert!(
        (report.answer_time.p99_us - 5.0).abs() < 0.1,
        "{:?}",
        report.answer_time
    );
    turning.join().unwrap();
    rig.admin.stop();
}

#[test]
fn a_taken_port_is_an_error_at_the_start() {
    let rig = rig();
    let (_, views) = shards(1);
    let facts = Facts {
        version: String::new(),
        source: String::new(),
        target: String::new(),
        started_us: 0,
    };
    let error = start(rig.admin.local_addr(), Vec::new(), facts, views).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(rig.get("/nothing").0, 404);
    assert!(rig.get("/").2.contains("/readyz"));
    rig.admin.stop();
}
