//! The command line of `loadgen`.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::check::{difference, read_table};
use crate::compare::{Named, compare};
use crate::load::run;
use crate::plan::{Mode, Plan};
use crate::session::Session;

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
    /// One run at a constant rate; leaves with 1 if there was an error or a check failed
    Run(RunArgs),
    /// Two endpoints in turns (A B A B …): what the second adds to the latency
    Compare(CompareArgs),
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
}

/// `loadgen compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// NAME=HOST:PORT of the first
    #[arg(value_name = "A")]
    pub first: String,
    /// NAME=HOST:PORT of the second
    #[arg(value_name = "B")]
    pub second: String,
    /// Rounds of both
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: u32,
    /// The shape of each run.
    #[command(flatten)]
    pub shape: Shape,
}

/// What the load looks like.
#[derive(Debug, Args)]
pub struct Shape {
    /// Requests per second, over all connections
    #[arg(long, value_name = "R", default_value_t = 1000)]
    pub rate: u32,
    /// Connections
    #[arg(long, value_name = "C", default_value_t = 8)]
    pub connections: u16,
    /// Most requests without an answer on one connection
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub depth: u16,
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds before that
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub warm_up: f64,
    /// What to send
    #[arg(long, value_enum, default_value = "write")]
    pub mode: Mode,
    /// Keyspace
    #[arg(long, value_name = "NAME", default_value = "loadgen")]
    pub keyspace: String,
    /// Table (key bigint PRIMARY KEY, value blob)
    #[arg(long, value_name = "NAME", default_value = "kv")]
    pub table: String,
    /// Make keyspace (one copy) and table first
    #[arg(long)]
    pub create: bool,
    /// Keys of each connection
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value_bytes: usize,
    /// Send timestamps, as most drivers do; without, the server gives them
    #[arg(long)]
    pub client_stamps: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Does what the command line says; true when nothing went wrong.
///
/// # Errors
/// What kept it from running.
pub fn main(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Run(args) => run_once(args, out),
        Command::Compare(args) => run_compare(args, out),
    }
}

fn run_once(args: &RunArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let plan = args.shape.plan(resolve(&args.endpoint)?)?;
    if args.shape.create {
        create(&plan)?;
    }
    let report = run(&plan)?;
    if args.shape.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    let mut good = report.client_errors() == 0;
    let mut tables = Vec::new();
    for name in &args.check {
        let table = read_table(resolve(name)?, &plan.keyspace, &plan.table)?;
        let found = report.ledger.check(&plan, &table);
        good &= found.missing == 0 && found.wrong == 0;
        let line = serde_json::json!({ "endpoint": name, "ledger": found });
        writeln!(out, "{line}")?;
        tables.push((name, table));
    }
    for pair in tables.windows(2) {
        if let [(one, first), (other, second)] = pair {
            let found = difference(first, second);
            good &= found.is_none();
            let line = serde_json::json!({ "first": one, "second": other, "difference": found });
            writeln!(out, "{line}")?;
        }
    }
    Ok(good)
}

fn run_compare(args: &CompareArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let endpoints = [named(&args.first)?, named(&args.second)?];
    let plan = args.shape.plan(endpoints[0].address)?;
    if args.shape.create {
        for endpoint in &endpoints {
            let address = endpoint.address;
            create(&Plan {
                endpoint: address,
                ..plan.clone()
            })?;
        }
    }
    let comparison = compare(&plan, &endpoints, args.rounds, || true)?;
    if args.shape.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&comparison)?)?;
    } else {
        let (late, unsent) = comparison.late_and_unsent();
        write!(out, "{comparison}")?;
        writeln!(out, "late {late}, unsent {unsent}")?;
    }
    Ok(comparison.client_errors() == 0)
}

impl Shape {
    fn plan(&self, endpoint: SocketAddr) -> anyhow::Result<Plan> {
        let seconds = |value| Duration::try_from_secs_f64(value).context("a time of the run");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let plan = Plan {
            mode: self.mode,
            rate_per_s: self.rate,
            connections: self.connections,
            depth: self.depth,
            warm_up: seconds(self.warm_up)?,
            duration: seconds(self.duration)?,
            keys: self.keys,
            value_bytes: self.value_bytes,
            client_stamps: self.client_stamps,
            run_id: u64::try_from(now.as_micros())?,
            ..Plan::new(endpoint, &self.keyspace, &self.table)
        };
        plan.check()?;
        Ok(plan)
    }
}

fn create(plan: &Plan) -> anyhow::Result<()> {
    let mut session = Session::connect(plan.endpoint)?;
    session.query(&format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
        plan.keyspace
    ))?;
    session.query(&plan.create_table())?;
    Ok(())
}

fn named(text: &str) -> anyhow::Result<Named> {
    let (name, address) = text.split_once('=').unwrap_or((text, text));
    Ok(Named {
        name: name.to_owned(),
        address: resolve(address)?,
    })
}

fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("`{text}` is no HOST:PORT"))?;
    found
        .next()
        .with_context(|| format!("`{text}` has no address"))
}
