//! What one core owns: its sockets, its connections to both clusters, its spill.
//!
//! ```text
//! run        the loop: wait → events → outputs → flush          (this file)
//! start      what it begins with                                  stop    how it ends
//! accept     how connections begin
//! clients    bytes in, how connections end
//! writes     what becomes of a write: mirror, spill, resolve, in doubt
//! lanes      writes whose order matters, one after the other in their partition
//! journaling settling at the start, clients that wait for room        deal    who settles what
//! commit     the journal on the disk, and the answers that wait for that
//! schema     schema changes behind a barrier over all shards      barrier  its bookkeeping
//! secured    TLS of the two: records → plain bytes
//! connection one client and its twin to the source                buffers  bytes → envelopes
//! remote     the shard's own links to a cluster
//! age        how old the spill may become
//! full       what happens when the spill has no room
//! readback   conditional writes are read back from the source
//! spiller    records → segments          drain   segments → records
//! inbox      what shards tell each other                          time     one time base for all
//! publish    metrics
//! net, disk  what a shard asks of the world; the ring and `files` answer, or a simulation
//! ```
//! One task of the executor runs the loop; a connection is an entry in a table, not a task. Other
//! tasks exist only while a spill file is read or written.

mod accept;
mod age;
mod barrier;
mod buffers;
mod clients;
mod commit;
mod connection;
mod deal;
mod discovery;
pub mod disk;
mod drain;
mod files;
mod frames;
pub mod full;
pub mod inbox;
mod journaling;
mod lanes;
pub mod net;
mod peer;
mod points;
mod publish;
mod readback;
pub mod refused;
mod remote;
mod schema;
pub mod seats;
mod secured;
mod spiller;
mod start;
mod stop;
pub mod time;
mod writes;

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ProxyConfig;
use crate::journal::State;
use crate::limits;
use crate::metrics::Direction;
use crate::metrics::Recorder;
use crate::relay::plan::Repeat;
use crate::relay::write::Write;
use crate::relay::{Common, Output};
use crate::side::Side;
use crate::sys::executor::{Glue, Need};
use crate::sys::ring::{Event, Ring, RingConfig, RingError, SocketId};

use self::barrier::{Barriers, Change};
use self::clients::Clients;
use self::commit::Commit;
use self::connection::{ConnectionId, SpareBuffers};
pub use self::deal::{Earlier, deal};
use self::disk::Disk;
use self::drain::Drain;
pub use self::drain::Inherited;
use self::files::Files;
use self::inbox::{Ask, Inbox};
pub use self::journaling::Unsettled;
use self::lanes::Lanes;
pub use self::lanes::owner;
use self::net::Net;
use self::readback::ReadBack;
use self::remote::{Remote, RemoteEvent};
use self::spiller::Spiller;
pub use self::start::Setup;
pub use self::stop::Owed;
use self::time::TimeBase;

/// The token of the inbox's eventfd in the ring.
const WAKEUP: u32 = 1;

/// What the machine gives a shard that runs on it.
pub struct Host {
    /// Where clients come in; each shard has its own, on the same port.
    pub listener: TcpListener,
    /// The clock.
    pub time: TimeBase,
}

/// Why a shard ended.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Its ring could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The kernel says that the ring is of no more use.
    #[error("io_uring: {0}")]
    Io(#[from] io::Error),
    /// The time for the stop was over before all was on the disk.
    #[error(
        "the stop took longer than --drain-timeout and the spill cannot be written: {left} writes \
         are left that are not in it; {}",
        if *.journaled {
            "they are in the journal, and the next start settles them: make room and start again"
        } else {
            "there is no journal, so they are lost: the next start names the time in which that was"
        }
    )]
    Unsaved {
        /// Writes in memory.
        left: usize,
        /// They are in the journal.
        journaled: bool,
    },
}

/// Who a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Client(ConnectionId),
    Source(ConnectionId),
    Target(usize),
    Resolver(usize),
}

/// An event without the memory of the ring: dealt with after all bytes of the turn.
enum Happening<S> {
    Accepted(S),
    Connected(SocketId, io::Result<()>),
    Ended(SocketId, Option<io::Error>),
    Sent(SocketId, Vec<u8>, io::Result<()>),
    Broken(Side, usize, String),
    Synced(io::Result<()>),
    Woken,
}

/// Room for the events of a turn, kept from turn to turn.
pub struct Later<S>(Vec<Happening<S>>);

