//! Bytes that real drivers and real servers sent (`tests/golden/`): each is read, and written
//! again to the same bytes.

use std::collections::BTreeSet;

use twinring_cql::decoder::{self, DecodeLimits};
use twinring_cql::frame::{Encoder, Format};
use twinring_cql::request::{BatchEntry, Request};
use twinring_cql::response::schema_change::{Change, SchemaTarget};
use twinring_cql::response::{ErrorCode, Event, Response, ResultBody, SchemaChange};
use twinring_cql::{Compression, Flags, HEADER_LEN, Header, Opcode, Value, Version};
use twinring_cql::{encode, envelope};

use crate::fuzz;

macro_rules! recorded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/", $name, ".bin"
        )) as &[u8])),*]
    };
}

/// File names and their bytes.
const FILES: [(&str, &[u8]); 20] = recorded![
    "cassandra-4.1.10-v3-none",
    "cassandra-4.1.10-v4-none",
    "cassandra-4.1.10-v4-lz4",
    "cassandra-4.1.10-v4-snappy",
    "cassandra-5.0.9-v3-none",
    "cassandra-5.0.9-v4-none",
    "cassandra-5.0.9-v4-lz4",
    "cassandra-5.0.9-v4-snappy",
    "go-5.0.9-v4-none",
    "go-5.0.9-v4-lz4",
    "go-5.0.9-v5-none",
    "go-5.0.9-v5-lz4",
    "java-5.0.9-v3-none",
    "java-5.0.9-v4-lz4",
    "java-5.0.9-v5-none",
    "java-5.0.9-v5-lz4",
    "node-5.0.9-v3-none",
    "node-5.0.9-v4-none",
    "python-5.0.9-v5-none",
    "python-5.0.9-v5-lz4",
];

const LIMIT_BYTES: u32 = 1 << 20;

/// One recorded envelope, its body decompressed.
struct Recorded {
    file: &'static str,
    version: Version,
    header: Header,
    raw: Vec<u8>,
    body: Vec<u8>,
}

impl Recorded {
    /// In v5 frames are compressed; the flag means nothing there, and the Java driver sets it.
    fn is_compressed(&self) -> bool {
        self.header.flags.contains(Flags::COMPRESSION) && self.version < Version::V5
    }

    /// What stands before the message, and the message.
    fn parts(&self) -> (&[u8], &[u8]) {
        let header = self.header;
        let at = match header.response {
            true => {
                envelope::response_message(header.flags, &self.body)
                    .unwrap()
                    .message_at
            }
            false => {
                envelope::request_message(header.flags, &self.body)
                    .unwrap()
                    .message_at
            }
        };
        self.body.split_at(at)
    }

    fn request(&self) -> Option<Request<'_>> {
        let header = self.header;
        (!header.response).then(|| {
            Request::parse(header.opcode, self.parts().1, self.version)
                .unwrap()
                .unwrap()
        })
    }

    fn response(&self) -> Option<Response<'_>> {
        let header = self.header;
        let message = self.parts().1;
        let parse = || match Response::parse(header.opcode, message, self.version) {
            Ok(Some(response)) => response,
            other => panic!("{}: {header:?} {other:?} {message:02X?}", self.file),
        };
        header.response.then(parse)
    }
}

/// The records of a file: kind (a byte), length (four bytes, big-endian), bytes.
fn records(mut rest: &'static [u8]) -> impl Iterator<Item = (u8, &'static [u8])> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (head, behind) = rest.split_first_chunk::<5>().unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (raw, next) = behind.split_at(usize::try_from(length).unwrap());
        rest = next;
        Some((head[0], raw))
    })
}

fn format_of(file: &str) -> Format {
    match file.ends_with("lz4") {
        true => Format::Lz4,
        false => Format::Plain,
    }
}

/// The envelopes of a file; those that are spread over several frames are left out.
fn read(file: &'static str, bytes: &'static [u8]) -> Vec<Recorded> {
    let mut all = Vec::new();
    let mut scratch = Vec::new();
    for (kind, raw) in records(bytes) {
        let mut rest = raw;
        if kind >= 2 {
            let frame = format_of(file).split(raw).unwrap().unwrap();
            assert_eq!(frame.len, raw.len(), "{file}");
            if !frame.self_contained {
                continue;
            }
            rest = frame.open(&mut scratch).unwrap();
        }
        while !rest.is_empty() {
            let (recorded, behind) = first(file, kind % 2 == 1, rest);
            rest = behind;
            assert!(kind >= 2 || rest.is_empty(), "{file}");
            all.push(recorded);
        }
    }
    all
}

