//! Counters get the difference between source and target. An increment cannot be repeated and has
//! no stamp, so the rule is: read the row at both sides, wait, read both again; only where neither
//! has changed is the difference added. Whatever became of an increment that was not answered, the
//! next look finds out: the difference is computed anew, never sent again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::report::Tally;
use super::table::Throttles;
use crate::history::cells::{Content, Row};
use crate::history::complaint::Complaint;
use crate::history::ends::Ends;
use crate::history::jobs::Job;
use crate::history::progress::Progress;
use crate::history::scan::{Page, Place, Scanner};
use crate::history::schema::Table;
use crate::history::select::{Pass, Select, conditions};
use crate::history::send::{Failure, Sender, backoff};
use crate::history::value;
use crate::history::write::key_bytes;
use crate::side::Side;

/// How often a row is looked at before it is left alone.
const ROUNDS: u32 = 5;

/// One pass over one table of counters.
pub(crate) struct CounterCopy {
    source: Scanner,
    target: Scanner,
    sender: Sender,
    quiet: Duration,
    progress: Arc<Progress>,
}

/// The counters of a row, by column; none: not set, which counts as 0.
type Counters = Vec<Option<i64>>;

/// A row whose counters differ.
struct Candidate {
    key: Vec<u8>,
    source: Counters,
    target: Counters,
}

/// What a look at a row found.
enum Look {
    Settled,
    Added,
    Again(Candidate),
}

impl CounterCopy {
    pub(crate) async fn new(
        ends: &Ends,
        table: &Table,
        select: Select,
        quiet: Duration,
        throttles: &Throttles,
        progress: Arc<Progress>,
    ) -> Result<CounterCopy> {
        let add: Vec<_> = select
            .wanted
            .iter()
            .map(|wanted| {
                let name = wanted.column.quoted();
                format!("{name} = {name} + ?")
            })
            .collect();
        let (name, at) = (table.quoted(), conditions(&select.key));
        let text = format!("UPDATE {name} SET {} WHERE {at}", add.join(", "));
        let complaint = Complaint::new(table, &progress);
        let reads = [&throttles.source, &throttles.target];
        let [source, target] = Scanner::both(ends, reads, &complaint, &select).await?;
        let (cluster, writes) = (ends.target.clone(), throttles.target.clone());
        Ok(CounterCopy {
            source,
            target,
            sender: Sender::new(cluster, writes, complaint, &[text]).await?,
            quiet,
            progress,
        })
    }

    pub(crate) fn pass(&self) -> Pass {
        self.source.select.pass
    }

