//! The nodes behind a secure connect bundle, for a driver that knows addresses alone.
//!
//! ```text
//! driver ─plain─▶ 127.0.0.1:PORT, one for each node ─TLS, the node's name (SNI)─▶ router ─▶ node
//! ```
//! The driver gives all connections one TLS context and an IP as the server's name, so it cannot
//! ask a router for a node. A door does it: a listener on a port of loopback, whose connections go
//! to one node. The driver's contact point is a door to any node; which door a node has that it
//! finds, the address translator says, by the host id.
//!
//! A door takes connections of this process alone ([`is_own_connection`]): else whoever may log in
//! to this machine would pass by the bundle's certificate, and need but a password.
#![allow(clippy::disallowed_types)] // locks: no shard is near

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::metadata::Peer;
use scylla::errors::TranslationError;
use scylla::policies::address_translator::{AddressTranslator, UntranslatedPeer};
use scylla::policies::host_filter::HostFilter;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::TargetTlsArgs;
use crate::cloud::{self, Nodes};
use crate::config::ConfigError;
use crate::side::Side;
use crate::sys::own::is_own_connection;
use crate::sys::socket::{StreamOptions, set_stream_options};
use crate::tls::{Outgoing, SecureError};

/// How long one try to reach a node may take: less than the driver waits, which then knows why.
const TRY: Duration = Duration::from_secs(4);
/// The service is not asked again sooner.
const ASK_PAUSE: Duration = Duration::from_secs(5);
/// After a connection could not be taken: there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes on their way through a door, in each direction.
const BUFFER_BYTES: usize = 64 << 10;

/// The flag that names a bundle; its name and its meaning are those of the proxy's.
#[derive(Clone, Debug, Default, Args)]
pub struct TargetBundleArgs {
    /// Secure connect bundle of the target, instead of TARGET and of all flags about its nodes and
    /// TLS with them: the zip file that Astra DB hands out
    #[arg(
        long,
        value_name = "FILE",
        env = "TWINRING_TARGET_SECURE_CONNECT_BUNDLE",
        conflicts_with_all = [
            "target", "target_port", "target_tls_ca", "target_tls_cert", "target_tls_key",
            "target_tls_password_file", "target_tls_verify", "target_tls_name",
        ]
    )]
    pub target_secure_connect_bundle: Option<PathBuf>,
}

impl TargetBundleArgs {
    /// The bundle's file, if one is named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.target_secure_connect_bundle.as_deref()
    }

    /// How the target is reached: by TLS as `tls` says, or through the doors to the nodes that the
    /// bundle leads to. Neither: plain connections.
    ///
    /// # Errors
    /// Flags or files that cannot work, or a service that does not say where the nodes are.
    pub(crate) async fn ways(
        &self,
        tls: &TargetTlsArgs,
    ) -> Result<(Option<Arc<ClientConfig>>, Option<Doors>)> {
        let Some(bundle) = self.path() else {
            return Ok((tls.load(Side::Target)?, None));
        };
        ensure!(
            tls.disable != Some(true),
            "--disable-target-tls: says what --target-secure-connect-bundle says; remove one of \
             the two"
        );
        Ok((None, Some(Doors::open(bundle).await?)))
    }
}

/// The doors to a cluster's nodes. They stay open until the runtime ends.
#[derive(Clone)]
pub(crate) struct Doors {
    shared: Arc<Shared>,
    /// The door to any node.
    any: SocketAddr,
}

struct Shared {
    bundle: PathBuf,
    tls: TlsConnector,
    nodes: Mutex<Nodes>,
    /// When the service was asked last.
    asked: tokio::sync::Mutex<Instant>,
    /// Doors by the name of the node.
    open: tokio::sync::Mutex<HashMap<String, SocketAddr>>,
    /// Why a node could not be reached the last time; `None`: it could.
    failure: Mutex<Option<String>>,
}

