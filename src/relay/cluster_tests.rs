//! Sessions whose drivers ask about the cluster, or hear of it: proxies shown as the ring, and one
//! proxy on each node.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use super::tests::{Bench, envelope, query};
use crate::cql::decoder::{DecodeLimits, split};
use crate::cql::response::event::{StatusChange, TopologyChange};
use crate::cql::response::rows::Rows;
use crate::cql::response::{ErrorBody, ErrorCode, Event};
use crate::cql::{Envelope, Opcode, Version, Writer, request};
use crate::tests::{blobs, rows_message};
use crate::topology::ring::{LOCAL_QUERY, PEERS_QUERY};
use crate::topology::{Proxies, Shown};

const PEERS: &str = "SELECT peer, schema_version FROM system.peers";

fn in_a_ring() -> Bench {
    let all = ["10.9.0.1:9042", "10.9.0.2:9042", "10.9.0.3:9042"];
    Bench::shown(Shown::Ring(Proxies {
        all: all.iter().map(|text| text.parse().unwrap()).collect(),
        own: 1,
    }))
}

fn rows(w: &mut Writer<'_>, names: &[&str], cells: &[&[u8]]) {
    let cells: Vec<_> = cells.iter().map(|cell| Some(*cell)).collect();
    w.raw(&rows_message(&blobs(names), &cells));
}

