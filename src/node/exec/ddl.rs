//! CREATE, ALTER, DROP: the schema changes, the system tables follow, clients are told.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{
    AlterTable, AlterType, CreateTable, Ddl, OptionValue, Options, QName, RawType,
};
use crate::node::schema::{ColumnDef, ColumnKind, Index, Keyspace, Table};
use crate::node::types::{CqlType, UserType};

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

fn create_table(
    engine: &mut Engine,
    keyspace: &str,
    create: &CreateTable,
) -> CqlResult<Option<SchemaChange>> {
    let name = create.table.name.as_str();
    if !engine.schema.keyspaces.contains_key(keyspace) {
        return Err(CqlError::invalid(format!(
            "Keyspace '{keyspace}' doesn't exist"
        )));
    }
    if engine.schema.keyspace(keyspace)?.tables.contains_key(name) {
        return if create.if_not_exists {
            Ok(None)
        } else {
            Err(CqlError::already_exists(keyspace, name))
        };
    }
    check_name(name, &format!("{keyspace}.{name}: Table"))?;
    let uuid = if engine.booting {
        super::functions::prepared_id(Some(keyspace), name)
    } else {
        engine.clock.next_timeuuid()
    };
    let id = engine.schema.next_table;
    let mut table = Table::empty(keyspace, name, id, uuid);
    table.columns = table_columns(engine, keyspace, create)?;
    table.next_column = u32::try_from(table.columns.len()).unwrap_or(u32::MAX);
    table_options(&mut table, &create.options)?;
    check_table(&table)?;
    engine.schema.next_table += 1;
    let table = Rc::new(table.finish());
    engine
        .schema
        .keyspace_mut(keyspace)?
        .tables
        .insert(name.to_owned(), table);
    Ok(change("CREATED", "TABLE", keyspace, name))
}

fn table_columns(
    engine: &Engine,
    keyspace: &str,
    create: &CreateTable,
) -> CqlResult<Vec<ColumnDef>> {
    if create.partition_key.is_empty() {
        return Err(CqlError::invalid(format!(
            "No PRIMARY KEY specifed for table '{}' (exactly one required)",
            create.table.name
        )));
    }
    for name in create.partition_key.iter().chain(&create.clustering) {
        if !create.columns.iter().any(|(known, ..)| known == name) {
            return Err(CqlError::invalid(format!(
                "Unknown column '{name}' referenced in PRIMARY KEY for table '{}'",
                create.table.name
            )));
        }
    }
    let mut columns: Vec<ColumnDef> = Vec::with_capacity(create.columns.len());
    for (id, (name, raw, is_static)) in create.columns.iter().enumerate() {
        if columns.iter().any(|column| column.name == *name) {
            return Err(CqlError::invalid(format!(
                "Duplicate column '{name}' declaration for table '{keyspace}.{}'",
                create.table.name
            )));
        }
        let ty = engine.schema.resolve(keyspace, raw)?;
        let partition = create.partition_key.iter().position(|key| key == name);
        let clustering = create.clustering.iter().position(|key| key == name);
        let kind = match (partition, clustering) {
            (Some(at), _) => ColumnKind::Partition(at),
            (_, Some(at)) => ColumnKind::Clustering(at),
            _ if *is_static => ColumnKind::Static,
            _ => ColumnKind::Regular,
        };
        let is_key = partition.or(clustering).is_some();
        if is_key && (ty.is_multi_cell() || matches!(ty, CqlType::Counter | CqlType::Duration)) {
            return Err(CqlError::invalid(format!(
                "Invalid non-frozen, counter or duration type {} for PRIMARY KEY column '{name}'",
                ty.name()
            )));
        }
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        columns.push(ColumnDef {
            id,
            name: name.clone(),
            ty,
            kind,
            descending: false,
        });
    }
    for (i, (name, descending)) in create.order.iter().enumerate() {
        if create.clustering.get(i) != Some(name) {
            return Err(CqlError::invalid(
                "Clustering key columns must exactly match columns in CLUSTERING ORDER BY directive",
            ));
        }
        if let Some(column) = columns.iter_mut().find(|column| column.name == *name) {
            column.descending = *descending;
        }
    }
    Ok(columns)
}

