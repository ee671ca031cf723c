//! What a run does: rate, keys, values, and which request comes when.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;

/// Bytes at the front of each value that say which write it is.
pub const VALUE_MIN_BYTES: usize = 16;

/// Reads, writes, or both in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Prepared INSERT.
    Write,
    /// Prepared SELECT by key.
    Read,
    /// One INSERT, one SELECT of the same key, and so on.
    Mixed,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask.
    pub endpoint: SocketAddr,
    /// Keyspace of the table.
    pub keyspace: String,
    /// A table `(key bigint PRIMARY KEY, value blob)`; [`Plan::create_table`] makes it.
    pub table: String,
    /// What to send.
    pub mode: Mode,
    /// Requests per second, over all connections.
    pub rate_per_s: u32,
    /// Connections, each with its own keys.
    pub connections: u16,
    /// Most requests without an answer on one connection (1 to 32,767).
    pub depth: u16,
    /// Not measured, so that caches are warm.
    pub warm_up: Duration,
    /// Measured, after the warm-up.
    pub duration: Duration,
    /// Keys of each connection; they are written again in the same order.
    pub keys: u64,
    /// Bytes of each value, at least [`VALUE_MIN_BYTES`].
    pub value_bytes: usize,
    /// Requests carry a timestamp of this client; without, the server gives it.
    pub client_stamps: bool,
    /// How long an answer may take after the last request before it counts as missing.
    pub patience: Duration,
    /// Stands in each value, so that runs can be told apart.
    pub run_id: u64,
}

/// One request of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whether it is an INSERT.
    pub write: bool,
    /// Value of the partition key.
    pub key: u64,
}

impl Plan {
    /// A short run of writes on one connection; change what differs.
    #[must_use]
    pub fn new(endpoint: SocketAddr, keyspace: &str, table: &str) -> Plan {
        Plan {
            endpoint,
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            mode: Mode::Write,
            rate_per_s: 1000,
            connections: 1,
            depth: 128,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            keys: 10_000,
            value_bytes: 100,
            client_stamps: false,
            patience: Duration::from_secs(5),
            run_id: 1,
        }
    }

    /// Checks the bounds that the fields name.
    ///
    /// # Errors
    /// The first that is not kept.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.rate_per_s > 0, "a rate of 0 sends nothing");
        ensure!(self.connections > 0, "no connections");
        ensure!(
            (1..=i16::MAX.unsigned_abs()).contains(&self.depth),
            "a connection has 1 to 32767 streams"
        );
        ensure!(
            self.keys > u64::from(self.depth),
            "more keys than requests in flight are needed, or two writes of a key would race"
        );
        ensure!(
            self.value_bytes >= VALUE_MIN_BYTES,
            "a value has at least {VALUE_MIN_BYTES} bytes"
        );
        Ok(())
    }

    /// The statement that makes the table.
    #[must_use]
    pub fn create_table(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {}.{} (key bigint PRIMARY KEY, value blob)",
            self.keyspace, self.table
        )
    }

    /// The statement that writes.
    #[must_use]
    pub fn insert(&self) -> String {
        let (keyspace, table) = (&self.keyspace, &self.table);
        format!("INSERT INTO {keyspace}.{table} (key, value) VALUES (?, ?)")
    }

    /// The statement that reads.
    #[must_use]
    pub fn select(&self) -> String {
        let (keyspace, table) = (&self.keyspace, &self.table);
        format!("SELECT value FROM {keyspace}.{table} WHERE key = ?")
    }

    /// What the `n`th request of a connection does.
    #[must_use]
    pub fn operation(&self, connection: u16, n: u64) -> Operation {
        let (write, turn) = match self.mode {
            Mode::Write => (true, n),
            Mode::Read => (false, n),
            Mode::Mixed => (n.is_multiple_of(2), n / 2),
        };
        let key = (turn % self.keys) * u64::from(self.connections) + u64::from(connection);
        Operation { write, key }
    }

    /// Appends the value that the `n`th request of a connection writes.
    pub fn push_value(&self, out: &mut Vec<u8>, n: u64) {
        let end = out.len() + self.value_bytes;
        out.extend_from_slice(&self.run_id.to_be_bytes());
        out.extend_from_slice(&n.to_be_bytes());
        out.resize(end, n.to_be_bytes()[7]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn plan(mode: Mode) -> Plan {
        Plan {
            mode,
            connections: 4,
            keys: 200,
            ..Plan::new("127.0.0.1:1".parse().unwrap(), "k", "t")
        }
    }

    #[test]
    fn no_two_connections_share_a_key() {
        let plan = plan(Mode::Write);
        let mut seen = std::collections::BTreeMap::new();
        for connection in 0..4 {
            for n in 0..1000 {
                let key = plan.operation(connection, n).key;
                assert_eq!(*seen.entry(key).or_insert(connection), connection);
            }
        }
        assert_eq!(seen.len(), 800);
    }

    #[test]
    fn mixed_reads_what_it_wrote_before() {
        let plan = plan(Mode::Mixed);
        for n in (0..1000).step_by(2) {
            let (first, second) = (plan.operation(1, n), plan.operation(1, n + 1));
            assert!(first.write && !second.write && first.key == second.key);
        }
    }

    #[test]
    fn bounds_are_checked() {
        let good = plan(Mode::Write);
        good.check().unwrap();
        let wrong = [
            Plan {
                rate_per_s: 0,
                ..good.clone()
            },
            Plan {
                connections: 0,
                ..good.clone()
            },
            Plan {
                depth: 0,
                ..good.clone()
            },
            Plan {
                depth: 40_000,
                ..good.clone()
            },
            Plan {
                keys: 128,
                ..good.clone()
            },
            Plan {
                value_bytes: 15,
                ..good
            },
        ];
        for plan in wrong {
            assert!(plan.check().is_err(), "{plan:?}");
        }
    }

    #[test]
    fn a_value_says_which_write_it_is() {
        let plan = plan(Mode::Write);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        plan.push_value(&mut one, 7);
        plan.push_value(&mut two, 7 + 256);
        assert_eq!(one.len(), plan.value_bytes);
        assert_ne!(one, two);
    }
}
