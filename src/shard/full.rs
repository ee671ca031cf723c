//! What happens when writes cannot be spilled: the disk is full, fails or is slow, or the spill has
//! used up what it may take.
//!
//! *Backpressure*: connections that have written are not read from until there is room; connections
//! that only read go on. Nothing is dropped: what came before waits in memory, which is bounded.
//!
//! *Drop and mark*: the shard asks the control thread to write an open window of dirty time into
//! the data directory; clients wait until that is on the disk. Only then are writes dropped,
//! counted per table, and the exact windows reported each second. A process that dies in it leaves
//! the open window behind, so a drop is never silent.

use std::collections::HashMap;

use super::Shard;
use super::inbox::{Ask, Message};
use crate::config::OnSpillFull;
use crate::journal::State;
use crate::limits;
use crate::metrics::{Event as Counted, Gauge};
use crate::relay::write::{Table, Write};
use crate::spill::dirty::{Reason, Window};

/// Bytes that wait for the disk before clients are held back, and at which they go on.
const UNSAFE_HIGH_BYTES: u64 = 32 << 20;
const UNSAFE_LOW_BYTES: u64 = 8 << 20;
/// Tables with windows of their own between two reports; more are put together.
const TABLES_MAX: usize = 1024;
/// Windows are reported this often (µs).
const REPORT_US: i64 = 1_000_000;

/// What a shard tells the control thread.
#[derive(Debug)]
pub enum Note {
    /// It wants to drop writes that arrived from then on (µs).
    MayDrop {
        /// Which shard.
        shard: usize,
        /// Arrival of the oldest one.
        from_us: u64,
    },
    /// It has dropped these.
    Dropped(Vec<Window>),
    /// It drops no more.
    Ended {
        /// Which shard.
        shard: usize,
    },
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// The journal cannot be brought to the disk any more.
    Journal,
    /// The disk does not keep up.
    Slow,
    /// The last write to the disk failed.
    Disk,
    /// `--spill-max-bytes` is used up.
    Budget,
    /// The file system has less space left than `--spill-reserve-bytes`.
    Reserve,
}

impl Lack {
    /// Whether dropping writes helps.
    fn ends_by_dropping(self) -> bool {
        !matches!(self, Self::Journal | Self::Slow)
    }

