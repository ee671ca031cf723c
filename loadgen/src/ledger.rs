//! What the server acknowledged, so that it can be asked for afterwards.
//!
//! Two writes of one key that were in flight together may have happened in either order, so both
//! values are right; a write that was sent after another one's answer replaces it.

use std::collections::HashMap;

use crate::check::Table;
use crate::plan::Plan;
use crate::workload::Kind;

/// A write that may be what the row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    /// The number of the request on its connection.
    n: u64,
    /// The connection's step at which its answer came; `u64::MAX`: never.
    ended: u64,
}

/// What a row may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fate {
    /// Whether any write of it was acknowledged.
    acknowledged: bool,
    candidates: Vec<Candidate>,
}

/// Key → which write its value must come from. Steps count what happens on one connection, in
/// order: each sending and each answer is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    keys: HashMap<u64, Fate>,
}

/// What [`Ledger::check`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LedgerCheck {
    /// Keys with an acknowledged write.
    pub keys: u64,
    /// Of these, keys that the table does not have and must have.
    pub missing: u64,
    /// Keys whose value is none that they may have, or that should be gone.
    pub wrong: u64,
}

impl LedgerCheck {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing == 0 && self.wrong == 0
    }
}

impl Ledger {
    /// Notes that request `n`, sent at step `sent`, wrote `key`, as an answer said at step `ended`.
    pub fn acknowledged(&mut self, key: u64, n: u64, (sent, ended): (u64, u64)) {
        let fate = self.keys.entry(key).or_default();
        fate.acknowledged = true;
        fate.candidates.retain(|other| other.ended > sent);
        fate.candidates.push(Candidate { n, ended });
    }

    /// Notes that nobody knows whether request `n` wrote `key`: an error at step `ended`, or no
    /// answer (`u64::MAX`).
    pub fn unknown(&mut self, key: u64, n: u64, ended: u64) {
        let fate = self.keys.entry(key).or_default();
        fate.candidates.push(Candidate { n, ended });
    }

    /// Takes over the entries of a ledger with other keys.
    pub fn merge(&mut self, other: Ledger) {
        self.keys.extend(other.keys);
    }

    /// Keys in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Compares with what a cluster holds. `plan` is the one of the run, the last to write the
    /// table.
    #[must_use]
    pub fn check(&self, plan: &Plan, table: &Table) -> LedgerCheck {
        let mut found = LedgerCheck::default();
        for (&key, fate) in self.keys.iter().filter(|(_, fate)| fate.acknowledged) {
            found.keys += 1;
            let stored = table.get(key.to_be_bytes().as_slice());
            let value = stored.and_then(|stored| stored.value.as_deref());
            let owner = plan.owner(key);
            let deletes = |n| plan.operation(owner, n).kind == Kind::Delete;
            let numbers = || fate.candidates.iter().map(|candidate| candidate.n);
            let fits = match value {
                // A row with a time to live may be gone by now.
                None => plan.ttl.is_some() || numbers().any(deletes),
                Some(value) => numbers().any(|n| {
                    let mut written = Vec::with_capacity(value.len());
                    plan.push_value(&mut written, key, n);
                    written == value && !deletes(n)
                }),
            };
            found.missing += u64::from(!fits && value.is_none());
            found.wrong += u64::from(!fits && value.is_some());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::check::Stored;

    fn plan() -> Plan {
        Plan::new("127.0.0.1:1".parse().unwrap(), "k", "t")
    }

    fn table(plan: &Plan, rows: &[(u64, u64)]) -> Table {
        let stored = |key, n| {
            let mut value = Vec::new();
            plan.push_value(&mut value, key, n);
            Stored {
                value: Some(value),
                writetime_us: Some(1),
            }
        };
        rows.iter()
            .map(|&(key, n)| (key.to_be_bytes().to_vec(), stored(key, n)))
            .collect()
    }

    fn check(ledger: &Ledger, rows: &[(u64, u64)]) -> (u64, u64, u64) {
        let found = ledger.check(&plan(), &table(&plan(), rows));
        (found.keys, found.missing, found.wrong)
    }

    #[test]
    fn the_last_acknowledged_write_must_be_there() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(1, 10, (0, 1));
        ledger.acknowledged(1, 11, (2, 3));
        ledger.acknowledged(2, 5, (4, 5));
        assert_eq!(check(&ledger, &[(1, 11), (2, 5)]), (2, 0, 0));
        assert_eq!(check(&ledger, &[(1, 10)]), (2, 1, 1));
    }

    #[test]
    fn of_two_in_flight_together_either_may_win() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(1, 9, (0, 1));
        ledger.acknowledged(1, 11, (3, 4));
        ledger.acknowledged(1, 10, (2, 5)); // answers may overtake each other
        assert_eq!(check(&ledger, &[(1, 10)]), (1, 0, 0));
        assert_eq!(check(&ledger, &[(1, 11)]), (1, 0, 0));
        assert_eq!(check(&ledger, &[(1, 9)]), (1, 0, 1));
    }

    #[test]
    fn an_unknown_write_may_be_there_until_a_later_one_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(1, 1, (0, 1));
        ledger.unknown(1, 2, 3);
        for n in [1, 2] {
            assert_eq!(check(&ledger, &[(1, n)]), (1, 0, 0));
        }
        ledger.acknowledged(1, 3, (4, 5));
        assert_eq!(check(&ledger, &[(1, 2)]), (1, 0, 1));
        ledger.unknown(9, 1, u64::MAX);
        assert_eq!(check(&ledger, &[(1, 3)]), (1, 0, 0));
    }

    #[test]
    fn a_deleted_row_must_be_gone() {
        let plan = Plan {
            mix: "write,delete".parse().unwrap(),
            ..plan()
        };
        let is_delete = |n: &u64| plan.operation(0, *n).kind == Kind::Delete;
        let delete = (0..100).find(is_delete).unwrap();
        let write = (delete..100).find(|n| !is_delete(n)).unwrap();
        let mut ledger = Ledger::default();
        ledger.acknowledged(4, delete, (0, 1));
        assert!(ledger.check(&plan, &Table::new()).is_good());
        let stale = ledger.check(&plan, &table(&plan, &[(4, delete)]));
        assert_eq!((stale.missing, stale.wrong), (0, 1));
        ledger.acknowledged(4, write, (2, 3));
        assert_eq!(ledger.check(&plan, &Table::new()).missing, 1);
        assert!(ledger.check(&plan, &table(&plan, &[(4, write)])).is_good());
    }
}