impl<S> Default for Later<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// See the module.
pub struct Shard {
    index: usize,
    count: usize,
    table_owners: usize,
    config: Arc<ProxyConfig>,
    now_us: i64,
    common: Common,
    clients: Clients,
    tls: secured::Tls,
    owners: Vec<Owner>,
    listener: Option<SocketId>,
    target: Remote,
    resolver: Remote,
    spiller: Spiller,
    rejects: Spiller,
    drain: Drain,
    disk: Box<dyn Disk>,
    barriers: Barriers,
    lanes: Lanes<()>,
    readback: ReadBack,
    /// Shard 0 only: changes to carry out, oldest first.
    changes: std::collections::VecDeque<Change>,
    /// Whether all nodes of the target know of the last one.
    agreement: discovery::Agreement,
    outputs: Vec<Output>,
    remote_events: Vec<RemoteEvent>,
    inbox: Inbox,
    asks: crossbeam_channel::Sender<Ask>,
    recorder: Recorder,
    spare: SpareBuffers,
    /// Clients that write are held back until the spill has room.
    holding: bool,
    named: refused::Named,
    full: full::Full,
    /// What earlier processes left for shard 0 to drain takes up this on the disk.
    inherited_bytes: u64,
    /// How many warnings of the spill's age were given.
    age_told: usize,
    /// Some wait until the journal has room.
    journal_full: bool,
    commit: Commit,
    stop_wanted: bool,
    stop_at_us: Option<i64>,
    /// Records of the spill that leave it, and when (µs).
    parting: std::collections::VecDeque<(i64, u64)>,
    backlog_records: u64,
    /// Progress may be stored once this many records of the spill are safe; see
    /// [`drain::Found::Carry`].
    carried_records: u64,
    /// When the open segment was last completed for the drain (µs).
    sealed_us: i64,
    next_tick_us: i64,
    /// How far the clock has been set forward; see [`TimeBase::stepped_us`].
    stepped_us: i64,
}

/// Runs a shard until it is told to stop and has drained.
///
/// # Errors
/// The ring cannot be made or has failed.
pub async fn run(setup: Setup, host: Host, glue: Glue) -> Result<(), ShardError> {
    let mut ring = Ring::new(&RingConfig {
        spin: start::spin(&setup),
        ..RingConfig::default()
    })?;
    glue.attach(&mut ring)?;
    ring.watch(setup.inbox.wakeup.as_fd(), WAKEUP)?;
    let time = host.time;
    let listener = ring.listen(host.listener);
    let disk = Box::<Files>::default();
    let jobs = disk.jobs();
    let mut shard = Shard::new(setup, listener, disk, time.now_us());
    let mut later = Later::default();
    loop {
        let timeout = shard.timeout(time.now_us());
        ring.wait(Some(timeout))?;
        let started_us = time.now_us();
        shard.follow_clock(time.stepped_us(), time.was_set());
        let turned = shard.turn(&mut ring, &mut later, started_us);
        let work = turned.requests + turned.answers;
        ring.worked(work);
        if work > 0 {
            let inside_ns = u64::try_from((time.now_us() - started_us).max(0) * 1_000);
            let inside_ns = inside_ns.unwrap_or_default();
            shard
                .recorder
                .time_inside(Direction::Request, inside_ns, turned.requests);
            shard
                .recorder
                .time_inside(Direction::Answer, inside_ns, turned.answers);
        }
        let need = match turned.spawned {
            true => Need::Ready,
            false if jobs.any() => Need::Tasks,
            false if shard.target.lingers() => Need::Tick,
            false => Need::Nothing,
        };
        glue.turn(&mut ring, need).await?;
        if shard.is_through() {
            return Ok(());
        }
        if shard.is_out_of_time() {
            return Err(shard.unsaved());
        }
    }
}

/// What a turn has done.
#[derive(Debug, Default, Clone, Copy)]
pub struct Turned {
    /// Requests that came in.
    pub requests: u64,
    /// Answers of the source that came in.
    pub answers: u64,
    /// Tasks of the executor wait for their turn.
    pub spawned: bool,
}

impl Shard {
    /// One turn of the loop: what came in, what follows from it, what is due, what goes out.
    pub fn turn<N: Net>(
        &mut self,
        ring: &mut N,
        later: &mut Later<N::Stream>,
        now_us: i64,
    ) -> Turned {
        self.now_us = now_us;
        let mut turned = self.take_events(ring, &mut later.0);
        for happening in later.0.drain(..) {
            self.handle(happening, ring);
        }
        if !self.tls.due.is_empty() {
            self.work_on_tls(ring);
            self.do_outputs();
        }
        // Clients and the source first: the kernel sends in this order.
        self.flush(ring);
        turned.spawned = self.work(ring);
        self.flush(ring);
        self.begin_commit(ring);
        self.common.trim();
        turned
    }

