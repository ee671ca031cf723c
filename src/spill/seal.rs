//! Encryption of records at rest: XChaCha20-Poly1305 (RFC 8439 with the extended nonce of
//! draft-irtf-cfrg-xchacha), keys from a file.
//!
//! The extended nonce is the segment's identity (16 bytes: process instance, shard, what it holds,
//! segment number) and the record's number (8 bytes). The cipher derives a key of its own from the
//! first part, so each segment has its own, and no number comes twice below it: the instance is
//! random per process, segment and record numbers only grow.
//!
//! ```text
//! body of a record in a sealed segment: 8 bytes sequence, clear · the rest, sealed · 16 bytes tag
//! ```
//! The frame's checksums are over the sealed bytes, so damage is found without a key. A record
//! whose tag is wrong is damage too: somebody has changed it.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};

use super::dir::{DirError, io_error, open_file};
use super::format::u64_at;
use super::segment::{Header, Holds};

/// Length of a key.
pub const KEY_BYTES: usize = 32;
/// By how much sealing makes a record longer.
pub const TAG_BYTES: usize = 16;
/// What of a body stays clear: the record's sequence.
pub const CLEAR_BYTES: usize = 8;
/// A longer key file is none.
const FILE_MAX_BYTES: u64 = 4096;
/// What [`KeyId`] is the tag of; no segment's nonce begins like this but with probability 2⁻⁶⁴.
const ID_NONCE: [u8; 24] = *b"twinring spill key id\0\0\0";

/// Names a key in segment headers and messages; says nothing about the key itself. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Key {
        let cipher = XChaCha20Poly1305::new(&(*bytes).into());
        let tag = cipher
            .encrypt_inout_detached(&XNonce::from(ID_NONCE), &[], (&mut [][..]).into())
            .unwrap_or_default(); // fails for messages of 256 GiB only
        let id = u64_at(&tag, 0).unwrap_or(1).max(1);
        Key {
            id: KeyId(id),
            cipher,
        }
    }
}

/// The keys of an operator: the first one seals, each of them opens. Without any, segments are
/// written plainly.
#[derive(Clone, Default)]
pub struct Keys(Option<Arc<[Key]>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Keys) -> bool {
        self.ids().eq(other.ids())
    }
}

impl Eq for Keys {}

/// Why a file gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system says no.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Others may read it.
    #[error(
        "{0} can be read by others than its owner (mode {1:04o}); give it to this user alone: \
         chmod 0600"
    )]
    Open(PathBuf, u32),
    /// Its content is no key.
    #[error(
        "{0} holds no key: 32 raw bytes, or a line each with 64 hexadecimal digits or 44 \
         characters of base64; make one with: head -c 32 /dev/urandom | base64"
    )]
    Content(PathBuf),
}

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or its content is no key.
    pub fn load(path: &Path) -> Result<Keys, KeyError> {
        let file = open_file(path)?;
        let mode = file.metadata().map_err(io_error("look at", path))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned(), mode));
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", path))?;
        Keys::parse(&bytes).ok_or_else(|| KeyError::Content(path.to_owned()))
    }

    /// Reads the content of a key file: 32 raw bytes, or lines of hexadecimal digits or base64.
    pub fn parse(content: &[u8]) -> Option<Keys> {
        if let Ok(raw) = <&[u8; KEY_BYTES]>::try_from(content) {
            return Some(Keys(Some([Key::new(raw)].into())));
        }
        let text = std::str::from_utf8(content).ok()?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Option<Vec<Key>> = lines
            .map(|line| of_hex(line).or_else(|| of_base64(line)))
            .map(|bytes| bytes.map(|bytes| Key::new(&bytes)))
            .collect();
        keys.filter(|keys| !keys.is_empty())
            .map(|keys| Keys(Some(keys.into())))
    }

    /// Names of the keys; the first one seals.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.all().iter().map(|key| key.id)
    }

    /// The key that new segments are sealed with.
    pub fn sealing(&self) -> Option<KeyId> {
        self.ids().next()
    }

    fn all(&self) -> &[Key] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Seals the body of a record of this segment in place and appends the tag. False if the key
    /// is not there or the body is no record's.
    pub(super) fn seal(&self, header: &Header, out: &mut Vec<u8>, body_start: usize) -> bool {
        let key = self.all().iter().find(|key| Some(key.id) == header.key);
        let (Some(key), Some(body)) = (key, out.get_mut(body_start..)) else {
            return false;
        };
        let Some((clear, rest)) = body.split_at_mut_checked(CLEAR_BYTES) else {
            return false;
        };
        let nonce = nonce_of(header, clear);
        match key.cipher.encrypt_inout_detached(&nonce, &[], rest.into()) {
            Ok(tag) => {
                out.extend_from_slice(&tag);
                true
            }
            Err(_) => false,
        }
    }

    /// Opens a sealed body into `plain`, which is replaced. False if it is not as it was sealed.
    pub(super) fn open(&self, header: &Header, sealed: &[u8], plain: &mut Vec<u8>) -> bool {
        plain.clear();
        let key = self.all().iter().find(|key| Some(key.id) == header.key);
        let (Some(key), Some((body, tag))) = (key, sealed.split_last_chunk::<TAG_BYTES>()) else {
            return false;
        };
        plain.extend_from_slice(body);
        let Some((clear, rest)) = plain.split_at_mut_checked(CLEAR_BYTES) else {
            return false;
        };
        let nonce = nonce_of(header, clear);
        let tag = Tag::from(*tag);
        key.cipher
            .decrypt_inout_detached(&nonce, &[], rest.into(), &tag)
            .is_ok()
    }
}

fn nonce_of(header: &Header, sequence: &[u8]) -> XNonce {
    let mut nonce = [0; 24];
    let holds = match header.holds {
        Holds::Backlog => 0,
        Holds::Rejected => 1,
    };
    let parts = [
        &header.instance.to_le_bytes()[..],
        &header.shard.to_le_bytes()[..2],
        &[holds],
        &header.segment.to_le_bytes()[..5],
        sequence,
    ];
    for (byte, part) in nonce.iter_mut().zip(parts.into_iter().flatten()) {
        *byte = *part;
    }
    XNonce::from(nonce)
}

fn of_hex(line: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: Option<Vec<u32>> = line.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * KEY_BYTES)?;
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).ok()?;
    }
    Some(bytes)
}

/// RFC 4648, section 4, for exactly 32 bytes: 43 characters and one `=`.
fn of_base64(line: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = line.strip_suffix('=')?;
    if digits.len() != 43 {
        return None;
    }
    let (mut bits, mut held, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xFF).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
