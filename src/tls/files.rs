//! Certificates and keys from files, in whichever form they come.

use std::fs;
use std::path::Path;

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{der, jks};
use crate::config::{Authorities, Identity, Problem, Secret};

/// A certificate's chain, its own first, and its key.
pub(super) struct Pair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

enum Form {
    Pem,
    Jks,
    Pkcs12,
}

/// Reads a certificate with its key.
pub(super) fn identity(wanted: &Identity) -> Result<Pair, Problem> {
    let (flag, path) = (wanted.flag.as_str(), wanted.certificate.as_path());
    let bytes = read(flag, path)?;
    let mut pair = match form(flag, path, &bytes)? {
        Form::Pem => pem_pair(wanted, &bytes)?,
        Form::Jks => {
            let password = password(flag, path, wanted.password.as_ref())?;
            jks_pair(&bytes, password).map_err(|what| stored(flag, path, what))?
        }
        Form::Pkcs12 => {
            let password = wanted.password.as_ref().map_or("", Secret::reveal);
            pkcs12_pair(&bytes, password).map_err(|what| stored(flag, path, what))?
        }
    };
    if let (PrivateKeyDer::Pkcs8(key), Some(first)) = (&pair.key, pair.chain.first())
        && let Ok((_, parsed)) = x509_parser::parse_x509_certificate(first)
        && let public = &parsed.public_key().subject_public_key
        && let Some(whole) = der::with_public_key(key.secret_pkcs8_der(), &public.data)
    {
        pair.key = PrivatePkcs8KeyDer::from(whole).into();
    }
    Ok(pair)
}

/// Reads the certificates of those who are trusted.
pub(super) fn authorities(wanted: &Authorities) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let (flag, path) = (wanted.flag.as_str(), wanted.file.as_path());
    let bytes = read(flag, path)?;
    let found = match form(flag, path, &bytes)? {
        Form::Pem => pem_certificates(flag, path, &bytes)?,
        Form::Jks => {
            let password = password(flag, path, wanted.password.as_ref())?;
            let entries = jks::read(&bytes, password);
            let entries = entries.map_err(|error| stored(flag, path, error.to_string()))?;
            let chains = entries.into_iter().flat_map(|entry| entry.chain);
            chains.map(CertificateDer::from).collect()
        }
        Form::Pkcs12 => {
            let password = wanted.password.as_ref().map_or("", Secret::reveal);
            let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Raw);
            let store = store.map_err(|error| stored(flag, path, pkcs12_words(&error)))?;
            let certificates = store.entries().filter_map(|(_, entry)| match entry {
                KeyStoreEntry::Certificate(one) => Some(one.as_der().to_vec().into()),
                _ => None,
            });
            certificates.collect()
        }
    };
    if found.is_empty() {
        let remedy = "name a file with the certificates of the authorities";
        return Err(Problem::new(at(flag, path), "holds no certificate", remedy));
    }
    Ok(found)
}

/// The flag and its file, as the operator wrote them.
pub(super) fn at(flag: &str, path: &Path) -> String {
    format!("{flag} {}", path.display())
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|error| {
        let remedy = "name a file that this user can read";
        Problem::new(at(flag, path), format!("cannot be read: {error}"), remedy)
    })
}

fn form(flag: &str, path: &Path, bytes: &[u8]) -> Result<Form, Problem> {
    if bytes.starts_with(&jks::MAGIC) {
        Ok(Form::Jks)
    } else if bytes.first() == Some(&0x30) {
        Ok(Form::Pkcs12)
    } else if bytes.windows(10).any(|part| part == b"-----BEGIN") {
        Ok(Form::Pem)
    } else if bytes.starts_with(&jks::JCEKS_MAGIC) {
        Err(Problem::new(
            at(flag, path),
            "is a JCEKS store",
            "convert it: keytool -importkeystore -srckeystore OLD -srcstoretype JCEKS \
             -destkeystore NEW -deststoretype PKCS12",
        ))
    } else {
        Err(Problem::new(
            at(flag, path),
            "is neither PEM nor a JKS or PKCS#12 store",
            "name a file in one of these forms",
        ))
    }
}

