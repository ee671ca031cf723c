//! Medians, and how far they can be trusted.

use serde::Serialize;

use crate::distribution::{below, mix};

/// Samples drawn for an interval.
const DRAWS: u64 = 4_000;
/// With fewer rounds than this no interval says anything: five values of which none is on the
/// other side of zero happen by chance once in 16.
pub const ROUNDS_LEAST: usize = 5;

/// A median over rounds with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The median of the rounds.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Rounds.
    pub rounds: usize,
}

impl Estimate {
    /// The median of `values` and the interval that the percentile bootstrap gives: the rounds are
    /// drawn again and again, with replacement, and the middle 95 % of the medians count (Efron
    /// and Tibshirani, "An Introduction to the Bootstrap", chapter 13).
    #[must_use]
    pub fn of(values: &[f64], seed: u64) -> Estimate {
        let median_of_all = median(&mut values.to_vec());
        let mut medians = Vec::new();
        let mut drawn = Vec::with_capacity(values.len());
        let count = u64::try_from(values.len()).unwrap_or(0);
        for draw in 0..DRAWS {
            drawn.clear();
            for n in 0..count {
                let at = below(mix(mix(seed, draw), n), count);
                let value = usize::try_from(at).ok().and_then(|at| values.get(at));
                drawn.extend(value);
            }
            medians.push(median(&mut drawn));
        }
        medians.sort_by(f64::total_cmp);
        let at = |share: usize| medians.get(medians.len() * share / 1000).copied();
        Estimate {
            median: median_of_all,
            low: at(25).unwrap_or_default(),
            high: at(975).unwrap_or_default(),
            rounds: values.len(),
        }
    }

    /// Whether the rounds do not tell on which side of zero it is.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        self.rounds < ROUNDS_LEAST || (self.low <= 0.0 && self.high >= 0.0)
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing. Sorts the values.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle), middle.checked_sub(1)) {
        (1, Some(&value), _) => value,
        (0, Some(&upper), Some(below)) => values
            .get(below)
            .map_or(upper, |lower| (lower + upper) / 2.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&mut [4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!(median(&mut []).abs() < 1e-9);
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        // Rounds of 15 values, even between 90 and 110: the true median is 100.
        let mut held = 0;
        for trial in 0..200_u32 {
            let value = |n: u32| {
                let random = mix(u64::from(trial) + 1_000, u64::from(n));
                90.0 + f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
                    * 20.0
            };
            let values: Vec<f64> = (0..15).map(value).collect();
            let found = Estimate::of(&values, 7);
            assert!(found.low <= found.median && found.median <= found.high);
            held += u32::from(found.low <= 100.0 && found.high >= 100.0);
        }
        assert!((178..=200).contains(&held), "{held} of 200");
    }

    #[test]
    fn noise_is_told_from_a_difference() {
        assert!(Estimate::of(&[-3.0, 2.0, 5.0, -1.0, 4.0, 1.0, -2.0], 1).is_noise());
        assert!(!Estimate::of(&[3.0, 2.0, 5.0, 1.0, 4.0, 1.0, 2.0], 1).is_noise());
        assert!(Estimate::of(&[3.0, 2.0, 5.0], 1).is_noise());
        assert_eq!(
            Estimate::of(&[1.0, 5.0, 9.0], 3),
            Estimate::of(&[1.0, 5.0, 9.0], 3)
        );
    }
}
