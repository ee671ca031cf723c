//! Clusters that answer and cannot: a source that never says what became of a write, a node of the
//! target that has not heard of a table.

use crate::aside::Aside;
use crate::check;
use crate::client::Client;
use crate::cluster::{SOURCE, TARGET};
use crate::ledger::{Deed, Step};
use crate::weather::Forecast;
use crate::world::World;

const MINUTE_US: i64 = 60_000_000;

fn run_for(world: &mut World, time_us: i64) {
    let until_us = world.core.now_us + time_us;
    while world.core.now_us < until_us && world.step() {}
}

#[test]
fn a_write_that_fails_for_ever_is_in_doubt_in_the_end() {
    for error in ["write_failure", "server"] {
        fails_for_ever(error);
    }
}

fn fails_for_ever(error: &str) {
    let mut world = World::new(7, |_| Forecast::calm(1), false);
    world.clusters[SOURCE].set_faults(&[format!("kind=write->error={error}")]);
    run_for(&mut world, 2 * MINUTE_US);
    assert!(world.clients[0].is_done());
    assert!(!world.is_settled(), "it is still asked for");
    run_for(&mut world, 10 * MINUTE_US);
    assert!(world.is_settled(), "{}", world.owed());
    world.stop().unwrap();
    assert_eq!(check::all(&world), Vec::<String>::new());
    let deed = &world.ledger.deeds[0];
    let aside = Aside::read(world.folder.path(), &world.ledger, false);
    assert!(aside.names(&deed.table, &deed.key));
}

#[test]
fn a_node_that_has_not_heard_of_a_table_is_waited_for() {
    let slowly = |_: &mut _| Forecast {
        pause_us: 200_000,
        ..Forecast::calm(100)
    };
    let mut world = World::new(7, slowly, false);
    run_for(&mut world, 1_000_000); // the proxy knows the tables
    world.clusters[TARGET].set_faults(&["kind=write->absent".to_owned()]);
    run_for(&mut world, MINUTE_US);
    assert!(world.clients[0].is_done());
    assert!(!world.is_settled(), "they are still tried");
    world.clusters[TARGET].set_faults(&[]);
    world.settle().unwrap();
    world.stop().unwrap();
    assert_eq!(check::all(&world), Vec::<String>::new());
    let aside = Aside::read(world.folder.path(), &world.ledger, false);
    for deed in &world.ledger.deeds {
        assert!(!aside.names(&deed.table, &deed.key), "{deed:?}");
    }
}

/// What neither cluster can do: everything of the keyspace waits behind it, but not for ever.
#[test]
fn a_change_that_fails_for_ever_is_in_doubt_in_the_end() {
    let slowly = |_: &mut _| Forecast {
        pause_us: 50_000,
        ..Forecast::calm(600)
    };
    let mut world = World::new(7, slowly, false);
    let faults = ["kind=schema->error=server".to_owned()];
    world.clusters[SOURCE].set_faults(&faults);
    world.clusters[TARGET].set_faults(&faults);
    run_for(&mut world, 30 * MINUTE_US);
    assert!(world.clients[0].is_done());
    assert!(world.is_settled(), "{}", world.owed());
    world.stop().unwrap();
    let aside = Aside::read(world.folder.path(), &world.ledger, false);
    let told = |deed: &Deed| {
        let (_, name) = deed.table.split_once('.').unwrap_or(("", &deed.table));
        matches!(deed.step, Step::Created) && aside.names(&deed.table, name)
    };
    assert!(
        world.ledger.deeds.iter().any(told),
        "no CREATE TABLE is in doubt"
    );
}

/// One table, which most writes are for, cannot be written to at the target: the others arrive all
/// the same, out of the spill too, and all is well when it can be.
#[test]
fn a_table_that_fails_for_ever_holds_up_no_other() {
    let slowly = |_: &mut _| Forecast {
        pause_us: 2_000,
        clients: 4,
        schema: false,
        ..Forecast::calm(6_000)
    };
    let mut world = World::new(7, slowly, false);
    let fault = "kind=write,table=sim.u->error=server".to_owned();
    world.clusters[TARGET].set_faults(&[fault]);
    run_for(&mut world, 12 * MINUTE_US);
    assert!(world.clients.iter().all(Client::is_done));
    assert!(!world.is_settled(), "they are still tried");
    let others: Vec<_> = check::all(&world)
        .into_iter()
        .filter(|line| line.contains("differs") && !line.contains("sim.u"))
        .collect();
    assert_eq!(others, Vec::<String>::new());
    world.clusters[TARGET].set_faults(&[]);
    world.settle().unwrap();
    world.stop().unwrap();
    assert_eq!(check::all(&world), Vec::<String>::new());
}
