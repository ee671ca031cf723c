//! The source's contact points in turn, and which of them are left alone for a while.
//!
//! A connect that is refused costs a client nothing; one that is swallowed costs it seconds. So a
//! point that a connect failed at rests: clients go to the others, and after each pause one of them
//! finds out whether it is back.

use crate::limits;

/// See the module. One per shard.
#[derive(Debug)]
pub(super) struct Points {
    rests: Vec<Rest>,
    next: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    /// It is left alone before this (µs).
    until_us: i64,
    /// How long the last rest was; 0: it answers (µs).
    pause_us: i64,
    /// When that began (µs).
    since_us: i64,
}

const fn us(ms: u64) -> i64 {
    ms.cast_signed() * 1_000
}

impl Points {
    /// So many, at least one.
    pub(super) fn new(count: usize) -> Self {
        Self {
            rests: vec![Rest::default(); count],
            next: 0,
        }
    }

    /// The one that is next in turn and does not rest; when all do, the next one.
    pub(super) fn take(&mut self, now_us: i64) -> usize {
        let first = self.next;
        self.next = first.wrapping_add(1);
        self.take_from(first, now_us)
    }

    /// As [`Self::take`], but not out of turn: the one after `last`.
    pub(super) fn take_after(&mut self, last: usize, now_us: i64) -> usize {
        self.take_from(last + 1, now_us)
    }

    fn take_from(&mut self, first: usize, now_us: i64) -> usize {
        let count = self.rests.len();
        let mut turn = (0..count).map(|step| (first + step) % count);
        let found = turn.find(|at| self.rests[*at].until_us <= now_us);
        let taken = found.unwrap_or(first % count);
        let rest = &mut self.rests[taken];
        if rest.pause_us > 0 {
            // this client finds out, and no other one until then
            let known_us = now_us + us(limits::SOURCE_CONNECT_TIMEOUT_MS);
            rest.until_us = rest.until_us.max(known_us);
        }
        taken
    }

    /// A connect that began at `begun_us` failed. Many may have begun before one of them told.
    pub(super) fn failed(&mut self, at: usize, begun_us: i64, now_us: i64) {
        let (first_ms, longest_ms) = limits::RECONNECT_RANGE_MS;
        let Some(rest) = self.rests.get_mut(at) else {
            return;
        };
        if rest.pause_us > 0 && begun_us < rest.since_us {
            return;
        }
        rest.since_us = now_us;
        rest.pause_us = (rest.pause_us * 2).clamp(us(first_ms), us(longest_ms));
        rest.until_us = now_us + rest.pause_us;
    }

    /// A connect went well.
    pub(super) fn answered(&mut self, at: usize) {
        if let Some(rest) = self.rests.get_mut(at) {
            *rest = Rest::default();
        }
    }

    /// Whether there is another one to try instead of `at`.
    pub(super) fn has_other(&self, at: usize, now_us: i64) -> bool {
        let mut others = (0..).zip(&self.rests).filter(|(other, _)| *other != at);
        others.any(|(_, rest)| rest.until_us <= now_us)
    }

    /// The clock was set forward: rests are as long as they were.
    pub(super) fn follow_step(&mut self, step_us: i64) {
        for rest in &mut self.rests {
            rest.until_us = rest.until_us.saturating_add(step_us);
            rest.since_us = rest.since_us.saturating_add(step_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn clients_take_turns() {
        let mut points = Points::new(3);
        let taken: Vec<_> = (0..6).map(|_| points.take(0)).collect();
        assert_eq!(taken, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_client_at_a_time_finds_out_about_a_point_that_rests() {
        let mut points = Points::new(3);
        assert_eq!(points.take(0), 0);
        points.failed(0, 0, 2 * S);
        assert_eq!(points.take_after(0, 2 * S), 1);
        let taken = |points: &mut Points, now_us| -> Vec<_> {
            let all = (0..30).map(|_| points.take(now_us));
            all.filter(|at| *at == 0).collect()
        };
        let mut now_us = 2 * S;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let failed_us = now_us;
            points.failed(0, failed_us - S, failed_us + 1); // one that began before
            assert!(taken(&mut points, now_us).is_empty(), "it rests");
            while taken(&mut points, now_us).is_empty() {
                now_us += 1_000;
            }
            pauses.push(now_us - failed_us);
            assert!(taken(&mut points, now_us).is_empty(), "one is enough");
            let begun_us = now_us;
            now_us += 2 * S;
            points.failed(0, begun_us, now_us);
        }
        assert_eq!(pauses[..3], [100_000, 200_000, 400_000]);
        assert_eq!(pauses[9], 5 * S);
        points.answered(0);
        assert_eq!(taken(&mut points, now_us).len(), 10);
    }

    #[test]
    fn where_all_rest_they_take_turns() {
        let mut points = Points::new(2);
        points.failed(0, 0, 0);
        assert!(points.has_other(0, 0) && !points.has_other(1, 0));
        points.failed(1, 0, 0);
        assert!(!points.has_other(0, 0));
        let taken: Vec<_> = (0..4).map(|_| points.take(0)).collect();
        assert_eq!(taken, [0, 1, 0, 1]);
    }
}
