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

use super::{IN_FLIGHT_US, OLDER_US, RENEWED_US, SUFFIX, Start};
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
        start: Start<'_>,
    ) -> anyhow::Result<Self> {
        let journal_dir = (durability != Durability::None).then(|| fs::canonicalize(dir));
        Ok(Self {
            instance,
            boot: start.boot.to_owned(),
            durability,
            journal_dir: journal_dir.transpose()?,
            shards,
            oldest_us: start.now_us,
            renewed_us: start.now_us,
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
        self.reach(now_us);
    }

    /// What arrived up to then may be lost with the process: later than now, if the clock was set
    /// back since.
    pub(super) fn reach(&mut self, newest_us: u64) {
        self.renewed_us = self.renewed_us.max(newest_us);
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

    /// What may be missing at the target because of how this process ended, which was not in order;
    /// `None`: nothing. `found`: the journals that there are; `boot`: the machine's boot now.
    pub(super) fn loss(&self, found: &[PathBuf], boot: &str) -> Option<Loss> {
        let ours = format!("-{:016x}{SUFFIX}", self.instance);
        let is_ours = |path: &&PathBuf| path.to_string_lossy().ends_with(&ours);
        let is_there = found.iter().filter(is_ours).count() >= self.shards;
        let machine_died = !boot.is_empty() && self.boot != boot;
        let what = match (self.durability, is_there, machine_died) {
            (Durability::None, ..) => What::NoJournal,
            (_, false, _) => What::JournalGone,
            (_, true, false) => return None,
            (Durability::Process, true, true) => What::NotSynced,
            (Durability::Machine, true, true) => What::Unanswered,
        };
        let from_us = match what {
            What::NoJournal => {
                let in_flight_us = self.renewed_us.saturating_sub(IN_FLIGHT_US);
                self.oldest_us.min(in_flight_us)
            }
            What::JournalGone | What::NotSynced | What::Unanswered => self.oldest_us,
        };
        let from_us = from_us.saturating_sub(OLDER_US);
        let to_us = self.renewed_us + RENEWED_US;
        let window = Window::of_all(from_us, to_us, Reason::MachineCrash);
        Some(Loss { what, window })
    }
}

/// What the end of the last process may have cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    what: What,
    /// When the writes arrived that may be missing.
    pub(super) window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// It kept none.
    NoJournal,
    /// It is not where it was.
    JournalGone,
    /// The machine has died, and the journal is on a disk, where it was not synced.
    NotSynced,
    /// The machine has died; what was acknowledged is in the journal.
    Unanswered,
}

impl Loss {
    /// Says it in the log.
    pub(super) fn tell(&self) {
        let (from_us, to_us) = (self.window.from_us, self.window.to_us);
        let why = match self.what {
            What::NoJournal => "it kept no journal",
            What::JournalGone => "its journal is gone",
            What::NotSynced => {
                "its journal was not brought to the disk before the machine died (that takes \
                 --durability machine)"
            }
            What::Unanswered => {
                return tracing::warn!(
                    from_us,
                    to_us,
                    "the machine died under the last process: no write that was acknowledged is \
                     lost; what was under way and had no answer may be at the source alone; \
                     verify looks there first"
                );
            }
        };
        tracing::error!(
            from_us,
            to_us,
            "the last process did not stop in order, and {why}: writes that arrived in this time \
             may be missing at the target; verify looks there first"
        );
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
    fn what_is_lost_depends_on_the_journal_and_on_the_machine() {
        use Durability::{Machine, None as Nothing, Process};
        let both =
            [0, 1].map(|shard| PathBuf::from(format!("shard-{shard}-{:016x}.journal", 0xC0FFEE)));
        let (same, other) = ("a-b", "c-d");
        let cases: [(_, &[PathBuf], _, _); 11] = [
            (Process, &both, same, None),
            (Process, &both, "", None), // it is not known
            (Process, &both, other, Some((What::NotSynced, 93_000_000))),
            (
                Process,
                &both[..1],
                same,
                Some((What::JournalGone, 93_000_000)),
            ),
            (Process, &[], other, Some((What::JournalGone, 93_000_000))),
            (Machine, &both, same, None),
            (Machine, &both, other, Some((What::Unanswered, 93_000_000))),
            (
                Machine,
                &both[1..],
                other,
                Some((What::JournalGone, 93_000_000)),
            ),
            (Machine, &[], same, Some((What::JournalGone, 93_000_000))),
            (Nothing, &both, same, Some((What::NoJournal, 81_000_000))),
            (Nothing, &[], other, Some((What::NoJournal, 81_000_000))),
        ];
        for (durability, found, boot, wanted) in cases {
            let loss = run(durability).loss(found, boot);
            let wanted = wanted.map(|(what, from_us)| Loss {
                what,
                window: Window::of_all(from_us, 105_000_000, Reason::MachineCrash),
            });
            assert_eq!(loss, wanted, "{durability:?} {found:?} {boot}");
        }
    }
}
