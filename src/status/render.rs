//! The report as text for a terminal.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::metrics::{Phase, Report, TimesReport, Totals};

/// Width of the first column.
const NAME: usize = 26;
/// Width of a number.
const CELL: usize = 12;
/// More shards than this are shown as their sum only.
const SHARDS_SHOWN: usize = 8;

/// The report as a person reads it: verdict first, then the numbers behind it.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let phase = match report.phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Draining => "stopping",
    };
    let up = duration(Duration::from_secs(report.uptime_s));
    let reachable = if report.source_reachable {
        "reachable"
    } else {
        "NOT reachable"
    };
    writeln!(
        out,
        "twinring {}: {} -> {}",
        report.version, report.source, report.target
    )?;
    writeln!(out, "{phase} for {up}, source {reachable}")?;
    writeln!(out)?;
    cutover(out, report)?;
    numbers(out, report)?;
    writeln!(out)?;
    writeln!(out, "time inside the proxy, last minute, in µs")?;
    write!(out, "{:NAME$}", "")?;
    for head in ["requests", "p50", "p90", "p99", "p99.9", "max"] {
        write!(out, "{head:>CELL$}")?;
    }
    writeln!(out)?;
    times(out, "client to source", &report.request_time)?;
    times(out, "source to client", &report.answer_time)
}

fn cutover(out: &mut String, report: &Report) -> fmt::Result {
    if report.cutover.safe {
        let on_the_way = report.totals.pending_writes;
        writeln!(
            out,
            "safe to cut over: yes, the target has every write of the past"
        )?;
        if on_the_way > 0 {
            writeln!(out, "  {} are on their way", grouped(on_the_way))?;
        }
    } else {
        writeln!(out, "safe to cut over: NO, because")?;
        for reason in &report.cutover.reasons {
            writeln!(out, "  - {reason}")?;
        }
    }
    writeln!(out)
}

/// A row: its name and where its number is.
type Row = (String, Box<dyn Fn(&Totals) -> String>);

fn numbers(out: &mut String, report: &Report) -> fmt::Result {
    let mut columns = vec![("all".to_owned(), &report.totals)];
    if (2..=SHARDS_SHOWN).contains(&report.shards.len()) {
        let each = report.shards.iter();
        columns.extend(each.map(|shard| (format!("shard {}", shard.shard), &shard.totals)));
    }
    write!(out, "{:NAME$}", "")?;
    for (head, _) in &columns {
        write!(out, "{head:>CELL$}")?;
    }
    writeln!(out)?;
    for (name, value) in rows(&report.totals) {
        write!(out, "{name:NAME$}")?;
        for (_, totals) in &columns {
            write!(out, "{:>CELL$}", value(totals))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn rows(all: &Totals) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        (
            "lag".to_owned(),
            Box::new(|t| match t.lag_us {
                0 => "none".to_owned(),
                us => format!("{:.1} s", Duration::from_micros(us).as_secs_f64()),
            }),
        ),
        number("writes in memory", |t| t.pending_writes),
        number("writes sent, no answer", |t| t.mirror_in_flight),
        number("spilled, target lacks", |t| t.backlog_records),
        (
            "  in bytes".to_owned(),
            Box::new(|t| bytes(t.backlog_bytes)),
        ),
        number("rejected, kept", |t| t.rejected_held),
        number("in doubt, kept", |t| t.in_doubt_held),
        number("of a dead proxy, unsettled", |t| t.unsettled),
    ];
    for side in all.connections.keys() {
        let side = side.clone();
        let value = side.clone();
        rows.push((
            format!("connections, {side}"),
            Box::new(move |t| grouped(t.connections.get(&value).copied().unwrap_or(0))),
        ));
    }
    type Map = fn(&Totals) -> &std::collections::BTreeMap<String, u64>;
    let maps: [(&str, Map); 4] = [
        ("requests, ", |t| &t.requests),
        ("writes ", |t| &t.verdicts),
        ("not sent, ", |t| &t.skipped),
        ("", |t| &t.events),
    ];
    for (prefix, map) in maps {
        for name in map(all).keys() {
            let key = name.clone();
            rows.push((
                format!("{prefix}{}", name.replace('_', " ")),
                Box::new(move |t| grouped(map(t).get(&key).copied().unwrap_or(0))),
            ));
        }
    }
    rows
}

fn number(name: &str, value: fn(&Totals) -> u64) -> Row {
    (
        name.to_owned(),
        Box::new(move |totals| grouped(value(totals))),
    )
}

fn times(out: &mut String, name: &str, times: &TimesReport) -> fmt::Result {
    write!(out, "{name:NAME$}{:>CELL$}", grouped(times.count))?;
    for us in [
        times.p50_us,
        times.p90_us,
        times.p99_us,
        times.p999_us,
        times.max_us,
    ] {
        write!(out, "{us:>CELL$.1}")?;
    }
    writeln!(out)
}

/// `1234567` → `1,234,567`.
/// A number with commas between the thousands.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in the greatest unit that fits.
#[must_use]
pub fn bytes(n: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => {
            let (whole, tenth) = (n / size, n % size * 10 / size);
            format!("{}.{tenth} {unit}", grouped(whole))
        }
        None => format!("{n} B"),
    }
}

fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metrics::{Cutover, ShardReport};

    fn totals(n: u64) -> Totals {
        Totals {
            requests: [("write".to_owned(), 1000 * n)].into(),
            events: [("mirrored_writes".to_owned(), 900 * n)].into(),
            backlog_records: 100 * n,
            backlog_bytes: 1536 * n,
            lag_us: 2_540_000,
            pending_writes: n,
            ..Totals::default()
        }
    }

    fn report(reasons: &[&str], shards: usize) -> Report {
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let one = TimesReport {
            count: 1234,
            p50_us: 12.34,
            ..TimesReport::default()
        };
        Report {
            version: "1.0".to_owned(),
            source: "old".to_owned(),
            target: "new".to_owned(),
            source_reachable: true,
            phase: Phase::Running,
            now_us: 9_000_000_000,
            uptime_s: 3_720,
            cutover: Cutover {
                safe: reasons.is_empty(),
                reasons,
            },
            totals: totals(2),
            shards: (0..shards)
                .map(|shard| ShardReport {
                    shard,
                    alive: true,
                    settled_us: 8_000_000_000,
                    totals: totals(1),
                })
                .collect(),
            request_time: one,
            answer_time: TimesReport::default(),
        }
    }

    fn line<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let found = text.lines().find(|line| line.starts_with(name));
        found.unwrap()[NAME..]
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn the_verdict_comes_with_every_reason() {
        let text = render(&report(&["a reason", "another"], 2));
        assert!(text.contains("safe to cut over: NO, because\n  - a reason\n  - another\n"));
        let text = render(&report(&[], 2));
        assert!(text.contains("safe to cut over: yes"));
        assert!(text.contains("2 are on their way"));
        assert!(
            text.contains("running for 1 h 2 min, source reachable"),
            "{text}"
        );
    }

    #[test]
    fn numbers_stand_in_columns() {
        let text = render(&report(&[], 2));
        assert_eq!(line(&text, "requests, write"), ["2,000", "1,000", "1,000"]);
        assert_eq!(line(&text, "mirrored writes"), ["1,800", "900", "900"]);
        assert_eq!(line(&text, "  in bytes"), ["3.0 KiB", "1.5 KiB", "1.5 KiB"]);
        assert_eq!(line(&text, "lag"), ["2.5 s", "2.5 s", "2.5 s"]);
        assert_eq!(line(&text, "client to source")[..2], ["1,234", "12.3"]);
        for shards in [1, SHARDS_SHOWN + 1] {
            let text = render(&report(&[], shards));
            assert_eq!(
                line(&text, "requests, write"),
                ["2,000"],
                "{shards} shards: the sum only"
            );
        }
    }

    #[test]
    fn units_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(10 << 30), "10.0 GiB");
        assert_eq!(bytes((1 << 20) + (1 << 19)), "1.5 MiB");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(duration(Duration::from_secs(90_000)), "1 d 1 h");
    }
}
