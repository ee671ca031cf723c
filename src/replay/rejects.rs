//! Writes that the target refused, or may have applied, go into the shard's rejected file.

use std::collections::HashMap;

use anyhow::Result;

use crate::spill::progress::Progress;
use crate::spill::{DirWriter, Holds, Record, Refusal, ShardDir, WriterConfig, record};

use super::deliver::now_us;

/// The rejected files that this run writes.
pub(super) struct Rejects {
    instance: u64,
    writers: HashMap<u32, DirWriter>,
}

impl Rejects {
    /// None written yet. `instance` is random.
    pub(super) fn new(instance: u64) -> Rejects {
        Rejects {
            instance,
            writers: HashMap::new(),
        }
    }

    /// Adds a record with a reason; it is safe on disk when this returns.
    pub(super) fn add(
        &mut self,
        shard: &ShardDir,
        body: &[u8],
        refusal: Refusal<'_>,
    ) -> Result<()> {
        let record = record::decode(body)?;
        self.write(
            shard,
            &Record {
                refusal: Some(refusal),
                ..record
            },
        )
    }

    /// Adds a record from a rejected file as it is.
    pub(super) fn keep(&mut self, shard: &ShardDir, body: &[u8]) -> Result<()> {
        let record = record::decode(body)?;
        self.write(shard, &record)
    }

    fn write(&mut self, shard: &ShardDir, record: &Record<'_>) -> Result<()> {
        let writer = match self.writers.entry(shard.shard) {
            std::collections::hash_map::Entry::Occupied(writer) => writer.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let done = Progress::load(shard, Holds::Rejected)?.next.segment;
                let next = shard.next_segment(Holds::Rejected, done + 1)?;
                let config = WriterConfig::new(Holds::Rejected, shard.shard, self.instance, next);
                place.insert(DirWriter::new(shard.clone(), config))
            }
        };
        writer.writer().append(record, now_us())?;
        writer.flush(true)?;
        Ok(())
    }

    /// Completes the files.
    pub(super) fn close(&mut self) -> Result<()> {
        for writer in self.writers.values_mut() {
            writer.close()?;
        }
        Ok(())
    }
}
