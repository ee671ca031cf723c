//! Clients: each keeps a connection, sends writes, several at a time, and remembers what it was
//! told.

use std::collections::{BTreeMap, VecDeque};

use twinring::cql::decoder::{self, DecodeLimits};
use twinring::cql::response::{ErrorCode, Prepared};
use twinring::cql::{Flags, Opcode, Reader, Version, encode, request};

use crate::core::{Core, Event};
use crate::ledger::{Deed, Fate, Ledger};
use crate::net::WireId;
use crate::random::Rng;
use crate::work::{Ask, Keys, PREPARED, Statement, Work};

const LIMITS: DecodeLimits = DecodeLimits::responses(16 << 20);
/// A driver's patience (µs).
const TIMEOUT_US: i64 = 12_000_000;

/// Why a client was called.
#[derive(Debug, Clone, Copy)]
enum Timer {
    Connect,
    Next,
    Timeout(i16, u64),
}

struct InFlight {
    ask: Ask,
    deed: Option<usize>,
    sent_us: i64,
    number: u64,
}

/// What a client wants from the world.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Connect,
    /// Let go of the connection; `true`: cut it.
    Leave(bool),
}

/// How a request went, for those who watch.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    pub sent_us: i64,
    pub took_us: i64,
    /// The source's error code, 0 for none.
    pub error: i32,
}

pub struct Client {
    pub id: usize,
    rng: Rng,
    pub wire: Option<WireId>,
    ready: bool,
    buffer: Vec<u8>,
    pub out: Vec<u8>,
    setup: VecDeque<Ask>,
    in_flight: BTreeMap<i16, InFlight>,
    ids: Vec<Option<Vec<u8>>>,
    work: Work,
    /// Writes that it still wants to make.
    pub left: usize,
    parallel: usize,
    pause_us: i64,
    timers: BTreeMap<u64, Timer>,
    next_token: u64,
    next_number: u64,
    last_stamp_us: i64,
    uses_keyspace: bool,
    /// Of a thousand answers, after so many it leaves.
    leaves: u64,
}

impl Client {
    pub fn new(id: usize, mut rng: Rng, work: Work, writes: usize, pause_us: i64) -> Self {
        Self {
            id,
            wire: None,
            ready: false,
            buffer: Vec::new(),
            out: Vec::new(),
            setup: VecDeque::new(),
            in_flight: BTreeMap::new(),
            ids: vec![None; PREPARED.len()],
            work,
            left: writes,
            parallel: 1 + rng.below(8),
            pause_us,
            timers: BTreeMap::new(),
            next_token: 0,
            next_number: 0,
            last_stamp_us: 0,
            uses_keyspace: rng.chance(300),
            leaves: if rng.chance(300) { 15 } else { 0 },
            rng,
        }
    }

    pub fn is_done(&self) -> bool {
        self.left == 0 && self.in_flight.values().all(|it| it.deed.is_none())
    }

    pub fn start(&mut self, core: &mut Core) {
        let pause_us = self.rng.range(0, 300_000);
        self.arm(core, pause_us, Timer::Connect);
    }

    fn arm(&mut self, core: &mut Core, after_us: i64, timer: Timer) {
        self.next_token += 1;
        self.timers.insert(self.next_token, timer);
        let (client, token) = (self.id, self.next_token);
        core.after(after_us, Event::Client { client, token });
    }

    /// A timer has gone off.
    pub fn timer(
        &mut self,
        core: &mut Core,
        token: u64,
        keys: &mut Keys,
        ledger: &mut Ledger,
    ) -> Wish {
        match self.timers.remove(&token) {
            None => Wish::Nothing,
            Some(Timer::Connect) if self.wire.is_none() => Wish::Connect,
            Some(Timer::Connect) => Wish::Nothing,
            Some(Timer::Next) => {
                self.fill(core, keys, ledger);
                Wish::Nothing
            }
            Some(Timer::Timeout(stream, number)) => {
                let late = self
                    .in_flight
                    .get(&stream)
                    .is_some_and(|it| it.number == number);
                match late {
                    true => Wish::Leave(self.rng.chance(500)),
                    false => Wish::Nothing,
                }
            }
        }
    }

    /// The connection is there.
    pub fn connected(&mut self, core: &mut Core, wire: WireId) {
        self.wire = Some(wire);
        self.ids.fill(None);
        self.setup = (0..PREPARED.len()).map(Ask::Prepare).collect();
        if self.uses_keyspace {
            self.setup.push_front(Ask::Use);
        }
        self.send(core, Ask::Startup, None);
    }

