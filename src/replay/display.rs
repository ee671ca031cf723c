//! How a replay shows that it is getting on: a bar on a terminal, lines otherwise; on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::Summary;

const LINE_EVERY: Duration = Duration::from_secs(5);
/// So many refusals are shown with their words; all are in the rejected files.
const SHOWN_REFUSALS: u32 = 10;

/// Shows progress.
pub(super) struct Display {
    bar: Option<ProgressBar>,
    last_line: Instant,
    started: Instant,
    shown: u32,
}

impl Display {
    /// For this many records.
    pub(super) fn new(total: u64) -> Display {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let line = "{bar:30} {pos}/{len} records  {eta} left  {msg}";
            if let Ok(style) = ProgressStyle::with_template(line) {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Display {
            bar,
            last_line: now,
            started: now,
            shown: 0,
        }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, summary: &Summary, retries: u64) {
        let settled = summary.settled();
        let seconds = self.started.elapsed().as_secs().max(1);
        let rate = settled / seconds;
        if let Some(bar) = &self.bar {
            let rejected = summary.rejected;
            bar.set_position(settled);
            bar.set_message(format!(
                "{rate} per second, {rejected} rejected, {retries} retries"
            ));
            return;
        }
        if self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        let left = summary.read.saturating_sub(settled);
        let eta = left
            .checked_div(rate)
            .map_or("?".to_owned(), |eta| eta.to_string());
        self.say(&format!(
            "{settled} of {} records, {rate} per second, {eta} s left, {} rejected, \
             {retries} retries",
            summary.read, summary.rejected
        ));
    }

    /// Shows a refusal, if there were not many yet.
    pub(super) fn rejected(&mut self, code: i32, words: &str) {
        self.shown += 1;
        if self.shown <= SHOWN_REFUSALS {
            self.say(&format!("rejected (0x{code:04x}): {words}"));
        } else if self.shown == SHOWN_REFUSALS + 1 {
            self.say("more are rejected; all are in the rejected-*.spill files");
        }
    }

    /// Shows a line.
    pub(super) fn note(&mut self, line: &str) {
        self.say(line);
    }

    /// Takes the bar away.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody may be listening; the replay goes on.
            None => _ = writeln!(std::io::stderr(), "{line}"),
        }
    }
}
