//! Conversations of nonsense: random bytes, true headers before senseless bodies, and what real
//! drivers have said (`tests/golden/`), v5 frames included, with bytes changed, cut and mixed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Opcodes 0 to 17 but AUTH_RESPONSE: Cassandra believes the length of its token, and one that
/// announces 2 GB ends the node.
const OPCODES: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17];
const AUTH_RESPONSE: u8 = 15;

/// What makes or drops things of the schema is sent whole once, and not as noise: thousands of
/// tables would measure Cassandra.
const SCHEMA_WORDS: [&[u8]; 4] = [b"CREATE ", b"ALTER ", b"DROP ", b"TRUNCATE "];

const RECORDED: [&[u8]; 8] = [
    include_bytes!("../../golden/cassandra-5.0.9-v4-none.bin"),
    include_bytes!("../../golden/cassandra-4.1.10-v3-none.bin"),
    include_bytes!("../../golden/cassandra-4.1.10-v4-lz4.bin"),
    include_bytes!("../../golden/cassandra-5.0.9-v4-snappy.bin"),
    include_bytes!("../../golden/go-5.0.9-v5-none.bin"),
    include_bytes!("../../golden/java-5.0.9-v5-lz4.bin"),
    include_bytes!("../../golden/node-5.0.9-v4-none.bin"),
    include_bytes!("../../golden/python-5.0.9-v5-none.bin"),
];

/// Half-open connections that one talker keeps.
const HALF_OPEN: usize = 24;

