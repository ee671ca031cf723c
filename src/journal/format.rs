//! Header, record frame and state word as bytes; see the table in [`super`]. Pure.

use crate::limits;
use crate::spill::{self, Kind, Repeat, Sum, fold};

/// First bytes of a journal file.
pub const MAGIC: [u8; 8] = *b"TWRJRNAL";
/// The format version that is written, and the only one that is read.
pub const FORMAT_VERSION: u16 = 4;
/// Length of one copy of the header.
pub const HEADER_BYTES: usize = 64;
/// Where the second copy of the header stands.
pub const HEADER_COPY_AT: usize = 2048;
/// Where the state words begin; also what a block's size is a multiple of.
pub const PAGE_BYTES: usize = 4096;
/// A block has one slot for each so many bytes; no record is shorter.
pub const SLOT_BYTES: usize = 128;
/// Length of what stands before a record's body.
pub const FRAME_BYTES: usize = 24;
/// Records begin at multiples of this.
pub const ALIGN_BYTES: usize = 8;

const RECORD_MAGIC: [u8; 4] = [0x4A, 0xD7, 0x1B, 0xE3];
const CHECK: u8 = 0xA5;
const CONDITIONAL: u8 = 0x80;

/// How a journal is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: a multiple of [`PAGE_BYTES`], at most 4 MiB.
    pub block_bytes: u32,
    /// Number of blocks, 1 or more.
    pub blocks: u32,
}

impl Geometry {
    /// As many blocks as fit into `bytes`, at least one; smaller ones than usual if there would be
    /// less than eight.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        let least = (bytes / 8).next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let block = limits::JOURNAL_BLOCK_BYTES.min(least);
        Self {
            block_bytes: u32::try_from(block).unwrap_or(u32::MAX),
            blocks: u32::try_from((bytes / block).max(1)).unwrap_or(u32::MAX),
        }
    }

    /// Whether the numbers can be those of a journal.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let block = self.block();
        (PAGE_BYTES..=4 << 20).contains(&block)
            && block.is_multiple_of(PAGE_BYTES)
            && self.blocks > 0
            && block.saturating_mul(self.count()) <= limits::JOURNAL_MAX_BYTES
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block(self) -> usize {
        self.block_bytes as usize
    }

    /// Number of blocks.
    #[must_use]
    pub fn count(self) -> usize {
        self.blocks as usize
    }

    /// State words of a block.
    #[must_use]
    pub fn slots(self) -> usize {
        self.block() / SLOT_BYTES
    }

    /// State words in all.
    #[must_use]
    pub fn words(self) -> usize {
        self.slots() * self.count()
    }

    /// Bytes of all blocks.
    #[must_use]
    pub fn data_bytes(self) -> usize {
        self.block() * self.count()
    }

    /// Where in the file the data begins.
    #[must_use]
    pub fn data_at(self) -> usize {
        PAGE_BYTES + (self.words() * size_of::<u64>()).next_multiple_of(PAGE_BYTES)
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(self) -> usize {
        self.data_at() + self.data_bytes()
    }

    /// Longest body of a record.
    #[must_use]
    pub fn body_max_bytes(self) -> usize {
        self.data_bytes() - FRAME_BYTES
    }
}

/// The header of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The shard that writes it.
    pub shard: u32,
    /// Random id of the process.
    pub instance: u64,
    /// When it was made, µs since 1970.
    pub created_us: u64,
    /// Names the machine's boot in which it was made; 0 if that is not known.
    pub boot: u64,
    /// How it is cut up.
    pub geometry: Geometry,
}

/// Why bytes are not the header of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else.
    #[error("it does not begin as a journal does")]
    NotAJournal,
    /// Another version's.
    #[error("it has format version {0}; use the version of twinring that wrote it")]
    Version(u16),
    /// Both copies are damaged.
    #[error("both copies of its header are damaged")]
    Damaged,
}

