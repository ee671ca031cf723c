//! Where the journal is, and what its directory must be like.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Finding, file_system, finding};
use crate::config::{Durability, ProxyConfig};
use crate::limits;
use crate::sys::machine;

/// Where the journal is: as configured, else in memory, if there is a memory file system with room,
/// else in the data directory.
#[must_use]
pub fn directory(config: &ProxyConfig) -> PathBuf {
    if let Some(dir) = &config.journal.dir {
        return dir.clone();
    }
    let on_disk = config.data_dir.join("journal");
    if config.journal.durability != Durability::Process {
        return on_disk;
    }
    let memory = Path::new("/dev/shm");
    let least = least_bytes(config);
    if !machine::is_in_memory(memory) || machine::free_bytes(memory).is_ok_and(|free| free < least)
    {
        return on_disk;
    }
    let data_dir = fs::canonicalize(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let name = data_dir.as_os_str().as_encoded_bytes();
    // FNV-1a: the same name for the same directory in all versions
    let hash = name.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    memory.join(format!("twinring-{}-{hash:016x}", machine::effective_uid()))
}

/// What the journals of all shards take at the start (bytes).
fn least_bytes(config: &ProxyConfig) -> u64 {
    let shards = config.cores.len() as u64;
    match config.journal.durability {
        Durability::None => 0,
        Durability::Process => {
            let warm = limits::JOURNAL_WARM_BLOCKS * limits::JOURNAL_BLOCK_BYTES * 2;
            warm as u64 * shards
        }
        Durability::Machine => most_bytes(config),
    }
}

/// What they may come to take (bytes): data, and a word for each 128 bytes of it.
fn most_bytes(config: &ProxyConfig) -> u64 {
    let bytes = config.journal.bytes as u64;
    (bytes + bytes / 16 + (1 << 16)) * config.cores.len() as u64
}

/// Looks whether the journal can be where it shall be. Changes nothing: the directory is made once
/// the data directory is ours.
///
/// # Errors
/// It cannot: what is wrong and what mends it.
pub fn check(config: &ProxyConfig) -> Result<Option<Finding>, Finding> {
    let dir = directory(config);
    let there = dir.ancestors().find(|path| path.is_dir());
    let there = there.unwrap_or(Path::new("."));
    if there == dir {
        belongs_to_us(&dir)?;
    }
    let durability = config.journal.durability;
    if durability == Durability::Machine && machine::is_in_memory(there) {
        let kind = file_system(there);
        return Err(finding(
            format!(
                "--durability machine: the journal directory {} is in memory ({}), and would go \
                 with the machine",
                dir.display(),
                kind.as_deref().unwrap_or("a memory file system")
            ),
            "name a --journal-dir or --data-dir on a disk, or choose --durability process",
        ));
    }
    room(config, there)
}

/// Makes the directory if there is none. Only its owner may look into it.
///
/// # Errors
/// It cannot be made, or others may look into it.
pub fn prepare(dir: &Path) -> Result<(), Finding> {
    let shown = dir.display();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| {
        finding(
            format!("the journal directory {shown} cannot be made: {error}"),
            format!("run `install -d -m 700 -o $(id -un) {shown}`, or name another --journal-dir"),
        )
    })?;
    belongs_to_us(dir)
}

fn belongs_to_us(dir: &Path) -> Result<(), Finding> {
    let shown = dir.display();
    let meta = fs::symlink_metadata(dir).map_err(|error| {
        finding(
            format!("the journal directory {shown} cannot be looked at: {error}"),
            "name another --journal-dir",
        )
    })?;
    let ours = meta.is_dir() && meta.uid() == machine::effective_uid();
    if ours && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(finding(
        format!(
            "the journal directory {shown} is not ours alone (mode {:o}, owner {}); it holds what \
             clients write",
            meta.mode() & 0o777,
            meta.uid()
        ),
        format!(
            "run `chown $(id -un) {shown} && chmod 700 {shown}`, or name another --journal-dir"
        ),
    ))
}

fn room(config: &ProxyConfig, dir: &Path) -> Result<Option<Finding>, Finding> {
    let Ok(free) = machine::free_bytes(dir) else {
        return Ok(None); // making the files will tell
    };
    let found = |bytes: u64| {
        finding(
            format!(
                "{} MiB are free at {} ({}) for the journal, which takes {} MiB",
                free >> 20,
                dir.display(),
                file_system(dir).as_deref().unwrap_or("unknown file system"),
                bytes >> 20
            ),
            "make room, name another --journal-dir, or lower --journal-bytes",
        )
    };
    let (least, most) = (least_bytes(config), most_bytes(config));
    if free < least {
        return Err(found(least));
    }
    let may_lack = config.journal.durability == Durability::Process && free < most;
    Ok(may_lack.then(|| found(most)))
}
