//! The gauge against servers that misbehave in known ways.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use twinring_cql::decoder::{DecodeLimits, split};
use twinring_cql::response::prepared::{self, PreparedDef};
use twinring_cql::response::result::encode_void;
use twinring_cql::response::{ErrorBody, ErrorCode};
use twinring_cql::{Envelope, Flags, Opcode, Version, encode};

use crate::plan::Plan;
use crate::{Load, run};

/// How the server answers the `n`th EXECUTE of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    Promptly,
    /// Answers so many a second at most.
    Limited(u32),
    /// Reads nothing for this long when the 100th comes.
    Stalls(Duration),
    /// Every tenth gets a write timeout.
    Errors,
    /// Every tenth gets no answer.
    Forgets,
    /// Closes the connection when the 100th comes.
    HangsUp,
}

/// A server that knows EXECUTE and what comes before it. Its threads end with their connections.
fn server(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap(), manner));
        }
    });
    address
}

fn serve(mut stream: TcpStream, manner: Manner) {
    let limits = DecodeLimits::requests(1 << 20);
    let (mut bytes, mut chunk, mut executed) = (Vec::new(), [0; 4096], 0_u64);
    let began = Instant::now();
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
        let (mut at, mut out) = (0, Vec::new());
        while let Some(request) = split(&bytes[at..], &limits).unwrap() {
            at += request.raw.len();
            executed += u64::from(request.header.opcode == Opcode::Execute);
            match manner {
                Manner::Stalls(time) if executed == 100 => std::thread::sleep(time),
                Manner::HangsUp if executed == 100 => return,
                Manner::Limited(rate) => {
                    let passed = Duration::from_secs(executed) / rate;
                    std::thread::sleep(passed.saturating_sub(began.elapsed()));
                }
                Manner::Forgets if executed % 10 == 1 => continue,
                _ => {}
            }
            let failing = matches!(manner, Manner::Errors) && executed % 10 == 1;
            answer(&mut out, &request, failing);
        }
        bytes.drain(..at);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn answer(out: &mut Vec<u8>, request: &Envelope<'_>, failing: bool) {
    let opcode = match request.header.opcode {
        Opcode::Startup => Opcode::Ready,
        _ if failing => Opcode::Error,
        _ => Opcode::Result,
    };
    let stream = request.header.stream;
    encode::envelope(
        out,
        Version::V4,
        Flags::NONE,
        stream,
        opcode,
        |w| match request.header.opcode {
            Opcode::Startup => {}
            _ if failing => ErrorBody::new(ErrorCode::Overloaded, "too much").encode(w),
            Opcode::Prepare => {
                let (id, none) = (b"id".as_slice(), [].as_slice());
                let statement = PreparedDef {
                    id,
                    result_metadata_id: b"",
                    pk_indices: &[],
                    bind: none,
                    result: none,
                };
                prepared::encode(w, Version::V4, &statement);
            }
            _ => encode_void(w),
        },
    )
    .unwrap();
}

pub(crate) fn plan(manner: Manner) -> Plan {
    Plan {
        rate_per_s: 1000,
        connections: 1,
        depth: 32,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        patience: Duration::from_millis(300),
        ..Plan::new(server(manner), "k", "t")
    }
}

#[test]
fn every_request_of_the_schedule_is_sent_and_measured() {
    let report = run(&plan(Manner::Promptly)).unwrap();
    assert_eq!((report.sent, report.unsent), (1000, 0));
    assert_eq!(report.latency.count(), 1000);
    assert_eq!(report.client_errors(), 0);
    assert_eq!(report.ledger.len(), 1000);
}

#[test]
fn a_stall_is_charged_to_every_request_that_had_to_wait() {
    let report = run(&plan(Manner::Stalls(Duration::from_millis(400)))).unwrap();
    assert_eq!((report.sent, report.unsent), (1000, 0));
    // Of the 400 due in the stall those of its first half waited for 200 ms or more. A clock
    // that starts at the sending would see 32 slow ones, all that are in flight at one time.
    let slow = report.latency.0.count_between(195_000_000, u64::MAX);
    assert!((180..400).contains(&slow), "{slow} of {report}");
    assert!(report.latency.max_us() >= 390_000.0, "{report}");
    assert!(report.late >= 300, "{report}");
    assert!(report.send_delay.max_us() >= 300_000.0, "{report}");
}

#[test]
fn errors_are_counted_by_code_and_are_no_latencies() {
    let report = run(&plan(Manner::Errors)).unwrap();
    assert_eq!(report.errors.get("0x1001 Overloaded"), Some(&100));
    assert_eq!(report.latency.count(), 900);
    assert_eq!(report.client_errors(), 100);
}

#[test]
fn missing_answers_are_counted_and_what_could_not_be_sent_too() {
    let report = run(&plan(Manner::Forgets)).unwrap();
    // Each lost answer costs a stream; with the 32nd no request can be sent any more.
    assert_eq!(report.unanswered, 32);
    assert_eq!(report.sent + report.unsent, 1000);
    assert!(report.unsent > 600, "{report}");
}

#[test]
fn a_broken_connection_leaves_the_rest_unsent() {
    let report = run(&plan(Manner::HangsUp)).unwrap();
    assert_eq!(report.broken.len(), 1);
    assert!(report.unsent >= 850, "{report}");
    assert!(report.client_errors() >= 2, "{report}");
}

#[test]
fn a_stopped_load_counts_only_what_was_due() {
    let long = Plan {
        duration: Duration::from_secs(3600),
        ..plan(Manner::Promptly)
    };
    let began = Instant::now();
    let load = Load::start(&long).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    load.stop();
    let report = load.finish().unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(report.unsent, 0);
    assert!((200..2000).contains(&report.sent), "{report}");
    assert_eq!(report.latency.count(), report.sent);
}
