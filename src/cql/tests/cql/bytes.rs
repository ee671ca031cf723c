//! Bytes written by hand.

use twinring_cql::decoder::{self, DecodeLimits};
use twinring_cql::encode;
use twinring_cql::request::{self, Batch, BatchEntry, BatchType, Execute, Query, QueryParams};
use twinring_cql::response::{self, ErrorBody, ErrorCode, ErrorDetail, ResultBody, WriteType};
use twinring_cql::stamp::Tail;
use twinring_cql::values::{self, Edit};
use twinring_cql::{
    ColumnType, Compression, Consistency, EncodeError, EnvelopeError, Flags, HEADER_LEN, Opcode,
    Value, Values, Version, Writer,
};

fn query_bytes() -> Vec<u8> {
    let mut out = Vec::new();
    encode::envelope(&mut out, Version::V4, Flags::NONE, 7, Opcode::Query, |w| {
        request::query::encode(w, "SELECT 1", &QueryParams::new(Consistency::Quorum));
    })
    .unwrap();
    out
}

#[test]
fn an_envelope_has_the_bytes_of_the_specification() {
    let bytes = query_bytes();
    let wanted = b"\x04\x00\x00\x07\x07\x00\x00\x00\x0F\x00\x00\x00\x08SELECT 1\x00\x04\x00";
    assert_eq!(bytes, wanted);
}

#[test]
fn split_waits_for_the_last_byte_and_says_how_many_are_missing() {
    let bytes = query_bytes();
    let limits = DecodeLimits::requests(1 << 20);
    for end in 0..bytes.len() {
        let part = &bytes[..end];
        assert_eq!(decoder::split(part, &limits), Ok(None), "{end}");
        let missing = decoder::missing(part, &limits).unwrap();
        let known = if end < HEADER_LEN {
            HEADER_LEN
        } else {
            bytes.len()
        };
        assert_eq!(missing, known - end);
    }
    let mut twice = bytes.clone();
    twice.extend_from_slice(&bytes);
    let envelope = decoder::split(&twice, &limits).unwrap().unwrap();
    assert_eq!(envelope.raw, bytes);
    let query = Query::parse(envelope.request_body().unwrap().message).unwrap();
    assert_eq!(
        (query.text, query.params.consistency),
        ("SELECT 1", Consistency::Quorum)
    );
}

#[test]
fn headers_that_end_the_conversation_say_what_an_answer_needs() {
    let limits = DecodeLimits::requests(16);
    let split = |bytes: &[u8]| decoder::split(bytes, &limits).unwrap_err();
    let (version, stream) = (4, 0x0102);
    assert_eq!(
        split(b"\x06\x00\x01\x02"),
        EnvelopeError::UnsupportedVersion {
            version_byte: 6,
            stream,
            newest: Version::V5
        }
    );
    // v1 and v2 have a stream of one byte and a header of eight.
    assert_eq!(
        split(b"\x02\x00\xFF\x05\x00\x00\x00\x00"),
        EnvelopeError::UnsupportedVersion {
            version_byte: 2,
            stream: -1,
            newest: Version::V5
        }
    );
    assert_eq!(
        split(b"GET / HTTP/1.1\r\n"),
        EnvelopeError::UnsupportedVersion {
            version_byte: b'G',
            stream: 0x5420,
            newest: Version::V5
        }
    );
    assert_eq!(
        split(b"\x84\x00\x01\x02\x07\x00\x00\x00\x00"),
        EnvelopeError::WrongDirection {
            version_byte: 0x84,
            stream
        }
    );
    assert_eq!(
        split(b"\x04\x00\x01\x02\x04\x00\x00\x00\x00"),
        EnvelopeError::UnknownOpcode {
            version,
            stream,
            opcode: 4
        }
    );
    assert_eq!(
        split(b"\x04\x00\x01\x02\x08\x00\x00\x00\x00"),
        EnvelopeError::WrongOpcode {
            version,
            stream,
            opcode: 8
        }
    );
    assert_eq!(
        split(b"\x04\x00\x01\x02\x07\xFF\xFF\xFF\xFF"),
        EnvelopeError::NegativeLength {
            version,
            stream,
            length: -1
        }
    );
    assert_eq!(
        split(b"\x04\x00\x01\x02\x07\x00\x00\x00\x11"),
        EnvelopeError::TooLarge {
            version,
            stream,
            length: 17,
            limit: 16
        }
    );
}

