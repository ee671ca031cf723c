//! `twinring proxy`: starts the shards and the admin thread, waits for a signal, drains, ends.

mod certificates;
pub mod journals;
pub mod keeper;
pub mod owners;
mod refusals;
pub mod setup;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::certificates::Certificates;
use self::journals::{Journals, Start};
use self::keeper::Keeper;
use self::refusals::Refusals;
use self::setup::Prepared;
use crate::admin;
use crate::config::{Credentials, ProxyConfig, Secret};
use crate::metrics::{Facts, ShardMetrics, ShardView};
use crate::shard::inbox::{Address, Ask, Message};
use crate::shard::time::{Followed, STAMPS_RESERVE_US, TimeBase};
use crate::shard::{self, Host, ShardError};
use crate::spill::Keys;
use crate::spill::dir::{SpillDir, replace_file};
use crate::spill::dirty::Windows;
use crate::sys::executor::{self, ExecutorConfig, ExecutorThread};
use crate::sys::{machine, socket};
use crate::watch::{self, Watch};

/// The file that keeps stamps from going back over a restart.
const STAMPS_FILE: &str = "stamps";
/// Connections that may wait for being accepted, per shard.
const BACKLOG: u32 = 4_096;
/// Longest wait of glommio's own business.
const EXECUTOR_TICK: Duration = Duration::from_millis(10);
/// How often the shards' questions are looked at.
const QUESTION_INTERVAL: Duration = Duration::from_millis(100);

/// A clock that was set back by more than this is reported (µs).
const CLOCK_BACK_US: i64 = 1_000_000;

type Thread = ExecutorThread<Result<(), ShardError>>;

/// Runs until SIGTERM or SIGINT, and until everything in flight is on the target or in the spill.
///
/// # Errors
/// What keeps it from starting, or a shard that failed.
pub fn run(mut config: ProxyConfig) -> anyhow::Result<()> {
    // glommio opens a folder by a relative path relative to no folder (EBADF)
    config.data_dir = std::path::absolute(&config.data_dir)?;
    let config = Arc::new(config);
    let keys = config.spill_key_file.as_deref().map(Keys::load);
    let keys = keys.transpose().context("--spill-key-file")?;
    let spill = SpillDir::open_or_create(&config.data_dir)?.with_keys(keys.unwrap_or_default());
    let stamps = config.data_dir.join(STAMPS_FILE);
    let floor_us = read_stamps(&stamps)?;
    let time = TimeBase::start(floor_us);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // before the first client: from then on a signal must not end it without a drain
    let signals = {
        let _context = runtime.enter();
        Signals::catch()?
    };
    let mut running = Running::start(&config, &spill, &time, floor_us)?;
    let supervised = running.supervise(&config, &time, &stamps, signals);
    let result = runtime.block_on(supervised);
    runtime.shutdown_background(); // a question to the target's bundle may not be answered yet
    running.end(&config, &time, &stamps).and(result)
}

/// What ends the process, and what has it read its certificates anew.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Those that come from now on, also before anybody asks.
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The threads of a running proxy.
struct Running {
    shards: Vec<Option<Thread>>,
    addresses: Vec<Address>,
    admin: Option<admin::Admin>,
    asked: crossbeam_channel::Receiver<Ask>,
    keeper: Keeper,
    refusals: Refusals,
    certificates: Certificates,
    counters: Vec<Arc<ShardMetrics>>,
    journals: Journals,
}

