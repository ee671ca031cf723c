//! Prepared statements that this shard knows, by the source's id.
//!
//! A statement prepared on one shard is published to all others before its client sees the answer;
//! a shard that meets an unknown id takes its news first. So an id that is unknown even then was
//! prepared before this process started, and the client is told to prepare again (UNPREPARED).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::plan::{Plan, PlanCache};
use super::write::Slot;
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
}

/// The statements by id, bounded: the oldest is forgotten first, and its clients prepare it again.
#[derive(Debug)]
pub struct Registry {
    /// Hashed at random per process: who chooses texts cannot choose places.
    by_id: HashMap<Box<[u8]>, Rc<Prepared>, RandomState>,
    order: VecDeque<Box<[u8]>>,
    limit: usize,
    next_slot: Slot,
}

impl Registry {
    /// Remembers at most `limit` statements.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            by_id: HashMap::default(),
            order: VecDeque::new(),
            limit,
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
        if let Some(known) = self.by_id.get(id) {
            if Rc::ptr_eq(&known.plan, &plan) || *known.plan == *plan {
                return;
            }
        } else {
            while self.by_id.len() >= self.limit {
                let Some(oldest) = self.order.pop_front() else {
                    break;
                };
                self.by_id.remove(&oldest);
            }
            self.order.push_back(id.into());
        }
        let slot = self.next_slot;
        self.next_slot = self.next_slot.wrapping_add(1);
        self.by_id.insert(
            id.into(),
            Rc::new(Prepared {
                id: id.into(),
                slot,
                plan,
            }),
        );
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
            *prepared = Rc::new(Prepared {
                id: prepared.id.clone(),
                slot,
                plan: Rc::new(plan),
            });
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
