//! What came out of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::Ledger;
use crate::plan::{Mode, Plan};
use crate::receiver::Received;
use crate::sender::Sent;

/// Longest latency told apart, in ns: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// The quantiles of every table.
pub const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// One run, measured from the end of the warm-up, but where it says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whom was asked.
    pub endpoint: String,
    /// What was sent.
    pub mode: Mode,
    /// Planned requests per second.
    pub rate_per_s: u32,
    /// Connections.
    pub connections: u16,
    /// Requests sent.
    pub sent: u64,
    /// Of these, sent more than 1 ms after they were due, because this program was not woken in
    /// time or because every stream waited for an answer.
    pub late: u64,
    /// Requests that were due and never sent, warm-up included.
    pub unsent: u64,
    /// Requests that got no answer, warm-up included.
    pub unanswered: u64,
    /// Connections that broke, each with the reason, warm-up included.
    pub broken: Vec<String>,
    /// Errors by code, warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Latency of all good answers, from the intended start.
    pub latency: Latency,
    /// Latency of writes.
    pub writes: Latency,
    /// Latency of reads.
    pub reads: Latency,
    /// What this program itself adds to every latency: from the intended start to the sending.
    pub send_delay: Latency,
    /// Acknowledged writes, warm-up included.
    #[serde(skip)]
    pub ledger: Ledger,
}

/// Durations with all their quantiles.
#[derive(Clone, Debug)]
pub struct Latency(pub Histogram<u64>);

impl Report {
    pub(crate) fn new(plan: &Plan) -> Report {
        let empty = || Latency(histogram());
        Report {
            endpoint: plan.endpoint.to_string(),
            mode: plan.mode,
            rate_per_s: plan.rate_per_s,
            connections: plan.connections,
            sent: 0,
            late: 0,
            unsent: 0,
            unanswered: 0,
            broken: Vec::new(),
            errors: BTreeMap::new(),
            latency: empty(),
            writes: empty(),
            reads: empty(),
            send_delay: empty(),
            ledger: Ledger::default(),
        }
    }

    /// Adds one connection.
    pub(crate) fn add(&mut self, sent: Sent, received: Received) -> anyhow::Result<()> {
        self.sent += sent.measured;
        self.late += sent.late;
        self.unsent += sent.unsent;
        self.unanswered += received.unanswered;
        self.broken.extend(received.broken);
        for (name, count) in received.errors {
            *self.errors.entry(name).or_default() += count;
        }
        self.latency.0.add(&received.writes_ns)?;
        self.latency.0.add(&received.reads_ns)?;
        self.writes.0.add(&received.writes_ns)?;
        self.reads.0.add(&received.reads_ns)?;
        self.send_delay.0.add(&sent.delay_ns)?;
        self.ledger.merge(received.ledger);
        Ok(())
    }

    /// What an application would have seen as an error: errors, missing answers, broken
    /// connections.
    #[must_use]
    pub fn client_errors(&self) -> u64 {
        let broken = u64::try_from(self.broken.len()).unwrap_or(u64::MAX);
        self.errors.values().sum::<u64>() + self.unanswered + broken
    }
}

impl Latency {
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
        for (name, quantile) in QUANTILES {
            map.serialize_entry(&format!("{name}_us"), &self.quantile_us(quantile))?;
        }
        map.serialize_entry("max_us", &self.max_us())?;
        map.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, connections) = (self.rate_per_s, self.connections);
        let endpoint = &self.endpoint;
        writeln!(f, "{endpoint}: {rate}/s over {connections} connections")?;
        write!(f, "{:<12} {:>10}", "in µs", "count")?;
        for (name, _) in QUANTILES {
            write!(f, " {name:>10}")?;
        }
        writeln!(f, " {:>10}", "max")?;
        let rows = [
            ("writes", &self.writes),
            ("reads", &self.reads),
            ("send delay", &self.send_delay),
        ];
        for (name, latency) in rows.iter().filter(|(_, latency)| latency.count() > 0) {
            write!(f, "{name:<12} {:>10}", latency.count())?;
            for (_, quantile) in QUANTILES {
                write!(f, " {:>10.0}", latency.quantile_us(quantile))?;
            }
            writeln!(f, " {:>10.0}", latency.max_us())?;
        }
        writeln!(
            f,
            "sent {}, late {}, unsent {}, unanswered {}",
            self.sent, self.late, self.unsent, self.unanswered
        )?;
        for (name, count) in &self.errors {
            writeln!(f, "error {name}: {count}")?;
        }
        for reason in &self.broken {
            writeln!(f, "connection broken: {reason}")?;
        }
        Ok(())
    }
}

/// An empty histogram of ns with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // These bounds are valid; were they not, the fallback is a resizing one with one digit.
    Histogram::new_with_bounds(1_000, LONGEST_NS, 3)
        .or_else(|_| Histogram::new(1))
        .unwrap_or_else(|_| unreachable!("one digit is always valid"))
}

pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// ns → µs; three digits are exact in an f64.
#[allow(clippy::cast_precision_loss, reason = "below 2^53 by far")]
fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}
