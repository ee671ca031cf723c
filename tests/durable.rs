//! `--durability machine`: a real shard on a real ring, whose syncs end when the test says so. No
//! answer to a write leaves before the write is on the disk; reads never wait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinring::config::{ProxyConfig, Settings, Surroundings};
use twinring::cql::envelope::Envelope;
use twinring::cql::request::{self, params::QueryParams};
use twinring::cql::response::result;
use twinring::cql::{Consistency, Flags, Opcode, Version, decoder, encode};
use twinring::journal::{Geometry, Header, Heap, Journal};
use twinring::proxy::setup;
use twinring::shard::disk::{Disk, Ended};
use twinring::shard::net::Net;
use twinring::shard::{Later, Shard};
use twinring::spill::Batch;
use twinring::spill::dir::SpillDir;
use twinring::sys::ring::{Event, Ring, RingConfig, SocketId};

const LIMIT: Duration = Duration::from_secs(60);
const BOUNDS: decoder::DecodeLimits = decoder::DecodeLimits::requests(1 << 20);

/// The ring, but for its syncs: they begin, and end by the test's word.
struct Stalling {
    ring: Ring,
    begun: u32,
    ended: Option<io::Result<()>>,
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

/// Answers everything at once, and notes nothing.
fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut line = Line::new(stream);
                while let Some((stream, opcode)) = line.next() {
                    let (answer, body): (_, fn(&mut twinring::cql::Writer<'_>)) = match opcode {
                        Opcode::Startup => (Opcode::Ready, |_| {}),
                        _ => (Opcode::Result, result::encode_void),
                    };
                    line.send(stream, answer, body);
                }
            });
        }
    });
    address
}

/// One end of a connection, envelope by envelope.
struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let received = Vec::new();
        Self { stream, received }
    }

    fn send(
        &mut self,
        stream: i16,
        opcode: Opcode,
        body: impl FnOnce(&mut twinring::cql::Writer<'_>),
    ) {
        let mut bytes = Vec::new();
        encode::envelope(&mut bytes, Version::V4, Flags::NONE, stream, opcode, body).unwrap();
        let _ = self.stream.write_all(&bytes);
    }

    /// Takes an envelope out of what has come.
    fn take(&mut self) -> Option<(i16, Opcode)> {
        let bounds = decoder::DecodeLimits::responses(1 << 20);
        let split = decoder::split(&self.received, &BOUNDS)
            .or_else(|_| decoder::split(&self.received, &bounds));
        let Envelope { header, raw, .. } = split.unwrap()?;
        let taken = (header.stream, header.opcode, raw.len());
        self.received.drain(..taken.2);
        Some((taken.0, taken.1))
    }

    /// Waits for the next envelope; `None` at the end.
    fn next(&mut self) -> Option<(i16, Opcode)> {
        loop {
            if let Some(taken) = self.take() {
                return Some(taken);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

/// A port that is taken, and refuses: nobody listens.
fn reserved() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket
}

struct World {
    shard: Shard,
    net: Stalling,
    later: Later<OwnedFd>,
    client: Line,
    now_us: i64,
    _folder: tempfile::TempDir,
    _target: socket2::Socket,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let target = reserved();
        let nowhere = target.local_addr().unwrap().as_socket().unwrap();
        let settings = Settings {
            source: Some(source().to_string().parse().unwrap()),
            target: Some(nowhere.to_string().parse().unwrap()),
            data_dir: Some(folder.path().to_owned()),
            durability: Some("machine".to_owned()),
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
        setup.journal.keep_commits(true);
        setup.journal_file = Some(Arc::new(tempfile::tempfile().unwrap()));
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
            _target: target,
        };
        world.client.send(0, Opcode::Startup, |w| {
            w.string_map([("CQL_VERSION", "3.0.0")])
        });
        assert_eq!(world.answer(), (0, Opcode::Ready));
        world
    }

    fn query(&mut self, stream: i16, text: &str) {
        let params = QueryParams::new(Consistency::One);
        self.client.send(stream, Opcode::Query, |w| {
            request::query::encode(w, text, &params);
        });
    }

    fn write(&mut self, stream: i16) {
        self.query(stream, "INSERT INTO ks.t (k, v) VALUES (1, 2)");
    }

    fn turn(&mut self) {
        self.net.ring.wait(Some(Duration::from_millis(1))).unwrap();
        self.now_us += 1_000;
        self.shard.turn(&mut self.net, &mut self.later, self.now_us);
        let mut bytes = [0; 4096];
        if let Ok(count) = self.client.stream.read(&mut bytes) {
            self.client.received.extend_from_slice(&bytes[..count]);
        }
    }

    /// Turns until the client has its next answer.
    fn answer(&mut self) -> (i16, Opcode) {
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
    fn only_a_read_is_answered(&mut self, stream: i16) {
        self.query(stream, "SELECT v FROM ks.t WHERE k = 1");
        assert_eq!(self.answer(), (stream, Opcode::Result));
        // what the source has answered before the read has come through the same connection
        for _ in 0..20 {
            self.turn();
        }
        assert_eq!(self.client.take(), None);
    }

    fn syncs_begun(&mut self, count: u32) {
        let began = Instant::now();
        while self.net.begun < count {
            assert!(began.elapsed() < LIMIT, "no sync has begun");
            self.turn();
        }
        assert_eq!(self.net.begun, count);
    }
}

#[test]
fn no_answer_to_a_write_leaves_before_its_sync_has_ended() {
    let mut world = World::new();
    world.write(1);
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    // this one came after the sync began, so it is not in it
    world.write(3);
    world.only_a_read_is_answered(4);
    assert_eq!(world.net.begun, 1, "one at a time");
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (1, Opcode::Result));
    world.only_a_read_is_answered(5);
    world.syncs_begun(2);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (3, Opcode::Result));
    // one sync for all that has come meanwhile
    world.write(6);
    world.syncs_begun(3);
    for stream in 7..20 {
        world.write(stream);
    }
    world.only_a_read_is_answered(20);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (6, Opcode::Result));
    world.syncs_begun(4);
    world.net.ended = Some(Ok(()));
    for stream in 7..20 {
        assert_eq!(world.answer(), (stream, Opcode::Result));
    }
}

#[test]
fn what_must_not_be_repeated_waits_for_its_state() {
    let mut world = World::new();
    world.query(1, "UPDATE ks.t SET l = l + [1] WHERE k = 1");
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    world.net.ended = Some(Ok(()));
    // INTENT is on the disk, that the source has it is not
    world.only_a_read_is_answered(3);
    world.syncs_begun(2);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (1, Opcode::Result));
}

#[test]
fn after_a_failed_sync_no_write_is_acknowledged() {
    let mut world = World::new();
    world.write(1);
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    world.net.ended = Some(Err(io::ErrorKind::StorageFull.into()));
    for _ in 0..200 {
        world.turn();
    }
    assert_eq!(world.client.take(), None, "the write was acknowledged");
    assert_eq!(
        world.net.begun, 1,
        "a sync that succeeds now would say nothing"
    );
}
