//! The shard's own connections to a cluster: to the target for the mirror, and to the source for
//! writes whose fate is not known. One link per contact point, and the writes that are owed.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::buffers::Partial;
use super::connection::Spare;
use super::net::Net;
use crate::cql::decoder::DecodeLimits;
use crate::limits;
use crate::relay::link::{Credentials, Link, LinkEvent, Sent, Ticket};
use crate::relay::mirror::{Mirror, RetryPolicy};
use crate::relay::write::Write;
use crate::side::Side;
use crate::sys::ring::SocketId;

/// Answers of a cluster are small; a longer one than this is nonsense.
const ANSWER_LIMITS: DecodeLimits = DecodeLimits::responses(16 << 20);
/// A batch of requests of this size does not wait for company.
const FULL_BYTES: usize = 32 << 10;

/// How a shard deals with one cluster.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Which cluster.
    pub side: Side,
    /// Its nodes.
    pub contact_points: Vec<SocketAddr>,
    /// Fixed credentials; else those that a client logged in with.
    pub credentials: Option<Credentials>,
    /// Requests in flight per node.
    pub in_flight: usize,
    /// How long a request may wait for company.
    pub linger: Duration,
}

/// One node and the link to it.
#[derive(Debug)]
struct Node {
    address: SocketAddr,
    link: Option<Open>,
    retry_at_us: i64,
    pause_us: i64,
    /// The last failure was told to the log.
    reported: bool,
}

#[derive(Debug)]
struct Open {
    link: Link,
    socket: SocketId,
    connected: bool,
    partial: Partial,
    /// When the last bytes came in, or the connect began (µs).
    heard_us: i64,
    /// When bytes began to wait in `link.out` (µs).
    waiting_since_us: Option<i64>,
}

/// What the shard has to see to.
#[derive(Debug)]
pub enum RemoteEvent {
    /// An answer to a write.
    Answer(LinkEvent),
    /// A link is up.
    Up,
    /// A link is lost; these writes were sent and have no answer, those never left.
    Down {
        /// Sent, no answer.
        sent: Vec<Ticket>,
        /// Never left.
        unsent: Vec<Ticket>,
        /// The link was up.
        was_ready: bool,
    },
    /// The write cannot be said in the protocol.
    Impossible(Ticket),
}

/// See the module.
#[derive(Debug)]
pub struct Remote {
    config: RemoteConfig,
    nodes: Vec<Node>,
    /// What is owed to this cluster.
    pub owed: Mirror,
    credentials: Option<Rc<Credentials>>,
    events: Vec<LinkEvent>,
    next_node: usize,
    /// What is to be sent shall not linger: others wait for its answer.
    pub hurry: bool,
    /// Since when no link is up (µs).
    down_since_us: Option<i64>,
}

impl Remote {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(config: RemoteConfig, policy: RetryPolicy, now_us: i64) -> Self {
        let nodes = config
            .contact_points
            .iter()
            .map(|address| Node {
                address: *address,
                link: None,
                retry_at_us: 0,
                pause_us: 0,
                reported: false,
            })
            .collect();
        let credentials = config.credentials.clone().map(Rc::new);
        Self {
            config,
            nodes,
            owed: Mirror::new(policy),
            credentials,
            events: Vec::new(),
            next_node: 0,
            hurry: false,
            down_since_us: Some(now_us),
        }
    }

    /// A client logged in: its credentials serve here too, if none are fixed.
    pub fn offer_credentials(&mut self, credentials: Rc<Credentials>) {
        if self.config.credentials.is_none() && self.credentials.as_ref() != Some(&credentials) {
            self.credentials = Some(credentials);
            for node in self.nodes.iter_mut().filter(|node| node.link.is_none()) {
                node.retry_at_us = 0;
            }
        }
    }

