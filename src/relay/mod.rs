//! What the proxy decides, without doing it: no I/O, no clock, no runtime.
//!
//! ```text
//! session    one client connection: requests in, answers in → bytes, outputs
//!   requests   QUERY, PREPARE, EXECUTE: stamps, writes, prepared statements     batches  BATCH
//!   generated  now(), uuid() and kin: one value for both clusters    hidden  the markers for it
//!   handshake  STARTUP, OPTIONS, AUTH_RESPONSE, events, system tables
//!   login      what of a client's login serves at the target
//!   inflight   what waits for the source's answer, by stream id
//!   verdict    what an answer says about a write
//!   held       answers that wait until their writes are on the disk
//! plan       how a statement text is treated, remembered per text and keyspace
//!   wanted     which tables are mirrored
//!   nature     how often it may be sent    expiry  when what it writes ends
//! registry   prepared statements by the source's id
//! write      one write on its way to the target
//! partition  which partition a write changes, where that is certain
//! readback   conditional writes: what the source made of them, as plain writes
//!   spare      memory of writes that are done
//! route      which of the target's nodes a write is for
//! mirror     the writes that a shard owes a cluster, and what becomes of each
//! breaker    how many requests a node is trusted with, and when again
//! link       one connection to a cluster: handshake, stream ids, prepared statements
//! ring       reads that tell drivers about the cluster, where proxies are shown as the ring
//! spilled    between a write and its record in the spill
//! clock      write timestamps          functions  values for now(), uuid() and kin
//! ```

mod batches;
pub mod breaker;
pub mod clock;
mod expiry;
pub mod functions;
mod generated;
mod handshake;
mod held;
pub mod hidden;
pub mod inflight;
pub mod link;
mod login;
pub mod mirror;
mod nature;
pub mod output;
pub mod partition;
pub mod plan;
pub mod readback;
pub mod registry;
mod requests;
pub mod ring;
pub mod route;
pub mod session;
pub mod spare;
pub mod spilled;
pub mod verdict;
pub mod wanted;
pub mod write;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod expiry_tests;
#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod tests;

pub use output::{Ending, News, Output};
pub use session::{Common, Context, Session, Taken};
