//! What is written is read back the same, cut bytes are never taken for whole ones, and no bytes
//! at all make a parser panic.

use core::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use twinring_cql::column_type::UdtType;
use twinring_cql::request::batch::BatchTail;
use twinring_cql::request::{
    self, Batch, BatchEntry, BatchType, Execute, Query, QueryFlags, QueryParams, Request,
};
use twinring_cql::response::event::{StatusChange, TopologyChange};
use twinring_cql::response::metadata::MetadataHead;
use twinring_cql::response::schema_change::{Change, SchemaTarget};
use twinring_cql::response::{
    self, ColumnDef, ErrorBody, ErrorCode, ErrorDetail, Event, PreparedDef, Response, ResultBody,
    SchemaChange, WriteType,
};
use twinring_cql::stamp::Tail;
use twinring_cql::values::{self, Edit};
use twinring_cql::{
    ColumnType, Consistency, DecodeError, Opcode, Reader, Value, Values, Version, Writer,
};

use crate::fuzz;

fn written(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    body(&mut w);
    w.finish().unwrap();
    out
}

/// No beginning of `message` may be read as a whole message.
fn refuses_cuts<T>(message: &[u8], parse: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for end in 0..message.len() {
        assert!(
            parse(&message[..end]).is_err(),
            "cut at {end} of {}",
            message.len()
        );
    }
}

/// A bound value that owns its bytes.
#[derive(Clone, Debug)]
enum OwnedValue {
    Null,
    Unset,
    Bytes(Vec<u8>),
}

impl OwnedValue {
    fn view(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Unset => Value::Unset,
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        Just(OwnedValue::Null),
        Just(OwnedValue::Unset),
        vec(any::<u8>(), 0..20).prop_map(OwnedValue::Bytes),
    ]
}

/// Bound values as bytes, and whether they are named.
fn block() -> impl Strategy<Value = (Vec<u8>, bool)> {
    (any::<bool>(), vec(("[a-zé]{0,6}", value()), 0..8)).prop_map(|(named, list)| {
        let mut block = Vec::new();
        let entries = list
            .iter()
            .map(|(name, v)| (named.then_some(name.as_str()), v.view()));
        values::write(&mut block, entries).unwrap();
        (block, named && !list.is_empty())
    })
}

fn consistency() -> impl Strategy<Value = Consistency> {
    proptest::sample::select(&Consistency::ALL[..])
}

/// The parts of `<query_parameters>`.
#[derive(Clone, Debug)]
struct OwnedParams {
    consistency: Consistency,
    skip_metadata: bool,
    values: Option<(Vec<u8>, bool)>,
    page_size: Option<i32>,
    paging_state: Option<Vec<u8>>,
    serial_consistency: Option<Consistency>,
    timestamp: Option<i64>,
    keyspace: Option<String>,
    now_in_seconds: Option<i32>,
}

impl OwnedParams {
    fn view(&self) -> QueryParams<'_> {
        let values = self.values.as_ref();
        QueryParams {
            flags: QueryFlags::NONE.with_if(self.skip_metadata, QueryFlags::SKIP_METADATA),
            values: values.map(|(block, named)| Values::parse(block, *named).unwrap()),
            page_size: self.page_size,
            paging_state: self.paging_state.as_deref(),
            serial_consistency: self.serial_consistency,
            timestamp: self.timestamp,
            keyspace: self.keyspace.as_deref(),
            now_in_seconds: self.now_in_seconds,
            ..QueryParams::new(self.consistency)
        }
    }
}

fn params() -> impl Strategy<Value = OwnedParams> {
    (
        (
            consistency(),
            any::<bool>(),
            option::of(block()),
            option::of(any::<i32>()),
        ),
        option::of(vec(any::<u8>(), 0..9)),
        option::of(consistency()),
        option::of(any::<i64>()),
        (option::of("[a-zé]{0,9}"), option::of(any::<i32>())),
    )
        .prop_map(
            |(first, paging_state, serial_consistency, timestamp, last)| {
                let (keyspace, now_in_seconds) = last;
                let (consistency, skip_metadata, values, page_size) = first;
                OwnedParams {
                    consistency,
                    skip_metadata,
                    values,
                    page_size,
                    paging_state,
                    serial_consistency,
                    timestamp,
                    keyspace,
                    now_in_seconds,
                }
            },
        )
}

