//! How old the spill may become: a target forgets deletes after `gc_grace_seconds`, and a delete
//! that comes later than that could let old data come back.

use std::collections::VecDeque;

use super::barrier::{Barriers, Change, ChangeId};
use super::drain::Rules;
use super::{Earlier, Shard};
use crate::config;
use crate::relay::write::Write;
use crate::tables::Tables;

/// Tables that forget deletes sooner than this are taken to keep them this long: they rely on
/// something else against old data, and an outage of seconds must not cost them each delete (s).
const GRACE_MIN_S: i64 = 3_600;
/// Parts of the shortest grace, in percent, at which the age of the spill is warned of.
const WARNED_AT: [i64; 3] = [50, 80, 100];

/// What a shard knows about records that are drained.
pub(super) struct DrainRules<'s> {
    pub barriers: &'s Barriers,
    /// The changes of the schema that the shard carries out.
    pub changes: &'s VecDeque<Change>,
    /// The target's tables.
    pub target: &'s Tables,
    pub spill: &'s config::Spill,
    pub now_us: i64,
}

impl Rules for DrainRules<'_> {
    fn is_gated(&self, write: &Write) -> bool {
        self.barriers
            .holds_spilled(self.changes, &write.keyspace, write.arrived_us)
    }

    fn change(&self, write: &Write) -> Option<ChangeId> {
        let is_it = |change: &&Earlier| {
            change.arrived_us == write.arrived_us && *change.keyspace == *write.keyspace
        };
        self.barriers
            .earlier
            .iter()
            .find(is_it)
            .map(|change| change.id)
    }

    fn is_too_old(&self, write: &Write) -> bool {
        if !write.deletes || self.spill.force_old_deletes {
            return false;
        }
        let known_s = self.target.gc_grace_s(&write.keyspace, &write.table);
        self.now_us - write.arrived_us > grace_us(known_s, self.spill)
    }
}

fn grace_us(known_s: Option<u32>, spill: &config::Spill) -> i64 {
    known_s.map_or(spill.gc_grace_us(), |known_s| {
        i64::from(known_s).max(GRACE_MIN_S) * 1_000_000
    })
}

impl Shard {
    /// Says when the oldest spilled write comes near the time after which deletes are forgotten;
    /// once for each part of it.
    pub(super) fn warn_of_age(&mut self) {
        let Some(oldest_us) = self.drain.oldest_us() else {
            self.age_told = 0;
            return;
        };
        let known_s = self.common.plans.known().target.shortest_gc_grace_s();
        let grace_us = grace_us(known_s, &self.config.spill);
        let percent = (self.now_us - oldest_us).max(0).saturating_mul(100) / grace_us.max(1);
        let passed = WARNED_AT.iter().filter(|part| percent >= **part).count();
        if passed > self.age_told {
            let (age_s, grace_s) = ((self.now_us - oldest_us) / 1_000_000, grace_us / 1_000_000);
            tracing::warn!(
                age_s,
                grace_s,
                "the oldest spilled write is {percent} % as old as the target's shortest \
                 gc_grace_seconds; deletes beyond it are kept as rejected, unless \
                 --force-old-deletes: bring the target back, or raise gc_grace_seconds there"
            );
        }
        self.age_told = passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnSpillFull;
    use crate::relay::write::Body;
    use crate::tables::Table;
    use std::time::Duration;

    const DAY_US: i64 = 24 * 3_600 * 1_000_000;

    fn is_too_old(table: &str, deletes: bool, age_us: i64, force_old_deletes: bool) -> bool {
        let mut target = Tables::default();
        for (name, gc_grace_s) in [("week", 7 * 24 * 3_600), ("none", 0)] {
            let table = Table {
                gc_grace_s,
                ..Table::default()
            };
            target.add("ks", name, table);
        }
        let rules = DrainRules {
            barriers: &Barriers::default(),
            changes: &VecDeque::new(),
            target: &target,
            spill: &config::Spill {
                max_bytes: 1,
                on_full: OnSpillFull::Backpressure,
                reserve_bytes: 0,
                segment_bytes: 1,
                drain_rate: None,
                assumed_gc_grace: Duration::from_secs(10 * 24 * 3_600),
                force_old_deletes,
            },
            now_us: 100 * DAY_US,
        };
        let body = Body::Query {
            text: "".into(),
            params: Vec::new(),
        };
        rules.is_too_old(&Write {
            deletes,
            ..Write::new(100 * DAY_US - age_us, "ks", table, body)
        })
    }

    #[test]
    fn old_deletes_are_not_sent_unless_forced() {
        assert!(is_too_old("week", true, 7 * DAY_US + 1, false));
        assert!(!is_too_old("week", true, 7 * DAY_US, false));
        assert!(!is_too_old("week", false, 99 * DAY_US, false));
        assert!(!is_too_old("week", true, 99 * DAY_US, true));
        assert!(!is_too_old("unknown", true, 9 * DAY_US, false));
        assert!(is_too_old("unknown", true, 11 * DAY_US, false));
        assert!(!is_too_old("none", true, 60_000_000, false));
        assert!(is_too_old("none", true, DAY_US, false));
    }
}
