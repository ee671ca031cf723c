//! The pure relay path so many times, for a tool that counts instructions; see `README.md`.
//!
//! `instructions COUNT [write|routed|read]`: a prepared INSERT read, stamped, answered and
//! mirrored, to a target of one node or to the owner of its token; or a prepared SELECT read and
//! answered.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/steady.rs"]
mod steady;

use self::steady::Steady;

fn main() {
    let mut words = std::env::args().skip(1);
    let count: u32 = words.next().unwrap().parse().unwrap();
    let what = words.next().unwrap_or_default();
    let mut steady = match &*what {
        "routed" => Steady::routed(100),
        _ => Steady::new(100),
    };
    for _ in 0..count {
        match &*what {
            "read" => steady.read(),
            "routed" => steady.routed_write(),
            _ => steady.mirrored_write(),
        }
    }
    println!("{count} requests");
}
