//! Records that the target could not take: they wait, and do not hold up what comes behind them.
//!
//! One table that the target cannot write to, or partitions whose replicas are down, may be most of
//! a backlog. So their records wait here, outside of the drain's window, in bounded memory, and are
//! tried again one at a time each, after longer and longer pauses; the first that the target takes
//! ends the pauses of all. Pure.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap};

use crate::relay::plan::Repeat;
use crate::relay::write::{Table, Write};
use crate::spill::Kind;

/// The first pause of a record and its longest one (µs).
const PAUSE_US: (i64, i64) = (1_000_000, 16_000_000);
/// Memory of those that wait (bytes): beyond it nothing more is read.
const BYTES_MAX: usize = 4 << 20;
/// Most that are tried again at once.
const TRIED_MAX: usize = 64;
/// Time between two looks (µs).
const LOOK_US: i64 = 50_000;

/// What a record means for those that come later.
enum Weight {
    /// Nothing.
    None,
    /// It deletes in this table: nothing, unless places matter there.
    Deletes(Table),
    /// Its place matters.
    Full,
}

impl Weight {
    fn of(write: &Write) -> Self {
        match (write.kind, write.repeat) {
            (Kind::Write, Repeat::Free) if !write.deletes => Self::None,
            (Kind::Write, Repeat::Free) => Self::Deletes(write.of_table()),
            _ => Self::Full,
        }
    }
}

/// A record that was postponed, and is not done.
struct Known {
    /// How often it was.
    rounds: u32,
    weight: Weight,
}

struct Waiting {
    write: Box<Write>,
    due_us: i64,
    /// [`Postponed::mended`] when it began to wait.
    mended: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Postponed {
    /// By the drain's names, so the one that came first is first.
    waiting: BTreeMap<u64, Waiting>,
    /// Those that wait, and those that are tried again.
    known: HashMap<u64, Known>,
    /// How many of them are deletes, by table.
    deletes: HashMap<Table, usize>,
    /// How many of them have a place that matters.
    placed: usize,
    bytes: usize,
    look_at_us: i64,
    /// How often the target has taken one.
    mended: u64,
}

impl Postponed {
    /// The target could not take a record.
    pub fn add(&mut self, key: u64, write: Box<Write>, now_us: i64) {
        let known = self.known.entry(key).or_insert_with(|| {
            let weight = Weight::of(&write);
            match &weight {
                Weight::None => {}
                Weight::Deletes(table) => *self.deletes.entry(table.clone()).or_default() += 1,
                Weight::Full => self.placed += 1,
            }
            Known { rounds: 0, weight }
        });
        let (first_us, longest_us) = PAUSE_US;
        let pause_us = (first_us << known.rounds.min(16)).min(longest_us);
        known.rounds += 1;
        self.bytes += write.cost_bytes();
        let waiting = Waiting {
            write,
            due_us: now_us + pause_us,
            mended: self.mended,
        };
        self.waiting.insert(key, waiting);
    }

    /// A record has come to its end at the target.
    pub fn finish(&mut self, key: u64) {
        if self.forget(key) {
            self.mended += 1; // what was wrong is, for some at least
        }
    }

