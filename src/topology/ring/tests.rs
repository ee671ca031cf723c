use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use crate::tests::{blobs, page_message};
use crate::topology::{Offer, Shown};

const MURMUR3: &[u8] = b"org.apache.cassandra.dht.Murmur3Partitioner";
const RANDOM: &[u8] = b"org.apache.cassandra.dht.RandomPartitioner";

fn proxies(own: usize) -> Proxies {
    let all = ["10.9.0.1:9042", "10.9.0.2:9042", "10.9.0.3:9042"];
    Proxies {
        all: all.iter().map(|text| text.parse().unwrap()).collect(),
        own,
    }
}

fn facts(own: usize) -> Facts {
    Facts {
        address: proxies(own).all[own],
        shown: Rc::new(Shown::Ring(proxies(own))),
        offer: Rc::new(Offer::default()),
    }
}

fn message(names: &[&str], cells: &[Option<&[u8]>], paging_state: Option<&[u8]>) -> Vec<u8> {
    page_message(&blobs(names), cells, paging_state)
}

fn set(texts: &[&str]) -> Vec<u8> {
    text_set(&texts.iter().map(|text| (*text).into()).collect::<Vec<_>>())
}

/// A source of two nodes in one data centre and one in another.
fn ring() -> Ring {
    let (own, near, far) = (set(&["-100", "5"]), set(&["77"]), set(&["999"]));
    let names = [
        "data_center",
        "rack",
        "tokens",
        "schema_version",
        "partitioner",
        "release_version",
    ];
    let cells = [
        Some(&b"dc1"[..]),
        Some(b"r2"),
        Some(&own),
        Some(&[1; 16]),
        Some(MURMUR3),
        Some(b"4.1.10"),
    ];
    let local = message(&names, &cells, None);
    let cells = [
        Some(&b"dc1"[..]),
        Some(b"r1"),
        Some(&near[..]),
        Some(&[1; 16]),
        Some(b"dc2"),
        Some(b"r0"),
        Some(&far),
        Some(&[1; 16]),
    ];
    let peers = message(&names[..4], &cells, None);
    Ring::read(&local, &peers, 3).unwrap()
}

type Row = Vec<Option<Vec<u8>>>;

/// What a client sees: the rows, each cell's bytes.
fn shown(text: &str, source_rows: &[u8], own: usize) -> (Vec<u8>, Vec<Row>) {
    let select = PlainSelect::of(text);
    let table = match text.contains("local") {
        true => SystemTable::Local,
        false => SystemTable::PeersV2,
    };
    let question = Question {
        table,
        select: select.as_ref(),
        params: None,
    };
    let (proxies, facts) = (proxies(own), facts(own));
    let mut out = Vec::new();
    let put = ring().put_rows(&mut out, &question, source_rows, (&proxies, &facts));
    put.unwrap();
    let rows = Rows::parse(&out).unwrap();
    rows.check().unwrap();
    let cells: Vec<_> = rows
        .cells()
        .map(|c| c.unwrap().bytes.map(<[u8]>::to_vec))
        .collect();
    let found = cells
        .chunks(rows.metadata.column_count)
        .map(<[_]>::to_vec)
        .collect();
    (out, found)
}

