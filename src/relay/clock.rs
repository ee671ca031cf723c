//! Write timestamps that never go back.

/// Hands out write timestamps (µs since the Unix epoch), strictly rising within one shard.
///
/// Two writes of one shard never share a stamp, so the later of two writes that a client sends in
/// order wins at both clusters. Shards share the time base, not the last stamp: equal stamps on two
/// shards are legal, since both clusters break the tie alike.
#[derive(Debug)]
pub struct StampClock {
    last_us: i64,
}

impl StampClock {
    /// `floor_us`: no stamp at or below it is handed out (the high-water mark of an earlier run).
    #[must_use]
    pub fn new(floor_us: i64) -> Self {
        Self { last_us: floor_us }
    }

    /// The next stamp: `now_us`, or one past the last stamp if the clock has not moved on.
    #[inline]
    pub fn stamp(&mut self, now_us: i64) -> i64 {
        self.last_us = now_us.max(self.last_us + 1);
        self.last_us
    }

    /// The last stamp that was handed out, or the floor.
    #[must_use]
    pub fn last_us(&self) -> i64 {
        self.last_us
    }

    /// How far the stamps run ahead of the clock (µs): after a restart with a clock that was set
    /// back, or after more than a million stamps a second.
    #[must_use]
    pub fn ahead_us(&self, now_us: i64) -> i64 {
        (self.last_us - now_us).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_though_the_clock_stands_or_steps_back() {
        let mut clock = StampClock::new(0);
        assert_eq!(clock.stamp(1_000), 1_000);
        assert_eq!(clock.stamp(1_000), 1_001);
        assert_eq!(clock.stamp(400), 1_002);
        assert_eq!(clock.ahead_us(400), 602);
        assert_eq!(clock.stamp(5_000), 5_000);
    }

    #[test]
    fn a_restart_starts_above_the_high_water_mark() {
        let mut clock = StampClock::new(9_000);
        assert_eq!(clock.stamp(8_000), 9_001);
    }
}
