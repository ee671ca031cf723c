//! The disk: real files in a folder of the seed's own, behind operations that take time, fail, are
//! cut short by the end of the process, and, by a crash of the machine, lose what was not synced.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use twinring::journal::format::PAGE_BYTES;
use twinring::shard::disk::{Disk, Ended};
use twinring::spill::Batch;

use crate::random::Rng;

enum Job {
    Append {
        path: PathBuf,
        batch: Batch,
        ended: Ended<(Batch, Result<(), String>)>,
    },
    Read {
        path: PathBuf,
        offset: u64,
        size: usize,
        ended: Ended<Result<Vec<u8>, String>>,
    },
    Store {
        path: PathBuf,
        bytes: Vec<u8>,
        finished: Vec<(PathBuf, bool)>,
        ended: Ended<Result<(), String>>,
    },
}

/// What the disk does wrong now.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFaults {
    /// Writes that fail, of a thousand.
    pub write_errors: u64,
    /// Reads that fail, of a thousand.
    pub read_errors: u64,
    /// Nothing fits any more.
    pub full: bool,
    /// Operations take up to this long (µs).
    pub slow_us: i64,
}

struct State {
    root: PathBuf,
    jobs: BTreeMap<u64, Job>,
    fresh: Vec<u64>,
    next: u64,
    rng: Rng,
    faults: DiskFaults,
    /// What each file holds after a crash of the machine.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    /// What journals held when they could not be brought to the disk: the kernel takes it for
    /// written, and no later sync writes it, unless it is stored anew.
    dropped: BTreeMap<PathBuf, Vec<u8>>,
}

/// See the module; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

impl SimDisk {
    pub fn new(root: &Path, rng: Rng) -> Self {
        Self(Rc::new(RefCell::new(State {
            root: root.to_owned(),
            jobs: BTreeMap::new(),
            fresh: Vec::new(),
            next: 0,
            rng,
            faults: DiskFaults::default(),
            durable: BTreeMap::new(),
            dropped: BTreeMap::new(),
        })))
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Jobs that have just begun, with how long each takes (µs).
    pub fn take_fresh(&self) -> Vec<(u64, i64)> {
        let mut state = self.0.borrow_mut();
        let fresh = std::mem::take(&mut state.fresh);
        let slow_us = state.faults.slow_us;
        let took = |rng: &mut Rng| match slow_us {
            0 => rng.range(100, 15_000),
            slow_us => rng.range(1_000, slow_us),
        };
        fresh
            .into_iter()
            .map(|job| (job, took(&mut state.rng)))
            .collect()
    }

    /// Does a job, and tells its owner. False if it is no more.
    pub fn run(&self, job: u64) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(job) = state.jobs.remove(&job) else {
            return false;
        };
        // nothing is called while the state is borrowed: the owner may start the next job
        match job {
            Job::Append { path, batch, ended } => {
                let result = state.append(&path, &batch);
                drop(state);
                ended((batch, result));
            }
            Job::Read {
                path,
                offset,
                size,
                ended,
            } => {
                let result = state.read(&path, offset, size);
                drop(state);
                ended(result);
            }
            Job::Store {
                path,
                bytes,
                finished,
                ended,
            } => {
                let result = state.store(&path, &bytes, &finished);
                drop(state);
                ended(result);
            }
        }
        true
    }

    /// A journal has come to the disk.
    pub fn synced(&self, path: PathBuf, mut bytes: Vec<u8>) {
        let mut state = self.0.borrow_mut();
        if let Some(dropped) = state.dropped.get(&path) {
            let old = state.durable.get(&path).cloned();
            let old = old.unwrap_or_else(|| as_made(&bytes));
            let sectors = old.chunks(SECTOR_BYTES).zip(dropped.chunks(SECTOR_BYTES));
            for (sector, (old, dropped)) in bytes.chunks_mut(SECTOR_BYTES).zip(sectors) {
                if sector == dropped {
                    sector.copy_from_slice(old);
                }
            }
        }
        state.durable.insert(path, bytes);
    }

