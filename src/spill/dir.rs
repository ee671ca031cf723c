//! The spill directory on `std::fs`: lock, names, files. For start-up, offline tools and tests; a
//! running shard writes its segments through its own files by the steps that [`super::append`]
//! names.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::append::{Batch, SegmentWriter};
use super::seal::Keys;
use super::segment::{self, Holds};

/// Name of the lock file, which also tells a spill directory from others.
pub const LOCK_NAME: &str = "LOCK";
/// First line of the lock file.
pub const LOCK_LINE: &str = "twinring spill directory, format 1";

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Why a spill directory cannot be used. Each says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Nothing there.
    #[error(
        "{0} does not exist; give the directory that the proxy was started with as --spill-dir"
    )]
    Missing(PathBuf),
    /// Something else is there.
    #[error(
        "{0} is not a spill directory: it has no {LOCK_NAME} file that begins with {LOCK_LINE:?}"
    )]
    NotASpillDir(PathBuf),
    /// Another version's.
    #[error(
        "{path} was written in another format ({line:?}, this program knows {LOCK_LINE:?}); \
         use the version of twinring that wrote it"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// First line of its lock file.
        line: String,
    },
    /// Another process has it.
    #[error(
        "{path} is in use by process {holder}: a running proxy drains its own spill log; \
         stop it first, or let it drain"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What the lock file says about the process.
        holder: String,
    },
    /// The file system says no.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

pub(super) fn io_error<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> DirError + 'p {
    move |source| DirError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// A spill directory that this process holds the lock of.
#[derive(Debug)]
pub struct SpillDir {
    path: PathBuf,
    lock: File,
    keys: Keys,
}

impl SpillDir {
    /// Opens the directory, and makes it first if there is none. For the proxy.
    pub fn open_or_create(path: &Path) -> Result<SpillDir, DirError> {
        create_dir(path)?;
        let lock_path = path.join(LOCK_NAME);
        if !lock_path.exists() {
            let is_empty = fs::read_dir(path)
                .map_err(io_error("list", path))?
                .next()
                .is_none();
            if !is_empty {
                return Err(DirError::NotASpillDir(path.to_owned()));
            }
            let mut lock = create_file(&lock_path)?;
            writeln!(lock, "{LOCK_LINE}").map_err(io_error("write", &lock_path))?;
            lock.sync_all().map_err(io_error("sync", &lock_path))?;
            sync_dir(path)?;
        }
        SpillDir::open(path)
    }

    /// Opens a directory that must be there. For offline tools.
    pub fn open(path: &Path) -> Result<SpillDir, DirError> {
        if !path.is_dir() {
            return Err(DirError::Missing(path.to_owned()));
        }
        let lock_path = path.join(LOCK_NAME);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&lock_path);
        let mut lock = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirError::NotASpillDir(path.to_owned()));
            }
            other => other.map_err(io_error("open", &lock_path))?,
        };
        let mut text = String::new();
        let read = (&lock).take(4096).read_to_string(&mut text);
        read.map_err(io_error("read", &lock_path))?;
        let (first, holder) = text.split_once('\n').unwrap_or((&text, ""));
        if first != LOCK_LINE {
            let path = path.to_owned();
            return Err(if first.starts_with("twinring spill") {
                DirError::Format {
                    path,
                    line: first.to_owned(),
                }
            } else {
                DirError::NotASpillDir(path)
            });
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder
                    .trim()
                    .strip_prefix("pid ")
                    .unwrap_or("of another kind");
                let (path, holder) = (path.to_owned(), holder.to_owned());
                return Err(DirError::Locked { path, holder });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path)(error)),
        }
        let text = format!("{LOCK_LINE}\npid {}\n", std::process::id());
        let written = lock
            .seek(SeekFrom::Start(0))
            .and_then(|_| lock.write_all(text.as_bytes()))
            .and_then(|()| lock.set_len(text.len() as u64));
        written.map_err(io_error("write", &lock_path))?;
        Ok(SpillDir {
            path: path.to_owned(),
            lock,
            keys: Keys::default(),
        })
    }

    /// The same directory, its segments written and read with these keys.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> SpillDir {
        self.keys = keys;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shards that ever wrote here, in order.
    pub fn shards(&self) -> Result<Vec<ShardDir>, DirError> {
        let mut shards = shards_in(&self.path)?;
        for shard in &mut shards {
            shard.keys = self.keys.clone();
        }
        Ok(shards)
    }

    /// The directory of a shard, made if there is none.
    pub fn shard(&self, shard: u32) -> Result<ShardDir, DirError> {
        let path = self.path.join(segment::shard_dir_name(shard));
        create_dir(&path)?;
        sync_dir(&self.path)?;
        let keys = self.keys.clone();
        Ok(ShardDir { shard, path, keys })
    }
}

impl Drop for SpillDir {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started may hold the same open file
        // until it becomes another program. If this fails, the end of the process does it.
        let _ = self.lock.unlock();
    }
}

/// The shards of a spill directory, without taking its lock: only for looking.
pub fn shards_in(path: &Path) -> Result<Vec<ShardDir>, DirError> {
    let mut shards = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let entry = entry.map_err(io_error("list", path))?;
        let name = entry.file_name();
        if let Some(shard) = name.to_str().and_then(segment::shard_of_dir_name) {
            shards.push(ShardDir {
                shard,
                path: entry.path(),
                keys: Keys::default(),
            });
        }
    }
    shards.sort_by_key(|s| s.shard);
    Ok(shards)
}

