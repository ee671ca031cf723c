//! TLS on every side, logins, and what happens when they do not fit: real Cassandra nodes with
//! keytool's stores, the Python, Go, Java and Node.js drivers, cqlsh.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::cassandra::{run_dir, setup, tests_dir};
use crate::support::cql::Cql;
use crate::support::lab::{self, Pair, wait_until};
use crate::support::proxy::Proxy;
use crate::support::tls::{self, Authority, Flags};

const LIMIT: Duration = Duration::from_secs(60);
const SUPERUSER: (&str, &str) = ("cassandra", "cassandra");

impl Flags {
    fn start(&self, name: &str, ip: Ipv4Addr) -> Proxy {
        let dir = run_dir().join(name);
        Proxy::start_with(name, &dir, ip, ends(), &self.words(), &[])
    }

    /// `--check`: exit code and words.
    fn check(&self, name: &str) -> (Option<i32>, String) {
        Proxy::check(name, ends().map(|end| end.to_string()), &self.words())
    }
}

fn ends() -> [SocketAddr; 2] {
    [lab::secure_source().address, lab::secure_target().address]
}

/// A keyspace on both nodes with the table of `small.py`, and no proxy yet.
fn pair(name: &str) -> Pair {
    setup();
    let pair = Pair::without_proxy(name, lab::secure_source(), lab::secure_target());
    let table = format!("{}.small (id int PRIMARY KEY, v text)", pair.keyspace);
    pair.run_at_both(&format!("CREATE TABLE {table}"));
    pair
}

/// A program in the Python driver's environment, as `drivers/python/run` starts it.
fn python(args: &[&str], contact: SocketAddr, keyspace: &str, login: (&str, &str)) -> Command {
    let mut command = Command::new(tests_dir().join("it/drivers/python/run"));
    command.args(args);
    command.env("TWINRING_CONTACT", contact.to_string());
    command.env("TWINRING_KEYSPACE", keyspace);
    command.env("TWINRING_USER", login.0);
    command.env("TWINRING_PASSWORD", login.1);
    command
}

fn secured(mut command: Command, tls: bool) -> Command {
    if tls {
        command.env("TWINRING_TLS_CA", &tls::authority().file);
    }
    command
}

fn ran(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
    output
}

fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?}: it went well");
    words
}

/// The sum of a metric over the lines that hold all of `words`.
fn metric(proxy: &Proxy, name: &str, words: &[&str]) -> u64 {
    let (_, text) = proxy.get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with(name));
    let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
    values.map(|value| value as u64).sum()
}

fn handshakes(proxy: &Proxy, side: &str) -> u64 {
    let side = format!("side=\"{side}\"");
    metric(proxy, "twinring_tls_handshakes_total", &[&side])
}

#[test]
fn all_combinations() {
    let _turn = lab::beside_others();
    for which in 0..8 {
        let on = |bit: u32| which & (1 << bit) != 0;
        let mut pair = pair("combined");
        let ip = lab::proxy_address();
        let mut flags = Flags::default();
        if on(0) {
            flags = flags.listener(ip);
        }
        if on(1) {
            flags = flags.source(&tls::certificate_of("secure-source"));
        }
        if on(2) {
            flags = flags.target();
        }
        let proxy = flags.start(&pair.keyspace, ip);
        let write = ["write", "0", "60"];
        let mut client = python(&write, proxy.listen, &pair.keyspace, SUPERUSER);
        client.env("TWINRING_PROTOCOL", if which % 2 == 0 { "5" } else { "4" });
        ran(secured(client, on(0)));
        for (bit, side) in [(0, "client"), (1, "source"), (2, "target")] {
            let seen = handshakes(&proxy, side) > 0;
            wait_until(side, || seen == on(bit) || handshakes(&proxy, side) > 0);
            assert_eq!(handshakes(&proxy, side) > 0, on(bit), "{which} {side}");
        }
        pair.proxy = Some(proxy);
        pair.assert_equal(&[]);
    }
}

/// The whole matrix of statements, over TLS on all sides.
#[test]
fn python_suite() {
    let _turn = lab::beside_others();
    suite("python");
}

#[test]
fn go_suite() {
    let _turn = lab::beside_others();
    suite("go");
}

#[test]
fn java_suite() {
    let _turn = lab::beside_others();
    suite("java");
}

