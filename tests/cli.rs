//! The program as an operator starts it: exit codes, what is said, and what is never said.
//!
//! `cargo test --test cli`. Needs nothing but the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const PASSWORD: &str = "correct-horse-battery";

fn twinring(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.args(args).env_remove("TWINRING_LOG");
    command
}

fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!err.contains("panicked"), "{err}");
    format!("{out}{err}")
}

/// A listener that stands for a cluster, and its address.
fn cluster() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

/// `twinring proxy --check`.
fn check(source: &str, dir: &Path, more: &[&str]) -> Command {
    let mut command = proxy(source, "127.0.0.1:0");
    command.args(["--check", "--data-dir"]).arg(dir).args(more);
    command
}

fn free() -> String {
    cluster().1 // of a listener that is gone
}

/// Waits until somebody listens there.
fn until_open(address: &str) -> TcpStream {
    let began = std::time::Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            let patience = Some(Duration::from_secs(60));
            stream.set_read_timeout(patience).expect("it is open");
            return stream;
        }
        assert!(began.elapsed().as_secs() < 60, "nothing listens");
        std::thread::yield_now();
    }
}

/// `twinring node`, until the test ends, however it does.
struct Node(Child);

impl Node {
    fn start(address: &str) -> Self {
        let node = twinring(&["node", "--listen", address]).spawn();
        let node = Self(node.expect("the program runs"));
        drop(until_open(address));
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `twinring proxy` between `source` and a target where nobody listens.
fn proxy(source: &str, listen: &str) -> Command {
    let mut command = twinring(&["proxy", source, "127.0.0.1:1", "--cores", "1"]);
    command.env("TWINRING_DISABLE_SOURCE_TLS", "true");
    command.env("TWINRING_DISABLE_TARGET_TLS", "true");
    command.args(["--metrics", "false", "--listen", listen]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn end(process: &Child) {
    let id = process.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &id]).status();
    assert!(asked.expect("kill runs").success());
}

/// Sends a request of v4 and reads its answer, which must be no error.
fn ask(stream: &mut TcpStream, opcode: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a short request");
    let mut request = vec![4, 0, 0, 1, opcode];
    request.extend(length.to_be_bytes());
    request.extend(body);
    stream.write_all(&request).expect("it is open");
    let mut header = [0; 9];
    stream.read_exact(&mut header).expect("an answer");
    let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).expect("all of it");
    assert_ne!(header[4], 0, "{}", String::from_utf8_lossy(&answer));
}

fn query(stream: &mut TcpStream, text: &str) {
    let length = u32::try_from(text.len()).expect("a short text");
    let mut body = length.to_be_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend([0, 1, 0]); // ONE, no flags
    ask(stream, 7, &body);
}

/// As an operator tries it first: in some folder, with the data directory's default.
#[test]
fn writes_are_spilled_into_a_data_directory_that_is_named_by_a_relative_path() {
    let (source, listen) = (free(), free());
    let _node = Node::start(&source);
    let dir = tempfile::tempdir().expect("a folder");
    let proxy = proxy(&source, &listen).current_dir(dir.path()).spawn();
    let proxy = proxy.expect("the program runs");
    let mut client = until_open(&listen);
    ask(&mut client, 1, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    query(
        &mut client,
        &format!("CREATE KEYSPACE k WITH replication = {replication}"),
    );
    query(&mut client, "CREATE TABLE k.t (k text PRIMARY KEY, v text)");
    query(&mut client, "INSERT INTO k.t (k, v) VALUES ('a', 'b')");
    drop(client);
    end(&proxy);
    let output = proxy.wait_with_output().expect("it ends");
    let words = said(&output);
    assert_eq!(output.status.code(), Some(0), "{:?} {words}", output.status);
    assert!(!words.contains("cannot be written"), "{words}");
    let folder = dir.path().join("twinring-data/shard-0000");
    let files = std::fs::read_dir(folder).expect("the shard's folder");
    let spilled = files.flatten().filter(|file| {
        let name = file.file_name();
        name.to_string_lossy().ends_with(".spill")
    });
    assert_eq!(spilled.count(), 1, "{words}");
}

/// It drains and leaves with 0 whenever the signal comes, from the first client on.
#[test]
fn a_signal_just_after_the_start_ends_it_well() {
    let source = free();
    let _node = Node::start(&source);
    for _ in 0..5 {
        let (dir, listen) = (tempfile::tempdir().expect("a folder"), free());
        let mut command = proxy(&source, &listen);
        let proxy = command.arg("--data-dir").arg(dir.path()).spawn();
        let proxy = proxy.expect("the program runs");
        drop(until_open(&listen));
        end(&proxy);
        let output = proxy.wait_with_output().expect("it ends");
        let words = said(&output);
        assert_eq!(output.status.code(), Some(0), "{:?} {words}", output.status);
        assert!(words.contains("stopping"), "{words}");
    }
}

#[test]
fn usage_errors_are_2_and_help_is_0() {
    for (args, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["proxy", "--help"], 0),
        (&[], 2),
        (&["fly"], 2),
        (&["proxy", "--source-port", "many"], 2),
        (&["status", "--watch", "0"], 2),
    ] {
        let output = twinring(args).output().expect("the program runs");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn a_configuration_that_cannot_work_is_1_and_names_everything() {
    let args = [
        "proxy",
        "127.0.0.1",
        "--proxy-pem-keyfile",
        "k",
        "--cores",
        "0",
    ];
    let output = twinring(&args).output().expect("the program runs");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for words in [
        "--proxy-pem-keyfile: there is no certificate",
        "TARGET: is not named",
        "--cores: 0",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_start_that_can_work_is_0_and_warns_about_the_target() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_source, address) = cluster();
    let output = check(&address, dir.path(), &["--wait", "true"])
        .output()
        .expect("it runs");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("--wait true: the client gets the source's answer at once"),
        "{text}"
    );
    assert!(
        text.contains("no contact point of the target answers"),
        "{text}"
    );
    assert!(text.contains("twinring can start with this"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours where no terminal is: {text}"
    );
}

#[test]
fn an_unreachable_source_is_1_with_a_command_to_try() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = check("127.0.0.1:2", dir.path(), &[])
        .output()
        .expect("it runs");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no contact point of the source answers"),
        "{text}"
    );
    assert!(text.contains("nc -vz 127.0.0.1 2"), "{text}");
}

#[test]
fn passwords_are_taken_from_three_places_and_never_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_source, address) = cluster();
    let file = dir.path().join("password");
    std::fs::write(&file, PASSWORD).expect("it can be written");
    let file = file.to_str().expect("a plain name");
    let user = ["--target-username", "bob", "--debug", "true"];
    let flag = [&user[..], &["--target-password", PASSWORD]].concat();
    let by_file = [&user[..], &["--target-password-file", file]].concat();
    let mut by_variable = check(&address, dir.path(), &user);
    by_variable.env("TWINRING_TARGET_PASSWORD", PASSWORD);
    let commands = [
        (check(&address, dir.path(), &flag), true),
        (check(&address, dir.path(), &by_file), false),
        (by_variable, false),
    ];
    for (mut command, warned) in commands {
        let output = command.output().expect("it runs");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("bob, with its own password"), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
        assert_eq!(text.contains("can be read by every user"), warned, "{text}");
    }
    let help = twinring(&["proxy", "--help"])
        .env("TWINRING_TARGET_PASSWORD", PASSWORD)
        .output()
        .expect("it runs");
    assert!(!said(&help).contains(PASSWORD));
}

