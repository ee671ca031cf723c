//! Which rows and cells a write may have changed.

use std::collections::BTreeMap;

use super::json;
use super::look::{Look, Touch};
use super::piece::{Bound, Piece, elements};
use crate::cql::request::params::QueryParams;
use crate::cql::values::Values;
use crate::cql::{Consistency, Reader, Value};
use crate::limits;
use crate::relay::plan::{Plan, PlanCache};
use crate::relay::write::{Body, Write};
use crate::statement::quote;
use crate::statement::{Assignment, Mutation, Operation, Relation, UsingValue, ValueKind, Verb};
use crate::tables::{Column, Known, Role, Shape, Table};

/// Why it cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// A table or a column is not known, or not yet.
    Table,
    /// The statement names its rows in a way that is not understood here, or no keyspace.
    Rows,
}

/// The rows that a write may have changed; none if all that it sets is unset. `answered_us`: when
/// its answer came; `may_be_there`: the target may have it, or what an earlier look has made of it.
///
/// # Errors
/// See [`Unclear`].
pub fn looks(
    write: &Write,
    plans: &mut PlanCache,
    answered_us: i64,
    may_be_there: bool,
) -> Result<Vec<Look>, Unclear> {
    let mut found = Vec::new();
    let mut add = |plan: &Plan, values, levels: (Consistency, Consistency), known: &Known| {
        let bound = Bound {
            text: &plan.text,
            statement: &plan.statement,
            values,
        };
        let session = plan.session_keyspace.as_deref();
        if plan.statement.mutations.is_empty() {
            return Err(Unclear::Rows);
        }
        for mutation in &plan.statement.mutations {
            let keyspace = mutation.table.keyspace_or(session).ok_or(Unclear::Rows)?;
            let ttl_s = ttl_s(mutation, &bound, known, keyspace);
            let frame = Look {
                keyspace: keyspace.into(),
                table: (*mutation.table.name).into(),
                relation: Piece::default(),
                is_static: false,
                columns: BTreeMap::new(),
                whole_row: false,
                range: false,
                inserted: false,
                serial: levels.1,
                level: levels.0,
                ttl_s,
                inserted_ttl_s: ttl_s,
                since_us: write.arrived_us,
                answered_us,
                may_be_there,
                seen: Vec::new(),
            };
            let table = known.source.get(keyspace, &mutation.table.name);
            let table = table.filter(|table| !table.columns.is_empty());
            let table = table.ok_or(Unclear::Table)?;
            of_mutation(mutation, &bound, table, &frame, &mut found)?;
        }
        Ok(())
    };
    match write.original() {
        Body::Query { text, params } => {
            let (plan, parsed) = (plans.plan(text, None), parse(params)?);
            add(&plan, parsed.values, levels(&parsed), plans.known())?;
        }
        Body::Execute { prepared, params } => {
            let parsed = parse(params)?;
            add(
                &prepared.plan,
                parsed.values,
                levels(&parsed),
                plans.known(),
            )?;
        }
        Body::Batch {
            children,
            values,
            tail,
            ..
        } => {
            let levels = batch_levels(tail).ok_or(Unclear::Rows)?;
            for child in children {
                let bound = values.get(child.values.clone()).unwrap_or_default();
                let bound = Values::parse(bound, false).map_err(|_| Unclear::Rows)?;
                add(child.statement.plan(), Some(bound), levels, plans.known())?;
            }
        }
    }
    Ok(found)
}

fn parse(params: &[u8]) -> Result<QueryParams<'_>, Unclear> {
    QueryParams::parse(params).map_err(|_| Unclear::Rows)
}

/// Consistency of the write and of the condition.
fn levels(params: &QueryParams<'_>) -> (Consistency, Consistency) {
    (params.consistency, serial(params.serial_consistency))
}

fn serial(given: Option<Consistency>) -> Consistency {
    match given {
        Some(Consistency::LocalSerial) => Consistency::LocalSerial,
        _ => Consistency::Serial,
    }
}

/// As [`levels`], from what follows the statements of a batch.
fn batch_levels(tail: &[u8]) -> Option<(Consistency, Consistency)> {
    const WITH_SERIAL: u8 = 0x10;
    let mut reader = Reader::new(tail);
    let level = reader.consistency().ok()?;
    let given = match reader.byte().ok()? & WITH_SERIAL {
        0 => None,
        _ => reader.consistency().ok(),
    };
    Some((level, serial(given)))
}