impl Header {
    /// One copy of it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.shard.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.instance.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_us.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.geometry.block_bytes.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.geometry.blocks.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.boot.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The first page of the file, both copies in it.
    #[must_use]
    pub fn page(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        for at in [0, HEADER_COPY_AT] {
            page[at..at + HEADER_BYTES].copy_from_slice(&self.encode());
        }
        page
    }

    /// Reads the header from the front of a file. The flag is true if one copy is damaged.
    ///
    /// # Errors
    /// Neither copy is a header.
    pub fn read(file: &[u8]) -> Result<(Self, bool), HeaderError> {
        let copies = [Self::decode(file, 0), Self::decode(file, HEADER_COPY_AT)];
        match copies {
            [Ok(first), second] => Ok((first, second != Ok(first))),
            [Err(_), Ok(second)] => Ok((second, true)),
            [Err(HeaderError::NotAJournal), Err(other)] => Err(other),
            [Err(first), Err(_)] => Err(first),
        }
    }

    fn decode(file: &[u8], at: usize) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = file
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(HeaderError::NotAJournal)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(HeaderError::NotAJournal);
        }
        if crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderError::Damaged);
        }
        let version = u16_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let header = Self {
            shard: u32_at(bytes, 12),
            instance: u64_at(bytes, 16),
            created_us: u64_at(bytes, 24),
            boot: u64_at(bytes, 40),
            geometry: Geometry {
                block_bytes: u32_at(bytes, 32),
                blocks: u32_at(bytes, 36),
            },
        };
        let valid = header.geometry.is_valid();
        valid.then_some(header).ok_or(HeaderError::Damaged)
    }

    /// What the checksums of its records are combined with.
    #[must_use]
    pub fn seed(&self) -> u32 {
        crc32fast::hash(&self.encode()[..60])
    }
}

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It goes to the source; what the source says is not known.
    Intent,
    /// The source has it; the target may not.
    Applied,
    /// The source has it; it was about to be sent to the target, and must not be repeated blindly.
    /// Of a schema change or TRUNCATE: a stop has put it into the spill.
    Sent,
    /// Nothing is left to do.
    Done,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Intent, Self::Applied, Self::Sent, Self::Done];

    /// The word for it in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Applied => "applied",
            Self::Sent => "sent",
            Self::Done => "done",
        }
    }

    #[inline]
    fn code(self) -> u8 {
        match self {
            Self::Intent => 0x0F,
            Self::Applied => 0x33,
            Self::Sent => 0x55,
            Self::Done => 0x69,
        }
    }

    /// The code, and its part in the check.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        u64::from(self.code()) * 0x101
    }
}

/// Highest id that a word can hold: at a million writes per second the ids last for eight years.
pub const ID_MAX: u64 = (1 << 48) - 1;

/// The state word of a record.
#[inline]
#[must_use]
pub fn word(id: u64, state: State) -> u64 {
    stem(id) ^ state.bits()
}

/// What all state words of a record have in common: [`State::bits`] make it one of them.
#[inline]
#[must_use]
pub fn stem(id: u64) -> u64 {
    (id << 16) | (u64::from(check(id, 0)) << 8)
}

/// All bytes of both, one XOR the other.
#[inline]
fn check(id: u64, code: u8) -> u8 {
    let halved = id ^ (id >> 32);
    let halved = halved ^ (halved >> 16);
    let [low, high, ..] = halved.to_le_bytes();
    low ^ high ^ code ^ CHECK
}

/// What a state word says: nothing (0), a record's state, or that it is damaged (`Err`).
///
/// # Errors
/// The word is not one that was ever stored.
pub fn read_word(word: u64) -> Result<Option<(u64, State)>, Invalid> {
    if word == 0 {
        return Ok(None);
    }
    let (id, [code, stored, ..]) = (word >> 16, word.to_le_bytes());
    let state = State::ALL.into_iter().find(|state| state.code() == code);
    match state {
        Some(state) if check(id, code) == stored && id > 0 => Ok(Some((id, state))),
        _ => Err(Invalid),
    }
}

