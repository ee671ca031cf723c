//! When each request is due. Nothing that the server does can move it.

use std::time::{Duration, Instant};

/// A constant rate over all connections: request `n` of connection `c` is the
/// `n × connections + c`th of all.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Instant,
    rate_per_s: u32,
    connections: u16,
    warm_up: Duration,
    end: Duration,
}

impl Schedule {
    /// Begins at `start` with the warm-up; `duration` is measured after it.
    #[must_use]
    pub fn new(
        start: Instant,
        (rate_per_s, connections): (u32, u16),
        warm_up: Duration,
        duration: Duration,
    ) -> Schedule {
        Schedule {
            start,
            rate_per_s: rate_per_s.max(1),
            connections,
            warm_up,
            end: warm_up + duration,
        }
    }

    /// When a request is due, after the start; `None` when it is no part of the run.
    #[must_use]
    pub fn due(&self, connection: u16, n: u64) -> Option<Duration> {
        let turn = u128::from(n) * u128::from(self.connections) + u128::from(connection);
        let ns = turn * 1_000_000_000 / u128::from(self.rate_per_s);
        let due = Duration::from_nanos(u64::try_from(ns).ok()?);
        (due < self.end).then_some(due)
    }

    /// How many requests of a connection were due at `now`.
    #[must_use]
    pub fn due_until(&self, connection: u16, now: Duration) -> u64 {
        let ns = now.min(self.end).as_nanos();
        // turns with turn × 10⁹ / rate < ns
        let turns = (ns * u128::from(self.rate_per_s)).div_ceil(1_000_000_000);
        let own = turns.saturating_sub(u128::from(connection));
        u64::try_from(own.div_ceil(u128::from(self.connections))).unwrap_or(u64::MAX)
    }

    /// Whether a request that is due then counts.
    #[must_use]
    pub fn is_measured(&self, due: Duration) -> bool {
        due >= self.warm_up
    }

    /// The place of a moment among the intervals of the measured part; 0 before it.
    #[must_use]
    pub fn interval(&self, now: Duration, length: Duration) -> u64 {
        let measured = now.saturating_sub(self.warm_up).as_nanos();
        u64::try_from(measured / length.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Where the measured part begins, after the start.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        self.warm_up
    }

    /// Time since the start; zero before it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The end of the measured part; nothing is due then or later.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.end
    }
}

/// Asks the kernel to wake this thread on time: by default it may be 50 µs late, to save power.
/// Where that is not allowed, the measured delay of sending shows it.
pub(crate) fn wake_on_time() {
    let Ok(own) = std::fs::read_link("/proc/thread-self") else {
        return;
    };
    if let Some(thread) = own.file_name() {
        let path = std::path::Path::new("/proc").join(thread);
        let _ = std::fs::write(path.join("timerslack_ns"), "1000");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate_per_s: u32, connections: u16, ms: u64) -> Schedule {
        let (warm_up, duration) = (Duration::from_millis(100), Duration::from_millis(ms));
        Schedule::new(Instant::now(), (rate_per_s, connections), warm_up, duration)
    }

    #[test]
    fn the_rate_is_that_of_all_connections_together() {
        for (rate, connections) in [(1, 1), (7, 3), (1000, 8), (999_983, 13)] {
            let schedule = schedule(rate, connections, 900);
            let mut all = 0;
            for connection in 0..connections {
                let own = (0..).take_while(|&n| schedule.due(connection, n).is_some());
                all += u64::try_from(own.count()).unwrap_or_default();
            }
            assert_eq!(all, u64::from(rate), "{rate} {connections}");
        }
    }

    #[test]
    fn due_until_counts_what_due_gives() {
        let schedule = schedule(777, 5, 900);
        for connection in 0..5 {
            for us in (0..1_200_000).step_by(997) {
                let now = Duration::from_micros(us);
                let counted = (0..)
                    .take_while(|&n| schedule.due(connection, n).is_some_and(|due| due < now))
                    .count();
                let told = schedule.due_until(connection, now);
                assert_eq!(told, u64::try_from(counted).unwrap_or_default(), "{us}");
            }
        }
    }

    #[test]
    fn the_warm_up_is_not_measured() {
        let schedule = schedule(1000, 1, 100);
        assert!(!schedule.is_measured(Duration::from_millis(99)));
        assert!(schedule.is_measured(Duration::from_millis(100)));
        assert_eq!(schedule.end(), Duration::from_millis(200));
        assert!(schedule.due(0, 199).is_some() && schedule.due(0, 200).is_none());
    }
}
