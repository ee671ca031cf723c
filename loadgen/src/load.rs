//! A running load: connections, threads, and what can be seen from outside while they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::collect::{Collected, collect};
use crate::lane::{Lane, Run};
use crate::plan::Plan;
use crate::report::Report;
use crate::request::Statements;
use crate::samples::ns;
use crate::schedule::Schedule;
use crate::session::Session;
use crate::worker::{Outlet, Seen, Worker};
use crate::workload::Kind;

/// From the last connection being ready to the first request.
const HEAD_START: Duration = Duration::from_millis(20);
/// The least that glommio takes for registered memory, in bytes; nothing here uses it.
const REGISTERED_BYTES: usize = 64 << 10;

/// What all threads of a run see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    /// When the owner ended the run, in ns after its start; `u64::MAX`: not yet.
    stopped_ns: AtomicU64,
    /// One for each worker, which alone writes it.
    pub(crate) progress: Vec<Counters>,
}

/// How far a worker is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) good: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) broken: AtomicU64,
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

/// Prepares what the plan sends.
fn prepare(plan: &Plan, session: &mut Session) -> anyhow::Result<Statements> {
    let mut ids = Statements::default();
    for kind in Kind::ALL.into_iter().filter(|&kind| plan.mix.has(kind)) {
        let texts = (0..plan.statements).map(|turn| plan.statement(kind, turn));
        let prepared: anyhow::Result<_> = texts.map(|text| session.prepare(&text)).collect();
        ids.set(kind, prepared?);
    }
    Ok(ids)
}

/// A load that runs until its plan ends or [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<ExecutorJoinHandle<anyhow::Result<Seen>>>,
    collector: Option<JoinHandle<anyhow::Result<Collected>>>,
}

impl Load {
    /// Connects, prepares, and begins.
    ///
    /// # Errors
    /// The plan's bounds, a connection that fails, a table that is not there.
    pub fn start(plan: &Plan) -> anyhow::Result<Load> {
        plan.check()?;
        let threads = plan.threads();
        let mut seats: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        let mut shared: Option<Statements> = None;
        for connection in 0..plan.connections {
            let mut session = Session::open(plan.endpoint, &plan.access)?;
            // of many, as drivers do it, once and not on each connection
            let own = match shared {
                Some(ids) if plan.statements > 1 => ids,
                _ => prepare(plan, &mut session)?,
            };
            shared = Some(own.clone());
            let (wire, codec) = session.into_parts();
            let lane = Lane::new(plan, connection, codec, own);
            if let Some(own) = seats.get_mut(usize::from(connection) % threads) {
                own.push((lane, wire));
            }
        }
        let pace = (plan.rate_per_s, plan.connections);
        let (start, began) = (Instant::now() + HEAD_START, SystemTime::now() + HEAD_START);
        let shared = Arc::new(Shared {
            schedule: Schedule::new(start, pace, plan.warm_up, plan.duration),
            stopped_ns: AtomicU64::new(u64::MAX),
            progress: (0..threads).map(|_| Counters::default()).collect(),
            plan: plan.clone(),
        });
        let mut load = Load {
            shared: Arc::clone(&shared),
            workers: Vec::new(),
            collector: None,
        };
        let (full, measured) = mpsc::channel();
        let mut spares = Vec::new();
        for (index, own) in seats.into_iter().enumerate() {
            let (spare, empty) = mpsc::channel();
            spares.push(spare);
            let full = full.clone();
            let outlet = Outlet { full, empty };
            let worker = Worker::new(Arc::clone(&shared), index, own, outlet)?;
            load.workers.push(execute(worker, index, plan)?);
        }
        drop(full);
        let collector = std::thread::Builder::new().name("collect".to_owned());
        load.collector = Some(
            collector
                .spawn(move || collect(&shared.plan, began, &measured, &spares))
                .context("start a thread")?,
        );
        Ok(load)
    }

    /// How far it is now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut all = Progress::default();
        for worker in &self.shared.progress {
            all.sent += worker.sent.load(Ordering::Relaxed);
            all.good += worker.good.load(Ordering::Relaxed);
            all.failed += worker.failed.load(Ordering::Relaxed);
            all.broken += worker.broken.load(Ordering::Relaxed);
        }
        all
    }

    /// Makes now the end of the run: what is due later is no part of it. What is in flight is
    /// still waited for.
    pub fn stop(&self) {
        let now_ns = ns(self.shared.schedule.now());
        self.shared.stopped_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Waits for the end and for the last answers.
    ///
    /// # Errors
    /// A thread that could not run or panicked; the log could not be written.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        let mut all = Vec::new();
        for worker in self.workers.drain(..) {
            all.push(ended(worker)?);
        }
        let Some(collector) = self.collector.take() else {
            return Err(anyhow!("the load has not begun"));
        };
        let collected = collector.join();
        let collected = collected.map_err(|_| anyhow!("a thread of the load has panicked"))??;
        let measured = self.shared.end().saturating_sub(self.shared.plan.warm_up);
        Report::new(&self.shared.plan, measured, all, collected)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        if let Some(collector) = self.collector.take() {
            let _ = collector.join();
        }
    }
}

type Handle = ExecutorJoinHandle<anyhow::Result<Seen>>;

/// Runs a worker as the only task of an executor.
fn execute(worker: Worker, index: usize, plan: &Plan) -> anyhow::Result<Handle> {
    let core = plan.cores.get(index);
    let placement = core.map_or(Placement::Unbound, |&core| Placement::Fixed(core));
    LocalExecutorBuilder::new(placement)
        .name(&format!("load-{index}"))
        .io_memory(REGISTERED_BYTES)
        .spawn(move || async move { worker.run() })
        .map_err(|error| anyhow!("start a thread on core {core:?}: {error}"))
}

fn ended(worker: Handle) -> anyhow::Result<Seen> {
    // glommio tells here, not earlier, that it cannot lock its memory.
    worker
        .join()
        .map_err(|error| anyhow!("{error} (locked memory: `ulimit -l` must be 512 or more)"))?
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

    pub(crate) fn run(&self) -> Run<'_> {
        Run {
            plan: &self.plan,
            schedule: &self.schedule,
        }
    }
}
