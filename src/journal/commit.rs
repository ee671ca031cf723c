//! Group commits: which records are known to be on the disk, for `--durability machine`.
//!
//! One sync at a time brings the whole file to the disk. What is stored meanwhile waits for the
//! next one, however much it is. A client is told of its write after a commit that began
//!
//! - after the record was stored, if the next start comes to the same end from INTENT: a write that
//!   may be repeated is sent to the source again with its stamp. So the sync goes on beside the
//!   source's work, and most answers find it done;
//! - after its state was stored, for what must not be repeated, and for what the source refused.
//!
//! A failed sync ends all: the kernel may have dropped what it could not write, and a second sync
//! that succeeds says nothing about it. No commit follows.

/// See the module. The first commit is 1.
#[derive(Debug, Default)]
pub struct Commits {
    /// The last that has begun.
    begun: u64,
    /// The last that has ended well.
    ended: u64,
    /// Records below these ids were there when those began.
    begun_ids: u64,
    ended_ids: u64,
    is_under_way: bool,
    has_failed: bool,
    /// A client waits for the next one, or will.
    wanted: bool,
    /// Something was stored since the last one began.
    dirty: bool,
}

impl Commits {
    /// A record was appended.
    #[inline]
    pub(super) fn appended(&mut self) {
        self.wanted = true;
        self.dirty = true;
    }

    /// The state of a record was stored.
    #[inline]
    pub(super) fn marked(&mut self) {
        self.dirty = true;
    }

    /// The commit that all that is stored by now will be in.
    pub(super) fn next(&mut self) -> u64 {
        self.wanted = true;
        self.begun + 1
    }

    /// The commit that this record is in; `None` if it is on the disk.
    #[inline]
    pub(super) fn of_record(&mut self, id: u64) -> Option<u64> {
        if id < self.ended_ids {
            return None;
        }
        match id < self.begun_ids {
            true => Some(self.begun),
            false => Some(self.next()),
        }
    }

    /// Begins a commit if one is wanted and none is under way. `next_id`: of the next record.
    /// `idle`: also if nobody waits, so that what is done is not done again after a crash.
    pub(super) fn begin(&mut self, next_id: u64, idle: bool) -> bool {
        let due = self.wanted || (idle && self.dirty);
        if !due || self.is_under_way || self.has_failed {
            return false;
        }
        self.begun += 1;
        self.begun_ids = next_id;
        self.is_under_way = true;
        self.wanted = false;
        self.dirty = false;
        true
    }

    /// The commit under way has ended.
    pub(super) fn end(&mut self, well: bool) {
        self.is_under_way = false;
        match well {
            true => (self.ended, self.ended_ids) = (self.begun, self.begun_ids),
            false => self.has_failed = true,
        }
    }

    /// The last commit that has ended well.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// A sync has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_commit_is_for_all_that_waited() {
        let mut commits = Commits::default();
        assert!(!commits.begin(1, true), "there is nothing to commit");
        commits.appended(); // 1
        assert!(commits.begin(2, false));
        commits.appended(); // 2
        commits.appended(); // 3
        assert!(!commits.begin(4, true), "one at a time");
        assert_eq!(commits.of_record(1), Some(1));
        assert_eq!(
            (commits.of_record(2), commits.of_record(3)),
            (Some(2), Some(2))
        );
        commits.end(true);
        assert_eq!((commits.of_record(1), commits.ended()), (None, 1));
        assert!(commits.begin(4, false));
        commits.end(true);
        assert_eq!((commits.of_record(3), commits.ended()), (None, 2));
        assert!(!commits.begin(4, false));
    }

    #[test]
    fn a_state_is_in_a_commit_that_begins_after_it() {
        let mut commits = Commits::default();
        commits.appended();
        assert!(commits.begin(2, false));
        commits.marked();
        assert_eq!(commits.next(), 2, "the one under way began before");
        commits.end(true);
        assert!(commits.ended() < 2 && commits.begin(2, false));
        commits.end(true);
        assert_eq!(commits.ended(), 2);
    }

    #[test]
    fn what_nobody_waits_for_is_committed_when_there_is_time() {
        let mut commits = Commits::default();
        commits.marked();
        assert!(!commits.begin(1, false) && commits.begin(1, true));
        commits.end(true);
        assert!(!commits.begin(1, true));
    }

    #[test]
    fn nothing_follows_a_failure() {
        let mut commits = Commits::default();
        commits.appended();
        assert!(commits.begin(2, false));
        commits.end(false);
        commits.appended();
        assert!(commits.has_failed() && !commits.begin(3, true));
        assert_eq!((commits.of_record(1), commits.ended()), (Some(1), 0));
    }
}
