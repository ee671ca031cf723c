//! The writing end: where a record goes, and what becomes of its state.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::commit::Commits;
use super::format::{ALIGN_BYTES, FRAME_BYTES, Frame, Geometry, Header, Nature, State, stem, word};
use super::memory::{Memory, Words};
use crate::limits;
use crate::spill::Encode;

/// A journal of fewer blocks spares none of them.
const SPARE_FROM_BLOCKS: usize = 4;

/// Names a record: the file that it is in, its state word there, and its id.
///
/// Whoever holds the place of a record is the one who may change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index among the files that all shards know.
    pub file: u16,
    /// Index of the state word in the file.
    pub word: u32,
    /// The record's id.
    pub id: NonZeroU64,
}

/// Why a record could not be appended. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There is no room until other records are done.
    #[error("the journal has no room now")]
    Now,
    /// It would not fit into an empty journal.
    #[error("the write is larger than the journal")]
    Never,
}

/// The journal of one shard, and its view on the others'.
#[derive(Debug)]
pub struct Journal {
    /// The files of all shards by number, then those that earlier processes left.
    files: Arc<[Arc<dyn Words>]>,
    own: Option<Own>,
    /// Records of the own file that other shards have taken over.
    lent: Vec<Place>,
    /// Records of earlier processes that this shard sees to.
    inherited: Vec<Place>,
    /// There if writes must survive the machine.
    commits: Option<Commits>,
}

#[derive(Debug)]
struct Own {
    file: u16,
    memory: Box<dyn Memory>,
    geometry: Geometry,
    seed: u32,
    blocks: Vec<Block>,
    /// Blocks for any write: those behind them are for writes that others wait for. Kept, as every
    /// record asks, and it takes a division.
    common: usize,
    /// State words of a block: half as wide as what [`Geometry`] says, so that each record that is
    /// done divides fewer bits.
    slots: u32,
    /// What is left of the block that is being filled.
    current: Option<Room>,
    next_id: u64,
    live: u64,
    /// Blocks that are not used, without those at the end that are spared.
    free: usize,
    /// See [`Journal::is_tight`].
    tight: bool,
    trouble: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    used: bool,
    /// Its memory was made ready.
    ready: bool,
    /// Records that are not done.
    live: u32,
    /// Blocks that its only record takes; 1 for a block of many records.
    run: u32,
    /// When the oldest record arrived, µs since 1970.
    first_us: i64,
}

/// Room for a record.
#[derive(Debug, Clone, Copy)]
struct Room {
    block: usize,
    /// Where in the data the record begins.
    at: usize,
    /// Where the block ends.
    end: usize,
    slot: u16,
    /// Index of its state word.
    word: u32,
}

impl Journal {
    /// A journal that keeps nothing of its own, as `--durability none` wants it.
    #[must_use]
    pub fn none(files: Arc<[Arc<dyn Words>]>) -> Self {
        Self {
            files,
            own: None,
            lent: Vec::new(),
            inherited: Vec::new(),
            commits: None,
        }
    }

    /// The journal that is `files[file]`, empty; `memory` holds its data.
    #[must_use]
    pub fn new(
        files: Arc<[Arc<dyn Words>]>,
        file: u16,
        header: &Header,
        memory: Box<dyn Memory>,
    ) -> Self {
        let block = Block {
            used: false,
            ready: false,
            live: 0,
            run: 1,
            first_us: 0,
        };
        let common = header.geometry.count() - spare(header.geometry);
        let own = Own {
            file,
            memory,
            geometry: header.geometry,
            seed: header.seed(),
            blocks: vec![block; header.geometry.count()],
            common,
            slots: u32::try_from(header.geometry.slots()).unwrap_or(u32::MAX),
            current: None,
            next_id: 1,
            live: 0,
            free: common,
            tight: false,
            trouble: None,
        };
        Self {
            own: Some(own),
            ..Self::none(files)
        }
    }

