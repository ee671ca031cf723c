//! A row in few bytes: a digest of all that must be the same, and the numbers that only have to be
//! close. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::history::cells::{Cell, Content, Row};
use crate::history::schema::{Column, Shape};
use crate::history::write::key_bytes;
use crate::limits;

/// How far apart two cells may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub compare_stamps: bool,
    pub expiry_ms: i64,
    pub writetime_us: i64,
    pub float: f64,
}

/// A number that must be close to the other side's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Loose {
    /// Seconds since 1970.
    Expiry(i64),
    /// µs since 1970.
    Writetime(i64),
    ListWritetime(i64),
    Float(f64),
}

/// A row of one side.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    pub token: i64,
    /// The key as `[bytes]`.
    pub key: Box<[u8]>,
    digest: u64,
    loose: Vec<Loose>,
}

impl Fingerprint {
    pub(super) fn of(row: &Row<'_>, columns: &[Column], tolerance: &Tolerance) -> Fingerprint {
        let mut digest = DefaultHasher::new();
        let mut loose = Vec::new();
        for cell in &row.cells {
            let column = columns.get(cell.column);
            cell.column.hash(&mut digest);
            match float(cell, column, tolerance) {
                Some(float) => loose.push(Loose::Float(float)),
                None => hash_content(&cell.content, &mut digest),
            }
            let Some(stamp) = cell.stamp.filter(|_| tolerance.compare_stamps) else {
                continue;
            };
            if is_list(column) {
                loose.push(Loose::ListWritetime(stamp.writetime_us));
            } else if tolerance.writetime_us > 0 {
                loose.push(Loose::Writetime(stamp.writetime_us));
            } else {
                stamp.writetime_us.hash(&mut digest);
            }
            stamp.expires_s.is_some().hash(&mut digest);
            loose.extend(stamp.expires_s.map(Loose::Expiry));
        }
        Fingerprint {
            token: row.token,
            key: key_bytes(row).into(),
            digest: digest.finish(),
            loose,
        }
    }

    /// Whether two rows of one key hold the same.
    pub(super) fn matches(&self, other: &Fingerprint, tolerance: &Tolerance) -> bool {
        let pairs = self.loose.iter().zip(&other.loose);
        self.digest == other.digest
            && self.loose.len() == other.loose.len()
            && pairs.into_iter().all(|(a, b)| close(*a, *b, tolerance))
    }

    /// Memory it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Fingerprint>() + self.key.len() + self.loose.len() * size_of::<Loose>()
    }
}

fn close(a: Loose, b: Loose, tolerance: &Tolerance) -> bool {
    match (a, b) {
        (Loose::Expiry(a), Loose::Expiry(b)) => expiries_match(a, b, tolerance),
        (Loose::Writetime(a), Loose::Writetime(b)) => writetimes_match(a, b, false, tolerance),
        (Loose::ListWritetime(a), Loose::ListWritetime(b)) => {
            writetimes_match(a, b, true, tolerance)
        }
        (Loose::Float(a), Loose::Float(b)) => floats_match(a, b, tolerance),
        _ => false,
    }
}

/// Whether two cells expire at about the same time.
pub(super) fn expiries_match(a_s: i64, b_s: i64, tolerance: &Tolerance) -> bool {
    let apart_ms = a_s.abs_diff(b_s).saturating_mul(1000);
    apart_ms <= tolerance.expiry_ms.unsigned_abs()
}

/// Whether two writetimes are close enough. A list that had to be written anew is a little
/// younger than at the source.
pub(super) fn writetimes_match(a: i64, b: i64, of_list: bool, tolerance: &Tolerance) -> bool {
    let slack = match of_list {
        true => limits::LIST_STAMP_SLACK_US,
        false => 0,
    };
    a.abs_diff(b) <= tolerance.writetime_us.unsigned_abs().max(slack)
}

/// Whether two numbers are close enough; NaN is like NaN.
pub(super) fn floats_match(a: f64, b: f64, tolerance: &Tolerance) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance.float
}

