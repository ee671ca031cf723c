//! What shards tell each other: one channel into each shard, and an eventfd that wakes it.
//!
//! The rule that makes it correct without locks: *publish before release, drain before miss*. A
//! shard puts news into every inbox before it lets go of the answer that made them; a shard that
//! meets something unknown drains its inbox first. What a client does after an answer therefore
//! finds the news already there, on whatever core it lands.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Receiver, SendError, Sender, unbounded};

use super::barrier::ChangeId;
use super::full::Note;
use super::refused::Refused;
use crate::journal::Place;
use crate::relay::Common;
use crate::relay::link::Credentials;
use crate::relay::output::News;
use crate::spill::Kind;
use crate::sys::waker::{self, Waker, Wakeup};
use crate::tables::{Known, Nodes};
use crate::tls::Material;

/// What comes into a shard's inbox.
#[derive(Debug)]
pub enum Message {
    /// Something that another shard learned.
    News(News),
    /// Later writes of the keyspace wait for a schema change.
    Hold {
        /// The change.
        id: ChangeId,
        /// The keyspace.
        keyspace: Box<str>,
        /// When the change arrived (µs).
        arrived_us: i64,
        /// For shard 0, which carries it out: the statement, as a spill record.
        record: Vec<u8>,
        /// With it its record in the journal.
        journal: Option<Place>,
    },
    /// To shard 0: what came before the change is on the target, as far as this shard goes.
    Reached {
        /// The change.
        id: ChangeId,
    },
    /// To shard 0: the drain has found a change in the spill.
    Found {
        /// The change.
        id: ChangeId,
    },
    /// The change is on the target.
    Release {
        /// The change.
        id: ChangeId,
    },
    /// A table has lists or counters: its deletes keep their place.
    Lane {
        /// The keyspace.
        keyspace: Box<str>,
        /// The table.
        table: Box<str>,
        /// Which of the two.
        kind: Kind,
    },
    /// To the owner of a table: a write that must keep its place, as a spill record, and its record
    /// in the journal.
    Ordered(Vec<u8>, Option<Place>),
    /// To the owner of a table with lists: a write that is to be read back.
    ReadBack {
        /// The write, as a spill record.
        record: Vec<u8>,
        /// Its record in the journal.
        journal: Option<Place>,
        /// It was applied; else it may have been.
        is_sure: bool,
        /// The target may have it, or what was made of it.
        may_be_there: bool,
    },
    /// A client of another shard has logged in with this.
    Login(Credentials),
    /// The tables of both clusters, as the control plane has read them.
    Tables(Arc<Known>),
    /// The nodes of the target, as the control plane has found them.
    Nodes(Arc<Nodes>),
    /// The nodes of the target, each with its address and its name there.
    Points(Arc<[(SocketAddr, String)]>),
    /// The answer to [`Ask::Agreement`] with this number.
    Agreed(u64),
    /// The answer to [`Note::MayDrop`]: the open window is on the disk.
    MayDrop,
    /// Whether the file system of the spill has less space left than it should.
    DiskIsLow(bool),
    /// What earlier processes left for shard 0 to drain takes up this on the disk (bytes).
    Inherited(u64),
    /// To shard 0, which counts them: windows of dirty time.
    DirtyWindows(usize),
    /// A shard asks up to when all writes that arrived here have their verdict.
    Settled {
        /// Which shard.
        asker: usize,
    },
    /// The answer.
    SettledUntil {
        /// Who answers.
        shard: usize,
        /// What arrived before this has its verdict (µs).
        until_us: i64,
    },
    /// Certificates have changed: for connections to come.
    Tls(Box<Material>),
    /// To shard 0, which counts it: certificates have changed, and cannot be used.
    TlsUnfit,
    /// Stop: accept no more, finish what is in flight.
    Stop,
}

