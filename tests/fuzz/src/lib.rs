//! The bodies of the fuzz targets, as plain functions: libFuzzer calls them, and so do the tests
//! of the protocol core over recorded and mutated bytes. Each takes any bytes and panics when a
//! promise is broken.

mod again;

use twinring_cql::decoder::{self, DecodeLimits};
use twinring_cql::frame::{self, Format};
use twinring_cql::request::{Batch, Query, QueryParams, Request};
use twinring_cql::response::{Response, ResultBody};
use twinring_cql::stamp::Tail;
use twinring_cql::{Compression, Opcode, Values, Version, envelope};

pub use again::{request as encode_request, response as encode_response};

const LIMIT_BYTES: u32 = 1 << 20;

/// A receive buffer: cut into envelopes, which say exactly what their bytes say.
pub fn envelope(data: &[u8]) {
    for limits in [
        DecodeLimits::requests(LIMIT_BYTES),
        DecodeLimits::responses(LIMIT_BYTES),
    ] {
        let mut rest = data;
        loop {
            let missing = decoder::missing(rest, &limits);
            let found = match decoder::split(rest, &limits) {
                Err(error) => {
                    assert_eq!(missing, Err(error));
                    break;
                }
                Ok(None) => {
                    assert!(missing.is_ok_and(|missing| missing > 0));
                    break;
                }
                Ok(Some(found)) => found,
            };
            assert_eq!(missing, Ok(0));
            assert_eq!(found.raw, [&found.header.encode()[..], found.body].concat());
            let shorter = &found.raw[..found.raw.len() - 1];
            assert_eq!(decoder::split(shorter, &limits), Ok(None));
            if let Ok(request) = envelope::request_message(found.header.flags, found.body) {
                assert_eq!(found.body[request.message_at..], *request.message);
            }
            if let Ok(response) = envelope::response_message(found.header.flags, found.body) {
                assert_eq!(found.body[response.message_at..], *response.message);
                assert_eq!(response.prelude().end, response.message_at);
                let shown = response.warnings.iter().flatten().count();
                assert_eq!(shown, response.warnings.map_or(0, |list| list.len()));
                let shown = response.payload.iter().flatten().count();
                assert_eq!(shown, response.payload.map_or(0, |map| map.len()));
            }
            rest = &rest[found.raw.len()..];
        }
    }
}

/// A receive buffer of v5: cut into frames, whose envelopes make the same stream in new frames.
pub fn frames(data: &[u8]) {
    for format in [Format::Plain, Format::Lz4] {
        let (mut rest, mut scratch, mut stream) = (data, Vec::new(), Vec::new());
        loop {
            let missing = format.missing(rest);
            let found = match format.split(rest) {
                Err(_) => break,
                Ok(None) => {
                    assert!(missing.is_ok_and(|missing| missing > 0));
                    break;
                }
                Ok(Some(found)) => found,
            };
            assert_eq!(missing, Ok(0));
            assert!(found.len <= frame::FRAME_MAX_BYTES);
            let Ok(payload) = found.open(&mut scratch) else {
                break;
            };
            stream.extend_from_slice(payload);
            rest = &rest[found.len..];
        }
        reframe(format, &stream);
        reframe(format, data);
    }
}

