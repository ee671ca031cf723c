//! A real shard on a real ring between stub nodes, turned by the test. Syncs of the journal end by
//! the test's word.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinring::config::{Durability, ProxyConfig, Settings, Surroundings};
use twinring::cql::envelope::Envelope;
use twinring::cql::request::{self, params::QueryParams};
use twinring::cql::response::result;
use twinring::cql::{Consistency, Flags, Opcode, Version, Writer, decoder, encode};
use twinring::journal::{Geometry, Header, Heap, Journal};
use twinring::proxy::setup;
use twinring::shard::disk::{Disk, Ended};
use twinring::shard::net::Net;
use twinring::shard::{Later, Owed, Shard};
use twinring::spill::Batch;
use twinring::spill::dir::SpillDir;
use twinring::sys::ring::{Event, Ring, RingConfig, SocketId};

pub const LIMIT: Duration = Duration::from_secs(60);
const BOUNDS: decoder::DecodeLimits = decoder::DecodeLimits::requests(1 << 20);

/// The ring, but for its syncs: they begin, and end by the test's word.
pub struct Stalling {
    pub ring: Ring,
    pub begun: u32,
    pub ended: Option<io::Result<()>>,
}

impl Net for Stalling {
    type Stream = OwnedFd;

    fn next_event(&mut self) -> Option<Event<'_>> {
        match self.ended.take() {
            Some(result) => Some(Event::Synced { result }),
            None => self.ring.next_event(),
        }
    }
    fn adopt(&mut self, stream: OwnedFd) -> io::Result<(SocketId, SocketAddr)> {
        Net::adopt(&mut self.ring, stream)
    }
    fn connect(&mut self, address: SocketAddr) -> io::Result<SocketId> {
        self.ring.connect(address)
    }
    fn tune(&mut self, id: SocketId) {
        Net::tune(&mut self.ring, id);
    }
    fn start_recv(&mut self, id: SocketId) {
        self.ring.start_recv(id);
    }
    fn pause_recv(&mut self, id: SocketId) {
        self.ring.pause_recv(id);
    }
    fn send(&mut self, id: SocketId, buffer: Vec<u8>) {
        self.ring.send(id, buffer);
    }
    fn is_sending(&self, id: SocketId) -> bool {
        self.ring.is_sending(id)
    }
    fn close(&mut self, id: SocketId) {
        self.ring.close(id);
    }
    fn sync(&mut self, _: Arc<File>) {
        self.begun += 1;
    }
}

/// Nothing of this test comes to the spill.
struct NoDisk;

impl Disk for NoDisk {
    fn append(&self, _: PathBuf, _: Batch, _: Ended<(Batch, Result<(), String>)>) {}
    fn read(&self, _: PathBuf, _: u64, _: usize, _: Ended<Result<Vec<u8>, String>>) {}
    fn store(&self, _: PathBuf, _: Vec<u8>, _: Vec<(PathBuf, bool)>, _: Ended<Result<(), String>>) {
    }
}

/// A node that answers everything at once, what comes together in one piece, and notes nothing.
pub fn node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut line = Line::new(stream);
                while line.receive() {
                    let mut answers = Vec::new();
                    while let Some((stream, opcode)) = line.take() {
                        let (answer, body): (_, Body) = match opcode {
                            Opcode::Startup => (Opcode::Ready, |_| {}),
                            Opcode::Options => (Opcode::Supported, |w| w.string_map([])),
                            _ => (Opcode::Result, result::encode_void),
                        };
                        envelope(&mut answers, stream, answer, body);
                    }
                    let _ = line.stream.write_all(&answers);
                }
            });
        }
    });
    address
}