/// The cell's value, if it is a float that only has to be close.
pub(super) fn float(
    cell: &Cell<'_>,
    column: Option<&Column>,
    tolerance: &Tolerance,
) -> Option<f64> {
    let Content::Whole(bytes) = cell.content else {
        return None;
    };
    if tolerance.float <= 0.0 {
        return None;
    }
    match column?.cql_type.as_str() {
        "double" => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        "float" => Some(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        _ => None,
    }
}

pub(super) fn is_list(column: Option<&Column>) -> bool {
    column.is_some_and(|column| column.shape == Shape::List)
}

fn hash_content(content: &Content<'_>, digest: &mut DefaultHasher) {
    std::mem::discriminant(content).hash(digest);
    match content {
        Content::Whole(bytes) | Content::Element(bytes) => bytes.hash(digest),
        Content::Entry(key, value) => (key, value).hash(digest),
        Content::Field(field, value) => (field, value).hash(digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::cells::Stamp;

    const STRICT: Tolerance = Tolerance {
        compare_stamps: true,
        expiry_ms: 2000,
        writetime_us: 0,
        float: 0.0,
    };

    fn column(cql_type: &str, shape: Shape) -> Column {
        Column {
            name: "x".into(),
            cql_type: cql_type.into(),
            shape,
        }
    }

    fn print(
        bytes: &[u8],
        us: i64,
        expires_s: Option<i64>,
        column: &Column,
        t: &Tolerance,
    ) -> Fingerprint {
        let content = match column.shape {
            Shape::List => Content::Element(bytes),
            _ => Content::Whole(bytes),
        };
        let row = Row {
            token: 1,
            key: vec![b"k"],
            cells: vec![Cell {
                column: 0,
                content,
                stamp: Some(Stamp {
                    writetime_us: us,
                    expires_s,
                }),
            }],
        };
        Fingerprint::of(&row, std::slice::from_ref(column), t)
    }

    #[test]
    fn everything_that_is_told_is_compared() {
        let text = column("text", Shape::Single);
        let one = |bytes, us, expires| print(bytes, us, expires, &text, &STRICT);
        let base = one(b"a", 5, Some(100));
        assert!(base.matches(&one(b"a", 5, Some(102)), &STRICT), "2 s later");
        assert!(!base.matches(&one(b"a", 5, Some(103)), &STRICT));
        assert!(!base.matches(&one(b"a", 5, Some(97)), &STRICT));
        assert!(!base.matches(&one(b"a", 5, None), &STRICT), "for ever");
        assert!(!base.matches(&one(b"a", 6, Some(100)), &STRICT));
        assert!(!base.matches(&one(b"b", 5, Some(100)), &STRICT));
    }

    #[test]
    fn tolerances_are_what_they_say() {
        let text = column("text", Shape::Single);
        let wide = Tolerance {
            writetime_us: 10,
            ..STRICT
        };
        let one = |us| print(b"a", us, None, &text, &wide);
        assert!(one(5).matches(&one(15), &wide));
        assert!(!one(5).matches(&one(16), &wide));
        let blind = Tolerance {
            compare_stamps: false,
            ..STRICT
        };
        let one = |us, expires| print(b"a", us, expires, &text, &blind);
        assert!(one(1, None).matches(&one(9, Some(5)), &blind));
        let float = column("double", Shape::Single);
        let near = Tolerance {
            float: 0.01,
            ..STRICT
        };
        let one = |x: f64| print(&x.to_be_bytes(), 5, None, &float, &near);
        assert!(one(1.0).matches(&one(1.005), &near));
        assert!(!one(1.0).matches(&one(1.05), &near));
        assert!(one(f64::NAN).matches(&one(f64::NAN), &near));
        assert!(!one(f64::NAN).matches(&one(0.0), &near));
    }

    #[test]
    fn list_elements_may_be_a_little_younger() {
        let list = column("list<int>", Shape::List);
        let one = |us| print(b"a", us, None, &list, &STRICT);
        assert!(one(5).matches(&one(6), &STRICT));
        assert!(!one(5).matches(&one(500), &STRICT));
    }
}
