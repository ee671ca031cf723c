//! Compares a token range of one pass over one table: both streams through the join, then a second
//! look at what is doubtful.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::args::VerifyArgs;
use super::fingerprint::{Fingerprint, Tolerance};
use super::join::{From, Join};
use super::repair::Repair;
use super::report::Difference;
use crate::history::complaint::Complaint;
use crate::history::ends::Ends;
use crate::history::jobs::Job;
use crate::history::progress::Progress;
use crate::history::scan::{Page, Place, Scanner};
use crate::history::schema::{Column, Table};
use crate::history::select::{Pass, Select};
use crate::history::send::Failure;
use crate::history::throttle::Throttle;
use crate::limits;

/// Limits on the reads of both sides and the writes to the target.
#[derive(Clone)]
pub(super) struct Throttles {
    pub source: Arc<Throttle>,
    pub target: Arc<Throttle>,
    pub writes: Arc<Throttle>,
}

/// What a range came to.
#[derive(Default)]
pub(super) struct Found {
    pub equal: u64,
    pub settled: u64,
    pub rows_differing: u64,
    pub differences: Vec<Difference>,
}

/// One pass over one table.
pub(super) struct TableVerify {
    pub table: Table,
    pub source: Scanner,
    pub target: Scanner,
    pub tolerance: Tolerance,
    pub settle: Duration,
    pub columns: Vec<Column>,
    pub is_dirty: bool,
    pub repair: Repair,
    progress: Arc<Progress>,
}

impl TableVerify {
    pub(super) async fn new(
        ends: &Ends,
        table: Table,
        pass: Pass,
        args: &VerifyArgs,
        throttles: &Throttles,
        progress: Arc<Progress>,
    ) -> Result<TableVerify> {
        let per_element = ends.source.per_element && ends.target.per_element;
        let condition = args.ends.condition.as_deref();
        let select = Select::new(&table, pass, per_element, condition);
        let columns = select.wanted.iter().map(|wanted| wanted.column.clone());
        let complaint = Complaint::new(&table, &progress);
        let reads = [&throttles.source, &throttles.target];
        let [source, target] = Scanner::both(ends, reads, &complaint, &select).await?;
        let repair = Repair::new(ends, &table, &select, args, throttles, &progress).await?;
        Ok(TableVerify {
            columns: columns.collect(),
            source,
            target,
            tolerance: tolerance(args),
            settle: Duration::from_millis(args.settle_ms),
            is_dirty: false,
            repair,
            table,
            progress,
        })
    }

    pub(super) fn pass(&self) -> Pass {
        self.source.select.pass
    }

    /// Compares a range.
    pub(super) async fn range(self: Arc<Self>, job: Job) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut join = Join::new(self.tolerance);
        let (mut source, mut target) = (Place::start(job.range), Place::start(job.range));
        // The first pages of both sides are read at once, later ones as the join wants them.
        let (first, other) =
            tokio::join!(self.source.next(&mut source), self.target.next(&mut target));
        self.feed(&mut join, From::Source, first?)?;
        self.feed(&mut join, From::Target, other?)?;
        while let Some(from) = join.wants() {
            let page = match from {
                From::Source => self.source.next(&mut source).await?,
                From::Target => self.target.next(&mut target).await?,
            };
            self.feed(&mut join, from, page)?;
            if join.doubtful.len() >= limits::RECHECK_ROWS {
                let doubtful = std::mem::take(&mut join.doubtful);
                self.clone().look_again(doubtful, &mut found).await?;
            }
        }
        found.equal = join.equal;
        let doubtful = std::mem::take(&mut join.doubtful);
        self.look_again(doubtful, &mut found).await?;
        Ok(found)
    }

    fn feed(&self, join: &mut Join, from: From, page: Option<Page>) -> Result<(), Failure> {
        let Some(page) = page else {
            join.ended(from);
            return Ok(());
        };
        let select = &self.source.select;
        page.each(select, |row| {
            // A partition without static cells is no difference to one that is not there.
            if select.pass == Pass::Rows || !row.cells.is_empty() {
                join.row(from, Fingerprint::of(row, &self.columns, &self.tolerance));
            }
            Ok(())
        })
        .map_err(|error| odd(&error))?;
        if from == From::Source {
            self.progress.rows(page.len(), page.bytes());
        }
        Ok(())
    }
}

fn tolerance(args: &VerifyArgs) -> Tolerance {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX / 1000);
    Tolerance {
        compare_stamps: args.compare_timestamps,
        expiry_ms: millis(args.ttl_tolerance_millis),
        writetime_us: millis(args.writetime_tolerance_millis).saturating_mul(1000),
        float: args.floating_point_tolerance,
    }
}

/// An answer that makes no sense.
pub(super) fn odd(error: &anyhow::Error) -> Failure {
    Failure::odd(format!("an answer that makes no sense: {error:#}"))
}
