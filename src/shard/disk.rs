//! What a shard asks of its disk: jobs that never make it wait. `files` does them as tasks of the
//! executor; `tests/sim` has a disk with faults.

use std::path::PathBuf;

use crate::spill::Batch;

/// Called once when a job has ended; a job whose shard is gone calls nothing.
pub type Ended<T> = Box<dyn FnOnce(T)>;

/// The file operations of the spill. Errors are the words of the file system.
pub trait Disk {
    /// Writes a batch into the segment at `path`, creates that if the batch begins it, and makes
    /// all of it survive a crash. The last batch also ends the file: what an earlier try left
    /// behind it goes. The batch comes back.
    fn append(&self, path: PathBuf, batch: Batch, ended: Ended<(Batch, Result<(), String>)>);

    /// Reads up to `size` bytes at `offset`.
    fn read(&self, path: PathBuf, offset: u64, size: usize, ended: Ended<Result<Vec<u8>, String>>);

    /// Replaces a small file in a way that survives a crash, then takes finished segments away:
    /// those marked damaged are kept under another name. After an error the old file is there, or
    /// the new one.
    fn store(
        &self,
        path: PathBuf,
        bytes: Vec<u8>,
        finished: Vec<(PathBuf, bool)>,
        ended: Ended<Result<(), String>>,
    );
}
