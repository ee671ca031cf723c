//! Which partition a write changes, where that is certain.
//!
//! It is where every column of the partition key has a bound value. A literal is not looked into:
//! it would have to become the bytes that a client binds for the same value.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::plan::{Plan, PlanCache};
use super::readback::Bound;
use super::write::{Body, Write};
use crate::cql::Value;
use crate::cql::request::params::QueryParams;
use crate::cql::values::Values;
use crate::statement::{Mutation, Relation, Restriction, ValueKind, Verb};
use crate::tables::{Known, Role, Table};

/// A number for the partition of the write's table that it changes: the same for all writes to it,
/// and now and then for those to another. None if the write may change several, or other tables,
/// or does not tell.
#[must_use]
pub fn of(write: &Write, plans: &mut PlanCache) -> Option<u64> {
    match write.original() {
        Body::Query { text, params } => {
            let values = QueryParams::parse(params).ok()?.values?;
            let plan = plans.plan(text, None);
            of_statement(&plan, values, write, plans.known())
        }
        Body::Execute { prepared, params } => {
            let values = QueryParams::parse(params).ok()?.values?;
            of_statement(&prepared.plan, values, write, plans.known())
        }
        Body::Batch {
            children, values, ..
        } => same(children.iter().map(|child| {
            let values = Values::parse(values.get(child.values.clone())?, false).ok()?;
            of_statement(child.statement.plan(), values, write, plans.known())
        })),
    }
}

/// What all of them say.
fn same(mut all: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let first = all.next()??;
    all.all(|one| one == Some(first)).then_some(first)
}

fn of_statement(plan: &Plan, values: Values<'_>, write: &Write, known: &Known) -> Option<u64> {
    let bound = Bound {
        text: &plan.text,
        statement: &plan.statement,
        values: Some(values),
    };
    if plan.statement.opaque {
        return None; // there may be more in it than is listed
    }
    let session = plan.session_keyspace.as_deref();
    let table = known.source.get(&write.keyspace, &write.table)?;
    same(plan.statement.mutations.iter().map(|mutation| {
        let name = &mutation.table;
        let is_own = name.keyspace_or(session) == Some(&*write.keyspace);
        if !is_own || *name.name != *write.table {
            return None;
        }
        of_mutation(mutation, &bound, table)
    }))
}

