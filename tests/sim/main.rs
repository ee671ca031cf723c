//! Deterministic simulation: the real shards over a clock, a network, a disk, clusters and clients
//! that are made up, and follow from a seed. See `tests/README.md`.
//!
//! ```text
//! main     seeds, and what to do with one that fails
//! world    everything together: lets time pass            core     the clock, what is to happen
//! process  the proxy, which is started, killed, stopped   traffic  what happens on connections
//! weather  what goes wrong, and when                      faults   it goes wrong
//! random   numbers from the seed                          aside    what the proxy has put aside
//! net      byte streams                                   disk     files
//! cluster  nodes that answer                              client   who asks
//! work     what is asked                                  ledger   what is known of its fate
//! check    what must be true in the end
//! far      how long lists take to a target that is far away
//! idle     what happens when nothing happens
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may
#![allow(clippy::print_stderr, clippy::print_stdout)]

mod aside;
mod check;
mod client;
mod cluster;
mod core;
mod disk;
mod far;
mod faults;
mod idle;
mod ledger;
mod net;
mod process;
mod random;
mod swallowed;
mod traffic;
mod unable;
mod weather;
mod work;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use self::weather::{Forecast, Scope};
use self::world::World;

/// Seeds of a run that nobody gave a number for.
const SEEDS: u64 = 400;

/// Seeds that have found something; they run always.
const NO_DEATHS: &[u64] = &[21, 53];
const DEATHS: &[u64] = &[47];

/// What a seed led to.
struct Outcome {
    wrong: Vec<String>,
    trace: Vec<String>,
    steps: u64,
}

fn run(seed: u64, scope: Scope, trace: bool) -> Outcome {
    let mut world = World::new(seed, |rng| Forecast::of(rng, scope), trace);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        world.live();
        let mut wrong = Vec::new();
        if let Err(words) = world.settle() {
            wrong.push(words);
        } else if let Err(words) = world.stop() {
            wrong.push(words);
        }
        wrong.extend(check::all(&world));
        wrong
    }));
    let wrong = lived.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        vec![format!("panicked: {}", words.unwrap_or_default())]
    });
    Outcome {
        wrong,
        trace: world.core.take_trace(),
        steps: world.core.steps,
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
    )
}

/// Runs many seeds, and shows what happened in the first that fails.
fn seeds(scope: Scope, share: u64) {
    if let Some(seed) = number("TWINRING_SIM_SEED") {
        return show(seed, scope);
    }
    let count = number("TWINRING_SIM_SEEDS")
        .unwrap_or(SEEDS)
        .div_ceil(share);
    let first = number("TWINRING_SIM_FIRST").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let known = if scope.kills { DEATHS } else { NO_DEATHS };
    for seed in known.iter().filter(|_| !scope.days) {
        if !run(*seed, scope, false).wrong.is_empty() {
            return show(*seed, scope);
        }
    }
    let goes_on = std::env::var_os("TWINRING_SIM_KEEP_GOING").is_some();
    let failed = AtomicU64::new(u64::MAX);
    let next = AtomicU64::new(first);
    let lane = &|| {
        let mut steps = 0;
        loop {
            #[allow(clippy::disallowed_methods)] // not on a request path
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let stops = !goes_on && failed.load(Ordering::Relaxed) != u64::MAX;
            if seed >= first + count || stops {
                return steps;
            }
            let outcome = run(seed, scope, false);
            steps += outcome.steps;
            if let Some(words) = outcome.wrong.first() {
                failed.fetch_min(seed, Ordering::Relaxed);
                eprintln!("seed {seed}: {words}");
            }
        }
    };
    let steps: u64 = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    match failed.into_inner() {
        u64::MAX => println!("{count} seeds, {steps} steps"),
        seed => show(seed, scope),
    }
}

fn show(seed: u64, scope: Scope) {
    let outcome = run(seed, scope, true);
    let name = std::env::temp_dir().join(format!("twinring-sim-{seed}.log"));
    std::fs::write(&name, outcome.trace.join("\n")).unwrap();
    assert!(
        outcome.wrong.is_empty(),
        "seed {seed} (again with TWINRING_SIM_SEED={seed}; what happened is in {}):\n{}",
        name.display(),
        outcome.wrong.join("\n")
    );
    println!(
        "seed {seed} is well; what happened is in {}",
        name.display()
    );
}

#[test]
fn nothing_is_lost_whatever_goes_wrong() {
    let scope = Scope {
        kills: false,
        days: false,
    };
    seeds(scope, 1);
}

#[test]
fn a_day_without_the_target_is_made_up_for() {
    let scope = Scope {
        kills: false,
        days: true,
    };
    seeds(scope, 20);
}

#[test]
fn a_proxy_that_dies_loses_no_write() {
    let scope = Scope {
        kills: true,
        days: false,
    };
    seeds(scope, 1);
}

#[test]
fn deaths_within_days_lose_no_write() {
    let scope = Scope {
        kills: true,
        days: true,
    };
    seeds(scope, 20);
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    let scope = Scope {
        kills: true,
        days: false,
    };
    for seed in 1..20 {
        let (one, other) = (run(seed, scope, true), run(seed, scope, true));
        let differ = one.trace.iter().zip(&other.trace).find(|(a, b)| a != b);
        assert!(differ.is_none(), "seed {seed}: {differ:?}");
        assert_eq!(one.steps, other.steps, "seed {seed}");
    }
}
