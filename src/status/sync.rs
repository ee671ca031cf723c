//! `twinring sync`: waits until everything that was acknowledged before now is on the target.
//!
//! Each shard publishes a watermark: every write that arrived before it, and that the source has
//! or may have, is on the target (or is kept as rejected or in doubt, which is counted apart). A
//! write arrives before it is acknowledged, so once all watermarks of all proxies have passed the
//! moment at which the command began, the answer is yes. Hints of ScyllaDB have the same primitive
//! (*sync points*).

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{ask, grouped};
use crate::metrics::Report;

/// `twinring sync`.
#[derive(Clone, Debug, clap::Args)]
pub struct SyncArgs {
    /// Where a proxy serves its metrics: HOST:PORT; once for each proxy of the source
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:28000",
        value_delimiter = ',',
        env = "TWINRING_ADMIN"
    )]
    pub admin: Vec<String>,
    /// Give up after this many seconds
    #[arg(long, value_name = "S", default_value = "600",
          value_parser = clap::value_parser!(u64).range(0..=7 * 24 * 3600))]
    pub timeout: u64,
    /// Succeed though writes are kept as rejected or in doubt
    #[arg(long)]
    pub allow_kept: bool,
}

/// How often a proxy is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// One proxy and the moment that it has to reach.
struct Point {
    admin: String,
    /// Its own clock when the command began (µs since 1970).
    wanted_us: u64,
    started_us: u64,
    reached: Option<Report>,
}

/// Waits for all proxies and says how it went.
///
/// # Errors
/// A proxy cannot be asked, was restarted meanwhile, did not get there in time, or keeps writes
/// that are not on the target.
pub fn run(args: &SyncArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut points = Vec::new();
    for admin in &args.admin {
        let report = ask(admin)?;
        points.push(Point {
            admin: admin.clone(),
            wanted_us: report.now_us,
            started_us: started_us(&report),
            reached: None,
        });
    }
    let until = began + Duration::from_secs(args.timeout);
    loop {
        let missing = look(&mut points)?;
        if missing.is_empty() {
            break;
        }
        if Instant::now() >= until {
            bail!(
                "not reached after {} s:\n  {}\nwrites go on meanwhile; ask again, or see \
                 `twinring status`",
                args.timeout,
                missing.join("\n  ")
            );
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a tool of its own, without a shard"
        )]
        std::thread::sleep(ASK_EVERY);
    }
    conclude(args, &points, began.elapsed(), out)
}

/// Asks the proxies that are not there yet. Gives the words for each that still is not.
fn look(points: &mut [Point]) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for point in points.iter_mut().filter(|point| point.reached.is_none()) {
        let report = ask(&point.admin)?;
        if started_us(&report).abs_diff(point.started_us) > RESTART_TOLERANCE_US {
            bail!(
                "the proxy at {} was restarted meanwhile: run `twinring sync` again",
                point.admin
            );
        }
        match behind(&report, point.wanted_us) {
            None => point.reached = Some(report),
            Some(words) => missing.push(format!("{}: {words}", point.admin)),
        }
    }
    Ok(missing)
}

/// The uptime is given in whole seconds.
const RESTART_TOLERANCE_US: u64 = 3_000_000;

fn started_us(report: &Report) -> u64 {
    report.now_us.saturating_sub(report.uptime_s * 1_000_000)
}

/// What keeps a proxy from having passed `wanted_us`; `None` when it has.
fn behind(report: &Report, wanted_us: u64) -> Option<String> {
    let shards = report.shards.len();
    let late: Vec<_> = report
        .shards
        .iter()
        .filter(|shard| shard.settled_us <= wanted_us)
        .collect();
    if late.is_empty() && shards > 0 {
        return None;
    }
    let unknown = late.iter().any(|shard| shard.settled_us == 0);
    let oldest_us = late.iter().map(|shard| shard.settled_us).min().unwrap_or(0);
    let age = match unknown {
        true => "some of unknown age".to_owned(),
        false => {
            let age = Duration::from_micros(report.now_us.saturating_sub(oldest_us));
            format!("the oldest {:.1} s old", age.as_secs_f64())
        }
    };
    let totals = &report.totals;
    Some(format!(
        "{} of {shards} shards still have older writes, {age}: {} in memory, {} spilled; the \
         target is {}",
        late.len(),
        grouped(totals.pending_writes),
        grouped(totals.backlog_records),
        if totals.target_up > 0 { "up" } else { "down" },
    ))
}

