//! Values for `now()`, `uuid()` and kin, made once here so that both clusters store the same.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::plan::{Plan, Treatment};
use crate::statement::{Generated, GeneratedValue, rewrite};

/// 100 ns steps between 1582-10-15, where version 1 UUIDs begin, and 1970 (RFC 9562, section 5.1).
const GREGORIAN_TICKS: u64 = 0x01B2_1DD2_1381_4000;
const US_PER_DAY: i64 = 86_400_000_000;

/// Makes values; one per shard.
#[derive(Debug)]
pub struct Generator {
    random: SmallRng,
    /// Clock sequence and node of version 1 UUIDs: random, so that no two shards share them.
    origin: [u8; 8],
    last_ticks: u64,
}

impl Generator {
    /// `seed` must differ between all generators that ever run: take it from the system.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut random = SmallRng::from_seed(seed);
        let mut origin: [u8; 8] = random.random();
        origin[0] = (origin[0] & 0x3F) | 0x80; // the variant of RFC 9562
        origin[2] |= 0x01; // the multicast bit marks a node that is no real MAC address
        Self {
            random,
            origin,
            last_ticks: 0,
        }
    }

    /// A value of the kind that the function would have returned at `now_us`.
    pub fn value(&mut self, kind: Generated, now_us: i64) -> GeneratedValue {
        match kind {
            Generated::TimeUuid => GeneratedValue::TimeUuid(self.time_uuid(now_us)),
            Generated::Uuid => {
                let mut bytes: [u8; 16] = self.random.random();
                bytes[6] = (bytes[6] & 0x0F) | 0x40;
                bytes[8] = (bytes[8] & 0x3F) | 0x80;
                GeneratedValue::Uuid(bytes)
            }
            Generated::Timestamp => GeneratedValue::Timestamp(now_us.div_euclid(1_000)),
            Generated::Date => {
                let days = now_us.div_euclid(US_PER_DAY);
                GeneratedValue::Date(i32::try_from(days).unwrap_or(i32::MAX))
            }
            Generated::Time => GeneratedValue::Time(now_us.rem_euclid(US_PER_DAY) * 1_000),
        }
    }

    /// Strictly rising within the shard.
    fn time_uuid(&mut self, now_us: i64) -> [u8; 16] {
        let since_1970 = u64::try_from(now_us).unwrap_or(0).saturating_mul(10);
        self.last_ticks = (since_1970 + GREGORIAN_TICKS).max(self.last_ticks + 1);
        let [high @ .., _, _, _, _, _, _] = self.last_ticks.to_be_bytes();
        let [_, _, mid0, mid1, low @ ..] = self.last_ticks.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&low);
        bytes[4..6].copy_from_slice(&[mid0, mid1]);
        bytes[6..8].copy_from_slice(&[high[0] & 0x0F | 0x10, high[1]]);
        bytes[8..].copy_from_slice(&self.origin);
        bytes
    }
}

/// The text with literals in the place of such calls, if it is a write and has any: the key of a
/// conditional one must be known to read it back.
pub(super) fn literal(plan: &Plan, now_us: i64, generator: &mut Generator) -> Option<String> {
    let stored = matches!(plan.treatment, Treatment::Mirror | Treatment::Lwt);
    if plan.statement.functions.is_empty() || !stored {
        return None;
    }
    let values: Vec<_> = plan
        .statement
        .functions
        .iter()
        .map(|call| generator.value(call.returns, now_us))
        .collect();
    Some(rewrite::replace_functions(
        &plan.text,
        &plan.statement,
        &values,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_uuid_holds_the_time_and_rises() {
        let mut generator = Generator::new([7; 32]);
        let now_us = 1_700_000_000_123_456;
        let GeneratedValue::TimeUuid(first) = generator.value(Generated::TimeUuid, now_us) else {
            panic!("a time UUID was asked for");
        };
        let ticks_of = |bytes: [u8; 16]| {
            let low = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            let mid = u64::from(u16::from_be_bytes([bytes[4], bytes[5]]));
            let high = u64::from(u16::from_be_bytes([bytes[6] & 0x0F, bytes[7]]));
            high << 48 | mid << 32 | low
        };
        assert_eq!(first[6] >> 4, 1, "version 1");
        assert_eq!(first[8] >> 6, 2, "the variant of RFC 9562");
        assert_eq!(
            ticks_of(first) - GREGORIAN_TICKS,
            1_700_000_000_123_456 * 10
        );
        let GeneratedValue::TimeUuid(second) = generator.value(Generated::TimeUuid, now_us) else {
            panic!("a time UUID was asked for");
        };
        assert_eq!(ticks_of(second), ticks_of(first) + 1);
    }

    #[test]
    fn dates_and_times_agree_with_the_clock() {
        let mut generator = Generator::new([7; 32]);
        let now_us = 20_000 * US_PER_DAY + 3_600_000_000;
        let value = |generator: &mut Generator, kind| generator.value(kind, now_us);
        assert_eq!(
            value(&mut generator, Generated::Date),
            GeneratedValue::Date(20_000)
        );
        assert_eq!(
            value(&mut generator, Generated::Time),
            GeneratedValue::Time(3_600_000_000_000)
        );
        let GeneratedValue::Uuid(bytes) = value(&mut generator, Generated::Uuid) else {
            panic!("a UUID was asked for");
        };
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (4, 2));
    }
}
