//! What a secure connect bundle leads to: a service that names the nodes, and a router that takes
//! TLS off and sends a connection on by the name that was asked for (SNI).

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::tls::{self, Authority};

/// The host in the bundle, and in the certificates.
const HOST: &str = "localhost";

/// Service and router before one real node; they run until the test process ends.
pub struct Cloud {
    pub bundle: PathBuf,
    pub service: SocketAddr,
    /// The file of who has signed all that is there.
    pub authority: PathBuf,
    names: Arc<Names>,
}

/// The nodes' names, and what was asked for.
#[derive(Debug)]
struct Names {
    certificate: Arc<CertifiedKey>,
    /// By the service.
    told: Mutex<Vec<String>>,
    /// By the router.
    served: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl ResolvesServerCert for Names {
    /// No certificate ends the handshake with an alert.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_owned();
        let known = self.served.lock().unwrap().contains(&name);
        self.asked.lock().unwrap().push(name);
        known.then(|| Arc::clone(&self.certificate))
    }
}

impl Cloud {
    /// `names` are those of nodes, all of which are the node at `node`.
    pub fn new(name: &str, node: SocketAddr, names: &[&str]) -> Cloud {
        let authority = Authority::new(&format!("{name}-authority"));
        let (cert, key) = authority.sign(&format!("{name}-host"), HOST);
        let pair = CertifiedKey::from_der(
            CertificateDer::pem_file_iter(&cert)
                .unwrap()
                .flatten()
                .collect(),
            PrivateKeyDer::from_pem_file(&key).unwrap(),
            &ring::default_provider(),
        );
        let told: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let names = Arc::new(Names {
            certificate: Arc::new(pair.unwrap()),
            served: Mutex::new(told.clone()),
            told: Mutex::new(told),
            asked: Mutex::default(),
            open: Mutex::default(),
        });
        let router = route(&names, &authority, node);
        let service = serve(&names, &authority, router);
        let (cert, key) = authority.sign(&format!("{name}-client"), "client.example");
        let config = format!("{{\"host\":\"{HOST}\",\"port\":{}}}", service.port());
        let bundle = zipped(name, &config, [&authority.file, &cert, &key]);
        Cloud {
            bundle,
            service,
            authority: authority.file,
            names,
        }
    }

    /// The nodes are others now, and those that were are gone.
    pub fn rename(&self, names: &[&str]) {
        let told: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        *self.names.told.lock().unwrap() = told.clone();
        *self.names.served.lock().unwrap() = told;
        for socket in self.names.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The router knows none of the names that the service tells.
    pub fn forget(&self) {
        self.names.served.lock().unwrap().clear();
    }

    /// Whether a node was asked for by this name.
    pub fn was_asked_for(&self, name: &str) -> bool {
        self.names
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|asked| asked == name)
    }
}

/// A bundle with this `config.json`, and with authority, certificate and key from these files.
pub fn zipped(name: &str, config: &str, files: [&PathBuf; 3]) -> PathBuf {
    let path = tls::dir().join(format!("{name}.zip"));
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    let names = ["ca.crt", "cert", "key"];
    let files = names.iter().zip(files.map(|file| fs::read(file).unwrap()));
    for (name, content) in files.chain([(&"config.json", config.as_bytes().to_vec())]) {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// Lets in whom the authority has signed.
fn clients(authority: &Authority) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_file(&authority.file).unwrap();
    roots.add(own).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    verifier.build().unwrap()
}

/// TLS with whom the authority has signed.
fn tls_config(authority: &Authority, own: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(clients(authority));
    Arc::new(builder.with_cert_resolver(own))
}

fn route(names: &Arc<Names>, authority: &Authority, node: SocketAddr) -> SocketAddr {
    let config = tls_config(authority, names.clone());
    let names = Arc::clone(names);
    listen(move |socket| {
        names.open.lock().unwrap().push(socket.try_clone()?);
        pass_on(
            socket,
            ServerConnection::new(Arc::clone(&config)).unwrap(),
            node,
        )
    })
}

/// Answers any request with what the service says.
fn serve(names: &Arc<Names>, authority: &Authority, router: SocketAddr) -> SocketAddr {
    let own = SingleCertAndKey::from(CertifiedKey::clone(&names.certificate));
    let (config, names) = (tls_config(authority, Arc::new(own)), Arc::clone(names));
    listen(move |socket| {
        let server = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(server, socket));
        let mut line = String::new();
        stream.read_line(&mut line)?;
        assert_eq!(line, "GET /metadata HTTP/1.1\r\n");
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let answer = serde_json::json!({
            "version": 1,
            "region": "east",
            "contact_info": {
                "type": "sni_proxy",
                "local_dc": "east",
                "contact_points": *names.told.lock().unwrap(),
                "sni_proxy_address": format!("{HOST}:{}", router.port()),
            },
        });
        let answer = answer.to_string();
        let stream = stream.get_mut();
        // in two pieces, as a server may that does not know how long it gets
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        for piece in [&answer[..9], &answer[9..], ""] {
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
        }
        stream.flush()?;
        stream.conn.send_close_notify();
        stream.flush()
    })
}

/// Each connection has a thread of its own; what goes wrong there ends it.
fn listen(each: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let each = Arc::new(each);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || {
                let _ = each(socket);
            });
        }
    });
    address
}

/// Bytes to and fro, until a side ends.
fn pass_on(
    mut socket: TcpStream,
    mut server: ServerConnection,
    node: SocketAddr,
) -> std::io::Result<()> {
    while server.is_handshaking() {
        server.complete_io(&mut socket)?;
    }
    server.set_buffer_limit(None);
    let server = Arc::new(Mutex::new(server));
    let mut behind = TcpStream::connect(node)?;
    let (back, mut from) = (Arc::clone(&server), behind.try_clone()?);
    let mut to = socket.try_clone()?;
    thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let count = from.read(&mut buffer)?;
            let mut server = back.lock().unwrap();
            if count == 0 {
                return to.shutdown(Shutdown::Both);
            }
            server.writer().write_all(&buffer[..count])?;
            while server.wants_write() {
                server.write_tls(&mut to)?;
            }
        }
    });
    let mut buffer = [0; 16 << 10];
    loop {
        let mut plain = Vec::new();
        let taken = server.lock().unwrap().reader().read_to_end(&mut plain);
        match taken {
            Err(error) if error.kind() != ErrorKind::WouldBlock => break,
            _ => behind.write_all(&plain)?,
        }
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let (mut server, mut rest) = (server.lock().unwrap(), &buffer[..count]);
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            server
                .process_new_packets()
                .map_err(std::io::Error::other)?;
        }
        while server.wants_write() {
            server.write_tls(&mut socket)?;
        }
    }
    behind.shutdown(Shutdown::Both)
}
