//! What goes wrong, and when: drawn from the seed before the world begins.

use crate::cluster::{Health, SERVICE_US, SOURCE, TARGET};
use crate::disk::DiskFaults;
use crate::random::Rng;

/// A change of the weather.
#[derive(Debug, Clone)]
pub enum Change {
    Health {
        cluster: usize,
        node: usize,
        health: Health,
    },
    /// All connections of a node are cut.
    Cut {
        cluster: usize,
        node: usize,
    },
    Service {
        cluster: usize,
        node: usize,
        us: (i64, i64),
    },
    /// What the nodes answer to writes.
    Rules {
        cluster: usize,
        rules: Vec<String>,
    },
    /// The nodes have forgotten what was prepared.
    Forget {
        cluster: usize,
    },
    Disk(DiskFaults),
    /// A shard's thread gets no time.
    Stall {
        shard: usize,
        us: i64,
    },
    /// The clock of the proxy's machine is set, forward or back.
    Step {
        us: i64,
    },
    /// The proxy's process ends at once, or in the middle of a turn, after so many operations;
    /// `crash`: the machine too.
    Kill {
        crash: bool,
        fuse: Option<u32>,
    },
    /// It is told to stop.
    Stop,
    /// It starts with this many shards, once it has ended.
    Start {
        shards: usize,
    },
    /// Ticks may be this late (µs): a long time passes in few steps.
    Stride {
        us: i64,
    },
}

/// A world to be.
#[derive(Debug)]
pub struct Forecast {
    pub shards: usize,
    pub source_nodes: usize,
    pub target_nodes: usize,
    pub clients: usize,
    pub writes: usize,
    /// Longest pause of a client between writes (µs).
    pub pause_us: i64,
    /// When the last fault ends (µs from the beginning).
    pub length_us: i64,
    /// Changes, with their times (µs from the beginning), in order.
    pub changes: Vec<(i64, Change)>,
    /// The clock has been set, so expiry may differ by as much.
    pub steps: bool,
    /// Address space of a shard's journal.
    pub journal_bytes: usize,
    /// The journal is on the disk, and answers wait for that.
    pub machine: bool,
    /// What a full disk does not take is dropped, and its time remembered.
    pub drops: bool,
    /// Clients truncate tables and change the schema.
    pub schema: bool,
    /// Clients do nothing but append to lists of so many partitions.
    pub lists: Option<usize>,
}

/// What the seeds are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The proxy may be killed.
    pub kills: bool,
    /// Times longer than minutes.
    pub days: bool,
}

const SECOND_US: i64 = 1_000_000;

/// Errors that a cluster answers to writes now and then, in so many of a thousand cases each.
fn rules(rng: &mut Rng, per_mille: i64) -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["write", "batch", "counter", "lwt"] {
        for reaction in [
            "error=write_timeout",
            "error=write_timeout,apply",
            "error=overloaded",
            "error=overloaded,apply",
            "error=unavailable",
            "error=write_failure,apply",
            "error=server",
            "silence",
            "silence,apply",
            "drop",
            "drop,apply",
        ] {
            if rng.chance(400) {
                let chance = per_mille as f64 / 1_000.0;
                all.push(format!("kind={kind},chance={chance}->{reaction}"));
            }
        }
    }
    for reaction in [
        "error=server",
        "error=server,apply",
        "silence,apply",
        "drop",
        "drop,apply",
    ] {
        if rng.chance(200) {
            all.push(format!("kind=schema,chance=0.2->{reaction}"));
        }
    }
    for reaction in ["error=read_timeout", "silence", "drop", "error=overloaded"] {
        if rng.chance(300) {
            let chance = per_mille as f64 / 1_000.0;
            all.push(format!("kind=read,table=lwt,chance={chance}->{reaction}"));
        }
    }
    if rng.chance(400) {
        let chance = per_mille as f64 / 1_000.0;
        all.push(format!("opcode=EXECUTE,chance={chance}->error=unprepared"));
    }
    all
}

/// What the target always refuses.
pub fn always(cluster: usize) -> Vec<String> {
    match cluster {
        TARGET => vec!["table=sim.rej->error=invalid".to_owned()],
        _ => Vec::new(),
    }
}

impl Forecast {
    /// One client, one shard, one node on either side, and nothing goes wrong.
    pub fn calm(writes: usize) -> Self {
        Self {
            shards: 1,
            source_nodes: 1,
            target_nodes: 1,
            clients: 1,
            writes,
            pause_us: 0,
            length_us: 0,
            changes: Vec::new(),
            steps: false,
            journal_bytes: 2 << 20,
            machine: false,
            drops: false,
            schema: true,
            lists: None,
        }
    }

