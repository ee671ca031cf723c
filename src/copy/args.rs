//! The command line of `twinring copy`.

use std::path::PathBuf;

use clap::Args;

use crate::history::args::EndsArgs;
use crate::history::write::{CollectionWritetime, RowMarker, Writetime};

/// `twinring copy`: copy what is in the source to the target, cell by cell.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CopyArgs {
    /// Clusters and data.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// File that remembers what is done; a copy that was killed goes on from it
    /// [default: twinring-copy-KEYSPACE.checkpoint]
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Forget what an earlier copy did, and begin anew
    #[arg(long)]
    pub restart: bool,
    /// Which writetime the copied cells get
    #[arg(long, value_name = "RULE", value_enum, default_value = "preserve")]
    pub writetime: Writetime,
    /// Which rows get a row marker, as INSERT writes one
    #[arg(long, value_name = "RULE", value_enum, default_value = "infer")]
    pub row_marker: RowMarker,
    /// Writetime of collections and user types that are not frozen, where the source does not tell
    /// it (before Cassandra 5.0)
    #[arg(long, value_name = "RULE", value_enum, default_value = "backdate")]
    pub collection_writetime: CollectionWritetime,
    /// Only cells written after this, in µs since 1970
    #[arg(long, value_name = "MICROS", allow_hyphen_values = true)]
    pub written_after: Option<i64>,
    /// Only cells written before this, in µs since 1970
    #[arg(long, value_name = "MICROS", allow_hyphen_values = true)]
    pub written_before: Option<i64>,
    /// Create keyspace, types and tables at the target where they are missing
    #[arg(long)]
    pub create_schema: bool,
    /// Create what is missing, as --create-schema does, and copy no data: before the proxy starts
    #[arg(long)]
    pub schema_only: bool,
    /// Replication of a keyspace that is created at the target, as CQL [default: as at the source]
    #[arg(long, value_name = "MAP")]
    pub target_replication: Option<String>,
    /// How long a counter must not change at either side before its difference is added, in ms
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub counter_quiet_ms: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

const AFTER_HELP: &str = "Start the proxy first: what is written from then on it mirrors, what was \
written before this copies. Each cell keeps its writetime and the second when it expires, so a \
copied cell never wins over a later write or delete, whichever comes first. Counters get the \
difference between source and target, once neither has changed for a while. \
Exit code 0: all was copied; 3: some token ranges or counters were not, and are named; 1: the \
copy could not be done or finished. Starting it again goes on.";