fn of_mutation(mutation: &Mutation, bound: &Bound<'_>, table: &Table) -> Option<u64> {
    if !table.has_plain_key {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    let key = table.columns.iter();
    for column in key.take_while(|column| column.role == Role::Partition) {
        let Value::Bytes(bytes) = bound.value(marker_of(mutation, &column.name)?) else {
            return None; // the source does not take it
        };
        bytes.hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// The marker that a column of the key is equal to, if the statement says that and nothing else.
fn marker_of(mutation: &Mutation, column: &str) -> Option<u16> {
    let value = if mutation.verb == Verb::Insert {
        let assigned = mutation.assignments.iter();
        only(assigned.filter(|assigned| *assigned.column == *column))?.value
    } else {
        let about = mutation.restrictions.iter();
        let is_it = |of: &&Restriction| of.columns.iter().any(|name| **name == *column);
        let restriction = only(about.filter(is_it))?;
        if restriction.relation != Relation::Equal || restriction.columns.len() != 1 {
            return None;
        }
        restriction.value
    };
    match value.kind {
        ValueKind::Marker(marker) => Some(marker),
        _ => None,
    }
}

/// The one that there is.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let one = all.next()?;
    all.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::cql::{Consistency, Writer};
    use crate::relay::plan::Rules;
    use crate::relay::write::{Child, ChildStatement};
    use crate::tables::{Column, Shape, Tables};

    fn plans() -> PlanCache {
        let column = |name: &str, role| Column {
            name: name.into(),
            role,
            shape: Shape::Single,
        };
        let table = |has_plain_key| Table {
            columns: vec![
                column("a", Role::Partition),
                column("b", Role::Partition),
                column("c", Role::Clustering),
                column("l", Role::Regular),
            ],
            has_plain_key,
            ..Table::default()
        };
        let mut source = Tables::default();
        source.add("ks", "t", table(true));
        source.add("ks", "u", table(true));
        source.add("ks", "odd", table(false));
        let rules = Rules::default();
        let mut plans = PlanCache::new(rules, 1 << 20);
        plans.know(Arc::new(Known {
            source: Arc::new(source),
            target: Arc::default(),
        }));
        plans
    }

    fn block(values: &[Value<'_>]) -> Vec<u8> {
        let mut block = Vec::new();
        let unnamed = values.iter().map(|value| (None, *value));
        crate::cql::values::write(&mut block, unnamed).unwrap();
        block
    }

    fn write(table: &str, body: Body) -> Write {
        Write::new(0, "ks", table, body)
    }

    fn of_text_in(table: &str, text: &str, values: &[Value<'_>]) -> Option<u64> {
        let block = block(values);
        let parsed = QueryParams {
            values: Some(Values::parse(&block, false).unwrap()),
            ..QueryParams::new(Consistency::One)
        };
        let mut params = Vec::new();
        let mut writer = Writer::new(&mut params);
        parsed.encode(&mut writer);
        writer.finish().unwrap();
        let text = text.into();
        of(&write(table, Body::Query { text, params }), &mut plans())
    }

    fn of_text(text: &str, values: &[&[u8]]) -> Option<u64> {
        let values: Vec<_> = values.iter().map(|bytes| Value::Bytes(bytes)).collect();
        of_text_in("t", text, &values)
    }

    #[test]
    fn the_same_key_is_the_same_partition_however_it_is_bound() {
        let append = "UPDATE ks.t SET l = l + ? WHERE a = ? AND b = ? AND c = 1";
        let found = of_text(append, &[b"x", b"1", b"22"]);
        assert!(found.is_some());
        for (text, values) in [
            (append, &[&b"y"[..], b"1", b"22"][..]),
            (
                "UPDATE ks.t SET l = ['x'] + l WHERE c = ? AND b = ? AND a = ?",
                &[b"9", b"22", b"1"],
            ),
            ("DELETE FROM ks.t WHERE b = ? AND a = ?", &[b"22", b"1"]),
            (
                "DELETE l[0] FROM ks.t WHERE a = ? AND b = ? AND c IN (1, 2)",
                &[b"1", b"22"],
            ),
            (
                "DELETE FROM ks.t WHERE a = ? AND b = ? AND c > 3",
                &[b"1", b"22"],
            ),
            (
                "INSERT INTO ks.t (l, a, c, b) VALUES (['x'], ?, 1, ?)",
                &[b"1", b"22"],
            ),
            (
                "BEGIN BATCH UPDATE ks.t SET l = l + ['x'] WHERE a = ? AND b = ? AND c = 1; \
                 DELETE FROM ks.t WHERE a = ? AND b = ?; APPLY BATCH",
                &[b"1", b"22", b"1", b"22"],
            ),
        ] {
            assert_eq!(of_text(text, values), found, "{text}");
        }
        for other in [
            [&b"x"[..], b"1", b"2"],
            [b"x", b"12", b"2"],
            [b"x", b"22", b"1"],
        ] {
            let other = of_text(append, &other);
            assert!(other.is_some() && other != found);
        }
    }

    #[test]
    fn what_is_not_certain_may_be_any() {
        let bound: &[&[u8]] = &[b"1", b"2", b"3", b"4"];
        for text in [
            "UPDATE ks.t SET l = l + ? WHERE a = ? AND b = 2 AND c = 1",
            "UPDATE ks.t SET l = l + ? WHERE a = ? AND b = (int)?",
            "DELETE FROM ks.t WHERE a = ? AND b IN (?)",
            "DELETE FROM ks.t WHERE a = ? AND b IN ?",
            "DELETE FROM ks.t WHERE a = ? AND (b) = (?)",
            "DELETE FROM ks.t WHERE a = ? AND b = ? AND b = ?",
            "DELETE FROM ks.t WHERE a = ?",
            "INSERT INTO ks.t JSON ?",
            "INSERT INTO ks.t (a, b, l) VALUES (?, uuid(), ?)",
            "INSERT INTO ks.t (a, b, b) VALUES (?, ?, ?)",
            "BEGIN BATCH DELETE FROM ks.t WHERE a = ? AND b = ?; \
             DELETE FROM ks.t WHERE a = ? AND b = ?; APPLY BATCH",
            "BEGIN BATCH DELETE FROM ks.t WHERE a = ? AND b = ?; \
             INSERT INTO ks.u (a, b, c) VALUES (1, 2, 3); APPLY BATCH",
            "DELETE FROM ks.u WHERE a = ? AND b = ?",
            "DELETE FROM t WHERE a = ? AND b = ?",
            "DELETE FROM ks.t WHERE a = ? AND b = ? AND", // not understood
        ] {
            assert_eq!(of_text(text, bound), None, "{text}");
        }
        let text = "DELETE FROM ks.odd WHERE a = ? AND b = ?";
        let two = [Value::Bytes(b"1"), Value::Bytes(b"2")];
        assert_eq!(
            of_text_in("odd", text, &two),
            None,
            "a set may come in any order"
        );
        assert_eq!(of_text_in("new", &text.replace("odd", "new"), &two), None);
        let text = text.replace("odd", "t");
        assert!(of_text_in("t", &text, &two).is_some());
        for other in [Value::Null, Value::Unset] {
            assert_eq!(of_text_in("t", &text, &[two[0], other]), None);
        }
        assert_eq!(of_text_in("t", &text, &two[..1]), None);
    }

    #[test]
    fn a_batch_is_about_a_partition_if_all_its_statements_are() {
        let of_batch = |statements: &[(&str, [&[u8]; 2])]| {
            let mut plans = plans();
            let mut all = Vec::new();
            let children = statements.iter().map(|(text, key)| {
                let from = all.len();
                all.extend(block(&key.map(Value::Bytes)));
                Child {
                    statement: ChildStatement::Text(plans.plan(text, Some(&Rc::from("ks")))),
                    values: from..all.len(),
                }
            });
            let children = children.collect();
            let body = Body::Batch {
                kind: 0,
                children,
                values: all,
                tail: vec![0, 1, 0],
            };
            of(&write("t", body), &mut plans)
        };
        const DELETE: &str = "DELETE FROM t WHERE a = ? AND b = ?";
        const APPEND: &str = "UPDATE ks.t SET l = l + ['x'] WHERE a = ? AND b = ? AND c = 1";
        const OTHER: &str = "DELETE FROM u WHERE a = ? AND b = ?";
        let (one, two): ([&[u8]; 2], [&[u8]; 2]) = ([b"1", b"2"], [b"1", b"3"]);
        let found = of_batch(&[(DELETE, one)]);
        assert!(found.is_some());
        assert_eq!(of_batch(&[(DELETE, one), (APPEND, one)]), found);
        assert_eq!(of_batch(&[(DELETE, one), (APPEND, two)]), None);
        assert_eq!(of_batch(&[(DELETE, one), (OTHER, one)]), None);
        assert_eq!(of_batch(&[]), None);
    }
}
