//! The text that Prometheus reads, in the OpenMetrics form.

use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::catalogue::{Direction, Family, Flow, Labels, Shape, TlsFailure, families};
use super::hub::Hub;
use super::shard::ShardMetrics;
use super::times::{QUANTILES, Times};
use crate::side::Side;

/// `Content-Type` of what [`export`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Before each name.
const PREFIX: &str = "twinring";

/// All metrics of all shards at `now_us` (µs since 1970).
///
/// # Errors
/// Only when formatting into a string fails, which it does not.
pub fn export(hub: &mut Hub, now_us: u64) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    let info = prometheus_client::metrics::info::Info::new(vec![
        ("version", hub.facts.version.clone()),
        ("source", hub.facts.source.clone()),
        ("target", hub.facts.target.clone()),
    ]);
    registry.register("build", "Version and the names of both clusters", info);
    registry.register_collector(Box::new(Scrape {
        shards: hub.shared(),
        now_us,
    }));
    let mut out = String::with_capacity(16 << 10);
    text::encode_registry(&mut out, &registry)?;
    write_times(&mut out, hub, now_us)?;
    text::encode_eof(&mut out)?;
    Ok(out)
}

/// One reading of all counters.
struct Scrape {
    shards: Vec<Arc<ShardMetrics>>,
    now_us: u64,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in families() {
            self.family(&mut encoder, &family)?;
        }
        self.seconds(
            &mut encoder,
            "mirror_lag",
            "Age of the oldest write the target lacks",
            |m| Some(m.lag_us(self.now_us)),
        )?;
        self.seconds(
            &mut encoder,
            "heartbeat_age",
            "Time since the shard last ticked",
            |m| m.heartbeat_age_us(self.now_us),
        )
    }
}

impl Scrape {
    fn family(&self, encoder: &mut DescriptorEncoder, family: &Family) -> fmt::Result {
        let unit = family.unit.map(|unit| match unit {
            "bytes" => Unit::Bytes,
            other => Unit::Other(other.to_owned()),
        });
        let kind = match family.shape {
            Shape::Counter => MetricType::Counter,
            Shape::Gauge => MetricType::Gauge,
        };
        let mut metric =
            encoder.encode_descriptor(family.name, &dot(family.help), unit.as_ref(), kind)?;
        for shard in &self.shards {
            let number = shard.shard().to_string();
            let first = ("shard", number.as_str());
            match &family.labels {
                Labels::None => {
                    sample(&mut metric, family.shape, &[first], (family.read)(shard, 0))?;
                }
                Labels::One(label, values) => {
                    for (at, value) in values.iter().enumerate() {
                        let labels = [first, (*label, *value)];
                        sample(&mut metric, family.shape, &labels, (family.read)(shard, at))?;
                    }
                }
                Labels::SideTlsFailure => {
                    for (at, (side, reason)) in side_failures().enumerate() {
                        let labels = [first, ("side", side), ("reason", reason)];
                        sample(&mut metric, family.shape, &labels, (family.read)(shard, at))?;
                    }
                }
                Labels::SideFlow => {
                    for (at, (side, flow)) in side_flows().enumerate() {
                        let labels = [first, ("side", side), ("direction", flow)];
                        sample(&mut metric, family.shape, &labels, (family.read)(shard, at))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn seconds(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        age_us: impl Fn(&ShardMetrics) -> Option<u64>,
    ) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(name, &dot(help), Some(&Unit::Seconds), MetricType::Gauge)?;
        for shard in &self.shards {
            let Some(us) = age_us(shard) else { continue };
            let number = shard.shard().to_string();
            let seconds = std::time::Duration::from_micros(us).as_secs_f64();
            metric
                .encode_family(&[("shard", number.as_str())])?
                .encode_gauge(&seconds)?;
        }
        Ok(())
    }
}

/// The order in which `transferred` is read.
fn side_flows() -> impl Iterator<Item = (&'static str, &'static str)> {
    Side::ALL.into_iter().flat_map(|side| {
        Flow::ALL
            .iter()
            .map(move |flow| (side.label(), flow.label()))
    })
}

/// The order in which `tls_failures` is read.
fn side_failures() -> impl Iterator<Item = (&'static str, &'static str)> {
    Side::ALL.into_iter().flat_map(|side| {
        TlsFailure::ALL
            .iter()
            .map(move |reason| (side.label(), reason.label()))
    })
}

fn dot(help: &str) -> String {
    format!("{help}.")
}

fn sample(
    metric: &mut MetricEncoder,
    shape: Shape,
    labels: &[(&str, &str)],
    value: u64,
) -> fmt::Result {
    let mut one = metric.encode_family(&labels)?;
    match shape {
        Shape::Counter => {
            one.encode_counter::<[(&str, &str); 0], _, u64>(&value, None::<&Exemplar<_, _>>)
        }
        Shape::Gauge => one.encode_gauge(&value),
    }
}

/// The times as a summary, which the library has no type for.
fn write_times(out: &mut String, hub: &mut Hub, now_us: u64) -> fmt::Result {
    let times: Times = hub.times(now_us);
    let name = format!("{PREFIX}_proxy_time_seconds");
    writeln!(
        out,
        "# HELP {name} Time inside the proxy; quantiles over the last minute."
    )?;
    writeln!(out, "# TYPE {name} summary")?;
    writeln!(out, "# UNIT {name} seconds")?;
    for &direction in Direction::ALL {
        let labels = format!("direction=\"{}\"", direction.label());
        for (quantile, written) in QUANTILES {
            let seconds = times.quantile_seconds(direction, quantile);
            writeln!(out, "{name}{{{labels},quantile=\"{written}\"}} {seconds}")?;
        }
        let (mut count, mut sum_ns) = (0_u64, 0_u64);
        for shard in hub.counters() {
            count += shard.time_count[direction.index()].get();
            sum_ns = sum_ns.wrapping_add(shard.time_sum_ns[direction.index()].get());
        }
        let sum = std::time::Duration::from_nanos(sum_ns).as_secs_f64();
        writeln!(out, "{name}_sum{{{labels}}} {sum}")?;
        writeln!(out, "{name}_count{{{labels}}} {count}")?;
    }
    Ok(())
}
