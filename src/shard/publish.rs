//! What a shard shows of itself: counters, gauges, watermarks.

use super::Shard;
use crate::metrics::{self, Event as Counted, Gauge, Skip};

impl Shard {
    /// What happened in the sessions.
    fn publish_tally(&mut self) {
        let tally = std::mem::take(&mut self.common.tally);
        for (kind, count) in metrics::RequestKind::ALL.iter().zip(tally.requests) {
            self.recorder.requests(*kind, count);
        }
        let recorder = &mut self.recorder;
        recorder.verdicts(metrics::Verdict::Applied, tally.applied);
        recorder.verdicts(metrics::Verdict::Refused, tally.refused);
        recorder.verdicts(metrics::Verdict::Ambiguous, tally.ambiguous);
        let reasons = [
            Skip::Filter,
            Skip::Ddl,
            Skip::Roles,
            Skip::System,
            Skip::Unsupported,
        ];
        for (reason, count) in reasons.into_iter().zip(tally.skipped) {
            recorder.skipped(reason, count);
        }
        if tally.opaque_applied > 0 {
            let before = recorder.shared().skipped(Skip::Unsupported);
            recorder.skipped(Skip::Unsupported, tally.opaque_applied);
            let total = recorder.shared().skipped(Skip::Unsupported);
            if before.checked_ilog2() != total.checked_ilog2() {
                // not each of them: there can be many, and they are counted
                tracing::warn!(
                    total,
                    "statements that cannot be read were not refused by the source"
                );
            }
        }
        recorder.count(Counted::StampInjected, tally.stamped);
        recorder.count(Counted::StampClient, tally.client_stamped);
        recorder.count(Counted::StampFarFuture, tally.stamped_in_future);
        recorder.count(Counted::Unjournaled, tally.unjournaled);
    }

    /// Once per tick: everything that the control thread and the operator see of the shard.
    pub(super) fn publish_metrics(&mut self) {
        self.publish_tally();
        let recorder = &mut self.recorder;
        let owed = &mut self.target.owed;
        recorder.set(
            Gauge::MirrorInFlight,
            (owed.live_len() - owed.queued().min(owed.live_len())) as u64,
        );
        // the others are looks, which the next lines count
        let asked = self
            .resolver
            .owed
            .len()
            .saturating_sub(self.readback.asked());
        let waiting = self.barriers.held.len() + self.lanes.waiting();
        let pending = owed.live_len() + waiting + self.readback.len() + asked;
        recorder.set(Gauge::PendingWrites, pending as u64);
        recorder.set(Gauge::PendingBytes, owed.bytes() as u64);
        recorder.set(Gauge::TargetUp, u64::from(self.target.is_up()));
        recorder.set(Gauge::TargetsResting, self.target.resting() as u64);
        let answer_us = u64::try_from(self.target.latency_us()).unwrap_or(0);
        recorder.set(Gauge::TargetAnswerUs, answer_us);
        recorder.set(Gauge::Listening, u64::from(self.listener.is_some()));
        recorder.set(Gauge::Prepared, self.common.registry.len() as u64);
        let live = self.target.owed.oldest_arrival_us();
        let held = self.barriers.held.front().map(|write| write.arrived_us);
        let spilled = self.drain.oldest_us();
        let resolved = self.resolver.owed.oldest_arrival_us();
        let changed = self
            .changes
            .iter()
            .filter_map(|change| change.write.as_ref());
        let changed = changed.map(|write| write.arrived_us).min();
        let lanes = self.lanes.oldest_us();
        let looks = self.readback.oldest_us();
        let oldest = [live, held, spilled, lanes, resolved, changed, looks]
            .into_iter()
            .flatten()
            .min();
        let journaled = self.common.journal.oldest_us();
        let unfinished = [live, held, lanes, resolved, changed, journaled];
        let unfinished = unfinished.into_iter().flatten().min();
        recorder.oldest_unfinished(unfinished.and_then(|us| u64::try_from(us).ok()));
        recorder.oldest_unmirrored(oldest.and_then(|us| u64::try_from(us).ok()));
        let backlog_bytes = self.drain.unread_bytes() + self.spiller.open_bytes();
        let records = self.backlog_records.max(backlog_bytes.min(1));
        recorder.set(Gauge::BacklogRecords, records);
        recorder.set(Gauge::BacklogBytes, backlog_bytes);
        // the age of what an earlier process left is not known before it is read
        let unknown = backlog_bytes > 0 && spilled.is_none();
        let settled_us = if unknown {
            0
        } else {
            oldest.unwrap_or(self.now_us)
        };
        recorder.settled(u64::try_from(settled_us).unwrap_or_default());
        recorder.tick(u64::try_from(self.now_us).unwrap_or_default());
    }
}
