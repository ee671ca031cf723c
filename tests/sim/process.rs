//! The proxy as a process: it starts, gets its turns, is killed, stops; what outlives it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use twinring::config::{Durability, ProxyConfig};
use twinring::metrics::{Gauge, ShardMetrics, ShardView};
use twinring::proxy::journals::{Journals, Start};
use twinring::proxy::keeper::Keeper;
use twinring::proxy::{owners, setup};
use twinring::shard::inbox::{Address, Ask, Message};
use twinring::shard::time::{self, STAMPS_RESERVE_US};
use twinring::shard::{Later, Shard};
use twinring::spill::dir::SpillDir;
use twinring::spill::dirty::Windows;
use twinring::sys::ring::SocketId;
use twinring::tables::{Known, Nodes};

use crate::cluster::{Cluster, SOURCE, TARGET};
use crate::core::Event;
use crate::net::{Fuse, Party, ShardNet, Sockets, WireId};
use crate::weather::Change;
use crate::world::{World, listen};

/// The clock of a process follows one that was set back so slowly (µs each second).
const SLEW_US: i64 = 500;

pub struct Slot {
    pub shard: Shard,
    pub sockets: Sockets,
    later: Later<WireId>,
    wakeup: File,
    turn_at_us: Option<i64>,
    pub stalled_until_us: i64,
    pub through: bool,
}

/// A running proxy.
pub struct Proxy {
    pub slots: Vec<Slot>,
    addresses: Vec<Address>,
    views: Vec<ShardView>,
    asked: Receiver<Ask>,
    known: Known,
    /// Held while the process lives.
    _spill: SpillDir,
    journals: Journals,
    keeper: Keeper,
    pub stopping: bool,
    stepped_us: i64,
}

impl Proxy {
    /// Records of journals that are not done, its own and those of earlier processes.
    pub fn unsettled(&self) -> u64 {
        let metrics = self.views.iter().map(ShardView::metrics);
        let left = |m: &ShardMetrics| m.gauge(Gauge::Unsettled) + m.gauge(Gauge::JournalRecords);
        metrics.map(left).sum()
    }

    pub fn is_settled(&self) -> bool {
        self.unsettled() == 0
    }
}

fn unsigned(us: i64) -> u64 {
    u64::try_from(us).unwrap()
}

