//! How often the pure parts take memory for one mirrored write and one read, in steady state.
//! Counts, so no machine is too noisy for them. `cargo test --test allocations`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "support/steady.rs"]
mod steady;

use self::steady::Steady;

const WARM_UP: u32 = 1_000;
const COUNTED: u32 = 1_000;

/// What a mirrored write takes: the memory of those before it (`relay::spare`).
const MIRRORED_WRITE: f64 = 0.0;
/// What a read takes.
const READ: f64 = 0.0;

fn per_call(mut call: impl FnMut()) -> f64 {
    for _ in 0..WARM_UP {
        call();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..COUNTED {
            call();
        }
    });
    let count = u32::try_from(counted.count_total).unwrap();
    f64::from(count) / f64::from(COUNTED)
}

fn assert_takes(most: f64, what: &str, call: impl FnMut()) {
    let found = per_call(call);
    assert!(found <= most + 0.05, "{found} allocations per {what}");
}

#[test]
fn a_mirrored_write_takes_memory_as_often_as_it_says() {
    let mut steady = Steady::new(100);
    assert_takes(MIRRORED_WRITE, "mirrored write", || steady.mirrored_write());
}

#[test]
fn its_record_in_the_journal_takes_no_more() {
    let mut steady = Steady::journaled(100);
    assert_takes(MIRRORED_WRITE, "journaled write", || {
        steady.mirrored_write();
    });
}

#[test]
fn a_write_that_goes_to_its_owner_takes_no_more() {
    let mut steady = Steady::routed(100);
    assert_takes(MIRRORED_WRITE, "routed write", || steady.routed_write());
}

#[test]
fn a_read_takes_no_memory() {
    let mut steady = Steady::new(100);
    assert_takes(READ, "read", || steady.read());
}