impl Doors {
    async fn open(bundle: &Path) -> Result<Doors> {
        let outgoing = Outgoing::of_bundle(bundle).map_err(ConfigError::from)?;
        let shared = Arc::new(Shared {
            bundle: bundle.to_owned(),
            tls: TlsConnector::from(outgoing.config),
            nodes: Mutex::new(ask(bundle).await?),
            asked: tokio::sync::Mutex::new(Instant::now()),
            open: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        });
        let any = open_door(&shared, None).await;
        let any = any.context("cannot listen on a port of 127.0.0.1")?;
        Ok(Doors { shared, any })
    }

    /// Where they lead.
    pub(crate) fn bundle(&self) -> &Path {
        &self.shared.bundle
    }

    /// Why a node could not be reached the last time; `None`: it could.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.shared.failure).clone()
    }

    /// Has sessions go through the doors.
    pub(crate) fn apply(&self, builder: SessionBuilder) -> SessionBuilder {
        let (translator, filter) = (self.shared.clone(), self.shared.clone());
        builder
            .known_node_addr(self.any)
            .address_translator(Arc::new(ByName(translator)))
            .host_filter(Arc::new(Near(filter)))
    }
}

async fn ask(bundle: &Path) -> Result<Nodes> {
    let path = bundle.to_owned();
    let answer = spawn_blocking(move || cloud::ask(&path)).await?;
    answer.map_err(|why| {
        let mend = cloud::MEND;
        anyhow::anyhow!("the bundle of the target leads to no nodes: {why}; {mend}")
    })
}

/// Finds the door of a node by its host id, which is its name.
struct ByName(Arc<Shared>);

#[async_trait]
impl AddressTranslator for ByName {
    async fn translate_address(
        &self,
        peer: &UntranslatedPeer,
    ) -> Result<SocketAddr, TranslationError> {
        let name = peer.host_id().to_string();
        let mut open = self.0.open.lock().await;
        if let Some(door) = open.get(&name) {
            return Ok(*door);
        }
        let door = open_door(&self.0, Some(name.clone())).await;
        let door = door.map_err(|error| TranslationError::IoError(Arc::new(error)))?;
        open.insert(name, door);
        Ok(door)
    }
}

/// Leaves the nodes of other data centres alone, to which the router does not lead.
struct Near(Arc<Shared>);

impl HostFilter for Near {
    fn accept(&self, peer: &Peer) -> bool {
        let nodes = lock(&self.0.nodes);
        is_near(
            &nodes,
            &peer.host_id.to_string(),
            peer.datacenter.as_deref(),
        )
    }
}

fn is_near(nodes: &Nodes, name: &str, center: Option<&str>) -> bool {
    nodes.center.is_none()
        || nodes.center.as_deref() == center
        || nodes.points.iter().any(|(_, named)| named == name)
}

