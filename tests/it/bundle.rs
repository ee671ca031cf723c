//! `--target-secure-connect-bundle`: nodes that are all behind one address, each by a name of its
//! own, and the service that tells them. The node behind them refuses writes at a low consistency
//! level, as Astra DB does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::cassandra::{Cassandra, run_dir, setup};
use crate::support::cloud::{self, Cloud};
use crate::support::cql::{Cql, uuid_text};
use crate::support::lab::{self, Pair, wait_until};
use crate::support::proxy::Proxy;
use crate::support::tls::{self, Authority, Flags};

const LIMIT: Duration = Duration::from_secs(60);
const NAMES: [&str; 2] = [
    "0750e59f-441b-37bb-b0a7-e097c5d725f7",
    "190dafab-6970-3a67-a21c-1226360de7dc",
];
/// As the console of Astra DB gives out user names and passwords.
const LOGIN: (&str, &str) = ("token", "AstraCS:not-a-real-one");

/// A node behind a bundle, with a user for the proxy.
fn target() -> &'static Cassandra {
    let node = lab::guarded_target();
    let (user, word) = LOGIN;
    let role =
        format!("CREATE ROLE IF NOT EXISTS '{user}' WITH PASSWORD = '{word}' AND LOGIN = true");
    let mut cql = node.connect();
    cql.query(&role).unwrap();
    cql.query(&format!("GRANT ALL ON ALL KEYSPACES TO '{user}'"))
        .unwrap();
    node
}

fn pair(name: &str) -> Pair {
    setup();
    let pair = Pair::without_proxy(name, lab::source_41(), target());
    pair.run_at_both(&format!(
        "CREATE TABLE {}.t (k int PRIMARY KEY, v text)",
        pair.keyspace
    ));
    pair
}

fn word_file() -> PathBuf {
    let file = tls::dir().join("token");
    std::fs::write(&file, LOGIN.1).unwrap();
    file
}

/// The flags that a bundle needs.
fn flags(bundle: &Path) -> Flags {
    Flags::default()
        .with("--target-secure-connect-bundle", bundle)
        .with("--disable-target-tls", "false")
        .with("--target-username", LOGIN.0)
        .with("--target-password-file", word_file())
}

fn start(pair: &Pair, flags: &Flags) -> Proxy {
    let (name, ends) = (&pair.keyspace, [pair.source.address.to_string()]);
    let (dir, ip) = (run_dir().join(name), lab::proxy_address());
    Proxy::start_between(name, &dir, ip, ends, &flags.words(), &[])
}

/// `--check`: whether it could start, and its words.
fn check(name: &str, bundle: &Path) -> (bool, String) {
    let flags = flags(bundle).with("--disable-source-tls", "true");
    let ends = [lab::source_41().address.to_string()];
    let (code, words) = Proxy::check(name, ends, &flags.words());
    (code == Some(0), words)
}

fn write(pair: &Pair, proxy: &Proxy, ids: std::ops::Range<i32>) {
    let mut cql = Cql::connect(proxy.listen).unwrap();
    for id in ids {
        let keyspace = &pair.keyspace;
        let text = format!("INSERT INTO {keyspace}.t (k, v) VALUES ({id}, 'x')");
        cql.query(&text).unwrap(); // at ONE
    }
}

#[test]
fn writes_go_to_the_nodes_of_a_bundle() {
    let _turn = lab::beside_others();
    let mut pair = pair("bundle");
    let cloud = Cloud::new("bundle", pair.target.address, &NAMES);
    let proxy = start(&pair, &flags(&cloud.bundle));
    write(&pair, &proxy, 0..200);
    for name in NAMES {
        wait_until(name, || cloud.was_asked_for(name));
    }
    let words = proxy.words();
    assert!(
        !words.contains(LOGIN.1) && !words.contains("PRIVATE KEY"),
        "{words}"
    );
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
    let proxy = pair.proxy.as_ref().unwrap();
    assert_eq!(proxy.held(), Vec::<String>::new());
    // a change of the schema waits until all nodes agree, by their names
    let table = format!("CREATE TABLE {}.more (k int PRIMARY KEY)", pair.keyspace);
    let mut cql = Cql::connect(proxy.listen).unwrap();
    cql.query(&table).unwrap();
    cql.query(&format!(
        "INSERT INTO {}.more (k) VALUES (1)",
        pair.keyspace
    ))
    .unwrap();
    pair.assert_equal(&[]);
}

