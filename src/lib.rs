//! twinring: dual writes between two clusters that speak the Cassandra native protocol.

pub use twinring_cql as cql;

pub mod spill;
pub mod statement;
pub mod cli;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod side;
pub mod sys;