fn check_table(table: &Table) -> CqlResult<()> {
    let plain =
        |column: &&ColumnDef| matches!(column.kind, ColumnKind::Regular | ColumnKind::Static);
    let counters = table
        .columns
        .iter()
        .filter(|c| c.ty == CqlType::Counter)
        .count();
    if counters > 0 && counters < table.columns.iter().filter(plain).count() {
        return Err(CqlError::invalid(
            "Cannot mix counter and non counter columns in the same table",
        ));
    }
    let has = |of: fn(&ColumnKind) -> bool| table.columns.iter().any(|column| of(&column.kind));
    if has(|kind| *kind == ColumnKind::Static) && !has(|k| matches!(k, ColumnKind::Clustering(_))) {
        return Err(CqlError::invalid(
            "Static columns are only useful (and thus allowed) if the table has at least one \
             clustering column",
        ));
    }
    if counters > 0 && table.default_ttl_s > 0 {
        return Err(CqlError::invalid(
            "Cannot set default_time_to_live on a table with counters",
        ));
    }
    Ok(())
}

fn table_options(table: &mut Table, options: &Options) -> CqlResult<()> {
    const KNOWN: [&str; 18] = [
        "bloom_filter_fp_chance",
        "caching",
        "cdc",
        "compaction",
        "compression",
        "crc_check_chance",
        "dclocal_read_repair_chance",
        "extensions",
        "id",
        "max_index_interval",
        "memtable",
        "memtable_flush_period_in_ms",
        "min_index_interval",
        "nodesync",
        "read_repair",
        "read_repair_chance",
        "speculative_retry",
        "additional_write_policy",
    ];
    for (name, value) in options {
        let number = |what: &str| match value {
            OptionValue::Text(text) => text
                .parse::<i32>()
                .map_err(|_| CqlError::syntax(format!("Invalid value {text} for option '{what}'"))),
            OptionValue::Map(_) => Err(CqlError::syntax(format!("Invalid value for '{what}'"))),
        };
        match (name.as_str(), value) {
            ("default_time_to_live", _) => table.default_ttl_s = number(name)?.max(0),
            ("gc_grace_seconds", _) => table.gc_grace_s = number(name)?,
            ("comment", OptionValue::Text(text)) => table.comment.clone_from(text),
            (known, _) if KNOWN.contains(&known) => {}
            _ => return Err(CqlError::syntax(format!("Unknown property '{name}'"))),
        }
    }
    Ok(())
}

fn alter_table(
    engine: &mut Engine,
    keyspace: &str,
    name: &QName,
    quiet: bool,
    alter: &AlterTable,
) -> CqlResult<Option<SchemaChange>> {
    let found = engine
        .schema
        .keyspace(keyspace)
        .ok()
        .and_then(|ks| ks.tables.get(&name.name));
    let Some(old) = found else {
        return if quiet {
            Ok(None)
        } else {
            Err(no_table(keyspace, &name.name))
        };
    };
    let mut table = Table::clone(old);
    match alter {
        AlterTable::Add(columns) => {
            for (column, raw, is_static) in columns {
                add_column(engine, keyspace, &mut table, (column, raw, *is_static))?;
            }
        }
        AlterTable::Drop(names) => {
            for column in names {
                drop_column(&mut table, column)?;
            }
        }
        AlterTable::Rename(pairs) => {
            for (from, to) in pairs {
                rename_column(&mut table, from, to)?;
            }
        }
        AlterTable::With(options) => table_options(&mut table, options)?,
    }
    check_table(&table)?;
    let table = Rc::new(table.finish());
    engine
        .schema
        .keyspace_mut(keyspace)?
        .tables
        .insert(name.name.clone(), table);
    Ok(change("UPDATED", "TABLE", keyspace, &name.name))
}

fn no_table(keyspace: &str, name: &str) -> CqlError {
    CqlError::invalid(format!("Table '{keyspace}.{name}' doesn't exist"))
}

