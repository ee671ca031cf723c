//! What a shard begins with.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::barrier::Barriers;
use super::clients::Clients;
use super::commit::Commit;
use super::connection::SpareBuffers;
use super::discovery::Agreement;
use super::disk::Disk;
use super::drain::{Drain, Inherited};
use super::inbox::{Ask, Inbox};
use super::lanes::Lanes;
use super::readback::ReadBack;
use super::remote::{Remote, RemoteConfig};
use super::seats::Seats;
use super::spiller::Spiller;
use super::{Earlier, Shard, Unsettled, full, secured};
use crate::config::{self, ProxyConfig};
use crate::cql::{Consistency, Version};
use crate::journal::Journal;
use crate::limits;
use crate::metrics::{Gauge, Recorder};
use crate::relay::Common;
use crate::relay::clock::StampClock;
use crate::relay::functions::Generator;
use crate::relay::link::Credentials;
use crate::relay::mirror::RetryPolicy;
use crate::relay::output::Tally;
use crate::relay::plan::{MirrorDdl, PlanCache, Rules};
use crate::relay::registry::Registry;
use crate::relay::spare::SpareWrites;
use crate::relay::wanted::Wanted;
use crate::side::Side;
use crate::spill::append::WriterConfig;
use crate::spill::dir::ShardDir;
use crate::spill::{Holds, SegmentWriter};
use crate::sys::ring::{SocketId, Spin};
use crate::sys::scheduling;
use crate::tls::Material;

/// At the source, for writes whose fate is unknown: one that fails each time is tried for 3 to 8
/// minutes, as its node is given rests meanwhile.
const RESOLVER_RETRIES: RetryPolicy = RetryPolicy {
    retries: 100,
    first_pause_us: 50_000,
    longest_pause_us: 2_000_000,
};

/// At the target: what fails more often than this waits in the spill.
const TARGET_RETRIES: RetryPolicy = RetryPolicy {
    retries: 4,
    ..RESOLVER_RETRIES
};

/// What a shard is started with.
pub struct Setup {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Among how many of them, from the first, tables whose writes keep an order are dealt out.
    pub owners: usize,
    /// Earlier processes left writes, in the spill or in their journals.
    pub left_over: bool,
    /// What the operator wants.
    pub config: Arc<ProxyConfig>,
    /// What other shards tell it.
    pub inbox: Inbox,
    /// Takes its questions to the control plane; what does not fit is asked again later.
    pub asks: crossbeam_channel::Sender<Ask>,
    /// Room for clients, shared by all.
    pub seats: Seats,
    /// What it counts.
    pub recorder: Recorder,
    /// Its directory in the spill.
    pub dir: ShardDir,
    /// The first segment that it may write, of the backlog and of what is rejected.
    pub first_segments: (u64, u64),
    /// Writes that earlier processes put aside: refused by the target, and in doubt.
    pub kept: (u64, u64),
    /// What earlier processes left for it to drain, its own directory first.
    pub inherited: Vec<Inherited>,
    /// Its journal.
    pub journal: Journal,
    /// The journal's file, if writes must be on the disk before clients are told of them.
    pub journal_file: Option<Arc<File>>,
    /// What earlier processes left in their journals for it to settle, by arrival.
    pub unsettled: Vec<Unsettled>,
    /// Schema changes among them, of all shards.
    pub changes: Vec<Earlier>,
    /// Random id of this process.
    pub instance: u64,
    /// TLS on all sides.
    pub tls: Material,
    /// No stamp at or below it (µs).
    pub stamp_floor_us: i64,
    /// Random; differs between shards.
    pub seed: [u8; 32],
}

impl Shard {
    /// A shard that has not begun; clients come in through `listener`.
    #[must_use]
    pub fn new(setup: Setup, listener: SocketId, disk: Box<dyn Disk>, now_us: i64) -> Self {
        let (first_backlog, first_rejected) = setup.first_segments;
        let backlog = spiller(&setup, Holds::Backlog, first_backlog);
        let rejects = spiller(&setup, Holds::Rejected, first_rejected);
        let config = setup.config;
        let (target, resolver) = remotes(&config, &setup.seed, now_us);
        setup.recorder.set(Gauge::RejectedHeld, setup.kept.0);
        setup.recorder.set(Gauge::InDoubtHeld, setup.kept.1);
        let mut shard = Self {
            index: setup.index,
            count: setup.count,
            table_owners: setup.owners,
            now_us,
            common: common(setup.seed, setup.stamp_floor_us, setup.journal, &config),
            clients: Clients::new(&config, setup.seats),
            tls: secured::Tls::new(&setup.tls),
            owners: Vec::new(),
            listener: Some(listener),
            target,
            resolver,
            spiller: backlog,
            rejects,
            drain: Drain::new(
                setup.inherited,
                config
                    .spill
                    .drain_rate_of(setup.index, setup.count, setup.owners),
            ),
            disk,
            barriers: Barriers::default(),
            lanes: Lanes::new(setup.left_over),
            readback: ReadBack::new(setup.index, now_us),
            changes: std::collections::VecDeque::new(),
            agreement: Agreement::default(),
            outputs: Vec::new(),
            remote_events: Vec::new(),
            inbox: setup.inbox,
            asks: setup.asks,
            recorder: setup.recorder,
            spare: SpareBuffers::default(),
            holding: false,
            named: super::refused::Named::default(),
            full: full::Full::default(),
            inherited_bytes: 0,
            age_told: 0,
            journal_full: false,
            commit: Commit::new(setup.journal_file),
            stop_wanted: false,
            stop_at_us: None,
            parting: std::collections::VecDeque::new(),
            backlog_records: 0,
            carried_records: 0,
            sealed_us: 0,
            next_tick_us: now_us,
            stepped_us: 0,
            config,
        };
        shard.renew_tls(&setup.tls);
        for change in &setup.changes {
            shard.hold(change.id, (*change.keyspace).into(), change.arrived_us);
        }
        shard.barriers.earlier = setup.changes;
        shard.settle(setup.unsettled);
        shard
    }
}

