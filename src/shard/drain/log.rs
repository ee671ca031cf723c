//! One directory's backlog: its segments one after the other, record by record.

use std::collections::{BTreeMap, VecDeque};

use super::Found;
use crate::relay::plan::PlanCache;
use crate::relay::spilled;
use crate::relay::write::Write;
use crate::shard::disk::{Disk, Ended};
use crate::spill::append::Position;
use crate::spill::dir::ShardDir;
use crate::spill::format::HEADER_BYTES;
use crate::spill::progress::{DONE_MAX_PLACES, Ledger, Progress, Standing};
use crate::spill::scan::{self, Ending, Scanner, Step};
use crate::spill::{Header, Holds, Kind};

/// Read at once (bytes), shared by the logs of a shard.
const CHUNK_BYTES: usize = 2 << 20;
const CHUNK_MIN_BYTES: usize = 64 << 10;
/// The end of a segment in which its last record is looked for first (bytes); then more.
const TAIL_BYTES: u64 = 64 << 10;
/// Pause after a failed read (µs).
const RETRY_US: i64 = 1_000_000;

/// What a shard starts with: one directory that it drains.
pub struct Inherited {
    /// Where.
    pub dir: ShardDir,
    /// Segments and their lengths (bytes), in order.
    pub segments: Vec<(u64, u64)>,
    /// What is done.
    pub progress: Progress,
}

impl Inherited {
    /// Whether records may be left.
    #[must_use]
    pub fn is_backlog(&self) -> bool {
        let next = self.progress.next.segment;
        self.segments.iter().any(|(number, _)| *number >= next)
    }
}

/// A complete segment.
struct Segment {
    number: u64,
    bytes: u64,
    /// Records in it, for one that an earlier process left; `None`: not counted yet.
    records: Option<u64>,
    inherited: bool,
}

/// The segment that is being read.
struct Cursor {
    segment: Segment,
    scanner: Scanner,
    /// Records that were seen.
    seen: u64,
}

/// The next record.
pub(super) struct Head {
    pub write: Write,
    pub kind: Kind,
    pub place: Position,
    pub standing: Standing,
}

/// What a log has to offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// A record that arrived then (µs).
    Head(i64),
    /// Nothing before some bytes are read.
    Bytes,
    /// Nothing: all is read, or cannot be read now.
    Nothing,
}

/// What was read for.
pub(super) enum Purpose {
    /// The scanner.
    Scan,
    /// To count the records of a segment, from this offset on; its header first.
    Count(Option<[u8; HEADER_BYTES]>, u64),
}

/// See the module.
pub(super) struct Log {
    pub dir: ShardDir,
    /// Complete segments that were not begun yet.
    segments: VecDeque<Segment>,
    /// Lengths of all segments on disk (bytes).
    sizes: BTreeMap<u64, u64>,
    pub ledger: Ledger,
    pub stored: Progress,
    /// Segments in which something could not be read: kept under another name.
    pub damaged: Vec<u64>,
    /// Segments that are wholly done, until their files are away.
    pub retiring: Vec<u64>,
    cursor: Option<Cursor>,
    head: Option<Head>,
    reading: bool,
    read_again_us: i64,
    chunk_bytes: usize,
}

impl Log {
    /// `logs`: how many the shard drains.
    pub(super) fn new(inherited: Inherited, logs: usize) -> Log {
        let next = inherited.progress.next.segment;
        let numbers = inherited.segments.iter().map(|(number, _)| *number);
        let retiring = numbers.filter(|number| *number < next).collect();
        let segments = inherited.segments.iter();
        let segments = segments.filter(|(number, _)| *number >= next);
        Log {
            dir: inherited.dir,
            retiring,
            segments: segments
                .map(|(number, bytes)| Segment {
                    number: *number,
                    bytes: *bytes,
                    records: None,
                    inherited: true,
                })
                .collect(),
            sizes: inherited.segments.iter().copied().collect(),
            ledger: Ledger::resume(inherited.progress.clone()),
            stored: inherited.progress,
            damaged: Vec::new(),
            cursor: None,
            head: None,
            reading: false,
            read_again_us: 0,
            chunk_bytes: (CHUNK_BYTES / logs.max(1)).max(CHUNK_MIN_BYTES),
        }
    }

    pub(super) fn add_segment(&mut self, number: u64, bytes: u64) {
        self.sizes.insert(number, bytes);
        self.segments.push_back(Segment {
            number,
            bytes,
            records: Some(0), // each was counted when it came
            inherited: false,
        });
    }

    pub(super) fn is_read(&self) -> bool {
        self.cursor.is_none() && self.head.is_none() && self.segments.is_empty()
    }

    /// Bytes of complete segments that were not read yet.
    pub(super) fn unread_bytes(&self) -> u64 {
        let rest = self.cursor.as_ref().map_or(0, |cursor| {
            let read = cursor.scanner.wanted_offset();
            cursor.segment.bytes.saturating_sub(read)
        });
        self.segments.iter().map(|s| s.bytes).sum::<u64>() + rest
    }

