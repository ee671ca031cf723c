#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::value::{Cores, GhostIps, HostPort, Hosts, Size, Span, Words};
use super::*;
use crate::limits;

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let address = |last: u8| SocketAddr::from(([10, 0, 0, last], port));
    Ok(match host {
        "old" => vec![address(1)],
        "new" => vec![address(2)],
        "many" => vec![address(3), address(4), address(3)],
        "localhost" => vec![
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
            address(5),
        ],
        "six" => vec![SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))],
        "empty" => vec![],
        _ => return Err(io::Error::other("no such name")),
    })
}

fn around() -> Surroundings<'static> {
    Surroundings {
        cores: vec![0, 1, 2, 3],
        resolve: &resolve,
    }
}

fn pair() -> Settings {
    settings("source = 'old'\ntarget = 'new'")
}

fn settings(toml: &str) -> Settings {
    toml::from_str(toml).unwrap_or_else(|e| panic!("{toml}: {e}"))
}

fn with(toml: &str) -> Result<ProxyConfig, ConfigError> {
    ProxyConfig::new(settings(toml).over(pair()), &around())
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = ProxyConfig::new(pair(), &around()).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:29042");
    assert_eq!(config.admin.unwrap().to_string(), "127.0.0.1:28000");
    assert_eq!(config.source.contact_points[0].to_string(), "10.0.0.1:9042");
    assert_eq!(config.target.identifier, "target");
    assert_eq!(config.cores, [0, 1, 2, 3]);
    assert_eq!(config.topology, Topology::Single);
    assert_eq!(config.mirror.ddl, MirrorDdl::Tables);
    assert_eq!(config.spill.max_bytes, 10 << 30);
    assert_eq!(config.spill.max_bytes_per_shard(0, 4), (10 << 30) / 4);
    assert_eq!(config.spill.max_bytes_per_shard(2 << 30, 4), (8 << 30) / 4);
    assert_eq!(config.spill.max_bytes_per_shard(11 << 30, 4), 0);
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.clients.max_connections, 10_000);
    assert_eq!(config.clients.max_envelope_bytes, 16 << 20);
    assert_eq!(config.clients.out_low_water_bytes, 256 << 10);
    assert_eq!(config.clients.idle_timeout, None);
    assert_eq!(config.target_credentials, None);
    assert_eq!(config.notices, Vec::<String>::new());
    assert_eq!(config.listener_tls, None);
    let source = config.source.tls.unwrap();
    assert_eq!(source.verify, Verify::Full, "as the seed, but verified");
    assert_eq!((source.authorities, source.identity), (None, None));
    assert!(config.target.tls.is_some());
}

#[test]
fn tls_is_what_the_flags_say() {
    let config = with("proxy-jks-file = 'k.jks'").unwrap();
    let store = config.listener_tls.unwrap().identity;
    assert_eq!(store.password.unwrap().reveal(), "changeit", "as the seed");
    let config = with("disable-source-tls = true").unwrap();
    assert!(config.source.tls.is_none() && config.target.tls.is_some());
    let config = with(
        "target-tls-ca = 'ca.pem'\ntarget-tls-cert = 'own.p12'\ntarget-tls-name = 'db'\n\
         target-tls-verify = 'ca'\nproxy-pem-certfile = 'c.pem'\nproxy-pem-keyfile = 'k.pem'\n\
         proxy-client-ca = 'clients.jks'",
    );
    let config = config.unwrap();
    let target = config.target.tls.clone().unwrap();
    assert_eq!(target.verify, Verify::Chain);
    assert_eq!(target.name.as_deref(), Some("db"));
    let files: Vec<_> = config
        .tls_files()
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    assert_eq!(
        files,
        ["c.pem", "k.pem", "own.p12", "clients.jks", "ca.pem"]
    );
    let listener = config.listener_tls.clone().unwrap();
    assert_eq!(listener.identity.flag, "--proxy-pem-certfile");
    let text = config.to_string();
    assert!(
        text.contains("29042, TLS with c.pem, certificates by clients.jks"),
        "{text}"
    );
    assert!(
        text.contains("TLS, verified by this machine's authorities"),
        "{text}"
    );
    assert!(
        text.contains("by ca.pem but for the name, as own.p12"),
        "{text}"
    );
    let open = with("source-tls-verify = 'none'").unwrap();
    assert!(
        open.notices[0].contains("anybody who can answer"),
        "{:?}",
        open.notices
    );
}

