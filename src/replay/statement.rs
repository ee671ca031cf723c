//! From a spilled record to a request for the target: qualified names, and expiry as at the source.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};

use crate::cql::Value;
use crate::cql::request::params::QueryParams;
use crate::cql::values::Values;
use crate::spill::{Body, Kind, Record};
use crate::statement::{self, Kind as StatementKind, Statement, UsingValue, Verb};
use crate::tables::Tables;

/// A value to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// Bytes as they came.
    Bytes(Vec<u8>),
    /// `null`.
    Null,
    /// Not set.
    Unset,
}

/// One statement to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub text: String,
    pub cells: Vec<Cell>,
    /// Names of the cells, if the client gave names.
    pub names: Option<Vec<String>>,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The keyspace that a connection must be in; only for texts that could not be qualified.
    pub keyspace: Option<String>,
    /// The batch type, for a BATCH.
    pub batch_type: Option<u8>,
    pub parts: Vec<Part>,
    /// Number of the consistency level.
    pub consistency: u16,
    /// Number of the serial consistency level.
    pub serial_consistency: Option<u16>,
    /// Default timestamp in µs.
    pub timestamp_us: Option<i64>,
}

/// What else has to be known of a record before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Age {
    /// It deletes something.
    pub deletes: bool,
    /// It is older than the shortest `gc_grace_seconds` of its tables.
    pub beyond_grace: bool,
}

/// Makes the request of a record that arrived `elapsed_seconds` ago.
pub(super) fn request(
    record: &Record<'_>,
    tables: &Tables,
    elapsed_seconds: i64,
) -> Result<(Request, Age)> {
    let mut age = Age::default();
    let mut maker = Maker {
        record,
        tables,
        elapsed_seconds,
        keyspace: None,
        age: &mut age,
    };
    let made = match record.body {
        Body::Query { text, params } => {
            let params = QueryParams::parse(params).context("the parameters are malformed")?;
            let part = maker.part(text, params.values)?;
            Request {
                keyspace: maker.keyspace.take(),
                batch_type: None,
                parts: vec![part],
                consistency: params.consistency.number(),
                serial_consistency: params.serial_consistency.map(|level| level.number()),
                timestamp_us: params.timestamp,
            }
        }
        Body::Batch {
            batch_type,
            children,
            tail,
        } => {
            // The tail is `<consistency><flags>[<serial>][<timestamp>]`: parameters without values.
            let tail = QueryParams::parse(tail).context("the batch's end is malformed")?;
            ensure!(tail.values.is_none(), "the batch's end holds values");
            let mut parts = Vec::with_capacity(children.len());
            for (text, values) in children.iter() {
                let values = Values::parse(values, false).context("values are malformed")?;
                parts.push(maker.part(text, Some(values))?);
            }
            Request {
                keyspace: maker.keyspace.take(),
                batch_type: Some(batch_type),
                parts,
                consistency: tail.consistency.number(),
                serial_consistency: tail.serial_consistency.map(|level| level.number()),
                timestamp_us: tail.timestamp,
            }
        }
    };
    Ok((made, age))
}

struct Maker<'m, 'r> {
    record: &'m Record<'r>,
    tables: &'m Tables,
    elapsed_seconds: i64,
    keyspace: Option<String>,
    age: &'m mut Age,
}

impl Maker<'_, '_> {
    fn part(&mut self, text: &str, values: Option<Values<'_>>) -> Result<Part> {
        let session = self.record.session_keyspace;
        let first = statement::classify(text);
        let text = if session.is_empty() {
            Cow::Borrowed(text)
        } else if first.opaque {
            self.keyspace = Some(session.to_owned());
            Cow::Borrowed(text)
        } else {
            statement::rewrite::qualify(text, &first, session)
        };
        let statement = match &text {
            Cow::Borrowed(_) => first,
            Cow::Owned(qualified) => statement::classify(qualified),
        };
        let has_names = values.is_some_and(|values| values.is_named());
        let mut part = Part {
            text: String::new(),
            cells: values
                .into_iter()
                .flatten()
                .map(|bound| cell(bound.value))
                .collect(),
            names: has_names.then(|| {
                let names = values.into_iter().flatten().filter_map(|bound| bound.name);
                names.map(str::to_owned).collect()
            }),
        };
        self.note_age(&statement);
        if self.record.kind.is_barrier() || self.record.kind == Kind::Counter {
            part.text = text.into_owned();
            return Ok(part);
        }
        self.expire(&text, &statement, &mut part)?;
        Ok(part)
    }

    /// Notes whether it deletes, and whether its tables' grace is over.
    fn note_age(&mut self, statement: &Statement) {
        let is_delete = |m: &statement::Mutation| m.verb == Verb::Delete;
        self.age.deletes |=
            statement.kind == StatementKind::Delete || statement.mutations.iter().any(is_delete);
        for mutation in &statement.mutations {
            let keyspace = mutation
                .table
                .keyspace
                .as_deref()
                .unwrap_or(self.record.keyspace);
            let grace = self.tables.gc_grace_s(keyspace, &mutation.table.name);
            self.age.beyond_grace |=
                grace.is_some_and(|grace_s| self.elapsed_seconds >= grace_s.into());
        }
    }

