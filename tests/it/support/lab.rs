//! The nodes that all tests of a run share, started when first asked for.
//!
//! Every run takes a network of its own, 127.71.N.0/24, so that two runs on one machine do not
//! meet. With `TWINRING_IT_DIRECT=1` there is no proxy: the suites run against the source itself,
//! which proves the suites.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::cassandra::{Cassandra, NodeOptions, run_dir};
use super::compare::{self, Place, Report};
use super::cql::Cql;
use super::proxy::Proxy;
use super::tls;

/// The versions that the tests know.
pub const V40: &str = "4.0.19";
pub const V41: &str = "4.1.10";
pub const V50: &str = "5.0.9";

/// How long mirrored writes may take until the target has them, when nothing is broken.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

static TURN: RwLock<()> = RwLock::new(());

/// Beside other tests: the machine's time is shared.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Alone: the test measures time, or breaks a node.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// No proxy: clients talk to the source, and it is compared with itself.
pub fn is_direct() -> bool {
    std::env::var("TWINRING_IT_DIRECT").is_ok_and(|v| v == "1")
}

fn node(
    cell: &'static OnceLock<Cassandra>,
    name: &str,
    version: &str,
    ip: u8,
) -> &'static Cassandra {
    // A node that a test may kill keeps what it acknowledged.
    let options = NodeOptions {
        durable: name.contains("durable"),
        large: std::env::var("TWINRING_COPY_ROWS").is_ok(),
        ..NodeOptions::default()
    };
    cell.get_or_init(|| Cassandra::start(name, version, address(ip), options))
}

/// Cassandra 4.0: the oldest source.
pub fn source_40() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    node(&CELL, "source-40", V40, 7)
}

/// Cassandra 4.1: the usual source.
pub fn source_41() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    node(&CELL, "source-41", V41, 1)
}

/// Cassandra 5.0: the usual target.
pub fn target_50() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    node(&CELL, "target-50", V50, 2)
}

/// Cassandra 4.1 that survives SIGKILL: the target of the fault tests.
pub fn durable_41() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    node(&CELL, "durable-41", V41, 3)
}

/// A second Cassandra 5.0, as a source for what only 5.0 can do.
pub fn source_50() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    node(&CELL, "source-50", V50, 4)
}

/// Three nodes that are one cluster, Cassandra 4.1, or what `TWINRING_RING_VERSION` says; each
/// survives SIGKILL.
pub fn three_plain() -> &'static [Cassandra; 3] {
    static CELL: OnceLock<[Cassandra; 3]> = OnceLock::new();
    CELL.get_or_init(|| three("three-plain", 11, false))
}

/// Another such cluster, with a login and with TLS beside plain connections: it wants certificates.
/// Any two of its nodes let users in.
pub fn three_secured() -> &'static [Cassandra; 3] {
    static CELL: OnceLock<[Cassandra; 3]> = OnceLock::new();
    CELL.get_or_init(|| {
        let nodes = three("three-source", 14, true);
        let mut cql = nodes[0].connect();
        let (user, word) = APPLICATION;
        cql.query(
            "ALTER KEYSPACE system_auth WITH replication = \
             {'class': 'SimpleStrategy', 'replication_factor': 3}",
        )
        .unwrap();
        create_application(&nodes[0]);
        // what was written of the superuser before went to one node
        let mut cql = Cql::login(nodes[0].address, (user, word)).unwrap();
        cql.query(
            "ALTER ROLE cassandra WITH PASSWORD = 'cassandra' AND LOGIN = true \
             AND SUPERUSER = true",
        )
        .unwrap();
        wait_until_they_know(&nodes);
        nodes
    })
}

/// What applications log in with.
pub const APPLICATION: (&str, &str) = ("application", "its word");

/// Lets applications in.
pub fn create_application(node: &Cassandra) {
    let (user, word) = APPLICATION;
    node.connect()
        .query(&format!(
            "CREATE ROLE IF NOT EXISTS {user} WITH PASSWORD = '{word}' AND LOGIN = true \
             AND SUPERUSER = true"
        ))
        .unwrap();
}

