//! What a copy did, for people and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::jobs::Failed;
use crate::history::schema::Table;
use crate::history::select::Pass;
use crate::history::tokens::TokenRange;

/// Counts of one token range, or of a whole copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Rows read (partitions, for static columns).
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Cells written.
    pub cells: u64,
    /// Statements that wrote them: one for each stamp in a row.
    pub statements: u64,
    /// Lists written.
    pub lists: u64,
    /// Lists that an earlier try had brought to the target.
    pub lists_there: u64,
    /// Lists that were different at the target and were written anew, 1 µs younger.
    pub lists_replaced: u64,
    /// List elements that are younger than the copy: the proxy's.
    pub young_elements: u64,
    /// Counters whose difference was added.
    pub counters_added: u64,
    /// Counters that would not keep still.
    pub counters_busy: u64,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        let Tally {
            rows,
            bytes,
            cells,
            statements,
            lists,
            lists_there,
            lists_replaced,
            young_elements,
            counters_added,
            counters_busy,
        } = other;
        self.rows += rows;
        self.bytes += bytes;
        self.cells += cells;
        self.statements += statements;
        self.lists += lists;
        self.lists_there += lists_there;
        self.lists_replaced += lists_replaced;
        self.young_elements += young_elements;
        self.counters_added += counters_added;
        self.counters_busy += counters_busy;
    }
}

/// A token range that could not be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedRange {
    /// Its table.
    pub table: String,
    /// Rows or statics; or all, of a table that cannot be read.
    pub pass: String,
    /// `AFTER:UP_TO`, as `--token-range` takes it.
    pub range: String,
    /// Why.
    pub words: String,
}

impl FailedRange {
    /// A range that was given up, of this table and pass.
    pub(crate) fn new((table, pass): (String, Pass), failed: Failed) -> FailedRange {
        FailedRange {
            table,
            pass: pass.name().to_owned(),
            range: failed.job.range.to_string(),
            words: failed.words,
        }
    }

    /// Takes out the tables that cannot be read, and says why, for the whole `window`.
    pub(crate) fn unreadable(tables: &mut Vec<Table>, window: TokenRange) -> Vec<FailedRange> {
        let mut all = Vec::new();
        tables.retain(|table| {
            let why = table.unreadable();
            let is_readable = why.is_none();
            all.extend(why.map(|words| FailedRange {
                table: table.name.clone(),
                pass: "all".to_owned(),
                range: window.to_string(),
                words,
            }));
            is_readable
        });
        all
    }
}

/// The result of a copy, earlier runs of it included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Counts over all runs.
    #[serde(flatten)]
    pub tally: Tally,
    /// Rows of this run alone.
    pub rows_this_run: u64,
    /// How long this run took.
    pub elapsed_ms: u64,
    /// Token ranges that earlier runs had done.
    pub ranges_resumed: u64,
    /// Token ranges that this run did.
    pub ranges_done: u64,
    /// Token ranges that could not be copied.
    pub failed: Vec<FailedRange>,
}

impl Summary {
    /// Whether everything was copied.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.tally.counters_busy == 0
    }

    /// Rows a second of this run.
    #[must_use]
    pub fn rows_per_second(&self) -> u64 {
        (self.rows_this_run * 1000)
            .checked_div(self.elapsed_ms)
            .unwrap_or(0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            rows,
            bytes,
            cells,
            statements,
            ..
        } = self.tally;
        writeln!(
            f,
            "copied {rows} rows: {cells} cells in {statements} statements, {bytes} bytes; this run \
             {} rows in {}.{:01} s, {} rows/s",
            self.rows_this_run,
            self.elapsed_ms / 1000,
            self.elapsed_ms % 1000 / 100,
            self.rows_per_second()
        )?;
        write!(
            f,
            "{} token ranges done, {} by earlier runs",
            self.ranges_done + self.ranges_resumed,
            self.ranges_resumed
        )?;
        let also = [
            (self.tally.lists, "lists written"),
            (self.tally.lists_there, "lists were at the target already"),
            (
                self.tally.lists_replaced,
                "lists differed at the target and were written anew, 1 µs younger",
            ),
            (
                self.tally.young_elements,
                "list elements left to the proxy: younger than this copy",
            ),
            (self.tally.counters_added, "counters got the difference"),
            (
                self.tally.counters_busy,
                "counters would not keep still: copy again when they do",
            ),
        ];
        for (count, words) in also.iter().filter(|(count, _)| *count > 0) {
            write!(f, "\n{count:>12}  {words}")?;
        }
        for failed in &self.failed {
            write!(
                f,
                "\nNOT COPIED: {} ({}) --token-range {}: {}",
                failed.table, failed.pass, failed.range, failed.words
            )?;
        }
        Ok(())
    }
}
