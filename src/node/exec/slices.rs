//! Bounds on clustering columns as slices of order keys.

use crate::node::order::{after_prefix, push_clustering_key};
use crate::node::schema::ColumnDef;
use crate::node::store::Slice;

/// One row's place: its order key and its clustering values (maybe only the first ones).
pub(crate) type Place = (Vec<u8>, Vec<Box<[u8]>>);

/// Which bound of a range, and whether the value itself is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) is_lower: bool,
    pub(crate) inclusive: bool,
}

/// A place with more clustering values.
pub(crate) fn extend(place: &Place, columns: &[ColumnDef], values: Vec<Vec<u8>>) -> Place {
    let (mut key, mut all) = place.clone();
    for (column, value) in columns.iter().zip(values) {
        push_clustering_key(&column.ty, column.descending, &value, &mut key);
        all.push(value.into_boxed_slice());
    }
    (key, all)
}

/// All rows whose key begins with `prefix`.
pub(crate) fn under(prefix: &[u8]) -> Slice {
    Slice {
        start: prefix.to_vec(),
        end: after_prefix(prefix),
    }
}

/// The rows under `prefix` on one side of the tuple `values` of these columns, in order.
///
/// Columns of one direction make one slice. Where the direction turns, `(a, b) > (1, 2)` is
/// `a > 1`, or `a = 1` and `b > 2`: a slice for each column.
pub(crate) fn beyond(
    prefix: &[u8],
    columns: &[ColumnDef],
    values: &[Vec<u8>],
    side: Side,
) -> Vec<Slice> {
    let columns = columns.get(..values.len()).unwrap_or(columns);
    let one_way = columns
        .windows(2)
        .all(|pair| pair[0].descending == pair[1].descending);
    if one_way {
        return vec![edge(prefix, columns, values, side)];
    }
    let mut slices = Vec::with_capacity(columns.len());
    for at in 0..columns.len() {
        let equal = (prefix.to_vec(), Vec::new());
        let (base, _) = extend(&equal, &columns[..at], values[..at].to_vec());
        let side = Side {
            inclusive: side.inclusive && at + 1 == columns.len(),
            ..side
        };
        slices.push(edge(&base, &columns[at..=at], &values[at..=at], side));
    }
    slices.sort_by(|a, b| a.start.cmp(&b.start));
    slices
}

/// The rows under `base` on one side of `values`, whose columns have one direction.
fn edge(base: &[u8], columns: &[ColumnDef], values: &[Vec<u8>], side: Side) -> Slice {
    let mut slice = under(base);
    let descending = columns.first().is_some_and(|column| column.descending);
    let (key, _) = extend(&(base.to_vec(), Vec::new()), columns, values.to_vec());
    let after = after_prefix(&key);
    // A descending column has its lower bound at the end.
    if side.is_lower == descending {
        slice.end = if side.inclusive { after } else { Some(key) };
    } else if side.inclusive {
        slice.start = key;
    } else {
        match after {
            Some(after) => slice.start = after,
            None => slice.end = Some(Vec::new()),
        }
    }
    slice
}

/// What is in a slice of the one list and in one of the other.
pub(crate) fn both(these: &[Slice], those: &[Slice]) -> Vec<Slice> {
    let mut common = Vec::new();
    for a in these {
        for b in those {
            let end = match (&a.end, &b.end) {
                (Some(a), Some(b)) => Some(a.min(b).clone()),
                (a, b) => a.as_ref().or(b.as_ref()).cloned(),
            };
            let slice = Slice {
                start: a.start.clone().max(b.start.clone()),
                end,
            };
            if !slice.is_empty() {
                common.push(slice);
            }
        }
    }
    common
}
