//! Sessions against hand-made envelopes: what goes to whom.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::clock::StampClock;
use super::functions::Generator;
use super::output::{News, Output, Tally};
use super::plan::{BindKind, MirrorDdl, Plan, PlanCache, Repeat, Rules};
use super::registry::Registry;
use super::session::{Common, Context, Session, Taken};
use super::spare::SpareWrites;
use super::wanted::Wanted;
use super::write::{Body, Write};
use crate::cql::decoder::{DecodeLimits, split};
use crate::cql::frame::Format;
use crate::cql::request::params::QueryParams;
use crate::cql::response::metadata::ColumnDef;
use crate::cql::response::prepared::{self, PreparedDef};
use crate::cql::response::{Prepared, result};
use crate::cql::{
    ColumnType, Compression, Consistency, Flags, Opcode, Value, Version, Writer, encode, request,
};
use crate::journal::Journal;
use crate::spill::Kind as RecordKind;
use crate::tables::{Column, Known, Role, Shape, Table, Tables};
use crate::topology::{Facts, Offer, Shown};

pub(super) const NOW_US: i64 = 1_700_000_000_000_000;

/// A session with everything that a shard lends it.
pub(super) struct Bench {
    pub session: Session,
    pub common: Common,
    outputs: Vec<Output>,
    pub to_client: Vec<u8>,
    pub to_source: Vec<u8>,
    pub now_us: i64,
}

impl Bench {
    pub fn new() -> Self {
        Self::shown(Shown::Single)
    }

    /// The session of a client that reached the proxy at 10.0.0.9:9042.
    pub fn shown(shown: Shown) -> Self {
        let address: SocketAddr = "10.0.0.9:9042".parse().unwrap();
        let (shown, offer) = (Rc::new(shown), Rc::new(Offer::default()));
        let rules = Rules::default();
        Self {
            now_us: NOW_US,
            session: Session::new(Facts {
                address,
                shown,
                offer,
            }),
            common: Common {
                clock: StampClock::new(0),
                plans: PlanCache::new(rules, 1 << 20),
                registry: Registry::new(100, 1 << 20),
                generator: Generator::new([1; 32]),
                journal: Journal::none(Arc::from([])),
                tally: Tally::default(),
                max_body_bytes: 1 << 20,
                spare: SpareWrites::default(),
                scratch: Vec::new(),
                scratch_frame: Vec::new(),
            },
            outputs: Vec::new(),
            to_client: Vec::new(),
            to_source: Vec::new(),
        }
    }

    pub fn request(&mut self, bytes: &[u8]) -> Taken {
        let envelope = split(bytes, &DecodeLimits::requests(1 << 20))
            .unwrap()
            .unwrap();
        let mut cx = Context {
            now_us: self.now_us,
            to_client: &mut self.to_client,
            to_source: &mut self.to_source,
            outputs: &mut self.outputs,
            common: &mut self.common,
        };
        match self.session.request(&envelope, &mut cx, false) {
            Taken::UnknownId => self.session.request(&envelope, &mut cx, true),
            taken => taken,
        }
    }

    /// An answer that the client sees.
    pub fn answer(&mut self, stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) {
        self.answer_anyhow(stream, opcode, body);
        assert!(!self.to_client.is_empty());
    }