fn some_values(named: bool) -> Vec<u8> {
    let name = |text: &'static str| named.then_some(text);
    let mut block = Vec::new();
    let list = [
        (name("a"), Value::Bytes(b"one")),
        (name("b"), Value::Null),
        (name("c"), Value::Unset),
        (name("d"), Value::Bytes(b"")),
    ];
    values::write(&mut block, list).unwrap();
    block
}

fn full_params(block: &[u8], named: bool) -> QueryParams<'_> {
    QueryParams {
        values: Some(Values::parse(block, named).unwrap()),
        page_size: Some(5000),
        paging_state: Some(b"state"),
        serial_consistency: Some(Consistency::LocalSerial),
        timestamp: Some(-1),
        flags: request::QueryFlags::SKIP_METADATA,
        ..QueryParams::new(Consistency::LocalOne)
    }
}

fn encoded(params: &QueryParams<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    params.encode(&mut w);
    w.finish().unwrap();
    out
}

#[test]
fn parameters_keep_all_fields_and_refuse_every_cut() {
    for named in [false, true] {
        let block = some_values(named);
        let params = full_params(&block, named);
        let raw = encoded(&params);
        let back = QueryParams::parse(&raw).unwrap();
        assert_eq!(back.values, params.values);
        assert_eq!(back.paging_state, params.paging_state);
        assert_eq!(back.serial_consistency, params.serial_consistency);
        assert_eq!((back.page_size, back.timestamp), (Some(5000), Some(-1)));
        assert_eq!(encoded(&back), raw);
        for end in 0..raw.len() {
            assert!(QueryParams::parse(&raw[..end]).is_err(), "{end}");
        }
        let mut longer = raw;
        longer.push(0);
        assert!(QueryParams::parse(&longer).is_err());
    }
}

#[test]
fn a_stamp_is_appended_once_and_then_replaced() {
    let block = some_values(false);
    let plain = QueryParams {
        timestamp: None,
        ..full_params(&block, false)
    };
    let raw = encoded(&plain);
    let tail = |raw| Tail::find(raw, Version::V4);
    assert_eq!(tail(&raw).unwrap().timestamp, None);
    let mut out = b"before".to_vec();
    tail(&raw).unwrap().put_stamped(&mut out, 1234);
    let stamped = out.split_off(6);
    assert_eq!(
        stamped,
        encoded(&QueryParams {
            timestamp: Some(1234),
            ..plain
        })
    );
    assert_eq!(tail(&stamped).unwrap().timestamp, Some(1234));
    tail(&stamped).unwrap().put_stamped(&mut out, 99);
    assert_eq!(
        out[6..],
        encoded(&QueryParams {
            timestamp: Some(99),
            ..plain
        })
    );
    assert!(tail(b"\0\x01\x80").is_err(), "a flag of v5");
}