    /// The wall clock was set forward: what durations are measured from moves along, so that no
    /// connection is taken for idle or dead. Pauses before a retry may end early instead.
    /// `was_set`: at any time, forward or back.
    pub fn follow_clock(&mut self, stepped_us: i64, was_set: bool) {
        self.target.may_date = !was_set;
        let step_us = stepped_us - self.stepped_us;
        if step_us == 0 {
            return;
        }
        self.stepped_us = stepped_us;
        self.next_tick_us += step_us;
        if let Some(stop_at_us) = &mut self.stop_at_us {
            *stop_at_us += step_us;
        }
        self.clients.follow_step(step_us);
        self.target.follow_step(step_us);
        self.resolver.follow_step(step_us);
    }

    /// How long the loop may sleep.
    #[must_use]
    pub fn timeout(&self, now_us: i64) -> Duration {
        let due_us = [
            self.target.next_due_us(),
            self.resolver.next_due_us(),
            self.readback.next_due_us(),
        ];
        let due_us = due_us
            .into_iter()
            .flatten()
            .fold(self.next_tick_us, i64::min);
        Duration::from_micros(u64::try_from(due_us - now_us).unwrap_or(0))
    }

    fn take_events<N: Net>(
        &mut self,
        ring: &mut N,
        later: &mut Vec<Happening<N::Stream>>,
    ) -> Turned {
        let mut turned = Turned::default();
        while let Some(event) = ring.next_event() {
            later.push(match event {
                Event::Received { id, bytes } => {
                    match self.owner(id) {
                        Owner::Client(at) => {
                            turned.requests += self.received_bytes(at, Side::Client, bytes)
                        }
                        Owner::Source(at) => {
                            turned.answers += self.received_bytes(at, Side::Source, bytes)
                        }
                        Owner::Target(node) => {
                            let (events, now_us) = (&mut self.remote_events, self.now_us);
                            if let Err(why) = self.target.received(node, bytes, now_us, events) {
                                later.push(Happening::Broken(Side::Target, node, why));
                            }
                            self.settle_target(node);
                        }
                        Owner::Resolver(node) => {
                            let (events, now_us) = (&mut self.remote_events, self.now_us);
                            if let Err(why) = self.resolver.received(node, bytes, now_us, events) {
                                later.push(Happening::Broken(Side::Source, node, why));
                            }
                            self.settle_resolver(node);
                        }
                        Owner::Nobody => {}
                    }
                    self.do_outputs();
                    continue;
                }
                Event::Accepted { socket, .. } => Happening::Accepted(socket),
                Event::AcceptFailed { error, .. } => {
                    tracing::warn!("a client could not be accepted: {error}");
                    continue;
                }
                Event::Connected { id, result } => Happening::Connected(id, result),
                Event::Eof { id } => Happening::Ended(id, None),
                Event::Failed { id, error } => Happening::Ended(id, Some(error)),
                Event::Sent { id, buffer, result } => Happening::Sent(id, buffer, result),
                Event::Synced { result } => Happening::Synced(result),
                Event::Readable { .. } => Happening::Woken,
            });
        }
        turned
    }

    fn owner(&self, id: SocketId) -> Owner {
        self.owners
            .get(id.index())
            .copied()
            .unwrap_or(Owner::Nobody)
    }

    fn own(&mut self, id: SocketId, owner: Owner) {
        if self.owners.len() <= id.index() {
            self.owners.resize(id.index() + 1, Owner::Nobody);
        }
        self.owners[id.index()] = owner;
    }

    fn handle<N: Net>(&mut self, happening: Happening<N::Stream>, ring: &mut N) {
        match happening {
            Happening::Accepted(socket) => self.accept(socket, ring),
            Happening::Connected(id, result) => match self.owner(id) {
                Owner::Source(at) => self.source_connected(at, result, ring),
                Owner::Target(node) => {
                    let event = self.target.connected(node, result, ring, self.now_us);
                    self.remote_events.extend(event);
                    self.settle_target(node);
                }
                Owner::Resolver(node) => {
                    let event = self.resolver.connected(node, result, ring, self.now_us);
                    self.remote_events.extend(event);
                    self.settle_resolver(node);
                }
                Owner::Client(_) | Owner::Nobody => {}
            },
            Happening::Ended(id, error) => {
                let orderly = error.is_none();
                let why = error.map_or_else(|| "closed by the node".to_owned(), |e| e.to_string());
                match self.owner(id) {
                    Owner::Client(at) if orderly => self.client_said_all(at, ring),
                    Owner::Client(at) => self.client_ended(at, ring),
                    Owner::Source(at) => self.source_ended(at, ring),
                    Owner::Target(node) => self.lose(Side::Target, node, &why, ring),
                    Owner::Resolver(node) => self.lose(Side::Source, node, &why, ring),
                    Owner::Nobody => {}
                }
            }
            Happening::Sent(id, buffer, result) => {
                let bytes = buffer.len() as u64;
                self.spare.give(buffer);
                self.sent(id, bytes, result, ring);
            }
            Happening::Synced(result) => self.commit_ended(result),
            Happening::Broken(side, node, why) => self.lose(side, node, &why, ring),
            Happening::Woken => {
                self.inbox.wakeup.clear();
                self.read_inbox();
            }
        }
        self.do_outputs();
    }

