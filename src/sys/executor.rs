//! How our ring lives inside a glommio executor.
//!
//! The executor's only busy task is the shard's loop, which sleeps in [`Ring::wait`], so glommio
//! itself never does: that task is always ready when it is not running. glommio looks at its own
//! rings (submits what its tasks have asked for, takes what has completed, looks after its timers)
//! only when it leaves the run of its tasks, and [`Glue::turn`] makes it do so by ringing its bell,
//! the eventfd with which other threads wake an executor. It rings
//!
//! - when the shard has spawned a task,
//! - when a ring of the executor has news: our ring watches them,
//! - and once a *tick* for the rest: timers, and what glommio does on a thread of its own (rename,
//!   remove). Those are up to a tick late.
//!
//! While there are no other tasks it is left alone: to look through everything takes it 0.1 ms,
//! which in each tick would be a hundredth of the core, and a delay for one request in a hundred.
//!
//! # Why not its preemption timer
//! glommio arms it before it runs its tasks, and its expiry also ends the run. But when the thread
//! loses the processor for longer than the timer between the arming and the first task, glommio
//! 0.9 runs none, takes that for having nothing to run, and sleeps beside its ready tasks: for ever
//! if no timer or operation of its own is left. A starved machine does that. Of 800 pauses of
//! 1.5 ms at arbitrary instructions, with a timer of 1 ms, 40 ended in such a sleep, and three of
//! five runs in one without end (in `io_uring_enter` on glommio's main ring). So the timer is set
//! to an hour. The bell is harmless at any moment: glommio does not sleep when it has rung.
//!
//! glommio does not tell which descriptors are its own. [`spawn`] finds them: those that appear in
//! the process while an executor is being built. Builds, and the making of our own rings, exclude
//! each other for that; and a bell is known by what ringing it does.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Arc, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement,
    ReactorErrorKind,
};

use super::ring::Ring;

/// The least that glommio takes for registered memory; it is for DmaFile, which is not used.
const REGISTERED_BYTES: usize = 64 * 1024;

/// glommio's preemption timer, which shall not expire; see the [module](self).
const PREEMPTION: Duration = Duration::from_secs(3600);

/// An executor to be.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The thread's name.
    pub name: String,
    /// The core that the thread is bound to; `None`: any.
    pub core: Option<usize>,
    /// The longest time that glommio's timers, and what it does on other threads, wait: 1 to 100 ms
    /// (what is outside is moved to the nearer end).
    pub tick: Duration,
}

/// Why an executor did not start, or how it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The limit of locked memory is too low for glommio.
    #[error(
        "the limit of locked memory is {limit_bytes} bytes, glommio wants {needed_bytes}: run \
         `ulimit -l unlimited`, or set `LimitMEMLOCK=infinity` in the unit file"
    )]
    LockedMemory {
        /// What the limit is.
        limit_bytes: u64,
        /// What it must be.
        needed_bytes: u64,
    },
    /// The machine (or the set of cores given to us) has no such core.
    #[error("there is no core {core} here: see `nproc` and `taskset -p $$`")]
    NoSuchCore {
        /// The core that was asked for.
        core: usize,
    },
    /// The rings of the executor cannot be told from others.
    #[error("failed to find the executor's descriptors in /proc/self/fd: {0}")]
    Rings(#[source] io::Error),
    /// The executor's thread panicked.
    #[error("the thread panicked")]
    Panicked,
    /// Anything else that glommio says.
    #[error("glommio: {0}")]
    Other(String),
}

/// A running executor.
#[derive(Debug)]
pub struct ExecutorThread<T: Send + 'static> {
    handle: ExecutorJoinHandle<io::Result<T>>,
    core: Option<usize>,
    /// Gone when the task has ended, however it did.
    alive: Weak<()>,
}

impl<T: Send + 'static> ExecutorThread<T> {
    /// Whether its task has ended, well or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.alive.strong_count() == 0
    }

    /// Waits for the end of its task.
    ///
    /// # Errors
    /// When the task panicked.
    pub fn join(self) -> Result<T, ExecutorError> {
        let ended = self
            .handle
            .join()
            .map_err(|error| name_error(error, self.core))?;
        ended.map_err(ExecutorError::Rings)
    }
}

