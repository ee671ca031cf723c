//! A limit on rows or writes per second.

use std::time::Duration;

use tokio::time::Instant;

/// Hands out moments that are evenly spaced.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    next: Option<Instant>,
}

impl Pace {
    /// At most this many a second; `None` is no limit.
    pub(crate) fn new(rate: Option<u32>) -> Pace {
        let interval = rate
            .filter(|rate| *rate > 0)
            .map(|rate| Duration::from_secs(1) / rate);
        Pace {
            interval,
            next: None,
        }
    }

    /// When the next write may go; `None` is at once. Time that nobody used is not made up for.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        self.next_of(1, now)
    }

    /// When the next `count` may go together.
    pub(crate) fn next_of(&mut self, count: u32, now: Instant) -> Option<Instant> {
        let interval = self.interval?;
        let at = self.next.map_or(now, |next| next.max(now));
        self.next = Some(at + interval * count);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_are_evenly_spaced_and_idle_time_is_not_made_up_for() {
        let mut pace = Pace::new(Some(100));
        let start = Instant::now();
        let ms = Duration::from_millis;
        for n in 0..5 {
            assert_eq!(pace.next(start).unwrap(), start + ms(10) * n);
        }
        let later = start + ms(1000);
        assert_eq!(pace.next(later).unwrap(), later);
        assert_eq!(pace.next(later).unwrap(), later + ms(10));
        assert_eq!(Pace::new(None).next(start), None);
    }
}
