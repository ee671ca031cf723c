//! Names of segment files and their header. Pure.

use super::format::{
    FORMAT_PLAIN, FORMAT_VERSION, HEADER_BYTES, SEGMENT_MAGIC, Seeds, u16_at, u32_at, u64_at,
};
use super::seal::KeyId;

/// What the records of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holds {
    /// Writes that wait for the target.
    Backlog,
    /// Writes that the target refused for good, and writes in doubt: replayed only when asked.
    Rejected,
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the records are.
    pub holds: Holds,
    /// The shard that wrote it.
    pub shard: u32,
    /// Random id of the process that wrote it.
    pub instance: u64,
    /// Number of the segment in its shard, from 1, ever increasing.
    pub segment: u64,
    /// When it was begun, µs since 1970.
    pub created_us: u64,
    /// The key that its records are sealed with; `None`: they are plain.
    pub key: Option<KeyId>,
}

/// Why a segment's first bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The checksum or a field is wrong.
    #[error("the segment's header is damaged")]
    Damaged,
    /// A later version wrote it.
    #[error("format version {0}; this program reads up to version {FORMAT_VERSION}")]
    Version(u16),
}

impl Header {
    /// The bytes that a segment begins with.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        let version = self.key.map_or(FORMAT_PLAIN, |_| FORMAT_VERSION);
        bytes.extend_from_slice(&version.to_le_bytes());
        let holds: u16 = match self.holds {
            Holds::Backlog => 0,
            Holds::Rejected => 1,
        };
        bytes.extend_from_slice(&holds.to_le_bytes());
        bytes.extend_from_slice(&self.shard.to_le_bytes());
        bytes.extend_from_slice(&self.instance.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.created_us.to_le_bytes());
        let key = self.key.map_or(0, |key| key.0);
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.resize(HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// Reads a header. A wrong version is told apart from damage, as nothing behind it can be read.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, HeaderError> {
        if !Seeds::of(bytes).agree() || !bytes.starts_with(&SEGMENT_MAGIC) {
            return Err(HeaderError::Damaged);
        }
        let damaged = HeaderError::Damaged;
        let version = u16_at(bytes, 8).ok_or(damaged)?;
        if !(FORMAT_PLAIN..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let key = Some(KeyId(u64_at(bytes, 40).ok_or(damaged)?));
        let holds = match u16_at(bytes, 10) {
            Some(0) => Holds::Backlog,
            Some(1) => Holds::Rejected,
            _ => return Err(damaged),
        };
        Ok(Header {
            holds,
            shard: u32_at(bytes, 12).ok_or(damaged)?,
            instance: u64_at(bytes, 16).ok_or(damaged)?,
            segment: u64_at(bytes, 24).ok_or(damaged)?,
            created_us: u64_at(bytes, 32).ok_or(damaged)?,
            key: key.filter(|_| version > FORMAT_PLAIN),
        })
    }
}

/// Name of the directory of a shard: `shard-0007`.
pub fn shard_dir_name(shard: u32) -> String {
    format!("shard-{shard:04}")
}

/// The shard whose directory has this name.
pub fn shard_of_dir_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("shard-")?;
    let shard = parse_digits(digits).and_then(|n| u32::try_from(n).ok())?;
    (shard_dir_name(shard) == name).then_some(shard)
}

/// Name of a segment file: `0000000000000012.spill`, `rejected-0000000000000003.spill`.
pub fn file_name(holds: Holds, segment: u64) -> String {
    match holds {
        Holds::Backlog => format!("{segment:016}.spill"),
        Holds::Rejected => format!("rejected-{segment:016}.spill"),
    }
}

/// What a file with this name holds and its number; `None` if the name is not a segment's.
pub fn of_file_name(name: &str) -> Option<(Holds, u64)> {
    let stem = name.strip_suffix(".spill")?;
    let (holds, digits) = match stem.strip_prefix("rejected-") {
        Some(digits) => (Holds::Rejected, digits),
        None => (Holds::Backlog, stem),
    };
    let segment = parse_digits(digits)?;
    (file_name(holds, segment) == name).then_some((holds, segment))
}

fn parse_digits(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for holds in [Holds::Backlog, Holds::Rejected] {
            for segment in [0, 1, 12, u64::MAX] {
                assert_eq!(
                    of_file_name(&file_name(holds, segment)),
                    Some((holds, segment))
                );
            }
        }
        assert_eq!(file_name(Holds::Backlog, 12), "0000000000000012.spill");
        assert_eq!(shard_of_dir_name(&shard_dir_name(7)), Some(7));
        assert_eq!(shard_of_dir_name(&shard_dir_name(12_345)), Some(12_345));
        for other in [
            "12.spill",
            "+000000000000012.spill",
            "0000000000000012.spill.done",
            ".spill",
        ] {
            assert_eq!(of_file_name(other), None, "{other}");
        }
        for other in ["shard-7", "shard-00007", "shard-", "progress", "shard--001"] {
            assert_eq!(shard_of_dir_name(other), None, "{other}");
        }
    }

    #[test]
    fn header_goes_there_and_back_and_any_flipped_bit_is_seen() {
        let header = Header {
            holds: Holds::Rejected,
            shard: 3,
            instance: 0xDEAD_BEEF_0BAD_CAFE,
            segment: 77,
            created_us: 1_700_000_000_000_000,
            key: Some(KeyId(0x1234_5678_9ABC_DEF0)),
        };
        let plain = Header {
            key: None,
            ..header
        };
        assert_eq!(Header::decode(&plain.encode()), Ok(plain));
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let header = Header {
            holds: Holds::Backlog,
            shard: 0,
            instance: 1,
            segment: 1,
            created_us: 1,
            key: None,
        };
        let mut bytes = header.encode();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(9)));
    }
}
