//! A node that answers at once and stores nothing: so cheap that what is measured is the proxy.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use twinring::sys::ring::{Event, Ring, RingConfig, SocketId};
use twinring::sys::socket::{self, StreamOptions};

use crate::wire::{self, Envelope, opcode};

/// Kinds of RESULT (4.2.5).
const VOID: i32 = 1;
const ROWS: i32 = 2;
const SET_KEYSPACE: i32 = 3;
const PREPARED: i32 = 4;

/// Types of columns (4.2.5.2): `varchar`, `blob`.
const VARCHAR: usize = 0x0D;
const BLOB: usize = 0x03;

/// The first byte of a prepared id tells what executing it answers.
const ID_ROWS: u8 = 1;
const ID_VOID: u8 = 2;

#[derive(Default)]
struct Client {
    /// The incomplete end of what was received.
    rest: Vec<u8>,
    /// Answers that are not yet with the ring.
    answers: Vec<u8>,
}

pub(crate) fn run(address: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let mut ring = Ring::new(&RingConfig::default())?;
    ring.listen(socket::listen_shared(address, 1024)?);
    let mut clients: Vec<Client> = Vec::new();
    let mut answered: Vec<SocketId> = Vec::new();
    let mut accepted = Vec::new();
    let mut closed = Vec::new();
    // Whose answers are held back, and until when, oldest first.
    let mut held: VecDeque<(Instant, SocketId)> = VecDeque::new();
    loop {
        let due = held
            .front()
            .map(|(due, _)| due.saturating_duration_since(Instant::now()));
        ring.wait(due.or(Some(Duration::from_secs(1))))?;
        while let Some(event) = ring.next_event() {
            match event {
                Event::Accepted { socket, .. } => accepted.push(socket),
                Event::Received { id, bytes } => {
                    let client = &mut clients[id.index()];
                    client.rest.extend_from_slice(bytes);
                    answer_all(client);
                    if delay.is_zero() {
                        answered.push(id);
                    } else {
                        held.push_back((Instant::now() + delay, id));
                    }
                }
                Event::Sent { id, .. } if delay.is_zero() => answered.push(id),
                Event::Sent { id, .. } => held.push_back((Instant::now(), id)),
                Event::Eof { id } | Event::Failed { id, .. } => closed.push(id),
                Event::AcceptFailed { .. }
                | Event::Connected { .. }
                | Event::Readable { .. }
                | Event::Synced { .. } => {}
            }
        }
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            answered.extend(held.pop_front().map(|(_, id)| id));
        }
        for id in answered.drain(..) {
            let client = &mut clients[id.index()];
            if !client.answers.is_empty() && !ring.is_sending(id) {
                ring.send(id, std::mem::take(&mut client.answers));
            }
        }
        for stream in accepted.drain(..) {
            socket::set_stream_options(&stream, &StreamOptions::default())?;
            let id = ring.adopt(stream);
            clients.resize_with(clients.len().max(id.index() + 1), Client::default);
            clients[id.index()] = Client::default();
            ring.start_recv(id);
        }
        closed.drain(..).for_each(|id| ring.close(id));
    }
}

/// Answers every complete request.
fn answer_all(client: &mut Client) {
    let mut rest = client.rest.as_slice();
    while let Some((request, after)) = wire::split(rest) {
        answer(&request, &mut client.answers);
        rest = after;
    }
    let used = client.rest.len() - rest.len();
    client.rest.drain(..used);
}

fn answer(request: &Envelope<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let mut version = request.version;
    let code = match request.opcode {
        _ if !(3..=4).contains(&request.version) => {
            version = 4;
            // ERROR (9): 0x000A, protocol error; drivers look for these words.
            wire::put_int(&mut body, 0x000A);
            let text = "Invalid or unsupported protocol version; supported versions are (3/v3, \
                        4/v4)";
            wire::put_string(&mut body, text);
            opcode::ERROR
        }
        opcode::OPTIONS => {
            put_supported(&mut body);
            opcode::SUPPORTED
        }
        opcode::STARTUP | opcode::REGISTER => opcode::READY,
        opcode::PREPARE => {
            let text = wire::take_long_string(request.body).unwrap_or_default();
            put_prepared(&mut body, text, request.version);
            opcode::RESULT
        }
        opcode::QUERY => {
            put_query_answer(
                &mut body,
                wire::take_long_string(request.body).unwrap_or_default(),
            );
            opcode::RESULT
        }
        opcode::EXECUTE => {
            match wire::take_short_bytes(request.body).and_then(<[u8]>::first) {
                Some(&ID_ROWS) => put_rows(&mut body, &[("value", "small")]),
                _ => wire::put_int(&mut body, VOID),
            }
            opcode::RESULT
        }
        opcode::BATCH => {
            wire::put_int(&mut body, VOID);
            opcode::RESULT
        }
        _ => {
            wire::put_int(&mut body, 0x000A);
            wire::put_string(&mut body, "not an opcode that the stub knows");
            opcode::ERROR
        }
    };
    wire::put_envelope(out, version | 0x80, request.stream, code, &body);
}

