//! Turns records into bytes and says where they go. Pure: whoever owns the files does the writing.
//!
//! ```text
//! append(record) …           take() → Batch { segment, offset, bytes, is_last }
//!   offset = 0  → create the file (`O_EXCL`, 0600, `O_NOFOLLOW`), write, sync the directory
//!   otherwise   → write `bytes` at `offset`; on failure write the same batch again
//!   is_last     → sync the file and close it; the next batch begins a new segment
//! recycle(bytes)             gives the memory back
//! ```
//! Batches come in order and leave no gaps, so at most one file is open. After a failed sync the
//! file must not be trusted nor written to any more: [`SegmentWriter::reissue`] puts the batch's
//! records into a new segment. Twice on disk is harmless but for records that must not be repeated,
//! which therefore are told apart by the caller.

use std::collections::VecDeque;

use super::format::{self, FRAME_BYTES, HEADER_BYTES};
use super::record::{self, Record, TooLarge};
use super::seal::{Keys, TAG_BYTES};
use super::segment::{Header, Holds};
use crate::limits;

/// What a writer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterConfig {
    /// What the records are.
    pub holds: Holds,
    /// The shard.
    pub shard: u32,
    /// Random id of this process.
    pub instance: u64,
    /// Number of the first segment to write: above each one that the shard ever had.
    pub first_segment: u64,
    /// A segment is closed when the next record would take it beyond this. A record that is larger
    /// gets a segment of its own.
    pub limit_bytes: u64,
}

impl WriterConfig {
    /// A writer with the usual limit of 64 MiB.
    pub fn new(holds: Holds, shard: u32, instance: u64, first_segment: u64) -> WriterConfig {
        WriterConfig {
            holds,
            shard,
            instance,
            first_segment,
            limit_bytes: limits::SPILL_SEGMENT_BYTES,
        }
    }
}

/// A place in a shard's log; ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in it, in bytes.
    pub offset: u64,
}

/// Bytes to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of the segment.
    pub segment: u64,
    /// Where in it the bytes go; 0 means that the file is to be created.
    pub offset: u64,
    /// The bytes; empty only if nothing but closing is left to do.
    pub bytes: Vec<u8>,
    /// Number of records in `bytes`.
    pub records: u64,
    /// True if the segment is complete with this batch.
    pub is_last: bool,
}

/// The writing end of a shard's log.
#[derive(Debug)]
pub struct SegmentWriter {
    config: WriterConfig,
    keys: Keys,
    next_segment: u64,
    open: Option<Open>,
    ready: VecDeque<Batch>,
    spare: Vec<u8>,
    pending_bytes: u64,
}

#[derive(Debug)]
struct Open {
    segment: u64,
    header: Header,
    seed: u32,
    /// Length of the segment with all that was appended.
    length: u64,
    index: u32,
}

impl SegmentWriter {
    /// A writer that has not begun a segment yet.
    pub fn new(config: WriterConfig) -> SegmentWriter {
        SegmentWriter {
            config,
            keys: Keys::default(),
            next_segment: config.first_segment,
            open: None,
            ready: VecDeque::new(),
            spare: Vec::new(),
            pending_bytes: 0,
        }
    }

