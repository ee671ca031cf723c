//! Which partition a write changes, where that is certain.
//!
//! It is where every column of the partition key has a bound value. A literal is not looked into:
//! it would have to become the bytes that a client binds for the same value.

use std::hash::{DefaultHasher, Hash, Hasher};

use scylla::routing::partitioner::{
    Murmur3Partitioner, Murmur3PartitionerHasher, Partitioner, PartitionerHasher,
};

use super::plan::{Plan, PlanCache};
use super::readback::Bound;
use super::write::{Body, Write};
use crate::cql::Value;
use crate::cql::request::params::QueryParams;
use crate::cql::values::Values;
use crate::statement::{Mutation, Relation, Restriction, ValueKind, Verb};
use crate::tables::{Known, Role, Table, Tables};

/// A number for the partition of the write's table that it changes: the same for all writes to it,
/// and now and then for those to another. None if the write may change several, or other tables,
/// or does not tell.
#[must_use]
pub fn of(write: &Write, plans: &mut PlanCache) -> Option<u64> {
    number::<Hashed>(write, plans, |known| &known.source)
}

/// The token of the partition of the target's table that the write changes, as Cassandra's
/// Murmur3Partitioner makes it of the serialized key. None as for [`of`].
#[must_use]
pub fn token(write: &Write, plans: &mut PlanCache) -> Option<i64> {
    number::<Tokened>(write, plans, |known| &known.target)
}

/// Makes a number of the columns of a partition key, in order.
trait Numbering {
    type Number: Copy + PartialEq;

    /// `is_only`: the key has no other column.
    fn start(is_only: bool) -> Self;
    /// False if the bytes cannot be part of a key.
    fn add(&mut self, bytes: &[u8]) -> bool;
    fn number(self) -> Self::Number;
}

struct Hashed(DefaultHasher);

impl Numbering for Hashed {
    type Number = u64;

    fn start(_is_only: bool) -> Self {
        Self(DefaultHasher::new())
    }

    fn add(&mut self, bytes: &[u8]) -> bool {
        bytes.hash(&mut self.0);
        true
    }

    fn number(self) -> u64 {
        self.0.finish()
    }
}

/// A key of one column is its bytes; one of several is `[short length][bytes][0]` of each
/// (`CompositeType` of Cassandra).
struct Tokened {
    hasher: Murmur3PartitionerHasher,
    is_only: bool,
}

impl Numbering for Tokened {
    type Number = i64;

    fn start(is_only: bool) -> Self {
        let hasher = Murmur3Partitioner.build_hasher();
        Self { hasher, is_only }
    }

    fn add(&mut self, bytes: &[u8]) -> bool {
        let Ok(length) = u16::try_from(bytes.len()) else {
            return false;
        };
        if self.is_only {
            self.hasher.write(bytes);
        } else {
            self.hasher.write(&length.to_be_bytes());
            self.hasher.write(bytes);
            self.hasher.write(&[0]);
        }
        true
    }

    fn number(self) -> i64 {
        self.hasher.finish().value()
    }
}

fn number<N: Numbering>(
    write: &Write,
    plans: &mut PlanCache,
    of: impl Fn(&Known) -> &Tables,
) -> Option<N::Number> {
    match write.original() {
        Body::Query { text, params } => {
            let values = QueryParams::parse(params).ok()?.values?;
            let plan = plans.plan(text, None);
            of_statement::<N>(&plan, values, write, of(plans.known()))
        }
        Body::Execute { prepared, params } => {
            let values = QueryParams::parse(params).ok()?.values?;
            of_statement::<N>(&prepared.plan, values, write, of(plans.known()))
        }
        Body::Batch {
            children, values, ..
        } => same(children.iter().map(|child| {
            let values = Values::parse(values.get(child.values.clone())?, false).ok()?;
            of_statement::<N>(child.statement.plan(), values, write, of(plans.known()))
        })),
    }
}

/// What all of them say.
fn same<T: Copy + PartialEq>(mut all: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = all.next()??;
    all.all(|one| one == Some(first)).then_some(first)
}

fn of_statement<N: Numbering>(
    plan: &Plan,
    values: Values<'_>,
    write: &Write,
    tables: &Tables,
) -> Option<N::Number> {
    let bound = Bound {
        text: &plan.text,
        statement: &plan.statement,
        values: Some(values),
    };
    if plan.statement.opaque {
        return None; // there may be more in it than is listed
    }
    let session = plan.session_keyspace.as_deref();
    let table = tables.get(&write.keyspace, &write.table)?;
    same(plan.statement.mutations.iter().map(|mutation| {
        let name = &mutation.table;
        let is_own = name.keyspace_or(session) == Some(&*write.keyspace);
        if !is_own || *name.name != *write.table {
            return None;
        }
        of_mutation::<N>(mutation, &bound, table)
    }))
}

