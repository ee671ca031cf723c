//! The command line of `twinring verify`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::history::args::EndsArgs;

/// `twinring verify`: compare both clusters cell by cell, and repair what differs.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// Clusters and data.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// Compare writetimes and expiry too, not only values
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub compare_timestamps: bool,
    /// How far apart a cell may expire at the two sides, in ms
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub ttl_tolerance_millis: u64,
    /// How far apart writetimes may be, in ms; those of list elements may always differ by 16 µs
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub writetime_tolerance_millis: u64,
    /// How far apart float and double values may be; 0: compare their bits
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub floating_point_tolerance: f64,
    /// Differences that the summary spells out; --report has all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub failures_to_fetch: usize,
    /// File for all differences, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How long to wait before a difference is read again, in ms; it counts if it is there three
    /// times
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub settle_ms: u64,
    /// Write what the source has to the target, with the source's stamps, where they differ
    #[arg(long)]
    pub repair: bool,
    /// Add the difference of counters that keep still
    #[arg(long)]
    pub repair_counters: bool,
    /// Delete what only the target has
    #[arg(long)]
    pub delete_extra: bool,
    /// Data directory of the proxy: tables of which writes may be missing are verified first, and
    /// differences that it knows of are marked
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// File with the keys of an encrypted spill
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub spill_key_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "Rows are read from both clusters in the order of their tokens and \
compared by a digest of their cells; only rows whose digests differ are read in full, up to three \
times, so live traffic is not taken for a difference. Classes: missing, extra, value, stamp, \
expiry; in-flight (the row keeps changing); shadowed (a repair did not help: the target has \
something newer, a delete or a value). \
Exit code 0: equal, or made equal; 4: differences are left; 3: some token ranges could not be \
compared; 1: the comparison could not be done.";
