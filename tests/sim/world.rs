//! The world: shards, clusters, clients, and the loop that lets time pass.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use twinring::config::{Durability, OnSpillFull, ProxyConfig, Settings, Surroundings};
use twinring::shard::Owed;

use crate::client::Client;
use crate::cluster::{Cluster, Health, SERVICE_US, SOURCE, TARGET};
use crate::core::{Core, EPOCH_US, Event};
use crate::disk::{DiskFaults, SimDisk};
use crate::faults::RECOVERY_US;
use crate::ledger::Ledger;
use crate::net::{Fuse, Network};
use crate::process::Proxy;
use crate::random::Rng;
use crate::weather::{Forecast, always};
use crate::work::{Keys, SCHEMA, Work};

/// After the last fault, everything has settled within this time (µs).
const SETTLE_US: i64 = 1_800_000_000;

pub struct World {
    pub core: Core,
    /// Draws the rings of the target.
    pub rings: Rng,
    /// Draws what becomes of journals on the disk.
    pub disks: Rng,
    /// They are there: after a crash of the machine, too, in some state.
    pub journal_on_disk: bool,
    pub network: Network,
    pub clusters: [Cluster; 2],
    pub clients: Vec<Client>,
    pub keys: Keys,
    pub ledger: Ledger,
    pub disk: SimDisk,
    pub folder: tempfile::TempDir,
    pub forecast: Forecast,
    pub config: Arc<ProxyConfig>,
    pub proxy: Option<Proxy>,
    /// Processes so far.
    pub process: u64,
    /// How often the machine has booted.
    pub boots: u64,
    /// The process ends when this has burnt down.
    pub fuse: Option<Fuse>,
    /// The high-water mark of the stamps, which survives everything (µs).
    pub stamps_us: i64,
    /// The machine's clock is ahead of the true time by this (µs).
    pub wall_ahead_us: i64,
    pub stride_us: i64,
    /// Until then slow answers and errors are the source's doing (µs).
    pub disturbed_until_us: i64,
    /// What a client saw that it must not see.
    pub complaints: Vec<String>,
    pub slowest_source_us: i64,
    /// Requests may have lain at the target for a while before it looked at them.
    pub target_lingers: bool,
    /// Records that processes found in the journals of earlier ones.
    pub unsettled: usize,
}

/// Where clients find the proxy.
pub fn listen() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 9042))
}

fn config(forecast: &Forecast, folder: &Path, rng: &mut Rng) -> ProxyConfig {
    let hosts = |side: usize, count: usize| {
        let list: Vec<_> = (0..count)
            .map(|n| Cluster::address(side, n).to_string())
            .collect();
        list.join(",").parse().unwrap()
    };
    let settings = Settings {
        source: Some(hosts(SOURCE, forecast.source_nodes)),
        target: Some(hosts(TARGET, forecast.target_nodes)),
        listen: Some(listen().to_string()),
        data_dir: Some(folder.to_owned()),
        disable_source_tls: Some(true),
        disable_target_tls: Some(true),
        journal_dir: Some(folder.join("journal")),
        ..Settings::default()
    };
    let around = Surroundings {
        cores: vec![0, 1, 2],
        resolve: &|host, port| Ok(vec![SocketAddr::new(host.parse().unwrap(), port)]),
    };
    let mut config = ProxyConfig::new(settings, &around).unwrap();
    config.mirror.in_flight = rng.pick(&[2, 16, 1_024]);
    config.journal.bytes = forecast.journal_bytes;
    if forecast.machine {
        config.journal.durability = Durability::Machine;
    }
    config.spill.reserve_bytes = 0; // the disk is made up
    config.spill.segment_bytes = rng.pick(&[1 << 10, 16 << 10, 64 << 20]);
    if forecast.drops {
        config.spill.on_full = OnSpillFull::DropAndMark;
    }
    config
}