/// A marker with a name takes a value by place too, and one named value can stand for several
/// markers.
#[test]
fn added_values_go_where_their_markers_are() {
    let insert = |before| Edit::Insert {
        before,
        name: Some("added"),
        value: Value::Bytes(b"!"),
    };
    let by_place = [0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b'];
    let old = Values::parse(&by_place, false).unwrap();
    let mut out = Vec::new();
    assert_eq!(
        values::rewrite(&mut out, Some(old), &[insert(1)]),
        Ok(false)
    );
    let new = Values::parse(&out, false).unwrap();
    let found: Vec<_> = new.iter().map(|bound| bound.value).collect();
    assert_eq!(found, [&b"a"[..], b"!", b"b"].map(Value::Bytes));

    let by_name = [0, 1, 0, 1, b'a', 0, 0, 0, 1, b'a'];
    let old = Values::parse(&by_name, true).unwrap();
    let mut out = Vec::new();
    assert_eq!(values::rewrite(&mut out, Some(old), &[insert(2)]), Ok(true));
    let new = Values::parse(&out, true).unwrap();
    let names: Vec<_> = new.iter().map(|bound| bound.name.unwrap()).collect();
    assert_eq!(names, ["a", "added"]);
}

#[test]
fn values_are_replaced_inserted_and_appended() {
    let block = some_values(true);
    let old = Values::parse(&block, true).unwrap();
    let edits = [
        Edit::Insert {
            before: 0,
            name: Some("first"),
            value: Value::Null,
        },
        Edit::Replace {
            index: 0,
            value: Value::Bytes(b"ONE"),
        },
        Edit::Replace {
            index: 3,
            value: Value::Unset,
        },
        Edit::Append {
            name: Some("last"),
            value: Value::Bytes(b"z"),
        },
    ];
    let mut out = Vec::new();
    assert_eq!(values::rewrite(&mut out, Some(old), &edits), Ok(true));
    let new = Values::parse(&out, true).unwrap();
    let names: Vec<_> = new.iter().map(|bound| bound.name.unwrap()).collect();
    assert_eq!(names, ["first", "a", "b", "c", "d", "last"]);
    assert_eq!(new.get(1).unwrap().value, Value::Bytes(b"ONE"));
    assert_eq!(new.get(4).unwrap().value, Value::Unset);

    let kept = out.clone();
    let wrong = [
        (
            Edit::Replace {
                index: 4,
                value: Value::Null,
            },
            EncodeError::NoSuchValue { index: 4, count: 4 },
        ),
        (
            Edit::Append {
                name: None,
                value: Value::Null,
            },
            EncodeError::MixedNames,
        ),
    ];
    for (edit, error) in wrong {
        assert_eq!(values::rewrite(&mut out, Some(old), &[edit]), Err(error));
        assert_eq!(out, kept, "nothing may be left behind");
    }
    let swapped = [
        Edit::Replace {
            index: 2,
            value: Value::Null,
        },
        Edit::Replace {
            index: 1,
            value: Value::Null,
        },
    ];
    assert!(values::rewrite(&mut out, Some(old), &swapped).is_err());
}

#[test]
fn parameters_are_rewritten_whole() {
    let raw = encoded(&QueryParams {
        page_size: Some(9),
        ..QueryParams::new(Consistency::One)
    });
    let params = QueryParams::parse(&raw).unwrap();
    let mut out = Vec::new();
    params.rewrite(&mut out, &[], None).unwrap();
    assert_eq!(out, raw);
    out.clear();
    let edit = Edit::Append {
        name: None,
        value: Value::Bytes(b"x"),
    };
    params.rewrite(&mut out, &[edit], Some(5)).unwrap();
    let new = QueryParams::parse(&out).unwrap();
    assert_eq!(
        (new.values.unwrap().len(), new.page_size, new.timestamp),
        (1, Some(9), Some(5))
    );
}

#[test]
fn a_batch_keeps_its_entries_and_takes_a_stamp() {
    let block = some_values(false);
    let values = Values::parse(&block, false).unwrap();
    let entries = [
        BatchEntry::Text {
            text: "INSERT",
            values: Values::EMPTY,
        },
        BatchEntry::Prepared {
            id: b"0123456789abcdef",
            values,
        },
    ];
    let tail = request::batch::BatchTail {
        consistency: Consistency::Two,
        serial_consistency: Some(Consistency::Serial),
        timestamp: None,
        keyspace: None,
        now_in_seconds: None,
    };
    let mut raw = Vec::new();
    let mut w = Writer::new(&mut raw);
    request::batch::encode(&mut w, BatchType::Unlogged, entries, &tail);
    w.finish().unwrap();
    let batch = Batch::parse(&raw).unwrap();
    assert_eq!(batch.kind, BatchType::Unlogged);
    assert!(batch.entries().eq(entries));
    for end in 0..raw.len() {
        assert!(Batch::parse(&raw[..end]).is_err(), "{end}");
    }
    let stamp = |batch: &Batch<'_>, stamp| {
        let mut out = batch.raw[..batch.tail_at].to_vec();
        let tail = Tail::find(batch.tail(), Version::V4).unwrap();
        tail.put_stamped(&mut out, stamp);
        out
    };
    let stamped = stamp(&batch, 77);
    let with = Batch::parse(&stamped).unwrap();
    assert_eq!(
        (with.timestamp, with.serial_consistency),
        (Some(77), Some(Consistency::Serial))
    );
    assert!(with.entries().eq(entries));
    let again = stamp(&with, 78);
    assert_eq!(again.len(), stamped.len());
    assert_eq!(Batch::parse(&again).unwrap().timestamp, Some(78));
}

