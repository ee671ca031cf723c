//! What of a shard's log is done: a small file beside the segments, and the book that fills it.
//!
//! The file may lag behind the truth: a stamped write that is sent once more changes nothing.
//! Records that must not be repeated are therefore entered as *started* before they are sent, and
//! an entry that is still there after a crash is a write in doubt.
//!
//! ```text
//!    0   8  magic "TWRPROGR"            then, for each place done behind `next`, then for each
//!    8   2  format version, 1           place started: 8 segment, 8 offset
//!   10   2  0 backlog, 1 rejected
//!   12   4  shard                       last 4 bytes: CRC32 of all before
//!   16   8  next: segment
//!   24   8  next: offset
//!   32   4  number of places done
//!   36   4  number of places started
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use super::append::Position;
use super::dir::{DirError, ShardDir, io_error, open_file, replace_file};
use super::format::{u16_at, u32_at, u64_at};
use super::segment::Holds;

const MAGIC: [u8; 8] = *b"TWRPROGR";
const VERSION: u16 = 1;
const FIXED_BYTES: usize = 40;
const PLACE_BYTES: usize = 16;
/// Places done behind `next` that are written down; more only means that more is sent again.
pub const DONE_MAX_PLACES: usize = 65_536;
/// A progress file larger than this is not one: started places are bounded by what is in flight.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// All records before this place are done.
    pub next: Position,
    /// Places behind `next` where a done record begins.
    pub done: BTreeSet<Position>,
    /// Places where a record begins that must not be repeated and was being sent.
    pub started: BTreeSet<Position>,
}

/// Why the progress of a shard is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// The file system says no.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The file is damaged.
    #[error(
        "{0} is damaged, so it is not known which writes are already on the target; move the file \
         away to replay the whole log (stamped writes may be repeated, counters and lists may not)"
    )]
    Damaged(PathBuf),
    /// A later version wrote the file.
    #[error("{path} has format version {version}; use the version of twinring that wrote it")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
}

impl Progress {
    /// The bytes of the file. No more than [`DONE_MAX_PLACES`] done places are kept: the lowest.
    pub fn encode(&self, holds: Holds, shard: u32) -> Vec<u8> {
        let done_count = self.done.len().min(DONE_MAX_PLACES);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&number_of(holds).to_le_bytes());
        bytes.extend_from_slice(&shard.to_le_bytes());
        bytes.extend_from_slice(&self.next.segment.to_le_bytes());
        bytes.extend_from_slice(&self.next.offset.to_le_bytes());
        bytes.extend_from_slice(&count(done_count));
        bytes.extend_from_slice(&count(self.started.len()));
        for place in self.done.iter().take(done_count).chain(&self.started) {
            bytes.extend_from_slice(&place.segment.to_le_bytes());
            bytes.extend_from_slice(&place.offset.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the bytes of the file. `Err(Some(version))` if a later version wrote them, `Err(None)`
    /// if they are damaged or another shard's.
    pub fn decode(bytes: &[u8], holds: Holds, shard: u32) -> Result<Progress, Option<u16>> {
        let (content, crc) = bytes.split_last_chunk::<4>().ok_or(None)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) || !content.starts_with(&MAGIC) {
            return Err(None);
        }
        match u16_at(content, 8) {
            Some(VERSION) => {}
            other => return Err(other),
        }
        if u16_at(content, 10) != Some(number_of(holds)) || u32_at(content, 12) != Some(shard) {
            return Err(None);
        }
        let place = |at: usize| {
            let segment = u64_at(content, at)?;
            Some(Position {
                segment,
                offset: u64_at(content, at + 8)?,
            })
        };
        let count = |at| {
            u32_at(content, at)
                .and_then(|n| usize::try_from(n).ok())
                .ok_or(None)
        };
        let (done, started) = (count(32)?, count(36)?);
        let places = done
            .checked_add(started)
            .and_then(|n| n.checked_mul(PLACE_BYTES));
        if places != content.len().checked_sub(FIXED_BYTES) {
            return Err(None);
        }
        let all = |from: usize, n: usize| {
            (from..from + n)
                .map(|i| place(FIXED_BYTES + i * PLACE_BYTES))
                .collect::<Option<_>>()
        };
        Ok(Progress {
            next: place(16).ok_or(None)?,
            done: all(0, done).ok_or(None)?,
            started: all(done, started).ok_or(None)?,
        })
    }

    /// Reads a shard's progress; that of a shard without a file is the very beginning.
    pub fn load(shard: &ShardDir, holds: Holds) -> Result<Progress, ProgressError> {
        let path = path_of(shard, holds);
        let mut bytes = Vec::new();
        match open_file(&path) {
            Err(DirError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Progress::default());
            }
            file => file?
                .take(FILE_MAX_BYTES)
                .read_to_end(&mut bytes)
                .map_err(io_error("read", &path))?,
        };
        Progress::decode(&bytes, holds, shard.shard).map_err(|version| match version {
            Some(version) => ProgressError::Version { path, version },
            None => ProgressError::Damaged(path),
        })
    }

