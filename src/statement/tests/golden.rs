//! What Cassandra's own parser (3.11, 4.1 and 5.0) says of the table's statements.

use super::table::unescape;
use crate::statement::{
    BatchType, Condition, Kind, Lexer, Mutation, Object, Operation, Relation, Statement, TableName,
    Token, TokenKind, Using, UsingValue, Verb, classify,
};
use std::fmt::Write;

const VERDICTS: &str = include_str!("../../../tests/golden/statements.tsv");

/// The server's parser takes these, and the server refuses them after that.
const REFUSED_LATER: &[&str] = &[
    "INSERT INTO ks.t (a, b) VALUES (1)",
    "INSERT INTO ks.t (a) VALUES (1, 2)",
    "INSERT INTO ks.t (a) VALUES (1) USING TIMESTAMP 99999999999999999999",
];

#[test]
fn cassandra_understands_the_same() {
    let mut accepted = 0;
    let mut wrong = Vec::new();
    for line in VERDICTS.lines() {
        let mut parts = line.splitn(3, '\t');
        let (versions, verdict) = (parts.next().unwrap(), parts.next().unwrap());
        let text = unescape(parts.next().unwrap());
        if versions == "none" || REFUSED_LATER.contains(&&*text) {
            continue;
        }
        accepted += 1;
        let ours = summary(&text);
        if ours != verdict {
            wrong.push(format!(
                "{text}\n    ours      {ours}\n    Cassandra {verdict}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(accepted >= 350, "the golden file is read: {accepted} lines");
}

#[test]
fn the_golden_file_is_of_the_table() {
    let statements = super::table::rows()
        .into_iter()
        .map(|(statement, _)| statement);
    let golden = VERDICTS
        .lines()
        .map(|line| unescape(line.splitn(3, '\t').nth(2).unwrap()));
    assert!(
        statements.eq(golden),
        "make tests/golden/statements.tsv anew"
    );
}

/// The statement in the words of `CassandraVerdicts.java`.
pub(super) fn summary(text: &str) -> String {
    let statement = classify(text);
    if statement.opaque || statement.kind == Kind::Unknown {
        return "opaque".to_owned();
    }
    let mut out = head(&statement);
    for mutation in &statement.mutations {
        if matches!(statement.kind, Kind::Batch(_)) {
            out.push_str(" | ");
        }
        write_mutation(&mut out, mutation);
    }
    let name = |marker: &crate::statement::Marker| marker.name.as_deref().unwrap_or("?").to_owned();
    let markers: Vec<_> = statement.markers.iter().map(name).collect();
    if !markers.is_empty() {
        _ = write!(out, " markers={}", markers.join(","));
    }
    let calls = statement.functions.iter().map(|call| call.span.of(text));
    let mut functions: Vec<String> = calls.map(function_name).collect();
    functions.sort();
    for function in functions {
        _ = write!(out, " {function}()");
    }
    out.replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

/// The name in a call like `system . now ()`.
fn function_name(call: &str) -> String {
    let name = |token: &Token| matches!(token.kind, TokenKind::Word | TokenKind::QuotedName);
    let last = Lexer::new(call).filter(name).last().unwrap();
    last.span.of(call).trim_matches('"').to_lowercase()
}

/// What stands before the mutations.
fn head(statement: &Statement) -> String {
    let mut names: Vec<String> = statement.object.iter().map(dotted).collect();
    if let Some(ddl) = &statement.ddl {
        let object = match statement.kind {
            Kind::Ddl(_, object) => object,
            _ => Object::Other,
        };
        if matches!(object, Object::Index | Object::Trigger) {
            names.clear();
        }
        names.extend(ddl.on.iter().map(dotted));
    }
    names.sort();
    let mut out = match statement.kind {
        Kind::Insert { .. } | Kind::Update | Kind::Delete => return String::new(),
        Kind::Batch(batch) => {
            let name = match batch {
                BatchType::Logged => "logged",
                BatchType::Unlogged => "unlogged",
                BatchType::Counter => "counter",
            };
            format!("batch {name}{}", using(statement.batch_using))
        }
        Kind::Ddl(action, object) => format!("{action:?} {object:?}").to_lowercase(),
        kind => format!("{kind:?}").to_lowercase(),
    };
    if let Some(keyspace) = &statement.keyspace {
        _ = write!(out, " keyspace={keyspace}");
    }
    for name in names {
        _ = write!(out, " {name}");
    }
    out
}

fn dotted(name: &TableName) -> String {
    format!("{}.{}", name.keyspace.as_deref().unwrap_or("-"), name.name)
}

fn using(using: Using) -> String {
    let value = |name, value| match value {
        UsingValue::None => String::new(),
        UsingValue::Literal { value, .. } => format!(" {name}={value}"),
        UsingValue::Bound { marker } => format!(" {name}=?{marker}"),
    };
    value("timestamp", using.timestamp) + &value("ttl", using.ttl)
}

fn write_mutation(out: &mut String, mutation: &Mutation) {
    out.push_str(match mutation.verb {
        Verb::Insert if mutation.json.is_some() => "insert json",
        Verb::Insert => "insert",
        Verb::Update => "update",
        Verb::Delete => "delete",
    });
    _ = write!(out, " {}{}", dotted(&mutation.table), using(mutation.using));
    for assignment in &mutation.assignments {
        let sign = match assignment.operation {
            Operation::Set => "=",
            Operation::Add => "+=",
            Operation::Prepend => "=+",
            Operation::Subtract => "-=",
            Operation::SetElement { .. } => "[]=",
            Operation::SetField => ".=",
            Operation::Delete => "",
            Operation::DeleteElement { .. } => "[]",
            Operation::DeleteField => ".",
        };
        _ = write!(out, " {}{sign}", assignment.column);
    }
    if mutation.verb != Verb::Insert {
        out.push_str(" where");
    }
    for restriction in &mutation.restrictions {
        let columns = restriction.columns.join(",");
        out.push_str(&match restriction.relation {
            Relation::Equal => format!(" {columns}="),
            Relation::In => format!(" {columns} in"),
            Relation::Range => format!(" {columns}<>"),
            Relation::Other => " ~".to_owned(),
        });
    }
    out.push_str(match mutation.condition {
        None => "",
        Some(Condition::NotExists) => " if not exists",
        Some(Condition::Exists) => " if exists",
        Some(Condition::Columns) => " if columns",
    });
}