/// Nodes get other names when the operator of the cloud exchanges them.
#[test]
fn nodes_that_are_others_are_asked_for_again() {
    let _turn = lab::beside_others();
    let mut pair = pair("renamed");
    let cloud = Cloud::new("renamed", pair.target.address, &NAMES);
    let proxy = start(&pair, &flags(&cloud.bundle));
    write(&pair, &proxy, 0..50);
    let third = "678e6a1d-e5b1-3cba-b949-7bfaf823957f";
    cloud.rename(&[third]);
    write(&pair, &proxy, 50..100);
    wait_until("the new name", || cloud.was_asked_for(third));
    write(&pair, &proxy, 100..150);
    pair.proxy = Some(proxy);
    pair.assert_equal(&[]);
}

/// A level that the target refuses: what the default spares.
#[test]
fn a_level_that_the_target_refuses() {
    let _turn = lab::beside_others();
    let pair = pair("refused_level");
    let cloud = Cloud::new("refused_level", pair.target.address, &NAMES);
    let flags = flags(&cloud.bundle).with("--target-consistency", "one");
    let proxy = start(&pair, &flags);
    write(&pair, &proxy, 0..10);
    wait_until("rejected", || proxy.gauge("twinring_rejected_held") == 10);
    let words = proxy.words();
    assert!(words.contains("not allowed"), "{words}");
    let data_dir = proxy.data_dir.clone();
    proxy.terminate(LIMIT);
    let replayed = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(["rejects", "send"])
        .arg(&data_dir)
        .arg(pair.target.address.to_string())
        .args([
            "--target-username",
            LOGIN.0,
            "--target-consistency",
            "local_quorum",
        ])
        .env("TWINRING_TARGET_PASSWORD", LOGIN.1)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&replayed.stderr);
    assert!(replayed.status.success(), "{words}");
    pair.assert_equal(&[]);
}

/// A bundle for a service at this port, with the certificate of an authority that the service does
/// not know. `trusted`: the file of the one that the bundle trusts; `None`: the same.
fn of_another(name: &str, port: u16, trusted: Option<&PathBuf>) -> PathBuf {
    let other = Authority::new(&format!("{name}-other"));
    let (cert, key) = other.sign(&format!("{name}-client"), "client.example");
    let config = format!("{{\"host\":\"localhost\",\"port\":{port}}}");
    cloud::zipped(name, &config, [trusted.unwrap_or(&other.file), &cert, &key])
}

#[test]
fn a_check_says_what_is_wrong() {
    let _turn = lab::beside_others();
    let node = target();
    let cloud = Cloud::new("checked", node.address, &NAMES);
    let (well, words) = check("checked", &cloud.bundle);
    assert!(well && words.contains("by the bundle"), "{words}");
    assert!(!words.contains("spill until it is back"), "{words}");

    // the router knows the names no more, the service does
    let stale = Cloud::new("stale", node.address, &NAMES);
    stale.forget();
    let (well, words) = check("stale", &stale.bundle);
    assert!(
        well && words.contains("TLS failed: the other side ended it"),
        "{words}"
    );
    assert!(words.contains("writes go to the spill"), "{words}");

    // signed by somebody else
    let port = cloud.service.port();
    let strange = of_another("strange", port, None);
    let (well, words) = check("strange", &strange);
    let expected = format!(
        "https://localhost:{port}/metadata: TLS failed: the certificate is signed \
                            by nobody who is trusted here"
    );
    assert!(well && words.contains(&expected), "{words}");

    // not in force any more: the service does not let it in
    let outdated = of_another("outdated", port, Some(&cloud.authority));
    let (well, words) = check("outdated", &outdated);
    assert!(well && words.contains("leads to no nodes"), "{words}");

    let damaged = run_dir().join("damaged.zip");
    let whole = std::fs::read(&cloud.bundle).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let (well, words) = check("damaged", &damaged);
    assert!(
        !well && words.contains("is no zip file, or is damaged"),
        "{words}"
    );
    assert!(words.contains("--target-secure-connect-bundle"), "{words}");
}

/// `twinring copy`, `verify` or `replay` into what the bundle leads to: exit code and words.
fn tool(words: &[&str], bundle: &Path) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(words)
        .arg("--target-secure-connect-bundle")
        .arg(bundle)
        .args(["--target-username", LOGIN.0, "--target-password-file"])
        .arg(word_file())
        .output()
        .unwrap();
    let words = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let words = words.concat();
    assert!(!words.contains(LOGIN.1), "{words}");
    assert!(!words.contains("PRIVATE KEY"), "{words}");
    (status.code(), words)
}

