//! `twinring replay`: brings the writes of a spill directory to the target.
//!
//! ```text
//! lock the directory → look at all segments (counts, barriers, disorder) → connect
//! → log: all shards' records by arrival → deliver: request, send, judge, try again
//! → settle: count, enter into the book, reject → progress written down each second → summary
//! ```
//! Stamped writes go many at once and in any order, and are sent again until the target answers.
//! Counters and lists go once: they are written down as started before they are sent, so that not
//! even a replay that is killed and started again sends one twice; what is then not known is in
//! doubt, counted, and kept in the rejected files. Schema changes and TRUNCATE are barriers: all
//! that arrived before goes first, then the barrier alone, then the rest.

pub mod args;
mod deliver;
mod display;
mod engine;
mod log;
mod rejects;
pub mod report;
mod schema;
mod statement;
mod target;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::offline::connect;
use crate::offline::pace::Pace;
use crate::offline::stop::Stop;
use crate::side::Side;
use crate::spill::stat::Stat;
use crate::spill::{Holds, Keys, Kind, SpillDir, stat};

pub use args::ReplayArgs;
pub use report::Summary;

use deliver::Courier;
use display::Display;
use engine::Engine;
use log::Logs;
use rejects::Rejects;
use target::Target;

/// Exit code of a replay that ended, but after which the target lacks something.
pub const NOT_COMPLETE: u8 = 3;

/// There while a proxy runs, or after one that did not stop in order.
const RUNNING: &str = "running";

/// Replays, prints the result, and gives the exit code.
///
/// Fails when the replay could not be done or had to stop; starting it again goes on.
pub fn main(args: &ReplayArgs) -> Result<ExitCode> {
    let mut summary = Summary::default();
    let done = run(args, &mut summary);
    let is_told = done.is_ok() || summary != Summary::default();
    if is_told && (args.json || !args.dry_run) {
        print(args, &summary)?;
    }
    done?;
    Ok(if summary.is_clean() || args.dry_run {
        ExitCode::SUCCESS
    } else {
        NOT_COMPLETE.into()
    })
}

/// Replays. `summary` is exact however this ends.
pub fn run(args: &ReplayArgs, summary: &mut Summary) -> Result<()> {
    let started = Instant::now();
    let password = connect::password(
        Side::Target,
        args.target_password_file.as_deref(),
        args.target_username.as_deref(),
    )?;
    let keys = args.spill_key_file.as_deref().map(Keys::load).transpose()?;
    let dir = SpillDir::open(&args.dir)?.with_keys(keys.unwrap_or_default());
    if args.dir.join(RUNNING).exists() {
        tracing::warn!(
            "{} has a file `{RUNNING}`: the proxy runs, if this is a copy, or did not stop in \
             order; writes may be in its journal and not here, and only its next start brings them",
            args.dir.display()
        );
    }
    let mut logs = Logs::open(&dir, args.wanted())?;
    summary.found(&logs.found);
    if !args.wanted().contains(&Holds::Rejected) {
        for shard in dir.shards()? {
            summary.skipped += stat::of_shard(&shard, Holds::Rejected)?.records;
        }
    }
    summary.left = summary.read;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    let result = if args.dry_run {
        describe(args, &logs.found, summary)
    } else {
        tasks.block_on(&runtime, replay(args, password, &mut logs, summary))
    };
    summary.left = summary.read.saturating_sub(summary.settled());
    summary.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

async fn replay(
    args: &ReplayArgs,
    password: Option<String>,
    logs: &mut Logs,
    summary: &mut Summary,
) -> Result<()> {
    if logs.found.records == 0 {
        // Segments that are wholly done, or hold nothing but damage, may still be there.
        while logs.next(None)?.is_some() {}
        return logs.store(args.keep);
    }
    let mut stop = Stop::new()?;
    let target = Target::connect(args, password).await?;
    let courier = Rc::new(Courier {
        target,
        force: args.force,
        give_up: Duration::from_secs(args.give_up_seconds.into()),
        last_success: Cell::new(tokio::time::Instant::now()),
        retries: Cell::new(0),
        stopping: Cell::new(false),
    });
    let rejects = Rejects::new(RandomState::new().hash_one(std::process::id()));
    let display = Display::new(summary.read);
    let pace = Pace::new(args.rate);
    let mut engine = Engine::new(logs, courier.clone(), summary, rejects, pace, display);
    engine.concurrency = args.concurrency.into();
    engine.keep = args.keep;
    let result = engine.run(&mut stop).await;
    summary.retries = courier.retries.get();
    result
}

/// Says what there is to do.
fn describe(args: &ReplayArgs, found: &Stat, summary: &Summary) -> Result<()> {
    if args.json {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} segments, {} bytes",
        args.dir.display(),
        found.segments,
        found.bytes
    )?;
    for kind in Kind::ALL {
        let count = found.of_kind(kind);
        if count > 0 {
            writeln!(out, "{count:>12}  {}", kind.name())?;
        }
    }
    if let (Some(oldest), Some(newest)) = (found.oldest_us, found.newest_us) {
        let now = deliver::now_us();
        let ago = |us: u64| now.saturating_sub(us) / 1_000_000;
        writeln!(
            out,
            "{:>12}  arrived {} to {} s ago",
            "",
            ago(oldest),
            ago(newest)
        )?;
    }
    writeln!(out, "{summary}")?;
    Ok(())
}

fn print(args: &ReplayArgs, summary: &Summary) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let complete = summary.is_clean();
        let mut json = serde_json::to_value(summary)?;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("complete".to_owned(), complete.into());
            fields.insert("dry_run".to_owned(), args.dry_run.into());
        }
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
