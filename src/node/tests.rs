//! The node over its socket: protocol, faults, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::testing::{Client, node, query_body};
use super::{FaultPlan, Node, NodeConfig};
use crate::cql::Compression;

fn table(client: &mut Client) {
    client.run("CREATE KEYSPACE k WITH replication = {'class':'SimpleStrategy'}");
    client.run("CREATE TABLE k.t (id int PRIMARY KEY, v text)");
}

fn error(answer: &(u8, Vec<u8>)) -> (i32, String) {
    assert_eq!(answer.0, 0, "an ERROR");
    let (code, rest) = answer.1.split_first_chunk::<4>().unwrap();
    let (len, rest) = rest.split_first_chunk::<2>().unwrap();
    let message = &rest[..usize::from(u16::from_be_bytes(*len))];
    (
        i32::from_be_bytes(*code),
        String::from_utf8(message.to_vec()).unwrap(),
    )
}

fn plan(rules: &[&str]) -> FaultPlan {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    FaultPlan {
        rules,
        ..FaultPlan::default()
    }
}

#[test]
fn versions_that_are_not_spoken_get_a_protocol_error_on_stream_0() {
    let node = node();
    for (version, answered) in [
        (5u8, 0x84u8),
        (6, 0x84),
        (0x41, 0x84),
        (0x42, 0x84),
        (2, 0x83),
    ] {
        let mut client = Client::raw(&node, version);
        client.send(0, 0x0102, 0x05, &[]);
        let mut header = [0; 9];
        client.stream.read_exact(&mut header).unwrap();
        assert_eq!((header[0], header[4]), (answered, 0), "version {version}");
        assert_eq!(
            header[2..4],
            [0, 0],
            "version {version}: gocql wants stream 0"
        );
        let mut body = Vec::new();
        client.stream.read_to_end(&mut body).unwrap();
        assert_eq!(body[..4], 0x0Ai32.to_be_bytes());
        assert!(String::from_utf8_lossy(&body).contains("unsupported protocol version"));
    }
}

#[test]
fn a_request_before_startup_is_refused() {
    let node = node();
    let mut client = Client::raw(&node, 4);
    let answer = client.query("SELECT * FROM system.local");
    assert_eq!(error(&answer).0, 0x0A);
    assert_eq!(client.call(0x05, &[]).0, 0x06, "OPTIONS is answered");
}

#[test]
fn prepared_statements_have_the_ids_metadata_and_key_indexes_of_cassandra() {
    let node = node();
    let mut client = Client::connect(&node);
    table(&mut client);
    let text = "INSERT INTO k.t (v, id) VALUES (?, ?)";
    let mut body = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    let (opcode, answer) = client.call(0x09, &body);
    assert_eq!(opcode, 0x08);
    let id = super::digest::md5(text.as_bytes());
    assert_eq!(
        answer[6..22],
        id,
        "the MD5 of the text, as both name the keyspace"
    );
    // flags, columns, one key index: marker 1
    assert_eq!(answer[22..36], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1]);
    let mut execute = vec![0, 16];
    execute.extend_from_slice(&id);
    execute.extend_from_slice(&[0, 1, 1, 0, 2, 0, 0, 0, 1, b'x', 0, 0, 0, 4, 0, 0, 0, 9]);
    assert_eq!(client.call(0x0A, &execute), (0x08, vec![0, 0, 0, 1]));
    node.forget_prepared().unwrap();
    let answer = client.call(0x0A, &execute);
    assert_eq!(error(&answer).0, 0x2500);
    assert!(answer.1.ends_with(&id), "the id is in the error");
}

