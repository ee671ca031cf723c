//! Noise at the port: random bytes, damaged messages, broken frames, connections that are cut, half
//! closed or left open. The proxy lives, keeps its size, and other clients see nothing of it.
//!
//! `TWINRING_NOISE_SECONDS=600` makes a long run of it; `--nocapture` shows its size on the way.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::cassandra::run_dir;
use crate::support::cql::Cql;
use crate::support::lab;
use crate::support::ledger::Writers;
use crate::support::noise::{self, Noise};
use crate::support::proxy::Proxy;

const USUAL: Duration = Duration::from_secs(20);
const TALKERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// What a process may take, without its code and beside its connections.
const MEMORY_KIB: u64 = 64 << 10;
/// For each connection: a talker leaves some open, and the source still answers others.
const CONNECTION_KIB: u64 = 16;
const CONNECTIONS: u64 = 256;
/// How much the second half of a long run may add.
const GROWTH_KIB: u64 = 2 << 10;
/// A run of this length has a second half in which nothing is new any more.
const LONG: Duration = Duration::from_secs(300);
/// Until nothing is left of the noise: the source is asked about writes without an answer, and
/// conditional ones of unknown tables wait for 30 s.
const CALM_LIMIT: Duration = Duration::from_secs(90);

fn duration() -> Duration {
    let seconds = std::env::var("TWINRING_NOISE_SECONDS");
    seconds.map_or(USUAL, |s| Duration::from_secs(s.parse().unwrap()))
}

/// The largest sizes of memory of the first, middle and last part, and of descriptors.
fn watch(proxy: &Proxy, length: Duration) -> Vec<u64> {
    let began = Instant::now();
    let mut sizes = Vec::new();
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_secs(1));
        let (kib, descriptors) = (proxy.own_kib(), proxy.descriptors());
        sizes.push(kib);
        if sizes.len() % 10 == 0 {
            eprintln!(
                "noise: {} s, {kib} KiB, {} KiB with its code, {descriptors} descriptors, journal \
                 {} KiB",
                sizes.len(),
                proxy.rss_kib(),
                proxy.gauge("twinring_journal_bytes") / 1024,
            );
        }
    }
    sizes
}

/// The in-memory node as a process: an announced length of 2 GB in the wrong place ends Cassandra,
/// which takes the memory before it looks whether the bytes are there.
struct Node {
    address: SocketAddr,
    child: Child,
}

impl Node {
    fn start() -> Node {
        let address = SocketAddr::from((lab::proxy_address(), 9042));
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            env!("CARGO_BIN_EXE_twinring"),
            "node",
        ]);
        let child = command.args(["--listen", &address.to_string()]).spawn();
        let node = Node {
            address,
            child: child.unwrap(),
        };
        let began = Instant::now();
        while Cql::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "no node");
            std::thread::sleep(Duration::from_millis(50));
        }
        for text in TABLES {
            node.connect().query(text).unwrap();
        }
        node
    }

    fn connect(&self) -> Cql {
        Cql::connect(self.address).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The keyspaces of the writers, and of what the drivers have recorded.
const TABLES: [&str; 3] = [
    "CREATE KEYSPACE noise WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE KEYSPACE gold WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE noise.ledger (writer int, seq int, v text, w int, PRIMARY KEY (writer, seq))",
];

/// All that the writers have left, with its time.
fn cells(node: &Node) -> Vec<Vec<Option<Vec<u8>>>> {
    let text = "SELECT writer, seq, v, w, WRITETIME(v), WRITETIME(w) FROM noise.ledger";
    let mut rows = node.connect().query(text).unwrap();
    rows.sort();
    rows
}

#[test]
fn noise_at_the_port_hurts_nobody() {
    let _turn = lab::alone();
    let (source, target) = (Node::start(), Node::start());
    let ends = [source.address, target.address];
    let data_dir = run_dir().join("noise");
    let mut proxy = Proxy::start_with("noise", &data_dir, lab::proxy_address(), ends, &[], &[]);
    let (length, began, contact) = (duration(), Instant::now(), proxy.listen);
    let _ = noise::say_it_once(contact);
    let descriptors_before = proxy.descriptors();
    let writers = Writers::start(contact, "noise", 4, 50);
    let talkers: Vec<_> = (0..TALKERS)
        .map(|n| {
            std::thread::spawn(move || {
                let mut noise = Noise::new(0x5eed_0001 + n * 7_919);
                let mut rounds = 0;
                while began.elapsed() < length {
                    let _ = noise.talk(contact, rounds);
                    rounds += 1;
                    std::thread::sleep(PAUSE);
                }
                rounds
            })
        })
        .collect();
    let sizes = watch(&proxy, length);
    let rounds: usize = talkers.into_iter().map(|one| one.join().unwrap()).sum();
    let ledger = writers.finish();
    let quarters = [0, 1, 2, 3, 4].map(|part| sizes[(sizes.len() - 1) * part / 4]);
    eprintln!(
        "noise: {rounds} conversations, {} writes beside them, the slowest {:?}; KiB at the \
         quarters {quarters:?}",
        ledger.acknowledged, ledger.slowest,
    );
    assert!(proxy.is_running(), "{}", proxy.words());
    assert!(!proxy.words().contains("panicked"), "{}", proxy.words());
    assert!(rounds > 1_000, "only {rounds} conversations");
    assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    assert!(ledger.acknowledged > 1_000, "{}", ledger.acknowledged);
    let limit_kib = MEMORY_KIB + CONNECTION_KIB * CONNECTIONS;
    let largest_kib = sizes.iter().max().copied().unwrap_or_default();
    assert!(largest_kib <= limit_kib, "{largest_kib} KiB");
    if length >= LONG {
        let (half, end) = sizes.split_at(sizes.len() / 2);
        let (half, end) = (half.iter().max().unwrap(), end.iter().max().unwrap());
        assert!(*end <= half + GROWTH_KIB, "{half} KiB, then {end} KiB");
    }
    become_calm(&proxy, descriptors_before);
    assert_eq!(
        ledger.check_by(&mut target.connect(), "noise"),
        (0, Vec::new())
    );
    assert_eq!(cells(&source), cells(&target));
}

/// Waits until the proxy has nothing left of what came and went.
fn become_calm(proxy: &Proxy, descriptors_before: usize) {
    let began = Instant::now();
    loop {
        let left = [
            ("clients", proxy.gauge("twinring_connections{client}")),
            ("journal", proxy.gauge("twinring_journal_records")),
            ("pending", proxy.gauge("twinring_pending_writes")),
        ];
        let descriptors = proxy.descriptors();
        // its own link to the source is opened when it is first needed, one for each shard
        let calm = left.iter().all(|(_, n)| *n == 0) && descriptors <= descriptors_before + 4;
        if calm {
            return;
        }
        assert!(
            began.elapsed() < CALM_LIMIT,
            "{left:?}, {descriptors} descriptors, {descriptors_before} before"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}
