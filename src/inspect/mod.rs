//! `twinring inspect`: what is inside of a journal, a spill segment, a progress file or a whole
//! directory of them. It only reads, and may be run beside a proxy.
//!
//! ```text
//! mod      the command: which files, how they are printed
//! files    one function for each kind of file → a `Found`
//! ```

mod files;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use crate::spill::seal::Keys;

/// `twinring inspect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct InspectArgs {
    /// Journals, spill segments, progress files, or directories that hold them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// List the records, too: of a journal those that are not done
    #[arg(long)]
    pub records: bool,
    /// With --records: show their values, as hexadecimal digits
    #[arg(long, requires = "records")]
    pub values: bool,
    /// Key file of a spill that was written with --spill-key-file
    #[arg(long, value_name = "FILE", env = "TWINRING_SPILL_KEY_FILE")]
    pub spill_key_file: Option<PathBuf>,
    /// Print JSON: an array with one object for each file
    #[arg(long)]
    pub json: bool,
}

const AFTER_HELP: &str = "Nothing is changed. A file that is being written to may look torn at its \
end. Exit code 0: all could be read; 3: something is damaged; 1: a path cannot be read.";

/// The exit code when something is damaged.
const DAMAGED: u8 = 3;

/// What is inside of one file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Found {
    path: PathBuf,
    /// What it is: `journal`, `segment`, `progress`, `text`.
    kind: &'static str,
    /// Names and values, in the order in which they are printed.
    facts: Vec<(&'static str, Value)>,
    /// What cannot be read, in words with offsets.
    damage: Vec<String>,
    records: Vec<Value>,
}

/// How much is wanted.
struct Wanted {
    records: bool,
    values: bool,
    keys: Keys,
    now_us: u64,
}

/// Inspects and prints.
///
/// # Errors
/// A path cannot be read, or is none of ours.
pub fn main(args: &InspectArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let keys = args.spill_key_file.as_deref().map(Keys::load).transpose();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let wanted = Wanted {
        records: args.records,
        values: args.values,
        keys: keys.context("--spill-key-file")?.unwrap_or_default(),
        now_us: u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX),
    };
    let mut found = Vec::new();
    for path in &args.paths {
        let before = found.len();
        look(path, &wanted, true, &mut found)?;
        if found.len() == before {
            bail!("{} holds no file of twinring", path.display());
        }
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        for one in &found {
            write!(out, "{}", text(one))?;
        }
    }
    let damaged = found.iter().any(|one| !one.damage.is_empty());
    Ok(if damaged {
        ExitCode::from(DAMAGED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Looks at a file, or at what is in a directory and those below it.
fn look(path: &Path, wanted: &Wanted, asked: bool, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let shown = path.display();
    let meta = fs::symlink_metadata(path).with_context(|| format!("failed to look at {shown}"))?;
    if meta.is_dir() {
        let entries = fs::read_dir(path).with_context(|| format!("failed to list {shown}"))?;
        let entries: Result<Vec<_>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
        let mut entries = entries?;
        entries.sort();
        for entry in entries {
            look(&entry, wanted, false, found)?;
        }
        // the journal of a data directory is elsewhere
        for text in found
            .clone()
            .iter()
            .filter(|one| one.path.parent() == Some(path))
        {
            for (name, value) in &text.facts {
                let dir = value.as_str().map(Path::new).filter(|dir| dir.is_dir());
                if let Some(dir) = dir.filter(|dir| *name == "journal" && !dir.starts_with(path)) {
                    look(dir, wanted, false, found)?;
                }
            }
        }
        return Ok(());
    }
    let one = files::read(path, wanted).with_context(|| format!("failed to read {shown}"))?;
    match one {
        Some(one) => found.push(one),
        None if asked => {
            bail!("{shown} is no journal, spill segment or progress file, and no text of twinring")
        }
        None => {}
    }
    Ok(())
}

/// One file for a person.
fn text(found: &Found) -> String {
    let mut text = format!("{}: {}\n", found.path.display(), found.kind);
    let plain = |value: &Value| match value {
        Value::String(words) => words.clone(),
        other => other.to_string(),
    };
    for (name, value) in &found.facts {
        let _ = writeln!(text, "  {:<14} {}", name.replace('_', " "), plain(value));
    }
    for words in &found.damage {
        let _ = writeln!(text, "  DAMAGED        {words}");
    }
    for record in &found.records {
        let fields = record.as_object().into_iter().flatten();
        let fields = fields.map(|(name, value)| format!("{name}={}", plain(value)));
        let _ = writeln!(text, "  - {}", fields.collect::<Vec<_>>().join(" "));
    }
    text
}