    /// Whether clients are told of their writes only when those are on the disk.
    pub fn keep_commits(&mut self, keep: bool) {
        self.commits = keep.then(Commits::default);
    }

    /// The commit that this record is in, whatever its state; `None` if that is on the disk, or
    /// nobody has to wait for it.
    #[inline]
    pub fn record_commit(&mut self, place: Option<Place>) -> Option<u64> {
        let commits = self.commits.as_mut()?;
        commits.of_record(place?.id.get())
    }

    /// The commit that the state which was just stored will be in; `None` if nobody has to wait.
    #[inline]
    pub fn state_commit(&mut self, place: Option<Place>) -> Option<u64> {
        let commits = self.commits.as_mut()?;
        place.map(|_| commits.next())
    }

    /// Begins a commit if one is wanted and none is under way: true if what is stored by now is to
    /// be brought to the disk. `idle`: also if nobody waits for it.
    pub fn begin_commit(&mut self, idle: bool) -> bool {
        let next_id = self.own.as_ref().map_or(1, |own| own.next_id);
        self.commits
            .as_mut()
            .is_some_and(|commits| commits.begin(next_id, idle))
    }

    /// The commit under way has ended; `well`: all of it is on the disk.
    pub fn end_commit(&mut self, well: bool) {
        if let Some(commits) = &mut self.commits {
            commits.end(well);
        }
    }

