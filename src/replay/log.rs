//! The logs of all shards as one stream in order of arrival, with what is done written down.
//!
//! A shard's log is nearly, but not quite, in order of arrival: a write that was tried first and
//! spilled later stands behind younger ones. Stamped writes may be sent in any order, so this
//! matters at barriers only: before one, each shard is read on until nothing older can follow (the
//! greatest disorder is known from a first look at the log), and what was passed over is read
//! again.

use std::collections::HashSet;

use anyhow::Result;

use crate::spill::dir::Retire;
use crate::spill::progress::Progress;
use crate::spill::stat::{self, Stat};
use crate::spill::{
    Holds, Kind, Ledger, Position, Record, SegmentReader, ShardDir, SpillDir, Standing, Step,
    dir::SegmentFile, record,
};

/// When a record's turn comes: by arrival, then shard, then place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub arrival_us: u64,
    pub stream: usize,
    pub start: Position,
}

/// A record that is to be dealt with.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub turn: Turn,
    pub kind: Kind,
    pub standing: Standing,
    /// It is in doubt since an earlier run or since it was spilled: it must not be sent.
    pub in_doubt: bool,
    /// The record, encoded.
    pub body: Vec<u8>,
}

/// The log of one shard: its backlog or its rejected records.
pub(super) struct Stream {
    index: usize,
    pub shard: ShardDir,
    pub holds: Holds,
    files: Vec<SegmentFile>,
    pub ledger: Ledger,
    /// Index of the file that is read, or would be next.
    file: usize,
    reader: Option<SegmentReader>,
    head: Option<Entry>,
    passed_over: bool,
    disorder_us: u64,
    damaged: HashSet<u64>,
    stored: Option<Progress>,
}

/// What a first look at the logs found.
pub(super) struct Logs {
    pub streams: Vec<Stream>,
    pub found: Stat,
    /// Turns of schema changes and TRUNCATEs, in order.
    pub barriers: Vec<Turn>,
}

impl Logs {
    /// Looks at all that is to be done.
    pub(super) fn open(dir: &SpillDir, wanted: &[Holds]) -> Result<Logs> {
        let mut logs = Logs {
            streams: Vec::new(),
            found: Stat::default(),
            barriers: Vec::new(),
        };
        for shard in dir.shards()? {
            for holds in wanted {
                let index = logs.streams.len();
                let stream = Stream::open(
                    index,
                    shard.clone(),
                    *holds,
                    &mut logs.found,
                    &mut logs.barriers,
                )?;
                logs.streams.push(stream);
            }
        }
        logs.barriers.sort_unstable();
        Ok(logs)
    }

    /// Begins to read anew, up to the record whose turn is `limit`.
    pub(super) fn begin(&mut self) {
        for stream in &mut self.streams {
            if stream.passed_over {
                stream.rewind();
            }
        }
    }

    /// The next record whose turn comes before `limit`.
    pub(super) fn next(&mut self, limit: Option<Turn>) -> Result<Option<Entry>> {
        let mut first: Option<Turn> = None;
        for stream in &mut self.streams {
            if let Some(turn) = stream.peek(limit)? {
                first = Some(first.map_or(turn, |first| first.min(turn)));
            }
        }
        let stream = first.and_then(|turn| self.streams.get_mut(turn.stream));
        Ok(stream.and_then(|stream| stream.head.take()))
    }

    /// Reads one record.
    pub(super) fn fetch(&mut self, turn: Turn) -> Result<Option<Entry>> {
        let Some(stream) = self.streams.get_mut(turn.stream) else {
            return Ok(None);
        };
        let segment = turn.start.segment;
        let Some(file) = stream.files.iter().find(|file| file.segment == segment) else {
            return Ok(None);
        };
        let mut reader = SegmentReader::open(file, turn.start.offset)?;
        match reader.next_step()? {
            Step::Record {
                offset,
                end,
                record,
            } => {
                let start = Position { segment, offset };
                let standing = stream.ledger.seen(
                    start,
                    Position {
                        segment,
                        offset: end,
                    },
                );
                let to_do = standing != Standing::Done && start == turn.start;
                Ok(to_do.then(|| entry(turn, standing, &record)))
            }
            _ => Ok(None),
        }
    }

    /// Writes down what is done, and takes segments that are wholly done out of the log.
    pub(super) fn store(&mut self, keep: bool) -> Result<()> {
        self.streams
            .iter_mut()
            .try_for_each(|stream| stream.store(keep))
    }

    /// The stream with this number.
    pub(super) fn stream(&mut self, index: usize) -> Option<&mut Stream> {
        self.streams.get_mut(index)
    }
}

