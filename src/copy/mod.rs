//! `twinring copy`: what was written before the proxy stood, cell by cell.
//!
//! ```text
//! connect to both → schema → checkpoint: what is done already → token ranges, several at once:
//!   page from the source → rows → cells by (writetime, expiry) → statements → target
//!   a range is done → written down and synced; it fails → in halves, again → reported
//! → summary
//! ```
//! Each cell keeps its own writetime and the second of its expiry; a row's maximum of either is
//! never used. So a copied cell loses against every later write and delete of the same cell, in
//! whatever order they reach the target, and the copy may run beside the proxy and as often as one
//! likes. What cannot be written twice is looked at first: [`lists`], [`counters`].

pub mod args;
mod checkpoint;
pub(crate) mod counters;
mod create;
pub(crate) mod lists;
pub mod report;
pub(crate) mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::history::ends::{self, Ends};
use crate::history::jobs::{self, Job};
use crate::history::progress::Progress;
use crate::history::schema::Table;
use crate::history::select::{self, Pass, Select};
use crate::history::send::Failure;
use crate::history::throttle::Throttle;
use crate::history::tokens;
use crate::history::write::Rules;
use crate::history::{block_on, now_us};
use crate::limits;
use crate::offline::stop::Stop;

pub use args::CopyArgs;
pub use report::{FailedRange, Summary, Tally};

use checkpoint::{Checkpoint, Done, Identity};
use counters::CounterCopy;
use table::{TableCopy, Throttles};

/// Exit code of a copy that ended, but without some ranges or counters.
pub const NOT_COMPLETE: u8 = 3;

