//! Who settles what earlier processes left in their journals.

use std::collections::BTreeSet;

use super::barrier::{self, ChangeId};
use super::journaling::Unsettled;
use super::{Setup, lanes};
use crate::journal::{Action, Place, action};

/// A schema change or TRUNCATE that an earlier process left.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its name.
    pub id: ChangeId,
    /// The keyspace.
    pub keyspace: Box<str>,
    /// When it arrived (µs).
    pub arrived_us: i64,
    /// Its record in the journal.
    pub place: Place,
}

/// Deals the records out to the shards, file by file, each shard's by arrival.
///
/// Those of tables in which order matters go to the shard that owns the table, whoever had them
/// before: a client may have come over from one shard to another between them. That may be any
/// table if something is in the spill: which tables these are is not known before it is read.
/// Schema changes and
/// TRUNCATE go to shard 0, which carries them out; every shard waits for them from the start,
/// since none may send what came later before it has heard of them.
pub fn deal(found: Vec<Vec<Unsettled>>, setups: &mut [Setup]) {
    let total: usize = found.iter().map(Vec::len).sum();
    let files = found.len();
    let count = setups.len().max(1);
    let (owners, backlog) = setups
        .first()
        .map_or((1, false), |setup| (setup.owners, setup.left_over));
    let ordered = found.iter().flatten().filter(|left| left.is_ordered());
    let ordered: BTreeSet<_> = ordered.filter_map(Unsettled::table).collect();
    let mut changes: Vec<Earlier> = Vec::new();
    for (index, records) in found.into_iter().enumerate() {
        for mut record in records {
            let table = record.table();
            let action = action(record.state, record.nature);
            let is_change = matches!(action, Action::Schema | Action::FromSpill);
            let shard = match table {
                Some((keyspace, _)) if is_change => {
                    let id = barrier::earlier(changes.len());
                    record.change = Some(id);
                    changes.push(Earlier {
                        id,
                        keyspace: keyspace.into(),
                        arrived_us: record.arrived_us(),
                        place: record.place,
                    });
                    0
                }
                Some(table) if backlog || ordered.contains(&table) => {
                    lanes::owner(&table.0, &table.1, owners)
                }
                _ => index % count,
            };
            if let Some(setup) = setups.get_mut(shard) {
                setup.unsettled.push(record);
            }
        }
    }
    for setup in setups {
        setup.unsettled.sort_by_key(Unsettled::arrived_us);
        setup.changes.clone_from(&changes);
        setup.left_over |= total > 0;
    }
    if total > 0 {
        tracing::warn!(
            writes = total,
            files,
            "settling what a proxy that died left in its journal"
        );
    }
}