#[test]
fn pages_come_in_order_and_end() {
    let node = node();
    let mut client = Client::connect(&node);
    client.run("CREATE KEYSPACE k WITH replication = {'class':'SimpleStrategy'}");
    client.run("CREATE TABLE k.c (p int, c int, PRIMARY KEY (p, c))");
    for at in 0..23 {
        client.run(&format!("INSERT INTO k.c (p, c) VALUES ({}, {at})", at % 3));
    }
    for text in [
        "SELECT p, c FROM k.c",
        "SELECT p, c FROM k.c WHERE p IN (0, 1, 2)",
        "SELECT p, c FROM k.c WHERE p = 1 ORDER BY c DESC",
        "SELECT p, c FROM k.c PER PARTITION LIMIT 5",
        "SELECT p, c FROM k.c LIMIT 11",
    ] {
        let whole = rows(&client.run(text)).0;
        for size in [1u8, 2, 4, 23] {
            let (mut all, mut state) = (Vec::new(), None::<Vec<u8>>);
            loop {
                let mut parameters = vec![0, 1, 4, 0, 0, 0, size];
                if let Some(state) = &state {
                    parameters[2] |= 8;
                    super::value::push_bytes(&mut parameters, Some(state));
                }
                let (opcode, body) = client.call(0x07, &query_body(text, &parameters));
                assert_eq!(opcode, 8);
                let (page, next) = rows(&body);
                assert!(page.len() <= usize::from(size) && !page.is_empty());
                all.extend(page);
                state = next;
                if state.is_none() {
                    break;
                }
            }
            assert_eq!(all, whole, "{text} in pages of {size}");
        }
    }
    let (opcode, body) = client.call(
        0x07,
        &query_body("SELECT * FROM k.c", b"\0\x01\x08\0\0\0\x02\xff\xff"),
    );
    assert_eq!(error(&(opcode, body)).0, 0x0A);
}

/// Rows of two ints and the paging state.
fn rows(body: &[u8]) -> (Vec<(i32, i32)>, Option<Vec<u8>>) {
    let mut reader = crate::cql::Reader::new(body);
    assert_eq!(reader.int().unwrap(), 2);
    let flags = reader.int().unwrap();
    let columns = reader.int().unwrap();
    let state = (flags & 2 != 0).then(|| reader.bytes().unwrap().unwrap().to_vec());
    reader.string().unwrap();
    reader.string().unwrap();
    for _ in 0..columns {
        reader.string().unwrap();
        reader.short().unwrap();
    }
    let count = reader.int().unwrap();
    let mut int = || i32::from_be_bytes(reader.bytes().unwrap().unwrap().try_into().unwrap());
    ((0..count).map(|_| (int(), int())).collect(), state)
}

#[test]
fn both_compressions_are_spoken_both_ways() {
    let node = node();
    for (name, compression) in [("lz4", Compression::Lz4), ("snappy", Compression::Snappy)] {
        let mut client = Client::raw(&node, 4);
        let mut startup = b"\0\x02\0\x0bCQL_VERSION\0\x053.0.0\0\x0bCOMPRESSION".to_vec();
        super::error::push_string(&mut startup, name);
        client.call(0x01, &startup);
        let body = query_body("SELECT key FROM system.local", &[0, 1, 0]);
        let mut packed = Vec::new();
        compression.compress(&body, &mut packed).unwrap();
        client.send(1, 3, 0x07, &packed);
        let (flags, stream, opcode, body) = client.receive().unwrap();
        assert_eq!((flags, stream, opcode), (1, 3, 8));
        let mut plain = Vec::new();
        compression.decompress(&body, &mut plain, 1 << 20).unwrap();
        assert!(plain.ends_with(b"local"));
    }
}

