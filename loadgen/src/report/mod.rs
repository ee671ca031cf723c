//! What came out of a run.

pub mod hgrm;
pub mod html;
pub mod page;
pub mod svg;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::collect::{Collected, Interval};
use crate::lane::Counts;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::samples::histogram;
use crate::worker::Seen;
use crate::workload::Kind;

/// The quantiles of every table.
pub const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// Less than this share of the planned rate makes a run invalid.
const REACHED_LEAST: f64 = 0.99;
/// More than this share of a latency being the generator's own is worth a warning …
const OWN_SHARE: f64 = 0.1;
/// … if it is more than this, in µs.
const OWN_LEAST_US: f64 = 50.0;

/// One run, measured from the end of the warm-up, but where it says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whom was asked.
    pub endpoint: String,
    /// What was sent.
    pub mix: String,
    /// Planned requests per second.
    pub rate_per_s: u32,
    /// Answers per second before the end of the schedule, errors included.
    pub reached_per_s: f64,
    /// Connections.
    pub connections: u16,
    /// Seconds that were measured.
    pub measured_s: f64,
    /// Requests sent.
    pub sent: u64,
    /// All answers, errors and warm-up included.
    pub answered: u64,
    /// Of these, sent more than 1 ms after they were due.
    pub late: u64,
    /// Of the late ones, those that waited for the server: for a free stream or for room in the
    /// socket. The others are late because this program was not woken in time.
    pub blocked: u64,
    /// Requests that were due and never sent, warm-up included.
    pub unsent: u64,
    /// Requests that got no answer, warm-up included.
    pub unanswered: u64,
    /// Connections that broke, each with the reason, warm-up included.
    pub broken: Vec<String>,
    /// Errors by code, warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Reads whose value is not what was written for that key, warm-up included.
    pub wrong: u64,
    /// Reads that found no row, warm-up included.
    pub empty: u64,
    /// Conditional writes that were not applied, warm-up included.
    pub not_applied: u64,
    /// Latency of all good answers, from the intended start.
    pub latency: Latency,
    /// The same by kind.
    pub kinds: BTreeMap<Kind, Latency>,
    /// From the sending to the answer: what a closed loop would show. The difference to
    /// `latency` is the time that requests waited before they could be sent.
    pub service: Latency,
    /// From the intended start to the sending.
    pub send_delay: Latency,
    /// The part of it that is this program's own: of requests that did not wait for the server.
    pub lag: Latency,
    /// Second by second.
    pub intervals: Vec<Interval>,
    /// Why the run does not count; empty: it does.
    pub invalid: Vec<String>,
    /// What makes it less than exact.
    pub warnings: Vec<String>,
    /// Acknowledged writes, warm-up included.
    #[serde(skip)]
    pub ledger: Ledger,
}

/// Durations with all their quantiles.
#[derive(Clone, Debug)]
pub struct Latency(pub Histogram<u64>);

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        measured: Duration,
        workers: Vec<Seen>,
        collected: Collected,
    ) -> anyhow::Result<Report> {
        let samples = collected.samples;
        let latency = Latency(samples.all_ns()?);
        let kinds = Kind::ALL.into_iter().zip(samples.latency_ns);
        let mut report = Report {
            endpoint: plan.endpoint.to_string(),
            mix: plan.mix.to_string(),
            rate_per_s: plan.rate_per_s,
            reached_per_s: 0.0,
            connections: plan.connections,
            measured_s: measured.as_secs_f64(),
            answered: 0,
            sent: samples.sent,
            late: samples.late,
            blocked: samples.blocked,
            unsent: 0,
            unanswered: 0,
            broken: Vec::new(),
            errors: BTreeMap::new(),
            wrong: 0,
            empty: 0,
            not_applied: 0,
            latency,
            kinds: kinds
                .filter_map(|(kind, histogram)| Some((kind, Latency(histogram?))))
                .collect(),
            service: Latency(samples.service_ns),
            send_delay: Latency(samples.delay_ns),
            lag: Latency(samples.lag_ns),
            intervals: cut(collected.intervals, measured),
            invalid: Vec::new(),
            warnings: Vec::new(),
            ledger: Ledger::default(),
        };
        for worker in workers {
            report.add(worker);
        }
        report.judge();
        Ok(report)
    }

    fn add(&mut self, seen: Seen) {
        let Counts {
            wrong,
            empty,
            not_applied,
            errors,
            ..
        } = seen.counts;
        self.answered += seen.counts.good + seen.counts.failed;
        self.unsent += seen.unsent;
        self.unanswered += seen.unanswered;
        self.broken.extend(seen.broken);
        self.wrong += wrong;
        self.empty += empty;
        self.not_applied += not_applied;
        for (name, count) in errors {
            *self.errors.entry(name).or_default() += count;
        }
        self.ledger.merge(seen.ledger);
    }

    /// Says whether the rate was kept, and what part of the latencies is this program's own.
    fn judge(&mut self) {
        let answers = self
            .intervals
            .iter()
            .map(|second| second.good + second.failed);
        self.reached_per_s = float(answers.sum()) / self.measured_s.max(f64::MIN_POSITIVE);
        let planned = f64::from(self.rate_per_s);
        // The last answers of a short run come after its end: one request is no missed rate.
        let least = planned * REACHED_LEAST - 1.0 / self.measured_s.max(f64::MIN_POSITIVE);
        if self.unsent > 0 {
            let unsent = self.unsent;
            let reason = format!("{unsent} requests were due and never sent");
            self.invalid.push(reason);
        }
        if self.measured_s > 0.0 && self.reached_per_s < least {
            self.invalid.push(format!(
                "the rate was missed: {:.0} answers/s of {planned:.0}",
                self.reached_per_s
            ));
        }
        if self.wrong > 0 {
            let wrong = self.wrong;
            let reason = format!("{wrong} reads gave a value that nobody wrote for that key");
            self.invalid.push(reason);
        }
        for (name, quantile) in QUANTILES {
            let (own, whole) = (
                self.lag.quantile_us(quantile),
                self.latency.quantile_us(quantile),
            );
            if own > OWN_LEAST_US && own > whole * OWN_SHARE {
                self.warnings.push(format!(
                    "{name}: {own:.0} of {whole:.0} µs may be this program's own lag: it was not \
                     woken in time"
                ));
            }
        }
    }

    /// What an application would have seen as an error: errors, missing answers, wrong values,
    /// broken connections.
    #[must_use]
    pub fn client_errors(&self) -> u64 {
        let broken = u64::try_from(self.broken.len()).unwrap_or(u64::MAX);
        self.errors.values().sum::<u64>() + self.unanswered + self.wrong + broken
    }

    /// Whether the planned rate was kept.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }
}

