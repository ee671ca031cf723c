//! Framing of records inside a segment: magic, length, checksums. Pure.

use std::ops::Range;

/// First bytes of each segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"TWRSPILL";
/// The format version of segments whose records are plain.
pub const FORMAT_PLAIN: u16 = 1;
/// The format version of segments whose records are sealed, and the highest that is read.
pub const FORMAT_VERSION: u16 = 2;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 64;
/// First bytes of each record: not valid UTF-8, so that no statement text contains them.
pub const RECORD_MAGIC: [u8; 4] = [0xE7, b'w', b'R', 0x1D];
/// Length of what stands before a record's body.
pub const FRAME_BYTES: usize = 16;
/// Longest body: the longest envelope of the protocol (256 MiB) with room for texts and names.
pub const BODY_MAX_BYTES: usize = 272 << 20;

/// Where the checksums of a segment's records start: the checksum of its header.
///
/// There are two candidates when the header is damaged: what its bytes give and what stands in its
/// checksum field. The one that a record agrees with is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    computed: u32,
    stored: u32,
}

impl Seeds {
    /// The seeds that a segment's first bytes give.
    pub fn of(header: &[u8; HEADER_BYTES]) -> Seeds {
        let (fields, stored) = header.split_at(HEADER_BYTES - 4);
        Seeds {
            computed: crc32fast::hash(fields),
            stored: u32_at(stored, 0).unwrap_or(0),
        }
    }

    /// True if the header is as it was written.
    pub fn agree(self) -> bool {
        self.computed == self.stored
    }

    /// The seed of a header that is as it was written.
    pub fn seed(self) -> u32 {
        self.stored
    }
}

/// What stands at a place where a record should begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framed {
    /// So far a record; more bytes are needed to tell.
    Short,
    /// No record begins here: wrong magic, or its length cannot be trusted.
    NotARecord,
    /// A record of this whole length, whose body is damaged.
    BadBody {
        /// Whole length in bytes, frame included.
        total_bytes: usize,
    },
    /// A good record.
    Good {
        /// Where the body lies.
        body: Range<usize>,
    },
}

/// Looks at the front of `bytes` for a record.
pub fn check(bytes: &[u8], seeds: Seeds) -> Framed {
    if bytes.len() < FRAME_BYTES {
        let seen = bytes.len().min(RECORD_MAGIC.len());
        let so_far = bytes.get(..seen) == RECORD_MAGIC.get(..seen);
        return if so_far {
            Framed::Short
        } else {
            Framed::NotARecord
        };
    }
    let (Some(head), Some(length), Some(length_crc), Some(body_crc)) = (
        bytes.get(..8),
        u32_at(bytes, 4),
        u32_at(bytes, 8),
        u32_at(bytes, 12),
    ) else {
        return Framed::Short;
    };
    let Ok(length) = usize::try_from(length) else {
        return Framed::NotARecord;
    };
    if !head.starts_with(&RECORD_MAGIC) || length > BODY_MAX_BYTES {
        return Framed::NotARecord;
    }
    let Some(seed) = [seeds.stored, seeds.computed]
        .into_iter()
        .find(|s| crc(*s, head) == length_crc)
    else {
        return Framed::NotARecord;
    };
    let total_bytes = FRAME_BYTES + length;
    match bytes.get(FRAME_BYTES..total_bytes) {
        None => Framed::Short,
        Some(body) if crc(seed, body) == body_crc => Framed::Good {
            body: FRAME_BYTES..total_bytes,
        },
        Some(_) => Framed::BadBody { total_bytes },
    }
}

/// Appends room for a frame to `out`; [`close_frame`] fills it once the body stands behind it.
pub fn open_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    start
}

/// Fills the frame that [`open_frame`] left at `start`; the body is all that stands behind it.
///
/// Returns the record's whole length in bytes, or `None` (and takes the record off again) if the
/// body is longer than [`BODY_MAX_BYTES`].
pub fn close_frame(out: &mut Vec<u8>, start: usize, seed: u32) -> Option<usize> {
    let body_start = start + FRAME_BYTES;
    let length = out.len().checked_sub(body_start)?;
    let Some(length_u32) = u32::try_from(length)
        .ok()
        .filter(|_| length <= BODY_MAX_BYTES)
    else {
        out.truncate(start);
        return None;
    };
    let (front, body) = out.split_at_mut(body_start);
    let frame = front.get_mut(start..)?;
    let body_crc = crc(seed, body);
    let (head, crcs) = frame.split_at_mut(8);
    let (magic, length_field) = head.split_at_mut(4);
    magic.copy_from_slice(&RECORD_MAGIC);
    length_field.copy_from_slice(&length_u32.to_le_bytes());
    let head_crc = crc(seed, head);
    let (first, second) = crcs.split_at_mut(4);
    first.copy_from_slice(&head_crc.to_le_bytes());
    second.copy_from_slice(&body_crc.to_le_bytes());
    Some(FRAME_BYTES + length)
}

/// Where the next possible record begins in `bytes`, which is looked at from its second byte on; or
/// how many bytes at the front can be given up because nothing begins there.
pub fn find_magic(bytes: &[u8]) -> Result<usize, usize> {
    let found = bytes
        .windows(RECORD_MAGIC.len())
        .skip(1)
        .position(|w| w == RECORD_MAGIC);
    match found {
        Some(at) => Ok(at + 1),
        None => Err(bytes
            .len()
            .saturating_sub(RECORD_MAGIC.len() - 1)
            .max(1)
            .min(bytes.len())),
    }
}

/// CRC32 of `bytes`, going on from `seed`.
pub fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The little-endian number at `at`, if there are bytes enough.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

/// The little-endian number at `at`, if there are bytes enough.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    field.try_into().ok().map(u64::from_le_bytes)
}

/// The little-endian number at `at`, if there are bytes enough.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    field.try_into().ok().map(u16::from_le_bytes)
}
