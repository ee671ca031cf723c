//! The command line of `loadgen`.

pub mod files;
pub mod shape;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};

use self::files::Files;
use self::shape::{Shape, create, resolve};
use crate::check::{difference, read_rows};
use crate::compare::{Named, compare};
use crate::load::run;
use crate::plan::Plan;
use crate::report::Report;
use crate::session::Session;
use crate::sweep::{LINE_HEAD, Ladder, sweep};

/// Open-loop load for servers that speak the Cassandra native protocol.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One run at a constant rate; leaves with 1 if the rate was missed, there was an error or a
    /// check failed
    Run(RunArgs),
    /// Endpoints in turns, in a random order each round: what the others add to the first
    Compare(CompareArgs),
    /// Rate against latency up to saturation: the highest rate within a p99 limit
    Sweep(SweepArgs),
}

/// `loadgen run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Whom to ask
    #[arg(value_name = "HOST:PORT")]
    pub endpoint: String,
    /// The shape of the load.
    #[command(flatten)]
    pub shape: Shape,
    /// Read every acknowledged write back here afterwards, and compare these endpoints' tables
    /// cell by cell with one another
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub check: Vec<String>,
    /// Seconds from the end to the check: a proxy may still be mirroring
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub check_after: f64,
    /// How the result is given.
    #[command(flatten)]
    pub output: Output,
}

/// How the result is given.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write JSON, an HTML page and HdrHistogram's files into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Whom to ask, by name.
#[derive(Debug, Args)]
pub struct Endpoints {
    /// An endpoint; the first is what the others are compared with
    #[arg(
        long = "endpoint",
        value_name = "NAME=HOST:PORT",
        required = true,
        num_args = 1
    )]
    pub endpoints: Vec<String>,
    /// A process whose cost counts for that endpoint; may be given several times
    #[arg(long = "pid", value_name = "NAME=PID", num_args = 1)]
    pub pids: Vec<String>,
}

/// `loadgen sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// The highest rate tried; --rate is the lowest
    #[arg(long, value_name = "R", default_value_t = 100_000)]
    pub to: u32,
    /// From one rate to the next
    #[arg(long, value_name = "X", default_value_t = 1.5)]
    pub factor: f64,
    /// Closer looks at where each fell off, each halving the gap
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub refine: u32,
    /// Longest p99 that is good, in µs
    #[arg(long, value_name = "US", default_value_t = 1000.0)]
    pub p99_limit_us: f64,
    /// Runs of each rate; the one with the median p99 counts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u32,
    /// The shape of each run.
    #[command(flatten)]
    pub shape: Shape,
    /// How the result is given.
    #[command(flatten)]
    pub output: Output,
}

/// `loadgen compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub rounds: u32,
    /// The shape of each run.
    #[command(flatten)]
    pub shape: Shape,
    /// How the result is given.
    #[command(flatten)]
    pub output: Output,
}

/// Does what the command line says; true when nothing went wrong.
///
/// # Errors
/// What kept it from running.
pub fn main(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Run(args) => run_once(args, out),
        Command::Compare(args) => run_compare(args, out),
        Command::Sweep(args) => run_sweep(args, out),
    }
}

fn run_once(args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let files = args.output.files()?;
    let plan = Plan {
        ledger: !args.check.is_empty(),
        log: files.as_ref().map(Files::log),
        ..args.shape.plan(resolve(&args.endpoint)?)?
    };
    if args.shape.create {
        create(&plan)?;
    }
    let report = run(&plan)?;
    if let Some(files) = &files {
        files.run(&plan, &report)?;
    }
    let checks = check(args, &plan, &report)?;
    let good = checks.iter().all(|check| check.good);
    if args.output.json {
        let whole = serde_json::json!({ "report": report, "checks": checks });
        writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
    } else {
        write!(out, "{report}")?;
        for check in &checks {
            writeln!(out, "{}", check.words)?;
        }
    }
    Ok(good && report.is_valid() && report.client_errors() == 0)
}

/// What a look at the data found.
#[derive(Debug, serde::Serialize)]
struct Check {
    words: String,
    good: bool,
}

