//! The counters of one shard: one writer (the shard, through [`Recorder`]), any number of readers.
//!
//! A counter is an `AtomicU64` that its only writer changes by a relaxed load and a relaxed store:
//! on x86-64 and AArch64 that is a plain `add` to memory, without a locked instruction. Only
//! [`Recorder`] can write, it is not `Sync` and cannot be cloned, so there is one writer.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::catalogue::{Direction, Event, Flow, Gauge, RequestKind, Skip, TlsFailure, Verdict};
use super::times::Times;
use crate::side::Side;

/// A number with one writer.
#[derive(Default)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    /// The value some moment ago.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    fn sub(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }
}

/// What one shard counts. Aligned so that no two shards share a cache line (128: the adjacent-line
/// prefetcher fetches lines in pairs).
#[derive(Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    shard: usize,
    pub(super) requests: [Slot; RequestKind::COUNT],
    pub(super) bytes: [[Slot; Flow::COUNT]; Side::COUNT],
    pub(super) verdicts: [Slot; Verdict::COUNT],
    pub(super) skipped: [Slot; Skip::COUNT],
    pub(super) connections: [Slot; Side::COUNT],
    pub(super) connects_failed: [Slot; Side::COUNT],
    pub(super) protocol_errors: [Slot; Side::COUNT],
    pub(super) pauses: [Slot; Side::COUNT],
    pub(super) tls_handshakes: [Slot; Side::COUNT],
    pub(super) tls_failures: [[Slot; TlsFailure::COUNT]; Side::COUNT],
    pub(super) tls_expiry_s: [Slot; Side::COUNT],
    events: [Slot; Event::COUNT],
    gauges: [Slot; Gauge::COUNT],
    oldest_unmirrored_us: Slot,
    oldest_unfinished_us: Slot,
    settled_us: Slot,
    heartbeat_us: Slot,
    pub(super) time_count: [Slot; Direction::COUNT],
    pub(super) time_sum_ns: [Slot; Direction::COUNT],
    times_wanted: AtomicBool,
}

impl ShardMetrics {
    /// The shard's number, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How often `event` happened since the start.
    #[must_use]
    pub fn event(&self, event: Event) -> u64 {
        self.events[event.index()].get()
    }

    /// The present value of `gauge`.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge.index()].get()
    }

    /// Requests of one kind since the start.
    #[must_use]
    pub fn requests(&self, kind: RequestKind) -> u64 {
        self.requests[kind.index()].get()
    }

    /// Answers of the source with this meaning since the start.
    #[must_use]
    pub fn verdicts(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict.index()].get()
    }

    /// Writes that were not sent to the target for this reason since the start.
    #[must_use]
    pub fn skipped(&self, reason: Skip) -> u64 {
        self.skipped[reason.index()].get()
    }

    /// Open connections with `side`.
    #[must_use]
    pub fn connections(&self, side: Side) -> u64 {
        self.connections[side.index()].get()
    }

    /// Bytes with `side` in one direction since the start.
    #[must_use]
    pub fn bytes(&self, side: Side, flow: Flow) -> u64 {
        self.bytes[side.index()][flow.index()].get()
    }

    /// Age of the oldest write that the target does not have, in µs; 0 when there is none.
    #[must_use]
    pub fn lag_us(&self, now_us: u64) -> u64 {
        match self.oldest_unmirrored_us.get() {
            0 => 0,
            oldest_us => now_us.saturating_sub(oldest_us).max(1),
        }
    }

    /// See [`Recorder::settled`]; 0 before the first call.
    #[must_use]
    pub fn settled_us(&self) -> u64 {
        self.settled_us.get()
    }

    /// Arrival of the oldest write that only the journal or the memory of the process has, µs
    /// since 1970; `None` when there is none.
    #[must_use]
    pub fn oldest_unfinished_us(&self) -> Option<u64> {
        Some(self.oldest_unfinished_us.get()).filter(|oldest_us| *oldest_us > 0)
    }

    /// Age of the last [`Recorder::tick`], in µs; `None` before the first.
    #[must_use]
    pub fn heartbeat_age_us(&self, now_us: u64) -> Option<u64> {
        match self.heartbeat_us.get() {
            0 => None,
            at_us => Some(now_us.saturating_sub(at_us)),
        }
    }
}

/// The shard's end: the only writer. All methods cost a few instructions and never wait.
pub struct Recorder {
    shared: Arc<ShardMetrics>,
    times: Times,
    hand_over: Sender<Times>,
    /// Keeps the type from being `Sync`: a second writer would lose counts.
    one_writer: PhantomData<Cell<()>>,
}

/// The admin thread's end: reads the counters and asks for the histograms.
pub struct ShardView {
    shared: Arc<ShardMetrics>,
    taken: Receiver<Times>,
}

impl ShardView {
    /// The counters, which the shard goes on to change.
    #[must_use]
    pub fn metrics(&self) -> &ShardMetrics {
        &self.shared
    }
}

/// Makes the two ends for each of `count` shards, in the order of their numbers.
#[must_use]
pub fn shards(count: usize) -> (Vec<Recorder>, Vec<ShardView>) {
    (0..count)
        .map(|shard| {
            let shared = Arc::new(ShardMetrics {
                shard,
                ..ShardMetrics::default()
            });
            let (hand_over, taken) = bounded(2);
            let recorder = Recorder {
                shared: Arc::clone(&shared),
                times: Times::new(),
                hand_over,
                one_writer: PhantomData,
            };
            (recorder, ShardView { shared, taken })
        })
        .unzip()
}

impl Recorder {
    /// Requests of clients.
    pub fn requests(&self, kind: RequestKind, n: u64) {
        self.shared.requests[kind.index()].add(n);
    }