/// A segment file in a shard's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// What it holds, by its name.
    pub holds: Holds,
    /// Its number, by its name.
    pub segment: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
    /// What it may be sealed with.
    pub keys: Keys,
}

/// The directory of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardDir {
    /// The shard.
    pub shard: u32,
    /// Where it is.
    pub path: PathBuf,
    /// What its segments are sealed with.
    pub keys: Keys,
}

impl ShardDir {
    /// The segments that hold this, in order of their numbers.
    pub fn segments(&self, holds: Holds) -> Result<Vec<SegmentFile>, DirError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io_error("list", &self.path))? {
            let entry = entry.map_err(io_error("list", &self.path))?;
            let Some((kind, segment)) = entry.file_name().to_str().and_then(segment::of_file_name)
            else {
                continue;
            };
            if kind == holds {
                let path = entry.path();
                let bytes = entry.metadata().map_err(io_error("look at", &path))?.len();
                found.push(SegmentFile {
                    holds,
                    segment,
                    bytes,
                    path,
                    keys: self.keys.clone(),
                });
            }
        }
        found.sort_by_key(|file| file.segment);
        Ok(found)
    }

    /// A number above that of each segment there is, and at least `at_least`.
    ///
    /// Give it the segment that the shard's progress names: its files may all be gone.
    pub fn next_segment(&self, holds: Holds, at_least: u64) -> Result<u64, DirError> {
        let last = self.segments(holds)?.last().map_or(0, |file| file.segment);
        Ok(at_least.max(last + 1))
    }

    /// Path of a segment.
    pub fn segment_path(&self, holds: Holds, segment: u64) -> PathBuf {
        self.path.join(segment::file_name(holds, segment))
    }

    /// Takes a segment that is wholly done out of the log. No-op if it is not there.
    pub fn retire(&self, holds: Holds, segment: u64, how: Retire) -> Result<(), DirError> {
        let path = self.segment_path(holds, segment);
        let suffix = match how {
            Retire::Remove => None,
            Retire::Done => Some(".done"),
            Retire::Damaged => Some(".damaged"),
        };
        let retired = match suffix {
            Some(suffix) => {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                fs::rename(&path, name)
            }
            None => fs::remove_file(&path),
        };
        match retired {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io_error("remove", &path)),
        }?;
        sync_dir(&self.path)
    }
}

/// What becomes of a segment that is wholly done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// It is deleted.
    Remove,
    /// It is renamed to `….spill.done`.
    Done,
    /// It is renamed to `….spill.damaged`: bytes in it could not be read.
    Damaged,
}

/// Replaces a small file: writes a new one beside it, syncs it, renames it, syncs the directory.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), DirError> {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(io_error("remove", &new))?,
    }
    let mut file = create_file(&new)?;
    file.write_all(bytes).map_err(io_error("write", &new))?;
    file.sync_all().map_err(io_error("sync", &new))?;
    fs::rename(&new, path).map_err(io_error("rename", &new))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes a directory (0700) if there is none; its parents must be there.
pub fn create_dir(path: &Path) -> Result<(), DirError> {
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(io_error("make directory", path)),
    }
}

/// Makes a new file (0600); fails if something is there, a dangling link too.
pub fn create_file(path: &Path) -> Result<File, DirError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(io_error("make", path))
}

/// Opens a file to read it; a symbolic link is not followed.
pub fn open_file(path: &Path) -> Result<File, DirError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(io_error("open", path))
}

/// Makes a new name in `path`, or the lack of an old one, survive a crash of the machine.
pub fn sync_dir(path: &Path) -> Result<(), DirError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", path))
}

/// A [`SegmentWriter`] with its files on `std::fs`.
#[derive(Debug)]
pub struct DirWriter {
    shard: ShardDir,
    holds: Holds,
    writer: SegmentWriter,
    file: Option<(PathBuf, File)>,
}

impl DirWriter {
    /// A writer into a shard's directory. `config` names what it holds and the first segment's
    /// number.
    pub fn new(shard: ShardDir, config: super::append::WriterConfig) -> DirWriter {
        let writer = SegmentWriter::new(config).with_keys(shard.keys.clone());
        DirWriter {
            shard,
            holds: config.holds,
            writer,
            file: None,
        }
    }

    /// The pure writer: append here, then [`DirWriter::flush`].
    pub fn writer(&mut self) -> &mut SegmentWriter {
        &mut self.writer
    }

    /// Writes what was appended; with `sync` it survives a crash of the machine.
    ///
    /// After an error the log on disk ends at its last good record; the writer must not be used
    /// again.
    pub fn flush(&mut self, sync: bool) -> Result<(), DirError> {
        while let Some(batch) = self.writer.take() {
            self.write(&batch)?;
            self.writer.recycle(batch.bytes);
        }
        if let Some((path, file)) = self.file.as_ref().filter(|_| sync) {
            file.sync_data().map_err(io_error("sync", path))?;
        }
        Ok(())
    }

    /// Completes the open segment and makes all safe.
    pub fn close(&mut self) -> Result<(), DirError> {
        self.writer.seal();
        self.flush(true)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), DirError> {
        if batch.offset == 0 {
            let path = self.shard.segment_path(self.holds, batch.segment);
            self.file = Some((path.clone(), create_file(&path)?));
            sync_dir(&self.shard.path)?;
        }
        let Some((path, file)) = &self.file else {
            return Ok(());
        };
        file.write_all_at(&batch.bytes, batch.offset)
            .map_err(io_error("write", path))?;
        if batch.is_last {
            file.sync_data().map_err(io_error("sync", path))?;
            self.file = None;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