impl Running {
    fn start(
        config: &Arc<ProxyConfig>,
        spill: &SpillDir,
        time: &TimeBase,
        floor_us: i64,
    ) -> anyhow::Result<Self> {
        let Prepared {
            mut setups,
            addresses,
            views,
            asked,
        } = setup::prepare(config, spill, floor_us, &mut random)?;
        let mut windows = Windows::load(&config.data_dir)?;
        windows.close_open(now_us(time)); // a process that died has left them open
        let start = Start {
            now_us: now_us(time),
            boot: &machine::boot_id(),
        };
        let journals = Journals::open(config, &mut setups, &mut windows, start)?;
        let keeper = Keeper::start(config, windows);
        let certificates = Certificates::load(config)?;
        let mut running = Self {
            shards: Vec::new(),
            addresses,
            admin: None,
            asked,
            keeper,
            refusals: Refusals::default(),
            certificates,
            counters: views.iter().map(ShardView::shared).collect(),
            journals,
        };
        for (mut setup, core) in setups.into_iter().zip(&config.cores) {
            setup.tls = running.certificates.material().clone();
            let index = setup.index;
            let listener = socket::listen_shared(config.listen, BACKLOG)
                .with_context(|| format!("failed to listen on {}", config.listen))?;
            let host = Host {
                listener,
                time: time.clone(),
            };
            let executor = ExecutorConfig {
                name: format!("shard-{index}"),
                core: Some(*core),
                tick: EXECUTOR_TICK,
            };
            let thread = executor::spawn(&executor, move |glue| shard::run(setup, host, glue))
                .with_context(|| format!("failed to start shard {index} on core {core}"))?;
            running.shards.push(Some(thread));
        }
        running.start_admin(config, time, views)?;
        Ok(running)
    }

    fn start_admin(
        &mut self,
        config: &ProxyConfig,
        time: &TimeBase,
        views: Vec<ShardView>,
    ) -> anyhow::Result<()> {
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: config.source.identifier.clone(),
            target: config.target.identifier.clone(),
            started_us: u64::try_from(time.now_us()).unwrap_or_default(),
        };
        if let Some(listen) = config.admin {
            let points = config.source.contact_points.clone();
            let started = admin::start(listen, points, facts, views);
            self.admin = Some(started.with_context(|| format!("failed to serve on {listen}"))?);
        }
        let shards = self.shards.len();
        tracing::info!(listen = %config.listen, shards, "ready for clients");
        Ok(())
    }

    /// Returns when a signal came or a shard has ended.
    async fn supervise(
        &mut self,
        config: &ProxyConfig,
        time: &TimeBase,
        stamps: &Path,
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut questions = tokio::time::interval(QUESTION_INTERVAL);
        let addresses = self.addresses.clone();
        let watch = Watch::start(config, self.certificates.material(), move |news| {
            for (shard, address) in addresses.iter().enumerate() {
                address.tell(match &news {
                    watch::News::Tables(known) => Message::Tables(Arc::clone(known)),
                    watch::News::Nodes(nodes) => Message::Nodes(Arc::clone(nodes)),
                    watch::News::Points(points) => Message::Points(Arc::clone(points)),
                    watch::News::Agreed(_) if shard > 0 => continue, // shard 0 has asked
                    watch::News::Agreed(question) => Message::Agreed(*question),
                });
            }
        });
        let mut clock_is_back = false;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => self.certificates.renew(&self.addresses, &watch),
                _ = questions.tick() => self.answer(Some(&watch)),
                _ = tick.tick() => {
                    report_clock(time.follow(), &mut clock_is_back);
                    write_stamps(stamps, time);
                    self.tend_journals(time);
                    self.certificates.tick(&self.addresses, &watch);
                    self.check()?;
                }
            }
        }
        let timeout_s = config.drain_timeout.as_secs();
        tracing::info!(
            timeout_s,
            "stopping: no new clients, finishing what is in flight"
        );
        Ok(())
    }

    fn tend_journals(&mut self, time: &TimeBase) {
        let oldest_us = self
            .counters
            .iter()
            .filter_map(|shard| shard.oldest_unfinished_us());
        let oldest_us = oldest_us.min();
        self.journals.tick(oldest_us, now_us(time));
    }

    /// A shard that has ended by itself has failed: the whole process ends then, since clients on
    /// it would hang. What the others have in memory is drained first.
    fn check(&mut self) -> anyhow::Result<()> {
        for (index, slot) in self.shards.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(ExecutorThread::is_finished)
                && let Some(thread) = slot.take()
            {
                joined(index, thread)?;
                return Err(anyhow!("shard {index} has ended"));
            }
        }
        Ok(())
    }

    /// Hands on what the shards ask for. `watch`: who knows the tables, while somebody does.
    fn answer(&mut self, watch: Option<&Watch>) {
        while let Ok(ask) = self.asked.try_recv() {
            self.hear(ask, watch);
        }
        self.keeper.tick(&self.addresses);
    }

    fn hear(&mut self, ask: Ask, watch: Option<&Watch>) {
        match (ask, watch) {
            (Ask::Login(login), Some(watch)) => {
                let text = |bytes: Box<[u8]>| String::from_utf8(bytes.into());
                // Cassandra's own authenticator knows texts only
                if let (Ok(username), Ok(password)) = (text(login.user), text(login.password)) {
                    let password = Secret::new(password);
                    watch.login(&Credentials { username, password });
                }
            }
            (Ask::Tables, Some(watch)) => watch.look(),
            (Ask::Agreement(question), Some(watch)) => watch.agree(question),
            (Ask::Dropping(note), _) => self.keeper.hear(note),
            (Ask::Name(refused), _) => self.refusals.name(&refused),
            (Ask::Login(..) | Ask::Tables | Ask::Agreement(_), None) => {}
        }
    }

    /// Waits until the shards have ended, and goes on to answer them.
    fn wait(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for index in 0..self.shards.len() {
            while self.shards[index]
                .as_ref()
                .is_some_and(|s| !s.is_finished())
            {
                self.answer(None);
                if let Ok(ask) = self.asked.recv_timeout(QUESTION_INTERVAL) {
                    self.hear(ask, None);
                }
            }
            if let Some(thread) = self.shards[index].take() {
                result = joined(index, thread).and(result);
            }
        }
        self.answer(None);
        result
    }

    fn end(mut self, config: &ProxyConfig, time: &TimeBase, stamps: &Path) -> anyhow::Result<()> {
        if let Some(admin) = &self.admin {
            admin.draining();
        }
        owners::forget(&config.data_dir);
        for address in &self.addresses {
            address.tell(Message::Stop);
        }
        let result = self.wait();
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        write_stamps(stamps, time);
        let result = self.keeper.end().and(result);
        self.journals.end(result.is_ok());
        if result.is_ok() {
            let data = config.data_dir.display();
            tracing::info!(%data, "stopped: nothing is left in memory");
        }
        result
    }
}

