//! The pages for a run, a comparison and a sweep.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::page::{Head, Page, Table, host_facts};
use super::svg::{Axis, Chart, Scale, Series, escape};
use super::{Latency, QUANTILES, Report, float, us};
use crate::bootstrap::Estimate;
use crate::collect::Interval;
use crate::compare::Comparison;
use crate::plan::Plan;
use crate::sweep::Sweep;

const INTENDED: &str = "Latency counts from the moment at which the schedule wanted the request to \
    be sent, so a server that stalls is charged for every request that had to wait. The service \
    time counts from the sending, as a client that waits for each answer would see it; where the \
    two lines part, requests were queueing.";

/// The page of one run.
#[must_use]
pub fn run_page(plan: &Plan, report: &Report) -> String {
    let mut page = Page::new(&Head {
        title: format!("{} requests/s at {}", report.rate_per_s, report.endpoint),
        subtitle: format!(
            "{} over {} connections, measured for {:.1} s after {:.1} s of warm-up",
            report.mix,
            report.connections,
            report.measured_s,
            plan.warm_up.as_secs_f64()
        ),
        verdict: "The planned rate was kept.",
        invalid: report.invalid.clone(),
        warnings: report.warnings.clone(),
    });
    page.table(&latency_table(report));
    page.drawing(&percentiles(
        "Latency by percentile",
        [
            ("from the intended start", &report.latency),
            ("service time, from the sending", &report.service),
            ("the generator's own lag", &report.lag),
        ]
        .map(|(name, latency)| (name.to_owned(), latency))
        .into_iter(),
    ));
    page.note(INTENDED);
    page.drawing(&over_time(
        "Latency over time",
        "latency, µs",
        Scale::Log,
        report,
        &[
            ("p50", |second| second.p50_us),
            ("p99", |second| second.p99_us),
            ("longest", |second| second.max_us),
        ],
    ));
    page.drawing(&over_time(
        "Throughput",
        "requests per second",
        Scale::Linear,
        report,
        &[
            ("sent", |second| float(second.sent) / second.length_s),
            ("answered", |second| {
                float(second.good + second.failed) / second.length_s
            }),
        ],
    ));
    errors(&mut page, report);
    page.heading("How it was measured");
    page.facts(&plan_facts(plan));
    page.facts(&host_facts());
    page.finish()
}

fn errors(page: &mut Page, report: &Report) {
    page.heading("Errors");
    if report.client_errors() == 0 {
        page.note("None: every request was answered, and no answer was an error.");
        return;
    }
    page.drawing(&over_time(
        "Errors",
        "errors per second",
        Scale::Linear,
        report,
        &[("errors", |second| float(second.failed) / second.length_s)],
    ));
    let mut rows: Vec<Vec<String>> = report
        .errors
        .iter()
        .map(|(name, count)| vec![name.clone(), count.to_string()])
        .collect();
    let counts = [
        ("no answer", report.unanswered),
        ("wrong value", report.wrong),
    ];
    for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
        rows.push(vec![name.to_owned(), count.to_string()]);
    }
    for reason in &report.broken {
        rows.push(vec![format!("connection broken: {reason}"), "1".to_owned()]);
    }
    page.table(&Table {
        head: vec!["Error".to_owned(), "Count".to_owned()],
        rows,
    });
}

fn latency_table(report: &Report) -> Table {
    let mut head = vec!["µs".to_owned(), "count".to_owned()];
    head.extend(QUANTILES.map(|(name, _)| name.to_owned()));
    head.push("max".to_owned());
    let row = |name: &str, latency: &Latency| {
        let mut cells = vec![name.to_owned(), latency.count().to_string()];
        cells
            .extend(QUANTILES.map(|(_, quantile)| format!("{:.0}", latency.quantile_us(quantile))));
        cells.push(format!("{:.0}", latency.max_us()));
        cells
    };
    let kinds = report.kinds.iter();
    let mut rows: Vec<_> = kinds
        .map(|(kind, latency)| row(kind.name(), latency))
        .collect();
    if rows.len() > 1 {
        rows.push(row("all", &report.latency));
    }
    rows.push(row("service time", &report.service));
    rows.push(row("the generator's own lag", &report.lag));
    Table { head, rows }
}

