//! Remembers what texts were, because clients send the same ones again and again.

use super::classify::classify;
use super::model::Statement;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// How much a [`Classifier`] may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Statements.
    pub entries: usize,
    /// Bytes of their texts. A text of more than an eighth of this is never kept.
    pub bytes: usize,
}

/// [`classify`] with a memory of bounded size. A hit allocates nothing.
///
/// There are two generations. What is used goes to the young one; when that is full, the old one is
/// forgotten and the young one grows old. So what was used since the last change survives, at the
/// price of a swap instead of a list in order of use.
#[derive(Debug)]
pub struct Classifier {
    young: Generation,
    old: Generation,
    /// Of one generation.
    limits: CacheLimits,
    seed: u64,
    hits: u64,
    misses: u64,
}

#[derive(Debug, Default)]
struct Generation {
    by_hash: HashMap<u64, Entry, BuildHasherDefault<AsItIs>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    statement: Rc<Statement>,
}

impl Classifier {
    /// Starts empty. `seed` should be random: who does not know it cannot choose texts that push
    /// each other out.
    pub fn new(limits: CacheLimits, seed: u64) -> Self {
        let half = CacheLimits {
            entries: limits.entries / 2,
            bytes: limits.bytes / 2,
        };
        Self {
            young: Generation::default(),
            old: Generation::default(),
            limits: half,
            seed,
            hits: 0,
            misses: 0,
        }
    }

    /// What [`classify`] says of `text`.
    pub fn classify(&mut self, text: &str) -> Rc<Statement> {
        let hash = hash(self.seed, text.as_bytes());
        if let Some(entry) = self.young.get(hash, text) {
            self.hits += 1;
            return Rc::clone(&entry.statement);
        }
        let entry = match self.old.take(hash, text) {
            Some(entry) => {
                self.hits += 1;
                entry
            }
            None => {
                self.misses += 1;
                let statement = Rc::new(classify(text));
                if text.len() > self.limits.bytes / 4 || self.limits.entries == 0 {
                    return statement;
                }
                Entry {
                    text: text.into(),
                    statement,
                }
            }
        };
        let statement = Rc::clone(&entry.statement);
        self.keep(hash, entry);
        statement
    }

    fn keep(&mut self, hash: u64, entry: Entry) {
        let full = self.young.by_hash.len() >= self.limits.entries
            || self.young.bytes + entry.text.len() > self.limits.bytes;
        if full {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.by_hash.clear();
            self.young.bytes = 0;
        }
        self.young.bytes += entry.text.len();
        if let Some(other) = self.young.by_hash.insert(hash, entry) {
            self.young.bytes -= other.text.len(); // another text with the same hash
        }
    }

    /// Texts that were known, since the start.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Texts that had to be read, since the start.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Texts that are kept.
    pub fn entries(&self) -> usize {
        self.young.by_hash.len() + self.old.by_hash.len()
    }

    /// Bytes of the texts that are kept.
    pub fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }
}

impl Generation {
    fn get(&self, hash: u64, text: &str) -> Option<&Entry> {
        self.by_hash.get(&hash).filter(|entry| *entry.text == *text)
    }

    fn take(&mut self, hash: u64, text: &str) -> Option<Entry> {
        self.get(hash, text)?;
        let entry = self.by_hash.remove(&hash)?;
        self.bytes -= entry.text.len();
        Some(entry)
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A fast hash: 16 bytes a step, each multiplied to 128 bits whose halves are folded together.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = fold(seed ^ ODD, ODD ^ bytes.len() as u64);
    let (chunks, rest) = bytes.as_chunks::<16>();
    for chunk in chunks {
        state = step(seed, state, chunk);
    }
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    fold(step(seed, state, &last), ODD)
}

fn step(seed: u64, state: u64, chunk: &[u8; 16]) -> u64 {
    let (halves, _) = chunk.as_chunks::<8>();
    fold(
        u64::from_le_bytes(halves[0]) ^ seed,
        u64::from_le_bytes(halves[1]) ^ state,
    )
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
fn fold(left: u64, right: u64) -> u64 {
    let wide = u128::from(left) * u128::from(right);
    wide as u64 ^ (wide >> 64) as u64
}
