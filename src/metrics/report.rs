//! The state of the proxy as one value: what `/status` sends and `twinring status` prints.

use serde::{Deserialize, Serialize};

use super::catalogue::{Direction, Event, Flow, Gauge, RequestKind, Skip, Verdict};
use super::hub::{Hub, Phase};
use super::shard::ShardMetrics;
use super::times::Times;
use crate::limits::HEARTBEAT_LIMIT_MS;
use crate::side::Side;

/// A lag up to this is the way of a write in flight, not a backlog, in ms.
const LAG_IN_FLIGHT_MS: u64 = 1_000;

/// Everything a person wants to know at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// The source's name.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// Whether some source contact point accepts connections.
    pub source_reachable: bool,
    /// What the process is doing.
    pub phase: Phase,
    /// When this was read, by the proxy's clock (µs since 1970).
    pub now_us: u64,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// May the application be moved to the target now?
    pub cutover: Cutover,
    /// Sums over the shards.
    pub totals: Totals,
    /// Each shard.
    pub shards: Vec<ShardReport>,
    /// Time inside the proxy over the last minute, client to source.
    pub request_time: TimesReport,
    /// Time inside the proxy over the last minute, source to client.
    pub answer_time: TimesReport,
}

/// The computed answer to "is it safe to cut over?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// True when nothing speaks against it.
    pub safe: bool,
    /// What speaks against it, in words; empty when `safe`.
    pub reasons: Vec<String>,
}

/// Quantiles in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimesReport {
    /// Requests measured.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 90 of 100 are faster.
    pub p90_us: f64,
    /// 99 of 100 are faster.
    pub p99_us: f64,
    /// 999 of 1000 are faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// Numbers of one shard or of all; the fields are named like the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests by kind, kinds without any left out.
    pub requests: std::collections::BTreeMap<String, u64>,
    /// Answers of the source to writes, by meaning.
    pub verdicts: std::collections::BTreeMap<String, u64>,
    /// Writes not sent to the target, by reason, reasons without any left out.
    pub skipped: std::collections::BTreeMap<String, u64>,
    /// Events by name (mirrored, retried, spilled, …).
    pub events: std::collections::BTreeMap<String, u64>,
    /// Open connections by side.
    pub connections: std::collections::BTreeMap<String, u64>,
    /// Bytes received and sent by side.
    pub bytes: std::collections::BTreeMap<String, (u64, u64)>,
    /// Writes sent to the target and not answered.
    pub mirror_in_flight: u64,
    /// Live writes that wait in memory.
    pub pending_writes: u64,
    /// Spilled writes that the target lacks.
    pub backlog_records: u64,
    /// Bytes of these.
    pub backlog_bytes: u64,
    /// Rejected writes kept.
    pub rejected_held: u64,
    /// In-doubt writes kept.
    pub in_doubt_held: u64,
    /// Windows of time in which writes may be missing, with no write kept.
    #[serde(default)]
    pub dirty_windows: u64,
    /// Writes that a proxy which died left in its journal, and that are not settled.
    #[serde(default)]
    pub unsettled: u64,
    /// Bytes of the journal in use.
    #[serde(default)]
    pub journal_bytes: u64,
    /// Writes that this version cannot mirror.
    pub unsupported: u64,
    /// Age of the oldest write the target lacks, in µs (the greatest of the shards).
    pub lag_us: u64,
    /// Shards with a ready target connection.
    pub target_up: u64,
    /// Shards that accept clients.
    pub listening: u64,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    /// Its number.
    pub shard: usize,
    /// Whether its heartbeat is fresh.
    pub alive: bool,
    /// Every write that arrived before (µs since 1970) is on the target, or kept; 0: unknown.
    pub settled_us: u64,
    /// Its numbers.
    pub totals: Totals,
}

/// Reads everything at `now_us` (µs since 1970).
#[must_use]
pub fn report(hub: &mut Hub, phase: Phase, source_reachable: bool, now_us: u64) -> Report {
    let mut totals = Totals::default();
    let mut shards = Vec::new();
    for counters in hub.counters() {
        let one = read(counters, now_us);
        totals.add(&one);
        let alive = counters
            .heartbeat_age_us(now_us)
            .is_some_and(|us| us <= HEARTBEAT_LIMIT_MS * 1000);
        shards.push(ShardReport {
            shard: counters.shard(),
            alive,
            settled_us: counters.settled_us(),
            totals: one,
        });
    }
    let times = hub.times(now_us);
    Report {
        version: hub.facts.version.clone(),
        source: hub.facts.source.clone(),
        target: hub.facts.target.clone(),
        source_reachable,
        phase,
        now_us,
        uptime_s: now_us.saturating_sub(hub.facts.started_us) / 1_000_000,
        cutover: cutover(phase, &totals, &shards),
        request_time: times_report(&times, Direction::Request),
        answer_time: times_report(&times, Direction::Answer),
        totals,
        shards,
    }
}