    /// A RESULT that the client may not see.
    pub fn answer_quietly(&mut self, stream: i16, body: impl FnOnce(&mut Writer<'_>)) {
        self.answer_anyhow(stream, Opcode::Result, body);
    }

    pub fn answer_anyhow(
        &mut self,
        stream: i16,
        opcode: Opcode,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        self.answer_with(&envelope(stream, opcode, body));
    }

    pub fn answer_with(&mut self, bytes: &[u8]) {
        let envelope = split(bytes, &DecodeLimits::responses(1 << 20))
            .unwrap()
            .unwrap();
        let mut cx = Context {
            now_us: self.now_us,
            to_client: &mut self.to_client,
            to_source: &mut self.to_source,
            outputs: &mut self.outputs,
            common: &mut self.common,
        };
        self.session.answer(&envelope, &mut cx);
    }

    pub fn applied(&mut self, stream: i16) {
        self.answer(stream, Opcode::Result, result::encode_void);
    }

    pub fn mirrored(&mut self) -> Write {
        match self.outputs.pop() {
            Some(Output::Mirror(write)) => *write,
            other => panic!("not mirrored: {other:?}"),
        }
    }

    fn schema_change(&mut self) -> Write {
        match self.outputs.pop() {
            Some(Output::Schema(write)) => *write,
            other => panic!("no change of the schema: {other:?}"),
        }
    }

    pub fn prepare(&mut self, stream: i16, text: &str, binds: &[(&str, ColumnType)]) {
        self.request(&envelope(stream, Opcode::Prepare, |w| {
            request::prepare::encode(w, text)
        }));
        let columns: Vec<_> = binds
            .iter()
            .map(|(name, t)| column(name, t.clone()))
            .collect();
        let def = PreparedDef {
            id: b"0123456789abcdef",
            result_metadata_id: b"",
            pk_indices: &[0],
            bind: &columns,
            result: &[],
        };
        self.answer(stream, Opcode::Result, |w| {
            prepared::encode(w, Version::V4, &def)
        });
    }
}

pub(super) fn column(name: &str, column_type: ColumnType) -> ColumnDef<'_> {
    ColumnDef {
        keyspace: "ks",
        table: "t",
        name,
        column_type,
    }
}

pub(super) fn envelope(stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::envelope(&mut bytes, Version::V4, Flags::NONE, stream, opcode, body).unwrap();
    bytes
}

pub(super) fn query(stream: i16, text: &str, timestamp: Option<i64>) -> Vec<u8> {
    let params = QueryParams {
        timestamp,
        ..QueryParams::new(Consistency::One)
    };
    envelope(stream, Opcode::Query, |w| {
        request::query::encode(w, text, &params)
    })
}

fn timestamp_sent(to_source: &[u8]) -> Option<i64> {
    let sent = split(to_source, &DecodeLimits::requests(1 << 20))
        .unwrap()
        .unwrap();
    request::Query::parse(sent.body).unwrap().params.timestamp
}

pub(super) fn params_of(write: &Write) -> &[u8] {
    match &write.body {
        Body::Query { params, .. } | Body::Execute { params, .. } => params,
        Body::Batch { tail, .. } => tail,
    }
}

/// A request of v5.
pub(super) fn modern(stream: i16, opcode: Opcode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    // in v5 the flag says nothing; the Java driver sets it
    let (mut bytes, flags) = (Vec::new(), Flags::COMPRESSION);
    encode::envelope(&mut bytes, Version::V5, flags, stream, opcode, body).unwrap();
    bytes
}

#[test]
fn a_request_of_v5_keeps_its_fields_at_the_source_and_is_v4_for_the_target() {
    let mut bench = Bench::new();
    let params = QueryParams {
        keyspace: Some("ks"),
        now_in_seconds: Some(77),
        ..QueryParams::new(Consistency::One)
    };
    let text = "INSERT INTO t (k) VALUES (1)";
    bench.request(&modern(1, Opcode::Query, |w| {
        request::query::encode_as(w, Version::V5, text, &params);
    }));
    let sent = split(&bench.to_source, &DecodeLimits::requests(1 << 20));
    let sent = request::Query::parse_as(sent.unwrap().unwrap().body, Version::V5).unwrap();
    assert_eq!((sent.text, sent.params.keyspace), (text, Some("ks")));
    assert_eq!(sent.params.now_in_seconds, Some(77));
    assert_eq!(sent.params.timestamp, Some(NOW_US));
    bench.applied(1);
    let write = bench.mirrored();
    let kept = QueryParams::parse(params_of(&write)).unwrap();
    assert_eq!((kept.timestamp, kept.keyspace), (Some(NOW_US), None));
    let Body::Query { text, .. } = &write.body else {
        panic!("a text was sent");
    };
    assert_eq!(&**text, "INSERT INTO ks.t (k) VALUES (1)");
    // a batch says its keyspace behind the names that need it
    bench.to_source.clear();
    let entry = request::BatchEntry::Text {
        text: "DELETE FROM t WHERE k = 1",
        values: crate::cql::Values::EMPTY,
    };
    let tail = request::batch::BatchTail {
        consistency: Consistency::One,
        serial_consistency: None,
        timestamp: Some(5),
        keyspace: Some("other"),
        now_in_seconds: None,
    };
    let bytes = modern(2, Opcode::Batch, |w| {
        let kind = request::BatchType::Unlogged;
        request::batch::encode_as(w, Version::V5, kind, [entry], &tail);
    });
    bench.request(&bytes);
    assert_eq!(bench.to_source, bytes, "it has a stamp");
    bench.applied(2);
    let write = bench.mirrored();
    assert_eq!((&*write.keyspace, write.stamp_us), ("other", Some(5)));
    assert_eq!(
        QueryParams::parse(params_of(&write)).unwrap().timestamp,
        Some(5)
    );
}

