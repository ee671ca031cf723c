//! Two endpoints in turns, so that what the machine does otherwise hits both alike.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::load::run;
use crate::plan::Plan;
use crate::report::{QUANTILES, Report};

/// An endpoint and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In tables.
    pub name: String,
    /// Where.
    pub address: SocketAddr,
}

/// What the second endpoint costs over the first.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The names, in the order of the rounds.
    pub names: [String; 2],
    /// Planned requests per second.
    pub rate_per_s: u32,
    /// Connections.
    pub connections: u16,
    /// One row for each of [`QUANTILES`].
    pub added: Vec<Added>,
    /// Every run: first, second, first, second, …
    pub runs: Vec<Report>,
}

/// One quantile of both, in µs, medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Added {
    /// `p50`, `p90`, …
    pub quantile: &'static str,
    /// Of the first.
    pub first_us: f64,
    /// Of the second.
    pub second_us: f64,
    /// Median of the rounds' differences.
    pub added_us: f64,
    /// The smallest difference of a round.
    pub lowest_us: f64,
    /// The greatest difference of a round.
    pub highest_us: f64,
}

/// Runs `plan` at both endpoints in turns: A B A B … `go_on` is asked before each run.
///
/// # Errors
/// Those of a run.
pub fn compare(
    plan: &Plan,
    endpoints: &[Named; 2],
    rounds: u32,
    mut go_on: impl FnMut() -> bool,
) -> anyhow::Result<Comparison> {
    let mut runs: Vec<Report> = Vec::new();
    for round in 0..rounds {
        for (turn, endpoint) in (0..).zip(endpoints) {
            anyhow::ensure!(go_on(), "interrupted");
            runs.push(run(&Plan {
                endpoint: endpoint.address,
                run_id: plan.run_id + u64::from(round) * 2 + turn,
                ..plan.clone()
            })?);
        }
    }
    let added = QUANTILES.iter().map(|&(name, quantile)| {
        let of = |report: &Report| report.latency.quantile_us(quantile);
        let pairs: Vec<(f64, f64)> = runs
            .chunks_exact(2)
            .filter_map(|pair| Some((of(pair.first()?), of(pair.get(1)?))))
            .collect();
        row(name, &pairs)
    });
    Ok(Comparison {
        names: [endpoints[0].name.clone(), endpoints[1].name.clone()],
        rate_per_s: plan.rate_per_s,
        connections: plan.connections,
        added: added.collect(),
        runs,
    })
}

fn row(quantile: &'static str, pairs: &[(f64, f64)]) -> Added {
    let differences = || pairs.iter().map(|&(first, second)| second - first);
    Added {
        quantile,
        first_us: median(pairs.iter().map(|&(first, _)| first)),
        second_us: median(pairs.iter().map(|&(_, second)| second)),
        added_us: median(differences()),
        lowest_us: differences().fold(f64::INFINITY, f64::min),
        highest_us: differences().fold(f64::NEG_INFINITY, f64::max),
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
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

impl Added {
    /// Whether the rounds do not even agree on which of the two is slower.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        self.lowest_us < 0.0 && self.highest_us > 0.0
    }
}

impl Comparison {
    /// Sum of [`Report::client_errors`].
    #[must_use]
    pub fn client_errors(&self) -> u64 {
        self.runs.iter().map(Report::client_errors).sum()
    }

    /// Requests that were sent late and such that were never sent, over all runs.
    #[must_use]
    pub fn late_and_unsent(&self) -> (u64, u64) {
        let late = self.runs.iter().map(|run| run.late).sum();
        (late, self.runs.iter().map(|run| run.unsent).sum())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.names;
        let width = first.chars().count().max(second.chars().count()).max(9);
        writeln!(
            f,
            "{:<6} {first:>width$} {second:>width$} {:>9}   of single rounds",
            "in µs", "added"
        )?;
        for row in &self.added {
            writeln!(
                f,
                "{:<6} {:>width$.0} {:>width$.0} {:>+9.0}   {:+.0} to {:+.0}{}",
                row.quantile,
                row.first_us,
                row.second_us,
                row.added_us,
                row.lowest_us,
                row.highest_us,
                if row.is_noise() { ": noise" } else { "" }
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_rounds() {
        let row = row("p50", &[(10.0, 15.0), (100.0, 103.0), (20.0, 90.0)]);
        assert!((row.first_us - 20.0).abs() < 1e-9 && (row.second_us - 90.0).abs() < 1e-9);
        assert!((row.added_us - 5.0).abs() < 1e-9, "{row:?}");
        assert!((row.lowest_us - 3.0).abs() < 1e-9 && (row.highest_us - 70.0).abs() < 1e-9);
        assert!(!row.is_noise());
        assert!(super::row("p99", &[(1.0, 2.0), (2.0, 1.0)]).is_noise());
        assert!((median([4.0, 1.0, 3.0, 2.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }
}
