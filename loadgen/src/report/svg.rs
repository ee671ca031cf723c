//! Line charts as SVG text: no script, no font, nothing from elsewhere.

use std::fmt::Write;

/// How an axis maps values to places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In proportion, from 0.
    Linear,
    /// By the logarithm; for values above 0.
    Log,
    /// A quantile below 1, by the logarithm of its distance to 1.
    Quantile,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What stands beside it.
    pub label: &'static str,
    /// How it maps.
    pub scale: Scale,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Its points, x rising.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it; also what screen readers say.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines; the colours follow the order.
    pub series: Vec<Series>,
    /// A horizontal line with its name.
    pub limit: Option<(f64, String)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Points of a line that tell their value under the pointer.
const HINTS: usize = 120;
/// Colours told apart by CSS class.
const COLOURS: usize = 6;

/// From values to places on one axis.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Span {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Span {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let fits = |value: &f64| value.is_finite() && (scale != Scale::Log || *value > 1e-6);
        for value in values.filter(fits) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.1, 1.0);
        }
        let (low, high) = match scale {
            Scale::Linear => (0.0, high.max(1e-9)),
            Scale::Log => log_bounds(low, high),
            Scale::Quantile => (0.0, high.clamp(0.9, 1.0 - 1e-9)),
        };
        Span {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let map = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low).log10(),
            Scale::Quantile => -(1.0 - value.min(self.high)).log10(),
        };
        let (low, high) = (map(self.low), map(self.high));
        let share = (map(value) - low) / (high - low).max(f64::MIN_POSITIVE);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step(self.high);
                (0..=10_u32)
                    .map(|at| step * f64::from(at))
                    .take_while(|&value| value <= self.high * 1.000_001)
                    .map(|value| (value, short(value)))
                    .collect()
            }
            Scale::Log => log_ticks(self.low, self.high),
            Scale::Quantile => {
                let mut ticks = vec![(0.0, "0 %".to_owned())];
                let mut distance = 0.1;
                while 1.0 - distance <= self.high + 1e-12 && distance > 1e-9 {
                    let value = 1.0 - distance;
                    ticks.push((value, percent(value)));
                    distance /= 10.0;
                }
                ticks
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least a sixth of `high`.
fn nice_step(high: f64) -> f64 {
    let least = high / 6.0;
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    let fits = steps.into_iter().find(|&step| step >= least * 0.999_999);
    fits.unwrap_or(power * 10.0)
}

/// 1, 2 and 5 times powers of ten, around the values.
fn log_bounds(low: f64, high: f64) -> (f64, f64) {
    let steps = |value: f64| {
        let power = 10_f64.powf(value.log10().floor());
        [1.0, 2.0, 5.0, 10.0].map(|step| step * power)
    };
    let below = steps(low)
        .into_iter()
        .rfind(|&step| step <= low * 1.000_001);
    let above = steps(high).into_iter().find(|&step| step >= high);
    let (below, above) = (below.unwrap_or(low), above.unwrap_or(high));
    if above > below {
        (below, above)
    } else {
        (below, below * 10.0)
    }
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let wide = high / low > 1e4;
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf(low.log10().floor());
    while power <= high * 1.000_001 {
        for step in [1.0, 2.0, 5.0] {
            let value = power * step;
            let inside = value >= low * 0.999_999 && value <= high * 1.000_001;
            if inside && (step < 1.5 || !wide) {
                ticks.push((value, short(value)));
            }
        }
        power *= 10.0;
    }
    ticks
}

/// 1500 → `1.5k`.
#[must_use]
pub fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

/// 0.999 → `99.9 %`.
fn percent(quantile: f64) -> String {
    let text = format!("{:.7}", quantile * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Text that can stand in HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

impl Chart {
    /// The chart with its legend.
    #[must_use]
    pub fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let limit = self.limit.as_ref().map(|&(value, _)| value);
        let x = Span::new(
            self.x.scale,
            points().map(|point| point.0),
            LEFT,
            WIDTH - RIGHT,
        );
        let headroom = match self.y.scale {
            Scale::Linear => 1.1,
            _ => 1.0,
        };
        let ys = points().map(|point| point.1 * headroom).chain(limit);
        let y = Span::new(self.y.scale, ys, HEIGHT - BOTTOM, TOP);
        let mut out = String::new();
        let title = escape(&self.title);
        let _ = write!(
            out,
            "<figure><figcaption>{title}</figcaption>{}<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">",
            self.legend()
        );
        self.frame(&mut out, &x, &y);
        if let Some((value, name)) = &self.limit {
            let at = y.place(*value);
            let _ = write!(
                out,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"limit\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 4.0,
                at - 4.0,
                escape(name)
            );
        }
        for (at, series) in self.series.iter().enumerate() {
            self.line(&mut out, at, series, &x, &y);
        }
        out.push_str("</svg></figure>\n");
        out
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let mut out = String::from("<p class=\"legend\">");
        for (at, series) in self.series.iter().enumerate() {
            let (colour, name) = (at % COLOURS, escape(&series.name));
            let _ = write!(out, "<span><i class=\"b{colour}\"></i>{name}</span>");
        }
        out + "</p>"
    }

    fn frame(&self, out: &mut String, x: &Span, y: &Span) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in y.ticks() {
            let at = y.place(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for (value, label) in x.ticks() {
            let at = x.place(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 18.0
            );
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = write!(
            out,
            "<text x=\"{middle_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"14\" y=\"{middle_y:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 14 {middle_y:.1})\">{}</text>",
            HEIGHT - 8.0,
            escape(self.x.label),
            escape(self.y.label)
        );
    }

    fn line(&self, out: &mut String, at: usize, series: &Series, x: &Span, y: &Span) {
        let colour = at % COLOURS;
        let places: Vec<String> = series
            .points
            .iter()
            .map(|&(a, b)| format!("{:.1},{:.1}", x.place(a), y.place(b)))
            .collect();
        let _ = write!(
            out,
            "<polyline class=\"s{colour}\" points=\"{}\"/>",
            places.join(" ")
        );
        let every = series.points.len().div_ceil(HINTS).max(1);
        let few = series.points.len() <= 24;
        for &(a, b) in series.points.iter().step_by(every) {
            let label = match self.x.scale {
                Scale::Quantile => percent(a),
                _ => short(a),
            };
            let _ = write!(
                out,
                "<circle class=\"p{colour}{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\"><title>{}: {} at \
                 {label}</title></circle>",
                if few { "" } else { " hidden" },
                x.place(a),
                y.place(b),
                if few { 3 } else { 6 },
                escape(&series.name),
                short(b)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, x: Scale, y: Scale) -> String {
        let axis = |scale| Axis { label: "x", scale };
        Chart {
            title: "a < b".to_owned(),
            x: axis(x),
            y: axis(y),
            series: vec![Series {
                name: "one".to_owned(),
                points,
            }],
            limit: None,
        }
        .draw()
    }

    #[test]
    fn points_lie_where_they_belong() {
        let svg = chart(
            vec![(0.0, 0.0), (10.0, 100.0)],
            Scale::Linear,
            Scale::Linear,
        );
        // from the left bottom to the right, a tenth below the top
        assert!(svg.contains("points=\"66.0,294.0 844.0,39.5\""), "{svg}");
        let svg = chart(
            vec![(0.0, 10.0), (0.9, 100.0), (0.99, 1000.0)],
            Scale::Quantile,
            Scale::Log,
        );
        assert!(
            svg.contains("points=\"66.0,294.0 455.0,154.0 844.0,14.0\""),
            "{svg}"
        );
        assert!(svg.contains(">90 %<") && svg.contains(">99 %<"), "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"));
    }

    #[test]
    fn nothing_to_draw_is_no_disaster() {
        for scale in [Scale::Linear, Scale::Log, Scale::Quantile] {
            let svg = chart(Vec::new(), scale, scale);
            assert!(svg.contains("<polyline") && !svg.contains("NaN") && !svg.contains("inf"));
            let svg = chart(vec![(0.0, 0.0)], scale, scale);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (12.0, "12"),
            (1500.0, "1500"),
            (20_000.0, "20k"),
            (2_500_000.0, "2.5M"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(percent(0.9999), "99.99 %");
        for (high, step) in [(8.0, 2.0), (7.0, 2.0), (6.0, 1.0), (3300.0, 1000.0)] {
            assert!((nice_step(high) - step).abs() < 1e-6, "{high}");
        }
    }
}
