//! Two rows of one key, cell by cell: what differs, and in which way. Pure.

use std::collections::BTreeMap;

use crate::history::cells::{Cell, Content, Row, Stamp};
use crate::history::schema::Column;

use super::fingerprint::{
    self, Tolerance, expiries_match, floats_match, is_list, writetimes_match,
};
use super::report::{Class, Side};

/// Where a cell is in its row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub column: usize,
    /// Key of a map's entry, element of a set, place in a list or user type.
    pub element: Option<Vec<u8>>,
}

/// A cell that differs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CellDifference {
    pub place: Place,
    pub class: Class,
    pub source: Option<Side>,
    pub target: Option<Side>,
}

/// How two rows differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RowDifference {
    Missing,
    Extra,
    Cells(Vec<CellDifference>),
}

/// Compares two rows; a row that is not there is `None`.
pub(super) fn rows(
    source: Option<&Row<'_>>,
    target: Option<&Row<'_>>,
    columns: &[Column],
    tolerance: &Tolerance,
) -> Option<RowDifference> {
    match (source, target) {
        (None, None) => None,
        (Some(_), None) => Some(RowDifference::Missing),
        (None, Some(_)) => Some(RowDifference::Extra),
        (Some(source), Some(target)) => {
            let cells = cells(source, target, columns, tolerance);
            (!cells.is_empty()).then_some(RowDifference::Cells(cells))
        }
    }
}

fn cells(
    source: &Row<'_>,
    target: &Row<'_>,
    columns: &[Column],
    tolerance: &Tolerance,
) -> Vec<CellDifference> {
    let (here, there) = (by_place(source, columns), by_place(target, columns));
    let mut differences = Vec::new();
    for (place, cell) in &here {
        let found = match there.get(place) {
            None => Some(Class::Missing),
            Some(other) => class(cell, other, columns.get(place.column), tolerance),
        };
        if let Some(class) = found {
            differences.push(CellDifference {
                place: place.clone(),
                class,
                source: Some(side(cell)),
                target: there.get(place).map(|cell| side(cell)),
            });
        }
    }
    for (place, cell) in there.iter().filter(|(place, _)| !here.contains_key(place)) {
        differences.push(CellDifference {
            place: place.clone(),
            class: Class::Extra,
            source: None,
            target: Some(side(cell)),
        });
    }
    differences
}

fn by_place<'r, 'a>(row: &'r Row<'a>, columns: &[Column]) -> BTreeMap<Place, &'r Cell<'a>> {
    let mut places = BTreeMap::new();
    let mut in_list: u32 = 0;
    let mut last = None;
    for cell in &row.cells {
        if last.replace(cell.column) != Some(cell.column) {
            in_list = 0;
        }
        let element = match cell.content {
            Content::Whole(_) => None,
            Content::Element(_) if is_list(columns.get(cell.column)) => {
                in_list += 1;
                Some((in_list - 1).to_be_bytes().to_vec())
            }
            Content::Element(element) => Some(element.to_vec()),
            Content::Entry(key, _) => Some(key.to_vec()),
            Content::Field(field, _) => {
                Some(u32::try_from(field).unwrap_or(0).to_be_bytes().into())
            }
        };
        let place = Place {
            column: cell.column,
            element,
        };
        places.insert(place, cell);
    }
    places
}

fn class(
    source: &Cell<'_>,
    target: &Cell<'_>,
    column: Option<&Column>,
    tolerance: &Tolerance,
) -> Option<Class> {
    let floats = (
        fingerprint::float(source, column, tolerance),
        fingerprint::float(target, column, tolerance),
    );
    let same = match floats {
        (Some(a), Some(b)) => floats_match(a, b, tolerance),
        _ => source.content == target.content,
    };
    if !same {
        return Some(Class::Value);
    }
    let (Some(a), Some(b), true) = (source.stamp, target.stamp, tolerance.compare_stamps) else {
        return None;
    };
    if !writetimes_match(a.writetime_us, b.writetime_us, is_list(column), tolerance) {
        return Some(Class::Stamp);
    }
    match (a.expires_s, b.expires_s) {
        (None, None) => None,
        (Some(a), Some(b)) if expiries_match(a, b, tolerance) => None,
        _ => Some(Class::Expiry),
    }
}

