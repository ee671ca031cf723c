//! One cell, one row marker, and who wins when two meet.

/// Where no deletion is: less than any stamp a client may send.
pub(crate) const NOT_DELETED: i64 = i64::MIN;

/// A value, or the mark that there is none any more, with its stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Write timestamp in microseconds.
    pub(crate) stamp: i64,
    /// Seconds to live as written, 0 for ever.
    pub(crate) ttl_s: i32,
    /// Second since 1970 when an expiring cell ends, or when a tombstone was made.
    pub(crate) ends_s: i64,
    /// `None` is a tombstone.
    pub(crate) value: Option<Box<[u8]>>,
}

impl Cell {
    pub(crate) fn is_live(&self, now_s: i64) -> bool {
        self.value.is_some() && (self.ttl_s == 0 || now_s < self.ends_s)
    }

    /// Seconds left to live; `None` for ever.
    pub(crate) fn ttl_left_s(&self, now_s: i64) -> Option<i64> {
        (self.ttl_s != 0).then(|| self.ends_s - now_s)
    }

    /// True when `self`, met by `other`, is the one that stays (`Cells.resolveRegular` of
    /// Cassandra 4.1): the greater stamp; then what ends over what lives for ever; then a
    /// tombstone over what expires; then the later end; then the greater value.
    pub(crate) fn beats(&self, other: &Cell) -> bool {
        if self.stamp != other.stamp {
            return self.stamp > other.stamp;
        }
        let ends = |cell: &Cell| cell.value.is_none() || cell.ttl_s != 0;
        if ends(self) != ends(other) {
            return ends(self);
        }
        if self.value.is_none() != other.value.is_none() {
            return self.value.is_none();
        }
        if ends(self) && self.ends_s != other.ends_s {
            return self.ends_s > other.ends_s;
        }
        self.value >= other.value
    }
}

/// What an INSERT leaves besides cells: the row exists, even with every cell null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Write timestamp in microseconds.
    pub(crate) stamp: i64,
    /// Seconds to live as written, 0 for ever.
    pub(crate) ttl_s: i32,
    /// Second since 1970 when it ends.
    pub(crate) ends_s: i64,
}

impl Marker {
    pub(crate) fn is_live(&self, now_s: i64) -> bool {
        self.ttl_s == 0 || now_s < self.ends_s
    }

    /// `LivenessInfo.supersedes` of Cassandra 4.1.
    pub(crate) fn beats(&self, other: &Marker) -> bool {
        if self.stamp != other.stamp {
            return self.stamp > other.stamp;
        }
        match (self.ttl_s != 0, other.ttl_s != 0) {
            (true, true) => self.ends_s > other.ends_s,
            (expiring, _) => expiring,
        }
    }
}