    /// Bytes received from or sent to `side`.
    pub fn bytes(&self, side: Side, flow: Flow, count: u64) {
        self.shared.bytes[side.index()][flow.index()].add(count);
    }

    /// What the source's answers to writes meant.
    pub fn verdicts(&self, verdict: Verdict, n: u64) {
        self.shared.verdicts[verdict.index()].add(n);
    }

    /// Writes that are not sent to the target.
    pub fn skipped(&self, reason: Skip, n: u64) {
        self.shared.skipped[reason.index()].add(n);
    }

    /// `event` happened `n` times. [`Event::Rejected`] and [`Event::InDoubt`] also raise the
    /// gauges of what is held, because each such write is kept.
    pub fn count(&self, event: Event, n: u64) {
        self.shared.events[event.index()].add(n);
        match event {
            Event::Rejected => self.raise(Gauge::RejectedHeld, n),
            Event::InDoubt => self.raise(Gauge::InDoubtHeld, n),
            _ => {}
        }
    }

    /// Sets `gauge`; the shard also sets what it finds on disk at its start.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.shared.gauges[gauge.index()].set(value);
    }

    /// Adds to `gauge`.
    pub fn raise(&self, gauge: Gauge, n: u64) {
        self.shared.gauges[gauge.index()].add(n);
    }

    /// Takes from `gauge`, not below 0.
    pub fn lower(&self, gauge: Gauge, n: u64) {
        self.shared.gauges[gauge.index()].sub(n);
    }

    /// A connection with `side` is open.
    pub fn opened(&self, side: Side) {
        self.shared.connections[side.index()].add(1);
    }

    /// A connection with `side` is closed.
    pub fn closed(&self, side: Side) {
        self.shared.connections[side.index()].sub(1);
    }

    /// A connection to `side` (source or target) could not be opened.
    pub fn connect_failed(&self, side: Side) {
        self.shared.connects_failed[side.index()].add(1);
    }

    /// `side` sent what the protocol does not allow.
    pub fn protocol_error(&self, side: Side) {
        self.shared.protocol_errors[side.index()].add(1);
    }

    /// A TLS handshake with `side` has ended well.
    pub fn tls_ready(&self, side: Side) {
        self.shared.tls_handshakes[side.index()].add(1);
    }

    /// A TLS connection with `side` failed.
    pub fn tls_failed(&self, side: Side, reason: TlsFailure) {
        self.shared.tls_failures[side.index()][reason.index()].add(1);
    }

    /// The certificate shown to `side` expires then (s since 1970); 0: none is shown.
    pub fn tls_expiry(&self, side: Side, at_s: u64) {
        self.shared.tls_expiry_s[side.index()].set(at_s);
    }

    /// Reading from `side` stopped because the other side does not keep up.
    pub fn paused(&self, side: Side) {
        self.shared.pauses[side.index()].add(1);
    }

    /// Arrival time (µs since 1970) of the oldest write that the target does not have, in memory
    /// or in the spill; `None` when the target has everything. Its age is the lag.
    pub fn oldest_unmirrored(&self, arrival_us: Option<u64>) {
        self.shared
            .oldest_unmirrored_us
            .set(arrival_us.unwrap_or(0));
    }

    /// The watermark: every write that arrived before it (µs since 1970) and that the source has or
    /// may have is on the target, or is kept as rejected or in doubt. 0 when that is not known.
    pub fn settled(&self, watermark_us: u64) {
        self.shared.settled_us.set(watermark_us);
    }

    /// Arrival time (µs since 1970) of the oldest write that is neither on the target nor on disk.
    pub fn oldest_unfinished(&self, arrival_us: Option<u64>) {
        self.shared
            .oldest_unfinished_us
            .set(arrival_us.unwrap_or(0));
    }

    /// `requests` (1 or more that moved together) spent `ns` nanoseconds inside the proxy. Costs
    /// about 12 ns, where a counter costs less than 1 ns: measure once for many when you can.
    pub fn time_inside(&mut self, direction: Direction, ns: u64, requests: u64) {
        self.times.record(direction, ns, requests);
        self.shared.time_count[direction.index()].add(requests);
        self.shared.time_sum_ns[direction.index()].add(ns.saturating_mul(requests));
    }

    /// Call each [`TICK_MS`](crate::limits::TICK_MS): heartbeat, and the histograms handed over
    /// when the admin thread asked for them. `now_us` is µs since 1970.
    pub fn tick(&mut self, now_us: u64) {
        self.shared.heartbeat_us.set(now_us.max(1));
        if self.shared.times_wanted.load(Relaxed) {
            self.shared.times_wanted.store(false, Relaxed);
            let full = std::mem::replace(&mut self.times, Times::new());
            if let Err(not_taken) = self.hand_over.try_send(full) {
                self.times = not_taken.into_inner(); // nobody reads: go on counting
            }
        }
    }

    /// What the readers see, for tests and for the shard's own decisions.
    #[must_use]
    pub fn shared(&self) -> &ShardMetrics {
        &self.shared
    }
}

impl ShardView {
    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &ShardMetrics {
        &self.shared
    }

    /// A handle of its own on the counters.
    #[must_use]
    pub fn shared(&self) -> Arc<ShardMetrics> {
        Arc::clone(&self.shared)
    }

    /// Asks the shard for its histograms; they come with its next tick.
    pub(super) fn want_times(&self) {
        self.shared.times_wanted.store(true, Relaxed);
    }

    /// The histograms since the last hand-over, when the shard has answered.
    pub(super) fn take_times(&self) -> Option<Times> {
        self.taken.try_recv().ok()
    }
}
