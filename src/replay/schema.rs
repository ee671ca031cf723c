//! What the target's tables say that a replay has to know.

use std::collections::HashMap;

use anyhow::{Context, Result};
use scylla::client::session::Session;

/// Time to live and grace of the target's tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    by_keyspace: HashMap<String, HashMap<String, Facts>>,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    default_ttl_seconds: i64,
    gc_grace_seconds: i64,
}

const QUERY: &str = "SELECT keyspace_name, table_name, default_time_to_live, gc_grace_seconds \
                     FROM system_schema.tables";

impl Tables {
    /// Asks the target.
    pub(super) async fn load(session: &Session) -> Result<Tables> {
        let what = "cannot read the target's tables from system_schema.tables";
        let answer = session.query_unpaged(QUERY, &[]).await.context(what)?;
        let rows = answer.into_rows_result().context(what)?;
        let mut tables = Tables::default();
        for row in rows
            .rows::<(String, String, Option<i32>, Option<i32>)>()
            .context(what)?
        {
            let (keyspace, table, ttl, grace) = row.context(what)?;
            tables.add(
                &keyspace,
                &table,
                ttl.unwrap_or(0).into(),
                grace.unwrap_or(0).into(),
            );
        }
        Ok(tables)
    }

    /// Enters a table.
    pub(super) fn add(
        &mut self,
        keyspace: &str,
        table: &str,
        ttl_seconds: i64,
        grace_seconds: i64,
    ) {
        let facts = Facts {
            default_ttl_seconds: ttl_seconds,
            gc_grace_seconds: grace_seconds,
        };
        let tables = self.by_keyspace.entry(keyspace.to_owned()).or_default();
        tables.insert(table.to_owned(), facts);
    }

    /// The table's default time to live; none if it has none or is not known.
    pub(super) fn default_ttl_seconds(&self, keyspace: &str, table: &str) -> Option<i64> {
        self.get(keyspace, table)
            .map(|facts| facts.default_ttl_seconds)
            .filter(|ttl| *ttl > 0)
    }

    /// For how long the table keeps deletes; none if it is not known.
    pub(super) fn gc_grace_seconds(&self, keyspace: &str, table: &str) -> Option<i64> {
        self.get(keyspace, table)
            .map(|facts| facts.gc_grace_seconds)
    }

    fn get(&self, keyspace: &str, table: &str) -> Option<Facts> {
        self.by_keyspace.get(keyspace)?.get(table).copied()
    }
}