    fn forget(&mut self, key: u64) -> bool {
        let Some(known) = self.known.remove(&key) else {
            return false;
        };
        match known.weight {
            Weight::None => {}
            Weight::Full => self.placed -= 1,
            Weight::Deletes(table) => {
                if let hash_map::Entry::Occupied(mut count) = self.deletes.entry(table) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
        }
        true
    }

    /// Those that are to be tried again, at most `limit`: what the target may take comes first,
    /// then what waited for the longest time. `is_failing`: that the last write of the same table
    /// failed; these only `with_failing`.
    pub fn take_due(
        &mut self,
        now_us: i64,
        limit: usize,
        with_failing: bool,
        is_failing: impl Fn(&Write) -> bool,
    ) -> Vec<(u64, Box<Write>)> {
        let tried = self.known.len() - self.waiting.len();
        let limit = limit.min(TRIED_MAX.saturating_sub(tried));
        if limit == 0 || self.waiting.is_empty() || now_us < self.look_at_us {
            return Vec::new();
        }
        self.look_at_us = now_us + LOOK_US;
        let mended = self.mended;
        let is_due = |it: &Waiting| it.due_us <= now_us || it.mended != mended;
        let due = self.waiting.iter().filter(|(_, it)| is_due(it));
        let mut due: Vec<_> = due
            .map(|(key, it)| (is_failing(&it.write), it.due_us, *key))
            .filter(|(failing, ..)| with_failing || !failing)
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let taken = |(_, _, key)| self.take(key).map(|write| (key, write));
        due.into_iter().filter_map(taken).collect()
    }

    /// Gives up the first of those that may go to the end of the log.
    pub fn take_first_free(&mut self) -> Option<(u64, Box<Write>)> {
        let free = |it: &Waiting| it.write.kind == Kind::Write;
        let key = self
            .waiting
            .iter()
            .find_map(|(key, it)| free(it).then_some(*key))?;
        self.forget(key);
        self.take(key).map(|write| (key, write))
    }

    fn take(&mut self, key: u64) -> Option<Box<Write>> {
        let waiting = self.waiting.remove(&key)?;
        self.bytes -= waiting.write.cost_bytes();
        Some(waiting.write)
    }

    /// Whether there are so many that nothing more may be read.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Records that were postponed and are not done, whether they wait or are tried again.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Those of them that may come before or after all others. `is_ordered`: whether places matter
    /// in a table.
    pub fn harmless(&self, is_ordered: impl Fn(&Table) -> bool) -> usize {
        let ordered = self.deletes.iter().filter(|(table, _)| is_ordered(table));
        self.known.len() - self.placed - ordered.map(|(_, count)| count).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::write::Body;

    const SECOND_US: i64 = 1_000_000;

    fn keys(taken: Vec<(u64, Box<Write>)>) -> Vec<u64> {
        taken.into_iter().map(|(key, _)| key).collect()
    }

    fn write(table: &str, deletes: bool) -> Box<Write> {
        let body = Body::Query {
            text: "".into(),
            params: Vec::new(),
        };
        Box::new(Write {
            kind: Kind::Write,
            repeat: Repeat::Free,
            deletes,
            ..Write::new(0, "ks", table, body)
        })
    }

    #[test]
    fn pauses_grow_until_the_target_takes_one() {
        let mut postponed = Postponed::default();
        let mut now_us = 0;
        for pause_s in [1, 2, 4, 8, 16, 16] {
            postponed.add(1, write("t", false), now_us);
            now_us += pause_s * SECOND_US;
            assert!(
                postponed
                    .take_due(now_us - 1, 9, true, |_| false)
                    .is_empty()
            );
            now_us += LOOK_US;
            assert_eq!(keys(postponed.take_due(now_us, 9, true, |_| false)), [1]);
        }
        postponed.add(1, write("t", false), now_us);
        postponed.add(2, write("t", false), now_us);
        now_us += SECOND_US;
        assert_eq!(keys(postponed.take_due(now_us, 9, true, |_| false)), [2]);
        postponed.finish(2);
        now_us += LOOK_US;
        assert_eq!(keys(postponed.take_due(now_us, 9, true, |_| false)), [1]);
        assert_eq!(postponed.len(), 1, "it is not done");
    }

    #[test]
    fn what_may_be_taken_comes_first_and_few_are_tried_at_once() {
        let mut postponed = Postponed::default();
        for key in 0..200 {
            postponed.add(key, write("bad", false), 0);
        }
        postponed.add(200, write("good", false), 1);
        let bad = |write: &Write| &*write.table == "bad";
        let now_us = 5 * SECOND_US;
        assert_eq!(keys(postponed.take_due(now_us, 9, false, bad)), [200]);
        let taken = keys(postponed.take_due(now_us + LOOK_US, usize::MAX, true, bad));
        assert_eq!(taken.len(), TRIED_MAX - 1);
        let now_us = now_us + 2 * LOOK_US;
        assert!(postponed.take_due(now_us, 9, true, bad).is_empty());
    }

    #[test]
    fn only_deletes_where_places_matter_hold_up_a_group() {
        let mut postponed = Postponed::default();
        postponed.add(1, write("plain", false), 0);
        postponed.add(2, write("plain", true), 0);
        postponed.add(3, write("lists", true), 0);
        let lists = |table: &Table| &*table.1 == "lists";
        assert_eq!(postponed.harmless(lists), 2);
        postponed.take_due(2 * SECOND_US, 9, true, |_| false);
        assert_eq!(postponed.harmless(lists), 2, "tried, and not done");
        postponed.finish(3);
        assert_eq!((postponed.harmless(lists), postponed.len()), (2, 2));
    }

    #[test]
    fn they_are_bounded_and_the_first_free_one_can_leave() {
        let mut postponed = Postponed::default();
        let mut key = 0;
        while !postponed.is_full() {
            postponed.add(key, write("t", false), 0);
            key += 1;
        }
        assert!(key > 1_000, "{key}");
        assert_eq!(postponed.take_first_free().unwrap().0, 0);
        assert!(!postponed.is_full());
    }
}