/// Opens a door to the node of this name; `None`: to any.
async fn open_door(shared: &Arc<Shared>, name: Option<String>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((near, from)) => {
                    let (shared, name) = (Arc::clone(&shared), name.clone());
                    tokio::spawn(async move { shared.pass(near, (from, at), name).await });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(at)
}

impl Shared {
    /// Serves one connection, until a side ends it.
    async fn pass(
        &self,
        mut near: TcpStream,
        (from, at): (SocketAddr, SocketAddr),
        name: Option<String>,
    ) {
        match spawn_blocking(move || is_own(from, at)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                tracing::warn!(%from, "a connection of another process to {at} was refused");
                return;
            }
            Ok(Err(error)) => {
                let words = format!("it is not known whose a connection is: /proc: {error}");
                return self.failed(words);
            }
            Err(_) => return, // the runtime ends
        }
        let Some(mut far) = self.reach(name).await else {
            return;
        };
        let _ = near.set_nodelay(true);
        let sizes = BUFFER_BYTES;
        let passed = copy_bidirectional_with_sizes(&mut near, &mut far, sizes, sizes).await;
        // whether our certificate is taken is said after the handshake of TLS 1.3
        if let Err(error) = passed
            && let Some(words) = words_of_tls(&error)
        {
            self.failed(words);
        }
    }

    /// Keeps why, and says it if it is news.
    fn failed(&self, words: String) {
        let mut failure = lock(&self.failure);
        if failure.as_ref() != Some(&words) {
            tracing::warn!("a node behind the target's bundle cannot be reached: {words}");
            *failure = Some(words);
        }
    }

    /// Connects to the node called `name`; no name: to any, and the service is asked again before
    /// all is given up. `None`: it cannot be reached.
    async fn reach(&self, name: Option<String>) -> Option<TlsStream<TcpStream>> {
        let is_any = name.is_none();
        let ways = ways(&lock(&self.nodes), name.as_deref());
        let reached = self.first_of(&ways).await;
        if reached.is_some() || !is_any {
            return reached;
        }
        self.ask_again().await;
        let others = self::ways(&lock(&self.nodes), None);
        if others == ways {
            return None;
        }
        self.first_of(&others).await
    }

    async fn first_of(&self, ways: &[(SocketAddr, String)]) -> Option<TlsStream<TcpStream>> {
        for (address, name) in ways {
            let why = match timeout(TRY, self.shake(*address, name)).await {
                Ok(Ok(far)) => {
                    *lock(&self.failure) = None;
                    return Some(far);
                }
                Ok(Err(error)) => words_of_tls(&error).unwrap_or_else(|| error.to_string()),
                Err(_) => format!("no answer for {TRY:?}"),
            };
            // at once: the driver may not wait until all were tried
            self.failed(format!("{name} at {address}: {why}"));
        }
        None
    }

    async fn shake(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let far = TcpStream::connect(address).await?;
        set_stream_options(&far, &StreamOptions::default())?;
        self.tls.connect(name, far).await
    }

    /// Learns where the nodes are now, if that was not asked just before.
    async fn ask_again(&self) {
        let mut asked = self.asked.lock().await;
        if asked.elapsed() < ASK_PAUSE {
            return;
        }
        match ask(&self.bundle).await {
            Ok(nodes) => *lock(&self.nodes) = nodes,
            Err(why) => tracing::warn!("{why}"),
        }
        *asked = Instant::now();
    }
}

/// Each address with each name that may be asked for there.
fn ways(nodes: &Nodes, name: Option<&str>) -> Vec<(SocketAddr, String)> {
    let Some(name) = name else {
        return nodes.points.clone();
    };
    let mut addresses: Vec<_> = nodes.points.iter().map(|(address, _)| *address).collect();
    // its own first
    let own = nodes.points.iter().find(|(_, named)| named == name);
    let own = own.map(|(address, _)| *address);
    addresses.sort_by_key(|address| (Some(*address) != own, *address));
    addresses.dedup();
    let named = |address| (address, name.to_owned());
    addresses.into_iter().map(named).collect()
}

