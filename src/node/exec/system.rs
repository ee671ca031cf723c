//! The system tables that drivers ask for, as a single node of Cassandra 4.1 has them.
//!
//! They are ordinary tables: made by CREATE TABLE at the start, filled by plain writes, and
//! `system_schema` is written anew after each change of the schema.

use std::rc::Rc;

use crate::node::digest;
use crate::node::error::CqlResult;
use crate::node::json;
use crate::node::order::push_clustering_key;
use crate::node::parser::ast::Statement;
use crate::node::parser::parse;
use crate::node::schema::{ColumnKind, Keyspace, Table};
use crate::node::store::Change;
use crate::node::store::cell::{Cell, Marker};
use crate::node::store::row::RowChange;

use super::{Engine, ddl};

/// The version that the node says it is.
pub(crate) const RELEASE_VERSION: &str = "4.1.10";
/// The CQL version that SUPPORTED and `system.local` name.
pub(crate) const CQL_VERSION: &str = "3.4.6";

const TABLES: &str = include_str!("system.cql");

/// True for keyspaces that clients may not change.
pub(crate) fn is_system(keyspace: &str) -> bool {
    matches!(
        keyspace,
        "system" | "system_schema" | "system_virtual_schema" | "system_traces" | "system_views"
    )
}

/// Makes the system keyspaces and tables and fills them.
pub(crate) fn boot(engine: &mut Engine) -> CqlResult<()> {
    for text in TABLES
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        if let Statement::Ddl(change) = parse(text)?.statement {
            ddl::run(engine, &change, None)?;
        }
    }
    refresh(engine)
}

