//! How much a spill log holds: counts, bytes, age, damage.

use std::path::Path;

use super::append::Position;
use super::dir::{SegmentFile, ShardDir, shards_in};
use super::progress::{Progress, ProgressError};
use super::read::{ReadError, SegmentReader};
use super::record::{Kind, Record};
use super::scan::{Damage, Ending, Step};
use super::segment::Holds;

/// Totals over some records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stat {
    /// Segment files.
    pub segments: u64,
    /// Bytes of the records, frames included.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Records of each kind, in the order of [`Kind::ALL`].
    pub by_kind: [u64; Kind::ALL.len()],
    /// Records that the target refused for good.
    pub rejected: u64,
    /// Records that the target may have applied.
    pub in_doubt: u64,
    /// Earliest arrival, µs since 1970.
    pub oldest_us: Option<u64>,
    /// Latest arrival, µs since 1970.
    pub newest_us: Option<u64>,
    /// Places between good records that could not be read.
    pub damaged_places: u64,
    /// Records that are lost there, as far as their neighbours' numbers tell.
    pub damaged_records: u64,
    /// Bytes that could not be read, torn tails included.
    pub damaged_bytes: u64,
    /// Segments that end in the middle of a record.
    pub torn_tails: u64,
}

impl Stat {
    /// Counts a record of this length.
    pub fn add(&mut self, record: &Record<'_>, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
        for (count, kind) in self.by_kind.iter_mut().zip(Kind::ALL) {
            *count += u64::from(kind == record.kind);
        }
        match record.refusal {
            Some(refusal) if refusal.in_doubt => self.in_doubt += 1,
            Some(_) => self.rejected += 1,
            None => {}
        }
        let arrival = record.arrival_us;
        self.oldest_us = Some(self.oldest_us.map_or(arrival, |oldest| oldest.min(arrival)));
        self.newest_us = Some(self.newest_us.map_or(arrival, |newest| newest.max(arrival)));
    }

    /// Counts a damaged place.
    pub fn add_damage(&mut self, damage: &Damage) {
        self.damaged_places += 1;
        self.damaged_records += damage.records.unwrap_or(0);
        self.damaged_bytes += damage.to - damage.from;
    }

    /// Counts the end of a segment.
    pub fn add_ending(&mut self, ending: &Ending) {
        if let Ending::TornTail { from, to } = ending {
            self.torn_tails += 1;
            self.damaged_bytes += to - from;
        }
    }

    /// Records of one kind.
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.by_kind
            .iter()
            .zip(Kind::ALL)
            .filter(|(_, k)| *k == kind)
            .map(|(n, _)| *n)
            .sum()
    }

    /// Adds another total.
    pub fn merge(&mut self, other: &Stat) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.records += other.records;
        for (count, more) in self.by_kind.iter_mut().zip(other.by_kind) {
            *count += more;
        }
        self.rejected += other.rejected;
        self.in_doubt += other.in_doubt;
        self.oldest_us = self.oldest_us.into_iter().chain(other.oldest_us).min();
        self.newest_us = self.newest_us.into_iter().chain(other.newest_us).max();
        self.damaged_places += other.damaged_places;
        self.damaged_records += other.damaged_records;
        self.damaged_bytes += other.damaged_bytes;
        self.torn_tails += other.torn_tails;
    }
}

