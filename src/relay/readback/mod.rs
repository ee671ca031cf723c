//! Conditional writes, and lists in doubt: only the source knows, so it is read back from there.
//!
//! ```text
//! touch     a conditional statement with its values → which rows and cells it may have changed
//! piece     bits of CQL with the values of their markers
//! look      one row to read: the SELECT, and its answer
//! compose   the answer → plain writes with the source's own stamps
//! stamps    which stamps the target's lists have
//! json      INSERT JSON names its key inside a document
//! ```
//! # Stamps
//! A cell that the source shows is written to the target with the source's WRITETIME and TTL: that
//! is exact, may be repeated, and needs no order. What the source does not show any more (a deleted
//! row, a cell that became null) has a stamp that no query tells: the ballot of the Paxos round. A
//! second look gives it one. It is taken after the *fence*, a moment behind the source's answer by
//! more than clocks differ: when every write that arrived before the fence has its verdict, what
//! the source shows holds all of them. Then a delete stamped with the fence hides exactly what the
//! source has hidden, and what comes later has a later stamp and wins on both sides. The same holds
//! for collections whose elements' stamps cannot be read (before Cassandra 5.0): they are written
//! whole with the fence's stamp. Where these can be read, an element or a field is a cell like any
//! other. What a statement has taken out of a set or map is asked for key by key: what is not there
//! is deleted with the fence's stamp, and what came back has a stamp of its own.
//!
//! Writes to lists that are not frozen cannot be repeated, so one whose outcome is unknown is read
//! back in the same way: the list is written whole, stamped with the moment of the look, until two
//! looks see the same. No two such writes may have the same stamp, or each element is there twice
//! (CASSANDRA-11368): no two looks share their moment, and one shard takes all looks at a table
//! with lists. It knows the stamps of the lists that it has sent, and so which lists the target has
//! from a write that is mirrored by itself.

mod compose;
mod json;
mod look;
mod piece;
mod stamps;
#[cfg(test)]
mod tests;
mod touch;

pub use compose::{Composed, Moment, compose};
pub use look::{Answer, Look, Touch};
pub(super) use piece::Bound;
pub use piece::Piece;
pub use stamps::ListStamps;
pub use touch::{Unclear, looks};

/// The source's clock may be behind ours by this (µs): a stamp that is older than the request less
/// this was not made by it.
const SLACK_US: i64 = 1_000_000;
