//! `twinring verify`: both clusters cell by cell, and what differs made equal.
//!
//! ```text
//! connect to both → schema → dirty set: which tables first → token ranges, several at once:
//!   pages of both sides → fingerprints → join: the same | doubtful
//!   doubtful → read again at both sides, up to three times → settled | changing | different
//!   different → repaired if asked, and looked at once more → report
//! → summary
//! ```
//! Values, writetimes and absolute expiry are compared; deletes that both sides hide cannot be.
//! It may run beside live traffic: what the mirror has not brought yet is there at the second or
//! third look.

pub mod args;
mod diff;
mod dirty;
mod fingerprint;
mod join;
mod recheck;
mod repair;
pub mod report;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::copy::FailedRange;
use crate::history::block_on;
use crate::history::ends::Ends;
use crate::history::jobs::{self, Job};
use crate::history::progress::Progress;
use crate::history::select::{self, Pass};
use crate::history::throttle::Throttle;
use crate::history::tokens;
use crate::offline::stop::Stop;

pub use args::VerifyArgs;
pub use report::{Class, Difference, Summary};

use dirty::Dirty;
use table::{Found, TableVerify, Throttles};

/// Exit code when differences are left.
pub const NOT_EQUAL: u8 = 4;
/// Exit code when nothing differs, but not everything could be compared.
pub const NOT_COMPLETE: u8 = 3;

/// Compares, prints the result, and gives the exit code.
///
/// Fails when the comparison could not be done.
pub fn main(args: &VerifyArgs) -> Result<ExitCode> {
    let summary = run(args)?;
    let mut out = std::io::stdout().lock();
    if args.ends.json {
        let mut json = serde_json::to_value(&summary)?;
        if let Some(fields) = json.as_object_mut() {
            let equal = summary.is_equal() && summary.failed.is_empty();
            fields.insert("is_equal".to_owned(), equal.into());
        }
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(match (summary.is_equal(), summary.failed.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => NOT_COMPLETE.into(),
        (false, _) => NOT_EQUAL.into(),
    })
}

/// Compares.
pub fn run(args: &VerifyArgs) -> Result<Summary> {
    args.ends.check()?;
    block_on(verify(args))
}

async fn verify(args: &VerifyArgs) -> Result<Summary> {
    let started = Instant::now();
    let mut stop = Stop::new()?;
    let dirty = match &args.data_dir {
        Some(dir) => Dirty::load(dir, args.spill_key_file.as_deref(), &args.ends.keyspace)?,
        None => Dirty::default(),
    };
    let mut report = Report::open(args)?;
    let ends = Ends::connect(&args.ends, args.ends.passwords()?).await?;
    let mut work = Work::plan(args, &ends, &dirty).await?;
    let mut summary = Summary {
        tables: work.tables,
        failed: std::mem::take(&mut work.unreadable),
        ..Summary::default()
    };
    let finished = |job: Job, found: Found| {
        summary.equal += found.equal;
        summary.settled += found.settled;
        summary.rows_differing += found.rows_differing;
        for difference in found.differences {
            *summary.differences.entry(difference.class).or_default() += 1;
            summary.repaired += u64::from(difference.repaired);
            summary.dirty += u64::from(difference.dirty);
            report.add(&difference)?;
            if summary.shown.len() < args.failures_to_fetch {
                summary.shown.push(difference);
            }
        }
        work.progress.done(work.share(job));
        Ok(())
    };
    let at_once = args.ends.read_concurrency.into();
    let jobs = work.jobs.clone();
    let failed = jobs::run(jobs, at_once, &mut stop, |job| work.run(job), finished).await;
    work.progress.finish();
    for failed in failed? {
        let range = FailedRange::new(work.name(failed.job), failed);
        summary.failed.push(range);
    }
    report.close()?;
    summary.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

/// All passes over all tables, the dirty ones first.
struct Work {
    tables: u64,
    unreadable: Vec<FailedRange>,
    passes: Vec<Arc<TableVerify>>,
    jobs: Vec<Job>,
    progress: Arc<Progress>,
}

impl Work {
    async fn plan(args: &VerifyArgs, ends: &Ends, dirty: &Dirty) -> Result<Work> {
        let mut tables = ends.tables(&args.ends)?;
        let unreadable = FailedRange::unreadable(&mut tables, args.ends.window());
        tables.sort_by_key(|table| (!dirty.holds(&table.name), table.name.clone()));
        for name in ends.target.tables.keys() {
            if !ends.source.tables.contains_key(name) && args.ends.tables.is_empty() {
                writeln!(std::io::stderr(), "table {name} is only at the target")?;
            }
        }
        let reads = || Throttle::new(args.ends.read_concurrency.into(), args.ends.read_rate);
        let throttles = Throttles {
            source: reads(),
            target: reads(),
            writes: Throttle::new(args.ends.write_concurrency.into(), args.ends.write_rate),
        };
        let splits = usize::try_from(args.ends.splits).unwrap_or(1);
        let ranges = tokens::cut(&ends.source.node_tokens(), splits);
        let ranges = tokens::within(&ranges, args.ends.window());
        let mut work = Work {
            tables: u64::try_from(tables.len()).unwrap_or(u64::MAX),
            unreadable,
            passes: Vec::new(),
            jobs: Vec::new(),
            progress: Arc::new(Progress::new(0.0)),
        };
        for table in tables {
            let is_dirty = dirty.holds(&table.name);
            for pass in select::passes(&table) {
                let place = work.passes.len();
                work.jobs.extend(ranges.iter().map(|range| Job {
                    pass: place,
                    range: *range,
                    attempt: 0,
                }));
                let progress = work.progress.clone();
                let table = table.clone();
                let step = TableVerify::new(ends, table, pass, args, &throttles, progress);
                let mut step = step.await?;
                step.is_dirty = is_dirty;
                work.passes.push(Arc::new(step));
            }
        }
        Ok(work)
    }

    fn run(
        &self,
        job: Job,
    ) -> impl Future<Output = Result<Found, crate::history::send::Failure>> + Send + 'static {
        let pass = self.passes.get(job.pass).cloned();
        async move {
            match pass {
                Some(pass) => pass.range(job).await,
                None => Ok(Found::default()),
            }
        }
    }

    fn name(&self, job: Job) -> (String, Pass) {
        match self.passes.get(job.pass) {
            Some(pass) => (pass.table.name.clone(), pass.pass()),
            None => (String::new(), Pass::Rows),
        }
    }

    fn share(&self, job: Job) -> f64 {
        let passes = u32::try_from(self.passes.len().max(1)).map_or(1.0, f64::from);
        job.range.share() / passes
    }
}

/// The file of differences.
struct Report {
    file: Option<BufWriter<File>>,
}

impl Report {
    fn open(args: &VerifyArgs) -> Result<Report> {
        let Some(path) = &args.report else {
            return Ok(Report { file: None });
        };
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path);
        let file = file.with_context(|| format!("cannot write --report {}", path.display()))?;
        Ok(Report {
            file: Some(BufWriter::new(file)),
        })
    }

    fn add(&mut self, difference: &Difference) -> Result<()> {
        if let Some(file) = &mut self.file {
            serde_json::to_writer(&mut *file, difference)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        match &mut self.file {
            Some(file) => file.flush().context("cannot write --report"),
            None => Ok(()),
        }
    }
}
