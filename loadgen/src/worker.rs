//! One thread: the sockets of its connections, and when to do what.
//!
//! It is the only task of a glommio executor on a core of its own. The sockets are not glommio's:
//! those cost several times the processor time of plain ones (`benches/README.md`), and a gauge
//! that is busy with itself measures itself. So the task waits in epoll, with a time limit in
//! nanoseconds, for whatever comes first: an answer, or the next request being due.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::codec::Codec;
use crate::collect::Batch;
use crate::lane::{Counts, Lane, Run};
use crate::ledger::Ledger;
use crate::link::Wire;
use crate::load::Shared;
use crate::samples::Samples;
use crate::schedule::wake_on_time;

/// Requests due before the end may still be sent for this long after it.
const OVERTIME: Duration = Duration::from_millis(100);
/// How often a sleeping thread looks whether it shall end.
const GLANCE: Duration = Duration::from_millis(20);
/// Events taken at once.
const EVENTS: usize = 256;
/// The second of the run that a histogram covers.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What a worker has seen, warm-up included.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counts: Counts,
    /// Due, never sent.
    pub(crate) unsent: u64,
    /// Sent, never answered.
    pub(crate) unanswered: u64,
    /// Why connections ended early.
    pub(crate) broken: Vec<String>,
    pub(crate) ledger: Ledger,
}

/// A connection with its socket.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: Lane,
    wire: Wire,
    out: Vec<u8>,
    /// How much of `out` the socket has taken.
    taken: usize,
    /// Whether epoll tells when the socket has room.
    watches_room: bool,
    /// Whether it stands in the list of those with something to send.
    listed: bool,
    broken: Option<String>,
}

/// Where measurements go and empty ones come from.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) full: Sender<Batch>,
    pub(crate) empty: Receiver<Samples>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    seats: Vec<Seat>,
    epoll: OwnedFd,
    /// The next request to become due: its number, and whose it is.
    round: u64,
    turn: usize,
    /// Seats that may have something to send.
    ready: Vec<usize>,
    samples: Samples,
    interval: u64,
    /// When the counts were last made public.
    told: Duration,
    outlet: Outlet,
}

