//! Limits and file systems of the machine, as the start checks need them.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many files this process may have open: sockets are files too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit in force.
    pub soft: u64,
    /// What the process may raise it to.
    pub hard: u64,
}

/// Raises the limit of open files to what the process may have, and says what holds then.
///
/// # Errors
/// What the kernel answers; not expected for the process's own limit.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the one structure that the call writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is valid for the one structure that the call reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(OpenFiles {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

/// The kernel's name for this boot of the machine, as random(4) has it; empty if it cannot be read.
#[must_use]
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.unwrap_or_default().trim().to_owned()
}

/// Bytes that this user can still write to the file system that holds `path`.
///
/// # Errors
/// What the kernel answers, for example that there is no such path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all bits zero is a valid value of this structure of numbers.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte; `stat` is valid for what the call writes.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether a path lies on a file system that lives in memory.
#[must_use]
pub fn is_in_memory(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: all bits zero is a valid value of this structure of numbers.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte; `stat` is valid for what the call writes.
    let told = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    told == 0 && stat.f_type == libc::TMPFS_MAGIC
}

/// The user that this process acts as.
#[must_use]
pub fn effective_uid() -> u32 {
    // SAFETY: no arguments, no memory.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let files = raise_open_files().unwrap();
        assert_eq!(files.soft, files.hard);
        assert_eq!(raise_open_files().unwrap(), files);
    }

    #[test]
    fn free_space_is_known_where_there_is_a_file_system() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        assert!(free_bytes(Path::new("/does/not/exist")).is_err());
        assert!(free_bytes(Path::new("/a\0b")).is_err());
    }

    #[test]
    fn memory_is_told_from_disks() {
        assert!(!is_in_memory(Path::new("/proc")));
        assert!(!is_in_memory(Path::new("/does/not/exist")));
    }

    #[test]
    fn the_user_is_the_owner_of_its_files() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile().unwrap();
        assert_eq!(file.metadata().unwrap().uid(), effective_uid());
    }
}
