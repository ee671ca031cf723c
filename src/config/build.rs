//! From [`Settings`] to [`ProxyConfig`]: every check of one value and between values.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::compat;
use super::error::{ConfigError, Problem};
use super::value::{Cores, Hosts, Words};
use super::{
    Clients, Cluster, Credentials, Mirror, MirrorDdl, Offer, OnSpillFull, ProxyConfig, Secret,
    Settings, Spill, Topology,
};
use crate::limits;

/// Default port of both clusters.
const CLUSTER_PORT: u16 = 9042;
/// Default port for clients, the seed's.
const PROXY_PORT: u16 = 29042;
/// Default port for metrics, the seed's.
const METRICS_PORT: u16 = 28000;

/// What the configuration needs to know about the machine; a test brings its own.
pub struct Surroundings<'a> {
    /// Cores that this process may run on, sorted.
    pub cores: Vec<usize>,
    /// Addresses of a host.
    pub resolve: &'a dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
}

impl Surroundings<'static> {
    /// This machine, with the cores that the process's affinity allows.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let mut cores: Vec<_> = cores.into_iter().map(|core| core.id).collect();
        cores.sort_unstable();
        Self {
            cores,
            resolve: &|host, port| (host, port).to_socket_addrs().map(Iterator::collect),
        }
    }
}

/// Reads a TOML file of settings.
///
/// # Errors
/// When the file cannot be read, is no TOML or has a key or value that is not known.
pub fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let place = format!("--config {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problem::new(
            &place,
            format!("cannot be read: {e}"),
            "name a file that can be read",
        )
    })?;
    toml::from_str(&text).map_err(|e| {
        // The error's own text quotes the line, which may hold a password.
        let before = e
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let remedy = if e.message().contains("`target-password`") {
            "put the password into a file of its own and name it with target-password-file"
        } else {
            "tuning/twinring.example.toml shows every key"
        };
        Problem::new(&place, format!("line {line}: {}", e.message()), remedy).into()
    })
}

/// Collects problems, so that the operator sees all of them.
struct Check {
    problems: Vec<Problem>,
    notices: Vec<String>,
}

impl Check {
    fn wrong(&mut self, place: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(place, what, remedy));
    }

    /// `value` or `default`, when it lies in `range`; else a problem and the default.
    fn bounded(&mut self, place: &str, value: Option<u64>, default: u64, range: (u64, u64)) -> u64 {
        let value = value.unwrap_or(default);
        if value < range.0 || value > range.1 {
            let what = format!("{value} is out of range");
            self.wrong(place, what, format!("choose {} to {}", range.0, range.1));
            return default;
        }
        value
    }

    /// The same for counts.
    fn bounded_usize(
        &mut self,
        place: &str,
        value: Option<usize>,
        default: usize,
        range: (usize, usize),
    ) -> usize {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let value = value.map(wide);
        let got = self.bounded(place, value, wide(default), (wide(range.0), wide(range.1)));
        usize::try_from(got).unwrap_or(default)
    }

    /// One of the words, or the first of them.
    fn one_of<T: Copy>(&mut self, place: &str, said: Option<&str>, words: &[(&str, T)]) -> T {
        let default = words[0].1;
        let Some(said) = said else { return default };
        match words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(said))
        {
            Some((_, value)) => *value,
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(
                    place,
                    format!("`{said}` is not known"),
                    format!("choose {}", known.join(", ")),
                );
                default
            }
        }
    }
}