/// Quantile curves, from 0 to what the number of samples can tell.
fn percentiles<'a>(title: &str, lines: impl Iterator<Item = (String, &'a Latency)>) -> String {
    let series = lines
        .filter(|(_, latency)| latency.count() > 0)
        .map(|(name, latency)| Series {
            name,
            points: curve(&latency.0),
        });
    Chart {
        title: title.to_owned(),
        x: axis("percentile", Scale::Quantile),
        y: axis("latency, µs", Scale::Log),
        series: series.collect(),
        limit: None,
    }
    .draw()
}

fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let last = 1.0 - 1.0 / float(histogram.len().max(2));
    let steps = histogram.iter_quantiles(8);
    steps
        .map(|step| {
            let quantile = step.quantile_iterated_to().min(last);
            (quantile, us(step.value_iterated_to()))
        })
        .collect()
}

/// What a line over time shows of each second.
type Figure = fn(&Interval) -> f64;

fn over_time(
    title: &str,
    label: &'static str,
    scale: Scale,
    report: &Report,
    lines: &[(&str, Figure)],
) -> String {
    let series = lines.iter().map(|(name, figure)| Series {
        name: (*name).to_owned(),
        points: report
            .intervals
            .iter()
            .filter(|second| scale == Scale::Linear || figure(second) > 0.0)
            .map(|second| (float(second.start_s), figure(second)))
            .collect(),
    });
    Chart {
        title: title.to_owned(),
        x: axis("seconds after the warm-up", Scale::Linear),
        y: axis(label, scale),
        series: series.collect(),
        limit: None,
    }
    .draw()
}

fn axis(label: &'static str, scale: Scale) -> Axis {
    Axis { label, scale }
}

/// The page of a comparison.
///
/// # Errors
/// None in fact: the histograms have the same bounds.
pub fn compare_page(plan: &Plan, comparison: &Comparison) -> anyhow::Result<String> {
    let others = comparison.names.get(1..).unwrap_or_default();
    let first = comparison.names.first().map_or("", String::as_str);
    let reason =
        |(name, round, reason): (&str, u32, &str)| format!("{name}, round {}: {reason}", round + 1);
    let mut page = Page::new(&Head {
        title: format!("What {} add to {first}", others.join(", ")),
        subtitle: format!(
            "{} at {}/s over {} connections, {} rounds of {:.1} s in turns, order drawn anew each \
             round",
            plan.mix,
            comparison.rate_per_s,
            comparison.connections,
            comparison.rounds,
            plan.duration.as_secs_f64()
        ),
        verdict: "Every run kept the planned rate.",
        invalid: comparison.invalid().map(reason).collect(),
        warnings: noise(comparison),
    });
    page.table(&added_table(comparison));
    page.note(
        "Added: the median over the rounds of the difference within a round, with the interval \
         that holds it 95 times of 100 (percentile bootstrap over the rounds). Pale and marked as \
         noise: the rounds do not tell the difference from none.",
    );
    page.drawing(&forest(comparison));
    let mut merged = Vec::new();
    for (at, name) in comparison.names.iter().enumerate() {
        merged.push((name.clone(), comparison.merged(at)?));
    }
    page.drawing(&percentiles(
        "Latency by percentile, all rounds together",
        merged.iter().map(|(name, latency)| (name.clone(), latency)),
    ));
    page.note(INTENDED);
    page.drawing(&rounds(comparison, "p50 of each round", 0.5));
    page.drawing(&rounds(comparison, "p99 of each round", 0.99));
    if !comparison.costs.is_empty() {
        page.heading("What the processes cost");
        page.table(&cost_table(comparison));
    }
    page.heading("How it was measured");
    page.facts(&plan_facts(plan));
    page.facts(&host_facts());
    Ok(page.finish())
}

fn noise(comparison: &Comparison) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in &comparison.names {
        let rows = comparison.added.iter();
        let rows = rows.filter(|row| row.name == *name && row.added_us.is_noise());
        let quantiles: Vec<&str> = rows.map(|row| row.quantile).collect();
        if !quantiles.is_empty() {
            warnings.push(format!(
                "{name}: {} rounds cannot tell what is added at {}",
                comparison.rounds,
                quantiles.join(", ")
            ));
        }
    }
    let runs = comparison.reports().filter(|run| !run.warnings.is_empty());
    let lagging = runs.count();
    if lagging > 0 {
        warnings.push(format!(
            "in {lagging} of {} runs this program was not always woken in time",
            comparison.turns.len()
        ));
    }
    warnings
}

