//! Random statements of eight clients at once over few rows; afterwards no cell differs.
//!
//! A seed makes the statements of each client. How they meet is the machine's doing, so a seed that
//! fails is run again more than once:
//! `TWINRING_RANDOM_SEED=7 cargo test --test it -- random::between_41`.
//! `TWINRING_RANDOM_STATEMENTS` says how many, of all clients together.

mod generate;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use twinring::node::{Node, NodeConfig, NodeHandle};

use self::generate::{Generator, Request, SCHEMA, Statement};
use crate::support::cassandra::run_dir;
use crate::support::compare::{self, Place, Report};
use crate::support::cql::{Beside, Bound, Cql, Failure, Words};
use crate::support::lab::{self, Pair};
use crate::support::now_us;
use crate::support::proxy::Proxy;

const CLIENTS: i32 = 8;
const SEED: u64 = 6;
const STATEMENTS: usize = 6_000;
/// Writes of lists go to the target one by one, so a node that is slow takes its time.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// The codes of outcomes that no client knows: timeouts, and contention.
const UNKNOWN: [i32; 3] = [0x1100, 0x1200, 0x1700];
const INVALID: i32 = 0x2200;
const UNPREPARED: i32 = 0x2500;

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| {
        let number = text.parse().ok();
        number.unwrap_or_else(|| panic!("{variable}={text} is not a number"))
    })
}

/// What one client did, in its order: when it began, the rows, the request and its answer.
type Log = Vec<(Instant, Vec<String>, String)>;

/// One client's connection and what it has prepared there.
struct Client {
    cql: Cql,
    number: i32,
    ids: HashMap<String, Vec<u8>>,
    log: Log,
    /// Answers that no statement of the generator may have.
    wrong: Vec<String>,
    invalid: usize,
    unknown: usize,
}

impl Client {
    fn connect(contact: SocketAddr, keyspace: &str, number: i32, newest: u8) -> Client {
        let cql = Cql::connect_in(contact, Self::protocol(number, newest));
        let mut cql = cql.unwrap_or_else(|e| panic!("{contact}: {e}"));
        cql.query(&format!("USE {keyspace}")).unwrap();
        Client {
            cql,
            number,
            ids: HashMap::new(),
            log: Log::new(),
            wrong: Vec::new(),
            invalid: 0,
            unknown: 0,
        }
    }

    /// Two of the eight speak version 3, and two the newest that the nodes know.
    fn protocol(number: i32, newest: u8) -> u8 {
        match number % 4 {
            3 => 3,
            1 => newest,
            _ => 4,
        }
    }