/// Leaves only the seconds before the end of the schedule; later answers count in the totals.
fn cut(intervals: Vec<Interval>, measured: Duration) -> Vec<Interval> {
    let left = |start_s| measured.saturating_sub(Duration::from_secs(start_s));
    intervals
        .into_iter()
        .filter(|second| !left(second.start_s).is_zero())
        .map(|second| Interval {
            length_s: left(second.start_s).as_secs_f64().min(1.0),
            ..second
        })
        .collect()
}

impl Latency {
    /// Nothing measured yet.
    #[must_use]
    pub fn empty() -> Latency {
        Latency(histogram())
    }

    /// A quantile (0 to 1), in µs; 0 without any sample.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        us(self.0.value_at_quantile(quantile))
    }

    /// The longest, in µs.
    #[must_use]
    pub fn max_us(&self) -> f64 {
        us(self.0.max())
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.count())?;
        map.serialize_entry("mean_us", &(self.0.mean() / 1_000.0))?;
        for (name, quantile) in QUANTILES {
            map.serialize_entry(&format!("{name}_us"), &self.quantile_us(quantile))?;
        }
        map.serialize_entry("max_us", &self.max_us())?;
        map.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {}, {}/s over {} connections for {:.1} s",
            self.endpoint, self.mix, self.rate_per_s, self.connections, self.measured_s
        )?;
        write!(f, "{:<12} {:>10}", "in µs", "count")?;
        for (name, _) in QUANTILES {
            write!(f, " {name:>10}")?;
        }
        writeln!(f, " {:>10}", "max")?;
        for (kind, latency) in &self.kinds {
            line(f, kind.name(), latency)?;
        }
        if self.kinds.len() > 1 {
            line(f, "all", &self.latency)?;
        }
        line(f, "service", &self.service)?;
        line(f, "send delay", &self.send_delay)?;
        line(f, "own lag", &self.lag)?;
        writeln!(
            f,
            "sent {}, late {} ({} waited for the server), unsent {}, unanswered {}; \
             {:.0} answers/s",
            self.sent, self.late, self.blocked, self.unsent, self.unanswered, self.reached_per_s
        )?;
        let counts = [
            ("reads without a row", self.empty),
            ("conditional writes not applied", self.not_applied),
            ("wrong values", self.wrong),
        ];
        for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "{name}: {count}")?;
        }
        for (name, count) in &self.errors {
            writeln!(f, "error {name}: {count}")?;
        }
        for reason in &self.broken {
            writeln!(f, "connection broken: {reason}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for reason in &self.invalid {
            writeln!(f, "INVALID: {reason}")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    write!(f, "{name:<12} {:>10}", latency.count())?;
    for (_, quantile) in QUANTILES {
        write!(f, " {:>10.0}", latency.quantile_us(quantile))?;
    }
    writeln!(f, " {:>10.0}", latency.max_us())
}

/// ns → µs.
pub(crate) fn us(ns: u64) -> f64 {
    float(ns) / 1_000.0
}

#[allow(clippy::cast_precision_loss, reason = "below 2^53 by far")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(start_s: u64) -> Interval {
        Interval {
            start_s,
            length_s: 1.0,
            good: 10,
            ..Interval::default()
        }
    }

    #[test]
    fn seconds_after_the_end_are_not_shown() {
        let all: Vec<Interval> = (0..4).map(second).collect();
        let kept = cut(all.clone(), Duration::from_millis(2_500));
        assert_eq!(kept.len(), 3);
        assert!((kept[2].length_s - 0.5).abs() < 1e-9, "{kept:?}");
        assert_eq!(cut(all, Duration::from_secs(3)).len(), 3);
    }

    #[test]
    fn quantiles_are_those_of_a_known_histogram() {
        let mut latency = Latency::empty();
        for us in 1..=1000_u64 {
            latency.0.saturating_record(us * 1_000);
        }
        for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = latency.quantile_us(quantile);
            assert!((found - expected).abs() / expected < 0.002, "{found}");
        }
        assert_eq!(latency.count(), 1000);
    }
}
