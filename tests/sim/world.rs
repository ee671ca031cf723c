//! The world: shards, clusters, clients, and the loop that lets time pass.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use twinring::config::{ProxyConfig, Settings, Surroundings};
use twinring::metrics::{Gauge, ShardView};
use twinring::proxy::setup;
use twinring::shard::inbox::{Address, Ask, Message};
use twinring::shard::{Later, Owed, Shard};
use twinring::spill::dir::SpillDir;
use twinring::sys::ring::SocketId;
use twinring::tables::Known;

use crate::client::{Client, Served, Wish};
use crate::cluster::{Cluster, Health, Node, SERVICE_US, SOURCE, TARGET};
use crate::core::{Core, EPOCH_US, Event};
use crate::disk::{DiskFaults, SimDisk};
use crate::net::{Arrival, Network, Party, Report, ShardNet, Sockets, WireId};
use crate::random::Rng;
use crate::weather::{Change, Forecast, always};
use crate::work::{Keys, Ledger, SCHEMA, Work};

/// With a source that is well, no answer takes longer (µs).
const ANSWER_US: i64 = 400_000;
/// After a fault of the source, drivers need this long to be well again (µs).
const RECOVERY_US: i64 = 30_000_000;
/// After the last fault, everything has settled within this time (µs).
const SETTLE_US: i64 = 1_800_000_000;

struct Slot {
    shard: Shard,
    sockets: Sockets,
    later: Later<WireId>,
    wakeup: File,
    turn_at_us: Option<i64>,
    stalled_until_us: i64,
    through: bool,
}

/// A running proxy.
struct Proxy {
    slots: Vec<Slot>,
    addresses: Vec<Address>,
    views: Vec<ShardView>,
    asked: Receiver<Ask>,
    known: Known,
    spill: SpillDir,
    /// Its clock is ahead of the true time by this (µs), and was set forward by so much.
    offset_us: i64,
    stepped_us: i64,
}

pub struct World {
    pub core: Core,
    network: Network,
    pub clusters: [Cluster; 2],
    clients: Vec<Client>,
    keys: Keys,
    pub ledger: Ledger,
    pub disk: SimDisk,
    pub folder: tempfile::TempDir,
    pub forecast: Forecast,
    config: Arc<ProxyConfig>,
    proxy: Option<Proxy>,
    process: u64,
    stamps_us: i64,
    stride_us: i64,
    /// Until then slow answers and errors are the source's doing (µs).
    disturbed_until_us: i64,
    /// What a client saw that it must not see.
    pub complaints: Vec<String>,
    pub slowest_source_us: i64,
    /// Requests may have lain at the target for a while before it looked at them.
    pub target_lingers: bool,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 9042))
}