    /// A journal could not be brought to the disk, as far as it was not there.
    pub fn not_synced(&self, path: PathBuf, bytes: Vec<u8>) {
        self.0.borrow_mut().dropped.insert(path, bytes);
    }

    /// Writes that fail now, of a thousand.
    pub fn write_errors(&self) -> u64 {
        self.0.borrow().faults.write_errors
    }

    /// Whether something is being written.
    pub fn is_writing(&self) -> bool {
        let state = self.0.borrow();
        state
            .jobs
            .values()
            .any(|job| !matches!(job, Job::Read { .. }))
    }

    /// The number of the next job that is begun.
    pub fn next_job(&self) -> u64 {
        self.0.borrow().next
    }

    /// The process has ended: what was under way is done in part, and nobody is told. `end`: the
    /// first job that was not begun.
    pub fn kill(&self, end: Option<u64>) {
        let mut state = self.0.borrow_mut();
        state.fresh.clear();
        for (name, job) in std::mem::take(&mut state.jobs) {
            if end.is_some_and(|end| name >= end) {
                continue;
            }
            match job {
                Job::Append { path, batch, .. } => state.append_part(&path, &batch),
                Job::Store {
                    path,
                    bytes,
                    finished,
                    ..
                } => {
                    let stages = 3 + finished.len();
                    let stage = state.rng.below(stages);
                    let _ = state.store_to(&path, &bytes, &finished, stage);
                }
                Job::Read { .. } => {}
            }
        }
    }

    /// The machine has crashed, after [`Self::kill`]: what was not synced is lost, in part.
    pub fn crash(&self) {
        let mut state = self.0.borrow_mut();
        let root = state.root.clone();
        let mut seen = BTreeSet::new();
        for path in files_below(&root) {
            let cached = fs::read(&path).unwrap();
            seen.insert(path.clone());
            if path.extension().is_some_and(|end| end == "journal") {
                state.tear(&path, cached);
                continue;
            }
            let Some(durable) = state.durable.get(&path).cloned() else {
                if state.is_spill(&path) {
                    fs::remove_file(&path).unwrap();
                }
                continue; // what the start made was synced
            };
            let mut after = durable;
            if let Some(tail) = cached.get(after.len()..) {
                let count = state.rng.below(tail.len() + 1);
                match state.rng.below(3) {
                    0 => {}
                    1 => after.extend_from_slice(&tail[..count]),
                    _ => after.resize(after.len() + count, 0), // length kept, content lost
                }
            }
            fs::write(&path, after).unwrap();
        }
        let gone: Vec<_> = state.durable.keys().cloned().collect();
        for path in gone.into_iter().filter(|path| !seen.contains(path)) {
            let is_journal = path.extension().is_some_and(|end| end == "journal");
            if is_journal && state.rng.chance(500) {
                state.durable.remove(&path); // that it was taken away is on the disk
            } else {
                fs::write(&path, &state.durable[&path]).unwrap();
            }
        }
    }
}

pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// A journal as it came to the disk when it was made: zeros behind a header.
fn as_made(bytes: &[u8]) -> Vec<u8> {
    let mut made = bytes.to_vec();
    made[PAGE_BYTES..].fill(0);
    made
}

impl State {
    /// A crash of the machine leaves each sector of a journal as it was synced, or newer.
    fn tear(&mut self, path: &Path, cached: Vec<u8>) {
        let durable = self.durable.get(path).cloned();
        let mut torn = durable.unwrap_or_else(|| as_made(&cached));
        let newer = self.rng.pick(&[0, 100, 500, 900]);
        let sectors = torn.chunks_mut(SECTOR_BYTES);
        for (sector, cached) in sectors.zip(cached.chunks(SECTOR_BYTES)) {
            if *sector != *cached && self.rng.chance(newer) {
                sector.copy_from_slice(cached);
            }
        }
        fs::write(path, torn).unwrap();
    }

    fn is_spill(&self, path: &Path) -> bool {
        path.extension().is_some_and(|end| end == "spill")
    }

    fn fault(&mut self) -> Option<String> {
        if self.faults.full {
            return Some("No space left on device (os error 28)".to_owned());
        }
        let errors = self.faults.write_errors;
        self.rng
            .chance(errors)
            .then(|| "Input/output error (os error 5)".to_owned())
    }

