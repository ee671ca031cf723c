//! Time spent inside the proxy, as HDR histograms: written by the shard alone, handed over whole.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::catalogue::Direction;

/// Longest time that is told apart, in ns; longer counts as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Two significant digits: an error of at most 1 % for 28 KiB per direction.
const DIGITS: u8 = 2;
/// The quantiles that are reported.
pub(super) const QUANTILES: [(f64, &str); 5] = [
    (0.5, "0.5"),
    (0.9, "0.9"),
    (0.99, "0.99"),
    (0.999, "0.999"),
    (1.0, "1"),
];

/// Histograms of both directions, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Times {
    by_direction: [Histogram<u64>; Direction::COUNT],
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            by_direction: [empty(), empty()],
        }
    }

    pub(super) fn record(&mut self, direction: Direction, ns: u64, requests: u64) {
        self.by_direction[direction.index()].saturating_record_n(ns.max(1), requests);
    }

    /// Adds another shard's or an earlier period's counts.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.by_direction.iter_mut().zip(&other.by_direction) {
            // Both have the bounds of `empty`, so nothing can fall outside.
            if mine.add(theirs).is_err() {
                unreachable!("histograms of equal bounds always add up");
            }
        }
    }

    /// Value at `quantile` (0 to 1), in seconds; 0 when nothing was recorded.
    pub(super) fn quantile_seconds(&self, direction: Direction, quantile: f64) -> f64 {
        let ns = self.by_direction[direction.index()].value_at_quantile(quantile);
        std::time::Duration::from_nanos(ns).as_secs_f64()
    }

    /// Requests recorded in `direction`.
    pub(super) fn count(&self, direction: Direction) -> u64 {
        self.by_direction[direction.index()].len()
    }
}

fn empty() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LONGEST_NS, DIGITS) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants that the histogram accepts"),
    }
}

/// The histograms of the recent past: a quantile over the whole life of a process would hide
/// what happens now.
#[derive(Debug, Default)]
pub(super) struct Window {
    periods: VecDeque<(u64, Times)>,
}

/// How far the window reaches back, in ms.
pub(super) const WINDOW_MS: u64 = 60_000;
/// Periods shorter than this are put together, which bounds the memory of the window.
const PERIOD_MS: u64 = 5_000;

impl Window {
    /// Adds what was handed over at `now_ms` (any clock that does not go back) and forgets the old.
    pub(super) fn add(&mut self, now_ms: u64, times: &Times) {
        match self.periods.back_mut() {
            Some((began_ms, last)) if now_ms.saturating_sub(*began_ms) < PERIOD_MS => {
                last.merge(times);
            }
            _ => self.periods.push_back((now_ms, times.clone())),
        }
        self.forget(now_ms);
    }

    /// Everything in the window.
    pub(super) fn sum(&mut self, now_ms: u64) -> Times {
        self.forget(now_ms);
        let mut all = Times::new();
        for (_, times) in &self.periods {
            all.merge(times);
        }
        all
    }

    fn forget(&mut self, now_ms: u64) {
        while self
            .periods
            .front()
            .is_some_and(|(began_ms, _)| began_ms + WINDOW_MS < now_ms)
        {
            self.periods.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut times = Times::new();
        for us in 1..=1000_u64 {
            times.record(Direction::Request, us * 1000, 1);
        }
        for (quantile, want_us) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got_us = times.quantile_seconds(Direction::Request, quantile) * 1e6;
            assert!(
                (got_us - want_us).abs() / want_us < 0.01,
                "{quantile}: {got_us}"
            );
        }
        assert_eq!(times.count(Direction::Answer), 0);
    }

    #[test]
    fn too_long_and_zero_are_counted_too() {
        let mut times = Times::new();
        times.record(Direction::Answer, u64::MAX, 2);
        times.record(Direction::Answer, 0, 1);
        assert_eq!(times.count(Direction::Answer), 3);
    }

    #[test]
    fn the_window_forgets() {
        let mut times = Times::new();
        times.record(Direction::Request, 1_000, 1);
        let mut window = Window::default();
        window.add(0, &times);
        window.add(1_000, &times);
        window.add(30_000, &times);
        assert_eq!(window.periods.len(), 2, "the first two share a period");
        assert_eq!(window.sum(30_000).count(Direction::Request), 3);
        assert_eq!(window.sum(WINDOW_MS + 1).count(Direction::Request), 1);
        assert_eq!(window.sum(10 * WINDOW_MS).count(Direction::Request), 0);
    }
}
