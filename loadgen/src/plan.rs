//! What a run does: whom it asks, how much, how often, for how long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use twinring_cql::Consistency;

use crate::distribution::{Keys, Sizes};
use crate::link::Access;
use crate::workload::{Kind, Mix, VALUE_MIN_BYTES};

/// Most statements of a batch.
const BATCH_MAX: u16 = 1000;
/// Most texts of a kind.
const STATEMENTS_MAX: u32 = 100_000;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask.
    pub endpoint: SocketAddr,
    /// How to speak to it.
    pub access: Access,
    /// Keyspace of the table.
    pub keyspace: String,
    /// A table `(key bigint PRIMARY KEY, value blob)`; [`Plan::create_table`] makes it.
    pub table: String,
    /// What to send.
    pub mix: Mix,
    /// Statements of a batch (1 to 1000).
    pub batch: u16,
    /// Texts that are prepared of each kind, and used in turn (1 to 100,000): a single one by each
    /// connection, more by the first for all, as their ids follow from the texts.
    pub statements: u32,
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
    /// Keys of each connection.
    pub keys: u64,
    /// In which order they are used.
    pub key_order: Keys,
    /// Bytes of each value, at least [`VALUE_MIN_BYTES`].
    pub value_bytes: Sizes,
    /// Requests carry a timestamp of this client; without, the server gives it.
    pub client_stamps: bool,
    /// Written rows live this long (whole seconds); `None`: for ever.
    pub ttl: Option<u32>,
    /// Consistency level of the requests.
    pub consistency: Consistency,
    /// How long an answer may take after the last request before it counts as missing.
    pub patience: Duration,
    /// Stands in each value, so that runs can be told apart.
    pub run_id: u64,
    /// Kinds, keys and lengths follow from it.
    pub seed: u64,
    /// One thread bound to each of these cores; empty: one thread that the kernel places.
    pub cores: Vec<usize>,
    /// Never sleep between requests: exact, and a core at 100 %.
    pub spin: bool,
    /// Remember what was acknowledged, for [`crate::ledger::Ledger::check`].
    pub ledger: bool,
    /// Where the histograms of each second go; `None`: nowhere.
    pub log: Option<PathBuf>,
}

impl Plan {
    /// A run of writes on one connection; change what differs.
    #[must_use]
    pub fn new(endpoint: SocketAddr, keyspace: &str, table: &str) -> Plan {
        Plan {
            endpoint,
            access: Access::default(),
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            mix: Mix::only(Kind::Write),
            batch: 10,
            statements: 1,
            rate_per_s: 1000,
            connections: 1,
            depth: 128,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            keys: 10_000,
            key_order: Keys::Sequence,
            value_bytes: Sizes::Fixed(100),
            client_stamps: false,
            ttl: None,
            consistency: Consistency::LocalQuorum,
            patience: Duration::from_secs(5),
            run_id: 1,
            seed: 1,
            cores: Vec::new(),
            spin: false,
            ledger: true,
            log: None,
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
        ensure!(self.keys > 0, "no keys");
        ensure!(
            i64::try_from(self.keys).is_ok_and(|keys| keys < i64::MAX >> 18),
            "more keys than a bigint can tell apart"
        );
        ensure!(
            (1..=BATCH_MAX).contains(&self.batch),
            "a batch has 1 to {BATCH_MAX} statements"
        );
        ensure!(
            (1..=STATEMENTS_MAX).contains(&self.statements),
            "1 to {STATEMENTS_MAX} statements can be prepared"
        );
        ensure!(
            u64::from(self.batch) <= self.keys,
            "a batch has more statements than a connection has keys"
        );
        ensure!(
            self.value_bytes.range().0 >= VALUE_MIN_BYTES,
            "a value has at least {VALUE_MIN_BYTES} bytes"
        );
        ensure!(!self.duration.is_zero(), "a run of 0 s measures nothing");
        ensure!(
            self.cores.len() <= usize::from(self.connections),
            "more cores than connections: each core needs one of its own"
        );
        Ok(())
    }

    /// Threads of the run.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.cores.len().max(1)
    }

    /// The statement that makes the table.
    #[must_use]
    pub fn create_table(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (key bigint PRIMARY KEY, value blob)",
            self.table_name()
        )
    }

    /// The statement of a kind; `?` are key and value, or key alone. All turns do the same, and
    /// servers take them for statements of their own.
    #[must_use]
    pub fn statement(&self, kind: Kind, turn: u32) -> String {
        let mut text = self.first_statement(kind);
        if turn > 0 {
            text.push_str(&format!(" /* {turn} */"));
        }
        text
    }

    fn first_statement(&self, kind: Kind) -> String {
        let table = self.table_name();
        let ttl = self
            .ttl
            .map_or_else(String::new, |seconds| format!(" USING TTL {seconds}"));
        match kind {
            Kind::Write | Kind::Batch => {
                format!("INSERT INTO {table} (key, value) VALUES (?, ?){ttl}")
            }
            Kind::Lwt => {
                format!("INSERT INTO {table} (key, value) VALUES (?, ?) IF NOT EXISTS{ttl}")
            }
            Kind::Read => format!("SELECT value FROM {table} WHERE key = ?"),
            Kind::Delete => format!("DELETE FROM {table} WHERE key = ?"),
        }
    }

    fn table_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.table)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn bounds_are_checked() {
        let good = Plan::new("127.0.0.1:1".parse().unwrap(), "k", "t");
        good.check().unwrap();
        let spoil: [fn(&mut Plan); 12] = [
            |plan| plan.rate_per_s = 0,
            |plan| plan.connections = 0,
            |plan| plan.depth = 0,
            |plan| plan.depth = 40_000,
            |plan| plan.statements = 0,
            |plan| plan.statements = 100_001,
            |plan| plan.keys = 0,
            |plan| plan.keys = 5,
            |plan| plan.keys = u64::MAX,
            |plan| plan.value_bytes = Sizes::Uniform(23, 100),
            |plan| plan.duration = Duration::ZERO,
            |plan| plan.cores = vec![0, 1],
        ];
        for spoil in spoil {
            let mut plan = good.clone();
            spoil(&mut plan);
            assert!(plan.check().is_err(), "{plan:?}");
        }
    }

    #[test]
    fn statements_carry_the_time_to_live() {
        let mut plan = Plan::new("127.0.0.1:1".parse().unwrap(), "k", "t");
        plan.ttl = Some(60);
        let text = plan.statement(Kind::Lwt, 0);
        assert_eq!(
            text,
            "INSERT INTO k.t (key, value) VALUES (?, ?) IF NOT EXISTS USING TTL 60"
        );
        assert_eq!(
            plan.statement(Kind::Delete, 0),
            "DELETE FROM k.t WHERE key = ?"
        );
        assert_eq!(
            plan.statement(Kind::Delete, 7),
            "DELETE FROM k.t WHERE key = ? /* 7 */"
        );
    }
}
