//! How much a node is trusted with: the circuit breaker and the window of requests in flight.
//!
//! ```text
//!            failures in a row                pause is over
//!   CLOSED ────────────────────▶ OPEN ──────────────────────▶ HALF-OPEN
//!   ▲  window grows by answers     ▲ longer pause, jittered      │ a few probes
//!   │  and is halved by overload   └──────────── a probe fails ──┤
//!   └────────────── small window ◀─────────────── they succeed ──┘
//! ```
//! A slow node is not a dead one: its answers keep the breaker closed, its window bounds what it
//! holds, and the rest goes to the spill. After an outage the window begins small and grows by
//! additive steps, so a node that comes back is not buried. Pauses are spread by a generator with a
//! seed, not by the clock: shards that lost a node together do not come back together, and a
//! simulation runs the same way twice.

use super::mirror::retry_after_us;
use crate::cql::response::ErrorCode;

/// So many failures that may be the write's own fault count as one of the node's, if nothing went
/// well between them.
const DOUBTS: u32 = 10;

/// What a node did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// OVERLOADED; the node may have said for how long it wants to be left alone (µs).
    Overloaded {
        /// `RetryAfterMs` of the answer in µs, 0 without.
        retry_after_us: i64,
    },
    /// It answered that it could not do a write now: timeout, failure, unavailable, bootstrapping.
    Unable,
    /// The oldest request is without an answer for too long, or the connection was lost.
    Gone,
}

impl Failure {
    /// What an ERROR says about the node; `None`: nothing bad, the write was at fault.
    #[must_use]
    pub fn of_error(code: i32, message: &str) -> Option<Self> {
        match ErrorCode::from_number(code) {
            ErrorCode::Overloaded => Some(Self::Overloaded {
                retry_after_us: retry_after_us(message).unwrap_or(0),
            }),
            ErrorCode::Server
            | ErrorCode::Unavailable
            | ErrorCode::IsBootstrapping
            | ErrorCode::WriteTimeout
            | ErrorCode::WriteFailure => Some(Self::Unable),
            _ => None,
        }
    }
}

/// Bounds and pauses of a [`Breaker`].
#[derive(Debug, Clone, Copy)]
pub struct BreakerConfig {
    /// Most requests in flight.
    pub window_max: usize,
    /// The window after an outage.
    pub window_first: usize,
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// Requests in flight while half-open; as many successes close the breaker.
    pub probes: usize,
    /// First and longest pause (µs).
    pub pause_us: (i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until_us: i64 },
    HalfOpen { good: usize },
}

/// See the module. One per node and shard.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    window: usize,
    /// Good answers since the window last grew.
    credit: usize,
    /// Answers to be seen before the window may be halved again: those that were in flight.
    immune: usize,
    /// Nothing is sent before this (µs).
    rest_until_us: i64,
    failures_in_row: u32,
    /// Likewise, of those of which the write may be the reason.
    doubts_in_row: u32,
    pause_us: i64,
    random: u64,
}

impl Breaker {
    /// Closed, with a whole window. `seed` spreads the pauses.
    #[must_use]
    pub fn new(config: BreakerConfig, seed: u64) -> Self {
        Self {
            config,
            state: State::Closed,
            window: config.window_max,
            credit: 0,
            immune: 0,
            rest_until_us: 0,
            failures_in_row: 0,
            doubts_in_row: 0,
            pause_us: 0,
            random: seed,
        }
    }

    /// How many requests may be in flight now.
    #[must_use]
    pub fn window(&self, now_us: i64) -> usize {
        match self.state {
            State::Open { until_us } if now_us < until_us => 0,
            _ if now_us < self.rest_until_us => 0,
            State::Open { .. } | State::HalfOpen { .. } => self.config.probes,
            State::Closed => self.window,
        }
    }

    /// Whether the node counts as gone: writes need not wait for it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// When something may be sent again (µs); `None` if it may be sent now.
    #[must_use]
    pub fn resumes_us(&self, now_us: i64) -> Option<i64> {
        let until_us = match self.state {
            State::Open { until_us } => until_us.max(self.rest_until_us),
            _ => self.rest_until_us,
        };
        (until_us > now_us).then_some(until_us)
    }

    /// The clock was set forward: pauses last as long as they would have.
    pub fn follow_step(&mut self, step_us: i64) {
        self.rest_until_us = self.rest_until_us.saturating_add(step_us);
        if let State::Open { until_us } = &mut self.state {
            *until_us = until_us.saturating_add(step_us);
        }
    }

    /// The node has answered a question whether it lives: it is given writes again; but should it
    /// take none, it is left alone for longer than before.
    pub fn lives(&mut self) {
        let pause_us = self.pause_us;
        self.succeeded();
        self.pause_us = pause_us;
    }