#[test]
fn node_suite() {
    let _turn = lab::beside_others();
    suite("node");
}

/// A driver's suite over TLS, with a login.
fn driver(name: &str, contact: SocketAddr, pair: &Pair) -> Command {
    let mut command = Command::new(tests_dir().join("it/drivers").join(name).join("run"));
    command.env("TWINRING_DRIVERS", tests_dir().join("it/drivers"));
    command.env("TWINRING_CONTACT", contact.to_string());
    command.env("TWINRING_DIRECT", pair.source.address.to_string());
    command.env("TWINRING_KEYSPACE", &pair.keyspace);
    command.env("TWINRING_USER", SUPERUSER.0);
    command.env("TWINRING_PASSWORD", SUPERUSER.1);
    secured(command, true)
}

fn suite(name: &str) {
    let mut pair = pair(&format!("tls_{name}"));
    let ip = lab::proxy_address();
    let flags = Flags::default()
        .listener(ip)
        .source(&tls::certificate_of("secure-source"))
        .target();
    let proxy = flags.start(&pair.keyspace, ip);
    let output = driver(name, proxy.listen, &pair).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let bad: Vec<_> = words
        .lines()
        .filter(|l| !l.contains(r#""ok": true"#))
        .collect();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{trouble}", bad.join("\n"));
    assert!(handshakes(&proxy, "client") > 0);
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// The suites above check whom they talk to: with a certificate for somebody else none of them
/// says a word.
#[test]
fn drivers_verify_the_name() {
    let _turn = lab::beside_others();
    let pair = pair("misnamed");
    let ip = lab::proxy_address();
    let (cert, key) = tls::authority().sign(&format!("misnamed-{ip}"), "127.9.9.9");
    let flags = Flags::default().with("--proxy-pem-certfile", cert);
    let flags = flags.with("--proxy-pem-keyfile", key);
    let proxy = flags.start(&pair.keyspace, ip);
    for name in ["python", "go", "java", "node"] {
        let words = refused(driver(name, proxy.listen, &pair));
        assert!(words.contains("ertificate"), "{name}: {words}");
    }
    assert_eq!(metric(&proxy, "twinring_client_requests_total", &[]), 0);
}

#[test]
fn cqlsh() {
    let _turn = lab::beside_others();
    let mut pair = pair("cqlsh");
    let ip = lab::proxy_address();
    let flags = Flags::default()
        .listener(ip)
        .source(&tls::certificate_of("secure-source"))
        .target();
    let proxy = flags.start(&pair.keyspace, ip);
    let (host, port) = (ip.to_string(), proxy.listen.port().to_string());
    let text = format!(
        "INSERT INTO {0}.small (id, v) VALUES (1, 'by hand'); SELECT v FROM {0}.small; \
         DESCRIBE TABLE {0}.small",
        pair.keyspace
    );
    let args = ["cqlsh", &host, &port, "--ssl", "-e", &text];
    let mut command = python(&args, proxy.listen, &pair.keyspace, SUPERUSER);
    command.args(["-u", SUPERUSER.0, "-p", SUPERUSER.1]);
    command.env("SSL_CERTFILE", &tls::authority().file);
    command.env("SSL_VALIDATE", "true");
    let output = ran(command);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        words.contains("by hand") && words.contains("CREATE TABLE"),
        "{words}"
    );
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// A connection that comes in the moment in which another goes is not taken for that one.
#[test]
fn clients_that_come_while_others_go() {
    let _turn = lab::beside_others();
    let pair = pair("hurried");
    let ip = lab::proxy_address();
    let flags = Flags::default().listener(ip);
    let proxy = flags.start(&pair.keyspace, ip);
    let config = tls::client_config();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for round in 0..100 {
                    let asked = tls::ask_options(&config, proxy.listen);
                    asked.unwrap_or_else(|error| panic!("round {round}: {error}"));
                }
            });
        }
    });
}