/// Starts an executor on a thread of its own; `task` is its main task. Returns when the task has
/// started.
///
/// # Errors
/// When glommio cannot start it; see [`ExecutorError`].
pub fn spawn<G, F, T>(config: &ExecutorConfig, task: G) -> Result<ExecutorThread<T>, ExecutorError>
where
    G: FnOnce(Glue) -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let placement = config.core.map_or(Placement::Unbound, Placement::Fixed);
    let tick = config
        .tick
        .clamp(Duration::from_millis(1), Duration::from_millis(100));
    let (started, wait_for_start) = mpsc::channel();
    let lives = Arc::new(());
    let alive = Arc::downgrade(&lives);

    let _building = building();
    let before = descriptors().map_err(ExecutorError::Rings)?;
    let executor = LocalExecutorBuilder::new(placement)
        .name(&config.name)
        .io_memory(REGISTERED_BYTES)
        .preempt_timer(PREEMPTION)
        .spawn(move || async move {
            let glue = Glue::find(&before, tick);
            // The other end waits for this, holding the lock.
            let _ = started.send(());
            drop(started);
            let ended = match glue {
                Ok(glue) => Ok(task(glue).await),
                Err(error) => Err(error),
            };
            drop(lives);
            ended
        })
        .map_err(|error| name_error(error, config.core))?;
    let thread = ExecutorThread {
        handle: executor,
        core: config.core,
        alive,
    };
    match wait_for_start.recv() {
        Ok(()) => Ok(thread),
        // The sender is gone, so the thread ended before its task began; it says why.
        Err(mpsc::RecvError) => match thread.join() {
            Ok(_) => Err(ExecutorError::Other("ended before it began".to_owned())),
            Err(error) => Err(error),
        },
    }
}

/// What is waited for besides the ring, at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The loop shall turn once more when the tick is over.
    Tick,
    /// There are other tasks, which wait for their operations or timers.
    Tasks,
    /// There are tasks that were spawned, or woken, in this turn.
    Ready,
}

/// The executor's side of the pact; see the [module](self).
#[derive(Debug)]
pub struct Glue {
    rings: Vec<OwnedFd>,
    /// Makes the executor look at its rings.
    bell: File,
    /// Becomes readable when a tick is over, and the next one begins when it is read.
    ticker: File,
    /// It may wait for being read.
    silent: Cell<bool>,
}

