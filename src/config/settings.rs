//! Every setting once: the same names on the command line, in the environment and in the file.
//!
//! A flag `--some-name` is the variable `TWINRING_SOME_NAME` and the key `some-name`. The first of
//! flag, environment, file and default that says something wins. The order below is the order of
//! `--help`: what people set first comes first, the seed's leftovers come last.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::secret::Secret;
use super::value::{Cores, GhostIps, HostPort, Hosts, Patterns, Size, Span, Words, natural};

/// What the operator said; `None` is "nothing". [`Settings::over`] puts two sources together and
/// [`ProxyConfig::new`](super::ProxyConfig::new) checks and completes the result.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Source cluster, the one that decides: host[:port][,host[:port]…]
    #[arg(value_name = "SOURCE", env = "TWINRING_SOURCE")]
    #[serde(deserialize_with = "natural")]
    pub source: Option<Hosts>,
    /// Target cluster, the one that receives every write too: host[:port][,host[:port]…]
    #[arg(value_name = "TARGET", env = "TWINRING_TARGET")]
    #[serde(deserialize_with = "natural")]
    pub target: Option<Hosts>,
    /// Port of source hosts that name none [default: 9042]
    #[arg(long, value_name = "PORT", env = "TWINRING_SOURCE_PORT")]
    pub source_port: Option<u16>,
    /// Port of target hosts that name none [default: 9042]
    #[arg(long, value_name = "PORT", env = "TWINRING_TARGET_PORT")]
    pub target_port: Option<u16>,
    /// Port for clients on all addresses [default: 29042]
    #[arg(long, short = 'p', value_name = "PORT", env = "TWINRING_PROXY_PORT")]
    pub proxy_port: Option<u16>,
    /// Address for clients, IP or IP:PORT [default: 0.0.0.0 and --proxy-port]
    #[arg(long, value_name = "ADDR", env = "TWINRING_LISTEN")]
    pub listen: Option<String>,
    /// Cores that run a shard: a number (4) or a list (0,2-3) [default: all]
    #[arg(long, value_name = "LIST|N", env = "TWINRING_CORES")]
    #[serde(deserialize_with = "natural")]
    pub cores: Option<Cores>,
    /// How long a shard looks for work before it sleeps, in µs: latency for processor time, on
    /// cores that have nothing else to do; 0: it sleeps at once [default: where looking is cheaper]
    #[arg(long, value_name = "US", env = "TWINRING_BUSY_POLL_US")]
    pub busy_poll_us: Option<u64>,
    /// Directory for the spill [default: ./twinring-data]
    #[arg(long, value_name = "DIR", env = "TWINRING_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Secure connect bundle of the target, instead of TARGET and of all flags about its nodes and
    /// TLS with them: the zip file that Astra DB hands out
    #[arg(
        long,
        value_name = "FILE",
        env = "TWINRING_TARGET_SECURE_CONNECT_BUNDLE"
    )]
    pub target_secure_connect_bundle: Option<PathBuf>,
    /// User name of the proxy's own connections to the source, which settle writes of unknown fate
    /// and read back conditional ones, when it is not the client's own
    #[arg(long, value_name = "NAME", env = "TWINRING_SOURCE_USERNAME")]
    pub source_username: Option<String>,
    /// File whose first line is that user's password
    #[arg(long, value_name = "FILE", env = "TWINRING_SOURCE_PASSWORD_FILE")]
    pub source_password_file: Option<PathBuf>,
    /// That password; visible to others in the process list, so prefer --source-password-file or
    /// the variable
    #[arg(
        long,
        value_name = "WORD",
        env = "TWINRING_SOURCE_PASSWORD",
        hide_env_values = true
    )]
    #[serde(skip)]
    pub source_password: Option<Secret>,
    /// User name at the target, when it is not the client's own
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_USERNAME")]
    pub target_username: Option<String>,
    /// File whose first line is the password at the target
    #[arg(long, value_name = "FILE", env = "TWINRING_TARGET_PASSWORD_FILE")]
    pub target_password_file: Option<PathBuf>,
    /// Password at the target; visible to others in the process list, so prefer
    /// --target-password-file or the variable
    #[arg(
        long,
        value_name = "WORD",
        env = "TWINRING_TARGET_PASSWORD",
        hide_env_values = true
    )]
    #[serde(skip)]
    pub target_password: Option<Secret>,

    /// Find the target's other nodes, and use those of one data centre [default: true]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_TARGET_DISCOVERY")]
    pub target_discovery: Option<bool>,
    /// That data centre [default: that of the contact point that answers]
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_DC")]
    pub target_dc: Option<String>,

    /// What drivers see: `single` (this proxy alone), `per-node` (a proxy on each source node) or
    /// `ring` (those of --advertise) [default: single; per-node with --ghostIps; ring with
    /// --advertise]
    #[arg(long, value_name = "KIND", env = "TWINRING_TOPOLOGY")]
    pub topology: Option<String>,
    /// Addresses replaced in system.peers, as JSON: '{"10.0.0.1":"10.0.0.2"}'
    #[arg(
        long = "ghostIps",
        alias = "ghost-ips",
        value_name = "JSON",
        env = "TWINRING_GHOST_IPS"
    )]
    #[serde(deserialize_with = "natural", rename = "ghostIps")]
    pub ghost_ips: Option<GhostIps>,
    /// All proxies that stand apart from the nodes, the same list at each: drivers see them as the
    /// ring: ADDR[:PORT],… [default port: that of --listen]
    #[arg(long, value_name = "LIST", env = "TWINRING_ADVERTISE")]
    #[serde(deserialize_with = "natural")]
    pub advertise: Option<Hosts>,
    /// Which of them this proxy is: ADDR[:PORT] [default: the one equal to --listen]
    #[arg(long, value_name = "ADDR", env = "TWINRING_ADVERTISE_SELF")]
    #[serde(deserialize_with = "natural")]
    pub advertise_self: Option<HostPort>,
    /// When a client gets its answer: `async` (with the source's answer) [default: async]
    #[arg(long, value_name = "MODE", env = "TWINRING_MODE")]
    pub mode: Option<String>,
    /// Schema changes sent to the target: none, tables (all but keyspaces), all [default: tables]
    #[arg(long, value_name = "WHAT", env = "TWINRING_MIRROR_DDL")]
    pub mirror_ddl: Option<String>,
    /// Replication of keyspaces at the target, for --mirror-ddl all: "{'class': …}"
    #[arg(long, value_name = "MAP", env = "TWINRING_TARGET_REPLICATION")]
    pub target_replication: Option<String>,
    /// Statements whose whole text this regular expression matches go to the source only
    #[arg(long, value_name = "REGEX", env = "TWINRING_FILTER_TABLES")]
    pub filter_tables: Option<String>,
    /// Only these tables are mirrored: KEYSPACE.TABLE,… with * ? [a-z] {a,b} [default: all]
    #[arg(long, value_name = "PATTERNS", env = "TWINRING_INCLUDE")]
    #[serde(deserialize_with = "natural")]
    pub include: Option<Patterns>,
    /// These tables are not mirrored, even if --include names them: KEYSPACE.TABLE,…
    #[arg(long, value_name = "PATTERNS", env = "TWINRING_EXCLUDE")]
    #[serde(deserialize_with = "natural")]
    pub exclude: Option<Patterns>,
    /// How long a mirrored write may wait for company, in µs [default: 2000]
    #[arg(long, value_name = "US", env = "TWINRING_MIRROR_LINGER_US")]
    pub mirror_linger_us: Option<u64>,
    /// Mirrored writes of one shard without an answer of the target [default: 1024]
    #[arg(long, value_name = "N", env = "TWINRING_MIRROR_INFLIGHT")]
    pub mirror_inflight: Option<usize>,
    /// Newest protocol version spoken with the target, 4 or 5: where it speaks 5, cells expire when
    /// they do at the source however late a write arrives [default: 5]
    #[arg(long, value_name = "V", env = "TWINRING_TARGET_PROTOCOL_VERSION")]
    pub target_protocol_version: Option<u64>,
    /// Consistency level of mirrored writes, for a target that refuses what clients use: one,
    /// local_quorum, … [default: the client's own; with a bundle local_quorum]
    #[arg(long, value_name = "LEVEL", env = "TWINRING_TARGET_CONSISTENCY")]
    pub target_consistency: Option<String>,
    /// What a write survives before it is on the target: the death of the `process`, of the
    /// `machine` (answers wait for the disk), or `none` [default: process]
    #[arg(long, value_name = "WHAT", env = "TWINRING_DURABILITY")]
    pub durability: Option<String>,
    /// Directory for the journal [default: in /dev/shm, or the data directory's `journal`]
    #[arg(long, value_name = "DIR", env = "TWINRING_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,
    /// Largest journal of one shard; takes memory only as far as it is used, on a disk all of it
    /// [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "TWINRING_JOURNAL_BYTES")]
    #[serde(deserialize_with = "natural")]
    pub journal_bytes: Option<Size>,
    /// Disk space for the spill of all shards [default: 10GiB]
    #[arg(long, value_name = "SIZE", env = "TWINRING_SPILL_MAX_BYTES")]
    #[serde(deserialize_with = "natural")]
    pub spill_max_bytes: Option<Size>,
    /// Space of its file system that the spill leaves free [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "TWINRING_SPILL_RESERVE_BYTES")]
    #[serde(deserialize_with = "natural")]
    pub spill_reserve_bytes: Option<Size>,
    /// What happens when the spill is full: `backpressure` (stop reading from clients) or
    /// `drop-and-mark` (drop writes and write down what is dirty) [default: backpressure]
    #[arg(long, value_name = "POLICY", env = "TWINRING_ON_SPILL_FULL")]
    pub on_spill_full: Option<String>,
    /// Spilled writes per second that go to the target, 0 for as fast as live writes allow
    /// [default: 0]
    #[arg(long, value_name = "N", env = "TWINRING_DRAIN_RATE")]
    pub drain_rate: Option<u32>,
    /// For how long tables keep their deletes, where the target does not say [default: 10d]
    #[arg(long, value_name = "TIME", env = "TWINRING_ASSUME_GC_GRACE")]
    #[serde(deserialize_with = "natural")]
    pub assume_gc_grace: Option<Span>,
    /// Send spilled deletes that are older than that, too [default: false]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true", env = "TWINRING_FORCE_OLD_DELETES")]
    pub force_old_deletes: Option<bool>,
    /// File with the key that the spill is encrypted with: 32 raw bytes, or hexadecimal or base64;
    /// more lines are older keys, to read with
    #[arg(long, value_name = "FILE", env = "TWINRING_SPILL_KEY_FILE")]
    pub spill_key_file: Option<PathBuf>,
    /// How long a stop may take to finish what is in flight [default: 30s]
    #[arg(long, value_name = "TIME", env = "TWINRING_DRAIN_TIMEOUT")]
    #[serde(deserialize_with = "natural")]
    pub drain_timeout: Option<Span>,
    /// Most client connections, over all shards [default: 10000]
    #[arg(long, value_name = "N", env = "TWINRING_MAX_CONNECTIONS")]
    pub max_connections: Option<usize>,
    /// Largest request or answer body [default: 16MiB]
    #[arg(long, value_name = "SIZE", env = "TWINRING_MAX_ENVELOPE_BYTES")]
    #[serde(deserialize_with = "natural")]
    pub max_envelope_bytes: Option<Size>,
    /// Unsent bytes towards a client at which reading stops [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "TWINRING_WRITE_BUFFER_SIZE")]
    #[serde(deserialize_with = "natural")]
    pub write_buffer_size: Option<Size>,
    /// Seconds after which an idle client connection is closed, 0 for never [default: 0]
    #[arg(long, value_name = "S", env = "TWINRING_TCP_IDLE_TIME_OUT")]
    pub tcp_idle_time_out: Option<u64>,

    /// Protocol versions offered to clients, repeatable [default: what the source offers]
    #[arg(long, value_name = "V", env = "TWINRING_PROTOCOL_VERSION")]
    #[serde(deserialize_with = "words")]
    pub protocol_version: Vec<Words>,
    /// CQL versions offered to clients, repeatable [default: what the source offers]
    #[arg(long, value_name = "V", env = "TWINRING_CQL_VERSION")]
    #[serde(deserialize_with = "words")]
    pub cql_version: Vec<Words>,
    /// Compressions offered to clients, repeatable [default: what the source offers]
    #[arg(long, value_name = "NAME", env = "TWINRING_COMPRESSION")]
    #[serde(deserialize_with = "words")]
    pub compression: Vec<Words>,
    /// false: offer clients no compression [default: true]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_COMPRESSION_ENABLED")]
    pub compression_enabled: Option<bool>,

    /// Serve metrics, health and status over HTTP [default: true]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_METRICS")]
    pub metrics: Option<bool>,
    /// Port for metrics, health and status; -mp works too [default: 28000]
    #[arg(long, value_name = "PORT", env = "TWINRING_METRICS_PORT")]
    pub metrics_port: Option<u16>,
    /// Address for them, IP or IP:PORT [default: 127.0.0.1 and --metrics-port]
    #[arg(long, value_name = "ADDR", env = "TWINRING_METRICS_LISTEN")]
    pub metrics_listen: Option<String>,
    /// The source's name in logs and metrics [default: source]
    #[arg(long, value_name = "NAME", env = "TWINRING_SOURCE_IDENTIFIER")]
    pub source_identifier: Option<String>,
    /// The target's name in logs and metrics [default: target]
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_IDENTIFIER")]
    pub target_identifier: Option<String>,
    /// Log at debug level [default: false]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_DEBUG")]
    pub debug: Option<bool>,

    /// Certificate that clients are shown, with its chain: PEM; without one they connect in plain
    #[arg(long, value_name = "FILE", env = "TWINRING_PROXY_PEM_CERTFILE")]
    pub proxy_pem_certfile: Option<PathBuf>,
    /// Its key: PKCS#8, PKCS#1 or SEC1, PEM [default: in the same file]
    #[arg(long, value_name = "FILE", env = "TWINRING_PROXY_PEM_KEYFILE")]
    pub proxy_pem_keyfile: Option<PathBuf>,
    /// The same as a store with one key, JKS or PKCS#12
    #[arg(long, value_name = "FILE", env = "TWINRING_PROXY_JKS_FILE")]
    pub proxy_jks_file: Option<PathBuf>,
    /// File whose first line is the store's password
    #[arg(long, value_name = "FILE", env = "TWINRING_PROXY_JKS_PASSWORD_FILE")]
    pub proxy_jks_password_file: Option<PathBuf>,
    /// The store's password; visible to others in the process list, so prefer
    /// --proxy-jks-password-file or the variable
    #[arg(
        long,
        value_name = "WORD",
        env = "TWINRING_PROXY_JKS_PASSWORD",
        hide_env_values = true
    )]
    #[serde(skip)]
    pub proxy_jks_password: Option<Secret>,
    /// Clients must show a certificate that one of these has signed: PEM, JKS or PKCS#12
    #[arg(long, value_name = "FILE", env = "TWINRING_PROXY_CLIENT_CA")]
    pub proxy_client_ca: Option<PathBuf>,
    /// Plain connections to the source [default: false]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_DISABLE_SOURCE_TLS")]
    pub disable_source_tls: Option<bool>,
    /// Who signs the source's certificates: PEM, JKS or PKCS#12 [default: whom this machine trusts]
    #[arg(long, value_name = "FILE", env = "TWINRING_SOURCE_TLS_CA")]
    pub source_tls_ca: Option<PathBuf>,
    /// Certificate to show to the source: PEM, JKS or PKCS#12
    #[arg(long, value_name = "FILE", env = "TWINRING_SOURCE_TLS_CERT")]
    pub source_tls_cert: Option<PathBuf>,
    /// Its key, if it is PEM and in a file of its own
    #[arg(long, value_name = "FILE", env = "TWINRING_SOURCE_TLS_KEY")]
    pub source_tls_key: Option<PathBuf>,
    /// File whose first line is the password of these stores
    #[arg(long, value_name = "FILE", env = "TWINRING_SOURCE_TLS_PASSWORD_FILE")]
    pub source_tls_password_file: Option<PathBuf>,
    /// What of the source's certificates counts: `full` (chain and host name), `ca` (chain) or
    /// `none` [default: full]
    #[arg(long, value_name = "WHAT", env = "TWINRING_SOURCE_TLS_VERIFY")]
    pub source_tls_verify: Option<String>,
    /// Name in all of the source's certificates [default: the node's own name or address]
    #[arg(long, value_name = "NAME", env = "TWINRING_SOURCE_TLS_NAME")]
    pub source_tls_name: Option<String>,
    /// Plain connections to the target [default: false]
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_DISABLE_TARGET_TLS")]
    pub disable_target_tls: Option<bool>,
    /// Who signs the target's certificates: PEM, JKS or PKCS#12 [default: whom this machine trusts]
    #[arg(long, value_name = "FILE", env = "TWINRING_TARGET_TLS_CA")]
    pub target_tls_ca: Option<PathBuf>,
    /// Certificate to show to the target: PEM, JKS or PKCS#12
    #[arg(long, value_name = "FILE", env = "TWINRING_TARGET_TLS_CERT")]
    pub target_tls_cert: Option<PathBuf>,
    /// Its key, if it is PEM and in a file of its own
    #[arg(long, value_name = "FILE", env = "TWINRING_TARGET_TLS_KEY")]
    pub target_tls_key: Option<PathBuf>,
    /// File whose first line is the password of these stores
    #[arg(long, value_name = "FILE", env = "TWINRING_TARGET_TLS_PASSWORD_FILE")]
    pub target_tls_password_file: Option<PathBuf>,
    /// What of the target's certificates counts: `full` (chain and host name), `ca` (chain) or
    /// `none` [default: full]
    #[arg(long, value_name = "WHAT", env = "TWINRING_TARGET_TLS_VERIFY")]
    pub target_tls_verify: Option<String>,
    /// Name in all of the target's certificates [default: the node's own name or address]
    #[arg(long, value_name = "NAME", env = "TWINRING_TARGET_TLS_NAME")]
    pub target_tls_name: Option<String>,

    /// The seed proxy's number of threads: the number of shards when --cores is not given
    #[arg(long, short = 't', value_name = "N", env = "TWINRING_THREADS")]
    pub threads: Option<usize>,
    /// Accepted for the seed proxy's users; a line in the log says what replaces it
    #[arg(long, short = 'W', value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_WAIT")]
    pub wait: Option<bool>,
    /// Accepted for the seed proxy's users; a line in the log says what replaces it
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_UUID")]
    pub uuid: Option<bool>,
    /// Accepted for the seed proxy's users; a line in the log says what replaces it
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_ONLY_MESSAGE")]
    pub only_message: Option<bool>,
    /// Accepted for the seed proxy's users; a line in the log says what replaces it
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new(),
          env = "TWINRING_DEST_CLOSE")]
    pub dest_close: Option<bool>,
}

fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Words>, D::Error> {
    natural(deserializer).map(|words: Option<Words>| words.into_iter().collect())
}

/// Fills each field of the first that says nothing from the second.
macro_rules! fill {
    ($first:ident, $second:ident: $($option:ident)+; $($list:ident)+) => {
        Settings {
            $($option: $first.$option.or($second.$option),)+
            $($list: if $first.$list.is_empty() { $second.$list } else { $first.$list },)+
        }
    };
}

impl Settings {
    /// `self` where it says something, else `weaker`.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        fill!(self, weaker:
            source target source_port target_port proxy_port listen cores busy_poll_us data_dir
            source_username source_password_file source_password
            target_secure_connect_bundle target_username target_password_file target_password
            target_discovery target_dc topology ghost_ips advertise
            advertise_self mode
            mirror_ddl target_replication filter_tables include exclude
            mirror_linger_us mirror_inflight target_protocol_version target_consistency durability
            journal_dir journal_bytes
            spill_max_bytes spill_reserve_bytes
            on_spill_full drain_rate assume_gc_grace
            force_old_deletes spill_key_file drain_timeout max_connections
            max_envelope_bytes
            write_buffer_size tcp_idle_time_out compression_enabled metrics metrics_port
            metrics_listen source_identifier target_identifier debug disable_source_tls
            disable_target_tls proxy_jks_file proxy_jks_password proxy_jks_password_file
            proxy_pem_certfile proxy_pem_keyfile proxy_client_ca
            source_tls_ca source_tls_cert source_tls_key source_tls_password_file
            source_tls_verify source_tls_name
            target_tls_ca target_tls_cert target_tls_key target_tls_password_file
            target_tls_verify target_tls_name threads wait uuid only_message dest_close;
            protocol_version cql_version compression)
    }
}
