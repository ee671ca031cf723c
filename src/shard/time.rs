//! One time base for all shards: the wall clock, smoothed so that it never goes back.
//!
//! Shards add a shared offset to the monotonic clock. The control thread moves the offset forward
//! at once when the wall clock is ahead, and back only slowly (as adjtime(3) does), so a clock that
//! is set back by an administrator or by NTP makes no stamp go back and lets shards agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How fast the offset goes back: µs for each second, 500 ppm.
const SLEW_US_PER_S: i64 = 500;

/// How far the mark that a process leaves is ahead of its last stamp (µs); it is renewed each
/// second.
pub const STAMPS_RESERVE_US: i64 = 3_000_000;

/// A wall clock that is ahead by more than this was set, and has not drifted (µs).
const STEP_US: i64 = 500_000;

/// Reads the time; clones agree.
#[derive(Debug, Clone)]
pub struct TimeBase {
    origin: Instant,
    offset_us: Arc<AtomicI64>,
    stepped_us: Arc<AtomicI64>,
    was_set: Arc<AtomicBool>,
}

/// What [`TimeBase::follow`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The wall clock was set forward by this much just now (µs); 0 if it was not.
    pub stepped_us: i64,
    /// The wall clock has been set back and is not yet followed (µs); 0 if it has not.
    pub behind_us: i64,
}

impl TimeBase {
    /// Starts from the wall clock; or from `floor_us`, which an earlier process may have reached
    /// (µs since the Unix epoch), if the clock was set back since: see [`start_us`].
    #[must_use]
    pub fn start(floor_us: i64) -> Self {
        let base = Self {
            origin: Instant::now(),
            offset_us: Arc::default(),
            stepped_us: Arc::default(),
            was_set: Arc::default(),
        };
        let wall_us = wall_us();
        let start_us = start_us(wall_us, floor_us);
        let offset_us = start_us - base.monotonic_us();
        base.offset_us.store(offset_us, Ordering::Relaxed);
        base.was_set.store(start_us != wall_us, Ordering::Relaxed);
        base
    }

    /// Now, µs since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.monotonic_us() + self.offset_us.load(Ordering::Acquire)
    }

    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// How far the time has jumped ahead in all, because the wall clock was set forward (µs).
    /// What a shard measures durations from moves along, or every timer would go off at once.
    #[inline]
    #[must_use]
    pub fn stepped_us(&self) -> i64 {
        self.stepped_us.load(Ordering::Relaxed)
    }

    /// Whether the wall clock was set, by more than it drifts, so that this time may not be that of
    /// others: since the start, or before it without being followed.
    #[inline]
    #[must_use]
    pub fn was_set(&self) -> bool {
        self.was_set.load(Ordering::Relaxed)
    }

    /// Follows the wall clock; called by one thread about once a second.
    pub fn follow(&self) -> Followed {
        self.follow_to(wall_us())
    }

    fn follow_to(&self, wall_us: i64) -> Followed {
        let offset_us = self.offset_us.load(Ordering::Relaxed);
        let wanted_us = wall_us - self.monotonic_us();
        let ahead_us = wanted_us - offset_us;
        let stepped_us = if ahead_us > STEP_US { ahead_us } else { 0 };
        if ahead_us.abs() > STEP_US {
            self.was_set.store(true, Ordering::Relaxed);
        }
        // First the step, then the time: a shard that sees the jump knows of the step. One that
        // sees the step too early takes its timers to be younger than they are, for one turn.
        let steps_us = self.stepped_us.load(Ordering::Relaxed) + stepped_us;
        self.stepped_us.store(steps_us, Ordering::Release);
        let next_us = wanted_us.max(offset_us - SLEW_US_PER_S);
        self.offset_us.store(next_us, Ordering::Release);
        Followed {
            stepped_us,
            behind_us: (-ahead_us).max(0),
        }
    }
}

/// Where the time of a process starts whose wall clock says `wall_us`. A little below `floor_us` it
/// was restarted fast, and the stamps alone are held above it; far below the clock was set back,
/// and a time that went along would put what comes before what an earlier process has left.
#[must_use]
pub fn start_us(wall_us: i64, floor_us: i64) -> i64 {
    match floor_us - wall_us > STAMPS_RESERVE_US {
        true => floor_us,
        false => wall_us,
    }
}

fn wall_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_moves_the_time_forward_and_never_back() {
        let time = TimeBase::start(0);
        let began_us = time.now_us();
        assert!(!time.was_set());
        let ahead = time.follow_to(wall_us() + 3_600_000_000);
        assert!((ahead.stepped_us - 3_600_000_000).abs() < 60_000_000 && ahead.behind_us == 0);
        assert_eq!(time.stepped_us(), ahead.stepped_us);
        assert!(time.was_set());
        let later_us = time.now_us();
        assert!(later_us - began_us >= 3_500_000_000);
        let back = time.follow();
        assert!(back.stepped_us == 0 && back.behind_us > 3_500_000_000);
        assert!(time.now_us() >= later_us - SLEW_US_PER_S);
        assert_eq!(time.stepped_us(), ahead.stepped_us);
    }

    #[test]
    fn a_clock_that_is_set_back_between_two_processes_takes_no_time_back() {
        assert_eq!(start_us(100, 50), 100);
        assert_eq!(
            start_us(100, 100 + STAMPS_RESERVE_US),
            100,
            "a fast restart"
        );
        let far_us = wall_us() + 3_600_000_000;
        let time = TimeBase::start(far_us);
        assert!(time.now_us() >= far_us && time.was_set());
        assert!(time.follow().behind_us > 3_500_000_000);
        assert!(time.now_us() >= far_us - SLEW_US_PER_S);
    }

    #[test]
    fn drift_is_no_step() {
        let time = TimeBase::start(0);
        let found = time.follow_to(wall_us() + STEP_US / 2);
        assert_eq!((found.stepped_us, time.stepped_us()), (0, 0));
        assert!(!time.was_set());
    }
}