fn envelopes(bytes: &[u8], mut visit: impl FnMut(&Envelope<'_>)) {
    let (limits, mut at) = (DecodeLimits::responses(1 << 20), 0);
    let requests = DecodeLimits::requests(1 << 20);
    let is_request = bytes.first().is_some_and(|version| version & 0x80 == 0);
    let limits = if is_request { requests } else { limits };
    while let Some(envelope) = split(&bytes[at..], &limits).unwrap() {
        visit(&envelope);
        at += envelope.raw.len();
    }
    assert_eq!(at, bytes.len());
}

/// Stream and text of what has gone to the source since the last call.
fn asked(bench: &mut Bench) -> Vec<(i16, String)> {
    let mut asked = Vec::new();
    envelopes(&std::mem::take(&mut bench.to_source), |envelope| {
        let query = request::Query::parse(envelope.body).unwrap();
        asked.push((envelope.header.stream, query.text.to_owned()));
    });
    asked
}

/// Cells of the rows that the client was answered with.
fn shown(bench: &mut Bench, stream: i16) -> Vec<Vec<u8>> {
    let mut cells = Vec::new();
    envelopes(&std::mem::take(&mut bench.to_client), |envelope| {
        assert_eq!(envelope.header.stream, stream);
        let rows = Rows::parse(envelope.body).unwrap();
        rows.check().unwrap();
        let all = rows.cells().map(|cell| cell.unwrap().bytes.unwrap_or(b"-"));
        cells.extend(all.map(<[u8]>::to_vec));
    });
    cells
}

/// The source's answers to the two questions before the client's own.
fn tell(bench: &mut Bench, stream: i16, own_schema: u8, other_schema: u8) {
    let names = ["data_center", "rack", "tokens", "schema_version"];
    let none = 0_i32.to_be_bytes();
    for (text, schema) in [(LOCAL_QUERY, own_schema), (PEERS_QUERY, other_schema)] {
        assert_eq!(asked(bench), [(stream, text.to_owned())]);
        assert!(bench.to_client.is_empty(), "the client waits");
        bench.answer_quietly(stream, |w| {
            rows(w, &names, &[b"dc1", b"r1", &none, &[schema; 16]]);
        });
    }
}

fn own_answer(bench: &mut Bench, stream: i16) -> Vec<Vec<u8>> {
    bench.answer_quietly(stream, |w| rows(w, &["peer", "schema_version"], &[]));
    shown(bench, stream)
}

#[test]
fn the_ring_is_asked_for_before_the_clients_own_question() {
    let mut bench = in_a_ring();
    bench.request(&query(7, PEERS, None));
    // another one, which passes meanwhile
    let read = "SELECT v FROM ks.t";
    tell(&mut bench, 7, 1, 1);
    bench.request(&query(8, read, None));
    let own = [(7, PEERS.to_owned()), (8, read.to_owned())];
    assert_eq!(asked(&mut bench), own);
    let peers = own_answer(&mut bench, 7);
    let (one, three) = (vec![10, 9, 0, 1], vec![10, 9, 0, 3]);
    assert_eq!(peers, [one, vec![1; 16], three, vec![1; 16]]);
    assert_eq!(bench.session.unanswered(), 1, "the read has no answer yet");
    bench.answer_quietly(8, |w| rows(w, &["v"], &[b"x"]));
    assert_eq!(shown(&mut bench, 8), [b"x"]);
    assert_eq!(bench.session.unanswered(), 0);
}

#[test]
fn an_error_of_the_source_is_the_clients_answer_at_any_step() {
    for step in 0..3 {
        let mut bench = in_a_ring();
        bench.request(&query(3, PEERS, None));
        for (done, text) in [LOCAL_QUERY, PEERS_QUERY].into_iter().enumerate() {
            if done < step {
                assert_eq!(asked(&mut bench), [(3, text.to_owned())]);
                let none = 0_i32.to_be_bytes();
                bench.answer_quietly(3, |w| {
                    let names = ["data_center", "rack", "tokens", "schema_version"];
                    rows(w, &names, &[b"dc1", b"r1", &none, &[1; 16]]);
                });
            }
        }
        let words = "not now";
        bench.answer(3, Opcode::Error, |w| {
            ErrorBody::new(ErrorCode::Overloaded, words).encode(w);
        });
        let mut answers = 0;
        envelopes(&bench.to_client, |envelope| {
            answers += 1;
            let error = ErrorBody::parse(envelope.body, Version::V4).unwrap();
            assert_eq!((error.code, error.message), (ErrorCode::Overloaded, words));
        });
        assert_eq!((answers, bench.session.unanswered()), (1, 0), "step {step}");
    }
}

#[test]
fn nonsense_about_the_nodes_is_an_error_for_the_client() {
    let mut bench = in_a_ring();
    bench.request(&query(3, PEERS, None));
    for _ in 0..3 {
        bench.answer_quietly(3, |w| {
            rows(w, &["tokens"], &[b"no set"]);
        });
    }
    let mut answers = 0;
    envelopes(&bench.to_client, |envelope| {
        answers += 1;
        let error = ErrorBody::parse(envelope.body, Version::V4).unwrap();
        assert_eq!(error.code, ErrorCode::Server);
        assert!(error.message.contains("cannot read the source's answer"));
    });
    assert_eq!((answers, bench.session.unanswered()), (1, 0));
}

/// A driver waits for the nodes to agree on the schema; it must not wait for one that is down.
#[test]
fn nodes_that_do_not_agree_on_the_schema_are_waited_for_so_long() {
    let mut bench = in_a_ring();
    let mut schemas = |after_us: i64, other: u8| {
        bench.now_us += after_us;
        bench.request(&query(1, PEERS, None));
        tell(&mut bench, 1, 1, other);
        assert_eq!(asked(&mut bench), [(1, PEERS.to_owned())]);
        let peers = own_answer(&mut bench, 1);
        assert_eq!(peers[1], peers[3], "all proxies show the same");
        peers[1][0]
    };
    assert_eq!(schemas(0, 1), 1);
    assert_eq!(schemas(1_000_000, 2), 2, "they differ");
    assert_eq!(schemas(2_900_000, 2), 2);
    assert_eq!(schemas(200_000, 2), 1, "one must be down");
    assert_eq!(schemas(0, 1), 1);
    assert_eq!(schemas(0, 3), 3, "another difference, from the start");
}

fn heard(bench: &mut Bench, event: Event<'_>) -> Vec<u8> {
    bench.answer_anyhow(-1, Opcode::Event, |w| event.encode(w));
    std::mem::take(&mut bench.to_client)
}

fn node(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn news_of_a_node_name_its_proxy() {
    let ghosts = [("10.0.0.1".parse().unwrap(), "192.168.0.1".parse().unwrap())];
    let mut bench = Bench::shown(Shown::PerNode(ghosts.into()));
    let port = bench.session.facts().address.port();
    for (at, proxy) in [
        ("10.0.0.1:7042", "192.168.0.1"),
        ("10.0.0.2:7042", "10.0.0.2"),
    ] {
        let proxy = SocketAddr::new(proxy.parse().unwrap(), port);
        for event in [
            |node| Event::Status(StatusChange::Up, node),
            |node| Event::Status(StatusChange::Down, node),
            |node| Event::Topology(TopologyChange::NewNode, node),
            |node| Event::Topology(TopologyChange::RemovedNode, node),
        ] {
            let expected = envelope_of(event(proxy));
            assert_eq!(heard(&mut bench, event(node(at))), expected, "{at}");
        }
    }
    let v6 = Event::Status(StatusChange::Up, node("[fd00::1]:7042"));
    let proxy = SocketAddr::new("fd00::1".parse().unwrap(), port);
    let expected = envelope_of(Event::Status(StatusChange::Up, proxy));
    assert_eq!(heard(&mut bench, v6), expected);
}

#[test]
fn news_of_nodes_are_kept_from_those_who_do_not_see_them() {
    let alone = Bench::shown(Shown::Single);
    for mut bench in [alone, in_a_ring()] {
        let down = Event::Status(StatusChange::Down, node("10.0.0.1:9042"));
        assert!(heard(&mut bench, down).is_empty());
        let gone = Event::Topology(TopologyChange::RemovedNode, node("10.0.0.1:9042"));
        assert!(heard(&mut bench, gone).is_empty());
        // the schema is everybody's; what is not known is passed on as it is
        for words in [
            &["SCHEMA_CHANGE", "CREATED", "TABLE", "ks", "t"][..],
            &["LATER_CHANGE", "ODD"],
        ] {
            let put = |w: &mut Writer<'_>| words.iter().for_each(|word| w.string(word));
            bench.answer_anyhow(-1, Opcode::Event, put);
            let heard = std::mem::take(&mut bench.to_client);
            assert_eq!(heard, answer_bytes(put), "{words:?}");
        }
    }
}

fn envelope_of(event: Event<'_>) -> Vec<u8> {
    answer_bytes(|w| event.encode(w))
}

fn answer_bytes(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    envelope(-1, Opcode::Event, body)
}
