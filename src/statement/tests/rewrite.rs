//! Rewritten texts.

use crate::limits;
use crate::statement::rewrite::{
    date_drop, parametrize_functions, qualify, replace_functions, ttl_left, undate_drop, with_ttl,
};
use crate::statement::{GeneratedValue, classify, quote};

fn qualified(text: &str) -> String {
    qualify(text, &classify(text), "ks").into_owned()
}

#[test]
fn dropped_columns_get_a_date_where_they_have_none() {
    for (text, expected) in [
        (
            "ALTER TABLE t DROP a",
            Some("ALTER TABLE t DROP a USING TIMESTAMP 7"),
        ),
        (
            "alter columnfamily ks.t drop (\"A\", b) ; -- gone",
            Some("alter columnfamily ks.t drop (\"A\", b) USING TIMESTAMP 7 ; -- gone"),
        ),
        (
            "ALTER TABLE IF EXISTS t DROP IF EXISTS compact/**/",
            Some("ALTER TABLE IF EXISTS t DROP IF EXISTS compact USING TIMESTAMP 7/**/"),
        ),
        (
            "ALTER TABLE t DROP a, b",
            Some("ALTER TABLE t DROP a, b USING TIMESTAMP 7"),
        ),
        ("ALTER TABLE t DROP a USING TIMESTAMP 5", None),
        ("ALTER TABLE t DROP COMPACT STORAGE", None),
        ("ALTER TABLE t ADD drop int", None),
        ("ALTER TABLE t RENAME drop TO b", None),
        ("ALTER TABLE t ALTER a DROP MASKED", None),
        ("DROP TABLE t", None),
    ] {
        let dated = date_drop(text, &classify(text), 7);
        assert_eq!(dated.as_deref(), expected, "{text}");
        if let Some(dated) = dated {
            assert_eq!(undate_drop(&dated).as_deref(), Some(text));
        }
    }
}

#[test]
fn qualify_adds_the_keyspace_where_it_is_missing() {
    for (text, expected) in [
        (
            "INSERT INTO t (a) VALUES (1)",
            "INSERT INTO ks.t (a) VALUES (1)",
        ),
        (
            "insert into x . t (a) values (1)",
            "insert into x . t (a) values (1)",
        ),
        (
            "UPDATE/**/\"T\"SET a=1 WHERE k=1",
            "UPDATE/**/ks.\"T\"SET a=1 WHERE k=1",
        ),
        ("DELETE a FROM t WHERE k=1", "DELETE a FROM ks.t WHERE k=1"),
        ("TRUNCATE t;", "TRUNCATE ks.t;"),
        ("TRUNCATE TABLE t", "TRUNCATE TABLE ks.t"),
        ("SELECT * FROM t", "SELECT * FROM ks.t"),
        (
            "BEGIN BATCH INSERT INTO t (a) VALUES (1) DELETE FROM x.u WHERE k=1; \
             UPDATE v SET a=1 WHERE k=1; APPLY BATCH",
            "BEGIN BATCH INSERT INTO ks.t (a) VALUES (1) DELETE FROM x.u WHERE k=1; \
             UPDATE ks.v SET a=1 WHERE k=1; APPLY BATCH",
        ),
        (
            "CREATE TABLE IF NOT EXISTS t (a int)",
            "CREATE TABLE IF NOT EXISTS ks.t (a int)",
        ),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX i ON ks.t (a)"),
        ("CREATE INDEX ON t (a)", "CREATE INDEX ON ks.t (a)"),
        // not in the session's keyspace, but in that of the index or view, which is written
        ("CREATE INDEX own.i ON t (a)", "CREATE INDEX own.i ON t (a)"),
        (
            "CREATE MATERIALIZED VIEW own.v AS SELECT a FROM t WHERE a IS NOT NULL PRIMARY KEY (a)",
            "CREATE MATERIALIZED VIEW own.v AS SELECT a FROM t WHERE a IS NOT NULL PRIMARY KEY (a)",
        ),
        ("DROP INDEX IF EXISTS i", "DROP INDEX IF EXISTS ks.i"),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT a, b FROM t WHERE a IS NOT NULL PRIMARY KEY (a)",
            "CREATE MATERIALIZED VIEW ks.v AS SELECT a, b FROM ks.t WHERE a IS NOT NULL \
             PRIMARY KEY (a)",
        ),
        ("DROP TRIGGER tr ON t", "DROP TRIGGER tr ON ks.t"),
        ("DROP FUNCTION f(int)", "DROP FUNCTION ks.f(int)"),
        (
            "CREATE KEYSPACE k WITH replication = {}",
            "CREATE KEYSPACE k WITH replication = {}",
        ),
        ("USE k", "USE k"),
        ("GRANT SELECT ON t TO r", "GRANT SELECT ON ks.t TO r"),
        (
            "GRANT ALL ON KEYSPACE k TO r",
            "GRANT ALL ON KEYSPACE k TO r",
        ),
        ("GRANT r TO s", "GRANT r TO s"),
        (
            "INSERT INTO t (a) VALUES (1) JUNK",
            "INSERT INTO ks.t (a) VALUES (1) JUNK",
        ),
        (
            "BEGIN BATCH DELETE FROM t JUNK",
            "BEGIN BATCH DELETE FROM t JUNK",
        ),
    ] {
        assert_eq!(qualified(text), expected);
        assert_eq!(qualified(expected), expected, "once is enough");
    }
}

