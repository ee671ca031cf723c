//! What the shards of a new process start with: what earlier ones left on the disk, spread over the
//! shards that there are now.

use std::io;
use std::sync::Arc;

use anyhow::Context;

use crate::config::ProxyConfig;
use crate::journal::Journal;
use crate::limits;
use crate::metrics::{self, ShardView};
use crate::shard::inbox::{self, Address, Ask};
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
    let (asks, asked) = crossbeam_channel::bounded(limits::INBOX_MESSAGES);
    let mut inherited = inherit(spill, count)?;
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = random()?;
    let instance = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let mut setups = Vec::new();
    for (index, (inbox, recorder)) in inboxes.into_iter().zip(recorders).enumerate() {
        let dir = spill.shard(u32::try_from(index)?)?;
        let own = std::mem::take(&mut inherited[index]);
        setups.push(Setup {
            index,
            count,
            config: Arc::clone(config),
            inbox,
            asks: asks.clone(),
            recorder,
            first_segments: first_segments(&dir, &own)?,
            kept: kept(spill, index, count)?,
            dir,
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
    Ok(Prepared {
        setups,
        addresses,
        views,
        asked,
    })
}

/// What earlier processes left, spread over the shards: each drains its own directory, and those of
/// shards that are no more go round.
fn inherit(spill: &SpillDir, count: usize) -> anyhow::Result<Vec<Vec<Inherited>>> {
    let mut all: Vec<Vec<Inherited>> = Vec::new();
    for index in 0..count {
        all.push(vec![look(spill.shard(u32::try_from(index)?)?)?]);
    }
    for dir in spill.shards()? {
        let index = usize::try_from(dir.shard)?;
        if index >= count {
            all[index % count].push(look(dir)?);
        }
    }
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

/// Writes that earlier processes put aside: refused by the target, and in doubt. Directories of
/// shards that are no more are counted by the first shard.
fn kept(spill: &SpillDir, index: usize, count: usize) -> anyhow::Result<(u64, u64)> {
    let mut kept = (0, 0);
    for dir in spill.shards()? {
        let shard = usize::try_from(dir.shard)?;
        if shard == index || (index == 0 && shard >= count) {
            let found = stat::of_shard(&dir, Holds::Rejected)?;
            kept.0 += found.rejected;
            kept.1 += found.in_doubt;
        }
    }
    Ok(kept)
}