/// The id of the present schema: equal schemas made in the same order have equal ids.
pub(crate) fn schema_version(engine: &Engine) -> [u8; 16] {
    let mut id = engine.identity.host_id.to_vec();
    id.extend_from_slice(&engine.schema.version.to_be_bytes());
    let mut uuid = digest::md5(&id);
    uuid[6] = uuid[6] & 0x0F | 0x30;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

/// Writes `system.local` and `system_schema` to say what is now.
pub(crate) fn refresh(engine: &mut Engine) -> CqlResult<()> {
    for name in ["keyspaces", "tables", "columns", "types", "indexes"] {
        let id = engine
            .schema
            .keyspace("system_schema")?
            .tables
            .get(name)
            .map(|table| table.id);
        if let Some(data) = id.and_then(|id| engine.data.get_mut(&id)) {
            data.truncate();
        }
    }
    let keyspaces: Vec<Keyspace> = engine.schema.keyspaces.values().cloned().collect();
    for keyspace in &keyspaces {
        write_keyspace(engine, keyspace)?;
    }
    write_local(engine)
}

fn write_local(engine: &mut Engine) -> CqlResult<()> {
    let version = json::uuid_text(&schema_version(engine)).unwrap_or_default();
    let host_id = json::uuid_text(&engine.identity.host_id).unwrap_or_default();
    let address = engine.identity.address.ip().to_string();
    let port = engine.identity.address.port();
    let json = serde_json::json!({
        "key": "local",
        "bootstrapped": "COMPLETED",
        "broadcast_address": address,
        "broadcast_port": 7000,
        "cluster_name": engine.identity.cluster,
        "cql_version": CQL_VERSION,
        "data_center": engine.identity.data_center,
        "gossip_generation": 1,
        "host_id": host_id,
        "listen_address": address,
        "listen_port": 7000,
        "native_protocol_version": "4",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "rack": "rack1",
        "release_version": RELEASE_VERSION,
        "rpc_address": address,
        "rpc_port": port,
        "schema_version": version,
        "tokens": ["-9223372036854775808"],
    });
    put(engine, "system", "local", &json)
}

fn write_keyspace(engine: &mut Engine, keyspace: &Keyspace) -> CqlResult<()> {
    let replication: serde_json::Map<String, serde_json::Value> = keyspace
        .replication
        .iter()
        .map(|(k, v)| (k.clone(), v.clone().into()))
        .collect();
    let row = serde_json::json!({
        "keyspace_name": keyspace.name,
        "durable_writes": keyspace.durable_writes,
        "replication": replication,
    });
    put(engine, "system_schema", "keyspaces", &row)?;
    for udt in keyspace.types.values() {
        let (names, types): (Vec<&str>, Vec<String>) = udt
            .fields
            .iter()
            .map(|(name, ty)| (name.as_str(), ty.name()))
            .unzip();
        let row = serde_json::json!({
            "keyspace_name": keyspace.name,
            "type_name": udt.name,
            "field_names": names,
            "field_types": types,
        });
        put(engine, "system_schema", "types", &row)?;
    }
    for table in keyspace.tables.values() {
        write_table(engine, table)?;
    }
    Ok(())
}

fn write_table(engine: &mut Engine, table: &Table) -> CqlResult<()> {
    let flags = if table.is_counter() {
        vec!["compound", "counter"]
    } else {
        vec!["compound"]
    };
    let row = serde_json::json!({
        "keyspace_name": table.keyspace,
        "table_name": table.name,
        "additional_write_policy": "99p",
        "bloom_filter_fp_chance": 0.01,
        "caching": {"keys": "ALL", "rows_per_partition": "NONE"},
        "comment": table.comment,
        "compaction": {
            "class": "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy",
            "max_threshold": "32",
            "min_threshold": "4",
        },
        "compression": {
            "chunk_length_in_kb": "16",
            "class": "org.apache.cassandra.io.compress.LZ4Compressor",
        },
        "crc_check_chance": 1.0,
        "dclocal_read_repair_chance": 0.0,
        "default_time_to_live": table.default_ttl_s,
        "extensions": {},
        "flags": flags,
        "gc_grace_seconds": table.gc_grace_s,
        "id": json::uuid_text(&table.uuid),
        "max_index_interval": 2048,
        "memtable_flush_period_in_ms": 0,
        "min_index_interval": 128,
        "read_repair": "BLOCKING",
        "read_repair_chance": 0.0,
        "speculative_retry": "99p",
    });
    put(engine, "system_schema", "tables", &row)?;
    write_columns(engine, table)
}

fn write_columns(engine: &mut Engine, table: &Table) -> CqlResult<()> {
    for column in &table.columns {
        let (kind, position) = match column.kind {
            ColumnKind::Partition(at) => ("partition_key", i32::try_from(at).unwrap_or(-1)),
            ColumnKind::Clustering(at) => ("clustering", i32::try_from(at).unwrap_or(-1)),
            ColumnKind::Static => ("static", -1),
            ColumnKind::Regular => ("regular", -1),
        };
        let order = match (column.kind, column.descending) {
            (ColumnKind::Clustering(_), true) => "desc",
            (ColumnKind::Clustering(_), false) => "asc",
            _ => "none",
        };
        let name_bytes: String = column
            .name
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let row = serde_json::json!({
            "keyspace_name": table.keyspace,
            "table_name": table.name,
            "column_name": column.name,
            "clustering_order": order,
            "column_name_bytes": format!("0x{name_bytes}"),
            "kind": kind,
            "position": position,
            "type": column.ty.name(),
        });
        put(engine, "system_schema", "columns", &row)?;
    }
    for index in &table.indexes {
        let row = serde_json::json!({
            "keyspace_name": table.keyspace,
            "table_name": table.name,
            "index_name": index.name,
            "kind": "COMPOSITES",
            "options": {"target": index.column},
        });
        put(engine, "system_schema", "indexes", &row)?;
    }
    Ok(())
}

/// Writes one row, given as JSON by column name; unknown names are left out.
fn put(engine: &mut Engine, keyspace: &str, table: &str, row: &serde_json::Value) -> CqlResult<()> {
    let found = engine
        .schema
        .keyspace(keyspace)?
        .tables
        .get(table)
        .map(Rc::clone);
    let Some(table) = found else {
        return Ok(());
    };
    let stamp = engine.clock.stamp();
    let (mut components, mut key, mut clustering) = (Vec::new(), Vec::new(), Vec::new());
    let mut changes = vec![RowChange::Marker(Marker {
        stamp,
        ttl_s: 0,
        ends_s: 0,
    })];
    for column in &table.columns {
        let value = match row.get(&column.name) {
            Some(json) => json::from_json(&column.ty, json)?,
            None => None,
        };
        let Some(bytes) = value else { continue };
        match column.kind {
            ColumnKind::Partition(_) => components.push(bytes),
            ColumnKind::Clustering(_) => {
                push_clustering_key(&column.ty, column.descending, &bytes, &mut key);
                clustering.push(bytes.into());
            }
            _ => {
                let cell = Cell {
                    stamp,
                    ttl_s: 0,
                    ends_s: 0,
                    value: Some(bytes.into()),
                };
                changes.push(RowChange::Cell(column.id, cell));
            }
        }
    }
    engine.put_system(
        table.id,
        components,
        vec![Change::Row(key, clustering, changes)],
    );
    Ok(())
}
