//! Real Cassandra nodes: `tests/cassandra/node.py run` held by its standard input.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, Once};

use super::cql::Cql;

/// How a node differs from the plain one.
#[derive(Debug, Default, Clone, Copy)]
pub struct NodeOptions {
    /// Survives SIGKILL without losing what it acknowledged.
    pub durable: bool,
    /// For very many rows: more memory, and the slower compiler that makes faster code.
    pub large: bool,
    /// Wants a user and password (`cassandra`, `cassandra`).
    pub auth: bool,
    /// More lines of `cassandra.yaml`.
    pub yaml: &'static [String],
    /// Which cluster it joins, by the address of another node there.
    pub joins: Option<(&'static str, Ipv4Addr)>,
    /// Its data centre, if it is not `datacenter1`.
    pub center: Option<&'static str>,
}

/// A running node; stopped, and its data deleted, when dropped or when the test process ends.
#[derive(Debug)]
pub struct Cassandra {
    pub name: String,
    pub address: SocketAddr,
    holder: Mutex<Holder>,
}

#[derive(Debug)]
struct Holder {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Cassandra {
    /// Starts a node and waits until it answers CQL. The first call on a machine installs the JDK
    /// and Maven and fetches the jars.
    pub fn start(name: &str, version: &str, ip: Ipv4Addr, options: NodeOptions) -> Cassandra {
        setup();
        let mut command = Command::new("python3");
        command
            .arg(tests_dir().join("cassandra/node.py"))
            .args(["run", "--name", name]);
        command.args(["--version", version, "--address", &ip.to_string()]);
        command.args(match options.large {
            true => ["--tier", "4", "--heap", "1536M"],
            false => ["--tier", "1", "--heap", "512M"],
        });
        command.arg("--dir").arg(run_dir().join(name));
        command.args(options.durable.then_some("--durable"));
        command.args(options.auth.then_some("--auth"));
        if let Some((cluster, seed)) = options.joins {
            command.args(["--cluster", cluster, "--seed", &seed.to_string()]);
        }
        if let Some(center) = options.center {
            command.args(["--dc", center]);
        }
        for line in options.yaml {
            command.args(["--yaml", line]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Holder {
            child,
            orders,
            answers,
        };
        let ready = holder.answer();
        eprintln!("{name} ({version}): {ready}");
        Cassandra {
            name: name.to_owned(),
            address: SocketAddr::new(IpAddr::V4(ip), 9042),
            holder: Mutex::new(holder),
        }
    }

    /// SIGKILL, at once; it starts again on the data it has.
    pub fn kill9(&self) -> Outage<'_> {
        self.outage("kill", "start")
    }

    /// SIGSTOP: the node hangs, its sockets stay open; then SIGCONT.
    pub fn pause(&self) -> Outage<'_> {
        self.outage("pause", "resume")
    }

    fn outage(&self, begin: &str, end: &'static str) -> Outage<'_> {
        self.order(begin).unwrap();
        Outage { node: self, end }
    }

    /// A connection to the node itself, past the proxy.
    pub fn connect(&self) -> Cql {
        Cql::connect(self.address).unwrap_or_else(|e| panic!("node {}: {e}", self.address))
    }

    fn order(&self, verb: &str) -> Result<(), String> {
        let mut holder = self.holder.lock().unwrap();
        writeln!(holder.orders.as_ref().unwrap(), "{verb}").unwrap();
        let answer = holder.answer();
        match answer == "ok" || answer.starts_with("ready ") {
            true => Ok(()),
            false => Err(format!("{verb}: {answer}")),
        }
    }
}

/// While a node is away. It comes back when this is dropped, too: all tests share the nodes, and
/// one that fails must not take those after it along.
#[must_use]
#[derive(Debug)]
pub struct Outage<'a> {
    node: &'a Cassandra,
    end: &'static str,
}

impl Outage<'_> {
    /// Ends it now.
    pub fn end(self) {}
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        let ended = self.node.order(self.end);
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

impl Holder {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(
            !line.is_empty(),
            "the node's holder ended; its words are above"
        );
        line.trim_end().to_owned()
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap();
        drop(holder.orders.take()); // the end of its input tells it to stop
        let _ = holder.child.wait();
    }
}

/// `tests/`.
pub fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Where this run keeps nodes, logs and data directories. The leftovers of earlier runs go when
/// their process is gone.
pub fn run_dir() -> PathBuf {
    static CLEAN: Once = Once::new();
    let runs = tests_dir().join("cassandra/var/run");
    CLEAN.call_once(|| {
        for entry in std::fs::read_dir(&runs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name
                .strip_prefix("it-")
                .map(|pid| Path::new("/proc").join(pid));
            if pid.is_some_and(|process| !process.exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
    let mine = runs.join(format!("it-{}", std::process::id()));
    std::fs::create_dir_all(&mine).unwrap();
    mine
}

/// Installs what the machine lacks, drivers' tools included; once per process.
pub fn setup() {
    static SETUP: Once = Once::new();
    SETUP.call_once(|| {
        let script = tests_dir().join("cassandra/setup");
        let status = Command::new(script).arg("--drivers").status().unwrap();
        assert!(
            status.success(),
            "tests/cassandra/setup failed; its words are above"
        );
    });
}
