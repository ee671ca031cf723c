//! A cluster: nodes that share one model of the data, and what goes wrong with them.

use std::net::SocketAddr;

use twinring::cql::decoder::{self, DecodeLimits};
use twinring::node::{FaultPlan, Line, Model, Reply};
use twinring::tables::{COLUMNS_QUERY, Reading, TABLES_QUERY, Tables};

use crate::core::{Core, Event};
use crate::net::{Network, Party, WireId};

/// Source or target, and the number of a connection there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnId {
    pub cluster: usize,
    pub conn: usize,
}

pub const SOURCE: usize = 0;
pub const TARGET: usize = 1;

const LIMITS: DecodeLimits = DecodeLimits::requests(16 << 20);

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    /// The process is not there: connections are refused.
    Down,
    /// It is stopped: the kernel accepts and keeps what comes.
    Frozen,
    /// It cannot be reached, and nobody says so.
    Gone,
}

pub struct Node {
    pub health: Health,
    /// How long a request takes (µs).
    pub service_us: (i64, i64),
    /// Requests that came while it was frozen.
    parked: Vec<(ConnId, Vec<u8>)>,
}

struct Conn {
    node: usize,
    wire: WireId,
    line: Line,
    buffer: Vec<u8>,
    stalled: bool,
}

pub struct Cluster {
    side: usize,
    pub model: Model,
    pub nodes: Vec<Node>,
    conns: Vec<Option<Conn>>,
    /// Its schema has changed since somebody looked.
    pub has_news: bool,
    /// It answers errors now and then.
    pub is_moody: bool,
}

/// How long a request takes when all is well (µs).
pub const SERVICE_US: (i64, i64) = (50, 2_000);

impl Cluster {
    pub fn new(side: usize, nodes: usize, seed: u64, now_us: i64) -> Self {
        let name = ["source", "target"][side];
        let node = || Node {
            health: Health::Up,
            service_us: SERVICE_US,
            parked: Vec::new(),
        };
        Self {
            side,
            model: Model::new(name, seed, now_us).unwrap(),
            nodes: (0..nodes).map(|_| node()).collect(),
            conns: Vec::new(),
            has_news: false,
            is_moody: false,
        }
    }

    pub fn address(side: usize, node: usize) -> SocketAddr {
        let last = u8::try_from(node + 1).unwrap();
        let third = u8::try_from(side + 1).unwrap();
        SocketAddr::from(([10, 0, third, last], 9042))
    }

    /// Which cluster and node an address belongs to.
    pub fn of_address(address: SocketAddr) -> (usize, usize) {
        let SocketAddr::V4(v4) = address else {
            panic!("{address}")
        };
        let [_, _, third, last] = v4.ip().octets();
        (usize::from(third) - 1, usize::from(last) - 1)
    }

    pub fn set_faults(&self, rules: &[String]) {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        self.model.set_faults(FaultPlan {
            rules,
            ..FaultPlan::default()
        });
    }

    /// A connection has been made.
    pub fn accept(&mut self, core: &mut Core, network: &mut Network, node: usize, wire: WireId) {
        let line = self.model.connect();
        let conn = Conn {
            node,
            wire,
            line,
            buffer: Vec::new(),
            stalled: false,
        };
        self.conns.push(Some(conn));
        let id = ConnId {
            cluster: self.side,
            conn: self.conns.len() - 1,
        };
        network.get(wire).ends[1] = Party::Node(id);
        let open = self.nodes[node].health == Health::Up;
        network.read(core, wire, 0, open);
    }

    pub fn bytes(&mut self, core: &mut Core, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns[id.conn].as_mut().filter(|conn| !conn.stalled) else {
            return;
        };
        conn.buffer.extend_from_slice(bytes);
        let (low, high) = self.nodes[conn.node].service_us;
        while let Some(request) = decoder::split(&conn.buffer, &LIMITS).unwrap() {
            let raw = request.raw.to_vec();
            conn.buffer.drain(..raw.len());
            let service_us = core.rng.range(low, high);
            core.after(service_us, Event::Execute(id, raw));
        }
    }

    /// Executes a request. True: the connection is to be cut.
    pub fn execute(&mut self, core: &mut Core, id: ConnId, raw: Vec<u8>) -> bool {
        let Some(conn) = self.conns[id.conn].as_mut() else {
            return false;
        };
        let node = &mut self.nodes[conn.node];
        match node.health {
            Health::Up => {}
            Health::Frozen => {
                node.parked.push((id, raw));
                return false;
            }
            Health::Down => return false,
            Health::Gone => {} // it works on; only its answers do not arrive
        }
        self.model.set_now_us(core.now_us);
        let reply = conn.line.request(&raw);
        self.has_news |= raw.windows(8).any(|window| window == b"TABLE si");
        core.note(|| {
            let side = ["source", "target"][id.cluster];
            let opcode = raw[4];
            let stream = i16::from_be_bytes([raw[2], raw[3]]);
            let words: String = raw[9..]
                .iter()
                .map(|byte| match byte {
                    0x20..0x7F => char::from(*byte),
                    _ => '.',
                })
                .take(150)
                .collect();
            let said = match &reply {
                Reply::Bytes(_, bytes) if bytes.is_empty() => "silence".to_owned(),
                Reply::Bytes(_, bytes) if bytes[4] == 0 => {
                    let code = i32::from_be_bytes(bytes[9..13].try_into().unwrap());
                    format!("error {code:#06x}")
                }
                Reply::Bytes(..) => "ok".to_owned(),
                other => format!("{other:?}"),
            };
            format!(
                "{side} conn {} stream {stream} op {opcode:#04x}: {said}: {words}",
                id.conn
            )
        });
        match reply {
            Reply::Bytes(_, bytes) if bytes.is_empty() => {}
            Reply::Bytes(_, bytes) => {
                let after_us = core.rng.range(5, 100);
                core.after(after_us, Event::Answer(id, bytes));
            }
            Reply::Drop => return true,
            Reply::Stall => conn.stalled = true,
        }
        false
    }

    /// What the control thread reads of the schema.
    pub fn tables(&self) -> Tables {
        let mut line = self.model.connect();
        let mut reading = Reading::default();
        let rows = |line: &mut Line, text: &str| crate::check::run(line, text);
        let release = "SELECT release_version FROM system.local";
        crate::check::open(&mut line);
        reading.release_page(&rows(&mut line, release)).unwrap();
        reading.tables_page(&rows(&mut line, TABLES_QUERY)).unwrap();
        reading
            .columns_page(&rows(&mut line, COLUMNS_QUERY))
            .unwrap();
        reading.finish()
    }

    pub fn wire_of(&self, id: ConnId) -> Option<WireId> {
        self.conns[id.conn].as_ref().map(|conn| conn.wire)
    }

    pub fn forget(&mut self, id: ConnId) {
        self.conns[id.conn] = None;
    }

    /// Connections of a node.
    pub fn wires_of(&self, node: usize) -> Vec<WireId> {
        let conns = self.conns.iter().flatten();
        conns
            .filter(|conn| conn.node == node)
            .map(|conn| conn.wire)
            .collect()
    }

    /// A stopped node goes on.
    pub fn thaw(&mut self, core: &mut Core, network: &mut Network, node: usize) {
        for (id, raw) in std::mem::take(&mut self.nodes[node].parked) {
            let after_us = core.rng.range(10, 3_000);
            core.after(after_us, Event::Execute(id, raw));
        }
        for wire in self.wires_of(node) {
            network.read(core, wire, 0, true);
        }
    }
}
