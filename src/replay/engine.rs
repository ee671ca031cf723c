//! Works the logs off: so many writes at once, barriers alone, progress written down.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::offline::pace::Pace;
use crate::offline::stop::Stop;
use crate::spill::{Kind, Refusal, Standing};

use super::deliver::{Courier, Outcome};
use super::display::Display;
use super::log::{Entry, Logs, Turn};
use super::rejects::Rejects;
use super::report::Summary;

/// How often progress is written down.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// So many writes that must not be repeated are written down as started together.
const STARTED_TOGETHER: usize = 32;

const TOO_OLD: &str = "this delete is older than the target's gc_grace_seconds: older data may \
                       come back; send it with --include-rejected --force";

/// The state of a replay.
pub(super) struct Engine<'e> {
    pub logs: &'e mut Logs,
    pub courier: Rc<Courier>,
    pub summary: &'e mut Summary,
    pub rejects: Rejects,
    pub pace: Pace,
    pub display: Display,
    pub concurrency: usize,
    pub keep: bool,
    tasks: JoinSet<(Entry, Outcome)>,
    /// Writes that must not be repeated, not sent yet nor written down as started.
    parked: Vec<Entry>,
    /// Started list writes, which go one after another.
    lists: VecDeque<Entry>,
    list_is_out: bool,
    next_store: Instant,
    gave_up: Option<String>,
}