    /// The last commit that has ended well; none is 0.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.commits.as_ref().map_or(0, Commits::ended)
    }

    /// Whether a commit has failed: no other will follow.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.commits.as_ref().is_some_and(Commits::has_failed)
    }

    /// Makes the first blocks ready, so that no write waits for memory later.
    ///
    /// # Errors
    /// There is no memory: the words of the system.
    pub fn warm(&mut self, blocks: usize) -> Result<(), String> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        for index in 0..blocks.min(own.blocks.len()) {
            own.memory.prepare(index)?;
            own.blocks[index].ready = true;
        }
        Ok(())
    }

    /// Appends a write as INTENT. `None` if nothing is journaled.
    ///
    /// # Errors
    /// There is no room.
    #[inline]
    pub fn append(&mut self, record: &impl Encode, nature: Nature) -> Result<Option<Place>, Full> {
        self.put(record, nature, false)
    }

    /// As [`Self::append`], for a write that others wait for to be done: it may use the last
    /// blocks, or a journal full of those others would stay full.
    ///
    /// # Errors
    /// There is no room.
    pub fn append_awaited(
        &mut self,
        record: &impl Encode,
        nature: Nature,
    ) -> Result<Option<Place>, Full> {
        self.put(record, nature, true)
    }

    #[inline]
    fn put(
        &mut self,
        record: &impl Encode,
        nature: Nature,
        awaited: bool,
    ) -> Result<Option<Place>, Full> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        let length = record.encoded_len();
        let total = FRAME_BYTES + length;
        let arrived_us = i64::try_from(record.arrival_us()).unwrap_or(i64::MAX);
        let room = own.room(total, arrived_us, awaited)?;
        let frame = Frame {
            length: u32::try_from(length).map_err(|_| Full::Never)?,
            id: own.next_id,
            slot: room.slot,
            nature,
        };
        let id = NonZeroU64::new(own.next_id).ok_or(Full::Never)?;
        let bytes = own.memory.bytes().get_mut(room.at..room.at + total);
        let bytes = bytes.ok_or(Full::Never)?;
        let body = bytes.get_mut(FRAME_BYTES..).ok_or(Full::Never)?;
        let sum = record.encode_into(body).map_err(|_| Full::Never)?;
        frame.put(bytes, sum, own.seed);
        let place = Place {
            file: own.file,
            word: room.word,
            id,
        };
        own.take(&room, total, arrived_us);
        if let Some(stored) = self.word(place) {
            stored.store(word(id.get(), State::Intent), Release);
        }
        if let Some(commits) = &mut self.commits {
            commits.appended();
        }
        Ok(Some(place))
    }

    /// Stores a record's state, which survives the process from here on.
    ///
    /// Nothing happens for a write that is not journaled.
    pub fn mark(&mut self, place: impl Into<Option<Place>>, state: State) {
        let Some(place) = place.into() else {
            return;
        };
        let Some(stored) = self.word(place) else {
            return;
        };
        let stem = stem(place.id.get());
        if is_done(stored.load(Acquire), stem) {
            return; // maybe the place of another record by now
        }
        stored.store(stem ^ state.bits(), Release);
        if let Some(commits) = &mut self.commits {
            commits.marked();
        }
        if let (State::Done, Some(own)) = (state, &mut self.own)
            && own.file == place.file
        {
            own.done(place);
        }
    }

    /// Another shard takes a record over; it will store the states from now on.
    pub fn lend(&mut self, place: impl Into<Option<Place>>) {
        if let Some(place) = place.into()
            && self.own.as_ref().is_some_and(|own| own.file == place.file)
        {
            self.lent.push(place);
        }
    }

    /// Whether the last record found no room, or the next block that is needed is not free.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.tight)
    }

    /// A record of an earlier process that this shard sees to from now on.
    pub fn inherit(&mut self, place: Place) {
        self.inherited.push(place);
    }

    /// Looks which records are done that others have taken over, and which inherited ones.
    pub fn look_around(&mut self) {
        let mut lent = std::mem::take(&mut self.lent);
        lent.retain(|place| {
            let done = self.is_done(*place);
            if let (true, Some(own)) = (done, &mut self.own) {
                own.done(*place);
            }
            !done
        });
        self.lent = lent;
        let mut inherited = std::mem::take(&mut self.inherited);
        inherited.retain(|place| !self.is_done(*place));
        self.inherited = inherited;
    }

    /// Records of earlier processes that are not done, as of the last [`Self::look_around`].
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.inherited.len()
    }

    /// Records of the own file that are not done.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| own.live)
    }

    /// Bytes of the blocks that hold a record that is not done.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| {
            let used = own.blocks.iter().filter(|block| block.used).count();
            (used * own.geometry.block()) as u64
        })
    }

    /// No later than the arrival of the oldest record that is not done, µs since 1970.
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        let blocks = self.own.as_ref().map(|own| &own.blocks);
        let live = blocks?.iter().filter(|block| block.live > 0);
        live.map(|block| block.first_us).min()
    }

    /// What the system said when it had no memory for the journal, once.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.own.as_mut().and_then(|own| own.trouble.take())
    }

    /// The data as it is now.
    #[cfg(test)]
    pub(super) fn data(&mut self) -> &[u8] {
        self.own.as_mut().map_or(&[], |own| own.memory.bytes())
    }

    /// Whether a record is done, of whatever file; its place may be another's already.
    #[must_use]
    pub fn is_done(&self, place: Place) -> bool {
        let stored = self.word(place);
        stored.is_none_or(|stored| is_done(stored.load(Acquire), stem(place.id.get())))
    }

    fn word(&self, place: Place) -> Option<&AtomicU64> {
        let words = self.files.get(usize::from(place.file))?.words();
        words.get(place.word as usize)
    }
}

/// Blocks that are left for writes which others wait for: 1 MiB of a journal of some size. They are
/// the last ones, so that a large write finds them in a row.
fn spare(geometry: Geometry) -> usize {
    match geometry.count() {
        0..SPARE_FROM_BLOCKS => 0,
        count => (limits::JOURNAL_SPARE_BYTES / geometry.block())
            .min(count / 8)
            .max(1),
    }
}

/// Whether the record whose words have this stem is done, by the word that is stored in its place.
#[inline]
fn is_done(stored: u64, stem: u64) -> bool {
    stored >> 16 != stem >> 16 || stored == stem ^ State::Done.bits()
}