    /// The connection is gone: nobody will say what became of what was in flight.
    pub fn lost(&mut self, core: &mut Core, ledger: &mut Ledger) {
        self.wire = None;
        self.ready = false;
        self.buffer.clear();
        self.out.clear();
        self.timers.clear();
        for (_, gone) in std::mem::take(&mut self.in_flight) {
            self.settle(core, gone.deed, Fate::Unknown, ledger);
        }
        let pause_us = self.rng.range(1_000, 1_500_000);
        self.arm(core, pause_us, Timer::Connect);
    }

    fn settle(&mut self, core: &Core, deed: Option<usize>, fate: Fate, ledger: &mut Ledger) {
        if let Some(deed) = deed {
            let deed = &mut ledger.deeds[deed];
            deed.fate = fate;
            // what nobody waits for any more may come late
            let late_us = if fate == Fate::Unknown { 10_000_000 } else { 0 };
            deed.until_us = core.proxy_now_us() + late_us;
            self.work.settled(deed);
        }
    }

    fn send(&mut self, core: &mut Core, ask: Ask, deed: Option<usize>) {
        let stream = (0..)
            .find(|stream| !self.in_flight.contains_key(stream))
            .unwrap();
        let stamp = self.work.own_stamps && deed.is_some();
        let stamp_us = stamp.then(|| {
            self.last_stamp_us = core.now_us.max(self.last_stamp_us + 1);
            self.last_stamp_us
        });
        put(&mut self.out, stream, &ask, &self.ids, stamp_us);
        self.next_number += 1;
        let number = self.next_number;
        let sent_us = core.now_us;
        let it = InFlight {
            ask,
            deed,
            sent_us,
            number,
        };
        self.in_flight.insert(stream, it);
        self.arm(core, TIMEOUT_US, Timer::Timeout(stream, number));
    }

    /// Sends as much as it may.
    fn fill(&mut self, core: &mut Core, keys: &mut Keys, ledger: &mut Ledger) {
        if !self.ready {
            return;
        }
        while self.left > 0 && self.in_flight.len() < self.parallel {
            self.work.behind = core.proxy_ahead_us < 0;
            let (mut deed, ask) = self.work.next(keys, core.now_us);
            deed.from_us = core.proxy_now_us();
            self.left -= 1;
            self.work.ordered_busy |= deed.ordered;
            core.note(|| format!("client {} writes {} {}", self.id, deed.table, deed.key));
            ledger.deeds.push(deed);
            self.send(core, ask, Some(ledger.deeds.len() - 1));
            if self.pause_us > 0 {
                let pause_us = self.rng.range(0, self.pause_us);
                return self.arm(core, pause_us, Timer::Next);
            }
        }
    }

    /// Bytes of the proxy.
    pub fn bytes(
        &mut self,
        core: &mut Core,
        bytes: &[u8],
        keys: &mut Keys,
        ledger: &mut Ledger,
        served: &mut Vec<Served>,
    ) -> Wish {
        self.buffer.extend_from_slice(bytes);
        let mut wish = Wish::Nothing;
        while let Some(answer) = decoder::split(&self.buffer, &LIMITS).unwrap() {
            let stream = answer.header.stream;
            let (opcode, body) = (answer.header.opcode, answer.body.to_vec());
            let length = answer.raw.len();
            self.buffer.drain(..length);
            let Some(it) = self.in_flight.remove(&stream) else {
                panic!("client {}: an answer to nothing, stream {stream}", self.id);
            };
            let error = match opcode {
                Opcode::Error => Reader::new(&body).int().unwrap(),
                _ => 0,
            };
            served.push(Served {
                sent_us: it.sent_us,
                took_us: core.now_us - it.sent_us,
                error: if opcode == Opcode::Error && error == 0 {
                    -1
                } else {
                    error
                },
            });
            self.answered(core, it, opcode, &body, error, ledger);
            if self.leaves > 0 && self.ready && self.rng.chance(self.leaves) {
                wish = Wish::Leave(self.rng.chance(500));
                break;
            }
        }
        if wish == Wish::Nothing {
            self.fill(core, keys, ledger);
        }
        wish
    }

