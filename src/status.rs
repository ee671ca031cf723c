//! `twinring status`: what a running proxy does, for a person, and whether it is safe to cut over.

mod render;
pub mod sync;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;

use crate::metrics::Report;

pub use render::{bytes, grouped, render};

/// How long the proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `twinring status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Where the proxy serves its metrics: HOST:PORT
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:28000",
        env = "TWINRING_ADMIN"
    )]
    pub admin: String,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// Print again every N seconds until interrupted [default of N: 2]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub watch: Option<u64>,
}

/// Fetches and prints, once or until interrupted.
///
/// # Errors
/// When no proxy answers there, or its answer is not understood.
pub fn run(args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    loop {
        let json = fetch(&args.admin)?;
        if args.json {
            writeln!(out, "{}", json.trim_end())?;
        } else {
            let report: Report = serde_json::from_str(&json)
                .with_context(|| format!("understand the answer of {}", args.admin))?;
            if args.watch.is_some() {
                write!(out, "\x1b[H\x1b[2J")?; // the screen anew, as `watch` does
            }
            write!(out, "{}", render(&report))?;
        }
        out.flush()?;
        let Some(seconds) = args.watch else {
            return Ok(());
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "a tool of its own, without a shard"
        )]
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// Asks a running proxy.
///
/// # Errors
/// As [`run`].
pub fn ask(admin: &str) -> anyhow::Result<Report> {
    serde_json::from_str(&fetch(admin)?)
        .with_context(|| format!("understand the answer of {admin}"))
}

fn fetch(admin: &str) -> anyhow::Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let url = format!("http://{admin}/status");
    let ask = || agent.get(&url).call()?.body_mut().read_to_string();
    ask().with_context(|| {
        format!("ask {url}; is a proxy running, and is this its --metrics-port (see --admin)?")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metrics::{Facts, Gauge, shards};

    fn args(admin: String, json: bool) -> StatusArgs {
        StatusArgs {
            admin,
            json,
            watch: None,
        }
    }

    #[test]
    fn a_running_proxy_is_asked_and_shown() {
        let (recorders, views) = shards(1);
        recorders[0].set(Gauge::BacklogRecords, 12);
        let facts = Facts {
            version: "9.9.9".to_owned(),
            source: "old".to_owned(),
            target: "new".to_owned(),
            started_us: 1,
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let admin = crate::admin::start(listen, Vec::new(), facts, views).unwrap();
        let address = admin.local_addr().to_string();
        let mut table = Vec::new();
        run(&args(address.clone(), false), &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("twinring 9.9.9") && table.contains("12 writes are spilled"));
        let mut json = Vec::new();
        run(&args(address, true), &mut json).unwrap();
        let report: Report = serde_json::from_slice(&json).unwrap();
        assert_eq!(report.totals.backlog_records, 12);
        admin.stop();
    }

    #[test]
    fn nobody_there_says_what_to_check() {
        let error = run(&args("127.0.0.1:1".to_owned(), false), &mut Vec::new()).unwrap_err();
        assert!(
            format!("{error:#}").contains("is a proxy running"),
            "{error:#}"
        );
    }
}
