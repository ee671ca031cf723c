//! When what is written expires: defaults of tables, writes that wait, clients with a second of
//! their own.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::session::Common;
use super::spilled;
use super::tests::{Bench, NOW_US, envelope, known, modern, params_of, query};
use super::write::{Body, Write};
use crate::cql::request::params::QueryParams;
use crate::cql::request::{self, BatchEntry};
use crate::cql::values::Values;
use crate::cql::{ColumnType, Consistency, Opcode, Version};
use crate::spill::record;

#[test]
fn the_sources_default_ttl_counts_at_the_target() {
    let mut bench = Bench::new();
    let plans = &mut bench.common.plans;
    plans.know(known(100, 100));
    let insert = "INSERT INTO ks.t (k) VALUES (1)";
    assert_eq!(&*plans.plan(insert, None).target_text, insert);
    plans.know(known(100, 0));
    let timed = "INSERT INTO ks.t (k) VALUES (1) USING TTL 100 ";
    assert_eq!(&*plans.plan(insert, None).target_text, timed);
    let unqualified = plans.plan("INSERT INTO t (k) VALUES (1)", Some(&"ks".into()));
    assert_eq!(&*unqualified.target_text, timed);
    plans.know(known(0, 100));
    let forever = "INSERT INTO ks.t (k) VALUES (1) USING TTL 0 ";
    assert_eq!(&*plans.plan(insert, None).target_text, forever);

    plans.know(known(100, 100));
    bench.request(&query(1, insert, None));
    bench.applied(1);
    let write = bench.mirrored();
    let plans = &mut bench.common.plans;
    let late_us = write.arrived_us + 40_000_000;
    let aged = spilled::aged(&write, plans, late_us).expect("it has waited");
    assert_eq!(
        text_of(&aged),
        "INSERT INTO ks.t (k) VALUES (1) USING TTL 60 "
    );
}

#[test]
fn prepared_statements_follow_the_tables() {
    let mut bench = Bench::new();
    let text = "INSERT INTO ks.t (k) VALUES (?)";
    bench.prepare(1, text, &[("k", ColumnType::Int)]);
    let common = &mut bench.common;
    let slot = |common: &Common| common.registry.get(b"0123456789abcdef").unwrap().slot;
    let before = slot(common);
    for (ttls, changes) in [((5, 5), false), ((5, 6), true), ((5, 6), false)] {
        let (known, at) = (known(ttls.0, ttls.1), slot(common));
        common.registry.plan_again(&common.plans, &known);
        common.plans.know(known);
        assert_eq!(slot(common) != at, changes, "{ttls:?}");
    }
    assert_ne!(slot(common), before);
}

#[test]
fn a_table_that_became_known_while_its_write_waited_ages_it() {
    let mut bench = Bench::new();
    bench.prepare(
        1,
        "INSERT INTO ks.t (k) VALUES (?)",
        &[("k", ColumnType::Int)],
    );
    bench.request(&envelope(2, Opcode::Execute, |w| {
        w.short_bytes(b"0123456789abcdef");
        w.raw(&[0, 1, 0x01, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1]);
    }));
    bench.applied(2);
    let write = bench.mirrored();
    let plans = &mut bench.common.plans;
    let late_us = write.arrived_us + 40_000_000;
    assert!(spilled::aged(&write, plans, late_us).is_none());
    plans.know(known(100, 100));
    let aged = spilled::aged(&write, plans, late_us).expect("it has waited");
    assert_eq!(
        text_of(&aged),
        "INSERT INTO ks.t (k) VALUES (?) USING TTL 60 "
    );
}

#[test]
fn a_write_survives_its_record_and_its_ttl_shrinks() {
    let mut bench = Bench::new();
    bench.request(&query(
        1,
        "INSERT INTO ks.t (k) VALUES (1) USING TTL 100",
        None,
    ));
    bench.applied(1);
    let write = bench.mirrored();
    let mut bytes = Vec::new();
    spilled::record(&write, None, |view| record::encode(view, &mut bytes)).unwrap();
    let view = record::decode(&bytes).unwrap();
    for (elapsed_s, ttl) in [(0, 100), (40, 60), (1_000, 1)] {
        let back = spilled::write(&view, &mut bench.common.plans, elapsed_s);
        let Body::Query { text, params } = &back.body else {
            panic!("a text")
        };
        assert_eq!(
            **text,
            *format!("INSERT INTO ks.t (k) VALUES (1) USING TTL {ttl}")
        );
        assert_eq!(
            (back.stamp_us, params_of(&write)),
            (write.stamp_us, &params[..])
        );
        // what it has aged while it waited is not taken off twice
        let mut again = Vec::new();
        spilled::record(&back, None, |view| record::encode(view, &mut again)).unwrap();
        assert_eq!(again, bytes, "after {elapsed_s} s");
    }
}

