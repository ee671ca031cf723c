#![allow(clippy::unwrap_used, clippy::panic)] // tests may

use super::*;
use crate::cql::ColumnType;
use crate::tests::rows_message;

fn page(columns: &[(&str, ColumnType)], rows: &[&[&[u8]]]) -> Vec<u8> {
    let cells: Vec<_> = rows.concat().into_iter().map(Some).collect();
    rows_message(columns, &cells)
}

fn table(default_ttl_s: u32) -> Table {
    Table {
        default_ttl_s,
        ..Table::default()
    }
}

#[test]
fn shapes_follow_from_the_type() {
    for (text, shape) in [
        ("int", Shape::Single),
        ("counter", Shape::Counter),
        ("list<text>", Shape::List),
        ("set<frozen<list<int>>>", Shape::Set),
        ("map<text, int>", Shape::Map),
        ("frozen<list<int>>", Shape::Single),
        ("frozen<person>", Shape::Single),
        ("person", Shape::UserType),
        ("\"Person\"", Shape::UserType),
        ("tuple<int, text>", Shape::Single),
        ("vector<float, 3>", Shape::Single),
        ("'org.apache.cassandra.db.marshal.DateType'", Shape::Single),
    ] {
        assert_eq!(Shape::of(text), shape, "{text}");
    }
}

#[test]
fn rows_of_the_schema_become_tables() {
    let mut reading = Reading::default();
    let text = |name| (name, ColumnType::Varchar);
    let int = |name| (name, ColumnType::Int);
    let release = page(&[text("release_version")], &[&[b"5.0.9-SNAPSHOT"]]);
    reading.release_page(&release).unwrap();
    let tables = page(
        &[
            text("keyspace_name"),
            text("table_name"),
            int("ttl"),
            int("gc"),
        ],
        &[
            &[b"ks", b"t", &60i32.to_be_bytes(), &864_000i32.to_be_bytes()],
            &[b"ks", b"by_set", &0i32.to_be_bytes(), &0i32.to_be_bytes()],
        ],
    );
    reading.tables_page(&tables).unwrap();
    let at = |place: i32| place.to_be_bytes();
    let columns = page(
        &[
            text("keyspace_name"),
            text("table_name"),
            text("column_name"),
            text("kind"),
            int("position"),
            text("type"),
        ],
        &[
            &[b"ks", b"t", b"a", b"regular", &at(-1), b"list<int>"],
            &[b"ks", b"t", b"s", b"static", &at(-1), b"int"],
            &[b"ks", b"t", b"c1", b"clustering", &at(0), b"int"],
            &[b"ks", b"t", b"p2", b"partition_key", &at(1), b"int"],
            &[b"ks", b"t", b"p1", b"partition_key", &at(0), b"int"],
            &[b"ks", b"by_set", b"p1", b"partition_key", &at(0), b"int"],
            &[
                b"ks",
                b"by_set",
                b"p2",
                b"partition_key",
                &at(1),
                b"frozen<set<int>>",
            ],
            &[b"ks", b"view", b"p1", b"partition_key", &at(0), b"int"],
        ],
    );
    reading.columns_page(&columns).unwrap();
    let tables = reading.finish();
    assert!(tables.tells_element_stamps());
    assert_eq!((tables.len(), tables.get("ks", "view")), (2, None));
    // the server puts the elements of a set in order: other bytes may be the same key
    assert!(!tables.get("ks", "by_set").unwrap().has_plain_key);
    let found = tables.get("ks", "t").unwrap();
    let names: Vec<_> = found.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["p1", "p2", "c1", "a", "s"]);
    assert!(found.has_plain_key);
    assert_eq!(found.key().count(), 3);
    assert!(found.has(Role::Static) && found.has_shape(Shape::List));
    assert_eq!(tables.default_ttl_s("ks", "t"), Some(60));
    assert_eq!(tables.gc_grace_s("ks", "t"), Some(864_000));
}

#[test]
fn a_page_of_another_shape_teaches_nothing() {
    let mut reading = Reading::default();
    let odd = page(&[("x", ColumnType::Int)], &[&[&[0, 0, 0, 1]]]);
    reading.tables_page(&odd).unwrap();
    reading.columns_page(&odd).unwrap();
    assert!(reading.tables_page(&odd[..odd.len() - 1]).is_ok());
    assert!(reading.finish().is_empty());
}

#[test]
fn cells_expire_as_at_the_source_whatever_the_targets_default() {
    let explicit = |source: Option<u32>, target: Option<u32>, elapsed_s| {
        let side = |ttl: Option<u32>| {
            let mut tables = Tables::default();
            if let Some(ttl_s) = ttl {
                tables.add("ks", "t", table(ttl_s));
            }
            Arc::new(tables)
        };
        let known = Known {
            source: side(source),
            target: side(target),
        };
        known.explicit_ttl_s("ks", "t", elapsed_s)
    };
    assert_eq!(explicit(Some(0), Some(0), 50), None);
    assert_eq!(explicit(None, None, 50), None);
    assert_eq!(explicit(Some(60), Some(60), 0), None);
    assert_eq!(explicit(Some(60), Some(60), 50), Some(10));
    assert_eq!(explicit(Some(60), Some(60), 500), Some(1));
    assert_eq!(explicit(Some(60), Some(90), 0), Some(60));
    assert_eq!(explicit(Some(60), None, 50), Some(10));
    assert_eq!(explicit(None, Some(60), 50), Some(10));
    assert_eq!(explicit(Some(0), Some(60), 0), Some(0));
}
