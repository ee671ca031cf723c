//! How our ring lives inside a glommio executor.
//!
//! The executor's only busy task is the shard's loop, which sleeps in [`Ring::wait`], so glommio itself
//! never does. Two things keep its timers, files and channels going:
//!
//! - Its rings are watched by our ring. When one of them has news, [`Glue::turn`] steps aside.
//! - glommio arms its preemption timer whenever it hands the processor to a task. The timer expires on
//!   one of those rings, which makes us step aside once a *tick*; then glommio submits, and takes the
//!   completions of, whatever its tasks do. So a timer is up to two ticks late, and each operation on
//!   a file takes as long: good for few large ones.
//!
//! glommio does not tell which rings are its own. [`spawn`] finds them: those that appear in the
//! process while an executor is being built. Builds, and the making of our own rings, exclude each
//! other for that.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement,
    ReactorErrorKind,
};

use super::ring::Ring;

/// The least that glommio takes for registered memory; it is for DmaFile, which is not used.
const REGISTERED_BYTES: usize = 64 * 1024;

/// An executor to be.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The thread's name.
    pub name: String,
    /// The core that the thread is bound to; `None`: any.
    pub core: Option<usize>,
    /// The longest time that glommio's own business waits: 1 to 100 ms (what is outside is moved to
    /// the nearer end).
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
    #[error("failed to find the executor's rings in /proc/self/fd: {0}")]
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
    let before = rings().map_err(ExecutorError::Rings)?;
    let executor = LocalExecutorBuilder::new(placement)
        .name(&config.name)
        .io_memory(REGISTERED_BYTES)
        .preempt_timer(tick)
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

/// The executor's side of the pact; see the [module](self).
#[derive(Debug)]
pub struct Glue {
    rings: Vec<OwnedFd>,
    tick: Duration,
}

impl Glue {
    /// Makes `ring` watch the rings of this executor. Once per ring.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn attach(&self, ring: &mut Ring) -> io::Result<()> {
        self.guard_against_sleep();
        self.rings
            .iter()
            .try_for_each(|own| ring.watch_executor(own.as_fd()))
    }

    /// Once per turn of the loop, after the events: submits, and lets glommio work if it has reason
    /// to, or if `needs_yield` (a task was spawned, or woken, by this one).
    ///
    /// # Errors
    /// Those of [`Ring::submit`].
    pub async fn turn(&self, ring: &mut Ring, needs_yield: bool) -> io::Result<()> {
        // Every completion on its rings stirs, also those that it has long seen by itself.
        if needs_yield || (ring.take_executor_stirred() && any_readable(&self.rings)) {
            // What waits in the queue shall not wait for the other tasks.
            ring.submit()?;
            // First the executor looks at its rings, then those run whom it woke.
            for _ in 0..2 {
                glommio::executor().yield_task_queue_now().await;
            }
        }
        Ok(())
    }

    /// Keeps timers running, so that glommio cannot fall asleep for good.
    ///
    /// When the preemption timer expires before the executor has run its first task (the thread lost
    /// the processor for a tick), glommio 0.9 takes the tasks that are ready for none and goes to
    /// sleep, until a timer or an operation of its own wakes it; with neither, for ever. A timer that
    /// is due by then keeps it awake, and the longer ones end the sleep in case that the short one had
    /// just expired itself.
    fn guard_against_sleep(&self) {
        for period in [
            self.tick,
            self.tick * 3 / 2,
            self.tick * 10,
            self.tick * 150,
        ] {
            glommio::spawn_local(async move {
                loop {
                    glommio::timer::sleep(period).await;
                }
            })
            .detach();
        }
    }

    fn find(before: &HashMap<u64, RawFd>, tick: Duration) -> io::Result<Glue> {
        let rings = rings()?
            .into_iter()
            .filter(|(inode, _)| !before.contains_key(inode))
            .map(|(_, descriptor)| {
                // SAFETY: `rings` found it open, and the executor keeps it open while it runs this.
                unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
            })
            .collect::<io::Result<Vec<_>>>()?;
        if rings.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Glue { rings, tick })
    }
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

/// The io_uring descriptors of this process, by inode: a number may be used again, an inode is not.
fn rings() -> io::Result<HashMap<u64, RawFd>> {
    let mut rings = HashMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        // Other threads open and close theirs meanwhile.
        let (Ok(link), Ok(metadata)) = (fs::read_link(&path), fs::metadata(&path)) else {
            continue;
        };
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        if let (true, Some(number)) = (link.to_string_lossy().contains("[io_uring]"), number) {
            rings.insert(metadata.ino(), number);
        }
    }
    Ok(rings)
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
