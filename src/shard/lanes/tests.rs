use super::*;
use crate::relay::plan::Repeat;
use crate::relay::write::Body;

fn write(table: &str, kind: Kind, deletes: bool, arrived_us: i64) -> Write {
    let body = Body::Query {
        text: "".into(),
        params: Vec::new(),
    };
    Write {
        stamp_us: Some(arrived_us),
        repeat: Repeat::Once,
        kind,
        deletes,
        ..Write::new(arrived_us, "ks", table, body)
    }
}

fn sent(lanes: &mut Lanes<()>, next: &mut Ticket) -> Vec<i64> {
    let mut arrivals = Vec::new();
    while lanes.send_next(|write, ()| {
        arrivals.push(write.arrived_us);
        *next += 1;
        *next
    }) {}
    arrivals
}

#[test]
fn list_writes_go_one_by_one_and_counters_together() {
    let (mut lanes, mut next) = (Lanes::default(), 0);
    let push = |lanes: &mut Lanes<()>, table, kind, at| {
        lanes.push(write(table, kind, kind == Kind::Write, at), None, ());
    };
    for at in 1..=3 {
        push(&mut lanes, "l", Kind::List, at);
    }
    assert_eq!(sent(&mut lanes, &mut next), [1]);
    assert!(sent(&mut lanes, &mut next).is_empty());
    lanes.left(1);
    assert_eq!(sent(&mut lanes, &mut next), [2]);
    for at in 4..=5 {
        push(&mut lanes, "c", Kind::Counter, at);
    }
    push(&mut lanes, "c", Kind::Write, 6);
    push(&mut lanes, "c", Kind::Counter, 7);
    assert_eq!(sent(&mut lanes, &mut next), [4, 5]);
    lanes.left(3);
    assert!(sent(&mut lanes, &mut next).is_empty());
    lanes.left(4);
    assert_eq!(sent(&mut lanes, &mut next), [6]);
    lanes.left(5);
    assert_eq!(sent(&mut lanes, &mut next), [7]);
    assert!(lanes.bytes() > 0);
    let waiting: Vec<_> = lanes.take_waiting().iter().map(|w| w.arrived_us).collect();
    assert_eq!((waiting, lanes.bytes()), (vec![3], 0));
    assert_eq!(lanes.left(2), Some(true), "the third is in the spill");
    assert_eq!(lanes.left(2), None);
    assert_eq!(lanes.left(6), Some(false));
    assert!(lanes.is_empty());
}

#[test]
fn partitions_go_side_by_side_but_for_what_may_be_about_any() {
    let (mut lanes, mut next) = (Lanes::default(), 0);
    let partitions = [Some(1), Some(2), Some(1), None, Some(3), Some(2)];
    for (at, partition) in (1..).zip(partitions) {
        lanes.push(write("l", Kind::List, false, at), partition, ());
    }
    assert_eq!(sent(&mut lanes, &mut next), [1, 2]);
    lanes.left(1);
    assert_eq!(sent(&mut lanes, &mut next), [3]);
    lanes.left(3);
    assert!(sent(&mut lanes, &mut next).is_empty());
    lanes.left(2);
    assert_eq!(sent(&mut lanes, &mut next), [4]);
    assert_eq!(lanes.oldest_us(), Some(5));
    lanes.left(4);
    assert_eq!(sent(&mut lanes, &mut next), [5, 6]);
    lanes.push(write("l", Kind::List, false, 7), Some(2), ());
    assert_eq!(lanes.take_waiting().len(), 1);
    assert_eq!(lanes.left(5), Some(false), "of another partition");
    assert_eq!(lanes.left(6), Some(true));
}

#[test]
fn deletes_keep_their_place_only_where_it_matters() {
    let mut lanes = Lanes::<()>::default();
    assert!(!lanes.is_ordered(&write("t", Kind::Write, true, 1)));
    let counter = write("t", Kind::Counter, false, 2);
    assert!(lanes.is_ordered(&counter) && lanes.is_news(&counter));
    lanes.note("ks".into(), "t".into(), Kind::Counter);
    assert!(!lanes.is_news(&counter));
    assert!(lanes.is_ordered(&write("t", Kind::Write, true, 3)));
    assert!(!lanes.is_ordered(&write("t", Kind::Write, false, 4)));
    assert!(!lanes.is_ordered(&write("u", Kind::Write, true, 5)));
}

#[test]
fn tables_that_find_no_room_are_taken_for_what_the_schema_says() {
    use crate::tables::{Column, Role, Table};
    let mut lanes = Lanes::<()>::default();
    for n in 0..limits::SENSITIVE_TABLES {
        lanes.note("ks".into(), n.to_string().into(), Kind::List);
    }
    let delete = |table: &str| write(table, Kind::Write, true, 1);
    assert!(lanes.is_ordered(&delete("0")) && !lanes.is_ordered(&delete("plain")));
    lanes.note("ks".into(), "0".into(), Kind::List); // no new one
    assert!(!lanes.is_ordered(&delete("plain")));
    for n in 0..10 {
        lanes.note("ks".into(), format!("more{n}").into(), Kind::List);
    }
    assert_eq!(lanes.sensitive.len(), limits::SENSITIVE_TABLES);
    // nothing is known of the tables: every delete keeps its place
    assert!(lanes.is_ordered(&delete("more3")) && lanes.is_ordered(&delete("plain")));
    assert!(lanes.is_news(&write("more3", Kind::List, false, 2)));
    let mut known = Known::default();
    let shapes = [
        ("plain", Shape::Single),
        ("more3", Shape::List),
        ("counts", Shape::Counter),
    ];
    for (name, shape) in shapes {
        let column = Column {
            name: "c".into(),
            role: Role::Regular,
            shape,
        };
        let table = Table {
            columns: vec![column],
            ..Table::default()
        };
        Arc::make_mut(&mut known.source).add("ks", name, table);
    }
    lanes.know(Arc::new(known));
    assert!(lanes.is_ordered(&delete("more3")) && !lanes.is_ordered(&delete("plain")));
    let mut of_counters = delete("counts");
    of_counters.body = Body::Query {
        text: "".into(),
        params: [&[0, 1, 0x20][..], &7i64.to_be_bytes()].concat(),
    };
    lanes.prepare(&mut of_counters);
    assert_eq!(of_counters.stamp_us, None);
}

#[test]
fn a_delete_of_counters_gets_the_targets_time() {
    let mut lanes = Lanes::<()>::default();
    lanes.note("ks".into(), "t".into(), Kind::Counter);
    let mut delete = write("t", Kind::Write, true, 1);
    let mut params = vec![0, 1, 0x20];
    params.extend_from_slice(&7i64.to_be_bytes());
    delete.body = Body::Query {
        text: "".into(),
        params,
    };
    lanes.prepare(&mut delete);
    lanes.push(delete, None, ());
    let sent = lanes.send_next(|write, ()| {
        let Body::Query { params, .. } = &write.body else {
            panic!("a text")
        };
        assert_eq!((&params[..], write.stamp_us), (&[0, 1, 0][..], None));
        1
    });
    assert!(sent);
}
