//! The command line of `twinring replay`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::ArgPredicate::IsPresent;

use crate::config::LEVEL_WITH_BUNDLE;
use crate::cql::Consistency;
use crate::offline::doors::TargetBundleArgs;
use crate::offline::tls::TargetTlsArgs;
use crate::spill::Holds;

/// `twinring replay`: bring the writes of a spill directory to the target.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// Spill directory of a proxy that is not running (or a copy of one, on any machine)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Contact points of the target cluster, comma separated: host or host:port
    #[arg(
        value_name = "TARGET",
        required_unless_present = "target_secure_connect_bundle",
        value_delimiter = ','
    )]
    pub target: Vec<String>,
    /// The target's bundle.
    #[command(flatten)]
    pub target_bundle: TargetBundleArgs,
    /// Port of contact points without one
    #[arg(long, value_name = "PORT", default_value_t = 9042)]
    pub target_port: u16,
    /// User at the target; the password comes from --target-password-file or
    /// TWINRING_TARGET_PASSWORD
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_USERNAME")]
    pub target_username: Option<String>,
    /// File that holds the password, and nothing else but a line end
    #[arg(long, value_name = "FILE", requires = "target_username")]
    pub target_password_file: Option<PathBuf>,
    /// TLS with the target.
    #[command(flatten)]
    pub target_tls: TargetTlsArgs,
    /// Consistency level of all writes: one, local_quorum, … [default: what the clients asked for;
    /// with a bundle local_quorum]
    #[arg(
        long,
        value_name = "LEVEL",
        env = "TWINRING_TARGET_CONSISTENCY",
        value_parser = level,
        default_value_if("target_secure_connect_bundle", IsPresent, LEVEL_WITH_BUNDLE)
    )]
    pub target_consistency: Option<Consistency>,
    /// Key file of a spill that was written with --spill-key-file
    #[arg(long, value_name = "FILE", env = "TWINRING_SPILL_KEY_FILE")]
    pub spill_key_file: Option<PathBuf>,
    /// At most N writes a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// At most N writes at once
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: u16,
    /// Stop when the target has not taken a write for N seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub give_up_seconds: u32,
    /// Send writes again that the target refused for good (writes in doubt are never sent)
    #[arg(long)]
    pub include_rejected: bool,
    /// Only those (`twinring rejects send`).
    #[arg(skip)]
    pub only_rejected: bool,
    /// Say what there is to do, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rename segments that are done to `.done` instead of deleting them
    #[arg(long)]
    pub keep: bool,
    /// Send deletes too that are older than the target's gc_grace_seconds
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

fn level(name: &str) -> Result<Consistency, &'static str> {
    Consistency::from_name(name)
        .filter(|level| !matches!(level, Consistency::Serial | Consistency::LocalSerial))
        .ok_or("no level of writes; write one, local_quorum, quorum, …")
}

impl ReplayArgs {
    /// What is sent.
    pub(super) fn wanted(&self) -> &'static [Holds] {
        match (self.only_rejected, self.include_rejected) {
            (true, _) => &[Holds::Rejected],
            (false, true) => &[Holds::Backlog, Holds::Rejected],
            (false, false) => &[Holds::Backlog],
        }
    }
}

const AFTER_HELP: &str = "The result is exact: records read, replayed, rejected, in doubt, \
skipped, damaged and left. Exit code 0: nothing is left, rejected, in doubt or damaged; 3: \
something is; 1: the replay could not be done or finished, and going on later loses nothing. A \
replay that was killed goes on where it stopped: start it again.";
