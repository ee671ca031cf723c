//! Checks of addresses and of what is said to clients about cluster and protocol.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::build::{Check, Surroundings};
use super::value::{HostPort, Hosts, Words};
use super::{Cluster, Discovery, Offer, Settings, Topology};

/// Default port of both clusters.
const CLUSTER_PORT: u16 = 9042;
/// Default port for clients, the seed's.
const PROXY_PORT: u16 = 29042;
/// Default port for metrics, the seed's.
const METRICS_PORT: u16 = 28000;
/// Compressions of the protocol.
pub(super) const COMPRESSIONS: [&str; 2] = ["lz4", "snappy"];

impl Check {
    pub(super) fn cluster(
        &mut self,
        side: &str,
        s: &Settings,
        around: &Surroundings<'_>,
    ) -> Cluster {
        let (hosts, port, name) = if side == "source" {
            (&s.source, s.source_port, &s.source_identifier)
        } else {
            (&s.target, s.target_port, &s.target_identifier)
        };
        let identifier = name.clone().unwrap_or_else(|| side.to_owned());
        if let ("target", Some(bundle)) = (side, &s.target_secure_connect_bundle) {
            self.beside_bundle(s);
            return Cluster {
                identifier,
                contact_points: Vec::new(),
                names: Vec::new(),
                tls: None,
                bundle: Some(bundle.clone()),
            };
        }
        let place = side.to_uppercase();
        let mut contact_points = Vec::new();
        let mut names = Vec::new();
        match hosts {
            None => self.wrong(
                &place,
                "is not named",
                "run: twinring proxy SOURCE TARGET, each host[:port][,host[:port]…]",
            ),
            Some(hosts) => {
                let port = port.unwrap_or(CLUSTER_PORT);
                let mut found = (&mut contact_points, &mut names);
                self.resolve(&place, hosts, port, around, &mut found);
            }
        }
        Cluster {
            identifier,
            contact_points,
            names,
            tls: self.client_tls(side, s),
            bundle: None,
        }
    }

    /// A bundle says where the target is, which nodes it has, and all about TLS.
    fn beside_bundle(&mut self, s: &Settings) {
        let more = [
            ("TARGET", s.target.is_some()),
            ("--target-port", s.target_port.is_some()),
            ("--target-discovery", s.target_discovery == Some(true)),
            ("--target-dc", s.target_dc.is_some()),
            ("--disable-target-tls", s.disable_target_tls == Some(true)),
            ("--target-tls-ca", s.target_tls_ca.is_some()),
            ("--target-tls-cert", s.target_tls_cert.is_some()),
            ("--target-tls-key", s.target_tls_key.is_some()),
            (
                "--target-tls-password-file",
                s.target_tls_password_file.is_some(),
            ),
            ("--target-tls-verify", s.target_tls_verify.is_some()),
            ("--target-tls-name", s.target_tls_name.is_some()),
        ];
        for (place, _) in more.iter().filter(|(_, given)| *given) {
            self.wrong(
                place,
                "says what --target-secure-connect-bundle says",
                "remove one of the two",
            );
        }
    }