#[test]
fn every_proxy_shows_the_same_ring() {
    let names = [
        "peer",
        "native_port",
        "host_id",
        "tokens",
        "data_center",
        "rack",
        "dse",
    ];
    let source = message(&names, &[None; 14], Some(b"more"));
    let mut all = BTreeSet::new();
    for own in 0..3 {
        let (bytes, rows) = shown("SELECT * FROM system.peers_v2", &source, own);
        let parsed = Rows::parse(&bytes).unwrap();
        assert_eq!(parsed.metadata.paging_state, None, "there is one page");
        assert_eq!(rows.len(), 2);
        for row in &rows {
            let address = <[u8; 4]>::try_from(row[0].as_deref().unwrap()).unwrap();
            assert_ne!(IpAddr::from(address), proxies(own).all[own].ip());
            assert_eq!(row[1].as_deref(), Some(&9042i32.to_be_bytes()[..]));
            assert_eq!(row[4].as_deref(), Some(&b"dc1"[..]));
            assert_eq!(row[5].as_deref(), Some(&b"r1"[..]), "the first by name");
            assert_eq!(row[6], None, "nothing is known of it");
        }
        all.extend(rows);
    }
    assert_eq!(all.len(), 3, "a proxy looks the same from all others");
    let ids: BTreeSet<_> = all.iter().map(|row| row[2].clone()).collect();
    let tokens: Vec<_> = all.iter().map(|row| row[3].clone().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    let mut every = Vec::new();
    for cell in &tokens {
        let before = every.len();
        texts(Some(cell), &mut every).unwrap();
        assert!(every.len() - before >= TOKENS_MIN);
    }
    for real in ["-100", "5", "77"] {
        assert!(every.iter().any(|token| &**token == real), "{real}");
    }
    assert!(
        !every.iter().any(|token| &**token == "999"),
        "of another data centre"
    );
    let count = every.len();
    assert_eq!(every.into_iter().collect::<BTreeSet<_>>().len(), count);
}

#[test]
fn the_proxy_itself_is_local() {
    let names = ["me", "host_id", "release_version", "rpc_port"];
    let cells = [
        Some(&[127, 0, 0, 1][..]),
        Some(&[7; 16]),
        Some(b"4.1.10"),
        Some(&[0; 4]),
    ];
    let source = message(&names, &cells, None);
    let text = "SELECT rpc_address AS me, host_id, release_version, rpc_port FROM system.local";
    let (_, rows) = shown(text, &source, 1);
    let expected: [&[u8]; 4] = [
        &[10, 9, 0, 2],
        &host_id(proxies(1).all[1]),
        b"4.1.10",
        &9042i32.to_be_bytes(),
    ];
    let expected: Vec<_> = expected.iter().map(|cell| Some(cell.to_vec())).collect();
    assert_eq!(rows, [expected]);
}

#[test]
fn conditions_count() {
    let source = message(&["peer"], &[], None);
    let of = |text: &str| -> Vec<u8> {
        let (_, rows) = shown(text, &source, 0);
        rows.iter()
            .map(|row| row[0].clone().unwrap()[3])
            .collect::<Vec<_>>()
    };
    assert_eq!(of("SELECT peer FROM system.peers"), [2, 3]);
    assert_eq!(
        of("SELECT peer FROM system.peers WHERE peer = '10.9.0.3'"),
        [3]
    );
    assert_eq!(
        of("SELECT peer FROM system.peers_v2 WHERE peer='10.9.0.3' AND peer_port=7000"),
        [3]
    );
    assert!(
        of("SELECT peer FROM system.peers_v2 WHERE peer='10.9.0.3' AND peer_port=1").is_empty()
    );
    assert_eq!(of("SELECT peer FROM system.peers LIMIT 1"), [2]);
    assert!(
        of("SELECT count(peer) FROM system.peers").is_empty(),
        "not understood"
    );
}

#[test]
fn bound_values_count() {
    let select = PlainSelect::of("SELECT peer FROM peers WHERE peer = :a").unwrap();
    let source = message(&["peer"], &[], None);
    for named in [false, true] {
        let mut params = vec![0, 1, if named { 0x41 } else { 0x01 }, 0, 1];
        if named {
            params.extend_from_slice(&[0, 1, b'a']);
        }
        params.extend_from_slice(&[0, 0, 0, 4, 10, 9, 0, 2]);
        let question = Question {
            table: SystemTable::Peers,
            select: Some(&select),
            params: QueryParams::parse(&params).ok(),
        };
        let mut out = Vec::new();
        let here = (&proxies(0), &facts(0));
        ring().put_rows(&mut out, &question, &source, here).unwrap();
        assert_eq!(Rows::parse(&out).unwrap().row_count, 1);
    }
}

#[test]
fn a_schema_that_differs_is_shown_until_it_is_not() {
    let local = message(&["schema_version"], &[Some(&[1; 16])], None);
    let names = ["data_center", "rack", "tokens", "schema_version"];
    let peers = message(&names, &[None, None, None, Some(&[2; 16])], None);
    let mut ring = Ring::read(&local, &peers, 2).unwrap();
    assert!(!ring.agrees());
    let two = proxies(0);
    assert_eq!(ring.cell(1, "schema_version", &two), Some(vec![2; 16]));
    ring.pretend_to_agree();
    assert_eq!(ring.cell(1, "schema_version", &two), Some(vec![1; 16]));
}

#[test]
fn tokens_are_dealt_evenly_whatever_the_partitioner() {
    let boxed = |texts: &[&str]| texts.iter().map(|t| (*t).into()).collect::<Vec<Box<str>>>();
    for (partitioner, tokens) in [
        (MURMUR3, boxed(&[])),
        (MURMUR3, boxed(&["0"])),
        (
            MURMUR3,
            boxed(&["9223372036854775807", "-9223372036854775808", "x"]),
        ),
        (
            RANDOM,
            boxed(&["170141183460469231731687303715884105726", "0"]),
        ),
    ] {
        let dealt = deal(&tokens, partitioner, 3);
        let all: BTreeSet<_> = dealt.iter().flatten().collect();
        assert!(
            dealt.iter().all(|own| own.len() >= TOKENS_MIN),
            "{tokens:?}"
        );
        assert_eq!(
            all.len(),
            dealt.iter().map(Vec::len).sum::<usize>(),
            "none twice"
        );
        let number = |token: &str| token.parse::<i128>().unwrap();
        if partitioner == MURMUR3 {
            assert!(all.iter().all(|t| i64::try_from(number(t)).is_ok()));
        } else {
            assert!(all.iter().all(|t| number(t) >= 0));
        }
    }
    let ordered = deal(&boxed(&["0b", "0a"]), b"ByteOrderedPartitioner", 3);
    assert!(ordered.iter().all(|own| own.len() == 1));
}

#[test]
fn nonsense_is_an_error_or_nothing() {
    let local = message(&["tokens"], &[Some(&[0, 0, 0, 9, 0, 0, 0, 4])], None);
    let peers = message(&["a", "b", "c", "d"], &[], None);
    assert!(Ring::read(&local, &peers, 2).is_err());
    assert!(Ring::read(&peers, &[0, 0, 0, 1], 2).is_err());
    let wide = message(&["a", "b", "c", "d", "e"], &[None; 5], None);
    assert!(Ring::read(&peers, &wide, 2).is_ok());
}
