//! Reads a segment: bytes in, records and damage out. Never changes the log.
//!
//! Call order: [`Scanner::push`] some bytes, then [`Scanner::next_step`] until it says
//! [`Step::NeedBytes`]; after the last bytes of the file [`Scanner::finish`], then go on until
//! [`Step::End`]. A segment that is still written to is simply never finished.
//!
//! A bad place with a good record somewhere behind it is [`Step::Damage`]; a bad place with nothing good
//! behind it is a torn tail, which a crash leaves behind: [`Ending::TornTail`].

use super::format::{self, Framed, HEADER_BYTES, Seeds};
use super::record::{self, Record};
use super::segment::{Header, HeaderError};

/// Bytes that are no good record, between good ones (or before the first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Offset of the first bad byte.
    pub from: u64,
    /// Offset of the next good record; equal to `from` if records are missing without a trace.
    pub to: u64,
    /// How many records are lost, if the numbers of their neighbours tell.
    pub records: Option<u64>,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Right behind its last record.
    Clean,
    /// With bytes that are no good record.
    TornTail {
        /// Offset of the first of them: the place to cut.
        from: u64,
        /// Offset of the end of the file.
        to: u64,
    },
}

/// What the scanner found next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Push more bytes, or finish.
    NeedBytes,
    /// A good record.
    Record {
        /// Offset of its first byte in the segment.
        offset: u64,
        /// Offset behind its last byte.
        end: u64,
        /// The record, borrowed from the scanner's buffer.
        record: Record<'a>,
    },
    /// Damage; the scan goes on behind it.
    Damage(Damage),
    /// Nothing more will come.
    End(Ending),
}

/// The segment cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A later version of the program wrote it.
    #[error("the segment has format version {0}, this program reads version {v}", v = format::FORMAT_VERSION)]
    Version(u16),
}

/// Reads one segment from its first byte, or from a record on.
#[derive(Debug)]
pub struct Scanner {
    buffer: Vec<u8>,
    head: usize,
    /// Offset in the segment of `buffer[head]`.
    offset: u64,
    seeds: Option<Seeds>,
    header: Option<Header>,
    finished: bool,
    bad_from: Option<u64>,
    /// Number that the next record must have, once that is known.
    expected: Option<u64>,
}