    /// The same writer, with new segments sealed by the first of these keys.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> SegmentWriter {
        SegmentWriter { keys, ..self }
    }

    /// Appends a record to what is to be written, and says where it will lie.
    ///
    /// `now_us` dates a segment that this begins. On failure nothing was appended.
    pub fn append(&mut self, record: &Record<'_>, now_us: u64) -> Result<Position, TooLarge> {
        let tag = self.keys.sealing().map_or(0, |_| TAG_BYTES);
        let length = record::encoded_len(record) + tag;
        if length > format::BODY_MAX_BYTES {
            return Err(TooLarge);
        }
        let total = (FRAME_BYTES + length) as u64;
        let is_full = |open: &Open| {
            open.index == u32::MAX
                || (open.index > 0 && open.length + total > self.config.limit_bytes)
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.seal();
        }
        if self.open.is_none() {
            self.begin(now_us);
        }
        let Some(open) = self.open.as_mut() else {
            return Err(TooLarge);
        };
        let batch = match self.ready.back_mut() {
            Some(batch) if batch.segment == open.segment && !batch.is_last => batch,
            _ => {
                self.ready.push_back(Batch {
                    segment: open.segment,
                    offset: open.length,
                    bytes: std::mem::take(&mut self.spare),
                    records: 0,
                    is_last: false,
                });
                self.ready.back_mut().ok_or(TooLarge)?
            }
        };
        let sequence = (open.segment << 32) | u64::from(open.index);
        let position = Position {
            segment: open.segment,
            offset: open.length,
        };
        let start = format::open_frame(&mut batch.bytes);
        let encoded = record::encode(
            &Record {
                sequence,
                ..*record
            },
            &mut batch.bytes,
        );
        if let Err(too_large) = encoded {
            batch.bytes.truncate(start);
            return Err(too_large);
        }
        if open.header.key.is_some() {
            let sealed = self
                .keys
                .seal(&open.header, &mut batch.bytes, start + FRAME_BYTES);
            if !sealed {
                batch.bytes.truncate(start); // rather not at all than in the clear
                return Err(TooLarge);
            }
        }
        format::close_frame(&mut batch.bytes, start, open.seed).ok_or(TooLarge)?;
        batch.records += 1;
        open.index += 1;
        open.length += total;
        self.pending_bytes += total;
        Ok(position)
    }

    /// The oldest bytes that were not taken yet.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = self.ready.pop_front()?;
        self.pending_bytes -= batch.bytes.len() as u64;
        Some(batch)
    }

    /// How many bytes were appended and not taken.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Where the next record would lie if it went into the open segment: the end of the log.
    ///
    /// `None` if no segment is open.
    pub fn end(&self) -> Option<Position> {
        self.open.as_ref().map(|open| Position {
            segment: open.segment,
            offset: open.length,
        })
    }

    /// Completes the open segment: the next record begins a new one. No-op if none is open.
    pub fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        match self.ready.back_mut() {
            Some(batch) if batch.segment == open.segment => batch.is_last = true,
            _ => self.ready.push_back(Batch {
                segment: open.segment,
                offset: open.length,
                bytes: Vec::new(),
                records: 0,
                is_last: true,
            }),
        }
    }

    /// Puts the records of a batch that could not be made safe into a new segment, and all that was
    /// appended after it, so that the log keeps its order.
    ///
    /// `header` is the front of the segment that it was meant for. Gives the number of records. The
    /// old segment must not be written to any more. Batches that were written since the last good
    /// sync are for the caller to give again.
    pub fn reissue(
        &mut self,
        batch: &Batch,
        header: &[u8; HEADER_BYTES],
        now_us: u64,
    ) -> Result<u64, TooLarge> {
        let mut old = vec![batch.clone()];
        // none of these is on the disk: batches are taken in order
        while let Some(next) = self.take() {
            old.push(next);
        }
        self.open = None;
        let mut header = *header;
        let mut moved = 0;
        for batch in &old {
            let mut skip = 0;
            if let (0, Some(own)) = (batch.offset, batch.bytes.first_chunk()) {
                (header, skip) = (*own, HEADER_BYTES);
            }
            let offset = batch.offset + skip as u64;
            let scanner = super::Scanner::resume(&header, offset, self.keys.clone());
            let Ok(mut scanner) = scanner else {
                continue;
            };
            scanner.push(batch.bytes.get(skip..).unwrap_or_default());
            scanner.finish();
            while let Ok(super::Step::Record { record, .. }) = scanner.next_step() {
                self.append(&record, now_us)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Gives the memory of a written batch back.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= SPARE_MAX_BYTES {
            bytes.clear();
            self.spare = bytes;
        }
    }

    fn begin(&mut self, now_us: u64) {
        let segment = self.next_segment;
        self.next_segment += 1;
        let header = Header {
            holds: self.config.holds,
            shard: self.config.shard,
            instance: self.config.instance,
            segment,
            created_us: now_us,
            key: self.keys.sealing(),
        };
        let bytes = header.encode();
        let seed = format::Seeds::of(&bytes).seed();
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.extend_from_slice(&bytes);
        self.ready.push_back(Batch {
            segment,
            offset: 0,
            bytes: buffer,
            records: 0,
            is_last: false,
        });
        self.pending_bytes += HEADER_BYTES as u64;
        self.open = Some(Open {
            segment,
            header,
            seed,
            length: HEADER_BYTES as u64,
            index: 0,
        });
    }
}

/// A buffer larger than this is not kept for the next batch.
const SPARE_MAX_BYTES: usize = 4 << 20;

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
