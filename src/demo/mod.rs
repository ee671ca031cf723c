//! `twinring demo`: what the proxy is for, in half a minute and without a cluster.
//!
//! Two in-memory nodes are the clusters (threads of this process), `twinring proxy` runs between
//! them as a process of its own, and the load generator plays the application. The target goes
//! away for a few seconds. Afterwards both clusters are read whole and compared, and the proxy's
//! cost in latency is measured. The verdict is the exit code.

mod scene;
mod screen;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use twinring_loadgen::check::{Difference, difference, read_table};
use twinring_loadgen::compare::{Comparison, Named, compare};
use twinring_loadgen::{Load, Plan, Report};

use self::scene::Scene;
use self::screen::{Screen, TargetState};
use crate::status::{bytes, grouped};

/// Load before the outage.
const CALM: Duration = Duration::from_secs(3);
/// Load after the spill is empty.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How long the spill may take to become empty, and the last writes to arrive.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// From one line of the table to the next.
const LINE: Duration = Duration::from_secs(1);
/// From one look at the proxy to the next.
const GLANCE: Duration = Duration::from_millis(50);
/// Looks that must find nothing in flight before it counts as arrived.
const QUIET_GLANCES: u32 = 4;
/// One run of the measurement.
const COST_WARM_UP: Duration = Duration::from_millis(300);
const COST_MEASURED: Duration = Duration::from_millis(700);
/// Quantiles shown: runs this short say nothing about the ones beyond p99.
const COST_QUANTILES: usize = 3;

/// `twinring demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Writes per second
    #[arg(long, value_name = "R", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections of the application
    #[arg(long, value_name = "C", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub connections: u16,
    /// How long the target is away, in seconds
    #[arg(long, value_name = "S", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub outage: u64,
    /// Rounds of the measurement, each direct and through the proxy; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub rounds: u32,
}