#[test]
fn levels_have_the_numbers_of_the_protocol() {
    let level = |said: &str| {
        let config = with(&format!("target-consistency = '{said}'")).unwrap();
        config.mirror.level
    };
    assert_eq!(level("LOCAL_QUORUM"), Some(6));
    for level_of in twinring_cql::Consistency::ALL {
        if !level_of.name().contains("SERIAL") {
            assert_eq!(level(level_of.name()), Some(level_of.number()));
        }
    }
    assert_eq!(with("").unwrap().mirror.level, None);
}

#[test]
fn a_bundle_says_all_about_the_target() {
    let only = "source = 'old'\ntarget-secure-connect-bundle = '/b.zip'";
    let config = |more: &str| {
        let settings = settings(&format!("{only}\n{more}"));
        ProxyConfig::new(settings, &around())
    };
    let found = config("target-discovery = false\ndisable-target-tls = false").unwrap();
    assert_eq!(found.target.bundle, Some("/b.zip".into()));
    assert!(found.target.points().is_empty() && found.discovery.is_none());
    assert_eq!(found.mirror.level, Some(6));
    assert_eq!(found.tls_files(), [PathBuf::from("/b.zip")]);
    let text = found.to_string();
    assert!(text.contains("target by the bundle /b.zip"), "{text}");
    let level = config("target-consistency = 'each_quorum'").unwrap();
    assert_eq!(level.mirror.level, Some(7));
    let more = "target = 'new'\ntarget-dc = 'x'\ntarget-tls-ca = 'ca.pem'";
    let error = config(more).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|p| p.place.as_str()).collect();
    assert_eq!(places, ["TARGET", "--target-dc", "--target-tls-ca"]);
}

#[test]
fn nodes_are_called_what_the_operator_called_them() {
    let config = with("source = 'many,localhost'").unwrap();
    let names = config
        .source
        .contact_points
        .iter()
        .map(|a| config.source.name_of(*a));
    assert_eq!(names.collect::<Vec<_>>(), ["many", "many", "localhost"]);
    let other = "10.9.9.9:9042".parse().unwrap();
    assert_eq!(config.source.name_of(other), "10.9.9.9");
}