fn side(cell: &Cell<'_>) -> Side {
    let value = match cell.content {
        Content::Whole(value) | Content::Element(value) => value,
        Content::Entry(_, value) | Content::Field(_, value) => value,
    };
    let stamp: Option<Stamp> = cell.stamp;
    Side {
        value: value.to_vec(),
        writetime_us: stamp.map(|stamp| stamp.writetime_us),
        expires_s: stamp.and_then(|stamp| stamp.expires_s),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::history::schema::Shape;

    const STRICT: Tolerance = Tolerance {
        compare_stamps: true,
        expiry_ms: 2000,
        writetime_us: 0,
        float: 0.0,
    };

    fn columns() -> Vec<Column> {
        [Shape::Single, Shape::Map, Shape::List]
            .map(|shape| Column {
                name: "x".into(),
                cql_type: "blob".into(),
                shape,
            })
            .into()
    }

    fn cell(column: usize, content: Content<'_>, us: i64, expires_s: Option<i64>) -> Cell<'_> {
        Cell {
            column,
            content,
            stamp: Some(Stamp {
                writetime_us: us,
                expires_s,
            }),
        }
    }

    fn row(cells: Vec<Cell<'_>>) -> Row<'_> {
        Row {
            token: 1,
            key: vec![b"k"],
            cells,
        }
    }

    fn found(source: Vec<Cell<'_>>, target: Vec<Cell<'_>>) -> Vec<(usize, Class)> {
        let difference = rows(Some(&row(source)), Some(&row(target)), &columns(), &STRICT);
        match difference {
            None => vec![],
            Some(RowDifference::Cells(cells)) => {
                let each = cells.iter();
                each.map(|cell| (cell.place.column, cell.class)).collect()
            }
            Some(other) => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn each_class_is_told_from_the_others() {
        let base = || vec![cell(0, Content::Whole(b"a"), 5, Some(100))];
        let other = |bytes, us, expires| vec![cell(0, Content::Whole(bytes), us, expires)];
        assert_eq!(found(base(), base()), []);
        assert_eq!(
            found(base(), other(b"b", 5, Some(100))),
            [(0, Class::Value)]
        );
        assert_eq!(
            found(base(), other(b"a", 6, Some(100))),
            [(0, Class::Stamp)]
        );
        assert_eq!(found(base(), other(b"a", 5, None)), [(0, Class::Expiry)]);
        assert_eq!(found(base(), vec![]), [(0, Class::Missing)]);
        assert_eq!(found(vec![], base()), [(0, Class::Extra)]);
        let present = row(base());
        let of = |source, target| rows(source, target, &columns(), &STRICT).unwrap();
        assert_eq!(of(Some(&present), None), RowDifference::Missing);
        assert_eq!(of(None, Some(&present)), RowDifference::Extra);
    }

    #[test]
    fn entries_are_found_by_key_and_list_elements_by_place() {
        let entry = |key, value| cell(1, Content::Entry(key, value), 5, None);
        let differences = found(
            vec![entry(b"a", b"1"), entry(b"b", b"2")],
            vec![entry(b"b", b"3"), entry(b"c", b"1")],
        );
        assert_eq!(
            differences,
            [(1, Class::Missing), (1, Class::Value), (1, Class::Extra)]
        );
        let element = |value| cell(2, Content::Element(value), 5, None);
        let differences = found(
            vec![element(b"a"), element(b"b")],
            vec![element(b"b"), element(b"a"), element(b"c")],
        );
        assert_eq!(
            differences,
            [(2, Class::Value), (2, Class::Value), (2, Class::Extra)]
        );
    }
}
