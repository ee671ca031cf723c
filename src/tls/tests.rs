#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::files;
use super::material::{Listener, Outgoing};
use super::*;
use crate::config::{Authorities, ClientTls, Identity, ListenerTls, Problem, Secret, Verify};
use crate::metrics::TlsFailure;

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
    folder.join(name)
}

pub(super) fn identity(certificate: &str, key: Option<&str>, password: Option<&str>) -> Identity {
    Identity {
        flag: "--x-cert".to_owned(),
        certificate: golden(certificate),
        key_flag: "--x-key".to_owned(),
        key: key.map(golden),
        password: password.map(Secret::new),
    }
}

pub(super) fn outgoing(
    ca: Option<&str>,
    verify: Verify,
    own: Option<Identity>,
) -> Result<Outgoing, Problem> {
    Outgoing::load(&ClientTls {
        authorities_flag: "--x-ca".to_owned(),
        authorities: ca.map(|file| Authorities {
            flag: "--x-ca".to_owned(),
            file: golden(file),
            password: Some(Secret::new("changeit")),
        }),
        identity: own,
        verify,
        name_flag: "--x-name".to_owned(),
        name: None,
    })
}

pub(super) fn server(
    pair: files::Pair,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = builder.with_no_client_auth();
    Arc::new(builder.with_single_cert(pair.chain, pair.key).unwrap())
}

pub(super) const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A connection between two ends in one process.
pub(super) struct Line {
    client: Secure,
    server: Secure,
    /// What each end was told, and what it said last.
    heard: [Vec<u8>; 2],
    failed: [Option<SecureError>; 2],
    closed: [bool; 2],
}

impl Line {
    pub fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, host: &str) -> Line {
        let name = host.to_owned().try_into().unwrap();
        Line {
            client: Secure::client(client, name).unwrap(),
            server: Secure::server(server).unwrap(),
            heard: Default::default(),
            failed: Default::default(),
            closed: Default::default(),
        }
    }

    /// Carries records in pieces of `step` until nobody has any.
    fn carry(&mut self, step: usize) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                let mut records = Vec::new();
                let (from, _) = self.ends(side);
                from.take_records(&mut records);
                moved |= !records.is_empty();
                self.deliver(side, &records, step);
            }
            if !moved {
                return;
            }
        }
    }

    /// `side` sends, the other receives.
    pub fn ends(&mut self, side: usize) -> (&mut Secure, &mut Secure) {
        match side {
            0 => (&mut self.client, &mut self.server),
            _ => (&mut self.server, &mut self.client),
        }
    }

    pub fn deliver(&mut self, from: usize, records: &[u8], step: usize) {
        let mut scratch = Vec::new();
        for piece in records.chunks(step) {
            if self.failed[1 - from].is_some() {
                return;
            }
            let mut heard: Vec<u8> = Vec::new();
            let (_, to) = self.ends(from);
            let received = to.receive(piece, &mut scratch, |plain| heard.extend(plain));
            self.heard[1 - from].extend(heard);
            match received {
                Ok(received) => self.closed[1 - from] |= received.closed,
                Err(error) => self.failed[1 - from] = Some(error),
            }
        }
    }

    fn say(&mut self, from: usize, plain: &[u8], step: usize) {
        let mut records = Vec::new();
        self.ends(from).0.seal(plain, &mut records).unwrap();
        self.deliver(from, &records, step);
    }

    pub fn is_ready(&self) -> bool {
        self.client.is_ready() && self.server.is_ready()
    }
}

fn line(versions: &[&'static SupportedProtocolVersion]) -> Line {
    let pair = files::identity(&identity("rsa.jks", None, Some("changeit"))).unwrap();
    let client = outgoing(Some("cert.pem"), Verify::Full, None).unwrap();
    Line::new(&client.config, &server(pair, versions), "node.example")
}

#[test]
fn plain_bytes_come_out_however_the_records_come_in() {
    let long: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for step in [1, 2, 5, 6, 100, 16_384, usize::MAX] {
            let mut line = line(versions);
            line.carry(step);
            assert!(line.is_ready(), "{:?}", line.failed);
            for (from, plain) in [(0, &b"a"[..]), (1, &long), (0, b"bc"), (1, b"d")] {
                line.heard = Default::default();
                line.say(from, plain, step);
                assert!(line.heard[1 - from] == plain, "in steps of {step}");
            }
            line.client.close();
            line.client.close();
            line.carry(step);
            assert_eq!(line.closed, [false, true], "the server is told, once");
            line.server.close();
            line.carry(step);
            assert_eq!(line.closed, [true, true]);
            assert_eq!(line.failed, [None, None]);
        }
    }
}

#[test]
fn nothing_is_said_before_the_handshake_has_ended() {
    let mut line = line(BOTH);
    let mut out = Vec::new();
    assert!(line.client.seal(b"x", &mut out).is_err());
    assert!(line.server.seal(b"x", &mut Vec::new()).is_err());
}