fn config(forecast: &Forecast, folder: &std::path::Path, rng: &mut Rng) -> ProxyConfig {
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
        ..Settings::default()
    };
    let around = Surroundings {
        cores: vec![0, 1, 2],
        resolve: &|host, port| Ok(vec![SocketAddr::new(host.parse().unwrap(), port)]),
    };
    let mut config = ProxyConfig::new(settings, &around).unwrap();
    config.mirror.in_flight = rng.pick(&[2, 16, 1_024]);
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
            .map(|id| Client::new(id, rng.fork(), each, forecast.pause_us))
            .collect();
        let disk = SimDisk::new(folder.path(), rng.fork());
        let mut world = Self {
            core,
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
            stamps_us: 0,
            stride_us: 0,
            disturbed_until_us: EPOCH_US + RECOVERY_US,
            complaints: Vec::new(),
            slowest_source_us: 0,
            target_lingers: false,
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

    /// Starts a process.
    fn start(&mut self, shards: usize) {
        let mut config = (*self.config).clone();
        config.cores = (0..shards).collect();
        let config = Arc::new(config);
        let spill = SpillDir::open_or_create(&config.data_dir).unwrap();
        let mut rng = self.core.rng.fork();
        let mut random = || Ok(rng.bytes32());
        let prepared = setup::prepare(&config, &spill, self.stamps_us, &mut random).unwrap();
        self.process += 1;
        let offset_us = 0;
        let now_us = self.core.now_us + offset_us;
        let mut slots = Vec::new();
        for setup in prepared.setups {
            let wakeup = File::from(setup.inbox.wakeup.as_fd().try_clone_to_owned().unwrap());
            let listener = SocketId::new(u32::MAX, 1);
            let disk = Box::new(self.disk.clone());
            slots.push(Slot {
                shard: Shard::new(setup, listener, disk, now_us),
                sockets: Sockets::default(),
                later: Later::default(),
                wakeup,
                turn_at_us: None,
                stalled_until_us: 0,
                through: false,
            });
        }
        self.proxy = Some(Proxy {
            slots,
            addresses: prepared.addresses,
            views: prepared.views,
            asked: prepared.asked,
            known: Known::default(),
            spill,
            offset_us,
            stepped_us: 0,
        });
        self.watch();
        for shard in 0..shards {
            self.wake(shard, 10);
        }
        self.disturb();
        self.core
            .note(|| format!("the proxy starts with {shards} shards"));
    }

    /// The process ends; nothing in it gets a chance to do anything about it.
    fn kill(&mut self, crash: bool) {
        let Some(proxy) = self.proxy.take() else {
            return;
        };
        self.core
            .note(|| format!("the proxy is killed, crash: {crash}"));
        self.disk.kill();
        drop(proxy.slots);
        drop(proxy.spill);
        if crash {
            self.disk.crash();
        }
        for wire in self
            .network
            .of_parties(|party| matches!(party, Party::Shard { .. }))
        {
            self.cut(wire);
        }
        self.disturb();
    }

    fn wake(&mut self, shard: usize, after_us: i64) {
        let Some(slot) = self
            .proxy
            .as_mut()
            .and_then(|proxy| proxy.slots.get_mut(shard))
        else {
            return;
        };
        let at_us = self.core.now_us + after_us;
        if slot.through
            || slot
                .turn_at_us
                .is_some_and(|turn_at_us| turn_at_us <= at_us)
        {
            return;
        }
        slot.turn_at_us = Some(at_us);
        let process = self.process;
        self.core.after(after_us, Event::Turn { shard, process });
    }

    /// A packet has come in for a shard.
    fn stir(&mut self, shard: usize) {
        let after_us = match self.core.rng.chance(20) {
            true => self.core.rng.range(100, 20_000),
            false => self.core.rng.range(1, 100),
        };
        self.wake(shard, after_us);
    }

    fn turn(&mut self, shard: usize, process: u64) {
        let Some(proxy) = self.proxy.as_mut().filter(|_| process == self.process) else {
            return;
        };
        let slot = &mut proxy.slots[shard];
        if slot.turn_at_us != Some(self.core.now_us) {
            return;
        }
        slot.turn_at_us = None;
        if slot.stalled_until_us > self.core.now_us {
            let rest_us = slot.stalled_until_us - self.core.now_us;
            return self.wake(shard, rest_us);
        }
        let busy = slot.sockets.has_reports();
        let now_us = self.core.now_us + proxy.offset_us;
        slot.shard.follow_steps(proxy.stepped_us);
        let mut net = ShardNet {
            core: &mut self.core,
            network: &mut self.network,
            sockets: &mut slot.sockets,
            shard,
            listen: listen(),
        };
        let turned = slot.shard.turn(&mut net, &mut slot.later, now_us);
        slot.through = slot.shard.is_through();
        let timeout_us = i64::try_from(slot.shard.timeout(now_us).as_micros()).unwrap();
        let again = slot.sockets.has_reports();
        for (job, took_us) in self.disk.take_fresh() {
            self.core.after(took_us, Event::Disk(job));
        }
        while let Ok(ask) = proxy.asked.try_recv() {
            if let Ask::Tables = ask {
                self.core.after(150_000, Event::Watch);
            }
        }
        self.see_wakeups();
        self.after_turn(shard, again, turned.spawned || busy, timeout_us);
    }

    /// Shards whose inbox got a message are woken.
    fn see_wakeups(&mut self) {
        let slots = self.proxy.iter_mut().flat_map(|proxy| &mut proxy.slots);
        let mut woken = Vec::new();
        for (shard, slot) in slots.enumerate() {
            if slot.wakeup.read(&mut [0; 8]).is_ok() {
                slot.sockets.report_wakeup();
                woken.push(shard);
            }
        }
        for shard in woken {
            self.stir(shard);
        }
    }

    /// What the control thread does when it hears of a change.
    fn watch(&mut self) {
        let Some(proxy) = &mut self.proxy else {
            return;
        };
        let tables = |cluster: &Cluster| Arc::new(cluster.tables());
        let known = Known {
            source: tables(&self.clusters[SOURCE]),
            target: tables(&self.clusters[TARGET]),
        };
        if known != proxy.known {
            for address in &proxy.addresses {
                address.tell(Message::Tables(Arc::new(known.clone())));
            }
            let count = known.source.len();
            self.core
                .note(|| format!("the shards are told of {count} tables"));
            proxy.known = known;
            self.see_wakeups();
        }
    }

    fn after_turn(&mut self, shard: usize, again: bool, busy: bool, timeout_us: i64) {
        let late_us = self.core.rng.range(0, self.stride_us.max(200));
        self.wake(shard, timeout_us + late_us);
        if again {
            self.wake(shard, 1);
        } else if busy {
            self.wake(shard, 10_000); // the executor's tick
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
            Event::Weather(index) => self.change(index),
            Event::Watch => self.watch(),
            Event::Second => self.second(),
        }
        true
    }

    fn second(&mut self) {
        self.core.after(1_000_000 + self.stride_us, Event::Second);
        let Some(proxy) = &self.proxy else {
            return;
        };
        // as the control thread does it
        self.stamps_us = self.core.now_us + proxy.offset_us + 3_000_000;
        let limit = twinring::limits::PENDING_MIRROR_PER_SHARD_BYTES as u64;
        for view in &proxy.views {
            let bytes = view.metrics().gauge(Gauge::PendingBytes);
            assert!(bytes <= limit + (1 << 20), "{bytes} bytes wait in memory");
        }
    }

    fn connect(&mut self, wire: WireId) {
        let Party::Shard { shard, socket } = self.network.get(wire).ends[0] else {
            return; // given up meanwhile
        };
        let address = self.network.get(wire).address.unwrap();
        let (cluster, node) = Cluster::of_address(address);
        let health = self.clusters[cluster].nodes[node].health;
        match health {
            Health::Gone => return, // nobody answers
            Health::Down => {
                self.network.cut(wire);
                let error = std::io::ErrorKind::ConnectionRefused.into();
                self.report(shard, socket, Report::Connected(Err(error)));
            }
            Health::Up | Health::Frozen => {
                self.clusters[cluster].accept(&mut self.core, &mut self.network, node, wire);
                self.report(shard, socket, Report::Connected(Ok(())));
            }
        }
        self.stir(shard);
    }

    fn report(&mut self, shard: usize, socket: usize, report: Report) {
        if let Some(proxy) = &mut self.proxy {
            proxy.slots[shard].sockets.report(socket, report);
        }
    }

    fn arrive(&mut self, wire: WireId, to: Party, what: Arrival) {
        match (to, what) {
            (Party::Nobody, _) => {}
            (Party::Shard { shard, socket }, Arrival::Bytes(bytes)) => {
                self.report(shard, socket, Report::Received(bytes));
                self.stir(shard);
            }
            (Party::Shard { shard, socket }, Arrival::Eof) => {
                self.report(shard, socket, Report::Eof);
                self.stir(shard);
            }
            (Party::Client(client), Arrival::Bytes(bytes)) => {
                let mut served = Vec::new();
                let it = &mut self.clients[client];
                let (core, keys, ledger) = (&mut self.core, &mut self.keys, &mut self.ledger);
                let wish = it.bytes(core, &bytes, keys, ledger, &mut served);
                for served in served {
                    self.judge(client, served);
                }
                self.grant(client, wish);
            }
            (Party::Client(client), Arrival::Eof) => {
                self.network.hang_up(&mut self.core, wire, 0);
                self.client_lost(client);
            }
            (Party::Node(conn), Arrival::Bytes(bytes)) => {
                self.clusters[conn.cluster].bytes(&mut self.core, conn, &bytes);
            }
            (Party::Node(conn), Arrival::Eof) => {
                self.clusters[conn.cluster].forget(conn);
                self.network.hang_up(&mut self.core, wire, 1);
            }
        }
    }

    /// What a client has seen must be the source's doing.
    fn judge(&mut self, client: usize, served: Served) {
        if served.sent_us <= self.disturbed_until_us {
            return;
        }
        if served.took_us > ANSWER_US {
            let took_ms = served.took_us / 1_000;
            self.complain(format!("client {client} waited {took_ms} ms for an answer"));
        }
        // what a client's own requests deserve
        let deserved = [0, 0x2200, 0x2400, 0x2500];
        if !deserved.contains(&served.error) {
            self.complain(format!("client {client} saw error {:#06x}", served.error));
        }
    }

    fn complain(&mut self, words: String) {
        self.core.note(|| format!("COMPLAINT: {words}"));
        self.complaints.push(words);
    }

    fn client_lost(&mut self, client: usize) {
        if self.core.now_us > self.disturbed_until_us {
            self.complain(format!("client {client} lost its connection"));
        }
        self.clients[client].lost(&mut self.core, &mut self.ledger);
    }

    fn grant(&mut self, client: usize, wish: Wish) {
        match wish {
            Wish::Nothing => {}
            Wish::Connect => {
                let Some(proxy) = &mut self.proxy else {
                    return self.clients[client].lost(&mut self.core, &mut self.ledger);
                };
                let shard = self.core.rng.below(proxy.slots.len());
                let wire = self.network.add(Party::Client(client), Party::Nobody, None);
                self.network.read(&mut self.core, wire, 1, true);
                proxy.slots[shard].sockets.report_accept(wire);
                self.stir(shard);
                self.clients[client].connected(&mut self.core, wire);
            }
            Wish::Leave(cut) => {
                self.core
                    .note(|| format!("client {client} leaves, cut: {cut}"));
                if let Some(wire) = self.clients[client].wire {
                    self.network.get(wire).ends[0] = Party::Nobody;
                    match cut {
                        true => self.cut(wire),
                        false => self.network.hang_up(&mut self.core, wire, 0),
                    }
                }
                self.clients[client].lost(&mut self.core, &mut self.ledger);
            }
        }
        self.flush_client(client);
    }

    fn flush_client(&mut self, client: usize) {
        let it = &mut self.clients[client];
        if let Some(wire) = it.wire
            && !it.out.is_empty()
            && !self.network.get(wire).dead
        {
            let bytes = std::mem::take(&mut it.out);
            self.network.send_more(&mut self.core, wire, 0, bytes);
        }
    }

    fn flushed(&mut self, wire: WireId, dir: usize) {
        if let Party::Shard { shard, socket } = self.network.get(wire).ends[dir]
            && let Some(proxy) = &mut self.proxy
        {
            proxy.slots[shard].sockets.flushed(socket);
            self.stir(shard);
        }
    }

    /// A connection is cut: those at its ends learn of it.
    fn cut(&mut self, wire: WireId) {
        for party in self.network.cut(wire) {
            match party {
                Party::Nobody => {}
                Party::Shard { shard, socket } => {
                    if let Some(proxy) = &mut self.proxy {
                        proxy.slots[shard].sockets.cut(socket);
                        self.stir(shard);
                    }
                }
                Party::Client(client) => self.client_lost(client),
                Party::Node(conn) => self.clusters[conn.cluster].forget(conn),
            }
        }
    }

    /// Something has changed: whether clients may see it depends on how the source is.
    fn disturb(&mut self) {
        let source = &self.clusters[SOURCE];
        let well = |node: &Node| node.health == Health::Up && node.service_us == SERVICE_US;
        let is_well = source.nodes.iter().all(well) && !source.is_moody && self.proxy.is_some();
        self.disturbed_until_us = match is_well {
            true => self.core.now_us + RECOVERY_US,
            false => i64::MAX,
        };
    }

    fn change(&mut self, index: usize) {
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
            Change::Step { us } => {
                if let Some(proxy) = &mut self.proxy {
                    proxy.offset_us += us;
                    proxy.stepped_us += us;
                }
            }
            Change::Kill { crash } => self.kill(crash),
            Change::Start { shards } => self.start(shards),
            Change::Stride { us } => self.stride_us = us,
        }
    }

    fn set_health(&mut self, cluster: usize, node: usize, health: Health) {
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

    fn is_settled(&self) -> bool {
        self.clients.iter().all(Client::is_done)
            && self.proxy.as_ref().is_some_and(|proxy| {
                proxy
                    .slots
                    .iter()
                    .all(|slot| slot.shard.owed() == Owed::default())
            })
    }

    fn owed(&self) -> String {
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
        words.join("; ")
    }

    /// The proxy is told to stop, and does.
    ///
    /// # Errors
    /// It does not.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(proxy) = &self.proxy else {
            return Ok(());
        };
        for address in &proxy.addresses {
            address.tell(Message::Stop);
        }
        let shards = proxy.slots.len();
        for shard in 0..shards {
            self.proxy.as_mut().unwrap().slots[shard]
                .sockets
                .report_wakeup();
            self.wake(shard, 10);
        }
        let end_us = self.core.now_us + 120_000_000;
        loop {
            let proxy = self.proxy.as_ref().unwrap();
            if proxy.slots.iter().all(|slot| slot.through) {
                break;
            }
            if self.core.now_us > end_us || !self.step() {
                return Err("the proxy does not stop".to_owned());
            }
        }
        self.proxy = None;
        Ok(())
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
