//! The writing end of a shard's spill log: records in memory → segments on disk, one batch at a
//! time.
//!
//! A batch that could not be written or synced is written again at the same place: what a failed
//! fdatasync left in the page cache may be marked clean, but bytes that are written once more are
//! dirty again. Until it succeeds the records stay in memory, and the shard holds its clients.
//! When it has failed several times the segment is cut before it: what is safe can then be
//! drained, which makes room on a full disk, and the batch goes into a new segment, on other
//! blocks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::disk::Disk;
use crate::journal::Place;
use crate::relay::spilled;
use crate::relay::write::Write;
use crate::spill::dir::ShardDir;
use crate::spill::format::HEADER_BYTES;
use crate::spill::record::TooLarge;
use crate::spill::{Batch, Holds, Refusal, SegmentWriter};

/// Pause after a failed try (µs).
const RETRY_US: i64 = 1_000_000;
/// Failed tries after which the segment is cut.
const TRIES: u32 = 3;

/// A batch whose write has ended, well or not.
type Ended = (Batch, Result<(), String>);

/// See the module.
pub struct Spiller {
    dir: ShardDir,
    holds: Holds,
    writer: SegmentWriter,
    ended: Rc<RefCell<Option<Ended>>>,
    /// Bytes of the batch that is being written.
    busy_bytes: Option<u64>,
    failed: Option<Batch>,
    failed_tries: u32,
    /// The segment is being cut before this batch.
    cut: Option<Batch>,
    /// Front of the segment that is being written.
    header: Option<[u8; HEADER_BYTES]>,
    /// The journal's records of the writes that were appended and are not on disk yet, in order.
    places: VecDeque<Option<Place>>,
    /// Those that are on disk now.
    safe: Vec<Place>,
    retry_at_us: i64,
    reported: bool,
    /// Records that were made safe since the start.
    safe_records: u64,
}

/// A segment on disk grew.
#[derive(Debug, Clone, Copy)]
pub struct Grown {
    /// Which one.
    pub segment: u64,
    /// Its length (bytes).
    pub bytes: u64,
    /// Nothing more will be written to it.
    pub complete: bool,
}

impl Spiller {
    /// Writes into `dir` what `writer` makes of it.
    #[must_use]
    pub fn new(dir: ShardDir, holds: Holds, writer: SegmentWriter) -> Self {
        Self {
            dir,
            holds,
            writer,
            ended: Rc::default(),
            busy_bytes: None,
            failed: None,
            failed_tries: 0,
            cut: None,
            header: None,
            places: VecDeque::new(),
            safe: Vec::new(),
            retry_at_us: 0,
            reported: false,
            safe_records: 0,
        }
    }

    /// Takes a write. It is safe once [`Self::unsafe_bytes`] is 0.
    ///
    /// # Errors
    /// The write does not fit into a record.
    pub fn append(
        &mut self,
        write: &Write,
        refusal: Option<Refusal<'_>>,
        now_us: i64,
    ) -> Result<(), TooLarge> {
        let now_us = u64::try_from(now_us).unwrap_or_default();
        spilled::record(write, refusal, |record| {
            self.writer.append(record, now_us).map(|_| ())
        })?;
        self.places.push_back(write.journal);
        Ok(())
    }

