//! Percentile distributions as text, in the layout of HdrHistogram's `outputPercentileDistribution`
//! (`.hgrm`), which its plotters read. Values are in ms.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use super::float;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;
/// ns in the unit of the file.
const NS_PER_MS: f64 = 1_000_000.0;

/// Writes a histogram of ns.
///
/// # Errors
/// Those of `out`.
pub fn write(histogram: &Histogram<u64>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = float(step.value_iterated_to()) / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:>12.3} {quantile:>2.12} {total:>10}")?;
        if quantile < 1.0 {
            writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out)?;
        }
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let max = float(histogram.max()) / NS_PER_MS;
    let count = histogram.len();
    writeln!(
        out,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]"
    )?;
    writeln!(
        out,
        "#[Max     = {max:>12.3}, Total count    = {count:>12}]"
    )?;
    writeln!(
        out,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.buckets(),
        2048
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::samples::histogram;

    #[test]
    fn the_lines_are_those_of_the_format() {
        let mut known = histogram();
        for us in 1..=10_000_u64 {
            known.record(us * 1_000).unwrap();
        }
        let mut out = Vec::new();
        write(&known, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "       Value     Percentile TotalCount 1/(1-Percentile)"
        );
        let median = lines
            .iter()
            .find(|line| line.contains(" 0.500000"))
            .unwrap();
        let fields: Vec<&str> = median.split_whitespace().collect();
        let value: f64 = fields[0].parse().unwrap();
        assert!((value - 5.0).abs() < 0.01, "{median}");
        assert_eq!(fields[3], "2.00");
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(last.contains("1.000000000000      10000"), "{last}");
        assert!(text.contains("#[Max     =       10.0"), "{text}");
        assert!(text.contains("Total count    =        10000]"), "{text}");
    }
}
