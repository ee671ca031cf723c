//! Logins as bytes: what Cassandra says to each of them, through the proxy too, and mechanisms of
//! several rounds, which no Cassandra knows without a plugin, with a source of our own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::cassandra::{run_dir, setup};
use crate::support::lab;
use crate::support::noise::frame;
use crate::support::proxy::Proxy;

const PATIENCE: Duration = Duration::from_secs(20);
/// How long what must not happen has time to happen.
const PAUSE: Duration = Duration::from_millis(1_500);

const ERROR: u8 = 0;
const STARTUP: u8 = 1;
const AUTHENTICATE: u8 = 3;
const OPTIONS: u8 = 5;
const SUPPORTED: u8 = 6;
const QUERY: u8 = 7;
const AUTH_CHALLENGE: u8 = 14;
const AUTH_RESPONSE: u8 = 15;
const AUTH_SUCCESS: u8 = 16;

/// A token as `[bytes]`.
fn token(bytes: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = bytes else {
        return (-1i32).to_be_bytes().to_vec();
    };
    let length = i32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// An end of a connection: envelopes, in frames once v5 has begun.
struct End {
    stream: TcpStream,
    framed: bool,
    unread: Vec<u8>,
}

impl End {
    fn new(stream: TcpStream) -> End {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        End {
            stream,
            framed: false,
            unread: Vec::new(),
        }
    }

    fn say(&mut self, version: u8, opcode: u8, body: &[u8]) -> std::io::Result<()> {
        let mut bytes = vec![version, 0, 0, 7, opcode];
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        if self.framed {
            bytes = frame(&bytes, true);
        }
        self.stream.write_all(&bytes)
    }

    fn take(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        while self.framed && self.unread.len() < count {
            let mut head = [0; 6];
            self.stream.read_exact(&mut head)?;
            let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) & 0x1_ffff;
            let mut rest = vec![0; length as usize + 4];
            self.stream.read_exact(&mut rest)?;
            self.unread.extend_from_slice(&rest[..length as usize]);
        }
        if self.framed {
            return Ok(self.unread.drain(..count).collect());
        }
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next envelope, whole.
    fn hear(&mut self) -> std::io::Result<Vec<u8>> {
        let mut envelope = self.take(9)?;
        let length = u32::from_be_bytes(envelope[5..9].try_into().unwrap());
        envelope.extend(self.take(length as usize)?);
        Ok(envelope)
    }
}

/// A client that says one thing after the other; gives the answers, or how it ended.
fn talk(at: SocketAddr, version: u8, said: &[(u8, Vec<u8>)]) -> Vec<Result<Vec<u8>, ErrorKind>> {
    let mut end = End::new(TcpStream::connect(at).unwrap());
    let mut answers = Vec::new();
    for (opcode, body) in said {
        let asked = end.say(version, *opcode, body);
        let answer = asked.and_then(|()| end.hear()).map_err(|e| e.kind());
        end.framed |= version > 4; // behind the answer to STARTUP
        answers.push(answer);
    }
    answers
}

fn startup() -> (u8, Vec<u8>) {
    let body = [&[0, 1], &string("CQL_VERSION")[..], &string("3.0.0")].concat();
    (STARTUP, body)
}

fn response(bytes: &[u8]) -> (u8, Vec<u8>) {
    (AUTH_RESPONSE, token(Some(bytes)))
}

fn opcodes(answers: &[Result<Vec<u8>, ErrorKind>]) -> Vec<u8> {
    answers.iter().flatten().map(|bytes| bytes[4]).collect()
}

/// Cassandra refuses, and lets the client try again on the same connection.
#[test]
fn tokens_of_all_kinds_and_further_tries() {
    let _turn = lab::beside_others();
    setup();
    let ends = [lab::secure_source().address, lab::secure_target().address];
    let ip = lab::proxy_address();
    let proxy = Proxy::start_with("tokens", &run_dir().join("tokens"), ip, ends, &[], &[]);
    let text = "SELECT cluster_name FROM system.local";
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    for version in [3, 4, 5] {
        let flags = if version > 4 { &[0; 4][..] } else { &[0] };
        let query = [&length, text.as_bytes(), &[0, 1], flags].concat();
        let said = [
            startup(),
            (QUERY, query.clone()),
            (AUTH_RESPONSE, token(Some(b""))),
            response(&[0x60, 0, 0xff, 0x9e, 0, 0x80]),
            response(b"\0cassandra\0"),
            response(b"\0cassandra\0wrong"),
            response(b"\0cassandra\0cassandra"),
            (QUERY, query.clone()),
        ];
        let direct = talk(ends[0], version, &said);
        let through = talk(proxy.listen, version, &said);
        assert_eq!(through, direct, "version {version}");
        assert_eq!(direct[0].as_ref().unwrap()[4], AUTHENTICATE);
        let seen = opcodes(&direct);
        assert!(
            seen.contains(&ERROR) && seen.contains(&AUTH_SUCCESS),
            "{seen:?}"
        );
    }
}

/// The mechanism of our source: what it answers to each token.
fn answer(said: &[u8]) -> (u8, Vec<u8>) {
    match said {
        FIRST => (AUTH_CHALLENGE, token(Some(&[0x60, 0, 0xfe, 0]))),
        SECOND => (AUTH_CHALLENGE, token(Some(b""))),
        LOOKS_PLAIN => (AUTH_SUCCESS, token(Some(&[0, 0xff, 0]))),
        b"" => (AUTH_CHALLENGE, token(None)),
        PLAIN => (AUTH_SUCCESS, token(None)),
        _ => (ERROR, [&[0, 0, 1, 0], &string("no")[..]].concat()),
    }
}

const FIRST: &[u8] = &[0x60, 0, 0xff, 0, 1];
const SECOND: &[u8] = b"two\0zeros\0here";
const LOOKS_PLAIN: &[u8] = b"\0mallory\0of the mechanism";
const PLAIN: &[u8] = b"\0bob\0open sesame";

/// A node that asks for logins and does nothing else. Gives its address and the tokens it heard.
fn strict_node(ip: Ipv4Addr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind((ip, 9042)).unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let tokens = Arc::clone(&heard);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let tokens = Arc::clone(&tokens);
            std::thread::spawn(move || serve(End::new(client), &tokens));
        }
    });
    (address, heard)
}

