//! Very many rows: mixed types, random writetimes and TTLs, and a stream of writes over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cassandra::Cassandra;
use super::cql::{Bound, Cell, Cql, Words};

/// What is created, keyspace left out.
pub const SCHEMA: [&str; 2] = [
    "TYPE addr (street text, no int)",
    "TABLE history (p int, c int, s int STATIC, t text, b bigint, d double, bl blob, \
     fl frozen<list<int>>, fu frozen<addr>, m map<text, int>, st set<int>, u addr, l list<int>, \
     PRIMARY KEY (p, c))",
];
const ROWS_PER_PARTITION: i32 = 10;
const CONNECTIONS: i32 = 2;
const LIVE_EVERY: Duration = Duration::from_micros(2500);
const LIVE_CONNECTIONS: u32 = 8;

const INSERT: &str = "INSERT INTO KS.history (p, c, t, b, d, bl, fl, fu) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
const UPDATE: &str = "UPDATE KS.history USING TIMESTAMP ? AND TTL ? SET t = ?, m = m + ?, \
                      st = st + ?, u.street = ?, s = ? WHERE p = ? AND c = ?";
const APPEND: &str = "UPDATE KS.history USING TIMESTAMP ? AND TTL ? SET l = l + ? \
                      WHERE p = ? AND c = ?";
const STATIC: &str = "UPDATE KS.history USING TIMESTAMP ? AND TTL ? SET s = ? WHERE p = ?";

/// How many partitions so many rows are.
pub fn partitions(rows: i32) -> i32 {
    rows / ROWS_PER_PARTITION
}

/// Writes `rows` rows to a node, each in one to three statements with a stamp of its own.
pub fn write(node: &Cassandra, keyspace: &str, rows: i32, now_us: i64) {
    std::thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let mut cql = node.connect();
            scope.spawn(move || {
                let texts = [INSERT, UPDATE, APPEND, STATIC];
                let ids = texts.map(|text| cql.prepare(&text.replace("KS", keyspace)).unwrap());
                let step = usize::try_from(CONNECTIONS).unwrap();
                for p in (first..partitions(rows)).step_by(step) {
                    let writes = Partition::new(p, now_us).writes();
                    let parts: Vec<_> = writes
                        .iter()
                        .map(|(text, values)| (Words::Id(&ids[*text]), &values[..]))
                        .collect();
                    cql.send_batch(1, &parts, None).unwrap();
                }
            });
        }
    });
}

/// Makes up the writes of one partition, the same for the same number.
struct Partition {
    p: i32,
    now_us: i64,
    random: SmallRng,
}

impl Partition {
    fn new(p: i32, now_us: i64) -> Partition {
        let random = SmallRng::seed_from_u64(p.unsigned_abs().into());
        Partition { p, now_us, random }
    }

    /// Which statement, and its values.
    fn writes(mut self) -> Vec<(usize, Vec<Bound>)> {
        let p = int(self.p);
        if self.p % 50 == 49 {
            let [stamp, ttl] = self.using();
            return vec![(3, vec![stamp, ttl, int(5), p])]; // nothing but a static cell
        }
        let mut writes = Vec::new();
        for c in 0..ROWS_PER_PARTITION {
            let insert = match c == 9 && self.p % 10 == 0 {
                true => self.key_only(),
                false => self.insert(),
            };
            let [stamp, ttl] = self.using();
            let cells = insert.into_iter().chain([stamp, ttl]);
            writes.push((0, [p.clone(), int(c)].into_iter().chain(cells).collect()));
            if self.random.random_range(0..2) == 0 && c < 9 {
                let [stamp, ttl] = self.using();
                let cells = self.update(c == 0);
                let cells = [stamp, ttl].into_iter().chain(cells);
                writes.push((1, cells.chain([p.clone(), int(c)]).collect()));
            }
            if self.random.random_range(0..10) == 0 && c < 9 {
                let [stamp, ttl] = self.using();
                let list = collection(2, &[&4i32.to_be_bytes(), &9i32.to_be_bytes()]);
                writes.push((2, vec![stamp, ttl, list, p.clone(), int(c)]));
            }
        }
        writes
    }

    fn key_only(&mut self) -> Vec<Bound> {
        vec![Bound::Unset; 6]
    }

    /// t, b, d, bl, fl, fu; d is always there, see `Live`.
    fn insert(&mut self) -> Vec<Bound> {
        let n: i64 = self.random.random();
        let text = Bound::Value(format!("text {n}").into_bytes());
        let long = Bound::Value(n.to_be_bytes().to_vec());
        let double = Bound::Value(self.random.random::<f64>().to_be_bytes().to_vec());
        let blob = Bound::Value(vec![7; self.random.random_range(0..100)]);
        let frozen = collection(2, &[&1i32.to_be_bytes(), &2i32.to_be_bytes()]);
        let addr = [
            &4i32.to_be_bytes()[..],
            b"road",
            &4i32.to_be_bytes(),
            &[0; 4],
        ]
        .concat();
        vec![
            self.maybe(text),
            self.maybe(long),
            double,
            self.maybe(blob),
            self.maybe(frozen),
            self.maybe(Bound::Value(addr)),
        ]
    }

