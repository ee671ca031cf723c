//! A link to a node: which version is spoken, and how a write looks in it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::rc::Rc;

use super::link::{Credentials, Link, LinkEvent, Sent};
use super::plan::{PlanCache, Rules};
use super::registry::Registry;
use super::write::{Body, Child, ChildStatement, Write};
use crate::cql::decoder::{DecodeLimits, split};
use crate::cql::request::{Batch, Execute, Prepare, Query, QueryParams};
use crate::cql::response::prepared::{self, PreparedDef};
use crate::cql::response::{ErrorBody, ErrorCode, auth, supported};
use crate::cql::{Consistency, Flags, Opcode, Version, Writer, encode};
use crate::spill::Kind;

const NOW_US: i64 = 1_700_000_000_250_000;
const NOW_S: i32 = 1_700_000_000;
/// Consistency ONE, a timestamp (7 µs).
const STAMPED: [u8; 11] = [0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 7];
const TEXT: &str = "INSERT INTO ks.t (k) VALUES (1)";

struct Node {
    link: Link,
    events: Vec<LinkEvent>,
}

impl Node {
    fn new(newest: Version) -> Self {
        Self {
            link: Link::new(newest, None, 16, 16, NOW_US),
            events: Vec::new(),
        }
    }

    /// The one request that waits to be sent: version, opcode, stream and message.
    fn asked(&mut self) -> (u8, Opcode, i16, Vec<u8>) {
        let bytes = std::mem::take(&mut self.link.out);
        let limits = DecodeLimits::requests(1 << 20);
        let envelope = split(&bytes, &limits).unwrap().expect("a request");
        assert_eq!(envelope.raw.len(), bytes.len(), "one request");
        let header = envelope.header;
        (
            header.version,
            header.opcode,
            header.stream,
            envelope.body.to_vec(),
        )
    }

    fn answer(&mut self, stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        let version = self.link.version();
        encode::envelope(&mut bytes, version, Flags::NONE, stream, opcode, body).unwrap();
        let limits = DecodeLimits::responses(1 << 20);
        let envelope = split(&bytes, &limits).unwrap().unwrap();
        self.link.handle(&envelope, NOW_US, &mut self.events);
    }

    /// Answers OPTIONS, and gives the version of the STARTUP that follows.
    fn starts_in(&mut self, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) -> u8 {
        let (version, asked, stream, _) = self.asked();
        assert_eq!((version, asked), (4, Opcode::Options));
        self.answer(stream, opcode, body);
        let (version, asked, stream, _) = self.asked();
        assert_eq!(asked, Opcode::Startup);
        assert!(!self.link.is_framed());
        self.answer(stream, Opcode::Ready, |_| {});
        assert_eq!(self.events, [LinkEvent::Ready]);
        assert_eq!(self.link.is_framed(), version == 5);
        self.events.clear();
        version
    }

    fn ready(newest: Version) -> Self {
        let mut node = Self::new(newest);
        if newest == Version::V5 {
            assert_eq!(
                node.starts_in(Opcode::Supported, names(&["4/v4", "5/v5"])),
                5
            );
        } else {
            let (_, asked, stream, _) = node.asked();
            assert_eq!(asked, Opcode::Startup);
            node.answer(stream, Opcode::Ready, |_| {});
            node.events.clear();
        }
        node
    }

    fn sends(&mut self, write: &Write, now_us: i64) -> (Opcode, Vec<u8>) {
        let second = match self.link.version() {
            Version::V5 => write.now_in_seconds(now_us),
            _ => None,
        };
        assert_eq!(self.link.send(1, write, second, now_us), Sent::Now);
        let (version, opcode, _, message) = self.asked();
        assert_eq!(version, self.link.version().number());
        (opcode, message)
    }
}

fn names(versions: &'static [&'static str]) -> impl FnOnce(&mut Writer<'_>) {
    |w| {
        let all = [
            ("PROTOCOL_VERSIONS", versions.to_vec()),
            ("CQL_VERSION", vec!["3.4.5"]),
        ];
        supported::encode(w, all);
    }
}

fn text(params: &[u8]) -> Body {
    Body::Query {
        text: TEXT.into(),
        params: params.to_vec(),
    }
}