    /// Bytes of complete segments that are on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Whether so much is done behind a record that is not, that no more may be read.
    pub(super) fn is_at_limit(&self) -> bool {
        self.ledger.done_count() >= DONE_MAX_PLACES
    }

    /// Whether something is left to read that an earlier process wrote.
    pub(super) fn is_inherited(&self) -> bool {
        let read = self.cursor.as_ref().map(|cursor| &cursor.segment);
        read.into_iter()
            .chain(&self.segments)
            .any(|segment| segment.inherited)
    }

    /// The files of segments that were retired are away.
    pub(super) fn retired(&mut self) {
        for segment in self.retiring.drain(..) {
            self.sizes.remove(&segment);
        }
    }

    pub(super) fn take_head(&mut self) -> Option<Head> {
        self.head.take()
    }

    /// The first segment that has to be counted, what to read of it, and for what.
    fn to_count(&self) -> Option<(u64, Purpose)> {
        let segment = self.segments.iter().find(|s| s.records.is_none())?;
        Some((segment.number, Purpose::Count(None, 0)))
    }

    /// Goes on to the next record. `recount`: what the count of the backlog has to be changed by.
    pub(super) fn look(
        &mut self,
        plans: &mut PlanCache,
        now_us: i64,
        found: &mut Vec<Found>,
        recount: &mut i64,
    ) -> Offer {
        loop {
            if let Some(head) = &self.head {
                return Offer::Head(head.write.arrived_us);
            }
            if now_us < self.read_again_us || self.is_at_limit() {
                return Offer::Nothing;
            }
            if self.to_count().is_some() {
                return Offer::Bytes;
            }
            if self.cursor.is_none() && !self.open_next() {
                return Offer::Nothing;
            }
            if !self.step(plans, now_us, found, recount) {
                return Offer::Bytes;
            }
        }
    }

    /// One step of the scanner. False if it needs bytes.
    fn step(
        &mut self,
        plans: &mut PlanCache,
        now_us: i64,
        found: &mut Vec<Found>,
        recount: &mut i64,
    ) -> bool {
        let Some(cursor) = self.cursor.as_mut() else {
            return true;
        };
        let segment = cursor.segment.number;
        let place = |offset| Position { segment, offset };
        match cursor.scanner.next_step() {
            Ok(Step::NeedBytes) => return false,
            Ok(Step::Record {
                offset,
                end,
                record,
            }) => {
                cursor.seen += 1;
                let standing = self.ledger.seen(place(offset), place(end));
                if standing == Standing::Done {
                    *recount -= i64::from(cursor.segment.inherited);
                    return true;
                }
                let arrived_us = i64::try_from(record.arrival_us).unwrap_or(i64::MAX);
                let elapsed_s = (now_us - arrived_us).max(0) / 1_000_000;
                self.head = Some(Head {
                    kind: record.kind,
                    write: spilled::write(&record, plans, elapsed_s),
                    place: place(offset),
                    standing,
                });
            }
            Ok(Step::Damage(damage)) => found.push(self.damage(segment, damage.from, damage.to)),
            Ok(Step::End(ending)) => {
                if let Ending::TornTail { from, to } = ending {
                    found.push(self.damage(segment, from, to));
                }
                self.ledger.segment_ended(segment);
                self.close(recount);
            }
            Err(error) => {
                let words = format!("segment {segment} in {}: {error}", self.dir.path.display());
                found.push(Found::Damage(words));
                self.close(recount); // left where it is, for who can read it
            }
        }
        true
    }

    /// Nothing more comes from the segment: records that were counted and not seen are lost.
    fn close(&mut self, recount: &mut i64) {
        let Some(cursor) = self.cursor.take() else {
            return;
        };
        let counted = cursor.segment.records.filter(|_| cursor.segment.inherited);
        let unseen = counted.unwrap_or(0).saturating_sub(cursor.seen);
        *recount -= i64::try_from(unseen).unwrap_or(0);
    }

    /// Bytes of a segment that cannot be read: the segment will be kept.
    fn damage(&mut self, segment: u64, from: u64, to: u64) -> Found {
        self.damaged.push(segment);
        let dir = self.dir.path.display();
        Found::Damage(format!(
            "bytes {from} to {to} of segment {segment} in {dir}"
        ))
    }

    fn open_next(&mut self) -> bool {
        let next = self.ledger.next().segment;
        while let Some(segment) = self.segments.pop_front() {
            if segment.number >= next {
                self.cursor = Some(Cursor {
                    segment,
                    scanner: Scanner::with_keys(self.dir.keys.clone()),
                    seen: 0,
                });
                return true;
            }
        }
        false
    }

    /// As [`Log::read`], if something is to be counted.
    pub(super) fn count_next(
        &mut self,
        now_us: i64,
        disk: &dyn Disk,
        ended: impl FnOnce(Purpose, Result<Vec<u8>, String>) + 'static,
    ) -> bool {
        self.to_count().is_some() && self.read(now_us, disk, ended)
    }

