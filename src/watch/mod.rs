//! Keeps the shards' knowledge of both clusters' tables current: one connection to each cluster,
//! which hears of schema changes.
//!
//! On the control thread. A cluster is read at the start, when it says that its schema changed,
//! when a shard asks for it, and once a minute; a snapshot that differs goes to the shards. While
//! nothing can be read, the shards go on with what they know, or with the care that a table needs
//! of which nothing is known.

mod client;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use self::client::{Client, Failure};
use crate::config::{Cluster, Credentials, ProxyConfig};
use crate::side::Side;
use crate::tables::{COLUMNS_QUERY, Known, Reading, TABLES_QUERY, Tables};
use crate::tls::{Material, Outgoing};

/// Changes come in bursts, and a node may tell of one before all of it can be read.
const SETTLE: Duration = Duration::from_millis(100);
/// Everything is read again after this, event or not.
const PERIOD: Duration = Duration::from_secs(60);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The tasks that watch both clusters, and what they are told.
#[derive(Debug)]
pub struct Watch {
    source: watch::Sender<Wish>,
    target: watch::Sender<Wish>,
    /// The operator gave the target's credentials.
    own_credentials: bool,
}

/// What a task is told; a change wakes it.
#[derive(Clone, Debug, Default)]
struct Wish {
    credentials: Option<Credentials>,
    tls: Option<Outgoing>,
    /// Raised when somebody needs a fresh look.
    looks: u64,
}

impl Watch {
    /// Starts watching, on the runtime that this is called on. `tell` gets each new state.
    pub fn start(
        config: &ProxyConfig,
        material: &Material,
        tell: impl Fn(Arc<Known>) + Send + 'static,
    ) -> Self {
        let (sender, mut read) = mpsc::unbounded_channel();
        let follow = |side, cluster: &Cluster, credentials, tls: &Option<Outgoing>| {
            let (wishes, wished) = watch::channel(Wish {
                credentials,
                tls: tls.clone(),
                looks: 0,
            });
            let sender = sender.clone();
            let tell = move |tables| {
                let _ = sender.send((side, tables)); // at the end nobody listens any more
            };
            tokio::spawn(follow(side, cluster.clone(), wished, tell));
            wishes
        };
        let source = follow(Side::Source, &config.source, None, &material.source);
        let own = config.target_credentials.clone();
        let own_credentials = own.is_some();
        let target = follow(Side::Target, &config.target, own, &material.target);
        tokio::spawn(async move {
            let mut known = Known::default();
            while let Some((side, tables)) = read.recv().await {
                match side {
                    Side::Source => known.source = tables,
                    Side::Target | Side::Client => known.target = tables,
                }
                tell(Arc::new(known.clone()));
            }
        });
        Self {
            source,
            target,
            own_credentials,
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
        offer(&self.source);
        if !self.own_credentials {
            offer(&self.target);
        }
    }

    /// Connections to come use this.
    pub fn secure_with(&self, material: &Material) {
        let Material { source, target, .. } = material;
        self.source.send_modify(|wish| wish.tls.clone_from(source));
        self.target.send_modify(|wish| wish.tls.clone_from(target));
    }

    /// Somebody needs to know more than the last look told.
    pub fn look(&self) {
        self.source.send_modify(|wish| wish.looks += 1);
        self.target.send_modify(|wish| wish.looks += 1);
    }
}

/// Watches one cluster without end; `tell` gets each new state of its tables.
async fn follow(
    side: Side,
    cluster: Cluster,
    mut wishes: watch::Receiver<Wish>,
    tell: impl Fn(Arc<Tables>) + Send + Sync,
) {
    let mut pause = PAUSES.0;
    let mut reported = false;
    let mut last: Arc<Tables> = Arc::default();
    for point in (0..cluster.contact_points.len()).cycle() {
        let Some(address) = cluster.contact_points.get(point) else {
            return; // no contact points: nothing to watch
        };
        let host = cluster.name_of(*address);
        let why = session((*address, &host), &mut wishes, |tables| {
            (pause, reported) = (PAUSES.0, false);
            if *last != tables {
                if last.is_empty() {
                    tracing::info!(%side, tables = tables.len(), "the tables are known");
                }
                last = Arc::new(tables);
                tell(Arc::clone(&last));
            }
        })
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

/// Reads and listens until something fails.
async fn session(
    (address, host): (SocketAddr, &str),
    wishes: &mut watch::Receiver<Wish>,
    mut tell: impl FnMut(Tables) + Send,
) -> Failure {
    let Wish {
        credentials, tls, ..
    } = wishes.borrow_and_update().clone();
    let opened = async {
        let tls = tls.as_ref().map(|tls| (tls, host));
        let mut client = Client::connect(address, credentials.as_ref(), tls).await?;
        client.register().await?;
        Ok(client)
    };
    let mut client = match opened.await {
        Ok(client) => client,
        Err(why) => return why,
    };
    loop {
        client.forget_events();
        match read(&mut client).await {
            Ok(tables) => tell(tables),
            Err(why) => return why,
        }
        tokio::select! {
            heard = client.event() => if let Err(why) = heard {
                return why;
            },
            _ = wishes.changed() => {}
            () = sleep(PERIOD) => {}
        }
        sleep(SETTLE).await;
    }
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
    Ok(reading.finish())
}
