//! A session, a mirror and a link in the state that they are in all day: one statement, prepared
//! everywhere, executed again and again. No socket, no clock.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use twinring::cql::decoder::{DecodeLimits, split};
use twinring::cql::request::{self, QueryParams, execute};
use twinring::cql::response::metadata::ColumnDef;
use twinring::cql::response::prepared::{self, PreparedDef};
use twinring::cql::response::result;
use twinring::cql::{
    ColumnType, Consistency, Envelope, Flags, Opcode, Value, Values, Version, Writer, encode,
    values,
};
use twinring::journal::{Geometry, Header, Heap, Journal, State};
use twinring::limits;
use twinring::relay::clock::StampClock;
use twinring::relay::functions::Generator;
use twinring::relay::link::{Link, LinkEvent, Sent};
use twinring::relay::mirror::{Mirror, Origin, RetryPolicy};
use twinring::relay::output::{Output, Tally};
use twinring::relay::plan::{PlanCache, Rules};
use twinring::relay::registry::Registry;
use twinring::relay::route::Routes;
use twinring::relay::session::{Common, Context, Session, Taken};
use twinring::relay::spare::SpareWrites;
use twinring::tables::{Column, Known, Nodes, Role, Shape, Table, Tables};
use twinring::topology::{Facts, Offer, Shown};

const NOW_US: i64 = 1_700_000_000_000_000;
const MAX_BYTES: u32 = 1 << 20;
const ID: &[u8] = b"0123456789abcdef";

/// See the module.
pub struct Steady {
    session: Session,
    common: Common,
    mirror: Mirror,
    link: Link,
    routes: Routes,
    to_client: Vec<u8>,
    to_source: Vec<u8>,
    outputs: Vec<Output>,
    events: Vec<LinkEvent>,
    write: Vec<u8>,
    read: Vec<u8>,
    void: Vec<u8>,
    target_void: Vec<u8>,
}

impl Steady {
    /// Values have so many bytes.
    pub fn new(value_bytes: usize) -> Steady {
        let address: SocketAddr = "127.0.0.1:9042".parse().unwrap();
        let (shown, offer) = (Rc::new(Shown::Single), Rc::new(Offer::default()));
        let rules = Rules::default();
        let mut steady = Steady {
            session: Session::new(Facts {
                address,
                shown,
                offer,
            }),
            common: Common {
                clock: StampClock::new(0),
                journal: Journal::none([].into()),
                plans: PlanCache::new(rules, 1 << 20),
                registry: Registry::new(100, 1 << 20),
                generator: Generator::new([1; 32]),
                tally: Tally::default(),
                max_body_bytes: 1 << 20,
                spare: SpareWrites::default(),
                scratch: Vec::new(),
                scratch_frame: Vec::new(),
            },
            mirror: Mirror::new(RetryPolicy {
                retries: 1,
                first_pause_us: 1,
                longest_pause_us: 1,
            }),
            link: Link::new(Version::V4, None, 128, 100, NOW_US),
            routes: Routes::default(),
            to_client: Vec::new(),
            to_source: Vec::new(),
            outputs: Vec::new(),
            events: Vec::new(),
            write: execute_bytes(value_bytes),
            read: request_bytes(2, Opcode::Query, |w| {
                let params = QueryParams::new(Consistency::LocalQuorum);
                request::query::encode(w, "SELECT v FROM ks.t WHERE k = 1", &params);
            }),
            void: request_bytes(1, Opcode::Result, result::encode_void),
            target_void: Vec::new(),
        };
        steady.prepare();
        steady
    }

    /// Each write has its record in a journal, in memory as large as the default.
    pub fn journaled(value_bytes: usize) -> Steady {
        let mut steady = Self::new(value_bytes);
        let header = Header {
            shard: 0,
            instance: 1,
            created_us: 1,
            boot: 0,
            geometry: Geometry::of_bytes(limits::JOURNAL_DEFAULT_BYTES),
        };
        let heap = Heap::new(header);
        steady.common.journal = Journal::new([heap.words()].into(), 0, &header, heap.lend());
        steady
    }

