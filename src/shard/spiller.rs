//! The writing end of a shard's spill log: records in memory → segments on disk, through the
//! executor's own file operations, one batch at a time.
//!
//! A batch that could not be written or synced is written again at the same place: what a failed
//! fdatasync left in the page cache may be marked clean, but bytes that are written once more are
//! dirty again. Until it succeeds the records stay in memory, and the shard holds its clients.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use glommio::io::{BufferedFile, Directory, OpenOptions};

use crate::relay::spilled;
use crate::relay::write::Write;
use crate::spill::dir::ShardDir;
use crate::spill::record::TooLarge;
use crate::spill::{Batch, Holds, Refusal, SegmentWriter};

/// Pause after a failed try (µs).
const RETRY_US: i64 = 1_000_000;

/// What the task that writes has done.
struct Ended {
    batch: Batch,
    file: Option<Rc<BufferedFile>>,
    result: Result<(), String>,
}

/// See the module.
pub struct Spiller {
    dir: ShardDir,
    holds: Holds,
    writer: SegmentWriter,
    file: Option<Rc<BufferedFile>>,
    ended: Rc<RefCell<Option<Ended>>>,
    /// Bytes of the batch that is being written.
    busy_bytes: Option<u64>,
    failed: Option<Batch>,
    retry_at_us: i64,
    reported: bool,
}

/// A segment on disk grew.
#[derive(Debug, Clone, Copy)]
pub struct Grown {
    /// Which one.
    pub segment: u64,
    /// Its length (bytes).
    pub bytes: u64,
    /// Nothing more will be written to it.
    pub complete: bool,
}

impl Spiller {
    /// Writes into `dir` what `writer` makes of it.
    #[must_use]
    pub fn new(dir: ShardDir, holds: Holds, writer: SegmentWriter) -> Self {
        Self {
            dir,
            holds,
            writer,
            file: None,
            ended: Rc::default(),
            busy_bytes: None,
            failed: None,
            retry_at_us: 0,
            reported: false,
        }
    }

    /// Takes a write. It is safe once [`Self::unsafe_bytes`] is 0.
    ///
    /// # Errors
    /// The write does not fit into a record.
    pub fn append(
        &mut self,
        write: &Write,
        refusal: Option<Refusal<'_>>,
        now_us: i64,
    ) -> Result<(), TooLarge> {
        let now_us = u64::try_from(now_us).unwrap_or_default();
        spilled::record(write, refusal, |record| {
            self.writer.append(record, now_us).map(|_| ())
        })
    }

    /// Bytes that are not on disk yet.
    #[must_use]
    pub fn unsafe_bytes(&self) -> u64 {
        let failed = self
            .failed
            .as_ref()
            .map_or(0, |batch| batch.bytes.len() as u64);
        self.writer.pending_bytes() + self.busy_bytes.unwrap_or(0) + failed
    }

    /// Completes the open segment, so that it can be drained.
    pub fn seal(&mut self) {
        self.writer.seal();
    }

    /// Length of the open segment (bytes).
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.writer.end().map_or(0, |end| end.offset)
    }

    /// Whether a segment is open that has records.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.writer.end().is_some()
    }

    /// Starts the next write if none is under way. True if a task was spawned: the executor must
    /// get its turn.
    pub fn kick(&mut self, now_us: i64) -> bool {
        if self.busy_bytes.is_some() || now_us < self.retry_at_us {
            return false;
        }
        let Some(batch) = self.failed.take().or_else(|| self.writer.take()) else {
            return false;
        };
        self.busy_bytes = Some(batch.bytes.len() as u64);
        let path = self.dir.segment_path(self.holds, batch.segment);
        let folder = self.dir.path.clone();
        let ended = self.ended.clone();
        let mut file = if batch.offset == 0 {
            None
        } else {
            self.file.clone()
        };
        glommio::spawn_local(async move {
            let result = write(&path, &folder, &batch, &mut file).await;
            *ended.borrow_mut() = Some(Ended {
                batch,
                file,
                result,
            });
        })
        .detach();
        true
    }

    /// What became of the write under way, if it has ended.
    pub fn poll(&mut self, now_us: i64) -> Option<Grown> {
        let Ended {
            batch,
            file,
            result,
        } = self.ended.borrow_mut().take()?;
        self.busy_bytes = None;
        match result {
            Ok(()) => {
                if self.reported {
                    tracing::info!(dir = %self.dir.path.display(), "the spill is written again");
                    self.reported = false;
                }
                let grown = Grown {
                    segment: batch.segment,
                    bytes: batch.offset + batch.bytes.len() as u64,
                    complete: batch.is_last,
                };
                self.file = if batch.is_last { None } else { file };
                self.writer.recycle(batch.bytes);
                Some(grown)
            }
            Err(words) => {
                if !self.reported {
                    self.reported = true;
                    tracing::error!(
                        dir = %self.dir.path.display(),
                        "the spill cannot be written: {words}; records stay in memory, clients are \
                         held back, and it is tried again every second: make room or mend the disk"
                    );
                }
                self.file = file;
                self.failed = Some(batch);
                self.retry_at_us = now_us + RETRY_US;
                None
            }
        }
    }
}

async fn write(
    path: &Path,
    folder: &Path,
    batch: &Batch,
    file: &mut Option<Rc<BufferedFile>>,
) -> Result<(), String> {
    let open = match file {
        Some(open) => open.clone(),
        None => {
            let created = batch.offset == 0;
            let opened = OpenOptions::new()
                .write(true)
                .create(created)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .buffered_open(path)
                .await;
            let opened = Rc::new(opened.map_err(|error| error.to_string())?);
            *file = Some(opened.clone());
            opened
        }
    };
    let mut written = 0;
    while written < batch.bytes.len() {
        let rest = batch.bytes.get(written..).unwrap_or_default().to_vec();
        let offset = batch.offset + written as u64;
        match open
            .write_at(rest, offset)
            .await
            .map_err(|error| error.to_string())?
        {
            0 => return Err("nothing could be written".to_owned()),
            count => written += count,
        }
    }
    open.fdatasync().await.map_err(|error| error.to_string())?;
    if batch.offset == 0 {
        let folder = Directory::open(folder)
            .await
            .map_err(|error| error.to_string())?;
        folder.sync().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
