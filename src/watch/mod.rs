//! Keeps the shards' knowledge of both clusters' tables, and of the target's nodes, current: one
//! connection to each cluster, which hears of changes.
//!
//! On the control thread. A cluster is read at the start, when it says that its schema changed,
//! when a shard asks for it, and once a minute; a snapshot that differs goes to the shards. While
//! nothing can be read, the shards go on with what they know, or with the care that a table needs
//! of which nothing is known.

mod client;
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use self::client::{Client, Failure};
use crate::cloud;
use crate::config::{Cluster, Credentials, Discovery, ProxyConfig};
use crate::limits;
use crate::side::Side;
use crate::tables::{
    COLUMNS_QUERY, Known, MASKS_QUERY, MASKS_SINCE, Nodes, NodesReading, OWN_QUERY, PEERS_QUERY,
    PEERS_V2_QUERY, Reading, TABLES_QUERY, Tables,
};
use crate::tls::{Material, Outgoing};

/// Changes come in bursts, and a node may tell of one before all of it can be read.
const SETTLE: Duration = Duration::from_millis(100);
/// Everything is read again after this, event or not.
const PERIOD: Duration = Duration::from_secs(60);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Nodes that do not have the same schema are looked at again after this.
const AGREE_PAUSE: Duration = Duration::from_millis(100);

/// What the shards are told.
#[derive(Clone, Debug)]
pub enum News {
    /// The tables of both clusters.
    Tables(Arc<Known>),
    /// The nodes of the target.
    Nodes(Arc<Nodes>),
    /// The same, from the service that its bundle leads to: each with its address and its name.
    Points(Points),
    /// The question with this number is answered: the target's nodes have the same schema, or have
    /// not for so long that some must be down.
    Agreed(u64),
}

/// Nodes, each with its address and its name.
type Points = Arc<[(SocketAddr, String)]>;

/// What one task has found out.
enum Found {
    Tables(Arc<Tables>),
    Nodes(Arc<Nodes>),
    Points(Points),
    Agreed(u64),
}

/// The tasks that watch both clusters, and what they are told.
#[derive(Debug)]
pub struct Watch {
    source: watch::Sender<Wish>,
    target: watch::Sender<Wish>,
    /// Source and target: whether the operator gave no credentials for it.
    takes_logins: [bool; 2],
}

/// What a task is told; a change wakes it.
#[derive(Clone, Debug, Default)]
struct Wish {
    credentials: Option<Credentials>,
    tls: Option<Outgoing>,
    /// Raised when somebody needs a fresh look.
    looks: u64,
    /// The last question whether all nodes have the same schema.
    agreement: u64,
}

impl Watch {
    /// Starts watching, on the runtime that this is called on. `tell` gets each new state.
    pub fn start(
        config: &ProxyConfig,
        material: &Material,
        tell: impl Fn(News) + Send + 'static,
    ) -> Self {
        let (sender, mut read) = mpsc::unbounded_channel();
        let follow = |side, cluster: &Cluster, credentials, tls: &Option<Outgoing>| {
            let (wishes, wished) = watch::channel(Wish {
                credentials,
                tls: tls.clone(),
                ..Wish::default()
            });
            let sender = sender.clone();
            let tell = move |found| {
                let _ = sender.send((side, found)); // at the end nobody listens any more
            };
            let discovery = match side {
                Side::Target => config.discovery.clone(),
                Side::Source | Side::Client => None,
            };
            tokio::spawn(follow((side, discovery), cluster.clone(), wished, tell));
            wishes
        };
        let own = config.source_credentials.clone();
        let takes_logins = [own.is_none(), config.target_credentials.is_none()];
        let source = follow(Side::Source, &config.source, own, &material.source);
        let own = config.target_credentials.clone();
        let target = follow(Side::Target, &config.target, own, &material.target);
        tokio::spawn(async move {
            let mut known = Known::default();
            while let Some((side, found)) = read.recv().await {
                match (side, found) {
                    (Side::Source, Found::Tables(tables)) => known.source = tables,
                    (_, Found::Tables(tables)) => known.target = tables,
                    (_, Found::Nodes(nodes)) => {
                        tell(News::Nodes(nodes));
                        continue;
                    }
                    (_, Found::Points(points)) => {
                        tell(News::Points(points));
                        continue;
                    }
                    (_, Found::Agreed(question)) => {
                        tell(News::Agreed(question));
                        continue;
                    }
                }
                tell(News::Tables(Arc::new(known.clone())));
            }
        });
        Self {
            source,
            target,
            takes_logins,
        }
    }

    /// A client logged in: its login serves here too, unless the operator gave one.
    pub fn login(&self, credentials: &Credentials) {
        let offer = |wishes: &watch::Sender<Wish>| {
            wishes.send_if_modified(|wish| {
                let news = wish.credentials.as_ref() != Some(credentials);
                wish.credentials = Some(credentials.clone());
                news
            });
        };
        for (wishes, takes) in [&self.source, &self.target]
            .into_iter()
            .zip(self.takes_logins)
        {
            if takes {
                offer(wishes);
            }
        }
    }