/// Any bytes come out of their frames as they went in.
fn reframe(format: Format, stream: &[u8]) {
    let (mut framed, mut back, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    frame::Encoder::new(format).encode(stream, &mut framed);
    let mut rest = &framed[..];
    while let Some(found) = format.split(rest).expect("what was written can be read") {
        back.extend_from_slice(found.open(&mut scratch).expect("the same"));
        rest = &rest[found.len..];
    }
    assert!(rest.is_empty());
    assert_eq!(back, stream);
}

/// The version and the opcode in the first two bytes, the message of a request behind them.
pub fn requests(data: &[u8]) {
    let Some((&[first, second], message)) = data.split_first_chunk() else {
        return;
    };
    let Some(version) = Version::from_number(first) else {
        return;
    };
    let Ok(opcode) = Opcode::try_from(second) else {
        return;
    };
    let Ok(Some(request)) = Request::parse(opcode, message, version) else {
        return;
    };
    // Written again it means the same; written once more it is the same bytes.
    let Some(again) = encode_request(&request, version) else {
        return;
    };
    let second = Request::parse(opcode, &again, version).expect("what was written can be read");
    let third = encode_request(&second.expect("the same opcode"), version);
    assert_eq!(third.as_deref(), Some(&again[..]));
    match request {
        Request::Query(Query { params, .. }) => check_params(&params, version),
        Request::Execute(execute) => check_params(&execute.params, version),
        Request::Batch(batch) => check_batch(&batch, version),
        Request::AuthResponse(token) => drop(token.plain()),
        _ => {}
    }
}

fn check_params(params: &QueryParams<'_>, version: Version) {
    let peeked = QueryParams::peek(params.raw, version);
    assert_eq!(peeked, Ok((params.consistency, params.flags)));
    let tail = Tail::find(params.raw, version).expect("the parameters were checked");
    assert_eq!(tail.timestamp, params.timestamp);
    assert_eq!(tail.keyspace, params.keyspace);
    assert_eq!(tail.now_in_seconds, params.now_in_seconds);
    let (mut out, mut plain) = (Vec::new(), Vec::new());
    tail.put_stamped(&mut out, 42);
    tail.put_v4(&mut plain, Some(42));
    let stamped = QueryParams::parse_as(&out, version).expect("a stamp breaks nothing");
    let converted = QueryParams::parse(&plain).expect("v4 says it too");
    for made in [&stamped, &converted] {
        assert_eq!(made.timestamp, Some(42));
        assert_eq!(made.values, params.values);
        assert_eq!(made.paging_state, params.paging_state);
        assert_eq!(made.serial_consistency, params.serial_consistency);
    }
    assert_eq!(stamped.keyspace, params.keyspace);
    assert_eq!(stamped.now_in_seconds, params.now_in_seconds);
    if let Some(values) = params.values {
        check_values(&values);
    }
}

fn check_values(values: &Values<'_>) {
    assert_eq!(values.iter().count(), values.len());
    let size: usize = values.iter().map(|bound| bound.raw.len()).sum();
    assert_eq!(size + 2, values.block().len());
}

fn check_batch(batch: &Batch<'_>, version: Version) {
    assert_eq!(batch.entries().count(), usize::from(batch.count));
    batch
        .entries()
        .for_each(|entry| check_values(&entry.values()));
    let mut out = batch.raw[..batch.tail_at].to_vec();
    let tail = Tail::find(batch.tail(), version).expect("the batch was checked");
    tail.put_stamped(&mut out, 42);
    let stamped = Batch::parse_as(&out, version).expect("a stamp breaks nothing");
    assert_eq!(stamped.timestamp, Some(42));
    assert!(stamped.entries().eq(batch.entries()));
}

/// The version and the opcode in the first two bytes, the message of a response behind them.
pub fn responses(data: &[u8]) {
    let Some((&[first, second], message)) = data.split_first_chunk() else {
        return;
    };
    let Some(version) = Version::from_number(first) else {
        return;
    };
    let Ok(opcode) = Opcode::try_from(second) else {
        return;
    };
    let Ok(Some(response)) = Response::parse(opcode, message, version) else {
        return;
    };
    match &response {
        Response::Result(ResultBody::Rows(rows)) => {
            let _ = rows.check();
            check_columns(&rows.metadata, message);
        }
        Response::Result(ResultBody::Prepared(prepared)) => {
            check_columns(&prepared.bind, message);
            check_columns(&prepared.result, message);
        }
        _ => {}
    }
    let Some(again) = encode_response(&response, version) else {
        return;
    };
    let second = Response::parse(opcode, &again, version).expect("what was written can be read");
    let third = encode_response(&second.expect("the same opcode"), version);
    assert_eq!(third.as_deref(), Some(&again[..]));
}

fn check_columns(metadata: &twinring_cql::response::Metadata<'_>, message: &[u8]) {
    let described = if metadata.has_columns() {
        metadata.column_count
    } else {
        0
    };
    assert_eq!(metadata.columns().count(), described);
    for column in metadata.columns() {
        let owned = column.column_type.to_type().expect("the type was checked");
        let mut out = Vec::new();
        let mut w = twinring_cql::Writer::new(&mut out);
        w.option(&owned);
        w.finish().expect("it came from the wire");
        assert_eq!(out, column.column_type.raw());
        assert!(message[column.span()].ends_with(&out));
    }
}

/// A compressed body, and the same bytes as a body to compress.
pub fn compression(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    for compression in [Compression::Lz4, Compression::Snappy] {
        let mut out = vec![1, 2, 3];
        match compression.decompress(data, &mut out, LIMIT) {
            Ok(length) => assert!(length <= LIMIT && out.len() == 3 + length),
            Err(_) => assert_eq!(out, [1, 2, 3]),
        }
        assert!(out.capacity() <= 2 * (LIMIT + 3), "memory beyond the limit");
        let mut packed = Vec::new();
        compression
            .compress(data, &mut packed)
            .expect("short enough");
        let mut back = Vec::new();
        let length = compression.decompress(&packed, &mut back, data.len());
        assert_eq!(length, Ok(data.len()));
        assert_eq!(back, data);
    }
}
