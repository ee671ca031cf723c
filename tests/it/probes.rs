//! What a curious tester would say to the port. The answers are those of Cassandra itself: each
//! conversation is held twice, with the source and through the proxy, and compared byte by byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::cql::{Cql, Failure};
use crate::support::lab::{self, Pair};

const PATIENCE: Duration = Duration::from_secs(10);
const LARGE: usize = 1 << 20;

const ERROR: u8 = 0;
const STARTUP: u8 = 1;
const OPTIONS: u8 = 5;
const QUERY: u8 = 7;
const PREPARE: u8 = 9;
const EXECUTE: u8 = 10;
const REGISTER: u8 = 11;
const BATCH: u8 = 13;
const AUTH_RESPONSE: u8 = 15;

/// How a conversation ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// After so many answers.
    Answers(usize),
    /// The server closes.
    Closed,
    /// The client closes its side; then the server does.
    HalfClosed,
}
use End::{Answers, Closed, HalfClosed};

/// Name, whether the connection is past STARTUP and USE, what is said, and how it ends.
type Probe = (&'static str, bool, Vec<u8>, End);

fn envelope(version: u8, flags: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.push(opcode);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn long_string(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = u16::try_from(pairs.len()).unwrap().to_be_bytes().to_vec();
    for (key, value) in pairs {
        bytes.extend_from_slice(&[string(key), string(value)].concat());
    }
    bytes
}

fn startup(pairs: &[(&str, &str)]) -> Vec<u8> {
    envelope(4, 0, 0, STARTUP, &map(pairs))
}

/// A statement with consistency ONE and no flags.
fn query(text: &str) -> Vec<u8> {
    [long_string(text), vec![0, 1, 0]].concat()
}

fn say(stream: i16, text: &str) -> Vec<u8> {
    envelope(4, 0, stream, QUERY, &query(text))
}

/// `count` INSERTs as an unlogged batch of texts.
fn batch(count: u16, size: usize) -> Vec<u8> {
    let mut body = vec![1];
    body.extend_from_slice(&count.to_be_bytes());
    for n in 0..count {
        let value = "x".repeat(size);
        let text = format!(
            "INSERT INTO probe (id, v) VALUES ({}, '{value}')",
            1_000 + n
        );
        body.push(0);
        body.extend_from_slice(&[long_string(&text), vec![0, 0]].concat());
    }
    body.extend_from_slice(&[0, 1, 0]);
    body
}

fn insert(id: usize, size: usize) -> String {
    let value = "y".repeat(size);
    format!("INSERT INTO probe (id, v) VALUES ({id}, '{value}')")
}

const VERSION: (&str, &str) = ("CQL_VERSION", "3.0.0");

/// Past STARTUP, with one answer.
fn open(name: &'static str, said: Vec<u8>) -> Probe {
    (name, true, said, Answers(1))
}

/// A first word, with one answer.
fn first(name: &'static str, said: Vec<u8>) -> Probe {
    (name, false, said, Answers(1))
}

fn first_words() -> Vec<Probe> {
    let hello = |pairs: &[(&str, &str)]| startup(&[&[VERSION], pairs].concat());
    let early = "INSERT INTO probe (id, v) VALUES (1, 'too early')";
    let wish = [&[0, 1], &string("SCHEMA_CHANGE")[..]].concat();
    let closed = |name, version| {
        let said = envelope(version, 0, 5, OPTIONS, &[]);
        (name, false, said, Closed)
    };
    vec![
        first("options", envelope(4, 0, 3, OPTIONS, &[])),
        first(
            "unknown options",
            hello(&[("NO_SUCH", "x"), ("DRIVER_NAME", "me")]),
        ),
        first("no version of CQL", startup(&[("DRIVER_NAME", "me")])),
        first(
            "another version of CQL",
            startup(&[("CQL_VERSION", "9.9.9")]),
        ),
        first("unknown compression", hello(&[("COMPRESSION", "zip")])),
        first("query first", say(2, early)),
        first("batch first", envelope(4, 0, 2, BATCH, &batch(1, 1))),
        first("register first", envelope(4, 0, 2, REGISTER, &wish)),
        first("an answer", envelope(0x84, 0, 5, OPTIONS, &[])),
        first("opcode 85", envelope(4, 0, 5, 85, &[])),
        closed("version 6", 6),
        closed("version 66", 66),
        closed("version 2", 2),
    ]
}

/// Another version and compression: STARTUP, then a read.
fn other_handshakes() -> Vec<Probe> {
    let read = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = 'system'";
    let hello = |version, compression: &[(&str, &str)]| {
        let pairs = [&[VERSION], compression].concat();
        let startup = envelope(version, 0, 1, STARTUP, &map(&pairs));
        [startup, envelope(version, 0, 2, QUERY, &query(read))].concat()
    };
    let snappy = hello(4, &[("COMPRESSION", "snappy")]);
    let lz4 = hello(4, &[("COMPRESSION", "lz4")]);
    vec![
        ("version 3", false, hello(3, &[]), Answers(2)),
        ("snappy", false, snappy, Answers(2)),
        ("lz4", false, lz4, Answers(2)),
    ]
}

fn sizes_and_flags() -> Vec<Probe> {
    let payload = [&[0, 1], &string("key")[..], &long_string("value")].concat();
    let paid = |text: &str| envelope(4, 4, 1, QUERY, &[&payload[..], &query(text)].concat());
    vec![
        open("one byte", say(1, &insert(10, 1))),
        open("eight bytes", say(1, &insert(11, 8))),
        open("a MiB", say(1, &insert(12, LARGE))),
        open("a MiB back", say(1, "SELECT v FROM probe WHERE id = 12")),
        open("a mutation too large", say(1, &insert(13, 6 * LARGE))),
        open("a warning", envelope(4, 0, 1, BATCH, &batch(4, 2_000))),
        open(
            "a batch too large",
            envelope(4, 0, 1, BATCH, &batch(4, 20_000)),
        ),
        open("payload, write", paid(&insert(14, 3))),
        open("payload, read", paid("SELECT v FROM probe WHERE id = 14")),
    ]
}

fn streams() -> Vec<Probe> {
    let twice = |a: &str, b: &str| [say(4, a), say(4, b)].concat();
    let read = "SELECT v FROM probe WHERE id = 10";
    let bad = "INSERT INTO probe (id) VALUES ('x')";
    let good = [insert(16, 3), insert(17, 3), insert(22, 3)];
    vec![
        open("negative stream, read", say(-5, read)),
        open("negative stream, write", say(-7, &insert(15, 3))),
        open("negative stream, error", say(-9, bad)),
        (
            "one stream twice",
            true,
            twice(&good[0], &good[1]),
            Answers(2),
        ),
        ("good and bad", true, twice(&good[2], bad), Answers(2)),
        ("read and bad", true, twice(read, bad), Answers(2)),
        ("half closed, read", true, say(4, read), HalfClosed),
        (
            "half closed, write",
            true,
            say(4, &insert(18, 3)),
            HalfClosed,
        ),
        ("half closed in a header", true, vec![4, 0, 0], HalfClosed),
        (
            "half closed in a body",
            true,
            say(4, read)[..30].to_vec(),
            HalfClosed,
        ),
    ]
}

fn malformed() -> Vec<Probe> {
    let query_of = |body: &[&[u8]]| envelope(4, 0, 1, QUERY, &body.concat());
    let unknown_id = [&[0, 16], &[7; 16][..], &[0, 1, 0]].concat();
    let no_event = [&[0, 1], &string("NO_EVENT")[..]].concat();
    let no_batch = [&[9], &batch(1, 1)[1..]].concat();
    let bad_level = long_string(&insert(21, 3));
    let prepare = long_string("SELECT no FROM probe");
    let token = long_string("\0a\0b");
    vec![
        open(
            "a body cut short",
            query_of(&[&long_string("SELECT id FROM probe")]),
        ),
        open("no body", query_of(&[])),
        open(
            "more than a body",
            query_of(&[&query(&insert(20, 3)), &[7; 9]]),
        ),
        open("unknown consistency", query_of(&[&bad_level, &[0, 99, 0]])),
        open("unknown kind of batch", envelope(4, 0, 1, BATCH, &no_batch)),
        open("unknown statement", envelope(4, 0, 1, EXECUTE, &unknown_id)),
        open("syntax", say(1, "SELEKT v FROM probe")),
        open("prepare, wrong", envelope(4, 0, 1, PREPARE, &prepare)),
        open("no such keyspace", say(1, "USE no_such_keyspace")),
        open("unknown event", envelope(4, 0, 1, REGISTER, &no_event)),
        open("startup again", startup(&[VERSION])),
        open(
            "a password that nobody wants",
            envelope(4, 0, 1, AUTH_RESPONSE, &token),
        ),
        open("an ERROR", envelope(4, 0, 1, ERROR, &[0; 6])),
    ]
}

/// What is answered in another way on purpose: versions that are in beta are not offered, wrong
/// directions and opcodes have words of our own, and half-closed clients get their answers, which
/// Cassandra 4.1 keeps from them.
const OUR_OWN: [&str; 9] = [
    "options",
    "an answer",
    "opcode 85",
    "version 6",
    "version 66",
    "version 2",
    "half closed, read",
    "half closed, write",
    "an ERROR",
];

/// Reads one envelope; none at the end of the stream.
fn read_one(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 9];
    stream.read_exact(&mut bytes).ok()?;
    let length = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
    bytes.resize(9 + usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut bytes[9..]).ok()?;
    Some(bytes)
}

fn connect(address: SocketAddr, keyspace: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if let Some(keyspace) = keyspace {
        for hello in [startup(&[VERSION]), say(0, &format!("USE {keyspace}"))] {
            stream.write_all(&hello).unwrap();
            assert_ne!(read_one(&mut stream).unwrap()[4], ERROR);
        }
    }
    stream
}

/// Holds a conversation; what was answered, the keyspace's name as `name`.
fn hold(address: SocketAddr, keyspace: &str, probe: &Probe) -> Vec<Vec<u8>> {
    let (_, open, said, end) = probe;
    let mut stream = connect(address, open.then_some(keyspace));
    // the server may close while it is still being spoken to
    let _ = stream.write_all(said);
    if *end == HalfClosed {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answers = Vec::new();
    while *end != Answers(answers.len())
        && let Some(mut answer) = read_one(&mut stream)
    {
        let at = answer.windows(7).position(|part| part == b"direct_");
        if let Some(at) = at {
            answer[at..at + 7].copy_from_slice(b"probes_");
        }
        answers.push(answer);
    }
    // two answers may come in either order
    answers.sort();
    answers
}

fn shown(answers: &[Vec<u8>]) -> Vec<String> {
    let one = |answer: &Vec<u8>| {
        let text = String::from_utf8_lossy(&answer[9..answer.len().min(400)]).into_owned();
        format!("{:02x?} {text:?}", &answer[..9])
    };
    answers.iter().map(one).collect()
}

fn pair_with_table() -> (Pair, String) {
    let pair = Pair::new("probes", lab::source_41(), lab::target_50());
    let direct = pair.keyspace.replace("probes", "direct");
    lab::create_keyspace(pair.source, &direct);
    let table = "probe (id int PRIMARY KEY, v text)";
    pair.run_at_both(&format!("CREATE TABLE {}.{table}", pair.keyspace));
    let mut source = pair.source.connect();
    source
        .query(&format!("CREATE TABLE {direct}.{table}"))
        .unwrap();
    (pair, direct)
}

#[test]
fn answers_are_those_of_the_source_byte_by_byte() {
    let _turn = lab::beside_others();
    let (pair, direct) = pair_with_table();
    let mut different = Vec::new();
    for probe in [
        first_words(),
        other_handshakes(),
        sizes_and_flags(),
        streams(),
        malformed(),
    ]
    .iter()
    .flatten()
    {
        let expected = hold(pair.source.address, &direct, probe);
        let found = hold(pair.contact(), &pair.keyspace, probe);
        if found != expected && !OUR_OWN.contains(&probe.0) {
            let name = probe.0;
            different.push(format!(
                "{name}:\n  direct  {:#?}\n  proxied {:#?}",
                shown(&expected),
                shown(&found)
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    pair.assert_equal(&[]);
}

/// A traced request has its own id in the answer, also where the proxy rewrites the rest; all else
/// is the same.
#[test]
fn traced_requests_have_their_id() {
    let _turn = lab::beside_others();
    let (pair, direct) = pair_with_table();
    let reads = [
        "SELECT v FROM probe WHERE id = 1",
        "SELECT key, release_version FROM system.local",
    ];
    for text in [insert(1, 5), reads[0].to_owned(), reads[1].to_owned()] {
        let said = envelope(4, 2, 1, QUERY, &query(&text));
        let probe: Probe = ("traced", true, said, Answers(1));
        let mut answers = [
            hold(pair.source.address, &direct, &probe),
            hold(pair.contact(), &pair.keyspace, &probe),
        ];
        for answer in answers.iter_mut().flatten() {
            assert_eq!(answer[1] & 2, 2, "{text}: no id of a trace");
            answer[9..25].fill(0);
        }
        assert_eq!(shown(&answers[0]), shown(&answers[1]), "{text}");
    }
    pair.assert_equal(&[]);
}

/// What the proxy prepares in other words has the id and the warnings of the source all the same.
#[test]
fn a_rewritten_prepare_keeps_its_warning() {
    let _turn = lab::beside_others();
    let (pair, direct) = pair_with_table();
    let text =
        long_string("INSERT INTO probe (id, v) VALUES (?, blobAsText(timeuuidAsBlob(now())))");
    let said = envelope(4, 2, 1, PREPARE, &text);
    let probe: Probe = ("prepared", true, said, Answers(1));
    let warned = [
        hold(pair.source.address, &direct, &probe),
        hold(pair.contact(), &pair.keyspace, &probe),
    ]
    .map(|answers| {
        assert_eq!(
            answers[0][1],
            2 | 8,
            "trace and warning: {:?}",
            shown(&answers)
        );
        let warnings = &answers[0][9 + 16..];
        let length = usize::from(u16::from_be_bytes([warnings[2], warnings[3]]));
        let words = String::from_utf8(warnings[4..4 + length].to_vec()).unwrap();
        // keyspace and id, which follow, are each one's own
        words.split("Keyspace used").next().unwrap().to_owned()
    });
    assert!(warned[0].contains("USE <keyspace>"), "{warned:?}");
    assert_eq!(warned[0], warned[1]);
}

/// A client that has registered hears of a change that another makes.
#[test]
fn news_of_the_schema_reach_who_wants_them() {
    let _turn = lab::beside_others();
    let (pair, _) = pair_with_table();
    let mut stream = connect(pair.contact(), Some(&pair.keyspace));
    let wish = [&[0, 1], &string("SCHEMA_CHANGE")[..]].concat();
    stream
        .write_all(&envelope(4, 0, 1, REGISTER, &wish))
        .unwrap();
    assert_eq!(read_one(&mut stream).unwrap()[4], 2, "READY");
    let mut other = Cql::connect(pair.contact()).unwrap();
    other
        .query(&format!(
            "CREATE TABLE {}.news (id int PRIMARY KEY)",
            pair.keyspace
        ))
        .unwrap();
    let event = read_one(&mut stream).unwrap();
    let parts = ["SCHEMA_CHANGE", "CREATED", "TABLE", &pair.keyspace, "news"];
    let expected: Vec<u8> = parts.iter().flat_map(|part| string(part)).collect();
    assert_eq!(event, envelope(0x84, 0, -1, 12, &expected));
}

/// The largest envelope that Cassandra takes, and one that is larger.
#[test]
fn envelopes_up_to_the_sources_limit() {
    let _turn = lab::beside_others();
    let (pair, direct) = pair_with_table();
    let largest = 16 * LARGE;
    for over in [0, 1] {
        // a long read: a write of this size is refused for another reason
        let mut text = String::from("SELECT v FROM probe WHERE id = 1 ");
        text.push_str(&" ".repeat(largest + over - 7 - text.len()));
        let end = if over == 0 { Answers(1) } else { Closed };
        let probe: Probe = ("large", true, say(1, &text), end);
        let expected = hold(pair.source.address, &direct, &probe);
        let found = hold(pair.contact(), &pair.keyspace, &probe);
        assert_eq!(shown(&found), shown(&expected), "{over} bytes over");
    }
}

/// 10,000 statements, more than the source itself remembers, used from 200 connections: as every
/// driver does, a client prepares again what is not known any more.
#[test]
fn ten_thousand_prepared_statements_from_200_connections() {
    const STATEMENTS: usize = 10_000;
    // alone: the nodes forget the statements of others
    let _turn = lab::alone();
    let (pair, _) = pair_with_table();
    let table = format!("{}.probe", pair.keyspace);
    let text = |n: usize| format!("INSERT INTO {table} (id, v) VALUES (?, 'statement {n}')");
    let mut first = Cql::connect(pair.contact()).unwrap();
    let ids: Vec<_> = (0..STATEMENTS)
        .map(|n| first.prepare(&text(n)).unwrap())
        .collect();
    let mut clients: Vec<_> = (0..200)
        .map(|_| Cql::connect(pair.contact()).unwrap())
        .collect();
    let mut again = 0;
    for (n, id) in ids.iter().enumerate() {
        let client = &mut clients[n % 200];
        let cells = [Some(i32::try_from(n).unwrap().to_be_bytes().to_vec())];
        let mut result = client.execute(id, &cells);
        while let Err(Failure::Server(0x2500, _)) = result {
            again += 1;
            assert_eq!(client.prepare(&text(n)).unwrap(), *id);
            result = client.execute(id, &cells);
        }
        result.unwrap();
    }
    eprintln!("{STATEMENTS} statements, {again} of them prepared again");
    pair.assert_equal(&[]);
    // A node forgets the statements of a table that is dropped. Else its memory for them stays full
    // of those used twice, and what others prepare later, used once so far, is evicted at once.
    pair.run_at_both(&format!("DROP TABLE {table}"));
}

/// Connections that come and go leave nothing.
#[test]
fn five_thousand_connections_leave_nothing() {
    let _turn = lab::beside_others();
    let (pair, _) = pair_with_table();
    let Some(proxy) = pair.proxy.as_ref() else {
        return;
    };
    drop(Cql::connect(proxy.listen).unwrap());
    std::thread::sleep(Duration::from_millis(500));
    let (before, before_kib) = (proxy.descriptors(), proxy.own_kib());
    for n in 0..5_000 {
        match n % 3 {
            0 => drop(Cql::connect(proxy.listen).unwrap()),
            1 => drop(TcpStream::connect(proxy.listen).unwrap()),
            _ => {
                let stream = TcpStream::connect(proxy.listen).unwrap();
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
    let began = std::time::Instant::now();
    while proxy.descriptors() > before {
        let (left, limit) = (proxy.descriptors(), PATIENCE);
        assert!(
            began.elapsed() < limit,
            "{left} descriptors, {before} before"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(proxy.gauge("twinring_connections{client}"), 0);
    assert_eq!(proxy.gauge("twinring_connections{source}"), 0);
    let grown_kib = proxy.own_kib().saturating_sub(before_kib);
    assert!(grown_kib < 4 << 10, "{grown_kib} KiB more");
}
