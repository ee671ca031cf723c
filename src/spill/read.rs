//! Reads segment files through `std::fs`: for offline tools, start-up and tests.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::dir::{DirError, SegmentFile, io_error, open_file};
use super::format::HEADER_BYTES;
use super::scan::{Event, ScanError, Scanner, Step};
use super::segment::Header;

/// Why a segment file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system says no.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The file is of a later version, or sealed with a key that is not at hand.
    #[error("{path}: {error}")]
    Scan {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ScanError,
    },
}

const CHUNK_BYTES: usize = 1 << 20;

/// A segment file, read in pieces: memory stays at the largest record and a piece.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: File,
    scanner: Scanner,
    chunk: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment at the record that begins at `offset`; any offset within the header means
    /// its first record.
    pub fn open(segment: &SegmentFile, offset: u64) -> Result<SegmentReader, ReadError> {
        let path = segment.path.as_path();
        let mut file = open_file(path)?;
        let keys = segment.keys.clone();
        let mut scanner = Scanner::with_keys(keys.clone());
        if offset > HEADER_BYTES as u64 {
            let mut header = [0; HEADER_BYTES];
            file.read_exact(&mut header)
                .map_err(io_error("read", path))?;
            let scan_error = |error| ReadError::Scan {
                path: path.to_owned(),
                error,
            };
            scanner = Scanner::resume(&header, offset, keys).map_err(scan_error)?;
            let start = std::io::SeekFrom::Start(offset);
            std::io::Seek::seek(&mut file, start).map_err(io_error("read", path))?;
        }
        Ok(SegmentReader {
            path: path.to_owned(),
            file,
            scanner,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// The next record, damage or the end; never [`Step::NeedBytes`].
    pub fn next_step(&mut self) -> Result<Step<'_>, ReadError> {
        loop {
            let event = self.scanner.next_event();
            let event = event.map_err(|error| ReadError::Scan {
                path: self.path.clone(),
                error,
            })?;
            if !matches!(event, Event::NeedBytes) {
                return Ok(self.scanner.view(event));
            }
            match self.file.read(&mut self.chunk) {
                Ok(0) => self.scanner.finish(),
                Ok(length) => self
                    .scanner
                    .push(self.chunk.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", &self.path)(error).into()),
            }
        }
    }

    /// The segment's header, once it is read and if it is good.
    pub fn header(&self) -> Option<&Header> {
        self.scanner.header()
    }
}
