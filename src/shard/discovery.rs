//! The target's nodes as they are found, beside the contact points that the operator named.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Shard;
use super::inbox::Ask;
use super::peer::Node;
use super::remote::Remote;
use crate::limits;
use crate::relay::link::Ticket;
use crate::tables::Nodes;

/// The control plane has no answer for so long: something is wrong with it or with the target (µs).
const PATIENCE_US: i64 = 2_000 * limits::SCHEMA_AGREEMENT_MS.cast_signed();

/// A question of shard 0: do all nodes of the target have the schema that was changed?
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// Of the last question.
    number: u64,
    /// Until when its answer is waited for (µs); `None`: it is not.
    until_us: Option<i64>,
}

impl Shard {
    pub(super) fn learn_nodes(&mut self, nodes: &Arc<Nodes>) {
        self.target.learn_nodes(nodes);
    }

    /// The target has made a change, or refused it for good. What comes later goes on when all
    /// nodes know of it: one that does not would refuse writes for good.
    pub(super) fn change_done(&mut self, ticket: Ticket) {
        let front = self.changes.front();
        if front.is_none_or(|change| change.ticket != Some(ticket)) {
            return;
        }
        if self.target.nodes_in_use() < 2 {
            return self.change_is_known();
        }
        self.agreement.number += 1;
        self.agreement.until_us = Some(self.now_us + PATIENCE_US);
        let ask = Ask::Agreement(self.agreement.number);
        if self.asks.try_send(ask).is_err() {
            self.agreement.until_us = None;
            self.change_is_known();
        }
    }

    /// The control plane has answered question `number`.
    pub(super) fn nodes_agree(&mut self, number: u64) {
        if self.agreement.number == number && self.agreement.until_us.take().is_some() {
            self.change_is_known();
        }
    }

    /// There may never be an answer.
    pub(super) fn wait_for_agreement(&mut self) {
        if self
            .agreement
            .until_us
            .is_some_and(|until_us| self.now_us > until_us)
        {
            self.agreement.until_us = None;
            self.change_is_known();
        }
    }

    fn change_is_known(&mut self) {
        if let Some(change) = self.changes.pop_front() {
            self.release_everywhere(change.id);
        }
    }
}

impl Remote {
    /// The cluster's nodes are these: `near` are used, `far` are not. Contact points of which
    /// nothing is said stay in use. Of many nodes each shard uses some.
    fn learn_nodes(&mut self, nodes: &Arc<Nodes>) {
        let (near, far) = (&nodes.near, &nodes.far);
        let named = &self.config.contact_points;
        for node in &mut self.nodes {
            let address = &node.address;
            let wanted =
                near.contains(address) || (named.contains(address) && !far.contains(address));
            // what it still has to answer is waited for
            let was = std::mem::replace(&mut node.unwanted, !wanted);
            node.try_now |= was && wanted;
        }
        let free = limits::TARGET_NODES_PER_SHARD.saturating_sub(self.nodes_in_use());
        let first = usize::try_from(self.config.seed % near.len().max(1) as u64).unwrap_or(0);
        let (before, behind) = near.split_at(first);
        let knows = |address| self.nodes.iter().any(|node| node.address == address);
        let unknown = behind.iter().chain(before).filter(|node| !knows(**node));
        let unknown: Vec<_> = unknown.take(free).copied().collect();
        for address in unknown {
            self.add(address, address.ip().to_string()); // so it is called in certificates
        }
        self.drop_left();
        let used = |node: &Node, address| !node.unwanted && node.address == address;
        self.routes.learn(nodes, |address| {
            let mut known = self.nodes.iter();
            known.position(|node| used(node, *address))
        });
    }