/// What a shard asks of the control plane.
#[derive(Debug)]
pub enum Ask {
    /// A client logged in with this.
    Login(Credentials),
    /// It drops writes, or wants to.
    Dropping(Note),
    /// Shard 0 waits until all nodes of the target have the same schema; the number of its
    /// question.
    Agreement(u64),
    /// A table is to be named in the log.
    Name(Box<Refused>),
    /// It needs to know a table that no snapshot holds, or not as it is now.
    Tables,
}

/// The way into one shard's inbox; clones go to other threads.
#[derive(Debug, Clone)]
pub struct Address {
    sender: Sender<Message>,
    waker: Waker,
}

/// One shard's inbox.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Message>,
    /// Readable when somebody wants the shard to look at once.
    pub wakeup: Wakeup,
    /// The inboxes of all shards.
    all: Vec<Address>,
    own: usize,
    /// Messages that were taken while looking for news.
    taken: VecDeque<Message>,
}

impl Address {
    /// Leaves a message and wakes the shard; it is lost on one that has ended.
    pub fn tell(&self, message: Message) {
        let _ = self.try_tell(message);
    }

    /// Leaves a message and wakes the shard, unless it has ended: then the message comes back.
    fn try_tell(&self, message: Message) -> Result<(), Message> {
        self.sender.send(message).map_err(SendError::into_inner)?;
        self.waker.wake();
        Ok(())
    }
}

/// Makes the inboxes of `count` shards and the ways into them.
///
/// # Errors
/// When the process is out of descriptors.
pub fn make(count: usize) -> io::Result<(Vec<Inbox>, Vec<Address>)> {
    let mut ends = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..count {
        // without a bound: a write without room would lose its place among those of its table;
        // shards look in each turn, and the journal bounds the writes that can wait
        let (sender, receiver) = unbounded();
        let (waker, wakeup) = waker::pair()?;
        addresses.push(Address { sender, waker });
        ends.push((receiver, wakeup));
    }
    let inboxes = ends
        .into_iter()
        .enumerate()
        .map(|(own, (receiver, wakeup))| Inbox {
            receiver,
            wakeup,
            all: addresses.clone(),
            own,
            taken: VecDeque::new(),
        });
    Ok((inboxes.collect(), addresses))
}

impl Inbox {
    /// Tells all other shards. They are not woken: who needs it looks before a miss.
    pub fn publish(&self, news: &News) {
        for (shard, address) in self.all.iter().enumerate() {
            if shard != self.own {
                let _ = address.sender.send(Message::News(news.clone()));
            }
        }
    }

    /// Tells one shard, and wakes it.
    pub fn tell(&self, shard: usize, message: Message) {
        if let Some(address) = self.all.get(shard) {
            address.tell(message);
        }
    }

    /// Tells all other shards, and wakes them.
    pub fn tell_others(&self, message: impl Fn() -> Message) {
        for shard in (0..self.all.len()).filter(|shard| *shard != self.own) {
            self.tell(shard, message());
        }
    }

    /// Tells one shard, unless it has ended: then the message comes back.
    pub fn try_tell(&self, shard: usize, message: Message) -> Result<(), Message> {
        match self.all.get(shard) {
            Some(address) => address.try_tell(message),
            None => Err(message),
        }
    }

    /// The next message.
    pub fn take(&mut self) -> Option<Message> {
        self.taken
            .pop_front()
            .or_else(|| self.receiver.try_recv().ok())
    }

    /// Takes the news that are there into `common`; other messages keep their order.
    pub fn learn_news(&mut self, common: &mut Common) {
        while let Ok(message) = self.receiver.try_recv() {
            match message {
                Message::News(news) => learn(news, common),
                other => self.taken.push_back(other),
            }
        }
    }
}

pub(super) fn learn(news: News, common: &mut Common) {
    match news {
        News::Prepared {
            id,
            text,
            keyspace,
            binds,
            added,
        } => {
            let keyspace = keyspace.map(|name| name.into());
            let mut plan = common.plans.prepared(&text, keyspace, binds);
            plan.added = added;
            common.registry.insert(&id, Rc::new(plan));
        }
    }
}
