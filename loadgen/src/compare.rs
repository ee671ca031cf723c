//! Endpoints in turns, so that what the machine does otherwise hits all alike.
//!
//! Each round runs every endpoint once, in an order of its own, with the same schedule, keys and
//! values. What counts is the difference to the first endpoint within each round.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::bootstrap::{Estimate, median};
use crate::distribution::{below, mix};
use crate::load::Load;
use crate::plan::Plan;
use crate::process::{Cost, usage};
use crate::report::{Latency, QUANTILES, Report, float};

/// From the end of a run to the look at what it cost: a proxy may have work left.
const SETTLE: Duration = Duration::from_millis(100);

/// An endpoint and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In tables.
    pub name: String,
    /// Where.
    pub address: SocketAddr,
    /// Processes whose cost is counted while it is being asked; may be empty.
    pub pids: Vec<u32>,
}

/// What each endpoint costs over the first.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The names; the first is what the others are compared with.
    pub names: Vec<String>,
    /// Planned requests per second.
    pub rate_per_s: u32,
    /// Connections.
    pub connections: u16,
    /// Rounds.
    pub rounds: u32,
    /// For each endpoint but the first: a row for each of [`QUANTILES`] and the maximum.
    pub added: Vec<Added>,
    /// What the processes cost, by name; only of endpoints with processes.
    pub costs: BTreeMap<String, Costs>,
    /// Every run, in the order in which they ran.
    pub turns: Vec<Turn>,
}

/// One run of one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Turn {
    /// Which endpoint: its place in [`Comparison::names`].
    pub endpoint: usize,
    /// Which round, from 0.
    pub round: u32,
    /// What its processes cost, if any were named.
    pub cost: Option<Cost>,
    /// What came out.
    pub report: Report,
}

/// One quantile of an endpoint, in µs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Added {
    /// Of which endpoint.
    pub name: String,
    /// `p50`, `p90`, … `max`
    pub quantile: &'static str,
    /// Of the first endpoint, median over the rounds.
    pub first_us: f64,
    /// Of this one.
    pub this_us: f64,
    /// The rounds' differences.
    pub added_us: Estimate,
}

/// What an endpoint's processes cost, over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Processor time per request, in µs.
    pub cpu_us_per_request: Estimate,
    /// The most resident memory at the end of a round, in bytes.
    pub rss_bytes: u64,
}

/// Runs `plan` at all endpoints, `rounds` times. `go_on` is asked before each run.
///
/// # Errors
/// Those of a run; fewer than two endpoints.
pub fn compare(
    plan: &Plan,
    endpoints: &[Named],
    rounds: u32,
    mut go_on: impl FnMut() -> bool,
) -> anyhow::Result<Comparison> {
    anyhow::ensure!(endpoints.len() > 1, "a comparison needs two endpoints");
    let mut turns = Vec::new();
    for round in 0..rounds {
        for at in order(endpoints.len(), plan.seed, round) {
            anyhow::ensure!(go_on(), "interrupted");
            let Some(endpoint) = endpoints.get(at) else {
                continue;
            };
            let plan = Plan {
                endpoint: endpoint.address,
                run_id: plan.run_id + u64::try_from(turns.len())?,
                seed: plan.seed + u64::from(round),
                ..plan.clone()
            };
            let (report, cost) = run_at(&plan, endpoint)?;
            turns.push(Turn {
                endpoint: at,
                round,
                cost,
                report,
            });
        }
    }
    let names = endpoints.iter().map(|endpoint| endpoint.name.clone());
    let names: Vec<String> = names.collect();
    Ok(Comparison {
        added: added(&names, &turns, plan.seed),
        costs: costs(&names, &turns, plan.seed),
        names,
        rate_per_s: plan.rate_per_s,
        connections: plan.connections,
        rounds,
        turns,
    })
}

/// One run, with what it costs the endpoint's processes.
pub(crate) fn run_at(plan: &Plan, endpoint: &Named) -> anyhow::Result<(Report, Option<Cost>)> {
    let load = Load::start(plan)?;
    if endpoint.pids.is_empty() {
        return Ok((load.finish()?, None));
    }
    let before = usage(&endpoint.pids)?;
    let report = load.finish()?;
    settle();
    let after = usage(&endpoint.pids)?;
    let used = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6;
    let cost = Cost {
        cpu_us_per_request: used / float(report.answered.max(1)),
        rss_bytes: after.rss_bytes,
    };
    Ok((report, Some(cost)))
}

fn settle() {
    #[allow(clippy::disallowed_methods, reason = "between two runs, in no shard")]
    std::thread::sleep(SETTLE);
}

/// A random order of `0..count`.
fn order(count: usize, seed: u64, round: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let random = mix(seed, u64::from(round));
    for (step, left) in (2..=count).rev().enumerate() {
        let (step, left_u64) = (
            u64::try_from(step).unwrap_or(0),
            u64::try_from(left).unwrap_or(1),
        );
        let at = below(mix(random, step), left_u64);
        order.swap(left - 1, usize::try_from(at).unwrap_or(0));
    }
    order
}

fn added(names: &[String], turns: &[Turn], seed: u64) -> Vec<Added> {
    let mut rows = Vec::new();
    for (at, name) in names.iter().enumerate().skip(1) {
        for (quantile, share) in QUANTILES.into_iter().chain([("max", 1.0)]) {
            let of = |endpoint| {
                by_round(turns, endpoint, |turn| {
                    Some(match share {
                        1.0 => turn.report.latency.max_us(),
                        _ => turn.report.latency.quantile_us(share),
                    })
                })
            };
            let (first, this) = (of(0), of(at));
            rows.push(row(name, quantile, &first, &this, seed));
        }
    }
    rows
}