    /// Makes what is left of a time to live stand in the statement.
    fn expire(&self, text: &str, statement: &Statement, part: &mut Part) -> Result<()> {
        let default_ttl = |index: usize| {
            let mutation = statement.mutations.get(index)?;
            let keyspace = mutation
                .table
                .keyspace
                .as_deref()
                .unwrap_or(self.record.keyspace);
            let ttl = self.tables.default_ttl_s(keyspace, &mutation.table.name)?;
            statement::rewrite::ttl_left(ttl.into(), self.elapsed_seconds)
        };
        for mutation in &statement.mutations {
            if let UsingValue::Bound { marker } = mutation.using.ttl {
                let name = statement
                    .markers
                    .get(usize::from(marker))
                    .and_then(|m| m.name.as_deref());
                let unset_means = self.unset_ttl(mutation);
                shorten(
                    part,
                    usize::from(marker),
                    name,
                    self.elapsed_seconds,
                    unset_means,
                )?;
            }
        }
        if part.cells.is_empty() {
            let rewritten =
                statement::rewrite::with_ttl(text, statement, self.elapsed_seconds, default_ttl);
            part.text = rewritten.text.into_owned();
            return Ok(());
        }
        self.bind_expiry(text, statement, part, default_ttl);
        Ok(())
    }

    /// What a bound TTL that is not set means: what is left of the table's default.
    fn unset_ttl(&self, mutation: &statement::Mutation) -> Option<i64> {
        let keyspace = mutation
            .table
            .keyspace
            .as_deref()
            .unwrap_or(self.record.keyspace);
        let ttl = self.tables.default_ttl_s(keyspace, &mutation.table.name)?;
        statement::rewrite::ttl_left(ttl.into(), self.elapsed_seconds)
    }

    /// As `with_ttl`, but with bind markers, so that one prepared statement serves every age.
    fn bind_expiry(
        &self,
        text: &str,
        statement: &Statement,
        part: &mut Part,
        default_ttl: impl Fn(usize) -> Option<i64>,
    ) {
        let mut out = String::with_capacity(text.len() + 24);
        let (mut copied, mut added) = (0, 0);
        for (index, mutation) in statement.mutations.iter().enumerate() {
            let (from, to, word, seconds) = match mutation.using.ttl {
                UsingValue::Literal { value, span } => {
                    let Some(left) = statement::rewrite::ttl_left(value, self.elapsed_seconds)
                    else {
                        continue;
                    };
                    (span.start, span.end, "", left)
                }
                UsingValue::None if mutation.takes_ttl() => {
                    let Some(left) = default_ttl(index) else {
                        continue;
                    };
                    let word = if mutation.using.present {
                        " AND TTL "
                    } else {
                        " USING TTL "
                    };
                    (
                        mutation.using.insert_at,
                        mutation.using.insert_at,
                        word,
                        left,
                    )
                }
                _ => continue,
            };
            let (from, to) = (from as usize, to as usize);
            let before = statement
                .markers
                .iter()
                .filter(|marker| (marker.span.start as usize) < from)
                .count();
            out.push_str(text.get(copied..from).unwrap_or_default());
            out.push_str(word);
            let is_named = statement.markers.iter().any(|marker| marker.name.is_some());
            let name = if is_named {
                format!("twinring_ttl_{added}")
            } else {
                "[ttl]".to_owned()
            };
            match is_named {
                true => out.push_str(&format!(":{name}")),
                false => out.push('?'),
            }
            if !word.is_empty() {
                out.push(' ');
            }
            let bytes = i32::try_from(seconds)
                .unwrap_or(i32::MAX)
                .to_be_bytes()
                .to_vec();
            match &mut part.names {
                Some(names) => {
                    names.push(name);
                    part.cells.push(Cell::Bytes(bytes));
                }
                None => {
                    let at = (before + added).min(part.cells.len());
                    part.cells.insert(at, Cell::Bytes(bytes));
                }
            }
            added += 1;
            copied = to;
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        part.text = out;
    }
}

/// Replaces a bound TTL by what is left of it.
fn shorten(
    part: &mut Part,
    marker: usize,
    name: Option<&str>,
    elapsed_seconds: i64,
    unset_means: Option<i64>,
) -> Result<()> {
    let index = match &part.names {
        None => Some(marker),
        Some(names) => names.iter().position(|n| n == name.unwrap_or("[ttl]")),
    };
    let cell = index.and_then(|index| part.cells.get_mut(index));
    let left = match cell.as_deref() {
        Some(Cell::Bytes(bytes)) => {
            let Ok(seconds) = <[u8; 4]>::try_from(bytes.as_slice()) else {
                bail!("the bound TTL is no int");
            };
            statement::rewrite::ttl_left(i32::from_be_bytes(seconds).into(), elapsed_seconds)
        }
        Some(Cell::Unset) => unset_means,
        _ => None,
    };
    if let (Some(cell), Some(left)) = (cell, left) {
        let left = i32::try_from(left).unwrap_or(i32::MAX);
        *cell = Cell::Bytes(left.to_be_bytes().to_vec());
    }
    Ok(())
}

fn cell(value: Value<'_>) -> Cell {
    match value {
        Value::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
        Value::Null => Cell::Null,
        Value::Unset => Cell::Unset,
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
