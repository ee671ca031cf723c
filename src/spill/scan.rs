//! Reads a segment: bytes in, records and damage out. Never changes the log.
//!
//! Call order: [`Scanner::push`] some bytes, then [`Scanner::next_step`] until it says
//! [`Step::NeedBytes`]; after the last bytes of the file [`Scanner::finish`], then go on until
//! [`Step::End`]. A segment that is still written to is simply never finished.
//!
//! A bad place with a good record somewhere behind it is [`Step::Damage`]; a bad place with nothing
//! good behind it is a torn tail, which a crash leaves behind: [`Ending::TornTail`].

use super::format::{self, FORMAT_VERSION, Framed, HEADER_BYTES, Seeds};
use super::record::{self, Record};
use super::seal::{KeyId, Keys};
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
    #[error(
        "the segment has format version {0}, this program reads version \
         {FORMAT_VERSION}; use the version of twinring that wrote it"
    )]
    Version(u16),
    /// It is sealed with a key that is not at hand.
    #[error("the segment is sealed with key {0}: give the file that has it as --spill-key-file")]
    Key(KeyId),
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
    keys: Keys,
    /// The body of the record last judged, when its segment is sealed.
    plain: Vec<u8>,
    finished: bool,
    bad_from: Option<u64>,
    /// Number that the next record must have, once that is known.
    expected: Option<u64>,
}

/// The buffer is moved to its front when this much of it has been read.
const COMPACT_BYTES: usize = 64 << 10;

/// The number of the last good record in the last `bytes` of a segment, which begin at `offset`,
/// anywhere. `None` if there is no whole record, or the segment cannot be read.
pub fn last_sequence(
    header: &[u8; HEADER_BYTES],
    offset: u64,
    bytes: &[u8],
    keys: Keys,
) -> Option<u64> {
    let mut scanner = Scanner::resume(header, offset, keys).ok()?;
    scanner.push(bytes);
    scanner.finish();
    let mut last = None;
    loop {
        match scanner.next_step().ok()? {
            Step::Record { record, .. } => last = Some(record.sequence),
            Step::Damage(_) => {}
            Step::NeedBytes | Step::End(_) => return last,
        }
    }
}

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
            keys: Keys::default(),
            plain: Vec::new(),
            finished: false,
            bad_from: None,
            expected: None,
        }
    }

    /// A scanner for a whole segment that may be sealed with one of these keys.
    pub fn with_keys(keys: Keys) -> Scanner {
        Scanner {
            keys,
            ..Scanner::new()
        }
    }

    /// A scanner that begins at `offset`, where a record starts; push it from there on.
    ///
    /// `header` is the front of the same segment.
    pub fn resume(
        header: &[u8; HEADER_BYTES],
        offset: u64,
        keys: Keys,
    ) -> Result<Scanner, ScanError> {
        let mut scanner = Scanner {
            offset,
            ..Scanner::with_keys(keys)
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

    /// What comes next. Fails only on a segment of a later version, or sealed with another key.
    pub fn next_step(&mut self) -> Result<Step<'_>, ScanError> {
        let event = self.next_event()?;
        Ok(self.view(event))
    }

    /// As [`Scanner::next_step`], but without a borrow; [`Scanner::view`] must follow at once.
    pub(super) fn next_event(&mut self) -> Result<Event, ScanError> {
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
                None if !self.finished => return Ok(Event::NeedBytes),
                None => return Ok(Event::End(self.end_short())),
            }
        }
        let Some(seeds) = self.seeds else {
            return Ok(Event::NeedBytes);
        };
        loop {
            let rest = self.buffer.get(self.head..).unwrap_or_default();
            match format::check(rest, seeds) {
                Framed::Good { body } => {
                    let total = body.end;
                    match self.judge(body) {
                        Judged::Bad => self.pass_over(total),
                        Judged::After(damage) => return Ok(Event::Damage(damage)),
                        Judged::Good => {
                            let (start, offset) = (self.head, self.offset);
                            self.advance(total);
                            return Ok(Event::Record { start, offset });
                        }
                    }
                }
                Framed::BadBody { total_bytes } => self.pass_over(total_bytes),
                Framed::Short if !self.finished => return Ok(Event::NeedBytes),
                Framed::Short if rest.is_empty() => return Ok(Event::End(self.ending())),
                Framed::Short | Framed::NotARecord => {
                    if let Some(event) = self.resynchronise() {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Shows what [`Scanner::next_event`] found.
    pub(super) fn view(&self, event: Event) -> Step<'_> {
        let (start, offset) = match event {
            Event::Record { start, offset } => (start, offset),
            Event::NeedBytes => return Step::NeedBytes,
            Event::Damage(damage) => return Step::Damage(damage),
            Event::End(ending) => return Step::End(ending),
        };
        let body = match self.is_sealed() {
            true => &self.plain,
            false => self
                .buffer
                .get(start + format::FRAME_BYTES..self.head)
                .unwrap_or_default(),
        };
        match record::decode(body) {
            Ok(record) => Step::Record {
                offset,
                end: self.offset,
                record,
            },
            // `judge` has just decoded the same bytes.
            Err(_) => Step::NeedBytes,
        }
    }

    fn read_header(&mut self, bytes: &[u8; HEADER_BYTES]) -> Result<(), ScanError> {
        match Header::decode(bytes) {
            Ok(header) => {
                if let Some(key) = header.key
                    && !self.keys.ids().any(|id| id == key)
                {
                    return Err(ScanError::Key(key));
                }
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
        let mut body = self.buffer.get(at).unwrap_or_default();
        if let Some(header) = self.header.filter(|header| header.key.is_some()) {
            if !self.keys.open(&header, body, &mut self.plain) {
                return Judged::Bad;
            }
            body = &self.plain;
        }
        let Ok(record) = record::decode(body) else {
            return Judged::Bad;
        };
        let sequence = record.sequence;
        let missing = self
            .expected
            .map(|expected| sequence.saturating_sub(expected));
        // Damage is told first; then the same record is judged again and is the one expected.
        self.expected = Some(sequence);
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
            _ => {
                self.expected = sequence.checked_add(1);
                Judged::Good
            }
        }
    }

    fn is_sealed(&self) -> bool {
        self.header.is_some_and(|header| header.key.is_some())
    }

    fn pass_over(&mut self, bytes: usize) {
        self.bad_from.get_or_insert(self.offset);
        self.advance(bytes);
    }

    /// Goes to the next place where a record may begin.
    fn resynchronise(&mut self) -> Option<Event> {
        self.bad_from.get_or_insert(self.offset);
        match format::find_magic(self.buffer.get(self.head..).unwrap_or_default()) {
            Ok(skip) => {
                self.advance(skip);
                None
            }
            Err(_) if self.finished => {
                self.advance(self.buffer.len() - self.head);
                Some(Event::End(self.ending()))
            }
            Err(skip) => {
                self.advance(skip);
                Some(Event::NeedBytes)
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

/// A [`Step`] that borrows nothing.
#[derive(Debug)]
pub(super) enum Event {
    NeedBytes,
    Record { start: usize, offset: u64 },
    Damage(Damage),
    End(Ending),
}

enum Judged {
    Good,
    Bad,
    After(Damage),
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
