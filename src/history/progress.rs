//! How far a copy or comparison is: a bar on a terminal, a line every few seconds otherwise; on
//! stderr.
#![expect(
    clippy::disallowed_types,
    reason = "an offline tool; held for a few instructions"
)]

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);
/// The bar's length: the whole ring.
const WHOLE: u64 = 10_000;

/// Shows progress, from any task.
pub(crate) struct Progress {
    state: Mutex<State>,
    bar: Option<ProgressBar>,
    began: Instant,
}

struct State {
    rows: u64,
    bytes: u64,
    /// Part of the work that is done, and that was done before this run.
    done: f64,
    before: f64,
    last_line: Instant,
    warned: BTreeSet<String>,
}

impl Progress {
    /// `before`: the part of the work that an earlier run did.
    pub(crate) fn new(before: f64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(WHOLE), target);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        let state = State {
            rows: 0,
            bytes: 0,
            done: before,
            before,
            last_line: now,
            warned: BTreeSet::new(),
        };
        Progress {
            state: Mutex::new(state),
            bar,
            began: now,
        }
    }

    /// Rows were read or written.
    pub(crate) fn rows(&self, rows: usize, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        state.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(bar) = &self.bar {
            bar.set_message(self.line(&state));
        } else if state.last_line.elapsed() >= LINE_EVERY {
            state.last_line = Instant::now();
            let percent = state.done * 100.0;
            self.say(&format!("{percent:.1} %  {}", self.line(&state)));
        }
    }

    /// This part of the work is done too.
    pub(crate) fn done(&self, share: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += share;
        if let Some(bar) = &self.bar {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a bar to look at"
            )]
            bar.set_position((state.done * WHOLE as f64) as u64);
        }
    }

    /// Shows a line.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody may be listening; the work goes on.
            None => _ = writeln!(std::io::stderr(), "{line}"),
        }
    }

    /// Shows a line, the first time that it is about this.
    pub(crate) fn warn_once(&self, about: String, line: impl FnOnce() -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = state.warned.insert(about);
        drop(state);
        if is_new {
            self.say(&line());
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, state: &State) -> String {
        let elapsed = self.began.elapsed();
        let seconds = elapsed.as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "rates to look at"
        )]
        let per_second = |count: u64| (count as f64 / seconds) as u64;
        let here = state.done - state.before;
        let left = if here > 0.001 {
            let rest = elapsed.mul_f64(((1.0 - state.done) / here).max(0.0));
            HumanDuration(Duration::from_secs(rest.as_secs())).to_string()
        } else {
            "?".to_owned()
        };
        format!(
            "{} rows, {}/s, {}/s, {left} left",
            state.rows,
            per_second(state.rows),
            HumanBytes(per_second(state.bytes))
        )
    }
}
