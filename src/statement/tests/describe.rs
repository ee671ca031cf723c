//! A statement as one line of text, so that a table can hold what is expected.

use crate::statement::{
    Condition, Lexer, Mutation, Operation, Relation, Span, Using, UsingValue, Value, ValueKind,
    classify,
};
use std::fmt::Write;

/// Everything in one line; values are shown as they stand in the text.
pub(super) fn describe(text: &str) -> String {
    describe_with(text, &|span| span.of(text).to_owned())
}

/// The same for texts that differ in comments, white space and case alone.
pub(super) fn shape(text: &str) -> String {
    let tokens = |span: Span| {
        let part = span.of(text);
        Lexer::new(part)
            .map(|token| token.span.of(part))
            .collect::<Vec<_>>()
            .join(" ")
    };
    describe_with(text, &tokens).to_lowercase()
}

type Show<'a> = &'a dyn Fn(Span) -> String;

fn describe_with(text: &str, show: Show<'_>) -> String {
    let statement = classify(text);
    let mut out = format!("{:?}", statement.kind);
    if statement.opaque {
        out.push_str(" opaque");
    }
    if statement.lwt {
        out.push_str(" lwt");
    }
    if let Some(keyspace) = &statement.keyspace {
        _ = write!(out, " keyspace={keyspace}");
    }
    if let Some(object) = &statement.object {
        _ = write!(
            out,
            " {}.{}",
            object.keyspace.as_deref().unwrap_or("-"),
            object.name
        );
    }
    if let Some(ddl) = &statement.ddl {
        if ddl.guarded {
            out.push_str(" guarded");
        }
        if let Some(on) = &ddl.on {
            _ = write!(
                out,
                " on {}.{}",
                on.keyspace.as_deref().unwrap_or("-"),
                on.name
            );
        }
        if let Some(replication) = ddl.replication {
            _ = write!(out, " replication={}", show(replication));
        }
    }
    out.push_str(&using(statement.batch_using));
    for mutation in &statement.mutations {
        out.push_str(" | ");
        out.push_str(&describe_mutation(show, mutation));
    }
    let markers = statement
        .markers
        .iter()
        .map(|marker| marker.name.as_deref().unwrap_or("?"));
    let markers: Vec<_> = markers.collect();
    if !markers.is_empty() {
        _ = write!(out, " markers={}", markers.join(","));
    }
    for call in &statement.functions {
        _ = write!(
            out,
            " {:?}@{}:{}",
            call.returns, call.mutation, call.markers_before
        );
        _ = write!(out, "<{}>", show(call.span));
        if call.in_collection {
            out.push_str(" in collection");
        }
    }
    out
}

fn using(using: Using) -> String {
    let value = |value| match value {
        UsingValue::None => String::new(),
        UsingValue::Literal { value, .. } => value.to_string(),
        UsingValue::Bound { marker } => format!("?{marker}"),
    };
    let mut out = String::new();
    if using.timestamp.is_given() {
        _ = write!(out, " timestamp={}", value(using.timestamp));
    }
    if using.ttl.is_given() {
        _ = write!(out, " ttl={}", value(using.ttl));
    }
    out
}

fn describe_mutation(show: Show<'_>, mutation: &Mutation) -> String {
    let table = &mutation.table;
    let keyspace = table.keyspace.as_deref().unwrap_or("-");
    let verb = format!("{:?}", mutation.verb).to_lowercase();
    let mut out = format!("{verb} {keyspace}.{}", table.name);
    out.push_str(&using(mutation.using));
    if let Some(json) = &mutation.json {
        _ = write!(out, " json={}", value(show, json));
    }
    for assignment in &mutation.assignments {
        let column = &assignment.column;
        let with = value(show, &assignment.value);
        _ = match assignment.operation {
            Operation::Set => write!(out, " {column}={with}"),
            Operation::Add => write!(out, " {column}+={with}"),
            Operation::Prepend => write!(out, " {column}=+{with}"),
            Operation::Subtract => write!(out, " {column}-={with}"),
            Operation::SetElement { key } => write!(out, " {column}[{}]={with}", value(show, &key)),
            Operation::SetField => write!(out, " {column}.={with}"),
            Operation::Delete => write!(out, " {column}"),
            Operation::DeleteElement { key } => write!(out, " {column}[{}]", value(show, &key)),
            Operation::DeleteField => write!(out, " {column}."),
        };
    }
    if !mutation.restrictions.is_empty() {
        out.push_str(" where");
    }
    for restriction in &mutation.restrictions {
        let operator = match restriction.relation {
            Relation::Equal => "=",
            Relation::In => " in ",
            Relation::Range => "<>",
            Relation::Other => "~",
        };
        let value = value(show, &restriction.value);
        _ = write!(out, " {}{operator}{value}", restriction.columns.join(","));
    }
    _ = match mutation.condition {
        None => Ok(()),
        Some(Condition::NotExists) => write!(out, " if not exists"),
        Some(Condition::Exists) => write!(out, " if exists"),
        Some(Condition::Columns) => write!(out, " if columns"),
    };
    out
}

fn value(show: Show<'_>, value: &Value) -> String {
    match value.kind {
        ValueKind::Marker(ordinal) => format!("?{ordinal}"),
        kind => format!("{kind:?}<{}>", show(value.span)),
    }
}

#[test]
fn the_story_of_one_statement() {
    let text = "UPDATE Ks.\"T\" USING TTL :t AND TIMESTAMP 5 SET a = a + ?, b['x'] = now(), \
        c = [1] + c WHERE k = 'IF' AND (d, e) IN ? IF f > 1;";
    let expected = "Update lwt | update ks.T timestamp=5 ttl=?0 a+=?1 b[Literal<'x'>]=\
        Function<now()> c=+List<[1]> where k=Literal<'IF'> d,e in ?2 if columns markers=t,?,? \
        TimeUuid@0:2<now()>";
    assert_eq!(describe(text), expected);
}
