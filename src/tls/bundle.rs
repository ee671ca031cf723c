//! Secure connect bundles, as Astra DB hands them out: a zip with the address of a service that
//! knows the nodes, its authority, and a certificate with its key.

use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use zip::ZipArchive;
use zip::result::ZipError;

use super::files::at;
use crate::config::Problem;
use crate::limits;

/// The flag that names the file.
const FLAG: &str = "--target-secure-connect-bundle";
const AGAIN: &str = "download the bundle of this database again, and do not unpack it";

/// What is in a bundle, as far as it is needed.
pub struct Bundle {
    /// Host of the service that knows the nodes. It is in the certificates of all that the bundle
    /// leads to.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who signs these certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What they are shown, the certificate's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The same as it is in the bundle.
    pub key_pem: Vec<u8>,
    /// Others than its owner may read the file, and so the key; its mode.
    pub open: Option<u32>,
}

/// `config.json`; what else is in it is for drivers.
#[derive(Deserialize)]
struct Place {
    host: String,
    port: u16,
}

impl Bundle {
    /// Reads a bundle. Nothing of it is ever on the disk but the bundle itself.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::new(at(FLAG, path), what, AGAIN);
        let (bytes, mode) = whole(path)?;
        let mut archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| wrong(format!("is no zip file, or is damaged: {error}")))?;
        let mut part = |name: &str| part(&mut archive, name).map_err(wrong);
        let place = part("config.json")?;
        let place: Place = serde_json::from_slice(&place)
            .map_err(|error| wrong(format!("its config.json names no host and port: {error}")))?;
        if place.host.is_empty() || place.port == 0 {
            return Err(wrong("its config.json names no host and port".to_owned()));
        }
        let authorities = certificates("ca.crt", &part("ca.crt")?).map_err(wrong)?;
        let chain = certificates("cert", &part("cert")?).map_err(wrong)?;
        let key_pem = part("key")?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| wrong("its key is no private key in PEM".to_owned()))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider())
            .map_err(|error| wrong(format!("its cert and key cannot be used: {error}")))?;
        Ok(Self {
            host: place.host,
            port: place.port,
            authorities,
            chain,
            key,
            key_pem,
            open: (mode & 0o077 != 0).then_some(mode & 0o7777),
        })
    }
}

/// What went wrong with a bundle, beyond its form.
pub(super) fn unfit(path: &Path, what: String) -> Problem {
    Problem::new(at(FLAG, path), what, AGAIN)
}

/// The whole file, and its mode.
fn whole(path: &Path) -> Result<(Vec<u8>, u32), Problem> {
    let cannot = |error: std::io::Error| {
        let remedy = "name a file that this user can read";
        Problem::new(at(FLAG, path), format!("cannot be read: {error}"), remedy)
    };
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.mode();
    let mut bytes = Vec::new();
    file.take(limits::BUNDLE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > limits::BUNDLE_MAX_BYTES {
        let what = format!("is larger than {} KiB", limits::BUNDLE_MAX_BYTES >> 10);
        return Err(Problem::new(at(FLAG, path), what, AGAIN));
    }
    Ok((bytes, mode))
}

/// One file of the archive. What its header says of its length is not believed.
fn part(archive: &mut ZipArchive<Cursor<Vec<u8>>>, name: &str) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|error| match error {
        ZipError::FileNotFound => format!("has no {name} in it: it is no secure connect bundle"),
        other => format!("its {name} cannot be read: {other}"),
    })?;
    let mut bytes = Vec::new();
    file.take(limits::BUNDLE_PART_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("its {name} is damaged: {error}"))?;
    match bytes.len() as u64 > limits::BUNDLE_PART_MAX_BYTES {
        true => Err(format!("its {name} is too long")),
        false => Ok(bytes),
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("its {name} holds no certificate")),
        Err(error) => Err(format!("its {name} is damaged: {error}")),
    }
}

#[cfg(test)]
mod tests;