    /// Whether a link is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.down_since_us.is_none()
    }

    /// For how long no link has been up (µs); 0 when one is.
    #[must_use]
    pub fn down_us(&self, now_us: i64) -> i64 {
        self.down_since_us.map_or(0, |since_us| now_us - since_us)
    }

    /// The link of a node forgets the target's ids of a write's statements.
    pub fn forget_prepared(&mut self, index: usize, ticket: Ticket) {
        let Some(entry) = self.owed.get(ticket) else {
            return;
        };
        if let Some(open) = self
            .nodes
            .get_mut(index)
            .and_then(|node| node.link.as_mut())
        {
            open.link.forget_prepared(&entry.write);
        }
    }

    /// Links that are up.
    #[must_use]
    pub fn links_up(&self) -> usize {
        self.open().filter(|open| open.link.is_ready()).count()
    }

    fn open(&self) -> impl Iterator<Item = &Open> {
        self.nodes.iter().filter_map(|node| node.link.as_ref())
    }

    /// The clock was set forward: silences are measured from where they were.
    pub fn follow_step(&mut self, step_us: i64) {
        if let Some(since_us) = &mut self.down_since_us {
            *since_us += step_us;
        }
        for node in &mut self.nodes {
            node.retry_at_us = node.retry_at_us.saturating_add(step_us);
            if let Some(open) = &mut node.link {
                open.heard_us += step_us;
                if let Some(since_us) = &mut open.waiting_since_us {
                    *since_us += step_us;
                }
            }
        }
    }

    /// Starts the connects that are due. Gives the sockets with the node that each belongs to.
    pub fn connect_due(&mut self, ring: &mut impl Net, now_us: i64) -> Vec<(SocketId, usize)> {
        let mut started = Vec::new();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if node.link.is_some() || node.retry_at_us > now_us {
                continue;
            }
            match ring.connect(node.address) {
                Ok(socket) => {
                    let credentials = self.credentials.as_deref().cloned();
                    let link = Link::new(
                        credentials,
                        self.config.in_flight,
                        limits::PREPARED_PER_SHARD,
                    );
                    node.link = Some(Open {
                        link,
                        socket,
                        connected: false,
                        partial: Partial::default(),
                        heard_us: now_us,
                        waiting_since_us: None,
                    });
                    started.push((socket, index));
                }
                Err(error) => self.fail(index, &error.to_string(), now_us),
            }
        }
        started
    }

    /// The connect of a node ended.
    pub fn connected(
        &mut self,
        index: usize,
        result: std::io::Result<()>,
        ring: &mut impl Net,
        now_us: i64,
    ) -> Option<RemoteEvent> {
        match result {
            Ok(()) => {
                let open = self.nodes.get_mut(index)?.link.as_mut()?;
                open.connected = true;
                open.heard_us = now_us;
                ring.start_recv(open.socket);
                let hello = std::mem::take(&mut open.link.out);
                ring.send(open.socket, hello);
                None
            }
            Err(error) => Some(self.lose(index, &error.to_string(), ring, now_us)),
        }
    }

    /// Bytes came from a node.
    pub fn received(
        &mut self,
        index: usize,
        bytes: &[u8],
        now_us: i64,
        happened: &mut Vec<RemoteEvent>,
    ) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(index) else {
            return Ok(());
        };
        let Some(open) = node.link.as_mut() else {
            return Ok(());
        };
        open.heard_us = now_us;
        let (link, events) = (&mut open.link, &mut self.events);
        let cut = open.partial.cut(bytes, &ANSWER_LIMITS, |envelope| {
            link.handle(envelope, events)
        });
        let mut broken = match cut {
            Ok(rest) => {
                open.partial.keep(rest);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        for event in self.events.drain(..) {
            match event {
                LinkEvent::Ready => {
                    tracing::info!(side = %self.config.side, node = %node.address, "connected");
                    node.pause_us = 0;
                    node.reported = false;
                    self.down_since_us = None;
                    happened.push(RemoteEvent::Up);
                }
                LinkEvent::Broken(words) => broken = broken.or(Some(words)),
                LinkEvent::Alive => {}
                answer => happened.push(RemoteEvent::Answer(answer)),
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Gives a link up: `why` says the reason.
    pub fn lose(
        &mut self,
        index: usize,
        why: &str,
        ring: &mut impl Net,
        now_us: i64,
    ) -> RemoteEvent {
        let open = self.nodes.get_mut(index).and_then(|node| node.link.take());
        self.fail(index, why, now_us);
        let Some(open) = open else {
            return RemoteEvent::Down {
                sent: Vec::new(),
                unsent: Vec::new(),
                was_ready: false,
            };
        };
        let was_ready = open.link.is_ready();
        ring.close(open.socket);
        if self.links_up() == 0 && self.down_since_us.is_none() {
            self.down_since_us = Some(now_us);
        }
        let (sent, unsent) = open.link.into_unanswered();
        RemoteEvent::Down {
            sent,
            unsent,
            was_ready,
        }
    }

    /// Gives all links up, for the stop.
    pub fn abandon(&mut self, ring: &mut impl Net, now_us: i64, happened: &mut Vec<RemoteEvent>) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].link.is_some() {
                let event = self.lose(index, "the proxy stops", ring, now_us);
                happened.push(event);
            }
            self.nodes[index].retry_at_us = i64::MAX;
        }
    }

    fn fail(&mut self, index: usize, why: &str, now_us: i64) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let (first_us, longest_us) = (
            i64::try_from(limits::RECONNECT_RANGE_MS.0 * 1_000).unwrap_or(i64::MAX),
            i64::try_from(limits::RECONNECT_RANGE_MS.1 * 1_000).unwrap_or(i64::MAX),
        );
        node.pause_us = (node.pause_us * 2).clamp(first_us, longest_us);
        // spread the shards a little: they all lost the node at the same moment
        let jitter_us = now_us.rem_euclid(node.pause_us / 4 + 1);
        node.retry_at_us = now_us + node.pause_us - jitter_us;
        if !node.reported {
            node.reported = true;
            tracing::warn!(side = %self.config.side, node = %node.address, "not connected: {why}");
        }
    }

    /// Sends what is owed, as far as the links take it, and flushes what has waited long enough.
    pub fn pump(
        &mut self,
        ring: &mut impl Net,
        spare: &mut Spare,
        now_us: i64,
        happened: &mut Vec<RemoteEvent>,
        mut age: impl FnMut(&Write) -> Option<Write>,
    ) {
        self.owed.wake(now_us);
        while let Some((ticket, write)) = self.owed.peek() {
            let waited_us = now_us - write.arrived_us - write.aged_s * 1_000_000;
            if waited_us >= 1_000_000
                && let Some(aged) = age(write)
            {
                self.owed.replace(ticket, aged);
                continue;
            }
            let Some(open) = next_ready(&mut self.nodes, &mut self.next_node) else {
                break;
            };
            match open.link.send(ticket, write) {
                Sent::Now | Sent::Parked => {
                    open.waiting_since_us.get_or_insert(now_us);
                    self.owed.mark_sent();
                }
                Sent::Full => break,
                Sent::Impossible => {
                    self.owed.mark_sent();
                    happened.push(RemoteEvent::Impossible(ticket));
                }
            }
        }
        let linger_us = i64::try_from(self.config.linger.as_micros()).unwrap_or(i64::MAX);
        for node in &mut self.nodes {
            let Some(open) = node.link.as_mut().filter(|open| open.connected) else {
                continue;
            };
            if open.link.out.is_empty() || ring.is_sending(open.socket) {
                continue;
            }
            let since_us = *open.waiting_since_us.get_or_insert(now_us);
            let urgent = self.hurry || !open.link.is_ready() || open.link.out.len() >= FULL_BYTES;
            if urgent || now_us - since_us >= linger_us {
                let bytes = std::mem::replace(&mut open.link.out, spare.take());
                ring.send(open.socket, bytes);
                open.waiting_since_us = None;
            }
        }
        self.hurry = false;
    }

    /// When [`Self::pump`] has to run though nothing happens (µs).
    ///
    /// Lingering writes do not count: a timeout in the near future costs more than the send that
    /// it saves (`benches/README.md`: 1.22 against 1.03 at one connection), so what is due is sent
    /// when the wait ends for another reason. On an idle shard that is the executor's tick.
    #[must_use]
    pub fn next_due_us(&self) -> Option<i64> {
        self.owed.next_wake_us()
    }

    /// Housekeeping: heartbeats, and links that do not answer.
    pub fn tick(&mut self, ring: &mut impl Net, now_us: i64, happened: &mut Vec<RemoteEvent>) {
        let timeout_us = i64::try_from(limits::MIRROR_TIMEOUT_MS * 1_000).unwrap_or(i64::MAX);
        let connect_us = i64::try_from(limits::CONNECT_TIMEOUT_MS * 1_000).unwrap_or(i64::MAX);
        for index in 0..self.nodes.len() {
            let Some(open) = self.nodes[index].link.as_mut() else {
                continue;
            };
            let silent_us = now_us - open.heard_us;
            let ready = open.link.is_ready();
            if !ready && silent_us > connect_us {
                let event = self.lose(index, "no answer to the handshake", ring, now_us);
                happened.push(event);
            } else if ready && open.link.in_flight() > 0 && silent_us > timeout_us {
                let words = format!("no answer for {} ms", silent_us / 1_000);
                let event = self.lose(index, &words, ring, now_us);
                happened.push(event);
            } else if ready && open.link.in_flight() == 0 && silent_us > timeout_us / 2 {
                open.link.heartbeat();
                open.heard_us = now_us; // the next silence is measured from here
            }
        }
    }
}

/// The next link in turn that takes writes.
fn next_ready<'n>(nodes: &'n mut [Node], next: &mut usize) -> Option<&'n mut Open> {
    let count = nodes.len();
    let found = (0..count)
        .map(|step| (*next + step) % count)
        .find(|index| {
            nodes[*index]
                .link
                .as_ref()
                .is_some_and(|open| open.link.is_ready())
        })?;
    *next = (found + 1) % count;
    nodes[found].link.as_mut()
}