/// Cuts the first envelope off.
fn first<'a>(file: &'static str, response: bool, bytes: &'a [u8]) -> (Recorded, &'a [u8]) {
    let limits = match response {
        false => DecodeLimits::requests(LIMIT_BYTES),
        true => DecodeLimits::responses(LIMIT_BYTES),
    };
    let envelope = decoder::split(bytes, &limits).unwrap().unwrap();
    let mut recorded = Recorded {
        file,
        version: envelope.header.protocol().unwrap(),
        header: envelope.header,
        raw: envelope.raw.to_vec(),
        body: envelope.body.to_vec(),
    };
    if recorded.is_compressed() {
        recorded.body.clear();
        let limit = usize::try_from(LIMIT_BYTES).unwrap();
        Compression::from_name(file.rsplit('-').next().unwrap())
            .unwrap()
            .decompress(envelope.body, &mut recorded.body, limit)
            .unwrap();
    }
    (recorded, &bytes[envelope.raw.len()..])
}

fn all() -> Vec<Recorded> {
    FILES
        .iter()
        .flat_map(|(file, bytes)| read(file, bytes))
        .collect()
}

#[test]
fn every_message_is_read_and_written_to_the_same_bytes() {
    let (mut same, mut without_columns, mut functions) = (0, 0, 0);
    for recorded in all() {
        let header = recorded.header;
        let (prelude, mut message) = recorded.parts();
        let again = match (recorded.request(), recorded.response()) {
            (Some(request), _) => fuzz::encode_request(&request, recorded.version),
            (_, Some(response)) => fuzz::encode_response(&response, recorded.version),
            _ => unreachable!(),
        };
        let Some(again) = again else {
            // Only rows whose columns the driver asked to leave out.
            let Some(Response::Result(ResultBody::Rows(rows))) = recorded.response() else {
                panic!("{}: {header:?} cannot be written", recorded.file);
            };
            assert!(!rows.metadata.has_columns());
            rows.check().unwrap();
            without_columns += 1;
            continue;
        };
        if is_change_of_function_in_v3(&recorded) {
            (message, functions) = (message.strip_suffix(&[0, 0]).unwrap(), functions + 1);
            assert_eq!(again, message);
            continue;
        }
        assert_eq!(again, message, "{}: {header:?}", recorded.file);
        if !recorded.is_compressed() {
            let mut out = Vec::new();
            let (flags, stream) = (header.flags, header.stream);
            encode::envelope(
                &mut out,
                recorded.version,
                flags,
                stream,
                header.opcode,
                |w| {
                    w.raw(prelude);
                    w.raw(&again);
                },
            )
            .unwrap();
            assert_eq!(out, recorded.raw);
        }
        same += 1;
    }
    let counts = (same > 5_000, without_columns, functions);
    assert_eq!(counts, (true, 90, 4), "{same} are the same");
}

/// v3 cannot say that a function changed; servers say that the keyspace did, with an empty string
/// too many.
fn is_change_of_function_in_v3(recorded: &Recorded) -> bool {
    let change = match recorded.response() {
        Some(Response::Result(ResultBody::SchemaChange(change))) => change,
        Some(Response::Event(Event::Schema(change))) => change,
        _ => return false,
    };
    let keyspace = SchemaChange {
        target: SchemaTarget::Keyspace,
        ..change
    };
    recorded.version == Version::V3 && change == keyspace && change.change == Change::Updated
}

#[test]
fn the_recording_has_what_it_is_for() {
    let mut opcodes = BTreeSet::new();
    let mut codes = BTreeSet::new();
    let mut results = BTreeSet::new();
    let (mut flags, mut query_flags) = (Flags::NONE, 0);
    let mut batches = BTreeSet::new();
    for recorded in all() {
        let header = recorded.header;
        opcodes.insert(header.opcode.number());
        if header.response {
            flags = flags.with(header.flags);
        }
        match recorded.request() {
            Some(Request::Execute(execute)) => query_flags |= execute.params.flags.0,
            Some(Request::Query(query)) => query_flags |= query.params.flags.0,
            Some(Request::Batch(batch)) => {
                for entry in batch.entries() {
                    batches.insert((batch.kind as u8, matches!(entry, BatchEntry::Text { .. })));
                }
            }
            _ => {}
        }
        match recorded.response() {
            Some(Response::Error(error)) => drop(codes.insert(error.code.number())),
            Some(Response::Result(_)) => {
                let kind = twinring_cql::response::peek_result_kind(recorded.parts().1).unwrap();
                results.insert(kind as i32);
            }
            _ => {}
        }
    }
    // A single node sends no AUTH_CHALLENGE.
    let silent = BTreeSet::from([Opcode::AuthChallenge.number()]);
    let wanted: BTreeSet<u8> = Opcode::ALL.iter().map(|opcode| opcode.number()).collect();
    assert_eq!(
        wanted
            .difference(&opcodes)
            .copied()
            .collect::<BTreeSet<_>>(),
        silent
    );
    assert_eq!(results, BTreeSet::from([1, 2, 3, 4, 5]));
    assert_eq!(
        flags,
        Flags::COMPRESSION.with(Flags::TRACING).with(Flags::WARNING)
    );
    assert_eq!(query_flags, 0x7F, "a flag of values was never seen");
    let kinds = [0, 1, 2].into_iter();
    let wanted = kinds
        .flat_map(|kind| [(kind, false), (kind, true)])
        .collect();
    assert_eq!(batches, wanted, "a kind of batch was never seen");
    let wanted = [
        ErrorCode::ReadTimeout, // what v3 hears of a read failure
        ErrorCode::BadCredentials,
        ErrorCode::Unavailable,
        ErrorCode::ReadFailure,
        ErrorCode::FunctionFailure,
        ErrorCode::Syntax,
        ErrorCode::Unauthorized,
        ErrorCode::Invalid,
        ErrorCode::Config,
        ErrorCode::AlreadyExists,
        ErrorCode::Unprepared,
    ];
    for code in wanted {
        assert!(
            codes.contains(&code.number()),
            "{code:?} is not in {codes:04X?}"
        );
    }
}

