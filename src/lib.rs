//! twinring moves a live system from one cluster that speaks the Cassandra native protocol to
//! another: every request goes to the *source*, every write also to the *target*, later, with the
//! same timestamp.
//!
//! # Threads
//! ```text
//!  core 0              core 1              …            any core
//! ┌─────────────────┐ ┌─────────────────┐            ┌──────────────────────────┐
//! │ shard 0         │ │ shard 1         │            │ main: signals, the clock │
//! │  own io_uring   │ │  own io_uring   │            │ admin: metrics, health   │
//! │  own listener   │ │  own listener   │            └───────────▲──────────────┘
//! │  clients+source │ │  clients+source │    counters: one writer, plain stores
//! │  target links   │ │  target links   │────────────────────────┘
//! │  spill files    │ │  spill files    │
//! │  inbox ◀────────┼─┼─▶ inbox         │    messages; nothing else is shared
//! └─────────────────┘ └─────────────────┘
//! ```
//! A shard is one glommio executor pinned to one core. Its main task drives an io_uring of its own
//! for all sockets; the executor's other tasks read and write spill files. The kernel deals clients
//! out to the shards (SO_REUSEPORT), and a client stays where it was dealt.
//!
//! # Life of a write
//! ```text
//! client ─bytes─▶ shard::clients ─envelope─▶ relay::session ── stamp if it has none ──▶ source
//!                                               │ keeps a copy for the target, and one in the
//!                                               │ journal, which survives the process
//! client ◀─────── answer, unchanged ◀───────────┴──────────── answer: the verdict ◀──── source
//!        applied ▶ relay::mirror ─▶ relay::route ─▶ relay::link ─▶ target  (never waited for)
//!        refused ▶ forgotten
//!        unknown ▶ sent to the source again, same stamp, until it answers
//! target down, slow, full ▶ spill ─▶ shard::drain ─▶ target, when it is back
//! ```
//!
//! # Who may use whom
//! `tests/tidy.rs` fails on any other arrow, on I/O or a clock in the pure modules, and on locks in
//! the data plane.
//!
//! | module | may use |
//! |---|---|
//! | [`limits`] [`side`] [`sys`] | nothing of ours |
//! | [`cql`] (a crate), [`metrics`], [`spill`], [`config`] | `limits`, `side` |
//! | [`journal`] (pure) | `spill`'s records, `limits`, `side` |
//! | [`tls`] | `config`, `metrics` (reasons), `limits`, `side` |
//! | [`statement`] | `cql`, `limits` |
//! | [`topology`] | `cql`, `statement`, `limits` |
//! | [`tables`] (pure) | `cql`, `limits` |
//! | [`cloud`] | `tls`, `config`, `limits` |
//! | [`watch`] | `cloud`, `tables`, `cql`, `config`, `limits`, `side` |
//! | [`relay`] (pure) | `cql`, `statement`, `tables`, `topology`, `journal` and below |
//! | [`shard`] | all of the above |
//! | [`proxy`] | `shard`, [`admin`], [`preflight`], [`watch`] and below |
//! | `offline` | `cloud`, `config`, `tls`, `sys`, `limits`, `side` |
//! | [`history`] | `offline`, `limits`, `side` |
//! | [`copy`], [`verify`] | `history`, `offline`, `limits`, `side`; `verify` also `copy`, `spill` |
//! | [`replay`] | `offline`, `spill`, `metrics`, `config`, `tables`, never `relay`, `shard` |
//! | [`admin`], [`status`] | `spill`, `metrics`, `config`, `tables`, never `relay`, `shard` |
//! | [`inspect`] | `journal`, `spill`, `limits`, `side` |
//! | [`rejects`] | `replay`, `spill` |
//! | [`demo`] | [`node`], `loadgen`, `metrics`, `status`, `sys`; the proxy as a process |
//! | [`node`] | `cql`, `statement`, `limits` |
//! | `loadgen` (a crate) | `cql` alone: the gauge must not share the bug |
//!
//! # Words
//! *Client, source, target*: the three sides. *Envelope*: header and body of the native protocol.
//! *Stamp*: a write timestamp (µs). *Verdict*: applied, refused or ambiguous. *Mirror*: the live
//! second write. *Spill*: the log of writes that the target could not take; *segment*: one of its
//! files. *Drain*: a running proxy working its spill off; *replay*: the same, offline. *Copy*:
//! what was written before the proxy stood; *history*: what copy and verify know of a table.
//! *Shard*: one core and all that it owns. *Session*: one client connection. *Link*: one
//! connection of the shard's own to a node.

pub use twinring_cql as cql;

pub mod admin;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod copy;
pub mod demo;
pub mod history;
pub mod inspect;
pub mod journal;
pub mod limits;
pub mod metrics;
pub mod node;
mod offline;
pub mod preflight;
pub mod proxy;
pub mod rejects;
pub mod relay;
pub mod replay;
pub mod shard;
pub mod side;
pub mod spill;
pub mod statement;
pub mod status;
pub mod sys;
pub mod tables;
pub mod tls;
pub mod topology;
pub mod verify;
pub mod watch;

#[cfg(test)]
mod tests;
