//! What the target's tables say that a replay has to know: their times.

use anyhow::{Context, Result};
use scylla::client::session::Session;

use crate::tables::{TABLES_QUERY, Table, Tables};

/// Asks the target.
pub(super) async fn load(session: &Session) -> Result<Tables> {
    let what = "cannot read the target's tables from system_schema.tables";
    let answer = session.query_unpaged(TABLES_QUERY, &[]).await;
    let rows = answer.context(what)?.into_rows_result().context(what)?;
    let mut tables = Tables::default();
    for row in rows
        .rows::<(String, String, Option<i32>, Option<i32>)>()
        .context(what)?
    {
        let (keyspace, table, ttl_s, grace_s) = row.context(what)?;
        let seconds = |read: Option<i32>| u32::try_from(read.unwrap_or(0)).unwrap_or(0);
        let times = Table {
            default_ttl_s: seconds(ttl_s),
            gc_grace_s: seconds(grace_s),
            ..Table::default()
        };
        tables.add(&keyspace, &table, times);
    }
    Ok(tables)
}
