//! Tables and their columns.

use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{AlterTable, CreateTable, OptionValue, Options, QName, RawType};
use crate::node::schema::{ColumnDef, ColumnKind, Index, Table};
use crate::node::types::CqlType;

use super::super::{Engine, SchemaChange, functions};
use super::{change, check_name};

pub(super) fn create_table(
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
        functions::prepared_id(Some(keyspace), name)
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
                "Clustering key columns must exactly match columns in CLUSTERING ORDER BY \
                 directive",
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

pub(super) fn alter_table(
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

pub(super) fn drop_table(
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

pub(super) fn create_index(
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

pub(super) fn drop_index(
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