/// SUPPORTED (4.2.4): a string multimap.
fn put_supported(body: &mut Vec<u8>) {
    wire::put_short(body, 2);
    wire::put_string(body, "CQL_VERSION");
    wire::put_short(body, 1);
    wire::put_string(body, "3.4.5");
    wire::put_string(body, "COMPRESSION");
    wire::put_short(body, 0);
}

fn put_query_answer(body: &mut Vec<u8>, text: &str) {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.first() {
        Some(&"use") => {
            wire::put_int(body, SET_KEYSPACE);
            wire::put_string(
                body,
                words.get(1).copied().unwrap_or_default().trim_matches('"'),
            );
        }
        Some(&"select") if lower.contains("system.local") => {
            put_rows(
                body,
                &[
                    ("key", "local"),
                    ("cluster_name", "stub"),
                    ("data_center", "dc1"),
                    ("rack", "rack1"),
                    ("release_version", "4.1.10"),
                    ("cql_version", "3.4.5"),
                    ("native_protocol_version", "4"),
                    ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
                ],
            );
        }
        Some(&"select") if lower.contains("system.peers") => put_no_rows(body),
        Some(&"select") => put_rows(body, &[("value", "small")]),
        _ => wire::put_int(body, VOID),
    }
}

/// One row of text columns (4.2.5.2).
fn put_rows(body: &mut Vec<u8>, row: &[(&str, &str)]) {
    wire::put_int(body, ROWS);
    put_columns(body, row.iter().map(|(name, _)| *name), row.len(), VARCHAR);
    wire::put_int(body, 1);
    for (_, value) in row {
        wire::put_bytes(body, value.as_bytes());
    }
}

fn put_no_rows(body: &mut Vec<u8>) {
    wire::put_int(body, ROWS);
    put_columns(body, ["peer"].into_iter(), 1, VARCHAR);
    wire::put_int(body, 0);
}

/// `<metadata>` with one table for all columns (flag 0x0001).
fn put_columns(
    body: &mut Vec<u8>,
    names: impl Iterator<Item = impl AsRef<str>>,
    count: usize,
    kind: usize,
) {
    wire::put_int(body, 1);
    wire::put_int(body, i32::try_from(count).unwrap_or(i32::MAX));
    put_column_specs(body, names, kind);
}

fn put_column_specs(body: &mut Vec<u8>, names: impl Iterator<Item = impl AsRef<str>>, kind: usize) {
    wire::put_string(body, "bench");
    wire::put_string(body, "kv");
    for name in names {
        wire::put_string(body, name.as_ref());
        wire::put_short(body, kind);
    }
}

/// Prepared (4.2.5.4): every marker is a blob.
fn put_prepared(body: &mut Vec<u8>, text: &str, version: u8) {
    let markers = text.matches('?').count();
    let select = text
        .trim_start()
        .get(..6)
        .is_some_and(|word| word.eq_ignore_ascii_case("select"));
    wire::put_int(body, PREPARED);
    wire::put_short_bytes(body, &id_of(text, if select { ID_ROWS } else { ID_VOID }));
    wire::put_int(body, 1);
    wire::put_int(body, i32::try_from(markers).unwrap_or(i32::MAX));
    if version >= 4 {
        wire::put_int(body, 0); // no partition key columns
    }
    put_column_specs(body, (0..markers).map(|at| format!("column{at}")), BLOB);
    if select {
        put_columns(body, ["value"].into_iter(), 1, VARCHAR);
    } else {
        wire::put_int(body, 4); // result metadata: flag "no metadata"
        wire::put_int(body, 0);
    }
}

/// Sixteen bytes that depend on the text only, as with a real node (FNV-1a, two offsets).
fn id_of(text: &str, kind: u8) -> [u8; 16] {
    let hash = |seed: u64| {
        text.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&hash(0xcbf2_9ce4_8422_2325).to_be_bytes());
    id[8..].copy_from_slice(&hash(0x9ae1_6a3b_2f90_404f).to_be_bytes());
    id[0] = kind;
    id
}
