#![allow(clippy::unwrap_used)]

use super::*;
use crate::history::value::Elements;

const BEGAN: i64 = 1_000_000;

fn column(name: &str, shape: Shape) -> Column {
    Column {
        name: name.to_owned(),
        cql_type: String::new(),
        shape,
    }
}

fn table() -> Table {
    Table {
        keyspace: "ks".into(),
        name: "T".into(),
        partition_key: vec![column("p", Shape::Single)],
        clustering: vec![column("c", Shape::Single)],
        statics: vec![],
        regulars: vec![
            column("a", Shape::Single),
            column("b", Shape::Single),
            column("m", Shape::Map),
            column("u", Shape::Udt(vec!["x".into(), "Y".into()])),
            column("l", Shape::List),
        ],
        default_ttl_s: 0,
        is_static_compact: false,
        is_masked: false,
        gc_grace_s: 0,
    }
}

fn rules() -> Rules {
    Rules {
        marker: RowMarker::Infer,
        writetime: Writetime::Preserve,
        collections: CollectionWritetime::Backdate,
        began_us: BEGAN,
        written_after_us: None,
        written_before_us: None,
    }
}

fn stamp(writetime_us: i64, expires_s: Option<i64>) -> Stamp {
    Stamp {
        writetime_us,
        expires_s,
    }
}

fn cell(column: usize, content: Content<'_>, stamp: Option<Stamp>) -> Cell<'_> {
    Cell {
        column,
        content,
        stamp,
    }
}

fn whole(column: usize, bytes: &[u8], stamp: Stamp) -> Cell<'_> {
    cell(column, Content::Whole(bytes), Some(stamp))
}

fn made(cells: Vec<Cell<'_>>, rules: &Rules) -> (WritePlan, Writes) {
    made_of(&table(), cells, rules)
}

fn made_of(table: &Table, cells: Vec<Cell<'_>>, rules: &Rules) -> (WritePlan, Writes) {
    let plan = WritePlan::new(table, &Select::new(table, Pass::Rows, true, None));
    let row = Row {
        token: 7,
        key: vec![b"P", b"C"],
        cells,
    };
    let mut writes = Writes::default();
    plan.writes(&row, rules, 500, &mut writes);
    (plan, writes)
}

/// The values of a write; "not set" is none.
fn values(write: &Write) -> Vec<Option<Vec<u8>>> {
    let mut elements = Elements::of_fields(&write.values);
    std::iter::from_fn(|| {
        (!elements.is_empty()).then(|| elements.next().unwrap().map(<[u8]>::to_vec))
    })
    .collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn each_stamp_gets_a_statement_and_no_cell_gets_anothers() {
    let (old, new, dying) = (stamp(10, None), stamp(20, None), stamp(20, Some(99)));
    let cells = vec![
        whole(0, b"A", new),
        whole(1, b"B", old),
        cell(2, Content::Entry(b"k1", b"v1"), Some(old)),
        cell(2, Content::Entry(b"k2", b"v2"), Some(dying)),
        cell(2, Content::Entry(b"k3", b"v3"), Some(old)),
        cell(3, Content::Field(1, b"y"), Some(new)),
    ];
    let (plan, writes) = made(cells, &rules());
    let stamps: Vec<_> = writes.plain.iter().map(|write| write.stamp).collect();
    assert_eq!(stamps, [old, new, dying]);
    let [first, second, third] = writes.plain.as_slice() else {
        unreachable!()
    };
    let mut map = CollectionWriter::new();
    map.entry(b"k1", b"v1");
    map.entry(b"k3", b"v3");
    let (key_p, key_c) = (bytes("P"), bytes("C"));
    let olds = [None, bytes("B"), Some(map.finish()), None, None];
    assert_eq!(
        values(first),
        [olds.to_vec(), vec![key_p.clone(), key_c.clone()]].concat()
    );
    let news = [bytes("A"), None, None, None, bytes("y")];
    assert_eq!(values(second), [&news[..], &[key_p, key_c]].concat());
    assert_eq!(values(third)[0..2], [None, None]);
    assert_eq!(
        plan.texts[first.text],
        "UPDATE \"ks\".\"T\" USING TIMESTAMP ? AND TTL ? SET \"a\" = ?, \"b\" = ?, \
         \"m\" = \"m\" + ?, \"u\".\"x\" = ?, \"u\".\"Y\" = ? WHERE \"p\" = ? AND \"c\" = ?"
    );
    assert_eq!(writes.cells, 6);
}

#[test]
fn a_row_marker_is_written_where_the_rule_says_so() {
    let markers = |cells: Vec<Cell<'_>>, marker| {
        let (plan, writes) = made(cells, &Rules { marker, ..rules() });
        let inserts = writes
            .plain
            .iter()
            .filter(|write| plan.texts[write.text].starts_with("INSERT"));
        inserts.map(|write| write.stamp).collect::<Vec<_>>()
    };
    let cells = || {
        vec![
            whole(0, b"A", stamp(20, None)),
            whole(1, b"B", stamp(10, Some(50))),
        ]
    };
    let backdated = stamp(BEGAN - 1, None);
    assert_eq!(markers(vec![], RowMarker::Infer), [backdated]);
    assert_eq!(markers(vec![], RowMarker::Always), [backdated]);
    assert_eq!(markers(vec![], RowMarker::Never), []);
    assert_eq!(markers(cells(), RowMarker::Infer), []);
    assert_eq!(markers(cells(), RowMarker::Never), []);
    assert_eq!(markers(cells(), RowMarker::Always), [stamp(10, Some(50))]);
    // Of one writetime, the longest life.
    let same = vec![
        whole(0, b"A", stamp(10, Some(50))),
        whole(1, b"B", stamp(10, None)),
    ];
    assert_eq!(markers(same, RowMarker::Always), [stamp(10, None)]);
    // What is filtered by writetime has no known marker.
    let rules = Rules {
        written_after_us: Some(1),
        ..rules()
    };
    assert_eq!(made(vec![], &rules).1.plain, []);
}