/// Clients must show certificates; plain clients and strangers cost the source nothing.
#[test]
fn clients_with_certificates() {
    let _turn = lab::beside_others();
    let pair = pair("mutual");
    let ip = lab::proxy_address();
    let flags = Flags::default()
        .listener(ip)
        .source(&tls::certificate_of("secure-source"));
    let flags = flags.with("--proxy-client-ca", &tls::authority().file);
    let proxy = flags.start(&pair.keyspace, ip);
    let client = || {
        python(
            &["write", "0", "5"],
            proxy.listen,
            &pair.keyspace,
            SUPERUSER,
        )
    };
    let (cert, key) = tls::authority().sign("client", "client.example");
    let (strange_cert, strange_key) = Authority::new("strange").sign("strange", "client.example");
    let showing = |cert: &PathBuf, key: &PathBuf| {
        let mut command = secured(client(), true);
        command.env("TWINRING_TLS_CERT", cert);
        command.env("TWINRING_TLS_KEY", key);
        command
    };
    ran(showing(&cert, &key));
    let opened = handshakes(&proxy, "source");
    refused(secured(client(), true));
    refused(showing(&strange_cert, &strange_key));
    refused(client());
    assert_eq!(
        handshakes(&proxy, "source"),
        opened,
        "the source was not asked"
    );
    let failures = |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        metric(
            &proxy,
            "twinring_tls_failures_total",
            &["side=\"client\"", &reason],
        )
    };
    assert!(failures("no_certificate") > 0 && failures("untrusted") > 0);
    assert!(failures("protocol") > 0, "the plain client");
    ran(showing(&cert, &key));
}

/// What does not fit is found before the first client comes.
#[test]
fn wrong_certificates_at_the_source() {
    let _turn = lab::beside_others();
    let _nodes = pair("unfit");
    let plain = Flags::default().with("--disable-target-tls", "true");
    let (cert, key) = tls::authority().sign("unfit", "proxy.example");
    let show = |flags: Flags| {
        flags
            .with("--source-tls-cert", &cert)
            .with("--source-tls-key", &key)
    };
    let own = tls::certificate_of("secure-source");
    let cases = [
        (
            plain
                .clone()
                .with("--source-tls-ca", &tls::authority().file),
            "is signed by nobody who is trusted here",
            "--source-tls-ca",
        ),
        (
            plain
                .clone()
                .with("--source-tls-ca", &own)
                .with("--source-tls-name", "other.example"),
            "not valid for name",
            "--source-tls-name",
        ),
        (
            plain.clone().with("--source-tls-ca", "/does/not/exist"),
            "--source-tls-ca /does/not/exist: cannot be read",
            "name a file",
        ),
    ];
    for (flags, what, mend) in cases {
        let (code, words) = show(flags).check("unfit");
        assert_eq!(code, Some(1), "{words}");
        assert!(
            words.contains(what) && words.contains(mend),
            "{what}: {words}"
        );
    }
    let ways_out = [
        plain.clone().with("--source-tls-verify", "none"),
        plain
            .with("--source-tls-ca", &own)
            .with("--source-tls-name", "other.example")
            .with("--source-tls-verify", "ca"),
    ];
    for flags in ways_out {
        let (code, words) = show(flags).check("unfit");
        assert_eq!(code, Some(0), "{words}");
    }
}