fn text_of(write: &Write) -> &str {
    match &write.body {
        Body::Query { text, .. } => text,
        other => panic!("no text: {other:?}"),
    }
}

/// At the source cells expire by the client's second; the write's TTL counts from its arrival, so
/// that it is right for every target and after any wait.
#[test]
fn a_client_may_have_a_second_of_its_own() {
    let mut bench = Bench::new();
    let now_s = i32::try_from(NOW_US / 1_000_000).unwrap();
    for (text, second, expected) in [
        ("USING TTL 100", now_s - 40, "USING TTL 60"),
        ("USING TTL 100", now_s + 40, "USING TTL 140"),
        ("USING TTL 100", now_s, "USING TTL 100"),
        ("USING TTL 100", 0, "USING TTL 1"),
        ("USING TTL 0", now_s - 40, "USING TTL 0"),
        ("", now_s - 40, ""),
    ] {
        let insert = "INSERT INTO ks.t (k) VALUES (1)";
        let [text, expected] = [text, expected].map(|using| format!("{insert} {using}"));
        let params = QueryParams {
            now_in_seconds: Some(second),
            ..QueryParams::new(Consistency::One)
        };
        bench.request(&modern(1, Opcode::Query, |w| {
            request::query::encode_as(w, Version::V5, &text, &params);
        }));
        bench.applied(1);
        let write = bench.mirrored();
        assert_eq!(
            (text_of(&write), write.stamp_us.is_some()),
            (&*expected, true)
        );

        let entry = BatchEntry::Text {
            text: &text,
            values: Values::EMPTY,
        };
        let tail = request::batch::BatchTail {
            consistency: Consistency::One,
            serial_consistency: None,
            timestamp: Some(5),
            keyspace: None,
            now_in_seconds: Some(second),
        };
        bench.request(&modern(2, Opcode::Batch, |w| {
            let kind = request::BatchType::Unlogged;
            request::batch::encode_as(w, Version::V5, kind, [entry], &tail);
        }));
        bench.applied(2);
        let write = bench.mirrored();
        let Body::Batch { children, .. } = &write.body else {
            panic!("no batch: {write:?}")
        };
        let text = &*children[0].statement.plan().target_text;
        assert_eq!((text, write.stamp_us), (&*expected, Some(5)));
    }
}

#[test]
fn a_bound_ttl_and_a_tables_default_follow_the_clients_second() {
    let mut bench = Bench::new();
    let second = i32::try_from(NOW_US / 1_000_000).unwrap() - 40;
    let execute = |bench: &mut Bench, text: &str, values: &[u8]| {
        bench.prepare(
            1,
            text,
            &[("k", ColumnType::Int), ("[ttl]", ColumnType::Int)],
        );
        bench.request(&modern(2, Opcode::Execute, |w| {
            w.short_bytes(b"0123456789abcdef");
            w.short_bytes(b"");
            w.raw(&[0, 1, 0, 0, 1, 0x01]); // ONE; values, a second
            w.raw(values);
            w.int(second);
        }));
        bench.applied(2);
        bench.mirrored()
    };
    let (k, ttl) = ([0, 0, 0, 4, 0, 0, 0, 1], [0, 0, 0, 4, 0, 0, 0, 100]);
    let text = "INSERT INTO ks.t (k) VALUES (?) USING TTL ?";
    let write = execute(&mut bench, text, &[&[0, 2][..], &k, &ttl].concat());
    assert_eq!(text_of(&write), text);
    let params = QueryParams::parse(params_of(&write)).unwrap();
    let bound: Vec<_> = params
        .values
        .unwrap()
        .iter()
        .map(|bound| bound.value)
        .collect();
    assert_eq!(bound[1], crate::cql::Value::Bytes(&[0, 0, 0, 60]));

    bench.common.plans.know(known(100, 100));
    let write = execute(
        &mut bench,
        "INSERT INTO ks.t (k) VALUES (?)",
        &[&[0, 1][..], &k].concat(),
    );
    assert_eq!(
        text_of(&write),
        "INSERT INTO ks.t (k) VALUES (?) USING TTL 60 "
    );
}
