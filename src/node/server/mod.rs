//! The node on the network: one thread, one tokio runtime, one task for each connection.

mod connection;
mod handle;
mod model;
mod reply;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::mpsc as sync;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use self::connection::Outbox;
pub use self::model::{Fact, Line, Model, Reply};
use super::NodeConfig;
use super::clock::Clock;
use super::exec::{Engine, Identity};
use super::fault::{FaultPlan, Faults};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What the owner of a node asks of it. The sender is told when it is done.
pub(super) enum Order {
    /// Closes the listener and every connection; the data stays.
    Pause,
    /// Listens again.
    Resume,
    Faults(FaultPlan),
    ForgetPrepared,
    Stop,
}

pub(super) type Orders = mpsc::UnboundedReceiver<(Order, sync::SyncSender<anyhow::Result<()>>)>;

/// What the tasks of the node share; all on one thread.
pub(super) struct Shared {
    engine: RefCell<Engine>,
    faults: RefCell<Faults>,
    /// Wakes those that wait for a stall to end.
    faults_changed: Notify,
    config: NodeConfig,
    /// Connections that asked for schema events.
    subscribers: RefCell<Vec<Weak<Outbox>>>,
    tasks: RefCell<HashMap<u64, AbortHandle>>,
    next_task: Cell<u64>,
}

/// Binds and tells the address, then serves until told to stop. Runs on the node's own thread.
pub(super) fn run(
    config: NodeConfig,
    mut orders: Orders,
    started: &sync::SyncSender<anyhow::Result<SocketAddr>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error).context("start the node's runtime"));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let setup = listen(config.listen).and_then(|listener| {
            let address = listener.local_addr().context("read the node's address")?;
            Ok((listener, address, shared(config, address)?))
        });
        match setup {
            Ok((listener, address, shared)) => {
                let _ = started.send(Ok(address));
                serve(&shared, listener, address, &mut orders).await;
                shared.close_all();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

fn shared(config: NodeConfig, address: SocketAddr) -> anyhow::Result<Rc<Shared>> {
    let identity = Identity {
        cluster: config.cluster.clone(),
        data_center: config.data_center.clone(),
        address,
        host_id: config.host_id.unwrap_or_else(|| Clock::new().next_uuid()),
    };
    let engine = Engine::new(identity, Clock::new())
        .map_err(|error| anyhow::anyhow!("make the system tables: {}", error.message))?;
    Ok(Rc::new(Shared {
        engine: RefCell::new(engine),
        faults: RefCell::new(Faults::new(config.faults.clone())),
        faults_changed: Notify::new(),
        config,
        subscribers: RefCell::new(Vec::new()),
        tasks: RefCell::new(HashMap::new()),
        next_task: Cell::new(0),
    }))
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .context("make a socket")?;
    socket.set_reuse_address(true).context("set SO_REUSEADDR")?;
    socket
        .bind(&address.into())
        .with_context(|| format!("listen on {address}"))?;
    socket
        .listen(BACKLOG)
        .with_context(|| format!("listen on {address}"))?;
    socket
        .set_nonblocking(true)
        .context("make the listener non-blocking")?;
    TcpListener::from_std(socket.into()).context("hand the listener to the runtime")
}

async fn serve(
    shared: &Rc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
    orders: &mut Orders,
) {
    let mut listener = Some(listener);
    loop {
        let order = tokio::select! {
            accepted = accept(listener.as_ref()) => {
                match accepted {
                    Some(stream) => shared.admit(stream),
                    // Out of descriptors: wait for some to be closed.
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
                continue;
            }
            order = orders.recv() => order,
        };
        let Some((order, done)) = order else { return };
        let result = match order {
            Order::Stop => {
                listener = None;
                let _ = done.send(Ok(()));
                drop(listener);
                return;
            }
            Order::Pause => {
                listener = None;
                shared.close_all();
                Ok(())
            }
            Order::Resume if listener.is_some() => Ok(()),
            Order::Resume => listen(address).map(|fresh| listener = Some(fresh)),
            Order::Faults(plan) => {
                *shared.faults.borrow_mut() = Faults::new(plan);
                shared.faults_changed.notify_waiters();
                Ok(())
            }
            Order::ForgetPrepared => {
                shared.engine.borrow_mut().forget_prepared();
                Ok(())
            }
        };
        let _ = done.send(result);
    }
}

/// The next connection; never, while the node does not listen.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

impl Shared {
    /// Starts the task of a connection, unless there are too many.
    fn admit(self: &Rc<Shared>, stream: TcpStream) {
        if self.tasks.borrow().len() >= self.config.connections_max {
            return;
        }
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let shared = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            connection::serve(&shared, stream).await;
            shared.tasks.borrow_mut().remove(&id);
        });
        self.tasks.borrow_mut().insert(id, task.abort_handle());
    }

    fn close_all(&self) {
        for (_, task) in self.tasks.borrow_mut().drain() {
            task.abort();
        }
        self.subscribers.borrow_mut().clear();
    }
}
