//! System calls per request, as counts: each call waits for something to happen and hands over all
//! that is to be sent, so there are no more of them than events, and many requests that come
//! together share them. `read`, `write` and `epoll` are not used on the way of a request.

use std::io::Write;
use std::time::{Duration, Instant};

use twinring::config::Durability;
use twinring::cql::request::{self, params::QueryParams};
use twinring::cql::{Consistency, Opcode};

use crate::world::{LIMIT, World, envelope, node};

/// For a mirrored write alone on its way: three hops, each with a send and what comes back.
const ALONE: f64 = 6.0;
/// For each of [`TOGETHER`] that come together.
const SHARED: f64 = 0.15;
const TOGETHER: i16 = 64;
const WARM_UP: u32 = 20;
const ROUNDS: u32 = 200;

/// Writes that come together, again and again: system calls per write.
fn calls(together: i16) -> f64 {
    let mut world = World::new(node(), Durability::Process);
    let params = QueryParams::new(Consistency::One);
    let mut bytes = Vec::new();
    for stream in 0..together {
        let text = format!("INSERT INTO ks.t (k, v) VALUES ({stream}, 2)");
        envelope(&mut bytes, stream, Opcode::Query, |w| {
            request::query::encode(w, &text, &params);
        });
    }
    let mut before = 0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            world.until_all_is_mirrored();
            before = world.net.ring.calls();
        }
        world.client.stream.write_all(&bytes).unwrap();
        let (mut left, began) = (together, Instant::now());
        while left > 0 {
            assert!(began.elapsed() < LIMIT, "{left} answers are missing");
            world.turn_within(Duration::from_secs(1));
            while world.client.take().is_some() {
                left -= 1;
            }
        }
    }
    world.until_all_is_mirrored();
    let calls = world.net.ring.calls() - before;
    let writes = u64::from(ROUNDS) * u64::try_from(together).unwrap();
    calls as f64 / writes as f64
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
