//! What `copy` and `verify` are both told: the two clusters, and which data.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use scylla::frame::types::Consistency;

use super::tokens::TokenRange;
use crate::offline::connect;
use crate::offline::doors::TargetBundleArgs;
use crate::offline::tls::{SourceTlsArgs, TargetTlsArgs};
use crate::side::Side;

/// Two clusters and a choice of data.
#[derive(Clone, Debug, Args)]
pub struct EndsArgs {
    /// Contact points of the source cluster, comma separated: host or host:port
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Contact points of the target cluster
    #[arg(
        value_name = "TARGET",
        required_unless_present = "target_secure_connect_bundle"
    )]
    pub target: Option<String>,
    /// Keyspace, as it is named: without quotes, case counts
    #[arg(long, value_name = "NAME")]
    pub keyspace: String,
    /// Only this table; may be given several times
    #[arg(long = "table", value_name = "NAME")]
    pub tables: Vec<String>,
    /// The target's bundle.
    #[command(flatten)]
    pub target_bundle: TargetBundleArgs,
    /// Port of the source's contact points without one
    #[arg(long, value_name = "PORT", default_value_t = 9042)]
    pub source_port: u16,
    /// Port of the target's contact points without one
    #[arg(long, value_name = "PORT", default_value_t = 9042)]
    pub target_port: u16,
    /// User at the source; the password from --source-password-file or TWINRING_SOURCE_PASSWORD
    #[arg(long, value_name = "NAME", env = "TWINRING_SOURCE_USERNAME")]
    pub source_username: Option<String>,
    /// File that holds the password, and nothing else but a line end
    #[arg(long, value_name = "FILE", requires = "source_username")]
    pub source_password_file: Option<PathBuf>,
    /// User at the target; the password from --target-password-file or TWINRING_TARGET_PASSWORD
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_USERNAME")]
    pub target_username: Option<String>,
    /// File that holds the password, and nothing else but a line end
    #[arg(long, value_name = "FILE", requires = "target_username")]
    pub target_password_file: Option<PathBuf>,
    /// TLS with the source.
    #[command(flatten)]
    pub source_tls: SourceTlsArgs,
    /// TLS with the target.
    #[command(flatten)]
    pub target_tls: TargetTlsArgs,
    /// Consistency of reads at the source
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "local-quorum")]
    pub source_consistency: Level,
    /// Consistency of writes and reads at the target
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "local-quorum")]
    pub target_consistency: Level,
    /// Only partitions whose token is above AFTER and at most UP_TO
    #[arg(long, value_name = "AFTER:UP_TO", allow_hyphen_values = true)]
    pub token_range: Option<TokenRange>,
    /// Only rows that fulfil this CQL condition; static columns are taken from all partitions
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Token ranges to cut the ring into, at least
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub splits: u32,
    /// Token ranges that are read at once
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub read_concurrency: u16,
    /// Read at most N rows a second from a cluster
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub read_rate: Option<u32>,
    /// Write at most N rows a second to the target
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub write_rate: Option<u32>,
    /// Requests to the target at once; fewer while it times out or says that it is overloaded
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub write_concurrency: u16,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Consistency levels that make sense for reading and writing plain rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Level {
    One,
    Two,
    Three,
    Quorum,
    All,
    LocalOne,
    LocalQuorum,
    EachQuorum,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Consistency {
        match level {
            Level::One => Consistency::One,
            Level::Two => Consistency::Two,
            Level::Three => Consistency::Three,
            Level::Quorum => Consistency::Quorum,
            Level::All => Consistency::All,
            Level::LocalOne => Consistency::LocalOne,
            Level::LocalQuorum => Consistency::LocalQuorum,
            Level::EachQuorum => Consistency::EachQuorum,
        }
    }
}

/// The passwords of both sides.
#[derive(Default)]
pub(crate) struct Passwords {
    pub source: Option<String>,
    pub target: Option<String>,
}

impl EndsArgs {
    /// The passwords, from their files or the environment.
    pub(crate) fn passwords(&self) -> Result<Passwords> {
        let of = |side, file: &Option<PathBuf>, user: &Option<String>| {
            connect::password(side, file.as_deref(), user.as_deref())
        };
        Ok(Passwords {
            source: of(
                Side::Source,
                &self.source_password_file,
                &self.source_username,
            )?,
            target: of(
                Side::Target,
                &self.target_password_file,
                &self.target_username,
            )?,
        })
    }

    /// What the target is called: its contact points, or its bundle.
    pub(crate) fn target_name(&self) -> String {
        match (&self.target, self.target_bundle.path()) {
            (_, Some(bundle)) => bundle.display().to_string(),
            (target, None) => target.clone().unwrap_or_default(),
        }
    }

    /// The ranges that are asked for.
    pub(crate) fn window(&self) -> TokenRange {
        self.token_range.unwrap_or(TokenRange::ALL)
    }

    /// Fails on what no flag alone can be blamed for.
    pub(crate) fn check(&self) -> Result<()> {
        if self.keyspace.starts_with("system") {
            bail!("--keyspace {}: a cluster's own keyspace", self.keyspace);
        }
        Ok(())
    }
}
