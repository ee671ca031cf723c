//! `--create-schema`: what the source describes of the keyspace, created at the target where it is
//! missing.

use anyhow::{Context, Result, bail};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use super::args::CopyArgs;
use crate::history::ends::Cluster;
use crate::history::schema::quote;

/// Creates what is missing; gives what was created, each as kind and name.
pub(super) async fn create(
    source: &Cluster,
    target: &Cluster,
    args: &CopyArgs,
) -> Result<Vec<String>> {
    let keyspace = &args.ends.keyspace;
    let text = format!("DESCRIBE KEYSPACE {}", quote(keyspace));
    let answer = source.session.query_unpaged(text, &[]).await.context(
        "the source does not describe its schema (Cassandra does since 4.0): create the tables at \
         the target by hand",
    )?;
    let rows = answer.into_rows_result()?;
    let mut created = Vec::new();
    for row in rows.rows::<(String, String, String, String)>()? {
        let (_, kind, name, text) = row?;
        if !wanted(&kind, &name, &args.ends.tables) {
            continue;
        }
        let text = match (&args.target_replication, kind.as_str()) {
            (Some(map), "keyspace") => {
                let name = quote(keyspace);
                format!("CREATE KEYSPACE {name} WITH replication = {map}")
            }
            _ => text,
        };
        match target.session.query_unpaged(text.as_str(), &[]).await {
            Ok(_) => created.push(format!("{kind} {name}")),
            Err(error) if is_there(&error) => {}
            Err(error) => bail!("the target refuses {kind} {name}: {error}; it was: {text}"),
        }
        let agreed = target.session.await_schema_agreement().await;
        agreed.context("the target's nodes do not agree on the schema")?;
    }
    target
        .session
        .refresh_metadata()
        .await
        .context("cannot read the target's schema")?;
    Ok(created)
}

/// Views and indexes come with their tables; a choice of tables leaves the others' out.
fn wanted(kind: &str, name: &str, tables: &[String]) -> bool {
    match kind {
        "keyspace" | "type" | "function" | "aggregate" => true,
        "table" => {
            tables.is_empty()
                || tables
                    .iter()
                    .any(|table| table == name || quote(table) == name)
        }
        _ => tables.is_empty(),
    }
}

fn is_there(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, words)) => {
            matches!(error, DbError::AlreadyExists { .. })
                // Types, functions and indexes are refused with other codes.
                || words.contains("already exist")
        }
        _ => false,
    }
}
