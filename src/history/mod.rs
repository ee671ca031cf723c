//! What `copy` and `verify` both know of a table: its columns, its token ranges, how its rows are
//! read with the writetime and expiry of each cell, and how such cells are written.
//!
//! Values stay the bytes that the source sent: no codec of ours can change one.
//!
//! ```text
//! schema ─▶ select (texts) ─▶ scan (pages) ─▶ cells (bytes → cells with stamps)
//!                tokens (ranges) ─┘               └─▶ write (cells → statements)
//! ```

pub mod args;
pub(crate) mod cells;
pub(crate) mod complaint;
pub(crate) mod ends;
pub(crate) mod jobs;
mod masks;
pub(crate) mod progress;
pub(crate) mod scan;
pub(crate) mod schema;
pub(crate) mod select;
pub(crate) mod send;
pub(crate) mod throttle;
pub mod tokens;
pub(crate) mod value;
pub mod write;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::limits;

/// Runs a copy or a comparison to its end, on threads of its own.
///
/// Fails when it does, or when the threads cannot be started.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits::COPY_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// µs since 1970.
pub(crate) fn now_us() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

/// Seconds since 1970, begun ones not counted.
pub(crate) fn now_s() -> i64 {
    now_us() / 1_000_000
}