/// A figure of an endpoint's runs, round by round.
fn by_round(turns: &[Turn], endpoint: usize, figure: impl Fn(&Turn) -> Option<f64>) -> Vec<f64> {
    let mut own: Vec<&Turn> = turns
        .iter()
        .filter(|turn| turn.endpoint == endpoint)
        .collect();
    own.sort_by_key(|turn| turn.round);
    own.into_iter().filter_map(figure).collect()
}

fn row(name: &str, quantile: &'static str, first: &[f64], this: &[f64], seed: u64) -> Added {
    let differences: Vec<f64> = first.iter().zip(this).map(|(a, b)| b - a).collect();
    Added {
        name: name.to_owned(),
        quantile,
        first_us: median(&mut first.to_vec()),
        this_us: median(&mut this.to_vec()),
        added_us: Estimate::of(&differences, seed),
    }
}

fn costs(names: &[String], turns: &[Turn], seed: u64) -> BTreeMap<String, Costs> {
    let mut found = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        let cpu = by_round(turns, at, |turn| Some(turn.cost?.cpu_us_per_request));
        let rss = turns.iter().filter(|turn| turn.endpoint == at);
        let rss = rss.filter_map(|turn| Some(turn.cost?.rss_bytes)).max();
        if let Some(rss_bytes) = rss {
            let cpu_us_per_request = Estimate::of(&cpu, seed);
            found.insert(
                name.clone(),
                Costs {
                    cpu_us_per_request,
                    rss_bytes,
                },
            );
        }
    }
    found
}

impl Comparison {
    /// All latencies of an endpoint, over all rounds.
    ///
    /// # Errors
    /// None in fact: the histograms have the same bounds.
    pub fn merged(&self, endpoint: usize) -> anyhow::Result<Latency> {
        let mut all = Latency::empty();
        for turn in self.turns.iter().filter(|turn| turn.endpoint == endpoint) {
            all.0.add(&turn.report.latency.0)?;
        }
        Ok(all)
    }

    /// Sum of [`Report::client_errors`].
    #[must_use]
    pub fn client_errors(&self) -> u64 {
        self.reports().map(Report::client_errors).sum()
    }

    /// Requests that were sent late and such that were never sent, over all runs.
    #[must_use]
    pub fn late_and_unsent(&self) -> (u64, u64) {
        let late = self.reports().map(|run| run.late).sum();
        (late, self.reports().map(|run| run.unsent).sum())
    }

    /// Every run's report.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.turns.iter().map(|turn| &turn.report)
    }

    /// What is wrong with single runs: name, round, reason.
    pub fn invalid(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.turns.iter().flat_map(|turn| {
            let name = self.names.get(turn.endpoint).map_or("", String::as_str);
            let reasons = turn.report.invalid.iter();
            reasons.map(move |reason| (name, turn.round, reason.as_str()))
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.names.first().map_or("", String::as_str);
        for this in self.names.iter().skip(1) {
            let width = first.chars().count().max(this.chars().count()).max(9);
            writeln!(
                f,
                "{:<6} {first:>width$} {this:>width$} {:>9}   95 % interval",
                "in µs", "added"
            )?;
            for row in self.added.iter().filter(|row| row.name == *this) {
                let Estimate {
                    median, low, high, ..
                } = row.added_us;
                writeln!(
                    f,
                    "{:<6} {:>width$.0} {:>width$.0} {median:>+9.0}   {low:+.0} to {high:+.0}{}",
                    row.quantile,
                    row.first_us,
                    row.this_us,
                    if row.added_us.is_noise() {
                        ": noise"
                    } else {
                        ""
                    }
                )?;
            }
        }
        for (name, costs) in &self.costs {
            let cpu = costs.cpu_us_per_request;
            writeln!(
                f,
                "{name}: {:.1} µs of processor time per request ({:.1} to {:.1}), \
                 {:.1} MiB resident",
                cpu.median,
                cpu.low,
                cpu.high,
                float(costs.rss_bytes) / f64::from(1 << 20)
            )?;
        }
        if self.added.iter().any(|row| row.added_us.is_noise()) {
            writeln!(
                f,
                "noise: {} rounds cannot tell this difference from none; more or longer rounds, or \
                 a quieter machine, might",
                self.rounds
            )?;
        }
        for (name, round, reason) in self.invalid() {
            writeln!(f, "INVALID: {name}, round {}: {reason}", round + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_rounds() {
        let (first, this) = (
            [10.0, 100.0, 20.0, 1.0, 30.0],
            [15.0, 103.0, 90.0, 4.0, 36.0],
        );
        let row = row("b", "p50", &first, &this, 1);
        assert!((row.first_us - 20.0).abs() < 1e-9 && (row.this_us - 36.0).abs() < 1e-9);
        assert!((row.added_us.median - 5.0).abs() < 1e-9, "{row:?}");
        assert!(row.added_us.low >= 3.0 && row.added_us.high <= 70.0);
        assert!(!row.added_us.is_noise());
    }

    #[test]
    fn every_order_comes_and_each_has_all() {
        let mut seen = BTreeMap::new();
        for round in 0..6_000 {
            let found = order(3, 9, round);
            let mut sorted = found.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            *seen.entry(found).or_insert(0_u32) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(
            seen.values().all(|&count| (850..1_150).contains(&count)),
            "{seen:?}"
        );
    }
}