    /// A request was answered: the node works.
    pub fn succeeded(&mut self) {
        (self.failures_in_row, self.doubts_in_row) = (0, 0);
        self.immune = self.immune.saturating_sub(1);
        match self.state {
            State::Closed => self.grow(),
            // an answer to what was sent before it opened is as good as a probe's
            State::Open { .. } => self.state = State::HalfOpen { good: 1 },
            State::HalfOpen { good } => self.state = State::HalfOpen { good: good + 1 },
        }
        if let State::HalfOpen { good } = self.state
            && good >= self.config.probes
        {
            self.state = State::Closed;
            self.window = self.config.window_first.min(self.config.window_max);
            self.credit = 0;
            self.pause_us = 0;
        }
    }

    /// A window's worth of good answers makes it larger by a step.
    fn grow(&mut self) {
        if self.window >= self.config.window_max {
            return;
        }
        self.credit += 1;
        if self.credit >= self.window {
            self.credit = 0;
            let step = self.config.window_first.max(1);
            self.window = (self.window + step).min(self.config.window_max);
        }
    }

    /// A request failed, or the node was lost, with this many requests in flight.
    pub fn failed(&mut self, failure: Failure, in_flight: usize, now_us: i64) {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.immune = self.immune.saturating_sub(1);
        if let Failure::Overloaded { retry_after_us } = failure {
            let rest_us = retry_after_us.clamp(0, self.config.pause_us.1);
            self.rest_until_us = self.rest_until_us.max(now_us + rest_us);
        }
        let enough = failure == Failure::Gone || self.failures_in_row >= self.config.failures;
        if self.opens(enough, now_us) {
            return self.open(now_us);
        }
        if self.state == State::Closed && self.immune == 0 {
            self.window = (self.window / 2).max(1);
            self.credit = 0;
            self.immune = in_flight;
        }
    }

    /// A request failed that may itself be the reason: it has failed before, or the last one of its
    /// table did. While the node takes others, that says nothing about the node.
    pub fn doubted(&mut self, now_us: i64) {
        self.doubts_in_row = self.doubts_in_row.saturating_add(1);
        self.immune = self.immune.saturating_sub(1);
        let enough = self.doubts_in_row >= self.config.failures.saturating_mul(DOUBTS);
        if self.opens(enough, now_us) {
            self.open(now_us);
        }
    }

    /// Whether a failure opens it, from now on. `enough`: it does if it is closed.
    fn opens(&self, enough: bool, now_us: i64) -> bool {
        match self.state {
            State::Closed => enough,
            State::Open { until_us } => now_us >= until_us, // else sent before it opened
            State::HalfOpen { .. } => true,
        }
    }

    fn open(&mut self, now_us: i64) {
        let (first_us, longest_us) = self.config.pause_us;
        self.pause_us = (self.pause_us * 2).clamp(first_us, longest_us);
        // between half of the pause and all of it
        let spread_us = u64::try_from(self.pause_us / 2 + 1).unwrap_or(1);
        let less_us = i64::try_from(self.next_random() % spread_us).unwrap_or(0);
        let until_us = (now_us + self.pause_us - less_us).max(self.rest_until_us);
        self.state = State::Open { until_us };
        self.credit = 0;
        self.immune = 0;
    }