/// Settings that are wrong, and the words that say so.
const WRONG: &[(&str, &str)] = &[
    (
        "source = 'nowhere'",
        "SOURCE: `nowhere` has no address: no such name",
    ),
    ("source = 'empty'", "SOURCE: `empty` has no address"),
    ("target-port = 0", "TARGET: port 0"),
    (
        "target-consistency = 'serial'",
        "--target-consistency: `serial` is not known",
    ),
    (
        "target = 'old'",
        "TARGET: 10.0.0.1:9042 is also a contact point",
    ),
    ("listen = 'eth0'", "--listen: `eth0`"),
    (
        "listen = '1.2.3.4:5'\nproxy-port = 6",
        "--proxy-port: 6 and --listen 1.2.3.4:5 differ",
    ),
    (
        "metrics-listen = '1.2.3.4:5'\nmetrics-port = 6",
        "--metrics-port: 6 and",
    ),
    (
        "metrics-port = 29042",
        "--metrics-port: port 29042 is also the port for clients",
    ),
    ("cores = 5", "--cores: 5 is out of range"),
    (
        "cores = [2, 7]",
        "--cores: this process may not run on core 7",
    ),
    ("mode = 'sync'", "--mode: `sync` is not known"),
    (
        "target-discovery = false\ntarget-dc = 'dc1'",
        "--target-dc: has no effect",
    ),
    ("topology = 'star'", "--topology: `star` is not known"),
    (
        "topology = 'ring'",
        "--topology: `ring` needs to know the proxies",
    ),
    (
        "topology = 'single'\nadvertise = 'old,new'",
        "--advertise: has no effect with --topology single",
    ),
    (
        "advertise = 'old,new'",
        "--advertise: this proxy, 0.0.0.0:29042, is not in the list",
    ),
    (
        "advertise = 'old,new'\nadvertise-self = 'six'",
        "--advertise: this proxy, [::1]:29042, is not in the list",
    ),
    (
        "advertise = 'old,old'\nadvertise-self = 'old'",
        "--advertise: names one address twice",
    ),
    (
        "advertise = 'old:1,new:2'\nadvertise-self = 'old'",
        "--advertise: names different ports",
    ),
    (
        "advertise = 'many'\nadvertise-self = 'many'",
        "--advertise: a name in it has several addresses",
    ),
    (
        "advertise = 'nowhere'\nadvertise-self = 'old'",
        "--advertise: `nowhere` has no address",
    ),
    (
        "topology = 'single'\nghostIps = { '1.1.1.1' = '2.2.2.2' }",
        "--ghostIps: has no effect",
    ),
    ("mirror-ddl = 'some'", "--mirror-ddl: `some` is not known"),
    (
        "target-replication = \"{'class': 'x'}\"",
        "--target-replication: has no effect",
    ),
    (
        "mirror-ddl = 'all'\ntarget-replication = 'x'",
        "--target-replication: `x` is no",
    ),
    ("filter-tables = '('", "--filter-tables: "),
    ("include = 'shop'", "--include: `shop` names no table"),
    ("exclude = 'shop.['", "--exclude: "),
    (
        "busy-poll-us = 10001",
        "--busy-poll-us: 10001 is out of range",
    ),
    (
        "mirror-linger-us = 100001",
        "--mirror-linger-us: 100001 is out of range",
    ),
    (
        "mirror-inflight = 0",
        "--mirror-inflight: 0 is out of range",
    ),
    (
        "spill-max-bytes = '1MiB'",
        "--spill-max-bytes: 1048576 is out of range",
    ),
    (
        "on-spill-full = 'drop'",
        "--on-spill-full: `drop` is not known",
    ),
    (
        "drain-timeout = '2h'",
        "--drain-timeout (ms): 7200000 is out of range",
    ),
    (
        "max-connections = 0",
        "--max-connections: 0 is out of range",
    ),
    (
        "max-envelope-bytes = '1GiB'",
        "--max-envelope-bytes: 1073741824 is out of range",
    ),
    (
        "tcp-idle-time-out = 10000000",
        "--tcp-idle-time-out: 10000000 is out of range",
    ),
    (
        "protocol-version = 2",
        "--protocol-version: `2` is no version",
    ),
    ("protocol-version = [4, 9]", "--protocol-version: `9`"),
    ("compression = 'zstd'", "--compression: `zstd`"),
    (
        "disable-source-tls = true\nsource-tls-ca = '/x'",
        "--source-tls-ca: has no effect with --disable-source-tls true",
    ),
    (
        "source-tls-verify = 'maybe'",
        "--source-tls-verify: `maybe` is not known",
    ),
    (
        "source-tls-verify = 'none'\nsource-tls-ca = '/x'",
        "--source-tls-ca: has no effect with --source-tls-verify none",
    ),
    (
        "target-tls-key = '/x'",
        "--target-tls-key: has no certificate",
    ),
    (
        "target-tls-password-file = '/does/not/exist'",
        "--target-tls-password-file /does/not/exist: cannot be read",
    ),
    (
        "proxy-pem-keyfile = '/x'",
        "--proxy-pem-keyfile: there is no certificate",
    ),
    (
        "proxy-client-ca = '/x'",
        "--proxy-client-ca: there is no certificate",
    ),
    (
        "proxy-pem-certfile = '/x'\nproxy-jks-file = '/y'",
        "--proxy-jks-file: a certificate is given twice",
    ),
    (
        "target-username = 'bob'",
        "--target-username: has no password",
    ),
    (
        "source-username = 'bob'",
        "--source-username: has no password",
    ),
    ("target-password-file = '/does/not/exist'", "cannot be read"),
];

