//! Flags, environment and file become one [`ProxyConfig`] that cannot be invalid: whoever holds
//! one need not check anything again.
//!
//! [`Settings`] is what was said, [`ProxyConfig::new`] checks it as a whole and reports everything
//! that is wrong at once. The seed proxy's options and what becomes of them are in [`compat`].

mod build;
pub mod compat;
mod error;
mod network;
mod resources;
mod secret;
mod settings;
mod summary;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use build::{Surroundings, read_file};
pub use error::{ConfigError, Problem};
pub use resources::LEVEL_WITH_BUNDLE;
pub use secret::Secret;
pub use settings::Settings;
pub use tls::{Authorities, ClientTls, Identity, ListenerTls, Verify};

/// A valid configuration of `twinring proxy`.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// TLS with clients; `None`: they connect in plain.
    pub listener_tls: Option<ListenerTls>,
    /// Where metrics, health and status are served; `None` with `--metrics false`.
    pub admin: Option<SocketAddr>,
    /// The cluster that decides.
    pub source: Cluster,
    /// The cluster that receives every write too.
    pub target: Cluster,
    /// Whether and how more nodes of the target are found; `None`: the contact points alone.
    pub discovery: Option<Discovery>,
    /// The user of the proxy's own connections to the source; `None`: a client's credentials are
    /// used there.
    pub source_credentials: Option<Credentials>,
    /// The target's own user; `None`: the client's credentials are used there too.
    pub target_credentials: Option<Credentials>,
    /// One shard on each of these, sorted, none twice, at least one.
    pub cores: Vec<usize>,
    /// How long a shard looks for work before it sleeps; zero: it sleeps at once; `None`: it looks
    /// where that takes no more processor time.
    pub busy_poll: Option<Duration>,
    /// Directory for the spill; not yet checked whether it can be written.
    pub data_dir: PathBuf,
    /// What drivers are told about the cluster.
    pub topology: Topology,
    /// What the proxy offers to clients instead of what the source offers.
    pub offer: Offer,
    /// How writes go to the target.
    pub mirror: Mirror,
    /// What happens to writes that the target cannot take now.
    pub spill: Spill,
    /// Bounds of client connections.
    pub clients: Clients,
    /// What survives the death of the process or of the machine.
    pub journal: Journal,
    /// File with the key that the spill is encrypted with; `None`: it is not.
    pub spill_key_file: Option<PathBuf>,
    /// How long a stop may take to finish what is in flight before the rest is spilled.
    pub drain_timeout: Duration,
    /// Log at debug level.
    pub debug: bool,
    /// Lines to log once at the start: what was accepted but is replaced, what was assumed.
    pub notices: Vec<String>,
}

/// Addresses of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Name in logs and metrics.
    pub identifier: String,
    /// Contact points in the order given, none twice, at least one without a bundle. A name that
    /// resolves to several addresses gives several; IPv6 addresses only where a name has no IPv4
    /// address.
    pub contact_points: Vec<SocketAddr>,
    /// For each contact point the name or address that the operator wrote.
    pub names: Vec<String>,
    /// TLS with its nodes; `None`: plain connections, or what the bundle says.
    pub tls: Option<ClientTls>,
    /// Secure connect bundle that leads to its nodes; no contact points are named then.
    pub bundle: Option<PathBuf>,
}

impl Cluster {
    /// The contact points, each with its name.
    #[must_use]
    pub fn points(&self) -> Vec<(SocketAddr, String)> {
        let points = self.contact_points.iter().copied();
        points.zip(self.names.iter().cloned()).collect()
    }

    /// The name of a node, as the operator wrote it; its address if it was found otherwise.
    #[must_use]
    pub fn name_of(&self, address: SocketAddr) -> String {
        let mut known = self.contact_points.iter().zip(&self.names);
        known
            .find(|(point, _)| **point == address)
            .map_or_else(|| address.ip().to_string(), |(_, name)| name.clone())
    }
}

/// How the target's nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The data centre whose nodes are used; `None`: that of the contact point that answers.
    pub data_center: Option<String>,
}

/// A user and a password for SASL PLAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password; never printed.
    pub password: Secret,
}

/// What drivers are told about the cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One proxy in front: drivers see it as the only node, peers are hidden.
    Single,
    /// A proxy on each source node, at the same port: peers are shown at the listening port, with
    /// the addresses of this map (`--ghostIps`) exchanged.
    PerNode {
        /// Node's address → address that drivers get.
        ghost_ips: BTreeMap<IpAddr, IpAddr>,
    },
    /// Several proxies apart from the nodes: drivers see them as the ring (`--advertise`).
    Ring {
        /// Where drivers reach each of them: addresses that differ, one port. In the order given,
        /// which is the same at all of them.
        proxies: Vec<SocketAddr>,
        /// Which of them this one is.
        own: usize,
    },
}