    /// Replaces the shard's progress file.
    pub fn store(&self, shard: &ShardDir, holds: Holds) -> Result<(), DirError> {
        replace_file(&path_of(shard, holds), &self.encode(holds, shard.shard))
    }
}

fn number_of(holds: Holds) -> u16 {
    match holds {
        Holds::Backlog => 0,
        Holds::Rejected => 1,
    }
}

/// Where a shard's progress stands.
pub fn path_of(shard: &ShardDir, holds: Holds) -> PathBuf {
    shard.path.join(match holds {
        Holds::Backlog => "progress",
        Holds::Rejected => "rejected-progress",
    })
}

/// The book of one shard's log while it is worked off. Pure.
///
/// Each record that is read is [`Ledger::seen`], in the order of the log; each that is dealt with
/// is [`Ledger::finish`]ed, in any order.
#[derive(Debug, Default)]
pub struct Ledger {
    /// End of what was seen so far.
    frontier: Position,
    /// Records seen and not done.
    open: BTreeSet<Position>,
    /// Records done with an open one before them.
    done: BTreeSet<Position>,
    started: BTreeSet<Position>,
    /// Entries of `started` that an earlier process left: writes in doubt.
    inherited: BTreeSet<Position>,
    /// Segments that are left behind at this place.
    ends: BTreeMap<u64, Position>,
}

/// What is to be done with a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is to be sent.
    ToDo,
    /// It was dealt with earlier.
    Done,
    /// It must not be repeated, and an earlier process was sending it when it died.
    InDoubt,
}

impl Ledger {
    /// A book that goes on from what an earlier process wrote down.
    pub fn resume(progress: Progress) -> Ledger {
        Ledger {
            frontier: progress.next,
            done: progress.done,
            inherited: progress.started.clone(),
            started: progress.started,
            ..Ledger::default()
        }
    }

    /// Enters the record that begins at `start`; it may be entered again.
    pub fn seen(&mut self, start: Position, end: Position) -> Standing {
        let is_new = start >= self.frontier;
        if is_new {
            self.frontier = end;
        }
        if self.done.contains(&start) || (!is_new && !self.open.contains(&start)) {
            return Standing::Done;
        }
        self.open.insert(start);
        if self.inherited.contains(&start) {
            Standing::InDoubt
        } else {
            Standing::ToDo
        }
    }

    /// Enters that nothing more stands in a segment: the log goes on in the next one.
    pub fn segment_ended(&mut self, segment: u64) {
        let after = Position {
            segment: segment + 1,
            offset: 0,
        };
        self.frontier = self.frontier.max(after);
        self.ends.insert(segment, after);
    }

    /// Enters that a record that must not be repeated is about to be sent.
    ///
    /// The progress must be stored before it is.
    pub fn start(&mut self, start: Position) {
        self.started.insert(start);
    }

    /// Enters that a record that was started has certainly not been applied.
    pub fn unstart(&mut self, start: Position) {
        self.started.remove(&start);
    }

    /// Enters that a record is dealt with.
    pub fn finish(&mut self, start: Position) {
        if self.open.remove(&start) {
            self.done.insert(start);
        }
        self.started.remove(&start);
        let next = self.next();
        while self.done.first().is_some_and(|place| *place < next) {
            self.done.pop_first();
        }
    }

    /// All records before this place are done.
    pub fn next(&self) -> Position {
        self.open.first().copied().unwrap_or(self.frontier)
    }

    /// How many records are done with one before them that is not.
    pub fn done_count(&self) -> usize {
        self.done.len()
    }

    /// How many records were read and are not done.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Segments that ended and are wholly done since the last call.
    pub fn take_finished_segments(&mut self) -> Vec<u64> {
        let next = self.next();
        let finished: Vec<u64> = self
            .ends
            .iter()
            .filter(|(_, end)| **end <= next)
            .map(|(segment, _)| *segment)
            .collect();
        for segment in &finished {
            self.ends.remove(segment);
        }
        finished
    }

    /// What is to be written down.
    pub fn progress(&self) -> Progress {
        let next = self.next();
        let done = self.done.range(next..).copied().collect();
        Progress {
            next,
            done,
            started: self.started.clone(),
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
