//! Rate against latency, up to where a server cannot follow.

use std::fmt;

use serde::Serialize;

use crate::compare::{Named, run_at};
use crate::plan::Plan;
use crate::process::Cost;
use crate::report::Report;

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    /// The lowest rate, in requests per second.
    pub from: u32,
    /// The highest.
    pub to: u32,
    /// From one rate to the next: more than 1.
    pub factor: f64,
    /// Halvings of the step between the highest rate that was good and the lowest that was not.
    pub refine: u32,
    /// Longest p99 that is good, in µs.
    pub p99_limit_us: f64,
    /// Runs of each rate; the one with the median p99 counts.
    pub repeat: u32,
}

/// One rate at one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Planned requests per second.
    pub rate_per_s: u32,
    /// Whether the rate was kept and p99 within the limit.
    pub good: bool,
    /// What the endpoint's processes cost, if any were named.
    pub cost: Option<Cost>,
    /// The run.
    pub report: Report,
}

/// All rates of one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Of which endpoint.
    pub name: String,
    /// By rate, rising.
    pub rungs: Vec<Rung>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// Longest p99 that is good, in µs.
    pub p99_limit_us: f64,
    /// Connections.
    pub connections: u16,
    /// One for each endpoint.
    pub curves: Vec<Curve>,
}

/// Climbs for each endpoint, rate by rate in turns, and then looks closer at where each fell off.
/// `seen` hears of every run.
///
/// # Errors
/// Those of a run.
pub fn sweep(
    plan: &Plan,
    endpoints: &[Named],
    ladder: &Ladder,
    mut seen: impl FnMut(&str, &Rung) -> anyhow::Result<()>,
) -> anyhow::Result<Sweep> {
    let mut curves: Vec<Curve> = endpoints
        .iter()
        .map(|endpoint| Curve {
            name: endpoint.name.clone(),
            rungs: Vec::new(),
        })
        .collect();
    let mut runs = 0;
    let mut climb = |curve: &mut Curve, endpoint: &Named, rate| {
        let rung = measure(plan, endpoint, ladder, rate, &mut runs)?;
        seen(&curve.name, &rung)?;
        curve.add(rung);
        anyhow::Ok(())
    };
    for rate in rates(ladder) {
        for (curve, endpoint) in curves.iter_mut().zip(endpoints) {
            if curve.bad().is_none() {
                climb(curve, endpoint, rate)?;
            }
        }
    }
    for _ in 0..ladder.refine {
        for (curve, endpoint) in curves.iter_mut().zip(endpoints) {
            let (good, bad) = (curve.good(), curve.bad());
            if let (Some(good), Some(bad)) = (good, bad)
                && bad - good > 1
            {
                climb(curve, endpoint, good + (bad - good) / 2)?;
            }
        }
    }
    Ok(Sweep {
        p99_limit_us: ladder.p99_limit_us,
        connections: plan.connections,
        curves,
    })
}

/// The rates of the climb.
fn rates(ladder: &Ladder) -> Vec<u32> {
    let mut rates = Vec::new();
    let mut rate = f64::from(ladder.from.max(1));
    while rate < f64::from(ladder.to) {
        rates.push(whole(rate));
        rate = (rate * ladder.factor.max(1.01)).max(rate + 1.0);
    }
    rates.push(ladder.to);
    rates
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and a u32"
)]
fn whole(rate: f64) -> u32 {
    rate.round() as u32
}

fn measure(
    plan: &Plan,
    endpoint: &Named,
    ladder: &Ladder,
    rate_per_s: u32,
    runs: &mut u64,
) -> anyhow::Result<Rung> {
    let mut found: Vec<Rung> = Vec::new();
    for _ in 0..ladder.repeat.max(1) {
        let plan = Plan {
            endpoint: endpoint.address,
            rate_per_s,
            run_id: plan.run_id + *runs,
            ..plan.clone()
        };
        *runs += 1;
        let (report, cost) = run_at(&plan, endpoint)?;
        let p99_us = report.latency.quantile_us(0.99);
        let good =
            report.is_valid() && report.client_errors() == 0 && p99_us <= ladder.p99_limit_us;
        found.push(Rung {
            rate_per_s,
            good,
            cost,
            report,
        });
    }
    // The median decides; of two in the middle the worse.
    found.sort_by(|a, b| {
        let key = |rung: &Rung| (!rung.good, rung.report.latency.0.value_at_quantile(0.99));
        key(a).cmp(&key(b))
    });
    Ok(found.swap_remove(found.len() / 2))
}

