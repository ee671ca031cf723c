//! Many connections, prepared statements across them, and clients that speak nonsense.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::cql::Cql;
use crate::support::lab::{self, Pair};
use crate::support::ledger::{self, Writers};

const NONSENSE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(4);
const IDLE_CONNECTIONS: u64 = 1000;
const IDLE_LIMIT_KIB: u64 = 16;

fn pair_with_ledger(name: &str) -> Pair {
    let pair = Pair::new(name, lab::source_41(), lab::target_50());
    pair.run_at_both(&format!("CREATE TABLE {}.{}", pair.keyspace, ledger::TABLE));
    pair
}

/// An id from one connection is good on 200 others at once, on every shard, under load.
#[test]
fn prepared_on_one_connection_works_on_200() {
    let _turn = lab::alone();
    let pair = pair_with_ledger("prepared");
    let table = format!("{}.many", pair.keyspace);
    pair.run_at_both(&format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, round int, v text)"
    ));
    let writers = Writers::start(pair.contact(), &pair.keyspace, 4, 50);
    let mut others: Vec<_> = (0..200)
        .map(|_| Cql::connect(pair.contact()).unwrap())
        .collect();
    let mut first = Cql::connect(pair.contact()).unwrap();
    let int = |value: usize| Some(i32::try_from(value).unwrap().to_be_bytes().to_vec());
    for round in 0..5 {
        let text = format!("INSERT INTO {table} (id, round, v) VALUES (?, {round}, ?)");
        let id = first.prepare(&text).unwrap();
        for (n, other) in others.iter_mut().enumerate() {
            let cells = [int(n), Some(format!("round {round}").into_bytes())];
            other
                .execute(&id, &cells)
                .unwrap_or_else(|e| panic!("connection {n}: {e}"));
        }
    }
    let ledger = writers.finish();
    assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    let rows = pair
        .source
        .connect()
        .query(&format!("SELECT id FROM {table}"))
        .unwrap();
    assert_eq!(rows.len(), 200);
    pair.assert_equal(&[]);
}

/// xorshift64*: the same nonsense at every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).unwrap()
    }
}

const STARTUP_V4: &[u8] =
    b"\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0";

/// One conversation of nonsense, of five kinds; what the proxy answers does not matter.
fn talk_nonsense(address: SocketAddr, noise: &mut Noise, round: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    if round % 2 == 1 {
        stream.write_all(STARTUP_V4)?;
    }
    let header = |opcode: u8, length: u32| {
        let [a, b, c, d] = length.to_be_bytes();
        vec![4, 0, 0, 7, opcode, a, b, c, d]
    };
    // Opcodes 0 to 17 but AUTH_RESPONSE: Cassandra believes the length of its token, and one that
    // announces 2 GB ends the node.
    let opcode = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17][noise.below(17)];
    let size = noise.below(300);
    let bytes = match round % 5 {
        0 => noise.bytes(4 * size + 1),
        // a true header before a senseless body
        1 => {
            let mut bytes = header(opcode, u32::try_from(size).unwrap());
            bytes.append(&mut noise.bytes(size));
            bytes
        }
        // two gigabytes announced, and a few sent
        2 => {
            let mut bytes = header(opcode, 0x7fff_fff0);
            bytes.append(&mut noise.bytes(size));
            bytes
        }
        // a body that ends in the middle, a stream id that is negative
        3 => {
            let mut bytes = header(opcode, 500);
            bytes[2] = 0xff;
            bytes.append(&mut noise.bytes(size));
            bytes
        }
        // other protocol versions
        _ => {
            let mut bytes = header(opcode, 0);
            bytes[0] = noise.next().to_le_bytes()[0];
            bytes
        }
    };
    stream.write_all(&bytes)?;
    let mut answer = [0; 512];
    let _ = stream.read(&mut answer)?;
    Ok(())
}

/// Random bytes at the port: the proxy lives, keeps its size, and other clients see nothing.
#[test]
fn nonsense_at_the_port_hurts_nobody() {
    let _turn = lab::alone();
    let mut pair = pair_with_ledger("nonsense");
    let contact = pair.contact();
    let before_kib = pair.proxy.as_ref().map(|proxy| proxy.rss_kib());
    let writers = Writers::start(contact, &pair.keyspace, 2, 50);
    let began = Instant::now();
    let talkers: Vec<_> = [0x5eed_0001_u64, 0x5eed_0002]
        .map(|seed| {
            std::thread::spawn(move || {
                let mut noise = Noise(seed);
                let mut rounds = 0;
                while began.elapsed() < NONSENSE {
                    let _ = talk_nonsense(contact, &mut noise, rounds);
                    rounds += 1;
                    std::thread::sleep(PAUSE);
                }
                rounds
            })
        })
        .into();
    let rounds: usize = talkers
        .into_iter()
        .map(|talker| talker.join().unwrap())
        .sum();
    let ledger = writers.finish();
    eprintln!(
        "nonsense: {rounds} conversations, {} writes beside them",
        ledger.acknowledged
    );
    assert!(rounds > 200, "only {rounds} conversations");
    assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    assert!(ledger.acknowledged > 500, "{}", ledger.acknowledged);
    if let Some(proxy) = pair.proxy.as_mut() {
        assert!(proxy.is_running(), "{}", proxy.words());
        let grown_kib = proxy
            .rss_kib()
            .saturating_sub(before_kib.unwrap_or_default());
        assert!(grown_kib < 64 << 10, "{grown_kib} KiB more than before");
    }
    pair.assert_equal(&[]);
}

/// What an idle client costs the proxy, and that idle clients are still served afterwards.
#[test]
fn idle_connections_are_cheap() {
    let _turn = lab::alone();
    // Two descriptors for each, and the usual soft limit is 1,024.
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--nofile=8192:", "--pid", &pid])
        .status();
    assert!(raised.unwrap().success());
    let pair = Pair::new("idle", lab::source_41(), lab::target_50());
    let Some(proxy) = pair.proxy.as_ref() else {
        return;
    };
    drop(Cql::connect(proxy.listen).unwrap());
    let before_kib = proxy.rss_kib();
    let mut clients: Vec<_> = (0..IDLE_CONNECTIONS)
        .map(|_| Cql::connect(proxy.listen).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let grown_kib = proxy.rss_kib().saturating_sub(before_kib);
    eprintln!("{IDLE_CONNECTIONS} idle connections: {grown_kib} KiB");
    assert!(
        grown_kib <= IDLE_LIMIT_KIB * IDLE_CONNECTIONS,
        "{grown_kib} KiB"
    );
    for client in &mut clients {
        client.options().unwrap();
    }
}

/// Health answers, and every line of the metrics is one that Prometheus can read.
#[test]
fn health_and_metrics_answer() {
    let _turn = lab::beside_others();
    let pair = pair_with_ledger("metrics");
    let Some(proxy) = pair.proxy.as_ref() else {
        return;
    };
    let writers = Writers::start(proxy.listen, &pair.keyspace, 2, 50);
    std::thread::sleep(Duration::from_secs(1));
    for path in ["/healthz", "/readyz"] {
        let (status, body) = proxy.get(path);
        assert_eq!(status, 200, "{path}: {body}");
    }
    let (status, body) = proxy.get("/metrics");
    assert_eq!(status, 200);
    let mut samples = 0;
    for line in body
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("twinring_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(samples > 10, "only {samples} samples:\n{body}");
    assert!(writers.finish().errors.is_empty());
    pair.assert_equal(&[]);
}
