//! The HTTP side of a running proxy: metrics, health and status, on a thread of its own.
//!
//! | GET | answer |
//! |---|---|
//! | `/` | this list |
//! | `/metrics` | all metrics as OpenMetrics text, for Prometheus |
//! | `/healthz` | 200 while every shard's heartbeat is fresh, else 503 and the reasons: restart me |
//! | `/readyz` | 200 while every shard accepts clients and the source can be reached, else 503 and the reasons: send me no clients |
//! | `/status` | everything as JSON, with the answer to "is it safe to cut over?"; see `twinring status` |
//!
//! Nothing here changes anything. The thread reads the shards' counters where they are, and asks
//! for their histograms; no shard ever waits for it.

mod health;
mod http;
mod keeper;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::metrics::{Facts, ShardView};

/// What the process does, as far as the main thread knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Serve.
    Serve,
    /// Serve, and say that the proxy is stopping.
    Drain,
    /// End.
    Stop,
}

/// The running admin thread.
#[derive(Debug)]
pub struct Admin {
    local_addr: SocketAddr,
    orders: watch::Sender<Order>,
    thread: JoinHandle<()>,
}

/// Binds `listen` and serves there until [`Admin::stop`].
///
/// `source` are the contact points whose reachability `/readyz` and `/status` report; `views` come
/// from [`metrics::shards`](crate::metrics::shards).
///
/// # Errors
/// When the address cannot be bound or the thread cannot be started.
pub fn start(
    listen: SocketAddr,
    source: Vec<SocketAddr>,
    facts: Facts,
    views: Vec<ShardView>,
) -> io::Result<Admin> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    let (orders, inbox) = watch::channel(Order::Serve);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let served = runtime.block_on(http::serve(listener, source, facts, views, inbox));
            if let Err(error) = served {
                tracing::error!(%error, "the admin server ended; metrics and health are gone");
            }
        })?;
    Ok(Admin {
        local_addr,
        orders,
        thread,
    })
}

impl Admin {
    /// Where it listens; the port is the real one when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// From now on `/readyz` is 503 and `/status` says that the proxy is stopping.
    pub fn draining(&self) {
        self.orders.send_replace(Order::Drain);
    }

    /// Finishes the answers in flight and ends the thread.
    pub fn stop(self) {
        self.orders.send_replace(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread has panicked");
        }
    }
}
