//! The end-to-end lab: a stub node, a closed-loop client and a bare relay, to weigh what a proxy
//! between client and node costs. `run.sh` beside this file puts them together; the method is in
//! `benches/README.md`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool without callers"
)]

mod load;
mod process;
mod relay;
mod secure;
mod stub;
mod summary;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Answers CQL v3 and v4 as a node would, without storing anything.
    Stub {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// Hold answers back this long, as a node does that is elsewhere and has work to do.
        #[arg(long, default_value_t = 0)]
        delay_us: u64,
    },
    /// Forwards bytes on the ring inside a glommio executor: the least that a proxy can cost.
    Relay(relay::Options),
    /// Prepares an INSERT and executes it in a closed loop; one line of figures.
    Load(load::Options),
    /// Reads lines of `load`, prints medians and ratios to the first relay.
    Summary,
}

fn main() -> anyhow::Result<()> {
    match Command::parse().tool {
        Tool::Stub { listen, delay_us } => stub::run(listen, Duration::from_micros(delay_us)),
        Tool::Relay(options) => relay::run(options),
        Tool::Load(options) => load::run(&options),
        Tool::Summary => summary::run(),
    }
}
