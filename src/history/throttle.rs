//! How many requests may be under way to one side, and how many rows a second: fewer while the
//! cluster times out or says that it is overloaded, slowly more again afterwards.
#![expect(
    clippy::disallowed_types,
    reason = "an offline tool; held for a few instructions"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::offline::pace::Pace;

/// Several requests fail of one cause: the limit is halved once in this time.
const CUT_EVERY: Duration = Duration::from_millis(500);

/// A limit that adapts: one more after as many successes as the limit, half after a failure.
pub(crate) struct Throttle {
    permits: Semaphore,
    state: Mutex<State>,
    max: usize,
}

struct State {
    limit: usize,
    /// Permits that are out and will not come back.
    debt: usize,
    successes: usize,
    last_cut: Option<Instant>,
    pace: Pace,
}

/// Leave to send one request.
pub(crate) struct Permit {
    throttle: Arc<Throttle>,
}

impl Throttle {
    /// At most `max` requests at once and `rate` rows a second.
    pub(crate) fn new(max: usize, rate: Option<u32>) -> Arc<Throttle> {
        Arc::new(Throttle {
            permits: Semaphore::new(max),
            state: Mutex::new(State {
                limit: max,
                debt: 0,
                successes: 0,
                last_cut: None,
                pace: Pace::new(rate),
            }),
            max,
        })
    }

    /// Waits for leave to send a request.
    pub(crate) async fn acquire(self: &Arc<Throttle>) -> Permit {
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        Permit {
            throttle: self.clone(),
        }
    }

    /// Waits until this many rows more are within the rate.
    pub(crate) async fn rows(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let at = self.state().pace.next_of(count, Instant::now());
        if let Some(at) = at {
            sleep_until(at).await;
        }
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        self.state().limit
    }

    /// A request was answered.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.limit < self.max && state.successes >= state.limit {
            state.successes = 0;
            state.limit += 1;
            self.give_back(&mut state);
        }
    }

    /// The cluster did not keep up.
    pub(crate) fn pushed_back(&self) {
        self.pushed_back_at(Instant::now());
    }

    fn pushed_back_at(&self, now: Instant) {
        let mut state = self.state();
        if state
            .last_cut
            .is_some_and(|last| now.duration_since(last) < CUT_EVERY)
        {
            return;
        }
        state.last_cut = Some(now);
        state.successes = 0;
        let lower = (state.limit / 2).max(1);
        state.debt += state.limit - lower;
        state.limit = lower;
    }

    fn give_back(&self, state: &mut State) {
        match state.debt.checked_sub(1) {
            Some(debt) => state.debt = debt,
            None => self.permits.add_permits(1),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        self.throttle.give_back(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn half_after_a_failure_and_one_more_after_as_many_successes() {
        let throttle = Throttle::new(8, None);
        let mut out = Vec::new();
        for _ in 0..8 {
            out.push(throttle.acquire().await);
        }
        let now = Instant::now();
        throttle.pushed_back_at(now);
        throttle.pushed_back_at(now); // the same overload
        assert_eq!(throttle.limit(), 4);
        out.truncate(4);
        assert_eq!(
            throttle.permits.available_permits(),
            0,
            "four are out, four were taken away"
        );
        out.clear();
        assert_eq!(throttle.permits.available_permits(), 4);
        (0..4).for_each(|_| throttle.succeeded());
        assert_eq!(
            (throttle.limit(), throttle.permits.available_permits()),
            (5, 5)
        );
        (0..1000).for_each(|_| throttle.succeeded());
        assert_eq!(
            (throttle.limit(), throttle.permits.available_permits()),
            (8, 8)
        );
        for n in 1..10 {
            throttle.pushed_back_at(now + CUT_EVERY * n);
        }
        assert_eq!(throttle.limit(), 1, "never none");
    }
}