    fn run(&mut self, request: &Request) {
        // the clients' clocks never agree to the µs: a stamp is one client's
        let clock = now_us() / i64::from(CLIENTS) * i64::from(CLIENTS) + i64::from(self.number);
        let stamp = request.clock.then_some(clock);
        let began = Instant::now();
        let mut answer = self.send(request, stamp);
        // as drivers do: a node may forget what was prepared
        for _ in 0..10 {
            if matches!(answer, Err(Failure::Server(UNPREPARED, _))) {
                for statement in &request.statements {
                    self.ids.remove(&statement.text);
                }
                answer = self.send(request, stamp);
            }
        }
        let said = match &answer {
            Ok(rows) => match rows.first().map(|row| &row[0]) {
                Some(Some(applied)) if applied[..] == [0] => "not applied".to_owned(),
                _ => "ok".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let line = format!("client {} {}: {said}", self.number, words(request, stamp));
        match &answer {
            Ok(_) => {}
            Err(Failure::Server(code, _)) if UNKNOWN.contains(code) => self.unknown += 1,
            Err(Failure::Server(INVALID, _)) if request.may_fail => self.invalid += 1,
            Err(_) => self.wrong.push(line.clone()),
        }
        let rows = request.statements.iter().map(|s| s.row.clone());
        self.log.push((began, rows.collect(), line));
    }

    fn send(
        &mut self,
        request: &Request,
        stamp: Option<i64>,
    ) -> Result<Vec<Vec<Option<Vec<u8>>>>, Failure> {
        for statement in request.statements.iter().filter(|s| s.prepared) {
            if !self.ids.contains_key(&statement.text) {
                let id = self.cql.prepare(&statement.text)?;
                self.ids.insert(statement.text.clone(), id);
            }
        }
        let ids = &self.ids;
        let words = |statement: &Statement| match ids.get(&statement.text) {
            Some(id) if statement.prepared => id.clone(),
            _ => Vec::new(),
        };
        let ids: Vec<_> = request.statements.iter().map(words).collect();
        let parts = request.statements.iter().zip(&ids);
        let parts: Vec<(Words<'_>, &[Bound])> = parts
            .map(|(statement, id)| match statement.prepared {
                true => (Words::Id(id), &statement.values[..]),
                false => (Words::Text(&statement.text), &statement.values[..]),
            })
            .collect();
        match request.batch {
            Some(kind) => self.cql.send_batch(kind, &parts, stamp),
            None => {
                let names = request.statements[0].names.iter();
                let names: Vec<_> = names.map(String::as_str).collect();
                let beside = Beside {
                    stamp,
                    names: &names,
                    ..Beside::default()
                };
                self.cql.send_with(parts[0].0, parts[0].1, &beside)
            }
        }
    }
}

/// A request in one line.
fn words(request: &Request, stamp: Option<i64>) -> String {
    let mut line = String::new();
    if let Some(kind) = request.batch {
        write!(line, "BATCH type {kind} ").unwrap();
    }
    for statement in &request.statements {
        line += if statement.prepared { "execute " } else { "" };
        write!(line, "[{}] ", statement.text).unwrap();
        for value in &statement.values {
            match value {
                Bound::Value(bytes) => {
                    line += "0x";
                    bytes.iter().for_each(|b| write!(line, "{b:02x}").unwrap());
                }
                other => write!(line, "{other:?}").unwrap(),
            }
            line.push(' ');
        }
    }
    if let Some(stamp) = stamp {
        write!(line, "default timestamp {stamp}").unwrap();
    }
    line
}

/// Both ends, and where clients connect.
struct Ends<'a> {
    name: &'a str,
    keyspace: &'a str,
    source: SocketAddr,
    target: SocketAddr,
    contact: SocketAddr,
    proxy: Option<&'a Proxy>,
    /// The newest version of the protocol that the nodes speak.
    newest: u8,
}

impl Ends<'_> {
    fn run(&self) {
        let seed = number("TWINRING_RANDOM_SEED", SEED);
        let statements = number("TWINRING_RANDOM_STATEMENTS", STATEMENTS);
        let mut first = Client::connect(self.contact, self.keyspace, 0, self.newest);
        for text in SCHEMA {
            let made = first.cql.query(text);
            made.unwrap_or_else(|e| panic!("{text}: {e}"));
        }
        let (base_us, began) = (now_us(), Instant::now());
        let each = statements.div_ceil(usize::try_from(CLIENTS).unwrap());
        let clients: Vec<Client> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let mut client =
                        Client::connect(self.contact, self.keyspace, number, self.newest);
                    let unset = Client::protocol(number, self.newest) > 3;
                    let mut generator = Generator::new(seed, number, unset, base_us);
                    scope.spawn(move || {
                        for _ in 0..each {
                            client.run(&generator.request());
                        }
                        client
                    })
                })
                .collect();
            let ended = running.into_iter().map(|client| client.join().unwrap());
            ended.collect()
        });
        let took = began.elapsed();
        let report = self.compare();
        let sum = |count: fn(&Client) -> usize| clients.iter().map(count).sum::<usize>();
        eprintln!(
            "{}: seed {seed}, {} requests in {took:.1?}, {} invalid, {} unknown; {report}",
            self.name,
            sum(|c| c.log.len()),
            sum(|c| c.invalid),
            sum(|c| c.unknown)
        );
        let wrong: Vec<_> = clients
            .iter()
            .flat_map(|c| c.wrong.iter().take(3))
            .collect();
        let held = self.proxy.map(Proxy::held).unwrap_or_default();
        if !report.is_equal() || report.cells == 0 || !wrong.is_empty() || !held.is_empty() {
            let trace = self.trace(seed, &clients);
            panic!(
                "{report}\nunexpected answers: {wrong:#?}\nheld: {held:?}\n\
                 statements by row: {}\nagain: TWINRING_RANDOM_SEED={seed} \
                 TWINRING_RANDOM_STATEMENTS={statements} cargo test --test it -- random::{}",
                trace.display(),
                self.name
            );
        }
    }

    fn compare(&self) -> Report {
        let [mut left, mut right] = [self.source, self.target]
            .map(|node| Cql::connect(node).unwrap_or_else(|e| panic!("{node}: {e}")));
        let keyspace = self.keyspace;
        let [mut left, mut right] = [&mut left, &mut right].map(|cql| Place { cql, keyspace });
        let report = compare::compare_until_equal(&mut left, &mut right, &[], SETTLE_LIMIT);
        report.unwrap_or_else(|e| panic!("comparing {keyspace}: {e}"))
    }

    /// All that was asked, by row and in the order of time, in a file that outlives the run.
    fn trace(&self, seed: u64, clients: &[Client]) -> PathBuf {
        let mut rows: BTreeMap<&str, Vec<(Instant, &str)>> = BTreeMap::new();
        for (at, names, line) in clients.iter().flat_map(|client| &client.log) {
            for name in names {
                rows.entry(name).or_default().push((*at, line));
            }
        }
        let mut text = String::new();
        for (row, mut lines) in rows {
            lines.sort();
            writeln!(text, "{row}").unwrap();
            for (_, line) in lines {
                writeln!(text, "    {line}").unwrap();
            }
        }
        let name = format!("random-{}-{seed}.trace", self.name);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn between(name: &str, pair: &Pair) {
    Ends {
        name,
        keyspace: &pair.keyspace,
        source: pair.source.address,
        target: if lab::is_direct() {
            pair.source.address
        } else {
            pair.target.address
        },
        contact: pair.contact(),
        proxy: pair.proxy.as_ref(),
        newest: 5,
    }
    .run();
}

// Alone: thousands of different texts to prepare are a load that others would feel.
#[test]
fn between_41() {
    let _turn = lab::alone();
    let pair = Pair::new("random41", lab::source_41(), lab::durable_41());
    between("between_41", &pair);
}

#[test]
fn from_41_to_50() {
    let _turn = lab::alone();
    let pair = Pair::in_v4("random4150", lab::source_41(), lab::target_50());
    between("from_41_to_50", &pair);
}

/// Stamps of elements and fields too.
#[test]
fn between_50() {
    let _turn = lab::alone();
    let pair = Pair::new("random50", lab::source_50(), lab::target_50());
    between("between_50", &pair);
}

fn node() -> NodeHandle {
    Node::start(NodeConfig::new((Ipv4Addr::LOCALHOST, 0).into())).unwrap()
}

/// Between two nodes in memory: needs no Cassandra.
#[test]
fn embedded() {
    let _turn = lab::beside_others();
    let (source, target, keyspace) = (node(), node(), "random_embedded");
    for node in [&source, &target] {
        let mut cql = Cql::connect(node.addr()).unwrap();
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        cql.query(&format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {replication}"
        ))
        .unwrap();
    }
    let addresses = [source.addr(), target.addr()];
    let proxy = (!lab::is_direct()).then(|| {
        let data_dir = run_dir().join(keyspace);
        Proxy::start_with(
            keyspace,
            &data_dir,
            lab::proxy_address(),
            addresses,
            &[],
            &[],
        )
    });
    Ends {
        name: "embedded",
        keyspace,
        source: source.addr(),
        target: if lab::is_direct() {
            source.addr()
        } else {
            target.addr()
        },
        contact: proxy.as_ref().map_or(source.addr(), |proxy| proxy.listen),
        proxy: proxy.as_ref(),
        newest: 4,
    }
    .run();
}
