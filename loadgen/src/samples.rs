//! What one thread measures in one second.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::workload::{Kind, Mix};

/// Longest latency told apart, in ns: a minute.
const LONGEST_NS: u64 = 60_000_000_000;
/// Shortest, in ns.
const SHORTEST_NS: u64 = 100;

/// Histograms in ns and counts, of the measured part of a run.
#[derive(Debug)]
pub(crate) struct Samples {
    /// From the intended start to the good answer, by [`Kind::index`]; `None`: not in the mix.
    pub(crate) latency_ns: [Option<Histogram<u64>>; Kind::ALL.len()],
    /// From the sending to the good answer.
    pub(crate) service_ns: Histogram<u64>,
    /// From the intended start to the sending.
    pub(crate) delay_ns: Histogram<u64>,
    /// The same, of those that did not have to wait for the server: this program's own part.
    pub(crate) lag_ns: Histogram<u64>,
    /// Requests sent.
    pub(crate) sent: u64,
    /// Of these, sent late.
    pub(crate) late: u64,
    /// Of the late ones, those that waited for the server: a free stream or room in the socket.
    pub(crate) blocked: u64,
    /// Good answers.
    pub(crate) good: u64,
    /// Errors.
    pub(crate) failed: u64,
}

impl Samples {
    pub(crate) fn new(mix: Mix) -> Samples {
        let of = |kind| mix.has(kind).then(histogram);
        Samples {
            latency_ns: Kind::ALL.map(of),
            service_ns: histogram(),
            delay_ns: histogram(),
            lag_ns: histogram(),
            sent: 0,
            late: 0,
            blocked: 0,
            good: 0,
            failed: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        for histogram in self.latency_ns.iter_mut().flatten() {
            histogram.reset();
        }
        self.service_ns.reset();
        self.delay_ns.reset();
        self.lag_ns.reset();
        for count in [
            &mut self.sent,
            &mut self.late,
            &mut self.blocked,
            &mut self.good,
            &mut self.failed,
        ] {
            *count = 0;
        }
    }

    /// One good answer.
    pub(crate) fn answered(&mut self, kind: Kind, latency: Duration, service: Duration) {
        self.good += 1;
        if let Some(Some(histogram)) = self.latency_ns.get_mut(kind.index()) {
            histogram.saturating_record(ns(latency));
        }
        self.service_ns.saturating_record(ns(service));
    }

    /// One request that left.
    pub(crate) fn sent(&mut self, delay: Duration, late: Duration, waited: bool) {
        self.sent += 1;
        self.delay_ns.saturating_record(ns(delay));
        if !waited {
            self.lag_ns.saturating_record(ns(delay));
        }
        if delay > late {
            self.late += 1;
            self.blocked += u64::from(waited);
        }
    }

    /// Latencies of all kinds together.
    pub(crate) fn all_ns(&self) -> anyhow::Result<Histogram<u64>> {
        let mut all = histogram();
        for histogram in self.latency_ns.iter().flatten() {
            all.add(histogram)?;
        }
        Ok(all)
    }

    /// Takes over what `other` measured.
    pub(crate) fn add(&mut self, other: &Samples) -> anyhow::Result<()> {
        for (mine, theirs) in self.latency_ns.iter_mut().zip(&other.latency_ns) {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) => mine.add(theirs)?,
                (mine, Some(theirs)) => *mine = Some(theirs.clone()),
                (_, None) => {}
            }
        }
        self.service_ns.add(&other.service_ns)?;
        self.delay_ns.add(&other.delay_ns)?;
        self.lag_ns.add(&other.lag_ns)?;
        self.sent += other.sent;
        self.late += other.late;
        self.blocked += other.blocked;
        self.good += other.good;
        self.failed += other.failed;
        Ok(())
    }
}

/// An empty histogram of ns with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // These bounds are valid; were they not, the fallback is a resizing one with one digit.
    Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, 3)
        .or_else(|_| Histogram::new(1))
        .unwrap_or_else(|_| unreachable!("one digit is always valid"))
}

pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