/// Why the totals are not known.
#[derive(Debug, thiserror::Error)]
pub enum StatError {
    /// A segment or directory cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not known what is done.
    #[error(transparent)]
    Progress(#[from] ProgressError),
}

/// Totals of what one segment holds that is not done yet; `each` sees every such record.
pub fn of_segment(
    file: &SegmentFile,
    progress: &Progress,
    mut each: impl FnMut(Position, &Record<'_>),
) -> Result<Stat, ReadError> {
    let mut stat = Stat::default();
    if file.segment < progress.next.segment {
        return Ok(stat);
    }
    stat.segments = 1;
    let from = if file.segment == progress.next.segment {
        progress.next.offset
    } else {
        0
    };
    let mut reader = SegmentReader::open(file, from)?;
    loop {
        match reader.next_step()? {
            Step::Record {
                offset,
                end,
                record,
            } => {
                let place = Position {
                    segment: file.segment,
                    offset,
                };
                if !progress.done.contains(&place) {
                    stat.add(&record, end - offset);
                    each(place, &record);
                }
            }
            Step::Damage(damage) => stat.add_damage(&damage),
            Step::End(ending) => {
                stat.add_ending(&ending);
                return Ok(stat);
            }
            Step::NeedBytes => {}
        }
    }
}

/// Totals of what a shard has yet to do.
pub fn of_shard(shard: &ShardDir, holds: Holds) -> Result<Stat, StatError> {
    let progress = Progress::load(shard, holds)?;
    let mut stat = Stat::default();
    for file in shard.segments(holds).map_err(ReadError::from)? {
        stat.merge(&of_segment(&file, &progress, |_, _| {})?);
    }
    Ok(stat)
}

/// Totals of what a spill directory has yet to do: backlog and rejected. Takes no lock.
pub fn of_dir(path: &Path) -> Result<(Stat, Stat), StatError> {
    let (mut backlog, mut rejected) = (Stat::default(), Stat::default());
    for shard in shards_in(path).map_err(ReadError::from)? {
        backlog.merge(&of_shard(&shard, Holds::Backlog)?);
        rejected.merge(&of_shard(&shard, Holds::Rejected)?);
    }
    Ok((backlog, rejected))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::append::WriterConfig;
    use super::super::dir::{DirWriter, SpillDir};
    use super::super::record::Refusal;
    use super::super::samples::insert;
    use super::*;

    /// Five records in a shard's backlog, three in its rejected file.
    fn sample(dir: &SpillDir) -> (ShardDir, Vec<Position>) {
        let shard = dir.shard(0).unwrap();
        let config = WriterConfig::new(Holds::Backlog, 0, 1, 1);
        let mut writer = DirWriter::new(shard.clone(), config);
        let mut places = Vec::new();
        for number in 0..5 {
            let kind = if number == 4 {
                Kind::Counter
            } else {
                Kind::Write
            };
            let record = Record {
                kind,
                ..insert(number, b"value")
            };
            places.push(writer.writer().append(&record, 1).unwrap());
        }
        writer.close().unwrap();
        let config = WriterConfig::new(Holds::Rejected, 0, 1, 1);
        let mut rejected = DirWriter::new(shard.clone(), config);
        for in_doubt in [true, false, false] {
            let refusal = Some(Refusal {
                code: 0x2200,
                words: "no such table",
                in_doubt,
            });
            rejected
                .writer()
                .append(
                    &Record {
                        refusal,
                        ..insert(9, b"v")
                    },
                    1,
                )
                .unwrap();
        }
        rejected.close().unwrap();
        (shard, places)
    }

    #[test]
    fn counts_by_kind_and_age() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpillDir::open_or_create(&temp.path().join("spill")).unwrap();
        sample(&dir);
        let (backlog, refused) = of_dir(dir.path()).unwrap();
        assert_eq!((backlog.records, backlog.segments), (5, 1));
        assert_eq!(
            (backlog.of_kind(Kind::Write), backlog.of_kind(Kind::Counter)),
            (4, 1)
        );
        assert_eq!(backlog.oldest_us.map(|us| us % 1000), Some(0));
        assert_eq!(backlog.newest_us.map(|us| us % 1000), Some(4));
        assert_eq!((refused.rejected, refused.in_doubt), (2, 1));
    }

    #[test]
    fn counts_what_is_left_and_what_is_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpillDir::open_or_create(&temp.path().join("spill")).unwrap();
        let (shard, places) = sample(&dir);
        let mut progress = Progress {
            next: places[1],
            ..Progress::default()
        };
        progress.done.insert(places[3]);
        progress.store(&shard, Holds::Backlog).unwrap();
        let path = shard.segment_path(Holds::Backlog, 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(places[2].offset).unwrap() + 30] ^= 1;
        bytes.pop();
        std::fs::write(&path, &bytes).unwrap();
        let left = of_shard(&shard, Holds::Backlog).unwrap();
        assert_eq!(
            (left.records, left.damaged_places, left.damaged_records),
            (1, 1, 1)
        );
        assert_eq!(left.torn_tails, 1);
        let torn = bytes.len() as u64 - places[4].offset;
        assert_eq!(
            left.damaged_bytes,
            places[3].offset - places[2].offset + torn
        );

        let done = Progress {
            next: Position {
                segment: 2,
                offset: 0,
            },
            ..Progress::default()
        };
        done.store(&shard, Holds::Backlog).unwrap();
        assert_eq!(of_shard(&shard, Holds::Backlog).unwrap(), Stat::default());
    }
}