    fn sent(&mut self, id: SocketId, bytes: u64, result: io::Result<()>, ring: &mut impl Net) {
        use crate::metrics::Flow;
        match (self.owner(id), result) {
            (Owner::Client(at), Ok(())) => {
                self.recorder.bytes(Side::Client, Flow::Out, bytes);
                self.clients.mark(at);
            }
            (Owner::Source(at), Ok(())) => {
                self.recorder.bytes(Side::Source, Flow::Out, bytes);
                self.clients.mark(at);
            }
            (Owner::Target(_), Ok(())) => self.recorder.bytes(Side::Target, Flow::Out, bytes),
            (Owner::Resolver(_) | Owner::Nobody, Ok(())) => {}
            (Owner::Client(at), Err(_)) => self.client_ended(at, ring),
            (Owner::Source(at), Err(_)) => self.source_ended(at, ring),
            (Owner::Target(node), Err(e)) => self.lose(Side::Target, node, &e.to_string(), ring),
            (Owner::Resolver(node), Err(e)) => self.lose(Side::Source, node, &e.to_string(), ring),
            (Owner::Nobody, Err(_)) => {}
        }
    }

    /// What is done once per turn, after the events. True if tasks of the executor wait.
    fn work(&mut self, ring: &mut impl Net) -> bool {
        if self.now_us >= self.next_tick_us {
            self.tick(ring);
        }
        let mut spawned = self.work_on_spill();
        self.work_on_schema();
        self.work_on_lanes();
        self.work_on_readback();
        let now_us = self.now_us;
        let Common { plans, journal, .. } = &mut self.common;
        let leaves = |write: &Write| {
            if write.repeat != Repeat::Free {
                journal.mark(write.journal, State::Sent);
            }
        };
        let (spare, events) = (&mut self.spare, &mut self.remote_events);
        self.target.pump(ring, spare, plans, now_us, events, leaves);
        self.settle_target(usize::MAX);
        if !self.resolver.owed.is_empty() {
            let plans = &mut self.common.plans;
            let (spare, events) = (&mut self.spare, &mut self.remote_events);
            self.resolver
                .pump(ring, spare, plans, now_us, events, |_| {});
            self.settle_resolver(usize::MAX);
        }
        self.work_on_journal();
        self.work_on_room();
        if self.stop_wanted {
            self.stop(ring);
            spawned |= self.work_on_stop(ring);
        }
        spawned
    }

    fn tick(&mut self, ring: &mut impl Net) {
        self.next_tick_us =
            self.now_us + i64::try_from(limits::TICK_MS * 1_000).unwrap_or(i64::MAX);
        for (socket, node) in self.target.connect_due(ring, self.now_us) {
            self.own(socket, Owner::Target(node));
        }
        if !self.resolver.owed.is_empty() {
            for (socket, node) in self.resolver.connect_due(ring, self.now_us) {
                self.own(socket, Owner::Resolver(node));
            }
        }
        self.target.tick(ring, self.now_us, &mut self.remote_events);
        self.settle_target(usize::MAX);
        let (now_us, events) = (self.now_us, &mut self.remote_events);
        self.resolver.tick(ring, now_us, events);
        // a question whether the source still answers: without work nobody else sends it
        self.resolver.flush(ring, &mut self.spare, now_us, events);
        self.settle_resolver(usize::MAX);
        self.read_inbox();
        self.drain.tick(drain::pace::Seen {
            queued: self.target.owed.queued(),
            live: self.target.owed.live_len(),
            latency_us: self.target.latency_us(),
        });
        self.tell_of_inherited();
        self.warn_of_age();
        self.expire_looks();
        self.close_looks();
        self.expire_connects(ring);
        self.expire_clients(ring);
        self.tend_journal();
        self.commit.tick();
        self.publish_metrics();
    }
}