fn of_mutation<N: Numbering>(
    mutation: &Mutation,
    bound: &Bound<'_>,
    table: &Table,
) -> Option<N::Number> {
    if !table.has_plain_key {
        return None;
    }
    let key = || {
        let columns = table.columns.iter();
        columns.take_while(|column| column.role == Role::Partition)
    };
    let mut numbering = N::start(key().nth(1).is_none());
    for column in key() {
        let Value::Bytes(bytes) = bound.value(marker_of(mutation, &column.name)?) else {
            return None; // the source does not take it
        };
        if !numbering.add(bytes) {
            return None;
        }
    }
    Some(numbering.number())
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
pub(super) mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::cql::{Consistency, Writer};
    use crate::relay::plan::Rules;
    use crate::relay::write::{Child, ChildStatement};
    use crate::tables::{Column, Shape, Tables};

    /// Plans of one who knows tables with the key `a`, `b`; at the target also `one` with `a`.
    pub(in crate::relay) fn plans() -> PlanCache {
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
        let mut target = source.clone();
        let mut one = table(true);
        one.columns.remove(1);
        target.add("ks", "one", one);
        let rules = Rules::default();
        let mut plans = PlanCache::new(rules, 1 << 20);
        plans.know(Arc::new(Known {
            source: Arc::new(source),
            target: Arc::new(target),
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

    /// A text with values bound to it.
    pub(in crate::relay) fn text_write(table: &str, text: &str, values: &[Value<'_>]) -> Write {
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
        write(table, Body::Query { text, params })
    }

    fn of_text_in(table: &str, text: &str, values: &[Value<'_>]) -> Option<u64> {
        of(&text_write(table, text, values), &mut plans())
    }

    pub(in crate::relay) fn of_key(key: &[u8]) -> Write {
        let text = "UPDATE ks.one SET l = l + ['x'] WHERE a = ? AND c = 1";
        text_write("one", text, &[Value::Bytes(key)])
    }

    fn of_text(text: &str, values: &[&[u8]]) -> Option<u64> {
        let values: Vec<_> = values.iter().map(|bytes| Value::Bytes(bytes)).collect();
        of_text_in("t", text, &values)
    }

    /// Those of the Python driver (`tests/unit/test_metadata.py`, `test_murmur3_tokens`), and what
    /// Cassandra 4.1.10 says: `SELECT token(a)` of a blob, `token(a, b)` of two.
    #[test]
    fn tokens_are_those_of_cassandra() {
        let counted: Vec<u8> = (0x7A..0xA0).collect();
        let repeated = [0x00, 0xFF, 0x10, 0xFA, 0x99].repeat(10);
        for (key, expected) in [
            (&b"123"[..], -7_468_325_962_851_647_638),
            (&repeated, 5_837_342_703_291_459_765),
            (&[0xFE; 8], -8_927_430_733_708_461_935),
            (&[0x10; 8], 1_446_172_840_243_228_796),
            (b"9223372036854775807", 7_162_290_910_810_015_547),
        ] {
            assert_eq!(token(&of_key(key), &mut plans()), Some(expected));
        }
        let text = "DELETE FROM ks.t WHERE b = ? AND a = ?";
        let of_two = |a, b| text_write("t", text, &[Value::Bytes(b), Value::Bytes(a)]);
        for (a, b, expected) in [
            (&counted[..], &b"x"[..], 3_435_767_058_024_446_526),
            (b"", b"", 9_027_482_631_457_916_009),
            (b"\x80", &[0xFF; 7], 8_922_315_613_267_104_469),
            (b"one", &counted[..20], 6_274_149_465_921_984_844),
        ] {
            assert_eq!(token(&of_two(a, b), &mut plans()), Some(expected));
        }
        let long = vec![0; 1 << 16];
        assert_eq!(
            token(&of_two(&long, b""), &mut plans()),
            None,
            "no key is so long"
        );
        let nowhere = text_write(
            "new",
            &text.replace("ks.t", "ks.new"),
            &[Value::Bytes(b"1"); 2],
        );
        assert_eq!(
            token(&nowhere, &mut plans()),
            None,
            "the target has no such table"
        );
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
