//! What shards tell each other: one channel into each shard, and an eventfd that wakes it.
//!
//! The rule that makes it correct without locks: *publish before release, drain before miss*. A
//! shard puts news into every inbox before it lets go of the answer that made them; a shard that
//! meets something unknown drains its inbox first. What a client does after an answer therefore
//! finds the news already there, on whatever core it lands.

use std::io;
use std::rc::Rc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::INBOX_MESSAGES;
use crate::relay::Common;
use crate::relay::output::News;
use crate::relay::plan::Plan;
use crate::sys::waker::{self, Waker, Wakeup};

/// What comes into a shard's inbox.
#[derive(Debug)]
pub enum Message {
    /// Something that another shard learned.
    News(News),
    /// Stop: accept no more, finish what is in flight.
    Stop,
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
    /// The inboxes of all shards, this one's left out.
    others: Vec<Address>,
}

impl Address {
    /// Leaves a message and wakes the shard. A full inbox belongs to a shard that does not run any
    /// more; the message is lost with it.
    pub fn tell(&self, message: Message) {
        let _ = self.sender.send(message);
        self.waker.wake();
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
        let (sender, receiver) = bounded(INBOX_MESSAGES);
        let (waker, wakeup) = waker::pair()?;
        addresses.push(Address { sender, waker });
        ends.push((receiver, wakeup));
    }
    let inboxes = ends.into_iter().enumerate().map(|(own, (receiver, wakeup))| {
        let others = addresses.iter().enumerate();
        let others = others.filter(|(other, _)| *other != own).map(|(_, a)| a.clone()).collect();
        Inbox { receiver, wakeup, others }
    });
    Ok((inboxes.collect(), addresses))
}

impl Inbox {
    /// Tells all other shards. They are not woken: who needs it looks before a miss.
    pub fn publish(&self, news: &News) {
        for other in &self.others {
            // full: that shard has not looked for 65,536 messages, so it has stopped
            let _ = other.sender.try_send(Message::News(news.clone()));
        }
    }

    /// Takes what is there: news go into `common`. True if the shard shall stop.
    pub fn drain(&self, common: &mut Common) -> bool {
        let mut stop = false;
        while let Ok(message) = self.receiver.try_recv() {
            match message {
                Message::News(news) => learn(news, common),
                Message::Stop => stop = true,
            }
        }
        stop
    }
}

fn learn(news: News, common: &mut Common) {
    match news {
        News::Prepared { id, text, keyspace, binds } => {
            let keyspace = keyspace.map(|name| name.into());
            let plan = Plan::new(&text, keyspace, &binds, common.plans.rules());
            common.registry.insert(&id, Rc::new(plan));
        }
    }
}