#[test]
fn a_batch_may_have_the_page_size_that_cassandras_own_clients_give_it() {
    let raw = b"\0\0\x01\0\0\0\0\x06INSERT\0\0\0\x01\0\0\0\x36\0\0\x13\x88\0\x08\0\0\0\0\0\0\0\x07";
    let batch = Batch::parse_as(raw, Version::V5).unwrap();
    assert_eq!(batch.timestamp, Some(7));
    assert_eq!(batch.serial_consistency, Some(Consistency::Serial));
    assert_eq!(batch.entries().count(), 1);
}

#[test]
fn execute_of_v5_names_the_columns_that_the_client_knows() {
    let id = Execute {
        id: b"id",
        result_metadata_id: Some(b"columns"),
        params: QueryParams {
            keyspace: Some("ks"),
            now_in_seconds: Some(7),
            ..QueryParams::new(Consistency::One)
        },
        params_at: 0,
    };
    let encoded = |version| {
        let mut raw = Vec::new();
        let mut w = Writer::new(&mut raw);
        request::execute::encode_as(&mut w, version, &id);
        w.finish().unwrap();
        raw
    };
    let fields = b"\0\x01\0\0\x01\x80\0\x02ks\0\0\0\x07";
    let raw = encoded(Version::V5);
    assert_eq!(raw, [&b"\0\x02id\0\x07columns"[..], fields].concat());
    let back = Execute::parse_as(&raw, Version::V5).unwrap();
    assert_eq!(
        (back.id, back.result_metadata_id),
        (id.id, id.result_metadata_id)
    );
    assert_eq!(
        (back.params.keyspace, back.params.now_in_seconds),
        (Some("ks"), Some(7))
    );
    assert_eq!(raw[back.params_at..], *fields);
    assert_eq!(
        encoded(Version::V4),
        b"\0\x02id\0\x01\0",
        "v4 cannot say more"
    );
}

#[test]
fn errors_keep_their_details() {
    let error = ErrorBody {
        code: ErrorCode::WriteTimeout,
        message: "too late",
        detail: ErrorDetail::WriteTimeout {
            consistency: Consistency::Quorum,
            received: 1,
            block_for: 2,
            write_type: WriteType::UnloggedBatch,
            contentions: None,
        },
    };
    let mut raw = Vec::new();
    let mut w = Writer::new(&mut raw);
    error.encode(&mut w);
    w.finish().unwrap();
    assert_eq!(ErrorBody::parse(&raw, Version::V4), Ok(error));
    assert_eq!(response::peek_error_code(&raw), Ok(ErrorCode::WriteTimeout));
}

#[test]
fn rows_are_counted_by_their_cells() {
    let column = |name, column_type| response::ColumnDef {
        keyspace: "ks",
        table: "t",
        name,
        column_type,
    };
    let map = ColumnType::Map(Box::new(ColumnType::Varchar), Box::new(ColumnType::Int));
    let columns = [column("k", ColumnType::Int), column("v", map.clone())];
    let mut raw = Vec::new();
    let mut w = Writer::new(&mut raw);
    let mut rows = response::rows::encode(&mut w, &response::MetadataHead::default(), &columns);
    for cell in [Some(&b"1"[..]), None, Some(b"2"), Some(b"")] {
        rows.cell(cell);
    }
    rows.finish();
    w.finish().unwrap();
    let ResultBody::Rows(rows) = ResultBody::parse(&raw, Version::V4).unwrap() else {
        panic!("no rows");
    };
    rows.check().unwrap();
    let names: Vec<_> = rows.metadata.columns().map(|column| column.name).collect();
    assert_eq!((rows.row_count, names), (2, vec!["k", "v"]));
    let last = rows.metadata.columns().last().unwrap();
    assert_eq!(last.column_type.to_type(), Ok(map));
    assert_eq!(last.span().end, rows.cells_at - 4);
    let cells: Vec<_> = rows.cells().map(|cell| cell.unwrap().bytes).collect();
    assert_eq!(cells, [Some(&b"1"[..]), None, Some(b"2"), Some(b"")]);
}