    /// t, m, st, u.street, s.
    fn update(&mut self, with_static: bool) -> Vec<Bound> {
        let n: i32 = self.random.random_range(0..9);
        let key = format!("k{n}");
        let map = [
            &1i32.to_be_bytes()[..],
            &entry(key.as_bytes()),
            &entry(&[0, 0, 0, 1]),
        ];
        let map = Bound::Value(map.concat());
        let set = collection(2, &[&n.to_be_bytes(), &(n + 1).to_be_bytes()]);
        let street = Bound::Value(b"way".to_vec());
        let or_unset = |there: bool, value| if there { value } else { Bound::Unset };
        let text = self.maybe(Bound::Value(b"changed".to_vec()));
        vec![
            text,
            or_unset(n % 2 == 0, map),
            or_unset(n % 3 == 0, set),
            self.maybe(street),
            or_unset(with_static, int(n)),
        ]
    }

    /// The value, or unset, or null: a deleted cell.
    fn maybe(&mut self, value: Bound) -> Bound {
        match self.random.random_range(0..8) {
            0 => Bound::Null,
            1..3 => Bound::Unset,
            _ => value,
        }
    }

    /// A stamp in the last twelve days; a TTL in one of three.
    fn using(&mut self) -> [Bound; 2] {
        let ago_us: i64 = self.random.random_range(1_000_000..1_000_000_000_000);
        let ttl = match self.random.random_range(0..3) {
            0 => self.random.random_range(50_000..500_000),
            _ => 0,
        };
        let stamp = Bound::Value((self.now_us - ago_us).to_be_bytes().to_vec());
        [stamp, int(ttl)]
    }
}

fn int(n: i32) -> Bound {
    Bound::Value(n.to_be_bytes().to_vec())
}

fn entry(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn collection(count: i32, elements: &[&[u8]]) -> Bound {
    let elements = elements.iter().flat_map(|element| entry(element));
    Bound::Value(count.to_be_bytes().into_iter().chain(elements).collect())
}

/// 400 writes a second to the first half of the partitions, until it is stopped: by several
/// connections, since answers of nodes under load take longer than the pause between two writes.
///
/// No cell `d` is deleted alone: a row that `INSERT` made and that loses its last cell is still
/// there at the source, and copies by the rule of `--row-marker infer` are not. That rule has
/// tests of its own.
pub struct Live {
    began: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Live {
    pub fn start(contact: SocketAddr, keyspace: &str, rows: i32) -> Live {
        let stop = Arc::new(AtomicBool::new(false));
        let half = (partitions(rows) / 2).max(1);
        let write = |seed: u64| {
            let (told, keyspace) = (stop.clone(), keyspace.to_owned());
            std::thread::spawn(move || write_until(&told, contact, &keyspace, half, seed))
        };
        let threads = (0..LIVE_CONNECTIONS).map(|n| write(n.into())).collect();
        Live {
            began: Instant::now(),
            stop,
            threads,
        }
    }

    /// How many writes there were, and in what time.
    pub fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let count = threads.map(|thread| thread.join().unwrap()).sum();
        (count, self.began.elapsed())
    }
}

/// Gives how many writes there were.
fn write_until(told: &AtomicBool, contact: SocketAddr, ks: &str, half: i32, seed: u64) -> u64 {
    let mut cql = Cql::connect(contact).unwrap();
    let ids = LIVE.map(|text| cql.prepare(&text.replace("KS", ks)).unwrap());
    let mut random = SmallRng::seed_from_u64(seed);
    let mut next = Instant::now();
    let mut count = 0;
    while !told.load(Ordering::Relaxed) {
        let p = random.random_range(0..half).to_be_bytes().to_vec();
        let c = random.random_range(0..9i32).to_be_bytes().to_vec();
        let kind = random.random_range(0..LIVE.len());
        let key: [Cell; 2] = [Some(p), Some(c)];
        let markers = LIVE[kind].matches('?').count();
        cql.execute(&ids[kind], &key[..markers]).unwrap();
        count += 1;
        next += LIVE_EVERY * LIVE_CONNECTIONS;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    count
}

const LIVE: [&str; 8] = [
    "INSERT INTO KS.history (p, c, t, d) VALUES (?, ?, 'live', 0.5) USING TTL 90000",
    "UPDATE KS.history SET b = 7, m['k1'] = 8 WHERE p = ? AND c = ?",
    "UPDATE KS.history USING TTL 70000 SET st = st + {3}, u.no = 4 WHERE p = ? AND c = ?",
    "UPDATE KS.history SET st = st - {3}, u.street = null WHERE p = ? AND c = ?",
    "UPDATE KS.history SET fl = [9], t = 'newer' WHERE p = ? AND c = ?",
    "DELETE t, m FROM KS.history WHERE p = ? AND c = ?",
    "DELETE FROM KS.history WHERE p = ? AND c = ?",
    "UPDATE KS.history SET s = 4 WHERE p = ?",
];
