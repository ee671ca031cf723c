//! A target that is far away: what its round trips cost, in virtual time.

use crate::cluster::{Health, TARGET};
use crate::weather::Forecast;
use crate::world::World;

/// To the target and back (µs).
const ROUND_US: i64 = 30_000;
const WRITES: usize = 100;
const SEED: u64 = 9;

/// A world without faults whose target is far away. `partitions`: whose lists are written to.
fn far(partitions: usize) -> World {
    let calm = Forecast {
        lists: Some(partitions),
        ..Forecast::calm(WRITES)
    };
    // a seed whose limit of requests in flight is the usual one
    let mut world = World::new(SEED, |_| calm, false);
    assert_eq!(world.config.mirror.in_flight, 1_024);
    world.clusters[TARGET].nodes[0].service_us = (ROUND_US, ROUND_US);
    world
}

/// Elements of lists that the target has.
fn at_target(world: &World) -> usize {
    let facts = world.clusters[TARGET].model.facts().into_iter();
    facts.filter(|fact| !fact.element.is_empty()).count()
}

/// How many round trips pass from now until the target has all.
fn rounds(world: &mut World) -> usize {
    let begun_us = world.core.now_us;
    let late_us = begun_us + 60_000_000;
    while at_target(world) < WRITES && world.core.now_us < late_us && world.step() {}
    assert!(world.complaints.is_empty(), "{:?}", world.complaints);
    usize::try_from((world.core.now_us - begun_us) / ROUND_US).unwrap()
}

#[test]
fn lists_of_a_partition_take_a_round_trip_each_and_partitions_share_theirs() {
    let [one, many] = [1, WRITES].map(|partitions| {
        let mut world = far(partitions);
        // the proxy connects, and the client prepares its statements
        while world.ledger.deeds.is_empty() && world.step() {}
        rounds(&mut world)
    });
    println!("{WRITES} list writes: {one} round trips in one partition, {many} in {WRITES}");
    assert!(one >= WRITES);
    // what the source takes, the target's own PREPARE, a tick of housekeeping
    assert!(many <= 10, "{many}");
}

#[test]
fn the_drain_has_partitions_share_their_round_trips_too() {
    let [one, many] = [1, WRITES].map(|partitions| {
        let mut world = far(partitions);
        world.set_health(TARGET, 0, Health::Down);
        while !world.clients[0].is_done() && world.step() {}
        let until_us = world.core.now_us + 3_000_000; // all is in the spill
        while world.core.now_us < until_us && world.step() {}
        world.set_health(TARGET, 0, Health::Up);
        // after those with which the node is tried
        while at_target(&world) < 3 && world.step() {}
        rounds(&mut world)
    });
    println!("{WRITES} list writes of the spill: {one} round trips or {many}");
    assert!(one >= WRITES - 3);
    assert!(many <= 10, "{many}");
}