/// Reads the table back at every endpoint that was named.
fn check(args: &RunArgs, plan: &Plan, report: &Report) -> anyhow::Result<Vec<Check>> {
    let (mut found, mut tables) = (Vec::new(), Vec::new());
    if !args.check.is_empty() {
        let pause = std::time::Duration::try_from_secs_f64(args.check_after);
        #[allow(clippy::disallowed_methods, reason = "after the run, in no shard")]
        std::thread::sleep(pause.context("the time before the check")?);
    }
    for name in &args.check {
        let session = Session::open(resolve(name)?, &plan.access)?;
        let table = read_rows(session, &plan.keyspace, &plan.table)?;
        let held = report.ledger.check(plan, &table);
        found.push(Check {
            words: format!(
                "check {name}: {} acknowledged keys, {} missing, {} wrong",
                held.keys, held.missing, held.wrong
            ),
            good: held.is_good(),
        });
        tables.push((name, table));
    }
    for pair in tables.windows(2) {
        let [(one, first), (other, second)] = pair else {
            continue;
        };
        let between = difference(first, second);
        found.push(Check {
            words: format!(
                "check {one} against {other}: {} rows, {} missing, {} surplus, {} differing",
                between.rows, between.missing, between.surplus, between.differing
            ),
            good: between.is_none(),
        });
    }
    Ok(found)
}

fn run_compare(args: &CompareArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let endpoints = args.endpoints.named()?;
    let first = endpoints.first().context("no endpoint")?;
    let plan = args.shape.plan(first.address)?;
    if args.shape.create {
        create_at_all(&plan, &endpoints)?;
    }
    let files = args.output.files()?;
    let comparison = compare(&plan, &endpoints, args.rounds, || true)?;
    if let Some(files) = &files {
        files.comparison(&plan, &comparison)?;
    }
    if args.output.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&comparison)?)?;
    } else {
        let (late, unsent) = comparison.late_and_unsent();
        write!(out, "{comparison}")?;
        writeln!(out, "late {late}, unsent {unsent}")?;
    }
    Ok(comparison.client_errors() == 0 && comparison.invalid().next().is_none())
}

fn run_sweep(args: &SweepArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let endpoints = args.endpoints.named()?;
    let first = endpoints.first().context("no endpoint")?;
    let plan = args.shape.plan(first.address)?;
    let ladder = Ladder {
        from: args.shape.rate,
        to: args.to.max(args.shape.rate),
        factor: args.factor,
        refine: args.refine,
        p99_limit_us: args.p99_limit_us,
        repeat: args.repeat,
    };
    if args.shape.create {
        create_at_all(&plan, &endpoints)?;
    }
    let files = args.output.files()?;
    let json = args.output.json;
    let width = endpoints
        .iter()
        .map(|endpoint| endpoint.name.chars().count());
    let width = width.max().unwrap_or(0);
    if !json {
        writeln!(out, "{:width$} {LINE_HEAD}", "")?;
    }
    let found = sweep(&plan, &endpoints, &ladder, |name, rung| {
        if !json {
            writeln!(out, "{name:width$} {}", rung.line())?;
            out.flush()?;
        }
        Ok(())
    })?;
    if let Some(files) = &files {
        files.sweep(&plan, &found)?;
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(found.curves.iter().all(|curve| curve.good().is_some()))
}

fn create_at_all(plan: &Plan, endpoints: &[Named]) -> anyhow::Result<()> {
    for endpoint in endpoints {
        create(&Plan {
            endpoint: endpoint.address,
            ..plan.clone()
        })?;
    }
    Ok(())
}

impl Output {
    fn files(&self) -> anyhow::Result<Option<Files>> {
        self.out.as_deref().map(Files::new).transpose()
    }
}

impl Endpoints {
    /// The endpoints with their processes.
    fn named(&self) -> anyhow::Result<Vec<Named>> {
        let mut processes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for text in &self.pids {
            let (name, pid) = text
                .split_once('=')
                .with_context(|| format!("`{text}` is no NAME=PID"))?;
            let pid = pid
                .parse()
                .with_context(|| format!("the PID in `{text}`"))?;
            processes.entry(name).or_default().push(pid);
        }
        let mut found: Vec<Named> = Vec::new();
        for text in &self.endpoints {
            let (name, address) = text.split_once('=').unwrap_or((text, text));
            let twice = found.iter().any(|other| other.name == name);
            ensure!(!twice, "two endpoints have the name `{name}`");
            found.push(Named {
                name: name.to_owned(),
                address: resolve(address)?,
                pids: processes.remove(name).unwrap_or_default(),
            });
        }
        let unknown = processes.keys().next();
        ensure!(
            unknown.is_none(),
            "--pid names `{}`, which is no endpoint",
            unknown.unwrap_or(&"")
        );
        Ok(found)
    }
}
