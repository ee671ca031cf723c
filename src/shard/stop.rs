//! How a shard ends: what it still owes, what is put aside, and when nothing is left.

use super::net::Net;
use super::{Shard, ShardError};
use crate::config::Durability;
use crate::relay::mirror::Origin;

/// Once the time for a stop is over, a disk that works gets this long for the rest (µs).
const LAST_WRITES_US: i64 = 10_000_000;

/// What a shard has still to do; the default is nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Writes on their way to the target, from clients and from the spill.
    pub mirror: usize,
    /// Writes whose fate the source is asked for.
    pub resolver: usize,
    /// Schema changes that are not through.
    pub changes: usize,
    /// Writes that wait for one.
    pub held: usize,
    /// Writes whose place matters wait, or are on their way.
    pub lanes: bool,
    /// Records are in the spill.
    pub backlog: bool,
    /// What is done in the spill is not all written down.
    pub progress: bool,
    /// Bytes that wait for the disk.
    pub unsafe_bytes: u64,
}

impl Shard {
    /// Works towards the end after a stop. True if tasks were spawned.
    pub(super) fn work_on_stop(&mut self, ring: &mut impl Net) -> bool {
        let late = self
            .stop_at_us
            .is_some_and(|stop_at_us| self.now_us >= stop_at_us);
        self.close_idle(ring, late);
        self.do_outputs();
        // everything that can go has until the deadline; a target that is down gets no wait
        if self.clients.len() == 0 && (late || !self.target.is_up()) {
            self.target
                .abandon(ring, self.now_us, &mut self.remote_events);
            self.settle_target(usize::MAX);
            for (_, entry) in self.target.owed.take_unsent() {
                if entry.origin == Origin::Live {
                    self.spill(&entry.write);
                }
            }
            if late || self.readback.is_empty() {
                self.give_up_resolving();
            }
            for write in self.lanes.take_waiting() {
                self.spill(&write);
            }
            self.spill_held();
        }
        if self.clients.len() == 0 && self.target.owed.live_len() == 0 {
            self.spiller.seal();
            self.rejects.seal();
        }
        self.report_dropped();
        let mut spawned = self.spiller.kick(self.now_us, &*self.disk);
        spawned |= self.rejects.kick(self.now_us, &*self.disk);
        spawned
    }

    /// What is still to be done until all that clients wrote is on the target, or put aside on the
    /// disk, and that is written down.
    #[must_use]
    pub fn owed(&self) -> Owed {
        Owed {
            mirror: self.target.owed.len(),
            resolver: self.resolver.owed.len() + self.readback.len(),
            changes: self.barriers.holds.len() + self.changes.len(),
            held: self.barriers.held.len(),
            lanes: !self.lanes.is_empty(),
            backlog: !self.drain.is_empty() || self.spiller.is_open(),
            progress: !self.drain.is_stored(),
            unsafe_bytes: self.spiller.unsafe_bytes() + self.rejects.unsafe_bytes(),
        }
    }

    /// The source was asked for long enough.
    fn give_up_resolving(&mut self) {
        for (ticket, entry) in self.resolver.owed.take_unsent() {
            if !self.readback.is_look(ticket) {
                let words = "the source did not answer before the stop";
                self.reject(&entry.write, 0, words, true);
            }
        }
        self.give_up_looks();
    }

    /// Whether the shard has stopped and nothing is left in memory.
    #[must_use]
    pub fn is_through(&self) -> bool {
        self.stop_at_us.is_some()
            && self.clients.len() == 0
            && self.target.owed.live_len() == 0
            && self.resolver.owed.is_empty()
            && self.readback.is_empty()
            && self.barriers.held.is_empty()
            && self.lanes.bytes() == 0
            && self.changes.is_empty()
            && self.spiller.unsafe_bytes() == 0
            && !self.spiller.is_open()
            && self.rejects.unsafe_bytes() == 0
            // its file is closed by the executor, which ends then
            && !self.rejects.is_open()
            && self.full.is_told()
            && self.drain.is_stored()
    }

    /// Whether a stop has to end though not all is on the disk: its time is over, and the disk does
    /// not take what is left, or has not for a while.
    pub(super) fn is_out_of_time(&self) -> bool {
        let late_us = self.stop_at_us.map_or(-1, |at_us| self.now_us - at_us);
        let is_failing = self.spiller.is_failing() || self.rejects.is_failing();
        self.clients.len() == 0 && late_us >= if is_failing { 0 } else { LAST_WRITES_US }
    }

    /// What is left then.
    pub(super) fn unsaved(&self) -> ShardError {
        let unsafe_writes = self.spiller.unsafe_writes() + self.rejects.unsafe_writes();
        let owed = self.target.owed.live_len() + self.resolver.owed.len() + self.readback.len();
        ShardError::Unsaved {
            left: unsafe_writes + owed + self.barriers.held.len(),
            journaled: self.config.journal.durability != Durability::None,
        }
    }

    pub(super) fn stop(&mut self, ring: &mut impl Net) {
        if self.stop_at_us.is_some() {
            return;
        }
        let drain_us = i64::try_from(self.config.drain_timeout.as_micros()).unwrap_or(i64::MAX);
        self.stop_at_us = Some(self.now_us.saturating_add(drain_us));
        if let Some(listener) = self.listener.take() {
            ring.close(listener);
        }
    }
}
