//! The journal in the shard's life: settling at the start, and clients that wait for room in it.

use super::Shard;
use super::barrier::ChangeId;
use crate::journal::{Action, Nature, Place, State, action};
use crate::metrics::Gauge;
use crate::relay::spilled;
use crate::relay::write::Write;
use crate::spill::{Kind, record};

/// A write that an earlier process left in its journal.
#[derive(Debug)]
pub struct Unsettled {
    /// Its record.
    pub place: Place,
    /// How far it had come; `None` if that cannot be read.
    pub state: Option<State>,
    /// What the journal says of it.
    pub nature: Nature,
    /// The name of the schema change or TRUNCATE that it is.
    pub change: Option<ChangeId>,
    /// The record's body: a spill record.
    pub body: Vec<u8>,
}

impl Unsettled {
    /// Whether it makes its table one in which the order of writes matters.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        matches!(self.nature.kind, Kind::List | Kind::Counter)
    }

    /// When it arrived (µs since the Unix epoch): a spill record has that at byte 8.
    #[must_use]
    pub fn arrived_us(&self) -> i64 {
        let bytes = self.body.get(8..16).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, i64::from_le_bytes)
    }

    /// Its keyspace and table, if it can be read.
    #[must_use]
    pub fn table(&self) -> Option<(String, String)> {
        let view = record::decode(&self.body).ok()?;
        Some((view.keyspace.to_owned(), view.table.to_owned()))
    }
}

impl Shard {
    /// Takes over what earlier processes left: each write goes the way that its state and nature
    /// ask for. Nothing is sent before the first turn.
    pub(super) fn settle(&mut self, unsettled: Vec<Unsettled>) {
        for left in unsettled {
            let Unsettled {
                place,
                state,
                nature,
                change,
                body,
            } = left;
            self.common.journal.inherit(place);
            let Ok(view) = record::decode(&body) else {
                // its checksum is good: a version with other records wrote it
                tracing::error!(
                    ?place,
                    "a record of the journal is not understood, and is left"
                );
                continue;
            };
            let mut write = spilled::write(&view, &mut self.common.plans, 0);
            write.journal = Some(place);
            write.repeat = nature.repeat;
            match change {
                Some(id) => {
                    let is_wanted = action(state, nature) == Action::Schema;
                    self.queue_change(id, write, is_wanted);
                }
                None => self.settle_one(write, state, nature),
            }
        }
        self.tend_journal();
    }

    fn settle_one(&mut self, write: Write, state: Option<State>, nature: Nature) {
        let doubt = match state {
            None => "its state in the journal of a proxy that died cannot be known",
            Some(State::Intent) => "the proxy died before the source said whether it was applied",
            Some(_) => "it was being sent when the proxy died",
        };
        self.carry_out(write, action(state, nature), true, doubt);
    }

    /// The source may have it. What is done is what a restart would do.
    pub(super) fn resolve(&mut self, write: Write) {
        let action = action(Some(State::Intent), write.nature(false));
        let doubt = "the source did not say whether it was applied";
        self.carry_out(write, action, false, doubt);
    }

    /// Carries out what settling decided. `may_be_there`: the target may have the write, or what
    /// was made of it. `doubt`: what is unknown, for a write that is put aside.
    fn carry_out(&mut self, write: Write, action: Action, may_be_there: bool, doubt: &str) {
        match action {
            Action::Nothing => {}
            Action::Mirror => self.place(write),
            Action::Ask => self.ask(write),
            Action::Schema | Action::FromSpill => self.announce(write),
            Action::ReadBack => self.read_back(write, false, may_be_there),
            Action::InDoubt => self.reject(&write, 0, doubt, true),
        }
    }

    /// Once per turn: writes that have become safe elsewhere are done, and clients that wait for
    /// room get their chance.
    pub(super) fn work_on_journal(&mut self) {
        let Self {
            common,
            spiller,
            rejects,
            barriers,
            ..
        } = self;
        for place in spiller.take_safe().chain(rejects.take_safe()) {
            let state = match barriers.spilled.contains(&place) {
                true => State::Sent,
                false => State::Done,
            };
            common.journal.mark(place, state);
        }
        if !self.clients.has_stalled() {
            if std::mem::take(&mut self.journal_full) {
                tracing::info!("the journal has room again");
            }
            return;
        }
        self.tend_journal();
        self.go_on_with_stalled();
        if !self.clients.has_stalled() {
            return;
        }
        if !std::mem::replace(&mut self.journal_full, true) {
            let used_bytes = self.common.journal.used_bytes();
            tracing::warn!(
                used_bytes,
                "the journal is full: clients wait, writes that are not yet on their way to the \
                 target go to the spill; --journal-bytes gives it more room"
            );
        }
        self.put_back_unsent();
        self.spill_lanes();
    }

    /// Looks what others have done with records, and shows how full the journal is.
    pub(super) fn tend_journal(&mut self) {
        let journal = &mut self.common.journal;
        journal.look_around();
        if let Some(words) = journal.take_trouble() {
            tracing::error!("the journal cannot grow: {words}; clients wait until it has room");
        }
        let recorder = &self.recorder;
        recorder.set(Gauge::JournalBytes, journal.used_bytes());
        recorder.set(Gauge::JournalRecords, journal.live());
        recorder.set(Gauge::Unsettled, journal.unsettled() as u64);
    }
}
