//! How to speak to an endpoint, and the socket itself: plain or TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use twinring_cql::{Compression, Version};

/// How an endpoint is spoken to.
#[derive(Clone, Debug)]
pub struct Access {
    /// Protocol version.
    pub version: Version,
    /// Compression of the bodies.
    pub compression: Compression,
    /// For servers that ask for a password.
    pub credentials: Option<Credentials>,
    /// TLS; `None`: plain.
    pub tls: Option<Tls>,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            version: Version::V4,
            compression: Compression::None,
            credentials: None,
            tls: None,
        }
    }
}

/// User and password. The debug form does not show the password.
#[derive(Clone)]
pub struct Credentials {
    /// Who.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = &self.user;
        f.debug_struct("Credentials")
            .field("user", user)
            .finish_non_exhaustive()
    }
}

/// TLS as a client.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Trusts the certificates in the PEM file `roots`. The server's must be for `name`; `None`:
    /// for the address that is connected to. `identity` has the PEM files of a certificate chain
    /// and its key, for servers that want one.
    ///
    /// # Errors
    /// A file that cannot be read or has nothing of use in it; a name that is none.
    pub fn new(
        roots: &Path,
        name: Option<&str>,
        identity: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Tls> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(roots)? {
            store
                .add(certificate)
                .with_context(|| format!("trust {}", roots.display()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key)
                    .with_context(|| format!("read a private key from {}", key.display()))?;
                builder.with_client_auth_cert(certificates(chain)?, secret)?
            }
        };
        let name = name
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .context("the name that the server's certificate must have")?;
        Ok(Tls {
            config: Arc::new(config),
            name,
        })
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || format!("read certificates from {}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .with_context(read)?
        .collect();
    let found = found.with_context(read)?;
    if found.is_empty() {
        bail!("{} has no certificate in it", path.display());
    }
    Ok(found)
}

/// A connected socket.
#[derive(Debug)]
pub enum Wire {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Connects; the socket blocks, for at most `patience` at a time.
    ///
    /// # Errors
    /// Nobody there, or no TLS there.
    pub fn connect(
        endpoint: SocketAddr,
        tls: Option<&Tls>,
        patience: Duration,
    ) -> anyhow::Result<Wire> {
        let stream = TcpStream::connect_timeout(&endpoint, patience)
            .with_context(|| format!("connect to {endpoint}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let Some(tls) = tls else {
            return Ok(Wire::Plain(stream));
        };
        let address = || ServerName::IpAddress(endpoint.ip().into());
        let name = tls.name.clone().unwrap_or_else(address);
        let mut client = ClientConnection::new(Arc::clone(&tls.config), name)?;
        let mut socket = &stream;
        while client.is_handshaking() {
            client
                .complete_io(&mut socket)
                .with_context(|| format!("agree on TLS with {endpoint}"))?;
        }
        Ok(Wire::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// The socket below.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(tls) => tls.get_ref(),
        }
    }

    /// Whether bytes that were taken still wait for the socket.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Tls(tls) => tls.conn.wants_write(),
        }
    }

    /// Whether read bytes may be left when the socket has none.
    #[must_use]
    pub fn keeps_bytes(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials {
            user: "alice".to_owned(),
            password: "secret".to_owned(),
        };
        let text = format!("{credentials:?}");
        assert!(text.contains("alice") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Tls::new(file.path(), None, None).unwrap_err();
        let name = file.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
    }
}
