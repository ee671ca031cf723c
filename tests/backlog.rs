//! A long outage's worth of backlog: the proxy serves at once, counts it, drains it, and its
//! memory does not grow with it.
//!
//! `cargo test --test backlog`: 96 MiB. At size, with what it measured printed:
//! `TWINRING_BACKLOG_MIB=10240 cargo test --release --test backlog -- --nocapture`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)] // tests may

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use twinring::spill::{Body, DirWriter, Holds, Kind, Record, SpillDir, WriterConfig};

const SHARDS: u32 = 2;
const VALUE_BYTES: usize = 1000;
/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(1200);
/// What a proxy with a backlog of any size may hold; rings and heaps of two shards included.
const MEMORY_KIB: u64 = 192 << 10;

fn size_mib() -> u64 {
    let said = std::env::var("TWINRING_BACKLOG_MIB").ok();
    said.map_or(96, |text| text.parse().expect("a number of MiB"))
}

fn now_us() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// Fills a spill directory. Gives the number of records.
fn fill(path: &Path, bytes: u64) -> u64 {
    let dir = SpillDir::open_or_create(path).unwrap();
    let mut params = vec![0, 1, 0x21, 0, 1]; // ONE; values and a timestamp
    params.extend_from_slice(&u32::try_from(VALUE_BYTES).unwrap().to_be_bytes());
    params.extend_from_slice(&[7; VALUE_BYTES]);
    params.extend_from_slice(&1i64.to_be_bytes());
    let begun_us = now_us();
    let mut count = 0;
    for shard in 0..SHARDS {
        let config = WriterConfig::new(Holds::Backlog, shard, 1, 1);
        let mut writer = DirWriter::new(dir.shard(shard).unwrap(), config);
        let mut written = 0;
        while written < bytes / u64::from(SHARDS) {
            let record = Record {
                sequence: 0,
                arrival_us: begun_us + count,
                stamp_us: Some(1),
                kind: Kind::Write,
                version: 4,
                session_keyspace: "",
                keyspace: "ks",
                table: "t",
                refusal: None,
                body: Body::Query {
                    text: "INSERT INTO ks.t (v) VALUES (?)",
                    params: &params,
                },
            };
            writer.writer().append(&record, begun_us).unwrap();
            count += 1;
            written += 1100;
            if writer.writer().pending_bytes() > 8 << 20 {
                writer.flush(false).unwrap();
            }
        }
        writer.close().unwrap();
    }
    count
}

/// A node that takes every write and keeps none.
struct Node {
    address: SocketAddr,
    writes: Arc<AtomicU64>,
}

impl Node {
    fn start(address: SocketAddr) -> Node {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().unwrap();
        let writes = Arc::new(AtomicU64::new(0));
        let counter = writes.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = counter.clone();
                std::thread::spawn(move || serve(stream, &counter));
            }
        });
        Node { address, writes }
    }
}

/// READY to STARTUP, SUPPORTED to OPTIONS, VOID to all else; ends with the connection.
fn serve(stream: TcpStream, counter: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::with_capacity(1 << 20, stream);
    let mut answers = Vec::new();
    let mut body = Vec::new();
    loop {
        let mut header = [0; 9];
        if input.read_exact(&mut header).is_err() {
            return;
        }
        let length = u32::from_be_bytes(*header.last_chunk().unwrap());
        body.resize(usize::try_from(length).unwrap(), 0);
        if input.read_exact(&mut body).is_err() {
            return;
        }
        let (opcode, answer): (u8, &[u8]) = match header[4] {
            1 => (2, &[]),
            5 => (6, &[0, 0]),
            _ => {
                counter.fetch_add(1, Relaxed);
                (8, &[0, 0, 0, 1])
            }
        };
        answers.extend_from_slice(&[0x84, 0, header[2], header[3], opcode]);
        answers.extend_from_slice(&u32::try_from(answer.len()).unwrap().to_be_bytes());
        answers.extend_from_slice(answer);
        if input.buffer().len() < 9 || answers.len() > 1 << 16 {
            if out.write_all(&answers).is_err() {
                return;
            }
            answers.clear();
        }
    }
}