#[test]
fn frames_begin_when_the_source_accepts_a_startup_of_v5() {
    for (name, format) in [(None, Format::Plain), (Some("LZ4"), Format::Lz4)] {
        let mut bench = Bench::new();
        let mut bytes = Vec::new();
        let (version, flags, opcode) = (Version::V5, Flags::NONE, Opcode::Startup);
        let options = [
            Some(("CQL_VERSION", "3.0.0")),
            name.map(|name| ("COMPRESSION", name)),
        ];
        encode::envelope(&mut bytes, version, flags, 1, opcode, |w| {
            request::startup::encode(w, options.into_iter().flatten());
        })
        .unwrap();
        bench.request(&bytes);
        assert_eq!(bench.session.framing(), None);
        bench.answer(1, Opcode::Authenticate, |w| w.string("some.Authenticator"));
        assert_eq!(bench.session.framing(), Some(format));
    }
}

#[test]
fn a_read_passes_untouched_and_nothing_is_kept() {
    let mut bench = Bench::new();
    let bytes = query(3, "SELECT * FROM ks.t", None);
    assert_eq!(bench.request(&bytes), Taken::Yes);
    assert_eq!(bench.to_source, bytes);
    assert!(!bench.session.owes_verdict());
    assert_eq!(bench.session.unanswered(), 1);
    bench.applied(3);
    assert!(bench.outputs.is_empty());
    assert_eq!(bench.session.unanswered(), 0);
}

#[test]
fn a_write_without_a_stamp_gets_one_for_both() {
    let mut bench = Bench::new();
    bench.request(&query(1, "INSERT INTO ks.t (k) VALUES (1)", None));
    let stamp = timestamp_sent(&bench.to_source).unwrap();
    assert_eq!(stamp, NOW_US);
    bench.applied(1);
    let write = bench.mirrored();
    assert_eq!(write.stamp_us, Some(stamp));
    assert_eq!(
        QueryParams::parse(params_of(&write)).unwrap().timestamp,
        Some(stamp)
    );
}

#[test]
fn the_clients_stamp_stays() {
    let mut bench = Bench::new();
    let bytes = query(1, "UPDATE ks.t SET v=1 WHERE k=1", Some(77));
    bench.request(&bytes);
    assert_eq!(bench.to_source, bytes, "not a byte changes");
    bench.applied(1);
    assert_eq!(bench.mirrored().stamp_us, Some(77));
}

#[test]
fn a_stamp_in_the_text_needs_no_other() {
    let mut bench = Bench::new();
    let bytes = query(1, "INSERT INTO ks.t (k) VALUES (1) USING TIMESTAMP 5", None);
    bench.request(&bytes);
    assert_eq!(bench.to_source, bytes);
    bench.applied(1);
    assert_eq!(bench.mirrored().stamp_us, None);
}

#[test]
fn the_verdict_decides() {
    for (code, mirrored, resolved) in [
        (0x2200, false, false),
        (0x1000, false, false),
        (0x1100, false, true),
        (0x1500, false, true),
    ] {
        let mut bench = Bench::new();
        bench.request(&query(1, "DELETE FROM ks.t WHERE k=1", None));
        bench.answer(1, Opcode::Error, |w| {
            w.int(code);
            w.string("no");
        });
        let found = bench.outputs.pop();
        assert_eq!(
            matches!(found, Some(Output::Mirror(_))),
            mirrored,
            "{code:#x}"
        );
        assert_eq!(
            matches!(found, Some(Output::Resolve(_))),
            resolved,
            "{code:#x}"
        );
    }
}

