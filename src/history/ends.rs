//! The two clusters of a copy or comparison.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use super::args::{EndsArgs, Passwords};
use super::masks;
use super::schema::{self, Table};
use crate::offline::connect::Endpoint;
use crate::side::Side;

const MURMUR3: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// A connected cluster.
pub(crate) struct Cluster {
    pub side: Side,
    pub session: Session,
    /// It tells writetime and TTL of each element of a collection.
    pub per_element: bool,
    /// The tables of the keyspace.
    pub tables: BTreeMap<String, Table>,
}

/// Both clusters.
#[derive(Clone)]
pub(crate) struct Ends {
    pub source: Arc<Cluster>,
    pub target: Arc<Cluster>,
}

impl Ends {
    /// Connects to both.
    pub(crate) async fn connect(args: &EndsArgs, passwords: Passwords) -> Result<Ends> {
        let nodes = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        let source = nodes(&args.source);
        let target = args.target.as_deref().map(nodes).unwrap_or_default();
        let source = Endpoint {
            side: Side::Source,
            nodes: &source,
            port: args.source_port,
            username: args.source_username.as_deref(),
            password: passwords.source,
            tls: args.source_tls.load(Side::Source)?,
            doors: None,
        };
        let (tls, doors) = args.target_bundle.ways(&args.target_tls).await?;
        let target = Endpoint {
            side: Side::Target,
            nodes: &target,
            port: args.target_port,
            username: args.target_username.as_deref(),
            password: passwords.target,
            tls,
            doors,
        };
        let keyspace = &args.keyspace;
        let source = Cluster::connect(source, args.source_consistency.into(), keyspace).await?;
        let target = Cluster::connect(target, args.target_consistency.into(), keyspace).await?;
        Ok(Ends {
            source: Arc::new(source),
            target: Arc::new(target),
        })
    }

    /// The chosen tables, as they are at the source.
    ///
    /// Fails when one is not there, or is another table at the target.
    pub(crate) fn tables(&self, args: &EndsArgs) -> Result<Vec<Table>> {
        let tables = chosen(&self.source.tables, args)?;
        for table in &tables {
            let Some(other) = self.target.tables.get(&table.name) else {
                bail!(
                    "table {} is not at the target; create it, or let `copy --create-schema` do so",
                    table.shown()
                );
            };
            if let Some(difference) = table.differs_from(other) {
                bail!("table {} is not the same: {difference}", table.shown());
            }
        }
        Ok(tables)
    }
}

/// The tables of the source that are asked for.
pub(crate) fn chosen(tables: &BTreeMap<String, Table>, args: &EndsArgs) -> Result<Vec<Table>> {
    let keyspace = &args.keyspace;
    ensure!(
        !tables.is_empty(),
        "keyspace {keyspace} has no tables at the source (names are taken as they are, case \
         counts)"
    );
    if args.tables.is_empty() {
        return Ok(tables.values().cloned().collect());
    }
    let one = |name: &String| {
        let found = tables.get(name).cloned();
        found.with_context(|| format!("no table {name} in keyspace {keyspace} at the source"))
    };
    args.tables.iter().map(one).collect()
}

impl Cluster {
    async fn connect(
        endpoint: Endpoint<'_>,
        consistency: scylla::frame::types::Consistency,
        keyspace: &str,
    ) -> Result<Cluster> {
        let side = endpoint.side;
        let session = endpoint.builder(consistency).build().await;
        let session = session.with_context(|| endpoint.unreachable())?;
        let what = || format!("cannot read system.local at the {side}");
        let text = "SELECT release_version, partitioner FROM system.local";
        let answer = session
            .query_unpaged(text, &[])
            .await
            .with_context(what)?
            .into_rows_result()
            .with_context(what)?;
        let (release, partitioner): (String, String) = answer.single_row().with_context(what)?;
        ensure!(
            partitioner == MURMUR3,
            "the {side} uses {partitioner}; only the Murmur3Partitioner is supported"
        );
        let major = release.split('.').next().and_then(|part| part.parse().ok());
        let per_element = major.is_some_and(|major: u32| (5..1000).contains(&major));
        let mut tables = schema::load(&session, keyspace)
            .await
            .with_context(|| format!("at the {side}"))?;
        if let (Side::Source, true, Some(user)) = (side, per_element, endpoint.username) {
            masks::mark(&session, user, keyspace, &mut tables).await?;
        }
        Ok(Cluster {
            side,
            session,
            per_element,
            tables,
        })
    }

    /// Prepares a statement.
    pub(crate) async fn prepare(&self, text: &str) -> Result<PreparedStatement> {
        let side = self.side;
        let prepared = self.session.prepare(text).await;
        prepared.with_context(|| format!("the {side} cannot prepare: {text}"))
    }

    /// The tokens of all nodes, ascending.
    pub(crate) fn node_tokens(&self) -> Vec<i64> {
        let state = self.session.get_cluster_state();
        let ring = state.replica_locator().ring();
        let mut tokens: Vec<i64> = ring.iter().map(|(token, _)| token.value()).collect();
        tokens.sort_unstable();
        tokens
    }

    /// Learns the keyspace's tables anew.
    pub(crate) async fn reload(&mut self, keyspace: &str) -> Result<()> {
        self.tables = schema::load(&self.session, keyspace).await?;
        Ok(())
    }
}