    /// Starts the read that comes next: of what is to be counted, of what the scanner wants, or
    /// ahead of that. True if something is to be done now or soon.
    pub(super) fn read(
        &mut self,
        now_us: i64,
        disk: &dyn Disk,
        ended: impl FnOnce(Purpose, Result<Vec<u8>, String>) + 'static,
    ) -> bool {
        if self.reading || now_us < self.read_again_us {
            return false;
        }
        if let Some((segment, purpose)) = self.to_count() {
            return self.start_read(segment, 0, HEADER_BYTES, purpose, disk, ended);
        }
        let Some(cursor) = self.cursor.as_mut() else {
            return false;
        };
        let offset = cursor.scanner.wanted_offset();
        let ahead = offset - cursor.scanner.offset();
        if ahead >= (self.chunk_bytes / 2) as u64 && self.head.is_some() {
            return false;
        }
        let (segment, length) = (cursor.segment.number, cursor.segment.bytes);
        if offset >= length {
            cursor.scanner.finish();
            return self.head.is_none();
        }
        let size = usize::try_from(length - offset).unwrap_or(self.chunk_bytes);
        let size = size.min(self.chunk_bytes);
        self.start_read(segment, offset, size, Purpose::Scan, disk, ended)
    }

    fn start_read(
        &mut self,
        segment: u64,
        offset: u64,
        size: usize,
        purpose: Purpose,
        disk: &dyn Disk,
        ended: impl FnOnce(Purpose, Result<Vec<u8>, String>) + 'static,
    ) -> bool {
        self.reading = true;
        let path = self.dir.segment_path(Holds::Backlog, segment);
        let ended: Ended<_> = Box::new(move |bytes| ended(purpose, bytes));
        disk.read(path, offset, size, ended);
        true
    }

    /// A read has ended. Gives what must be read next to count, if anything.
    pub(super) fn take_bytes(
        &mut self,
        purpose: Purpose,
        bytes: Result<Vec<u8>, String>,
        now_us: i64,
        counted: &mut Counted,
    ) -> Option<(u64, u64, usize, Purpose)> {
        self.reading = false;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(words) => {
                tracing::error!("the spill cannot be read: {words}; trying again");
                self.read_again_us = now_us + RETRY_US;
                return None;
            }
        };
        match purpose {
            Purpose::Scan => {
                if let Some(cursor) = self.cursor.as_mut() {
                    match bytes.is_empty() {
                        true => cursor.scanner.finish(),
                        false => cursor.scanner.push(&bytes),
                    }
                }
                None
            }
            Purpose::Count(header, offset) => self.count(header, offset, &bytes, counted),
        }
    }

    /// Counts the records of a segment by the number of its last one, which stands near its end.
    fn count(
        &mut self,
        header: Option<[u8; HEADER_BYTES]>,
        offset: u64,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Option<(u64, u64, usize, Purpose)> {
        let keys = self.dir.keys.clone();
        let segment = self.segments.iter_mut().find(|s| s.records.is_none())?;
        let tail = |from: u64, header| {
            let size = usize::try_from(segment.bytes - from).unwrap_or(usize::MAX);
            let purpose = Purpose::Count(Some(header), from);
            Some((segment.number, from, size, purpose))
        };
        let first = HEADER_BYTES as u64;
        let Some(header) = header else {
            let header = bytes.first_chunk::<HEADER_BYTES>();
            let Some(header) = header.filter(|_| segment.bytes > first) else {
                segment.records = Some(0); // the scan will say what is wrong
                return None;
            };
            if let Ok(header) = Header::decode(header) {
                counted.begun(header.created_us);
            }
            return tail(first.max(segment.bytes.saturating_sub(TAIL_BYTES)), *header);
        };
        let last = scan::last_sequence(&header, offset, bytes, keys);
        if last.is_none() && offset > first {
            let wanted = (segment.bytes - offset).saturating_mul(8);
            return tail(first.max(segment.bytes.saturating_sub(wanted)), header);
        }
        let records = last.map_or(0, |sequence| (sequence & u64::from(u32::MAX)) + 1);
        segment.records = Some(records);
        counted.records += i64::try_from(records).unwrap_or(i64::MAX);
        None
    }

    /// Starts a read that [`Log::take_bytes`] has asked for.
    pub(super) fn read_on(
        &mut self,
        (segment, offset, size, purpose): (u64, u64, usize, Purpose),
        disk: &dyn Disk,
        ended: impl FnOnce(Purpose, Result<Vec<u8>, String>) + 'static,
    ) {
        self.start_read(segment, offset, size, purpose, disk, ended);
    }
}

/// What counting has found.
#[derive(Default)]
pub(super) struct Counted {
    pub records: i64,
    /// When the oldest segment was begun (µs).
    pub oldest_us: Option<i64>,
}

impl Counted {
    fn begun(&mut self, created_us: u64) {
        let at_us = i64::try_from(created_us).unwrap_or(i64::MAX);
        self.oldest_us = Some(
            self.oldest_us
                .map_or(at_us, |oldest_us| oldest_us.min(at_us)),
        );
    }
}