    /// Connections to come use this.
    pub fn secure_with(&self, material: &Material) {
        let Material { source, target, .. } = material;
        self.source.send_modify(|wish| wish.tls.clone_from(source));
        self.target.send_modify(|wish| wish.tls.clone_from(target));
    }

    /// Somebody wants to know when all nodes of the target have the same schema.
    pub fn agree(&self, question: u64) {
        self.target.send_modify(|wish| wish.agreement = question);
    }

    /// Somebody needs to know more than the last look told.
    pub fn look(&self) {
        self.source.send_modify(|wish| wish.looks += 1);
        self.target.send_modify(|wish| wish.looks += 1);
    }
}

/// Watches one cluster without end; `tell` gets each new state.
async fn follow(
    (side, discovery): (Side, Option<Discovery>),
    cluster: Cluster,
    mut wishes: watch::Receiver<Wish>,
    tell: impl Fn(Found) + Send + Sync,
) {
    let mut pause = PAUSES.0;
    let mut reported = false;
    let mut unknown = false;
    let mut last: Arc<Tables> = Arc::default();
    let mut nodes: Arc<Nodes> = Arc::default();
    let mut named: Points = cluster.points().into();
    let mut turn = 0;
    loop {
        if let Some(bundle) = &cluster.bundle
            && let Some(found) = asked(bundle, &mut unknown).await
            && found != named
        {
            let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
            tracing::info!(%side, at = %found[0].0, ?names, "its nodes");
            named = found;
            tell(Found::Points(Arc::clone(&named)));
        }
        let points = known(&cluster, &named, &nodes);
        let Some((address, host)) = points.get(turn % points.len().max(1)) else {
            let _ = timeout(pause, wishes.changed()).await;
            pause = (pause * 2).min(PAUSES.1);
            continue;
        };
        turn += 1;
        let why = session(
            (&cluster, &named, *address, host),
            discovery.as_ref(),
            &mut wishes,
            |seen| match seen {
                Seen::Tables(tables) => {
                    (pause, reported) = (PAUSES.0, false);
                    if *last != tables {
                        if last.is_empty() {
                            tracing::info!(%side, tables = tables.len(), "the tables are known");
                        }
                        last = Arc::new(tables);
                        tell(Found::Tables(Arc::clone(&last)));
                    }
                }
                Seen::Nodes(seen) if *nodes != seen => {
                    tell_of_nodes(side, &seen, discovery.as_ref());
                    nodes = Arc::new(seen);
                    tell(Found::Nodes(Arc::clone(&nodes)));
                }
                Seen::Nodes(_) => {}
                Seen::Agreed(question) => tell(Found::Agreed(question)),
            },
        )
        .await;
        if !reported {
            reported = true;
            let need = match why {
                Failure::NoCredentials => "until a client logs in",
                _ => "it is tried again",
            };
            tracing::warn!(
                %side, node = %address,
                "the schema cannot be read: {why}; {need}; until then nothing is taken for granted \
                 about tables, and conditional writes wait to be read back"
            );
        }
        let _ = timeout(pause, wishes.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// All nodes that can be asked: those that were named first, then those that were found.
fn known(cluster: &Cluster, named: &Points, nodes: &Nodes) -> Vec<(SocketAddr, String)> {
    let others = nodes.near.iter();
    let others = others.filter(|node| !cluster.contact_points.contains(node));
    let others = others.map(|node| (*node, cluster.name_of(*node)));
    named.iter().cloned().chain(others).collect()
}

/// Asks the service that the bundle leads to where the nodes are; `None`: it does not say, which is
/// reported once.
async fn asked(bundle: &Path, unknown: &mut bool) -> Option<Points> {
    let path = bundle.to_owned();
    let answer = tokio::task::spawn_blocking(move || cloud::ask(&path)).await;
    match answer.ok()? {
        Ok(nodes) => {
            *unknown = false;
            Some(nodes.points.into())
        }
        Err(why) => {
            if !std::mem::replace(unknown, true) {
                tracing::warn!(
                    "the target's bundle leads to no nodes: {why}; it is asked again, and until \
                     then those that are known are used, if there are any"
                );
            }
            None
        }
    }
}

/// Tells the operator of the nodes that were found.
fn tell_of_nodes(side: Side, seen: &Nodes, discovery: Option<&Discovery>) {
    let Nodes {
        near, far, ring, ..
    } = seen;
    let by_token = near.len() > 1 && !ring.is_empty();
    tracing::info!(%side, ?near, ?far, by_token, "its nodes");
    let center = discovery.and_then(|wanted| wanted.data_center.as_deref());
    if let (true, Some(center)) = (near.is_empty(), center) {
        let centers = seen.centers.join(", ");
        tracing::error!(
            %side,
            "--target-dc {center}: no node is in this data centre, those of this cluster are: \
             {centers}; writes are kept in the spill until one is, or until the proxy is started \
             with another name"
        );
    }
}

/// What a session has seen.
enum Seen {
    Tables(Tables),
    Nodes(Nodes),
    Agreed(u64),
}

/// Reads and listens until something fails.
async fn session(
    (cluster, named, address, host): (&Cluster, &Points, SocketAddr, &str),
    discovery: Option<&Discovery>,
    wishes: &mut watch::Receiver<Wish>,
    mut tell: impl FnMut(Seen) + Send,
) -> Failure {
    let Wish {
        credentials, tls, ..
    } = wishes.borrow_and_update().clone();
    let opened = async {
        let tls = tls.as_ref().map(|tls| (tls, host));
        let mut client = Client::connect(address, credentials.as_ref(), tls).await?;
        client.register(discovery.is_some()).await?;
        Ok(client)
    };
    let mut client = match opened.await {
        Ok(client) => client,
        Err(why) => return why,
    };
    let mut agreed = 0;
    let mut nodes = named.to_vec();
    loop {
        client.forget_events();
        let looked = async {
            let wish = wishes.borrow().clone();
            if wish.agreement != agreed {
                agree(&nodes, &wish).await;
                agreed = wish.agreement;
                tell(Seen::Agreed(agreed));
            }
            if let Some(Discovery { data_center }) = discovery {
                let found = read_nodes(&mut client, address).await?;
                let found = found.finish(data_center.as_deref());
                nodes.clear();
                nodes.extend_from_slice(named);
                let near = found
                    .near
                    .iter()
                    .map(|node| (*node, cluster.name_of(*node)));
                nodes.extend(near);
                nodes.sort_unstable();
                nodes.dedup();
                tell(Seen::Nodes(found));
            }
            tell(Seen::Tables(read(&mut client).await?));
            Ok(())
        };
        if let Err(why) = looked.await {
            return why;
        }
        if wishes.borrow().agreement != agreed {
            continue; // asked meanwhile: writes wait for it
        }
        tokio::select! {
            heard = client.event() => if let Err(why) = heard {
                return why;
            },
            _ = wishes.changed() => {}
            () = sleep(PERIOD) => {}
        }
        if wishes.borrow().agreement == agreed {
            sleep(SETTLE).await;
        }
    }
}

/// Waits until all nodes have the same schema. Each is asked itself: of others a node knows what
/// was so a while ago. Those that cannot be asked cannot be written to either.
async fn agree(nodes: &[(SocketAddr, String)], wish: &Wish) {
    let limit = Instant::now() + Duration::from_millis(limits::SCHEMA_AGREEMENT_MS);
    let mut clients = Vec::new();
    for (node, host) in nodes {
        let tls = wish.tls.as_ref().map(|tls| (tls, host.as_str()));
        if let Ok(client) = Client::connect(*node, wish.credentials.as_ref(), tls).await {
            clients.push((*node, client));
        }
    }
    loop {
        let mut schemas = Vec::new();
        for (node, client) in &mut clients {
            let mut reading = NodesReading::new(*node);
            let asked = client.query(OWN_QUERY, |page| reading.own_page(page));
            if asked.await.is_ok() {
                schemas.push(reading.into_schema());
            }
        }
        if schemas.windows(2).all(|two| two[0] == two[1]) {
            return;
        }
        if Instant::now() > limit {
            tracing::warn!("the target's nodes do not agree on the schema");
            return;
        }
        sleep(AGREE_PAUSE).await;
    }
}

async fn read_nodes(client: &mut Client, here: SocketAddr) -> Result<NodesReading, Failure> {
    let mut reading = NodesReading::new(here);
    client
        .query(OWN_QUERY, |page| reading.own_page(page))
        .await?;
    let new = client
        .query(PEERS_V2_QUERY, |page| reading.peers_page(page))
        .await;
    match new {
        Err(Failure::Server(_)) => {
            client
                .query(PEERS_QUERY, |page| reading.peers_page(page))
                .await?;
        }
        new => new?,
    }
    Ok(reading)
}

async fn read(client: &mut Client) -> Result<Tables, Failure> {
    let mut reading = Reading::default();
    let release = "SELECT release_version FROM system.local";
    client
        .query(release, |page| reading.release_page(page))
        .await?;
    client
        .query(TABLES_QUERY, |page| reading.tables_page(page))
        .await?;
    client
        .query(COLUMNS_QUERY, |page| reading.columns_page(page))
        .await?;
    if reading.release() >= MASKS_SINCE {
        let masks = client.query(MASKS_QUERY, |page| reading.masks_page(page));
        match masks.await {
            // a node of this release that calls it otherwise: it has no such masks
            Ok(()) | Err(Failure::Server(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(reading.finish())
}