#[test]
fn bound_values_of_the_driver_are_found() {
    let mut seen = (false, false);
    for recorded in all() {
        if let Some(Request::Execute(execute)) = recorded.request() {
            for bound in execute.params.values.into_iter().flatten() {
                seen.0 |= bound.value == Value::Null;
                seen.1 |= bound.value == Value::Unset;
            }
        }
    }
    assert_eq!(seen, (true, true));
}

#[test]
fn what_is_compressed_here_the_servers_would_read() {
    for recorded in all().iter().filter(|recorded| recorded.is_compressed()) {
        let name = recorded.file.rsplit('-').next().unwrap();
        let algorithm: Compression = Compression::from_name(name).unwrap();
        let mut packed = Vec::new();
        algorithm.compress(&recorded.body, &mut packed).unwrap();
        let mut back = Vec::new();
        let length = recorded.body.len();
        assert_eq!(algorithm.decompress(&packed, &mut back, length), Ok(length));
        assert_eq!(back, recorded.body);
    }
}

/// The bodies of the fuzz targets over each recorded message: whole, cut everywhere, and with
/// each byte set to values that break lengths and counts.
#[test]
fn damaged_messages_are_survived() {
    let mut seen = BTreeSet::new();
    for recorded in all() {
        let header = recorded.header;
        let opcode = header.opcode.number();
        let message = recorded.parts().1;
        // Long messages and further ones of the same shape add time, not paths.
        if message.len() > 600 || !seen.insert((opcode, message.len())) {
            continue;
        }
        let run = |message: &[u8]| match header.response {
            true => {
                for version in [Version::V3, Version::V4, Version::V5] {
                    fuzz::responses(&[&[version.number(), opcode][..], message].concat());
                }
            }
            false => {
                for version in [Version::V4, Version::V5] {
                    fuzz::requests(&[&[version.number(), opcode][..], message].concat());
                }
            }
        };
        run(message);
        for at in 0..message.len() {
            run(&message[..at]);
            let mut damaged = message.to_vec();
            for byte in [0, 1, 0x7F, 0x80, 0xFF, message[at] ^ 1] {
                damaged[at] = byte;
                run(&damaged);
            }
        }
        fuzz::envelope(&recorded.raw);
        fuzz::compression(&recorded.raw[HEADER_LEN..]);
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

/// Frames of real peers: ours of the same envelopes open to the same, and are the same bytes where
/// nothing is compressed (an LZ4 block may be packed in more than one way).
#[test]
fn frames_are_read_and_written_again() {
    let (mut plain, mut packed, mut parts) = (0, 0, 0);
    for (file, bytes) in FILES {
        let format = format_of(file);
        let mut scratch = Vec::new();
        for (_, raw) in records(bytes).filter(|(kind, _)| *kind >= 2) {
            let frame = format.split(raw).unwrap().unwrap();
            let payload = frame.open(&mut scratch).unwrap();
            if !frame.self_contained {
                parts += 1;
                continue;
            }
            let mut again = Vec::new();
            Encoder::new(format).encode(payload, &mut again);
            if frame.plain_len == 0 && format == Format::Plain {
                assert_eq!(again, raw, "{file}");
                plain += 1;
                continue;
            }
            let mut back = Vec::new();
            let ours = format.split(&again).unwrap().unwrap();
            assert_eq!(ours.open(&mut back).unwrap(), payload, "{file}");
            packed += usize::from(frame.plain_len > 0);
            for at in 0..raw.len() {
                assert!(format.split(&raw[..at]).unwrap_or(None).is_none(), "{file}");
            }
        }
    }
    let seen = (plain > 500, packed > 500);
    assert_eq!(
        seen,
        (true, true),
        "{plain} plain, {packed} packed, {parts} parts"
    );
}

/// Every bit of a frame is under one of its two checksums.
#[test]
fn a_flipped_bit_in_a_frame_is_found() {
    for file in ["go-5.0.9-v5-none", "java-5.0.9-v5-lz4"] {
        let bytes = FILES.iter().find(|(name, _)| *name == file).unwrap().1;
        for (_, raw) in records(bytes).filter(|(kind, raw)| *kind >= 2 && raw.len() < 200) {
            let mut damaged = raw.to_vec();
            for bit in 0..raw.len() * 8 {
                damaged[bit / 8] ^= 1 << (bit % 8);
                let read = format_of(file).split(&damaged);
                assert!(read.is_err(), "{file}, bit {bit}");
                damaged[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
