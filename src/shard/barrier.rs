//! Schema changes and TRUNCATE: what came before reaches the target first, what comes later waits.
//!
//! ```text
//! shard that got the source's answer ── Hold ──▶ every shard, before its client sees the answer
//! every shard: later writes of the keyspace wait; when all earlier ones are on the target
//!              ── Reached ──▶ shard 0
//! shard 0:     all reached → the change goes to the target → ── Release ──▶ every shard
//! ```
//! Changes are carried out one after the other, in the order in which they arrived at their shards:
//! that is an order that all shards agree on, whichever they hear of first, so none waits for
//! another's turn. While the target is down nothing is reached and writes spill; the drain stops at
//! the first record that a hold concerns.

use std::collections::VecDeque;
use std::rc::Rc;

use super::deal::Earlier;
use crate::journal::Place;
use crate::limits;
use crate::relay::link::Ticket;
use crate::relay::write::Write;

/// Names a change: the shard that saw it, and its number there.
pub type ChangeId = u64;

/// The name of a change that an earlier process left, the `n`th: no shard gives it.
#[must_use]
pub fn earlier(n: usize) -> ChangeId {
    ((limits::SHARDS_MAX as u64) << 48) | n as u64
}

/// Writes of a keyspace wait for a change.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The change.
    pub id: ChangeId,
    /// The keyspace.
    pub keyspace: Rc<str>,
    /// When the change arrived (µs); later writes wait.
    pub arrived_us: i64,
    /// Marks this shard's writes from before, once it is this hold's turn.
    pub fence: Option<u64>,
    /// Shard 0 was told that they are all on the target.
    pub reached: bool,
}

impl Hold {
    /// Whether a write waits for the change.
    #[must_use]
    pub fn concerns(&self, keyspace: &str, arrived_us: i64) -> bool {
        arrived_us > self.arrived_us && (keyspace.is_empty() || *self.keyspace == *keyspace)
    }
}

/// What waits in one shard.
#[derive(Debug, Default)]
pub struct Barriers {
    /// Changes that are not through, oldest first.
    pub holds: VecDeque<Hold>,
    /// Writes that wait, by arrival.
    pub held: VecDeque<Write>,
    /// Their memory (bytes).
    pub held_bytes: usize,
    /// Changes that earlier processes left.
    pub earlier: Vec<Earlier>,
    /// Places in the journal of the changes that a stop puts into the spill.
    pub spilled: Vec<Place>,
    /// How often in a row the target has answered one that it cannot, for no reason that passes.
    pub failures: u32,
    next: u64,
}

impl Barriers {
    /// A new change seen by shard `shard`.
    pub fn name(&mut self, shard: usize) -> ChangeId {
        self.next += 1;
        ((shard as u64) << 48) | self.next
    }

    /// A change that this shard has heard of: it takes its place among the others.
    pub fn add(&mut self, hold: Hold) {
        let place = |other: &Hold| (other.arrived_us, other.id);
        let at = self
            .holds
            .partition_point(|other| place(other) < place(&hold));
        self.holds.insert(at, hold);
        for later in self.holds.iter_mut().skip(at + 1) {
            later.fence = None; // what waits for the new one comes before it, too
        }
    }

    /// Whether a write has to wait.
    #[must_use]
    pub fn holds(&self, keyspace: &str, arrived_us: i64) -> bool {
        self.holds
            .iter()
            .any(|hold| hold.concerns(keyspace, arrived_us))
    }

    /// As [`Self::holds`], for a record of the spill. `changes`: those that this shard carries out.
    /// Its drain looks for those that are not wanted: a record that lies before one of them in the
    /// spill does not wait for it, whenever it arrived.
    #[must_use]
    pub fn holds_spilled(
        &self,
        changes: &VecDeque<Change>,
        keyspace: &str,
        arrived_us: i64,
    ) -> bool {
        self.holds.iter().any(|hold| {
            let is_it = |change: &Change| change.id == hold.id && !change.is_wanted;
            hold.concerns(keyspace, arrived_us) && !changes.iter().any(is_it)
        })
    }

    /// Keeps a write until it may go.
    pub fn keep(&mut self, write: Write) {
        self.held_bytes += write.cost_bytes();
        let before = |other: &Write| other.arrived_us <= write.arrived_us;
        let at = self.held.partition_point(before);
        self.held.insert(at, write);
    }

    /// A change is through: the writes that may go now.
    pub fn release(&mut self, id: ChangeId) -> Vec<Write> {
        self.holds.retain(|hold| hold.id != id);
        let mut free = Vec::new();
        for write in std::mem::take(&mut self.held) {
            if self.holds(&write.keyspace, write.arrived_us) {
                self.held.push_back(write);
            } else {
                self.held_bytes -= write.cost_bytes();
                free.push(write);
            }
        }
        free
    }
}

/// A change that shard 0 carries out.
#[derive(Debug)]
pub struct Change {
    /// Which.
    pub id: ChangeId,
    /// When it arrived (µs): its place among the others.
    pub arrived_us: i64,
    /// The statement; taken while it is on its way.
    pub write: Option<Write>,
    /// Shards whose earlier writes are not all on the target.
    pub waiting: usize,
    /// Its name in the mirror while it is on its way.
    pub ticket: Option<Ticket>,
    /// Not before this time (µs), after a failed try.
    pub not_before_us: i64,
    /// False: it is only carried out if a drain finds it in the spill.
    pub is_wanted: bool,
}

impl Change {
    /// Whether it is on its way, so that no other can go before it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.write.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(id: ChangeId, arrived_us: i64) -> Hold {
        Hold {
            id,
            keyspace: "ks".into(),
            arrived_us,
            fence: Some(7),
            reached: false,
        }
    }

    #[test]
    fn shards_that_hear_of_changes_in_any_order_agree_on_their_turns() {
        let (first, second, third) = (hold(9, 100), hold(3, 200), hold(5, 200));
        let order = |heard: [&Hold; 3]| -> Vec<ChangeId> {
            let mut barriers = Barriers::default();
            for hold in heard {
                barriers.add(hold.clone());
            }
            barriers.holds.iter().map(|hold| hold.id).collect()
        };
        assert_eq!(order([&first, &second, &third]), [9, 3, 5]);
        assert_eq!(order([&third, &second, &first]), [9, 3, 5]);
        assert_eq!(order([&second, &first, &third]), [9, 3, 5]);
    }

    #[test]
    fn a_change_that_moves_back_waits_for_what_the_earlier_one_holds() {
        let mut barriers = Barriers::default();
        barriers.add(hold(1, 200));
        barriers.add(hold(2, 100));
        assert_eq!(barriers.holds[0].fence, Some(7));
        assert_eq!(barriers.holds[1].fence, None);
    }
}
