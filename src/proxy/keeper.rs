//! Keeps the windows of dirty time in the data directory, and an eye on the space of its disk.
//!
//! A shard that may drop writes waits until an open window is on the disk; the answer is
//! [`Message::MayDrop`]. When the last shard has ended, the open window goes and the exact ones
//! stay.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::ProxyConfig;
use crate::shard::full::Note;
use crate::shard::inbox::{Address, Message};
use crate::spill::dirty::{OPEN, Reason, Window, Windows};
use crate::sys::machine;

/// See the module.
pub struct Keeper {
    data_dir: PathBuf,
    windows: Windows,
    /// Shards that drop writes, or want to.
    dropping: BTreeSet<usize>,
    /// Shards that wait for the open window.
    waiting: Vec<usize>,
    stored: Windows,
    told: usize,
    reported: bool,
    reserve_bytes: u64,
    low: bool,
}

impl Keeper {
    /// Keeps these windows, which are in the file.
    #[must_use]
    pub fn start(config: &ProxyConfig, windows: Windows) -> Self {
        if !windows.is_empty() {
            let (count, data_dir) = (windows.len(), config.data_dir.display());
            tracing::warn!(
                count,
                %data_dir,
                "the target may lack writes of earlier times: see dirty-windows, then verify"
            );
        }
        Self {
            data_dir: config.data_dir.clone(),
            stored: windows.clone(),
            windows,
            dropping: BTreeSet::new(),
            waiting: Vec::new(),
            told: 0,
            reported: false,
            reserve_bytes: config.spill.reserve_bytes,
            low: false,
        }
    }

    /// A shard says this.
    pub fn hear(&mut self, note: Note) {
        match note {
            Note::MayDrop { shard, from_us } => {
                let reason = Reason::SpillFull;
                self.windows.add(Window::of_all(from_us, OPEN, reason));
                self.dropping.insert(shard);
                self.waiting.push(shard);
            }
            Note::Dropped(windows) => windows.into_iter().for_each(|w| self.windows.add(w)),
            Note::Ended { shard } => {
                self.dropping.remove(&shard);
                self.waiting.retain(|waiting| *waiting != shard);
                if self.dropping.is_empty() {
                    self.windows.take_open(Reason::SpillFull);
                }
            }
        }
    }

    /// Does what is due; called ten times a second.
    pub fn tick(&mut self, addresses: &[Address]) {
        if self.store() {
            for shard in self.waiting.drain(..) {
                if let Some(address) = addresses.get(shard) {
                    address.tell(Message::MayDrop);
                }
            }
        }
        self.watch_space(addresses);
        if self.told != self.windows.len()
            && let Some(first) = addresses.first()
        {
            self.told = self.windows.len();
            first.tell(Message::DirtyWindows(self.told));
        }
    }

    /// Whether the file says what is known.
    fn store(&mut self) -> bool {
        if self.windows == self.stored {
            return true;
        }
        match self.windows.store(&self.data_dir) {
            Ok(()) => {
                self.stored = self.windows.clone();
                self.reported = false;
                true
            }
            Err(error) => {
                if !self.reported {
                    self.reported = true;
                    tracing::error!("dirty windows cannot be written: {error}; trying again");
                }
                false
            }
        }
    }

    fn watch_space(&mut self, addresses: &[Address]) {
        let Ok(free_bytes) = machine::free_bytes(&self.data_dir) else {
            return; // the writes themselves will tell
        };
        let enough = match self.low {
            true => self.reserve_bytes.saturating_add(self.reserve_bytes / 4),
            false => self.reserve_bytes,
        };
        let low = free_bytes < enough;
        if low != self.low {
            self.low = low;
            for address in addresses {
                address.tell(Message::DiskIsLow(low));
            }
        }
    }

    /// The shards have ended: what they said last is written down. An error if it cannot be.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.windows.take_open(Reason::SpillFull);
        if self.windows != self.stored {
            self.windows.store(&self.data_dir)?;
        }
        Ok(())
    }
}
