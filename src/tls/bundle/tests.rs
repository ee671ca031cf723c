#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::metrics::TlsFailure;
use crate::tls::Outgoing;
use crate::tls::probe::{ProbeError, handshake};

const HOST: &str = "db.example";
const CONFIG: &str = r#"{"host":"db.example","port":29080,"keyspace":"shop","localDC":"east"}"#;

/// An authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self {
            issuer,
            certificate,
        }
    }

    /// Certificate and key, PEM.
    fn sign(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The files of a bundle.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let (cert, key) = self.sign("client.example");
        let ca = self.certificate.clone();
        vec![
            ("config.json", CONFIG.to_owned()),
            ("ca.crt", ca),
            ("cert", cert),
            ("key", key),
            ("cqlshrc", "[connection]".to_owned()),
        ]
    }

    /// What a server shows that is called `host`; it wants certificates of this authority.
    fn server(&self, host: &str) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        let own = certificates("", self.certificate.as_bytes()).unwrap();
        roots.add_parsable_certificates(own);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let (cert, key) = self.sign(host);
        let chain = certificates("", cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(clients.build().unwrap());
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// A zip file with these.
fn zipped(parts: &[(&str, String)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    (dir, path)
}

fn wrong(parts: &[(&str, String)]) -> String {
    let (_dir, path) = zipped(parts);
    let problem = Bundle::read(&path).err().unwrap();
    assert!(problem.place.ends_with("bundle.zip"), "{problem}");
    problem.what
}

#[test]
fn what_is_needed_is_taken_out() {
    let (_dir, path) = zipped(&Authority::new().parts());
    let bundle = Bundle::read(&path).unwrap();
    assert_eq!((bundle.host.as_str(), bundle.port), (HOST, 29080));
    assert_eq!((bundle.authorities.len(), bundle.chain.len()), (1, 1));
    assert_eq!(bundle.open, None);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Bundle::read(&path).unwrap().open, Some(0o644));
    assert!(Outgoing::of_bundle(&path).unwrap().expiry_s.is_some());
}

#[test]
fn what_is_wrong_is_named() {
    let good = Authority::new().parts();
    let with = |name: &str, content: &str| {
        let mut parts = good.clone();
        for part in parts.iter_mut().filter(|part| part.0 == name) {
            part.1 = content.to_owned();
        }
        wrong(&parts)
    };
    for name in ["config.json", "ca.crt", "cert", "key"] {
        let less: Vec<_> = good.iter().filter(|part| part.0 != name).cloned().collect();
        let words = format!("has no {name} in it: it is no secure connect bundle");
        assert_eq!(wrong(&less), words);
    }
    let place = "its config.json names no host and port";
    assert!(with("config.json", "{").starts_with(place));
    assert!(with("config.json", r#"{"host":"h"}"#).starts_with(place));
    assert_eq!(with("config.json", r#"{"host":"","port":1}"#), place);
    assert_eq!(with("ca.crt", "x"), "its ca.crt holds no certificate");
    assert_eq!(with("key", "x"), "its key is no private key in PEM");
    let (_, other) = Authority::new().sign(HOST);
    let words = with("key", &other);
    assert!(
        words.starts_with("its cert and key cannot be used"),
        "{words}"
    );
}

#[test]
fn nothing_in_it_makes_us_take_much_memory() {
    let mut parts = Authority::new().parts();
    parts[1].1 = " ".repeat(64 << 20);
    assert_eq!(wrong(&parts), "its ca.crt is too long");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.zip");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let problem = Bundle::read(&path).err().unwrap();
    assert_eq!(problem.what, "is larger than 1024 KiB");
}

#[test]
fn a_damaged_one_is_no_panic() {
    let (_dir, path) = zipped(&Authority::new().parts());
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let problem = Bundle::read(&path).err().unwrap();
        assert!(problem.what.starts_with("is no zip file, or is damaged"));
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        let _ = Bundle::read(&path); // what no part depends on may be damaged
    }
    fs::remove_file(&path).unwrap();
    let problem = Bundle::read(&path).err().unwrap();
    assert!(problem.what.starts_with("cannot be read"), "{problem}");
}

/// Shakes hands as with the node `name` of the bundle. Gives the name that the server was asked
/// for, or why it came to nothing.
fn shaken(bundle: &Path, server: Arc<ServerConfig>, name: &str) -> Result<String, TlsFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(patience).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        let _ = server.complete_io(&mut socket);
        server.server_name().map(str::to_owned)
    });
    let outgoing = Outgoing::of_bundle(bundle).unwrap();
    let result = handshake(&mut stream, &outgoing, name);
    drop(stream);
    let asked = serving.join().unwrap();
    match result {
        Ok(()) => Ok(asked.unwrap()),
        Err(ProbeError::Tls(error)) => Err(error.reason()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_node_is_asked_for_by_its_name_and_known_by_the_hosts() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (_dir, path) = zipped(&ours.parts());
    let node = "0750e59f-441b-37bb-b0a7-e097c5d725f7";
    assert_eq!(shaken(&path, ours.server(HOST), node).as_deref(), Ok(node));
    let elsewhere = shaken(&path, ours.server("other.example"), node);
    assert_eq!(elsewhere, Err(TlsFailure::Name));
    let not_trusted = shaken(&path, other.server(HOST), node);
    assert_eq!(not_trusted, Err(TlsFailure::Untrusted));
}