fn three(cluster: &'static str, first: u8, is_secured: bool) -> [Cassandra; 3] {
    let version = ring_version();
    // one after the other: each knows the tokens of those before
    let nodes = [0, 1, 2].map(|third| {
        let ip = address(first + third);
        let name = format!("{cluster}-{}", first + third);
        let mut yaml = vec![owning(third.into(), 3)];
        if is_secured {
            yaml.push(tls::node_option(&name, ip));
        }
        if is_secured && version != V40 {
            // while one is dead and not yet known to be, rights are those that each node holds, as
            // in 4.0, which has no choice
            yaml.push("auth_read_consistency_level: LOCAL_ONE".to_owned());
        }
        let options = NodeOptions {
            durable: true,
            auth: is_secured,
            joins: Some((cluster, address(first))),
            yaml: Vec::leak(yaml),
            ..NodeOptions::default()
        };
        Cassandra::start(&name, version, ip, options)
    });
    // the others let nobody in yet
    let open = if is_secured { &nodes[..1] } else { &nodes };
    wait_until_they_know(open);
    nodes
}

fn ring_version() -> &'static str {
    let wanted = std::env::var("TWINRING_RING_VERSION").unwrap_or_else(|_| "4.1".to_owned());
    let known = [V40, V41, V50];
    let found = known
        .into_iter()
        .find(|version| version.starts_with(&wanted));
    found.unwrap_or_else(|| panic!("TWINRING_RING_VERSION={wanted}: one of {known:?}"))
}

/// Waits until each of these nodes of a ring of three knows what the two others own. A node that
/// serves clients may not have heard yet what the last to join owns: it keeps writes for that one
/// to itself, and nobody finds them there once it has heard.
fn wait_until_they_know(nodes: &[Cassandra]) {
    let knows = |node: &Cassandra| {
        let cql = Cql::connect(node.address);
        let peers = cql.and_then(|mut cql| cql.query("SELECT tokens FROM system.peers"));
        peers.is_ok_and(|peers| peers.iter().filter(|peer| peer[0].is_some()).count() == 2)
    };
    wait_until("they know each other", || nodes.iter().all(knows));
}

/// The ring is cut into so many equal parts, and this one belongs to the node: random tokens may
/// leave it next to nothing.
fn owning(part: i64, parts: i64) -> String {
    let token = i64::MAX / parts * (2 * part + 1 - parts);
    format!("initial_token: {token}")
}

/// Three nodes that are one cluster, Cassandra 4.1: one in the data centre `east`, two in `west`.
pub fn two_centers() -> &'static [Cassandra; 3] {
    static CELL: OnceLock<[Cassandra; 3]> = OnceLock::new();
    CELL.get_or_init(|| {
        let all = [(21, "east", 1), (22, "west", 0), (23, "west", 2)];
        let nodes = all.map(|(host, center, quarter)| {
            let options = NodeOptions {
                joins: Some(("two-centers", address(21))),
                center: Some(center),
                yaml: Vec::leak(vec![owning(quarter, 4)]),
                ..NodeOptions::default()
            };
            let name = format!("two-centers-{host}");
            Cassandra::start(&name, V41, address(host), options)
        });
        wait_until_they_know(&nodes);
        nodes
    })
}

/// Cassandra 4.1 with a login, and with TLS beside plain connections: it wants certificates.
pub fn secure_source() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    secure(&CELL, "secure-source", 5)
}

/// Another one, which wants no certificates.
pub fn secure_target() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    secure(&CELL, "secure-target", 6)
}

fn secure(cell: &'static OnceLock<Cassandra>, name: &str, host: u8) -> &'static Cassandra {
    cell.get_or_init(|| {
        let ip = address(host);
        let options = NodeOptions {
            auth: true,
            yaml: Vec::leak(vec![tls::node_option(name, ip)]),
            ..NodeOptions::default()
        };
        Cassandra::start(name, V41, ip, options)
    })
}

/// Cassandra 4.1 with a login, which takes no writes at ANY, ONE and LOCAL_ONE but from superusers.
pub fn guarded_target() -> &'static Cassandra {
    static CELL: OnceLock<Cassandra> = OnceLock::new();
    CELL.get_or_init(|| {
        let levels = "write_consistency_levels_disallowed: [ANY, ONE, LOCAL_ONE]";
        let options = NodeOptions {
            auth: true,
            yaml: Vec::leak(vec![levels.to_owned()]),
            ..NodeOptions::default()
        };
        Cassandra::start("guarded-target", V41, address(8), options)
    })
}

