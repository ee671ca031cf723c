//! What the server acknowledged, so that it can be asked for afterwards.

use std::collections::BTreeMap;

use crate::check::Table;
use crate::plan::Plan;

/// The writes of one key whose fate matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fate {
    /// The last acknowledged write.
    acknowledged: Option<u64>,
    /// Later writes that may or may not have happened: an error, or no answer.
    perhaps: Vec<u64>,
}

/// Key → which write its value must come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    keys: BTreeMap<u64, Fate>,
}

/// What [`Ledger::check`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LedgerCheck {
    /// Keys with an acknowledged write.
    pub keys: u64,
    /// Of these, keys that the table does not have.
    pub missing: u64,
    /// Keys whose value is none that they may have.
    pub wrong: u64,
}

impl Ledger {
    /// Notes that the `n`th request of a connection wrote `key`.
    pub fn acknowledged(&mut self, key: u64, n: u64) {
        let fate = self.keys.entry(key).or_default();
        if fate.acknowledged.is_none_or(|before| before < n) {
            fate.acknowledged = Some(n);
            fate.perhaps.retain(|&other| other > n);
        }
    }

    /// Notes that nobody knows whether the `n`th request wrote `key`.
    pub fn unknown(&mut self, key: u64, n: u64) {
        let fate = self.keys.entry(key).or_default();
        if fate.acknowledged.is_none_or(|before| before < n) {
            fate.perhaps.push(n);
        }
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
        for (key, fate) in &self.keys {
            let stored = table.get(key.to_be_bytes().as_slice());
            found.keys += u64::from(fate.acknowledged.is_some());
            let Some(stored) = stored else {
                found.missing += u64::from(fate.acknowledged.is_some());
                continue;
            };
            let possible = fate.acknowledged.iter().chain(&fate.perhaps);
            let fits = possible.into_iter().any(|&n| {
                let mut value = Vec::with_capacity(plan.value_bytes);
                plan.push_value(&mut value, n);
                stored.value.as_deref() == Some(value.as_slice())
            });
            // Only writes of unknown fate: an older value may still stand there.
            found.wrong += u64::from(!fits && fate.acknowledged.is_some());
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

    fn table(rows: &[(u64, u64)]) -> Table {
        let stored = |n| {
            let mut value = Vec::new();
            plan().push_value(&mut value, n);
            Stored {
                value: Some(value),
                writetime_us: Some(1),
            }
        };
        rows.iter()
            .map(|&(key, n)| (key.to_be_bytes().to_vec(), stored(n)))
            .collect()
    }

    #[test]
    fn the_last_acknowledged_write_must_be_there() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(1, 11);
        ledger.acknowledged(1, 10); // answers may overtake each other
        ledger.acknowledged(2, 5);
        let good = ledger.check(&plan(), &table(&[(1, 11), (2, 5)]));
        assert_eq!((good.keys, good.missing, good.wrong), (2, 0, 0));
        let bad = ledger.check(&plan(), &table(&[(1, 10)]));
        assert_eq!((bad.keys, bad.missing, bad.wrong), (2, 1, 1));
    }

    #[test]
    fn an_unknown_write_may_be_there_until_a_later_one_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.acknowledged(1, 1);
        ledger.unknown(1, 2);
        for n in [1, 2] {
            assert_eq!(ledger.check(&plan(), &table(&[(1, n)])).wrong, 0);
        }
        ledger.acknowledged(1, 3);
        assert_eq!(ledger.check(&plan(), &table(&[(1, 2)])).wrong, 1);
        ledger.unknown(9, 1);
        assert_eq!(ledger.check(&plan(), &table(&[(1, 3)])).missing, 0);
    }
}
