//! TLS of the client, by rustls: one version, suite and key exchange, so that all relays do the
//! same sums. The handshake is over before anything is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Trusts the certificate in `ca`; TLS 1.3 with AES-128-GCM and X25519 alone.
pub(crate) fn config(ca: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let config = ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = config.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// One end of a connection.
pub(crate) struct Secure(ClientConnection);

impl Secure {
    /// The whole handshake, waiting.
    pub(crate) fn open(
        config: &Arc<ClientConfig>,
        stream: &mut TcpStream,
        at: SocketAddr,
    ) -> anyhow::Result<Secure> {
        let mut connection = ClientConnection::new(Arc::clone(config), at.ip().into())?;
        while connection.is_handshaking() {
            connection.complete_io(stream)?;
        }
        Ok(Secure(connection))
    }

    /// Appends the plain bytes in `records` to `plain`.
    pub(crate) fn receive(
        &mut self,
        mut records: &[u8],
        plain: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        while !records.is_empty() {
            self.0.read_tls(&mut records)?;
            let count = self.0.process_new_packets()?.plaintext_bytes_to_read();
            let begin = plain.len();
            plain.resize(begin + count, 0);
            self.0.reader().read_exact(&mut plain[begin..])?;
        }
        Ok(())
    }

    /// The records that carry `plain`.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.0.writer().write_all(plain)?;
        let mut records = Vec::with_capacity(plain.len() + 64);
        while self.0.wants_write() {
            self.0.write_tls(&mut records)?;
        }
        Ok(records)
    }
}
