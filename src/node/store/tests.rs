#![allow(clippy::unwrap_used)]

use super::cell::Cell;
use super::row::RowChange;
use super::{Change, PartitionKey, Slice, TableData};
use crate::node::digest::{md5, token};
use crate::node::order::push_order_key;
use crate::node::types::CqlType;

fn cell(stamp: i64, ttl_s: i32, ends_s: i64, value: Option<&[u8]>) -> Cell {
    Cell {
        stamp,
        ttl_s,
        ends_s,
        value: value.map(Into::into),
    }
}

/// Weaker to stronger, all pairs: the order is total and the same from both sides.
#[test]
fn of_two_cells_the_same_one_always_stays() {
    let order = [
        cell(9, 0, 0, Some(b"zzz")),
        cell(10, 0, 0, Some(b"")),
        cell(10, 0, 0, Some(b"a")),
        cell(10, 0, 0, Some(b"b")),
        cell(10, 100, 1100, Some(b"z")),
        cell(10, 100, 1200, Some(b"a")),
        cell(10, 0, 1000, None),
        cell(11, 0, 0, Some(b"")),
    ];
    for (i, weaker) in order.iter().enumerate() {
        for stronger in &order[i + 1..] {
            assert!(stronger.beats(weaker), "{stronger:?} over {weaker:?}");
            assert!(!weaker.beats(stronger), "{weaker:?} under {stronger:?}");
        }
    }
}

/// Every order of the same changes gives the same rows: replays and races end equal.
#[test]
fn the_order_of_changes_does_not_matter() {
    let row = |change| Change::Row(b"r".to_vec(), Vec::new(), vec![change]);
    let changes = [
        row(RowChange::Cell(1, cell(10, 0, 0, Some(b"a")))),
        row(RowChange::Cell(1, cell(10, 0, 0, Some(b"b")))),
        row(RowChange::Cell(1, cell(12, 0, 5, None))),
        row(RowChange::Cell(2, cell(14, 0, 0, Some(b"c")))),
        row(RowChange::DeleteRow(11)),
        Change::DeleteRange(
            Slice {
                start: b"a".to_vec(),
                end: Some(b"s".to_vec()),
            },
            13,
        ),
    ];
    let mut seen = Vec::new();
    permute(
        &mut (0..changes.len()).collect::<Vec<_>>(),
        0,
        &mut |order| {
            let mut data = TableData::default();
            let key = PartitionKey::new(&[b"k".to_vec()]);
            let made = order.iter().map(|at| changes[*at].clone());
            data.apply(key.clone(), vec![b"k".to_vec()], made);
            let row = data.get(&key).unwrap().row(b"r").unwrap();
            let values: Vec<_> = [1, 2]
                .map(|id| row.cell(id, 0).and_then(|c| c.value.clone()))
                .into();
            seen.push(values);
        },
    );
    assert_eq!(seen.len(), 720);
    assert!(
        seen.iter()
            .all(|values| *values == [None, Some(b"c"[..].into())]),
        "{seen:?}"
    );
}

fn permute(order: &mut Vec<usize>, at: usize, each: &mut impl FnMut(&[usize])) {
    if at == order.len() {
        each(order);
    }
    for other in at..order.len() {
        order.swap(at, other);
        permute(order, at + 1, each);
        order.swap(at, other);
    }
}

#[test]
fn order_keys_compare_as_the_types_do() {
    let int = |n: i32| n.to_be_bytes().to_vec();
    let double = |n: f64| n.to_be_bytes().to_vec();
    let varint = |text: &str| crate::node::numeric::varint_from_text(text).unwrap();
    let decimal = |text: &str| crate::node::numeric::decimal_from_text(text).unwrap();
    let cases: [(CqlType, Vec<Vec<u8>>); 5] = [
        (
            CqlType::Int,
            vec![
                vec![],
                int(i32::MIN),
                int(-1),
                int(0),
                int(7),
                int(i32::MAX),
            ],
        ),
        (
            CqlType::Double,
            vec![
                double(f64::NEG_INFINITY),
                double(-0.5),
                double(0.0),
                double(1e300),
                double(f64::NAN),
            ],
        ),
        (
            CqlType::Varint,
            [
                "-70000", "-129", "-128", "-1", "0", "1", "127", "128", "255", "256",
            ]
            .map(varint)
            .into(),
        ),
        (
            CqlType::Decimal,
            [
                "-1E+9", "-10", "-1.5", "-1.25", "-0.001", "0", "0.001", "1.25", "1.5", "10",
                "1E+9",
            ]
            .map(decimal)
            .into(),
        ),
        (
            CqlType::Blob,
            vec![
                vec![0],
                vec![0, 0],
                vec![0, 1],
                vec![1],
                vec![1, 0],
                vec![255],
            ],
        ),
    ];
    cases.iter().for_each(|(ty, values)| ascending(ty, values));
    let mut equal = [Vec::new(), Vec::new()];
    push_order_key(&CqlType::Decimal, Some(&decimal("1.5")), &mut equal[0]);
    push_order_key(&CqlType::Decimal, Some(&decimal("1.500")), &mut equal[1]);
    assert_eq!(equal[0], equal[1], "1.5 and 1.500 are one clustering value");
}

fn ascending(ty: &CqlType, values: &[Vec<u8>]) {
    let keys: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            let mut key = Vec::new();
            push_order_key(ty, Some(value), &mut key);
            key
        })
        .collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{ty:?}: {keys:?}");
    for (i, key) in keys.iter().enumerate() {
        let begins = |other: &Vec<u8>| other.starts_with(key);
        assert_eq!(
            keys.iter().position(begins),
            Some(i),
            "{ty:?}: no key begins another"
        );
    }
}

/// Tokens that Cassandra 4.1 gave (`SELECT token(k)`), MD5 from RFC 1321 A.5.
#[test]
fn hashes_are_those_of_the_world() {
    assert_eq!(token(&1i32.to_be_bytes()), -4_069_959_284_402_364_209);
    assert_eq!(token(&2i32.to_be_bytes()), -3_248_873_570_005_575_792);
    assert_eq!(token(&3i32.to_be_bytes()), 9_010_454_139_840_013_625);
    assert_eq!(token(b""), 0);
    let hex = |text: &str| {
        md5(text.as_bytes())
            .map(|byte| format!("{byte:02x}"))
            .concat()
    };
    assert_eq!(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(hex("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    let long = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
    assert_eq!(hex(long), "57edf4a22be3c955ac49da2e2107b67a");
}
