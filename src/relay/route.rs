//! Which of the target's nodes a write is for: the one that owns its partition.
//!
//! Any node takes any write, and passes it on to those that keep it. The owner is one of them, so a
//! write that goes there is passed on once less. A first replica is enough: the node that
//! coordinates sends the write to all replicas at the same time, whichever of them it is itself.
//! Where there is no owner (the key is not bound, spans partitions, or the table, the ring or the
//! partitioner is not known) or where it has no room, the nodes take turns.
//!
//! No promise about order rests on this. What must keep its place waits for the answers to what
//! comes before it, whichever nodes they went to (`shard::lanes`), and so do changes of the schema;
//! so nothing can be overtaken when the ring changes between two writes, or when the owner fails
//! and others take its writes. That one node gets all writes of a partition is for the better where
//! the node's clock decides: it gives appended list elements their place, and deletes of counters
//! their stamp.

use std::sync::Arc;

use super::link::Ticket;
use super::mirror::Mirror;
use super::partition;
use super::plan::PlanCache;
use crate::tables::Nodes;

/// The target's ring, and the tokens of what is owed. Empty: nodes take turns.
#[derive(Debug, Default)]
pub struct Routes {
    ring: Option<Ring>,
    /// By ticket, so that it is found once per write and takes no memory of its own.
    tokens: Vec<Found>,
}

#[derive(Debug)]
struct Ring {
    nodes: Arc<Nodes>,
    /// For each of [`Nodes::near`] what its user calls it, if it is used.
    places: Vec<Option<usize>>,
}

/// The token of the write with this sequence, if it has one.
#[derive(Debug, Clone, Copy)]
struct Found {
    sequence: u64,
    token: Option<i64>,
}

impl Routes {
    /// The ring is this now. `place`: what the caller calls a node, if it is one that it uses.
    pub fn learn(
        &mut self,
        nodes: &Arc<Nodes>,
        place: impl Fn(&core::net::SocketAddr) -> Option<usize>,
    ) {
        let places: Vec<_> = nodes.near.iter().map(place).collect();
        let used = places.iter().flatten().count();
        // with one there is nothing to choose, and nothing shall be paid for it
        self.ring = (used > 1 && !nodes.ring.is_empty()).then(|| Ring {
            nodes: Arc::clone(nodes),
            places,
        });
    }

    /// The node that owns what the write behind `ticket` changes, by the caller's name for it.
    #[inline]
    pub fn owner(&mut self, ticket: Ticket, owed: &Mirror, plans: &mut PlanCache) -> Option<usize> {
        let ring = self.ring.as_ref()?;
        let entry = owed.get(ticket)?;
        let at = usize::try_from(ticket).ok()?;
        let token = match self.tokens.get(at) {
            Some(found) if found.sequence == entry.sequence => found.token,
            _ => {
                let token = partition::token(&entry.write, plans);
                let sequence = entry.sequence;
                if self.tokens.len() <= at {
                    let nothing = Found {
                        sequence: u64::MAX,
                        token: None,
                    };
                    self.tokens.resize(at + 1, nothing);
                }
                self.tokens[at] = Found { sequence, token };
                token
            }
        };
        ring.place_of(token?)
    }

    /// The node that owns a token, by the caller's name for it.
    #[cfg(test)]
    pub fn place_of(&self, token: i64) -> Option<usize> {
        self.ring.as_ref()?.place_of(token)
    }
}

impl Ring {
    fn place_of(&self, token: i64) -> Option<usize> {
        *self.places.get(self.nodes.owner(token)?)?
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use super::*;
    use crate::relay::mirror::{Origin, RetryPolicy};
    use crate::relay::partition::tests::{of_key, plans};

    const EVERYWHERE: &str = "DELETE FROM ks.one WHERE a = 1";

    fn nodes(ring: &[(i64, usize)]) -> Arc<Nodes> {
        let near = (1..=3).map(|last| SocketAddr::from(([10, 0, 0, last], 9042)));
        Arc::new(Nodes {
            near: near.collect(),
            ring: ring.to_vec(),
            ..Nodes::default()
        })
    }

    fn mirror() -> Mirror {
        Mirror::new(RetryPolicy {
            retries: 1,
            first_pause_us: 1,
            longest_pause_us: 1,
        })
    }

    /// All three are used, and called 10, 11 and 12.
    fn learn(routes: &mut Routes, ring: &[(i64, usize)]) {
        routes.learn(&nodes(ring), |node| match node {
            SocketAddr::V4(node) => Some(usize::from(node.ip().octets()[3]) + 9),
            SocketAddr::V6(_) => None,
        });
    }

    #[test]
    fn an_owner_has_the_tokens_up_to_its_own() {
        let mut routes = Routes::default();
        learn(&mut routes, &[(-100, 2), (0, 0), (100, 1)]);
        for (token, place) in [
            (i64::MIN, 12),
            (-100, 12),
            (-99, 10),
            (0, 10),
            (1, 11),
            (100, 11),
            (101, 12), // round the ring
            (i64::MAX, 12),
        ] {
            assert_eq!(routes.place_of(token), Some(place), "{token}");
        }
    }

    #[test]
    fn a_ticket_that_is_used_again_is_another_write() {
        let (mut routes, mut plans, mut owed) = (Routes::default(), plans(), mirror());
        // the tokens of `123` and of [0x10; 8] have different signs
        learn(&mut routes, &[(0, 0), (i64::MAX, 1)]);
        let one = owed.admit(of_key(b"123"), Origin::Live);
        assert_eq!(routes.owner(one, &owed, &mut plans), Some(10));
        owed.applied(one);
        let two = owed.admit(of_key(&[0x10; 8]), Origin::Live);
        assert_eq!(one, two);
        assert_eq!(routes.owner(two, &owed, &mut plans), Some(11));
        assert_eq!(routes.owner(two, &owed, &mut plans), Some(11));
        // the ring may change while it waits
        learn(&mut routes, &[(0, 1), (i64::MAX, 2)]);
        assert_eq!(routes.owner(two, &owed, &mut plans), Some(12));
        let text = crate::relay::write::Body::Query {
            text: EVERYWHERE.into(),
            params: vec![0, 1, 0],
        };
        let unbound = crate::relay::write::Write::new(0, "ks", "one", text);
        let three = owed.admit(unbound, Origin::Live);
        assert_eq!(routes.owner(three, &owed, &mut plans), None);
    }

    #[test]
    fn a_node_that_is_not_used_owns_nothing() {
        let (mut routes, ring) = (Routes::default(), [(0, 0), (i64::MAX, 1)]);
        let without = |unused: u8| {
            let unused = SocketAddr::from(([10, 0, 0, unused], 9042));
            move |node: &SocketAddr| (*node != unused).then_some(7)
        };
        routes.learn(&nodes(&ring), without(2));
        assert_eq!((routes.place_of(0), routes.place_of(1)), (Some(7), None));
        routes.learn(&nodes(&ring), |_| None);
        assert_eq!(routes.place_of(0), None);
        routes.learn(&nodes(&[]), without(2));
        assert_eq!(routes.place_of(0), None);
    }
}