/// The name that a node has in a cloud: its host id.
fn own_name(node: &Cassandra) -> String {
    let rows = node.connect().query("SELECT host_id FROM system.local");
    uuid_text(rows.unwrap()[0][0].as_deref().unwrap())
}

/// The command line of `copy` or `verify`.
fn of_history<'a>(what: &'a str, source: &'a str, keyspace: &'a str) -> Vec<&'a str> {
    vec![what, source, "--keyspace", keyspace]
}

#[test]
fn copy_and_verify_go_through_a_bundle() {
    let _turn = lab::beside_others();
    let pair = pair("bundle_history");
    let name = own_name(pair.target);
    let cloud = Cloud::new("bundle_history", pair.target.address, &[&name]);
    let (source, keyspace) = (pair.source.address.to_string(), pair.keyspace.as_str());
    let run = |sql: &str, node: &Cassandra| {
        let text = sql.replace("INTO T", &format!("INTO {keyspace}.t"));
        node.connect().query(&text).unwrap();
    };
    for k in 0..300 {
        let text = format!("INSERT INTO T (k, v) VALUES ({k}, 'old')");
        run(&text, pair.source);
    }
    let checkpoint = run_dir().join("bundle_history.checkpoint");
    let mut words = of_history("copy", &source, keyspace);
    words.extend(["--checkpoint", checkpoint.to_str().unwrap()]);
    let (code, said) = tool(&words, &cloud.bundle);
    assert_eq!(code, Some(0), "{said}");
    pair.assert_equal(&[]);
    assert!(cloud.was_asked_for(&name));

    // one value that is older at the target, one row that it lacks
    run("INSERT INTO T (k, v) VALUES (900, 'x')", pair.source);
    run("INSERT INTO T (k, v) VALUES (901, 'x')", pair.source);
    let older = "INSERT INTO T (k, v) VALUES (901, 'y') USING TIMESTAMP 1";
    run(older, pair.target);
    let words = of_history("verify", &source, keyspace);
    let (code, said) = tool(&words, &cloud.bundle);
    assert_eq!(code, Some(4), "{said}");
    let repair = [&words[..], &["--repair"]].concat();
    let (code, said) = tool(&repair, &cloud.bundle);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = tool(&words, &cloud.bundle);
    assert_eq!(code, Some(0), "{said}");
    pair.assert_equal(&[]);
}

/// The clients wrote at ONE, which the target refuses: a replay sends at LOCAL_QUORUM.
#[test]
fn a_spill_is_replayed_through_a_bundle() {
    let _turn = lab::beside_others();
    let pair = pair("bundle_replay");
    let name = own_name(pair.target);
    let cloud = Cloud::new("bundle_replay", pair.target.address, &[&name]);
    cloud.forget();
    let proxy = start(&pair, &flags(&cloud.bundle));
    write(&pair, &proxy, 0..50);
    let dir = proxy.data_dir.clone();
    proxy.terminate(LIMIT);
    let words = ["replay", dir.to_str().unwrap()];
    let (code, said) = tool(&words, &cloud.bundle);
    assert_eq!(code, Some(1), "{said}"); // nothing is lost
    cloud.rename(&[&name]);
    let (code, said) = tool(&words, &cloud.bundle);
    assert_eq!(code, Some(0), "{said}");
    pair.assert_equal(&[]);
}

#[test]
fn the_tools_say_what_is_wrong() {
    let _turn = lab::beside_others();
    let node = target();
    let source = lab::source_41().address.to_string();
    let says = |bundle: &Path, expected: &str| {
        for what in ["copy", "verify"] {
            let (code, said) = tool(&of_history(what, &source, "any"), bundle);
            assert_eq!(code, Some(1), "{what}: {said}");
            assert!(said.contains(expected), "{what}: {said}");
            assert!(said.contains("bundle"), "{what}: {said}");
        }
    };
    says(Path::new("/none.zip"), "/none.zip: cannot be read");

    let stale = Cloud::new("tools_stale", node.address, &NAMES);
    stale.forget();
    says(&stale.bundle, "TLS failed: the other side ended it");

    let port = stale.service.port();
    let strange = of_another("tools_strange", port, None);
    says(&strange, "signed by nobody who is trusted here");
    let outdated = of_another("tools_outdated", port, Some(&stale.authority));
    says(&outdated, "leads to no nodes");
    let nobody = of_another("tools_nobody", 1, None);
    says(&nobody, "https://localhost:1/metadata: ");
}