    /// The cluster's nodes are these, and nothing else: many may have one address, and be known by
    /// their names there. Of many each shard uses some.
    pub(super) fn learn_points(&mut self, points: &[(SocketAddr, String)]) {
        let first = usize::try_from(self.config.seed % points.len().max(1) as u64).unwrap_or(0);
        let (before, behind) = points.split_at(first);
        let some = behind.iter().chain(before);
        let some: Vec<_> = some.take(limits::TARGET_NODES_PER_SHARD).collect();
        let is = |node: &Node, point: &(SocketAddr, String)| {
            node.address == point.0 && node.name == point.1
        };
        for node in &mut self.nodes {
            let wanted = some.iter().any(|point| is(node, point));
            let was = std::mem::replace(&mut node.unwanted, !wanted);
            node.try_now |= was && wanted;
        }
        for point in some {
            if !self.nodes.iter().any(|node| is(node, point)) {
                self.add(point.0, point.1.clone());
            }
        }
        self.drop_left();
    }

    /// Takes a node in. Sockets know one by its place: one that has left keeps it until it is
    /// needed.
    fn add(&mut self, address: SocketAddr, name: String) {
        let seed = self.config.seed.wrapping_add(self.nodes.len() as u64);
        let node = Node::new(address, name, self.trust, seed);
        let left = |node: &&mut Node| node.has_left(&self.config.contact_points);
        match self.nodes.iter_mut().find(left) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
    }

    /// Nodes that have left the cluster are forgotten, as far as no others stand behind them.
    pub(super) fn drop_left(&mut self) {
        let named = &self.config.contact_points;
        while self.nodes.pop_if(|node| node.has_left(named)).is_some() {}
    }

