//! An io_uring of our own for all sockets of a shard: multishot accept and receive into provided
//! buffers, sends that own their memory, syncs of one file, and one system call per turn of the
//! loop.
//!
//! ```text
//!   loop {
//!       ring.wait(timeout)?;                          // submits what is queued, sleeps
//!       while let Some(event) = ring.next_event() {   // no system call
//!           …  ring.send(…)  ring.close(…)            // queued
//!       }
//!   }
//! ```
//!
//! Rules of the house:
//! - Calls only queue; [`Ring::wait`] and [`Ring::submit`] hand the queue to the kernel.
//! - An id that was closed is ignored, and no event names it.
//! - Memory and descriptors that the kernel still uses are kept until it is done with them.
//! - The ring belongs to the thread that made it (`!Send`): the kernel insists (SINGLE_ISSUER).

mod buffers;
mod complete;
mod error;
mod event;
mod kernel;
mod send;
mod sockets;
mod spin;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types};

use self::buffers::Buffers;
use self::kernel::Kernel;
use self::send::Quiet;
use self::sockets::{Intake, Kind, Payload, Sockets};
use self::spin::Spinning;
use super::{scheduling, socket};

pub use self::error::RingError;
pub use self::event::{Event, SocketId};
pub use self::spin::Spin;

/// How long a listener rests after the process or the machine ran out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a dropped ring waits for the kernel to let go of its memory.
const QUIESCE_LIMIT: Duration = Duration::from_secs(1);

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Operations that can be queued between two system calls without an extra one: 1 to 32768.
    pub submission_entries: u32,
    /// Completions that fit into the queue, more take a detour: 2 to 65536, at least
    /// `submission_entries`.
    pub completion_entries: u32,
    /// Receive buffers shared by all sockets: a power of two, 1 to 32768.
    pub buffers: u16,
    /// Size of each: 1 to 1 MiB.
    pub buffer_bytes: u32,
    /// Whether waits look for completions before they sleep.
    pub spin: Spin,
}

impl Default for RingConfig {
    /// 4 MiB of buffers of 16 KiB: few enough to stay in the processor's cache.
    fn default() -> RingConfig {
        RingConfig {
            submission_entries: 1024,
            completion_entries: 4096,
            buffers: 256,
            buffer_bytes: 16 * 1024,
            spin: Spin::Never,
        }
    }
}

impl RingConfig {
    fn check(&self) -> Result<(), RingError> {
        let out = |what, value, allowed| {
            Err(RingError::OutOfRange {
                what,
                value,
                allowed,
            })
        };
        if !(1..=32_768).contains(&self.submission_entries) {
            return out("submission_entries", self.submission_entries, "1 to 32768");
        }
        if !(self.submission_entries.max(2)..=65_536).contains(&self.completion_entries) {
            let allowed = "submission_entries to 65536";
            return out("completion_entries", self.completion_entries, allowed);
        }
        if !self.buffers.is_power_of_two() || self.buffers > 32_768 {
            return out("buffers", self.buffers.into(), "powers of two up to 32768");
        }
        if !(1..=1 << 20).contains(&self.buffer_bytes) {
            return out("buffer_bytes", self.buffer_bytes, "1 to 1048576");
        }
        Ok(())
    }
}

/// What an operation does; the top byte of its `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Connect = 4,
    Cancel = 5,
    Watch = 6,
    Sync = 7,
}

/// `user_data`: operation (8 bits), generation (24 bits), index (32 bits).
fn user_data(operation: Operation, id: SocketId) -> u64 {
    u64::from(operation as u8) << 56
        | u64::from(id.generation & 0xff_ffff) << 32
        | u64::from(id.index)
}

/// A descriptor under watch.
struct Watch {
    descriptor: OwnedFd,
    /// `None`: a ring of the executor that this ring lives in.
    token: Option<u32>,
}