impl Own {
    /// Finds room for a record of `total` bytes, and makes its memory ready.
    #[inline]
    fn room(&mut self, total: usize, arrived_us: i64, awaited: bool) -> Result<Room, Full> {
        let end = match awaited {
            true => self.blocks.len(),
            false => self.common,
        };
        match self.current {
            Some(room)
                if room.block < end
                    && room.at + total <= room.end
                    && u32::from(room.slot) < self.slots =>
            {
                Ok(room)
            }
            _ => self.next_room(total, arrived_us, end),
        }
    }

    /// As [`Self::room`], in a block before `end` that is not the current one.
    #[cold]
    fn next_room(&mut self, total: usize, arrived_us: i64, end: usize) -> Result<Room, Full> {
        let block = self.geometry.block();
        let run = total.div_ceil(block);
        if run > end {
            return Err(Full::Never);
        }
        let own_current = self.current.filter(|at| self.blocks[at.block].live == 0);
        if let Some(empty) = own_current {
            self.set_used(empty.block, 1, false); // it is too short for what comes
            self.current = None;
        }
        self.tight = true;
        let first = self.free_run(run, end).ok_or(Full::Now)?;
        for index in first..first + run {
            if self.blocks[index].ready {
                continue;
            }
            if let Err(words) = self.memory.prepare(index) {
                self.trouble = Some(words);
                return Err(Full::Now);
            }
            self.blocks[index].ready = true;
        }
        self.blocks[first].run = u32::try_from(run).map_err(|_| Full::Never)?;
        self.blocks[first].first_us = arrived_us;
        self.set_used(first, run, true);
        let room = Room {
            end: (first + run) * block,
            ..self.front(first)
        };
        self.current = Some(room);
        Ok(room)
    }

    /// An empty block.
    fn front(&self, block: usize) -> Room {
        let bytes = self.geometry.block();
        Room {
            block,
            at: block * bytes,
            end: (block + 1) * bytes,
            slot: 0,
            word: u32::try_from(block * self.geometry.slots()).unwrap_or(u32::MAX),
        }
    }

    /// The lowest place before `end` with so many free blocks in a row.
    fn free_run(&self, run: usize, end: usize) -> Option<usize> {
        let mut length = 0;
        for (index, block) in self.blocks[..end].iter().enumerate() {
            length = if block.used { 0 } else { length + 1 };
            if length == run {
                return Some(index + 1 - run);
            }
        }
        None
    }

    fn set_used(&mut self, first: usize, run: usize, used: bool) {
        let common = self.common;
        for (index, block) in self.blocks.iter_mut().enumerate().skip(first).take(run) {
            block.used = used;
            match used {
                _ if index >= common => {}
                true => self.free -= 1,
                false => self.free += 1,
            }
        }
        self.tight = self.free == 0;
    }

    /// The record is there.
    #[inline]
    fn take(&mut self, room: &Room, total: usize, arrived_us: i64) {
        let block = &mut self.blocks[room.block];
        block.live += 1;
        block.first_us = match room.slot {
            0 => arrived_us,
            _ => block.first_us.min(arrived_us), // what is read back arrived long ago
        };
        self.live += 1;
        self.next_id += 1;
        self.current = (block.run == 1).then_some(Room {
            at: (room.at + total).next_multiple_of(ALIGN_BYTES),
            slot: room.slot + 1,
            word: room.word + 1,
            ..*room
        });
    }

    /// A record is done: its block may be free again.
    #[inline]
    fn done(&mut self, place: Place) {
        let index = (place.word / self.slots) as usize;
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        self.live = self.live.saturating_sub(1);
        block.live = block.live.saturating_sub(1);
        if block.live > 0 {
            return;
        }
        if self.current.is_some_and(|room| room.block == index) {
            // from its beginning again: those bytes are in the cache
            self.current = Some(self.front(index));
            return;
        }
        let run = std::mem::replace(&mut block.run, 1) as usize;
        self.set_used(index, run, false);
    }
}
