//! Dynamic data masking (Cassandra 5.0): who may not UNMASK a table reads masks in the place of
//! some of its values, without a word. To copy them, or to compare with them, would be wrong.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use scylla::client::session::Session;
use scylla::errors::DbError;
use scylla::value::{CqlValue, Row};

use super::schema::{Table, quote};
use crate::offline::verdict::answered;

/// Marks those tables of the keyspace of which this user may see masks, or of which that is not to
/// be found out.
pub(super) async fn mark(
    session: &Session,
    user: &str,
    keyspace: &str,
    tables: &mut BTreeMap<String, Table>,
) -> Result<()> {
    let text = "SELECT table_name FROM system_schema.column_masks WHERE keyspace_name = ?";
    let what = || format!("cannot read which columns of keyspace {keyspace} are masked");
    let answer = match session.query_unpaged(text, (keyspace,)).await {
        Ok(answer) => answer.into_rows_result().with_context(what)?,
        Err(error) if answered(&error).is_some() => return Ok(()), // it has none
        Err(error) => return Err(error).with_context(what),
    };
    let rows = answer.rows::<(String,)>().with_context(what)?;
    let masked: BTreeSet<_> = rows.collect::<Result<_, _>>().with_context(what)?;
    for (name,) in masked {
        if let Some(table) = tables.get_mut(&name) {
            table.is_masked = !may_unmask(session, user, table).await?;
        }
    }
    Ok(())
}

/// Whether the user's roles have UNMASK for the table, what is above it, or everything. Users may
/// list their own permissions and roles.
async fn may_unmask(session: &Session, user: &str, table: &Table) -> Result<bool> {
    let (role, place) = (quote(user), table.quoted());
    let text = format!("LIST UNMASK PERMISSION ON TABLE {place} OF {role}");
    match session.query_unpaged(text.as_str(), &[]).await {
        Ok(answer) if answer.is_rows() => {
            let granted = answer.into_rows_result()?;
            if granted.rows_num() > 0 {
                return Ok(true);
            }
        }
        Ok(_) => {}
        Err(error) => {
            let what = || {
                format!(
                    "cannot find out whether {user} may UNMASK {}",
                    table.shown()
                )
            };
            return match answered(&error) {
                Some(DbError::Unauthorized) => Ok(false),
                Some(_) => Ok(true), // without an authorizer everybody may do everything
                None => Err(error).with_context(what),
            };
        }
    }
    let what = || format!("cannot find out whether {user} is a superuser");
    let text = format!("LIST ROLES OF {role}");
    let answer = session.query_unpaged(text.as_str(), &[]).await;
    let answer = answer
        .with_context(what)?
        .into_rows_result()
        .with_context(what)?;
    let specs = answer.column_specs();
    let at = specs.iter().position(|spec| spec.name() == "super");
    let at = at.with_context(what)?;
    for row in answer.rows::<Row>().with_context(what)? {
        let row = row.with_context(what)?;
        if matches!(row.columns.get(at), Some(Some(CqlValue::Boolean(true)))) {
            return Ok(true);
        }
    }
    Ok(false)
}
