//! Several proxies apart from the nodes, shown to real drivers as the ring, before a cluster of
//! three: who is seen, who is used, what a driver notices of deaths, and that nobody goes past.

mod rust;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cassandra::{Cassandra, run_dir, setup, tests_dir};
use crate::support::cql::Cql;
use crate::support::lab;
use crate::support::proxy::Proxy;
use crate::support::tls::{self, Flags};

/// How long anything may take that happens by itself.
const LIMIT: Duration = Duration::from_secs(90);
/// Keys of one order; each is written twice.
const KEYS: usize = 200;

/// How everybody talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// Over TLS on all sides, and with a login.
    Secured,
}

/// An application.
enum Life {
    /// `tests/it/drivers/NAME/ring…`.
    Process {
        child: Child,
        answers: BufReader<ChildStdout>,
    },
    Rust(Box<rust::Rust>),
}

#[derive(Debug, serde::Deserialize)]
struct Written {
    failed: Vec<String>,
    by: BTreeMap<String, usize>,
    steady: usize,
}

impl Life {
    fn start(driver: &str, argument: &str, contact: Ipv4Addr, way: Way) -> Life {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        command.arg(tests_dir().join("it/drivers").join(driver).join("run"));
        command.arg(argument);
        command.env("TWINRING_CONTACT", format!("{contact}:9042"));
        if way == Way::Secured {
            command.env("TWINRING_USER", lab::APPLICATION.0);
            command.env("TWINRING_PASSWORD", lab::APPLICATION.1);
            command.env("TWINRING_TLS_CA", &tls::authority().file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(line_of(&mut answers), "connected");
        Life::Process { child, answers }
    }

    fn order<T: serde::de::DeserializeOwned>(&mut self, words: &str) -> T {
        match self {
            Life::Process { child, answers } => {
                writeln!(child.stdin.as_ref().unwrap(), "{words}").unwrap();
                let answer = line_of(answers);
                serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{words}: {e}: {answer}"))
            }
            Life::Rust(rust) => serde_json::from_value(rust.order(words)).unwrap(),
        }
    }

    fn write(&mut self, keyspace: &str, from: usize) -> Written {
        let written: Written = self.order(&format!("write {keyspace} {from} {KEYS}"));
        eprintln!(
            "{keyspace} from {from}: {:?}, {} steady",
            written.by, written.steady
        );
        assert!(written.failed.is_empty(), "{:?}", written.failed);
        written
    }

    /// Waits until writes reach exactly these coordinators; `steadily`: each key one.
    fn write_until_used(
        &mut self,
        keyspace: &str,
        from: usize,
        wanted: &[Ipv4Addr],
        steadily: bool,
    ) -> Written {
        let wanted: BTreeSet<_> = wanted.iter().map(ToString::to_string).collect();
        let began = Instant::now();
        loop {
            let written = self.write(keyspace, from);
            let used = written.by.keys().cloned().collect::<BTreeSet<_>>();
            if used == wanted && (!steadily || written.steady == KEYS) {
                return written;
            }
            assert!(began.elapsed() < LIMIT, "{wanted:?}: {written:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Life::Process { child, .. } = self {
            drop(child.stdin.take());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn line_of(answers: &mut impl BufRead) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the driver ended; its words are above");
    line.trim_end().to_owned()
}

/// Three proxies before three nodes, and what is written.
struct Ring {
    nodes: &'static [Cassandra; 3],
    target: &'static Cassandra,
    way: Way,
    name: String,
    addresses: [Ipv4Addr; 3],
    proxies: [Option<Proxy>; 3],
}

impl Ring {
    fn start(driver: &str, way: Way) -> Ring {
        setup();
        let (nodes, target) = match way {
            Way::Plain => (lab::three_plain(), lab::target_50()),
            Way::Secured => (lab::three_secured(), lab::secure_target()),
        };
        if way == Way::Secured {
            lab::create_application(target);
        }
        let name = format!("ring_{driver}");
        for (keyspace, replicas) in [(format!("{name}_1"), 1), (format!("{name}_3"), 3)] {
            lab::create_replicated(&nodes[0], &keyspace, replicas);
            lab::create_keyspace(target, &keyspace);
            let table = format!("CREATE TABLE {keyspace}.rows (k int PRIMARY KEY, v text)");
            for node in [&nodes[0], target] {
                node.connect().query(&table).unwrap();
            }
            let begins = Instant::now();
            let look = format!("SELECT k FROM {keyspace}.rows LIMIT 1");
            for node in nodes {
                while node.connect().query(&look).is_err() {
                    assert!(
                        begins.elapsed() < LIMIT,
                        "{} does not know it",
                        node.address
                    );
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        let mut ring = Ring {
            nodes,
            target,
            way,
            name,
            addresses: [(); 3].map(|()| lab::proxy_address()),
            proxies: [None, None, None],
        };
        (0..3).for_each(|at| ring.start_proxy(at));
        ring
    }

    fn start_proxy(&mut self, at: usize) {
        let name = format!("{}-{at}", self.name);
        let list = self.addresses.map(|ip| ip.to_string()).join(",");
        let source = self.nodes.each_ref().map(|node| node.address.to_string());
        let mut flags = Flags::default()
            .with("--advertise", list)
            .with("--cores", "1");
        if self.way == Way::Secured {
            let trust = self.nodes.each_ref();
            let trust = trust.map(|node| tls::certificate_of(&node.name));
            let ca = tls::bundle("three-source", &trust);
            flags = flags.listener(self.addresses[at]).source(&ca).target();
        }
        let proxy = Proxy::start_between(
            &name,
            &run_dir().join(&name),
            self.addresses[at],
            [source.join(","), self.target.address.to_string()],
            &flags.words(),
            &[],
        );
        self.proxies[at] = Some(proxy);
    }

    /// Every client connection of a driver that a node has belongs to a proxy.
    fn assert_nobody_goes_past(&self) {
        let ours: BTreeSet<u16> = self
            .proxies
            .iter()
            .flatten()
            .flat_map(Proxy::ports)
            .collect();
        let mut found = 0;
        for node in self.nodes {
            let text = "SELECT port, driver_name FROM system_views.clients";
            for row in node.connect().query(text).unwrap() {
                let Some(name) = &row[1] else {
                    continue; // this test, or a proxy for itself
                };
                let port = i32::from_be_bytes(row[0].clone().unwrap().try_into().unwrap());
                let port = u16::try_from(port).unwrap();
                let name = String::from_utf8_lossy(name);
                assert!(
                    ours.contains(&port),
                    "{name} is at {} past the proxies",
                    node.address
                );
                found += 1;
            }
        }
        assert!(found >= 3, "the driver has {found} connections");
    }

    /// The target has all rows up to `rows`.
    fn assert_mirrored(&self, keyspace: &str, rows: usize) {
        let began = Instant::now();
        let mut cql = self.target.connect();
        loop {
            let text = format!("SELECT k, v FROM {keyspace}.rows");
            let all = cql.query(&text).unwrap();
            let second = all
                .iter()
                .filter(|row| row[1].as_deref() == Some(b"second"));
            let count = second.count();
            if count == rows {
                return;
            }
            assert!(
                began.elapsed() < LIMIT,
                "{keyspace}: {count} of {rows} rows"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// All that happens to an application behind three proxies.
fn ordinary_life(driver: &str, way: Way, start: impl FnOnce(Ipv4Addr) -> Life) {
    let _turn = lab::alone();
    let mut ring = Ring::start(driver, way);
    let [one, two, three] = ring.addresses;
    let (single, triple) = (format!("{}_1", ring.name), format!("{}_3", ring.name));
    let mut life = start(one);
    let mut expected: Vec<_> = ring
        .addresses
        .iter()
        .map(|ip| format!("{ip}:9042"))
        .collect();
    expected.sort();
    assert_eq!(life.order::<Vec<String>>("hosts"), expected);

    // with one replica the token decides who is asked
    let written = life.write_until_used(&single, 0, &[one, two, three], true);
    let least = written.by.values().min().unwrap();
    assert!(
        *least > 2 * KEYS / 8,
        "the tokens are not dealt evenly: {:?}",
        written.by
    );
    life.write_until_used(&triple, 0, &[one, two, three], false);
    for proxy in ring.proxies.iter().flatten() {
        let counted = proxy.gauge("twinring_client_requests_total{write}");
        let told = written.by[&proxy.listen.ip().to_string()] as u64;
        assert!(counted >= told, "the proxy has counted {counted} of {told}");
        let clients = proxy.gauge("twinring_connections{client}");
        let source = proxy.gauge("twinring_connections{source}");
        assert!(clients >= 1 && clients == source, "{clients} and {source}");
    }
    ring.assert_nobody_goes_past();

    // a proxy dies, and comes back
    ring.proxies[2] = None;
    life.write(&single, KEYS);
    life.write_until_used(&triple, KEYS, &[one, two], false);
    ring.start_proxy(2);
    life.write_until_used(&single, 2 * KEYS, &[one, two, three], true);

    // a node dies, and comes back: its connections end, new ones go elsewhere
    let outage = ring.nodes[1].kill9();
    life.write(&triple, 2 * KEYS);
    life.write_until_used(&triple, 3 * KEYS, &[one, two, three], false);
    outage.end();
    life.write(&triple, 4 * KEYS);
    assert_eq!(life.order::<Vec<String>>("hosts"), expected);
    ring.assert_nobody_goes_past();
    ring.assert_mirrored(&single, 3 * KEYS);
    ring.assert_mirrored(&triple, 5 * KEYS);
}

#[test]
fn python() {
    let (driver, way) = ("python", Way::Plain);
    ordinary_life("plain", way, |proxy| {
        Life::start(driver, "ring", proxy, way)
    });
}

/// With the drivers' own choices over TLS, and a login that any two nodes know.
fn secured_life(driver: &str, argument: &str) {
    let way = Way::Secured;
    let start = |proxy| Life::start(driver, argument, proxy, way);
    ordinary_life(driver, way, start);
}

#[test]
fn python_secured() {
    secured_life("python", "ring");
}

#[test]
fn go_secured() {
    secured_life("go", "ring");
}

#[test]
fn java_secured() {
    secured_life("java", "Ring");
}

#[test]
fn node_secured() {
    secured_life("node", "ring");
}

#[test]
fn rust_secured() {
    let (user, password) = lab::APPLICATION;
    let access = rust::Access {
        user,
        password,
        tls: tls::client_config(),
    };
    ordinary_life("rust", Way::Secured, |proxy| {
        Life::Rust(Box::new(rust::Rust::start(proxy, access)))
    });
}

/// What each node says of itself and of the others, asked in the ways that drivers ask, and the
/// same from every proxy whatever the node behind it.
#[test]
fn every_proxy_says_the_same() {
    let _turn = lab::alone();
    let ring = Ring::start("same", Way::Plain);
    let text = "SELECT peer, host_id, tokens, rack, data_center, release_version, native_port \
                FROM system.peers_v2";
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for (at, proxy) in ring.proxies.iter().flatten().enumerate() {
            let mut cql = Cql::connect(proxy.listen).unwrap();
            let rows = cql.query(text).unwrap();
            assert_eq!(rows.len(), 2);
            assert!(rows.iter().flatten().all(Option::is_some), "{rows:?}");
            let mut others = rows.iter().map(|row| row[0].clone().unwrap());
            let own = Some(ring.addresses[at].octets().to_vec());
            assert!(others.clone().all(|ip| Some(ip) != own));
            let id = cql
                .prepare("SELECT host_id AS h FROM system.peers WHERE peer = ?")
                .unwrap();
            let other = others.next_back();
            let found = cql.execute(&id, std::slice::from_ref(&other)).unwrap();
            assert_eq!(found, [[rows[1][1].clone()]]);
            assert!(cql.execute(&id, &[own]).unwrap().is_empty());
            let local = "SELECT broadcast_address, host_id, tokens, rack, data_center, \
                         release_version, rpc_port FROM system.local WHERE key='local'";
            seen.extend(cql.query(local).unwrap());
            seen.extend(rows);
        }
    }
    assert_eq!(seen.len(), 3, "one row per proxy, from wherever: {seen:?}");
}