fn serve(mut end: End, tokens: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    loop {
        let asked = end.hear()?;
        let (opcode, body) = match asked[4] {
            STARTUP => (AUTHENTICATE, string("com.example.Authenticator")),
            OPTIONS => (SUPPORTED, vec![0, 0]),
            AUTH_RESPONSE => {
                let said = asked.get(13..).unwrap_or_default();
                tokens.lock().unwrap().push(said.to_vec());
                answer(said)
            }
            _ => (ERROR, [&[0; 4], &string("not here")[..]].concat()),
        };
        end.say(asked[0] | 0x80, opcode, &body)?;
        end.framed |= opcode == AUTHENTICATE && asked[0] == 5;
    }
}

#[test]
fn three_rounds_are_the_sources_alone() {
    let _turn = lab::beside_others();
    let (source, _) = strict_node(lab::proxy_address());
    let (target, told) = strict_node(lab::proxy_address());
    let (name, ip) = ("three_rounds", lab::proxy_address());
    let proxy = Proxy::start_with(name, &run_dir().join(name), ip, [source, target], &[], &[]);
    let (yes, no, more) = (AUTH_SUCCESS, ERROR, AUTH_CHALLENGE);
    for version in [3, 4, 5] {
        let rounds = |last: &[u8]| [startup(), response(FIRST), response(SECOND), response(last)];
        let again = [response(FIRST), response(b""), response(LOOKS_PLAIN)];
        let refused = [&rounds(b"\0mallory\0guess")[..], &again].concat();
        for (said, ends) in [
            (&rounds(LOOKS_PLAIN)[..], &[more, more, yes][..]),
            (&refused, &[more, more, no, more, more, yes]),
        ] {
            let direct = talk(source, version, said);
            let through = talk(proxy.listen, version, said);
            assert_eq!(through, direct, "version {version}");
            assert_eq!(opcodes(&direct)[1..], *ends, "version {version}");
        }
    }
    std::thread::sleep(PAUSE);
    assert!(told.lock().unwrap().is_empty(), "the target was told");
    // the same with a login that is for both
    talk(proxy.listen, 4, &[startup(), response(PLAIN)]);
    let began = Instant::now();
    while told.lock().unwrap().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the target was not told");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(told.lock().unwrap().iter().all(|said| said == PLAIN));
}