impl Glue {
    /// Makes `ring` watch the rings of this executor. Once per ring.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn attach(&self, ring: &mut Ring) -> io::Result<()> {
        ring.watch_executor(self.ticker.as_fd())?;
        self.rings
            .iter()
            .try_for_each(|own| ring.watch_executor(own.as_fd()))
    }

    /// Once per turn of the loop, after the events: lets glommio work if it has reason to.
    ///
    /// # Errors
    /// Those of [`Ring::submit`].
    pub async fn turn(&self, ring: &mut Ring, need: Need) -> io::Result<()> {
        // Every completion on its rings stirs, also those that it has long seen by itself.
        let stirred = ring.take_executor_stirred();
        self.silent.set(self.silent.get() || stirred);
        // It ticks again when it has been read.
        let ticked = need != Need::Nothing && self.silent.take() && self.has_ticked();
        let has_work = match need {
            Need::Nothing | Need::Tick => false,
            Need::Tasks => ticked || (stirred && any_readable(&self.rings)),
            Need::Ready => true,
        };
        if has_work {
            // What waits in the queue shall not wait for the other tasks.
            ring.submit()?;
            // The executor looks at its rings, those run whom it woke, and it submits what they
            // have asked for.
            self.look().await;
            glommio::executor().yield_task_queue_now().await;
            self.look().await;
        }
        Ok(())
    }

    /// Returns after the executor has looked at its rings, before those run whom it woke.
    async fn look(&self) {
        ring_bell(&self.bell);
        glommio::executor().yield_task_queue_now().await;
    }

    fn has_ticked(&self) -> bool {
        (&self.ticker).read(&mut [0; 8]).is_ok()
    }

    fn find(before: &HashMap<Descriptor, RawFd>, tick: Duration) -> io::Result<Glue> {
        let mut rings = Vec::new();
        let mut bell = None;
        for (descriptor, number) in descriptors()? {
            if before.contains_key(&descriptor) {
                continue;
            }
            // SAFETY: `descriptors` found it open. The executor keeps its own open while it runs
            // this; of another thread's it may be too late, which the kernel says.
            let found = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned();
            match descriptor {
                Descriptor::Ring(_) => rings.push(found?),
                Descriptor::Event(_) => bell = bell.or(found.ok().map(File::from).filter(is_bell)),
            }
        }
        match bell {
            Some(bell) if !rings.is_empty() => Ok(Glue {
                rings,
                bell,
                ticker: ticker(tick)?,
                silent: Cell::new(true),
            }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn ring_bell(bell: &File) {
    let mut bell = bell;
    // It fails only when 2^64 - 1 have not been heard.
    let _ = bell.write(&1u64.to_ne_bytes());
}

/// Whether it is the one that this executor listens to: it wants its tasks to step aside then. An
/// eventfd that another thread just made is rung in vain, and its owner looks once more.
fn is_bell(event: &File) -> bool {
    ring_bell(event);
    glommio::executor().need_preempt()
}

/// A descriptor that becomes readable once a `period`.
fn ticker(period: Duration) -> io::Result<File> {
    // SAFETY: takes no memory.
    let descriptor = unsafe {
        libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and known to nobody else.
    let ticker = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let period = libc::timespec {
        tv_sec: period.as_secs().try_into().unwrap_or(1),
        tv_nsec: period.subsec_nanos().into(),
    };
    let times = libc::itimerspec {
        it_interval: period,
        it_value: period,
    };
    // SAFETY: `times` is valid for the call to read, and it asks for nothing back.
    let set =
        unsafe { libc::timerfd_settime(ticker.as_raw_fd(), 0, &raw const times, ptr::null_mut()) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ticker)
}

/// Whether one of the rings has completions that were not looked at.
fn any_readable(rings: &[OwnedFd]) -> bool {
    let mut polled: Vec<libc::pollfd> = rings
        .iter()
        .map(|own| libc::pollfd {
            fd: own.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    // SAFETY: the array is valid for `count` elements; a timeout of zero does not wait.
    unsafe { libc::poll(polled.as_mut_ptr(), count, 0) != 0 }
}

/// What an executor brings into the process, by what the kernel never gives twice: a number may be
/// used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Descriptor {
    /// An io_uring, by inode.
    Ring(u64),
    /// An eventfd, by the kernel's number for it.
    Event(u64),
}

/// The rings and eventfds of this process.
fn descriptors() -> io::Result<HashMap<Descriptor, RawFd>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let Some(number) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
        else {
            continue;
        };
        // Other threads open and close theirs meanwhile.
        let Ok(link) = fs::read_link(&path) else {
            continue;
        };
        let link = link.to_string_lossy();
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
            continue;
        };
        let field = |name| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
        };
        let descriptor = if link.contains("[io_uring]") {
            field("ino:").map(Descriptor::Ring)
        } else if link.contains("[eventfd]") {
            field("eventfd-id:").map(Descriptor::Event)
        } else {
            None
        };
        if let Some(descriptor) = descriptor {
            found.insert(descriptor, number);
        }
    }
    Ok(found)
}

fn name_error(error: GlommioError<()>, core: Option<usize>) -> ExecutorError {
    match error {
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit, needed)) => {
            ExecutorError::LockedMemory {
                limit_bytes: limit,
                needed_bytes: needed,
            }
        }
        GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { cpu }) => {
            ExecutorError::NoSuchCore { core: cpu }
        }
        GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_)) => ExecutorError::Panicked,
        // glommio passes on what sched_setaffinity(2) says.
        GlommioError::IoError(error) if error.raw_os_error() == Some(libc::EINVAL) => match core {
            Some(core) => ExecutorError::NoSuchCore { core },
            None => ExecutorError::Other(error.to_string()),
        },
        other => ExecutorError::Other(other.to_string()),
    }
}

/// Held while rings appear; see the [module](self).
#[expect(
    clippy::disallowed_types,
    reason = "held at the start only, before any shard runs"
)]
pub(super) fn building() -> MutexGuard<'static, ()> {
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // It guards no data that a panic could leave half done.
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
