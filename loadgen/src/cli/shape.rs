//! The flags that say what the load looks like and how an endpoint is spoken to.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use twinring_cql::{Compression, Consistency, Version};

use crate::distribution::{Keys, Sizes};
use crate::link::{Access, Credentials, Tls};
use crate::plan::Plan;
use crate::session::Session;
use crate::workload::Mix;

/// Where the password may stand, beside a file.
const PASSWORD_VARIABLE: &str = "LOADGEN_PASSWORD";

/// What the load looks like.
#[derive(Debug, Args)]
pub struct Shape {
    /// Requests per second, over all connections
    #[arg(long, value_name = "R", default_value_t = 1000)]
    pub rate: u32,
    /// Connections, each with its own keys
    #[arg(long, value_name = "C", default_value_t = 8)]
    pub connections: u16,
    /// Most requests without an answer on one connection
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub depth: u16,
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds before that
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub warm_up: f64,
    /// What to send, with weights: write, read, delete, batch, lwt
    #[arg(long, value_name = "KIND=WEIGHT,…", default_value = "write=1")]
    pub mix: Mix,
    /// Statements of a batch
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub batch: u16,
    /// Keyspace
    #[arg(long, value_name = "NAME", default_value = "loadgen")]
    pub keyspace: String,
    /// Table (key bigint PRIMARY KEY, value blob)
    #[arg(long, value_name = "NAME", default_value = "kv")]
    pub table: String,
    /// Make keyspace (one copy) and table first
    #[arg(long)]
    pub create: bool,
    /// Texts that are prepared of each kind, and used in turn; the first connection prepares those
    /// beyond one for all
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub statements: u32,
    /// Keys of each connection
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keys: u64,
    /// In which order they are used: sequence, uniform, zipf:EXPONENT
    #[arg(long, value_name = "ORDER", default_value = "sequence")]
    pub key_order: Keys,
    /// Bytes of a value: N, FROM-TO, or NxWEIGHT,NxWEIGHT,…
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub value_bytes: Sizes,
    /// Rows live this many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=630_720_000))]
    pub ttl: Option<u32>,
    /// Send timestamps, as most drivers do; without, the server gives them
    #[arg(long)]
    pub client_stamps: bool,
    /// Consistency level
    #[arg(long, value_enum, default_value = "local-quorum")]
    pub consistency: Level,
    /// Seconds that the last answers may take
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub patience: f64,
    /// Kinds, keys and lengths follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// One thread bound to each of these cores (0,2,3); without, one thread anywhere
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Never sleep between requests: takes the wake-up time of this program out of the latencies,
    /// and needs a core of its own
    #[arg(long)]
    pub spin: bool,
    /// How to speak to the endpoints.
    #[command(flatten)]
    pub speech: Speech,
}

/// How to speak to an endpoint.
#[derive(Debug, Args)]
pub struct Speech {
    /// Protocol version
    #[arg(long, value_name = "V", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(3..=5))]
    pub protocol_version: u8,
    /// Compression of the bodies
    #[arg(long, value_enum, default_value = "none")]
    pub compression: Codec,
    /// User, for servers that want a password
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File with the password; `-`: the variable LOADGEN_PASSWORD
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Speak TLS, and trust the certificates in this PEM file
    #[arg(long, value_name = "PEM")]
    pub tls_ca: Option<PathBuf>,
    /// The name in the server's certificate; without, its address must stand there
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub tls_name: Option<String>,
    /// Own certificate chain, for servers that want one
    #[arg(long, value_name = "PEM", requires = "tls_key", requires = "tls_ca")]
    pub tls_cert: Option<PathBuf>,
    /// The key to it
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Compressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// None.
    None,
    /// LZ4.
    Lz4,
    /// Snappy (v3 and v4).
    Snappy,
}

/// Consistency levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Any,
    One,
    LocalOne,
    Quorum,
    LocalQuorum,
    All,
}

impl Shape {
    /// The plan of a run at `endpoint`.
    ///
    /// # Errors
    /// A bound that is not kept, a file that cannot be read.
    pub fn plan(&self, endpoint: SocketAddr) -> anyhow::Result<Plan> {
        let seconds = |value| Duration::try_from_secs_f64(value).context("a time of the run");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let plan = Plan {
            access: self.speech.access()?,
            mix: self.mix,
            batch: self.batch,
            rate_per_s: self.rate,
            connections: self.connections,
            depth: self.depth,
            warm_up: seconds(self.warm_up)?,
            duration: seconds(self.duration)?,
            statements: self.statements,
            keys: self.keys,
            key_order: self.key_order,
            value_bytes: self.value_bytes.clone(),
            client_stamps: self.client_stamps,
            ttl: self.ttl,
            consistency: self.consistency.into(),
            patience: seconds(self.patience)?,
            run_id: u64::try_from(now.as_micros())?,
            seed: self.seed,
            cores: self.cores.clone(),
            spin: self.spin,
            ledger: false,
            log: None,
            ..Plan::new(endpoint, &self.keyspace, &self.table)
        };
        plan.check()?;
        Ok(plan)
    }
}

impl Speech {
    fn access(&self) -> anyhow::Result<Access> {
        let version = Version::from_number(self.protocol_version);
        let version = version.context("a protocol version")?;
        let compression = match self.compression {
            Codec::None => Compression::None,
            Codec::Lz4 => Compression::Lz4,
            Codec::Snappy => Compression::Snappy,
        };
        let snappy_v5 = version == Version::V5 && compression == Compression::Snappy;
        ensure!(!snappy_v5, "protocol v5 has no Snappy: take lz4");
        Ok(Access {
            version,
            compression,
            credentials: self.credentials()?,
            tls: self.tls()?,
        })
    }

    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else {
            return Ok(None);
        };
        let password = if file == Path::new("-") {
            std::env::var(PASSWORD_VARIABLE)
                .with_context(|| format!("read the variable {PASSWORD_VARIABLE}"))?
        } else {
            let text = std::fs::read_to_string(file);
            text.with_context(|| format!("read the password from {}", file.display()))?
        };
        Ok(Some(Credentials {
            user: user.clone(),
            password: password.trim_end_matches(['\r', '\n']).to_owned(),
        }))
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(roots) = &self.tls_ca else {
            return Ok(None);
        };
        let identity = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        Tls::new(roots, self.tls_name.as_deref(), identity).map(Some)
    }
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Consistency {
        match level {
            Level::Any => Consistency::Any,
            Level::One => Consistency::One,
            Level::LocalOne => Consistency::LocalOne,
            Level::Quorum => Consistency::Quorum,
            Level::LocalQuorum => Consistency::LocalQuorum,
            Level::All => Consistency::All,
        }
    }
}

/// Makes keyspace and table where the plan's endpoint leads.
///
/// # Errors
/// The server's own words.
pub fn create(plan: &Plan) -> anyhow::Result<()> {
    let mut session = Session::open(plan.endpoint, &plan.access)?;
    session.query(&format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
        plan.keyspace
    ))?;
    session.query(&plan.create_table())?;
    Ok(())
}

/// The address of `HOST:PORT`.
///
/// # Errors
/// It is none, or the host is not known.
pub fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("`{text}` is no HOST:PORT"))?;
    found
        .next()
        .with_context(|| format!("`{text}` has no address"))
}