fn password<'a>(flag: &str, path: &Path, secret: Option<&'a Secret>) -> Result<&'a str, Problem> {
    secret.map(Secret::reveal).ok_or_else(|| {
        let remedy = "name a file whose first line is the password, with the flag beside this one \
                      that ends in -password-file";
        Problem::new(at(flag, path), "is a store with a password", remedy)
    })
}

fn stored(flag: &str, path: &Path, what: String) -> Problem {
    let remedy = format!(
        "look with the same password: keytool -list -v -keystore {}",
        path.display()
    );
    Problem::new(at(flag, path), what, remedy)
}

fn pem_pair(wanted: &Identity, bytes: &[u8]) -> Result<Pair, Problem> {
    let (flag, path) = (wanted.flag.as_str(), wanted.certificate.as_path());
    let chain = pem_certificates(flag, path, bytes)?;
    if chain.is_empty() {
        let remedy = "name a file that begins with the certificate, its chain behind it";
        return Err(Problem::new(at(flag, path), "holds no certificate", remedy));
    }
    let (flag, path) = match &wanted.key {
        Some(key) => (wanted.key_flag.as_str(), key.as_path()),
        None => (flag, path),
    };
    let own = wanted.key.is_some().then(|| read(flag, path)).transpose()?;
    let bytes = own.as_deref().unwrap_or(bytes);
    let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|_| {
        let locked = bytes
            .windows(21)
            .any(|part| part == b"ENCRYPTED PRIVATE KEY");
        let (what, remedy) = if locked {
            let remedy = format!(
                "take the password off, and see to the file's mode: openssl pkcs8 -in {} -out NEW",
                path.display()
            );
            ("holds an encrypted key", remedy)
        } else {
            let remedy = "name a PEM file with a PKCS#8, PKCS#1 or SEC1 key".to_owned();
            ("holds no private key", remedy)
        };
        Problem::new(at(flag, path), what, remedy)
    })?;
    Ok(Pair { chain, key })
}

fn pem_certificates(
    flag: &str,
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    all.map_err(|error| {
        let remedy = format!("look into it: openssl x509 -in {} -text", path.display());
        Problem::new(at(flag, path), format!("is damaged: {error}"), remedy)
    })
}

fn jks_pair(bytes: &[u8], password: &str) -> Result<Pair, String> {
    let entries = jks::read(bytes, password).map_err(|error| error.to_string())?;
    let keys = entries.iter().filter(|entry| entry.locked.is_some());
    let entry = only(keys.map(|entry| (entry.alias.as_str(), entry)))?;
    let key = entry.key(password).map_err(|error| error.to_string())?;
    let chain = entry.chain.iter().cloned().map(CertificateDer::from);
    Ok(Pair {
        chain: chain.collect(),
        key: PrivatePkcs8KeyDer::from(key.unwrap_or_default()).into(),
    })
}

fn pkcs12_pair(bytes: &[u8], password: &str) -> Result<Pair, String> {
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict);
    let store = store.map_err(|error| pkcs12_words(&error))?;
    let keys = store.entries().filter_map(|(alias, entry)| match entry {
        KeyStoreEntry::PrivateKeyChain(chain) => Some((alias.as_str(), chain)),
        _ => None,
    });
    let entry = only(keys)?;
    let chain = entry.certs().iter().map(|one| one.as_der().to_vec().into());
    Ok(Pair {
        chain: chain.collect(),
        key: PrivatePkcs8KeyDer::from(entry.key().as_der().to_vec()).into(),
    })
}

fn pkcs12_words(error: &p12_keystore::error::Error) -> String {
    use p12_keystore::error::Error;
    match error {
        Error::MacError(_) => "the password is wrong, or the file is damaged".to_owned(),
        other => format!("it cannot be read as PKCS#12: {other}"),
    }
}

/// The only one, or what is wrong with their number.
fn only<'a, T>(all: impl Iterator<Item = (&'a str, T)>) -> Result<T, String> {
    let (aliases, mut all): (Vec<_>, Vec<_>) = all.unzip();
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err("it holds no key".to_owned()),
        (Some(_), false) => Err(format!(
            "it holds more than one key ({}); make one of its own with keytool -importkeystore \
             -srcalias",
            aliases.join(", ")
        )),
    }
}