    /// The journal's records of writes that have become safe since the last call.
    pub fn take_safe(&mut self) -> impl Iterator<Item = Place> + '_ {
        self.safe.drain(..)
    }

    /// Bytes that are not on disk yet.
    #[must_use]
    pub fn unsafe_bytes(&self) -> u64 {
        let held = [&self.failed, &self.cut].into_iter().flatten();
        let held: u64 = held.map(|batch| batch.bytes.len() as u64).sum();
        self.writer.pending_bytes() + self.busy_bytes.unwrap_or(0) + held
    }

    /// Writes that are not on disk yet.
    #[must_use]
    pub fn unsafe_writes(&self) -> usize {
        self.places.len()
    }

    /// Records that were made safe since the start. What was appended before now is safe once it
    /// reaches [`Self::appended_records`] of now.
    #[must_use]
    pub fn safe_records(&self) -> u64 {
        self.safe_records
    }

    /// Records that were appended since the start.
    #[must_use]
    pub fn appended_records(&self) -> u64 {
        self.safe_records + self.places.len() as u64
    }

    /// Whether the last write failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.reported
    }

    /// Completes the open segment, so that it can be drained.
    pub fn seal(&mut self) {
        self.writer.seal();
    }

    /// Length of the open segment (bytes).
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.writer.end().map_or(0, |end| end.offset)
    }

    /// Whether it has records that the drain was not told of: in an open segment, or in one whose
    /// end is being written, which may be no byte at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.writer.end().is_some() || self.busy_bytes.is_some() || self.failed.is_some()
    }

    /// Whether there is nothing to do before something comes.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.unsafe_bytes() == 0
            && self.busy_bytes.is_none()
            && self.failed.is_none()
            && self.ended.borrow().is_none()
    }

    /// Starts the next write if none is under way. True if a task was spawned: the executor must
    /// get its turn.
    pub fn kick(&mut self, now_us: i64, disk: &dyn Disk) -> bool {
        if self.busy_bytes.is_some() || now_us < self.retry_at_us {
            return false;
        }
        let Some(batch) = self.failed.take().or_else(|| self.writer.take()) else {
            return false;
        };
        if let (0, Some(header)) = (batch.offset, batch.bytes.first_chunk()) {
            self.header = Some(*header);
        }
        let batch = if self.failed_tries >= TRIES && batch.offset > 0 {
            let close = Batch {
                segment: batch.segment,
                offset: batch.offset,
                bytes: Vec::new(),
                records: 0,
                is_last: true,
            };
            self.cut = Some(batch);
            close
        } else {
            batch
        };
        self.busy_bytes = Some(batch.bytes.len() as u64);
        let path = self.dir.segment_path(self.holds, batch.segment);
        let ended = self.ended.clone();
        disk.append(
            path,
            batch,
            Box::new(move |done| *ended.borrow_mut() = Some(done)),
        );
        true
    }

    /// What became of the write under way, if it has ended.
    pub fn poll(&mut self, now_us: i64) -> Option<Grown> {
        let (batch, result) = self.ended.borrow_mut().take()?;
        self.busy_bytes = None;
        match result {
            Ok(()) => {
                self.failed_tries = 0;
                let cut = self.cut.take();
                if self.reported && cut.is_none() {
                    tracing::info!(dir = %self.dir.path.display(), "the spill is written again");
                    self.reported = false;
                }
                let grown = Grown {
                    segment: batch.segment,
                    bytes: batch.offset + batch.bytes.len() as u64,
                    complete: batch.is_last,
                };
                let records = usize::try_from(batch.records).unwrap_or(usize::MAX);
                let places = self.places.drain(..records.min(self.places.len()));
                self.safe_records += places.len() as u64;
                self.safe.extend(places.flatten());
                self.writer.recycle(batch.bytes);
                if let (Some(cut), Some(header)) = (cut, self.header) {
                    let now_us = u64::try_from(now_us).unwrap_or_default();
                    if let Err(error) = self.writer.reissue(&cut, &header, now_us) {
                        tracing::error!("a record of the spill is lost: {error}");
                    }
                }
                Some(grown)
            }
            Err(words) => {
                if !self.reported {
                    self.reported = true;
                    tracing::error!(
                        dir = %self.dir.path.display(),
                        "the spill cannot be written: {words}; records stay in memory, clients are \
                         held back, and it is tried again every second: make room or mend the disk"
                    );
                }
                self.failed_tries = match self.cut.is_some() {
                    true => 0, // the whole thing again
                    false => self.failed_tries + 1,
                };
                self.failed = self.cut.take().or(Some(batch));
                self.retry_at_us = now_us + RETRY_US;
                None
            }
        }
    }
}
