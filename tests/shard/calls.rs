//! System calls per request, as counts: each call hands over all that is to be sent and waits for
//! something to happen, of which a send that goes through is nothing, so there are no more of them
//! than things that come in, and many requests that come together share them. `read`, `write` and
//! `epoll` are not used on the way of a request.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use twinring::config::Durability;
use twinring::cql::request::{self, params::QueryParams};
use twinring::cql::{Consistency, Opcode};

use crate::world::{LIMIT, Line, World, envelope, node};

/// For a mirrored write alone on its way: the request, the source's answer, the target's, and one
/// to hand over what lingered. With a completion for each send it was 4.07.
const ALONE: f64 = 4.0;
/// For each of [`TOGETHER`] that come together.
const SHARED: f64 = 0.1;
const TOGETHER: i16 = 64;
const WARM_UP: u32 = 20;
const ROUNDS: u32 = 200;

/// Writes that come together, again and again: system calls per write.
fn calls(together: i16) -> f64 {
    let mut world = World::new(node(), Durability::Process);
    let address = world.client.stream.peer_addr().unwrap();
    let (warm, is_warm) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut client = Line::new(TcpStream::connect(address).unwrap());
        client.start();
        client.take_answers(1);
        let bytes = writes(together);
        for round in 0..WARM_UP + ROUNDS {
            if round == WARM_UP {
                warm.send(()).unwrap();
                may_go_on.recv().unwrap();
            }
            client.stream.write_all(&bytes).unwrap();
            client.take_answers(together);
        }
        client // open until all is counted
    });
    let began = Instant::now();
    while is_warm.try_recv().is_err() {
        assert!(began.elapsed() < LIMIT, "answers are missing");
        world.turn();
    }
    world.until_all_is_mirrored();
    let before = world.net.ring.calls();
    go_on.send(()).unwrap();
    while !client.is_finished() {
        assert!(began.elapsed() < LIMIT, "answers are missing");
        world.turn_within(Duration::from_millis(100));
    }
    world.until_all_is_mirrored();
    let calls = world.net.ring.calls() - before;
    client.join().unwrap();
    let writes = u64::from(ROUNDS) * u64::try_from(together).unwrap();
    calls as f64 / writes as f64
}

fn writes(together: i16) -> Vec<u8> {
    let params = QueryParams::new(Consistency::One);
    let mut bytes = Vec::new();
    for stream in 0..together {
        let text = format!("INSERT INTO ks.t (k, v) VALUES ({stream}, 2)");
        envelope(&mut bytes, stream, Opcode::Query, |w| {
            request::query::encode(w, &text, &params);
        });
    }
    bytes
}

#[test]
fn a_write_alone_takes_no_more_calls_than_it_has_events() {
    let found = calls(1);
    assert!(found <= ALONE, "{found} calls per write");
}

#[test]
fn writes_that_come_together_share_calls() {
    let found = calls(TOGETHER);
    assert!(found <= SHARED, "{found} calls per write");
}