    /// Brings the counters of a range to the source's values.
    pub(crate) async fn range(self: Arc<Self>, job: Job) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut place = Place::start(job.range);
        while let Some(page) = self.source.next(&mut place).await? {
            let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            tally.rows += count(page.len());
            tally.bytes += count(page.bytes());
            let rows = rows(&page, &self.source.select).map_err(|error| odd(&error))?;
            self.clone().settle(rows, &mut tally).await?;
            self.progress.rows(page.len(), page.bytes());
        }
        Ok(tally)
    }

    /// Brings the rows of these keys to the source's values.
    pub(crate) async fn settle_keys(
        self: Arc<Self>,
        keys: Vec<Vec<u8>>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let rows = keys.into_iter().map(|key| (key, Counters::new()));
        self.settle(rows.collect(), tally).await
    }

    /// Brings these rows to the source's values; of those without values they are read first.
    async fn settle(
        self: Arc<Self>,
        rows: Vec<(Vec<u8>, Counters)>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let first = rows.into_iter().map(|(key, source)| Candidate {
            key,
            source,
            target: Vec::new(),
        });
        let mut open: Vec<Candidate> = first.collect();
        for round in 0..=ROUNDS {
            if round > 0 {
                sleep(self.quiet).await;
            }
            let mut looks: JoinSet<Result<Look, Failure>> = JoinSet::new();
            for candidate in std::mem::take(&mut open) {
                looks.spawn(self.clone().look(candidate, round));
                // Reads hold a permit of their own only while they are under way.
                while looks.len() >= 128
                    && let Some(ended) = looks.join_next().await
                {
                    note(ended, &mut open, tally)?;
                }
            }
            while let Some(ended) = looks.join_next().await {
                note(ended, &mut open, tally)?;
            }
            if open.is_empty() {
                return Ok(());
            }
        }
        tally.counters_busy += u64::try_from(open.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Reads a row at both sides; after the first round enough time went by since it was read
    /// before.
    async fn look(self: Arc<Self>, before: Candidate, round: u32) -> Result<Look, Failure> {
        let may_add = round > 0;
        let (source, target) = match may_add || before.source.is_empty() {
            true => {
                let (source, target) =
                    tokio::join!(self.source.one(&before.key), self.target.one(&before.key));
                let source = one(&source?, &self.source.select).map_err(|error| odd(&error))?;
                (source, target?)
            }
            false => (before.source.clone(), self.target.one(&before.key).await?),
        };
        let target = one(&target, &self.target.select).map_err(|error| odd(&error))?;
        let differences = differences(&source, &target);
        if differences.iter().all(Option::is_none) {
            return Ok(Look::Settled);
        }
        let is_quiet = may_add && before.source == source && before.target == target;
        let now = Candidate {
            key: before.key,
            source,
            target,
        };
        if !is_quiet {
            return Ok(Look::Again(now));
        }
        let mut values = Vec::with_capacity(differences.len() * 12 + now.key.len());
        for difference in differences {
            match difference {
                Some(difference) => value::put(&mut values, &difference.to_be_bytes()),
                None => value::put_unset(&mut values),
            }
        }
        values.extend_from_slice(&now.key);
        let permit = self.sender.throttle.acquire().await;
        let sent = self.sender.raw(0, &values).await;
        drop(permit);
        match sent {
            Ok(()) => Ok(Look::Added),
            Err(failure) if failure.is_final => Err(failure),
            Err(failure) => {
                self.sender.throttle.pushed_back();
                self.sender.complaint.again(Side::Target, &failure, round);
                sleep(failure.wait.unwrap_or_else(|| backoff(1))).await;
                // Not known to be as they were: they must be seen twice again.
                Ok(Look::Again(Candidate {
                    target: Vec::new(),
                    ..now
                }))
            }
        }
    }
}

/// What must be added at the target, by column. A counter that stands at 0 is there, one that was
/// never counted is not.
fn differences(source: &Counters, target: &Counters) -> Vec<Option<i64>> {
    let pairs = source.iter().zip(target);
    pairs
        .map(|(source, target)| {
            let difference = source.unwrap_or(0).wrapping_sub(target.unwrap_or(0));
            let is_missing = source.is_some() && target.is_none();
            (difference != 0 || is_missing).then_some(difference)
        })
        .collect()
}

fn note(
    ended: Result<Result<Look, Failure>, tokio::task::JoinError>,
    open: &mut Vec<Candidate>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    match ended.map_err(|error| odd(&error.into()))?? {
        Look::Settled => {}
        Look::Added => tally.counters_added += 1,
        Look::Again(candidate) => open.push(candidate),
    }
    Ok(())
}

/// The keys and counters of a page.
fn rows(page: &Page, select: &Select) -> Result<Vec<(Vec<u8>, Counters)>> {
    let mut rows = Vec::with_capacity(page.len());
    page.each(select, |row| {
        rows.push((key_bytes(row), counters(row, select)?));
        Ok(())
    })?;
    Ok(rows)
}

/// The counters of the only row; all unset if there is none.
fn one(page: &Page, select: &Select) -> Result<Counters> {
    let mut found = vec![None; select.wanted.len()];
    page.each(select, |row| {
        found = counters(row, select)?;
        Ok(())
    })?;
    Ok(found)
}

fn counters(row: &Row<'_>, select: &Select) -> Result<Counters> {
    let mut counters = vec![None; select.wanted.len()];
    for cell in &row.cells {
        if let (Content::Whole(bytes), Some(counter)) =
            (cell.content, counters.get_mut(cell.column))
        {
            *counter = Some(value::long(bytes).context("a counter")?);
        }
    }
    Ok(counters)
}

fn odd(error: &anyhow::Error) -> Failure {
    Failure::odd(format!("a counter that makes no sense: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_makes_the_target_the_source() {
        let source = vec![Some(5), Some(0), None, Some(-3), Some(7), None];
        let target = vec![Some(2), None, Some(4), Some(-3), None, None];
        assert_eq!(
            differences(&source, &target),
            [Some(3), Some(0), Some(-4), None, Some(7), None]
        );
    }
}
