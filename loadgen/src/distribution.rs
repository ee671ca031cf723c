//! Which key and how long a value: pure functions of a seed and a number, so that every endpoint
//! of a comparison gets the same requests and an answer can be checked against its request.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

/// One well-mixed number from two: the finaliser of `SplitMix64` (Steele, Lea, Flood 2014).
#[must_use]
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maps a well-mixed number to `0..count`, evenly.
#[must_use]
pub fn below(random: u64, count: u64) -> u64 {
    let product = u128::from(random) * u128::from(count);
    u64::try_from(product >> 64).unwrap_or(0)
}

/// How the keys of a connection are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Keys {
    /// One after the other, again and again.
    #[default]
    Sequence,
    /// Each as likely as any other.
    Uniform,
    /// The key of rank r in proportion to r to the power of minus this (0 to 10).
    Zipf(f64),
}

impl Keys {
    /// The key (0 to `count` − 1) of request `n`, with this request's `random` number.
    #[must_use]
    pub fn pick(self, n: u64, random: u64, count: u64) -> u64 {
        match self {
            Keys::Sequence => n % count.max(1),
            Keys::Uniform => below(random, count),
            Keys::Zipf(exponent) => zipf(exponent, random, count),
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank, at least 1 and at most count"
)]
fn zipf(exponent: f64, random: u64, count: u64) -> u64 {
    let Ok(ranks) = Zipf::new(count as f64, exponent) else {
        return 0; // the exponent was checked when it was parsed
    };
    let rank = ranks.sample(&mut SmallRng::seed_from_u64(random));
    (rank as u64).clamp(1, count.max(1)) - 1
}

impl FromStr for Keys {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Keys> {
        let (name, exponent) = text.split_once(':').unwrap_or((text, "1"));
        Ok(match name {
            "sequence" => Keys::Sequence,
            "uniform" => Keys::Uniform,
            "zipf" => {
                let exponent: f64 = exponent.parse().context("the exponent of zipf")?;
                let fits = (0.0..=10.0).contains(&exponent);
                ensure!(fits, "the exponent of zipf is between 0 and 10");
                Keys::Zipf(exponent)
            }
            _ => bail!("`{text}` is none of sequence, uniform, zipf, zipf:EXPONENT"),
        })
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::Sequence => f.write_str("sequence"),
            Keys::Uniform => f.write_str("uniform"),
            Keys::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Lengths of values, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Evenly between these two, both included.
    Uniform(usize, usize),
    /// Each with its weight.
    Weighted(Vec<(usize, u32)>),
}

impl Sizes {
    /// The length for a well-mixed number.
    #[must_use]
    pub fn pick(&self, random: u64) -> usize {
        match self {
            Sizes::Fixed(bytes) => *bytes,
            Sizes::Uniform(least, most) => {
                let count = u64::try_from(most - least).unwrap_or(0) + 1;
                least + usize::try_from(below(random, count)).unwrap_or(0)
            }
            Sizes::Weighted(choices) => {
                let sum = choices.iter().map(|&(_, weight)| u64::from(weight)).sum();
                let mut ticket = below(random, sum);
                for &(bytes, weight) in choices {
                    match ticket.checked_sub(weight.into()) {
                        Some(rest) => ticket = rest,
                        None => return bytes,
                    }
                }
                choices.last().map_or(0, |&(bytes, _)| bytes)
            }
        }
    }

    /// The shortest and the longest.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        match self {
            Sizes::Fixed(bytes) => (*bytes, *bytes),
            Sizes::Uniform(least, most) => (*least, *most),
            Sizes::Weighted(choices) => {
                let sizes = || choices.iter().map(|&(bytes, _)| bytes);
                (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0))
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Sizes> {
        let wrong = || format!("`{text}` is none of BYTES, FROM-TO, BYTESxWEIGHT,BYTESxWEIGHT,…");
        if let Some((least, most)) = text.split_once('-') {
            let least = least.parse().with_context(wrong)?;
            let most = most.parse().with_context(wrong)?;
            ensure!(least <= most, "the range {text} is empty");
            return Ok(Sizes::Uniform(least, most));
        }
        if !text.contains('x') {
            return Ok(Sizes::Fixed(text.parse().with_context(wrong)?));
        }
        let mut choices = Vec::new();
        for part in text.split(',') {
            let (bytes, weight) = part.split_once('x').with_context(wrong)?;
            let weight: u32 = weight.parse().with_context(wrong)?;
            ensure!(weight > 0, "a weight of 0 in {text}");
            choices.push((bytes.parse().with_context(wrong)?, weight));
        }
        Ok(Sizes::Weighted(choices))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(bytes) => write!(f, "{bytes}"),
            Sizes::Uniform(least, most) => write!(f, "{least}-{most}"),
            Sizes::Weighted(choices) => {
                for (at, (bytes, weight)) in choices.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{bytes}x{weight}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn counts(keys: Keys, count: u64) -> Vec<u64> {
        let mut seen = vec![0; usize::try_from(count).unwrap()];
        for n in 0..100_000 {
            let key = keys.pick(n, mix(7, n), count);
            seen[usize::try_from(key).unwrap()] += 1;
        }
        seen
    }

    #[test]
    fn a_sequence_takes_each_in_turn() {
        assert_eq!(counts(Keys::Sequence, 10), vec![10_000; 10]);
    }

    #[test]
    fn uniform_is_even() {
        // 10,000 ± five standard deviations (95 each)
        for seen in counts(Keys::Uniform, 10) {
            assert!((9_525..10_475).contains(&seen), "{seen}");
        }
    }

    #[test]
    fn zipf_falls_with_the_rank() {
        let seen = counts(Keys::Zipf(1.0), 1000);
        // H(1000) = 7.4855: the first rank has 1/7.4855 of all, the second half of that.
        assert!((12_800..13_950).contains(&seen[0]), "{}", seen[0]);
        assert!((6_300..7_060).contains(&seen[1]), "{}", seen[1]);
        assert!(seen[999] < 40, "{}", seen[999]);
        assert_eq!(seen.iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn sizes_stay_in_their_range_and_keep_their_weights() {
        let sizes: Sizes = "100x9,4000x1".parse().unwrap();
        assert_eq!(sizes.range(), (100, 4000));
        let long = (0..100_000).filter(|&n| sizes.pick(mix(3, n)) == 4000);
        assert!((9_500..10_500).contains(&long.count()));
        let sizes: Sizes = "24-27".parse().unwrap();
        let mut seen: Vec<usize> = (0..1000).map(|n| sizes.pick(mix(3, n))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [24, 25, 26, 27]);
        assert_eq!("64".parse::<Sizes>().unwrap().pick(5), 64);
    }

    #[test]
    fn text_goes_both_ways_and_nonsense_is_refused() {
        for text in ["100", "24-4096", "100x9,4000x1"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in ["sequence", "uniform", "zipf:1", "zipf:0.99"] {
            assert_eq!(text.parse::<Keys>().unwrap().to_string(), text);
        }
        for text in ["", "a", "9-8", "1x0", "1x", "-4", "100x9,4000"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        for text in ["", "zipf:-1", "zipf:x", "zipf:11", "normal"] {
            assert!(text.parse::<Keys>().is_err(), "{text}");
        }
    }
}