fn added_table(comparison: &Comparison) -> Table {
    let first = comparison.names.first().cloned().unwrap_or_default();
    let head = [
        "",
        &format!("{first}, µs"),
        "this, µs",
        "added, µs",
        "95 % interval",
    ];
    let rows = comparison.added.iter().map(|row| {
        let Estimate {
            median, low, high, ..
        } = row.added_us;
        let noise = if row.added_us.is_noise() {
            " noise"
        } else {
            ""
        };
        vec![
            format!("{} {}", row.name, row.quantile),
            format!("{:.0}", row.first_us),
            format!("{:.0}", row.this_us),
            format!("{median:+.0}"),
            format!("{low:+.0} to {high:+.0}{noise}"),
        ]
    });
    Table {
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// Intervals as bars around their medians, p50 to p99: what lies beyond would dwarf them.
fn forest(comparison: &Comparison) -> String {
    let rows: Vec<_> = comparison
        .added
        .iter()
        .filter(|row| !matches!(row.quantile, "p99.9" | "max"))
        .collect();
    let ends = rows
        .iter()
        .flat_map(|row| [row.added_us.low, row.added_us.high]);
    let (low, high) = ends.fold((0.0_f64, 0.0_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let (left, width) = (170.0, 560.0);
    let place = |value: f64| left + (value - low) / (high - low).max(1e-9) * width;
    let height = 26.0 * float(u64::try_from(rows.len()).unwrap_or(0)) + 30.0;
    let mut out = format!(
        "<figure><figcaption>Added latency, µs, with its 95 % interval</figcaption>\
         <svg viewBox=\"0 0 860 {height}\" role=\"img\" aria-label=\"added latency\">\
         <line class=\"zero\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"4\" y2=\"{1:.1}\"/>\
         <text x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">0</text>",
        place(0.0),
        height - 22.0,
        height - 6.0
    );
    for (at, row) in (0_u32..).zip(&rows) {
        let y = 18.0 + 26.0 * f64::from(at);
        let endpoint = comparison.names.iter().position(|name| *name == row.name);
        let colour = endpoint.unwrap_or(0) % 6;
        let class = if row.added_us.is_noise() {
            " noise"
        } else {
            ""
        };
        let Estimate {
            median, low, high, ..
        } = row.added_us;
        let _ = write!(
            out,
            "<g class=\"{class}\"><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>\
             <line class=\"ci s{colour}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"p{colour}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"6\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{median:+.0}{}</text></g>",
            left - 12.0,
            y + 4.0,
            escape(&row.name),
            row.quantile,
            place(low),
            place(high),
            place(median),
            place(high) + 12.0,
            y + 4.0,
            if class.is_empty() { "" } else { " (noise)" }
        );
    }
    out + "</svg></figure>\n"
}

fn rounds(comparison: &Comparison, title: &str, quantile: f64) -> String {
    let series = comparison.names.iter().enumerate().map(|(at, name)| {
        let own = comparison.turns.iter().filter(|turn| turn.endpoint == at);
        let mut points: Vec<(f64, f64)> = own
            .map(|turn| {
                let latency = &turn.report.latency;
                (f64::from(turn.round + 1), latency.quantile_us(quantile))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series {
            name: name.clone(),
            points,
        }
    });
    Chart {
        title: title.to_owned(),
        x: axis("round", Scale::Linear),
        y: axis("latency, µs", Scale::Log),
        series: series.collect(),
        limit: None,
    }
    .draw()
}

fn cost_table(comparison: &Comparison) -> Table {
    let head = ["", "processor µs/request", "95 % interval", "resident MiB"];
    let rows = comparison.costs.iter().map(|(name, costs)| {
        let cpu = costs.cpu_us_per_request;
        vec![
            name.clone(),
            format!("{:.1}", cpu.median),
            format!("{:.1} to {:.1}", cpu.low, cpu.high),
            format!("{:.1}", float(costs.rss_bytes) / f64::from(1 << 20)),
        ]
    });
    Table {
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// The page of a sweep.
#[must_use]
pub fn sweep_page(plan: &Plan, sweep: &Sweep) -> String {
    let names: Vec<&str> = sweep
        .curves
        .iter()
        .map(|curve| curve.name.as_str())
        .collect();
    let without = sweep.curves.iter().filter(|curve| curve.good().is_none());
    let without = without.map(|curve| format!("{} kept no rate", curve.name));
    let mut page = Page::new(&Head {
        title: format!("How far {} go", names.join(", ")),
        subtitle: format!(
            "{} over {} connections, {:.1} s at each rate; limit: p99 of {:.0} µs",
            plan.mix,
            sweep.connections,
            plan.duration.as_secs_f64(),
            sweep.p99_limit_us
        ),
        verdict: "Every endpoint kept at least the lowest rate.",
        invalid: without.collect(),
        warnings: Vec::new(),
    });
    page.table(&sweep_table(sweep));
    for (title, quantile) in [
        ("p99 against the rate", 0.99),
        ("p50 against the rate", 0.5),
    ] {
        let series = sweep.curves.iter().map(|curve| Series {
            name: curve.name.clone(),
            points: curve
                .rungs
                .iter()
                .map(|rung| {
                    let latency = &rung.report.latency;
                    (f64::from(rung.rate_per_s), latency.quantile_us(quantile))
                })
                .collect(),
        });
        let limit = (sweep.p99_limit_us, "limit".to_owned());
        page.drawing(
            &Chart {
                title: title.to_owned(),
                x: axis("planned requests per second", Scale::Linear),
                y: axis("latency, µs", Scale::Log),
                series: series.collect(),
                limit: (quantile > 0.9).then_some(limit),
            }
            .draw(),
        );
    }
    page.note(INTENDED);
    page.heading("Every rate");
    for curve in &sweep.curves {
        page.note(&curve.name);
        page.table(&rung_table(curve));
    }
    page.heading("How it was measured");
    page.facts(&plan_facts(plan));
    page.facts(&host_facts());
    page.finish()
}

fn sweep_table(sweep: &Sweep) -> Table {
    let head = [
        "",
        "highest good rate/s",
        "of the first",
        "first rate that was not",
    ];
    let rows = sweep.curves.iter().zip(sweep.ratios());
    let rate = |rate: Option<u32>| rate.map_or("-".to_owned(), |rate| rate.to_string());
    let rows = rows.map(|(curve, ratio)| {
        vec![
            curve.name.clone(),
            rate(curve.good()),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            rate(curve.bad()),
        ]
    });
    Table {
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn rung_table(curve: &crate::sweep::Curve) -> Table {
    let head = [
        "rate/s", "reached", "p50", "p99", "p99.9", "max", "CPU µs", "verdict",
    ];
    let rows = curve.rungs.iter().map(|rung| {
        let latency = &rung.report.latency;
        let us = |value: f64| format!("{value:.0}");
        let reason = rung.report.invalid.first().cloned();
        let verdict = match rung.good {
            true => "good".to_owned(),
            false => reason.unwrap_or_else(|| "over the limit".to_owned()),
        };
        vec![
            rung.rate_per_s.to_string(),
            us(rung.report.reached_per_s),
            us(latency.quantile_us(0.5)),
            us(latency.quantile_us(0.99)),
            us(latency.quantile_us(0.999)),
            us(latency.max_us()),
            rung.cost.map_or("-".to_owned(), |cost| {
                format!("{:.1}", cost.cpu_us_per_request)
            }),
            verdict,
        ]
    });
    Table {
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// What was asked for.
fn plan_facts(plan: &Plan) -> Vec<(String, String)> {
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let stamps = if plan.client_stamps {
        "client"
    } else {
        "server"
    };
    vec![
        fact("protocol", plan.access.version.to_string()),
        fact("compression", plan.access.compression.to_string()),
        fact("TLS", yes(plan.access.tls.is_some())),
        fact("consistency", format!("{:?}", plan.consistency)),
        fact("requests", plan.mix.to_string()),
        fact("keys of each connection", plan.keys.to_string()),
        fact("order of keys", plan.key_order.to_string()),
        fact("value, bytes", plan.value_bytes.to_string()),
        fact("timestamps", stamps.to_owned()),
        fact("streams of each connection", plan.depth.to_string()),
        fact("statements of each kind", plan.statements.to_string()),
        fact("threads", plan.threads().to_string()),
        fact("spinning", yes(plan.spin)),
        fact("seed", plan.seed.to_string()),
    ]
}