    fn append(&mut self, path: &Path, batch: &Batch) -> Result<(), String> {
        if let Some(words) = self.fault() {
            self.append_part(path, batch);
            return Err(words);
        }
        put(path, batch.offset, &batch.bytes)?;
        if batch.is_last {
            let end = batch.offset + batch.bytes.len() as u64;
            let file = fs::OpenOptions::new().write(true).open(path);
            let cut = file.and_then(|file| file.set_len(end));
            cut.map_err(|error| error.to_string())?;
        }
        let cached = fs::read(path).map_err(|error| error.to_string())?;
        let length = usize::try_from(batch.offset).unwrap() + batch.bytes.len();
        let durable = cached[..length].to_vec();
        self.durable.insert(path.to_owned(), durable);
        Ok(())
    }

    /// Some of it is in the page cache, none of it is sure to be on the disk.
    fn append_part(&mut self, path: &Path, batch: &Batch) {
        if batch.offset > 0 || self.rng.chance(700) {
            let count = self.rng.below(batch.bytes.len() + 1);
            let _ = put(path, batch.offset, &batch.bytes[..count]);
        }
    }

    fn read(&mut self, path: &Path, offset: u64, size: usize) -> Result<Vec<u8>, String> {
        let errors = self.faults.read_errors;
        if self.rng.chance(errors) {
            return Err("Input/output error (os error 5)".to_owned());
        }
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; size];
        let count = file
            .read_at(&mut bytes, offset)
            .map_err(|error| error.to_string())?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn store(
        &mut self,
        path: &Path,
        bytes: &[u8],
        finished: &[(PathBuf, bool)],
    ) -> Result<(), String> {
        let stages = 3 + finished.len();
        if let Some(words) = self.fault() {
            let stage = self.rng.below(stages);
            let _ = self.store_to(path, bytes, finished, stage);
            return Err(words);
        }
        self.store_to(path, bytes, finished, stages)
    }

    /// The first `stages` steps of a store.
    fn store_to(
        &mut self,
        path: &Path,
        bytes: &[u8],
        finished: &[(PathBuf, bool)],
        stages: usize,
    ) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let new = with_suffix(path, ".new");
        if stages < 1 {
            return Ok(());
        }
        fs::write(&new, bytes).map_err(told)?;
        if stages < 2 {
            return Ok(());
        }
        fs::rename(&new, path).map_err(told)?;
        self.durable.insert(path.to_owned(), bytes.to_vec());
        for (segment, damaged) in finished.iter().take(stages - 2) {
            self.durable.remove(segment);
            let gone = match damaged {
                true => fs::rename(segment, with_suffix(segment, ".damaged")),
                false => fs::remove_file(segment),
            };
            match gone {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn put(path: &Path, offset: u64, bytes: &[u8]) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let file = fs::OpenOptions::new()
        .write(true)
        .create(offset == 0)
        .truncate(false)
        .open(path)
        .map_err(told)?;
    file.write_all_at(bytes, offset).map_err(told)
}

impl SimDisk {
    fn begin(&self, job: Job) {
        let mut state = self.0.borrow_mut();
        let name = state.next;
        state.next += 1;
        state.jobs.insert(name, job);
        state.fresh.push(name);
    }
}

impl Disk for SimDisk {
    fn append(&self, path: PathBuf, batch: Batch, ended: Ended<(Batch, Result<(), String>)>) {
        self.begin(Job::Append { path, batch, ended });
    }

    fn read(&self, path: PathBuf, offset: u64, size: usize, ended: Ended<Result<Vec<u8>, String>>) {
        self.begin(Job::Read {
            path,
            offset,
            size,
            ended,
        });
    }

    fn store(
        &self,
        path: PathBuf,
        bytes: Vec<u8>,
        finished: Vec<(PathBuf, bool)>,
        ended: Ended<Result<(), String>>,
    ) {
        self.begin(Job::Store {
            path,
            bytes,
            finished,
            ended,
        });
    }
}