#[test]
fn a_password_is_asked_for_and_checked() {
    let mut config = NodeConfig::new("127.0.0.1:0".parse().unwrap());
    config.credentials = Some(("ann".to_owned(), "secret".to_owned()));
    let node = Node::start(config).unwrap();
    let mut client = Client::raw(&node, 4);
    let (opcode, body) = client.call(0x01, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    assert_eq!(opcode, 0x03);
    assert!(String::from_utf8_lossy(&body).contains("PasswordAuthenticator"));
    assert_eq!(error(&client.query("SELECT * FROM system.local")).0, 0x0A);
    assert_eq!(
        error(&client.call(0x0F, b"\0\0\0\x0a\0ann\0wrong")).0,
        0x0100
    );
    assert_eq!(client.call(0x0F, b"\0\0\0\x0b\0ann\0secret").0, 0x10);
    client.run("SELECT * FROM system.local");
}

#[test]
fn schema_changes_are_told_to_those_who_asked() {
    let node = node();
    let mut asking = Client::connect(&node);
    let mut other = Client::connect(&node);
    assert_eq!(asking.call(0x0B, b"\0\x01\0\x0dSCHEMA_CHANGE").0, 0x02);
    table(&mut other);
    for expected in [
        &b"\0\x0dSCHEMA_CHANGE\0\x07CREATED\0\x08KEYSPACE\0\x01k"[..],
        b"\0\x0dSCHEMA_CHANGE\0\x07CREATED\0\x05TABLE\0\x01k\0\x01t",
    ] {
        let (_, stream, opcode, body) = asking.receive().unwrap();
        assert_eq!((stream, opcode, body.as_slice()), (-1, 0x0C, expected));
    }
}

#[test]
fn rules_make_errors_with_and_without_effect() {
    let node = node();
    let mut client = Client::connect(&node);
    table(&mut client);
    let write = "INSERT INTO k.t (id, v) VALUES (1, 'x')";
    node.set_faults(plan(&["table=k.t,kind=write,times=1->error=write_timeout"]))
        .unwrap();
    let answer = client.query(write);
    assert_eq!(error(&answer).0, 0x1100);
    assert!(
        answer.1.ends_with(b"\0\x01\0\0\0\0\0\0\0\x01\0\x06SIMPLE"),
        "its own fields"
    );
    let count = |client: &mut Client| *client.run("SELECT count(*) FROM k.t").last().unwrap();
    assert_eq!(count(&mut client), 0, "not executed");
    client.run(write);
    node.set_faults(plan(&["text=values (2,every=2->error=overloaded,apply"]))
        .unwrap();
    client.run("INSERT INTO k.t (id) VALUES (2)");
    assert_eq!(
        error(&client.query("INSERT INTO k.t (id) VALUES (20)")).0,
        0x1001
    );
    client.run("INSERT INTO k.t (id) VALUES (3)");
    assert_eq!(count(&mut client), 4, "executed in spite of the error");
}

#[test]
fn rules_drop_delay_and_silence() {
    let node = node();
    let mut client = Client::connect(&node);
    node.set_faults(plan(&["opcode=OPTIONS,after=1->drop"]))
        .unwrap();
    client.call(0x05, &[]);
    client.send(0, 1, 0x05, &[]);
    assert!(
        client.receive().is_none(),
        "the second one closes the connection"
    );
    let mut client = Client::connect(&node);
    node.set_faults(plan(&[
        "opcode=OPTIONS,times=1->silence",
        "opcode=OPTIONS,times=1->delay=80",
    ]))
    .unwrap();
    let begin = Instant::now();
    client.send(0, 1, 0x05, &[]);
    client.send(0, 2, 0x05, &[]);
    client.send(0, 3, 0x05, &[]);
    assert_eq!(
        client.receive().unwrap().1,
        3,
        "the undelayed one overtakes"
    );
    assert_eq!(client.receive().unwrap().1, 2);
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[test]
fn a_stall_holds_requests_until_it_ends() {
    let node = node();
    let mut client = Client::connect(&node);
    node.set_faults(FaultPlan {
        stall: true,
        ..FaultPlan::default()
    })
    .unwrap();
    client.send(0, 1, 0x05, &[]);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.receive().is_none(), "no answer while it lasts");
    node.set_faults(FaultPlan::default()).unwrap();
    client
        .stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(client.receive().unwrap().1, 1);
}

#[test]
fn a_paused_node_refuses_and_keeps_its_data() {
    let node = node();
    let mut client = Client::connect(&node);
    table(&mut client);
    client.run("INSERT INTO k.t (id) VALUES (7)");
    node.pause().unwrap();
    let mut rest = Vec::new();
    assert!(matches!(
        client.stream.read_to_end(&mut rest),
        Ok(0) | Err(_)
    ));
    assert!(std::net::TcpStream::connect(node.addr()).is_err());
    node.resume().unwrap();
    let mut client = Client::connect(&node);
    assert_eq!(client.run("SELECT id FROM k.t").last(), Some(&7));
}

#[test]
fn rules_that_make_no_sense_are_refused_with_a_reason() {
    for (rule, reason) in [
        ("drop", "no `->` in it"),
        ("colour=red->drop", "`colour` is no condition"),
        ("every=x->drop", "`every=x` wants a number"),
        ("chance=2->drop", "wants a number from 0 to 1"),
        ("->explode", "`explode` is no reaction"),
        ("->error=nothing", "`nothing` is no error"),
        ("->drop,later", "`later` is no option"),
    ] {
        let error = rule.parse::<super::FaultRule>().unwrap_err().to_string();
        assert!(error.contains(reason), "{rule}: {error}");
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let node = node();
    let mut random = super::clock::Clock::new();
    let mut watcher = Client::connect(&node);
    for round in 0..300 {
        let mut client = Client::connect(&node);
        client
            .stream
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let mut bytes: Vec<u8> = (0..random.next_random() % 200)
            .map(|_| random.next_random().to_le_bytes()[0])
            .collect();
        if round % 2 == 0 {
            // A sound header, so that the body is looked at.
            let opcode = [0x01, 0x05, 0x07, 0x09, 0x0A, 0x0B, 0x0D, 0x0F][round / 2 % 8];
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let mut header = vec![4, bytes.first().copied().unwrap_or(0) & 0x0F, 0, 1, opcode];
            header.extend_from_slice(&len);
            header.append(&mut bytes);
            bytes = header;
        }
        let _ = client.stream.write_all(&bytes);
        let _ = client.receive();
    }
    watcher.run("SELECT * FROM system.local");
}

#[test]
fn mangled_statements_do_no_harm() {
    let node = node();
    let mut client = Client::connect(&node);
    let mut random = super::clock::Clock::new();
    let texts: Vec<&str> = include_str!("golden.txt")
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .filter(|text| !text.starts_with("DROP KEYSPACE"))
        .collect();
    for text in &texts {
        client.query(text);
    }
    for round in 0..2000 {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=random.next_random() % 3 {
            let at = usize::try_from(random.next_random()).unwrap_or(0) % (text.len() + 1);
            match random.next_random() % 3 {
                0 if at < text.len() => drop(text.remove(at)),
                1 => text.insert(
                    at,
                    ['(', ')', '?', '\'', '{', '[', ',', '0', '.'][round % 9],
                ),
                _ => text.truncate(at),
            }
        }
        let text: String = text.into_iter().collect();
        let (opcode, _) = client.query(&text);
        assert!(matches!(opcode, 0 | 8), "{text}");
    }
    let deep = format!("SELECT * FROM t WHERE k = {}", "(".repeat(100_000));
    assert_eq!(error(&client.query(&deep)).0, 0x2000);
}

#[test]
fn a_body_too_long_is_refused_before_it_is_read() {
    let node = node();
    let mut client = Client::connect(&node);
    client
        .stream
        .write_all(&[4, 0, 0, 9, 0x07, 0x7F, 0xFF, 0xFF, 0xFF])
        .unwrap();
    let (_, stream, opcode, _) = client.receive().unwrap();
    assert_eq!((stream, opcode), (9, 0));
    assert!(client.receive().is_none(), "then the connection ends");
}
