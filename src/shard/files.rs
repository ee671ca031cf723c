//! The file operations of the spill, on the executor's own ring: none blocks the shard.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glommio::io::{BufferedFile, Directory, OpenOptions};

/// Reads up to `size` bytes at `offset`.
///
/// # Errors
/// The words of the file system.
pub async fn read(path: &Path, offset: u64, size: usize) -> Result<Vec<u8>, String> {
    let told = |error: glommio::GlommioError<()>| format!("{}: {error}", path.display());
    let file = BufferedFile::open(path).await.map_err(told)?;
    let bytes = file.read_at(offset, size).await.map_err(told)?.to_vec();
    file.close().await.map_err(told)?;
    Ok(bytes)
}

/// Replaces a small file in a way that survives a crash, then takes finished segments away: those
/// marked damaged are kept under another name.
///
/// # Errors
/// The words of the file system. The old file is there, or the new one.
pub async fn store(
    path: &Path,
    bytes: Vec<u8>,
    finished: &[(PathBuf, bool)],
) -> Result<(), String> {
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
    glommio::io::rename(&new, path).await.map_err(told)?;
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
