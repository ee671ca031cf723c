//! One time base for all shards: the wall clock, smoothed so that it never goes back.
//!
//! Shards add a shared offset to the monotonic clock. The control thread moves the offset forward
//! at once when the wall clock is ahead, and back only slowly (as adjtime(3) does), so a clock that
//! is set back by an administrator or by NTP makes no stamp go back and lets shards agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How fast the offset goes back: µs for each second, 500 ppm.
const SLEW_US_PER_S: i64 = 500;

/// Reads the time; clones agree.
#[derive(Debug, Clone)]
pub struct TimeBase {
    origin: Instant,
    offset_us: Arc<AtomicI64>,
}

impl TimeBase {
    /// Starts from the wall clock.
    #[must_use]
    pub fn start() -> Self {
        let base = Self {
            origin: Instant::now(),
            offset_us: Arc::new(AtomicI64::new(0)),
        };
        base.offset_us
            .store(wall_us() - base.monotonic_us(), Ordering::Relaxed);
        base
    }

    /// Now, µs since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.monotonic_us() + self.offset_us.load(Ordering::Relaxed)
    }

    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Follows the wall clock; called by one thread about once a second. Gives how far the wall
    /// clock has been set back and is not yet followed (µs).
    #[must_use]
    pub fn follow(&self) -> i64 {
        let offset_us = self.offset_us.load(Ordering::Relaxed);
        let wanted_us = wall_us() - self.monotonic_us();
        let behind_us = (offset_us - wanted_us).max(0);
        let next_us = wanted_us.max(offset_us - SLEW_US_PER_S);
        self.offset_us.store(next_us, Ordering::Relaxed);
        behind_us
    }
}

fn wall_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
