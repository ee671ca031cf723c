//! Prepared statements that this shard knows, by the source's id.
//!
//! A statement prepared on one shard is published to all others before its client sees the answer;
//! a shard that meets an unknown id takes its news first. So an id that is unknown even then was
//! prepared before this process started, and the client is told to prepare again (UNPREPARED).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::plan::{Plan, PlanCache, Treatment};
use super::write::Slot;
use crate::spill::Head;
use crate::tables::Known;

/// A statement that a client prepared at the source.
#[derive(Debug)]
pub struct Prepared {
    /// The id that the source gave it.
    pub id: Box<[u8]>,
    /// Names it within this shard, for as long as the process lives; never used twice.
    pub slot: Slot,
    /// What it is and how it is treated.
    pub plan: Rc<Plan>,
    /// What is the same in the records of all its writes, if it writes.
    pub head: Option<Head>,
}

/// The statements by id, bounded: the oldest is forgotten first, and its clients prepare it again.
#[derive(Debug)]
pub struct Registry {
    /// Hashed at random per process: who chooses texts cannot choose places.
    by_id: HashMap<Box<[u8]>, Rc<Prepared>, RandomState>,
    order: VecDeque<Box<[u8]>>,
    max_len: usize,
    max_bytes: usize,
    bytes: usize,
    next_slot: Slot,
}

impl Prepared {
    fn new(id: Box<[u8]>, slot: Slot, plan: Rc<Plan>) -> Self {
        let is_recorded = matches!(plan.treatment, Treatment::Mirror | Treatment::Lwt);
        let head = match is_recorded {
            true => Head::new(&plan.keyspace, &plan.table, &plan.target_text).ok(),
            false => None,
        };
        Self {
            id,
            slot,
            plan,
            head,
        }
    }

    /// Memory that it holds, with its places in the registry (bytes), about.
    fn memory_bytes(&self) -> usize {
        /// Two entries, three ids of their own, and the counts of the shared part.
        const ENTRIES: usize = 2 * 32 + 3 * 16 + 32;
        let head = self.head.as_ref().map_or(0, Head::memory_bytes);
        size_of::<Self>() + ENTRIES + 3 * self.id.len() + head + self.plan.memory_bytes()
    }
}

impl Registry {
    /// Remembers at most `max_len` statements, in about `max_bytes` of memory.
    #[must_use]
    pub fn new(max_len: usize, max_bytes: usize) -> Self {
        Self {
            by_id: HashMap::default(),
            order: VecDeque::new(),
            max_len,
            max_bytes,
            bytes: 0,
            next_slot: 0,
        }
    }

