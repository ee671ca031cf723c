//! Reads the JDK's own key store, JKS: `keytool -storetype JKS`, and everything made before Java 9.
//!
//! The format is `sun.security.provider.JavaKeyStore`'s: big-endian numbers, entries of a key with
//! its chain or of a certificate, and at the end a SHA-1 over the password and all before. A key
//! lies in it XORed with a chain of SHA-1 over password and salt. That protects little; the file's
//! mode has to.

use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};

use super::der::{OCTETS, SEQUENCE, element};

/// The first bytes of a JKS file.
pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// The first bytes of a JCEKS file, which nobody needs for TLS.
pub(super) const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];
/// What JavaKeyStore puts between password and data.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name.
    pub alias: String,
    /// The key as it lies there, still protected; none for a certificate alone.
    pub locked: Option<Vec<u8>>,
    /// Certificates, the key's own first.
    pub chain: Vec<Vec<u8>>,
}

/// Why a store cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JksError {
    /// It ends too early or says impossible things.
    #[error("it is cut or damaged")]
    Damaged,
    /// The digest at the end does not fit.
    #[error("the password is wrong, or the file is damaged")]
    Password,
    /// The key has another password than the store.
    #[error("the key `{0}` has a password of its own")]
    KeyPassword(String),
}

/// Reads all entries; the password proves that they are whole.
pub(super) fn read(file: &[u8], password: &str) -> Result<Vec<Entry>, JksError> {
    let (data, seal) = file
        .split_last_chunk::<SHA1_OUTPUT_LEN>()
        .ok_or(JksError::Damaged)?;
    if sha1(&[&utf16(password), WHITENER, data]) != *seal {
        return Err(JksError::Password);
    }
    let mut reader = Reader(data);
    if reader.take(4)? != MAGIC {
        return Err(JksError::Damaged);
    }
    let version = reader.number()?;
    let count = reader.number()?;
    (0..count).map(|_| entry(&mut reader, version)).collect()
}

fn entry(reader: &mut Reader<'_>, version: u32) -> Result<Entry, JksError> {
    let tag = reader.number()?;
    let alias = reader.text()?;
    reader.take(8)?; // when it was made
    let (locked, count) = match tag {
        1 => (Some(reader.block()?), reader.number()?),
        2 => (None, 1),
        _ => return Err(JksError::Damaged),
    };
    let certificate = |_| {
        if version == 2 {
            reader.text()?; // X.509, always
        }
        reader.block()
    };
    let chain = (0..count).map(certificate).collect::<Result<_, _>>()?;
    Ok(Entry {
        alias,
        locked,
        chain,
    })
}

impl Entry {
    /// The key as PKCS#8, if it is a key's entry.
    pub(super) fn key(&self, password: &str) -> Result<Option<Vec<u8>>, JksError> {
        let Some(locked) = &self.locked else {
            return Ok(None);
        };
        // EncryptedPrivateKeyInfo (RFC 5208, 6): a sequence of an algorithm and octets
        let (info, _) = element(locked, SEQUENCE).ok_or(JksError::Damaged)?;
        let (_algorithm, rest) = element(info, SEQUENCE).ok_or(JksError::Damaged)?;
        let (octets, _) = element(rest, OCTETS).ok_or(JksError::Damaged)?;
        let unlocked = unlock(octets, &utf16(password));
        unlocked
            .map(Some)
            .ok_or_else(|| JksError::KeyPassword(self.alias.clone()))
    }
}

/// Salt, key, check.
fn unlock(octets: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = octets.split_first_chunk::<SHA1_OUTPUT_LEN>()?;
    let (key, check) = rest.split_last_chunk::<SHA1_OUTPUT_LEN>()?;
    let mut pad = *salt;
    let mut plain = Vec::with_capacity(key.len());
    for block in key.chunks(SHA1_OUTPUT_LEN) {
        pad = sha1(&[password, &pad]);
        plain.extend(block.iter().zip(pad).map(|(byte, pad)| byte ^ pad));
    }
    (sha1(&[password, &plain]) == *check).then_some(plain)
}

fn sha1(parts: &[&[u8]]) -> [u8; SHA1_OUTPUT_LEN] {
    let mut context = digest::Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; SHA1_OUTPUT_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], JksError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(JksError::Damaged)?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u32, JksError> {
        let bytes = self.take(4)?.first_chunk().ok_or(JksError::Damaged)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn block(&mut self) -> Result<Vec<u8>, JksError> {
        let length = usize::try_from(self.number()?).map_err(|_| JksError::Damaged)?;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn text(&mut self) -> Result<String, JksError> {
        let length = self.take(2)?.first_chunk().ok_or(JksError::Damaged)?;
        let text = self.take(usize::from(u16::from_be_bytes(*length)))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}
