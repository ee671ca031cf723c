//! The clock, what is to happen, and the trace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cluster::ConnId;
use crate::net::WireId;
use crate::random::Rng;

/// The world begins at this time (µs since 1970).
pub const EPOCH_US: i64 = 1_800_000_000_000_000;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A shard's loop runs.
    Turn { shard: usize, process: u64 },
    /// A connect ends, well or not.
    Connect(WireId),
    /// Bytes arrive at the end to which this direction leads.
    Deliver(WireId, usize),
    /// The kernel has taken all that was to be sent in this direction.
    Flushed(WireId, usize),
    /// A node executes a request.
    Execute(ConnId, Vec<u8>),
    /// A node's answer leaves.
    Answer(ConnId, Vec<u8>),
    /// A client thinks, or loses patience.
    Client { client: usize, token: u64 },
    /// A file operation ends.
    Disk(u64),
    /// A shard's journal is on the disk.
    Synced { shard: usize, process: u64 },
    /// The weather changes.
    Weather(usize),
    /// The control thread reads the schemas of both clusters.
    Watch,
    /// Once a second: what the control thread does.
    Second,
    /// It writes windows of dirty time down.
    Keep,
}

#[derive(Debug)]
struct Item {
    at_us: i64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

/// See the module.
pub struct Core {
    /// The true time (µs since 1970).
    pub now_us: i64,
    /// The proxy's clock is ahead of it by this (µs).
    pub proxy_ahead_us: i64,
    pub rng: Rng,
    /// Events so far.
    pub steps: u64,
    queue: BinaryHeap<Reverse<Item>>,
    sequence: u64,
    trace: Option<Vec<String>>,
}

impl Core {
    pub fn new(rng: Rng, trace: bool) -> Self {
        Self {
            now_us: EPOCH_US,
            proxy_ahead_us: 0,
            rng,
            steps: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            trace: trace.then(Vec::new),
        }
    }

    /// The time, as the proxy sees it (µs since 1970).
    pub fn proxy_now_us(&self) -> i64 {
        self.now_us + self.proxy_ahead_us
    }

    /// Has something happen after a while.
    pub fn after(&mut self, delay_us: i64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Item {
            at_us: self.now_us + delay_us.max(0),
            sequence: self.sequence,
            event,
        }));
    }

    /// The next event; the clock moves on to it.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse(item) = self.queue.pop()?;
        self.now_us = item.at_us;
        self.steps += 1;
        Some(item.event)
    }

    /// Notes what happened, if somebody wants to know.
    pub fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at_us = self.now_us - EPOCH_US;
            trace.push(format!(
                "{:>6}.{:06} {}",
                at_us / 1_000_000,
                at_us % 1_000_000,
                words()
            ));
        }
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}
