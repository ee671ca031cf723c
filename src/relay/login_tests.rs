//! Logins of several rounds: they pass as they are, and what serves at the target is what PLAIN
//! says, never a token of another mechanism.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::session::Taken;
use super::tests::Bench;
use crate::cql::response::{ErrorBody, ErrorCode};
use crate::cql::{Compression, Flags, Opcode, Version, Writer, encode, request, response};
use crate::topology::Shown;

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];
const PLAIN: &[u8] = b"\0bob\0open sesame";

/// A client and its source, who talk in one version of the protocol.
struct Talk {
    bench: Bench,
    version: Version,
    compression: Compression,
    stream: i16,
}

impl Talk {
    /// Up to AUTHENTICATE.
    fn new(version: Version, compression: Compression) -> Talk {
        let mut talk = Talk {
            bench: Bench::shown(Shown::Single),
            version,
            compression: Compression::None,
            stream: 1,
        };
        let name = (compression == Compression::Lz4).then_some(("COMPRESSION", "lz4"));
        let options = [Some(("CQL_VERSION", "3.0.0")), name];
        talk.client(Opcode::Startup, |w| {
            request::startup::encode(w, options.into_iter().flatten());
        });
        talk.compression = compression;
        let class = "com.example.Authenticator";
        talk.source(Opcode::Authenticate, |w| w.string(class));
        talk
    }

    fn bytes(&self, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let (version, mut bytes) = (self.version, Vec::new());
        // v5 compresses frames instead
        if self.compression == Compression::None || version == Version::V5 {
            encode::envelope(&mut bytes, version, Flags::NONE, self.stream, opcode, body).unwrap();
            return bytes;
        }
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        body(&mut Writer::new(&mut plain));
        self.compression.compress(&plain, &mut packed).unwrap();
        let flags = Flags::COMPRESSION;
        encode::envelope(&mut bytes, version, flags, self.stream, opcode, |w| {
            w.raw(&packed);
        })
        .unwrap();
        bytes
    }

    /// The client says something, and the source hears just that.
    fn client(&mut self, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        let bytes = self.bytes(opcode, body);
        assert_eq!(self.bench.request(&bytes), Taken::Yes);
        assert_eq!(std::mem::take(&mut self.bench.to_source), bytes);
        assert!(self.bench.to_client.is_empty());
    }

    /// The source says something, and the client hears just that.
    fn source(&mut self, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        let bytes = self.bytes(opcode, body);
        self.bench.answer_with(&bytes);
        assert_eq!(std::mem::take(&mut self.bench.to_client), bytes);
        assert!(self.bench.to_source.is_empty());
    }

    fn say(&mut self, token: Option<&[u8]>) {
        self.client(Opcode::AuthResponse, |w| {
            request::auth_response::encode(w, token);
        });
    }

    fn challenge(&mut self, token: Option<&[u8]>) {
        self.source(Opcode::AuthChallenge, |w| response::auth::encode(w, token));
    }

    fn refuse(&mut self) {
        let words = "Provided username bob and/or password are incorrect";
        self.source(Opcode::Error, |w| {
            ErrorBody::new(ErrorCode::BadCredentials, words).encode(w);
        });
    }

    /// The source lets the client in. Gives user and password for the target.
    fn accept(&mut self, token: Option<&[u8]>) -> Option<(String, String)> {
        self.source(Opcode::AuthSuccess, |w| response::auth::encode(w, token));
        assert!(self.bench.session.is_open());
        assert_eq!(self.bench.session.unanswered(), 0);
        let login = self.bench.session.take_identity()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.into()).unwrap();
        Some((text(&login.user), text(&login.password)))
    }
}

fn bob() -> Option<(String, String)> {
    Some(("bob".to_owned(), "open sesame".to_owned()))
}

/// Each version, with compression and without.
fn talks() -> impl Iterator<Item = Talk> {
    VERSIONS.into_iter().flat_map(|version| {
        let ways = [Compression::None, Compression::Lz4];
        ways.map(|compression| Talk::new(version, compression))
    })
}

#[test]
fn a_token_of_plain_serves_at_the_target() {
    for mut talk in talks() {
        talk.say(Some(PLAIN));
        assert_eq!(talk.accept(None), bob());
    }
}

/// Tokens of any bytes, which look like those of PLAIN, in any of three rounds.
#[test]
fn three_rounds_pass_as_they_are_and_are_not_plain() {
    let tokens: [Option<&[u8]>; 8] = [
        Some(PLAIN),
        Some(b"admin\0bob\0open sesame"),
        Some(b""),
        None,
        Some(b"\0\0"),
        Some(&[0x60, 0, 0xff, 0x9e, 0, 0x80, 0xc3]),
        Some(&[0x7f; 60_000]),
        Some(b"PLAIN-START"),
    ];
    for mut talk in talks() {
        for n in 0..tokens.len() * tokens.len() {
            let pick = |k: usize| tokens[(n / tokens.len().pow(u32::try_from(k).unwrap())) % 8];
            talk.say(pick(0));
            talk.challenge(Some(&[0x60, 0, 1, 0]));
            talk.say(pick(1));
            talk.challenge(Some(b""));
            talk.say(Some(PLAIN));
            assert_eq!(talk.accept(pick(0)), None, "{n}");
        }
    }
}

