//! `DATA_DIR/running`: there while a process runs, renewed each second. The next start that finds
//! it knows that the last process did not stop in order, and, if the journal is gone with the
//! memory of the machine, in which time writes may be missing.
//! ```text
//! twinring running, format 1
//! instance 00c0ffee00c0ffee
//! boot 6a3b0c0e-…                    /proc/sys/kernel/random/boot_id
//! durability process
//! journal /dev/shm/twinring-0-…     where its journal is; nothing without one
//! shards 2
//! oldest_us 1764080400000000         arrival of the oldest write that is not finished
//! renewed_us 1764080412000000
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::{IN_FLIGHT_US, RENEWED_US, SUFFIX, TICKS_US};
use crate::config::Durability;
use crate::spill::dir::replace_file;
use crate::spill::dirty::{Reason, Window};

const FILE_NAME: &str = "running";
const HEAD: &str = "twinring running, format 1";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    instance: u64,
    boot: String,
    durability: Durability,
    pub(super) journal_dir: Option<PathBuf>,
    shards: usize,
    oldest_us: u64,
    renewed_us: u64,
}

impl Run {
    pub(super) fn new(
        instance: u64,
        durability: Durability,
        dir: &Path,
        shards: usize,
        now_us: u64,
    ) -> anyhow::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let journal_dir = (durability != Durability::None).then(|| fs::canonicalize(dir));
        Ok(Self {
            instance,
            boot: boot.unwrap_or_default().trim().to_owned(),
            durability,
            journal_dir: journal_dir.transpose()?,
            shards,
            oldest_us: now_us,
            renewed_us: now_us,
        })
    }

    pub(super) fn load(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("failed to read {}", path.display()))?,
        };
        let run = Self::parse(&text).ok_or_else(|| {
            anyhow!(
                "{} is not understood, so it is not known how the last process ended; use the \
                 version of twinring that wrote it, or delete the file and verify all tables",
                path.display()
            )
        });
        run.map(Some)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let mut field = |name: &str| {
            let (found, value) = lines.next()?.split_once(' ')?;
            (found == name).then_some(value)
        };
        Some(Self {
            instance: u64::from_str_radix(field("instance")?, 16).ok()?,
            boot: field("boot")?.to_owned(),
            durability: Durability::of_word(field("durability")?)?,
            journal_dir: Some(field("journal")?)
                .filter(|d| !d.is_empty())
                .map(PathBuf::from),
            shards: field("shards")?.parse().ok()?,
            oldest_us: field("oldest_us")?.parse().ok()?,
            renewed_us: field("renewed_us")?.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        let journal = self.journal_dir.as_ref();
        let journal = journal.map_or(String::new(), |dir| dir.display().to_string());
        format!(
            "{HEAD}\ninstance {:016x}\nboot {}\ndurability {}\njournal {journal}\nshards {}\n\
             oldest_us {}\nrenewed_us {}\n",
            self.instance,
            self.boot,
            self.durability.word(),
            self.shards,
            self.oldest_us,
            self.renewed_us
        )
    }

    pub(super) fn renew(&mut self, oldest_us: Option<u64>, now_us: u64) {
        self.oldest_us = oldest_us.unwrap_or(now_us).min(now_us);
        self.renewed_us = now_us;
    }

    pub(super) fn store(&self, data_dir: &Path) -> anyhow::Result<()> {
        let stored = replace_file(&data_dir.join(FILE_NAME), self.text().as_bytes());
        stored.context("the running file cannot be written")
    }

    pub(super) fn remove(data_dir: &Path) {
        if let Err(error) = fs::remove_file(data_dir.join(FILE_NAME)) {
            tracing::warn!("the running file cannot be removed: {error}");
        }
    }

    /// The time whose writes may be lost with this process, which did not stop in order; `None` if
    /// its journal is among `found`.
    pub(super) fn lost(&self, found: &[PathBuf]) -> Option<Window> {
        let ours = format!("-{:016x}{SUFFIX}", self.instance);
        let is_ours = |path: &&PathBuf| path.to_string_lossy().ends_with(&ours);
        let files = found.iter().filter(is_ours).count();
        let from_us = match self.durability {
            Durability::None => {
                let in_flight_us = self.renewed_us.saturating_sub(IN_FLIGHT_US);
                self.oldest_us.min(in_flight_us)
            }
            Durability::Process | Durability::Machine if files >= self.shards => return None,
            Durability::Process | Durability::Machine => self.oldest_us,
        };
        // the shards say how old their writes are ten times a second
        let from_us = from_us.saturating_sub(TICKS_US);
        let to_us = self.renewed_us + RENEWED_US;
        Some(Window::of_all(from_us, to_us, Reason::MachineCrash))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn run(durability: Durability) -> Run {
        Run {
            instance: 0xC0FFEE,
            boot: "a-b".to_owned(),
            durability,
            journal_dir: Some("/dev/shm/x y".into()),
            shards: 2,
            oldest_us: 100_000_000,
            renewed_us: 103_000_000,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Run::load(dir.path()).unwrap(), None);
        for durability in [Durability::Process, Durability::Machine, Durability::None] {
            let mut written = run(durability);
            if durability == Durability::None {
                written.journal_dir = None;
            }
            written.store(dir.path()).unwrap();
            assert_eq!(Run::load(dir.path()).unwrap(), Some(written));
        }
        fs::write(dir.path().join(FILE_NAME), "something").unwrap();
        let words = Run::load(dir.path()).unwrap_err().to_string();
        assert!(words.contains("not understood"), "{words}");
    }

    #[test]
    fn a_window_is_lost_only_with_the_journal() {
        let paths =
            [0, 1].map(|shard| PathBuf::from(format!("shard-{shard}-{:016x}.journal", 0xC0FFEE)));
        let window = |from_us| Some(Window::of_all(from_us, 105_000_000, Reason::MachineCrash));
        assert_eq!(run(Durability::Process).lost(&paths), None);
        assert_eq!(
            run(Durability::Process).lost(&paths[..1]),
            window(99_000_000)
        );
        assert_eq!(run(Durability::Machine).lost(&[]), window(99_000_000));
        assert_eq!(run(Durability::None).lost(&paths), window(87_000_000));
    }
}