    fn words(self) -> &'static str {
        match self {
            Lack::Journal => "the journal cannot be brought to the disk",
            Lack::Slow => "the disk does not keep up with the spill",
            Lack::Disk => "the spill cannot be written",
            Lack::Budget => "the spill has used up --spill-max-bytes",
            Lack::Reserve => "the disk has no more than --spill-reserve-bytes left",
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Dropping {
    #[default]
    No,
    Asked,
    Yes,
}

/// Arrivals of the first and the last dropped write of a table, and how many there are.
type Span = (u64, u64, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Full {
    lack: Option<Lack>,
    /// The control thread says that the file system has little space left.
    pub(super) disk_is_low: bool,
    dropping: Dropping,
    dropped: HashMap<Option<Table>, Span>,
    /// Windows that the control thread could not be told yet.
    untold: Vec<Window>,
    report_at_us: i64,
}

impl Full {
    /// Whether writes that should be spilled are dropped.
    pub(super) fn drops(&self) -> bool {
        self.dropping == Dropping::Yes
    }

    fn note(&mut self, write: &Write) {
        let arrived_us = u64::try_from(write.arrived_us).unwrap_or_default();
        let table = Some(write.of_table());
        let has_room = self.dropped.len() < TABLES_MAX;
        let table = match has_room || self.dropped.contains_key(&table) {
            true => table,
            false => None,
        };
        let span = self.dropped.entry(table).or_insert((u64::MAX, 0, 0));
        *span = (span.0.min(arrived_us), span.1.max(arrived_us), span.2 + 1);
    }

    /// Whether all that was dropped is told.
    pub(super) fn is_told(&self) -> bool {
        self.dropped.is_empty() && self.untold.is_empty()
    }

    fn take_windows(&mut self) -> Vec<Window> {
        let untold = std::mem::take(&mut self.untold).into_iter();
        let windows = self.dropped.drain();
        let windows = windows.map(|(table, (from_us, to_us, count))| Window {
            keyspace: table.as_ref().map(|(keyspace, _)| keyspace.to_string()),
            table: table.as_ref().map(|(_, table)| table.to_string()),
            count,
            ..Window::of_all(from_us, to_us, Reason::SpillFull)
        });
        untold.chain(windows).collect()
    }
}

impl Shard {
    fn lack(&self) -> Option<Lack> {
        let spill = &self.config.spill;
        let limit = spill.max_bytes_per_shard(self.inherited_bytes, self.count);
        // goes on when an eighth is free, or it would begin and end with each segment
        let limit = match self.full.lack {
            Some(Lack::Budget) => limit - limit / 8,
            _ => limit,
        };
        let waiting = self.spiller.unsafe_bytes() + self.rejects.unsafe_bytes();
        let own_bytes = self.drain.disk_bytes() - self.drain.inherited_bytes();
        let own_bytes = own_bytes + self.spiller.open_bytes();
        let high = match self.full.lack {
            Some(Lack::Slow) => UNSAFE_LOW_BYTES,
            _ => UNSAFE_HIGH_BYTES,
        };
        if self.common.journal.has_failed() {
            Some(Lack::Journal)
        } else if self.spiller.is_failing() || self.rejects.is_failing() {
            Some(Lack::Disk)
        } else if own_bytes > limit {
            Some(Lack::Budget)
        } else if self.full.disk_is_low {
            Some(Lack::Reserve)
        } else {
            (waiting > high).then_some(Lack::Slow)
        }
    }

    /// All shards share the room that earlier processes left.
    pub(super) fn tell_of_inherited(&mut self) {
        let bytes = self.drain.inherited_bytes();
        if self.index == 0 && bytes != self.inherited_bytes {
            self.inherited_bytes = bytes;
            for shard in 1..self.count {
                self.inbox.tell(shard, Message::Inherited(bytes));
            }
        }
    }

    /// Holds clients back, or begins to drop, while there is no room; ends that when there is.
    pub(super) fn work_on_room(&mut self) {
        let lack = self.lack();
        if lack != self.full.lack {
            self.tell_of_room(lack);
            self.full.lack = lack;
        }
        let may_drop = self.config.spill.on_full == OnSpillFull::DropAndMark
            && lack.is_some_and(Lack::ends_by_dropping);
        match (may_drop, &self.full.dropping) {
            (true, Dropping::No) => self.ask_to_drop(),
            (false, Dropping::Yes | Dropping::Asked) => self.end_dropping(),
            _ => {}
        }
        if self.full.drops() && self.now_us >= self.full.report_at_us {
            self.report_dropped();
        }
        let holding = lack.is_some() && !self.full.drops();
        if holding != self.holding {
            self.holding = holding;
            self.recorder.set(Gauge::ClientsHeld, u64::from(holding));
            self.mark_all();
        }
    }

    fn tell_of_room(&self, lack: Option<Lack>) {
        let backlog_bytes = self.drain.disk_bytes() + self.spiller.open_bytes();
        let policy = match self.config.spill.on_full {
            OnSpillFull::Backpressure => "connections that write are not read from until then",
            OnSpillFull::DropAndMark => "writes are dropped and their tables marked until then",
        };
        match lack {
            Some(Lack::Journal) => {} // it was said when it came to that
            Some(Lack::Slow) => tracing::warn!(
                backlog_bytes,
                "backpressure: {}; connections that write wait",
                Lack::Slow.words()
            ),
            Some(lack) => tracing::warn!(
                backlog_bytes,
                "backpressure: {}; make room, or bring the target back: {policy}",
                lack.words()
            ),
            None => tracing::info!(backlog_bytes, "backpressure ends: the spill has room"),
        }
    }

    fn ask_to_drop(&mut self) {
        let oldest = [
            self.target.owed.oldest_arrival_us(),
            self.lanes.oldest_us(),
            self.barriers.held.front().map(|write| write.arrived_us),
        ];
        let from_us = oldest.into_iter().flatten().fold(self.now_us, i64::min);
        let from_us = u64::try_from(from_us).unwrap_or_default();
        let shard = self.index;
        if self.tell_control(Note::MayDrop { shard, from_us }) {
            self.full.dropping = Dropping::Asked;
        }
    }

    /// The open window is on the disk.
    pub(super) fn may_drop(&mut self) {
        if self.full.dropping == Dropping::Asked {
            self.full.dropping = Dropping::Yes;
            self.full.report_at_us = self.now_us + REPORT_US;
        }
    }

    fn end_dropping(&mut self) {
        self.report_dropped();
        if self.full.untold.is_empty() && self.tell_control(Note::Ended { shard: self.index }) {
            self.full.dropping = Dropping::No;
        }
    }

    /// False if it has to be said again later.
    fn tell_control(&mut self, note: Note) -> bool {
        use crossbeam_channel::TrySendError;
        match self.asks.try_send(Ask::Dropping(note)) {
            Ok(()) => true,
            Err(TrySendError::Full(Ask::Dropping(Note::Dropped(windows)))) => {
                self.full.untold = windows;
                false
            }
            Err(_) => false,
        }
    }

    /// Tells the control thread what was dropped.
    pub(super) fn report_dropped(&mut self) {
        self.full.report_at_us = self.now_us + REPORT_US;
        let windows = self.full.take_windows();
        if !windows.is_empty() {
            self.tell_control(Note::Dropped(windows));
        }
    }

    /// A write that there is no room for, with the operator's word that it may be dropped.
    pub(super) fn drop_write(&mut self, write: &Write) {
        self.full.note(write);
        self.common.journal.mark(write.journal, State::Done);
        self.recorder.count(Counted::Dropped, 1);
        let total = self.recorder.shared().event(Counted::Dropped);
        if total.is_power_of_two() {
            // not each of them: the windows have them all
            tracing::warn!(
                keyspace = %write.keyspace,
                table = %write.table,
                total,
                "a write was dropped: the spill is full; see dirty-windows"
            );
        }
    }
}

const _: () = {
    assert!(UNSAFE_LOW_BYTES < UNSAFE_HIGH_BYTES);
    assert!(UNSAFE_HIGH_BYTES < limits::SPILL_MIN_PER_SHARD_BYTES);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::write::Body;

    fn write(table: &str, arrived_us: i64) -> Write {
        let body = Body::Query {
            text: "".into(),
            params: Vec::new(),
        };
        Write::new(arrived_us, "ks", table, body)
    }

    #[test]
    fn what_is_dropped_has_its_window() {
        let mut full = Full::default();
        for (table, arrived_us) in [("a", 5), ("a", 3), ("b", 9)] {
            full.note(&write(table, arrived_us));
        }
        let mut windows = full.take_windows();
        windows.sort_by_key(|window| window.from_us);
        let shown: Vec<_> = windows.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["3 5 ks a spill-full 2", "9 9 ks b spill-full 1"]);
        assert!(full.take_windows().is_empty());
    }

    #[test]
    fn beyond_many_tables_one_window_stands_for_the_rest() {
        let mut full = Full::default();
        for n in 0..TABLES_MAX + 7 {
            full.note(&write(&n.to_string(), 1));
            full.note(&write("0", 2));
        }
        let windows = full.take_windows();
        assert_eq!(windows.len(), TABLES_MAX + 1);
        let rest = windows.iter().find(|w| w.table.is_none()).map(|w| w.count);
        assert_eq!(rest, Some(7));
    }
}