#[test]
fn a_challenge_after_it_shows_that_a_token_was_not_plain() {
    let challenges: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"more"), Some(b"GSSAPI-START")];
    for mut talk in talks() {
        for challenge in challenges {
            talk.say(Some(PLAIN));
            talk.challenge(challenge);
            talk.say(Some(b""));
            assert_eq!(talk.accept(None), None);
        }
    }
}

/// DSE has the client name the mechanism.
#[test]
fn plain_by_its_name_serves_at_the_target() {
    for mut talk in talks() {
        talk.say(Some(b"PLAIN"));
        talk.challenge(Some(b"PLAIN-START"));
        talk.say(Some(PLAIN));
        assert_eq!(talk.accept(None), bob());
    }
}

#[test]
fn other_mechanisms_of_one_round_are_not_plain() {
    let tokens: [&[u8]; 5] = [
        &[0x60, 0, 0xff, 0x9e, 0, 0x80],
        b"\0bob\0",
        b"\0\0open sesame",
        b"\0\0",
        b"\0bob\0open\0sesame",
    ];
    for mut talk in talks() {
        for token in tokens {
            talk.say(Some(token));
            assert_eq!(talk.accept(None), None, "{token:?}");
        }
    }
}

/// Cassandra lets a client that it refused try again on the same connection.
#[test]
fn after_a_refusal_in_the_last_round_another_try_is_a_login_of_its_own() {
    for mut talk in talks() {
        talk.say(Some(b"GSSAPI"));
        talk.challenge(Some(b"GSSAPI-START"));
        talk.say(Some(&[0, 1, 0, 2]));
        talk.challenge(Some(&[1, 0]));
        talk.say(Some(b"\0mallory\0guess"));
        talk.refuse();
        assert!(!talk.bench.session.is_open());
        assert!(talk.bench.session.take_identity().is_none());
        talk.say(Some(b"\0bob\0guess"));
        talk.refuse();
        talk.say(Some(PLAIN));
        assert_eq!(talk.accept(None), bob());
    }
    for mut talk in talks() {
        talk.say(Some(PLAIN));
        talk.refuse();
        talk.say(Some(b"GSSAPI"));
        talk.challenge(Some(b"GSSAPI-START"));
        talk.say(Some(b"\0mallory\0guess"));
        assert_eq!(talk.accept(None), None, "nothing is left of the first try");
    }
}

/// The source's word to one token is not taken for its word to another.
#[test]
fn who_does_not_wait_for_an_answer_is_not_known() {
    for mut talk in talks() {
        talk.say(Some(PLAIN));
        talk.stream = 2;
        talk.say(Some(b"\0root\0guess"));
        talk.stream = 1;
        let bytes = talk.bytes(Opcode::AuthSuccess, |w| response::auth::encode(w, None));
        talk.bench.answer_with(&bytes);
        assert!(talk.bench.session.take_identity().is_none());
    }
    for mut talk in talks() {
        talk.say(Some(PLAIN));
        talk.say(Some(b"\0root\0guess"));
        let bytes = talk.bytes(Opcode::AuthSuccess, |w| response::auth::encode(w, None));
        talk.bench.answer_with(&bytes);
        assert!(talk.bench.session.take_identity().is_none());
    }
}

/// An error for another request does not end the talk.
#[test]
fn an_error_for_something_else_changes_nothing() {
    for mut talk in talks() {
        talk.say(Some(b"GSSAPI"));
        talk.challenge(Some(b"GSSAPI-START"));
        talk.stream = 7;
        talk.refuse();
        talk.stream = 1;
        talk.say(Some(PLAIN));
        assert_eq!(talk.accept(None), None);
    }
}

/// Even what nobody can read is for the source to judge, and no login.
#[test]
fn a_token_that_cannot_be_read_passes() {
    for version in VERSIONS {
        let mut talk = Talk::new(version, Compression::None);
        talk.say(Some(b"GSSAPI"));
        talk.source(Opcode::AuthChallenge, |w| w.raw(&[0, 0, 0, 9, 1]));
        talk.client(Opcode::AuthResponse, |w| {
            w.raw(&[0, 0, 0, 200, 0, b'a', 0, b'b'])
        });
        assert_eq!(talk.accept(None), None);
    }
}
