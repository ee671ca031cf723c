//! Peers without manners: whatever the records are, and wherever they are cut, nothing is heard
//! that was not said, little is kept, and the connection ends with an error.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    SupportedCipherSuite,
};

use super::tests::{BOTH, Line, identity, outgoing, server};
use super::{Received, Secure, SecureError, files};
use crate::config::Verify;
use crate::limits;

/// A message of the handshake that is not whole, a record that is not, and the room of a vector
/// that grows.
const KEPT_MAX_BYTES: usize = 2 * (limits::TLS_HANDSHAKE_MAX_BYTES + (1 << 15));

/// What is put between the records of an honest peer.
#[derive(Debug, Clone)]
enum Odd {
    Bytes(Vec<u8>),
    /// Type, length as announced, and as it is.
    Record(u8, u16, Vec<u8>),
    /// Level and description, not sealed.
    Alert(u8, u8),
    /// An envelope of CQL in a record that is not sealed.
    Plain,
    /// The records that follow come twice.
    Twice,
    /// A bit of what follows is another.
    Flip(usize, u8),
    /// So many bytes of what follows are missing.
    Missing(usize),
}

fn odd() -> impl Strategy<Value = Odd> {
    let body = || vec(any::<u8>(), 0..300);
    prop_oneof![
        body().prop_map(Odd::Bytes),
        (18..27u8, any::<u16>(), body())
            .prop_map(|(kind, length, body)| Odd::Record(kind, length, body)),
        (18..27u8, body()).prop_map(|(kind, body)| {
            let length = u16::try_from(body.len()).unwrap();
            Odd::Record(kind, length, body)
        }),
        (0..4u8, any::<u8>()).prop_map(|(level, what)| Odd::Alert(level, what)),
        Just(Odd::Plain),
        Just(Odd::Twice),
        (any::<usize>(), 0..8u8).prop_map(|(at, bit)| Odd::Flip(at, bit)),
        (1..50usize).prop_map(Odd::Missing),
    ]
}

impl Odd {
    /// What comes instead of `rest`, the end of an honest peer's records.
    fn applied(&self, rest: &[u8]) -> Vec<u8> {
        let record = |kind: u8, length: u16, body: &[u8]| {
            [&[kind, 3, 3], &length.to_be_bytes()[..], body, rest].concat()
        };
        match self {
            Odd::Bytes(bytes) => [bytes, rest].concat(),
            Odd::Record(kind, length, body) => record(*kind, *length, body),
            Odd::Alert(level, what) => record(21, 2, &[*level, *what]),
            Odd::Plain => record(23, 9, &[4, 0, 0, 0, 5, 0, 0, 0, 0]),
            Odd::Twice => [rest, rest].concat(),
            Odd::Flip(at, bit) => {
                let mut rest = rest.to_vec();
                if let Some(at) = at.checked_rem(rest.len()) {
                    rest[at] ^= 1 << bit;
                }
                rest
            }
            Odd::Missing(count) => rest.get(*count..).unwrap_or_default().to_vec(),
        }
    }
}

/// One end, what it was told, and how it ended.
struct Victim<'s> {
    secure: &'s mut Secure,
    scratch: Vec<u8>,
    heard: Vec<u8>,
    closed: bool,
    error: Option<SecureError>,
}