fn add_column(
    engine: &Engine,
    keyspace: &str,
    table: &mut Table,
    (name, raw, is_static): (&str, &RawType, bool),
) -> CqlResult<()> {
    if table.columns.iter().any(|column| column.name == name) {
        return Err(CqlError::invalid(format!(
            "Column with name '{name}' already exists"
        )));
    }
    table.columns.push(ColumnDef {
        id: table.next_column,
        name: name.to_owned(),
        ty: engine.schema.resolve(keyspace, raw)?,
        kind: if is_static {
            ColumnKind::Static
        } else {
            ColumnKind::Regular
        },
        descending: false,
    });
    table.next_column += 1;
    Ok(())
}

fn drop_column(table: &mut Table, name: &str) -> CqlResult<()> {
    let found = table.columns.iter().position(|column| column.name == name);
    let Some(at) = found else {
        return Err(CqlError::invalid(format!(
            "Column {name} was not found in table '{}.{}'",
            table.keyspace, table.name
        )));
    };
    if matches!(
        table.columns[at].kind,
        ColumnKind::Partition(_) | ColumnKind::Clustering(_)
    ) {
        return Err(CqlError::invalid(format!(
            "Cannot drop PRIMARY KEY column {name}"
        )));
    }
    table.columns.remove(at);
    table.indexes.retain(|index| index.column != name);
    Ok(())
}

fn rename_column(table: &mut Table, from: &str, to: &str) -> CqlResult<()> {
    if table.columns.iter().any(|column| column.name == to) {
        return Err(CqlError::invalid(format!(
            "Cannot rename column {from} to {to} in table '{}.{}'; another column with that name \
             already exist",
            table.keyspace, table.name
        )));
    }
    let (keyspace, table_name) = (table.keyspace.clone(), table.name.clone());
    let column = table.columns.iter_mut().find(|column| column.name == from);
    let column = column.ok_or_else(|| {
        CqlError::invalid(format!(
            "Column {from} was not found in table {keyspace}.{table_name}"
        ))
    })?;
    if matches!(column.kind, ColumnKind::Regular | ColumnKind::Static) {
        return Err(CqlError::invalid(format!(
            "Cannot rename non PRIMARY KEY column {from}"
        )));
    }
    column.name = to.to_owned();
    Ok(())
}

fn drop_table(
    engine: &mut Engine,
    keyspace: &str,
    name: &QName,
    quiet: bool,
) -> CqlResult<Option<SchemaChange>> {
    let keyspaces = &mut engine.schema.keyspaces;
    match keyspaces
        .get_mut(keyspace)
        .and_then(|ks| ks.tables.remove(&name.name))
    {
        Some(table) => {
            engine.data.remove(&table.id);
            Ok(change("DROPPED", "TABLE", keyspace, &name.name))
        }
        None if quiet => Ok(None),
        None => Err(no_table(keyspace, &name.name)),
    }
}

fn create_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
    fields: &[(String, RawType)],
) -> CqlResult<Option<SchemaChange>> {
    let Some(known) = engine.schema.keyspaces.get(keyspace) else {
        return Err(CqlError::invalid(format!(
            "Keyspace '{keyspace}' doesn't exist"
        )));
    };
    if known.types.contains_key(name) {
        return if quiet {
            Ok(None)
        } else {
            Err(CqlError::invalid(format!(
                "A user type with name '{name}' already exists"
            )))
        };
    }
    let mut all = Vec::with_capacity(fields.len());
    for (field, raw) in fields {
        let ty = engine.schema.resolve(keyspace, raw)?;
        if matches!(ty, CqlType::Udt(_, false)) {
            return Err(CqlError::invalid(
                "Non-frozen UDTs are not allowed inside UDTs",
            ));
        }
        all.push((field.clone(), ty));
    }
    let udt = UserType {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        fields: all,
    };
    engine
        .schema
        .keyspace_mut(keyspace)?
        .types
        .insert(name.to_owned(), Rc::new(udt));
    Ok(change("CREATED", "TYPE", keyspace, name))
}

fn no_type(keyspace: &str, name: &str) -> CqlError {
    CqlError::invalid(format!("Type '{keyspace}.{name}' doesn't exist"))
}

