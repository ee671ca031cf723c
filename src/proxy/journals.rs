//! The journal files of a process: its own, those that earlier processes left, and the `running`
//! file by which the next start knows how this one ended.
//!
//! ```text
//! JOURNAL_DIR/LOCK                                 flock: one process
//! JOURNAL_DIR/shard-0007-00c0ffee00c0ffee.journal  of shard 7 of the process with this id
//! DATA_DIR/running                                 there while a process runs; see `running`
//! ```
//! A new process makes new files and settles the old ones *in place*: what becomes of each record
//! is stored in the old file, which is deleted when all of them are done. So it may die again at
//! any time, and the number of shards may change: old files are dealt out to those there are.

mod running;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow, bail};

use self::running::Run;
use crate::config::{Durability, ProxyConfig};
use crate::journal::format::{PAGE_BYTES, word};
use crate::journal::{
    Damage, Geometry, Header, Journal, Live, Memory, Place, Scanned, State, Words, certain, scan,
    scan_stale,
};
use crate::limits;
use crate::preflight;
use crate::shard::{self, Setup, Unsettled};
use crate::spill::dir::sync_dir;
use crate::spill::dirty::{Reason, Window, Windows};
use crate::sys::mapped::{Layout, MappedFile, MappedWords};

/// How a journal's file ends.
const SUFFIX: &str = ".journal";
/// The lock of a journal directory.
const LOCK_NAME: &str = "LOCK";
/// A write that a process without a journal had in flight at the source began no earlier than this
/// before its end (µs).
const IN_FLIGHT_US: u64 = 15_000_000;
/// The `running` file is renewed each second (µs), and a little late.
const RENEWED_US: u64 = 2_000_000;

/// The oldest write of a shard may be older by this than it says (µs): by a few ticks, and what was
/// read back of a write, at a source that is up, arrived up to six seconds after it.
const OLDER_US: u64 = 10 * limits::TICK_MS * 1_000 + 6_000_000;

/// See the module.
pub struct Journals {
    data_dir: PathBuf,
    run: Run,
    own: Vec<Kept>,
    old: Vec<Kept>,
    /// Arrival of the oldest record in the old files (µs since 1970).
    old_us: Option<u64>,
    _locks: Vec<File>,
}

/// When a process starts.
#[derive(Debug, Clone, Copy)]
pub struct Start<'s> {
    /// The time (µs since 1970).
    pub now_us: u64,
    /// The machine's boot id.
    pub boot: &'s str,
}

/// A file and the records in it that somebody still has to see to.
struct Kept {
    path: PathBuf,
    words: Arc<dyn Words>,
    /// State words to be done, with what they hold then.
    left: Vec<(u32, u64)>,
    damaged: bool,
}

/// A mapped file as a journal's memory.
#[derive(Debug)]
struct Mapped {
    file: MappedFile,
    geometry: Geometry,
    /// It has all its room, and its pages are in the page cache.
    filled: bool,
}

#[derive(Debug)]
struct Shared(MappedWords);

impl Words for Shared {
    fn words(&self) -> &[AtomicU64] {
        self.0.get()
    }
}

impl Memory for Mapped {
    fn bytes(&mut self) -> &mut [u8] {
        self.file.data_mut()
    }

    fn prepare(&mut self, block: usize) -> Result<(), String> {
        if self.filled {
            return Ok(());
        }
        let (bytes, slots) = (self.geometry.block(), self.geometry.slots());
        let data = block * bytes..(block + 1) * bytes;
        let words = block * slots..(block + 1) * slots;
        let prepared = self.file.prepare(data, words);
        prepared.map_err(|error| error.to_string())
    }
}

