//! Medians of interleaved rounds, and their ratios to the first relay of each shape.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

/// Figures of one relay and shape: name → one value per round.
type Rounds = BTreeMap<String, Vec<f64>>;

/// Reads the lines of `load` from standard input.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut order: Vec<(String, String)> = Vec::new();
    let mut all: BTreeMap<(String, String), Rounds> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let fields: BTreeMap<&str, &str> = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .collect();
        let (Some(shape), Some(relay)) = (fields.get("shape"), fields.get("relay")) else {
            continue;
        };
        let key = ((*shape).to_owned(), (*relay).to_owned());
        if !order.contains(&key) {
            order.push(key.clone());
        }
        let rounds = all.entry(key).or_default();
        for (name, value) in &fields {
            if let (false, Ok(value)) = (matches!(*name, "round"), value.parse()) {
                rounds.entry((*name).to_owned()).or_default().push(value);
            }
        }
    }
    order.sort_by(|one, other| one.0.cmp(&other.0));
    print_table(&order, &all);
    Ok(())
}

fn print_table(order: &[(String, String)], all: &BTreeMap<(String, String), Rounds>) {
    println!(
        "{:<8} {:<26} {:>7} {:>6} {:>17} {:>8} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8}",
        "shape",
        "relay",
        "cpu_us",
        "ratio",
        "cpu_us min..max",
        "rps",
        "p50_us",
        "p99_us",
        "sleeps",
        "user_ins",
        "kern_ins",
        "syscalls"
    );
    for key in order {
        let Some(rounds) = all.get(key) else { continue };
        let first = order
            .iter()
            .find(|other| other.0 == key.0)
            .and_then(|first| all.get(first));
        let get = |rounds: &Rounds, name: &str| rounds.get(name).and_then(|v| median(v));
        let show = |name: &str, digits: usize| {
            get(rounds, name).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
        };
        let ratio = match (
            get(rounds, "cpu_us"),
            first.and_then(|first| get(first, "cpu_us")),
        ) {
            (Some(own), Some(base)) if base > 0.0 => format!("{:.2}", own / base),
            _ => "-".to_owned(),
        };
        let spread = rounds.get("cpu_us").map_or_else(String::new, |values| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            format!("{least:.2}..{most:.2}")
        });
        println!(
            "{:<8} {:<26} {:>7} {:>6} {:>17} {:>8} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8}",
            key.0,
            key.1,
            show("cpu_us", 2),
            ratio,
            spread,
            show("rps", 0),
            show("p50_us", 1),
            show("p99_us", 1),
            show("sleeps", 3),
            show("user_instructions", 0),
            show("kernel_instructions", 0),
            show("syscalls", 2),
        );
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
