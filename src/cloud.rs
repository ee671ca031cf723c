//! The service that a secure connect bundle leads to, and what it says of the target's nodes: all
//! are behind one address, each by a name of its own (SNI).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::config::Problem;
use crate::limits;
use crate::tls::SecureError;
use crate::tls::bundle::Bundle;

/// Where a driver listens if the service names no port.
const CQL_PORT: u16 = 9042;

/// What an operator can do when the nodes cannot be found or reached.
pub const MEND: &str = "is the database active, and may this machine reach it? a bundle that was \
                        replaced does not work any more: download it again";

/// Why it is not known where the nodes are.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The bundle itself.
    #[error("{}: {}", .0.place, .0.what)]
    Bundle(Problem),
    /// TLS with the service.
    #[error("{0}: TLS failed: {1}")]
    Tls(String, SecureError),
    /// It cannot be reached, or does not answer as it should.
    #[error("{0}: {1}")]
    Http(String, Box<ureq::Error>),
    /// It says no.
    #[error("{0} answers with status {1}")]
    Status(String, u16),
    /// An answer without sense.
    #[error("{0} answers what cannot be understood: {1}")]
    Answer(String, String),
    /// The nodes' address is a name that nobody knows.
    #[error("the nodes are at {0}, which has no address: {1}")]
    Address(String, io::Error),
}

/// What it answers, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    contact_info: ContactInfo,
}

#[derive(Deserialize)]
struct ContactInfo {
    sni_proxy_address: String,
    contact_points: Vec<String>,
    local_dc: Option<String>,
}

/// What the service says of the nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Nodes {
    /// Each node's address, which others may have, and its name: the host id.
    pub points: Vec<(SocketAddr, String)>,
    /// The data centre whose nodes can be reached; `None`: it does not say.
    pub center: Option<String>,
}

/// Asks where the nodes are. Waits for the answer.
///
/// # Errors
/// Nobody knows.
pub fn ask(bundle: &Path) -> Result<Nodes, CloudError> {
    let bundle = Bundle::read(bundle).map_err(CloudError::Bundle)?;
    let url = format!("https://{}:{}/metadata", bundle.host, bundle.port);
    let failed = |error| match error {
        ureq::Error::Rustls(error) => CloudError::Tls(url.clone(), error.into()),
        ureq::Error::StatusCode(status) => CloudError::Status(url.clone(), status),
        ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
            Ok(error) => CloudError::Tls(url.clone(), error.into()),
            Err(error) => CloudError::Http(url.clone(), Box::new(error.into())),
        },
        other => CloudError::Http(url.clone(), Box::new(other)),
    };
    let agent = agent(&bundle).map_err(failed)?;
    let mut answer = agent.get(&url).call().map_err(failed)?;
    let body = answer.body_mut().with_config();
    let body = body.limit(limits::BUNDLE_ANSWER_MAX_BYTES).read_to_vec();
    let told = understood(&body.map_err(failed)?);
    let told = told.map_err(|what| CloudError::Answer(url, what))?;
    let mut addresses = resolved(&told.sni_proxy_address)
        .map_err(|error| CloudError::Address(told.sni_proxy_address.clone(), error))?;
    addresses.sort_unstable(); // the same list makes the same nodes
    let addresses = addresses.into_iter().cycle();
    Ok(Nodes {
        points: addresses.zip(told.contact_points).collect(),
        center: told.local_dc,
    })
}

/// A client that shows the bundle's certificate, trusts its authority, and goes nowhere else.
fn agent(bundle: &Bundle) -> Result<ureq::Agent, ureq::Error> {
    let all = |certificates: &[rustls::pki_types::CertificateDer<'static>]| {
        let all = certificates
            .iter()
            .map(|one| Certificate::from_der(one).to_owned());
        all.collect::<Vec<_>>()
    };
    let key = PrivateKey::from_pem(&bundle.key_pem)?;
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .client_cert(Some(ClientCert::new_with_certs(&all(&bundle.chain), key)))
        .root_certs(RootCerts::new_with_certs(&all(&bundle.authorities)))
        .build();
    let patience = Duration::from_millis(limits::BUNDLE_ANSWER_TIMEOUT_MS);
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(patience))
        .max_redirects(0)
        .https_only(true)
        .proxy(None)
        .build();
    Ok(config.into())
}

fn understood(answer: &[u8]) -> Result<ContactInfo, String> {
    let told: Metadata = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let told = told.contact_info;
    if told.contact_points.is_empty() {
        return Err("it names no nodes".to_owned());
    }
    if told.contact_points.len() > limits::BUNDLE_NODES_MAX {
        return Err(format!("it names {} nodes", told.contact_points.len()));
    }
    match told
        .contact_points
        .iter()
        .find(|name| ServerName::try_from(name.as_str()).is_err())
    {
        Some(name) => Err(format!("`{name}` cannot be a node's name")),
        None => Ok(told),
    }
}

/// The addresses of `host[:port]`, at least one; IPv6 where there are no others.
fn resolved(at: &str) -> io::Result<Vec<SocketAddr>> {
    let has_port = at
        .rsplit_once(':')
        .is_some_and(|(host, _)| !host.contains(':') || at.starts_with('['));
    let found: Vec<SocketAddr> = match has_port {
        true => at.to_socket_addrs()?.collect(),
        false => (at, CQL_PORT).to_socket_addrs()?.collect(),
    };
    let v4 = found.iter().any(SocketAddr::is_ipv4);
    let found: Vec<_> = found
        .into_iter()
        .filter(|one| one.is_ipv4() == v4)
        .collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "no address")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_looked_at_before_it_is_used() {
        let nodes = |list: &str| {
            let contact = r#"{"type":"sni_proxy","local_dc":"dc1","sni_proxy_address":"h:1""#;
            let text =
                format!(r#"{{"version":1,"contact_info":{contact},"contact_points":{list}}}}}"#);
            understood(text.as_bytes()).map(|told| told.contact_points)
        };
        let one = "0750e59f-441b-37bb-b0a7-e097c5d725f7";
        assert_eq!(nodes(&format!("[\"{one}\"]")), Ok(vec![one.to_owned()]));
        assert_eq!(nodes("[]"), Err("it names no nodes".to_owned()));
        let error = nodes("[\"a b\"]");
        assert_eq!(error, Err("`a b` cannot be a node's name".to_owned()));
        let many = vec!["\"a\""; limits::BUNDLE_NODES_MAX + 1].join(",");
        assert_eq!(
            nodes(&format!("[{many}]")),
            Err("it names 257 nodes".to_owned())
        );
        assert!(understood(b"{}").is_err_and(|what| what.contains("contact_info")));
        assert!(understood(b"<html>").is_err());
    }

    #[test]
    fn the_nodes_address_may_lack_a_port() {
        let of = |at| resolved(at).ok().map(|all| all[0].to_string());
        assert_eq!(of("127.0.0.1:29042").as_deref(), Some("127.0.0.1:29042"));
        assert_eq!(of("127.0.0.1").as_deref(), Some("127.0.0.1:9042"));
        assert_eq!(of("[::1]:9").as_deref(), Some("[::1]:9"));
        assert_eq!(of("::1").as_deref(), Some("[::1]:9042"));
        assert_eq!(of("127.0.0.1:x"), None);
    }
}
