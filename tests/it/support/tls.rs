//! Certificates for the tests: an authority of ours, and the stores of nodes, made by `keytool`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::cassandra::run_dir;

/// The password of all stores.
pub const WORD: &str = "changeit";

/// Where they are.
pub fn dir() -> PathBuf {
    let dir = run_dir().join("tls");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// An authority, and its certificate's file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

/// The authority that signs for proxies and clients.
pub fn authority() -> &'static Authority {
    static CELL: OnceLock<Authority> = OnceLock::new();
    CELL.get_or_init(|| Authority::new("authority"))
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = dir().join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A certificate for `host` and its key, as files.
    pub fn sign(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, pem) = (format!("{name}.crt"), format!("{name}.key"));
        let files = (dir().join(cert), dir().join(pem));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

/// `client_encryption_options` of a node, whose stores are made: a JKS one for the source, which
/// wants certificates of our authority, and a PKCS#12 one for the target.
pub fn node_option(name: &str, ip: Ipv4Addr) -> String {
    let (store, trust) = (
        dir().join(format!("{name}.store")),
        dir().join("clients.store"),
    );
    let kind = if name.contains("source") {
        "JKS"
    } else {
        "PKCS12"
    };
    let san = format!("san=ip:{ip}");
    let subject = format!("CN={name}");
    let made = [
        "-genkeypair",
        "-alias",
        name,
        "-keyalg",
        "EC",
        "-dname",
        &subject,
    ];
    keytool(
        &store,
        kind,
        &[&made[..], &["-ext", &san, "-validity", "30"]].concat(),
    );
    let cert = certificate_of(name);
    let cert = cert.to_str().unwrap();
    keytool(
        &store,
        kind,
        &["-exportcert", "-rfc", "-alias", name, "-file", cert],
    );
    let imported = ["-importcert", "-noprompt", "-alias", "it", "-file"];
    keytool(
        &trust_of(name),
        "PKCS12",
        &[&imported[..], &[cert]].concat(),
    );
    let own = authority().file.to_str().unwrap();
    if !trust.exists() {
        keytool(&trust, "JKS", &[&imported[..], &[own]].concat());
    }
    let (store, trust) = (store.display(), trust.display());
    let wants = kind == "JKS";
    format!(
        "client_encryption_options: {{enabled: true, optional: true, store_type: {kind}, \
         keystore: '{store}', keystore_password: {WORD}, require_client_auth: {wants}, \
         truststore: '{trust}', truststore_password: {WORD}}}"
    )
}

/// The certificate of a node, PEM.
pub fn certificate_of(name: &str) -> PathBuf {
    dir().join(format!("{name}.pem"))
}

/// A trust store with the certificate of a node.
pub fn trust_of(name: &str) -> PathBuf {
    dir().join(format!("{name}.p12"))
}

/// All of these certificates in one file.
pub fn bundle(name: &str, certificates: &[PathBuf]) -> PathBuf {
    let file = dir().join(format!("{name}-bundle.pem"));
    let all = certificates.iter().map(|one| std::fs::read(one).unwrap());
    std::fs::write(&file, all.collect::<Vec<_>>().concat()).unwrap();
    file
}

/// A file with the password of the stores.
pub fn word_file() -> PathBuf {
    let file = dir().join("word");
    std::fs::write(&file, WORD).unwrap();
    file
}

/// What a test wants of the proxy, as flags.
#[derive(Default, Clone)]
pub struct Flags(pub Vec<String>);

impl Flags {
    pub fn with(mut self, flag: &str, value: impl AsRef<Path>) -> Flags {
        self.0.push(flag.to_owned());
        self.0.push(value.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// TLS with clients, by our authority.
    pub fn listener(self, ip: Ipv4Addr) -> Flags {
        let (cert, key) = authority().sign(&format!("proxy-{ip}"), &ip.to_string());
        self.with("--proxy-pem-certfile", cert)
            .with("--proxy-pem-keyfile", key)
    }

    /// TLS with the source, whose nodes have certificates of this file, and want one.
    pub fn source(self, ca: &Path) -> Flags {
        let (cert, key) = authority().sign("to-source", "proxy.example");
        self.with("--disable-source-tls", "false")
            .with("--source-tls-ca", ca)
            .with("--source-tls-cert", cert)
            .with("--source-tls-key", key)
    }

    /// TLS with the target.
    pub fn target(self) -> Flags {
        self.with("--disable-target-tls", "false")
            .with("--target-tls-ca", trust_of("secure-target"))
            .with("--target-tls-password-file", word_file())
    }

    pub fn words(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn keytool(store: &Path, kind: &str, args: &[&str]) {
    let mut command = Command::new("keytool");
    command.args(args).arg("-keystore").arg(store);
    command.args(["-storetype", kind, "-storepass", WORD]);
    if args[0] == "-genkeypair" {
        command.args(["-keypass", WORD]);
    }
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {words}");
}

/// A client that trusts our authority.
pub fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&authority().file).unwrap();
    roots.add(certificate).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

/// Connects, sends OPTIONS, reads the head of the answer, says goodbye and closes.
pub fn ask_options(config: &Arc<ClientConfig>, at: SocketAddr) -> std::io::Result<()> {
    let socket = TcpStream::connect(at)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let client = ClientConnection::new(config.clone(), at.ip().into()).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(&[4, 0, 0, 1, 5, 0, 0, 0, 0])?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    assert_eq!(head[4], 6, "SUPPORTED");
    stream.conn.send_close_notify();
    stream.flush()
}
