//! How many clients the process has, over all shards: `--max-connections` is for all of them, and
//! the kernel spreads connections over listeners by hash, not evenly. Each shard counts its own
//! and reads those of the others, so nothing is written by two; clients that come to several
//! shards at the same moment may be one more for each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One shard's part.
#[derive(Debug, Clone)]
pub struct Seats {
    taken: Arc<[AtomicUsize]>,
    own: usize,
    most: usize,
}

impl Seats {
    /// Room for so many clients, shared by so many shards.
    #[must_use]
    pub fn new(most: usize, shards: usize) -> Vec<Self> {
        let taken: Arc<[AtomicUsize]> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        let part = |own| Self {
            taken: Arc::clone(&taken),
            own,
            most,
        };
        (0..shards).map(part).collect()
    }

    /// Takes a seat; false: there is none.
    pub(super) fn take(&self) -> bool {
        // Relaxed: the counts guard no other memory.
        let taken = self.taken.iter().map(|one| one.load(Ordering::Relaxed));
        let free = taken.sum::<usize>() < self.most;
        if free {
            self.set_own(|own| own + 1);
        }
        free
    }

    /// Gives one back.
    pub(super) fn give(&self) {
        self.set_own(|own| own.saturating_sub(1));
    }

    fn set_own(&self, change: impl FnOnce(usize) -> usize) {
        if let Some(own) = self.taken.get(self.own) {
            own.store(change(own.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_share_them() {
        let seats = Seats::new(3, 2);
        assert!(seats[0].take() && seats[1].take() && seats[0].take());
        assert!(!seats[1].take() && !seats[0].take());
        seats[1].give();
        assert!(seats[0].take());
        assert!(!seats[1].take());
    }
}