/// The buffer is moved to its front when this much of it has been read.
const COMPACT_BYTES: usize = 1 << 20;

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner for a whole segment; push it from its first byte on.
    pub fn new() -> Scanner {
        Scanner {
            buffer: Vec::new(),
            head: 0,
            offset: 0,
            seeds: None,
            header: None,
            finished: false,
            bad_from: None,
            expected: None,
        }
    }

    /// A scanner that begins at `offset`, where a record starts; push it from there on.
    ///
    /// `header` is the front of the same segment.
    pub fn resume(header: &[u8; HEADER_BYTES], offset: u64) -> Result<Scanner, ScanError> {
        let mut scanner = Scanner {
            offset,
            ..Scanner::new()
        };
        scanner.read_header(header)?;
        scanner.bad_from = None;
        scanner.expected = None;
        Ok(scanner)
    }

    /// The segment's header, once it is read and if it is good.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Offset up to which the segment has been read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Offset of the next byte to push.
    pub fn wanted_offset(&self) -> u64 {
        self.offset + (self.buffer.len() - self.head) as u64
    }

    /// Gives the scanner the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.head > COMPACT_BYTES.max(self.buffer.len() / 2) || self.head == self.buffer.len() {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that no more bytes will come.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// What comes next. Fails only on a segment of a later version.
    pub fn next_step(&mut self) -> Result<Step<'_>, ScanError> {
        if self.seeds.is_none() {
            match self
                .buffer
                .get(self.head..)
                .and_then(<[u8]>::first_chunk::<HEADER_BYTES>)
            {
                Some(header) => {
                    let header = *header;
                    self.read_header(&header)?;
                    self.advance(HEADER_BYTES);
                }
                None if !self.finished => return Ok(Step::NeedBytes),
                None => return Ok(Step::End(self.end_short())),
            }
        }
        let Some(seeds) = self.seeds else {
            return Ok(Step::NeedBytes);
        };
        loop {
            let rest = self.buffer.get(self.head..).unwrap_or_default();
            match format::check(rest, seeds) {
                Framed::Good { body } => {
                    let total = body.end;
                    match self.judge(body) {
                        Judged::Bad => self.pass_over(total),
                        Judged::After(damage) => return Ok(Step::Damage(damage)),
                        Judged::Good => return Ok(self.emit(total)),
                    }
                }
                Framed::BadBody { total_bytes } => self.pass_over(total_bytes),
                Framed::Short if !self.finished => return Ok(Step::NeedBytes),
                Framed::Short if rest.is_empty() => return Ok(Step::End(self.ending())),
                Framed::Short | Framed::NotARecord => {
                    if let Some(step) = self.resynchronise() {
                        return Ok(step);
                    }
                }
            }
        }
    }

    fn read_header(&mut self, bytes: &[u8; HEADER_BYTES]) -> Result<(), ScanError> {
        match Header::decode(bytes) {
            Ok(header) => {
                self.expected = Some(header.segment << 32);
                self.header = Some(header);
            }
            Err(HeaderError::Version(version)) => return Err(ScanError::Version(version)),
            Err(HeaderError::Damaged) => self.bad_from = Some(self.offset),
        }
        self.seeds = Some(Seeds::of(bytes));
        Ok(())
    }

    /// Decides about a record with good checksums; damage before it is told first.
    fn judge(&mut self, body: std::ops::Range<usize>) -> Judged {
        let at = self.head + body.start..self.head + body.end;
        let Some(Ok(record)) = self.buffer.get(at).map(record::decode) else {
            return Judged::Bad;
        };
        let missing = self
            .expected
            .map(|expected| record.sequence.saturating_sub(expected));
        self.expected = Some(record.sequence);
        match (self.bad_from.take(), missing) {
            (Some(from), records) => Judged::After(Damage {
                from,
                to: self.offset,
                records,
            }),
            (None, Some(lost)) if lost > 0 => Judged::After(Damage {
                from: self.offset,
                to: self.offset,
                records: Some(lost),
            }),
            _ => Judged::Good,
        }
    }

    fn emit(&mut self, total: usize) -> Step<'_> {
        let start = self.head;
        let offset = self.offset;
        self.advance(total);
        let body = self
            .buffer
            .get(start + format::FRAME_BYTES..start + total)
            .unwrap_or_default();
        match record::decode(body) {
            Ok(record) => {
                self.expected = record.sequence.checked_add(1);
                Step::Record {
                    offset,
                    end: offset + total as u64,
                    record,
                }
            }
            // `judge` has just decoded the same bytes.
            Err(_) => Step::NeedBytes,
        }
    }

    fn pass_over(&mut self, bytes: usize) {
        self.bad_from.get_or_insert(self.offset);
        self.advance(bytes);
    }

    /// Goes to the next place where a record may begin.
    fn resynchronise(&mut self) -> Option<Step<'static>> {
        self.bad_from.get_or_insert(self.offset);
        match format::find_magic(self.buffer.get(self.head..).unwrap_or_default()) {
            Ok(skip) => {
                self.advance(skip);
                None
            }
            Err(_) if self.finished => {
                self.advance(self.buffer.len() - self.head);
                Some(Step::End(self.ending()))
            }
            Err(skip) => {
                self.advance(skip);
                Some(Step::NeedBytes)
            }
        }
    }

    fn ending(&self) -> Ending {
        match self.bad_from {
            None => Ending::Clean,
            Some(from) => Ending::TornTail {
                from,
                to: self.offset,
            },
        }
    }

    /// The end of a file that is shorter than a header.
    fn end_short(&mut self) -> Ending {
        self.advance(self.buffer.len() - self.head);
        if self.offset > 0 {
            self.bad_from = Some(0);
        }
        self.ending()
    }

    fn advance(&mut self, bytes: usize) {
        self.head += bytes;
        self.offset += bytes as u64;
    }
}

enum Judged {
    Good,
    Bad,
    After(Damage),
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