/// See the [module](self).
pub struct Ring {
    /// First, so that it is dropped before the memory that it knows of.
    kernel: Kernel,
    buffers: Buffers,
    sockets: Sockets,
    watches: Vec<Watch>,
    /// The buffer that the last event showed.
    lent: Option<u16>,
    /// Events that did not come from the kernel.
    own: VecDeque<Event<'static>>,
    /// Listeners that rest, and until when.
    resting: Vec<(Instant, SocketId)>,
    /// Operations with the kernel, those on watches included.
    in_flight: usize,
    /// The file that is being synced.
    syncing: Option<Arc<File>>,
    /// Something happened on a ring of the executor.
    executor_stirred: bool,
    quiet: Quiet,
    spinning: Spinning,
    /// Not `Send`, not `Sync`.
    thread: PhantomData<*const ()>,
}

impl Ring {
    /// Makes a ring for the calling thread.
    ///
    /// # Errors
    /// When a size is out of range or the kernel refuses; see [`RingError`].
    pub fn new(config: &RingConfig) -> Result<Ring, RingError> {
        config.check()?;
        // While an executor is being built, rings that appear are taken to be its own.
        let _building = super::executor::building();
        let (submissions, completions) = (config.submission_entries, config.completion_entries);
        let mut kernel = Kernel::new(submissions, completions, config.spin != Spin::Never)?;
        let works =
            send::works(&mut kernel).map_err(|error| RingError::from_os("try a send", error))?;
        let buffers = Buffers::new(&kernel, config.buffers, config.buffer_bytes)?;
        Ok(Ring {
            kernel,
            buffers,
            sockets: Sockets::default(),
            watches: Vec::new(),
            lent: None,
            own: VecDeque::new(),
            resting: Vec::new(),
            in_flight: 0,
            syncing: None,
            executor_stirred: false,
            quiet: Quiet::new(works),
            spinning: Spinning::new(config.spin),
            thread: PhantomData,
        })
    }

    /// Starts accepting: [`Event::Accepted`] for each client.
    pub fn listen(&mut self, listener: TcpListener) -> SocketId {
        let descriptor = OwnedFd::from(listener);
        socket::set_blocking(&descriptor);
        let id = self.sockets.insert(descriptor, Kind::Listener);
        self.start_intake(id);
        id
    }

    /// Takes over a connected stream. Receiving starts with [`start_recv`](Self::start_recv).
    pub fn adopt(&mut self, stream: OwnedFd) -> SocketId {
        // The ring waits by itself; a non-blocking socket would make it report "try again".
        socket::set_blocking(&stream);
        self.sockets.insert(stream, Kind::Stream)
    }

    /// Starts connecting; [`Event::Connected`] says how it ended.
    ///
    /// # Errors
    /// When no socket can be made (out of descriptors, no such address family).
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<SocketId> {
        let stream = socket::new_stream(address)?;
        let id = self.sockets.insert(stream, Kind::Stream);
        let Some(slot) = self.sockets.open(id) else {
            return Ok(id);
        };
        let address = Box::new(socket2::SockAddr::from(address));
        let entry = opcode::Connect::new(slot.fd(), address.as_ptr().cast(), address.len()).build();
        slot.payload = Payload::Address(address);
        slot.connecting = true;
        self.push(Operation::Connect, id, entry);
        Ok(id)
    }

    /// Asks for bytes: [`Event::Received`] until [`pause_recv`](Self::pause_recv),
    /// [`Event::Eof`] or [`Event::Failed`]. Asking again changes nothing.
    pub fn start_recv(&mut self, id: SocketId) {
        if self
            .sockets
            .open(id)
            .is_some_and(|slot| slot.kind == Kind::Stream)
        {
            self.start_intake(id);
        }
    }

    /// Asks for no more bytes. What the kernel took from the socket before is still delivered; the
    /// rest stays there and makes the peer wait. Asking again changes nothing.
    pub fn pause_recv(&mut self, id: SocketId) {
        if self
            .sockets
            .open(id)
            .is_some_and(|slot| slot.kind == Kind::Stream)
        {
            self.stop_intake(id);
        }
    }