/// xorshift64*: the same nonsense at every run.
pub struct Noise {
    state: u64,
    /// Envelopes, and v5 frames with true behind them.
    messages: Vec<(&'static [u8], bool)>,
    half_open: Vec<TcpStream>,
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes
        .windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// The records of a file of golden bytes: kind and bytes.
fn records(mut file: &'static [u8]) -> impl Iterator<Item = (u8, &'static [u8])> {
    std::iter::from_fn(move || {
        let [kind, a, b, c, d, rest @ ..] = file else {
            return None;
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let (record, behind) = rest.split_at(usize::try_from(length).unwrap());
        file = behind;
        Some((*kind, record))
    })
}

/// STARTUP in version 3 to 5, with or without compression.
fn startup(version: u8, compression: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 1 + u8::from(compression.is_some())];
    let options = [
        Some(("CQL_VERSION", "3.0.0")),
        compression.map(|c| ("COMPRESSION", c)),
    ];
    for (key, value) in options.into_iter().flatten() {
        for text in [key, value] {
            body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = vec![version, 0, 0, 0, 1];
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.append(&mut body);
    bytes
}

fn crc24(bytes: &[u8]) -> u32 {
    let mut crc: u32 = 0x0087_5060;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0197_4f0b;
            }
        }
    }
    crc & 0x00ff_ffff
}

/// A v5 frame without compression around any bytes (native_protocol_v5.spec, 2.2).
pub fn frame(payload: &[u8], whole: bool) -> Vec<u8> {
    let payload = &payload[..payload.len().min(131_071)];
    let head = u32::try_from(payload.len()).unwrap() | u32::from(whole) << 17;
    let head = &head.to_le_bytes()[..3];
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(&crc24(head).to_le_bytes()[..3]);
    bytes.extend_from_slice(payload);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[0xfa, 0x2d, 0x55, 0xca]);
    crc.update(payload);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

impl Noise {
    pub fn new(seed: u64) -> Noise {
        let mut messages = Vec::new();
        for (kind, record) in RECORDED.into_iter().flat_map(records) {
            let schema = SCHEMA_WORDS.iter().any(|word| contains(record, word));
            let framed = kind >= 2;
            if !schema && record.len() < 4_096 && (framed || record[4] != AUTH_RESPONSE) {
                messages.push((record, framed));
            }
        }
        Noise {
            state: seed,
            messages,
            half_open: Vec::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    /// A header that announces `length` bytes.
    fn header(&mut self, version: u8, length: u32) -> Vec<u8> {
        let opcode = OPCODES[self.below(OPCODES.len())];
        let [a, b, c, d] = length.to_be_bytes();
        vec![version, 0, 0, 7, opcode, a, b, c, d]
    }

    /// A recorded message, damaged. The opcode stays, so that none becomes an AUTH_RESPONSE.
    fn damaged(&mut self, framed: bool) -> Vec<u8> {
        let mut message = loop {
            let at = self.below(self.messages.len());
            let (message, of_v5) = self.messages[at];
            if of_v5 == framed {
                break message.to_vec();
            }
        };
        for _ in 0..self.below(4) {
            let at = self.below(message.len());
            if framed || at != 4 {
                message[at] = self.byte();
            }
        }
        if self.below(5) == 0 {
            message.truncate(self.below(message.len()));
        }
        message
    }

    /// One to six damaged messages, one behind the other.
    fn damaged_messages(&mut self, framed: bool) -> Vec<u8> {
        (0..=self.below(6))
            .flat_map(|_| self.damaged(framed))
            .collect()
    }

    /// Bytes of nonsense, with or without a handshake in front.
    fn nonsense(&mut self, round: usize) -> Vec<u8> {
        let (size, shaken) = (self.below(300), self.below(2) == 1);
        let with = |hello: Vec<u8>, rest: Vec<u8>| match shaken {
            true => [hello, rest].concat(),
            false => rest,
        };
        let small = u32::try_from(size).unwrap();
        match round % 12 {
            0 => with(startup(4, None), self.bytes(4 * size + 1)),
            // a true header before a senseless body
            1 => {
                let bytes = [self.header(4, small), self.bytes(size)].concat();
                with(startup(4, None), bytes)
            }
            // two gigabytes announced, and a few sent
            2 => {
                let bytes = [self.header(4, 0x7fff_fff0), self.bytes(size)].concat();
                with(startup(4, None), bytes)
            }
            // a body that ends in the middle, a stream id that is negative
            3 => {
                let mut bytes = self.header(3, 500);
                bytes[2] = 0xff;
                bytes.append(&mut self.bytes(size));
                with(startup(3, None), bytes)
            }
            // other protocol versions
            4 => {
                let version = self.byte();
                self.header(version, 0)
            }
            // bodies that say that they are compressed
            5 => {
                let name = ["lz4", "snappy"][self.below(2)];
                let mut bytes = self.header(4, small);
                bytes[1] = 1;
                bytes.append(&mut self.bytes(size));
                [startup(4, Some(name)), bytes].concat()
            }
            // recorded frames of v5, whose checksums do not agree any more
            6 => [startup(5, None), self.damaged_messages(true)].concat(),
            // frames that are right around what is not
            7 | 8 => {
                let payload = match self.below(2) {
                    0 => self.bytes(size),
                    _ => {
                        let mut envelopes = self.damaged_messages(false);
                        if let Some(first) = envelopes.first_mut() {
                            *first = 5; // else each was cut before its first byte
                        }
                        envelopes
                    }
                };
                let whole = self.below(4) > 0;
                let mut frame = frame(&payload, whole);
                if self.below(3) == 0 {
                    let at = self.below(frame.len());
                    frame[at] ^= 1 << self.below(8);
                }
                [startup(5, None), frame].concat()
            }
            _ => with(startup(4, None), self.damaged_messages(false)),
        }
    }

    /// One conversation; what is answered does not matter.
    pub fn talk(&mut self, address: SocketAddr, round: usize) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        let bytes = self.nonsense(round);
        if self.below(40) == 0 {
            // slowly: each byte comes alone
            stream.set_nodelay(true)?;
            for byte in bytes.chunks(1).take(60) {
                stream.write_all(byte)?;
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            stream.write_all(&bytes)?;
        }
        let way = self.below(6);
        match way {
            0 => return Ok(()),
            1 => return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
            2 => stream.shutdown(Shutdown::Write)?,
            3 => {
                self.half_open.push(stream);
                if self.half_open.len() > HALF_OPEN {
                    self.half_open.remove(0);
                }
                return Ok(());
            }
            _ => {}
        }
        let _ = stream.read(&mut [0; 512])?;
        Ok(())
    }
}

/// What a driver has recorded, whole, one request after the other: makes the tables that the noise
/// is about. Errors do not matter.
pub fn say_it_once(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    for (kind, record) in records(RECORDED[0]) {
        if kind == 0 && record[4] != AUTH_RESPONSE {
            stream.write_all(record)?;
            let _ = stream.read(&mut [0; 65_536])?;
        }
    }
    Ok(())
}
