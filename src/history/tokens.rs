//! Token ranges of the ring: cut, subtracted, split. Pure.
//!
//! A range holds the tokens above `after` up to and including `up_to`. The ring wraps; ranges here
//! do not: the one that wraps is two. `i64::MIN` is the token of no partition, so the range above
//! it is the beginning of the ring.

/// Tokens above `after` up to and including `up_to`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRange {
    /// The greatest token that is not in it.
    pub after: i64,
    /// The greatest token in it.
    pub up_to: i64,
}

impl TokenRange {
    /// The whole ring.
    pub(crate) const ALL: TokenRange = TokenRange {
        after: i64::MIN,
        up_to: i64::MAX,
    };

    /// How many tokens it holds.
    pub(crate) fn width(self) -> u64 {
        self.up_to.abs_diff(self.after)
    }

    /// As fraction of the ring.
    pub(crate) fn share(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
        let share = self.width() as f64 / Self::ALL.width() as f64;
        share
    }

    /// Two halves; none if it holds a single token.
    pub(crate) fn halves(self) -> Option<[TokenRange; 2]> {
        let half = self.width() / 2;
        let middle = self.after.checked_add_unsigned(half)?;
        (half > 0).then_some([
            TokenRange {
                after: self.after,
                up_to: middle,
            },
            TokenRange {
                after: middle,
                up_to: self.up_to,
            },
        ])
    }

    /// What both hold.
    pub(crate) fn intersection(self, other: TokenRange) -> Option<TokenRange> {
        let after = self.after.max(other.after);
        let up_to = self.up_to.min(other.up_to);
        (after < up_to).then_some(TokenRange { after, up_to })
    }
}

impl std::fmt::Display for TokenRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.after, self.up_to)
    }
}

impl std::str::FromStr for TokenRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: not AFTER:UP_TO, two tokens with AFTER < UP_TO");
        let (after, up_to) = text.split_once(':').ok_or_else(wrong)?;
        let after = after.parse().map_err(|_| wrong())?;
        let up_to = up_to.parse().map_err(|_| wrong())?;
        if after >= up_to {
            return Err(wrong());
        }
        Ok(TokenRange { after, up_to })
    }
}

/// The ring in about `pieces` ranges of which none crosses a token of a node: each range then has
/// the same replicas throughout.
pub(crate) fn cut(node_tokens: &[i64], pieces: usize) -> Vec<TokenRange> {
    let mut borders: Vec<i64> = node_tokens.to_vec();
    borders.extend([i64::MIN, i64::MAX]);
    borders.sort_unstable();
    borders.dedup();
    let step = TokenRange::ALL.width() / u64::try_from(pieces.max(1)).unwrap_or(1);
    let mut ranges = Vec::with_capacity(pieces + borders.len());
    for pair in borders.windows(2) {
        let &[mut after, up_to] = pair else { continue };
        while up_to.abs_diff(after) > step.saturating_add(step / 2) {
            let Some(middle) = after.checked_add_unsigned(step) else {
                break;
            };
            ranges.push(TokenRange {
                after,
                up_to: middle,
            });
            after = middle;
        }
        ranges.push(TokenRange { after, up_to });
    }
    ranges
}

/// What of `ranges` is in none of `done`.
pub(crate) fn subtract(ranges: &[TokenRange], done: &[TokenRange]) -> Vec<TokenRange> {
    let mut done = done.to_vec();
    done.sort_unstable();
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut after = range.after;
        for d in &done {
            if d.after >= range.up_to {
                break;
            }
            if d.up_to <= after {
                continue;
            }
            if d.after > after {
                left.push(TokenRange {
                    after,
                    up_to: d.after,
                });
            }
            after = d.up_to;
            if after >= range.up_to {
                break;
            }
        }
        if after < range.up_to {
            left.push(TokenRange {
                after,
                up_to: range.up_to,
            });
        }
    }
    left
}

/// `ranges`, each cut to `window`.
pub(crate) fn within(ranges: &[TokenRange], window: TokenRange) -> Vec<TokenRange> {
    ranges
        .iter()
        .filter_map(|range| range.intersection(window))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn covers_the_ring(ranges: &[TokenRange]) -> bool {
        ranges.first().unwrap().after == i64::MIN
            && ranges.last().unwrap().up_to == i64::MAX
            && ranges.windows(2).all(|pair| pair[0].up_to == pair[1].after)
            && ranges.iter().all(|range| range.after < range.up_to)
    }

    #[test]
    fn the_ring_is_cut_without_gap_also_where_it_wraps() {
        for tokens in [
            vec![],
            vec![0],
            vec![i64::MAX],
            vec![i64::MIN],
            vec![-5, -4, -3],
        ] {
            for pieces in [1, 2, 7, 256] {
                let ranges = cut(&tokens, pieces);
                assert!(covers_the_ring(&ranges), "{tokens:?} {pieces}");
                assert!(ranges.len() <= pieces + tokens.len() + 1);
                for token in &tokens {
                    let crossed = |r: &TokenRange| r.after < *token && *token < r.up_to;
                    assert!(!ranges.iter().any(crossed), "{tokens:?} {pieces}");
                }
            }
        }
    }

    #[test]
    fn a_single_token_has_no_halves() {
        let one = TokenRange { after: 4, up_to: 5 };
        assert_eq!(one.halves(), None);
        let [low, high] = TokenRange::ALL.halves().unwrap();
        assert_eq!((low.up_to, high.after), (-1, -1));
    }

    #[test]
    fn ranges_are_written_as_they_are_read() {
        let text = "-9223372036854775808:9223372036854775807";
        assert_eq!(text.parse::<TokenRange>().unwrap(), TokenRange::ALL);
        assert_eq!(TokenRange::ALL.to_string(), text);
        for wrong in ["", "1", "2:1", "1:1", "a:b"] {
            assert!(wrong.parse::<TokenRange>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_and_what_is_done_are_the_whole(
            tokens in prop::collection::vec(any::<i64>(), 0..6),
            pieces in 1usize..20,
            done in prop::collection::vec((any::<i64>(), any::<i64>()), 0..8),
            probe in any::<i64>(),
        ) {
            let done: Vec<_> = done
                .into_iter()
                .filter(|(a, b)| a < b)
                .map(|(after, up_to)| TokenRange { after, up_to })
                .collect();
            let ranges = cut(&tokens, pieces);
            let left = subtract(&ranges, &done);
            let holds = |ranges: &[TokenRange]| {
                ranges.iter().filter(|r| r.after < probe && probe <= r.up_to).count()
            };
            if probe > i64::MIN {
                prop_assert_eq!(holds(&left), usize::from(holds(&done) == 0));
            }
        }
    }
}