impl Journals {
    /// Makes the shards' journals and hands what earlier processes left to them. Times in which
    /// writes may be missing are added to `windows` and stored. The caller holds the lock of the
    /// data directory.
    ///
    /// # Errors
    /// The directory cannot be used, a file cannot be made, or another process has it.
    pub fn open(
        config: &ProxyConfig,
        setups: &mut [Setup],
        windows: &mut Windows,
        start: Start<'_>,
    ) -> anyhow::Result<Self> {
        let Start { now_us, boot } = start;
        let data_dir = config.data_dir.clone();
        let dir = preflight::journal::directory(config);
        let before = Run::load(&data_dir)?;
        let mut locks = vec![prepare_dir(&dir)?];
        let mut paths = list(&dir)?;
        let earlier = before.as_ref().and_then(|run| run.journal_dir.clone());
        if let Some(earlier) = earlier.filter(|earlier| *earlier != dir && earlier.is_dir()) {
            locks.push(prepare_dir(&earlier)?);
            paths.extend(list(&earlier)?);
        }
        if let Some(loss) = before.as_ref().and_then(|run| run.loss(&paths, boot)) {
            loss.tell();
            windows.add(loss.window);
        }
        let boot = name_of(boot);
        let mut old = Vec::new();
        let mut found = Vec::new();
        for path in paths {
            let Some((kept, records, created_us)) =
                take_over(&path, setups.len() + old.len(), boot)?
            else {
                continue;
            };
            if config.journal.durability == Durability::Machine {
                // the process that wrote it died, and what it had not synced is in the page cache
                sync(&path)?;
            }
            if kept.damaged {
                windows.add(Window::of_all(created_us, now_us, Reason::MachineCrash));
            }
            found.push(records);
            old.push(kept);
        }
        if !windows.is_empty() {
            windows.store(&data_dir)?; // before anything that tells of them goes
        }
        let arrived_us = || found.iter().flatten().map(Unsettled::arrived_us);
        let (oldest_us, newest_us) = (arrived_us().min(), arrived_us().max());
        let instance = setups.first().map_or(0, |setup| setup.instance);
        let mut journals = Self {
            run: Run::new(
                instance,
                config.journal.durability,
                &dir,
                setups.len(),
                start,
            )?,
            data_dir,
            own: Vec::new(),
            old,
            old_us: oldest_us.and_then(|us| u64::try_from(us).ok()),
            _locks: locks,
        };
        journals.equip(config, setups, &dir, start)?;
        shard::deal(found, setups);
        journals.renew(None, now_us);
        let newest_us = newest_us.and_then(|us| u64::try_from(us).ok());
        journals.run.reach(newest_us.unwrap_or(0));
        if let Err(error) = journals.run.store(&journals.data_dir) {
            // a full disk: what makes room is this start; it is tried again each second
            tracing::error!("{error:#}");
        }
        Ok(journals)
    }

