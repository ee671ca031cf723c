//! The pure relay path so many times, for a tool that counts instructions; see `README.md`.
//!
//! `instructions COUNT [write|read]`: a prepared INSERT read, stamped, answered and mirrored; or a
//! prepared SELECT read and answered.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/steady.rs"]
mod steady;

use self::steady::Steady;

fn main() {
    let mut words = std::env::args().skip(1);
    let count: u32 = words.next().unwrap().parse().unwrap();
    let is_read = words.next().is_some_and(|word| word == "read");
    let mut steady = Steady::new(100);
    for _ in 0..count {
        if is_read {
            steady.read();
        } else {
            steady.mirrored_write();
        }
    }
    println!("{count} requests");
}
