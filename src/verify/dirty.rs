//! What the proxy itself could not settle: writes in doubt or refused for good, and windows of
//! time in which writes may be missing. A running proxy's directory may be read.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::spill::dirty::Windows;
use crate::spill::{Holds, Keys, Progress, dir, stat};

/// Tables of which writes may be missing at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// Every table of some keyspace, or of all.
    all: bool,
    tables: BTreeSet<String>,
}

impl Dirty {
    /// Reads a data directory; only what concerns this keyspace counts.
    pub(super) fn load(data_dir: &Path, keys: Option<&Path>, keyspace: &str) -> Result<Dirty> {
        let mut dirty = Dirty::default();
        for window in Windows::load(data_dir)?.iter() {
            if window
                .keyspace
                .as_deref()
                .is_none_or(|name| name == keyspace)
            {
                dirty.note(window.table.as_deref());
            }
        }
        let keys = keys.map(Keys::load).transpose()?.unwrap_or_default();
        let what = || format!("cannot read the spill in {}", data_dir.display());
        for mut shard in dir::shards_in(data_dir).with_context(what)? {
            shard.keys = keys.clone();
            for holds in [Holds::Rejected, Holds::Backlog] {
                let progress = Progress::load(&shard, holds).with_context(what)?;
                for file in shard.segments(holds).with_context(what)? {
                    let each = |_, record: &crate::spill::Record<'_>| {
                        if record.keyspace == keyspace {
                            let table = record.table;
                            dirty.note((!table.is_empty()).then_some(table));
                        }
                    };
                    stat::of_segment(&file, &progress, each).with_context(what)?;
                }
            }
        }
        Ok(dirty)
    }

    fn note(&mut self, table: Option<&str>) {
        match table {
            Some(table) => _ = self.tables.insert(table.to_owned()),
            None => self.all = true,
        }
    }

    /// Whether writes to this table may be missing.
    pub(super) fn holds(&self, table: &str) -> bool {
        self.all || self.tables.contains(table)
    }
}
