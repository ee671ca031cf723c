//! The shard's own connections to a cluster: to the target for the mirror, and to the source for
//! writes whose fate is not known. One link per node, and the writes that are owed.

use std::net::SocketAddr;
use std::time::Duration;

use super::buffers::Partial;
use super::connection::SpareBuffers;
use super::net::Net;
use super::peer::{Node, Open, with_room};
use super::secured::say_goodbye;
use crate::cql::{Consistency, Version};
use crate::limits;
use crate::metrics::TlsFailure;
use crate::relay::breaker::{BreakerConfig, Failure};
use crate::relay::link::{Credentials, Link, LinkEvent, Sent, Ticket};
use crate::relay::mirror::{Mirror, RetryPolicy};
use crate::relay::plan::PlanCache;
use crate::relay::route::Routes;
use crate::relay::spilled;
use crate::relay::write::Write;
use crate::side::Side;
use crate::sys::ring::SocketId;
use crate::tls::{Outgoing, Received, Secure};

/// A batch of requests of this size does not wait for company.
const FULL_BYTES: usize = 32 << 10;

/// How a shard deals with one cluster.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Which cluster.
    pub side: Side,
    /// Its nodes.
    pub contact_points: Vec<SocketAddr>,
    /// What the operator calls each of them, for the names in their certificates.
    pub names: Vec<String>,
    /// Fixed credentials; else those that a client logged in with.
    pub credentials: Option<Credentials>,
    /// Newest version of the protocol that is spoken: v4, or v5 where a node speaks it.
    pub newest: Version,
    /// Consistency level of writes; `None`: the client's own.
    pub level: Option<Consistency>,
    /// Requests in flight per node.
    pub in_flight: usize,
    /// How long a request may wait for company.
    pub linger: Duration,
    /// Random; spreads the pauses before a node that failed is tried again.
    pub seed: u64,
    /// Contact points are not used before it is known which data centre they are in.
    pub waits_for_nodes: bool,
}

/// What the shard has to see to.
#[derive(Debug)]
pub enum RemoteEvent {
    /// An answer to a write.
    Answer(LinkEvent),
    /// A link is up.
    Up,
    /// A TLS handshake has ended well.
    Secured,
    /// TLS with a node failed.
    Insecure(TlsFailure),
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
    pub(super) config: RemoteConfig,
    pub(super) trust: BreakerConfig,
    pub(super) nodes: Vec<Node>,
    /// What is owed to this cluster.
    pub owed: Mirror,
    /// Which node each write is for.
    pub(super) routes: Routes,
    credentials: Option<Credentials>,
    /// TLS for links to come; `None`: they are plain.
    tls: Option<Outgoing>,
    scratch: Vec<u8>,
    events: Vec<LinkEvent>,
    next_node: usize,
    /// Whether nodes may be told when writes came: by a clock that was set, cells would expire at
    /// another time than at the source.
    pub may_date: bool,
    /// What is to be sent shall not linger: others wait for its answer.
    pub hurry: bool,
    /// Since when no node can be used (µs).
    down_since_us: Option<i64>,
    /// How long answers to writes take, smoothed (µs).
    latency_us: i64,
}

impl Remote {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(config: RemoteConfig, policy: RetryPolicy, now_us: i64) -> Self {
        let (first_ms, longest_ms) = limits::RECONNECT_RANGE_MS;
        let us = |ms: u64| i64::try_from(ms * 1_000).unwrap_or(i64::MAX);
        let trust = BreakerConfig {
            window_max: config.in_flight,
            window_first: limits::RECOVERY_IN_FLIGHT.min(config.in_flight),
            failures: limits::BREAKER_FAILURES,
            probes: limits::BREAKER_PROBES.min(config.in_flight),
            pause_us: (us(first_ms), us(longest_ms)),
        };
        let nodes = config
            .contact_points
            .iter()
            .zip(&config.names)
            .zip(0u64..)
            .map(|((address, name), number)| {
                let seed = config.seed.wrapping_add(number);
                Node {
                    unwanted: config.waits_for_nodes,
                    ..Node::new(*address, name.clone(), trust, seed)
                }
            })
            .collect();
        let credentials = config.credentials.clone();
        Self {
            config,
            trust,
            nodes,
            owed: Mirror::new(policy),
            routes: Routes::default(),
            credentials,
            tls: None,
            scratch: Vec::new(),
            events: Vec::new(),
            next_node: 0,
            may_date: true,
            hurry: false,
            down_since_us: Some(now_us),
            latency_us: 0,
        }
    }