#[test]
fn a_lost_source_leaves_every_write_in_flight_unresolved() {
    let mut bench = Bench::new();
    bench.request(&query(1, "INSERT INTO ks.t (k) VALUES (1)", None));
    bench.request(&query(2, "SELECT * FROM ks.t", None));
    bench.request(&query(3, "INSERT INTO ks.t (k) VALUES (2)", None));
    bench
        .session
        .source_lost(&mut bench.common.tally, &mut bench.outputs);
    assert_eq!(bench.outputs.len(), 2);
    assert!(
        bench
            .outputs
            .iter()
            .all(|output| matches!(output, Output::Resolve(_)))
    );
}

#[test]
fn unqualified_names_follow_the_session() {
    let mut bench = Bench::new();
    bench.request(&query(1, "USE \"My Ks\"", None));
    bench.answer(1, Opcode::Result, |w| {
        result::encode_set_keyspace(w, "My Ks")
    });
    bench.request(&query(2, "INSERT INTO t (k) VALUES (1)", None));
    bench.applied(2);
    let write = bench.mirrored();
    assert_eq!((&*write.keyspace, &*write.table), ("My Ks", "t"));
    let Body::Query { text, .. } = &write.body else {
        panic!("a text")
    };
    assert_eq!(&**text, "INSERT INTO \"My Ks\".t (k) VALUES (1)");
}

/// What is added and written again right after it has a later stamp.
#[test]
fn columns_are_dropped_at_the_target_as_of_the_request() {
    let text = "ALTER TABLE ks.t DROP v";
    let mut bench = Bench::new();
    bench.request(&query(1, text, None));
    bench.applied(1);
    let as_text = bench.schema_change();
    bench.prepare(2, text, &[]);
    bench.outputs.clear();
    let params = QueryParams::new(Consistency::Quorum);
    bench.request(&envelope(3, Opcode::Execute, |w| {
        request::execute::encode(w, b"0123456789abcdef", &params);
    }));
    bench.applied(3);
    let prepared = bench.schema_change();
    for write in [as_text, prepared] {
        let Body::Query { text, params } = &write.body else {
            panic!("a text")
        };
        assert_eq!(
            **text,
            format!("ALTER TABLE ks.t DROP v USING TIMESTAMP {NOW_US}")
        );
        QueryParams::parse(params).unwrap();
    }
}

#[test]
fn a_prepared_write_is_published_before_its_client_sees_it() {
    let mut bench = Bench::new();
    bench.prepare(
        1,
        "INSERT INTO ks.t (k,v) VALUES (?,?)",
        &[("k", ColumnType::Int), ("v", ColumnType::Int)],
    );
    let Some(Output::Publish(news)) = bench.outputs.pop() else {
        panic!("not published")
    };
    let News::Prepared { id, binds, .. } = *news;
    assert_eq!((&*id, binds.len()), (&b"0123456789abcdef"[..], 2));
    let values = [(None, Value::Bytes(&[0, 0, 0, 1])), (None, Value::Null)];
    let mut block = Vec::new();
    crate::cql::values::write(&mut block, values).unwrap();
    let params = QueryParams {
        values: Some(crate::cql::Values::parse(&block, false).unwrap()),
        ..QueryParams::new(Consistency::Quorum)
    };
    let execute = |stream| {
        envelope(stream, Opcode::Execute, |w| {
            request::execute::encode(w, b"0123456789abcdef", &params);
        })
    };
    bench.request(&execute(9));
    bench.applied(9);
    let write = bench.mirrored();
    let Body::Execute { prepared, params } = &write.body else {
        panic!("prepared")
    };
    assert_eq!(&*prepared.plan.text, "INSERT INTO ks.t (k,v) VALUES (?,?)");
    assert_eq!(
        QueryParams::parse(params).unwrap().timestamp,
        write.stamp_us
    );
    assert_eq!(write.repeat, Repeat::Free);
    // the same id with a later stamp
    bench.request(&execute(9));
    bench.applied(9);
    assert!(bench.mirrored().stamp_us > write.stamp_us);
}

