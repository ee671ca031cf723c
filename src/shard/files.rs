//! The file operations of the spill, on the executor's own ring: none blocks the shard.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::io::{BufferedFile, Directory, OpenOptions};

use super::disk::{Disk, Ended};
use crate::spill::Batch;

/// Segments that are being written, by path: one of the backlog, one of what is rejected.
type Open = Rc<RefCell<Vec<(PathBuf, Rc<BufferedFile>)>>>;

/// The segment that was last read from, by path.
type Reading = Rc<RefCell<Option<(PathBuf, Rc<BufferedFile>)>>>;

/// The real disk.
#[derive(Default)]
pub struct Files {
    open: Open,
    reading: Reading,
    jobs: Jobs,
}

/// How many jobs are under way.
#[derive(Default, Clone)]
pub struct Jobs(Rc<Cell<usize>>);

impl Jobs {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.0.get() > 0
    }

    fn spawn(&self, job: impl Future<Output = ()> + 'static) {
        let jobs = self.clone();
        jobs.0.set(jobs.0.get() + 1);
        glommio::spawn_local(async move {
            job.await;
            jobs.0.set(jobs.0.get() - 1);
        })
        .detach();
    }
}

impl Files {
    /// Its jobs.
    pub fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }
}

impl Disk for Files {
    fn append(&self, path: PathBuf, batch: Batch, ended: Ended<(Batch, Result<(), String>)>) {
        let open = self.open.clone();
        self.jobs.spawn(async move {
            let result = append(&path, &batch, &open).await;
            if batch.is_last && result.is_ok() {
                open.borrow_mut().retain(|(other, _)| *other != path);
            }
            ended((batch, result));
        });
    }

    fn read(&self, path: PathBuf, offset: u64, size: usize, ended: Ended<Result<Vec<u8>, String>>) {
        let reading = self.reading.clone();
        self.jobs.spawn(async move {
            let result = read(&path, offset, size, &reading).await;
            if result.is_err() {
                reading.borrow_mut().take();
            }
            ended(result);
        });
    }

    fn store(
        &self,
        path: PathBuf,
        bytes: Vec<u8>,
        finished: Vec<(PathBuf, bool)>,
        ended: Ended<Result<(), String>>,
    ) {
        let mut reading = self.reading.borrow_mut();
        if finished
            .iter()
            .any(|(gone, _)| reading.as_ref().is_some_and(|(path, _)| path == gone))
        {
            reading.take(); // or its space would not be free
        }
        self.jobs
            .spawn(async move { ended(store(&path, bytes, &finished).await) });
    }
}

async fn append(path: &Path, batch: &Batch, files: &Open) -> Result<(), String> {
    let is_new = batch.offset == 0;
    if is_new {
        files.borrow_mut().retain(|(other, _)| other != path);
    }
    let known = files
        .borrow()
        .iter()
        .find(|(other, _)| other == path)
        .map(|(_, file)| file.clone());
    let open = match known {
        Some(open) => open,
        None => {
            let opened = OpenOptions::new()
                .write(true)
                .create(is_new)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .buffered_open(path)
                .await;
            let opened = Rc::new(opened.map_err(|error| error.to_string())?);
            files.borrow_mut().push((path.to_owned(), opened.clone()));
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
    if batch.is_last {
        let end = batch.offset + batch.bytes.len() as u64;
        open.truncate(end)
            .await
            .map_err(|error| error.to_string())?;
    }
    open.fdatasync().await.map_err(|error| error.to_string())?;
    if is_new && let Some(folder) = path.parent() {
        let folder = Directory::open(folder)
            .await
            .map_err(|error| error.to_string())?;
        folder.sync().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn read(path: &Path, offset: u64, size: usize, reading: &Reading) -> Result<Vec<u8>, String> {
    let told = |error: glommio::GlommioError<()>| format!("{}: {error}", path.display());
    let known = reading.borrow().as_ref().and_then(|(open, file)| {
        let same = open == path;
        same.then(|| file.clone())
    });
    let file = match known {
        Some(file) => file,
        None => {
            let file = Rc::new(BufferedFile::open(path).await.map_err(told)?);
            *reading.borrow_mut() = Some((path.to_owned(), file.clone()));
            file
        }
    };
    Ok(file.read_at(offset, size).await.map_err(told)?.to_vec())
}

async fn store(path: &Path, bytes: Vec<u8>, finished: &[(PathBuf, bool)]) -> Result<(), String> {
    let told = |error: glommio::GlommioError<()>| format!("{}: {error}", path.display());
    if let Err(full) = replace(path, bytes.clone()).await {
        // On a full disk the finished segments are what makes room. They are emptied and not yet
        // removed: their names keep their numbers from being used again under old progress.
        let whole = finished.iter().filter(|(_, damaged)| !damaged);
        let mut emptied = false;
        for (segment, _) in whole {
            let options = OpenOptions::new().write(true).buffered_open(segment).await;
            if let Ok(file) = options {
                emptied |= file.truncate(0).await.is_ok();
                let _ = file.close().await; // what matters is told by the next try
            }
        }
        if !emptied {
            return Err(full);
        }
        replace(path, bytes).await?;
    }
    for (segment, damaged) in finished {
        if *damaged {
            let mut kept = segment.clone().into_os_string();
            kept.push(".damaged");
            gone_is_fine(glommio::io::rename(segment, &PathBuf::from(kept)).await).map_err(told)?;
        } else {
            gone_is_fine(glommio::io::remove(segment).await).map_err(told)?;
        }
    }
    if let Some(folder) = path.parent() {
        let folder = Directory::open(folder).await.map_err(told)?;
        folder.sync().await.map_err(told)?;
        folder.close().await.map_err(told)?;
    }
    Ok(())
}

/// Puts a new file in the place of an old one.
async fn replace(path: &Path, bytes: Vec<u8>) -> Result<(), String> {
    let told = |error: glommio::GlommioError<()>| format!("{}: {error}", path.display());
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .buffered_open(&new)
        .await
        .map_err(told)?;
    let length = bytes.len();
    if file.write_at(bytes, 0).await.map_err(told)? != length {
        return Err(format!("{}: written in part only", new.display()));
    }
    file.fdatasync().await.map_err(told)?;
    file.close().await.map_err(told)?;
    glommio::io::rename(&new, path).await.map_err(told)
}

/// An earlier try may have taken the file away already.
fn gone_is_fine(
    result: Result<(), glommio::GlommioError<()>>,
) -> Result<(), glommio::GlommioError<()>> {
    match result {
        Err(glommio::GlommioError::EnhancedIoError { source, .. })
            if source.kind() == ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(glommio::GlommioError::IoError(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