/// A state word that was never stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state word is damaged")]
pub struct Invalid;

/// What settling has to know about a write beside its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nature {
    /// What sort of write it is.
    pub kind: Kind,
    /// What may be done after a try whose outcome is unknown.
    pub repeat: Repeat,
    /// It has a condition: only the source decides.
    pub conditional: bool,
}

impl Nature {
    fn to_bytes(self) -> [u8; 2] {
        let repeat = match self.repeat {
            Repeat::Free => 0,
            Repeat::Bump => 1,
            Repeat::Once => 2,
        };
        let conditional = if self.conditional { CONDITIONAL } else { 0 };
        [repeat, self.kind.to_byte() | conditional]
    }

    fn from_bytes([repeat, kind]: [u8; 2]) -> Option<Self> {
        let repeat = match repeat {
            0 => Repeat::Free,
            1 => Repeat::Bump,
            2 => Repeat::Once,
            _ => return None,
        };
        Some(Self {
            kind: Kind::from_byte(kind & !CONDITIONAL)?,
            repeat,
            conditional: kind & CONDITIONAL != 0,
        })
    }
}

/// What stands before a record's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Length of the body in bytes.
    pub length: u32,
    /// The record's id.
    pub id: u64,
    /// Its number in its block.
    pub slot: u16,
    /// What settling has to know.
    pub nature: Nature,
}

impl Frame {
    /// Writes the frame to the front of `record`; `body` is the sum of what stands behind it.
    pub fn put(&self, record: &mut [u8], body: Sum, seed: u32) {
        let Some(frame) = record.first_chunk_mut::<FRAME_BYTES>() else {
            return;
        };
        let nature = u16::from_le_bytes(self.nature.to_bytes());
        let first = u64::from(self.length) | self.id << 32;
        let second = self.id >> 32
            | u64::from(body.names) << 16
            | u64::from(self.slot) << 32
            | u64::from(nature) << 48;
        let sum = sum([first, second], body.value, seed);
        frame[..4].copy_from_slice(&RECORD_MAGIC);
        frame[4..8].copy_from_slice(&sum.to_le_bytes());
        frame[8..16].copy_from_slice(&first.to_le_bytes());
        frame[16..24].copy_from_slice(&second.to_le_bytes());
    }

    /// The good record at the front of `data`, if one stands there.
    #[must_use]
    pub fn read(data: &[u8], seed: u32) -> Option<Self> {
        let frame: &[u8; FRAME_BYTES] = data.first_chunk()?;
        if !frame.starts_with(&RECORD_MAGIC) {
            return None;
        }
        let length = u32_at(frame, 8);
        let end = FRAME_BYTES.checked_add(usize::try_from(length).ok()?)?;
        let body = spill::sum(data.get(FRAME_BYTES..end)?, u16_at(frame, 18))?;
        let words = [u64_at(frame, 8), u64_at(frame, 16)];
        if sum(words, body.value, seed) != u32_at(frame, 4) {
            return None;
        }
        Some(Self {
            length,
            id: u64_at(frame, 12) & ID_MAX,
            slot: u16_at(frame, 20),
            nature: Nature::from_bytes([frame[22], frame[23]])?,
        })
    }

    /// Length of the whole record, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        FRAME_BYTES + self.length as usize
    }

    /// The id of the record in slot 0 of the same use of the block.
    #[must_use]
    pub fn base(&self) -> Option<u64> {
        self.id.checked_sub(u64::from(self.slot))
    }
}

/// The checksum of a record: of its frame behind this field, and of its body.
fn sum([first, second]: [u64; 2], body: u64, seed: u32) -> u32 {
    let [low @ .., _, _, _, _] = fold(first, second ^ body).to_le_bytes();
    u32::from_le_bytes(low) ^ seed
}

fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
