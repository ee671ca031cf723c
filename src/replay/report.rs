//! What a replay did, as numbers, words and JSON.

use std::fmt;

use serde::Serialize;

use crate::spill::stat::Stat;

/// What a replay did. Each record that was read is counted in exactly one of `replayed`,
/// `already_there`, `rejected`, `in_doubt`, `kept_in_doubt`, `too_old` and `left`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records to deal with.
    pub read: u64,
    /// Applied by the target.
    pub replayed: u64,
    /// Schema changes that the target had already.
    pub already_there: u64,
    /// Refused by the target for good: now in the rejected files, with its words.
    pub rejected: u64,
    /// Must not be repeated and may have been applied: now in the rejected files.
    pub in_doubt: u64,
    /// In doubt since an earlier run, found by `--include-rejected` and left so.
    pub kept_in_doubt: u64,
    /// Deletes older than the target's `gc_grace_seconds`: now in the rejected files.
    pub too_old: u64,
    /// Not dealt with, because the replay stopped before.
    pub left: u64,
    /// In the rejected files, not asked for.
    pub skipped: u64,
    /// Writes (not deletes) that were older than `gc_grace_seconds` and were replayed.
    pub late_writes: u64,
    /// Places between good records that could not be read.
    pub damaged_places: u64,
    /// Records known to be lost there.
    pub damaged_records: u64,
    /// Bytes that could not be read, torn tails included.
    pub damaged_bytes: u64,
    /// Segments that end in the middle of a record, as a crash leaves them.
    pub torn_tails: u64,
    /// Sends that were repeated.
    pub retries: u64,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl Summary {
    /// Takes over what a look at the log found.
    pub(super) fn found(&mut self, stat: &Stat) {
        self.read += stat.records;
        self.damaged_places += stat.damaged_places;
        self.damaged_records += stat.damaged_records;
        self.damaged_bytes += stat.damaged_bytes;
        self.torn_tails += stat.torn_tails;
    }

    /// Records that were dealt with.
    pub fn settled(&self) -> u64 {
        self.replayed
            + self.already_there
            + self.rejected
            + self.in_doubt
            + self.kept_in_doubt
            + self.too_old
    }

    /// True if the target has everything that the log held.
    pub fn is_clean(&self) -> bool {
        let missing = [
            self.left,
            self.too_old,
            self.rejected,
            self.in_doubt,
            self.kept_in_doubt,
            self.skipped,
            self.damaged_places,
        ];
        missing.iter().all(|count| *count == 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = [
            (self.replayed, "replayed"),
            (
                self.already_there,
                "schema changes that the target had already",
            ),
            (
                self.rejected,
                "rejected by the target: see the rejected-*.spill files",
            ),
            (
                self.in_doubt,
                "in doubt: may be applied, must not be repeated; run verify",
            ),
            (
                self.kept_in_doubt,
                "in doubt since an earlier run: run verify",
            ),
            (
                self.too_old,
                "deletes older than gc_grace_seconds: --include-rejected --force sends them",
            ),
            (
                self.skipped,
                "rejected or in doubt earlier, skipped; see --include-rejected",
            ),
            (
                self.late_writes,
                "writes older than gc_grace_seconds were replayed: run verify",
            ),
            (
                self.damaged_places,
                "damaged places; their segments are kept as .damaged",
            ),
            (self.damaged_records, "records known to be lost in them"),
            (
                self.torn_tails,
                "segments with a torn tail, cut; kept as .damaged",
            ),
            (self.retries, "sends were repeated"),
            (self.left, "left"),
        ];
        writeln!(f, "{:>12}  records in {} ms", self.read, self.elapsed_ms)?;
        for (count, words) in more.iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "{count:>12}  {words}")?;
        }
        let end = if self.is_clean() {
            "complete: the target has all of it"
        } else {
            "not complete"
        };
        write!(f, "{:>12}  {end}", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_target_lacks_is_told_and_is_not_clean() {
        let clean = Summary {
            read: 5,
            replayed: 4,
            already_there: 1,
            retries: 9,
            ..Summary::default()
        };
        assert!(clean.is_clean());
        assert_eq!(clean.settled(), 5);
        assert!(
            clean
                .to_string()
                .ends_with("complete: the target has all of it")
        );
        let lacks: [fn(&mut Summary) -> &mut u64; 7] = [
            |s| &mut s.left,
            |s| &mut s.too_old,
            |s| &mut s.rejected,
            |s| &mut s.in_doubt,
            |s| &mut s.kept_in_doubt,
            |s| &mut s.skipped,
            |s| &mut s.damaged_places,
        ];
        for lack in lacks {
            let mut summary = clean.clone();
            *lack(&mut summary) = 777;
            assert!(!summary.is_clean());
            let words = summary.to_string();
            assert!(
                words.contains("777  ") && words.ends_with("not complete"),
                "{words}"
            );
        }
    }
}