impl World {
    /// A process starts.
    pub fn start(&mut self, shards: usize) {
        let mut config: ProxyConfig = (*self.config).clone();
        config.cores = (0..shards).collect();
        let config = Arc::new(config);
        let spill = SpillDir::open_or_create(&config.data_dir).unwrap();
        let mut rng = self.core.rng.fork();
        let mut random = || Ok(rng.bytes32());
        let mut prepared = setup::prepare(&config, &spill, self.stamps_us, &mut random).unwrap();
        self.process += 1;
        let wall_us = self.core.now_us + self.wall_ahead_us;
        let start_us = time::start_us(wall_us, self.stamps_us);
        self.core.proxy_ahead_us = start_us - self.core.now_us;
        let now_us = self.core.proxy_now_us();
        let mut windows = Windows::load(&config.data_dir).unwrap();
        windows.close_open(unsigned(now_us));
        let setups = &mut prepared.setups;
        let start = Start {
            now_us: unsigned(now_us),
            boot: &format!("{:016x}", self.boots),
        };
        let journals = Journals::open(&config, setups, &mut windows, start).unwrap();
        if config.journal.durability == Durability::Machine {
            self.sync_journals(); // the start has synced what it found
        }
        let keeper = Keeper::start(&config, windows);
        let left: usize = prepared.setups.iter().map(|s| s.unsettled.len()).sum();
        self.unsettled += left;
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
            _spill: spill,
            journals,
            keeper,
            stopping: false,
            stepped_us: 0,
        });
        self.core
            .note(|| format!("the proxy starts with {shards} shards, {left} to settle"));
        self.watch();
        for shard in 0..shards {
            self.wake(shard, 10);
        }
        self.disturb();
    }

    /// The process ends; nothing in it gets a chance to do anything about it.
    pub fn kill(&mut self, crash: bool, fuse: Option<Fuse>) {
        let Some(proxy) = self.proxy.take() else {
            return;
        };
        self.core
            .note(|| format!("the proxy is killed, crash: {crash}"));
        self.disk.kill(fuse.as_ref().map(|fuse| fuse.jobs));
        drop(proxy);
        for (path, bytes) in fuse.and_then(|fuse| fuse.image).into_iter().flatten() {
            fs::write(path, bytes).unwrap();
        }
        if crash {
            self.disk.crash();
            self.boots += 1;
            if !self.journal_on_disk {
                fs::remove_dir_all(self.config.journal.dir.as_ref().unwrap()).unwrap();
            }
        }
        self.cut_off();
    }

    /// A journal has come to the disk, or not.
    pub fn synced(&mut self, shard: usize, process: u64) {
        let Some(proxy) = self.proxy.as_mut().filter(|_| process == self.process) else {
            return;
        };
        let sockets = &mut proxy.slots[shard].sockets;
        let Some((path, bytes)) = sockets.syncing.take() else {
            return;
        };
        let fails = self.disks.chance(self.disk.write_errors());
        if fails {
            self.disk.not_synced(path, bytes);
            sockets.report_synced(Err(io::Error::other("Input/output error (os error 5)")));
            self.start_again();
        } else {
            self.disk.synced(path, bytes);
            sockets.report_synced(Ok(()));
        }
        self.stir(shard);
    }

    /// Somebody has read in the log that no write is acknowledged any more.
    fn start_again(&mut self) {
        self.core
            .note(|| "a journal cannot be brought to the disk".to_owned());
        self.disturbed_until_us = i64::MAX;
        let end = match self.disks.chance(500) {
            true => Change::Stop,
            false => Change::Kill {
                crash: self.disks.chance(500),
                fuse: None,
            },
        };
        let mut after_us = 0;
        let shards = self.forecast.shards;
        for change in [end, Change::Start { shards }] {
            after_us += self.disks.range(1_000, 3_000_000);
            let at_us = self.core.now_us + after_us;
            self.core
                .after(after_us, Event::Weather(self.forecast.changes.len()));
            self.forecast.changes.push((at_us, change));
        }
    }

    /// The kernel brings what is in its page cache to the disk when it likes to.
    fn write_back(&mut self) {
        if self.journal_on_disk && self.disks.chance(50) {
            self.sync_journals();
        }
    }

    /// What the journals hold comes to the disk.
    fn sync_journals(&self) {
        for path in self.journal_files() {
            let bytes = fs::read(&path).unwrap();
            self.disk.synced(path, bytes);
        }
    }

    /// Nobody is at the process's ends of its connections any more.
    fn cut_off(&mut self) {
        self.disturb();
        let of_shard = |party: &Party| matches!(party, Party::Shard { .. });
        for wire in self.network.of_parties(of_shard) {
            self.cut(wire);
        }
    }

    /// The journals that are there.
    pub fn journal_files(&self) -> Vec<PathBuf> {
        let dir = self.config.journal.dir.as_ref().unwrap();
        if !dir.exists() {
            return Vec::new();
        }
        crate::disk::files_below(dir)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "journal"))
            .collect()
    }

    pub fn wake(&mut self, shard: usize, after_us: i64) {
        let slots = self.proxy.as_mut().map(|proxy| &mut proxy.slots);
        let Some(slot) = slots.and_then(|slots| slots.get_mut(shard)) else {
            return;
        };
        let at_us = self.core.now_us + after_us;
        if slot.through || slot.turn_at_us.is_some_and(|turn_us| turn_us <= at_us) {
            return;
        }
        slot.turn_at_us = Some(at_us);
        let process = self.process;
        self.core.after(after_us, Event::Turn { shard, process });
    }

    /// A packet has come in for a shard.
    pub fn stir(&mut self, shard: usize) {
        let after_us = match self.core.rng.chance(20) {
            true => self.core.rng.range(100, 20_000),
            false => self.core.rng.range(1, 100),
        };
        self.wake(shard, after_us);
    }

    pub fn turn(&mut self, shard: usize, process: u64) {
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
        let now_us = self.core.proxy_now_us();
        slot.shard
            .follow_clock(proxy.stepped_us, proxy.stepped_us != 0);
        let mut net = ShardNet {
            core: &mut self.core,
            network: &mut self.network,
            sockets: &mut slot.sockets,
            shard,
            process,
            listen: listen(),
            fuse: self.fuse.as_mut(),
        };
        let turned = slot.shard.turn(&mut net, &mut slot.later, now_us);
        if let Some(fuse) = self.fuse.take_if(|fuse| fuse.image.is_some()) {
            let crash = fuse.crash;
            return self.kill(crash, Some(fuse));
        }
        slot.through = slot.shard.is_through();
        let timeout_us = i64::try_from(slot.shard.timeout(now_us).as_micros()).unwrap();
        let again = slot.sockets.has_reports();
        for (job, took_us) in self.disk.take_fresh() {
            self.core.after(took_us, Event::Disk(job));
        }
        self.see_asked();
        self.see_wakeups();
        self.after_turn(shard, again, turned.spawned || busy, timeout_us);
        self.end_if_through();
    }

    /// What the control thread is asked.
    fn see_asked(&mut self) {
        let proxy = self.proxy.as_mut().unwrap();
        while let Ok(ask) = proxy.asked.try_recv() {
            match ask {
                Ask::Tables => self.core.after(150_000, Event::Watch),
                Ask::Dropping(note) => {
                    proxy.keeper.hear(note);
                    let after_us = self.core.rng.range(1, 100_000);
                    self.core.after(after_us, Event::Keep);
                }
                // a simulated cluster has one schema
                Ask::Agreement(question) => proxy.addresses[0].tell(Message::Agreed(question)),
                Ask::Login(..) | Ask::Name(_) => {}
            }
        }
    }

    /// Windows of dirty time are written down.
    pub fn keep(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            proxy.keeper.tick(&proxy.addresses);
            self.see_wakeups();
        }
    }

    /// Shards whose inbox got a message are woken.
    pub fn see_wakeups(&mut self) {
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
    pub fn watch(&mut self) {
        let Some(proxy) = self.proxy.as_mut().filter(|proxy| !proxy.stopping) else {
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

    /// What the control thread does once a second.
    pub fn second(&mut self) {
        self.core.after(1_000_000 + self.stride_us, Event::Second);
        let Some(proxy) = self.proxy.as_mut().filter(|proxy| !proxy.stopping) else {
            return;
        };
        let ahead_us = self.wall_ahead_us - self.core.proxy_ahead_us;
        if ahead_us > 500_000 {
            proxy.stepped_us += ahead_us;
        }
        self.core.proxy_ahead_us += ahead_us.max(-SLEW_US);
        let now_us = self.core.proxy_now_us();
        self.stamps_us = now_us + STAMPS_RESERVE_US;
        let metrics = proxy.views.iter().map(ShardView::metrics);
        let oldest_us = metrics.filter_map(|m| m.oldest_unfinished_us()).min();
        proxy.journals.tick(oldest_us, unsigned(now_us));
        let limit = twinring::limits::PENDING_MIRROR_PER_SHARD_BYTES as u64;
        for view in &proxy.views {
            let bytes = view.metrics().gauge(Gauge::PendingBytes);
            assert!(bytes <= limit + (1 << 20), "{bytes} bytes wait in memory");
        }
        self.keep();
        self.write_back();
        self.turn_ring();
    }

    /// The target's ring changes, at any time and to any other: writes that were on their way to
    /// one node are followed by others to another, and no order may suffer.
    fn turn_ring(&mut self) {
        let count = self.clusters[TARGET].nodes.len();
        let rng = &mut self.rings;
        let Some(proxy) = self.proxy.as_mut().filter(|_| count > 1 && rng.chance(500)) else {
            return;
        };
        let kept = rng.below(count); // the others come and go
        let (near, far): (Vec<_>, Vec<_>) =
            (0..count).partition(|node| *node == kept || rng.chance(800));
        let tokens = if rng.chance(900) { 8 } else { 0 }; // 0: another partitioner
        let all = (0..near.len() * tokens).map(|n| (rng.next().cast_signed(), n / tokens));
        let mut ring: Vec<_> = all.collect();
        ring.sort_unstable();
        let addresses = |nodes: Vec<usize>| {
            let all = nodes.into_iter().map(|node| Cluster::address(TARGET, node));
            all.collect()
        };
        self.core
            .note(|| format!("the target's ring is of {near:?} now"));
        let nodes = Arc::new(Nodes {
            near: addresses(near),
            far: addresses(far),
            ring,
            centers: Vec::new(),
        });
        for address in &proxy.addresses {
            address.tell(Message::Nodes(Arc::clone(&nodes)));
        }
        self.see_wakeups();
    }

    /// The process is told to stop.
    pub fn tell_to_stop(&mut self) {
        let Some(proxy) = &mut self.proxy else {
            return;
        };
        proxy.stopping = true;
        owners::forget(&self.config.data_dir);
        for address in &proxy.addresses {
            address.tell(Message::Stop);
        }
        self.disturb();
        self.see_wakeups();
    }

    /// A process whose shards are all through ends.
    fn end_if_through(&mut self) {
        let through = |proxy: &mut Proxy| proxy.slots.iter().all(|slot| slot.through);
        if let Some(mut proxy) = self.proxy.take_if(through) {
            assert!(!self.disk.is_writing(), "it ends before its files do");
            while let Ok(ask) = proxy.asked.try_recv() {
                if let Ask::Dropping(note) = ask {
                    proxy.keeper.hear(note);
                }
            }
            drop(proxy.slots);
            self.stamps_us = self.core.proxy_now_us() + STAMPS_RESERVE_US;
            proxy.keeper.end().unwrap();
            proxy.journals.end(true);
            self.core.note(|| "the proxy has stopped".to_owned());
            self.cut_off();
        }
    }

    /// The proxy is told to stop, and does.
    ///
    /// # Errors
    /// It does not.
    pub fn stop(&mut self) -> Result<(), String> {
        self.tell_to_stop();
        let end_us = self.core.now_us + 120_000_000;
        while self.proxy.is_some() {
            if self.core.now_us > end_us || !self.step() {
                return Err(format!("the proxy does not stop: {}", self.owed()));
            }
        }
        Ok(())
    }
}