/// Everything but the bytes and offsets that only a parsed view has.
fn same(parsed: &QueryParams<'_>, made: &QueryParams<'_>, version: Version) {
    let fields = |p: &QueryParams<'_>| {
        let skips = p.flags.contains(QueryFlags::SKIP_METADATA);
        let paging_state = p.paging_state.map(<[u8]>::to_vec);
        (
            p.consistency,
            skips,
            p.page_size,
            paging_state,
            p.serial_consistency,
            p.timestamp,
        )
    };
    assert_eq!(fields(parsed), fields(made));
    assert_eq!(parsed.values, made.values);
    let new = |p: &QueryParams<'_>| (p.keyspace.map(str::to_owned), p.now_in_seconds);
    let wanted = if version == Version::V5 {
        new(made)
    } else {
        (None, None)
    };
    assert_eq!(new(parsed), wanted);
}

proptest! {
    #[test]
    fn query_and_execute(text in ".{0,40}", id in vec(any::<u8>(), 0..20), made in params()) {
        let made = made.view();
        for version in [Version::V4, Version::V5] {
            let raw = written(|w| request::query::encode_as(w, version, &text, &made));
            let query = Query::parse_as(&raw, version).unwrap();
            assert_eq!(query.text, text);
            same(&query.params, &made, version);
            assert_eq!(&raw[query.params_at..], query.params.raw);
            refuses_cuts(&raw, |cut| Query::parse_as(cut, version).map(|_| ()));

            let wanted = Execute {
                id: &id,
                result_metadata_id: (version == Version::V5).then_some(&id),
                params: query.params,
                params_at: 0,
            };
            let raw = written(|w| request::execute::encode_as(w, version, &wanted));
            let execute = Execute::parse_as(&raw, version).unwrap();
            assert_eq!(execute.id, id);
            assert_eq!(execute.result_metadata_id, wanted.result_metadata_id);
            same(&execute.params, &made, version);
            refuses_cuts(&raw, |cut| Execute::parse_as(cut, version).map(|_| ()));
        }
    }

    #[test]
    fn a_stamp_changes_nothing_else(made in params(), stamp in any::<i64>()) {
        let made = made.view();
        let wanted = QueryParams { timestamp: Some(stamp), ..made };
        for version in [Version::V4, Version::V5] {
            let raw = written(|w| made.encode_as(w, version));
            let tail = Tail::find(&raw, version).unwrap();
            let mut out = Vec::new();
            tail.put_stamped(&mut out, stamp);
            same(&QueryParams::parse_as(&out, version).unwrap(), &wanted, version);
            // The slow way gives the same bytes.
            let parsed = QueryParams::parse_as(&raw, version).unwrap();
            let mut slow = Vec::new();
            parsed.rewrite_as(&mut slow, version, &[], Some(stamp)).unwrap();
            assert_eq!(out, slow);
            // And so it is for the layout of v4.
            let mut plain = Vec::new();
            tail.put_v4(&mut plain, Some(stamp));
            assert_eq!(plain, written(|w| wanted.encode(w)));
            plain.clear();
            tail.put_v4(&mut plain, None);
            assert_eq!(plain, written(|w| made.encode(w)));
        }
    }

    #[test]
    fn edits_do_what_a_list_would(
        (block, named) in block(),
        edits in vec((any::<bool>(), 0..8_usize, value()), 0..6),
        appended in option::of(value()),
    ) {
        let old = Values::parse(&block, named).unwrap();
        let name = named.then_some("new");
        let mut edits: Vec<_> =
            edits.into_iter().filter(|(_, index, _)| *index < old.len()).collect();
        edits.sort_by_key(|(replace, index, _)| (*index, *replace));
        edits.dedup_by_key(|(replace, index, _)| (*index, *replace));
        let mut list: Vec<Edit<'_>> = edits.iter().map(|(replace, index, v)| match replace {
            true => Edit::Replace { index: *index, value: v.view() },
            false => Edit::Insert { before: *index, name, value: v.view() },
        }).collect();
        list.extend(appended.iter().map(|v| Edit::Append { name, value: v.view() }));

        let mut wanted: Vec<Vec<(Option<&str>, Value<'_>)>> =
            old.iter().map(|bound| vec![(bound.name, bound.value)]).collect();
        for (replace, index, v) in &edits {
            let place = &mut wanted[*index];
            match replace {
                true => place.last_mut().unwrap().1 = v.view(),
                false => place.insert(0, (name, v.view())),
            }
        }
        let end = appended.iter().map(|v| (name, v.view()));
        let wanted: Vec<_> = wanted.into_iter().flatten().chain(end).collect();

        let mut out = Vec::new();
        assert_eq!(values::rewrite(&mut out, Some(old), &list), Ok(named));
        let new = Values::parse(&out, named).unwrap();
        assert_eq!(new.iter().map(|bound| (bound.name, bound.value)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn batch(
        kind in proptest::sample::select(
            &[BatchType::Logged, BatchType::Unlogged, BatchType::Counter][..]),
        entries in vec((option::of(".{0,20}"), vec(any::<u8>(), 0..20), vec(value(), 0..4)), 0..5),
        (consistency, serial, timestamp) in
            (consistency(), option::of(consistency()), option::of(any::<i64>())),
        (keyspace, now_in_seconds) in (option::of("[a-z]{0,9}"), option::of(any::<i32>())),
    ) {
        let blocks: Vec<Vec<u8>> = entries.iter().map(|(_, _, list)| {
            let mut block = Vec::new();
            values::write(&mut block, list.iter().map(|v| (None, v.view()))).unwrap();
            block
        }).collect();
        let made: Vec<_> = entries.iter().zip(&blocks).map(|((text, id, _), block)| {
            let values = Values::parse(block, false).unwrap();
            match text {
                Some(text) => BatchEntry::Text { text, values },
                None => BatchEntry::Prepared { id, values },
            }
        }).collect();
        for version in [Version::V4, Version::V5] {
            let new = version == Version::V5;
            let tail = BatchTail {
                consistency,
                serial_consistency: serial,
                timestamp,
                keyspace: keyspace.as_deref().filter(|_| new),
                now_in_seconds: now_in_seconds.filter(|_| new),
            };
            let entries = made.iter().copied();
            let raw = written(|w| request::batch::encode_as(w, version, kind, entries, &tail));
            let batch = Batch::parse_as(&raw, version).unwrap();
            assert_eq!((batch.kind, BatchTail::from(&batch)), (kind, tail));
            assert!(batch.entries().eq(made.iter().copied()));
            refuses_cuts(&raw, |cut| Batch::parse_as(cut, version).map(|_| ()));
        }
    }

    #[test]
    fn small_requests(
        options in vec(("[A-Z_]{1,9}", ".{0,9}"), 0..5),
        events in vec("[A-Z_]{1,9}", 0..5),
        text in ".{0,40}",
        token in option::of(vec(any::<u8>(), 0..40)),
    ) {
        let pairs = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let names = events.iter().map(String::as_str);
        let messages = [
            (Opcode::Startup, written(|w| request::startup::encode(w, pairs.clone()))),
            (Opcode::Register, written(|w| request::register::encode(w, names.clone()))),
            (Opcode::Prepare, written(|w| request::prepare::encode(w, &text))),
            (Opcode::AuthResponse,
                written(|w| request::auth_response::encode(w, token.as_deref()))),
        ];
        for (opcode, raw) in &messages {
            match Request::parse(*opcode, raw, Version::V4).unwrap().unwrap() {
                Request::Startup(startup) => assert!(startup.options.iter().eq(pairs.clone())),
                Request::Register(register) => assert!(register.events.iter().eq(names.clone())),
                Request::Prepare(prepare) => assert_eq!(prepare.text, text),
                Request::AuthResponse(auth) => assert_eq!(auth.token, token.as_deref()),
                other => panic!("{other:?}"),
            }
            refuses_cuts(raw, |cut| Request::parse(*opcode, cut, Version::V4).map(|_| ()));
        }
    }
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    let leaf = prop_oneof![
        Just(ColumnType::Int),
        Just(ColumnType::Varchar),
        Just(ColumnType::Timeuuid),
        Just(ColumnType::Duration),
        "[a-z.]{0,9}".prop_map(ColumnType::Custom),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|item| ColumnType::List(Box::new(item))),
            inner
                .clone()
                .prop_map(|item| ColumnType::Set(Box::new(item))),
            (inner.clone(), inner.clone())
                .prop_map(|(key, value)| ColumnType::Map(Box::new(key), Box::new(value))),
            vec(inner.clone(), 0..3).prop_map(ColumnType::Tuple),
            ("[a-z]{1,4}", "[a-z]{1,4}", vec(("[a-z]{1,4}", inner), 0..3)).prop_map(
                |(keyspace, name, fields)| {
                    ColumnType::Udt(Box::new(UdtType {
                        keyspace,
                        name,
                        fields,
                    }))
                }
            ),
        ]
    })
}

