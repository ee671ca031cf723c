//! What the proxy counts, and how it is read.
//!
//! Each shard owns one [`Recorder`], the only writer of its [`ShardMetrics`]; the admin thread owns
//! the [`ShardView`]s and reads. No lock and no atomic read-modify-write lies between them:
//! counters
//! are plain loads and stores, histograms are handed over whole through a channel when asked.
//!
//! - `catalogue`: the names: label values, families with help and unit
//! - `shard`: the counters and their two ends
//! - `times`: time inside the proxy, as HDR histograms over the last minute
//! - `hub`: all shards together, as the admin thread sees them
//! - `export`: Prometheus and OpenMetrics text
//! - `report`: the same for a person and for `twinring status`, with the answer to
//!   "is it safe to cut over?"

mod catalogue;
mod export;
mod hub;
mod report;
mod shard;
mod times;

#[cfg(test)]
mod tests;

pub use catalogue::{Direction, Event, Flow, Gauge, RequestKind, Skip, TlsFailure, Verdict};
pub use export::{CONTENT_TYPE, export};
pub use hub::{Facts, Hub, Phase};
pub use report::{Cutover, Report, ShardReport, TimesReport, Totals, cutover, report};
pub use shard::{Recorder, ShardMetrics, ShardView, shards};
