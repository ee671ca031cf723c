//! `twinring proxy` as a real process.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::cassandra::{Cassandra, run_dir};

/// Nodes of the tests speak plain CQL unless a test says otherwise.
pub const PLAIN: [(&str, &str); 2] = [
    ("TWINRING_DISABLE_SOURCE_TLS", "true"),
    ("TWINRING_DISABLE_TARGET_TLS", "true"),
];
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub listen: SocketAddr,
    pub metrics: SocketAddr,
    /// Journal and spill.
    pub data_dir: PathBuf,
    child: Child,
    log: PathBuf,
}

impl Proxy {
    /// Starts a proxy on `ip:9042` and waits until it says that it is ready. Its words go to
    /// `NAME.log` in the run directory.
    pub fn start(name: &str, ip: Ipv4Addr, source: &Cassandra, target: &Cassandra) -> Proxy {
        Self::start_on(name, &run_dir().join(name), ip, source, target)
    }

    /// As `start`, with the data directory of an earlier proxy.
    pub fn start_on(
        name: &str,
        data_dir: &Path,
        ip: Ipv4Addr,
        source: &Cassandra,
        target: &Cassandra,
    ) -> Proxy {
        let addresses = [source.address, target.address];
        Self::start_with(name, data_dir, ip, addresses, &[], &[])
    }

    /// As `start_on`, between any two addresses (source and target), with more flags and with
    /// environment variables.
    pub fn start_with(
        name: &str,
        data_dir: &Path,
        ip: Ipv4Addr,
        ends: [SocketAddr; 2],
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Proxy {
        let ends = ends.map(|address| address.to_string());
        Self::start_between(name, data_dir, ip, ends, flags, variables)
    }

    /// `--check`: exit code and words.
    pub fn check(
        name: &str,
        ends: impl IntoIterator<Item = String>,
        flags: &[&str],
    ) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_twinring"))
            .arg("proxy")
            .args(ends)
            .args(["--check", "--metrics", "false", "--listen", "127.0.0.1:0"])
            .args(["--cores", "1", "--data-dir"])
            .arg(run_dir().join(name))
            .args(flags)
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        (output.status.code(), words)
    }

    /// As `start_with`, between any contact points (source, and target unless flags say it).
    pub fn start_between(
        name: &str,
        data_dir: &Path,
        ip: Ipv4Addr,
        ends: impl IntoIterator<Item = String>,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Proxy {
        let listen = SocketAddr::from((ip, 9042));
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let metrics = free.local_addr().unwrap();
        drop(free);
        std::fs::create_dir_all(data_dir).unwrap();
        std::fs::set_permissions(data_dir, Permissions::from_mode(0o700)).unwrap();
        let log = run_dir().join(format!("{name}.log"));
        let words = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        // The proxy must not outlive a test process that is killed.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            env!("CARGO_BIN_EXE_twinring"),
            "proxy",
        ]);
        command.args(ends);
        command.envs(PLAIN).envs(variables.iter().copied());
        command.args(flags);
        if !flags.contains(&"--cores") {
            command.args(["--cores", "2"]);
        }
        command.args(["--listen", &listen.to_string()]);
        command
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--metrics-port", &metrics.port().to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(words.try_clone().unwrap())
            .stderr(words);
        let child = command.spawn().unwrap();
        let mut proxy = Proxy {
            listen,
            metrics,
            data_dir: data_dir.to_owned(),
            child,
            log,
        };
        proxy.wait_until_it_is_ready();
        proxy
    }

    fn wait_until_it_is_ready(&mut self) {
        let began = Instant::now();
        while !self.words().contains("ready for clients") {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < START_LIMIT,
                "the proxy is not ready on {} ({ended:?}):\n{}",
                self.listen,
                self.words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGHUP: look at the certificates.
    pub fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(status.unwrap().success());
    }

    /// All it has written so far.
    pub fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, then waits; panics when it is not gone after `limit`. How it ended, and its words.
    pub fn terminate(mut self, limit: Duration) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.words());
            }
            assert!(
                began.elapsed() < limit,
                "still there after {limit:?}:\n{}",
                self.words()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Local ports of its own connections.
    pub fn ports(&self) -> BTreeSet<u16> {
        let sockets: BTreeSet<String> = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter_map(|link| {
                let link = link.to_string_lossy();
                Some(
                    link.strip_prefix("socket:[")?
                        .trim_end_matches(']')
                        .to_owned(),
                )
            })
            .collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let lines = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = lines.filter(|line| sockets.contains(line[9]));
        ours.map(|line| u16::from_str_radix(line[1].split(':').next_back().unwrap(), 16).unwrap())
            .collect()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Resident memory without that of files, its code above all, in KiB. The journal counts.
    pub fn own_kib(&self) -> u64 {
        self.status_kib("RssAnon:") + self.status_kib("RssShmem:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.unwrap().count()
    }

    /// The sum of a gauge over the shards; of `name{side}` the samples of one side.
    pub fn gauge(&self, name: &str) -> u64 {
        let (name, side) = name.split_once('{').unwrap_or((name, ""));
        let side = format!("\"{}\"", side.trim_end_matches('}'));
        let (_, body) = self.get("/metrics");
        let samples = body.lines().filter_map(|line| line.rsplit_once(' '));
        let ours = samples.filter(|(key, _)| {
            let labels = key.strip_prefix(name);
            labels.is_some_and(|l| l.starts_with('{') && (side == "\"\"" || l.contains(&side)))
        });
        ours.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    /// What it could not settle: nothing, if no node was harmed.
    pub fn held(&self) -> Vec<String> {
        let status: serde_json::Value = serde_json::from_str(&self.get("/status").1).unwrap();
        let names = ["in_doubt_held", "rejected_held", "dirty_windows"];
        let held = names.iter().filter(|name| status["totals"][name] != 0);
        held.map(|name| format!("{name}: {}", status["totals"][name]))
            .collect()
    }

    /// GET on the metrics port: status code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let words = self.words();
            let tail: Vec<_> = words.lines().rev().take(30).collect();
            for line in tail.iter().rev() {
                eprintln!("proxy: {line}");
            }
        }
    }
}

/// `twinring replay DIR TARGET`, to its end.
pub fn replay(data_dir: &Path, target: &Cassandra) -> Output {
    replay_with(data_dir, target, &[])
}

/// `twinring replay DIR TARGET FLAGS…`, to its end.
pub fn replay_with(data_dir: &Path, target: &Cassandra, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twinring"))
        .arg("replay")
        .arg(data_dir)
        .arg(target.address.ip().to_string())
        .args(["--target-port", &target.address.port().to_string()])
        .args(flags)
        .output()
        .unwrap()
}

/// The library that gives a process another clock, as Debian's package `faketime` has it.
pub fn faketime() -> Option<String> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.flatten();
    libraries
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .map(|path| path.to_string_lossy().into_owned())
}