#[test]
fn v5_is_spoken_where_it_is_named() {
    let version =
        |opcode, body: &dyn Fn(&mut Writer<'_>)| Node::new(Version::V5).starts_in(opcode, body);
    let named = |versions: &'static [&'static str]| {
        version(Opcode::Supported, &move |w: &mut Writer<'_>| {
            names(versions)(w)
        })
    };
    assert_eq!(named(&["3/v3", "4/v4", "5/v5", "6/v6-beta"]), 5);
    assert_eq!(named(&["3/v3", "4/v4", "5/v5-beta"]), 4); // Cassandra 3.11
    assert_eq!(named(&[]), 4);
    let silent = |w: &mut Writer<'_>| supported::encode(w, [("CQL_VERSION", ["3.4.5"])]);
    assert_eq!(version(Opcode::Supported, &silent), 4);
    let error = |w: &mut Writer<'_>| ErrorBody::new(ErrorCode::Server, "what?").encode(w);
    assert_eq!(version(Opcode::Error, &error), 4);
    let (version, asked, ..) = Node::new(Version::V4).asked();
    assert_eq!((version, asked), (4, Opcode::Startup), "nothing is asked");
}

#[test]
fn a_text_is_put_in_the_version_of_its_node() {
    let write = Write::new(NOW_US, "ks", "t", text(&STAMPED));
    let (_, v4) = Node::ready(Version::V4).sends(&write, NOW_US);
    assert_eq!(Query::split(&v4).unwrap(), (TEXT, &STAMPED[..]));

    let (_, v5) = Node::ready(Version::V5).sends(&write, NOW_US + 5_000_000);
    let query = Query::parse_as(&v5, Version::V5).unwrap();
    assert_eq!(query.text, TEXT);
    assert_eq!(query.params.timestamp, Some(7));
    assert_eq!(query.params.now_in_seconds, Some(NOW_S));
}

#[test]
fn a_target_may_be_asked_for_a_level_of_its_own() {
    let write = Write::new(NOW_US, "ks", "t", text(&STAMPED));
    let asked = |newest, level| {
        let mut node = Node::ready(newest);
        node.link = node.link.at_level(level);
        let (_, message) = node.sends(&write, NOW_US);
        let params = Query::parse_as(&message, newest).unwrap().params;
        (params.consistency, params.timestamp)
    };
    let (one, more) = (Consistency::One, Consistency::LocalQuorum);
    for newest in [Version::V4, Version::V5] {
        assert_eq!(asked(newest, None), (one, Some(7)));
        assert_eq!(asked(newest, Some(more)), (more, Some(7)));
    }
    let body = Body::Batch {
        kind: 0,
        children: Vec::new(),
        values: Vec::new(),
        tail: STAMPED.to_vec(),
    };
    let mut node = Node::ready(Version::V4);
    node.link = node.link.at_level(Some(more));
    let (_, message) = node.sends(&Write::new(NOW_US, "ks", "t", body), NOW_US);
    let batch = Batch::parse(&message).unwrap();
    assert_eq!((batch.consistency, batch.timestamp), (more, Some(7)));
}

#[test]
fn a_prepared_statement_takes_both_its_ids_along() {
    let plan = PlanCache::new(Rules::default(), 1 << 20).plan(TEXT, None);
    let mut registry = Registry::new(10, 1 << 20);
    registry.insert(b"source", plan.clone());
    let prepared = registry.get(b"source").unwrap().clone();
    let body = Body::Execute {
        prepared: Rc::clone(&prepared),
        params: STAMPED.to_vec(),
    };
    let write = Write::new(NOW_US, "ks", "t", body);
    for newest in [Version::V4, Version::V5] {
        let mut node = Node::ready(newest);
        assert_eq!(node.link.send(1, &write, None, NOW_US), Sent::Parked);
        let (_, opcode, stream, message) = node.asked();
        assert_eq!(opcode, Opcode::Prepare);
        let prepare = Prepare::parse_as(&message, newest).unwrap();
        assert_eq!((prepare.text, prepare.keyspace), (TEXT, None));
        node.answer(stream, Opcode::Result, |w| {
            let (id, result_metadata_id) = (&b"target"[..], &b"columns"[..]);
            let pk_indices = &[];
            let (bind, result) = (&[][..], &[][..]);
            let answer = PreparedDef {
                id,
                result_metadata_id,
                pk_indices,
                bind,
                result,
            };
            prepared::encode(w, newest, &answer);
        });
        assert_eq!(node.events, [LinkEvent::Unparked(1)]);
        let (opcode, message) = node.sends(&write, NOW_US);
        assert_eq!(opcode, Opcode::Execute);
        let execute = Execute::parse_as(&message, newest).unwrap();
        let columns = (newest == Version::V5).then_some(&b"columns"[..]);
        assert_eq!(
            (execute.id, execute.result_metadata_id),
            (&b"target"[..], columns)
        );
        assert_eq!(execute.params.timestamp, Some(7));

        // in a batch by the first alone, beside a text
        let child = |statement, values| Child { statement, values };
        let body = Body::Batch {
            kind: 1,
            children: vec![
                child(ChildStatement::Prepared(Rc::clone(&prepared)), 0..2),
                child(ChildStatement::Text(plan.clone()), 0..2),
            ],
            values: vec![0, 0],
            tail: STAMPED.to_vec(),
        };
        let batch = Write::new(NOW_US, "ks", "t", body);
        let (opcode, message) = node.sends(&batch, NOW_US);
        assert_eq!(opcode, Opcode::Batch);
        let batch = Batch::parse_as(&message, newest).unwrap();
        assert_eq!((batch.entries().count(), batch.timestamp), (2, Some(7)));
        let second = (newest == Version::V5).then_some(NOW_S);
        assert_eq!(batch.now_in_seconds, second);
    }
}