impl ProxyConfig {
    /// Checks `settings` as a whole and completes them with the defaults.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place and its remedy.
    pub fn new(settings: Settings, around: &Surroundings<'_>) -> Result<Self, ConfigError> {
        let (problems, mut notices) = compat::tls_wanted(&settings);
        notices.extend(compat::notices(&settings));
        let mut check = Check { problems, notices };
        let s = &settings;
        let source = check.cluster("source", s, around);
        let target = check.cluster("target", s, around);
        check.same_cluster(&source, &target);
        let listen = check.listen(s);
        let cores = check.cores(s, around);
        let drain = s.drain_timeout.map(|span| millis(span.0));
        let drain_range = (0, limits::DRAIN_TIMEOUT_MAX_MS);
        let drain_ms = check.bounded(
            "--drain-timeout (ms)",
            drain,
            limits::DRAIN_TIMEOUT_DEFAULT_MS,
            drain_range,
        );
        check.one_of("--mode", s.mode.as_deref(), &[("async", ())]);
        let config = Self {
            listen,
            admin: check.admin(s),
            source,
            target,
            target_credentials: check.credentials(s),
            data_dir: s.data_dir.clone().unwrap_or_else(|| "twinring-data".into()),
            topology: check.topology(s),
            offer: check.offer(s),
            mirror: check.mirror(s),
            spill: check.spill(s, cores.len()),
            clients: check.clients(s, cores.len()),
            cores,
            drain_timeout: Duration::from_millis(drain_ms),
            debug: s.debug.unwrap_or(false),
            notices: Vec::new(),
        };
        if config
            .admin
            .is_some_and(|admin| overlap(admin, config.listen))
        {
            check.wrong(
                "--metrics-port",
                format!("port {} is also the port for clients", config.listen.port()),
                "choose another --metrics-port or --proxy-port",
            );
        }
        if check.problems.is_empty() {
            Ok(Self {
                notices: check.notices,
                ..config
            })
        } else {
            Err(ConfigError {
                problems: check.problems,
            })
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Check {
    fn cluster(&mut self, side: &str, s: &Settings, around: &Surroundings<'_>) -> Cluster {
        let (hosts, port, name) = if side == "source" {
            (&s.source, s.source_port, &s.source_identifier)
        } else {
            (&s.target, s.target_port, &s.target_identifier)
        };
        let identifier = name.clone().unwrap_or_else(|| side.to_owned());
        let place = side.to_uppercase();
        let mut contact_points = Vec::new();
        match hosts {
            None => self.wrong(
                &place,
                "is not named",
                "run: twinring proxy SOURCE TARGET, each host[:port][,host[:port]…]",
            ),
            Some(hosts) => {
                let port = port.unwrap_or(CLUSTER_PORT);
                self.resolve(&place, hosts, port, around, &mut contact_points);
            }
        }
        Cluster {
            identifier,
            contact_points,
        }
    }

    fn resolve(
        &mut self,
        place: &str,
        hosts: &Hosts,
        default_port: u16,
        around: &Surroundings<'_>,
        found: &mut Vec<SocketAddr>,
    ) {
        for host in &hosts.0 {
            let port = host.port.unwrap_or(default_port);
            if port == 0 {
                self.wrong(
                    place,
                    "port 0 is no port to connect to",
                    "name the cluster's CQL port",
                );
                continue;
            }
            let what = match (around.resolve)(&host.host, port) {
                Ok(addresses) if !addresses.is_empty() => {
                    let v4 = addresses.iter().any(SocketAddr::is_ipv4);
                    for address in addresses.into_iter().filter(|a| a.is_ipv4() == v4) {
                        if !found.contains(&address) {
                            found.push(address);
                        }
                    }
                    continue;
                }
                Ok(_) => format!("`{}` has no address", host.host),
                Err(e) => format!("`{}` has no address: {e}", host.host),
            };
            let remedy = format!("check the name with: getent hosts {}", host.host);
            self.wrong(place, what, remedy);
        }
    }

    fn same_cluster(&mut self, source: &Cluster, target: &Cluster) {
        let both = |address: &&SocketAddr| target.contact_points.contains(address);
        if let Some(twice) = source.contact_points.iter().find(both) {
            self.wrong(
                "TARGET",
                format!("{twice} is also a contact point of the source"),
                "name the cluster that shall receive the writes, not the source itself",
            );
        }
    }

    fn listen(&mut self, s: &Settings) -> SocketAddr {
        let port = s.proxy_port.unwrap_or(PROXY_PORT);
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let listen = self.address("--listen", s.listen.as_deref(), any, port);
        if s.proxy_port.is_some_and(|port| port != listen.port()) {
            self.wrong(
                "--proxy-port",
                format!("{port} and --listen {listen} differ"),
                "write the port once",
            );
        }
        listen
    }

    fn admin(&mut self, s: &Settings) -> Option<SocketAddr> {
        if s.metrics == Some(false) {
            return None;
        }
        let port = s.metrics_port.unwrap_or(METRICS_PORT);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admin = self.address(
            "--metrics-listen",
            s.metrics_listen.as_deref(),
            loopback,
            port,
        );
        if s.metrics_port.is_some_and(|port| port != admin.port()) {
            self.wrong(
                "--metrics-port",
                format!("{port} and --metrics-listen {admin} differ"),
                "write the port once",
            );
        }
        Some(admin)
    }

    fn address(&mut self, place: &str, said: Option<&str>, ip: IpAddr, port: u16) -> SocketAddr {
        let default = SocketAddr::new(ip, port);
        let Some(said) = said else { return default };
        if let Ok(ip) = said.parse::<IpAddr>() {
            return SocketAddr::new(ip, port);
        }
        said.parse().unwrap_or_else(|_| {
            self.wrong(
                place,
                format!("`{said}` is no address of this machine"),
                "write IP or IP:PORT, for example 127.0.0.1:9042 or [::]:9042",
            );
            default
        })
    }

    fn cores(&mut self, s: &Settings, around: &Surroundings<'_>) -> Vec<usize> {
        let mut usable = around.cores.clone();
        usable.truncate(limits::SHARDS_MAX);
        if usable.is_empty() {
            self.wrong(
                "--cores",
                "the cores of this machine are not known",
                "name them: 0-3",
            );
            return vec![0];
        }
        let count = match &s.cores {
            Some(Cores::List(list)) => {
                if let Some(missing) = list.iter().find(|core| !around.cores.contains(core)) {
                    let what = format!("this process may not run on core {missing}");
                    self.wrong("--cores", what, format!("choose from {:?}", around.cores));
                }
                return list.clone();
            }
            Some(Cores::Count(count)) => {
                self.bounded_usize("--cores", Some(*count), 1, (1, usable.len()))
            }
            None => match s.threads {
                None => usable.len(),
                Some(threads) => {
                    if threads > usable.len() {
                        let most = usable.len();
                        self.notices.push(format!(
                            "--threads {threads}: one shard on each of {most} cores is the most"
                        ));
                    }
                    threads.clamp(1, usable.len())
                }
            },
        };
        usable.truncate(count);
        usable
    }

    fn credentials(&mut self, s: &Settings) -> Option<Credentials> {
        let password = match (&s.target_password, &s.target_password_file) {
            (Some(_), Some(_)) => {
                self.wrong(
                    "--target-password-file",
                    "the password is given twice, by value and by file",
                    "keep the file and remove --target-password or TWINRING_TARGET_PASSWORD",
                );
                return None;
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(file)) => Some(self.password_from(file)?),
            (None, None) => None,
        };
        // The seed takes empty values for "none", and so does a template that was left empty.
        let username = s.target_username.clone().filter(|name| !name.is_empty());
        let password = password.filter(|password| !password.reveal().is_empty());
        match (username, password) {
            (None, None) => None,
            (Some(username), Some(password)) => Some(Credentials { username, password }),
            (Some(_), None) => {
                self.wrong(
                    "--target-username",
                    "has no password",
                    "name a file with --target-password-file, or set TWINRING_TARGET_PASSWORD",
                );
                None
            }
            (None, Some(_)) => {
                let what = "there is a password for the target but no user";
                self.wrong(
                    "--target-username",
                    what,
                    "name the user with --target-username",
                );
                None
            }
        }
    }

    fn password_from(&mut self, file: &Path) -> Option<Secret> {
        let place = format!("--target-password-file {}", file.display());
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) => {
                let remedy = "name a file whose first line is the password, readable by this user";
                self.wrong(&place, format!("cannot be read: {e}"), remedy);
                return None;
            }
        };
        let first = text.lines().next().unwrap_or_default();
        if first.is_empty() {
            let what = "the first line is empty";
            self.wrong(&place, what, "put the password there, alone");
            return None;
        }
        Some(Secret::new(first))
    }

    fn topology(&mut self, s: &Settings) -> Topology {
        let ghost_ips = s.ghost_ips.clone().unwrap_or_default().0;
        let default = if ghost_ips.is_empty() {
            "single"
        } else {
            "per-node"
        };
        let said = s.topology.as_deref().unwrap_or(default);
        let per_node = self.one_of(
            "--topology",
            Some(said),
            &[("single", false), ("per-node", true)],
        );
        if !per_node && !ghost_ips.is_empty() {
            self.wrong(
                "--ghostIps",
                "has no effect with --topology single, where peers are hidden",
                "remove one of the two",
            );
        }
        if per_node {
            Topology::PerNode { ghost_ips }
        } else {
            Topology::Single
        }
    }

    fn offer(&mut self, s: &Settings) -> Offer {
        let all = |lists: &[Words]| lists.iter().flat_map(|words| words.0.clone()).collect();
        let mut protocol_versions = Vec::new();
        let versions: Vec<String> = all(&s.protocol_version);
        for word in &versions {
            match word.parse() {
                Ok(version @ 3..=4_u8) => protocol_versions.push(version),
                Ok(5) => self.wrong(
                    "--protocol-version",
                    "version 5 is not in this version of twinring",
                    "choose 3 or 4; drivers step down to it by themselves",
                ),
                _ => self.wrong(
                    "--protocol-version",
                    format!("`{word}` is no version that can be offered"),
                    "choose 3 or 4",
                ),
            }
        }
        protocol_versions.sort_unstable();
        protocol_versions.dedup();
        let compressions: Vec<String> = all(&s.compression);
        for word in &compressions {
            if !["lz4", "snappy"].contains(&word.as_str()) {
                let what = format!("`{word}` is no compression of the protocol");
                self.wrong("--compression", what, "choose lz4 or snappy");
            }
        }
        Offer {
            protocol_versions,
            cql_versions: all(&s.cql_version),
            compressions,
            no_compression: s.compression_enabled == Some(false),
        }
    }

    fn mirror(&mut self, s: &Settings) -> Mirror {
        let words = [
            ("tables", MirrorDdl::Tables),
            ("none", MirrorDdl::None),
            ("all", MirrorDdl::All),
        ];
        let ddl = self.one_of("--mirror-ddl", s.mirror_ddl.as_deref(), &words);
        let replication = s.target_replication.clone();
        if let Some(map) = &replication {
            let place = "--target-replication";
            if ddl != MirrorDdl::All {
                let what = "has no effect while keyspaces are not mirrored";
                self.wrong(place, what, "add --mirror-ddl all, or remove it");
            }
            if !(map.starts_with('{') && map.ends_with('}') && !map.contains(';')) {
                let what = format!("`{map}` is no replication map");
                let remedy = "write \"{'class': 'NetworkTopologyStrategy', 'dc1': 3}\"";
                self.wrong(place, what, remedy);
            }
        }
        // The seed's Pattern.matches() wants the whole text; so does ours.
        let filter = s.filter_tables.as_deref().and_then(|text| {
            regex::Regex::new(&format!("^(?:{text})$"))
                .map_err(|e| {
                    let remedy = "write a regular expression like: insert into test .*";
                    self.wrong("--filter-tables", e.to_string(), remedy);
                })
                .ok()
        });
        let linger_us = self.bounded(
            "--mirror-linger-us",
            s.mirror_linger_us,
            limits::MIRROR_LINGER_DEFAULT_US,
            (0, limits::MIRROR_LINGER_MAX_US),
        );
        let in_flight = self.bounded_usize(
            "--mirror-inflight",
            s.mirror_inflight,
            limits::MIRROR_IN_FLIGHT_DEFAULT,
            (1, limits::MIRROR_IN_FLIGHT_MAX),
        );
        Mirror {
            ddl,
            replication,
            filter,
            linger: Duration::from_micros(linger_us),
            in_flight,
        }
    }

    fn spill(&mut self, s: &Settings, shards: usize) -> Spill {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        let least = limits::SPILL_MIN_PER_SHARD_BYTES.saturating_mul(shards);
        let said = s.spill_max_bytes.map(|size| size.0);
        let default = limits::SPILL_DEFAULT_BYTES.max(least);
        let max_bytes = self.bounded("--spill-max-bytes", said, default, (least, u64::MAX));
        let place = "--on-spill-full";
        let on_full = match s.on_spill_full.as_deref() {
            Some("drop-and-mark") => {
                let what = "`drop-and-mark` is not in this version";
                self.wrong(place, what, "choose backpressure");
                OnSpillFull::Backpressure
            }
            said => self.one_of(place, said, &[("backpressure", OnSpillFull::Backpressure)]),
        };
        Spill { max_bytes, on_full }
    }

    fn clients(&mut self, s: &Settings, shards: usize) -> Clients {
        let total = self.bounded_usize(
            "--max-connections",
            s.max_connections,
            limits::CONNECTIONS_DEFAULT,
            (1, limits::CONNECTIONS_MAX),
        );
        let share = total.div_ceil(shards.max(1));
        let uneven = if shards > 1 { share + share / 4 } else { share };
        let floor = limits::CONNECTIONS_PER_SHARD_MIN.min(total);
        let narrow = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let envelope = s.max_envelope_bytes.map(|size| narrow(size.0));
        let max_envelope_bytes = self.bounded_usize(
            "--max-envelope-bytes",
            envelope,
            limits::ENVELOPE_BODY_DEFAULT_BYTES,
            (
                limits::PRE_AUTH_BODY_MAX_BYTES,
                limits::ENVELOPE_BODY_MAX_BYTES,
            ),
        );
        let out_high_water_bytes =
            self.write_buffer(s.write_buffer_size.map(|size| narrow(size.0)));
        let idle_range = (0, limits::IDLE_TIMEOUT_MAX_S);
        let idle_s = self.bounded("--tcp-idle-time-out", s.tcp_idle_time_out, 0, idle_range);
        Clients {
            max_connections_per_shard: uneven.max(floor).min(total),
            max_envelope_bytes,
            out_high_water_bytes,
            out_low_water_bytes: out_high_water_bytes / limits::OUT_LOW_WATER_DIVISOR,
            idle_timeout: (idle_s > 0).then(|| Duration::from_secs(idle_s)),
        }
    }

    fn write_buffer(&mut self, said: Option<usize>) -> usize {
        let (least, most) = limits::OUT_HIGH_WATER_RANGE_BYTES;
        let Some(said) = said else {
            return limits::OUT_HIGH_WATER_DEFAULT_BYTES;
        };
        let used = said.clamp(least, most);
        if used != said {
            self.notices.push(format!(
                "--write-buffer-size {said}: {used} is used, the nearest of {least} to {most}"
            ));
        }
        used
    }
}
