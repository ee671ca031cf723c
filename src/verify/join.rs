//! Two streams of rows in one unknown order, brought together: each row is paired with the other
//! side's of the same key. Pure.
//!
//! Both clusters order partitions by token and rows by clustering key, and no comparator of ours
//! has to know how: when a row of one side meets its twin among the waiting rows of the other, all
//! rows that wait before the twin, and all that wait on the own side, have none: the streams have
//! gone past them. Between partitions the tokens tell as much. What waits is bounded; the oldest
//! beyond that is called doubtful, which costs a second look and is never wrong.

use std::collections::{HashMap, VecDeque};

use super::fingerprint::{Fingerprint, Tolerance};
use crate::limits;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Source,
    Target,
}

#[derive(Default)]
struct Waiting {
    rows: VecDeque<Fingerprint>,
    /// Key → place, counted from the first row that ever waited.
    places: HashMap<Box<[u8]>, u64>,
    /// Place of the first row that waits.
    first: u64,
    bytes: usize,
    /// Token of the last row that came.
    token: Option<i64>,
    is_ended: bool,
}

impl Waiting {
    fn push(&mut self, row: Fingerprint) {
        let place = self.first + u64::try_from(self.rows.len()).unwrap_or(0);
        self.places.insert(row.key.clone(), place);
        self.bytes += row.bytes();
        self.rows.push_back(row);
    }

    fn pop(&mut self) -> Option<Fingerprint> {
        let row = self.rows.pop_front()?;
        self.places.remove(&row.key);
        self.first += 1;
        self.bytes -= row.bytes();
        Some(row)
    }
}

/// The rows that wait for their twins.
pub(super) struct Join {
    source: Waiting,
    target: Waiting,
    tolerance: Tolerance,
    /// Rows that were the same at both sides.
    pub equal: u64,
    /// Keys of rows to look at again.
    pub doubtful: Vec<Box<[u8]>>,
}

impl Join {
    pub(super) fn new(tolerance: Tolerance) -> Join {
        Join {
            source: Waiting::default(),
            target: Waiting::default(),
            tolerance,
            equal: 0,
            doubtful: Vec::new(),
        }
    }

    /// Which stream to read on; none when both have ended.
    pub(super) fn wants(&self) -> Option<From> {
        match (self.source.is_ended, self.target.is_ended) {
            (true, true) => None,
            (true, false) => Some(From::Target),
            (false, true) => Some(From::Source),
            (false, false) if self.source.token <= self.target.token => Some(From::Source),
            (false, false) => Some(From::Target),
        }
    }

    /// A row came.
    pub(super) fn row(&mut self, from: From, row: Fingerprint) {
        let (own, other) = match from {
            From::Source => (&mut self.source, &mut self.target),
            From::Target => (&mut self.target, &mut self.source),
        };
        own.token = Some(row.token);
        if let Some(place) = other.places.get(&row.key).copied() {
            while let Some(alone) = own.pop() {
                self.doubtful.push(alone.key);
            }
            while other.first < place
                && let Some(alone) = other.pop()
            {
                self.doubtful.push(alone.key);
            }
            if let Some(twin) = other.pop() {
                match row.matches(&twin, &self.tolerance) {
                    true => self.equal += 1,
                    false => self.doubtful.push(row.key),
                }
            }
            return;
        }
        own.push(row);
        self.release();
    }

    /// A stream has ended.
    pub(super) fn ended(&mut self, from: From) {
        match from {
            From::Source => self.source.is_ended = true,
            From::Target => self.target.is_ended = true,
        }
        self.release();
    }

    /// Lets go of rows whose twin cannot come any more, and of those beyond the bound.
    fn release(&mut self) {
        let source = (self.source.token, self.source.is_ended);
        let target = (self.target.token, self.target.is_ended);
        let both = [(&mut self.source, target), (&mut self.target, source)];
        for (own, (other_token, other_ended)) in both {
            while let Some(first) = own.rows.front() {
                let is_past = other_ended || other_token.is_some_and(|token| token > first.token);
                if !is_past && own.bytes <= limits::JOIN_WAITING_BYTES {
                    break;
                }
                if let Some(alone) = own.pop() {
                    self.doubtful.push(alone.key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::history::cells::{Cell, Content, Row};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TOLERANCE: Tolerance = Tolerance {
        compare_stamps: true,
        expiry_ms: 0,
        writetime_us: 0,
        float: 0.0,
    };

    fn row(token: i64, key: u8, value: u8) -> Fingerprint {
        let (key, value) = ([key], [value]);
        let cell = Cell {
            column: 0,
            content: Content::Whole(&value),
            stamp: None,
        };
        let row = Row {
            token,
            key: vec![&key],
            cells: vec![cell],
        };
        Fingerprint::of(&row, &[], &TOLERANCE)
    }

    /// Feeds both sides in the join's own order, some rows at a time.
    fn join(source: &[Fingerprint], target: &[Fingerprint], page: usize) -> Join {
        let mut join = Join::new(TOLERANCE);
        let (mut source, mut target) = (source.iter(), target.iter());
        while let Some(from) = join.wants() {
            let rows = match from {
                From::Source => source.by_ref(),
                From::Target => target.by_ref(),
            };
            let rows: Vec<_> = rows.take(page).cloned().collect();
            if rows.is_empty() {
                join.ended(from);
            }
            rows.into_iter().for_each(|row| join.row(from, row));
        }
        join
    }

    proptest! {
        /// Whatever is missing, extra or different is found, and nothing else, in any order of
        /// rows within a partition, as long as it is the same at both sides.
        #[test]
        fn finds_all_differences_and_no_others(
            rows in prop::collection::btree_map(0u8..60, (0u8..3, 0u8..4), 0..60),
            order in any::<u64>(),
            page in 1usize..7,
        ) {
            // Four rows to a partition; within one in an order that nobody knows.
            let mut keys: Vec<u8> = rows.keys().copied().collect();
            keys.sort_by_key(|key| {
                let mixed = (u64::from(*key) ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (key / 4, mixed)
            });
            let side = |fate: fn(u8, u8) -> Option<u8>| -> Vec<_> {
                keys.iter()
                    .filter_map(|key| {
                        let (value, what) = rows[key];
                        Some(row(i64::from(key / 4), *key, fate(value, what)?))
                    })
                    .collect()
            };
            let source = side(|value, what| (what != 1).then_some(value));
            let target = side(|value, what| match what {
                2 => None,
                3 => Some(value + 100),
                _ => Some(value),
            });
            let joined = join(&source, &target, page);
            let expected: BTreeMap<u8, ()> = rows
                .iter()
                .filter(|(_, (_, what))| *what != 0)
                .map(|(key, _)| (*key, ()))
                .collect();
            let found: BTreeMap<u8, ()> =
                joined.doubtful.iter().map(|key| (key[4], ())).collect();
            prop_assert_eq!(found, expected);
            let same = rows.values().filter(|(_, what)| *what == 0).count();
            prop_assert_eq!(joined.equal, u64::try_from(same).unwrap());
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut join = Join::new(TOLERANCE);
        let size = row(5, 1, 1).bytes();
        let many = limits::JOIN_WAITING_BYTES / size + 10;
        for n in 0..many {
            let key = u32::try_from(n).unwrap().to_be_bytes();
            let row = Row {
                token: 5,
                key: vec![&key],
                cells: vec![],
            };
            join.row(From::Source, Fingerprint::of(&row, &[], &TOLERANCE));
        }
        assert!(join.source.bytes <= limits::JOIN_WAITING_BYTES);
        assert!(!join.doubtful.is_empty());
    }
}
