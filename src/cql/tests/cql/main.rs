//! Tests of the protocol core, by theme. All go through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod bytes;
mod frames;
#[path = "../../../../tests/fuzz/src/lib.rs"]
mod fuzz;
mod golden;
mod hostile;
mod properties;