#[test]
fn each_wrong_value_is_named_with_a_remedy() {
    for (toml, words) in WRONG {
        let error = with(toml).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{toml}: {error}");
        assert!(error.to_string().contains(words), "{toml}: {error}");
        assert!(!error.problems[0].remedy.is_empty(), "{toml}");
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let toml = "cores = 9\nmode = 'x'\nproxy-client-ca = 'a'\ntarget-tls-verify = 'x'";
    let error = ProxyConfig::new(settings(toml), &around()).unwrap_err();
    let places: Vec<_> = error
        .problems
        .iter()
        .map(|problem| problem.place.as_str())
        .collect();
    let want = [
        "SOURCE",
        "TARGET",
        "--target-tls-verify",
        "--cores",
        "--mode",
        "--proxy-client-ca",
    ];
    assert_eq!(places, want);
}

#[test]
fn contact_points_are_resolved_whole() {
    let config = with("source = 'many,localhost:9,six'\nsource-port = 7").unwrap();
    let got: Vec<_> = config
        .source
        .contact_points
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(got, ["10.0.0.3:7", "10.0.0.4:7", "10.0.0.5:9", "[::1]:7"]);
}

#[test]
fn shards_come_from_cores_or_threads() {
    let cores = |toml| with(toml).unwrap().cores;
    assert_eq!(cores("cores = 2"), [0, 1]);
    assert_eq!(cores("cores = '1,3'"), [1, 3]);
    assert_eq!(
        cores("cores = [3]"),
        [3],
        "a list of one core is that core, not a number"
    );
    assert_eq!(cores("threads = 3"), [0, 1, 2]);
    assert_eq!(cores("threads = 2\ncores = 1"), [0]);
    let many = with("threads = 64").unwrap();
    assert_eq!(many.cores.len(), 4);
    assert!(
        many.notices
            .iter()
            .any(|line| line.starts_with("--threads 64: "))
    );
}

#[test]
fn the_filter_wants_the_whole_text_as_the_seed_does() {
    let filter = with("filter-tables = 'insert into test .*|x'")
        .unwrap()
        .mirror
        .filter
        .unwrap();
    assert!(filter.is_match("insert into test (a) values (1)"));
    assert!(!filter.is_match("xinsert into test (a)"));
    assert!(
        !filter.is_match("INSERT INTO test (a)"),
        "case counts, as in the seed"
    );
    assert!(filter.is_match("x") && !filter.is_match("xx"));
}

#[test]
fn ghost_ips_mean_a_proxy_on_each_node() {
    let config = with("ghostIps = '{\"10.0.0.1\":\"10.0.0.2\"}'").unwrap();
    let Topology::PerNode { ghost_ips } = config.topology else {
        panic!("single")
    };
    let expected = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    assert_eq!(ghost_ips.into_iter().collect::<Vec<_>>(), [expected]);
}

#[test]
fn proxies_in_a_list_are_the_ring() {
    for text in [
        "listen = '10.0.0.2:29042'\nadvertise = 'old,new'",
        "advertise = ['old', 'new']\nadvertise-self = 'new'",
        "proxy-port = 9042\nadvertise = 'old:29042,new:29042'\nadvertise-self = 'new'",
    ] {
        let config = with(text).unwrap();
        let Topology::Ring { proxies, own } = config.topology else {
            panic!("{text}: {:?}", config.topology)
        };
        let expected = ["10.0.0.1:29042", "10.0.0.2:29042"].map(|text| text.parse().unwrap());
        assert_eq!((proxies.as_slice(), own), (&expected[..], 1), "{text}");
    }
}

#[test]
fn small_write_buffers_are_raised_and_named() {
    let config = with("write-buffer-size = 100").unwrap();
    assert_eq!(
        config.clients.out_high_water_bytes,
        limits::OUT_HIGH_WATER_RANGE_BYTES.0
    );
    assert!(
        config
            .notices
            .iter()
            .any(|line| line.starts_with("--write-buffer-size 100: "))
    );
}

#[test]
fn the_password_is_the_first_line_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "  with spaces \nsecond line\n").unwrap();
    let toml = format!("target-username = 'bob'\ntarget-password-file = {file:?}");
    let credentials = with(&toml).unwrap().target_credentials.unwrap();
    assert_eq!(credentials.password.reveal(), "  with spaces ");
    std::fs::write(&file, "\n").unwrap();
    assert!(
        with(&toml)
            .unwrap_err()
            .to_string()
            .contains("the first line is empty")
    );
    let mut twice = settings(&toml).over(pair());
    twice.target_password = Some(Secret::new("other"));
    let error = ProxyConfig::new(twice, &around()).unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
}

#[test]
fn a_password_in_the_file_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("twinring.toml");
    std::fs::write(&file, "target-password = 'very-secret'\n").unwrap();
    let error = read_file(&file).unwrap_err();
    assert!(
        error.problems[0].remedy.contains("target-password-file"),
        "{error}"
    );
    assert!(!error.to_string().contains("very-secret"), "{error}");
}

#[test]
fn unknown_keys_of_the_file_are_refused() {
    let error = toml::from_str::<Settings>("proxy-prot = 1").unwrap_err();
    assert!(error.message().contains("proxy-prot"), "{error}");
}

fn good<T: std::str::FromStr<Err = String> + PartialEq + std::fmt::Debug>(text: &str, want: &T) {
    assert_eq!(text.parse::<T>().as_ref(), Ok(want), "{text}");
}

fn bad<T: std::str::FromStr<Err = String> + std::fmt::Debug>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_err(), "{text:?} must be refused");
    }
}

