//! What of a copy is done, in a file that survives the process: lines of JSON, each synced before
//! the copy goes on. Starting anew reads it and leaves out what is done.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::report::Tally;
use crate::history::tokens::TokenRange;

const FORMAT: u32 = 1;

/// The first line: of which copy this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: u32,
    /// When the copy first began, µs.
    pub began_us: i64,
    /// All that makes two copies different.
    pub copy: Identity,
}

/// What must be the same for a copy to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub source: String,
    pub target: String,
    pub keyspace: String,
    pub rules: String,
}

/// A line: a token range that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub table: String,
    pub pass: String,
    pub after: i64,
    pub up_to: i64,
    #[serde(flatten)]
    pub tally: Tally,
}

impl Done {
    pub(super) fn range(&self) -> TokenRange {
        TokenRange {
            after: self.after,
            up_to: self.up_to,
        }
    }
}

/// The open file.
pub(super) struct Checkpoint {
    path: PathBuf,
    file: File,
    pub header: Header,
    /// What earlier runs did.
    pub done: Vec<Done>,
    /// There was an earlier run, which may have done more than it wrote down.
    pub was_there: bool,
}

impl Checkpoint {
    /// Opens the file, or creates it; `restart` empties it.
    ///
    /// Fails when another process has it, or when it is of another copy.
    pub(super) fn open(
        path: &Path,
        identity: Identity,
        now_us: i64,
        restart: bool,
    ) -> Result<Checkpoint> {
        let what = || format!("checkpoint {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.mode(0o600).open(path).with_context(what)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another copy is running with it", what())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        if restart {
            file.set_len(0).with_context(what)?;
        }
        let (header, done, length) = read(&file).with_context(what)?;
        let header = match header {
            Some(header) => {
                if header.format != FORMAT || header.copy != identity {
                    bail!(
                        "{} is of another copy ({:?}, now {:?}); give another --checkpoint, or \
                         --restart to forget it",
                        what(),
                        header.copy,
                        identity
                    );
                }
                header
            }
            None => Header {
                format: FORMAT,
                began_us: now_us,
                copy: identity,
            },
        };
        // What a dying process left half written goes.
        file.set_len(length).with_context(what)?;
        file.seek(SeekFrom::End(0)).with_context(what)?;
        let mut checkpoint = Checkpoint {
            path: path.to_owned(),
            file,
            header: header.clone(),
            done,
            was_there: length > 0,
        };
        if length == 0 {
            checkpoint.append(&header)?;
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            File::open(parent.unwrap_or(Path::new(".")))
                .and_then(|dir| dir.sync_all())
                .with_context(what)?;
        }
        Ok(checkpoint)
    }

    /// Writes down that a range is done, and waits until that is on disk.
    pub(super) fn add(&mut self, done: &Done) -> Result<()> {
        self.append(done)
    }

    fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot write to checkpoint {}", self.path.display()))
    }
}

/// The header, the lines, and how many bytes of the file are whole lines.
fn read(file: &File) -> Result<(Option<Header>, Vec<Done>, u64)> {
    let mut reader = BufReader::new(file);
    let (mut header, mut done, mut length) = (None, Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((header, done, length));
        }
        let number = done.len() + usize::from(header.is_some()) + 1;
        let broken = || format!("line {number} makes no sense; --restart begins anew");
        match &header {
            None => header = Some(serde_json::from_slice(&line).with_context(broken)?),
            Some(_) => done.push(serde_json::from_slice(&line).with_context(broken)?),
        }
        length += u64::try_from(read)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(rules: &str) -> Identity {
        Identity {
            source: "old".into(),
            target: "new".into(),
            keyspace: "ks".into(),
            rules: rules.into(),
        }
    }

    fn done(after: i64) -> Done {
        Done {
            table: "t".into(),
            pass: "rows".into(),
            after,
            up_to: after + 10,
            tally: Tally {
                rows: 3,
                ..Tally::default()
            },
        }
    }

    #[test]
    fn what_was_done_is_known_after_any_cut_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let open = || Checkpoint::open(&path, identity("a"), 7, false);
        let mut checkpoint = open().unwrap();
        checkpoint.add(&done(0)).unwrap();
        checkpoint.add(&done(10)).unwrap();
        assert!(open().is_err(), "two at once");
        drop(checkpoint);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').collect();
        for cut in (ends[0] + 1..=whole.len()).rev() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let lines = ends.iter().filter(|end| **end < cut).count();
            let mut checkpoint = open().unwrap();
            assert_eq!(checkpoint.done.len(), lines - 1, "cut at {cut}");
            checkpoint.add(&done(20)).unwrap();
            drop(checkpoint);
            let checkpoint = open().unwrap();
            assert_eq!(checkpoint.done.len(), lines);
            assert_eq!(checkpoint.done.last().unwrap().after, 20);
            assert_eq!(checkpoint.header.began_us, 7);
        }
    }

    #[test]
    fn another_copys_file_is_refused_unless_it_may_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let mut checkpoint = Checkpoint::open(&path, identity("a"), 7, false).unwrap();
        checkpoint.add(&done(0)).unwrap();
        drop(checkpoint);
        assert!(Checkpoint::open(&path, identity("b"), 8, false).is_err());
        let checkpoint = Checkpoint::open(&path, identity("b"), 8, true).unwrap();
        assert_eq!((checkpoint.done.len(), checkpoint.header.began_us), (0, 8));
    }
}