    pub fn of(rng: &mut Rng, scope: Scope) -> Self {
        let days = scope.days;
        let length_us = match days {
            true => rng.range(3_600, 90_000) * SECOND_US,
            false => rng.range(3, 40) * SECOND_US,
        };
        let mut it = Self {
            shards: 1 + rng.below(3),
            source_nodes: 1 + rng.below(3),
            target_nodes: 1 + rng.below(3),
            clients: 1 + rng.below(5),
            writes: 30 + rng.below(250),
            pause_us: *[0, 2_000, 50_000, 400_000].get(rng.below(4)).unwrap(),
            length_us,
            changes: Vec::new(),
            steps: false,
            journal_bytes: rng.pick(&[32 << 10, 1 << 20, 2 << 20]),
            machine: scope.kills && rng.chance(300),
            drops: rng.chance(200),
            schema: true,
            lists: None,
        };
        if days {
            it.pause_us = length_us / 40;
            it.changes.push((0, Change::Stride { us: 20 * SECOND_US }));
        }
        for cluster in [SOURCE, TARGET] {
            let rules = always(cluster);
            it.changes.push((0, Change::Rules { cluster, rules }));
        }
        for _ in 0..rng.below(7) {
            it.add(rng, TARGET);
        }
        if rng.chance(500) {
            for _ in 0..1 + rng.below(4) {
                it.add(rng, SOURCE);
            }
        }
        if rng.chance(500) {
            for _ in 0..1 + rng.below(3) {
                it.add_disk(rng);
            }
        }
        if rng.chance(300) {
            let at_us = rng.range(0, length_us);
            let shard = rng.below(it.shards);
            let us = rng.range(1_000, 4 * SECOND_US);
            it.changes.push((at_us, Change::Stall { shard, us }));
        }
        if rng.chance(150) {
            let at_us = rng.range(0, length_us);
            let us = rng.range(SECOND_US, 4_000 * SECOND_US);
            let us = if rng.chance(500) { us } else { -us };
            it.changes.push((at_us, Change::Step { us }));
            if rng.chance(300) {
                it.changes
                    .push((rng.range(at_us, length_us), Change::Step { us: -us }));
            }
            it.steps = true;
        }
        if scope.kills {
            it.add_kills(rng);
        } else if rng.chance(250) {
            it.add_restart(rng);
        }
        it.changes.sort_by_key(|(at_us, _)| *at_us);
        it
    }

    /// A time in which something is wrong: its begin and end.
    fn window(&self, rng: &mut Rng) -> (i64, i64) {
        let from_us = rng.range(0, self.length_us);
        let scale = self.length_us >> rng.below(8);
        let until_us = from_us + rng.range(scale / 2, scale);
        (from_us, until_us.min(self.length_us))
    }

    fn add(&mut self, rng: &mut Rng, cluster: usize) {
        let (from_us, until_us) = self.window(rng);
        let nodes = [self.source_nodes, self.target_nodes][cluster];
        let node = rng.below(nodes);
        let both = rng.chance(500);
        let hit: Vec<usize> = match both {
            true => (0..nodes).collect(),
            false => vec![node],
        };
        match rng.below(10) {
            0..4 => {
                let health = rng.pick(&[Health::Down, Health::Frozen, Health::Gone]);
                for node in hit {
                    let change = |health| Change::Health {
                        cluster,
                        node,
                        health,
                    };
                    self.changes.push((from_us, change(health)));
                    self.changes.push((until_us, change(Health::Up)));
                }
            }
            4 | 5 => {
                for _ in 0..1 + rng.below(5) {
                    let at_us = rng.range(from_us, until_us);
                    self.changes.push((at_us, Change::Cut { cluster, node }));
                }
            }
            6 => {
                let slow_us = rng.range(10_000, 8 * SECOND_US);
                for node in hit {
                    let change = |us| Change::Service { cluster, node, us };
                    self.changes.push((from_us, change((slow_us / 4, slow_us))));
                    self.changes.push((until_us, change(SERVICE_US)));
                }
            }
            7 | 8 => {
                let mut all = always(cluster);
                if rng.chance(200) {
                    // it answers, and takes nothing: tried until the patience ends
                    let error = rng.pick(&["overloaded", "unavailable", "write_failure"]);
                    all.push(format!("kind=write,chance=0.9->error={error}"));
                    all.push(format!("kind=batch,chance=0.9->error={error}"));
                } else {
                    let per_mille = rng.pick(&[5, 20, 100]);
                    all.extend(rules(rng, per_mille));
                }
                let change = |rules| Change::Rules { cluster, rules };
                self.changes.push((from_us, change(all)));
                self.changes.push((until_us, change(always(cluster))));
            }
            _ => self.changes.push((from_us, Change::Forget { cluster })),
        }
    }

    fn add_disk(&mut self, rng: &mut Rng) {
        let (from_us, until_us) = self.window(rng);
        let mut faults = DiskFaults::default();
        match rng.below(4) {
            0 => faults.full = true,
            1 => faults.slow_us = rng.range(2_000, 3 * SECOND_US),
            2 => faults.write_errors = 300,
            _ => faults.read_errors = 300,
        }
        self.changes.push((from_us, Change::Disk(faults)));
        let well = Change::Disk(DiskFaults::default());
        self.changes.push((until_us, well));
    }

    fn add_restart(&mut self, rng: &mut Rng) {
        let at_us = rng.range(0, self.length_us);
        self.changes.push((at_us, Change::Stop));
        let shards = 1 + rng.below(3);
        let start_us = at_us + rng.range(1_000, 5 * SECOND_US);
        self.changes.push((start_us, Change::Start { shards }));
    }

    /// The process is killed once or several times, soon after each other or not, and comes back,
    /// also with another number of shards.
    fn add_kills(&mut self, rng: &mut Rng) {
        let crashes = rng.chance(if self.machine { 700 } else { 300 });
        // a fuse that is lit when all is well again would go off when nobody starts the proxy again
        let last_us = self.length_us - 1;
        let mut at_us = rng.range(0, self.length_us);
        for _ in 0..1 + rng.below(4) {
            let fuse = rng
                .chance(500)
                .then(|| u32::try_from(rng.below(40)).unwrap());
            let crash = crashes && rng.chance(500);
            self.changes.push((at_us, Change::Kill { crash, fuse }));
            at_us = (at_us + rng.range(1_000, 3 * SECOND_US)).min(last_us);
            let shards = match rng.chance(400) {
                true => 1 + rng.below(3),
                false => self.shards,
            };
            self.changes.push((at_us, Change::Start { shards }));
            // also while it settles what it found
            at_us += match rng.below(3) {
                0 => rng.range(1, 20_000),
                1 => rng.range(1, SECOND_US),
                _ => rng.range(1, self.length_us),
            };
            at_us = at_us.min(last_us);
        }
    }
}