#[test]
fn compression_goes_there_and_back_within_the_limit() {
    for compression in [Compression::Lz4, Compression::Snappy] {
        for body in [vec![], vec![7; 100_000], (0..=255).collect::<Vec<u8>>()] {
            let mut packed = Vec::new();
            compression.compress(&body, &mut packed).unwrap();
            let mut out = b"x".to_vec();
            assert_eq!(
                compression.decompress(&packed, &mut out, 100_000),
                Ok(body.len())
            );
            assert_eq!(out[1..], body);
            if !body.is_empty() {
                assert!(
                    compression
                        .decompress(&packed, &mut out, body.len() - 1)
                        .is_err()
                );
            }
        }
    }
}

#[test]
fn a_refusal_is_heard_on_its_stream_and_in_a_version_that_is_spoken() {
    let answer = |bytes: &[u8]| {
        let error = decoder::split(bytes, &DecodeLimits::requests(16)).unwrap_err();
        let mut out = Vec::new();
        encode::refusal(&mut out, error).unwrap();
        out
    };
    let out = answer(b"\x06\x00\x01\x02\x05\x00\x00\x00\x00");
    let envelope = decoder::split(&out, &DecodeLimits::responses(1000))
        .unwrap()
        .unwrap();
    assert_eq!((envelope.header.version, envelope.header.stream), (5, 0));
    let error = ErrorBody::parse(envelope.body, Version::V4).unwrap();
    assert_eq!(error.code, ErrorCode::Protocol);
    let words = "Invalid or unsupported protocol version (6); \
                 supported versions are (3/v3, 4/v4, 5/v5)";
    assert_eq!(error.message, words);
    assert_eq!(
        answer(b"\x03\x00\x00\x09\x07\x00\x00\x01\x00")[..4],
        *b"\x83\x00\x00\x09"
    );
}

#[test]
fn hidden_bind_markers_leave_the_rest_as_it_was() {
    let column = |name| response::ColumnDef {
        keyspace: "ks",
        table: "t",
        name,
        column_type: ColumnType::Int,
    };
    let encoded = |version, names: &[&'static str], pk_indices: &[u16]| {
        let bind: Vec<_> = names.iter().map(|name| column(name)).collect();
        let result = [column("r")];
        let def = response::PreparedDef {
            id: b"id",
            result_metadata_id: b"columns",
            pk_indices,
            bind: &bind,
            result: &result,
        };
        let mut raw = Vec::new();
        let mut w = Writer::new(&mut raw);
        response::prepared::encode(&mut w, version, &def);
        w.finish().unwrap();
        raw
    };
    let hide = |version, raw: &[u8], hidden: &[u16]| {
        let mut out = Vec::new();
        let ResultBody::Prepared(prepared) = ResultBody::parse(raw, version).unwrap() else {
            panic!("not prepared");
        };
        prepared.hide_binds(&mut out, hidden).map(|()| out)
    };
    for version in [Version::V3, Version::V4, Version::V5] {
        let raw = encoded(version, &["a", "b", "c", "d"], &[3, 0]);
        assert_eq!(hide(version, &raw, &[]).unwrap(), raw);
        let fewer = encoded(version, &["a", "d"], &[1, 0]);
        assert_eq!(hide(version, &raw, &[1, 2]).unwrap(), fewer);
        // The client no longer binds the whole partition key: it cannot route by it.
        let no_key = encoded(version, &["b", "c", "d"], &[]);
        assert_eq!(hide(version, &raw, &[0]).unwrap(), no_key);
        let none = encoded(version, &[], &[]);
        assert_eq!(hide(version, &raw, &[0, 1, 2, 3]).unwrap(), none);
        assert!(hide(version, &raw, &[4]).is_err());
        assert!(hide(version, &raw, &[2, 1]).is_err());
    }
}