impl<'e> Engine<'e> {
    pub(super) fn new(
        logs: &'e mut Logs,
        courier: Rc<Courier>,
        summary: &'e mut Summary,
        rejects: Rejects,
        pace: Pace,
        display: Display,
    ) -> Engine<'e> {
        Engine {
            logs,
            courier,
            summary,
            rejects,
            pace,
            display,
            concurrency: 1,
            keep: false,
            tasks: JoinSet::new(),
            parked: Vec::new(),
            lists: VecDeque::new(),
            list_is_out: false,
            next_store: Instant::now() + STORE_EVERY,
            gave_up: None,
        }
    }

    /// Replays everything. Fails if the target stops taking writes; what is done is written down.
    pub(super) async fn run(&mut self, stop: &mut Stop) -> Result<()> {
        let result = self.run_all(stop).await;
        self.logs.store(self.keep)?;
        self.rejects.close()?;
        self.display.finish();
        result?;
        if let Some(words) = self.gave_up.take() {
            bail!(
                "the target at {} does not take writes: {words}; nothing is lost, start the replay \
                 again when it does",
                self.courier.target.contact()
            );
        }
        Ok(())
    }

    async fn run_all(&mut self, stop: &mut Stop) -> Result<()> {
        for barrier in std::mem::take(&mut self.logs.barriers) {
            self.run_until(Some(barrier), stop).await?;
            if self.is_stopping() {
                return Ok(());
            }
            self.pass_barrier(barrier, stop).await?;
            if self.is_stopping() {
                return Ok(());
            }
        }
        self.run_until(None, stop).await
    }

    fn is_stopping(&self) -> bool {
        self.gave_up.is_some() || self.courier.stopping.get()
    }

    /// Sends all whose turn comes before `limit`, and waits until each is settled.
    async fn run_until(&mut self, limit: Option<Turn>, stop: &mut Stop) -> Result<()> {
        self.logs.begin();
        loop {
            let mut is_more = !self.is_stopping();
            while is_more && self.tasks.len() + self.lists.len() < self.concurrency {
                match self.logs.next(limit)? {
                    Some(entry) => self.admit(entry)?,
                    None => is_more = false,
                }
            }
            if self.parked.len() >= STARTED_TOGETHER || !is_more || self.tasks.is_empty() {
                self.start_parked()?;
            }
            if self.tasks.is_empty() {
                if is_more {
                    continue;
                }
                return Ok(());
            }
            self.wait(stop).await?;
        }
    }

    /// Waits for a write to be settled, a signal, or the time to write progress down.
    async fn wait(&mut self, stop: &mut Stop) -> Result<()> {
        tokio::select! {
            joined = self.tasks.join_next() => {
                if let Some(joined) = joined {
                    let (entry, outcome) = joined?;
                    self.settle(entry, outcome)?;
                }
            }
            () = sleep_until(self.next_store) => {}
            () = stop.wait(), if !self.courier.stopping.get() => self.courier.stopping.set(true),
        }
        if Instant::now() >= self.next_store {
            self.next_store = Instant::now() + STORE_EVERY;
            self.logs.store(self.keep)?;
            self.display.show(self.summary, self.courier.retries.get());
        }
        Ok(())
    }

    fn admit(&mut self, entry: Entry) -> Result<()> {
        if entry.in_doubt {
            self.settle(entry, Outcome::StillInDoubt)?;
        } else if entry.kind.is_repeatable() {
            self.spawn(entry);
        } else if entry.standing == Standing::InDoubt {
            let words = "an earlier replay ended while it was sending this".to_owned();
            self.settle(entry, Outcome::InDoubt { words })?;
        } else {
            self.parked.push(entry);
            if self.parked.len() >= STARTED_TOGETHER {
                self.start_parked()?;
            }
        }
        Ok(())
    }

    /// Writes down that the parked writes are started, then sends them.
    fn start_parked(&mut self) -> Result<()> {
        if self.parked.is_empty() || self.is_stopping() {
            self.parked.clear();
            return Ok(());
        }
        let parked = std::mem::take(&mut self.parked);
        for entry in &parked {
            if let Some(stream) = self.logs.stream(entry.turn.stream) {
                stream.ledger.start(entry.turn.start);
            }
        }
        self.logs.store(self.keep)?;
        for entry in parked {
            match entry.kind {
                Kind::List => self.lists.push_back(entry),
                _ => self.spawn(entry),
            }
        }
        self.spawn_list();
        Ok(())
    }

    fn spawn_list(&mut self) {
        if self.list_is_out {
            return;
        }
        if let Some(entry) = self.lists.pop_front() {
            self.list_is_out = true;
            self.spawn(entry);
        }
    }

    fn spawn(&mut self, entry: Entry) {
        let courier = self.courier.clone();
        let at = self.pace.next(Instant::now());
        self.tasks.spawn_local(async move {
            if let Some(at) = at {
                sleep_until(at).await;
            }
            if courier.stopping.get() {
                return (
                    entry,
                    Outcome::GaveUp {
                        words: "stopped".to_owned(),
                    },
                );
            }
            let outcome = courier.deliver(&entry).await;
            (entry, outcome)
        });
    }

    /// Takes a schema change or TRUNCATE to the target while nothing else is under way.
    async fn pass_barrier(&mut self, barrier: Turn, stop: &mut Stop) -> Result<()> {
        let Some(entry) = self.logs.fetch(barrier)? else {
            return Ok(());
        };
        if let Some(stream) = self.logs.stream(barrier.stream) {
            stream.ledger.start(barrier.start);
        }
        self.logs.store(self.keep)?;
        let is_ddl = entry.kind == Kind::Ddl;
        self.spawn(entry);
        while !self.tasks.is_empty() {
            self.wait(stop).await?;
        }
        if is_ddl && !self.is_stopping() {
            self.courier.target.settle_schema().await?;
        }
        self.logs.store(self.keep)
    }

    /// Counts what became of a write and enters it into the book.
    fn settle(&mut self, entry: Entry, outcome: Outcome) -> Result<()> {
        if entry.kind == Kind::List && self.list_is_out && entry.standing == Standing::ToDo {
            self.list_is_out = false;
        }
        let Some(stream) = self.logs.streams.get_mut(entry.turn.stream) else {
            return Ok(());
        };
        let start = entry.turn.start;
        match outcome {
            Outcome::Applied { late } => {
                self.summary.replayed += 1;
                self.summary.late_writes += u64::from(late);
            }
            Outcome::AlreadyThere { words } => {
                self.summary.already_there += 1;
                self.display
                    .note(&format!("the target has it already: {words}"));
            }
            Outcome::Refused { code, words } => {
                let refusal = Refusal {
                    code,
                    words: &words,
                    in_doubt: false,
                };
                self.rejects.add(&stream.shard, &entry.body, refusal)?;
                self.summary.rejected += 1;
                self.display.rejected(code, &words);
            }
            Outcome::InDoubt { words } => {
                let refusal = Refusal {
                    code: 0,
                    words: &words,
                    in_doubt: true,
                };
                self.rejects.add(&stream.shard, &entry.body, refusal)?;
                self.summary.in_doubt += 1;
            }
            Outcome::TooOld => {
                let refusal = Refusal {
                    code: 0,
                    words: TOO_OLD,
                    in_doubt: false,
                };
                self.rejects.add(&stream.shard, &entry.body, refusal)?;
                self.summary.too_old += 1;
            }
            Outcome::StillInDoubt => {
                self.rejects.keep(&stream.shard, &entry.body)?;
                self.summary.kept_in_doubt += 1;
            }
            Outcome::GaveUp { words } => {
                stream.ledger.unstart(start);
                for waiting in std::mem::take(&mut self.lists) {
                    if let Some(stream) = self.logs.streams.get_mut(waiting.turn.stream) {
                        stream.ledger.unstart(waiting.turn.start);
                    }
                }
                if !self.courier.stopping.replace(true) {
                    self.gave_up = Some(words);
                }
                return Ok(());
            }
        }
        stream.ledger.finish(start);
        self.spawn_list();
        Ok(())
    }
}
