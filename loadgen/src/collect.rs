//! Brings the threads' measurements together, second by second, while the run goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::sync::mpsc::{Receiver, Sender};
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use crate::plan::Plan;
use crate::report::us;
use crate::samples::Samples;
use crate::worker::INTERVAL;
use crate::workload::Kind;

/// What one worker measured in one second.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) worker: usize,
    /// Which second of the measured part.
    pub(crate) interval: u64,
    /// The worker has nothing more for the seconds before this one.
    pub(crate) next: u64,
    pub(crate) samples: Samples,
}

/// One second of the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds from the end of the warm-up to its beginning.
    pub start_s: u64,
    /// How long it is, in seconds: 1, but for the last.
    pub length_s: f64,
    /// Requests sent.
    pub sent: u64,
    /// Good answers.
    pub good: u64,
    /// Errors.
    pub failed: u64,
    /// Median latency of the good answers, in µs; 0 without any.
    pub p50_us: f64,
    /// Their 99th percentile, in µs.
    pub p99_us: f64,
    /// Their 99.9th percentile, in µs.
    pub p999_us: f64,
    /// The longest, in µs.
    pub max_us: f64,
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) samples: Samples,
    pub(crate) intervals: Vec<Interval>,
}

/// Merges until every worker has ended. `empty` takes the used samples back.
///
/// # Errors
/// The log cannot be written.
pub(crate) fn collect(
    plan: &Plan,
    began: SystemTime,
    full: &Receiver<Batch>,
    empty: &[Sender<Samples>],
) -> anyhow::Result<Collected> {
    let mut collector = Collector {
        open: BTreeMap::new(),
        reached: vec![0; plan.threads()],
        all: Collected {
            samples: Samples::new(plan.mix),
            intervals: Vec::new(),
        },
    };
    let Some(path) = &plan.log else {
        collector.follow(full, empty, &mut |_, _| Ok(()))?;
        return Ok(collector.all);
    };
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let (mut file, mut serializer) = (BufWriter::new(file), V2DeflateSerializer::new());
    let start = began + plan.warm_up;
    let about = format!(
        "twinring loadgen {}: {}, {}/s over {} connections; ns, from the intended start; tag \
         `service`: from the sending",
        env!("CARGO_PKG_VERSION"),
        plan.endpoint,
        plan.rate_per_s,
        plan.connections
    );
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&about)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut file, &mut serializer)
        .with_context(|| format!("write {}", path.display()))?;
    collector.follow(full, empty, &mut |interval, samples| {
        for (kind, histogram) in Kind::ALL.into_iter().zip(&samples.latency_ns) {
            if let Some(histogram) = histogram {
                log_line(&mut log, interval, kind.name(), histogram)?;
            }
        }
        log_line(&mut log, interval, "service", &samples.service_ns)
    })?;
    Ok(collector.all)
}

type Log<'a, 'b> = IntervalLogWriter<'a, 'b, BufWriter<File>, V2DeflateSerializer>;

fn log_line(
    log: &mut Log<'_, '_>,
    interval: u64,
    tag: &str,
    histogram: &Histogram<u64>,
) -> anyhow::Result<()> {
    let start = INTERVAL.saturating_mul(u32::try_from(interval)?);
    log.write_histogram(histogram, start, INTERVAL, Tag::new(tag))
        .map_err(|error| anyhow!("write the interval log: {error:?}"))
}

/// What to do with a second that is complete.
type Done<'f> = &'f mut dyn FnMut(u64, &Samples) -> anyhow::Result<()>;

struct Collector {
    /// Seconds that some worker still adds to.
    open: BTreeMap<u64, Samples>,
    /// By worker: the first second that it is not done with.
    reached: Vec<u64>,
    all: Collected,
}

impl Collector {
    fn follow(
        &mut self,
        full: &Receiver<Batch>,
        empty: &[Sender<Samples>],
        done: Done<'_>,
    ) -> anyhow::Result<()> {
        for batch in full {
            let samples = batch.samples;
            match self.open.get_mut(&batch.interval) {
                Some(open) => {
                    open.add(&samples)?;
                    give_back(empty, batch.worker, samples);
                }
                None => {
                    self.open.insert(batch.interval, samples);
                }
            }
            if let Some(reached) = self.reached.get_mut(batch.worker) {
                *reached = batch.next;
            }
            let complete = self.reached.iter().min().copied().unwrap_or(u64::MAX);
            while let Some(first) = self.open.first_entry()
                && *first.key() < complete
            {
                let (interval, samples) = first.remove_entry();
                self.finish(interval, &samples)?;
                done(interval, &samples)?;
                give_back(empty, batch.worker, samples);
            }
        }
        Ok(())
    }

    fn finish(&mut self, interval: u64, samples: &Samples) -> anyhow::Result<()> {
        self.all.samples.add(samples)?;
        // A second in which nothing came back is shown as one.
        let known = u64::try_from(self.all.intervals.len())?;
        for start_s in known..interval {
            self.all.intervals.push(Interval {
                start_s,
                length_s: 1.0,
                ..Interval::default()
            });
        }
        let all = samples.all_ns()?;
        let quantile = |quantile| us(all.value_at_quantile(quantile));
        self.all.intervals.push(Interval {
            start_s: interval,
            length_s: 1.0,
            sent: samples.sent,
            good: samples.good,
            failed: samples.failed,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: us(all.max()),
        });
        Ok(())
    }
}

fn give_back(empty: &[Sender<Samples>], worker: usize, mut samples: Samples) {
    if let Some(to) = empty.get(worker) {
        samples.clear();
        let _ = to.send(samples); // it may have ended
    }
}
