//! What the demo needs around it, and that nothing of it stays behind.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use twinring_loadgen::Plan;
use twinring_loadgen::session::Session;
use twinring_loadgen::workload::Kind;

use super::screen::event;
use super::{DRAIN_LIMIT, GLANCE, QUIET_GLANCES};
use crate::metrics::{Event, Report, Totals};
use crate::node::{Node, NodeConfig, NodeHandle};
use crate::status;
use crate::sys::process;

/// How long the proxy may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Lines of the proxy's log that are shown when something fails.
const LOG_LINES: usize = 12;

/// Two clusters, the proxy between them, and a directory of their own.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) source: NodeHandle,
    pub(super) target: NodeHandle,
    pub(super) proxy: Proxy,
    interrupted: Arc<AtomicBool>,
    // Last, so that it goes when nobody writes to it any more.
    directory: Directory,
}

/// `twinring proxy`; killed when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    /// For clients.
    pub(super) address: SocketAddr,
    admin: String,
    child: Child,
}

/// Removed with all that is in it when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Scene {
    /// Starts everything and waits until the proxy accepts clients.
    pub(super) fn set() -> anyhow::Result<Scene> {
        let interrupted = watch_signals()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let node = |name: &str| {
            let cluster = name.to_owned();
            let config = NodeConfig {
                cluster,
                ..NodeConfig::new(any)
            };
            Node::start(config).with_context(|| format!("start the {name}"))
        };
        let (source, target) = (node("source")?, node("target")?);
        let directory = Directory::make()?;
        let proxy = Proxy::start(&source, &target, &directory.0)?;
        let mut scene = Scene {
            source,
            target,
            proxy,
            interrupted,
            directory,
        };
        match scene.wait_until_it_listens() {
            Ok(()) => Ok(scene),
            Err(error) => Err(scene.explain(error)),
        }
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(self.proxy.address).is_err() {
            ensure!(
                began.elapsed() < START_LIMIT,
                "the proxy does not accept clients"
            );
            self.pause(GLANCE)?;
        }
        Ok(())
    }

    /// The keyspace at both clusters; the table at the source, through the proxy, which takes it
    /// to the target.
    pub(super) fn create_table(&mut self, plan: &Plan) -> anyhow::Result<()> {
        for node in [&self.source, &self.target] {
            Session::connect(node.addr())?.query(&format!(
                "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
                 {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
                plan.keyspace
            ))?;
        }
        Session::connect(self.proxy.address)?.query(&plan.create_table())?;
        let mut target = Session::connect(self.target.addr())?;
        let began = Instant::now();
        while target.prepare(&plan.statement(Kind::Read, 0)).is_err() {
            ensure!(
                began.elapsed() < START_LIMIT,
                "the table {} has not reached the target",
                plan.table
            );
            self.pause(GLANCE)?;
        }
        Ok(())
    }

    /// What the proxy says about itself.
    pub(super) fn status(&self) -> anyhow::Result<Report> {
        status::ask(&self.proxy.admin)
    }

    /// Waits until everything acknowledged is on the target; gives the writes that took the way
    /// through the spill.
    pub(super) fn wait_until_quiet(&mut self) -> anyhow::Result<u64> {
        let began = Instant::now();
        let mut quiet = 0;
        loop {
            let totals = self.status()?.totals;
            quiet = if is_quiet(&totals) { quiet + 1 } else { 0 };
            if quiet >= QUIET_GLANCES {
                return Ok(event(&totals, Event::Spilled));
            }
            ensure!(
                began.elapsed() < DRAIN_LIMIT,
                "the last writes do not reach the target"
            );
            self.pause(GLANCE)?;
        }
    }

    /// Sleeps, unless there is a reason to end.
    pub(super) fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        ensure!(self.go_on(), "interrupted");
        if let Some(ended) = self.proxy.child.try_wait()? {
            bail!("the proxy has ended ({ended})");
        }
        sleep(time);
        Ok(())
    }

    /// Whether nobody has interrupted the demo.
    pub(super) fn go_on(&self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
    }

    /// Stops the proxy as an operator does; whether it ended with 0.
    pub(super) fn stop_proxy(&mut self) -> anyhow::Result<bool> {
        process::terminate(&mut self.proxy.child)?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.proxy.child.try_wait()? {
                return Ok(status.success());
            }
            ensure!(began.elapsed() < STOP_LIMIT, "the proxy does not stop");
            sleep(GLANCE);
        }
    }

    /// The error with the proxy's last words, unless the user ended the demo.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if !self.go_on() {
            return error;
        }
        let words = fs::read_to_string(self.directory.log()).unwrap_or_default();
        let lines: Vec<&str> = words.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        let tail = lines.get(last..).unwrap_or_default().join("\n  ");
        anyhow::anyhow!("{error:#}\nthe proxy's last words:\n  {tail}")
    }
}

fn is_quiet(totals: &Totals) -> bool {
    totals.backlog_records == 0 && totals.pending_writes == 0 && totals.mirror_in_flight == 0
}

impl Proxy {
    fn start(source: &NodeHandle, target: &NodeHandle, directory: &Path) -> anyhow::Result<Proxy> {
        let [address, admin] = free_addresses()?;
        let program = std::env::current_exe().context("find this program")?;
        let log = File::create(directory.join(LOG_NAME)).context("make the proxy's log")?;
        let mut command = Command::new(program);
        command
            .arg("proxy")
            .args([source.addr(), target.addr()].map(|address| address.to_string()))
            .args(["--listen", &address.to_string()])
            .args(["--metrics-port", &admin.port().to_string()])
            .args(["--cores", &shards().to_string()])
            .args(["--disable-source-tls", "true"])
            .args(["--disable-target-tls", "true"])
            .arg("--data-dir")
            .arg(directory.join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Settings of another proxy in the environment are not meant for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TWINRING_") {
                command.env_remove(name);
            }
        }
        process::end_with_parent(&mut command);
        // Ctrl-C is for the demo, which stops the proxy itself.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().context("start the proxy")?;
        Ok(Proxy {
            address,
            admin: admin.to_string(),
            child,
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

const LOG_NAME: &str = "proxy.log";

impl Directory {
    fn make() -> anyhow::Result<Directory> {
        let mut number = 0_u32;
        loop {
            let name = format!("twinring-demo-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Directory(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("make {}", path.display()));
                }
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.0.join(LOG_NAME)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // nothing more can be done about it
    }
}

/// Two, to show that writes of several shards come together, and no more: each locks memory, which
/// users other than root have little of.
fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
}

/// Two addresses of the loopback that nobody listens on now.
fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let held = [bind()?, bind()?]; // both at once, or they may be the same
    Ok([held[0].local_addr()?, held[1].local_addr()?])
}

/// A flag that SIGINT and SIGTERM set.
fn watch_signals() -> anyhow::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime for signals")?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate()).context("wait for SIGTERM")?,
            signal(SignalKind::interrupt()).context("wait for SIGINT")?,
        )
    };
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        seen.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("start the thread for signals")?;
    Ok(flag)
}

fn sleep(time: Duration) {
    #[allow(
        clippy::disallowed_methods,
        reason = "the demo's own thread, without a shard"
    )]
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_directory_goes_with_its_owner() {
        let (one, other) = (Directory::make().unwrap(), Directory::make().unwrap());
        assert_ne!(one.0, other.0);
        fs::write(one.log(), "words").unwrap();
        let path = one.0.clone();
        drop(one);
        assert!(!path.exists() && other.0.exists());
    }
}
