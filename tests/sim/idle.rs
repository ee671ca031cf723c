//! What happens when nothing happens.

use crate::weather::Forecast;
use crate::world::World;

#[test]
fn an_idle_link_to_the_source_is_asked_whether_it_still_answers() {
    let mut world = World::new(1, |_| Forecast::calm(60), true);
    world.settle().unwrap();
    let until_us = world.core.now_us + 60_000_000;
    while world.core.now_us < until_us && world.step() {}
    let trace = world.core.take_trace();
    let count = |words: &str| {
        let about = |line: &&String| line.contains(" source conn ") && line.contains(words);
        trace.iter().filter(about).count()
    };
    // the client's connection and the shard's own, for conditional writes, which it keeps
    assert_eq!(count("op 0x01: ok"), 2);
    assert!(count("op 0x05: ok") >= 5, "{}", count("op 0x05: ok"));
}