    /// The statement with the source's id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: &[u8]) -> Option<&Rc<Prepared>> {
        self.by_id.get(id)
    }

    /// Remembers a statement; one with the same id and text stays as it is.
    ///
    /// The same id with another plan happens when a statement with all names qualified is prepared
    /// under another keyspace: both plans then mean the same, and the newer one is kept.
    pub fn insert(&mut self, id: &[u8], plan: Rc<Plan>) {
        let is_new = match self.by_id.get(id) {
            Some(known) if Rc::ptr_eq(&known.plan, &plan) || *known.plan == *plan => return,
            known => known.is_none(),
        };
        let prepared = Prepared::new(id.into(), self.next_slot, plan);
        self.next_slot = self.next_slot.wrapping_add(1);
        let bytes = prepared.memory_bytes();
        while is_new && (self.by_id.len() >= self.max_len || self.bytes + bytes > self.max_bytes) {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(forgotten) = self.by_id.remove(&oldest) {
                self.bytes -= forgotten.memory_bytes();
            }
        }
        if is_new {
            self.order.push_back(id.into());
        }
        self.bytes += bytes;
        if let Some(other) = self.by_id.insert(id.into(), Rc::new(prepared)) {
            self.bytes -= other.memory_bytes();
        }
    }

    /// The tables may be others than those that the statements were planned with (`plans` still
    /// knows the old ones): those that are treated differently now get a new plan, and a new slot
    /// if their text for the target is another, so that it is prepared there.
    pub fn plan_again(&mut self, plans: &PlanCache, known: &Known) {
        for prepared in self.by_id.values_mut() {
            let old = &prepared.plan;
            if !plans.differs(known, old) {
                continue;
            }
            let (keyspace, binds) = (old.session_keyspace.clone(), old.binds.clone());
            let mut plan = Plan::new(&old.text, keyspace, binds, plans.rules(), known);
            plan.added = old.added.clone();
            if plan == **old {
                continue;
            }
            let mut slot = prepared.slot;
            if plan.target_text != old.target_text {
                slot = self.next_slot;
                self.next_slot = self.next_slot.wrapping_add(1);
            }
            let again = Prepared::new(prepared.id.clone(), slot, Rc::new(plan));
            self.bytes += again.memory_bytes();
            self.bytes -= prepared.memory_bytes();
            *prepared = Rc::new(again);
        }
    }

    /// How many statements are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::plan::Rules;
    use crate::tables::Known;

    const MAX_BYTES: usize = 256 << 10;

    fn plan(text: &str) -> Rc<Plan> {
        let rules = Rules::default();
        let (binds, known) = (Box::default(), Known::default());
        Rc::new(Plan::new(text, Some("ks".into()), binds, &rules, &known))
    }

    fn filled(texts: impl Iterator<Item = String>) -> Registry {
        let mut registry = Registry::new(2_000, MAX_BYTES);
        for (n, text) in (0u64..).zip(texts) {
            registry.insert(&n.to_be_bytes(), plan(&text));
        }
        registry
    }

    /// What a peer can prepare takes no more memory than it should, whatever the texts.
    #[test]
    fn memory_is_bounded_whatever_is_prepared() {
        type Text = fn(usize) -> String;
        let texts: [(usize, Text); 4] = [
            (2_000, |n| format!("INSERT INTO t{n} (a, b) VALUES (?, ?)")),
            (40, |n| {
                format!("INSERT INTO t{n} (a) VALUES ({})", "?,".repeat(1_000))
            }),
            (100, |n| {
                format!("UPDATE t{n} SET a = 1{} WHERE k = 1", ", b = ?".repeat(100))
            }),
            (40, |n| format!("SELECT '{}' FROM t{n}", "x".repeat(20_000))),
        ];
        for (count, text) in texts {
            let mut kept = None;
            let counted = allocation_counter::measure(|| {
                kept = Some(filled((0..count).map(text)));
            });
            assert!(kept.is_some());
            let bytes = usize::try_from(counted.bytes_current).unwrap();
            assert!(bytes < MAX_BYTES * 5 / 4, "{}: {bytes}", &text(1)[..30]);
            assert!(bytes > MAX_BYTES / 4, "{}: {bytes}", &text(1)[..30]);
        }
    }

    #[test]
    fn the_oldest_statement_goes_first_and_the_sum_is_kept() {
        let mut registry = filled((0..2_000).map(|n| format!("SELECT a FROM t{n}")));
        assert!(registry.len() < 2_000 && registry.get(&1_999u64.to_be_bytes()).is_some());
        assert!(registry.get(&0u64.to_be_bytes()).is_none());
        // the same id with another plan takes the place of the old one
        for table in ["short", "a_table_with_a_longer_name"] {
            let last = 1_999u64.to_be_bytes();
            registry.insert(&last, plan(&format!("SELECT a FROM {table}")));
        }
        let sum: usize = registry.by_id.values().map(|p| p.memory_bytes()).sum();
        assert_eq!(
            (registry.bytes, registry.order.len()),
            (sum, registry.len())
        );
        // one that is larger than all that is allowed is known all the same, alone
        registry.insert(b"large", plan(&"x".repeat(2 * MAX_BYTES)));
        assert_eq!(registry.len(), 1);
        assert!(registry.get(b"large").is_some());
    }
}
