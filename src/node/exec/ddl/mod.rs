//! CREATE, ALTER, DROP: the schema changes, the system tables follow, clients are told.

mod table;
mod user_type;

use std::collections::BTreeMap;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{Ddl, OptionValue, Options, QName};
use crate::node::schema::Keyspace;

use self::table::{alter_table, create_index, create_table, drop_index, drop_table};
use self::user_type::{alter_type, create_type, drop_type};
use super::{Engine, SchemaChange, system};

/// Longest name of a keyspace or table, as in Cassandra.
const NAME_CHARS_MAX: usize = 48;

/// Runs one schema change; `None` when it was already so.
pub(crate) fn run(
    engine: &mut Engine,
    ddl: &Ddl,
    session: Option<&str>,
) -> CqlResult<Option<SchemaChange>> {
    let keyspace = keyspace_of(engine, ddl, session)?;
    if !engine.booting && system::is_system(&keyspace) {
        return Err(CqlError::new(
            crate::node::error::code::UNAUTHORIZED,
            format!("{keyspace} keyspace is not user-modifiable."),
        ));
    }
    let change = match ddl {
        Ddl::CreateKeyspace(name, quiet, options) => {
            create_keyspace(engine, name, *quiet, options)?
        }
        Ddl::AlterKeyspace(name, quiet, options) => alter_keyspace(engine, name, *quiet, options)?,
        Ddl::DropKeyspace(name, quiet) => drop_keyspace(engine, name, *quiet)?,
        Ddl::CreateTable(create) => create_table(engine, &keyspace, create)?,
        Ddl::AlterTable(name, quiet, alter) => alter_table(engine, &keyspace, name, *quiet, alter)?,
        Ddl::DropTable(name, quiet) => drop_table(engine, &keyspace, name, *quiet)?,
        Ddl::CreateType(name, quiet, fields) => {
            create_type(engine, &keyspace, &name.name, *quiet, fields)?
        }
        Ddl::AlterType(name, quiet, alter) => {
            alter_type(engine, &keyspace, &name.name, *quiet, alter)?
        }
        Ddl::DropType(name, quiet) => drop_type(engine, &keyspace, &name.name, *quiet)?,
        Ddl::CreateIndex(name, quiet, table, column) => {
            create_index(engine, &keyspace, name.as_deref(), *quiet, (table, column))?
        }
        Ddl::DropIndex(name, quiet) => drop_index(engine, &keyspace, &name.name, *quiet)?,
    };
    if change.is_some() {
        engine.schema.version += 1;
        if !engine.booting {
            system::refresh(engine)?;
        }
    }
    Ok(change)
}

fn keyspace_of(engine: &Engine, ddl: &Ddl, session: Option<&str>) -> CqlResult<String> {
    let name: &QName = match ddl {
        Ddl::CreateKeyspace(name, ..)
        | Ddl::AlterKeyspace(name, ..)
        | Ddl::DropKeyspace(name, _) => {
            return Ok(name.clone());
        }
        Ddl::CreateTable(create) => &create.table,
        Ddl::AlterTable(name, ..)
        | Ddl::DropTable(name, _)
        | Ddl::CreateType(name, ..)
        | Ddl::AlterType(name, ..)
        | Ddl::DropType(name, _)
        | Ddl::CreateIndex(_, _, name, _)
        | Ddl::DropIndex(name, _) => name,
    };
    engine.schema.keyspace_of(name, session).map(str::to_owned)
}

fn change(
    change: &'static str,
    target: &'static str,
    keyspace: &str,
    name: &str,
) -> Option<SchemaChange> {
    let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
    Some(SchemaChange {
        change,
        target,
        keyspace,
        name,
    })
}

fn check_name(name: &str, what: &str) -> CqlResult<()> {
    let sound = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if sound {
        return Ok(());
    }
    Err(CqlError::config(format!(
        "{what} name must not be empty, more than {NAME_CHARS_MAX} characters long, or contain \
         non-alphanumeric-underscore characters (got \"{name}\")"
    )))
}

fn replication(options: &Options, keyspace: &mut Keyspace) -> CqlResult<()> {
    for (name, value) in options {
        match (name.as_str(), value) {
            ("replication", OptionValue::Map(pairs)) => {
                keyspace.replication = pairs
                    .iter()
                    .map(|(key, value)| {
                        let full = key == "class" && !value.contains('.');
                        let prefix = if full {
                            "org.apache.cassandra.locator."
                        } else {
                            ""
                        };
                        (key.clone(), format!("{prefix}{value}"))
                    })
                    .collect();
                if !keyspace.replication.iter().any(|(key, _)| key == "class") {
                    return Err(CqlError::config("Missing replication strategy class"));
                }
            }
            ("durable_writes", OptionValue::Text(value)) => {
                keyspace.durable_writes = value != "false";
            }
            _ => {
                return Err(CqlError::syntax(format!("Unknown property '{name}'")));
            }
        }
    }
    Ok(())
}

fn create_keyspace(
    engine: &mut Engine,
    name: &str,
    quiet: bool,
    options: &Options,
) -> CqlResult<Option<SchemaChange>> {
    if engine.schema.keyspaces.contains_key(name) {
        return if quiet {
            Ok(None)
        } else {
            Err(CqlError::already_exists(name, ""))
        };
    }
    check_name(name, "Keyspace")?;
    let mut keyspace = Keyspace {
        name: name.to_owned(),
        replication: Vec::new(),
        durable_writes: true,
        tables: BTreeMap::new(),
        types: BTreeMap::new(),
    };
    replication(options, &mut keyspace)?;
    if keyspace.replication.is_empty() {
        return Err(CqlError::config("Missing mandatory option 'replication'"));
    }
    engine.schema.keyspaces.insert(name.to_owned(), keyspace);
    Ok(change("CREATED", "KEYSPACE", name, ""))
}

fn alter_keyspace(
    engine: &mut Engine,
    name: &str,
    quiet: bool,
    options: &Options,
) -> CqlResult<Option<SchemaChange>> {
    match engine.schema.keyspaces.get_mut(name) {
        Some(keyspace) => {
            let before = (keyspace.replication.clone(), keyspace.durable_writes);
            replication(options, keyspace)?;
            if before == (keyspace.replication.clone(), keyspace.durable_writes) {
                return Ok(None);
            }
        }
        None if quiet => return Ok(None),
        None => {
            return Err(CqlError::invalid(format!(
                "Keyspace '{name}' doesn't exist"
            )));
        }
    }
    Ok(change("UPDATED", "KEYSPACE", name, ""))
}

fn drop_keyspace(engine: &mut Engine, name: &str, quiet: bool) -> CqlResult<Option<SchemaChange>> {
    let Some(keyspace) = engine.schema.keyspaces.remove(name) else {
        return if quiet {
            Ok(None)
        } else {
            Err(CqlError::invalid(format!(
                "Keyspace '{name}' doesn't exist"
            )))
        };
    };
    for table in keyspace.tables.values() {
        engine.data.remove(&table.id);
    }
    Ok(change("DROPPED", "KEYSPACE", name, ""))
}