    fn answered(
        &mut self,
        core: &mut Core,
        it: InFlight,
        opcode: Opcode,
        body: &[u8],
        error: i32,
        ledger: &mut Ledger,
    ) {
        if let Ask::Prepare(which) = it.ask
            && opcode == Opcode::Result
        {
            let prepared = Prepared::parse(body, Version::V4).unwrap();
            self.ids[which] = Some(prepared.id.to_vec());
        }
        if it.deed.is_none() {
            // a setup that failed is tried again, as drivers do
            if opcode == Opcode::Error {
                self.setup.push_front(it.ask);
            }
            match self.setup.pop_front() {
                Some(next) => self.send(core, next, None),
                None => self.ready = true,
            }
            return;
        }
        if error == ErrorCode::Unprepared.number() && opcode == Opcode::Error {
            // the node has forgotten it: prepared again, then sent again
            for which in needed(&it.ask) {
                self.send(core, Ask::Prepare(which), None);
            }
            self.settle(core, it.deed, Fate::Refused, ledger);
            return;
        }
        let fate = match (opcode, ErrorCode::from_number(error)) {
            (Opcode::Result, _) => Fate::Acknowledged,
            (
                _,
                ErrorCode::Unavailable
                | ErrorCode::Invalid
                | ErrorCode::Syntax
                | ErrorCode::IsBootstrapping
                | ErrorCode::AlreadyExists
                | ErrorCode::Config,
            ) => Fate::Refused,
            _ => Fate::Unknown,
        };
        self.settle(core, it.deed, fate, ledger);
    }
}

fn needed(ask: &Ask) -> Vec<usize> {
    let of = |statement: &Statement| match statement {
        Statement::Prepared(which, _) => Some(*which),
        Statement::Text(..) => None,
    };
    match ask {
        Ask::One(one) => of(one).into_iter().collect(),
        Ask::Batch(_, all) => all.iter().filter_map(of).collect(),
        _ => Vec::new(),
    }
}

/// Appends a request.
fn put(out: &mut Vec<u8>, stream: i16, ask: &Ask, ids: &[Option<Vec<u8>>], stamp_us: Option<i64>) {
    let known = |which: usize| ids[which].as_deref().unwrap_or(&[0; 16]);
    let opcode = match ask {
        Ask::Startup => Opcode::Startup,
        Ask::Use | Ask::One(Statement::Text(..)) => Opcode::Query,
        Ask::Prepare(_) => Opcode::Prepare,
        Ask::One(Statement::Prepared(..)) => Opcode::Execute,
        Ask::Batch(..) => Opcode::Batch,
    };
    encode::envelope(
        out,
        Version::V4,
        Flags::NONE,
        stream,
        opcode,
        |body| match ask {
            Ask::Startup => request::startup::encode(body, [("CQL_VERSION", "3.0.0")]),
            Ask::Use => {
                body.long_string("USE sim");
                body.raw(&params(&[], None));
            }
            Ask::Prepare(which) => request::prepare::encode(body, PREPARED[*which]),
            Ask::One(Statement::Text(text, values)) => {
                body.long_string(text);
                body.raw(&params(values, stamp_us));
            }
            Ask::One(Statement::Prepared(which, values)) => {
                body.short_bytes(known(*which));
                body.raw(&params(values, stamp_us));
            }
            Ask::Batch(kind, statements) => {
                body.byte(*kind);
                body.short(u16::try_from(statements.len()).unwrap());
                for statement in statements {
                    let bound = match statement {
                        Statement::Text(text, bound) => {
                            body.byte(0);
                            body.long_string(text);
                            bound
                        }
                        Statement::Prepared(which, bound) => {
                            body.byte(1);
                            body.short_bytes(known(*which));
                            bound
                        }
                    };
                    body.raw(&values(bound));
                }
                body.raw(&[0, 1]);
                // a counter batch takes no stamp
                match stamp_us.filter(|_| *kind != 2) {
                    Some(stamp_us) => {
                        body.byte(0x20);
                        body.long(stamp_us);
                    }
                    None => body.byte(0),
                }
            }
        },
    )
    .unwrap();
}

fn values(bound: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = u16::try_from(bound.len()).unwrap().to_be_bytes().to_vec();
    for value in bound {
        bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

/// `<query_parameters>` (native protocol v4, section 4.1.4), at consistency ONE.
fn params(bound: &[Vec<u8>], stamp_us: Option<i64>) -> Vec<u8> {
    let flags = u8::from(!bound.is_empty()) | if stamp_us.is_some() { 0x20 } else { 0 };
    let mut bytes = vec![0, 1, flags];
    if !bound.is_empty() {
        bytes.extend(values(bound));
    }
    if let Some(stamp_us) = stamp_us {
        bytes.extend(stamp_us.to_be_bytes());
    }
    bytes
}

/// For the trace.
pub fn describe(deed: &Deed) -> String {
    format!(
        "{} {} {:?} {:?}",
        deed.table, deed.key, deed.step, deed.fate
    )
}