#[test]
fn an_unknown_id_is_answered_with_unprepared() {
    let mut bench = Bench::new();
    let params = QueryParams::new(Consistency::One);
    let bytes = envelope(4, Opcode::Execute, |w| {
        request::execute::encode(w, b"nobody", &params)
    });
    bench.request(&bytes);
    assert!(bench.to_source.is_empty());
    let told = split(&bench.to_client, &DecodeLimits::responses(1 << 20))
        .unwrap()
        .unwrap();
    assert_eq!((told.header.stream, told.header.opcode), (4, Opcode::Error));
    assert_eq!(told.body[..4], 0x2500i32.to_be_bytes());
    assert!(told.body.ends_with(b"\0\x06nobody"));
}

#[test]
fn now_is_one_value_for_both_in_texts() {
    let mut bench = Bench::new();
    bench.request(&query(1, "INSERT INTO ks.t (k,t) VALUES (1,now())", None));
    let sent = split(&bench.to_source, &DecodeLimits::requests(1 << 20))
        .unwrap()
        .unwrap();
    let text = request::Query::parse(sent.body).unwrap().text.to_owned();
    assert!(!text.contains("now()"), "{text}");
    bench.applied(1);
    let write = bench.mirrored();
    let Body::Query { text: mirrored, .. } = &write.body else {
        panic!("a text")
    };
    assert_eq!(**mirrored, *text);
}

#[test]
fn now_is_a_hidden_marker_in_prepared_statements() {
    let mut bench = Bench::new();
    let text = "INSERT INTO ks.t (t,k) VALUES (now(),?)";
    bench.prepare(
        1,
        text,
        &[("t", ColumnType::Timeuuid), ("k", ColumnType::Int)],
    );
    let sent = split(&bench.to_source, &DecodeLimits::requests(1 << 20))
        .unwrap()
        .unwrap();
    assert!(!String::from_utf8_lossy(sent.body).contains("now"));
    let told = split(&bench.to_client, &DecodeLimits::responses(1 << 20))
        .unwrap()
        .unwrap();
    let told = Prepared::parse(told.body, Version::V4).unwrap();
    let names: Vec<_> = told.bind.columns().map(|column| column.name).collect();
    assert_eq!(names, ["k"]);
    assert_eq!(
        told.bind.pk_indices().len(),
        0,
        "the key is made by the proxy"
    );

    bench.to_source.clear();
    let mut block = Vec::new();
    crate::cql::values::write(&mut block, [(None, Value::Bytes(&[0, 0, 0, 7]))]).unwrap();
    let params = QueryParams {
        values: Some(crate::cql::Values::parse(&block, false).unwrap()),
        ..QueryParams::new(Consistency::One)
    };
    bench.request(&envelope(2, Opcode::Execute, |w| {
        request::execute::encode(w, b"0123456789abcdef", &params);
    }));
    let sent = split(&bench.to_source, &DecodeLimits::requests(1 << 20))
        .unwrap()
        .unwrap();
    let sent = request::Execute::parse(sent.body).unwrap();
    let values: Vec<_> = sent
        .params
        .values
        .unwrap()
        .iter()
        .map(|b| b.value)
        .collect();
    assert!(matches!(values[0], Value::Bytes(uuid) if uuid.len() == 16));
    assert_eq!(values[1], Value::Bytes(&[0, 0, 0, 7]));
    let raw = sent.params.raw.to_vec();
    bench.applied(2);
    assert_eq!(
        params_of(&bench.mirrored()),
        raw,
        "the target gets the same bytes"
    );
}

/// What a client wrote as `?` it may bind by the column's name.
#[test]
fn hidden_markers_have_the_servers_name_where_values_have_names() {
    let mut bench = Bench::new();
    let text = "INSERT INTO ks.t (k,t,v) VALUES (?,now(),?)";
    let binds = [
        ("k", ColumnType::Int),
        ("(timeuuid)?", ColumnType::Timeuuid),
        ("v", ColumnType::Int),
    ];
    bench.prepare(1, text, &binds);
    for named in [true, false] {
        bench.to_source.clear();
        let mut block = Vec::new();
        let name = |name: &'static str| named.then_some(name);
        let (one, two) = (Value::Bytes(&[0, 0, 0, 1]), Value::Bytes(&[0, 0, 0, 2]));
        let given = match named {
            true => [(name("v"), two), (name("k"), one)],
            false => [(None, one), (None, two)],
        };
        crate::cql::values::write(&mut block, given).unwrap();
        let params = QueryParams {
            values: Some(crate::cql::Values::parse(&block, named).unwrap()),
            ..QueryParams::new(Consistency::One)
        };
        bench.request(&envelope(2, Opcode::Execute, |w| {
            request::execute::encode(w, b"0123456789abcdef", &params);
        }));
        let limits = DecodeLimits::requests(1 << 20);
        let sent = split(&bench.to_source, &limits).unwrap().unwrap();
        let sent = request::Execute::parse(sent.body).unwrap();
        let values = sent.params.values.unwrap();
        let mut found: Vec<_> = values
            .iter()
            .map(|bound| (bound.name, bound.value))
            .collect();
        let made = found.remove(1);
        assert_eq!(found, given);
        assert_eq!(made.0, name("(timeuuid)?"));
        assert!(matches!(made.1, Value::Bytes(uuid) if uuid.len() == 16));
        bench.applied(2);
        bench.mirrored();
    }
}

