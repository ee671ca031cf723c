//! An application's ordinary life with the Rust driver (`scylla`), in a process with the test: the
//! orders and answers of `tests/it/drivers/python/ring.py`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What lets it in.
pub struct Access {
    pub user: &'static str,
    pub password: &'static str,
    pub tls: Arc<rustls::ClientConfig>,
}

pub struct Rust {
    runtime: Runtime,
    session: Session,
    prepared: HashMap<String, PreparedStatement>,
}

impl Rust {
    pub fn start(contact: Ipv4Addr, access: Access) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::Quorum)
            .request_timeout(Some(Duration::from_secs(60)));
        let session = SessionBuilder::new()
            .known_node(format!("{contact}:9042"))
            .user(access.user, access.password)
            .tls_context(Some(access.tls))
            .connection_timeout(Duration::from_secs(30))
            .default_execution_profile_handle(profile.build().into_handle());
        let session = runtime.block_on(session.build()).unwrap();
        Self {
            runtime,
            session,
            prepared: HashMap::new(),
        }
    }

    pub fn order(&mut self, words: &str) -> Value {
        let words: Vec<_> = words.split(' ').collect();
        match words[..] {
            ["hosts"] => {
                let state = self.session.get_cluster_state();
                let hosts = state.get_nodes_info().iter();
                let hosts = hosts.map(|node| node.address.to_string());
                json!(hosts.collect::<BTreeSet<_>>())
            }
            ["write", keyspace, first, count] => {
                let first: i32 = first.parse().unwrap();
                let keys = first..first + count.parse::<i32>().unwrap();
                self.write(keyspace, keys)
            }
            _ => panic!("{words:?}"),
        }
    }

    fn write(&mut self, keyspace: &str, keys: std::ops::Range<i32>) -> Value {
        let Self {
            runtime,
            session,
            prepared,
        } = self;
        let insert = prepared.entry(keyspace.to_owned()).or_insert_with(|| {
            let text = format!("INSERT INTO {keyspace}.rows (k, v) VALUES (?, ?)");
            let mut insert = runtime.block_on(session.prepare(text)).unwrap();
            insert.set_is_idempotent(true);
            insert
        });
        let (mut failed, mut steady) = (Vec::new(), 0);
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        for key in keys {
            let mut coordinators = BTreeSet::new();
            for value in ["first", "second"] {
                let written = session.execute_unpaged(insert, (key, value));
                match runtime.block_on(written) {
                    Ok(result) => {
                        let coordinator = result.request_coordinator().node().address;
                        let ip = coordinator.ip().to_string();
                        *by.entry(ip.clone()).or_default() += 1;
                        coordinators.insert(ip);
                    }
                    Err(error) => failed.push(error.to_string()),
                }
            }
            steady += usize::from(coordinators.len() == 1);
        }
        json!({"failed": failed, "by": by, "steady": steady})
    }
}
