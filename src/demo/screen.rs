//! What the demo says.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use twinring_loadgen::check::Difference;
use twinring_loadgen::load::Progress;
use twinring_loadgen::{Comparison, Report};

use super::DemoArgs;
use super::scene::Scene;
use crate::metrics::{Event, Totals};
use crate::status::{bytes, grouped};

/// How often something has happened.
pub(super) fn event(totals: &Totals, event: Event) -> u64 {
    totals
        .events
        .get(event.label())
        .copied()
        .unwrap_or_default()
}

/// How the target is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetState {
    Up,
    Gone,
    Back,
}

/// Where the lines go.
pub(super) struct Screen<'o> {
    out: &'o mut dyn Write,
    began: Instant,
}

impl<'o> Screen<'o> {
    pub(super) fn new(out: &'o mut dyn Write) -> Screen<'o> {
        let began = Instant::now();
        Screen { out, began }
    }

    pub(super) fn opening(&mut self, args: &DemoArgs, scene: &Scene) -> io::Result<()> {
        let source = scene.source.addr();
        writeln!(
            self.out,
            "Two in-memory clusters with twinring between them:\n\n  \
             application ──▶ proxy {} ──▶ source {source}\n  \
             {:>35} └──▶ target {}\n\n\
             The application writes {} times a second over {} connections, without timestamps.\n\
             After 3 s the target goes away: connections break, new ones are refused.\n",
            scene.proxy.address,
            "",
            scene.target.addr(),
            grouped(args.rate.into()),
            args.connections
        )?;
        self.out.flush()
    }

    pub(super) fn table_head(&mut self) -> io::Result<()> {
        self.began = Instant::now();
        writeln!(
            self.out,
            "   time   acknowledged   errors   target   on the target   in the spill"
        )?;
        self.out.flush()
    }

    pub(super) fn line(
        &mut self,
        progress: Progress,
        target: TargetState,
        totals: &Totals,
    ) -> io::Result<()> {
        let there = event(totals, Event::Mirrored) + event(totals, Event::Replayed);
        let spill = match totals.backlog_records {
            0 => "-".to_owned(),
            n => format!("{} writes, {}", grouped(n), bytes(totals.backlog_bytes)),
        };
        writeln!(
            self.out,
            "{:>5.1} s   {:>12}   {:>6}   {:<6}   {:>13}   {spill}",
            self.began.elapsed().as_secs_f64(),
            grouped(progress.good),
            grouped(progress.failed + progress.broken),
            match target {
                TargetState::Up => "up",
                TargetState::Gone => "gone",
                TargetState::Back => "back",
            },
            grouped(there),
        )?;
        self.out.flush()
    }

    pub(super) fn drained(&mut self, spilled: u64, time: Duration) -> io::Result<()> {
        writeln!(
            self.out,
            "\n{} writes waited in the spill; {:.1} s after the target was back all were on it.",
            grouped(spilled),
            time.as_secs_f64()
        )
    }

    pub(super) fn clients(&mut self, report: &Report) -> io::Result<()> {
        writeln!(
            self.out,
            "Clients: {} writes acknowledged, {} errors; median {:.0} µs, p99 {:.0} µs, slowest \
             {:.1} ms, outage included.",
            grouped(report.latency.count()),
            grouped(report.client_errors()),
            report.latency.quantile_us(0.5),
            report.latency.quantile_us(0.99),
            report.latency.max_us() / 1000.0
        )?;
        if report.unsent > 0 {
            let unsent = grouped(report.unsent);
            writeln!(self.out, "{unsent} writes were due and could not be sent.")?;
        }
        self.out.flush()
    }

    pub(super) fn compared(&mut self, found: &Difference) -> io::Result<()> {
        writeln!(
            self.out,
            "Clusters: {} rows, value and WRITETIME: {} missing, {} surplus, {} differing.",
            grouped(found.rows),
            grouped(found.missing),
            grouped(found.surplus),
            grouped(found.differing)
        )?;
        self.out.flush()
    }

    pub(super) fn cost_head(&mut self, args: &DemoArgs) -> io::Result<()> {
        writeln!(
            self.out,
            "\nWhat the proxy costs: latency of a prepared INSERT at {}/s from {} connections,\n\
             from its intended start, medians of {} rounds in turns …\n",
            grouped(args.rate.into()),
            args.connections,
            args.rounds
        )?;
        self.out.flush()
    }

    pub(super) fn cost(&mut self, found: &Comparison) -> io::Result<()> {
        write!(self.out, "{found}")?;
        let (late, unsent) = found.late_and_unsent();
        let sent: u64 = found.reports().map(|run| run.sent).sum();
        writeln!(
            self.out,
            "\nOf {} requests {} were sent over 1 ms late and {} not at all: this machine's noise.",
            grouped(sent),
            grouped(late),
            grouped(unsent)
        )?;
        if (late + unsent) * 100 > sent {
            let quiet = "Too many to trust the table: run it again when the machine is quiet.";
            writeln!(self.out, "{quiet}")?;
        }
        self.out.flush()
    }

    pub(super) fn stopped(&mut self, time: Duration) -> io::Result<()> {
        let ms = time.as_millis();
        writeln!(self.out, "The proxy stopped in {ms} ms.")
    }

    pub(super) fn verdict(&mut self, wrong: &[String], time: Duration) -> io::Result<()> {
        let seconds = time.as_secs_f64();
        if wrong.is_empty() {
            writeln!(
                self.out,
                "\nVerdict: good. 0 client errors, 0 missing, 0 differing cells ({seconds:.0} s)."
            )?;
        } else {
            writeln!(self.out, "\nVerdict: BAD ({seconds:.0} s).")?;
            for reason in wrong {
                writeln!(self.out, "  {reason}")?;
            }
        }
        self.out.flush()
    }
}