#[test]
fn compressed_requests_are_looked_into() {
    let mut bench = Bench::new();
    bench.request(&envelope(0, Opcode::Startup, |w| {
        request::startup::encode(w, [("CQL_VERSION", "3.0.0"), ("COMPRESSION", "LZ4")]);
    }));
    bench.to_source.clear();
    let plain = query(1, "INSERT INTO ks.t (k) VALUES (1)", None);
    let mut body = Vec::new();
    Compression::Lz4.compress(&plain[9..], &mut body).unwrap();
    let mut bytes = Vec::new();
    encode::envelope(
        &mut bytes,
        Version::V4,
        Flags::COMPRESSION,
        1,
        Opcode::Query,
        |w| w.raw(&body),
    )
    .unwrap();
    bench.request(&bytes);
    assert_eq!(timestamp_sent(&bench.to_source), Some(NOW_US));
}

#[test]
fn what_cannot_be_read_is_passed_on() {
    let mut bench = Bench::new();
    let bytes = envelope(1, Opcode::Execute, |w| w.raw(&[0xFF, 0xFF, 1]));
    assert_eq!(bench.request(&bytes), Taken::Yes);
    assert_eq!(bench.to_source, bytes);
    assert_eq!(bench.common.tally.opaque, 1);
    bench.answer(1, Opcode::Error, |w| {
        w.int(0x2200);
        w.string("no");
    });
    assert_eq!(
        bench.common.tally.opaque_applied, 0,
        "the source refused it"
    );
    bench.request(&bytes);
    bench.applied(1);
    assert_eq!(bench.common.tally.opaque_applied, 1);
}

#[test]
fn conditional_writes_are_the_sources_alone() {
    let mut bench = Bench::new();
    let bytes = query(1, "INSERT INTO ks.t (k) VALUES (1) IF NOT EXISTS", None);
    bench.request(&bytes);
    assert_eq!(bench.to_source, bytes, "never stamped");
    bench.answer(1, Opcode::Error, |w| {
        w.int(0x2200);
        w.string("no");
    });
    assert!(bench.outputs.is_empty());
}

#[test]
fn how_often_a_write_may_be_sent() {
    let rules = Rules::default();
    let cases = [
        (
            "UPDATE ks.c SET n = n + 1 WHERE k=1",
            &[][..],
            Repeat::Once,
            RecordKind::Counter,
        ),
        (
            "UPDATE ks.t SET l = l + [1] WHERE k=1",
            &[],
            Repeat::Once,
            RecordKind::List,
        ),
        (
            "UPDATE ks.t SET l = [1] WHERE k=1",
            &[],
            Repeat::Bump,
            RecordKind::List,
        ),
        (
            "UPDATE ks.t SET s = s + {1} WHERE k=1",
            &[],
            Repeat::Free,
            RecordKind::Write,
        ),
        (
            "UPDATE ks.t SET l = l + ? WHERE k=?",
            &[BindKind::List, BindKind::Other],
            Repeat::Once,
            RecordKind::List,
        ),
        (
            "UPDATE ks.t SET s = s + ? WHERE k=?",
            &[BindKind::Other, BindKind::Other],
            Repeat::Free,
            RecordKind::Write,
        ),
        (
            "INSERT INTO ks.t (k,l) VALUES (?,?)",
            &[BindKind::Other, BindKind::List],
            Repeat::Bump,
            RecordKind::List,
        ),
        (
            "INSERT INTO ks.t (k,v) VALUES (?,?)",
            &[BindKind::Other, BindKind::Other],
            Repeat::Free,
            RecordKind::Write,
        ),
        (
            "UPDATE ks.c SET n += ? WHERE k=?",
            &[BindKind::Counter, BindKind::Other],
            Repeat::Once,
            RecordKind::Counter,
        ),
    ];
    for (text, binds, repeat, kind) in cases {
        let plan = Plan::new(text, None, binds.into(), &rules, &Known::default());
        assert_eq!((plan.repeat, plan.kind), (repeat, kind), "{text}");
    }
}

