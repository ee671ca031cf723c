//! Dynamic data masking (Cassandra 5.0): who may not UNMASK a table reads masks in the place of
//! some of its values, without a word. To copy them, or to compare with them, would be wrong.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::value::{CqlValue, Row};

use super::schema::quote;

/// The tables of the keyspace with masked columns that this user may not see as they are, or of
/// whom that is not to be found out.
pub(super) async fn hidden_from(
    session: &Session,
    user: &str,
    keyspace: &str,
) -> Result<BTreeSet<String>> {
    let text = "SELECT table_name FROM system_schema.column_masks WHERE keyspace_name = ?";
    let what = || format!("cannot read which columns of keyspace {keyspace} are masked");
    let answer = match session.query_unpaged(text, (keyspace,)).await {
        Ok(answer) => answer.into_rows_result().with_context(what)?,
        Err(error) if words_of(&error).is_some() => return Ok(BTreeSet::new()), // it has none
        Err(error) => return Err(error).with_context(what),
    };
    let rows = answer.rows::<(String,)>().with_context(what)?;
    let mut hidden = BTreeSet::new();
    for row in rows {
        let (table,) = row.with_context(what)?;
        if !hidden.contains(&table) && !may_unmask(session, user, keyspace, &table).await? {
            hidden.insert(table);
        }
    }
    Ok(hidden)
}

/// Whether the user's roles have UNMASK for the table, what is above it, or everything. Users may
/// list their own permissions and roles.
async fn may_unmask(session: &Session, user: &str, keyspace: &str, table: &str) -> Result<bool> {
    let (role, place) = (quote(user), (quote(keyspace), quote(table)));
    let text = format!(
        "LIST UNMASK PERMISSION ON TABLE {}.{} OF {role}",
        place.0, place.1
    );
    match session.query_unpaged(text.as_str(), &[]).await {
        Ok(answer) if answer.is_rows() => {
            let granted = answer.into_rows_result()?;
            if granted.rows_num() > 0 {
                return Ok(true);
            }
        }
        Ok(_) => {}
        Err(error) => {
            let what = || format!("cannot find out whether {user} may UNMASK {keyspace}.{table}");
            return match words_of(&error) {
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

/// What the cluster itself answered, if it is that.
fn words_of(error: &ExecutionError) -> Option<&DbError> {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => Some(error),
        _ => None,
    }
}
