//! twinring: dual writes between two clusters that speak the Cassandra native protocol.

pub use twinring_cql as cql;

pub mod admin;
pub mod cli;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod preflight;
pub mod relay;
pub mod shard;
pub mod node;
pub mod side;
pub mod spill;
pub mod statement;
pub mod status;
pub mod replay;
pub mod side;
pub mod spill;
pub mod statement;
pub mod sys;
pub mod side;
pub mod spill;
pub mod statement;
pub mod sys;
pub mod topology;
pub mod proxy;