/// What the answer to OPTIONS says; empty lists leave the source's own answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Protocol versions that clients may use (3 to 5); others get a protocol error that makes
    /// drivers step down. Sorted.
    pub protocol_versions: Vec<u8>,
    /// CQL versions.
    pub cql_versions: Vec<String>,
    /// Compressions; meaningless when `no_compression`.
    pub compressions: Vec<String>,
    /// Offer no compression at all.
    pub no_compression: bool,
}

/// Which schema changes go to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorDdl {
    /// None.
    None,
    /// All but CREATE, ALTER and DROP KEYSPACE.
    Tables,
    /// All.
    All,
}

/// How writes go to the target.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Which schema changes go there.
    pub ddl: MirrorDdl,
    /// Replication map that replaces the one in CREATE and ALTER KEYSPACE; only with
    /// [`MirrorDdl::All`].
    pub replication: Option<String>,
    /// Statements whose whole text this matches are not mirrored (anchored at both ends).
    pub filter: Option<regex::Regex>,
    /// Patterns of keyspaces and tables that are mirrored alone; empty: all.
    pub include: Vec<(globset::Glob, globset::Glob)>,
    /// Patterns of those that are not.
    pub exclude: Vec<(globset::Glob, globset::Glob)>,
    /// How long a write may wait for company.
    pub linger: Duration,
    /// Writes of one shard without an answer of the target; 1 or more.
    pub in_flight: usize,
    /// In protocol v5 to those nodes that speak it; else in v4.
    pub v5: bool,
    /// Number of the consistency level of mirrored writes; `None`: the client's own.
    pub level: Option<u16>,
}

/// What a write that is not on the target yet survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process: a journal in memory that outlives it.
    Process,
    /// The death of the machine, too: a journal on disk, and an answer only after it is there.
    Machine,
    /// Neither: no journal.
    None,
}

impl Durability {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Machine => "machine",
            Self::None => "none",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let all = [Self::Process, Self::Machine, Self::None];
        all.into_iter().find(|durability| durability.word() == word)
    }
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// What it has to survive.
    pub durability: Durability,
    /// Its directory; `None`: in memory or below the data directory.
    pub dir: Option<PathBuf>,
    /// Address space of one shard's journal, in bytes.
    pub bytes: usize,
}

/// What happens when the disk space for the spill is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSpillFull {
    /// Reading from clients stops until there is room.
    Backpressure,
    /// Writes are dropped, counted, and their windows of time written down as dirty.
    DropAndMark,
}

/// What happens to writes that the target cannot take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spill {
    /// Disk space of all shards together, in bytes.
    pub max_bytes: u64,
    /// When it is used up.
    pub on_full: OnSpillFull,
    /// Space of its file system that the spill leaves free, in bytes.
    pub reserve_bytes: u64,
    /// A segment is closed before it grows beyond this, in bytes.
    pub segment_bytes: u64,
    /// Spilled writes per second that go to the target, all shards together; `None`: as fast as
    /// live writes allow.
    pub drain_rate: Option<u32>,
    /// For how long a table is taken to keep its deletes, unless the target says otherwise.
    pub assumed_gc_grace: Duration,
    /// Send spilled deletes that are older than that, too.
    pub force_old_deletes: bool,
}

impl Spill {
    /// For how long a table is taken to keep its deletes (µs).
    #[must_use]
    pub fn gc_grace_us(&self) -> i64 {
        i64::try_from(self.assumed_gc_grace.as_micros()).unwrap_or(i64::MAX)
    }

    /// A shard's part of the drain's rate, at least 1: an equal one; or if the first of `shards`
    /// drains what all have left, half for that one.
    #[must_use]
    pub fn drain_rate_of(&self, shard: usize, shards: usize, owners: usize) -> Option<u32> {
        let shards = u32::try_from(shards.max(1)).unwrap_or(u32::MAX);
        let part = |rate: u32| match (owners == 1 && shards > 1, shard) {
            (true, 0) => rate / 2,
            (true, _) => rate / 2 / (shards - 1),
            (false, _) => rate / shards,
        };
        self.drain_rate.map(|rate| part(rate).max(1))
    }

    /// Each shard's part of the disk space, in bytes. `taken`: what is not any shard's own.
    #[must_use]
    pub fn max_bytes_per_shard(&self, taken: u64, shards: usize) -> u64 {
        self.max_bytes.saturating_sub(taken) / u64::try_from(shards.max(1)).unwrap_or(u64::MAX)
    }
}

/// Bounds of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Most connections of the process, `--max-connections`.
    pub max_connections: usize,
    /// Largest envelope body, in bytes.
    pub max_envelope_bytes: usize,
    /// Unsent bytes towards a peer at which reading from the other side stops.
    pub out_high_water_bytes: usize,
    /// Unsent bytes at which reading goes on.
    pub out_low_water_bytes: usize,
    /// Idle connections are closed after this; `None`: never.
    pub idle_timeout: Option<Duration>,
}