impl Stream {
    fn open(
        index: usize,
        shard: ShardDir,
        holds: Holds,
        found: &mut Stat,
        barriers: &mut Vec<Turn>,
    ) -> Result<Stream> {
        let progress = Progress::load(&shard, holds)?;
        let files = shard.segments(holds)?;
        let (mut newest_us, mut disorder_us) = (0u64, 0u64);
        let mut damaged = HashSet::new();
        for file in &files {
            let stat = stat::of_segment(file, &progress, |start, record| {
                let arrival_us = record.arrival_us;
                disorder_us = disorder_us.max(newest_us.saturating_sub(arrival_us));
                newest_us = newest_us.max(arrival_us);
                if record.kind.is_barrier() {
                    barriers.push(Turn {
                        arrival_us,
                        stream: index,
                        start,
                    });
                }
            })?;
            // Damage in a part that is done already keeps the file from being deleted, too.
            let whole = if file.segment <= progress.next.segment {
                let begin = Position {
                    segment: file.segment,
                    offset: 0,
                };
                let all = Progress {
                    next: begin,
                    ..Progress::default()
                };
                stat::of_segment(file, &all, |_, _| {})?
            } else {
                stat.clone()
            };
            if whole.damaged_bytes > 0 || whole.damaged_places > 0 {
                damaged.insert(file.segment);
            }
            found.merge(&stat);
        }
        let mut ledger = Ledger::resume(progress.clone());
        for file in files
            .iter()
            .filter(|file| file.segment < progress.next.segment)
        {
            ledger.segment_ended(file.segment);
        }
        let mut stream = Stream {
            index,
            shard,
            holds,
            files,
            ledger,
            file: 0,
            reader: None,
            head: None,
            passed_over: false,
            disorder_us,
            damaged,
            stored: Some(progress),
        };
        stream.rewind();
        Ok(stream)
    }

    /// Goes back to the first record that is not done.
    fn rewind(&mut self) {
        let next = self.ledger.next();
        self.file = self
            .files
            .iter()
            .take_while(|file| file.segment < next.segment)
            .count();
        self.reader = None;
        self.head = None;
        self.passed_over = false;
    }

    fn peek(&mut self, limit: Option<Turn>) -> Result<Option<Turn>> {
        loop {
            if self.head.is_none() {
                self.head = self.read()?;
            }
            let Some(head) = &self.head else {
                return Ok(None);
            };
            match limit {
                Some(limit) if head.turn >= limit => {
                    if head.turn.arrival_us > limit.arrival_us.saturating_add(self.disorder_us) {
                        return Ok(None);
                    }
                    self.passed_over = true;
                    self.head = None;
                }
                _ => return Ok(Some(head.turn)),
            }
        }
    }

    fn read(&mut self) -> Result<Option<Entry>> {
        loop {
            let Some(file) = self.files.get(self.file) else {
                return Ok(None);
            };
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => {
                    let next = self.ledger.next();
                    let offset = if next.segment == file.segment {
                        next.offset
                    } else {
                        0
                    };
                    none.insert(SegmentReader::open(file, offset)?)
                }
            };
            match reader.next_step()? {
                Step::Record {
                    offset,
                    end,
                    record,
                } => {
                    let start = Position {
                        segment: file.segment,
                        offset,
                    };
                    let end = Position {
                        segment: file.segment,
                        offset: end,
                    };
                    let standing = self.ledger.seen(start, end);
                    if standing == Standing::Done {
                        continue;
                    }
                    let turn = Turn {
                        arrival_us: record.arrival_us,
                        stream: self.index,
                        start,
                    };
                    return Ok(Some(entry(turn, standing, &record)));
                }
                Step::End(_) => {
                    self.ledger.segment_ended(file.segment);
                    self.file += 1;
                    self.reader = None;
                }
                Step::Damage(_) | Step::NeedBytes => {}
            }
        }
    }

    fn store(&mut self, keep: bool) -> Result<()> {
        let progress = self.ledger.progress();
        if self.stored.as_ref() != Some(&progress) {
            progress.store(&self.shard, self.holds)?;
            self.stored = Some(progress);
        }
        for segment in self.ledger.take_finished_segments() {
            let how = match (self.damaged.contains(&segment), keep) {
                (true, _) => Retire::Damaged,
                (false, true) => Retire::Done,
                (false, false) => Retire::Remove,
            };
            self.shard.retire(self.holds, segment, how)?;
        }
        Ok(())
    }
}

fn entry(turn: Turn, standing: Standing, record: &Record<'_>) -> Entry {
    let mut body = Vec::with_capacity(record::encoded_len(record));
    // A record that was decoded fits.
    let _ = record::encode(record, &mut body);
    let in_doubt = record.refusal.is_some_and(|refusal| refusal.in_doubt);
    Entry {
        turn,
        kind: record.kind,
        standing,
        in_doubt,
        body,
    }
}