fn ttl_s(mutation: &Mutation, bound: &Bound<'_>, known: &Known, keyspace: &str) -> i64 {
    let given = match mutation.using.ttl {
        UsingValue::Literal { value, .. } => Some(value),
        UsingValue::Bound { marker } => match bound.value(marker) {
            Value::Bytes(bytes) => bytes.try_into().ok().map(i32::from_be_bytes).map(i64::from),
            _ => None,
        },
        UsingValue::None => None,
    };
    let default_s = known.source.default_ttl_s(keyspace, &mutation.table.name);
    given.unwrap_or_else(|| default_s.unwrap_or(0).into())
}

fn of_mutation(
    mutation: &Mutation,
    bound: &Bound<'_>,
    table: &Table,
    frame: &Look,
    found: &mut Vec<Look>,
) -> Result<(), Unclear> {
    let mut regular = frame.clone();
    let mut shared = Look {
        is_static: true,
        ..frame.clone()
    };
    let document = match mutation.json {
        Some(value) => Some(json::Document::read(value, bound).ok_or(Unclear::Rows)?),
        None => None,
    };
    for assignment in &mutation.assignments {
        let column = table.column(&assignment.column).ok_or(Unclear::Table)?;
        let look = match column.role {
            Role::Partition | Role::Clustering => continue,
            Role::Static => &mut shared,
            Role::Regular => &mut regular,
        };
        if let Some(touch) = touch(assignment, column.shape, bound) {
            look.columns
                .entry(column.name.clone())
                .or_default()
                .merge(touch);
        }
    }
    regular.whole_row = mutation.verb == Verb::Delete && mutation.assignments.is_empty();
    let named = named(mutation, bound, table, document.as_ref())?;
    let names = |key: &Column| named.iter().any(|part| part.columns.contains(&&*key.name));
    let clustering = |key: &&Column| key.role == Role::Clustering;
    // without its clustering columns it deletes the partition, statics too
    let is_partition = regular.whole_row && !table.key().filter(clustering).any(names);
    if regular.whole_row || document.is_some() {
        // what a document leaves out becomes null
        for column in &table.columns {
            let look = match column.role {
                Role::Regular => &mut regular,
                Role::Static if document.is_some() || is_partition => &mut shared,
                _ => continue,
            };
            look.columns
                .entry(column.name.clone())
                .or_default()
                .overwritten = true;
        }
    }
    let has_row = table.key().all(names) && !named.iter().any(|part| part.is_range);
    regular.inserted = mutation.verb == Verb::Insert && has_row;
    if !regular.columns.is_empty() || regular.whole_row || regular.inserted {
        regular.range = !has_row && regular.whole_row;
        if !has_row && !regular.range {
            return Err(Unclear::Rows);
        }
        rows(&named, &regular, found)?;
    }
    if !shared.columns.is_empty() {
        let is_partition = |name: &&str| {
            table
                .column(name)
                .is_some_and(|column| column.role == Role::Partition)
        };
        let partition: Vec<_> = named
            .into_iter()
            .filter(|part| part.columns.iter().all(is_partition))
            .collect();
        rows(&partition, &shared, found)?;
    }
    Ok(())
}

/// What a statement says about some columns of the key: one relation, or one of several.
struct Part<'m> {
    columns: Vec<&'m str>,
    relations: Vec<Piece>,
    /// It bounds them on one side.
    is_range: bool,
}

/// The parts of the key that a statement names.
fn named<'m>(
    mutation: &'m Mutation,
    bound: &Bound<'_>,
    table: &'m Table,
    document: Option<&json::Document>,
) -> Result<Vec<Part<'m>>, Unclear> {
    let mut parts = Vec::new();
    if mutation.verb == Verb::Insert {
        for key in table.key() {
            let term = match document {
                Some(document) => document.term(&key.name),
                None => mutation
                    .assignments
                    .iter()
                    .find(|assignment| assignment.column == key.name)
                    .map(|assignment| bound.term(assignment.value.span).ok_or(Unclear::Rows))
                    .transpose()?,
            };
            if let Some(term) = term {
                parts.push(Part {
                    columns: vec![&key.name],
                    relations: vec![equal(&[&key.name], &term)],
                    is_range: false,
                });
            }
        }
        return Ok(parts);
    }
    for restriction in &mutation.restrictions {
        let columns: Vec<&str> = restriction.columns.iter().map(|name| &**name).collect();
        let span = restriction.value.span;
        let term = |span| bound.term(span).map(|term| equal(&columns, &term));
        let relations = match (restriction.relation, restriction.value.kind) {
            _ if columns.is_empty() => return Err(Unclear::Rows),
            (Relation::Equal, _) => vec![term(span).ok_or(Unclear::Rows)?],
            (Relation::In, ValueKind::Marker(marker)) => {
                let Value::Bytes(bytes) = bound.value(marker) else {
                    return Err(Unclear::Rows);
                };
                let found = elements(bytes, 1).ok_or(Unclear::Rows)?;
                let relation = |value: &&[u8]| equal(&columns, &Piece::of_element(value));
                found.iter().map(relation).collect()
            }
            (Relation::In, _) => {
                let terms = bound.list(span).into_iter().map(term);
                terms.collect::<Option<_>>().ok_or(Unclear::Rows)?
            }
            (Relation::Range, _) => {
                let operator = operator(bound.text, span.start).ok_or(Unclear::Rows)?;
                let mut relation = Piece::of(format!("{} {operator} ", left_side(&columns)));
                relation.push(&bound.term(span).ok_or(Unclear::Rows)?);
                vec![relation]
            }
            (Relation::Other, _) => return Err(Unclear::Rows),
        };
        parts.push(Part {
            columns,
            relations,
            is_range: restriction.relation == Relation::Range,
        });
    }
    Ok(parts)
}

