//! An in-memory CQL node: last write wins, TTL, prepared statements, system tables for drivers.
//!
//! It answers as a single node of Cassandra 4.1 would, over protocol v3 and v4, for the demo, for
//! benches and for tests with faults. It is not a database: one thread, no disk, no cluster, no
//! compaction, no roles; materialized views, functions and aggregates of one's own are refused.
//!
//! A request goes `server::connection` (bytes) → `server::handle` (message, fault rules) →
//! `exec::prepare` (text → [`parser`] → plan) → `exec::write` or `exec::read` over [`store`] →
//! `server::reply`. Everything behind the socket is synchronous and on one thread.
//!
//! Sources of its rules, beside the protocol specifications: `Cells.resolveRegular`,
//! `LivenessInfo`, `Constants.Literal` and the error texts of Apache Cassandra 4.1, checked
//! against a running 4.1 by `golden.rs`.

pub mod args;
mod clock;
mod digest;
mod error;
mod exec;
mod fault;
#[cfg(test)]
mod golden;
mod json;
mod literal;
mod numeric;
mod order;
mod parser;
mod schema;
mod server;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod value;

use std::net::SocketAddr;
use std::sync::mpsc as sync;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::mpsc;

pub use self::args::NodeArgs;
pub use self::fault::{FaultPlan, FaultRule, FaultRuleError};
use self::server::Order;
pub use self::server::{Fact, Line, Model, Reply};
use crate::limits;

/// How long an order to the node may take.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the fault file is looked at.
const FAULT_FILE_PERIOD: Duration = Duration::from_millis(200);

/// What a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What `system.local` gives as cluster name.
    pub cluster: String,
    /// What `system.local` gives as data center.
    pub data_center: String,
    /// Given: clients must log in with this name and password.
    pub credentials: Option<(String, String)>,
    /// What `system.local` gives as host id; random when `None`.
    pub host_id: Option<[u8; 16]>,
    /// Faults from the start.
    pub faults: FaultPlan,
    /// Most connections at one time; more are closed at once.
    pub connections_max: usize,
    /// Longest request body accepted, in bytes.
    pub body_max_bytes: usize,
}

impl NodeConfig {
    /// A node at `listen` without password or faults.
    #[must_use]
    pub fn new(listen: SocketAddr) -> NodeConfig {
        NodeConfig {
            listen,
            cluster: "twinring-node".to_owned(),
            data_center: "datacenter1".to_owned(),
            credentials: None,
            host_id: None,
            faults: FaultPlan::default(),
            connections_max: limits::CONNECTIONS_DEFAULT,
            body_max_bytes: limits::ENVELOPE_BODY_DEFAULT_BYTES,
        }
    }
}

/// The node; only its handle is ever seen.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node on a thread of its own and waits until it listens.
    ///
    /// # Errors
    /// The thread cannot be started, or the address cannot be listened on.
    pub fn start(config: NodeConfig) -> anyhow::Result<NodeHandle> {
        let (orders, received) = mpsc::unbounded_channel();
        let (started, starting) = sync::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("cql-node".to_owned())
            .spawn(move || server::run(config, received, &started))
            .context("start the node's thread")?;
        let address = starting.recv().context("the node's thread ended early")??;
        Ok(NodeHandle {
            address,
            orders,
            thread: Some(thread),
        })
    }
}

type OrderSender = mpsc::UnboundedSender<(Order, sync::SyncSender<anyhow::Result<()>>)>;

/// A running node. Dropping it stops the node.
#[derive(Debug)]
pub struct NodeHandle {
    address: SocketAddr,
    orders: OrderSender,
    thread: Option<JoinHandle<()>>,
}

impl NodeHandle {
    /// Where the node listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection at once, as a killed node does; the data stays.
    ///
    /// # Errors
    /// The node has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.order(Order::Pause)
    }

    /// Listens again after [`NodeHandle::pause`].
    ///
    /// # Errors
    /// The node has ended, or the address is taken.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.order(Order::Resume)
    }

    /// Replaces latency and rules; the counters of rules begin anew.
    ///
    /// # Errors
    /// The node has ended.
    pub fn set_faults(&self, plan: FaultPlan) -> anyhow::Result<()> {
        self.order(Order::Faults(plan))
    }

    /// Forgets every prepared statement, as a restarted node has.
    ///
    /// # Errors
    /// The node has ended.
    pub fn forget_prepared(&self) -> anyhow::Result<()> {
        self.order(Order::ForgetPrepared)
    }

    /// Stops the node and waits for its thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn order(&self, order: Order) -> anyhow::Result<()> {
        let (done, finished) = sync::sync_channel(1);
        self.orders
            .send((order, done))
            .ok()
            .context("the node has ended")?;
        finished
            .recv_timeout(ORDER_TIMEOUT)
            .context("the node does not answer its owner")?
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.order(Order::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// `twinring node`: serves until SIGINT or SIGTERM, and follows the fault file.
///
/// # Errors
/// What keeps the node from starting; a fault file that cannot be read at the start. Later, a
/// faulty one is reported in the log and the last good rules stay.
pub fn run(args: &NodeArgs) -> anyhow::Result<()> {
    let node = Node::start(args.to_config()?)?;
    tracing::info!(address = %node.addr(), "node listens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the control runtime")?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            result = follow_fault_file(args, &node) => return result,
        }
        anyhow::Ok(())
    })?;
    node.stop();
    Ok(())
}

/// Gives the node new rules when the fault file changes.
async fn follow_fault_file(args: &NodeArgs, node: &NodeHandle) -> anyhow::Result<()> {
    let Some(path) = &args.fault_file else {
        return std::future::pending().await;
    };
    let changed = || -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let mut last = changed();
    loop {
        tokio::time::sleep(FAULT_FILE_PERIOD).await;
        let now = changed();
        if now.is_none() || now == last {
            continue;
        }
        last = now;
        match args.fault_plan() {
            Ok(plan) => node.set_faults(plan)?,
            Err(error) => tracing::warn!("the fault file is left aside: {error:#}"),
        }
    }
}
