//! What the shards of a new process start with: what earlier ones left on the disk, spread over the
//! shards that there are now.

use std::io;
use std::sync::Arc;

use anyhow::Context;

use super::owners;
use crate::config::ProxyConfig;
use crate::journal::Journal;
use crate::limits;
use crate::metrics::{self, ShardView};
use crate::shard::inbox::{self, Address, Ask};
use crate::shard::seats::Seats;
use crate::shard::{Inherited, Setup};
use crate::spill::dir::{ShardDir, SpillDir};
use crate::spill::progress::Progress;
use crate::spill::{Holds, stat};
use crate::tls::Material;

/// The shards to be, in order, and the ways to them.
pub struct Prepared {
    /// One for each shard.
    pub setups: Vec<Setup>,
    /// Their inboxes.
    pub addresses: Vec<Address>,
    /// Their counters.
    pub views: Vec<ShardView>,
    /// What they ask of the control plane.
    pub asked: crossbeam_channel::Receiver<Ask>,
}

/// Looks at the disk. `random` gives bytes that nobody can guess.
///
/// # Errors
/// The spill cannot be read, or the process is out of descriptors.
pub fn prepare(
    config: &Arc<ProxyConfig>,
    spill: &SpillDir,
    stamp_floor_us: i64,
    random: &mut dyn FnMut() -> io::Result<[u8; 32]>,
) -> anyhow::Result<Prepared> {
    let count = config.cores.len();
    let (recorders, views) = metrics::shards(count);
    let (inboxes, addresses) = inbox::make(count).context("failed to make the inboxes")?;
    let seats = Seats::new(config.clients.max_connections, count);
    let (asks, asked) = crossbeam_channel::bounded(limits::ASKS);
    let found = spill.shards()?.into_iter().map(look);
    let found: Vec<Inherited> = found.collect::<Result<_, _>>()?;
    let backlog = found.iter().any(Inherited::is_backlog);
    let owners = owners::choose(&config.data_dir, count, backlog)?;
    let mut inherited = inherit(spill, found, count, owners)?;
    let numbers: Vec<u32> = inherited.iter().map(|logs| logs[0].dir.shard).collect();
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = random()?;
    let instance = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let mut setups = Vec::new();
    for (index, ((inbox, recorder), seats)) in
        inboxes.into_iter().zip(recorders).zip(seats).enumerate()
    {
        let own = std::mem::take(&mut inherited[index]);
        let dir = own[0].dir.clone();
        setups.push(Setup {
            index,
            count,
            config: Arc::clone(config),
            inbox,
            asks: asks.clone(),
            seats,
            recorder,
            first_segments: first_segments(&dir, &own)?,
            kept: kept(spill, index, &numbers)?,
            dir,
            owners,
            left_over: backlog,
            inherited: own,
            journal: Journal::none(Arc::from([])),
            journal_file: None,
            unsettled: Vec::new(),
            changes: Vec::new(),
            instance,
            tls: Material::default(),
            stamp_floor_us,
            seed: random()?,
        });
    }
    owners::note(&config.data_dir, owners);
    Ok(Prepared {
        setups,
        addresses,
        views,
        asked,
    })
}

/// What each shard drains, its own directory first. Where all shards own tables, each goes on with
/// the directory of its number. Else the first drains all that is left, and each writes into a
/// directory in which nothing is.
fn inherit(
    spill: &SpillDir,
    found: Vec<Inherited>,
    count: usize,
    owners: usize,
) -> anyhow::Result<Vec<Vec<Inherited>>> {
    let is_free = |log: &Inherited| owners == count || !log.is_backlog();
    let (mut free, left): (Vec<_>, Vec<_>) = found.into_iter().partition(is_free);
    let mut all: Vec<Vec<Inherited>> = Vec::new();
    let mut number = 0;
    while all.len() < count {
        let own = free.iter().position(|log| log.dir.shard == number);
        if let Some(at) = own {
            all.push(vec![free.remove(at)]);
        } else if !left.iter().any(|log| log.dir.shard == number) {
            all.push(vec![look(spill.shard(number)?)?]);
        }
        number += 1;
    }
    all[0].extend(left.into_iter().chain(free));
    Ok(all)
}

fn look(dir: ShardDir) -> anyhow::Result<Inherited> {
    let progress = Progress::load(&dir, Holds::Backlog)?;
    let segments = dir.segments(Holds::Backlog)?;
    let segments = segments
        .iter()
        .map(|file| (file.segment, file.bytes))
        .collect();
    Ok(Inherited {
        dir,
        segments,
        progress,
    })
}

fn first_segments(dir: &ShardDir, own: &[Inherited]) -> anyhow::Result<(u64, u64)> {
    let reached = own.first().map_or(0, |own| own.progress.next.segment);
    Ok((
        dir.next_segment(Holds::Backlog, reached)?,
        dir.next_segment(Holds::Rejected, 0)?,
    ))
}

/// Writes that earlier processes put aside: refused by the target, and in doubt. `numbers`: of the
/// directories that shards write into; the first shard counts the others.
fn kept(spill: &SpillDir, index: usize, numbers: &[u32]) -> anyhow::Result<(u64, u64)> {
    let mut kept = (0, 0);
    for dir in spill.shards()? {
        let shard = numbers.iter().position(|number| *number == dir.shard);
        if shard.unwrap_or(0) == index {
            let found = stat::of_shard(&dir, Holds::Rejected)?;
            kept.0 += found.rejected;
            kept.1 += found.in_doubt;
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::append::WriterConfig;
    use crate::spill::dir::DirWriter;
    use crate::spill::samples;

    fn fill(spill: &SpillDir, shard: u32) {
        let config = WriterConfig::new(Holds::Backlog, shard, 1, 1);
        let mut writer = DirWriter::new(spill.shard(shard).unwrap(), config);
        let record = samples::insert(1, b"v");
        writer.writer().append(&record, 1).unwrap();
        writer.close().unwrap();
    }

    fn shards_of(inherited: &[Vec<Inherited>]) -> Vec<Vec<u32>> {
        let shards = |logs: &Vec<Inherited>| logs.iter().map(|log| log.dir.shard).collect();
        inherited.iter().map(shards).collect()
    }

    #[test]
    fn who_drains_what() {
        let dir = tempfile::tempdir().unwrap();
        let spill = SpillDir::open_or_create(dir.path()).unwrap();
        for shard in 0..3 {
            spill.shard(shard).unwrap();
        }
        fill(&spill, 0);
        fill(&spill, 2);
        let inherited = |count, owners| {
            let found = spill.shards().unwrap().into_iter().map(look);
            let found = found.collect::<Result<_, _>>().unwrap();
            shards_of(&inherit(&spill, found, count, owners).unwrap())
        };
        assert_eq!(inherited(3, 3), [[0], [1], [2]], "each its own");
        assert_eq!(inherited(1, 1), [[0, 1, 2]]);
        // the first all that is left; each writes where nothing is
        let all = [vec![1, 0, 2], vec![3]];
        assert_eq!(inherited(2, 1), all);
        assert_eq!(
            inherited(2, 1),
            all,
            "a process that died in it changes nothing"
        );
    }
}