/// An address for one more proxy.
pub fn proxy_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(100);
    address(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn address(host: u8) -> Ipv4Addr {
    static NETWORK: OnceLock<(u8, TcpListener)> = OnceLock::new();
    let (network, _held) = NETWORK.get_or_init(|| {
        let first = std::process::id().to_le_bytes()[0];
        (0..=255)
            .map(|n: u8| first.wrapping_add(n))
            .find_map(|n| {
                Some((
                    n,
                    TcpListener::bind((Ipv4Addr::new(127, 71, n, 254), 9042)).ok()?,
                ))
            })
            .expect("no free network")
    });
    Ipv4Addr::new(127, 71, *network, host)
}

/// Two nodes with a proxy between them, and a keyspace on both.
#[derive(Debug)]
pub struct Pair {
    pub source: &'static Cassandra,
    pub target: &'static Cassandra,
    pub keyspace: String,
    pub proxy: Option<Proxy>,
}

impl Pair {
    /// A fresh keyspace on both nodes, and a proxy of its own between them.
    pub fn new(name: &str, source: &'static Cassandra, target: &'static Cassandra) -> Pair {
        Self::with_variables(name, source, target, &[])
    }

    /// As `new`, with a proxy that speaks v4 to the target.
    pub fn in_v4(name: &str, source: &'static Cassandra, target: &'static Cassandra) -> Pair {
        let variables = [("TWINRING_TARGET_PROTOCOL_VERSION", "4")];
        Self::with_variables(name, source, target, &variables)
    }

    fn with_variables(
        name: &str,
        source: &'static Cassandra,
        target: &'static Cassandra,
        variables: &[(&str, &str)],
    ) -> Pair {
        let mut pair = Self::without_proxy(name, source, target);
        let ends = [source.address, target.address];
        pair.proxy = (!is_direct()).then(|| {
            let (keyspace, data_dir) = (&pair.keyspace, run_dir().join(&pair.keyspace));
            Proxy::start_with(keyspace, &data_dir, proxy_address(), ends, &[], variables)
        });
        pair
    }

    /// A fresh keyspace on both nodes.
    pub fn without_proxy(
        name: &str,
        source: &'static Cassandra,
        target: &'static Cassandra,
    ) -> Pair {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let keyspace = format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        create_keyspace(source, &keyspace);
        create_keyspace(target, &keyspace);
        Pair {
            source,
            target,
            keyspace,
            proxy: None,
        }
    }

    /// Where clients connect.
    pub fn contact(&self) -> SocketAddr {
        self.proxy
            .as_ref()
            .map_or(self.source.address, |proxy| proxy.listen)
    }

    /// Runs one statement at both nodes, past the proxy.
    pub fn run_at_both(&self, text: &str) {
        for node in [self.source, self.target] {
            let mut cql = node.connect();
            cql.query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }

    /// Both clusters cell by cell, once they are equal or the time is up.
    pub fn compare(&self, skipped: &[&str], limit: Duration) -> Report {
        let other = if is_direct() {
            self.source
        } else {
            self.target
        };
        let (mut left, mut right) = (self.source.connect(), other.connect());
        let keyspace = self.keyspace.as_str();
        compare::compare_until_equal(
            &mut Place {
                cql: &mut left,
                keyspace,
            },
            &mut Place {
                cql: &mut right,
                keyspace,
            },
            skipped,
            limit,
        )
        .unwrap_or_else(|e| panic!("comparing {keyspace}: {e}"))
    }

    /// Panics with the differences, if there are any.
    pub fn assert_equal(&self, skipped: &[&str]) {
        let report = self.compare(skipped, SETTLE_LIMIT);
        eprintln!("{}: {report}", self.keyspace);
        assert!(
            report.is_equal() && report.cells > 0,
            "{}: {report}",
            self.keyspace
        );
    }
}

/// Waits for what happens by itself, a minute at most.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Duration::from_secs(60);
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "not after {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `CREATE KEYSPACE` with one replica.
pub fn create_keyspace(node: &Cassandra, name: &str) {
    create_replicated(node, name, 1);
}

/// `CREATE KEYSPACE` with so many replicas.
pub fn create_replicated(node: &Cassandra, name: &str, replicas: u8) {
    let text = format!(
        "CREATE KEYSPACE {name} WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
    );
    let mut cql = node.connect();
    cql.query(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
}
