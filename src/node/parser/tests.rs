#![allow(clippy::unwrap_used)]

use super::ast::{Assign, ModifyKind, Selector, Statement};
use super::parse;

#[test]
fn a_sign_that_sticks_to_a_number_is_an_addition() {
    for text in [
        "UPDATE t SET n = n -5 WHERE k = 1",
        "UPDATE t SET n = n - 5 WHERE k = 1",
    ] {
        let Statement::Modify(modify) = parse(text).unwrap().statement else {
            unreachable!("an UPDATE")
        };
        let ModifyKind::Update { assigns } = modify.kind else {
            unreachable!("an UPDATE")
        };
        assert!(
            matches!(assigns[0].1, Assign::Add(_) | Assign::Subtract(_)),
            "{text}"
        );
    }
}

#[test]
fn words_that_are_no_keywords_everywhere_can_be_columns() {
    for text in [
        "SELECT json, distinct, ttl, writetime, count, key, type FROM t",
        "SELECT json FROM t",
        "SELECT distinct FROM t",
        "INSERT INTO t (json, ttl, values, timestamp) VALUES (1, 2, 3, 4)",
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
    assert!(parse("SELECT select FROM t").is_err());
    assert!(parse("SELECT \"select\" FROM t").is_ok());
}

#[test]
fn markers_are_counted_in_the_order_of_the_text() {
    let text =
        "UPDATE t USING TTL ? AND TIMESTAMP :ts SET v = ?, m[?] = ? WHERE k = ? IF v = :\"Old\"";
    let parsed = parse(text).unwrap();
    let names: Vec<Option<&str>> = parsed.binds.iter().map(Option::as_deref).collect();
    assert_eq!(
        names,
        [None, Some("ts"), None, None, None, None, Some("Old")]
    );
}

#[test]
fn a_failed_try_at_a_cast_leaves_no_marker_behind() {
    let parsed = parse("INSERT INTO t (a) VALUES ((f(?), ?))").unwrap();
    assert_eq!(parsed.binds.len(), 2);
}

#[test]
fn selectors_nest() {
    let text = "SELECT cast(writetime(v) AS text) AS w, m['a'], u.f, token(a, b), count(*) FROM t";
    let Statement::Select(select) = parse(text).unwrap().statement else {
        unreachable!("a SELECT")
    };
    assert_eq!(select.items.len(), 5);
    assert_eq!(select.items[0].1.as_deref(), Some("w"));
    assert_eq!(select.items[4].0, Selector::CountAll);
}