impl Victim<'_> {
    fn new(secure: &mut Secure) -> Victim<'_> {
        Victim {
            secure,
            scratch: Vec::new(),
            heard: Vec::new(),
            closed: false,
            error: None,
        }
    }

    fn has_ended(&self) -> bool {
        self.closed || self.error.is_some()
    }

    /// Takes bytes in pieces of these sizes, in turn; no more once it has ended.
    fn take(&mut self, mut bytes: &[u8], sizes: &[usize]) {
        let mut sizes = sizes.iter().cycle();
        while !bytes.is_empty() && !self.has_ended() {
            let size = (*sizes.next().unwrap()).min(bytes.len());
            let piece = &bytes[..size];
            bytes = &bytes[size..];
            let heard = &mut self.heard;
            let each = |plain: &[u8]| heard.extend_from_slice(plain);
            match self.secure.receive(piece, &mut self.scratch, each) {
                Ok(received) => self.closed |= received.closed,
                Err(error) => self.error = Some(error),
            }
            assert!(self.secure.kept_bytes() <= KEPT_MAX_BYTES);
            assert!(self.scratch.capacity() <= KEPT_MAX_BYTES + 2 * size);
        }
    }

    /// It has ended, and nothing that comes later is listened to or kept.
    fn is_over(&mut self) {
        assert!(self.has_ended());
        let heard = self.heard.len();
        let kept = self.secure.kept_bytes();
        for junk in [
            &[4u8; 20_000][..],
            &[23, 3, 3, 0, 1, 0],
            &[21, 3, 3, 0, 2, 1, 0],
        ] {
            let each = |_: &[u8]| panic!("it is over");
            let received = self.secure.receive(junk, &mut self.scratch, each);
            assert_eq!(received, Ok(Received::default()));
        }
        assert_eq!((self.heard.len(), self.secure.kept_bytes()), (heard, kept));
        if self.error.is_some() {
            let mut out = Vec::new();
            assert!(self.secure.has_failed() && !self.secure.is_ready());
            assert!(self.secure.seal(b"x", &mut out).is_err());
            self.secure.take_records(&mut out);
            assert!(out.len() < 1 << 14, "the handshake so far, and an alert");
        }
    }
}

fn versions() -> impl Strategy<Value = usize> {
    0..2usize
}

fn pair() -> files::Pair {
    files::identity(&identity("cert.pem", Some("pkcs8.pem"), None)).unwrap()
}

fn fresh(version: usize) -> Line {
    let client = outgoing(Some("cert.pem"), Verify::Full, None).unwrap();
    let server = server(pair(), [&[&TLS12], &[&TLS13]][version]);
    Line::new(&client.config, &server, "node.example")
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..8usize, 1..700usize, 1..40_000usize], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn records_may_be_cut_anywhere(
        version in versions(),
        plain in vec(vec(any::<u8>(), 1..3_000), 1..5),
        sizes in sizes(),
    ) {
        let mut line = fresh(version);
        let mut turns = 0;
        while !line.is_ready() {
            for from in [0, 1] {
                let mut records = Vec::new();
                let (sender, receiver) = line.ends(from);
                sender.take_records(&mut records);
                let mut end = Victim::new(receiver);
                end.take(&records, &sizes);
                prop_assert_eq!(end.error, None);
            }
            turns += 1;
            prop_assert!(turns < 10, "the handshake does not end");
        }
        for from in [0, 1] {
            let mut records = Vec::new();
            let (sender, receiver) = line.ends(from);
            for plain in &plain {
                sender.seal(plain, &mut records).unwrap();
            }
            let mut end = Victim::new(receiver);
            end.take(&records, &sizes);
            prop_assert_eq!(end.error, None);
            prop_assert!(end.heard == plain.concat());
        }
    }

    /// At any place of the handshake and after it, at either end.
    #[test]
    fn odd_records_end_it_with_an_error(
        version in versions(),
        victim in 0..2usize,
        turns in 0..8usize,
        cut in any::<prop::sample::Index>(),
        odd in odd(),
        sizes in sizes(),
    ) {
        let mut line = fresh(version);
        for turn in 0..turns {
            let mut records = Vec::new();
            line.ends(turn % 2).0.take_records(&mut records);
            line.deliver(turn % 2, &records, usize::MAX);
        }
        let said = b"what an honest peer says";
        let mut records = Vec::new();
        let (sender, receiver) = line.ends(1 - victim);
        sender.take_records(&mut records);
        if sender.is_ready() {
            sender.seal(said, &mut records).unwrap();
        }
        let (begin, rest) = records.split_at(cut.index(records.len() + 1));
        let mut victim = Victim::new(receiver);
        victim.take(begin, &sizes);
        victim.take(&odd.applied(rest), &sizes);
        prop_assert!(victim.heard.is_empty() || victim.heard == said);
        // what looks like the beginning of a record is one, but for so long
        victim.take(&[4; 40_000], &sizes);
        prop_assert!(victim.heard.is_empty() || victim.heard == said);
        victim.is_over();
    }
}

