//! Lengths that lie, types without end, flags of other versions.

use twinring_cql::compression::CompressionError;
use twinring_cql::request::{Batch, Query, QueryParams, Startup};
use twinring_cql::response::{ErrorBody, ErrorDetail, Event, ResultBody, WriteType};
use twinring_cql::{
    Compression, Consistency, DecodeError, EncodeError, Envelope, Flags, Notation, Opcode, Reader,
    Version, Writer, decoder, encode, envelope,
};

#[test]
fn claimed_lengths_take_no_memory() {
    // Two thousand million bytes of text, rows and bound values in a few bytes.
    assert!(Query::parse(b"\x7F\xFF\xFF\xFFab").is_err());
    assert!(QueryParams::parse(b"\0\x01\x01\xFF\xFF\0\0\0\x01a").is_err());
    assert!(Startup::parse(b"\xFF\xFF\0\x01a\0\x01b").is_err());
    let rows = b"\0\0\0\x02\0\0\0\x04\0\0\0\x00\x7F\xFF\xFF\xFF";
    let (what, at) = (Notation::Rows, 12);
    assert_eq!(
        ResultBody::parse(rows, Version::V4),
        Err(DecodeError::Truncated { what, at }),
        "rows without columns would be counted for ever"
    );
    let wide = b"\0\0\0\x02\0\0\0\x04\x7F\xFF\xFF\xFF\x7F\xFF\xFF\xFF\0\0\0\0";
    assert!(ResultBody::parse(wide, Version::V4).is_err());
}

#[test]
fn negative_lengths_mean_what_the_specification_says() {
    assert!(matches!(
        Query::parse(b"\xFF\xFF\xFF\xFF"),
        Err(DecodeError::Unknown {
            what: Notation::LongString,
            at: 0,
            found: -1
        })
    ));
    assert_eq!(Reader::new(b"\xFF\xFF\xFF\xF0").bytes(), Ok(None));
    assert_eq!(
        Reader::new(b"\xFF\xFF\xFF\xFD").value(),
        Err(DecodeError::Unknown {
            what: Notation::Value,
            at: 0,
            found: -3
        })
    );
}

#[test]
fn types_are_nested_only_so_deep() {
    let nested = |depth: usize| [b"\0\x20".repeat(depth), b"\0\x09".to_vec()].concat();
    let deepest = nested(twinring_cql::column_type::MAX_DEPTH);
    let view = Reader::new(&deepest).option().unwrap();
    assert_eq!(view.raw(), deepest);
    view.to_type().unwrap();
    let deeper = nested(twinring_cql::column_type::MAX_DEPTH + 1);
    assert!(matches!(
        Reader::new(&deeper).option(),
        Err(DecodeError::TooDeep { .. })
    ));
}

#[test]
fn flags_that_announce_unknown_fields_are_refused() {
    let unknown = |what, at, found| Err(DecodeError::Unknown { what, at, found });
    assert_eq!(
        QueryParams::parse(b"\0\x01\x80\0\x02ks").map(|_| ()),
        unknown(Notation::QueryFlags, 2, 0x80)
    );
    let batch = b"\0\0\0\0\x01\x40";
    assert_eq!(
        Batch::parse(batch).map(|_| ()),
        unknown(Notation::QueryFlags, 5, 0x40)
    );
    assert_eq!(
        Batch::parse(b"\x03").map(|_| ()),
        unknown(Notation::BatchType, 0, 3)
    );
    assert!(
        QueryParams::parse(b"\0\x0B\0").is_err(),
        "no level has the number 11"
    );
}

#[test]
fn events_check_address_and_port() {
    let event = |tail: &[u8]| [b"\0\x0DSTATUS_CHANGE\0\x02UP", tail].concat();
    assert!(Event::parse(&event(b"\x04\x7F\0\0\x01\0\0\x23\x52")).is_ok());
    assert!(Event::parse(&event(b"\x05\x7F\0\0\x01\x01\0\0\x23\x52")).is_err());
    assert!(Event::parse(&event(b"\x04\x7F\0\0\x01\0\x01\0\0")).is_err());
    assert!(Event::parse(b"\0\x01X").is_err());
}

#[test]
fn an_error_of_a_newer_server_keeps_its_code_and_words() {
    let raw = b"\0\0\x90\x01\0\x03new\x01\x02";
    let error = ErrorBody::parse(raw, Version::V4).unwrap();
    assert_eq!((error.code.number(), error.message), (0x9001, "new"));
}

#[test]
fn the_order_before_a_response_is_tracing_warnings_payload() {
    let mut body = vec![7; 16];
    let mut w = Writer::new(&mut body);
    w.string_list(["careful"]);
    w.bytes_map([("k", Some(&b"v"[..])), ("none", None)]);
    w.raw(b"rest");
    w.finish().unwrap();
    let flags = Flags::TRACING
        .with(Flags::WARNING)
        .with(Flags::CUSTOM_PAYLOAD);
    let message = envelope::response_message(flags, &body).unwrap();
    assert_eq!(
        (message.tracing_id, message.message),
        (Some([7; 16]), &b"rest"[..])
    );
    assert_eq!(
        message.warnings.unwrap().iter().collect::<Vec<_>>(),
        ["careful"]
    );
    assert_eq!(message.payload.unwrap().len(), 2);
    for end in 0..message.message_at {
        assert!(
            envelope::response_message(flags, &body[..end]).is_err(),
            "{end}"
        );
    }
}