impl Curve {
    fn add(&mut self, rung: Rung) {
        self.rungs.push(rung);
        self.rungs.sort_by_key(|rung| rung.rate_per_s);
    }

    /// The highest rate that was good, with no bad one below it.
    #[must_use]
    pub fn good(&self) -> Option<u32> {
        let good = self.rungs.iter().take_while(|rung| rung.good);
        good.map(|rung| rung.rate_per_s).last()
    }

    /// The lowest rate that was not.
    #[must_use]
    pub fn bad(&self) -> Option<u32> {
        let bad = self.rungs.iter().find(|rung| !rung.good);
        bad.map(|rung| rung.rate_per_s)
    }
}

impl Rung {
    /// One line: rate, quantiles, verdict.
    #[must_use]
    pub fn line(&self) -> String {
        let latency = &self.report.latency;
        let mut line = format!(
            "{:>9} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0}",
            self.rate_per_s,
            self.report.reached_per_s,
            latency.quantile_us(0.5),
            latency.quantile_us(0.99),
            latency.quantile_us(0.999),
            latency.max_us()
        );
        if let Some(cost) = self.cost {
            line += &format!(" {:>9.1}", cost.cpu_us_per_request);
        }
        if !self.good {
            let reason = self.report.invalid.first();
            line += &format!("   {}", reason.map_or("over the limit", String::as_str));
        }
        line
    }
}

/// The heading of [`Rung::line`].
pub const LINE_HEAD: &str = "   rate/s   reached       p50       p99     p99.9       max    CPU µs";

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.p99_limit_us;
        for (curve, ratio) in self.curves.iter().zip(self.ratios()) {
            let name = &curve.name;
            match (curve.good(), curve.bad()) {
                (None, _) => write!(f, "{name}: no rate with p99 ≤ {limit:.0} µs")?,
                (Some(good), Some(bad)) => {
                    write!(
                        f,
                        "{name}: p99 ≤ {limit:.0} µs up to {good}/s; {bad}/s failed"
                    )?;
                }
                (Some(good), None) => {
                    write!(
                        f,
                        "{name}: p99 ≤ {limit:.0} µs at {good}/s, the highest tried"
                    )?;
                }
            }
            match ratio {
                Some(ratio) => writeln!(f, " ({ratio:.2} of the first)")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl Sweep {
    /// Every endpoint's highest good rate over the first's; `None` without both.
    #[must_use]
    pub fn ratios(&self) -> Vec<Option<f64>> {
        let first = self.curves.first().and_then(Curve::good).map(f64::from);
        let ratio = |curve: &Curve| Some(f64::from(curve.good()?) / first?);
        self.curves.iter().map(ratio).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ladder(from: u32, to: u32, factor: f64) -> Ladder {
        Ladder {
            from,
            to,
            factor,
            refine: 3,
            p99_limit_us: 1_000.0,
            repeat: 1,
        }
    }

    #[test]
    fn rates_rise_to_the_highest() {
        assert_eq!(rates(&ladder(1000, 8000, 2.0)), [1000, 2000, 4000, 8000]);
        assert_eq!(rates(&ladder(1000, 5000, 2.0)), [1000, 2000, 4000, 5000]);
        assert_eq!(rates(&ladder(5, 5, 2.0)), [5]);
        assert_eq!(rates(&ladder(0, 3, 1.0)), [1, 2, 3]);
    }

    #[test]
    fn a_sweep_closes_in_on_where_a_server_falls_off() {
        let plan = crate::tests::plan(crate::tests::Manner::Limited(3_000));
        let endpoint = Named {
            name: "limited".to_owned(),
            address: plan.endpoint,
            pids: Vec::new(),
        };
        let ladder = Ladder {
            p99_limit_us: 1e9,
            refine: 2,
            ..ladder(500, 64_000, 8.0)
        };
        let mut lines = 0;
        let found = sweep(&plan, &[endpoint], &ladder, |_, rung| {
            assert!(rung.line().contains(&rung.rate_per_s.to_string()));
            lines += 1;
            Ok(())
        })
        .unwrap();
        let curve = &found.curves[0];
        assert!(curve.good().unwrap_or(0) <= 4_000, "{found}");
        assert!(curve.bad().is_some(), "{found}");
        assert_eq!(lines, curve.rungs.len());
    }
}
