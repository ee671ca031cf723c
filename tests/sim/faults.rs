//! The weather changes: faults begin and end.

use crate::cluster::{Health, Node, SERVICE_US, SOURCE, TARGET};
use crate::core::Event;
use crate::net::Fuse;
use crate::weather::{Change, always};
use crate::world::World;

/// After a fault of the source, drivers need this long to be well again (µs).
pub const RECOVERY_US: i64 = 30_000_000;

impl World {
    /// Something has changed: whether clients may see it depends on how the source is.
    pub fn disturb(&mut self) {
        let source = &self.clusters[SOURCE];
        let well = |node: &Node| node.health == Health::Up && node.service_us == SERVICE_US;
        let is_well = source.nodes.iter().all(well)
            && !source.is_moody
            && self.proxy.as_ref().is_some_and(|proxy| !proxy.stopping);
        self.disturbed_until_us = match is_well {
            true => self.core.now_us + RECOVERY_US,
            false => i64::MAX,
        };
    }

    pub fn change(&mut self, index: usize) {
        let change = self.forecast.changes[index].1.clone();
        self.core.note(|| format!("WEATHER {change:?}"));
        match change {
            Change::Health {
                cluster,
                node,
                health,
            } => self.set_health(cluster, node, health),
            Change::Cut { cluster, node } => {
                if cluster == SOURCE {
                    self.disturb();
                }
                for wire in self.clusters[cluster].wires_of(node) {
                    self.cut(wire);
                }
            }
            Change::Service { cluster, node, us } => {
                self.clusters[cluster].nodes[node].service_us = us;
                self.target_lingers |= cluster == TARGET;
                if cluster == SOURCE {
                    self.disturb();
                    self.slowest_source_us = self.slowest_source_us.max(us.1);
                }
            }
            Change::Rules { cluster, rules } => {
                self.clusters[cluster].set_faults(&rules);
                self.clusters[cluster].is_moody = rules != always(cluster);
                if cluster == SOURCE {
                    self.disturb();
                }
            }
            Change::Forget { cluster } => {
                if cluster == SOURCE {
                    self.disturb();
                }
                self.clusters[cluster].model.forget_prepared();
            }
            Change::Disk(faults) => self.disk.set_faults(faults),
            Change::Stall { shard, us } => {
                let until_us = self.core.now_us + us;
                self.disturbed_until_us = self.disturbed_until_us.max(until_us + RECOVERY_US);
                if let Some(proxy) = &mut self.proxy
                    && let Some(slot) = proxy.slots.get_mut(shard)
                {
                    slot.stalled_until_us = until_us;
                }
            }
            Change::Step { us } => self.wall_ahead_us += us,
            Change::Kill { crash, fuse: None } => self.kill(crash, None),
            Change::Kill {
                crash,
                fuse: Some(left),
            } => {
                self.fuse = Some(Fuse {
                    left,
                    crash,
                    journal_dir: self.config.journal.dir.clone().unwrap(),
                    disk: self.disk.clone(),
                    image: None,
                    jobs: 0,
                });
            }
            Change::Stop => self.tell_to_stop(),
            Change::Start { .. } if self.proxy.is_some() => {
                self.core.after(200_000, Event::Weather(index)); // it has not ended yet
            }
            Change::Start { shards } => self.start(shards),
            Change::Stride { us } => self.stride_us = us,
        }
    }

    pub fn set_health(&mut self, cluster: usize, node: usize, health: Health) {
        self.target_lingers |= cluster == TARGET && health != Health::Up;
        let was = std::mem::replace(&mut self.clusters[cluster].nodes[node].health, health);
        if cluster == SOURCE {
            self.disturb();
        }
        let wires = self.clusters[cluster].wires_of(node);
        match (was, health) {
            (Health::Up, Health::Down) => wires.into_iter().for_each(|wire| self.cut(wire)),
            (Health::Up, Health::Frozen) => {
                for wire in wires {
                    self.network.read(&mut self.core, wire, 0, false);
                }
            }
            (Health::Up, Health::Gone) => {
                for wire in wires {
                    self.network.get(wire).silent = true;
                }
            }
            (Health::Frozen, Health::Up) => {
                let cluster = &mut self.clusters[cluster];
                cluster.thaw(&mut self.core, &mut self.network, node);
            }
            (Health::Gone, Health::Up) => {
                // what was connected before is unknown to the node now
                wires.into_iter().for_each(|wire| self.cut(wire));
            }
            (Health::Down | Health::Up, Health::Up) => {}
            (Health::Frozen, _) => wires.into_iter().for_each(|wire| self.cut(wire)),
            _ => {}
        }
    }
}