#[test]
fn sizes_and_durations() {
    for (text, bytes) in [
        ("0", 0),
        ("65536", 65536),
        ("64KiB", 65536),
        ("1 M", 1 << 20),
    ] {
        good(text, &Size(bytes));
    }
    good("10GiB", &Size(10 << 30));
    bad::<Size>(&["", "x", "-1", "1.5G", "1X", "99999999999T"]);
    for (text, ms) in [
        ("30", 30_000),
        ("30s", 30_000),
        ("250ms", 250),
        ("2m", 120_000),
    ] {
        good(text, &Span(Duration::from_millis(ms)));
    }
    good("10d", &Span(Duration::from_secs(864_000)));
    bad::<Span>(&["", "s", "-1s", "1.5s", "1w", "99999999999999999999s"]);
}

#[test]
fn cores_and_hosts() {
    good("4", &Cores::Count(4));
    good("3,", &Cores::List(vec![3]));
    good("2-3,0,2", &Cores::List(vec![0, 2, 3]));
    bad::<Cores>(&["", ",", "a", "3-1", "1-", "-1", "0-99999999999"]);
    let host = |host: &str, port| HostPort {
        host: host.to_owned(),
        port,
    };
    good("db1", &host("db1", None));
    good("db1:9", &host("db1", Some(9)));
    good("::1", &host("::1", None));
    good("[::1]", &host("::1", None));
    good("[fe80::1]:9", &host("fe80::1", Some(9)));
    bad::<HostPort>(&[
        "",
        ":9",
        "db1:",
        "db1:x",
        "db1:70000",
        "[::1",
        "[::1]9",
        "a b",
        "u@h",
    ]);
    good("a, b:1,", &Hosts(vec![host("a", None), host("b", Some(1))]));
    bad::<Hosts>(&["", ",", "a,:1"]);
    bad::<Words>(&["", " , "]);
    bad::<GhostIps>(&["", "[]", "{\"a\":\"b\"}", "{\"1.1.1.1\":1}"]);
}

/// The example with every key set, and the names of these keys.
fn example() -> (String, Vec<String>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/twinring.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let set: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let keys = toml::from_str::<toml::Table>(&set)
        .unwrap()
        .keys()
        .cloned()
        .collect();
    (set, keys)
}

/// Keys that show an example because "not set" is their default.
const WITHOUT_DEFAULT: &[&str] = &[
    "busy-poll-us",
    "target-secure-connect-bundle",
    "source-username",
    "source-password-file",
    "target-username",
    "target-password-file",
    "ghostIps",
    "target-dc",
    "advertise",
    "advertise-self",
    "protocol-version",
    "cql-version",
    "compression",
    "target-replication",
    "target-consistency",
    "journal-dir",
    "filter-tables",
    "include",
    "exclude",
    "spill-key-file",
    "threads",
    "wait",
    "uuid",
    "only-message",
    "dest-close",
    "source-tls-ca",
    "target-tls-ca",
    "source-tls-name",
    "target-tls-name",
    "source-tls-cert",
    "source-tls-key",
    "target-tls-cert",
    "target-tls-key",
    "source-tls-password-file",
    "target-tls-password-file",
    "proxy-jks-file",
    "proxy-jks-password-file",
    "proxy-pem-certfile",
    "proxy-pem-keyfile",
    "proxy-client-ca",
];

#[test]
fn the_example_has_every_key() {
    let (_, mut keys) = example();
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("test"));
    let mut flags: Vec<_> = command
        .get_arguments()
        .map(|flag| flag.get_long().unwrap_or(flag.get_id().as_str()).to_owned())
        .filter(|name| {
            !["source-password", "target-password", "proxy-jks-password"].contains(&name.as_str())
        })
        .collect();
    keys.sort();
    flags.sort();
    assert_eq!(keys, flags);
}

#[test]
fn the_example_shows_the_defaults() {
    let (set, _) = example();
    let _: Settings = settings(&set);
    let mut table: toml::Table = set.parse().unwrap();
    for key in WITHOUT_DEFAULT {
        assert!(table.remove(*key).is_some(), "{key}");
    }
    table.insert("source".to_owned(), "old".into());
    table.insert("target".to_owned(), "new".into());
    let shown = with(&table.to_string()).unwrap();
    let default = ProxyConfig::new(pair(), &around()).unwrap();
    assert_eq!(format!("{shown:#?}"), format!("{default:#?}"));
}

#[test]
fn every_flag_has_its_variable() {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("test"));
    for flag in command.get_arguments() {
        let name = flag.get_id().as_str().to_ascii_uppercase();
        let variable = flag.get_env().and_then(std::ffi::OsStr::to_str);
        assert_eq!(variable, Some(format!("TWINRING_{name}").as_str()));
    }
}