#[test]
fn flags_win_over_variables_and_these_over_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_source, address) = cluster();
    let file = dir.path().join("twinring.toml");
    std::fs::write(&file, "source-identifier = \"from-file\"\n").expect("it can be written");
    let file = file.to_str().expect("a plain name");
    let name = |flag: &[&str], variable: Option<&str>| {
        let args = [&["--config", file], flag].concat();
        let mut command = check(&address, dir.path(), &args);
        if let Some(value) = variable {
            command.env("TWINRING_SOURCE_IDENTIFIER", value);
        }
        said(&command.output().expect("it runs"))
    };
    let flag = ["--source-identifier", "from-flag"];
    assert!(name(&[], None).contains("source     from-file at "));
    assert!(name(&[], Some("from-variable")).contains("source     from-variable at "));
    assert!(name(&flag, Some("from-variable")).contains("source     from-flag at "));
}

#[test]
fn status_without_a_proxy_is_1() {
    let output = twinring(&["status", "--admin", "127.0.0.1:1"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is a proxy running"));
}

#[test]
fn the_tuning_scripts_judge_and_change_a_made_up_machine() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/test");
    let ran = Command::new(script).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{words}");
}

/// What a proxy that stopped in order leaves is replayed without a word to the target, and said.
#[test]
fn a_replay_of_nothing_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let format = "twinring spill directory, format 1\n";
    std::fs::write(dir.path().join("LOCK"), format).expect("a file");
    let nobody = ["replay", dir.path().to_str().unwrap(), "127.0.0.1:1"];
    let output = twinring(&nobody).output().unwrap();
    let words = said(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("complete: the target has all"), "{words}");
}

/// Nobody is asked anything before the bundle is read.
#[test]
fn the_tools_take_a_bundle_for_the_target() {
    let dir = tempfile::tempdir().expect("a directory");
    let bundle = dir.path().join("shop.zip");
    let shown = bundle.display().to_string();
    let flag = ["--target-secure-connect-bundle", &shown, "--keyspace", "ks"];
    for tool in ["copy", "verify"] {
        let line = [&[tool, "127.0.0.1:1"], &flag[..]].concat();
        let output = twinring(&line).output().unwrap();
        let words = said(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        let expected = format!("--target-secure-connect-bundle {shown}: cannot be read");
        assert!(words.contains(&expected), "{words}");
        assert!(
            words.contains("name a file that this user can read"),
            "{words}"
        );
        let both = [&[tool, "127.0.0.1:1", "127.0.0.2:1"], &flag[..]].concat();
        let output = twinring(&both).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        // by its variable, as for the proxy
        let output = twinring(&[tool, "127.0.0.1:1", "--keyspace", "ks"])
            .env("TWINRING_TARGET_SECURE_CONNECT_BUNDLE", &bundle)
            .output();
        let words = said(&output.unwrap());
        assert!(words.contains("cannot be read"), "{words}");
    }
    for tool in ["copy", "verify", "replay"] {
        let help = said(&twinring(&[tool, "--help"]).output().unwrap());
        assert!(help.contains("--target-secure-connect-bundle"), "{help}");
    }
}
