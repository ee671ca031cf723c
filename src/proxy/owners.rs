//! Among how many shards the tables whose writes keep an order are dealt out.
//!
//! The order holds because all such writes of a table go through one shard, its owner, and wait in
//! that shard's spill. A process that deals the tables out otherwise, among more or fewer shards,
//! finds them in the spill of another: then one shard drains all that is left, the oldest first,
//! and owns all tables, until a process begins with nothing left. The same goes for a process
//! after a stop: a shard that stops puts such writes into its own spill, since their owner may have
//! ended.
//!
//! ```text
//! DATA_DIR/owners     the number of shards; not there after a stop
//! ```

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

use crate::spill::dir::{replace_file, sync_dir};

/// Name of the file.
const FILE: &str = "owners";

/// Gives the number for a process with `shards` shards. `backlog`: earlier ones have left some.
///
/// # Errors
/// The file cannot be read.
pub(super) fn choose(data_dir: &Path, shards: usize, backlog: bool) -> anyhow::Result<usize> {
    let path = data_dir.join(FILE);
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(), // anything else: as if it were not there
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", path.display()));
        }
    };
    match backlog && before != Some(shards) {
        true => Ok(1),
        false => Ok(shards),
    }
}

/// Notes the number, before any write can be spilled. A disk that is too full for that counts as a
/// process that has stopped.
pub(super) fn note(data_dir: &Path, owners: usize) {
    if let Err(error) = replace_file(&data_dir.join(FILE), format!("{owners}\n").as_bytes()) {
        tracing::warn!("who owns which tables cannot be noted: {error}");
        forget(data_dir);
    }
}

/// The shards are about to stop.
pub fn forget(data_dir: &Path) {
    let removed = fs::remove_file(data_dir.join(FILE)).map_err(|error| error.kind());
    if let Ok(()) | Err(io::ErrorKind::NotFound) = removed
        && sync_dir(data_dir).is_ok()
    {
        return;
    }
    tracing::error!(
        data = %data_dir.display(),
        "the file `{FILE}` cannot be removed there: remove it before the next start"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stay_with_their_owners_or_one_shard_has_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert_eq!(choose(path, 3, false).unwrap(), 3);
        assert_eq!(choose(path, 3, true).unwrap(), 1, "nothing is known of it");
        note(path, 3);
        assert_eq!(choose(path, 3, true).unwrap(), 3);
        assert_eq!(choose(path, 4, true).unwrap(), 1);
        assert_eq!(choose(path, 4, false).unwrap(), 4);
        note(path, 1); // of three
        assert_eq!(choose(path, 3, true).unwrap(), 1, "until nothing is left");
        assert_eq!(choose(path, 1, true).unwrap(), 1);
        forget(path);
        forget(path);
        assert_eq!(choose(path, 3, true).unwrap(), 1, "a stop");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = choose(dir.path(), 2, true).unwrap_err();
        assert!(format!("{error:#}").contains("owners"), "{error:#}");
        fs::remove_dir(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(FILE), "two").unwrap();
        assert_eq!(choose(dir.path(), 2, true).unwrap(), 1);
    }
}