/// Columns by keyspace, name and type.
fn columns(least: usize) -> impl Strategy<Value = Vec<(String, String, ColumnType)>> {
    vec(("[ab]", "[a-z]{1,5}", column_type()), least..5)
}

fn defs(columns: &[(String, String, ColumnType)]) -> Vec<ColumnDef<'_>> {
    columns
        .iter()
        .map(|(keyspace, name, column_type)| ColumnDef {
            keyspace,
            table: "t",
            name,
            column_type: column_type.clone(),
        })
        .collect()
}

fn same_columns(metadata: &response::Metadata<'_>, wanted: &[ColumnDef<'_>]) {
    let found: Vec<_> = metadata
        .columns()
        .map(|column| ColumnDef {
            keyspace: column.keyspace,
            table: column.table,
            name: column.name,
            column_type: column.column_type.to_type().unwrap(),
        })
        .collect();
    assert_eq!(found, wanted);
}

fn parse_result(raw: &[u8], version: Version) -> Result<ResultBody<'_>, DecodeError> {
    ResultBody::parse(raw, version)
}

proptest! {
    #[test]
    fn rows(
        columns in columns(1),
        paging_state in option::of(vec(any::<u8>(), 0..9)),
        seed in vec(option::of(vec(any::<u8>(), 0..9)), 0..20),
    ) {
        let columns = defs(&columns);
        let count = seed.len() / columns.len();
        let cells = &seed[..count * columns.len()];
        let head =
            MetadataHead { paging_state: paging_state.as_deref(), ..MetadataHead::default() };
        let raw = written(|w| {
            let mut rows = response::rows::encode(w, &head, &columns);
            cells.iter().for_each(|cell| rows.cell(cell.as_deref()));
            rows.finish();
        });
        let ResultBody::Rows(rows) = parse_result(&raw, Version::V4).unwrap() else {
            panic!("no rows");
        };
        rows.check().unwrap();
        same_columns(&rows.metadata, &columns);
        assert_eq!((rows.row_count, rows.metadata.paging_state), (count, head.paging_state));
        let found: Vec<_> = rows.cells().map(|cell| cell.unwrap()).collect();
        assert!(found.iter().map(|cell| cell.bytes).eq(cells.iter().map(Option::as_deref)));
        for cell in &found {
            assert_eq!(Reader::new(&raw[cell.at..]).bytes(), Ok(cell.bytes));
        }
        refuses_cuts(&raw, |cut| match parse_result(cut, Version::V4)? {
            ResultBody::Rows(rows) => rows.check(),
            other => panic!("{other:?}"),
        });
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        let mut rows = response::rows::encode(&mut w, &head, &columns);
        rows.cell(None);
        rows.finish();
        assert_eq!(w.finish().is_ok(), columns.len() == 1, "half a row is an error");
    }

    #[test]
    fn prepared(
        (bind, result) in (columns(0), columns(0)),
        pk_indices in vec(any::<u16>(), 0..3),
        id in vec(any::<u8>(), 0..20),
    ) {
        let (bind, result) = (defs(&bind), defs(&result));
        let def =
            PreparedDef {
                id: &id,
                result_metadata_id: &id,
                pk_indices: &pk_indices,
                bind: &bind,
                result: &result,
            };
        for version in [Version::V3, Version::V4, Version::V5] {
            let raw = written(|w| response::prepared::encode(w, version, &def));
            let ResultBody::Prepared(prepared) = parse_result(&raw, version).unwrap() else {
                panic!("not prepared");
            };
            assert_eq!(prepared.id, id);
            same_columns(&prepared.bind, &bind);
            same_columns(&prepared.result, &result);
            let found: Vec<u16> = prepared.bind.pk_indices().collect();
            assert_eq!(found, if version == Version::V3 { vec![] } else { pk_indices.clone() });
            refuses_cuts(&raw, |cut| parse_result(cut, version).map(|_| ()));
        }
    }

    #[test]
    fn errors(
        which in 0..10_usize,
        message in ".{0,40}",
        (consistency, a, b, failed) in (consistency(), any::<i32>(), any::<i32>(), any::<i32>()),
        (flag, name, id) in (any::<bool>(), "[A-Z_]{1,9}", vec(any::<u8>(), 0..20)),
        types in vec("[a-z]{1,5}", 0..3),
    ) {
        let list = written(|w| w.string_list(types.iter().map(String::as_str)));
        let arg_types = Reader::new(&list).string_list().unwrap();
        let failures = response::error::Failures { count: failed, reasons: None };
        let write_type = WriteType::from_name(&name);
        let (received, block_for, data_present) = (a, b, flag);
        let (code, detail) = [
            (ErrorCode::Invalid, ErrorDetail::None),
            (ErrorCode::Unavailable, ErrorDetail::Unavailable {
                consistency, required: a, alive: b }),
            (ErrorCode::WriteTimeout, ErrorDetail::WriteTimeout {
                consistency, received, block_for, write_type, contentions: None }),
            (ErrorCode::ReadTimeout, ErrorDetail::ReadTimeout {
                consistency, received, block_for, data_present }),
            (ErrorCode::ReadFailure, ErrorDetail::ReadFailure {
                consistency, received, block_for, failures, data_present }),
            (ErrorCode::WriteFailure, ErrorDetail::WriteFailure {
                consistency, received, block_for, failures, write_type }),
            (ErrorCode::CasWriteUnknown, ErrorDetail::CasWriteUnknown {
                consistency, received, block_for }),
            (ErrorCode::FunctionFailure, ErrorDetail::FunctionFailure {
                keyspace: "ks", function: &name, arg_types }),
            (ErrorCode::AlreadyExists, ErrorDetail::AlreadyExists {
                keyspace: "ks", table: &name }),
            (ErrorCode::Unprepared, ErrorDetail::Unprepared { id: &id }),
        ][which];
        let error = ErrorBody { code, message: &message, detail };
        let raw = written(|w| error.encode(w));
        assert_eq!(ErrorBody::parse(&raw, Version::V4), Ok(error));
        assert_eq!(response::peek_error_code(&raw), Ok(code));
        refuses_cuts(&raw, |cut| ErrorBody::parse(cut, Version::V4).map(|_| ()));
    }

    #[test]
    fn events_and_schema_changes(
        address in prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
            (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
        ],
        (keyspace, name) in (".{0,9}", ".{0,9}"),
        types in vec("[a-z]{1,5}", 0..3),
    ) {
        let list = written(|w| w.string_list(types.iter().map(String::as_str)));
        let types = Reader::new(&list).string_list().unwrap();
        let change = |change, target| {
            Event::Schema(SchemaChange { change, keyspace: &keyspace, target })
        };
        let events = [
            Event::Topology(TopologyChange::NewNode, address),
            Event::Topology(TopologyChange::RemovedNode, address),
            Event::Topology(TopologyChange::MovedNode, address),
            Event::Status(StatusChange::Up, address),
            Event::Status(StatusChange::Down, address),
            change(Change::Created, SchemaTarget::Keyspace),
            change(Change::Updated, SchemaTarget::Table(&name)),
            change(Change::Dropped, SchemaTarget::Type(&name)),
            change(Change::Dropped, SchemaTarget::Function(&name, types)),
            change(Change::Created, SchemaTarget::Aggregate(&name, types)),
        ];
        for event in events {
            let raw = written(|w| event.encode(w));
            assert_eq!(Event::parse(&raw), Ok(event));
            refuses_cuts(&raw, |cut| Event::parse(cut).map(|_| ()));
            if let Event::Schema(change) = event {
                let raw = written(|w| response::result::encode_schema_change(w, &change));
                let parsed = parse_result(&raw, Version::V4);
                assert_eq!(parsed, Ok(ResultBody::SchemaChange(change)));
            }
        }
    }

    #[test]
    fn small_responses(
        options in vec(("[A-Z_]{1,9}", vec(".{0,9}", 0..3)), 0..4),
        name in ".{0,40}",
        token in option::of(vec(any::<u8>(), 0..40)),
    ) {
        let lists = || options.iter().map(|(key, values)| {
            (key.as_str(), values.iter().map(String::as_str))
        });
        let token = token.as_deref();
        let messages = [
            (Opcode::Supported, written(|w| response::supported::encode(w, lists()))),
            (Opcode::Authenticate, written(|w| response::authenticate::encode(w, &name))),
            (Opcode::AuthSuccess, written(|w| response::auth::encode(w, token))),
            (Opcode::AuthChallenge, written(|w| response::auth::encode(w, token))),
            (Opcode::Result, written(|w| response::result::encode_set_keyspace(w, &name))),
            (Opcode::Result, written(response::result::encode_void)),
        ];
        for (opcode, raw) in &messages {
            match Response::parse(*opcode, raw, Version::V4).unwrap().unwrap() {
                Response::Supported(supported) => {
                    let found = supported.options.iter();
                    assert!(found.map(|(key, list)| (key, list.iter().collect::<Vec<_>>()))
                        .eq(lists().map(|(key, list)| (key, list.collect()))));
                }
                Response::Authenticate(auth) => assert_eq!(auth.authenticator, name),
                Response::AuthSuccess(auth) | Response::AuthChallenge(auth) => {
                    assert_eq!(auth.token, token);
                }
                Response::Result(ResultBody::SetKeyspace(keyspace)) => assert_eq!(keyspace, name),
                Response::Result(ResultBody::Void) => {}
                other => panic!("{other:?}"),
            }
            refuses_cuts(raw, |cut| Response::parse(*opcode, cut, Version::V4).map(|_| ()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(data in vec(any::<u8>(), 0..200), opcode in 0..=16_u8, version in 3..=5_u8) {
        fuzz::envelope(&data);
        fuzz::compression(&data);
        fuzz::frames(&data);
        fuzz::requests(&[&[version, opcode][..], &data].concat());
        fuzz::responses(&[&[version, opcode][..], &data].concat());
        // Small numbers lead deeper than random ones.
        let low: Vec<u8> = data.iter().map(|byte| byte % 4).collect();
        fuzz::requests(&[&[version, opcode][..], &low].concat());
        fuzz::responses(&[&[version, opcode][..], &low].concat());
    }
}
