//! The pure relay path so many times, for a tool that counts instructions; see `README.md`.
//!
//! `instructions COUNT [write|journaled|routed|read]`: a prepared INSERT read, stamped, answered
//! and mirrored, to a target of one node, without or with a record in the journal, or to the owner
//! of its token; or a prepared SELECT read and answered.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/steady.rs"]
mod steady;

use self::steady::Steady;

fn main() {
    let mut words = std::env::args().skip(1);
    let count: u32 = words.next().unwrap().parse().unwrap();
    let what = words.next().unwrap_or_default();
    let (is_read, is_routed) = (what == "read", what == "routed");
    let mut steady = match what.as_str() {
        "routed" => Steady::routed(100),
        "journaled" => Steady::journaled(100),
        _ => Steady::new(100),
    };
    for _ in 0..count {
        if is_read {
            steady.read();
        } else if is_routed {
            steady.routed_write();
        } else {
            steady.mirrored_write();
        }
    }
    println!("{count} requests");
}