    /// The target has three nodes; its table and its ring are known.
    pub fn routed(value_bytes: usize) -> Steady {
        let mut steady = Self::new(value_bytes);
        let mut target = Tables::default();
        let key = Column {
            name: "k".into(),
            role: Role::Partition,
            shape: Shape::Single,
        };
        let table = Table {
            columns: vec![key],
            has_plain_key: true,
            ..Table::default()
        };
        target.add("ks", "t", table);
        steady.common.plans.know(Arc::new(Known {
            target: Arc::new(target),
            ..Known::default()
        }));
        let near: Vec<SocketAddr> = (1..=3).map(|port| ([10, 0, 0, 1], port).into()).collect();
        // 256 tokens each, as Cassandra 3 has them
        let spread = |n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed());
        let mut ring: Vec<_> = (0..768)
            .map(spread)
            .zip([0, 1, 2].into_iter().cycle())
            .collect();
        ring.sort_unstable();
        let nodes = Arc::new(Nodes {
            near,
            ring,
            ..Nodes::default()
        });
        let place = |node: &SocketAddr| Some(usize::from(node.port()));
        steady.routes.learn(&nodes, place);
        steady
    }

    /// As [`Self::mirrored_write`], with a look for the node that owns it.
    pub fn routed_write(&mut self) {
        self.owe_write();
        let (ticket, _) = self.mirror.peek().unwrap();
        let plans = &mut self.common.plans;
        let owner = self.routes.owner(ticket, &self.mirror, plans);
        assert!(owner.is_some());
        self.send_write();
        self.settle_write();
    }

    fn prepare(&mut self) {
        let text = "INSERT INTO ks.t (k, v) VALUES (?, ?)";
        let prepare = request_bytes(1, Opcode::Prepare, |w| request::prepare::encode(w, text));
        self.request(&prepare);
        let prepared = prepared_bytes(1);
        self.answer(&prepared);
        self.outputs.clear();
        let ready = request_bytes(0, Opcode::Ready, |_| {});
        self.target(&ready);
        // The first write makes the link prepare its statement.
        self.owe_write();
        let (ticket, write) = self.mirror.peek().unwrap();
        assert_eq!(self.link.send(ticket, write, None, NOW_US), Sent::Parked);
        let stream = self.link_stream();
        let prepared = prepared_bytes(stream);
        self.target(&prepared);
        self.send_write();
        self.target_void = request_bytes(self.link_stream(), Opcode::Result, result::encode_void);
        self.settle_write();
    }

    /// Everything that a mirrored write needs: client, source, answer, target, answer.
    pub fn mirrored_write(&mut self) {
        self.owe_write();
        self.send_write();
        self.settle_write();
    }

    /// Request and answer; the write is then owed to the target.
    pub fn owe_write(&mut self) {
        let (write, void) = (
            std::mem::take(&mut self.write),
            std::mem::take(&mut self.void),
        );
        self.request(&write);
        self.answer(&void);
        (self.write, self.void) = (write, void);
        match self.outputs.pop() {
            Some(Output::Mirror(write)) => self.mirror.admit(write, Origin::Live),
            other => panic!("not mirrored: {other:?}"),
        };
    }

    /// The bytes for the target.
    pub fn send_write(&mut self) {
        let (ticket, write) = self.mirror.peek().unwrap();
        assert_eq!(self.link.send(ticket, write, None, NOW_US), Sent::Now);
        self.mirror.mark_sent();
    }

    /// The target's answer.
    pub fn settle_write(&mut self) {
        let void = std::mem::take(&mut self.target_void);
        self.target(&void);
        self.target_void = void;
        match self.events.pop() {
            Some(LinkEvent::Applied(ticket)) => {
                let entry = self.mirror.applied(ticket).unwrap();
                self.common.journal.mark(entry.write.journal, State::Done);
                self.common.spare.recycle(entry.write);
            }
            other => panic!("not applied: {other:?}"),
        }
    }

    /// A read that passes through.
    pub fn read(&mut self) {
        let read = std::mem::take(&mut self.read);
        self.request(&read);
        self.read = read;
    }

    fn link_stream(&mut self) -> i16 {
        let limits = DecodeLimits::requests(MAX_BYTES);
        let mut last = 0;
        let mut at = 0;
        while let Some(envelope) = split(&self.link.out[at..], &limits).unwrap() {
            at += envelope.raw.len();
            last = envelope.header.stream;
        }
        last
    }

    fn request(&mut self, bytes: &[u8]) {
        let envelope = request_of(bytes);
        let mut cx = Context {
            now_us: NOW_US,
            to_client: &mut self.to_client,
            to_source: &mut self.to_source,
            outputs: &mut self.outputs,
            common: &mut self.common,
        };
        assert_eq!(self.session.request(&envelope, &mut cx, false), Taken::Yes);
        self.to_source.clear();
    }

    fn answer(&mut self, bytes: &[u8]) {
        let envelope = answer_of(bytes);
        let mut cx = Context {
            now_us: NOW_US,
            to_client: &mut self.to_client,
            to_source: &mut self.to_source,
            outputs: &mut self.outputs,
            common: &mut self.common,
        };
        self.session.answer(&envelope, &mut cx);
        self.to_client.clear();
    }

    fn target(&mut self, bytes: &[u8]) {
        self.link.out.clear();
        self.link
            .handle(&answer_of(bytes), NOW_US, &mut self.events);
        self.events
            .retain(|event| matches!(event, LinkEvent::Applied(_)));
    }
}

/// An EXECUTE with a bigint and a blob, without a timestamp.
pub fn execute_bytes(value_bytes: usize) -> Vec<u8> {
    let (key, value, mut block) = (7_i64.to_be_bytes(), vec![1; value_bytes], Vec::new());
    let bound = [Value::Bytes(&key), Value::Bytes(&value)];
    values::write(&mut block, bound.map(|value| (None, value))).unwrap();
    let params = QueryParams {
        values: Some(Values::parse(&block, false).unwrap()),
        ..QueryParams::new(Consistency::LocalQuorum)
    };
    request_bytes(1, Opcode::Execute, |w| execute::encode(w, ID, &params))
}

fn prepared_bytes(stream: i16) -> Vec<u8> {
    let column = |name, column_type| ColumnDef {
        keyspace: "ks",
        table: "t",
        name,
        column_type,
    };
    let columns = [
        column("k", ColumnType::Bigint),
        column("v", ColumnType::Blob),
    ];
    let def = PreparedDef {
        id: ID,
        result_metadata_id: b"",
        pk_indices: &[0],
        bind: &columns,
        result: &[],
    };
    request_bytes(stream, Opcode::Result, |w| {
        prepared::encode(w, Version::V4, &def);
    })
}

fn request_bytes(stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::envelope(&mut bytes, Version::V4, Flags::NONE, stream, opcode, body).unwrap();
    bytes
}

fn request_of(bytes: &[u8]) -> Envelope<'_> {
    split(bytes, &DecodeLimits::requests(MAX_BYTES))
        .unwrap()
        .unwrap()
}

fn answer_of(bytes: &[u8]) -> Envelope<'_> {
    split(bytes, &DecodeLimits::responses(MAX_BYTES))
        .unwrap()
        .unwrap()
}
