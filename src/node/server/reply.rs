//! Answers as bytes.

use crate::cql::encode::patch_length;
use crate::cql::{Compression, Flags, HEADER_LEN, Header, Opcode, Version};
use crate::node::error::{CqlError, code, push_string};
use crate::node::exec::select::ColumnSpec;
use crate::node::exec::{Outcome, Prepared, Rows, SchemaChange};
use crate::node::types::CqlType;
use crate::node::value::{int_len, push_bytes};

/// How one answer goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) version: Version,
    pub(super) stream: i16,
    pub(super) compression: Compression,
    /// Goes before the message, with the flag that says so.
    pub(super) tracing_id: Option<[u8; 16]>,
}

/// Appends one envelope whose message `body` writes.
pub(super) fn push(
    out: &mut Vec<u8>,
    envelope: Envelope,
    opcode: Opcode,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let mut header = Header {
        response: true,
        version: envelope.version.number(),
        flags: Flags::NONE,
        stream: envelope.stream,
        opcode,
        body_len: 0,
    };
    if envelope.tracing_id.is_some() {
        header.flags = header.flags.with(Flags::TRACING);
    }
    out.extend_from_slice(&header.encode());
    out.extend(envelope.tracing_id.iter().flatten());
    body(out);
    let plain_at = start + HEADER_LEN;
    if envelope.compression != Compression::None && out.len() > plain_at {
        let plain = out.split_off(plain_at);
        if envelope.compression.compress(&plain, out).is_ok() {
            out[start + 1] |= Flags::COMPRESSION.0;
        } else {
            out.extend_from_slice(&plain);
        }
    }
    if patch_length(&mut out[..], start).is_err() {
        // Longer than 2 GiB: an error in its place, plain.
        out.truncate(start);
        header.opcode = Opcode::Error;
        header.flags = Flags::NONE;
        out.extend_from_slice(&header.encode());
        let error = CqlError::new(
            code::SERVER,
            "the answer is longer than the protocol allows",
        );
        push_error(out, &error);
        let _ = patch_length(&mut out[..], start);
    }
}

pub(super) fn push_error(out: &mut Vec<u8>, error: &CqlError) {
    out.extend_from_slice(&error.code.to_be_bytes());
    push_string(out, &error.message);
    out.extend_from_slice(&error.tail);
}

/// The message of RESULT.
pub(super) fn push_outcome(out: &mut Vec<u8>, outcome: &Outcome, skip_metadata: bool) {
    match outcome {
        Outcome::Void => push_int(out, 1),
        Outcome::Rows(rows) => push_rows(out, rows, skip_metadata && rows.skippable),
        Outcome::Use(keyspace) => {
            push_int(out, 3);
            push_string(out, keyspace);
        }
        Outcome::Schema(change) => {
            push_int(out, 5);
            push_change(out, change);
        }
    }
}

/// A schema change as RESULT and EVENT have it.
pub(super) fn push_change(out: &mut Vec<u8>, change: &SchemaChange) {
    push_string(out, change.change);
    push_string(out, change.target);
    push_string(out, &change.keyspace);
    if change.target != "KEYSPACE" {
        push_string(out, &change.name);
    }
}

const GLOBAL_TABLE: i32 = 0x01;
const MORE_PAGES: i32 = 0x02;
const NO_METADATA: i32 = 0x04;

fn push_rows(out: &mut Vec<u8>, rows: &Rows, skip_metadata: bool) {
    push_int(out, 2);
    let more = if rows.paging_state.is_some() {
        MORE_PAGES
    } else {
        0
    };
    let shape = if skip_metadata {
        NO_METADATA
    } else {
        GLOBAL_TABLE
    };
    push_int(out, more | shape);
    push_int(out, int_len(rows.columns.len()));
    if let Some(state) = &rows.paging_state {
        push_bytes(out, Some(state));
    }
    if !skip_metadata {
        push_columns(out, &rows.columns);
    }
    push_int(out, int_len(rows.rows.len()));
    for value in rows.rows.iter().flatten() {
        push_bytes(out, value.as_deref());
    }
}

/// Keyspace and table once, then names and types.
fn push_columns(out: &mut Vec<u8>, columns: &[ColumnSpec]) {
    if let Some(first) = columns.first() {
        push_string(out, &first.keyspace);
        push_string(out, &first.table);
    }
    for column in columns {
        push_column(out, &column.name, &column.ty);
    }
}

fn push_column(out: &mut Vec<u8>, name: &str, ty: &CqlType) {
    push_string(out, name);
    ty.push_option(out);
}

/// The message of RESULT for PREPARE.
pub(super) fn push_prepared(
    out: &mut Vec<u8>,
    version: Version,
    id: [u8; 16],
    prepared: &Prepared,
) {
    push_int(out, 4);
    out.extend_from_slice(&16u16.to_be_bytes());
    out.extend_from_slice(&id);
    let specs = &prepared.specs;
    let one_table = specs.first().is_some_and(|first| {
        specs
            .iter()
            .all(|spec| spec.keyspace == first.keyspace && spec.table == first.table)
    });
    push_int(out, if one_table { GLOBAL_TABLE } else { 0 });
    push_int(out, int_len(specs.len()));
    if version == Version::V4 {
        push_int(out, int_len(prepared.key_markers.len()));
        for marker in &prepared.key_markers {
            out.extend_from_slice(&marker.to_be_bytes());
        }
    }
    if let (true, Some(first)) = (one_table, specs.first()) {
        push_string(out, &first.keyspace);
        push_string(out, &first.table);
    }
    for spec in specs {
        if !one_table {
            push_string(out, &spec.keyspace);
            push_string(out, &spec.table);
        }
        push_column(out, &spec.name, &spec.ty);
    }
    let columns = prepared.result_columns();
    push_int(
        out,
        if columns.is_empty() {
            NO_METADATA
        } else {
            GLOBAL_TABLE
        },
    );
    push_int(out, int_len(columns.len()));
    push_columns(out, columns);
}

/// The message of SUPPORTED.
pub(super) fn push_supported(out: &mut Vec<u8>, cql_version: &str) {
    let options: [(&str, &[&str]); 3] = [
        ("COMPRESSION", &["snappy", "lz4"]),
        ("CQL_VERSION", &[cql_version]),
        ("PROTOCOL_VERSIONS", &["3/v3", "4/v4"]),
    ];
    out.extend_from_slice(&3u16.to_be_bytes());
    for (name, values) in options {
        push_string(out, name);
        out.extend_from_slice(&u16::try_from(values.len()).unwrap_or(0).to_be_bytes());
        for value in values {
            push_string(out, value);
        }
    }
}

fn push_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}
