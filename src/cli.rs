//! The command line: one struct for each sub-command, nothing but parsing.

pub mod log;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, ConfigError, ProxyConfig, Settings, Surroundings};
use crate::copy::CopyArgs;
use crate::demo::DemoArgs;
use crate::inspect::InspectArgs;
use crate::node::args::NodeArgs;
use crate::rejects::Rejects;
use crate::replay::args::ReplayArgs;
use crate::status::StatusArgs;
use crate::status::sync::SyncArgs;
use crate::verify::VerifyArgs;

/// Dual writes between two clusters that speak the Cassandra native protocol.
#[derive(Debug, Parser)]
#[command(
    name = "twinring",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stand between clients and SOURCE, and send every write to TARGET too
    Proxy(Box<ProxyArgs>),
    /// Show what a running proxy does, and whether it is safe to cut over
    Status(StatusArgs),
    /// Wait until everything acknowledged before now is on the target
    Sync(SyncArgs),
    /// Bring the writes of a spill directory to the target
    Replay(ReplayArgs),
    /// Show what the target refused for good, and send it again after a mend
    #[command(subcommand)]
    Rejects(Rejects),
    /// Copy what is in SOURCE to TARGET, each cell with its writetime and expiry
    Copy(Box<CopyArgs>),
    /// Compare SOURCE and TARGET cell by cell, and repair what differs
    Verify(Box<VerifyArgs>),
    /// Show what is inside of journals and spill files, and what is damaged
    Inspect(InspectArgs),
    /// Run an in-memory CQL node, for trials and tests
    Node(NodeArgs),
    /// Show it all in half a minute: dual writes, an outage of the target, the cost in latency
    Demo(DemoArgs),
}

/// `twinring proxy`.
#[derive(Debug, Args)]
#[command(after_help = PROXY_HELP)]
pub struct ProxyArgs {
    /// TOML file with any of these settings; flags and variables win over it
    #[arg(long, value_name = "FILE", env = "TWINRING_CONFIG")]
    pub config: Option<PathBuf>,
    /// Check configuration and machine, say what is wrong, and exit
    #[arg(long)]
    pub check: bool,
    /// Everything that the file may hold too.
    #[command(flatten)]
    pub settings: Settings,
    /// Whether a password stood on the command line, where others can read it.
    #[arg(skip)]
    pub password_shown: bool,
}

const PROXY_HELP: &str = "Every flag --some-name is also the variable TWINRING_SOME_NAME and the \
key `some-name` of the file. The first of flag, variable, file and default wins. \
Options of the seed proxy (Azure-Samples/cassandra-proxy) keep their names and values.";

/// Parses a whole command line, the program's name first.
///
/// # Errors
/// What clap says, help and version included; [`clap::Error::exit`] prints it and ends.
pub fn parse<I, T>(args: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let args = config::compat::normalise_args(args);
    // Help names the rule for variables once, not each variable.
    let quiet = |sub: clap::Command| sub.mut_args(|arg| arg.hide_env(true));
    let command = Cli::command().mut_subcommand("proxy", quiet);
    let matches = command.try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Proxy(proxy), Some((_, inner))) = (&mut cli.command, matches.subcommand()) {
        proxy.password_shown = ["target_password", "proxy_jks_password"]
            .iter()
            .any(|name| inner.value_source(name) == Some(ValueSource::CommandLine));
    }
    Ok(cli)
}

impl ProxyArgs {
    /// Flags, environment and file as one valid configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn into_config(self, around: &Surroundings<'_>) -> Result<ProxyConfig, ConfigError> {
        let file = self
            .config
            .as_deref()
            .map(config::read_file)
            .transpose()?
            .unwrap_or_default();
        let mut config = ProxyConfig::new(self.settings.over(file), around)?;
        if self.password_shown {
            config.notices.push(
                "a password on the command line can be read by every user of this machine: use \
                 --target-password-file or TWINRING_TARGET_PASSWORD"
                    .to_owned(),
            );
        }
        Ok(config)
    }
}