/// Runs the demo; success only if no client saw an error and both clusters hold the same.
///
/// # Errors
/// What kept it from coming to a verdict, an interruption too.
pub fn main(args: &DemoArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut scene = Scene::set()?;
    let mut screen = Screen::new(out);
    screen.opening(args, &scene)?;
    let result = play(args, &mut scene, &mut screen);
    let wrong = match result {
        Ok(wrong) => wrong,
        Err(error) => return Err(scene.explain(error)),
    };
    screen.verdict(&wrong, began.elapsed())?;
    Ok(if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All acts; gives what is wrong, in words.
fn play(
    args: &DemoArgs,
    scene: &mut Scene,
    screen: &mut Screen<'_>,
) -> anyhow::Result<Vec<String>> {
    let plan = Plan {
        rate_per_s: args.rate,
        connections: args.connections,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(86_400), // until stopped
        keys: 1_000,                           // so that keys are written again and again
        ..Plan::new(scene.proxy.address, "demo", "kv")
    };
    scene.create_table(&plan)?;
    let mut wrong = Vec::new();
    outage(args, &plan, scene, screen, &mut wrong)?;
    if args.rounds > 0 {
        cost(args, scene, screen, &mut wrong)?;
    }
    let stopping = Instant::now();
    if !scene.stop_proxy()? {
        wrong.push("the proxy did not stop cleanly".to_owned());
    }
    screen.stopped(stopping.elapsed())?;
    Ok(wrong)
}

/// Load, with the target away in the middle; then both clusters cell by cell.
fn outage(
    args: &DemoArgs,
    plan: &Plan,
    scene: &mut Scene,
    screen: &mut Screen<'_>,
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    let load = Load::start(plan)?;
    screen.table_head()?;
    watch(scene, screen, &load, TargetState::Up, CALM)?;
    scene.target.pause()?;
    let away = Duration::from_secs(args.outage);
    watch(scene, screen, &load, TargetState::Gone, away)?;
    scene.target.resume()?;
    let back = Instant::now();
    watch_until_drained(scene, screen, &load)?;
    let drained = back.elapsed();
    watch(scene, screen, &load, TargetState::Up, AFTERWARDS)?;
    load.stop();
    let report = load.finish()?;
    let spilled = scene.wait_until_quiet()?;
    screen.drained(spilled, drained)?;
    screen.clients(&report)?;
    wrong_with_clients(&report, wrong);
    let found = compare_clusters(plan, scene, &report, wrong)?;
    screen.compared(&found)?;
    if spilled == 0 {
        wrong.push("nothing was spilled: the outage did not happen".to_owned());
    }
    Ok(())
}

fn wrong_with_clients(report: &Report, wrong: &mut Vec<String>) {
    let errors = report.client_errors();
    if errors > 0 {
        let what = if errors == 1 { "error" } else { "errors" };
        wrong.push(format!("{} client {what}", grouped(errors)));
    }
    wrong.extend(
        report
            .errors
            .iter()
            .map(|(name, n)| format!("{n} × {name}")),
    );
    wrong.extend(report.broken.iter().cloned());
    if report.unanswered > 0 {
        wrong.push(format!("{} requests without an answer", report.unanswered));
    }
}

/// Prints a line each second.
fn watch(
    scene: &mut Scene,
    screen: &mut Screen<'_>,
    load: &Load,
    target: TargetState,
    time: Duration,
) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    let mut line = Instant::now() + LINE;
    while Instant::now() < end {
        scene.pause(GLANCE)?;
        if Instant::now() >= line {
            line += LINE;
            screen.line(load.progress(), target, &scene.status()?.totals)?;
        }
    }
    Ok(())
}

fn watch_until_drained(
    scene: &mut Scene,
    screen: &mut Screen<'_>,
    load: &Load,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut line = began + LINE;
    loop {
        scene.pause(GLANCE)?;
        let totals = scene.status()?.totals;
        let drained = totals.backlog_records == 0 && totals.target_up > 0;
        if drained || Instant::now() >= line {
            line += LINE;
            screen.line(load.progress(), TargetState::Back, &totals)?;
        }
        if drained {
            return Ok(());
        }
        ensure!(
            began.elapsed() < DRAIN_LIMIT,
            "{} writes ({}) are still in the spill {} s after the target came back",
            grouped(totals.backlog_records),
            bytes(totals.backlog_bytes),
            DRAIN_LIMIT.as_secs()
        );
    }
}

fn compare_clusters(
    plan: &Plan,
    scene: &Scene,
    report: &Report,
    wrong: &mut Vec<String>,
) -> anyhow::Result<Difference> {
    let mut tables = Vec::new();
    for (name, node) in [("source", &scene.source), ("target", &scene.target)] {
        let table = read_table(node.addr(), &plan.keyspace, &plan.table)
            .with_context(|| format!("read the {name}"))?;
        let ledger = report.ledger.check(plan, &table);
        if ledger.missing + ledger.wrong > 0 {
            wrong.push(format!(
                "the {name} lacks {} acknowledged keys and has {} wrong values",
                ledger.missing, ledger.wrong
            ));
        }
        tables.push(table);
    }
    let [source, target] = tables.as_slice() else {
        return Ok(Difference::default());
    };
    let found = difference(source, target);
    if !found.is_none() {
        wrong.push(format!(
            "{} rows missing at the target, {} that the source lacks, {} differing cells",
            found.missing, found.surplus, found.differing
        ));
    }
    ensure!(found.rows > 0, "nothing was written");
    Ok(found)
}

/// What the proxy adds to the latency of a write, direct and through it in turns.
fn cost(
    args: &DemoArgs,
    scene: &mut Scene,
    screen: &mut Screen<'_>,
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    let plan = Plan {
        rate_per_s: args.rate,
        connections: args.connections,
        warm_up: COST_WARM_UP,
        duration: COST_MEASURED,
        ..Plan::new(scene.proxy.address, "demo", "cost")
    };
    scene.create_table(&plan)?;
    let named = |name: &str, address| Named {
        name: name.to_owned(),
        address,
        pids: Vec::new(),
    };
    let endpoints = [
        named("direct", scene.source.addr()),
        named("through the proxy", scene.proxy.address),
    ];
    screen.cost_head(args)?;
    let mut found: Comparison = compare(&plan, &endpoints, args.rounds, || scene.go_on())?;
    found.added.truncate(COST_QUANTILES);
    screen.cost(&found)?;
    let errors = found.client_errors();
    if errors > 0 {
        wrong.push(format!("{errors} client errors in the measurement"));
    }
    Ok(())
}