/// A snapshot in which `ks.t` has a list, a set, a counter-free rest and a time to live.
pub(super) fn known(source_ttl_s: u32, target_ttl_s: u32) -> Arc<Known> {
    let column = |name: &str, role, shape| Column {
        name: name.into(),
        role,
        shape,
    };
    let side = |default_ttl_s| {
        let mut tables = Tables::default();
        let table = Table {
            columns: vec![
                column("k", Role::Partition, Shape::Single),
                column("l", Role::Regular, Shape::List),
                column("m", Role::Regular, Shape::Map),
                column("n", Role::Regular, Shape::Counter),
                column("f", Role::Regular, Shape::Single),
            ],
            default_ttl_s,
            gc_grace_s: 10,
            ..Table::default()
        };
        tables.add("ks", "t", table);
        let plain = Table {
            columns: vec![column("k", Role::Partition, Shape::Single)],
            ..Table::default()
        };
        tables.add("ks", "plain", plain);
        Arc::new(tables)
    };
    Arc::new(Known {
        source: side(source_ttl_s),
        target: side(target_ttl_s),
    })
}

#[test]
fn the_columns_types_decide_where_the_text_does_not() {
    let rules = Rules::default();
    let (list, write) = (RecordKind::List, RecordKind::Write);
    for (text, repeat, kind) in [
        ("UPDATE ks.t SET l = ? WHERE k=1", Repeat::Bump, list),
        ("UPDATE ks.t SET m = ? WHERE k=1", Repeat::Free, write),
        ("UPDATE ks.t SET l = l + ? WHERE k=1", Repeat::Once, list),
        ("UPDATE ks.t SET m = m + ? WHERE k=1", Repeat::Free, write),
        ("UPDATE ks.t SET m[1] = 2 WHERE k=1", Repeat::Free, write),
        ("DELETE m[?] FROM ks.t WHERE k=1", Repeat::Free, write),
        ("DELETE l[0] FROM ks.t WHERE k=1", Repeat::Once, list),
        ("UPDATE ks.t SET f = [1] WHERE k=1", Repeat::Free, write),
        // an operation by index behind it must find the list gone
        ("UPDATE ks.t SET l = null WHERE k=1", Repeat::Bump, list),
        ("UPDATE ks.t SET m = null WHERE k=1", Repeat::Free, write),
        ("INSERT INTO ks.t JSON '{\"k\":1}'", Repeat::Bump, list),
        ("INSERT INTO ks.t JSON '{\"l\":[1]}'", Repeat::Bump, list),
        (
            "INSERT INTO ks.plain JSON '{\"k\":[1]}'",
            Repeat::Free,
            write,
        ),
        (
            "UPDATE ks.t SET n = n + ? WHERE k=1",
            Repeat::Once,
            RecordKind::Counter,
        ),
    ] {
        let plan = Plan::new(text, None, Box::default(), &rules, &known(0, 0));
        assert_eq!((plan.repeat, plan.kind), (repeat, kind), "{text}");
    }
}

#[test]
fn keyspaces_are_replicated_as_the_operator_wants() {
    let rules = Rules {
        mirror_ddl: MirrorDdl::All,
        replication: Some("{'class':'NetworkTopologyStrategy','dc9':3}".to_owned()),
        filter: None,
        wanted: Wanted::default(),
    };
    let text =
        "CREATE KEYSPACE k WITH replication = {'class':'SimpleStrategy'} AND durable_writes=true";
    let plan = Plan::new(text, None, Box::default(), &rules, &Known::default());
    assert_eq!(
        &*plan.target_text,
        "CREATE KEYSPACE k WITH replication = {'class':'NetworkTopologyStrategy','dc9':3} AND \
         durable_writes=true"
    );
}
