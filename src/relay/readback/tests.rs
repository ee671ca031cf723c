#![allow(clippy::unwrap_used, clippy::panic)] // tests may

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::cql::column_type::UdtType;
use crate::cql::request::params::QueryParams;
use crate::cql::values::Values;
use crate::cql::{ColumnType, Consistency, Value, Writer};
use crate::relay::plan::{PlanCache, Rules};
use crate::relay::write::{Body, Write};
use crate::spill::Kind;
use crate::tables::{Column, Known, Role, Shape, Table, Tables};
use crate::tests::rows_message;

const SINCE_US: i64 = 1_700_000_000_000_000;

fn plans() -> PlanCache {
    let column = |name: &str, role, shape| Column {
        name: name.into(),
        role,
        shape,
    };
    let keys = [
        column("p", Role::Partition, Shape::Single),
        column("c", Role::Clustering, Shape::Single),
    ];
    let with_fields = Table {
        columns: [&keys[..], &[column("ud", Role::Regular, Shape::UserType)]].concat(),
        ..Table::default()
    };
    let [p, c] = keys;
    let table = Table {
        columns: vec![
            p,
            c,
            column("a", Role::Regular, Shape::Single),
            column("b", Role::Regular, Shape::Single),
            column("l", Role::Regular, Shape::List),
            column("m", Role::Regular, Shape::Map),
            column("s", Role::Static, Shape::Single),
        ],
        gc_grace_s: 10,
        ..Table::default()
    };
    let mut source = Tables::default();
    source.release = 5;
    source.add("ks", "t", table);
    source.add("ks", "f", with_fields);
    let rules = Rules::default();
    let mut plans = PlanCache::new(rules, 1 << 20);
    plans.know(Arc::new(Known {
        source: Arc::new(source),
        target: Arc::default(),
    }));
    plans
}

fn conditional(text: &str, values: &[&[u8]]) -> Write {
    let bound: Vec<_> = values.iter().map(|bytes| Value::Bytes(bytes)).collect();
    conditional_with(text, &bound)
}