type Body = fn(&mut Writer<'_>);

pub fn envelope(
    out: &mut Vec<u8>,
    stream: i16,
    opcode: Opcode,
    body: impl FnOnce(&mut Writer<'_>),
) {
    encode::envelope(out, Version::V4, Flags::NONE, stream, opcode, body).unwrap();
}

/// One end of a connection, envelope by envelope.
pub struct Line {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let received = Vec::new();
        Self { stream, received }
    }

    pub fn send(&mut self, stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        envelope(&mut bytes, stream, opcode, body);
        let _ = self.stream.write_all(&bytes);
    }

    /// Says hello.
    pub fn start(&mut self) {
        self.send(0, Opcode::Startup, |w| {
            w.string_map([("CQL_VERSION", "3.0.0")])
        });
    }

    /// Waits for so many answers.
    pub fn take_answers(&mut self, mut left: i16) {
        while left > 0 {
            match self.take() {
                Some(_) => left -= 1,
                None => assert!(self.receive(), "the connection ended"),
            }
        }
    }

    /// Takes an envelope out of what has come.
    pub fn take(&mut self) -> Option<(i16, Opcode)> {
        let bounds = decoder::DecodeLimits::responses(1 << 20);
        let split = decoder::split(&self.received, &BOUNDS)
            .or_else(|_| decoder::split(&self.received, &bounds));
        let Envelope { header, raw, .. } = split.unwrap()?;
        let taken = (header.stream, header.opcode, raw.len());
        self.received.drain(..taken.2);
        Some((taken.0, taken.1))
    }

    /// Waits for bytes; false at the end, or if there are none now.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }
}

/// A port that is taken, and refuses: nobody listens.
pub fn closed_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

pub struct World {
    pub shard: Shard,
    pub net: Stalling,
    later: Later<OwnedFd>,
    pub client: Line,
    now_us: i64,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn new(target: SocketAddr, durability: Durability) -> World {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            source: Some(node().to_string().parse().unwrap()),
            target: Some(target.to_string().parse().unwrap()),
            data_dir: Some(folder.path().to_owned()),
            durability: Some(durability.word().to_owned()),
            disable_source_tls: Some(true),
            disable_target_tls: Some(true),
            ..Settings::default()
        };
        let around = Surroundings {
            cores: vec![0],
            resolve: &|host, port| Ok(vec![SocketAddr::new(host.parse().unwrap(), port)]),
        };
        let config = Arc::new(ProxyConfig::new(settings, &around).unwrap());
        let spill = SpillDir::open_or_create(&config.data_dir).unwrap();
        let mut prepared = setup::prepare(&config, &spill, 0, &mut || Ok([7; 32])).unwrap();
        let mut setup = prepared.setups.remove(0);
        let header = Header {
            shard: 0,
            instance: 1,
            created_us: 1,
            boot: 0,
            geometry: Geometry::of_bytes(8 << 20),
        };
        let heap = Heap::new(header);
        setup.journal = Journal::new([heap.words()].into(), 0, &header, heap.lend());
        if durability == Durability::Machine {
            setup.journal.keep_commits(true);
            setup.journal_file = Some(Arc::new(tempfile::tempfile().unwrap()));
        }
        let mut ring = Ring::new(&RingConfig::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = ring.listen(listener);
        let now_us = 1_700_000_000_000_000;
        let shard = Shard::new(setup, listener, Box::new(NoDisk), now_us);
        let client = Line::new(TcpStream::connect(address).unwrap());
        client.stream.set_nonblocking(true).unwrap();
        let net = Stalling {
            ring,
            begun: 0,
            ended: None,
        };
        let mut world = World {
            shard,
            net,
            later: Later::default(),
            client,
            now_us,
            _folder: folder,
        };
        world.client.start();
        assert_eq!(world.answer(), (0, Opcode::Ready));
        world
    }

    pub fn query(&mut self, stream: i16, text: &str) {
        let params = QueryParams::new(Consistency::One);
        self.client.send(stream, Opcode::Query, |w| {
            request::query::encode(w, text, &params);
        });
    }

    pub fn write(&mut self, stream: i16) {
        self.query(stream, "INSERT INTO ks.t (k, v) VALUES (1, 2)");
    }

    pub fn turn(&mut self) {
        self.turn_within(Duration::from_millis(1));
    }

    /// As [`Self::turn`], with so much time for something to happen.
    pub fn turn_within(&mut self, longest: Duration) {
        self.net.ring.wait(Some(longest)).unwrap();
        self.now_us += 1_000;
        self.shard.turn(&mut self.net, &mut self.later, self.now_us);
        self.client.receive();
    }

    /// Turns until the target has all writes.
    pub fn until_all_is_mirrored(&mut self) {
        let began = Instant::now();
        while self.shard.owed() != Owed::default() {
            assert!(began.elapsed() < LIMIT, "{:?}", self.shard.owed());
            self.turn();
        }
    }

    /// Turns until the client has its next answer.
    pub fn answer(&mut self) -> (i16, Opcode) {
        let began = Instant::now();
        loop {
            if let Some(answer) = self.client.take() {
                return answer;
            }
            assert!(began.elapsed() < LIMIT, "no answer");
            self.turn();
        }
    }

    /// A read that was sent behind all else is answered, and nothing else is.
    pub fn only_a_read_is_answered(&mut self, stream: i16) {
        self.query(stream, "SELECT v FROM ks.t WHERE k = 1");
        assert_eq!(self.answer(), (stream, Opcode::Result));
        // what the source has answered before the read has come through the same connection
        for _ in 0..20 {
            self.turn();
        }
        assert_eq!(self.client.take(), None);
    }

    pub fn syncs_begun(&mut self, count: u32) {
        let began = Instant::now();
        while self.net.begun < count {
            assert!(began.elapsed() < LIMIT, "no sync has begun");
            self.turn();
        }
        assert_eq!(self.net.begun, count);
    }
}