    /// The next number of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    /// Generators, 2014).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        window_max: 256,
        window_first: 16,
        failures: 5,
        probes: 2,
        pause_us: (100_000, 5_000_000),
    };
    const OVERLOADED: Failure = Failure::Overloaded { retry_after_us: 0 };

    #[test]
    fn failures_in_a_row_open_it_and_probes_close_it() {
        let mut breaker = Breaker::new(CONFIG, 1);
        for _ in 0..4 {
            breaker.failed(Failure::Unable, 100, 0);
        }
        breaker.succeeded();
        assert!(!breaker.is_open());
        for _ in 0..5 {
            breaker.failed(Failure::Unable, 100, 0);
        }
        assert!(breaker.is_open());
        let until_us = breaker.resumes_us(0).unwrap();
        assert!((50_000..=100_000).contains(&until_us), "{until_us}");
        assert_eq!(breaker.window(until_us - 1), 0);
        assert_eq!(breaker.window(until_us), 2);
        breaker.succeeded();
        assert!(breaker.is_open());
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!(breaker.window(until_us), 16);
    }

    #[test]
    fn writes_that_may_be_the_reason_count_only_while_nothing_goes_well() {
        let mut breaker = Breaker::new(CONFIG, 3);
        for _ in 0..1_000 {
            (0..49).for_each(|_| breaker.doubted(0));
            breaker.succeeded();
        }
        assert_eq!((breaker.is_open(), breaker.window(0)), (false, 256));
        (0..50).for_each(|_| breaker.doubted(0));
        assert!(breaker.is_open());
        let first_us = breaker.resumes_us(0).unwrap();
        breaker.lives();
        breaker.lives();
        assert!(!breaker.is_open(), "it answers");
        (0..50).for_each(|_| breaker.doubted(first_us));
        let second_us = breaker.resumes_us(first_us).unwrap() - first_us;
        assert!(second_us >= 100_000, "longer: {second_us}");
    }

    #[test]
    fn a_failing_probe_doubles_the_pause_to_a_bound() {
        let mut breaker = Breaker::new(CONFIG, 2);
        let (mut now_us, mut pauses) = (0, Vec::new());
        for _ in 0..10 {
            breaker.failed(Failure::Gone, 1, now_us);
            let until_us = breaker.resumes_us(now_us).unwrap();
            pauses.push(until_us - now_us);
            now_us = until_us;
            if pauses.len() % 2 == 0 {
                breaker.succeeded(); // one is not enough
            }
        }
        for (n, pause_us) in pauses.iter().enumerate() {
            let whole_us = (100_000i64 << n).min(5_000_000);
            assert!((whole_us / 2..=whole_us).contains(pause_us), "{pauses:?}");
        }
    }

    #[test]
    fn a_window_grows_by_steps_and_is_halved_once_per_round() {
        let mut breaker = Breaker::new(CONFIG, 3);
        breaker.failed(OVERLOADED, 100, 0);
        assert_eq!(breaker.window(0), 128);
        for _ in 0..50 {
            breaker.failed(OVERLOADED, 100, 0); // what was in flight at the first
            breaker.succeeded();
        }
        assert_eq!(breaker.window(0), 128);
        breaker.failed(OVERLOADED, 10, 0);
        assert_eq!(breaker.window(0), 64);
        for _ in 0..64 {
            breaker.succeeded();
        }
        assert_eq!(breaker.window(0), 80);
        for _ in 0..10_000 {
            breaker.succeeded();
        }
        assert_eq!(breaker.window(0), 256);
    }

    #[test]
    fn cosmos_says_for_how_long() {
        let words = "Request rate is large: ActivityID=5f1c, RetryAfterMs=120, \
                     Additional details='Response status code does not indicate success: 429'";
        let failure = |words| Failure::of_error(0x1001, words);
        let (some, none) = (120_000, 0);
        let expect = |retry_after_us| Some(Failure::Overloaded { retry_after_us });
        assert_eq!(failure(words), expect(some));
        assert_eq!(failure("Too many in flight hints: 9"), expect(none));
    }

    #[test]
    fn a_node_is_left_alone_as_long_as_it_asks() {
        let mut breaker = Breaker::new(CONFIG, 4);
        let retry_after_us = 120_000;
        breaker.failed(Failure::Overloaded { retry_after_us }, 1, 1_000);
        assert_eq!(breaker.window(120_999), 0);
        assert_eq!(breaker.resumes_us(1_000), Some(121_000));
        assert_eq!(breaker.window(121_000), 128);
        let retry_after_us = i64::MAX;
        breaker.failed(Failure::Overloaded { retry_after_us }, 1, 0);
        assert_eq!(breaker.resumes_us(0), Some(5_000_000));
    }

    #[test]
    fn shards_do_not_come_back_together() {
        let pause_us = |seed| {
            let mut breaker = Breaker::new(CONFIG, seed);
            breaker.failed(Failure::Gone, 1, 0);
            breaker.resumes_us(0)
        };
        assert_eq!(pause_us(7), pause_us(7));
        let mut pauses: Vec<_> = (0..64).map(pause_us).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 50);
    }

    proptest! {
        /// Whatever happens: the window stays in its bounds, an open breaker opens the way again
        /// within the longest pause, and answers alone lead back to a whole window.
        #[test]
        fn it_always_finds_back(
            steps in proptest::collection::vec((0u8..4, 0i64..1_000_000), 0..200),
        ) {
            let mut breaker = Breaker::new(CONFIG, 9);
            let mut now_us = 0;
            for (what, pause_us) in steps {
                now_us += pause_us;
                match what {
                    0 => breaker.succeeded(),
                    1 => {
                        let retry_after_us = pause_us;
                        breaker.failed(Failure::Overloaded { retry_after_us }, 7, now_us);
                    }
                    2 => breaker.failed(Failure::Unable, 7, now_us),
                    _ => breaker.failed(Failure::Gone, 7, now_us),
                }
                prop_assert!(breaker.window(now_us) <= CONFIG.window_max);
                if let Some(until_us) = breaker.resumes_us(now_us) {
                    prop_assert!(until_us - now_us <= CONFIG.pause_us.1);
                    prop_assert!(breaker.window(until_us) > 0);
                }
            }
            for _ in 0..10_000 {
                breaker.succeeded();
            }
            now_us += CONFIG.pause_us.1;
            prop_assert_eq!(breaker.window(now_us), CONFIG.window_max);
        }
    }
}