impl World {
    pub fn new(seed: u64, forecast: impl FnOnce(&mut Rng) -> Forecast, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let forecast = forecast(&mut rng);
        let folder = folder();
        let config = Arc::new(config(&forecast, folder.path(), &mut rng));
        let mut core = Core::new(rng.fork(), trace);
        core.note(|| format!("{forecast:#?}"));
        let cluster = |side, nodes, rng: &mut Rng| Cluster::new(side, nodes, rng.next(), EPOCH_US);
        let clusters = [
            cluster(SOURCE, forecast.source_nodes, &mut rng),
            cluster(TARGET, forecast.target_nodes, &mut rng),
        ];
        let each = forecast.writes / forecast.clients;
        let clients = (0..forecast.clients)
            .map(|id| {
                let work = Work::new(id, rng.fork(), &forecast);
                Client::new(id, rng.fork(), work, each, forecast.pause_us)
            })
            .collect();
        let disk = SimDisk::new(folder.path(), rng.fork());
        // of their own: what a seed was before is still that weather
        let (rings, mut disks) = (Rng::new(!seed), Rng::new(seed.rotate_left(32)));
        let journal_on_disk = forecast.machine || disks.chance(300);
        let mut world = Self {
            core,
            rings,
            disks,
            journal_on_disk,
            network: Network::default(),
            clusters,
            clients,
            keys: Keys::default(),
            ledger: Ledger::default(),
            disk,
            folder,
            forecast,
            config,
            proxy: None,
            process: 0,
            boots: 1,
            fuse: None,
            stamps_us: 0,
            wall_ahead_us: 0,
            stride_us: 0,
            disturbed_until_us: EPOCH_US + RECOVERY_US,
            complaints: Vec::new(),
            slowest_source_us: 0,
            target_lingers: false,
            unsettled: 0,
        };
        world.make_schema();
        world.start(world.forecast.shards);
        for (index, (at_us, _)) in world.forecast.changes.iter().enumerate() {
            world.core.after(*at_us, Event::Weather(index));
        }
        for client in &mut world.clients {
            client.start(&mut world.core);
        }
        world.core.after(0, Event::Second);
        world
    }

    fn make_schema(&mut self) {
        for cluster in &self.clusters {
            let mut line = cluster.model.connect();
            crate::check::open(&mut line);
            let own = (0..self.clients.len()).map(|n| {
                format!(
                    "CREATE TABLE {} (k text PRIMARY KEY, v text)",
                    Work::own_table(n)
                )
            });
            for text in SCHEMA.iter().map(|text| (*text).to_owned()).chain(own) {
                crate::check::run(&mut line, &text);
            }
        }
    }