    /// A client logged in: its credentials serve here too, if none are fixed. True if they are
    /// others than before.
    pub fn offer_credentials(&mut self, credentials: &Credentials) -> bool {
        let are_news =
            self.config.credentials.is_none() && self.credentials.as_ref() != Some(credentials);
        if are_news {
            self.credentials = Some(credentials.clone());
            self.retry_unconnected();
        }
        are_news
    }

    /// Whether the links log in as somebody else than the operator has named.
    #[must_use]
    pub fn logs_in_as_client(&self) -> bool {
        self.config.credentials.is_none() && self.credentials.is_some()
    }

    /// Links to come use this; those that are there go on with what they have.
    pub fn secure_with(&mut self, tls: Option<Outgoing>) {
        self.tls = tls;
        self.retry_unconnected();
    }

    /// Nodes without a link do not wait out their pause: what they failed of may be gone.
    fn retry_unconnected(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.link.is_none()) {
            node.try_now = true;
        }
    }

    /// Whether a node can be used.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.down_since_us.is_none()
    }

    /// How many more writes may be sent now. Some, too, when a node that failed is to be tried.
    #[must_use]
    pub fn room(&self, now_us: i64) -> usize {
        let rooms = self.nodes.iter().map(|node| node.room(now_us));
        rooms.sum::<usize>().saturating_sub(self.owed.waiting())
    }

    /// How long answers to writes take, smoothed (µs).
    #[must_use]
    pub fn latency_us(&self) -> i64 {
        self.latency_us
    }

    /// Nodes that are given a rest.
    #[must_use]
    pub fn resting(&self) -> usize {
        let used = self.nodes.iter().filter(|node| !node.unwanted);
        used.filter(|node| node.breaker.is_open()).count()
    }

    /// For how long no node could be used (µs); 0 when one can.
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

    /// Takes note of whether some node can be used.
    fn look(&mut self, now_us: i64) {
        if self.nodes.iter().any(Node::is_usable) {
            self.down_since_us = None;
        } else {
            self.down_since_us.get_or_insert(now_us);
        }
    }

    /// The clock was set forward: silences are measured from where they were.
    pub fn follow_step(&mut self, step_us: i64) {
        if let Some(since_us) = &mut self.down_since_us {
            *since_us += step_us;
        }
        for node in &mut self.nodes {
            node.breaker.follow_step(step_us);
            if let Some(open) = &mut node.link {
                open.link.follow_step(step_us);
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
            let rests = !node.try_now && node.breaker.resumes_us(now_us).is_some();
            if node.link.is_some() || node.given_up || node.unwanted || rests {
                continue;
            }
            node.try_now = false;
            match ring.connect(node.address) {
                Ok(socket) => {
                    let credentials = self.credentials.clone();
                    let streams = self.config.in_flight + limits::PREPARES_IN_FLIGHT;
                    let newest = self.config.newest;
                    let prepared = limits::PREPARED_PER_SHARD;
                    let link = Link::new(newest, credentials, streams, prepared, now_us);
                    let link = link.at_level(self.config.level);
                    node.link = Some(Open {
                        link,
                        socket,
                        connected: false,
                        tls: None,
                        partial: Partial::default(),
                        frames: None,
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
                let node = self.nodes.get_mut(index)?;
                let open = node.link.as_mut()?;
                let secure = match self.tls.as_ref().map(|tls| secure(tls, &node.name)) {
                    None => None,
                    Some(Ok(secure)) => Some(secure),
                    Some(Err(why)) => return Some(self.lose(index, &why, ring, now_us)),
                };
                open.connected = true;
                open.heard_us = now_us;
                ring.start_recv(open.socket);
                let mut hello = Vec::new();
                open.tls = secure;
                match &mut open.tls {
                    None => hello = std::mem::take(&mut open.link.out),
                    Some(tls) => tls.take_records(&mut hello),
                }
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
        let open = self.nodes.get_mut(index).and_then(|n| n.link.as_mut());
        let Some(mut tls) = open.and_then(|open| open.tls.take()) else {
            return self.plain(index, bytes, now_us, happened);
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut inside = Ok(());
        let received = tls.receive(bytes, &mut scratch, |plain| {
            if inside.is_ok() {
                inside = self.plain(index, plain, now_us, happened);
            }
        });
        self.scratch = scratch;
        if let Some(open) = self.nodes.get_mut(index).and_then(|n| n.link.as_mut()) {
            open.tls = Some(tls);
            open.heard_us = now_us;
        }
        match received {
            Ok(Received { ready, closed }) => {
                if ready {
                    happened.push(RemoteEvent::Secured);
                }
                match closed {
                    true => Err("closed by the node".to_owned()),
                    false => inside,
                }
            }
            Err(error) => {
                happened.push(RemoteEvent::Insecure(error.reason()));
                Err(format!("TLS failed: {error}"))
            }
        }
    }

    /// Plain bytes came from a node.
    fn plain(
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
        let in_flight = open.link.load();
        let (events, latency_us) = (&mut self.events, &mut self.latency_us);
        let taken = open.take(bytes, |link, envelope| {
            if let Some(took_us) = link.handle(envelope, now_us, events) {
                *latency_us += (took_us - *latency_us) / 16;
            }
        });
        let mut broken = taken.err();
        let protocol = open.link.version();
        for event in self.events.drain(..) {
            match event {
                LinkEvent::Ready => {
                    let side = self.config.side;
                    tracing::info!(%side, %node, %protocol, "connected");
                    node.reported = false;
                    happened.push(RemoteEvent::Up);
                }
                LinkEvent::Broken(words) => broken = broken.or(Some(words)),
                LinkEvent::Alive => node.breaker.lives(),
                answer => {
                    let doubtful = match &answer {
                        LinkEvent::Failed { ticket, .. } => self.owed.is_doubtful(*ticket),
                        _ => false,
                    };
                    node.judge(&answer, doubtful, in_flight, now_us);
                    happened.push(RemoteEvent::Answer(answer));
                }
            }
        }
        node.stalled = false;
        self.look(now_us);
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
        let mut open = open;
        if open.connected {
            say_goodbye(open.tls.as_mut(), open.socket, ring);
        }
        ring.close(open.socket);
        self.look(now_us);
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
            self.nodes[index].given_up = true;
        }
    }

    fn fail(&mut self, index: usize, why: &str, now_us: i64) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        node.breaker.failed(Failure::Gone, 0, now_us);
        node.stalled = false;
        if !node.reported {
            node.reported = true;
            tracing::warn!(side = %self.config.side, %node, "not connected: {why}");
        }
    }

    /// Sends what is owed, as far as the links take it, and flushes what has waited long enough.
    /// `leaves` sees each write before its bytes go out.
    pub fn pump(
        &mut self,
        ring: &mut impl Net,
        spare: &mut SpareBuffers,
        plans: &mut PlanCache,
        now_us: i64,
        happened: &mut Vec<RemoteEvent>,
        mut leaves: impl FnMut(&Write),
    ) {
        self.owed.wake(now_us);
        while let Some((ticket, write)) = self.owed.peek() {
            let owner = self.routes.owner(ticket, &self.owed, plans);
            let (nodes, next) = (&mut self.nodes, &mut self.next_node);
            let Some(open) = with_room(nodes, owner, next, now_us) else {
                break;
            };
            let second = match open.link.version() {
                Version::V5 if self.may_date => write.now_in_seconds(now_us),
                _ => None,
            };
            let waited_us = now_us - write.arrived_us - write.aged_s * 1_000_000;
            // the source, too, shall let it expire when the client wanted that
            if waited_us >= 1_000_000
                && second.is_none()
                && let Some(aged) = spilled::aged(write, plans, now_us)
            {
                self.owed.replace(ticket, aged);
                continue;
            }
            match open.link.send(ticket, write, second, now_us) {
                sent @ (Sent::Now | Sent::Parked) => {
                    open.waiting_since_us.get_or_insert(now_us);
                    if sent == Sent::Now {
                        leaves(write);
                    }
                    self.owed.mark_sent();
                }
                Sent::Full => break,
                Sent::Impossible => {
                    self.owed.mark_sent();
                    happened.push(RemoteEvent::Impossible(ticket));
                }
            }
        }
        self.flush(ring, spare, now_us, happened);
    }

    /// Sends what has waited long enough.
    pub fn flush(
        &mut self,
        ring: &mut impl Net,
        spare: &mut SpareBuffers,
        now_us: i64,
        happened: &mut Vec<RemoteEvent>,
    ) {
        let linger_us = i64::try_from(self.config.linger.as_micros()).unwrap_or(i64::MAX);
        let mut broken = None;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(open) = node.link.as_mut().filter(|open| open.connected) else {
                continue;
            };
            if let Some(tls) = &mut open.tls
                && (tls.has_records() || !tls.is_ready())
            {
                if tls.has_records() && !ring.is_sending(open.socket) {
                    let mut records = spare.take();
                    tls.take_records(&mut records);
                    ring.send(open.socket, records);
                }
                continue;
            }
            if open.link.out.is_empty() || ring.is_sending(open.socket) {
                continue;
            }
            let since_us = *open.waiting_since_us.get_or_insert(now_us);
            let urgent = self.hurry || !open.link.is_ready() || open.link.out.len() >= FULL_BYTES;
            if urgent || now_us - since_us >= linger_us {
                let mut bytes = std::mem::replace(&mut open.link.out, spare.take());
                open.waiting_since_us = None;
                if let Some(frames) = &mut open.frames {
                    let mut framed = spare.take();
                    frames.wrap(&bytes, &mut framed);
                    spare.give(std::mem::replace(&mut bytes, framed));
                }
                if let Some(tls) = &mut open.tls {
                    let mut records = spare.take();
                    if let Err(error) = tls.seal(&bytes, &mut records) {
                        broken = Some((index, format!("TLS failed: {error}")));
                    }
                    spare.give(std::mem::replace(&mut bytes, records));
                }
                ring.send(open.socket, bytes);
            }
        }
        if let Some((index, why)) = broken {
            happened.push(self.lose(index, &why, ring, now_us)); // others: in the next turn
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

    /// Whether something waits for company.
    pub fn lingers(&self) -> bool {
        let mut links = self.nodes.iter().filter_map(|node| node.link.as_ref());
        links.any(|open| open.waiting_since_us.is_some())
    }

    /// Housekeeping: heartbeats, and links whose answers do not come.
    pub fn tick<N: Net>(&mut self, ring: &mut N, now_us: i64, happened: &mut Vec<RemoteEvent>) {
        let us = |ms: u64| i64::try_from(ms * 1_000).unwrap_or(i64::MAX);
        let (timeout_us, connect_us) = (
            us(limits::MIRROR_TIMEOUT_MS),
            us(limits::CONNECT_TIMEOUT_MS),
        );
        let idle = self.owed.is_empty();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let Some(open) = node.link.as_mut() else {
                continue;
            };
            if node.unwanted && open.link.load() == 0 {
                let event = self.lose(index, "it is not used any more", ring, now_us);
                happened.push(event);
                continue;
            }
            let silent_us = now_us - open.heard_us;
            let ready = open.link.is_ready();
            let waited_us = open
                .link
                .oldest_us()
                .map_or(0, |since_us| now_us - since_us);
            if !ready && silent_us > connect_us {
                let event = self.lose(index, "no answer to the handshake", ring, now_us);
                happened.push(event);
            } else if ready && waited_us > timeout_us {
                // not the silence alone: a node may answer all requests but one
                let words = format!("no answer to a request for {} ms", waited_us / 1_000);
                let event = self.lose(index, &words, ring, now_us);
                happened.push(event);
            } else if ready && !node.stalled && silent_us.min(waited_us) > us(limits::STALL_MS) {
                // it may come back: what it has is waited for, and nothing more is sent there
                node.stalled = true;
                let load = open.link.load();
                node.breaker.failed(Failure::Gone, load, now_us);
                tracing::warn!(side = %self.config.side, %node, "answers have stopped");
                self.look(now_us);
            } else if ready && open.link.in_flight() == 0 {
                let probe = idle && node.breaker.is_open() && node.breaker.window(now_us) > 0;
                if probe || silent_us > timeout_us / 2 {
                    open.link.heartbeat(now_us);
                    open.heard_us = now_us; // the next silence is measured from here
                }
            }
        }
        self.drop_left();
    }
}

/// TLS with a node that the operator calls `host`.
fn secure(tls: &Outgoing, host: &str) -> Result<Box<Secure>, String> {
    let name = tls.name_of(host);
    let name = name.ok_or_else(|| format!("`{host}` is no name that a certificate can have"))?;
    let secure = Secure::client(&tls.config, name).map_err(|error| error.to_string())?;
    Ok(Box::new(secure))
}