struct Proxy {
    child: Child,
    metrics: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts, and waits until clients are served. Gives how long that took.
    fn start(dir: &Path, source: SocketAddr, target: SocketAddr) -> (Proxy, Duration) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let metrics = free.local_addr().unwrap();
        drop(free);
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_twinring"))
            .args(["proxy", &source.to_string(), &target.to_string()])
            .args(["--listen", "127.0.0.1:0", "--cores", &SHARDS.to_string()])
            .args(["--metrics-listen", &metrics.to_string()])
            .args([
                "--disable-source-tls",
                "true",
                "--disable-target-tls",
                "true",
            ])
            .args(["--spill-max-bytes", "64GiB", "--data-dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("ready for clients"));
        assert!(ready, "the proxy has ended");
        std::thread::spawn(move || lines.count()); // its words go nowhere
        (Proxy { child, metrics }, begun.elapsed())
    }

    fn rss_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time so far (s).
    fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0.0))
            .collect();
        (fields[11] + fields[12]) / 100.0
    }

    fn status(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream
            .write_all(b"GET /status HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let start = answer.find('{').expect("JSON");
        let end = answer.rfind('}').expect("JSON");
        serde_json::from_str(&answer[start..=end]).unwrap()
    }

    fn backlog_records(&self) -> u64 {
        self.status()["totals"]["backlog_records"].as_u64().unwrap()
    }
}

/// A port that is taken, and refuses: nobody listens yet.
fn closed_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn memory_does_not_grow_with_the_backlog() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = temporary.path().join("data");
    let bytes = size_mib() << 20;
    let records = fill(&dir, bytes);
    let source = Node::start("127.0.0.1:0".parse().unwrap());
    let (closed, target) = closed_port();

    let (proxy, ready_after) = Proxy::start(&dir, source.address, target);
    eprintln!(
        "{} MiB, {records} records: ready after {ready_after:?}",
        size_mib()
    );
    let begun = Instant::now();
    while proxy.backlog_records() != records {
        assert!(
            begun.elapsed() < PATIENCE,
            "counted {}",
            proxy.backlog_records()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let (counted_after, rss_kib) = (begun.elapsed(), proxy.rss_kib());
    eprintln!("counted after {counted_after:?}; RSS {} MiB", rss_kib >> 10);

    let (begun, cpu_s) = (Instant::now(), proxy.cpu_s());
    drop(closed);
    let node = Node::start(target);
    let mut most_kib = rss_kib;
    let mut next_line = Duration::ZERO;
    loop {
        let (left, rss_kib) = (proxy.backlog_records(), proxy.rss_kib());
        most_kib = most_kib.max(rss_kib);
        if begun.elapsed() >= next_line {
            next_line += Duration::from_secs(5);
            let at_s = begun.elapsed().as_secs();
            eprintln!(
                "{at_s:>4} s: {left} records left, RSS {} MiB",
                rss_kib >> 10
            );
        }
        if left == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{left} records are left");
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = begun.elapsed();
    let used_s = proxy.cpu_s() - cpu_s;
    #[allow(clippy::cast_precision_loss)]
    let (count, mib) = (records as f64, size_mib() as f64);
    eprintln!(
        "drained in {took:.1?}: {:.0} records/s, {:.0} MiB/s, {:.1} µs CPU per record; \
         most RSS {} MiB",
        count / took.as_secs_f64(),
        mib / took.as_secs_f64(),
        used_s * 1e6 / count,
        most_kib >> 10
    );
    let sent = node.writes.load(Relaxed);
    assert!(sent >= records, "{sent} of {records} came");
    assert!(most_kib < MEMORY_KIB, "RSS {most_kib} KiB");
    assert_eq!(proxy.status()["cutover"]["safe"], true);
}
