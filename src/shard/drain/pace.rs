//! How fast the drain may go. Pure.
//!
//! Live writes have the way: when they queue up, or the target's answers to them take much longer
//! than at its best, the window of the drain is halved; else it grows step by step. On top of that
//! the operator may set a rate.

/// Records of the spill in the mirror at once.
const WINDOW: (usize, usize) = (8, 512);
/// The window at the start, and what is added to it per tick.
const STEP: usize = 32;
/// Live writes that wait for their turn without being a queue.
const QUEUED: usize = 64;
/// Answers that take this many times the best time, and this much longer (µs), are slow.
const SLOW: (i64, i64) = (4, 5_000);
/// The best time is forgotten by a 64th per tick, so that a target may become slower for good.
const FORGET: i64 = 64;
/// What was not used of the rate is kept for this long (ns).
const BURST_NS: i64 = 100_000_000;

/// What a tick has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Live writes that wait for their turn to be sent.
    pub queued: usize,
    /// Live writes there are at all.
    pub live: usize,
    /// How long answers take (µs).
    pub latency_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    window: usize,
    best_us: i64,
    /// Time per record (ns); 0 without a rate.
    interval_ns: i64,
    next_ns: i64,
}

impl Pace {
    /// At most `rate` records per second; `None`: as fast as the window allows.
    #[must_use]
    pub fn new(rate: Option<u32>) -> Self {
        Self {
            window: STEP,
            best_us: 0,
            interval_ns: rate.map_or(0, |rate| 1_000_000_000 / i64::from(rate.max(1))),
            next_ns: 0,
        }
    }

    /// Records that may be in the mirror at once.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Whether one more may go now, by the rate.
    pub fn take(&mut self, now_us: i64) -> bool {
        if self.interval_ns == 0 {
            return true;
        }
        let now_ns = now_us.saturating_mul(1_000);
        if self.next_ns > now_ns {
            return false;
        }
        self.next_ns = self.next_ns.max(now_ns - BURST_NS) + self.interval_ns;
        true
    }

    /// Looks at how the live writes fare; called each tick.
    pub fn tick(&mut self, seen: Seen) {
        self.best_us = match self.best_us {
            0 => seen.latency_us,
            best_us => seen.latency_us.min(best_us + best_us / FORGET + 1),
        };
        let slow = seen.latency_us > self.best_us * SLOW.0 + SLOW.1;
        self.window = if seen.queued > QUEUED || (slow && seen.live > 0) {
            (self.window / 2).max(WINDOW.0)
        } else {
            (self.window + STEP).min(WINDOW.1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(pace: &mut Pace, count: usize, seen: Seen) {
        (0..count).for_each(|_| pace.tick(seen));
    }

    #[test]
    fn it_yields_to_live_writes_and_comes_back() {
        let mut pace = Pace::new(None);
        let calm = Seen {
            latency_us: 500,
            live: 10,
            queued: 0,
        };
        ticks(&mut pace, 100, calm);
        assert_eq!(pace.window(), WINDOW.1);
        let crowded = Seen {
            queued: 1_000,
            ..calm
        };
        ticks(&mut pace, 10, crowded);
        assert_eq!(pace.window(), WINDOW.0);
        ticks(&mut pace, 100, calm);
        let slow = Seen {
            latency_us: 50_000,
            ..calm
        };
        ticks(&mut pace, 3, slow);
        assert_eq!(pace.window(), WINDOW.1 / 8);
        let nobody = Seen { live: 0, ..slow };
        ticks(&mut pace, 100, nobody);
        assert_eq!(pace.window(), WINDOW.1);
    }

    #[test]
    fn a_target_that_is_always_slow_is_not_slow() {
        let mut pace = Pace::new(None);
        let far = Seen {
            latency_us: 200_000,
            live: 10,
            queued: 0,
        };
        ticks(&mut pace, 100, far);
        assert_eq!(pace.window(), WINDOW.1);
    }

    #[test]
    fn the_rate_is_kept() {
        let mut pace = Pace::new(Some(1_000));
        let mut taken = 0;
        for now_us in (1_000_000..3_000_000).step_by(10_000) {
            while pace.take(now_us) {
                taken += 1;
            }
        }
        assert!((1_990..=2_110).contains(&taken), "{taken}");
    }
}