/// A client that has the keys, and seals whatever it likes.
struct Insider {
    server: Secure,
    seal: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Insider {
    fn new() -> Insider {
        let mut server = Secure::server(&server(pair(), BOTH)).unwrap();
        let trusting = outgoing(None, Verify::Nothing, None).unwrap();
        let mut config = ClientConfig::clone(&trusting.config);
        config.enable_secret_extraction = true;
        let name = "node.example".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut scratch = Vec::new();
        while client.is_handshaking() || client.wants_write() || server.has_records() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).unwrap();
            }
            server.receive(&there, &mut scratch, |_| {}).unwrap();
            server.take_records(&mut back);
            let mut back = &back[..];
            while !back.is_empty() {
                client.read_tls(&mut back).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.3");
        };
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("an unknown cipher"),
        };
        Insider {
            server,
            seal: suite.aead_alg.encrypter(key, iv),
            sequence,
        }
    }

    fn record(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.seal.encrypt(plain, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }
}

/// A message of the handshake in the smallest records there are: each makes all before it be
/// worked through anew, so they are not kept for long.
#[test]
fn a_message_in_a_great_many_records_ends_it() {
    let mut insider = Insider::new();
    let begin = insider.record(22, &[4, 0, 0xff, 0xf0]);
    let rest: Vec<u8> = (0..8_000).flat_map(|_| insider.record(22, &[0])).collect();
    let mut victim = Victim::new(&mut insider.server);
    victim.take(&begin, &[usize::MAX]);
    victim.take(&rest, &[4_096]);
    assert_eq!(victim.error, Some(SecureError::TooLong));
    victim.is_over();
}

#[test]
fn what_comes_after_the_end_is_not_kept() {
    let mut insider = Insider::new();
    let (word, end) = (insider.record(23, b"word"), insider.record(21, &[1, 0]));
    let more: Vec<u8> = (0..100)
        .flat_map(|_| insider.record(23, &[0; 9_000]))
        .collect();
    let mut victim = Victim::new(&mut insider.server);
    victim.take(&[word, end, more.clone()].concat(), &[usize::MAX]);
    assert_eq!(victim.error, None);
    assert_eq!((&victim.heard[..], victim.closed), (&b"word"[..], true));
    victim.is_over();
    for piece in more.chunks(1_000) {
        let received = insider
            .server
            .receive(piece, &mut Vec::new(), |_| panic!("the end"));
        assert_eq!(received, Ok(Received::default()));
    }
    assert!(insider.server.kept_bytes() <= limits::RECEIVE_BUFFER_BYTES);
    let mut out = Vec::new();
    insider.server.seal(b"an answer", &mut out).unwrap();
    assert!(!out.is_empty(), "it may still be answered");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Sealed records of any kind, in any order.
    #[test]
    fn an_insider_cannot_do_more_than_fail(
        records in vec((19..26u8, vec(any::<u8>(), 0..600)), 1..60),
        sizes in sizes(),
    ) {
        let mut insider = Insider::new();
        let (mut bytes, mut said) = (Vec::new(), Vec::new());
        for (kind, payload) in &records {
            bytes.extend(insider.record(*kind, payload));
            if *kind == 23 {
                said.extend_from_slice(payload);
            }
        }
        let mut victim = Victim::new(&mut insider.server);
        victim.take(&bytes, &sizes);
        prop_assert!(said.starts_with(&victim.heard));
        victim.take(&[4; 40_000], &sizes);
        victim.is_over();
    }
}
