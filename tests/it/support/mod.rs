//! What the tests stand on: nodes, the proxy, a client, a comparison, writers with a ledger.

pub mod bulk;
pub mod cassandra;
pub mod cloud;
pub mod compare;
pub mod cql;
pub mod history;
pub mod lab;
pub mod ledger;
pub mod noise;
pub mod proxy;
pub mod tls;
pub mod wire;