#[test]
fn only_what_may_be_is_dated_back() {
    let mut node = Node::ready(Version::V5);
    let second = |node: &mut Node, write: &Write, now_us| {
        let (_, message) = node.sends(write, now_us);
        let params = Query::split(&message).unwrap().1;
        QueryParams::parse_as(params, Version::V5)
            .unwrap()
            .now_in_seconds
    };
    let (soon_us, late_us) = (NOW_US + 59_000_000, NOW_US + 61_000_000);
    let mut write = Write::new(NOW_US, "ks", "t", text(&STAMPED));
    assert_eq!(second(&mut node, &write, late_us), Some(NOW_S));
    write.aged_s = 40; // of its TTL this much is gone already
    assert_eq!(second(&mut node, &write, late_us), Some(NOW_S + 40));
    write.aged_s = 0;
    write.deletes = true;
    assert_eq!(second(&mut node, &write, soon_us), Some(NOW_S));
    assert_eq!(second(&mut node, &write, late_us), None);
    write.deletes = false;
    write.kind = Kind::Ddl;
    assert_eq!(second(&mut node, &write, NOW_US), None);
}

/// What the client bound goes on after the flags, whatever else follows.
#[test]
fn bound_values_keep_their_place() {
    let bound = [
        0,
        1,
        0x01 | 0x20,
        0,
        1,
        0,
        0,
        0,
        2,
        8,
        9,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        7,
    ];
    let write = Write::new(NOW_US, "ks", "t", text(&bound));
    let (_, message) = Node::ready(Version::V5).sends(&write, NOW_US);
    let v5 = Query::parse_as(&message, Version::V5).unwrap().params;
    assert_eq!(v5.values.unwrap().iter().count(), 1);
    assert_eq!((v5.timestamp, v5.now_in_seconds), (Some(7), Some(NOW_S)));
}

/// A node that asks for a login; what it asks next, and what is said to that.
fn logs_in(class: &str, challenge: Option<&[u8]>) -> (Vec<Vec<u8>>, Vec<LinkEvent>) {
    let credentials = Credentials {
        user: (*b"bob").into(),
        password: (*b"sesame").into(),
    };
    let mut node = Node {
        link: Link::new(Version::V4, Some(credentials), 16, 16, NOW_US),
        events: Vec::new(),
    };
    let (_, _, stream, _) = node.asked();
    node.answer(stream, Opcode::Authenticate, |w| w.string(class));
    let mut said = Vec::new();
    let (_, opcode, stream, message) = node.asked();
    assert_eq!(opcode, Opcode::AuthResponse);
    said.push(message[4..].to_vec());
    if let Some(challenge) = challenge {
        node.answer(stream, Opcode::AuthChallenge, |w| {
            auth::encode(w, Some(challenge))
        });
        if !node.link.out.is_empty() {
            said.push(node.asked().3[4..].to_vec());
        }
    }
    (said, node.events)
}

#[test]
fn a_login_is_plain_or_none() {
    let token = b"\0bob\0sesame".to_vec();
    let (said, events) = logs_in("org.apache.cassandra.auth.PasswordAuthenticator", None);
    assert_eq!((said, events), (vec![token.clone()], vec![]));
    let dse = "com.datastax.bdp.cassandra.auth.DseAuthenticator";
    let (said, events) = logs_in(dse, Some(b"PLAIN-START"));
    assert_eq!(
        (said, events),
        (vec![b"PLAIN".to_vec(), token.clone()], vec![])
    );
    // it is not told the password again and again
    let (said, events) = logs_in("com.example.Other", Some(b"more"));
    assert_eq!(said, [token]);
    assert!(matches!(&events[..], [LinkEvent::Broken(_)]), "{events:?}");
}
