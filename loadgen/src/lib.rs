//! Open-loop load for servers that speak the Cassandra native protocol.
//!
//! The schedule stands before the first request is sent: request *g* is due at *g / rate*,
//! whatever the server does. Latency counts from that intended start, not from the moment the
//! request could be sent, so a server that stalls cannot hide the requests that had to wait
//! (`coordinated omission`). Requests sent late, never sent and never answered are counted and
//! shown; so is the service time, from the sending, which is what a closed loop would see.
//!
//! [`plan`] says what to do, [`workload`] and [`distribution`] which request comes when: all of it
//! follows from the seed. [`load`] does it: a thread for each core, a [`worker`] with its share of
//! the connections ([`lane`]), which follows the [`schedule`], measures ([`samples`]) and keeps the
//! [`ledger`] of acknowledged writes. [`collect`] brings the threads together second by second,
//! [`report`] is what comes out. [`compare`] runs endpoints in turns; [`sweep`] tries rate
//! after rate; [`check`] reads a table back,
//! against the ledger and against another cluster.
//!
//! It shares nothing with the proxy but the protocol's encoders: the gauge must not share the bug.

pub mod bootstrap;
pub mod check;
pub mod cli;
mod codec;
pub mod collect;
pub mod compare;
pub mod distribution;
mod lane;
pub mod ledger;
pub mod link;
pub mod load;
pub mod plan;
pub mod process;
pub mod report;
mod request;
mod samples;
pub mod schedule;
pub mod session;
pub mod sweep;
#[cfg(test)]
mod tests;
mod worker;
pub mod workload;

pub use compare::{Comparison, compare};
pub use load::{Load, run};
pub use plan::Plan;
pub use report::Report;