/// Whether the shard's thread, which calls this, looks for work before it sleeps.
pub(super) fn spin(setup: &Setup) -> Spin {
    let wanted = match setup.config.busy_poll {
        None => Spin::Thrifty,
        Some(Duration::ZERO) => return Spin::Never,
        Some(window) => Spin::Always(window),
    };
    if !scheduling::is_throttled() {
        return wanted;
    }
    if setup.index == 0 && setup.config.busy_poll.is_some() {
        tracing::warn!(
            "--busy-poll-us has no effect: with a real-time priority a thread that never sleeps is \
             stopped for 50 ms of each second; `sysctl -w kernel.sched_rt_runtime_us=-1` ends that"
        );
    }
    Spin::Never
}

fn common(seed: [u8; 32], stamp_floor_us: i64, journal: Journal, config: &ProxyConfig) -> Common {
    Common {
        clock: StampClock::new(stamp_floor_us),
        plans: PlanCache::new(rules(config), limits::CLASSIFIED_PER_SHARD_BYTES),
        registry: Registry::new(limits::PREPARED_PER_SHARD, limits::PREPARED_PER_SHARD_BYTES),
        generator: Generator::new(seed),
        journal,
        tally: Tally::default(),
        max_body_bytes: config.clients.max_envelope_bytes,
        spare: SpareWrites::default(),
        scratch: Vec::new(),
        scratch_frame: Vec::new(),
    }
}

fn spiller(setup: &Setup, holds: Holds, first_segment: u64) -> Spiller {
    let config = WriterConfig {
        limit_bytes: setup.config.spill.segment_bytes,
        ..WriterConfig::new(holds, setup.dir.shard, setup.instance, first_segment)
    };
    let writer = SegmentWriter::new(config).with_keys(setup.dir.keys.clone());
    Spiller::new(setup.dir.clone(), holds, writer)
}

/// The shard's own connections to the target, and to the source for writes whose fate is unknown.
fn remotes(config: &ProxyConfig, seed: &[u8; 32], now_us: i64) -> (Remote, Remote) {
    let seed = seed
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first));
    let spoken = |own: &config::Credentials| Credentials {
        user: own.username.as_bytes().into(),
        password: own.password.reveal().as_bytes().into(),
    };
    let discovery = config.discovery.as_ref();
    let names_center = discovery.and_then(|wanted| wanted.data_center.as_ref());
    let target = RemoteConfig {
        side: Side::Target,
        contact_points: config.target.contact_points.clone(),
        names: config.target.names.clone(),
        credentials: config.target_credentials.as_ref().map(spoken),
        newest: match config.mirror.v5 {
            true => Version::V5,
            false => Version::V4,
        },
        level: config.mirror.level.and_then(Consistency::from_number),
        in_flight: config.mirror.in_flight,
        linger: config.mirror.linger,
        seed,
        waits_for_nodes: names_center.is_some(),
    };
    let resolver = RemoteConfig {
        side: Side::Source,
        contact_points: config.source.contact_points.clone(),
        names: config.source.names.clone(),
        credentials: config.source_credentials.as_ref().map(spoken),
        newest: Version::V4, // nothing that is asked here needs more
        level: None,
        in_flight: 64,
        linger: Duration::ZERO,
        seed: !seed,
        waits_for_nodes: false,
    };
    (
        Remote::new(target, TARGET_RETRIES, now_us),
        Remote::new(resolver, RESOLVER_RETRIES, now_us),
    )
}

fn rules(config: &ProxyConfig) -> Rules {
    Rules {
        mirror_ddl: match config.mirror.ddl {
            config::MirrorDdl::None => MirrorDdl::None,
            config::MirrorDdl::Tables => MirrorDdl::Tables,
            config::MirrorDdl::All => MirrorDdl::All,
        },
        replication: config.mirror.replication.clone(),
        filter: config.mirror.filter.clone(),
        wanted: Wanted::new(&config.mirror.include, &config.mirror.exclude),
    }
}
