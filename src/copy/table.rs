//! Copies a token range of one pass over one table: reads a page, writes it while the next is read.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;

use super::lists::{ListCopier, ListOutcome};
use super::report::Tally;
use crate::history::complaint::Complaint;
use crate::history::ends::Ends;
use crate::history::jobs::Job;
use crate::history::now_s;
use crate::history::progress::Progress;
use crate::history::scan::{Page, Place, Scanner};
use crate::history::schema::Table;
use crate::history::select::{Pass, Select};
use crate::history::send::{Failure, Sender};
use crate::history::throttle::Throttle;
use crate::history::write::{Rules, WritePlan, Writes};

/// Limits on the requests to both sides.
#[derive(Clone)]
pub(crate) struct Throttles {
    pub source: Arc<Throttle>,
    pub target: Arc<Throttle>,
}

/// One pass over one table, without counters.
pub(super) struct TableCopy {
    scanner: Scanner,
    plan: WritePlan,
    sender: Arc<Sender>,
    lists: Arc<ListCopier>,
    rules: Rules,
    progress: Arc<Progress>,
}

impl TableCopy {
    pub(super) async fn new(
        ends: &Ends,
        table: &Table,
        select: Select,
        rules: Rules,
        throttles: &Throttles,
        progress: Arc<Progress>,
    ) -> Result<TableCopy> {
        let plan = WritePlan::new(table, &select);
        let target = &ends.target;
        let complaint = Complaint::new(table, &progress);
        let writes = throttles.target.clone();
        let sender = Sender::new(target.clone(), writes, complaint.clone(), &plan.texts).await?;
        let sender = Arc::new(sender);
        let lists = ListCopier::new(sender.clone(), table, &select, &plan, rules).await?;
        let source = ends.source.clone();
        Ok(TableCopy {
            scanner: Scanner::new(source, throttles.source.clone(), complaint, select).await?,
            plan,
            sender,
            lists: Arc::new(lists),
            rules,
            progress,
        })
    }

    pub(super) fn pass(&self) -> Pass {
        self.scanner.select.pass
    }

    /// Lists may be at the target already: look before writing one.
    pub(super) async fn beware_of_lists(&self) {
        self.lists.beware().await;
    }

    /// Copies a range.
    pub(super) async fn range(self: Arc<Self>, job: Job) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut place = Place::start(job.range);
        let mut page = self.scanner.next(&mut place).await?;
        while let Some(current) = page {
            let write = self.page(&current, job.attempt, &mut tally);
            let (written, next) = tokio::join!(write, self.scanner.next(&mut place));
            written?;
            page = next?;
        }
        Ok(tally)
    }

    async fn page(&self, page: &Page, attempt: u32, tally: &mut Tally) -> Result<(), Failure> {
        let writes = self.writes(page).map_err(|error| {
            Failure::odd(format!("source: an answer that makes no sense: {error:#}"))
        })?;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        tally.rows += count(page.len());
        tally.bytes += count(page.bytes());
        tally.cells += writes.cells;
        tally.statements += count(writes.plain.len());
        tally.young_elements += writes.young_elements;
        self.sender.throttle.rows(page.len()).await;
        let mut sending: JoinSet<Result<Option<ListOutcome>, Failure>> = JoinSet::new();
        for batch in self.sender.batches(writes.plain) {
            let permit = self.sender.throttle.acquire().await;
            let sender = self.sender.clone();
            sending.spawn(async move {
                let sent = sender.send(&batch).await;
                drop(permit);
                sent.map(|()| None)
            });
            while let Some(ended) = sending.try_join_next() {
                note(ended, tally)?;
            }
        }
        for list in writes.lists {
            let permit = self.sender.throttle.acquire().await;
            let lists = self.lists.clone();
            sending.spawn(async move {
                let copied = lists.copy(&list, attempt > 0).await;
                drop(permit);
                copied.map(Some)
            });
        }
        while let Some(ended) = sending.join_next().await {
            note(ended, tally)?;
        }
        self.progress.rows(page.len(), page.bytes());
        Ok(())
    }

    fn writes(&self, page: &Page) -> Result<Writes> {
        let mut writes = Writes::default();
        let now_s = now_s();
        page.each(&self.scanner.select, |row| {
            self.plan.writes(row, &self.rules, now_s, &mut writes);
            Ok(())
        })?;
        Ok(writes)
    }
}

type Ended = Result<Result<Option<ListOutcome>, Failure>, tokio::task::JoinError>;

fn note(ended: Ended, tally: &mut Tally) -> Result<(), Failure> {
    let outcome = ended.map_err(|error| Failure::odd(error.to_string()))??;
    match outcome {
        None => {}
        Some(ListOutcome::Written) => tally.lists += 1,
        Some(ListOutcome::There) => tally.lists_there += 1,
        Some(ListOutcome::Replaced) => tally.lists_replaced += 1,
    }
    Ok(())
}