    /// Sends all of `buffer`; [`Event::Sent`] gives it back. One send per socket at a time: another
    /// one comes back with an error ([`io::ErrorKind::ResourceBusy`]).
    pub fn send(&mut self, id: SocketId, buffer: Vec<u8>) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        debug_assert!(
            !slot.sending && !slot.connecting,
            "one send per socket at a time"
        );
        if slot.sending || slot.connecting || buffer.is_empty() {
            let busy = slot.sending || slot.connecting;
            let result = if busy {
                Err(io::ErrorKind::ResourceBusy.into())
            } else {
                Ok(())
            };
            self.own.push_back(Event::Sent { id, buffer, result });
            return;
        }
        slot.payload = Payload::Bytes(buffer);
        slot.sent = 0;
        slot.sending = true;
        self.push_send(id, true);
    }

    /// Whether a send is under way: from `send` until its [`Event::Sent`]. That comes with what
    /// happens next; who asks and hears yes waits for it, and the next wait does not sleep if it is
    /// known by then.
    #[must_use]
    pub fn is_sending(&self, id: SocketId) -> bool {
        let Some(slot) = self.sockets.peek(id) else {
            return false;
        };
        if slot.quiet {
            self.quiet.await_it();
        }
        slot.sending
    }

    /// Tells the peer that nothing more will be sent. Call it after the last [`Event::Sent`]: it
    /// takes effect at once, not in the order of the queue.
    pub fn shutdown_write(&mut self, id: SocketId) {
        if let Some(descriptor) = self.sockets.open(id).and_then(|slot| slot.descriptor()) {
            socket::shutdown_write(descriptor);
        }
    }

    /// The descriptor of an open socket, for socket options and addresses.
    #[must_use]
    pub fn descriptor(&self, id: SocketId) -> Option<BorrowedFd<'_>> {
        self.sockets
            .peek(id)
            .and_then(|slot| slot.descriptor())
            .map(std::os::fd::AsFd::as_fd)
    }

    /// Ends a socket or listener: no further event names it. A send under way goes as far as the
    /// kernel takes it without waiting; descriptor and memory go when the kernel is done with them.
    pub fn close(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        slot.closing = true;
        let (listener, intake) = (slot.kind == Kind::Listener, slot.intake);
        let (sending, connecting, quiet) = (slot.sending, slot.connecting, slot.quiet);
        if intake == Intake::Armed {
            slot.intake = Intake::Cancelling;
            let intake = if listener {
                Operation::Accept
            } else {
                Operation::Receive
            };
            self.cancel(user_data(intake, id));
        }
        if quiet {
            self.quiet.await_it(); // the descriptor shall go soon
        } else if sending {
            self.cancel(user_data(Operation::Send, id));
        }
        if connecting {
            self.cancel(user_data(Operation::Connect, id));
        }
        self.resting.retain(|(_, resting)| *resting != id);
        self.own
            .retain(|event| !matches!(event, Event::Sent { id: sent, .. } if *sent == id));
        self.sockets.release_if_done(id.index);
    }

    /// Stops accepting; the listener stays bound, and clients queue up in its backlog until it is
    /// closed. Connections that the kernel accepted before are still delivered.
    pub fn stop_accept(&mut self, id: SocketId) {
        if self
            .sockets
            .open(id)
            .is_some_and(|slot| slot.kind == Kind::Listener)
        {
            self.stop_intake(id);
            self.resting.retain(|(_, resting)| *resting != id);
        }
    }

    /// Reports with [`Event::Readable`] and `token` when `descriptor` becomes readable, again and
    /// again, until the ring is dropped. Reading it is up to the receiver of the event.
    ///
    /// # Errors
    /// When the process is out of descriptors (the ring keeps a duplicate).
    pub fn watch(&mut self, descriptor: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        self.add_watch(descriptor, Some(token))
    }

    /// Brings what a file holds to the disk, as fdatasync(2) does, on a thread of the kernel's:
    /// [`Event::Synced`] says how it ended. One at a time: another
    /// ends at once with an error ([`io::ErrorKind::ResourceBusy`]).
    pub fn sync(&mut self, file: Arc<File>) {
        if self.syncing.is_none() {
            return self.push_sync(file);
        }
        let result = Err(io::ErrorKind::ResourceBusy.into());
        self.own.push_back(Event::Synced { result });
    }

    /// Watches a ring of the executor; see [`take_executor_stirred`](Self::take_executor_stirred).
    pub(super) fn watch_executor(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.add_watch(descriptor, None)
    }

    /// Whether something happened on a ring of the executor since the last call.
    pub(super) fn take_executor_stirred(&mut self) -> bool {
        mem::take(&mut self.executor_stirred)
    }

    /// Hands what is queued to the kernel without waiting; no system call if nothing is queued.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`. What was queued stays queued.
    pub fn submit(&mut self) -> io::Result<()> {
        self.kernel.submit()
    }

    /// Hands what is queued to the kernel and waits until something happened or `timeout` is over;
    /// how many completions are there to look at. Zero after a timeout or a signal.
    ///
    /// A timeout in the near future costs a timer interrupt to set up, which on a virtual machine
    /// is more than a small send: better to look at what is due whenever something else ends the
    /// wait.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)` that say that the ring is of no more use.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        if self.own.is_empty() && !self.quiet.is_awaited() {
            let timeout = self.wake_rested(timeout);
            self.look_or_sleep(timeout)?;
        } else {
            self.kernel.enter(0, None)?;
        }
        self.end_quiet_sends();
        Ok(self.kernel.ready() + self.own.len() + self.quiet.ended())
    }

    fn look_or_sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(window) = self.spinning.begin(scheduling::thread_time) else {
            return self.kernel.enter(1, timeout);
        };
        let until = Instant::now() + timeout.map_or(window, |limit| limit.min(window));
        if self.kernel.look(until)? {
            return Ok(());
        }
        let rest = timeout.map(|limit| limit.saturating_sub(window));
        self.kernel.enter(1, rest)
    }

    /// So much was done since the last wait, of whatever is the same work however it is waited for.
    pub fn worked(&mut self, pieces: u64) {
        self.spinning.worked(pieces);
    }

    /// The next thing that happened, or `None` when it is time to [`wait`](Self::wait).
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        if let Some(buffer) = self.lent.take() {
            self.buffers.recycle(buffer);
        }
        if let Some(event) = self.own.pop_front() {
            return Some(event);
        }
        loop {
            let Some(completion) = self.kernel.pop() else {
                if self.kernel.flush_overflow() {
                    continue;
                }
                return self.next_quietly_sent();
            };
            match self.complete(completion) {
                None => {}
                Some(complete::Outcome::Event(event)) => return Some(event),
                Some(complete::Outcome::Received { id, buffer, length }) => {
                    self.lent = Some(buffer);
                    let bytes = self.buffers.filled(buffer, length);
                    return Some(Event::Received { id, bytes });
                }
            }
        }
    }

    /// How often `io_uring_enter(2)` was called: the only system call on the way of a request.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.kernel.calls()
    }

    /// Sockets that are open or not yet given up by the kernel.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Arms receive or accept, now or when the cancellation under way is through.
    fn start_intake(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        slot.wanted = true;
        if slot.intake == Intake::Idle {
            self.push_intake(id);
        }
    }

    fn stop_intake(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        slot.wanted = false;
        if slot.intake == Intake::Armed {
            slot.intake = Intake::Cancelling;
            let listener = slot.kind == Kind::Listener;
            let intake = if listener {
                Operation::Accept
            } else {
                Operation::Receive
            };
            self.cancel(user_data(intake, id));
        }
    }

    fn push_intake(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.open(id) else {
            return;
        };
        slot.intake = Intake::Armed;
        let (operation, entry) = match slot.kind {
            Kind::Listener => {
                let accept = opcode::AcceptMulti::new(slot.fd()).flags(libc::SOCK_CLOEXEC);
                (Operation::Accept, accept.build())
            }
            Kind::Stream | Kind::Free => {
                let receive = opcode::RecvMulti::new(slot.fd(), buffers::GROUP);
                (Operation::Receive, receive.build())
            }
        };
        self.push(operation, id, entry);
    }

    fn cancel(&mut self, operation: u64) {
        let entry = opcode::AsyncCancel::new(operation)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(u64::from(Operation::Cancel as u8) << 56);
        // SAFETY: the entry points to no memory.
        unsafe { self.kernel.push(entry) };
    }

    fn add_watch(&mut self, descriptor: BorrowedFd<'_>, token: Option<u32>) -> io::Result<()> {
        let descriptor = descriptor.try_clone_to_owned()?;
        self.watches.push(Watch { descriptor, token });
        self.push_watch(self.watches.len() - 1);
        Ok(())
    }

    fn push_watch(&mut self, index: usize) {
        let Some(watch) = self.watches.get(index) else {
            return;
        };
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        let entry = opcode::PollAdd::new(types::Fd(watch.descriptor.as_raw_fd()), readable)
            .multi(true)
            .build()
            .user_data(u64::from(Operation::Watch as u8) << 56 | index as u64);
        self.in_flight += 1;
        // SAFETY: the entry points to no memory.
        unsafe { self.kernel.push(entry) };
    }

    fn push_sync(&mut self, file: Arc<File>) {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(u64::from(Operation::Sync as u8) << 56);
        self.syncing = Some(file);
        self.in_flight += 1;
        // SAFETY: the entry points to no memory.
        unsafe { self.kernel.push(entry) };
    }

    /// Queues an operation on an open socket. Memory it points to is the socket's `payload`, or a
    /// buffer of the group, which both live until its last completion.
    fn push(&mut self, operation: Operation, id: SocketId, entry: squeue::Entry) {
        if let Some(slot) = self.sockets.open(id) {
            slot.in_flight += 1;
            self.in_flight += 1;
            let entry = entry.user_data(user_data(operation, id));
            // SAFETY: `payload` is not touched while the operation counts as in flight (a slot is
            // released at zero), and `drop` waits for it or leaks it.
            unsafe { self.kernel.push(entry) };
        }
    }

    /// Arms the listeners whose rest is over; when to look again.
    fn wake_rested(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        if self.resting.is_empty() {
            return timeout;
        }
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.resting)
            .into_iter()
            .partition(|(until, _)| *until <= now);
        self.resting = later;
        for (_, id) in due {
            self.push_intake(id);
        }
        let rest = self
            .resting
            .iter()
            .map(|(until, _)| until.duration_since(now))
            .min();
        [timeout, rest].into_iter().flatten().min()
    }
}

impl Drop for Ring {
    /// Cancels everything and waits until the kernel has let go of our memory; if it does not, the
    /// memory is leaked rather than freed under its hands.
    fn drop(&mut self) {
        let all = types::CancelBuilder::any().all();
        let cancel = opcode::AsyncCancel2::new(all)
            .build()
            .user_data(u64::from(Operation::Cancel as u8) << 56);
        // SAFETY: the entry points to no memory.
        unsafe { self.kernel.push(cancel) };
        let deadline = Instant::now() + QUIESCE_LIMIT;
        while self.in_flight > 0 && Instant::now() < deadline {
            if self
                .kernel
                .enter(1, Some(Duration::from_millis(10)))
                .is_err()
            {
                break;
            }
            while let Some(completion) = self.kernel.pop() {
                self.discard(completion);
            }
            self.end_quiet_sends();
            while self.next_quietly_sent().is_some() {}
        }
        if self.in_flight > 0 {
            tracing::error!(
                in_flight = self.in_flight,
                "leaked the memory of a busy ring"
            );
            Box::leak(Box::new(mem::take(&mut self.sockets)));
            self.buffers.leak();
        }
    }
}