    /// One thing happens. False: nothing is to happen any more.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.core.next() else {
            return false;
        };
        match event {
            Event::Turn { shard, process } => self.turn(shard, process),
            Event::Connect(wire) => self.connect(wire),
            Event::Deliver(wire, dir) => {
                if let Some((to, what)) = self.network.deliver(&mut self.core, wire, dir) {
                    self.arrive(wire, to, what);
                }
            }
            Event::Flushed(wire, dir) => self.flushed(wire, dir),
            Event::Execute(conn, raw) => {
                if self.clusters[conn.cluster].execute(&mut self.core, conn, raw)
                    && let Some(wire) = self.clusters[conn.cluster].wire_of(conn)
                {
                    self.cut(wire);
                }
                if std::mem::take(&mut self.clusters[conn.cluster].has_news) {
                    let after_us = self.core.rng.range(100_000, 400_000);
                    self.core.after(after_us, Event::Watch);
                }
            }
            Event::Answer(conn, bytes) => {
                if let Some(wire) = self.clusters[conn.cluster].wire_of(conn) {
                    self.network.send_more(&mut self.core, wire, 1, bytes);
                }
            }
            Event::Client { client, token } => {
                let it = &mut self.clients[client];
                let (core, keys, ledger) = (&mut self.core, &mut self.keys, &mut self.ledger);
                let wish = it.timer(core, token, keys, ledger);
                self.grant(client, wish);
            }
            Event::Disk(job) => {
                if self.disk.run(job) {
                    let shards = self.proxy.as_ref().map_or(0, |proxy| proxy.slots.len());
                    for shard in 0..shards {
                        let after_us = self.core.rng.range(10, 10_000);
                        self.wake(shard, after_us);
                    }
                }
            }
            Event::Synced { shard, process } => self.synced(shard, process),
            Event::Weather(index) => self.change(index),
            Event::Watch => self.watch(),
            Event::Second => self.second(),
            Event::Keep => self.keep(),
        }
        true
    }

    /// Everything goes wrong that shall go wrong, and the clients do what they want to do.
    pub fn live(&mut self) {
        let end_us = EPOCH_US + self.forecast.length_us;
        while self.core.now_us < end_us && self.step() {}
        // all is well from here on
        self.stride_us = 0;
        self.disk.set_faults(DiskFaults::default());
        for cluster in [SOURCE, TARGET] {
            self.clusters[cluster].set_faults(&always(cluster));
            self.clusters[cluster].is_moody = false;
            for node in 0..self.clusters[cluster].nodes.len() {
                self.clusters[cluster].nodes[node].service_us = SERVICE_US;
                self.set_health(cluster, node, Health::Up);
            }
        }
        self.fuse = None;
        // a stop that is under way comes to its end
        let stopping = |world: &Self| world.proxy.as_ref().is_some_and(|proxy| proxy.stopping);
        let patient_us = self.core.now_us + 120_000_000;
        while stopping(self) && self.core.now_us < patient_us && self.step() {}
        if stopping(self) {
            let words = format!("the proxy does not stop: {}", self.owed());
            self.complain(words);
        }
        if self.proxy.is_none() {
            self.start(self.forecast.shards);
        }
        self.disturb();
        self.core.note(|| "WEATHER all is well".to_owned());
    }

    /// Time passes until nothing is owed any more, anywhere.
    ///
    /// # Errors
    /// It does not happen.
    pub fn settle(&mut self) -> Result<(), String> {
        let end_us = self.core.now_us + SETTLE_US;
        let mut quiet_us = 0;
        while quiet_us < 3_000_000 {
            let until_us = self.core.now_us + 500_000;
            while self.core.now_us < until_us && self.step() {}
            let settled = self.is_settled();
            quiet_us = if settled { quiet_us + 500_000 } else { 0 };
            if self.core.now_us > end_us {
                return Err(format!("it does not settle: {}", self.owed()));
            }
        }
        Ok(())
    }

    /// Whether clients have done what they wanted, and nothing is owed.
    pub fn is_settled(&self) -> bool {
        self.clients.iter().all(Client::is_done)
            && self.proxy.as_ref().is_some_and(|proxy| {
                proxy
                    .slots
                    .iter()
                    .all(|slot| slot.shard.owed() == Owed::default())
            })
            && self.proxy.as_ref().is_some_and(Proxy::is_settled)
    }

    pub fn owed(&self) -> String {
        let mut words = Vec::new();
        for client in self.clients.iter().filter(|client| !client.is_done()) {
            words.push(format!(
                "client {} has {} writes left",
                client.id, client.left
            ));
        }
        for (shard, slot) in self.proxy.iter().flat_map(|p| p.slots.iter().enumerate()) {
            words.push(format!("shard {shard}: {:?}", slot.shard.owed()));
        }
        let unsettled = self.proxy.as_ref().map_or(0, Proxy::unsettled);
        words.push(format!("{unsettled} records of the journals"));
        words.join("; ")
    }
}

/// A folder in memory, if there is one.
fn folder() -> tempfile::TempDir {
    let prefix = tempfile::Builder::new().prefix("simulated-").clone();
    prefix
        .tempdir_in("/dev/shm")
        .or_else(|_| prefix.tempdir())
        .unwrap()
}