    /// Makes a file for each shard, and lets every shard know all files.
    fn equip(
        &mut self,
        config: &ProxyConfig,
        setups: &mut [Setup],
        dir: &Path,
        start: Start<'_>,
    ) -> anyhow::Result<()> {
        let mut files: Vec<Arc<dyn Words>> = Vec::new();
        let mut memories = Vec::new();
        for setup in &*setups {
            if config.journal.durability == Durability::None {
                files.push(Arc::new(Vec::<AtomicU64>::new()));
                memories.push(None);
                continue;
            }
            let made = make(config, setup, dir, start)?;
            files.push(made.words.clone());
            self.own.push(Kept {
                path: made.path.clone(),
                words: made.words.clone(),
                left: Vec::new(),
                damaged: false,
            });
            memories.push(Some(made));
        }
        sync_dir(dir)?;
        files.extend(self.old.iter().map(|old| old.words.clone()));
        let files: Arc<[Arc<dyn Words>]> = files.into();
        for (setup, memory) in setups.iter_mut().zip(memories) {
            setup.journal = Journal::none(files.clone());
            if let Some(made) = memory {
                let file = u16::try_from(setup.index)?;
                setup.journal = Journal::new(files.clone(), file, &made.header, made.memory);
                setup.journal.keep_commits(made.synced.is_some());
                setup.journal_file = made.synced;
                let warm = setup.journal.warm(limits::JOURNAL_WARM_BLOCKS);
                warm.map_err(|words| anyhow!("{words}")).with_context(|| {
                    format!(
                        "there is no room for the journal in {}; make room, or name another \
                         --journal-dir",
                        dir.display()
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Once a second: renews the `running` file and deletes the old files that are settled.
    /// `oldest_us`: arrival of the oldest write that is not finished, if there is one.
    pub fn tick(&mut self, oldest_us: Option<u64>, now_us: u64) {
        self.renew(oldest_us, now_us);
        if let Err(error) = self.run.store(&self.data_dir) {
            tracing::warn!("{error:#}");
        }
        self.old
            .retain_mut(|old| !old.is_settled() || !old.remove());
    }

    /// What the old files hold is as lost with the machine as what this process has in hand.
    fn renew(&mut self, oldest_us: Option<u64>, now_us: u64) {
        let old_us = self.old_us.filter(|_| !self.old.is_empty());
        let oldest_us = [oldest_us, old_us].into_iter().flatten().min();
        self.run.renew(oldest_us, now_us);
    }

    /// After the shards have ended. `in_order`: all of them.
    pub fn end(mut self, in_order: bool) {
        self.old
            .retain_mut(|old| !old.is_settled() || !old.remove());
        if !in_order {
            return;
        }
        let left = |own: &Kept| undone(own.words.words()).len();
        let left: usize = self.own.iter().map(left).sum();
        if left > 0 {
            // all files stay: one that is missing would look as if it had been lost
            return tracing::info!(
                left,
                "changes of the schema are in the spill and the journal: the next start holds what \
                 comes after them"
            );
        }
        for own in &self.own {
            own.remove();
        }
        if self.old.is_empty() {
            Run::remove(&self.data_dir);
        }
    }
}

impl Kept {
    fn is_settled(&mut self) -> bool {
        let words = self.words.words();
        self.left.retain(|(index, done)| {
            let stored = words.get(*index as usize);
            stored.is_some_and(|stored| stored.load(Ordering::Acquire) != *done)
        });
        self.left.is_empty()
    }

    /// Takes the file away; a damaged one is kept under another name. True unless that failed.
    fn remove(&self) -> bool {
        let result = if self.damaged {
            let mut name = self.path.clone().into_os_string();
            name.push(".damaged");
            fs::rename(&self.path, name)
        } else {
            fs::remove_file(&self.path)
        };
        if let Err(error) = &result {
            let path = self.path.display();
            tracing::warn!("the settled journal {path} cannot be taken away: {error}");
        }
        result.is_ok()
    }
}

/// A new journal file.
struct Made {
    path: PathBuf,
    header: Header,
    words: Arc<dyn Words>,
    memory: Box<dyn Memory>,
    /// There if it is to be synced.
    synced: Option<Arc<File>>,
}

/// Makes a shard's file. One on a disk is filled with zeros first, so that a sync brings data to
/// the disk and nothing else.
fn make(config: &ProxyConfig, setup: &Setup, dir: &Path, start: Start<'_>) -> anyhow::Result<Made> {
    let geometry = Geometry::of_bytes(config.journal.bytes);
    let header = Header {
        shard: u32::try_from(setup.index)?,
        instance: setup.instance,
        created_us: start.now_us,
        boot: name_of(start.boot),
        geometry,
    };
    let name = format!("shard-{:04}-{:016x}{SUFFIX}", header.shard, setup.instance);
    let path = dir.join(name);
    let filled = config.journal.durability == Durability::Machine;
    let made = MappedFile::create(&path, &header.page(), layout(geometry));
    let file = made.and_then(|mut file| {
        if filled {
            file.fill(PAGE_BYTES)?;
        }
        Ok(file)
    });
    let file = file.with_context(|| {
        let shown = path.display();
        format!("failed to make the journal {shown}; make room, or name another --journal-dir")
    })?;
    Ok(Made {
        path,
        header,
        words: Arc::new(Shared(file.words())),
        synced: filled.then(|| file.file()),
        memory: Box::new(Mapped {
            file,
            geometry,
            filled,
        }),
    })
}

/// Brings a file to the disk.
fn sync(path: &Path) -> anyhow::Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_data());
    synced.with_context(|| format!("failed to sync the journal {}", path.display()))
}

/// A boot of the machine as a journal's header names it.
fn name_of(boot: &str) -> u64 {
    let digits: String = boot.chars().filter(char::is_ascii_hexdigit).collect();
    let first = digits.get(..16).map(|first| u64::from_str_radix(first, 16));
    first.and_then(Result::ok).unwrap_or(0)
}

/// Records that are not done.
fn undone(words: &[AtomicU64]) -> Vec<(u32, u64)> {
    let live = (0..).zip(words).filter_map(|(index, stored)| {
        let stored = stored.load(Ordering::Acquire);
        let done = word(stored >> 16, State::Done);
        (stored != 0 && stored != done).then_some((index, done))
    });
    live.collect()
}

/// An old file, read.
struct Found {
    header: Header,
    mapped: MappedFile,
    live: Vec<Live>,
    /// Something in it is lost.
    lost: bool,
    /// The machine has died since: states may be older than they were, and what was not synced may
    /// be damaged. The window of that time is known by the `running` file.
    is_stale: bool,
}

/// Reads an old file. `None` if it is no journal, which is reported and left. `boot`: names the
/// machine's boot now.
fn look(path: &Path, boot: u64) -> anyhow::Result<Option<Found>> {
    let shown = path.display();
    let front = front_of(path).with_context(|| format!("failed to read the journal {shown}"))?;
    let (header, damaged) = match Header::read(&front) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!("{shown} is left as it is: {error}");
            return Ok(None);
        }
    };
    let mapped = MappedFile::open(path, layout(header.geometry))
        .with_context(|| format!("failed to map the journal {shown}"))?;
    let words = mapped.words();
    let words: Vec<u64> = words
        .get()
        .iter()
        .map(|w| w.load(Ordering::Acquire))
        .collect();
    let is_stale = ![0, boot].contains(&header.boot);
    let scan = if is_stale { scan_stale } else { scan };
    let Scanned { live, damage, .. } = scan(&header, &words, mapped.data());
    if damaged {
        tracing::error!("the journal {shown} is damaged: {}", Damage::Header);
    }
    if is_stale && let Some(first) = damage.first() {
        let count = damage.len();
        tracing::warn!(
            count,
            "the machine died while {shown} was written, and some of it is torn: {first}"
        );
    } else {
        for found in &damage {
            tracing::error!("the journal {shown} is damaged: {found}");
        }
    }
    Ok(Some(Found {
        header,
        mapped,
        live,
        lost: !is_stale && !damage.is_empty(),
        is_stale,
    }))
}

/// Takes over what an old file holds; see [`look`].
fn take_over(
    path: &Path,
    file: usize,
    boot: u64,
) -> anyhow::Result<Option<(Kept, Vec<Unsettled>, u64)>> {
    let Some(found) = look(path, boot)? else {
        return Ok(None);
    };
    let file = u16::try_from(file).map_err(|_| anyhow!("there are too many old journals"))?;
    let mut kept = Kept {
        path: path.to_owned(),
        words: Arc::new(Shared(found.mapped.words())),
        left: Vec::new(),
        damaged: found.lost,
    };
    let mut records = Vec::new();
    for live in found.live {
        let Some(id) = NonZeroU64::new(live.id) else {
            continue;
        };
        let state = match found.is_stale {
            true => certain(live.state, live.nature),
            false => live.state,
        };
        if found.is_stale || state.is_none() {
            // its word is damaged or older than the record: from here on it is this record's
            let stored = kept.words.words().get(live.word as usize);
            let Some(stored) = stored else {
                continue; // cut off: the window of time has to do for it
            };
            // of a change of the schema SENT would say that it is in the spill
            let unknown = match live.nature.kind.is_barrier() {
                true => State::Intent,
                false => State::Sent,
            };
            let word = word(live.id, state.unwrap_or(unknown));
            stored.store(word, Ordering::Release);
        }
        kept.left.push((live.word, word(live.id, State::Done)));
        let body = found.mapped.data().get(live.body).unwrap_or_default();
        records.push(Unsettled {
            place: Place {
                file,
                word: live.word,
                id,
            },
            state,
            nature: live.nature,
            change: None,
            body: body.to_vec(),
        });
    }
    Ok(Some((kept, records, found.header.created_us)))
}

fn front_of(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let mut front = Vec::new();
    file.take(PAGE_BYTES as u64).read_to_end(&mut front)?;
    Ok(front)
}

fn layout(geometry: Geometry) -> Layout {
    Layout {
        words_at: PAGE_BYTES,
        words: geometry.words(),
        data_at: geometry.data_at(),
        data_bytes: geometry.data_bytes(),
    }
}

/// Makes the directory if there is none, and takes its lock.
fn prepare_dir(dir: &Path) -> anyhow::Result<File> {
    let shown = dir.display();
    if let Err(found) = preflight::journal::prepare(dir) {
        bail!("{found}");
    }
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(dir.join(LOCK_NAME))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "the journal directory {shown} is in use by another process; each proxy needs its own \
             --journal-dir"
        ),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The journals in a directory, the oldest name first.
fn list(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(SUFFIX)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
