//! The endpoints.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::{Ask, keep};
use super::{Order, health::Health};
use crate::metrics::{self, Facts, Hub, ShardView};

/// How long one contact point of the source may take to accept.
const SOURCE_PATIENCE: Duration = Duration::from_millis(1000);
/// Requests that may wait for the keeper; more wait in their connections.
const WAITING_ASKS: usize = 16;

const INDEX: &str = "twinring\n\
    /metrics  for Prometheus\n\
    /healthz  do the shards turn?\n\
    /readyz   may clients come?\n\
    /status   everything as JSON; see `twinring status`\n";

#[derive(Clone)]
struct Shared {
    asks: mpsc::Sender<Ask>,
    source: Arc<[SocketAddr]>,
}

/// Serves until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    source: Vec<SocketAddr>,
    facts: Facts,
    views: Vec<ShardView>,
    mut orders: watch::Receiver<Order>,
) -> io::Result<()> {
    let (asks, inbox) = mpsc::channel(WAITING_ASKS);
    let keeper = tokio::spawn(keep(Hub::new(facts, views), inbox, orders.clone()));
    let router = Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(Shared {
            asks,
            source: source.into(),
        });
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = async move {
        // An error means that the sender is gone, and with it the process.
        let _ = orders.wait_for(|order| *order == Order::Stop).await;
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await?;
    keeper.abort();
    Ok(())
}

impl Shared {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
        let gone = || (StatusCode::INTERNAL_SERVER_ERROR, "the keeper is gone\n").into_response();
        let (answer, wait) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())
    }

    /// Whether some contact point accepts a connection now.
    async fn source_reachable(&self) -> bool {
        for address in self.source.iter() {
            let connect = TcpStream::connect(address);
            if let Ok(Ok(_)) = tokio::time::timeout(SOURCE_PATIENCE, connect).await {
                return true;
            }
        }
        false
    }
}

async fn metrics(State(shared): State<Shared>) -> Result<Response, Response> {
    match shared.ask(Ask::Metrics).await? {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}

async fn healthz(State(shared): State<Shared>) -> Result<Response, Response> {
    Ok(verdict(&shared.ask(Ask::Health).await?))
}

async fn readyz(State(shared): State<Shared>) -> Result<Response, Response> {
    let reachable = shared.source_reachable().await;
    Ok(verdict(
        &shared.ask(|answer| Ask::Ready(reachable, answer)).await?,
    ))
}

async fn status(State(shared): State<Shared>) -> Result<Response, Response> {
    let reachable = shared.source_reachable().await;
    Ok(json(
        StatusCode::OK,
        &shared.ask(|answer| Ask::Report(reachable, answer)).await?,
    ))
}

fn verdict(health: &Health) -> Response {
    let code = if health.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(code, health)
}

fn json(code: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (
            code,
            [(header::CONTENT_TYPE, "application/json")],
            text + "\n",
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