fn alter_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
    alter: &AlterType,
) -> CqlResult<Option<SchemaChange>> {
    let found = engine.schema.keyspace(keyspace)?.types.get(name);
    let Some(old) = found else {
        return if quiet {
            Ok(None)
        } else {
            Err(no_type(keyspace, name))
        };
    };
    let mut udt = UserType::clone(old);
    match alter {
        AlterType::Add(field, raw) => {
            if udt.fields.iter().any(|(known, _)| known == field) {
                return Err(CqlError::invalid(format!(
                    "Cannot add field {field} to type {keyspace}.{name}: a field with name \
                     {field} already exists"
                )));
            }
            let ty = engine.schema.resolve(keyspace, raw)?;
            udt.fields.push((field.clone(), ty));
        }
        AlterType::Rename(pairs) => {
            for (from, to) in pairs {
                let field = udt.fields.iter_mut().find(|(known, _)| known == from);
                let field = field.ok_or_else(|| {
                    CqlError::invalid(format!(
                        "Unkown field {from} in user type {keyspace}.{name}"
                    ))
                })?;
                field.0.clone_from(to);
            }
        }
    }
    let udt = Rc::new(udt);
    let keyspace_mut = engine.schema.keyspace_mut(keyspace)?;
    for table in keyspace_mut.tables.values_mut() {
        if table.columns.iter().any(|column| column.ty.mentions(name)) {
            let mut fresh = Table::clone(table);
            for column in &mut fresh.columns {
                column.ty = column.ty.with_udt(&udt);
            }
            *table = Rc::new(fresh);
        }
    }
    for other in keyspace_mut.types.values_mut() {
        if other.fields.iter().any(|(_, ty)| ty.mentions(name)) {
            let mut fresh = UserType::clone(other);
            for (_, ty) in &mut fresh.fields {
                *ty = ty.with_udt(&udt);
            }
            *other = Rc::new(fresh);
        }
    }
    keyspace_mut.types.insert(name.to_owned(), udt);
    Ok(change("UPDATED", "TYPE", keyspace, name))
}

fn drop_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
) -> CqlResult<Option<SchemaChange>> {
    let known = engine.schema.keyspace_mut(keyspace)?;
    if !known.types.contains_key(name) {
        return if quiet {
            Ok(None)
        } else {
            Err(no_type(keyspace, name))
        };
    }
    let user = known
        .tables
        .values()
        .find(|table| table.columns.iter().any(|column| column.ty.mentions(name)));
    if let Some(table) = user {
        return Err(CqlError::invalid(format!(
            "Cannot drop user type '{keyspace}.{name}' as it is still used by tables {}",
            table.name
        )));
    }
    known.types.remove(name);
    Ok(change("DROPPED", "TYPE", keyspace, name))
}

fn create_index(
    engine: &mut Engine,
    keyspace: &str,
    name: Option<&str>,
    quiet: bool,
    (table_name, column): (&QName, &str),
) -> CqlResult<Option<SchemaChange>> {
    let known = engine.schema.keyspace_mut(keyspace)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("{}_{column}_idx", table_name.name),
    };
    let taken = known
        .tables
        .values()
        .any(|table| table.indexes.iter().any(|i| i.name == name));
    if taken {
        return if quiet {
            Ok(None)
        } else {
            Err(CqlError::invalid(format!("Index '{name}' already exists")))
        };
    }
    let table = known
        .tables
        .get_mut(&table_name.name)
        .ok_or_else(|| no_table(keyspace, &table_name.name))?;
    table.column(column)?;
    let mut fresh = Table::clone(table);
    fresh.indexes.push(Index {
        name,
        column: column.to_owned(),
    });
    *table = Rc::new(fresh);
    Ok(change("UPDATED", "TABLE", keyspace, &table_name.name))
}

fn drop_index(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
) -> CqlResult<Option<SchemaChange>> {
    let known = engine.schema.keyspace_mut(keyspace)?;
    let table = known
        .tables
        .values_mut()
        .find(|table| table.indexes.iter().any(|index| index.name == name));
    match table {
        Some(table) => {
            let mut fresh = Table::clone(table);
            fresh.indexes.retain(|index| index.name != name);
            let table_name = fresh.name.clone();
            *table = Rc::new(fresh);
            Ok(change("UPDATED", "TABLE", keyspace, &table_name))
        }
        None if quiet => Ok(None),
        None => Err(CqlError::invalid(format!(
            "Index '{keyspace}.{name}' doesn't exist'"
        ))),
    }
}