#[test]
fn a_broken_record_ends_it_with_an_alert() {
    let mut line = line(BOTH);
    line.carry(usize::MAX);
    let mut records = Vec::new();
    line.client.seal(b"secret", &mut records).unwrap();
    *records.last_mut().unwrap() ^= 1;
    line.deliver(0, &records, usize::MAX);
    let error = line.failed[1].clone().unwrap();
    assert_eq!(error.reason(), TlsFailure::Protocol, "{error}");
    assert!(line.server.has_records(), "the client is told");
    assert!(line.heard[1].is_empty());
    line.carry(usize::MAX);
    let told = line.failed[0].clone().unwrap();
    assert_eq!(told.reason(), TlsFailure::Refused, "{told}");
}

#[test]
fn plain_cql_at_a_tls_port_is_named_for_what_it_is() {
    let options = [4, 0, 0, 0, 5, 0, 0, 0, 0];
    let mut line = line(BOTH);
    line.deliver(0, &options, 1);
    let error = line.failed[1].clone().unwrap();
    assert!(error.to_string().contains("no TLS"), "{error}");
    // and a server that speaks plain CQL answers a hello of TLS with an error of its own
    let answer = [
        0x84, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 10, 0, 3, b'b', b'a', b'd',
    ];
    line.deliver(1, &answer, 4);
    let error = line.failed[0].clone().unwrap();
    assert!(error.to_string().contains("no TLS"), "{error}");
}

#[test]
fn a_handshake_without_end_takes_no_memory_without_end() {
    let mut line = line(BOTH);
    // handshake records of a message that is announced as 64 KiB long
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    for _ in 0..40 {
        line.deliver(0, &record, usize::MAX);
        record[5..9].fill(0);
    }
    assert!(line.failed[1].is_some());
}

#[test]
fn random_bytes_never_do_more_than_fail() {
    let mut state = 7u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    for round in 0..300 {
        let mut line = line(BOTH);
        if round % 2 == 0 {
            line.carry(usize::MAX);
        }
        let mut bytes: Vec<u8> = (0..200).map(|_| random()).collect();
        if round % 3 == 0 {
            let length = [0, 195];
            bytes[..5].copy_from_slice(&[20 + random() % 5, 3, 3, length[0], length[1]]);
        }
        line.deliver(0, &bytes, 1 + usize::from(random()));
        line.deliver(1, &bytes, 1 + usize::from(random()));
        assert!(line.heard.iter().all(Vec::is_empty));
    }
}

#[test]
fn sessions_are_resumed() {
    let pair = files::identity(&identity("rsa.p12", None, Some("changeit"))).unwrap();
    let mut config = ServerConfig::clone(&server(pair, BOTH));
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let server = Arc::new(config);
    let client = outgoing(None, Verify::Nothing, None).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let mut line = Line::new(&client.config, &server, "node.example");
        let mut bytes = 0;
        for _ in 0..6 {
            for side in [0, 1] {
                let mut records = Vec::new();
                line.ends(side).0.take_records(&mut records);
                bytes += records.len();
                line.deliver(side, &records, usize::MAX);
            }
        }
        assert!(line.is_ready());
        lengths.push(bytes);
    }
    assert!(lengths[1] + 500 < lengths[0], "no certificate: {lengths:?}");
}

#[test]
fn every_form_of_store_gives_a_pair_that_works() {
    let word = Some("changeit");
    let client = outgoing(None, Verify::Nothing, None).unwrap();
    for (certificate, key, password) in [
        ("rsa.jks", None, word),
        ("rsa.p12", None, word),
        ("ec.p12", None, word),
        ("openssl.p12", None, word),
        ("cert.pem", Some("pkcs8.pem"), None),
        ("cert.pem", Some("pkcs1.pem"), None),
        ("sec1-cert.pem", Some("sec1.pem"), None),
    ] {
        let pair = files::identity(&identity(certificate, key, password));
        let pair = pair.unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(pair.chain.len(), 1, "{certificate}");
        let mut line = Line::new(&client.config, &server(pair, BOTH), "node.example");
        line.carry(usize::MAX);
        assert!(line.is_ready(), "{certificate} {key:?}: {:?}", line.failed);
    }
}

#[test]
fn what_is_wrong_with_a_store_is_said() {
    let word = Some("changeit");
    for (certificate, key, password, words) in [
        ("rsa.jks", None, None, "is a store with a password"),
        ("rsa.jks", None, Some("wrong"), "the password is wrong"),
        ("rsa.p12", None, Some("wrong"), "the password is wrong"),
        (
            "own-password.jks",
            None,
            word,
            "`rsa` has a password of its own",
        ),
        ("two-keys.p12", None, word, "more than one key (one, two)"),
        ("trust.jks", None, word, "it holds no key"),
        ("trust.p12", None, word, "it holds no key"),
        ("cert.pem", None, None, "holds no private key"),
        (
            "cert.pem",
            Some("locked.pem"),
            None,
            "holds an encrypted key",
        ),
        ("pkcs8.pem", None, None, "holds no certificate"),
        ("missing", None, None, "cannot be read"),
        ("make.sh", None, None, "is neither PEM nor"),
    ] {
        let problem = files::identity(&identity(certificate, key, password));
        let problem = problem.err().unwrap_or_else(|| panic!("{certificate}"));
        assert!(problem.to_string().contains(words), "{problem}");
        assert!(!problem.remedy.is_empty());
    }
    let strange = outgoing(
        Some("cert.pem"),
        Verify::Full,
        Some(identity("cert.pem", Some("sec1.pem"), None)),
    );
    let strange = strange.err().unwrap();
    assert!(strange.what.contains("cannot be used"), "{strange}");
}