/// The target's certificate is not trusted: clients see nothing of it, writes wait in the spill.
/// The right file comes while the proxy runs: they arrive.
#[test]
fn a_target_that_is_not_trusted_until_the_file_is_mended() {
    let _turn = lab::beside_others();
    let mut pair = pair("untrusted");
    let ip = lab::proxy_address();
    let ca = tls::dir().join("target-ca-in-use.pem");
    std::fs::copy(&tls::authority().file, &ca).unwrap();
    let flags = Flags::default()
        .with("--disable-target-tls", "false")
        .with("--target-tls-ca", &ca);
    let proxy = flags.start(&pair.keyspace, ip);
    let client = |from: &str| {
        let args = ["write", from, "40"];
        ran(python(&args, proxy.listen, &pair.keyspace, SUPERUSER));
    };
    client("0");
    let words = ["side=\"target\"", "reason=\"untrusted\""];
    wait_until("counted", || {
        metric(&proxy, "twinring_tls_failures_total", &words) > 0
    });
    wait_until("spilled", || {
        metric(&proxy, "twinring_backlog_records", &[]) > 0
    });
    // a broken file changes nothing but a count
    std::fs::write(&ca, "-----BEGIN nonsense").unwrap();
    proxy.hang_up();
    wait_until("refused", || {
        metric(&proxy, "twinring_tls_reload_failures_total", &[]) > 0
    });
    client("40");
    std::fs::copy(tls::certificate_of("secure-target"), &ca).unwrap();
    wait_until("drained", || {
        metric(&proxy, "twinring_backlog_records", &[]) == 0
    });
    client("80");
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// A new certificate for clients: new connections see it, those that are there live on.
#[test]
fn a_new_certificate_without_a_restart() {
    let _turn = lab::beside_others();
    let pair = pair("renewed");
    let ip = lab::proxy_address();
    let proxy = Flags::default().listener(ip).start(&pair.keyspace, ip);
    let mut held = Held::start(secured(
        python(&["hold"], proxy.listen, &pair.keyspace, SUPERUSER),
        true,
    ));
    held.write(1);
    let before = shown(proxy.listen);
    tls::authority().sign(&format!("proxy-{ip}"), &ip.to_string());
    proxy.hang_up();
    wait_until("renewed", || shown(proxy.listen) != before);
    held.write(2);
    let args = ["write", "3", "5"];
    let client = python(&args, proxy.listen, &pair.keyspace, SUPERUSER);
    ran(secured(client, true));
    assert!(
        metric(
            &proxy,
            "twinring_tls_certificate_expiry_seconds",
            &["client"]
        ) > 0
    );
    held.write(9);
}

/// `small.py hold`.
struct Held {
    child: Child,
    words: BufReader<std::process::ChildStdout>,
}

impl Held {
    fn start(mut command: Command) -> Held {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let mut held = Held { child, words };
        held.expect("held");
        held
    }

    fn write(&mut self, id: i32) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{id}").unwrap();
        self.expect("written");
    }

    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.words.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The certificate that the proxy shows.
fn shown(listen: SocketAddr) -> String {
    let program = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 9042)))";
    let mut command = Command::new("python3");
    command.args(["-c", program, &listen.ip().to_string()]);
    String::from_utf8(ran(command).stdout).unwrap()
}

/// The offline tools reach both clusters over TLS, too.
#[test]
fn copy_verify_and_replay() {
    let _turn = lab::beside_others();
    let pair = pair("offline");
    let insert = |node: &crate::support::cassandra::Cassandra, id: u32| {
        let keyspace = &pair.keyspace;
        let text = format!("INSERT INTO {keyspace}.small (id, v) VALUES ({id}, 'x')");
        node.connect().query(&text).unwrap();
    };
    (0..20).for_each(|id| insert(pair.source, id));
    let ends = [pair.source.address, pair.target.address].map(|a| a.to_string());
    let both = Flags::default()
        .source(&tls::certificate_of("secure-source"))
        .target();
    let checkpoint = run_dir().join("offline.checkpoint");
    let tool = |args: &[&str], flags: &Flags| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.args(args).args(&flags.0);
        command.env("TWINRING_SOURCE_USERNAME", SUPERUSER.0);
        command.env("TWINRING_SOURCE_PASSWORD", SUPERUSER.1);
        command.env("TWINRING_TARGET_USERNAME", SUPERUSER.0);
        command.env("TWINRING_TARGET_PASSWORD", SUPERUSER.1);
        command
    };
    let of = ["--keyspace", &pair.keyspace, "--splits", "4"];
    let copy = [&["copy", &ends[0], &ends[1]][..], &of].concat();
    let named = both.clone().with("--checkpoint", &checkpoint);
    ran(tool(&copy, &named));
    let verify = [&["verify", &ends[0], &ends[1]][..], &of].concat();
    ran(tool(&verify, &both));
    insert(pair.source, 99);
    refused(tool(&verify, &both));
    let (cert, key) = tls::authority().sign("offline", "proxy.example");
    let strange = Flags::default()
        .with("--source-tls-ca", &tls::authority().file)
        .with("--source-tls-cert", cert)
        .with("--source-tls-key", key);
    let words = refused(tool(&verify, &strange));
    assert!(words.contains("cannot reach the source"), "{words}");
    // what a proxy could not bring to a target that it does not trust, replay brings
    let unfit = Flags::default()
        .with("--disable-target-tls", "false")
        .with("--target-tls-ca", &tls::authority().file);
    let proxy = unfit.start(&pair.keyspace, lab::proxy_address());
    let write = ["write", "200", "30"];
    ran(python(&write, proxy.listen, &pair.keyspace, SUPERUSER));
    wait_until("spilled", || {
        metric(&proxy, "twinring_backlog_records", &[]) > 0
    });
    let spill = proxy.data_dir.to_str().unwrap().to_owned();
    let (status, words) = proxy.terminate(LIMIT);
    assert!(status.success(), "{words}");
    ran(tool(
        &["replay", &spill, &ends[1]],
        &Flags::default().target(),
    ));
    let repair = [&verify[..], &["--repair"]].concat();
    tool(&repair, &both).output().unwrap(); // its exit code tells of what it found
    ran(tool(&verify, &both));
}