#[test]
fn a_marker_of_a_table_with_a_default_ttl_expires() {
    let table = Table {
        default_ttl_s: 60,
        ..table()
    };
    let (_, writes) = made_of(&table, vec![], &rules());
    assert_eq!(writes.plain[0].stamp, stamp(BEGAN - 1, Some(560)));
}

#[test]
fn cells_without_a_known_stamp_are_older_than_the_copy() {
    let entry = |stamp| cell(2, Content::Entry(b"k", b"v"), stamp);
    let stamp_of = |cells: Vec<Cell<'_>>, collections| {
        let rules = Rules {
            collections,
            ..rules()
        };
        let writes = made(cells, &rules).1;
        writes.plain.iter().map(|w| w.stamp).collect::<Vec<_>>()
    };
    use CollectionWritetime::{Backdate, RowMax, RowMin};
    assert_eq!(
        stamp_of(vec![entry(None)], RowMin),
        [stamp(BEGAN - 1, None)]
    );
    let beside = |a: Stamp, b: Stamp| vec![whole(0, b"A", a), whole(1, b"B", b), entry(None)];
    let (old, new) = (stamp(10, Some(50)), stamp(20, Some(50)));
    // All others expire in one second: so does this.
    let backdated = stamp(BEGAN - 1, Some(50));
    assert_eq!(stamp_of(beside(old, new), Backdate), [old, new, backdated]);
    assert_eq!(stamp_of(beside(old, new), RowMin), [old, new]);
    assert_eq!(stamp_of(beside(old, new), RowMax), [old, new]);
    let for_ever = stamp(20, None);
    let all = [old, for_ever, stamp(BEGAN - 1, None)];
    assert_eq!(stamp_of(beside(old, for_ever), Backdate), all);
}

#[test]
fn backdated_cells_keep_their_expiry() {
    let rules = Rules {
        writetime: Writetime::Backdate,
        ..rules()
    };
    let cells = vec![
        whole(0, b"A", stamp(10, None)),
        whole(1, b"B", stamp(20, Some(9))),
    ];
    let stamps: Vec<_> = made(cells, &rules)
        .1
        .plain
        .iter()
        .map(|w| w.stamp)
        .collect();
    assert_eq!(stamps, [stamp(BEGAN - 1, None), stamp(BEGAN - 1, Some(9))]);
}

#[test]
fn a_list_becomes_runs_and_leaves_young_elements_to_the_proxy() {
    let element = |bytes, us| cell(4, Content::Element(bytes), Some(stamp(us, None)));
    let cells = vec![
        element(b"1", 10),
        element(b"2", 10),
        element(b"3", 30),
        element(b"4", 10),
        element(b"5", BEGAN),
    ];
    let (_, writes) = made(cells, &rules());
    assert_eq!((writes.young_elements, writes.plain.len()), (1, 0));
    let [list] = writes.lists.as_slice() else {
        unreachable!()
    };
    let runs: Vec<_> = list
        .runs
        .iter()
        .map(|(stamp, run)| (stamp.writetime_us, Elements::of_collection(run).unwrap().0))
        .collect();
    assert_eq!(runs, [(10, 2), (30, 1), (10, 1)]);
    assert!(!list.at_the_end, "before what the proxy appended");
    let (_, writes) = made(vec![element(b"0", BEGAN), element(b"1", 10)], &rules());
    assert!(
        writes.lists[0].at_the_end,
        "behind what the proxy prepended"
    );
    let (_, writes) = made(vec![element(b"0", BEGAN)], &rules());
    assert_eq!(writes.lists, []);
}

#[test]
fn writetimes_are_filtered_cell_by_cell() {
    let rules = Rules {
        written_after_us: Some(10),
        written_before_us: Some(30),
        ..rules()
    };
    let cells = vec![
        whole(0, b"A", stamp(10, None)),
        whole(1, b"B", stamp(11, None)),
    ];
    let writes = made(cells, &rules).1;
    assert_eq!(writes.plain.len(), 1);
    assert_eq!(writes.plain[0].stamp.writetime_us, 11);
}