fn is_own(from: SocketAddr, at: SocketAddr) -> io::Result<bool> {
    const TRIES: u8 = 3; // the kernel's table may lose a line while sockets come and go
    let (SocketAddr::V4(from), SocketAddr::V4(at)) = (from, at) else {
        return Ok(false);
    };
    for _ in 0..TRIES {
        if is_own_connection(from, at)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Words for what TLS says; `None`: it is not TLS.
fn words_of_tls(error: &io::Error) -> Option<String> {
    let why = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(format!("TLS failed: {}", SecureError::from(why.clone())))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nodes(center: Option<&str>) -> Nodes {
        let at = |host: u8| SocketAddr::from(([10, 0, 0, host], 29_042));
        let points = [(1, "a"), (2, "b"), (1, "c")];
        let points = points.map(|(host, name)| (at(host), name.to_owned()));
        Nodes {
            points: points.into(),
            center: center.map(str::to_owned),
        }
    }

    #[test]
    fn a_node_is_asked_for_by_its_name_at_all_addresses() {
        let of = |name| {
            let ways = ways(&nodes(None), name);
            let ways = ways.iter().map(|(at, name)| format!("{name}@{}", at.ip()));
            ways.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(Some("b")), "b@10.0.0.2 b@10.0.0.1");
        assert_eq!(of(Some("c")), "c@10.0.0.1 c@10.0.0.2");
        assert_eq!(of(Some("new")), "new@10.0.0.1 new@10.0.0.2");
        assert_eq!(of(None), "a@10.0.0.1 b@10.0.0.2 c@10.0.0.1");
    }

    #[test]
    fn nodes_of_other_data_centres_are_left_alone() {
        let east = nodes(Some("east"));
        assert!(is_near(&east, "new", Some("east")));
        assert!(is_near(&east, "a", Some("west")));
        assert!(!is_near(&east, "new", Some("west")));
        assert!(is_near(&nodes(None), "new", Some("west")));
    }

    #[test]
    fn the_flag_stands_for_the_nodes_and_all_about_them() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            ends: crate::history::args::EndsArgs,
        }
        let parsed = |line: &str| {
            let words = ["tool", "--keyspace", "ks"].into_iter();
            let words = words.chain(line.split_whitespace());
            let line = <Line as clap::Parser>::try_parse_from(words);
            line.map_err(|error| error.to_string())
        };
        let bundle = "--target-secure-connect-bundle b.zip";
        let line = parsed(&format!("old {bundle} --disable-target-tls false")).ok();
        let line = line.unwrap().ends;
        assert_eq!(line.target_bundle.path(), Some(Path::new("b.zip")));
        assert_eq!(line.target, None);
        for more in ["new", "--target-port 9042", "--target-tls-verify none"] {
            let error = parsed(&format!("old {more} {bundle}")).err().unwrap();
            assert!(error.contains("cannot be used with"), "{error}");
        }
        let error = parsed("old").err().unwrap();
        assert!(error.contains("TARGET"), "{error}");
    }

    /// Whoever may log in to this machine has the door's port, not the bundle's certificate.
    #[tokio::test]
    async fn a_door_is_shut_for_other_processes() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(rustls::RootCertStore::empty());
        let router = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let behind = Nodes {
            points: vec![(router.local_addr().unwrap(), "a".to_owned())],
            center: None,
        };
        let shared = Arc::new(Shared {
            bundle: PathBuf::new(),
            tls: TlsConnector::from(Arc::new(config.with_no_client_auth())),
            nodes: Mutex::new(behind),
            asked: tokio::sync::Mutex::new(Instant::now()),
            open: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        });
        let door = open_door(&shared, Some("a".to_owned())).await.unwrap();

        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; ! read -r <&3", door.port());
        let stranger = tokio::process::Command::new("bash")
            .args(["-c", &script])
            .status();
        assert!(stranger.await.unwrap().success()); // the end, and no word
        let pause = Duration::from_millis(200);
        assert!(timeout(pause, router.accept()).await.is_err());

        let _ours = TcpStream::connect(door).await.unwrap();
        let (mut far, _) = router.accept().await.unwrap();
        let mut hello = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut far, &mut hello)
            .await
            .unwrap();
        assert_eq!(hello, [22, 3, 1]); // a handshake of TLS
    }

    #[tokio::test]
    async fn a_bundle_that_is_none_is_said_to_be() {
        let args = |path: &Path| TargetBundleArgs {
            target_secure_connect_bundle: Some(path.to_owned()),
        };
        let plain = TargetTlsArgs::default();
        let said = async |path: &Path, tls| args(path).ways(tls).await.err().unwrap();
        let words = async |path: &Path| format!("{:#}", said(path, &plain).await);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.zip");
        let missing = words(&path).await;
        let place = format!("--target-secure-connect-bundle {}", path.display());
        let expected = format!("{place}: cannot be read: No such file");
        assert!(missing.contains(&expected), "{missing}");
        std::fs::write(&path, "unpacked").unwrap();
        let other = words(&path).await;
        assert!(other.contains("is no zip file, or is damaged"), "{other}");
        assert!(other.contains("download the bundle"), "{other}");
        let tls = TargetTlsArgs {
            disable: Some(true),
            ..plain.clone()
        };
        let both = said(&path, &tls).await.to_string();
        assert!(both.contains("remove one of the two"), "{both}");
    }
}
