//! Open-loop load for servers that speak the Cassandra native protocol.
//!
//! The schedule stands before the first request is sent: request *g* is due at *g / rate*,
//! whatever the server does. Latency counts from that intended start, not from the moment the
//! request could be sent, so a server that stalls cannot hide the requests that had to wait.
//! Requests sent late, never sent and never answered are counted and shown.
//!
//! [`plan`] says what to do; [`load`] does it: two threads for each connection, a [`sender`] that
//! follows the [`schedule`] and a [`receiver`] that measures and keeps the [`ledger`] of
//! acknowledged writes; [`report`] is what comes out. [`compare`] runs two endpoints in turns;
//! [`check`] reads a table back, against the ledger and against another cluster.
//!
//! It shares nothing with the proxy but the protocol's encoders: the gauge must not share the bug.

pub mod check;
pub mod cli;
pub mod compare;
pub mod ledger;
pub mod load;
pub mod plan;
mod receiver;
pub mod report;
pub mod schedule;
mod sender;
pub mod session;
#[cfg(test)]
mod tests;

pub use compare::{Comparison, compare};
pub use load::{Load, run};
pub use plan::{Mode, Plan};
pub use report::Report;
