#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::cql::primitive::Writer;
use crate::cql::{Consistency, values};
use crate::spill::{ChildrenBuf, Kind};

fn int(n: i32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn params(values: &[(Option<&str>, Value<'_>)], timestamp: Option<i64>) -> Vec<u8> {
    let mut block = Vec::new();
    values::write(&mut block, values.iter().copied()).unwrap();
    let named = values.iter().any(|(name, _)| name.is_some());
    let parsed = Values::parse(&block, named).unwrap();
    let values = (!values.is_empty()).then_some(parsed);
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    QueryParams {
        values,
        timestamp,
        ..QueryParams::new(Consistency::LocalQuorum)
    }
    .encode(&mut writer);
    writer.finish().unwrap();
    bytes
}

fn record<'a>(text: &'a str, params: &'a [u8]) -> Record<'a> {
    Record {
        sequence: 0,
        arrival_us: 0,
        stamp_us: None,
        kind: Kind::Write,
        version: 4,
        session_keyspace: "",
        keyspace: "ks",
        table: "t",
        refusal: None,
        body: Body::Query { text, params },
    }
}

fn tables() -> Tables {
    let mut tables = Tables::default();
    for (name, default_ttl_s, gc_grace_s) in [("t", 0, 864_000), ("expiring", 1000, 100)] {
        let times = crate::tables::Table {
            default_ttl_s,
            gc_grace_s,
            ..crate::tables::Table::default()
        };
        tables.add("ks", name, times);
    }
    tables
}

fn made(text: &str, values: &[(Option<&str>, Value<'_>)], elapsed: i64) -> Part {
    let params = params(values, Some(7));
    let (request, _) = request(&record(text, &params), &tables(), elapsed).unwrap();
    assert_eq!(request.timestamp_us, Some(7));
    assert_eq!(request.consistency, 6);
    request.parts.into_iter().next().unwrap()
}

fn bytes(cells: &[Cell]) -> Vec<Option<Vec<u8>>> {
    let one = |cell: &Cell| match cell {
        Cell::Bytes(bytes) => Some(bytes.clone()),
        Cell::Null | Cell::Unset => None,
    };
    cells.iter().map(one).collect()
}

#[test]
fn values_go_as_they_came() {
    let one = int(1);
    let values = [
        (None, Value::Bytes(&one)),
        (None, Value::Null),
        (None, Value::Unset),
    ];
    let part = made("INSERT INTO ks.t (k, v, n) VALUES (?, ?, ?)", &values, 50);
    assert_eq!(part.text, "INSERT INTO ks.t (k, v, n) VALUES (?, ?, ?)");
    assert_eq!(part.cells, [Cell::Bytes(one), Cell::Null, Cell::Unset]);
    assert_eq!(part.names, None);
}

#[test]
fn a_literal_ttl_beside_values_becomes_a_value() {
    let (one, two) = (int(1), int(2));
    let values = [(None, Value::Bytes(&one)), (None, Value::Bytes(&two))];
    let part = made(
        "INSERT INTO ks.t (k, v) VALUES (?, ?) USING TTL 1000",
        &values,
        400,
    );
    assert_eq!(
        part.text,
        "INSERT INTO ks.t (k, v) VALUES (?, ?) USING TTL ?"
    );
    assert_eq!(
        bytes(&part.cells),
        [Some(one.clone()), Some(two.clone()), Some(int(600))]
    );
    let part = made(
        "UPDATE ks.t USING TTL 1000 SET v = ? WHERE k = ?",
        &values,
        5000,
    );
    assert_eq!(part.text, "UPDATE ks.t USING TTL ? SET v = ? WHERE k = ?");
    assert_eq!(
        bytes(&part.cells),
        [Some(int(1)), Some(one), Some(two)],
        "never 0, never gone"
    );
}

#[test]
fn a_ttl_of_zero_stays_forever() {
    let one = int(1);
    let values = [(None, Value::Bytes(&one))];
    let text = "UPDATE ks.expiring USING TTL 0 SET v = 1 WHERE k = ?";
    let part = made(text, &values, 400);
    assert_eq!((part.text.as_str(), part.cells.len()), (text, 1));
}

#[test]
fn a_bound_ttl_is_shortened() {
    let (one, ttl) = (int(1), int(1000));
    let text = "UPDATE ks.t USING TIMESTAMP 5 AND TTL ? SET v = 1 WHERE k = ?";
    let values = [(None, Value::Bytes(&ttl)), (None, Value::Bytes(&one))];
    let part = made(text, &values, 400);
    assert_eq!(
        (part.text.as_str(), bytes(&part.cells)),
        (text, vec![Some(int(600)), Some(one)])
    );
    let text = "UPDATE ks.expiring USING TTL :ttl SET v = :v WHERE k = :k";
    let values = [
        (Some("k"), Value::Null),
        (Some("ttl"), Value::Unset),
        (Some("v"), Value::Null),
    ];
    let part = made(text, &values, 400);
    assert_eq!(part.cells, [Cell::Null, Cell::Bytes(int(600)), Cell::Null]);
    assert_eq!(
        part.names,
        Some(vec!["k".to_owned(), "ttl".to_owned(), "v".to_owned()])
    );
}

#[test]
fn a_tables_default_becomes_explicit() {
    let one = int(1);
    let values = [(None, Value::Bytes(&one))];
    let part = made("INSERT INTO ks.expiring (k) VALUES (?)", &values, 400);
    assert_eq!(
        part.text,
        "INSERT INTO ks.expiring (k) VALUES (?) USING TTL ? "
    );
    assert_eq!(bytes(&part.cells), [Some(one.clone()), Some(int(600))]);
    let named = [(Some("k"), Value::Bytes(&one))];
    let part = made("INSERT INTO ks.expiring (k) VALUES (:k)", &named, 400);
    assert_eq!(
        part.text,
        "INSERT INTO ks.expiring (k) VALUES (:k) USING TTL :twinring_ttl_0 "
    );
    assert_eq!(
        part.names,
        Some(vec!["k".to_owned(), "twinring_ttl_0".to_owned()])
    );
    let part = made("INSERT INTO ks.expiring (k) VALUES (1)", &[], 400);
    assert!(part.text.contains("USING TTL 600"), "{}", part.text);
    let part = made("DELETE FROM ks.expiring WHERE k = ?", &values, 400);
    assert_eq!(part.text, "DELETE FROM ks.expiring WHERE k = ?");
}

#[test]
fn each_statement_of_a_batch_text_keeps_its_own_expiry() {
    let cells: Vec<_> = (1..=3).map(int).collect();
    let values: Vec<_> = cells
        .iter()
        .map(|cell| (None, Value::Bytes(cell.as_slice())))
        .collect();
    let text = "BEGIN BATCH INSERT INTO ks.t (k) VALUES (?) USING TTL 500; \
                UPDATE ks.expiring SET v = ? WHERE k = ? APPLY BATCH";
    let part = made(text, &values, 400);
    let wanted = [int(1), int(100), int(600), int(2), int(3)].map(Some);
    assert_eq!(bytes(&part.cells), wanted, "{}", part.text);
    assert!(
        part.text
            .contains("USING TTL ?; UPDATE ks.expiring USING TTL ?"),
        "{}",
        part.text
    );
}

#[test]
fn names_without_a_keyspace_get_the_sessions() {
    let params = params(&[], None);
    let record = Record {
        session_keyspace: "Mixed",
        ..record("INSERT INTO t (k) VALUES (1)", &params)
    };
    let (request, _) = request(&record, &tables(), 0).unwrap();
    assert_eq!(
        request.parts[0].text,
        "INSERT INTO \"Mixed\".t (k) VALUES (1)"
    );
    assert_eq!(request.keyspace, None);
}

#[test]
fn what_is_not_understood_goes_to_a_connection_in_its_keyspace() {
    let params = params(&[], None);
    let text = "INSERT INTO t FROM THE FUTURE (k) VALUES (1)";
    let record = Record {
        session_keyspace: "ks",
        ..record(text, &params)
    };
    let (request, _) = request(&record, &tables(), 0).unwrap();
    assert_eq!(request.keyspace.as_deref(), Some("ks"));
    assert_eq!(request.parts[0].text, text);
}

#[test]
fn a_batch_keeps_its_parts_and_its_end() {
    let one = int(1);
    let mut block = Vec::new();
    values::write(&mut block, [(None, Value::Bytes(&one))]).unwrap();
    let mut children = ChildrenBuf::default();
    children
        .push("INSERT INTO t (k) VALUES (?)", &block)
        .unwrap();
    children
        .push("DELETE FROM ks.expiring WHERE k = 2", &[0, 0])
        .unwrap();
    let tail = [0, 4, 0x30, 0, 9, 0, 0, 0, 0, 0, 0, 0, 77];
    let body = Body::Batch {
        batch_type: 1,
        children: children.children(),
        tail: &tail,
    };
    let record = Record {
        session_keyspace: "ks",
        body,
        ..record("", &[])
    };
    let (request, age) = request(&record, &tables(), 99).unwrap();
    assert_eq!((request.batch_type, request.consistency), (Some(1), 4));
    assert_eq!(
        (request.serial_consistency, request.timestamp_us),
        (Some(9), Some(77))
    );
    assert_eq!(request.parts[0].text, "INSERT INTO ks.t (k) VALUES (?)");
    assert_eq!(request.parts[0].cells, [Cell::Bytes(one)]);
    assert_eq!(request.parts[1].text, "DELETE FROM ks.expiring WHERE k = 2");
    assert_eq!(
        age,
        Age {
            deletes: true,
            beyond_grace: false
        }
    );
}

#[test]
fn age_is_measured_against_the_tables_grace() {
    let params = params(&[], None);
    let age_of = |text, elapsed| {
        request(&record(text, &params), &tables(), elapsed)
            .unwrap()
            .1
    };
    let late = Age {
        deletes: true,
        beyond_grace: true,
    };
    assert_eq!(age_of("DELETE FROM ks.expiring WHERE k = 1", 100), late);
    assert_eq!(age_of("DELETE FROM expiring WHERE k = 1", 100), late);
    assert_eq!(
        age_of("DELETE FROM ks.t WHERE k = 1", 100),
        Age {
            deletes: true,
            beyond_grace: false
        }
    );
    let write = age_of("INSERT INTO ks.expiring (k) VALUES (1)", 100);
    assert_eq!(
        write,
        Age {
            deletes: false,
            beyond_grace: true
        }
    );
}

#[test]
fn malformed_parameters_are_an_error_not_a_guess() {
    assert!(
        request(
            &record("INSERT INTO ks.t (k) VALUES (1)", &[0]),
            &tables(),
            0
        )
        .is_err()
    );
    let four = params(&[(None, Value::Bytes(b"text"))], None);
    let text = "UPDATE ks.t USING TTL ? SET v = 1 WHERE k = 1";
    // Four bytes are an int, whatever they were meant to be; two are none.
    assert!(request(&record(text, &four), &tables(), 0).is_ok());
    let short = params(&[(None, Value::Bytes(b"xx"))], None);
    let error = request(&record(text, &short), &tables(), 0).unwrap_err();
    assert_eq!(error.to_string(), "the bound TTL is no int");
}