#[test]
fn a_cut_jks_file_is_an_error_at_every_length() {
    let whole = std::fs::read(golden("rsa.jks")).unwrap();
    for length in 0..whole.len() {
        assert!(jks::read(&whole[..length], "changeit").is_err());
    }
    assert!(jks::read(&whole, "changeit").is_ok());
}

#[test]
fn authorities_come_from_pem_and_from_stores() {
    let pair = || files::identity(&identity("rsa.jks", None, Some("changeit"))).unwrap();
    for ca in ["cert.pem", "trust.jks", "trust.p12", "rsa.jks"] {
        let client = outgoing(Some(ca), Verify::Full, None).unwrap();
        let mut line = Line::new(&client.config, &server(pair(), BOTH), "node.example");
        line.carry(usize::MAX);
        assert!(line.is_ready(), "{ca}: {:?}", line.failed);
    }
}

#[test]
fn who_is_not_trusted_or_not_called_so_is_refused() {
    let rsa = || files::identity(&identity("rsa.jks", None, Some("changeit"))).unwrap();
    let own = || files::identity(&identity("sec1-cert.pem", Some("sec1.pem"), None)).unwrap();
    let (rsa_ca, own_ca) = (Some("cert.pem"), Some("sec1-cert.pem"));
    let (full, chain, nothing) = (Verify::Full, Verify::Chain, Verify::Nothing);
    let (untrusted, name) = (Some(TlsFailure::Untrusted), Some(TlsFailure::Name));
    type Row = (
        fn() -> files::Pair,
        Option<&'static str>,
        Verify,
        &'static str,
        Option<TlsFailure>,
    );
    let rows: &[Row] = &[
        (rsa, rsa_ca, full, "node.example", None),
        (rsa, rsa_ca, full, "127.0.0.1", None),
        (rsa, rsa_ca, full, "other.example", name),
        (rsa, rsa_ca, chain, "other.example", None),
        (rsa, own_ca, chain, "node.example", untrusted),
        (rsa, None, nothing, "other.example", None),
        // self-signed, and an authority by its own words: trusted when it is named itself
        (own, own_ca, full, "node.example", None),
        (own, own_ca, full, "other.example", name),
        (own, own_ca, chain, "other.example", None),
        (own, rsa_ca, chain, "node.example", untrusted),
    ];
    for (pair, ca, verify, host, want) in rows {
        let client = outgoing(*ca, *verify, None).unwrap();
        let mut line = Line::new(&client.config, &server(pair(), BOTH), host);
        line.carry(usize::MAX);
        let got = line.failed[0].as_ref().map(SecureError::reason);
        assert_eq!(got, *want, "{ca:?} {verify:?} {host}: {:?}", line.failed);
        if want.is_some() {
            let told = line.failed[1].as_ref().map(SecureError::reason);
            assert_eq!(told, Some(TlsFailure::Refused), "the server is told");
        }
    }
}

#[test]
fn an_expired_certificate_is_refused_even_when_it_is_trusted_itself() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["node.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem() + &key.serialize_pem()).unwrap();
    let name = file.path().to_str().unwrap();
    let pair = files::identity(&identity(name, None, None)).unwrap();
    let client = outgoing(Some(name), Verify::Full, None).unwrap();
    let mut line = Line::new(&client.config, &server(pair, BOTH), "node.example");
    line.carry(usize::MAX);
    let got = line.failed[0].as_ref().map(SecureError::reason);
    assert_eq!(got, Some(TlsFailure::Expired), "{:?}", line.failed);
}

#[test]
fn clients_are_trusted_by_their_issuer_or_themselves() {
    let rows = [
        // self-signed, and an authority by its own words
        ("sec1-cert.pem", "sec1.pem", "sec1-cert.pem", true),
        ("cert.pem", "pkcs8.pem", "cert.pem", true),
        ("sec1-cert.pem", "sec1.pem", "cert.pem", false),
    ];
    for (certificate, key, trusted, good) in rows {
        let listener = Listener::load(&ListenerTls {
            identity: identity("rsa.jks", None, Some("changeit")),
            client_authorities: Some(Authorities {
                flag: "--x-client-ca".to_owned(),
                file: golden(trusted),
                password: None,
            }),
        })
        .unwrap();
        let own = identity(certificate, Some(key), None);
        let client = outgoing(None, Verify::Nothing, Some(own)).unwrap();
        let mut line = Line::new(&client.config, &listener.config, "node.example");
        line.carry(usize::MAX);
        let got = line.failed[1].as_ref().map(SecureError::reason);
        let want = (!good).then_some(TlsFailure::Untrusted);
        assert_eq!(got, want, "{certificate} {trusted}: {:?}", line.failed);
        assert_eq!(line.is_ready(), good, "{certificate} {trusted}");
    }
}
