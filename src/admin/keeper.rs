//! The owner of the hub. A task of its own, so that requests take turns without a lock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};

use super::Order;
use super::health::{self, Health};
use crate::limits::SNAPSHOT_WAIT_MS;
use crate::metrics::{self, Gauge, Hub, Phase, Report};

/// The histograms are taken at least this often, so that the window of the last minute is one.
const TAKE_EVERY: Duration = Duration::from_secs(10);
/// How often the keeper looks whether the shards have answered.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a request wants from the hub.
pub(super) enum Ask {
    /// The text for Prometheus.
    Metrics(oneshot::Sender<Result<String, std::fmt::Error>>),
    /// Everything; the flag says whether the source can be reached.
    Report(bool, oneshot::Sender<Report>),
    /// Whether the shards live.
    Health(oneshot::Sender<Health>),
    /// Whether clients should come; the flag says whether the source can be reached.
    Ready(bool, oneshot::Sender<Health>),
}

/// Answers until every asker is gone.
pub(super) async fn keep(
    mut hub: Hub,
    mut asks: mpsc::Receiver<Ask>,
    orders: watch::Receiver<Order>,
) {
    let mut regularly = tokio::time::interval(TAKE_EVERY);
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => ask,
            _ = regularly.tick() => {
                take_times(&mut hub).await;
                continue;
            }
        };
        let Some(ask) = ask else { return };
        let phase = phase(&hub, *orders.borrow());
        // An asker that has gone away does not want its answer any more.
        match ask {
            Ask::Metrics(answer) => {
                take_times(&mut hub).await;
                let _ = answer.send(metrics::export(&mut hub, now_us()));
            }
            Ask::Report(source_reachable, answer) => {
                take_times(&mut hub).await;
                let report = metrics::report(&mut hub, phase, source_reachable, now_us());
                let _ = answer.send(report);
            }
            Ask::Health(answer) => {
                let _ = answer.send(health::health(&hub, now_us()));
            }
            Ask::Ready(source_reachable, answer) => {
                let _ = answer.send(health::ready(&hub, phase, source_reachable));
            }
        }
    }
}

/// Asks every shard for its histograms and waits for a moment; who is late comes next time.
async fn take_times(hub: &mut Hub) {
    hub.ask();
    let until = tokio::time::Instant::now() + Duration::from_millis(SNAPSHOT_WAIT_MS);
    while !hub.gather(now_us()) && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn phase(hub: &Hub, order: Order) -> Phase {
    if order != Order::Serve {
        return Phase::Draining;
    }
    let all_listen = hub
        .counters()
        .all(|shard| shard.gauge(Gauge::Listening) > 0);
    if all_listen {
        Phase::Running
    } else {
        Phase::Starting
    }
}

/// µs since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