/// Decides whether the target has everything that was acknowledged. Writes in flight for less
/// than a second do not count against it: they are there when the application has stopped.
#[must_use]
pub fn cutover(phase: Phase, totals: &Totals, shards: &[ShardReport]) -> Cutover {
    let mut reasons = Vec::new();
    match phase {
        Phase::Starting => reasons.push("the proxy is still starting".to_owned()),
        Phase::Draining => reasons.push("the proxy is stopping".to_owned()),
        Phase::Running => {}
    }
    for dead in shards.iter().filter(|shard| !shard.alive) {
        reasons.push(format!("shard {} does not answer", dead.shard));
    }
    let down = shards
        .iter()
        .filter(|shard| shard.totals.target_up == 0)
        .count();
    if down > 0 {
        reasons.push(format!(
            "{down} of {} shards have no target connection",
            shards.len()
        ));
    }
    let counts = [
        (totals.backlog_records, "spilled and not yet on the target"),
        (totals.rejected_held, "rejected by the target and kept"),
        (totals.in_doubt_held, "in doubt"),
        (
            totals.unsettled,
            "left by a proxy that died, and not settled yet",
        ),
        (
            totals.unsupported,
            "of a kind that this version does not mirror",
        ),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let noun = if count == 1 { "write is" } else { "writes are" };
        reasons.push(format!("{count} {noun} {what}"));
    }
    if totals.dirty_windows > 0 {
        reasons.push(format!(
            "writes are missing in {} windows of time (dirty-windows in the data directory)",
            totals.dirty_windows
        ));
    }
    if totals.lag_us > LAG_IN_FLIGHT_MS * 1000 {
        let seconds = std::time::Duration::from_micros(totals.lag_us).as_secs_f64();
        reasons.push(format!("the target is {seconds:.1} s behind"));
    }
    Cutover {
        safe: reasons.is_empty(),
        reasons,
    }
}

fn times_report(times: &Times, direction: Direction) -> TimesReport {
    let us = |quantile| times.quantile_seconds(direction, quantile) * 1e6;
    TimesReport {
        count: times.count(direction),
        p50_us: us(0.5),
        p90_us: us(0.9),
        p99_us: us(0.99),
        p999_us: us(0.999),
        max_us: us(1.0),
    }
}

fn read(m: &ShardMetrics, now_us: u64) -> Totals {
    let some = |(name, count): (&str, u64)| (count > 0).then(|| (name.to_owned(), count));
    Totals {
        requests: RequestKind::ALL
            .iter()
            .filter_map(|&kind| some((kind.label(), m.requests(kind))))
            .collect(),
        verdicts: Verdict::ALL
            .iter()
            .map(|&verdict| (verdict.label().to_owned(), m.verdicts(verdict)))
            .collect(),
        skipped: Skip::ALL
            .iter()
            .filter_map(|&reason| some((reason.label(), m.skipped(reason))))
            .collect(),
        events: Event::ALL
            .iter()
            .map(|&event| (event.label().to_owned(), m.event(event)))
            .collect(),
        connections: Side::ALL
            .iter()
            .map(|&side| (side.label().to_owned(), m.connections(side)))
            .collect(),
        bytes: Side::ALL
            .iter()
            .map(|&side| {
                (
                    side.label().to_owned(),
                    (m.bytes(side, Flow::In), m.bytes(side, Flow::Out)),
                )
            })
            .collect(),
        mirror_in_flight: m.gauge(Gauge::MirrorInFlight),
        pending_writes: m.gauge(Gauge::PendingWrites),
        backlog_records: m.gauge(Gauge::BacklogRecords),
        backlog_bytes: m.gauge(Gauge::BacklogBytes),
        rejected_held: m.gauge(Gauge::RejectedHeld),
        in_doubt_held: m.gauge(Gauge::InDoubtHeld),
        dirty_windows: m.gauge(Gauge::DirtyWindows),
        unsettled: m.gauge(Gauge::Unsettled),
        journal_bytes: m.gauge(Gauge::JournalBytes),
        unsupported: m.skipped(Skip::Unsupported),
        lag_us: m.lag_us(now_us),
        target_up: m.gauge(Gauge::TargetUp),
        listening: m.gauge(Gauge::Listening),
    }
}

impl Totals {
    fn add(&mut self, other: &Self) {
        let maps = [
            (&mut self.requests, &other.requests),
            (&mut self.verdicts, &other.verdicts),
            (&mut self.skipped, &other.skipped),
            (&mut self.events, &other.events),
            (&mut self.connections, &other.connections),
        ];
        for (mine, theirs) in maps {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
        for (name, (received, sent)) in &other.bytes {
            let mine = self.bytes.entry(name.clone()).or_default();
            mine.0 += received;
            mine.1 += sent;
        }
        self.mirror_in_flight += other.mirror_in_flight;
        self.pending_writes += other.pending_writes;
        self.backlog_records += other.backlog_records;
        self.backlog_bytes += other.backlog_bytes;
        self.rejected_held += other.rejected_held;
        self.in_doubt_held += other.in_doubt_held;
        self.dirty_windows += other.dirty_windows;
        self.unsettled += other.unsettled;
        self.journal_bytes += other.journal_bytes;
        self.unsupported += other.unsupported;
        self.lag_us = self.lag_us.max(other.lag_us);
        self.target_up += other.target_up;
        self.listening += other.listening;
    }
}
