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

use std::time::UNIX_EPOCH;

/// µs since 1970.
pub fn now_us() -> i64 {
    let elapsed = UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(elapsed.as_micros()).unwrap()
}