    fn nodes_in_use(&self) -> usize {
        self.nodes.iter().filter(|node| !node.unwanted).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cql::Version;
    use crate::relay::breaker::Failure;
    use crate::relay::mirror::RetryPolicy;
    use crate::shard::remote::RemoteConfig;
    use crate::side::Side;

    fn remote(points: &[SocketAddr]) -> Remote {
        remote_that(points, false)
    }

    fn remote_that(points: &[SocketAddr], waits_for_nodes: bool) -> Remote {
        let config = RemoteConfig {
            side: Side::Target,
            contact_points: points.to_vec(),
            names: points.iter().map(ToString::to_string).collect(),
            credentials: None,
            newest: Version::V4,
            level: None,
            in_flight: 8,
            linger: Duration::ZERO,
            seed: 5,
            waits_for_nodes,
        };
        let policy = RetryPolicy {
            retries: 1,
            first_pause_us: 1,
            longest_pause_us: 1,
        };
        Remote::new(config, policy, 0)
    }

    fn used(remote: &Remote) -> Vec<SocketAddr> {
        let used = remote.nodes.iter().filter(|node| !node.unwanted);
        let mut used: Vec<_> = used.map(|node| node.address).collect();
        used.sort_unstable();
        used
    }

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9042))
    }

    /// A ring in which each of `near` owns the token that is its last byte.
    fn nodes(near: &[u8], far: &[u8]) -> Arc<Nodes> {
        Arc::new(Nodes {
            near: near.iter().copied().map(node).collect(),
            far: far.iter().copied().map(node).collect(),
            ring: near.iter().copied().map(i64::from).zip(0..).collect(),
            centers: Vec::new(),
        })
    }

    #[test]
    fn nodes_come_and_go() {
        let mut remote = remote(&[node(1), node(200)]);
        assert_eq!(used(&remote), [node(1), node(200)]);
        remote.learn_nodes(&nodes(&[1, 2, 3], &[]));
        let all = [node(1), node(2), node(3), node(200)];
        assert_eq!(used(&remote), all, "nobody knows the last one");
        remote.learn_nodes(&nodes(&[1, 3], &[200]));
        assert_eq!(used(&remote), [node(1), node(3)], "one left, one is far");
        remote.learn_nodes(&nodes(&[1, 2, 3], &[200]));
        assert_eq!(used(&remote), [node(1), node(2), node(3)]);
        assert_eq!(remote.nodes.len(), 4, "each is known once");
        remote.learn_nodes(&nodes(&[], &[]));
        assert_eq!(used(&remote), [node(1), node(200)]);
        assert_eq!(remote.nodes.len(), 2, "what was named stays, nothing else");
    }

    #[test]
    fn many_nodes_may_have_one_address() {
        let mut remote = remote(&[]);
        let names = |remote: &Remote| {
            let used = remote.nodes.iter().filter(|node| !node.unwanted);
            let mut names: Vec<_> = used.map(|node| node.name.clone()).collect();
            names.sort_unstable();
            names.concat()
        };
        let mut learn = |names_of: &str| {
            let all = names_of.chars().map(|name| (node(1), name.to_string()));
            remote.learn_points(&all.collect::<Vec<_>>());
            (names(&remote), remote.nodes.len())
        };
        assert_eq!(learn("abc"), ("abc".to_owned(), 3));
        assert_eq!(
            learn("bcd"),
            ("bcd".to_owned(), 3),
            "one took the place of another"
        );
        assert_eq!(learn("abc"), ("abc".to_owned(), 3));
        assert_eq!(learn(""), (String::new(), 0));
        let (many, count) = learn("abcdefghijklmnopqrstuvwxyz");
        assert_eq!(many.len(), limits::TARGET_NODES_PER_SHARD);
        assert_eq!(count, limits::TARGET_NODES_PER_SHARD);
    }

    #[test]
    fn contact_points_may_have_to_wait() {
        let mut remote = remote_that(&[node(1), node(2), node(3)], true);
        assert!(used(&remote).is_empty(), "nobody knows where they are");
        remote.learn_nodes(&nodes(&[2, 4], &[1]));
        assert_eq!(used(&remote), [node(2), node(3), node(4)]);
        remote.learn_nodes(&nodes(&[], &[1, 2, 3, 4]));
        assert!(
            used(&remote).is_empty(),
            "none is in the wanted data centre"
        );
    }

    #[test]
    fn nodes_that_left_are_forgotten() {
        let mut remote = remote(&[node(1)]);
        for generation in 0..50 {
            let all = [1, 2 + generation, 3 + generation, 4 + generation];
            remote.learn_nodes(&nodes(&all, &[]));
            assert_eq!(used(&remote), all.map(node));
            assert_eq!(remote.nodes.len(), 4);
            let sick = &mut remote.nodes[usize::from(generation % 3) + 1];
            sick.breaker.failed(Failure::Gone, 0, 0);
        }
        let resting = remote.resting();
        assert!(resting <= 3, "{resting} of 4 rest, those that left too");
    }

    #[test]
    fn writes_go_to_owners_that_are_used() {
        let mut remote = remote(&[node(1)]);
        let all: Vec<u8> = (1..=100).collect();
        let ring = nodes(&all, &[]);
        remote.learn_nodes(&ring);
        let places = |remote: &Remote| -> Vec<_> {
            let owner = |token| remote.routes.place_of(token);
            let address = |place: usize| remote.nodes[place].address;
            let all = (1..=100).map(|token| owner(token).map(address));
            all.collect()
        };
        let found = places(&remote);
        for (place, address) in found.iter().zip(&ring.near) {
            assert_eq!(*place, used(&remote).contains(address).then_some(*address));
        }
        let count = found.iter().flatten().count();
        assert_eq!(count, limits::TARGET_NODES_PER_SHARD);
        remote.learn_nodes(&nodes(&[1], &all[1..]));
        assert_eq!(
            remote.routes.place_of(1),
            None,
            "there is nothing to choose"
        );
        let mut unknown = (*nodes(&[1, 2], &[])).clone();
        unknown.ring.clear();
        remote.learn_nodes(&Arc::new(unknown));
        assert_eq!(remote.routes.place_of(1), None, "another partitioner");
    }

    #[test]
    fn a_shard_uses_some_of_many() {
        let all: Vec<u8> = (1..=100).collect();
        let mut remote = remote(&[node(1)]);
        remote.learn_nodes(&nodes(&all, &[]));
        assert_eq!(used(&remote).len(), limits::TARGET_NODES_PER_SHARD);
        remote.learn_nodes(&nodes(&all[50..], &[]));
        assert_eq!(used(&remote).len(), limits::TARGET_NODES_PER_SHARD);
    }
}