#[test]
fn a_compressed_body_is_not_looked_into() {
    let mut out = Vec::new();
    encode::envelope(
        &mut out,
        Version::V4,
        Flags::COMPRESSION,
        0,
        Opcode::Query,
        |w| {
            w.raw(b"....");
        },
    )
    .unwrap();
    let limits = decoder::DecodeLimits::requests(100);
    let envelope: Envelope<'_> = decoder::split(&out, &limits).unwrap().unwrap();
    assert_eq!(envelope.request_body(), Err(DecodeError::Compressed));
}

#[test]
fn what_is_too_long_leaves_no_trace() {
    let mut out = b"before".to_vec();
    let long = "x".repeat(65_536);
    let written = encode::envelope(
        &mut out,
        Version::V4,
        Flags::NONE,
        0,
        Opcode::Startup,
        |w| {
            w.string_map([("k", long.as_str())]);
        },
    );
    assert_eq!(
        written,
        Err(EncodeError::TooLong {
            what: Notation::String,
            length: 65_536
        })
    );
    assert_eq!(out, b"before");
    // Words of an error are cut instead, between characters.
    let words = "é".repeat(40_000);
    let error = ErrorBody::new(twinring_cql::response::ErrorCode::Server, &words);
    let mut raw = Vec::new();
    let mut w = Writer::new(&mut raw);
    error.encode(&mut w);
    w.finish().unwrap();
    let back = ErrorBody::parse(&raw, Version::V4).unwrap();
    assert_eq!(back.message.len(), 65_534);
}

#[test]
fn compressed_bodies_cannot_claim_more_than_they_hold() {
    let bomb = b"\x7F\xFF\xFF\xFF\x00";
    let mut out = Vec::new();
    assert!(matches!(
        Compression::Lz4.decompress(bomb, &mut out, usize::MAX),
        Err(CompressionError::TooLarge {
            claimed: 0x7FFF_FFFF,
            limit: 255
        })
    ));
    assert!(
        Compression::Snappy
            .decompress(b"\xFF\xFF\xFF\xFF\x07", &mut out, 100)
            .is_err()
    );
    assert!(
        Compression::Lz4
            .decompress(b"\0\0\0", &mut out, 100)
            .is_err()
    );
    let none = Compression::None.decompress(b"", &mut out, 100);
    assert_eq!(none, Err(CompressionError::NotNegotiated));
    assert_eq!(out.capacity(), 0);
}

#[test]
fn what_only_v5_says_is_read() {
    // Contentions behind a write type of CAS; reasons of failures by address.
    let timeout = b"\0\0\x11\0\0\x01m\0\x04\0\0\0\x01\0\0\0\x02\0\x03CAS\0\x07";
    let error = ErrorBody::parse(timeout, Version::V5).unwrap();
    assert!(matches!(
        error.detail,
        ErrorDetail::WriteTimeout {
            contentions: Some(7),
            received: 1,
            block_for: 2,
            ..
        }
    ));
    let error = ErrorBody::parse(timeout, Version::V4).unwrap();
    let none = ErrorDetail::WriteTimeout {
        consistency: Consistency::Quorum,
        received: 1,
        block_for: 2,
        write_type: WriteType::Cas,
        contentions: None,
    };
    assert_eq!(error.detail, none);
    let failure = b"\0\0\x13\0\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x01\x04\x7F\0\0\x01\0\x01\x01";
    let error = ErrorBody::parse(failure, Version::V5).unwrap();
    let ErrorDetail::ReadFailure {
        failures,
        data_present,
        ..
    } = error.detail
    else {
        panic!("{error:?}");
    };
    let reasons = Some(&b"\x04\x7F\0\0\x01\0\x01"[..]);
    assert_eq!(
        (failures.count, failures.reasons, data_present),
        (1, reasons, true)
    );
    // PREPARE's answer with the id of the result's columns; rows whose columns changed.
    let empty = b"\0\0\0\0\0\0\0\0";
    let raw = [&b"\0\0\0\x04\0\x01i\0\x02rm"[..], empty, b"\0\0\0\0", empty].concat();
    let ResultBody::Prepared(prepared) = ResultBody::parse(&raw, Version::V5).unwrap() else {
        panic!("not prepared");
    };
    assert_eq!(
        (prepared.id, prepared.result_metadata_id),
        (&b"i"[..], Some(&b"rm"[..]))
    );
    let changed = b"\0\0\0\x02\0\0\0\x08\0\0\0\0\0\x01n\0\0\0\0";
    let ResultBody::Rows(rows) = ResultBody::parse(changed, Version::V5).unwrap() else {
        panic!("no rows");
    };
    assert_eq!(rows.metadata.new_metadata_id, Some(&b"n"[..]));
}

#[test]
fn unknown_flags_of_columns_are_refused_but_the_mark_of_scylla() {
    let rows = |flags: u32| {
        let body = [
            &b"\0\0\0\x02"[..],
            &flags.to_be_bytes(),
            b"\0\0\0\0\0\0\0\0",
        ]
        .concat();
        ResultBody::parse(&body, Version::V4).is_ok()
    };
    assert!(rows(0) && rows(0x8000_0000));
    assert!(!rows(0x10) && !rows(0x4000_0000));
}