impl Worker {
    /// A worker for these connections, in the order of their numbers.
    ///
    /// # Errors
    /// A socket that cannot be watched.
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: usize,
        lanes: Vec<(Lane, Wire)>,
        outlet: Outlet,
    ) -> anyhow::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?;
        let mut seats = Vec::new();
        for (at, (lane, wire)) in (0..).zip(lanes) {
            wire.socket().set_nonblocking(true)?;
            let what = epoll::EventData::new_u64(at);
            epoll::add(&epoll, wire.socket(), what, epoll::EventFlags::IN)?;
            seats.push(Seat {
                lane,
                wire,
                out: Vec::new(),
                taken: 0,
                watches_room: false,
                listed: false,
                broken: None,
            });
        }
        Ok(Worker {
            samples: Samples::new(shared.plan.mix),
            shared,
            index,
            seats,
            epoll,
            round: 0,
            turn: 0,
            ready: Vec::new(),
            interval: 0,
            told: Duration::ZERO,
            outlet,
        })
    }

    /// Runs to the end of the schedule and of the last answer.
    pub(crate) fn run(mut self) -> anyhow::Result<Seen> {
        wake_on_time();
        let mut events = Vec::with_capacity(EVENTS);
        while let Some(wait) = self.turn() {
            let wait = if self.shared.plan.spin {
                Duration::ZERO
            } else {
                wait
            };
            let wait = Timespec::try_from(wait).context("a time to wait")?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for answers"),
            }
            for event in &events {
                let at = usize::try_from(event.data.u64())?;
                self.receive(at);
            }
        }
        Ok(self.close())
    }

    /// Sends what is due; gives how long nothing else will be, `None` at the end.
    fn turn(&mut self) -> Option<Duration> {
        let now = self.shared.schedule.now();
        let next = self.release(now);
        self.send();
        self.roll(now);
        if now >= self.told + GLANCE {
            self.told = now;
            self.tell();
        }
        let end = self.shared.end();
        if now < end {
            let next = next.unwrap_or(end).min(end);
            return Some(next.saturating_sub(now).min(GLANCE));
        }
        let whole = || self.seats.iter().filter(|seat| seat.broken.is_none());
        let due = whole().any(|seat| seat.lane.has_due()) && now < end + OVERTIME;
        let open = whole().any(|seat| seat.lane.in_flight() > 0);
        (due || (open && now < end + self.shared.plan.patience)).then_some(GLANCE)
    }

    /// Tells the lanes what has become due; gives when the next request is.
    fn release(&mut self, now: Duration) -> Option<Duration> {
        let (schedule, end) = (self.shared.schedule, self.shared.end());
        loop {
            let Some(seat) = self.seats.get_mut(self.turn) else {
                self.turn = 0;
                self.round += 1;
                continue;
            };
            let due = schedule.due(seat.lane.connection, self.round)?;
            if due > now || due >= end {
                return (due < end).then_some(due);
            }
            seat.lane.release(self.round + 1);
            if !seat.listed && seat.broken.is_none() {
                seat.listed = true;
                self.ready.push(self.turn);
            }
            self.turn += 1;
        }
    }

    /// Sends on every connection that has something to send and can.
    fn send(&mut self) {
        let mut waiting = Vec::new();
        for at in std::mem::take(&mut self.ready) {
            self.push(at);
            let Some(seat) = self.seats.get_mut(at) else {
                continue;
            };
            // Those that wait for the server come back with its answers; they stay in the list so
            // that what becomes due meanwhile is known to have waited.
            seat.listed = seat.broken.is_none() && seat.lane.has_due();
            if seat.listed {
                waiting.push(at);
            }
        }
        self.ready = waiting;
    }

    fn push(&mut self, at: usize) {
        let late = self.shared.schedule.now() >= self.shared.end() + OVERTIME;
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let run = self.shared.run();
        if let Err(error) = seat.push(run, &mut self.samples, late) {
            seat.broken = Some(format!("{error:#}"));
            let _ = epoll::delete(&self.epoll, seat.wire.socket());
            return;
        }
        let room = !seat.out.is_empty();
        if room != seat.watches_room {
            seat.watches_room = room;
            let flags = match room {
                true => epoll::EventFlags::IN | epoll::EventFlags::OUT,
                false => epoll::EventFlags::IN,
            };
            let what = epoll::EventData::new_u64(u64::try_from(at).unwrap_or(u64::MAX));
            let _ = epoll::modify(&self.epoll, seat.wire.socket(), what, flags);
        }
    }

    fn receive(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        if let Err(error) = seat.receive(self.shared.run(), &mut self.samples) {
            seat.broken = Some(format!("{error:#}"));
            let _ = epoll::delete(&self.epoll, seat.wire.socket());
        } else if seat.lane.has_due() || seat.watches_room {
            self.push(at);
        }
    }

    /// Hands over what was measured when its second has passed.
    fn roll(&mut self, now: Duration) {
        let schedule = &self.shared.schedule;
        let measured = now.min(self.shared.end());
        let index = schedule.interval(measured, INTERVAL);
        if index > self.interval {
            self.hand_over(index);
        }
    }

    fn hand_over(&mut self, next: u64) {
        let mix = self.shared.plan.mix;
        let empty = self.outlet.empty.try_recv();
        let empty = empty.unwrap_or_else(|_| Samples::new(mix));
        // Nobody takes it only when the run is being given up.
        let _ = self.outlet.full.send(Batch {
            worker: self.index,
            interval: self.interval,
            next,
            samples: std::mem::replace(&mut self.samples, empty),
        });
        self.interval = next;
    }

    fn tell(&self) {
        let Some(progress) = self.shared.progress.get(self.index) else {
            return;
        };
        let sum = |of: fn(&Seat) -> u64| self.seats.iter().map(of).sum();
        let put = |place: &std::sync::atomic::AtomicU64, value| {
            place.store(value, Ordering::Relaxed);
        };
        put(&progress.sent, sum(|seat| seat.lane.counts.sent));
        put(&progress.good, sum(|seat| seat.lane.counts.good));
        put(&progress.failed, sum(|seat| seat.lane.counts.failed));
        put(
            &progress.broken,
            sum(|seat| u64::from(seat.broken.is_some())),
        );
    }

    fn close(mut self) -> Seen {
        self.tell();
        self.hand_over(u64::MAX);
        let mut seen = Seen::default();
        for seat in &mut self.seats {
            let (unanswered, ledger) = seat.lane.close(&self.shared.plan);
            let due = self
                .shared
                .schedule
                .due_until(seat.lane.connection, self.shared.end());
            seen.unsent += due.saturating_sub(seat.lane.next());
            seen.unanswered += unanswered;
            seen.broken.extend(seat.broken.take());
            seen.ledger.merge(ledger);
            seen.counts.add(&seat.lane.counts);
        }
        seen
    }
}

impl Seat {
    /// Encodes what is due and writes until nothing is left or the socket is full.
    fn push(&mut self, run: Run<'_>, samples: &mut Samples, late: bool) -> anyhow::Result<()> {
        if self.broken.is_some() {
            return Ok(());
        }
        loop {
            if !self.write()? {
                self.lane.must_wait();
                return Ok(());
            }
            if late || !self.lane.has_due() {
                return Ok(());
            }
            self.lane.encode(run.plan, &mut self.out)?;
            if self.out.is_empty() {
                return Ok(()); // every stream waits for its answer
            }
            self.lane.handed_over(run, run.schedule.now(), samples);
        }
    }

    /// Writes what is encoded; false when the socket does not take all.
    fn write(&mut self) -> anyhow::Result<bool> {
        while let Some(rest) = self.out.get(self.taken..)
            && !rest.is_empty()
        {
            match self.wire.write(rest) {
                Ok(0) => bail!("the server takes no more bytes"),
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write to the server"),
            }
        }
        match self.wire.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("write to the server"),
        }
        self.out.clear();
        self.taken = 0;
        Ok(true)
    }

    /// Takes every answer that is there.
    fn receive(&mut self, run: Run<'_>, samples: &mut Samples) -> anyhow::Result<()> {
        loop {
            let count = match self.lane.codec.fill(&mut self.wire) {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read from the server"),
            };
            let now = run.schedule.now();
            self.lane.take_all(run, now, samples)?;
            if !Codec::was_full(count) && !self.wire.keeps_bytes() {
                return Ok(());
            }
        }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.good += other.good;
        self.failed += other.failed;
        self.wrong += other.wrong;
        self.not_applied += other.not_applied;
        self.empty += other.empty;
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
    }
}
