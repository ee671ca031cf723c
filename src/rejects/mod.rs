//! `twinring rejects`: what the target refused for good or may have applied, and another try after
//! a mend.
//!
//! ```text
//! list    counts by table and words; reads only, and may be run beside a proxy
//! send    `twinring replay` of the rejected files alone
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use crate::replay::args::ReplayArgs;
use crate::spill::dir::shards_in;
use crate::spill::{Body, Holds, Keys, Progress, Record, stat};

/// `twinring rejects`.
#[derive(Clone, Debug, Subcommand)]
pub enum Rejects {
    /// Show what was refused, by table and reason; may be run beside a proxy
    List(ListArgs),
    /// Send what was refused again, after a mend; what is in doubt is never sent
    #[command(after_help = SEND_HELP)]
    Send(Box<ReplayArgs>),
}

/// `twinring rejects list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
pub struct ListArgs {
    /// Data directory of a proxy, running or not
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Show the text of one statement of each group too; a text may hold values
    #[arg(long)]
    pub texts: bool,
    /// Key file of a spill that was written with --spill-key-file
    #[arg(long, value_name = "FILE", env = "TWINRING_SPILL_KEY_FILE")]
    pub spill_key_file: Option<PathBuf>,
    /// Print JSON: an array with one object for each table and reason
    #[arg(long)]
    pub json: bool,
}

const LIST_HELP: &str = "Refused: the target said no, and the record is kept with its words. In \
doubt: it must not be sent twice and the target may have it; `twinring verify --data-dir DIR` \
looks at these tables first. Exit code 0: there are none; 3: there are some, or something is \
damaged; `twinring inspect --records` shows each.";

const SEND_HELP: &str = "As `twinring replay --include-rejected`, without the backlog. A proxy \
that runs holds the directory: stop it, or send from a copy of the directory (sending a write \
twice changes nothing, as it keeps its timestamp). What the target refuses again is kept again.";

/// There is something.
const SOME: u8 = 3;

/// Records of one table that have the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Group {
    /// KEYSPACE.TABLE.
    table: String,
    /// The target may have them.
    in_doubt: bool,
    /// Error code of the native protocol; 0: the words are not the target's.
    code: i32,
    reason: String,
    records: u64,
    /// Records of each kind.
    kinds: BTreeMap<&'static str, u64>,
    /// Arrival of the first and the last, µs since 1970.
    oldest_us: u64,
    newest_us: u64,
    /// One of their statements.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Lists.
///
/// # Errors
/// The directory cannot be read, or is none of a proxy.
pub fn list(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let keys = args.spill_key_file.as_deref().map(Keys::load).transpose();
    let keys = keys.context("--spill-key-file")?.unwrap_or_default();
    let shards = shards_in(&args.dir)?;
    if shards.is_empty() {
        let dir = args.dir.display();
        bail!("{dir} holds no spill: name the --data-dir of a proxy");
    }
    let mut groups = BTreeMap::new();
    let mut damaged = false;
    for mut shard in shards {
        shard.keys = keys.clone();
        let progress = Progress::load(&shard, Holds::Rejected)?;
        for file in shard.segments(Holds::Rejected)? {
            let stat = stat::of_segment(&file, &progress, |_, record| {
                add(&mut groups, record, args.texts);
            })?;
            // a torn tail is what a file looks like that is being written to
            damaged |= stat.damaged_places > 0;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.records.cmp(&a.records).then(a.table.cmp(&b.table)));
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&groups)?)?;
    } else {
        print(&groups, out)?;
        if damaged {
            let dir = args.dir.display();
            writeln!(
                out,
                "some records are damaged: twinring inspect {dir} says which"
            )?;
        }
    }
    Ok(match groups.is_empty() && !damaged {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(SOME),
    })
}

type Key = (String, bool, i32, String);

fn add(groups: &mut BTreeMap<Key, Group>, record: &Record<'_>, texts: bool) {
    let table = format!("{}.{}", record.keyspace, record.table);
    let (in_doubt, code, words) = match record.refusal {
        Some(refusal) => (refusal.in_doubt, refusal.code, refusal.words),
        None => (false, 0, "no reason was kept"),
    };
    let key = (table.clone(), in_doubt, code, words.to_owned());
    let group = groups.entry(key).or_insert_with(|| Group {
        table,
        in_doubt,
        code,
        reason: words.to_owned(),
        records: 0,
        kinds: BTreeMap::new(),
        oldest_us: record.arrival_us,
        newest_us: record.arrival_us,
        text: texts.then(|| text(record)).flatten(),
    });
    group.records += 1;
    *group.kinds.entry(record.kind.name()).or_default() += 1;
    group.oldest_us = group.oldest_us.min(record.arrival_us);
    group.newest_us = group.newest_us.max(record.arrival_us);
}

fn text(record: &Record<'_>) -> Option<String> {
    match record.body {
        Body::Query { text, .. } => Some(text.to_owned()),
        Body::Batch { children, .. } => children.iter().next().map(|(text, _)| text.to_owned()),
    }
}

/// For a person.
fn print(groups: &[Group], out: &mut dyn Write) -> std::io::Result<()> {
    if groups.is_empty() {
        return writeln!(out, "nothing was rejected, and nothing is in doubt");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_us = now.unwrap_or_default().as_micros();
    let ago_s = |at_us: u64| now_us.saturating_sub(u128::from(at_us)) / 1_000_000;
    for group in groups {
        let what = match group.in_doubt {
            true => "in doubt",
            false => "refused",
        };
        let (oldest, newest) = (ago_s(group.oldest_us), ago_s(group.newest_us));
        let kinds = group.kinds.iter();
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{n} {kind}")).collect();
        let (table, kinds) = (&group.table, kinds.join(", "));
        writeln!(out, "{table}: {what}, {kinds}, {oldest} to {newest} s ago")?;
        match group.code {
            0 => writeln!(out, "  {}", group.reason)?,
            code => writeln!(out, "  0x{code:04X} {}", group.reason)?,
        }
        if let Some(text) = &group.text {
            writeln!(out, "  {text}")?;
        }
    }
    let all = |in_doubt| {
        let of = groups.iter().filter(|group| group.in_doubt == in_doubt);
        of.map(|group| group.records).sum::<u64>()
    };
    writeln!(out, "{} refused, {} in doubt", all(false), all(true))
}