/// Now, µs since 1970.
fn now_us(time: &TimeBase) -> u64 {
    u64::try_from(time.now_us()).unwrap_or_default()
}

/// Says once that the clock was set, and once that a clock set back has been caught up with.
fn report_clock(found: Followed, is_back: &mut bool) {
    let Followed {
        stepped_us,
        behind_us,
    } = found;
    if stepped_us > 0 {
        tracing::warn!(stepped_us, "the clock was set forward; stamps follow");
    }
    if behind_us > CLOCK_BACK_US && !*is_back {
        *is_back = true;
        tracing::warn!(
            behind_us,
            "the clock was set back; stamps do not follow, and win over those of clients with the \
             right time until it has caught up"
        );
    } else if behind_us <= CLOCK_BACK_US && *is_back {
        *is_back = false;
        tracing::info!("the clock has caught up with the stamps");
    }
}

/// Waits for the end of a shard; an error if it failed.
fn joined(index: usize, thread: Thread) -> anyhow::Result<()> {
    let ended = thread.join().map_err(|error| anyhow!(error));
    ended
        .and_then(|ended| ended.map_err(|error| anyhow!(error)))
        .with_context(|| format!("shard {index} has failed"))
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// The highest stamp that an earlier process may have given (µs).
fn read_stamps(path: &Path) -> anyhow::Result<i64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().with_context(|| {
            format!(
                "{} does not hold a number; delete it if the clock is right",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// Reserves the next seconds of stamps.
fn write_stamps(path: &Path, time: &TimeBase) {
    let reserved_us = time.now_us() + STAMPS_RESERVE_US;
    if let Err(error) = replace_file(path, format!("{reserved_us}\n").as_bytes()) {
        tracing::warn!("the stamps' high-water mark cannot be written: {error}");
    }
}
