//! Which stamps lists have at the target.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::limits;

/// The stamps of the list writes that a shard has sent, as far back as it remembers, and stamps
/// that nobody else takes.
///
/// A list that is written twice with the same stamp has each element twice (CASSANDRA-11368).
#[derive(Debug)]
pub struct ListStamps {
    shard: i64,
    last_own_us: i64,
    /// In the order of their arrival.
    order: VecDeque<(i64, u64)>,
    known: HashSet<u64>,
    /// What has such a stamp (µs), or an earlier one, may be there.
    floor_us: i64,
}

impl ListStamps {
    /// `shard`: which one, from 0. Nothing is known of what was sent before `now_us`.
    #[must_use]
    pub fn new(shard: usize, now_us: i64) -> Self {
        Self {
            shard: i64::try_from(shard).unwrap_or(0),
            last_own_us: i64::MIN / 2,
            order: VecDeque::new(),
            known: HashSet::new(),
            floor_us: now_us,
        }
    }

    /// A stamp of about now (µs) that no shard of this process has given or will give, with room
    /// behind it for second tries, whose stamps are raised by one.
    pub fn own_us(&mut self, now_us: i64) -> i64 {
        let step_us = i64::try_from(limits::SHARDS_MAX).unwrap_or(i64::MAX);
        let latest_us = now_us + (self.shard - now_us).rem_euclid(step_us);
        self.last_own_us = latest_us.max(self.last_own_us + step_us);
        self.last_own_us
    }

    /// A list of the table goes to the target with this stamp (µs).
    pub fn note(&mut self, keyspace: &str, table: &str, stamp_us: i64) {
        let name = name(keyspace, table, stamp_us);
        if !self.known.insert(name) {
            return;
        }
        if self.order.len() >= limits::LIST_STAMPS
            && let Some((oldest_us, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.floor_us = self.floor_us.max(oldest_us);
        }
        self.order.push_back((stamp_us, name));
    }

    /// Whether a list of the table may be at the target, or on its way, with this stamp (µs).
    #[must_use]
    pub fn is_taken(&self, keyspace: &str, table: &str, stamp_us: i64) -> bool {
        stamp_us <= self.floor_us || self.known.contains(&name(keyspace, table, stamp_us))
    }
}

fn name(keyspace: &str, table: &str, stamp_us: i64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (keyspace, table, stamp_us).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_has_an_own_stamp() {
        let mut given = HashSet::new();
        for shard in 0..3 {
            let mut stamps = ListStamps::new(shard, 0);
            for now_us in [10_000, 10_000, 10_001, 9_000, 20_000] {
                let own_us = stamps.own_us(now_us);
                assert!(given.insert(own_us), "{own_us}");
            }
            assert!((1_000_000..1_000_256).contains(&stamps.own_us(1_000_000)));
        }
    }

    #[test]
    fn what_is_forgotten_counts_as_taken() {
        let mut stamps = ListStamps::new(0, 1_000);
        let last_us = 1_001 + i64::try_from(limits::LIST_STAMPS).unwrap();
        assert!(stamps.is_taken("ks", "t", 1_000));
        assert!(!stamps.is_taken("ks", "t", 1_001));
        for stamp_us in 1_001..=last_us {
            stamps.note("ks", "t", stamp_us);
            stamps.note("ks", "t", stamp_us);
        }
        assert!(stamps.is_taken("ks", "t", last_us));
        assert!(!stamps.is_taken("ks", "u", last_us) && !stamps.is_taken("ks", "t", last_us + 1));
        assert!(
            stamps.is_taken("ks", "u", 1_001),
            "it is not known any more"
        );
        assert!(!stamps.is_taken("ks", "u", 1_002));
    }
}