    fn resolve(
        &mut self,
        place: &str,
        hosts: &Hosts,
        default_port: u16,
        around: &Surroundings<'_>,
        (found, names): &mut (&mut Vec<SocketAddr>, &mut Vec<String>),
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
                            names.push(host.host.clone());
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

    pub(super) fn same_cluster(&mut self, source: &Cluster, target: &Cluster) {
        let both = |address: &&SocketAddr| target.contact_points.contains(address);
        if let Some(twice) = source.contact_points.iter().find(both) {
            self.wrong(
                "TARGET",
                format!("{twice} is also a contact point of the source"),
                "name the cluster that shall receive the writes, not the source itself",
            );
        }
    }

    pub(super) fn discovery(&mut self, s: &Settings) -> Option<Discovery> {
        if s.target_secure_connect_bundle.is_some() {
            return None;
        }
        let on = s.target_discovery.unwrap_or(true);
        if !on && s.target_dc.is_some() {
            self.wrong(
                "--target-dc",
                "has no effect with --target-discovery false",
                "remove one of the two",
            );
        }
        on.then(|| Discovery {
            data_center: s.target_dc.clone(),
        })
    }

    pub(super) fn listen(&mut self, s: &Settings) -> SocketAddr {
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

    pub(super) fn admin(&mut self, s: &Settings) -> Option<SocketAddr> {
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

    pub(super) fn topology(
        &mut self,
        s: &Settings,
        listen: SocketAddr,
        around: &Surroundings<'_>,
    ) -> Topology {
        let ghost_ips = s.ghost_ips.clone().unwrap_or_default().0;
        let default = match (&s.advertise, ghost_ips.is_empty()) {
            (Some(_), _) => "ring",
            (None, true) => "single",
            (None, false) => "per-node",
        };
        let said = s.topology.as_deref().unwrap_or(default);
        let words = [("single", 0), ("per-node", 1), ("ring", 2)];
        let kind = self.one_of("--topology", Some(said), &words);
        if kind != 1 && !ghost_ips.is_empty() {
            self.wrong(
                "--ghostIps",
                format!("has no effect with --topology {said}, where the nodes are hidden"),
                "remove one of the two",
            );
        }
        if kind != 2 && (s.advertise.is_some() || s.advertise_self.is_some()) {
            self.wrong(
                "--advertise",
                format!("has no effect with --topology {said}"),
                "name all proxies with --advertise, and leave --topology out",
            );
        }
        match (kind, &s.advertise) {
            (2, Some(hosts)) => self.ring(hosts, s.advertise_self.as_ref(), listen, around),
            (2, None) => {
                self.wrong(
                    "--topology",
                    "`ring` needs to know the proxies",
                    "name all of them: --advertise ADDR[:PORT],…",
                );
                Topology::Single
            }
            (1, _) => Topology::PerNode { ghost_ips },
            _ => Topology::Single,
        }
    }

    /// The proxies of `--advertise`, and which of them this one is.
    fn ring(
        &mut self,
        hosts: &Hosts,
        own: Option<&HostPort>,
        listen: SocketAddr,
        around: &Surroundings<'_>,
    ) -> Topology {
        const PLACE: &str = "--advertise";
        let (mut proxies, mut names) = (Vec::new(), Vec::new());
        let problems = self.problems.len();
        self.resolve(
            PLACE,
            hosts,
            listen.port(),
            around,
            &mut (&mut proxies, &mut names),
        );
        let same_ip = |(at, proxy): (usize, &SocketAddr)| {
            proxies[..at].iter().any(|other| other.ip() == proxy.ip())
        };
        let resolved = self.problems.len() == problems;
        if (resolved && proxies.len() < hosts.0.len()) || proxies.iter().enumerate().any(same_ip) {
            self.wrong(
                PLACE,
                "names one address twice",
                "give each proxy an address of its own: many drivers tell nodes apart by it",
            );
        } else if proxies.len() > hosts.0.len() {
            self.wrong(
                PLACE,
                "a name in it has several addresses",
                "write the address at which drivers reach each proxy",
            );
        }
        if proxies
            .iter()
            .any(|proxy| proxy.port() != proxies[0].port())
        {
            self.wrong(
                PLACE,
                "names different ports",
                "use one port for all proxies: many drivers know of one alone",
            );
        }
        if let Some(no) = proxies.iter().find(|proxy| proxy.ip().is_unspecified()) {
            let what = format!("{} is no address that drivers can reach", no.ip());
            self.wrong(
                PLACE,
                what,
                "write the address at which drivers reach each proxy",
            );
        }
        let me = match own {
            None => vec![listen],
            Some(own) => {
                let (mut found, mut names) = (Vec::new(), Vec::new());
                let place = "--advertise-self";
                let hosts = Hosts(vec![own.clone()]);
                let port = proxies.first().map_or(listen.port(), SocketAddr::port);
                self.resolve(place, &hosts, port, around, &mut (&mut found, &mut names));
                found
            }
        };
        let own = proxies.iter().position(|proxy| me.contains(proxy));
        if own.is_none() && !proxies.is_empty() && !me.is_empty() {
            self.wrong(
                PLACE,
                format!("this proxy, {}, is not in the list", me[0]),
                "say which of them it is with --advertise-self, or --listen at that address",
            );
        }
        let own = own.unwrap_or(0);
        Topology::Ring { proxies, own }
    }

    pub(super) fn offer(&mut self, s: &Settings) -> Offer {
        let all = |lists: &[Words]| lists.iter().flat_map(|words| words.0.clone()).collect();
        let mut protocol_versions = Vec::new();
        let versions: Vec<String> = all(&s.protocol_version);
        for word in &versions {
            match word.parse() {
                Ok(version @ 3..=5_u8) => protocol_versions.push(version),
                _ => self.wrong(
                    "--protocol-version",
                    format!("`{word}` is no version that can be offered"),
                    "choose among 3, 4 and 5",
                ),
            }
        }
        protocol_versions.sort_unstable();
        protocol_versions.dedup();
        let compressions: Vec<String> = all(&s.compression);
        for word in &compressions {
            if !COMPRESSIONS.contains(&word.as_str()) {
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
}