/// A client's own login goes to the source as it is, and serves at the target.
#[test]
fn own_logins() {
    let _turn = lab::beside_others();
    let mut pair = pair("logins");
    let role = format!("user_{}", pair.keyspace);
    pair.run_at_both(&format!(
        "CREATE ROLE {role} WITH PASSWORD = 'own word' AND LOGIN = true"
    ));
    pair.run_at_both(&format!(
        "GRANT ALL ON KEYSPACE {} TO {role}",
        pair.keyspace
    ));
    let proxy = Flags::default().start(&pair.keyspace, lab::proxy_address());
    let client = |word| {
        let args = ["write", "0", "20"];
        python(&args, proxy.listen, &pair.keyspace, (&role, word))
    };
    let mut direct = client("wrong");
    direct.env("TWINRING_CONTACT", pair.source.address.to_string());
    let reason = "Provided username";
    let (through, direct) = (refused(client("wrong")), refused(direct));
    assert!(
        through.contains(reason) && direct.contains(reason),
        "{through}\n{direct}"
    );
    ran(client("own word"));
    let log = proxy.words();
    assert!(!log.contains("own word") && !log.contains("wrong"), "{log}");
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// The links of all shards log in with what one connection, in one of them, has logged in with:
/// what it writes to counters leaves by the shards that own them, and so do schema changes.
#[test]
fn one_connection_logs_all_shards_in() {
    let _turn = lab::beside_others();
    let mut pair = pair("all_shards");
    let proxy = Flags::default().start(&pair.keyspace, lab::proxy_address());
    let mut client = Cql::connect(proxy.listen).unwrap();
    let keyspace = &pair.keyspace;
    for n in 0..8 {
        let table = format!("{keyspace}.counted_{n}");
        let columns = "id int PRIMARY KEY, n counter";
        client
            .query(&format!("CREATE TABLE {table} ({columns})"))
            .unwrap();
        let count = format!("UPDATE {table} SET n = n + {n} WHERE id = 1");
        client.query(&count).unwrap();
    }
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// Wrong credentials for the target never touch a client; once they are right, writes arrive.
#[test]
fn wrong_target_credentials_until_they_are_mended() {
    let _turn = lab::beside_others();
    let mut pair = pair("mended");
    let word = run_dir().join("target-word");
    std::fs::write(&word, "sesame\n").unwrap();
    let role = format!("mirror_{}", pair.keyspace);
    let flags = Flags::default()
        .with("--target-username", &role)
        .with("--target-password-file", &word);
    let proxy = flags.start(&pair.keyspace, lab::proxy_address());
    let client = |from: &str| {
        let args = ["write", from, "40"];
        ran(python(&args, proxy.listen, &pair.keyspace, SUPERUSER));
    };
    client("0");
    wait_until("spilled", || {
        metric(&proxy, "twinring_backlog_records", &[]) > 0
    });
    let failed = || {
        metric(
            &proxy,
            "twinring_connects_failed_total",
            &["side=\"target\""],
        )
    };
    wait_until("counted", || failed() > 0);
    let log = proxy.words();
    assert!(
        log.contains("not connected") && !log.contains("sesame"),
        "{log}"
    );
    client("40");
    let mut target = pair.target.connect();
    let create = format!("CREATE ROLE {role} WITH PASSWORD = 'sesame' AND LOGIN = true");
    target.query(&create).unwrap();
    let grant = format!("GRANT ALL ON KEYSPACE {} TO {role}", pair.keyspace);
    target.query(&grant).unwrap();
    wait_until("drained", || {
        metric(&proxy, "twinring_backlog_records", &[]) == 0
    });
    client("80");
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}
