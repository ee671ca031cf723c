//! What the requests are: kinds and their shares, keys, values. Everything about request `n` of a
//! connection follows from the plan and from `n`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::distribution::{below, mix};
use crate::plan::Plan;

/// Bytes at the front of each value: run, key, number of the request.
pub const VALUE_MIN_BYTES: usize = 24;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prepared INSERT.
    Write,
    /// Prepared SELECT by key.
    Read,
    /// Prepared DELETE of a row.
    Delete,
    /// A batch of prepared INSERTs of neighbouring keys.
    Batch,
    /// Prepared INSERT … IF NOT EXISTS, with keys of its own.
    Lwt,
}

impl Kind {
    /// All, in the order of tables.
    pub const ALL: [Kind; 5] = [
        Kind::Write,
        Kind::Read,
        Kind::Delete,
        Kind::Batch,
        Kind::Lwt,
    ];

    /// Its name in tables, files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Read => "read",
            Kind::Delete => "delete",
            Kind::Batch => "batch",
            Kind::Lwt => "lwt",
        }
    }

    /// Its place in [`Kind::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it can change a row.
    #[must_use]
    pub fn changes(self) -> bool {
        self != Kind::Read
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The share of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix([u32; Kind::ALL.len()]);

impl Mix {
    /// Only this kind.
    #[must_use]
    pub fn only(kind: Kind) -> Mix {
        let mut weights = [0; Kind::ALL.len()];
        if let Some(weight) = weights.get_mut(kind.index()) {
            *weight = 1;
        }
        Mix(weights)
    }

    /// Whether there are any of this kind.
    #[must_use]
    pub fn has(self, kind: Kind) -> bool {
        self.0.get(kind.index()).is_some_and(|&weight| weight > 0)
    }

    /// The kind for a well-mixed number.
    #[must_use]
    pub fn pick(self, random: u64) -> Kind {
        let sum = self.0.iter().map(|&weight| u64::from(weight)).sum();
        let mut ticket = below(random, sum);
        for (kind, weight) in Kind::ALL.into_iter().zip(self.0) {
            match ticket.checked_sub(weight.into()) {
                Some(rest) => ticket = rest,
                None => return kind,
            }
        }
        Kind::Write
    }
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Mix> {
        let mut weights = [0_u32; Kind::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let weight = weight
                .parse()
                .with_context(|| format!("the weight in `{part}`"))?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            match kind.and_then(|kind| weights.get_mut(kind.index())) {
                Some(place) => *place = weight,
                None => bail!("`{name}` is none of write, read, delete, batch, lwt"),
            }
        }
        ensure!(weights.iter().any(|&weight| weight > 0), "nothing to send");
        Ok(Mix(weights))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (kind, weight) in Kind::ALL.into_iter().zip(self.0) {
            if weight > 0 {
                write!(f, "{comma}{kind}={weight}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// One request of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What it is.
    pub kind: Kind,
    /// The first of its keys, counted from 0 on this connection.
    pub index: u64,
    /// How many keys: 1, but for batches.
    pub count: u64,
}

impl Plan {
    /// What the `n`th request of a connection does.
    #[must_use]
    pub fn operation(&self, connection: u16, n: u64) -> Operation {
        let random = mix(self.seed ^ (u64::from(connection) << 48), n);
        let kind = self.mix.pick(random);
        let index = self.key_order.pick(n, mix(random, 1), self.keys);
        let count = match kind {
            Kind::Batch => u64::from(self.batch),
            _ => 1,
        };
        Operation { kind, index, count }
    }

    /// The partition keys of an operation.
    pub fn keys_of(&self, connection: u16, operation: Operation) -> impl Iterator<Item = u64> {
        let (keys, connections) = (self.keys, u64::from(self.connections));
        // Conditional statements have a range of their own: their timestamps are not like others.
        let base = match operation.kind {
            Kind::Lwt => keys * connections,
            _ => 0,
        };
        (operation.index..operation.index + operation.count)
            .map(move |index| base + (index % keys) * connections + u64::from(connection))
    }

    /// The connection that a key belongs to.
    #[must_use]
    pub fn owner(&self, key: u64) -> u16 {
        u16::try_from(key % u64::from(self.connections)).unwrap_or(0)
    }

    /// Appends the value that the `n`th request of a connection gives `key`.
    pub fn push_value(&self, out: &mut Vec<u8>, key: u64, n: u64) {
        let bytes = self.value_bytes.pick(mix(self.seed ^ key, n));
        push_value(out, self.run_id, key, n, bytes);
    }
}

/// Appends a value: run, key and request, then bytes that follow from them. Each eight come twice,
/// so compression gains about as much as on text.
fn push_value(out: &mut Vec<u8>, run_id: u64, key: u64, n: u64, bytes: usize) {
    let start = out.len();
    for word in [run_id, key, n] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    let (seed, mut at) = (mix(run_id ^ key, n), 0);
    while out.len() < start + bytes {
        let word = mix(seed, at).to_be_bytes();
        out.extend_from_slice(&word);
        out.extend_from_slice(&word);
        at += 1;
    }
    out.truncate(start + bytes);
}

/// Whether `value` is, byte for byte, what some run wrote for `key`.
#[must_use]
pub fn is_value_of(value: &[u8], key: u64, scratch: &mut Vec<u8>) -> bool {
    let word = |at: usize| {
        let bytes = value.get(at..at + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let (Some(run_id), Some(of), Some(n)) = (word(0), word(8), word(16)) else {
        return false;
    };
    scratch.clear();
    push_value(scratch, run_id, of, n, value.len());
    of == key && scratch.as_slice() == value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::distribution::Keys;

    fn plan(mix: &str, key_order: Keys) -> Plan {
        Plan {
            mix: mix.parse().unwrap(),
            key_order,
            connections: 4,
            keys: 200,
            batch: 5,
            ..Plan::new("127.0.0.1:1".parse().unwrap(), "k", "t")
        }
    }

    #[test]
    fn no_two_connections_share_a_key() {
        for order in [Keys::Sequence, Keys::Uniform, Keys::Zipf(1.0)] {
            let plan = plan("write,batch,delete,read,lwt", order);
            let mut seen = std::collections::BTreeMap::new();
            for connection in 0..4 {
                for n in 0..5000 {
                    let operation = plan.operation(connection, n);
                    for key in plan.keys_of(connection, operation) {
                        assert_eq!(*seen.entry(key).or_insert(connection), connection);
                        assert_eq!(plan.owner(key), connection);
                        let lwt = operation.kind == Kind::Lwt;
                        assert_eq!(key >= 800, lwt, "{key}");
                    }
                }
            }
            assert!(seen.len() > 1000 && seen.len() <= 1600, "{}", seen.len());
        }
    }

    #[test]
    fn shares_are_kept_and_repeat() {
        let plan = plan("write=6,read=3,delete=1", Keys::Sequence);
        let count = |kind| (0..10_000).filter(move |&n| plan.operation(2, n).kind == kind);
        let (writes, deletes) = (
            count.clone()(Kind::Write).count(),
            count.clone()(Kind::Delete).count(),
        );
        assert!((5_750..6_250).contains(&writes), "{writes}");
        assert!((850..1_150).contains(&deletes), "{deletes}");
        assert_eq!(count(Kind::Lwt).count(), 0);
    }

    #[test]
    fn a_value_says_which_write_it_is() {
        let plan = plan("write", Keys::Sequence);
        let (mut one, mut two, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        plan.push_value(&mut one, 9, 7);
        plan.push_value(&mut two, 9, 7 + 256);
        assert_eq!(one.len(), 100);
        assert_ne!(one, two);
        assert!(is_value_of(&one, 9, &mut scratch));
        assert!(!is_value_of(&one, 8, &mut scratch));
        for at in 0..one.len() {
            let mut broken = one.clone();
            broken[at] ^= 1;
            assert!(!is_value_of(&broken, 9, &mut scratch), "{at}");
        }
        assert!(!is_value_of(&one[..23], 9, &mut scratch));
    }

    #[test]
    fn mixes_go_both_ways() {
        let mix: Mix = "write=6,read=3,delete".parse().unwrap();
        assert_eq!(mix.to_string(), "write=6,read=3,delete=1");
        assert!(mix.has(Kind::Read) && !mix.has(Kind::Lwt));
        for wrong in ["", "writes", "write=x", "write=0", "write=1,"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        assert_eq!(Mix::only(Kind::Batch).pick(u64::MAX), Kind::Batch);
    }
}
