//! The proxy as a real process between real Cassandra nodes, with real drivers.
//!
//! `cargo test --test it`; `tests/README.md` says what it needs and how to run one suite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "test code: it may wait, and a panic is its verdict"
)]

mod at_size;
mod bundle;
mod copy;
mod crash;
mod disk;
mod drivers;
mod faults;
mod logins;
mod lwt;
mod matrix;
mod nodes;
mod noise;
mod outages;
mod probes;
mod random;
mod replay;
mod ring;
mod robust;
mod schemas;
mod self_check;
mod support;
mod tls;
mod verify;
