//! A running load: connections, threads, and what can be seen from outside while they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::plan::Plan;
use crate::receiver::{self, Received};
use crate::report::{self, Report};
use crate::schedule::Schedule;
use crate::sender::{self, Sent, Statements};
use crate::session::Session;

/// From the last connection being ready to the first request.
const HEAD_START: Duration = Duration::from_millis(20);
/// How often a blocked thread looks whether it shall end.
pub(crate) const GLANCE: Duration = Duration::from_millis(20);
/// A slot without a request.
pub(crate) const FREE: u64 = u64::MAX;

/// What all threads of a run see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    /// When the owner ended the run, in ns after its start; `u64::MAX`: not yet.
    pub(crate) stopped_ns: AtomicU64,
    pub(crate) lanes: Vec<Lane>,
}

/// What the two threads of one connection share. Each counter has one writer.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Stream id → number of the request on it.
    pub(crate) slots: Vec<AtomicU64>,
    /// Written by the sender.
    pub(crate) sent: AtomicU64,
    /// The sender has sent its last request.
    pub(crate) finished: AtomicBool,
    /// The connection is of no more use.
    pub(crate) broken: AtomicBool,
    /// Answers without an error; written by the receiver, as is the next.
    pub(crate) good: AtomicU64,
    /// Answers with an error.
    pub(crate) failed: AtomicU64,
}

/// How far a load is. All from its start, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests sent.
    pub sent: u64,
    /// Answers without an error.
    pub good: u64,
    /// Answers with an error.
    pub failed: u64,
    /// Broken connections.
    pub broken: u64,
}

/// A load that runs until its plan ends or [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<(JoinHandle<Sent>, JoinHandle<Received>)>,
}

impl Load {
    /// Connects, prepares, and begins.
    ///
    /// # Errors
    /// The plan's bounds, a connection that fails, a table that is not there.
    pub fn start(plan: &Plan) -> anyhow::Result<Load> {
        plan.check()?;
        let mut ready = Vec::new();
        for _ in 0..plan.connections {
            let mut session = Session::connect(plan.endpoint)?;
            let statements = Statements {
                insert: session.prepare(&plan.insert())?,
                select: session.prepare(&plan.select())?,
            };
            ready.push((session.into_stream(), statements));
        }
        let start = Instant::now() + HEAD_START;
        let pace = (plan.rate_per_s, plan.connections);
        let shared = Arc::new(Shared {
            schedule: Schedule::new(start, pace, plan.warm_up, plan.duration),
            stopped_ns: AtomicU64::new(u64::MAX),
            lanes: (0..plan.connections)
                .map(|_| Lane::new(plan.depth))
                .collect(),
            plan: plan.clone(),
        });
        let mut load = Load {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (connection, (stream, statements)) in (0..).zip(ready) {
            stream.set_read_timeout(Some(GLANCE))?;
            stream.set_write_timeout(Some(plan.patience))?;
            let reading = stream.try_clone().context("clone a socket")?;
            let (free, streams) = mpsc::channel();
            for id in 0..i16::try_from(plan.depth)? {
                free.send(id)?;
            }
            let (own, other) = (Arc::clone(&shared), Arc::clone(&shared));
            let name = |what| std::thread::Builder::new().name(format!("{what}-{connection}"));
            let receiving = name("receive")
                .spawn(move || receiver::run(&other, connection, reading, &free))
                .context("start a thread")?;
            let sending = name("send")
                .spawn(move || sender::run(&own, connection, stream, &statements, &streams))
                .context("start a thread")?;
            load.threads.push((sending, receiving));
        }
        Ok(load)
    }

    /// How far it is now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut all = Progress::default();
        for lane in &self.shared.lanes {
            all.sent += lane.sent.load(Ordering::Relaxed);
            all.good += lane.good.load(Ordering::Relaxed);
            all.failed += lane.failed.load(Ordering::Relaxed);
            all.broken += u64::from(lane.broken.load(Ordering::Relaxed));
        }
        all
    }

    /// Makes now the end of the run: what is due later is no part of it. What is in flight is
    /// still waited for.
    pub fn stop(&self) {
        let now_ns = report::ns(self.shared.schedule.now());
        self.shared.stopped_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Waits for the end and for the last answers.
    ///
    /// # Errors
    /// A thread that panicked.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        let mut report = Report::new(&self.shared.plan);
        for (sending, receiving) in self.threads.drain(..) {
            let ended = || anyhow!("a thread of the load has panicked");
            let sent = sending.join().map_err(|_| ended())?;
            let received = receiving.join().map_err(|_| ended())?;
            report.add(sent, received)?;
        }
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
        for (sending, receiving) in self.threads.drain(..) {
            let _ = sending.join();
            let _ = receiving.join();
        }
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// As [`Load::start`] and [`Load::finish`].
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    Load::start(plan)?.finish()
}

impl Shared {
    /// When the last request is due: as planned, or as the owner decided.
    pub(crate) fn end(&self) -> Duration {
        let stopped = Duration::from_nanos(self.stopped_ns.load(Ordering::Relaxed));
        stopped.min(self.schedule.end())
    }
}

impl Lane {
    fn new(depth: u16) -> Lane {
        Lane {
            slots: (0..depth).map(|_| AtomicU64::new(FREE)).collect(),
            sent: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The slot of a stream id; `None` for ids that are not ours.
    pub(crate) fn slot(&self, stream: i16) -> Option<&AtomicU64> {
        self.slots.get(usize::try_from(stream).ok()?)
    }
}