/// The operator of a range, which stands before its value.
fn operator(text: &str, value_at: u32) -> Option<&'static str> {
    let before = text.get(..usize::try_from(value_at).ok()?)?.trim_end();
    let operators = ["<=", ">=", "<", ">"];
    operators
        .into_iter()
        .find(|operator| before.ends_with(operator))
}

fn left_side(columns: &[&str]) -> String {
    let names: Vec<_> = columns.iter().map(|name| quote(name)).collect();
    match names.as_slice() {
        [name] => name.clone().into_owned(),
        names => format!("({})", names.join(", ")),
    }
}

fn equal(columns: &[&str], term: &Piece) -> Piece {
    let mut relation = Piece::of(format!("{} = ", left_side(columns)));
    relation.push(term);
    relation
}

/// One look for each combination of the parts' relations.
fn rows(parts: &[Part<'_>], frame: &Look, found: &mut Vec<Look>) -> Result<(), Unclear> {
    let mut relations = vec![Piece::default()];
    for part in parts {
        if relations.len().saturating_mul(part.relations.len()) > limits::READ_BACK_ROWS {
            return Err(Unclear::Rows);
        }
        let longer = |relation: &Piece| {
            let relation = relation.clone();
            part.relations.iter().map(move |more| {
                let mut relation = relation.clone();
                if !relation.text.is_empty() {
                    relation.text(" AND ");
                }
                relation.push(more);
                relation
            })
        };
        relations = relations.iter().flat_map(longer).collect();
    }
    found.extend(relations.into_iter().map(|relation| Look {
        relation,
        ..frame.clone()
    }));
    Ok(())
}

/// What an assignment does; none if its value is not set.
fn touch(assignment: &Assignment, shape: Shape, bound: &Bound<'_>) -> Option<Touch> {
    let value = match assignment.value.kind {
        ValueKind::Marker(marker) => bound.value(marker),
        ValueKind::Null => Value::Null,
        _ => Value::Bytes(&[]),
    };
    let mut touch = Touch::default();
    let keyed = matches!(shape, Shape::Set | Shape::Map);
    match assignment.operation {
        Operation::Set | Operation::Subtract if value == Value::Unset => return None,
        Operation::Set | Operation::Delete => touch.overwritten = true,
        Operation::Add if keyed => {}
        Operation::Subtract if keyed => match keys(assignment, bound) {
            Some(keys) => keys.into_iter().for_each(|key| touch.remove(key)),
            None => touch.unclear = true,
        },
        Operation::SetElement { key } | Operation::DeleteElement { key } if keyed => {
            if value == Value::Unset {
                return None;
            }
            if value == Value::Null {
                match bound.term(key.span) {
                    Some(key) => touch.remove(key),
                    None => touch.unclear = true,
                }
            }
        }
        _ => touch.unclear = true,
    }
    Some(touch)
}

/// What `c - value` takes out of a set or map, one by one; none if that cannot be told.
fn keys(assignment: &Assignment, bound: &Bound<'_>) -> Option<Vec<Piece>> {
    match assignment.value.kind {
        ValueKind::Marker(marker) => match bound.value(marker) {
            Value::Bytes(bytes) => {
                let found = elements(bytes, 1)?;
                Some(found.into_iter().map(Piece::of_element).collect())
            }
            Value::Null | Value::Unset => Some(Vec::new()),
        },
        ValueKind::Braces => {
            let found = bound.list(assignment.value.span).into_iter();
            found.map(|span| bound.term(span)).collect()
        }
        _ => None,
    }
}