fn conditional_with(text: &str, values: &[Value<'_>]) -> Write {
    let bound = values.iter().map(|value| (None, *value));
    let mut block = Vec::new();
    crate::cql::values::write(&mut block, bound).unwrap();
    let params = QueryParams {
        values: Some(Values::parse(&block, false).unwrap()),
        serial_consistency: Some(Consistency::LocalSerial),
        ..QueryParams::new(Consistency::Quorum)
    };
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    params.encode(&mut writer);
    writer.finish().unwrap();
    let body = Body::Query {
        text: text.into(),
        params: out,
    };
    Write::new(SINCE_US, "ks", "t", body)
}

fn looks_of(text: &str, values: &[&[u8]]) -> Result<Vec<Look>, Unclear> {
    looks(
        &conditional(text, values),
        &mut plans(),
        SINCE_US + 1_000,
        false,
    )
}

fn selects(text: &str, values: &[&[u8]]) -> Vec<String> {
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    let looks = looks_of(text, values).unwrap();
    looks
        .iter()
        .map(|look| look.select(table, true).text)
        .collect()
}

#[test]
fn what_is_read_is_what_the_statement_may_have_changed() {
    let stamped = "a, WRITETIME(a), TTL(a)";
    let row = format!("SELECT p, c, {stamped} FROM ks.t WHERE p = 1 AND c = ?");
    for (text, expected) in [
        (
            "UPDATE ks.t SET a = 2 WHERE p = 1 AND c = ? IF b = 3",
            &[&*row][..],
        ),
        (
            "INSERT INTO ks.t (p, c) VALUES (1, 'x') IF NOT EXISTS",
            &["SELECT p, c FROM ks.t WHERE p = 1 AND c = 'x'"],
        ),
        (
            "UPDATE ks.t SET s = 2 WHERE p = 1 IF s = 1",
            &["SELECT p, s, WRITETIME(s), TTL(s) FROM ks.t WHERE p = 1 LIMIT 1"],
        ),
        (
            "BEGIN BATCH UPDATE ks.t SET s = 2 WHERE p = 1 IF s = 1 \
             INSERT INTO ks.t (p, c) VALUES (1, 2) APPLY BATCH",
            &[
                "SELECT p, s, WRITETIME(s), TTL(s) FROM ks.t WHERE p = 1 LIMIT 1",
                "SELECT p, c FROM ks.t WHERE p = 1 AND c = 2",
            ],
        ),
        (
            "DELETE FROM ks.t WHERE p = 1 AND c = 'it''s' IF EXISTS",
            &[
                "SELECT p, c, a, WRITETIME(a), TTL(a), b, WRITETIME(b), TTL(b), l, \
                 WRITETIME(l), TTL(l), m, WRITETIME(m), \
               TTL(m) FROM ks.t WHERE p = 1 AND c = 'it''s'",
            ],
        ),
        (
            "UPDATE ks.t SET m[3] = 4 WHERE p = 1 AND c IN (5, (int)6) IF EXISTS",
            &[
                "SELECT p, c, m, WRITETIME(m), TTL(m) FROM ks.t WHERE p = 1 AND c =  5",
                "SELECT p, c, m, WRITETIME(m), TTL(m) FROM ks.t WHERE p = 1 AND c =  (int)6",
            ],
        ),
        (
            r#"INSERT INTO ks.t JSON '{"P": 1, "c": {"x": "}"}, "\"s\"": 2}' IF NOT EXISTS"#,
            &[
                "SELECT p, c, a, WRITETIME(a), TTL(a), b, WRITETIME(b), TTL(b), l, \
                 WRITETIME(l), TTL(l), m, WRITETIME(m), \
                 TTL(m) FROM ks.t WHERE p = fromJson(?) AND c = fromJson(?)",
                "SELECT p, s, WRITETIME(s), TTL(s) FROM ks.t WHERE p = fromJson(?) LIMIT 1",
            ],
        ),
    ] {
        let found = selects(text, &[&[9]]);
        let squeeze = |text: String| text.replace(' ', "");
        assert_eq!(
            squeeze(found.join(";")),
            squeeze(expected.join(";")),
            "{text}"
        );
    }
}

#[test]
fn bound_keys_and_lists_of_keys_are_taken_along() {
    let text = "UPDATE ks.t SET a = ? WHERE p = ? AND c = ? IF a = ?";
    let found = looks_of(text, &[&[1], &[2], &[3], &[4]]).unwrap();
    let [look] = &found[..] else {
        panic!("one row")
    };
    assert_eq!(look.relation.text, "p = ? AND c = ?");
    assert_eq!(look.relation.values, [0, 0, 0, 1, 2, 0, 0, 0, 1, 3]);
    let levels = (look.serial, look.level);
    assert_eq!(levels, (Consistency::LocalSerial, Consistency::Quorum));

    let list = [0, 0, 0, 2, 0, 0, 0, 1, 7, 0, 0, 0, 1, 8];
    let text = "UPDATE ks.t SET a = 1 WHERE p = 1 AND c IN ? IF EXISTS";
    let found = looks_of(text, &[&list]).unwrap();
    let values: Vec<_> = found
        .iter()
        .map(|look| look.relation.values.clone())
        .collect();
    assert_eq!(values, [[0, 0, 0, 1, 7], [0, 0, 0, 1, 8]]);
    assert_ne!(found[0].key(), found[1].key());
}

#[test]
fn what_sets_nothing_has_nothing_to_read() {
    for text in [
        "UPDATE ks.t SET a = ? WHERE p = 1 AND c = 2 IF EXISTS",
        "UPDATE ks.t SET m = m - ? WHERE p = 1 AND c = 2 IF b = 1",
        "UPDATE ks.t SET m['x'] = ? WHERE p = 1 AND c = 2 IF b = 1",
    ] {
        let write = conditional_with(text, &[Value::Unset]);
        assert_eq!(looks(&write, &mut plans(), 0, false), Ok(vec![]), "{text}");
    }
    // an INSERT makes a row all the same
    let insert = "INSERT INTO ks.t (p, c, a) VALUES (1, 2, ?) IF NOT EXISTS";
    let write = conditional_with(insert, &[Value::Unset]);
    assert_eq!(looks(&write, &mut plans(), 0, false).unwrap().len(), 1);
    // and what is no change at all is not understood
    assert_eq!(looks_of("SELECT a FROM ks.t", &[]), Err(Unclear::Rows));
}

#[test]
fn what_cannot_be_said_is_told() {
    let unknown = "UPDATE ks.other SET a = 1 WHERE p = 1 IF EXISTS";
    assert_eq!(looks_of(unknown, &[]), Err(Unclear::Table));
    let new_column = "UPDATE ks.t SET z = 1 WHERE p = 1 AND c = 1 IF EXISTS";
    assert_eq!(looks_of(new_column, &[]), Err(Unclear::Table));
    let token = "BEGIN BATCH DELETE FROM ks.t WHERE token(p) = token(1) AND c = 1 \
                 UPDATE ks.t SET a = 1 WHERE p = 1 AND c = 1 IF EXISTS APPLY BATCH";
    assert_eq!(looks_of(token, &[]), Err(Unclear::Rows));
    let unset = "UPDATE ks.t SET a = ? WHERE p = 1 AND c = 1 IF EXISTS";
    assert_eq!(looks_of(unset, &[]), Ok(Vec::new()));
}

/// A range is deleted right before what came into it since; without stamps to tell, at the request.
#[test]
fn a_range_beside_a_condition() {
    let beside = "UPDATE ks.t SET a = 1 WHERE p = 1 AND c = 1 IF EXISTS APPLY BATCH";
    let text = format!("BEGIN BATCH DELETE FROM ks.t WHERE p = 1 AND (c)>= ( 7 ) {beside}");
    let found = looks_of(&text, &[]).unwrap();
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    assert_eq!(
        found[0].select(table, true).text,
        "SELECT count(*), min(WRITETIME(a)), min(WRITETIME(b)) FROM ks.t \
         WHERE p = 1 AND c >= ( 7 )"
    );
    let delete = |stamp_us| {
        (
            "DELETE FROM ks.t WHERE p = 1 AND c >= ( 7 )".to_owned(),
            stamp_us,
        )
    };
    let (none, one) = (0_i64.to_be_bytes(), 1_i64.to_be_bytes());
    let since = (SINCE_US + 9).to_be_bytes();
    assert_eq!(
        made(&text, &[Some(&none), None, None], None),
        (vec![], false)
    );
    let (writes, settled) = made(&text, &[Some(&none), None, None], FENCE);
    assert_eq!((writes, settled), (vec![delete(SINCE_US + 500_000)], true));
    // the table has a map, whose stamps were not asked for
    let (writes, _) = made(&text, &[Some(&one), Some(&since), None], FENCE);
    assert_eq!(writes, [delete(SINCE_US)]);

    let partition = format!("BEGIN BATCH DELETE FROM ks.t WHERE p = 1 {beside}");
    let found = looks_of(&partition, &[]).unwrap();
    let kinds: Vec<_> = found
        .iter()
        .map(|look| (look.range, look.is_static))
        .collect();
    assert_eq!(kinds, [(true, false), (false, true), (false, false)]);
    let unset = "BEGIN BATCH DELETE FROM ks.t WHERE p = 1 AND c > /* 1 */ 2 \
                 UPDATE ks.t SET a = 1 WHERE p = 1 AND c = 1 IF EXISTS APPLY BATCH";
    assert_eq!(looks_of(unset, &[]), Err(Unclear::Rows));
}

/// What the look's SELECT asks for.
fn names(look: &Look, table: &Table) -> Vec<String> {
    let text = look.select(table, true).text;
    let names = text.strip_prefix("SELECT ").unwrap().split(" FROM").next();
    names.unwrap().split(", ").map(str::to_owned).collect()
}

/// An answer to the look's SELECT with these cells.
fn answered(look: &Look, cells: &[Option<&[u8]>]) -> Vec<u8> {
    let plans = plans();
    let table = plans.known().source.get("ks", &look.table).unwrap();
    let names = names(look, table);
    let fields = ["street", "No"].map(|name| (name.to_owned(), ColumnType::Blob));
    let udt = UdtType {
        keyspace: "ks".to_owned(),
        name: "addr".to_owned(),
        fields: fields.into(),
    };
    let column_type = |name: &str| match name {
        "ud" => ColumnType::Udt(Box::new(udt.clone())),
        _ => ColumnType::Blob,
    };
    let columns: Vec<_> = names
        .iter()
        .map(|name| (&**name, column_type(name)))
        .collect();
    rows_message(&columns, cells)
}

/// Texts and stamps of what follows from an answer, and whether nothing is left to say.
type Made = (Vec<(String, i64)>, bool);

fn made(text: &str, cells: &[Option<&[u8]>], fence_us: Option<i64>) -> Made {
    made_of(&looks_of(text, &[]).unwrap()[0], cells, fence_us)
}

fn composed_of(look: &Look, cells: &[Option<&[u8]>], fence_us: Option<i64>) -> Composed {
    let plans = plans();
    let table = plans.known().source.get("ks", &look.table).unwrap();
    let message = answered(look, cells);
    let row = look.read(table, true, &message).unwrap();
    let moment = Moment {
        now_us: SINCE_US + 2_000_000,
        own_us: SINCE_US + 1_999_999,
        fence_us,
        is_taken: &|_| false,
    };
    compose(look, table, row.as_ref(), moment)
}

fn made_of(look: &Look, cells: &[Option<&[u8]>], fence_us: Option<i64>) -> Made {
    let composed = composed_of(look, cells, fence_us);
    let text = |write: Write| {
        let Body::Query { text, params } = write.body else {
            panic!("a text")
        };
        let params = QueryParams::parse(&params).unwrap();
        let marks = text.matches('?').count();
        assert_eq!(params.values.map_or(0, |values| values.len()), marks);
        assert_eq!(
            (params.timestamp, params.consistency),
            (write.stamp_us, Consistency::Quorum)
        );
        (text.to_string(), write.stamp_us.unwrap())
    };
    let writes = composed.writes.into_iter().map(text).collect();
    (writes, composed.settled)
}

const FENCE: Option<i64> = Some(SINCE_US + 500_000);

#[test]
fn cells_keep_the_sources_stamps() {
    let stamp = |us: i64| us.to_be_bytes();
    let (one, two) = (stamp(SINCE_US + 5), stamp(SINCE_US - 5_000_000));
    let text = "UPDATE ks.t SET a = 1, b = 2 WHERE p = 1 AND c = 1 IF EXISTS";
    let ttl = 9i32.to_be_bytes();
    let cells: &[Option<&[u8]>] = &[
        Some(&[1]),
        Some(&[1]),
        Some(b"x"),
        Some(&one),
        Some(&ttl),
        Some(b"y"),
        Some(&two),
        None,
    ];
    let update =
        |name: &str| format!("UPDATE ks.t USING TTL ? SET {name} = ? WHERE p = ? AND c = ?");
    let (writes, settled) = made(text, cells, None);
    assert!(settled);
    let (early, late) = (SINCE_US - 5_000_000, SINCE_US + 5);
    assert_eq!(writes, [(update("b"), early), (update("a"), late)]);

    // an INSERT: the row's own stamp is that of the cells that came with it
    let text = "INSERT INTO ks.t (p, c, a, b) VALUES (1, 1, 2, 3) IF NOT EXISTS USING TTL 9";
    let (writes, settled) = made(text, cells, None);
    assert!(settled);
    let insert = "INSERT INTO ks.t (p, c, a) VALUES (?, ?, ?) USING TTL ?";
    assert_eq!(writes, [(insert.to_owned(), late), (update("b"), early)]);
}

/// Cells that came right after the INSERT, with another time to live, are not the row's.
#[test]
fn a_row_lives_as_long_as_its_insert_said() {
    let stamp = (SINCE_US + 5).to_be_bytes();
    let nine = 9i32.to_be_bytes();
    let insert =
        |ttl: &str| format!("INSERT INTO ks.t (p, c, a) VALUES (1, 1, 2) IF NOT EXISTS{ttl}");
    let update = |ttl: &str| format!("UPDATE ks.t{ttl} SET a = 3 WHERE p = 1 AND c = 1 IF a = 2");
    for (insert, update, left, row_s) in [
        (insert(""), update(" USING TTL 9"), Some(&nine[..]), 0i32),
        (
            insert(" USING TTL 60"),
            update(" USING TTL 9"),
            Some(&nine),
            60,
        ),
        (insert(" USING TTL 60"), update(""), None, 60),
    ] {
        let mut look = looks_of(&insert, &[]).unwrap().remove(0);
        look.merge(looks_of(&update, &[]).unwrap().remove(0));
        let cells: &[Option<&[u8]>] = &[Some(&[1]), Some(&[1]), Some(b"x"), Some(&stamp), left];
        let (writes, settled) = made_of(&look, cells, None);
        assert_eq!((writes.len(), settled), (1, false), "{insert}, {update}");
        let composed = composed_of(&look, cells, FENCE);
        let marker = composed.writes.iter().find(|write| match &write.body {
            Body::Query { text, .. } => text.starts_with("INSERT INTO ks.t (p, c) "),
            _ => false,
        });
        let Body::Query { params, .. } = &marker.unwrap().body else {
            panic!("a text")
        };
        let left_s = (row_s - 2).max(0).to_be_bytes();
        let values = QueryParams::parse(params).unwrap().values.unwrap();
        let last = values.iter().last().unwrap();
        assert_eq!(last.value, Value::Bytes(&left_s), "{insert}, {update}");
    }
}

#[test]
fn what_is_not_there_waits_for_the_fence() {
    let one = (SINCE_US + 5).to_be_bytes();
    let text = "UPDATE ks.t SET a = 1, b = null WHERE p = 1 AND c = 1 IF EXISTS";
    let cells: &[Option<&[u8]>] = &[
        Some(&[1]),
        Some(&[1]),
        Some(b"x"),
        Some(&one),
        None,
        None,
        None,
        None,
    ];
    let (writes, settled) = made(text, cells, None);
    assert_eq!((writes.len(), settled), (1, false));
    let (writes, settled) = made(text, cells, FENCE);
    let delete = "DELETE b FROM ks.t WHERE p = ? AND c = ?".to_owned();
    assert_eq!(
        (writes[0].clone(), settled),
        ((delete, FENCE.unwrap()), true)
    );

    let text = "DELETE FROM ks.t WHERE p = 1 AND c = 1 IF EXISTS";
    assert_eq!(made(text, &[], None), (Vec::new(), false));
    let delete = "DELETE FROM ks.t WHERE p = 1 AND c = 1".to_owned();
    let gone = vec![(delete, FENCE.unwrap())];
    assert_eq!(made(text, &[], FENCE), (gone, true));
}

/// What it had goes at the fence at the latest: of what came since, a collection may be older than
/// all cells that have stamps.
#[test]
fn a_row_that_came_back_loses_no_more_than_it_had_at_the_fence() {
    let text = "DELETE FROM ks.t WHERE p = 1 AND c = 1 IF EXISTS";
    let look = &looks_of(text, &[]).unwrap()[0];
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    let names = names(look, table);
    for (stamp_us, wanted_us) in [(1, 0), (600_000, 499_999)] {
        let stamp = (SINCE_US + stamp_us).to_be_bytes();
        let cell = |name: &str| -> Option<&[u8]> {
            match name.to_lowercase().as_str() {
                "p" | "c" | "a" => Some(&[1]),
                "writetime(a)" => Some(&stamp),
                _ => None,
            }
        };
        let cells: Vec<_> = names.iter().map(|name| cell(name)).collect();
        let (writes, _) = made(text, &cells, FENCE);
        let row = "DELETE FROM ks.t WHERE p = ? AND c = ?";
        let deletes = writes.iter().filter(|(text, _)| text == row);
        let stamps: Vec<_> = deletes.map(|(_, stamp_us)| stamp_us - SINCE_US).collect();
        assert_eq!(stamps, [wanted_us], "{writes:?}");
    }
}

/// A list of the stamps of elements or fields, and one of their times to live: none.
fn lives(stamps: &[Option<i64>]) -> [Vec<u8>; 2] {
    let count = i32::try_from(stamps.len()).unwrap().to_be_bytes();
    let (mut stamps_out, mut ttls) = (Piece::default(), Piece::default());
    for stamp in stamps {
        stamps_out.value(stamp.map(i64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
        ttls.value(None);
    }
    [stamps_out, ttls].map(|list| [&count[..], &list.values].concat())
}

/// The cells of a row with the map {1: 1, 2: 2}, whose entries have these stamps.
fn with_map(stamps: [i64; 2]) -> Vec<Option<Vec<u8>>> {
    let entry = |key: u8| vec![0, 0, 0, 1, key, 0, 0, 0, 1, key];
    let map = [vec![0, 0, 0, 2], entry(1), entry(2)].concat();
    let [stamps, ttls] = lives(&stamps.map(Some));
    [vec![1], vec![1], map, stamps, ttls].map(Some).into()
}

fn borrowed(cells: &[Option<Vec<u8>>]) -> Vec<Option<&[u8]>> {
    cells.iter().map(Option::as_deref).collect()
}

#[test]
fn elements_keep_their_stamps_where_the_source_tells_them() {
    let (old_us, new_us) = (SINCE_US - 9_000_000, SINCE_US + 5);
    let mut cells = with_map([old_us, new_us]);
    cells[4] = Some(vec![
        0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 4, 0, 0, 0, 60,
    ]);
    let add = "UPDATE ks.t USING TTL ? SET m = m + ? WHERE p = ? AND c = ?".to_owned();
    let text = "UPDATE ks.t SET m = m + {2: 2} WHERE p = 1 AND c = 1 IF EXISTS";
    let (writes, settled) = made(text, &borrowed(&cells), None);
    assert!(settled);
    assert_eq!(writes, [(add.clone(), old_us), (add, new_us)]);

    let fresh = with_map([new_us; 2]);
    cells[3].clone_from(&fresh[3]);
    let text = "UPDATE ks.t SET m = {1: 1, 2: 2} WHERE p = 1 AND c = 1 IF EXISTS";
    let (writes, settled) = made(text, &borrowed(&cells), None);
    assert!(
        !settled && writes.len() == 2,
        "an older one may be on its way"
    );
    let (writes, settled) = made(text, &borrowed(&cells), FENCE);
    assert!(settled);
    let delete = "DELETE m FROM ks.t WHERE p = ? AND c = ?".to_owned();
    assert_eq!(writes[0], (delete, new_us - 1));
    assert_eq!(writes.len(), 3, "the two entries live for different times");
}

/// Whatever else was done to the column, and whatever came since.
#[test]
fn what_was_taken_out_goes_unless_it_is_there_again() {
    let (old_us, new_us) = (SINCE_US - 9_000_000, SINCE_US + 5);
    let taken = "UPDATE ks.t SET m = m - {3, 4} WHERE p = 1 AND c = 1 IF EXISTS";
    let nulled = "UPDATE ks.t SET m[3] = null, m[4] = null WHERE p = 1 AND c = 1 IF EXISTS";
    let replaced = "UPDATE ks.t SET m = {1: 1} WHERE p = 1 AND c = 1 IF EXISTS";
    let add = |us: i64| {
        let text = "UPDATE ks.t USING TTL ? SET m = m + ? WHERE p = ? AND c = ?";
        (text.to_owned(), us)
    };
    let delete = |what: &str, us: i64| {
        let text = format!("DELETE {what} FROM ks.t WHERE p = ? AND c = ?");
        (text.replace(' ', ""), us)
    };
    for (texts, stamps, whole) in [
        (&[taken][..], [old_us; 2], None),
        (&[nulled], [old_us, new_us], None),
        (&[replaced, taken], [new_us; 2], Some(new_us - 1)),
        (
            &[taken, replaced],
            [new_us, FENCE.unwrap() + 9],
            Some(new_us - 1),
        ),
    ] {
        let mut looks = texts
            .iter()
            .map(|text| looks_of(text, &[]).unwrap().remove(0));
        let mut look = looks.next().unwrap();
        looks.for_each(|later| look.merge(later));
        let mut cells = with_map(stamps);
        cells.extend([None, Some(vec![4])]); // m[3] is gone, and m[4] came back
        let cells = borrowed(&cells);
        let adds = BTreeSet::from(stamps).into_iter().map(add);
        let squeeze = |(text, us): (String, i64)| (text.replace(' ', ""), us);
        let adds: Vec<_> = adds.map(squeeze).collect();
        let whole: Vec<_> = whole.map(|us| delete("m", us)).into_iter().collect();
        let gone = vec![delete("m[3]", FENCE.unwrap())];
        let deletes = [&whole[..], &gone].concat();
        for (fence_us, deletes) in [(None, vec![]), (FENCE, deletes)] {
            let (writes, settled) = made_of(&look, &cells, fence_us);
            let writes: Vec<_> = writes.into_iter().map(squeeze).collect();
            assert_eq!(writes, [&deletes[..], &adds].concat(), "{texts:?}");
            assert_eq!(settled, fence_us.is_some());
        }
    }
}

#[test]
fn what_is_taken_out_is_asked_for_key_by_key() {
    let bound = [0, 0, 0, 2, 0, 0, 0, 1, 7, 0, 0, 0, 1, 8];
    let text = "UPDATE ks.t SET m = m - ? WHERE p = 1 AND c = 1 IF EXISTS";
    let head = "SELECT p, c, m, WRITETIME(m), TTL(m)";
    let row = "FROM ks.t WHERE p = 1 AND c = 1";
    assert_eq!(
        selects(text, &[&bound]),
        [format!("{head}, m[?], m[?] {row}")]
    );
    let look = &looks_of(text, &[&bound]).unwrap()[0];
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    assert_eq!(look.select(table, true).values, bound[4..]);
    let before_5 = format!("SELECT p, c, m {row}");
    assert_eq!(look.select(table, false).text, before_5);
    // what cannot be told, and what is too much: as a whole
    let cast = "UPDATE ks.t SET m = m - (set<int>){1} WHERE p = 1 AND c = 1 IF EXISTS";
    assert_eq!(selects(cast, &[]), [format!("{head} {row}")]);
    let many: Vec<_> = (0..=crate::limits::READ_BACK_KEYS)
        .map(|key| key.to_string())
        .collect();
    let many = many.join(", ");
    let text = format!("UPDATE ks.t SET m = m - {{{many}}} WHERE p = 1 AND c = 1 IF EXISTS");
    assert_eq!(selects(&text, &[]), [format!("{head} {row}")]);
}

#[test]
fn fields_keep_their_stamps_where_the_source_tells_them() {
    let (old_us, new_us) = (SINCE_US - 9_000_000, SINCE_US + 5);
    let update = |field: &str, us: i64| {
        let text = format!("UPDATE ks.f USING TTL ? SET ud.{field} = ? WHERE p = ? AND c = ?");
        (text, us)
    };
    let both: &[u8] = &[0, 0, 0, 1, 7, 0, 0, 0, 1, 8];
    let street: &[u8] = &[0, 0, 0, 1, 7, 255, 255, 255, 255];
    let one = "UPDATE ks.f SET ud.street = 'x' WHERE p = 1 AND c = 1 IF EXISTS";
    let all = "UPDATE ks.f SET ud = {street: 'x'} WHERE p = 1 AND c = 1 IF EXISTS";
    let no = r#"DELETE ud."No" FROM ks.f WHERE p = ? AND c = ?"#.to_owned();
    for text in [one, all] {
        for (value, stamps, fence_us, wanted, wanted_settled) in [
            (
                both,
                [Some(new_us), Some(old_us)],
                None,
                vec![update("\"No\"", old_us), update("street", new_us)],
                true,
            ),
            (
                street,
                [Some(new_us), None],
                None,
                vec![update("street", new_us)],
                false,
            ),
            (
                street,
                [Some(new_us), None],
                FENCE,
                vec![(no.clone(), FENCE.unwrap()), update("street", new_us)],
                true,
            ),
        ] {
            let [stamps, ttls] = lives(&stamps);
            let cells = [&[1], &[1], value, &stamps, &ttls].map(Some);
            let (writes, settled) = made(text, &cells, fence_us);
            assert_eq!((writes, settled), (wanted, wanted_settled), "{text}");
        }
    }
}

#[test]
fn a_list_is_written_until_two_looks_see_the_same() {
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    let text = "UPDATE ks.t SET l = l + [3] WHERE p = 1 AND c = 1 IF EXISTS";
    let mut look = looks_of(text, &[]).unwrap().remove(0);
    let one = |us: i64| [&[0, 0, 0, 8][..], &us.to_be_bytes()].concat();
    let stamps = [vec![0, 0, 0, 2], one(SINCE_US + 1), one(SINCE_US + 2)].concat();
    let ttls = [0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 255];
    let mut looked = |list: &[u8], now_us: i64| {
        let cells: &[Option<&[u8]>] = &[
            Some(&[1]),
            Some(&[1]),
            Some(list),
            Some(&stamps),
            Some(&ttls),
        ];
        let message = answered(&look, cells);
        let row = look.read(table, true, &message).unwrap();
        let moment = Moment {
            now_us,
            own_us: now_us - 1,
            fence_us: FENCE,
            is_taken: &|_| false,
        };
        let composed = compose(&look, table, row.as_ref(), moment);
        look.seen = composed.seen;
        let stamps: Vec<_> = composed.writes.iter().map(|write| write.stamp_us).collect();
        let kinds = composed.writes.iter().all(|write| write.kind == Kind::List);
        assert!(kinds, "it keeps its place");
        (stamps, composed.settled)
    };
    let list = |last: u8| [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0, 1, last];
    let at = |seconds: i64| SINCE_US + seconds * 1_000_000;
    assert_eq!(looked(&list(3), at(1)), (vec![Some(at(1) - 1)], false));
    assert_eq!(looked(&list(4), at(2)), (vec![Some(at(2) - 1)], false));
    assert_eq!(looked(&list(4), at(3)), (Vec::new(), true));
}

#[test]
fn a_list_that_may_be_at_the_target_never_comes_with_the_same_stamp() {
    let plans = plans();
    let table = plans.known().source.get("ks", "t").unwrap();
    let mut look = looks_of(
        "UPDATE ks.t SET l = [3] WHERE p = 1 AND c = 1 IF EXISTS",
        &[],
    )
    .unwrap()
    .remove(0);
    let stamp_us = SINCE_US + 2;
    let stamps = [&[0, 0, 0, 1, 0, 0, 0, 8][..], &stamp_us.to_be_bytes()].concat();
    let ttls = [0, 0, 0, 1, 255, 255, 255, 255];
    let list = [0, 0, 0, 1, 0, 0, 0, 1, 3];
    let own_us = SINCE_US + 900_000;
    for (may_be_there, taken, fence_us, wanted_us) in [
        (false, false, FENCE, stamp_us),
        (true, false, FENCE, own_us),
        (false, true, FENCE, own_us),
        (false, false, Some(stamp_us), own_us), // a write that came behind the fence
    ] {
        look.may_be_there = may_be_there;
        let cells: &[Option<&[u8]>] = &[
            Some(&[1]),
            Some(&[1]),
            Some(&list),
            Some(&stamps),
            Some(&ttls),
        ];
        let message = answered(&look, cells);
        let row = look.read(table, true, &message).unwrap();
        let moment = Moment {
            now_us: SINCE_US + 1_000_000,
            own_us,
            fence_us,
            is_taken: &|stamp| taken && stamp == stamp_us,
        };
        let composed = compose(&look, table, row.as_ref(), moment);
        let stamps: Vec<_> = composed.writes.iter().map(|write| write.stamp_us).collect();
        assert_eq!(stamps, [Some(wanted_us)], "{may_be_there} {taken}");
    }
}
