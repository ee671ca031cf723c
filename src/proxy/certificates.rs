//! Takes over certificates that have changed, without a restart: new connections use the new ones,
//! those that are there go on.
//!
//! The files are looked at every few seconds, and at once on SIGHUP. What cannot be used is
//! reported and counted, and the old certificates stay.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::ProxyConfig;
use crate::limits;
use crate::shard::inbox::{Address, Message};
use crate::tls::Material;
use crate::watch::Watch;

/// What tells one state of a file from another: inode, size, seconds and nanoseconds of its mtime.
type Stamp = Option<(u64, u64, i64, i64)>;

/// See the module.
pub struct Certificates {
    config: Arc<ProxyConfig>,
    material: Material,
    files: Vec<PathBuf>,
    /// The files as they were when they were read last.
    read: Vec<Stamp>,
    /// The files as they were at the last look.
    seen: Vec<Stamp>,
    ticks: u32,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them; the check before the start says it better.
    pub fn load(config: &Arc<ProxyConfig>) -> anyhow::Result<Self> {
        let files = config.tls_files();
        let read = stamps(&files); // before they are read: a change in between is seen later
        let material = Material::load(config)
            .map_err(|problems| anyhow::Error::from(crate::config::ConfigError { problems }))?;
        Ok(Self {
            config: Arc::clone(config),
            material,
            files,
            seen: read.clone(),
            read,
            ticks: 0,
        })
    }

    /// What is in use.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Once a second: reads files that have changed and then kept still, since a certificate and
    /// its key are seldom written in one instant.
    pub fn tick(&mut self, addresses: &[Address], watch: &Watch) {
        self.ticks += 1;
        if self.files.is_empty() || !self.ticks.is_multiple_of(limits::TLS_LOOK_TICKS) {
            return;
        }
        let now = stamps(&self.files);
        let still = now == self.seen;
        self.seen = now;
        if still && self.seen != self.read {
            self.renew(addresses, watch);
        }
    }

    /// Reads the files and hands them on.
    pub fn renew(&mut self, addresses: &[Address], watch: &Watch) {
        if self.files.is_empty() {
            return;
        }
        self.read = stamps(&self.files);
        self.seen.clone_from(&self.read);
        match Material::load(&self.config) {
            Ok(material) => {
                self.material = material;
                watch.secure_with(&self.material);
                for address in addresses {
                    address.tell(Message::Tls(Box::new(self.material.clone())));
                }
                tracing::info!("new certificates: connections to come use them");
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!("the old certificates stay: {problem}");
                }
                if let Some(first) = addresses.first() {
                    first.tell(Message::TlsUnfit);
                }
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}
