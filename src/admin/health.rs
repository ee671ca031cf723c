//! Alive, and ready for clients: two questions with different consequences.

use serde::{Deserialize, Serialize};

use crate::limits::HEARTBEAT_LIMIT_MS;
use crate::metrics::{Gauge, Hub, Phase};

/// An answer with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Health {
    /// All is well.
    pub(super) ok: bool,
    /// What is not.
    pub(super) reasons: Vec<String>,
}

impl Health {
    fn from(reasons: Vec<String>) -> Self {
        Self {
            ok: reasons.is_empty(),
            reasons,
        }
    }
}

/// Whether every shard turns. A shard that has not started yet gets the same patience.
pub(super) fn health(hub: &Hub, now_us: u64) -> Health {
    let limit_us = HEARTBEAT_LIMIT_MS * 1000;
    let uptime_us = now_us.saturating_sub(hub.facts.started_us);
    let late = hub.counters().filter_map(|shard| {
        let age_us = shard.heartbeat_age_us(now_us).unwrap_or(uptime_us);
        (age_us > limit_us).then(|| {
            format!(
                "shard {} has not turned for {} ms",
                shard.shard(),
                age_us / 1000
            )
        })
    });
    Health::from(late.collect())
}

/// Whether clients should be sent here.
pub(super) fn ready(hub: &Hub, phase: Phase, source_reachable: bool) -> Health {
    let mut reasons = Vec::new();
    if phase == Phase::Draining {
        reasons.push("the proxy is stopping".to_owned());
    }
    for shard in hub
        .counters()
        .filter(|shard| shard.gauge(Gauge::Listening) == 0)
    {
        reasons.push(format!("shard {} does not listen", shard.shard()));
    }
    if !source_reachable {
        reasons.push("no contact point of the source accepts connections".to_owned());
    }
    Health::from(reasons)
}
