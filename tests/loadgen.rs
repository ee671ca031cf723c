//! The load generator against the in-memory node: what it wrote is there, in every way of speaking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // tests may

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use twinring::node::{Node, NodeConfig, NodeHandle};
use twinring_loadgen::cli::{self, Cli};

fn node() -> NodeHandle {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Node::start(NodeConfig::new(any)).unwrap()
}

/// Runs a command line; gives whether all was well, and what was printed.
fn loadgen(line: &str) -> (bool, String) {
    let cli = Cli::try_parse_from(format!("loadgen {line}").split_whitespace()).unwrap();
    let mut out = Vec::new();
    let good = cli::main(&cli, &mut out).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    (good, String::from_utf8(out).unwrap())
}

const SHORT: &str = "--create --rate 500 --duration 1 --warm-up 0.2 --patience 60 --connections 3";

#[test]
fn every_kind_of_request_leaves_what_it_should() {
    let node = node();
    let address = node.addr();
    for (at, how) in [
        "--mix write",
        "--mix write=4,read=4,delete=1,batch=1 --keys 50 --key-order zipf:1",
        "--mix write,read --client-stamps --value-bytes 24-3000 --key-order uniform",
        "--mix write --protocol-version 3 --ttl 600",
        "--mix write,read --compression lz4 --value-bytes 100x3,5000x1",
        "--mix lwt --keys 100 --consistency quorum",
        "--mix write,read,delete,batch --statements 30 --keys 50",
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("t{at}");
        let (_, text) = loadgen(&format!(
            "run {address} {SHORT} {how} --table {table} --check {address} --check-after 0"
        ));
        // Whether the rate was kept is this machine's affair; what was written is ours.
        let check = text.lines().find(|line| line.starts_with("check"));
        let check = check.unwrap_or_else(|| panic!("{how}: {text}"));
        assert!(check.ends_with("0 missing, 0 wrong"), "{how}: {text}");
        assert!(!check.contains(": 0 acknowledged"), "{how}: {text}");
        assert!(!text.contains("error 0x"), "{how}: {text}");
        assert!(!text.contains("wrong values"), "{how}: {text}");
        assert!(!text.contains("broken"), "{how}: {text}");
    }
}

#[test]
fn a_table_that_was_changed_behind_its_back_is_noticed() {
    let (one, other) = (node(), node());
    let (first, second) = (one.addr(), other.addr());
    let shape = format!("{SHORT} --keys 40");
    // The second node has the table, and none of the rows.
    loadgen(&format!("run {second} {shape} --mix read"));
    let (good, text) = loadgen(&format!(
        "run {first} {shape} --check {first},{second} --check-after 0"
    ));
    assert!(!good, "{text}");
    assert!(text.contains(&format!(
        "check {second}: 120 acknowledged keys, 120 missing"
    )));
    assert!(
        text.contains("120 rows, 120 missing, 0 surplus, 0 differing"),
        "{text}"
    );
}

