//! All shards together, as the admin thread sees them.

use super::shard::{ShardMetrics, ShardView};
use super::times::{Times, Window};

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not all shards accept clients yet.
    Starting,
    /// All shards accept clients.
    Running,
    /// A stop was asked for; what is in flight is finished or spilled.
    Draining,
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version of the program.
    pub version: String,
    /// `--source-identifier`: the source's name in logs and metrics.
    pub source: String,
    /// `--target-identifier`: the target's name in logs and metrics.
    pub target: String,
    /// Start of the process, µs since 1970.
    pub started_us: u64,
}

/// The readers' ends of all shards and the recent times.
pub struct Hub {
    /// The unchanging part.
    pub facts: Facts,
    views: Vec<ShardView>,
    waiting: Vec<bool>,
    window: Window,
}

impl Hub {
    /// `views` in the order of the shards.
    #[must_use]
    pub fn new(facts: Facts, views: Vec<ShardView>) -> Self {
        let waiting = vec![false; views.len()];
        Self {
            facts,
            views,
            waiting,
            window: Window::default(),
        }
    }

    /// Asks every shard for its histograms; [`Self::gather`] takes what has come.
    pub fn ask(&mut self) {
        for (view, waits) in self.views.iter().zip(&mut self.waiting) {
            view.want_times();
            *waits = true;
        }
    }

    /// Takes what the shards have handed over. True when nobody's answer is missing.
    pub fn gather(&mut self, now_us: u64) -> bool {
        for (view, waits) in self.views.iter().zip(&mut self.waiting) {
            while let Some(times) = view.take_times() {
                self.window.add(now_us / 1000, &times);
                *waits = false;
            }
        }
        !self.waiting.contains(&true)
    }

    /// The counters of all shards, in their order.
    pub fn counters(&self) -> impl Iterator<Item = &ShardMetrics> {
        self.views.iter().map(ShardView::counters)
    }

    /// Owned handles on the counters, for the exporter.
    pub(super) fn shared(&self) -> Vec<std::sync::Arc<ShardMetrics>> {
        self.views.iter().map(ShardView::shared).collect()
    }

    /// Times of the last minute, over all shards.
    pub(super) fn times(&mut self, now_us: u64) -> Times {
        self.window.sum(now_us / 1000)
    }
}
