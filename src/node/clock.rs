//! Time, unique ids and random bytes for one node.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::time::timeuuid;

/// Gives stamps that never repeat, time UUIDs and random UUIDs.
#[derive(Debug)]
pub(crate) struct Clock {
    last_micros: i64,
    last_steps: i64,
    /// State of a SplitMix64 generator; ids need no more.
    random: u64,
    node: [u8; 8],
    /// Microseconds since 1970, where somebody else moves the hands.
    hands: Option<Rc<Cell<i64>>>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock::seeded(RandomState::new().hash_one(0u8), None)
    }

    /// A clock whose ids follow from `seed`, and whose time from `hands`.
    pub(crate) fn seeded(seed: u64, hands: Option<Rc<Cell<i64>>>) -> Clock {
        let mut clock = Clock {
            last_micros: 0,
            last_steps: 0,
            random: seed,
            node: [0; 8],
            hands,
        };
        clock.node = clock.next_random().to_be_bytes();
        clock.node[0] = clock.node[0] & 0x3F | 0x80; // the variant of RFC 4122
        clock.node[2] |= 1; // multicast: no real network card
        clock
    }

    /// Microseconds since 1970.
    pub(crate) fn micros(&self) -> i64 {
        if let Some(hands) = &self.hands {
            return hands.get();
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.micros() / 1_000_000
    }

    /// A stamp: now, but later than every one before.
    pub(crate) fn stamp(&mut self) -> i64 {
        self.last_micros = self.micros().max(self.last_micros + 1);
        self.last_micros
    }

    pub(crate) fn next_timeuuid(&mut self) -> [u8; 16] {
        self.last_steps = (self.micros() * 10).max(self.last_steps + 1);
        timeuuid(self.last_steps, self.node)
    }

    /// A number greater than all before: the place of an element at the end of a list.
    pub(crate) fn next_step(&mut self) -> i64 {
        self.last_steps = (self.micros() * 10).max(self.last_steps + 1);
        self.last_steps
    }

    pub(crate) fn next_uuid(&mut self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.next_random().to_be_bytes());
        uuid[8..].copy_from_slice(&self.next_random().to_be_bytes());
        uuid[6] = uuid[6] & 0x0F | 0x40;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        uuid
    }

    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
