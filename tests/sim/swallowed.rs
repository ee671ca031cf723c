//! A node of the source that cannot be reached, and of which nobody says so: what it costs clients.

use crate::cluster::{Health, SOURCE};
use crate::weather::Forecast;
use crate::world::World;

const CLIENTS: usize = 12;
/// Longer than anything takes but a connect that nobody answers (µs).
const LONG_US: i64 = 1_500_000;
/// A connect is given up after 2 s; a tick of housekeeping notices it (µs).
const PATIENCE_US: i64 = 2_500_000;

/// How long each client waits from its connect until its write is acknowledged (µs).
fn waits(world: &mut World) -> Vec<i64> {
    let (mut begun, mut ended) = ([None; CLIENTS], [None; CLIENTS]);
    let late_us = world.core.now_us + 60_000_000;
    while ended.contains(&None) && world.core.now_us < late_us && world.step() {
        let now_us = world.core.now_us;
        for (at, client) in world.clients.iter().enumerate() {
            match client.wire {
                Some(_) => drop(begun[at].get_or_insert(now_us)),
                None => begun[at] = None, // it tries again
            }
            if client.is_done() {
                ended[at].get_or_insert(now_us);
            }
        }
    }
    let both = begun.iter().zip(&ended);
    both.map(|(begun, ended)| ended.unwrap() - begun.unwrap())
        .collect()
}

#[test]
fn few_clients_wait_for_a_node_that_swallows_connects() {
    let calm = Forecast {
        source_nodes: 2,
        clients: CLIENTS,
        ..Forecast::calm(CLIENTS)
    };
    let mut world = World::new(3, |_| calm, false);
    world.set_health(SOURCE, 0, Health::Gone);
    let first = waits(&mut world);
    let slow = |waits: &[i64]| waits.iter().filter(|us| **us > LONG_US).count();
    // half of them come before anybody knows, and all are served by the other node
    assert_eq!(slow(&first), CLIENTS / 2, "{first:?}");
    assert!(first.iter().all(|us| *us < PATIENCE_US), "{first:?}");

    for at in 0..CLIENTS {
        world.clients[at].left = 1;
        let wire = world.clients[at].wire.unwrap();
        world.cut(wire);
    }
    let second = waits(&mut world);
    assert_eq!(slow(&second), 1, "one finds out: {second:?}");
    assert!(second.iter().all(|us| *us < PATIENCE_US), "{second:?}");

    world.set_health(SOURCE, 0, Health::Up);
    let until_us = world.core.now_us + 6_000_000;
    while world.core.now_us < until_us && world.step() {}
    for _ in 0..2 {
        for at in 0..CLIENTS {
            world.clients[at].left = 1;
            let wire = world.clients[at].wire.unwrap();
            world.cut(wire);
        }
        let third = waits(&mut world);
        assert_eq!(slow(&third), 0, "{third:?}");
    }
}