#[test]
fn a_comparison_and_a_sweep_leave_their_files() {
    let (one, other) = (node(), node());
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let ends = format!(
        "--endpoint one={} --endpoint other={} --pid other={}",
        one.addr(),
        other.addr(),
        std::process::id()
    );
    let (_, text) = loadgen(&format!(
        "compare {ends} --rounds 2 {SHORT} --out {}",
        place("compare").display()
    ));
    assert!(
        text.contains("p99.9") && text.contains("of processor time per request"),
        "{text}"
    );
    assert!(text.contains("noise"), "two rounds tell nothing: {text}");
    let (_, text) = loadgen(&format!(
        "sweep {ends} --to 1000 --refine 0 {SHORT} --out {}",
        place("sweep").display()
    ));
    assert!(text.contains("one: ") && text.contains("other: "), "{text}");
    loadgen(&format!(
        "run {} {SHORT} --out {}",
        one.addr(),
        place("run").display()
    ));
    for file in [
        "compare/report.html",
        "compare/one.hgrm",
        "sweep/report.html",
        "run/report.html",
        "run/latency.hgrm",
    ] {
        let text = fs::read_to_string(place(file)).unwrap();
        assert!(text.len() > 500, "{file}: {text}");
        assert!(!text.contains("NaN"), "{file}");
        let elsewhere = text.contains("src=") || text.contains("href=") || text.contains("@import");
        assert!(!elsewhere, "{file} loads something");
    }
    for file in ["compare", "sweep", "run"] {
        let text = fs::read_to_string(place(file).join("report.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
    let log = fs::read_to_string(place("run/intervals.hlog")).unwrap();
    let lines = log.lines().filter(|line| line.starts_with("Tag=write,"));
    assert!(lines.count() >= 1, "{log}");
}

#[test]
fn a_password_is_asked_for_and_given() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = NodeConfig {
        credentials: Some(("alice".to_owned(), "secret".to_owned())),
        ..NodeConfig::new(any)
    };
    let node = Node::start(config).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "secret\n").unwrap();
    let line = format!("run {} {SHORT}", node.addr());
    let cli = Cli::try_parse_from(format!("loadgen {line}").split_whitespace()).unwrap();
    let refused = cli::main(&cli, &mut Vec::new()).unwrap_err();
    assert!(format!("{refused:#}").contains("--user"), "{refused:#}");
    let (_, text) = loadgen(&format!(
        "{line} --user alice --password-file {}",
        file.path().display()
    ));
    assert!(text.contains("answers/s"), "{text}");
}

/// Takes TLS off: whoever connects speaks with `behind` in plain.
fn terminator(behind: SocketAddr, certificate: &str, key: &str) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, config) = (stream.unwrap(), Arc::clone(&config));
            thread::spawn(move || {
                let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                forward(tls, TcpStream::connect(behind).unwrap());
            });
        }
    });
    address
}

fn forward(mut front: StreamOwned<ServerConnection, TcpStream>, mut back: TcpStream) {
    front.sock.set_nonblocking(true).unwrap();
    back.set_nonblocking(true).unwrap();
    while let (Some(one), Some(other)) = (pass(&mut front, &mut back), pass(&mut back, &mut front))
    {
        if !one && !other {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Passes on what is there; gives whether anything was, and nothing at the end.
fn pass(from: &mut impl Read, to: &mut impl Write) -> Option<bool> {
    let mut bytes = [0; 16 << 10];
    let count = match from.read(&mut bytes) {
        Ok(0) => return None,
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let _ = to.flush();
            return Some(false);
        }
        Err(_) => return None,
    };
    let mut rest = &bytes[..count];
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(taken) => rest = &rest[taken..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(200));
            }
            Err(_) => return None,
        }
    }
    let _ = to.flush();
    Some(true)
}

#[test]
fn tls_hides_nothing_from_the_check() {
    let node = node();
    let own = rcgen::generate_simple_self_signed(vec!["node.test".to_owned()]).unwrap();
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let front = terminator(node.addr(), &certificate, &key);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &certificate).unwrap();
    let line = format!(
        "run {front} {SHORT} --mix write,read --value-bytes 24-20000 --check {front} \
         --check-after 0 --tls-ca {}",
        file.path().display()
    );
    let (_, text) = loadgen(&format!("{line} --tls-name node.test"));
    assert!(text.contains("0 missing, 0 wrong"), "{text}");
    assert!(
        !text.contains("broken") && !text.contains("error 0x"),
        "{text}"
    );
    // A certificate for another name is refused.
    let cli = Cli::try_parse_from(format!("loadgen {line}").split_whitespace()).unwrap();
    let refused = cli::main(&cli, &mut Vec::new()).unwrap_err();
    assert!(
        format!("{refused:#}").contains("certificate"),
        "{refused:#}"
    );
}