#[test]
fn keyspaces_are_quoted_when_needed() {
    let text = "TRUNCATE t";
    assert_eq!(qualify(text, &classify(text), "Ks"), "TRUNCATE \"Ks\".t");
    for (name, written) in [
        ("ks_1", "ks_1"),
        ("Ks", "\"Ks\""),
        ("a\"b", "\"a\"\"b\""),
        ("1a", "\"1a\""),
        ("table", "\"table\""),
        ("", "\"\""),
        ("é", "\"é\""),
    ] {
        assert_eq!(quote(name), written);
    }
}

const UUID: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\x11\xef\x80\x00\xff\x0e\xdc\xba\x98\x76";

#[test]
fn functions_become_literals() {
    let text = "UPDATE t SET a = system.now(), b = toDate(current_timestamp( )), c = uuid() \
        WHERE k = 'now()'";
    let values = [
        GeneratedValue::TimeUuid(UUID),
        GeneratedValue::Timestamp(-5),
        GeneratedValue::Uuid(UUID),
    ];
    let expected = "UPDATE t SET a = (timeuuid)01234567-89ab-11ef-8000-ff0edcba9876, \
        b = toDate((timestamp)-5), c = (uuid)01234567-89ab-11ef-8000-ff0edcba9876 \
        WHERE k = 'now()'";
    assert_eq!(replace_functions(text, &classify(text), &values), expected);
}

#[test]
fn what_replaces_a_call_does_not_melt_into_the_next_word() {
    let text = "UPDATE t SET a=now()WHERE k=:k";
    let statement = classify(text);
    let made = parametrize_functions(text, &statement);
    assert_eq!(
        made.text,
        "UPDATE t SET a=(timeuuid):generated_0 WHERE k=:k"
    );
    let literal = replace_functions(text, &statement, &[GeneratedValue::Timestamp(12)]);
    assert_eq!(literal, "UPDATE t SET a=(timestamp)12 WHERE k=:k");
}

#[test]
fn days_and_times_are_written_out() {
    for (days, text) in [
        (0, "(date)'1970-01-01'"),
        (-1, "(date)'1969-12-31'"),
        (11_016, "(date)'2000-02-29'"),
        (11_017, "(date)'2000-03-01'"),
        (20_780, "(date)'2026-11-23'"),
        (47_540, "(date)'2100-02-28'"),
        (47_541, "(date)'2100-03-01'"),
    ] {
        assert_eq!(GeneratedValue::Date(days).to_string(), text);
    }
    let time = GeneratedValue::Time(86_399_000_000_001);
    assert_eq!(time.to_string(), "(time)'23:59:59.000000001'");
}

#[test]
fn generated_values_as_bytes() {
    assert_eq!(&*GeneratedValue::Uuid(UUID).bytes(), &UUID);
    assert_eq!(
        &*GeneratedValue::Timestamp(1).bytes(),
        &[0, 0, 0, 0, 0, 0, 0, 1]
    );
    assert_eq!(&*GeneratedValue::Date(0).bytes(), &[0x80, 0, 0, 0]);
    assert_eq!(
        &*GeneratedValue::Date(-1).bytes(),
        &[0x7f, 0xff, 0xff, 0xff]
    );
}