fn conclude(
    args: &SyncArgs,
    points: &[Point],
    waited: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut kept = Vec::new();
    for point in points {
        let Some(report) = &point.reached else {
            continue;
        };
        let counts = [
            (report.totals.rejected_held, "rejected by the target"),
            (report.totals.in_doubt_held, "in doubt"),
            (report.totals.unsupported, "of a kind that is not mirrored"),
        ];
        kept.extend(
            counts
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{}: {} {what}", point.admin, grouped(count))),
        );
    }
    let newest_us = points.iter().map(|point| point.wanted_us).min();
    let but = if kept.is_empty() {
        ""
    } else {
        ", but for writes that are kept"
    };
    writeln!(
        out,
        "everything acknowledged before {} µs since 1970 is on the target{but} ({} {}, waited \
         {:.1} s)",
        newest_us.unwrap_or_default(),
        points.len(),
        if points.len() == 1 {
            "proxy"
        } else {
            "proxies"
        },
        waited.as_secs_f64()
    )
    .context("failed to print")?;
    for words in &kept {
        writeln!(out, "  {words}").context("failed to print")?;
    }
    if !kept.is_empty() && !args.allow_kept {
        bail!(
            "some writes are not on the target and will not get there by themselves: see \
             `twinring inspect`, or give --allow-kept"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metrics::{Facts, Gauge, Recorder, shards};

    fn proxy(count: usize) -> (Vec<Recorder>, crate::admin::Admin) {
        let (recorders, views) = shards(count);
        let facts = Facts {
            version: "1".to_owned(),
            source: "old".to_owned(),
            target: "new".to_owned(),
            started_us: 1,
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let admin = crate::admin::start(listen, Vec::new(), facts, views).unwrap();
        (recorders, admin)
    }

    fn args(admins: &[&crate::admin::Admin], timeout: u64) -> SyncArgs {
        SyncArgs {
            admin: admins.iter().map(|a| a.local_addr().to_string()).collect(),
            timeout,
            allow_kept: false,
        }
    }

    fn outcome(args: &SyncArgs) -> (String, Option<String>) {
        let mut out = Vec::new();
        let error = run(args, &mut out).err().map(|e| format!("{e:#}"));
        (String::from_utf8(out).unwrap(), error)
    }

    #[test]
    fn every_shard_of_every_proxy_must_have_passed() {
        let ((first, a), (second, b)) = (proxy(2), proxy(1));
        for recorder in first.iter().chain(&second) {
            recorder.settled(u64::MAX);
        }
        let (said, error) = outcome(&args(&[&a, &b], 5));
        assert_eq!(error, None);
        assert!(said.contains("is on the target (2 proxies"), "{said}");
        first[1].settled(1_000_000);
        let (_, error) = outcome(&args(&[&a, &b], 0));
        let error = error.unwrap();
        assert!(error.contains("1 of 2 shards still have older"), "{error}");
        first[1].settled(0);
        let (_, error) = outcome(&args(&[&a], 0));
        assert!(error.unwrap().contains("of unknown age"));
        a.stop();
        b.stop();
    }

    #[test]
    fn a_shard_that_has_not_spoken_yet_has_not_passed() {
        let (_recorders, admin) = proxy(1);
        let (_, error) = outcome(&args(&[&admin], 0));
        assert!(error.is_some());
        admin.stop();
    }

    #[test]
    fn what_is_kept_is_said_and_fails_unless_allowed() {
        let (recorders, admin) = proxy(1);
        recorders[0].settled(u64::MAX);
        recorders[0].set(Gauge::InDoubtHeld, 3);
        let mut asked = args(&[&admin], 5);
        let (said, error) = outcome(&asked);
        assert!(said.contains("3 in doubt") && error.is_some());
        asked.allow_kept = true;
        assert_eq!(outcome(&asked).1, None);
        admin.stop();
    }
}
