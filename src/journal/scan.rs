//! Reads a journal: which records are not done, and what cannot be read. Changes nothing.

use std::fmt;
use std::ops::Range;

use super::format::{ALIGN_BYTES, Frame, Header, Invalid, Nature, State, read_word};

/// A record that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Index of its state word.
    pub word: u32,
    /// Its id.
    pub id: u64,
    /// How far it has come; `None` if its state word is damaged.
    pub state: Option<State>,
    /// What settling has to know.
    pub nature: Nature,
    /// Where in the data its body lies.
    pub body: Range<usize>,
}

/// Something that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// One copy of the header; the other one is good.
    Header,
    /// The file is shorter than its header says.
    Short {
        /// Bytes that are missing.
        missing: usize,
    },
    /// A state word.
    Word {
        /// Its index.
        word: u32,
    },
    /// The record that a good state word belongs to: a write that is not done, and lost.
    Record {
        /// Index of the state word.
        word: u32,
        /// Id of the record.
        id: u64,
        /// How far the write had come.
        state: State,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "one copy of the header is damaged"),
            Self::Short { missing } => write!(f, "the file lacks {missing} bytes at its end"),
            Self::Word { word } => write!(f, "state word {word} is damaged"),
            Self::Record { word, id, state } => write!(
                f,
                "record {id} of state word {word} ({}) cannot be read: this write is lost",
                state.name()
            ),
        }
    }
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The records that are not done, by id.
    pub live: Vec<Live>,
    /// Records that are done, of the present use of each block.
    pub done: u64,
    /// What cannot be read.
    pub damage: Vec<Damage>,
}

/// Scans state words and data, of which some may be missing at the end.
#[must_use]
pub fn scan(header: &Header, words: &[u64], data: &[u8]) -> Scanned {
    scan_all(header, words, data, false)
}

/// As [`scan`], after the death of the machine: of what was stored after the last sync any part may
/// be missing. A record whose word is not there yet counts as INTENT; a word without its record is
/// damage as ever, but was never synced, or is done and its block in use for others.
#[must_use]
pub fn scan_stale(header: &Header, words: &[u64], data: &[u8]) -> Scanned {
    scan_all(header, words, data, true)
}

fn scan_all(header: &Header, words: &[u64], data: &[u8], is_stale: bool) -> Scanned {
    let geometry = header.geometry;
    let mut scanned = Scanned::default();
    let missing = (geometry.words() - words.len().min(geometry.words())) * size_of::<u64>()
        + (geometry.data_bytes() - data.len().min(geometry.data_bytes()));
    if missing > 0 {
        scanned.damage.push(Damage::Short { missing });
    }
    for index in 0..geometry.count() {
        let first = index * geometry.slots();
        let end = (first + geometry.slots()).min(words.len());
        let block = Block {
            first_word: first,
            words: words.get(first..end).unwrap_or_default(),
            data,
            range: index * geometry.block()..(index + 1) * geometry.block(),
            seed: header.seed(),
            is_stale,
        };
        block.scan(&mut scanned);
    }
    scanned.live.sort_unstable_by_key(|live| live.id);
    scanned
}

struct Block<'a> {
    first_word: usize,
    words: &'a [u64],
    data: &'a [u8],
    range: Range<usize>,
    seed: u32,
    is_stale: bool,
}

type Word = Result<Option<(u64, State)>, Invalid>;

impl Block<'_> {
    fn scan(&self, scanned: &mut Scanned) {
        let words: Vec<Word> = self.words.iter().map(|word| read_word(*word)).collect();
        if words.iter().all(|word| *word == Ok(None)) && self.record_at(self.range.start).is_none()
        {
            return; // never used
        }
        let records = self.records();
        let by_words = (0..).zip(&words).filter_map(|(slot, word)| match word {
            Ok(Some((id, _))) => id.checked_sub(slot),
            _ => None,
        });
        let by_records = records.iter().filter_map(|(frame, _)| frame.base());
        let Some(base) = by_words.chain(by_records).max() else {
            return self.report_words(&words, &[], 0, scanned);
        };
        let present: Vec<_> = records
            .into_iter()
            .filter(|(frame, _)| frame.base() == Some(base))
            .collect();
        let last_word = (0u64..)
            .zip(&words)
            .filter(|(slot, word)| matches!(word, Ok(Some((id, _))) if *id == base + slot))
            .map(|(slot, _)| slot)
            .max();
        let last_record = present.last().map(|(frame, _)| u64::from(frame.slot));
        let last = last_word.max(last_record);
        for (frame, at) in &present {
            let stored = words.get(usize::from(frame.slot));
            let state = match stored {
                Some(Ok(Some((id, state)))) if *id == frame.id => Some(*state),
                Some(Err(_)) | None => None,
                Some(Ok(_)) if self.is_stale => Some(State::Intent),
                // it was being written: not a byte of it has left
                Some(Ok(_)) if last == Some(u64::from(frame.slot)) => continue,
                Some(Ok(_)) => {
                    let word = self.word(frame.slot);
                    scanned.damage.push(Damage::Word { word });
                    None
                }
            };
            if state == Some(State::Done) {
                scanned.done += 1;
                continue;
            }
            scanned.live.push(Live {
                word: self.word(frame.slot),
                id: frame.id,
                state,
                nature: frame.nature,
                body: at + frame.total_bytes() - frame.length as usize..at + frame.total_bytes(),
            });
        }
        self.report_words(&words, &present, base, scanned);
    }

    /// Damaged words, and live ones without a record. `base`: of the block's present use.
    fn report_words(
        &self,
        words: &[Word],
        present: &[(Frame, usize)],
        base: u64,
        scanned: &mut Scanned,
    ) {
        for (slot, word) in (0u16..).zip(words) {
            let index = self.word(slot);
            match word {
                Err(Invalid) => scanned.damage.push(Damage::Word { word: index }),
                // a later use of the block has begun, so it is done, whatever its word says
                Ok(Some((id, _))) if self.is_stale && *id < base + u64::from(slot) => {}
                Ok(Some((id, state))) if *state != State::Done => {
                    let found = present.iter().any(|(frame, _)| frame.id == *id);
                    if !found {
                        scanned.damage.push(Damage::Record {
                            word: index,
                            id: *id,
                            state: *state,
                        });
                    }
                }
                Ok(_) => {}
            }
        }
    }

    /// All good records, also behind a damaged one, and of earlier uses of the block.
    fn records(&self) -> Vec<(Frame, usize)> {
        let mut records = Vec::new();
        let mut at = self.range.start;
        while at < self.range.end.min(self.data.len()) {
            match self.record_at(at) {
                Some(frame) => {
                    records.push((frame, at));
                    at += frame.total_bytes().next_multiple_of(ALIGN_BYTES);
                }
                None => at += ALIGN_BYTES,
            }
        }
        records
    }

    fn record_at(&self, at: usize) -> Option<Frame> {
        Frame::read(self.data.get(at..)?, self.seed)
    }

    fn word(&self, slot: u16) -> u32 {
        u32::try_from(self.first_word + usize::from(slot)).unwrap_or(u32::MAX)
    }
}
