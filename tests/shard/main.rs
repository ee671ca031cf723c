//! One real shard on a real ring between stub nodes, turned by the test.
//!
//! ```text
//! world    the shard, its client, the nodes
//! durable  answers wait for the disk            calls  system calls per request, counted
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod calls;
mod durable;
mod world;