#[test]
fn functions_become_markers_among_the_others() {
    let text = "INSERT INTO t (a, b, c, d) VALUES (now(), ?, uuid(), ?)";
    let made = parametrize_functions(text, &classify(text));
    assert_eq!(
        made.text,
        "INSERT INTO t (a, b, c, d) VALUES ((timeuuid)?, ?, (uuid)?, ?)"
    );
    let ordinals: Vec<_> = made.added.iter().map(|added| added.ordinal).collect();
    assert_eq!(ordinals, [0, 2]);
    // what the new text says of itself agrees
    let again = classify(&made.text);
    assert_eq!(again.markers.len(), 4);
    assert!(again.functions.is_empty());
    let text = "INSERT INTO t (a, b, c) VALUES (:generated_0, now(), :x)";
    let made = parametrize_functions(text, &classify(text));
    assert_eq!(
        made.text,
        "INSERT INTO t (a, b, c) VALUES (:generated_0, (timeuuid):generated_0_, :x)"
    );
    assert_eq!(made.added[0].ordinal, 1);
    assert_eq!(made.added[0].name.as_deref(), Some("generated_0_"));
}

#[test]
fn ttl_is_what_is_left() {
    assert_eq!(ttl_left(100, 30), Some(70));
    assert_eq!(ttl_left(100, 100), Some(1));
    assert_eq!(ttl_left(100, i64::MAX), Some(1));
    assert_eq!(ttl_left(100, -5), Some(105));
    assert_eq!(ttl_left(100, i64::MIN), Some(limits::TTL_MAX_S));
    assert_eq!(ttl_left(0, 30), None);
    assert_eq!(ttl_left(-1, 30), None);
    for (text, expected) in [
        (
            "INSERT INTO t (a) VALUES (1) USING TTL 100",
            "INSERT INTO t (a) VALUES (1) USING TTL 40",
        ),
        (
            "INSERT INTO t (a) VALUES (1);",
            "INSERT INTO t (a) VALUES (1) USING TTL 7 ;",
        ),
        (
            "INSERT INTO t JSON '{}' DEFAULT UNSET USING TIMESTAMP ? -- x",
            "INSERT INTO t JSON '{}' DEFAULT UNSET USING TIMESTAMP ? AND TTL 7  -- x",
        ),
        (
            "UPDATE \"t\"SET a=1 WHERE k=1",
            "UPDATE \"t\" USING TTL 7 SET a=1 WHERE k=1",
        ),
        ("DELETE FROM t WHERE k=1", "DELETE FROM t WHERE k=1"),
        (
            "UPDATE t USING TTL 0 SET a=1 WHERE k=1",
            "UPDATE t USING TTL 0 SET a=1 WHERE k=1",
        ),
        (
            "BEGIN BATCH INSERT INTO t (a) VALUES (1) UPDATE t USING TTL 61 SET a=1 WHERE k=1 \
             DELETE FROM t WHERE k=1 APPLY BATCH",
            "BEGIN BATCH INSERT INTO t (a) VALUES (1) USING TTL 7  UPDATE t USING TTL 1 SET a=1 \
             WHERE k=1 DELETE FROM t WHERE k=1 APPLY BATCH",
        ),
    ] {
        let made = with_ttl(text, &classify(text), 60, |_| Some(7));
        assert_eq!(made.text, expected);
        assert!(!classify(&made.text).opaque);
    }
    let text = "UPDATE t USING TTL ? AND TIMESTAMP ? SET a=? WHERE k=?";
    let made = with_ttl(text, &classify(text), 60, |_| Some(7));
    assert_eq!((&*made.text, &*made.bound), (text, &[0u16][..]));
    let none = with_ttl(
        "UPDATE t SET a=1 WHERE k=1",
        &classify("UPDATE t SET a=1 WHERE k=1"),
        60,
        |_| None,
    );
    assert_eq!(none.text, "UPDATE t SET a=1 WHERE k=1");
}
