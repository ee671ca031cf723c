//! `--durability machine`: the journal's file is brought to the disk, and answers wait for that.
//!
//! One sync of the shard's file at a time, on the shard's own ring. It begins at the end of a turn
//! in which a write was journaled or an answer began to wait; what comes meanwhile is for the next.
//! A tenth of a second after the last write one more brings the states of finished writes to the
//! disk, so that a crash of the machine does not put them in doubt.
//!
//! Answers to reads never wait. A sync that fails is the end of acknowledgements: the kernel does
//! not tell what it has dropped, and a later sync would succeed without it. Clients that write wait
//! then as they do for a full disk, reads go on, and a restart settles what the journal holds.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::Shard;
use super::connection::ConnectionId;
use super::net::Net;
use crate::metrics::{Event as Counted, Gauge};

/// See the module.
#[derive(Default)]
pub(super) struct Commit {
    /// The journal's file, if writes must survive the machine.
    file: Option<Arc<File>>,
    /// Connections with answers that wait.
    waiting: Vec<ConnectionId>,
    /// Records of the spill that have their place in the journal now: which commit brings it to the
    /// disk, and the drain's name for them.
    from_spill: Vec<(u64, u64)>,
    /// There is time for what nobody waits for.
    idle: bool,
}

impl Commit {
    pub(super) fn new(file: Option<Arc<File>>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// Notes that a connection has answers that wait.
    pub(super) fn wait(&mut self, at: ConnectionId) {
        self.waiting.push(at);
    }

    /// A record of the spill may leave it when the commit has ended.
    pub(super) fn take_from_spill(&mut self, commit: u64, key: u64) {
        self.from_spill.push((commit, key));
    }

    /// Called ten times a second.
    pub(super) fn tick(&mut self) {
        self.idle = true;
    }
}

impl Shard {
    /// Begins a commit if one is wanted and none is under way.
    pub(super) fn begin_commit(&mut self, ring: &mut impl Net) {
        let Some(file) = &self.commit.file else {
            return;
        };
        let idle = std::mem::take(&mut self.commit.idle);
        if self.common.journal.begin_commit(idle) {
            self.recorder.count(Counted::JournalCommit, 1);
            ring.sync(Arc::clone(file));
        }
    }

    /// What was under way is on the disk, or never will be known to be.
    pub(super) fn commit_ended(&mut self, result: io::Result<()>) {
        self.common.journal.end_commit(result.is_ok());
        if let Err(error) = result {
            self.recorder.set(Gauge::JournalFailed, 1);
            tracing::error!(
                "the journal cannot be brought to the disk: {error}; no write is acknowledged any \
                 more, connections that write wait, reads go on: mend the disk or name another \
                 --journal-dir, and start the proxy again, which settles what is in the journal"
            );
            return;
        }
        let committed = self.common.journal.committed();
        let mut waiting = std::mem::take(&mut self.commit.waiting);
        waiting.retain(|at| {
            let waits = self.clients.release(*at, committed);
            self.clients.mark(*at);
            waits
        });
        self.commit.waiting = waiting;
        let from_spill = std::mem::take(&mut self.commit.from_spill);
        let (ended, later) = from_spill
            .into_iter()
            .partition::<Vec<_>, _>(|(commit, _)| *commit <= committed);
        self.commit.from_spill = later;
        for (_, key) in ended {
            self.leave_spill(key);
        }
    }
}