/// Copies, prints the result, and gives the exit code.
///
/// Fails when the copy could not be done or finished; starting it again goes on.
pub fn main(args: &CopyArgs) -> Result<ExitCode> {
    let summary = run(args)?;
    if args.dry_run || args.schema_only {
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    if args.ends.json {
        let mut json = serde_json::to_value(&summary)?;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("complete".to_owned(), summary.is_complete().into());
            fields.insert(
                "rows_per_second".to_owned(),
                summary.rows_per_second().into(),
            );
        }
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(if summary.is_complete() {
        ExitCode::SUCCESS
    } else {
        NOT_COMPLETE.into()
    })
}

/// Copies.
pub fn run(args: &CopyArgs) -> Result<Summary> {
    args.ends.check()?;
    block_on(copy(args))
}

async fn copy(args: &CopyArgs) -> Result<Summary> {
    let started = Instant::now();
    let mut stop = Stop::new()?;
    let mut ends = Ends::connect(&args.ends, args.ends.passwords()?).await?;
    if args.dry_run {
        describe(args, &ends)?;
        return Ok(Summary::default());
    }
    if args.create_schema || args.schema_only {
        for what in create::create(&ends.source, &ends.target, args).await? {
            writeln!(std::io::stderr(), "created {what}")?;
        }
        let Some(target) = Arc::get_mut(&mut ends.target) else {
            bail!("the target is in use already");
        };
        target.reload(&args.ends.keyspace).await?;
    }
    let mut tables = ends.tables(&args.ends)?;
    if args.schema_only {
        return Ok(Summary::default());
    }
    let unreadable = FailedRange::unreadable(&mut tables, args.ends.window());
    warn(&ends, &tables)?;
    let mut checkpoint = Checkpoint::open(&path(args), identity(args), now_us(), args.restart)?;
    let work = Work::plan(args, &ends, &tables, &checkpoint).await?;
    let mut summary = Summary {
        failed: unreadable,
        ..Summary::default()
    };
    for done in &checkpoint.done {
        summary.tally.add(&done.tally);
        summary.ranges_resumed += 1;
    }
    let earlier_rows = summary.tally.rows;
    let at_once = args.ends.read_concurrency.into();
    let finished = |job: Job, tally: Tally| {
        let (table, pass) = work.name(job);
        checkpoint.add(&Done {
            table,
            pass: pass.name().to_owned(),
            after: job.range.after,
            up_to: job.range.up_to,
            tally,
        })?;
        summary.tally.add(&tally);
        summary.ranges_done += 1;
        work.progress.done(work.share(job));
        Ok(())
    };
    let jobs = work.jobs.clone();
    let failed = jobs::run(jobs, at_once, &mut stop, |job| work.run(job), finished).await;
    work.progress.finish();
    for failed in failed? {
        let range = FailedRange::new(work.name(failed.job), failed);
        summary.failed.push(range);
    }
    summary.rows_this_run = summary.tally.rows - earlier_rows;
    summary.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

/// All passes over all tables, and the ranges that are not done.
struct Work {
    passes: Vec<(String, Step)>,
    jobs: Vec<Job>,
    progress: Arc<Progress>,
}

/// One pass over one table.
enum Step {
    Cells(Arc<TableCopy>),
    Counters(Arc<CounterCopy>),
}

impl Work {
    async fn plan(
        args: &CopyArgs,
        ends: &Ends,
        tables: &[Table],
        checkpoint: &Checkpoint,
    ) -> Result<Work> {
        let rules = Rules {
            marker: args.row_marker,
            writetime: args.writetime,
            collections: args.collection_writetime,
            began_us: checkpoint.header.began_us,
            written_after_us: args.written_after,
            written_before_us: args.written_before,
        };
        let throttles = Throttles {
            source: Throttle::new(args.ends.read_concurrency.into(), args.ends.read_rate),
            target: Throttle::new(args.ends.write_concurrency.into(), args.ends.write_rate),
        };
        let mut plans = Vec::new();
        let node_tokens = ends.source.node_tokens();
        for table in tables {
            for pass in select::passes(table) {
                let splits = splits(args, table);
                let ranges = tokens::cut(&node_tokens, splits);
                let ranges = tokens::within(&ranges, args.ends.window());
                let done: Vec<_> = checkpoint
                    .done
                    .iter()
                    .filter(|done| done.table == table.name && done.pass == pass.name())
                    .map(Done::range)
                    .collect();
                let left = tokens::subtract(&ranges, &done);
                plans.push((table, pass, left));
            }
        }
        let share = |ranges: &[tokens::TokenRange]| -> f64 {
            ranges.iter().map(|range| range.share()).sum()
        };
        let whole = args.ends.window().share() * ratio(plans.len());
        let left: f64 = plans.iter().map(|(.., ranges)| share(ranges)).sum();
        let before = 1.0 - left / whole;
        let progress = Arc::new(Progress::new(before));
        let (mut passes, mut jobs) = (Vec::new(), Vec::new());
        for (table, pass, ranges) in plans {
            let place = passes.len();
            jobs.extend(ranges.into_iter().map(|range| Job {
                pass: place,
                range,
                attempt: 0,
            }));
            let condition = args.ends.condition.as_deref();
            let select = Select::new(table, pass, ends.source.per_element, condition);
            let progress = progress.clone();
            let step = if table.is_counter() {
                let quiet = Duration::from_millis(args.counter_quiet_ms);
                let copy = CounterCopy::new(ends, table, select, quiet, &throttles, progress);
                Step::Counters(Arc::new(copy.await?))
            } else {
                let copy = TableCopy::new(ends, table, select, rules, &throttles, progress);
                let copy = copy.await?;
                if checkpoint.done.is_empty() && !checkpoint.was_there {
                    copy.beware_of_lists().await;
                }
                Step::Cells(Arc::new(copy))
            };
            passes.push((table.name.clone(), step));
        }
        Ok(Work {
            passes,
            jobs,
            progress,
        })
    }

    fn run(&self, job: Job) -> impl Future<Output = Result<Tally, Failure>> + Send + 'static {
        let step = match self.passes.get(job.pass) {
            Some((_, Step::Cells(copy))) => Some(Step::Cells(copy.clone())),
            Some((_, Step::Counters(copy))) => Some(Step::Counters(copy.clone())),
            None => None,
        };
        async move {
            match step {
                Some(Step::Cells(copy)) => copy.range(job).await,
                Some(Step::Counters(copy)) => copy.range(job).await,
                None => Ok(Tally::default()),
            }
        }
    }

    /// Table and pass of a job.
    fn name(&self, job: Job) -> (String, Pass) {
        match self.passes.get(job.pass) {
            Some((table, Step::Cells(copy))) => (table.clone(), copy.pass()),
            Some((table, Step::Counters(copy))) => (table.clone(), copy.pass()),
            None => (String::new(), Pass::Rows),
        }
    }

    fn share(&self, job: Job) -> f64 {
        job.range.share() / ratio(self.passes.len())
    }
}

fn ratio(passes: usize) -> f64 {
    u32::try_from(passes.max(1)).map_or(1.0, f64::from)
}

/// A row of counters waits until it is quiet, so few large ranges are faster there.
fn splits(args: &CopyArgs, table: &Table) -> usize {
    let asked = usize::try_from(args.ends.splits).unwrap_or(1);
    match table.is_counter() {
        true => asked.min(limits::COUNTER_SPLITS),
        false => asked,
    }
}

fn path(args: &CopyArgs) -> PathBuf {
    args.checkpoint
        .clone()
        .unwrap_or_else(|| format!("twinring-copy-{}.checkpoint", args.ends.keyspace).into())
}

/// What makes this copy another than one with other flags.
fn identity(args: &CopyArgs) -> Identity {
    Identity {
        source: args.ends.source.clone(),
        target: args.ends.target_name(),
        keyspace: args.ends.keyspace.clone(),
        rules: format!(
            "{:?} {:?} {:?} after {:?} before {:?} where {:?}",
            args.writetime,
            args.row_marker,
            args.collection_writetime,
            args.written_after,
            args.written_before,
            args.ends.condition
        ),
    }
}

/// Says what an operator should know before it is too late.
fn warn(ends: &Ends, tables: &[Table]) -> Result<()> {
    let mut err = std::io::stderr().lock();
    for table in tables {
        let columns = table.regulars.iter().chain(&table.statics);
        let names: Vec<_> = columns
            .filter(|column| column.is_multi_cell())
            .map(|column| column.name.as_str())
            .collect();
        if !ends.source.per_element && !names.is_empty() {
            writeln!(
                err,
                "{}: this source does not tell writetime and TTL of {}; --collection-writetime \
                 decides, and elements get the expiry that all other cells of their row share",
                table.shown(),
                names.join(", ")
            )?;
        }
        if table.gc_grace_s < limits::COPY_GRACE_MIN_S && !table.is_counter() {
            writeln!(
                err,
                "{}: gc_grace_seconds is {}: a delete that the target forgets before the copy \
                 comes by lets old data back in; raise it until the copy is done",
                table.shown(),
                table.gc_grace_s
            )?;
        }
    }
    Ok(())
}

/// `--dry-run`.
fn describe(args: &CopyArgs, ends: &Ends) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for table in ends::chosen(&ends.source.tables, &args.ends)? {
        let target = match ends.target.tables.get(&table.name) {
            None => "missing at the target".to_owned(),
            Some(other) => table
                .differs_from(other)
                .unwrap_or("the same at the target".to_owned()),
        };
        writeln!(out, "{}: {target}", table.shown())?;
        for pass in select::passes(&table) {
            let condition = args.ends.condition.as_deref();
            let select = Select::new(&table, pass, ends.source.per_element, condition);
            writeln!(out, "  reads   {}", select.range_text)?;
            if table.is_counter() {
                writeln!(out, "  adds the difference of each counter that is quiet")?;
                continue;
            }
            let plan = crate::history::write::WritePlan::new(&table, &select);
            for text in plan.texts {
                writeln!(out, "  writes  {text}")?;
            }
        }
    }
    Ok(())
}
