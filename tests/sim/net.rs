//! The network: byte streams with delays, partial delivery, full buffers, resets, silence.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use twinring::shard::net::Net;
use twinring::sys::ring::{Event as RingEvent, SocketId};

use crate::cluster::ConnId;
use crate::core::{Core, Event};
use crate::disk::{SimDisk, files_below};

pub type WireId = usize;

/// What a kernel holds of one direction of a stream (bytes).
const PIPE_BYTES: usize = 64 << 10;
/// What a ring hands out at once (bytes).
const CHUNK_BYTES: usize = 16 << 10;
const LAG_US: (i64, i64) = (20, 400);

/// Who holds an end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Shard { shard: usize, socket: usize },
    Client(usize),
    Node(ConnId),
    Nobody,
}

#[derive(Debug, Default)]
struct Dir {
    pipe: VecDeque<u8>,
    /// What the sender could not put into the pipe yet.
    waiting: Option<Vec<u8>>,
    scheduled: bool,
    /// The receiver reads.
    open: bool,
    /// The sender sends nothing more.
    fin: bool,
    fin_told: bool,
}

/// A connection: direction 0 leads from end 0 to end 1.
#[derive(Debug)]
pub struct Wire {
    pub ends: [Party; 2],
    dirs: [Dir; 2],
    /// Where it leads, while the connect is under way.
    pub address: Option<SocketAddr>,
    pub dead: bool,
    /// Nothing arrives any more, and nobody is told.
    pub silent: bool,
}

/// What arrives at an end.
#[derive(Debug)]
pub enum Arrival {
    Bytes(Vec<u8>),
    Eof,
}

#[derive(Debug, Default)]
pub struct Network {
    wires: Vec<Wire>,
}

impl Network {
    pub fn get(&mut self, wire: WireId) -> &mut Wire {
        &mut self.wires[wire]
    }

    pub fn add(&mut self, from: Party, to: Party, address: Option<SocketAddr>) -> WireId {
        self.wires.push(Wire {
            ends: [from, to],
            dirs: [Dir::default(), Dir::default()],
            address,
            dead: false,
            silent: false,
        });
        self.wires.len() - 1
    }

    pub fn of_parties(&self, with: impl Fn(&Party) -> bool) -> Vec<WireId> {
        (0..self.wires.len())
            .filter(|wire| !self.wires[*wire].dead && self.wires[*wire].ends.iter().any(&with))
            .collect()
    }

    /// Sends from an end; when the kernel has it all, [`Event::Flushed`] comes.
    pub fn send(&mut self, core: &mut Core, wire: WireId, end: usize, bytes: Vec<u8>) {
        self.wires[wire].dirs[end].waiting = Some(bytes);
        self.push(core, wire, end);
    }

    /// Sends from an end that keeps what its kernel does not take.
    pub fn send_more(&mut self, core: &mut Core, wire: WireId, end: usize, bytes: Vec<u8>) {
        match &mut self.wires[wire].dirs[end].waiting {
            Some(waiting) => waiting.extend(bytes),
            None => self.send(core, wire, end, bytes),
        }
    }

    fn push(&mut self, core: &mut Core, wire: WireId, dir: usize) {
        let lane = &mut self.wires[wire].dirs[dir];
        if let Some(mut waiting) = lane.waiting.take() {
            let room = PIPE_BYTES.saturating_sub(lane.pipe.len());
            let rest = waiting.split_off(room.min(waiting.len()));
            lane.pipe.extend(waiting);
            if rest.is_empty() {
                let after_us = core.rng.range(1, 60);
                core.after(after_us, Event::Flushed(wire, dir));
            } else {
                lane.waiting = Some(rest);
            }
        }
        self.schedule(core, wire, dir);
    }

    fn schedule(&mut self, core: &mut Core, wire: WireId, dir: usize) {
        let lane = &mut self.wires[wire].dirs[dir];
        let something = !lane.pipe.is_empty() || (lane.fin && !lane.fin_told);
        if something && lane.open && !lane.scheduled {
            lane.scheduled = true;
            let lag_us = core.rng.range(LAG_US.0, LAG_US.1);
            core.after(lag_us, Event::Deliver(wire, dir));
        }
    }

    /// The receiver of a direction reads, or stops reading.
    pub fn read(&mut self, core: &mut Core, wire: WireId, dir: usize, open: bool) {
        self.wires[wire].dirs[dir].open = open;
        self.schedule(core, wire, dir);
    }

    /// What arrives now, and at whom.
    pub fn deliver(
        &mut self,
        core: &mut Core,
        wire: WireId,
        dir: usize,
    ) -> Option<(Party, Arrival)> {
        let it = &mut self.wires[wire];
        let lane = &mut it.dirs[dir];
        lane.scheduled = false;
        if it.dead || it.silent || !lane.open {
            return None;
        }
        let to = it.ends[1 - dir];
        if lane.pipe.is_empty() {
            let ends = lane.fin && !std::mem::replace(&mut lane.fin_told, true);
            return ends.then_some((to, Arrival::Eof));
        }
        let all = lane.pipe.len().min(CHUNK_BYTES);
        let count = match core.rng.chance(120) {
            true => 1 + core.rng.below(all),
            false => all,
        };
        let bytes = lane.pipe.drain(..count).collect();
        self.push(core, wire, dir);
        Some((to, Arrival::Bytes(bytes)))
    }

    /// An end lets go of the connection: what it has sent still arrives, then its end.
    pub fn hang_up(&mut self, core: &mut Core, wire: WireId, end: usize) {
        let it = &mut self.wires[wire];
        it.ends[end] = Party::Nobody;
        it.dirs[end].waiting = None;
        it.dirs[end].fin = true;
        let back = &mut it.dirs[1 - end];
        back.open = true; // what still comes goes nowhere
        if it.ends == [Party::Nobody; 2] {
            it.dead = true;
        }
        self.schedule(core, wire, end);
    }

    /// The connection is cut; the parties that held its ends are to be told.
    pub fn cut(&mut self, wire: WireId) -> [Party; 2] {
        let it = &mut self.wires[wire];
        it.dead = true;
        it.dirs = [Dir::default(), Dir::default()];
        std::mem::replace(&mut it.ends, [Party::Nobody; 2])
    }
}

/// What a shard's ring would report.
#[derive(Debug)]
pub enum Report {
    Accepted(WireId),
    Connected(io::Result<()>),
    Received(Vec<u8>),
    Eof,
    Failed,
    Sent(Vec<u8>, io::Result<()>),
    Readable,
    Synced(io::Result<()>),
}

#[derive(Debug, Default)]
pub struct Socket {
    generation: u32,
    pub wire: Option<WireId>,
    pub end: usize,
    sending: Option<Vec<u8>>,
    wants_bytes: bool,
    is_cut: bool,
}

/// A shard's sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    pub table: Vec<Socket>,
    free: Vec<usize>,
    reports: VecDeque<(SocketId, Report)>,
    current: Vec<u8>,
    /// A journal that is being brought to the disk, and what it held when that began.
    pub syncing: Option<(PathBuf, Vec<u8>)>,
}

impl Sockets {
    pub fn id(&self, socket: usize) -> SocketId {
        let generation = self.table.get(socket).map_or(0, |it| it.generation);
        SocketId::new(u32::try_from(socket).unwrap(), generation)
    }

    pub fn report(&mut self, socket: usize, report: Report) {
        self.reports.push_back((self.id(socket), report));
    }

    pub fn report_accept(&mut self, wire: WireId) {
        let nobody = SocketId::new(u32::MAX, 0);
        self.reports.push_back((nobody, Report::Accepted(wire)));
    }

    pub fn report_wakeup(&mut self) {
        let nobody = SocketId::new(u32::MAX, 0);
        self.reports.push_back((nobody, Report::Readable));
    }

    pub fn report_synced(&mut self, result: io::Result<()>) {
        let nobody = SocketId::new(u32::MAX, 0);
        self.reports.push_back((nobody, Report::Synced(result)));
    }

    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    fn open(&mut self, wire: WireId, end: usize) -> usize {
        let socket = self.free.pop().unwrap_or_else(|| {
            self.table.push(Socket::default());
            self.table.len() - 1
        });
        let it = &mut self.table[socket];
        (it.wire, it.end) = (Some(wire), end);
        (it.wants_bytes, it.is_cut, it.sending) = (false, false, None);
        socket
    }

    fn find(&self, id: SocketId) -> Option<usize> {
        let it = self.table.get(id.index())?;
        let same = self.id(id.index()) == id && it.wire.is_some();
        same.then_some(id.index())
    }

    /// The kernel has taken all.
    pub fn flushed(&mut self, socket: usize) {
        if let Some(buffer) = self.table[socket].sending.take() {
            self.report(socket, Report::Sent(buffer, Ok(())));
        }
    }

    /// The connection was cut under the shard's hands.
    pub fn cut(&mut self, socket: usize) {
        self.table[socket].is_cut = true;
        if let Some(buffer) = self.table[socket].sending.take() {
            let result = Err(io::ErrorKind::ConnectionReset.into());
            self.report(socket, Report::Sent(buffer, result));
        }
        if self.table[socket].wants_bytes {
            self.report(socket, Report::Failed);
        }
    }
}

/// Ends a process in the middle of a turn, after so many operations of its network.
pub struct Fuse {
    pub left: u32,
    /// The machine crashes, too.
    pub crash: bool,
    /// Where the journals are.
    pub journal_dir: PathBuf,
    pub disk: SimDisk,
    /// What the journals held when it happened.
    pub image: Option<Vec<(PathBuf, Vec<u8>)>>,
    /// The first job of the disk that was not begun any more.
    pub jobs: u64,
}

impl Fuse {
    /// One more operation; false if the process is no more.
    fn lasts(&mut self) -> bool {
        if self.image.is_some() {
            return false;
        }
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        let held = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        };
        let files = files_below(&self.journal_dir).into_iter();
        self.image = Some(files.map(held).collect());
        self.jobs = self.disk.next_job();
        false
    }
}

/// A shard's way into the network, for one turn.
pub struct ShardNet<'w> {
    pub core: &'w mut Core,
    pub network: &'w mut Network,
    pub sockets: &'w mut Sockets,
    pub shard: usize,
    pub process: u64,
    /// The address at which clients find the proxy.
    pub listen: SocketAddr,
    /// The process ends in this turn.
    pub fuse: Option<&'w mut Fuse>,
}

impl ShardNet<'_> {
    fn lasts(&mut self) -> bool {
        self.fuse.as_mut().is_none_or(|fuse| fuse.lasts())
    }
}

impl Net for ShardNet<'_> {
    type Stream = WireId;

    fn next_event(&mut self) -> Option<RingEvent<'_, WireId>> {
        loop {
            if !self.lasts() {
                return None;
            }
            let (id, report) = self.sockets.reports.pop_front()?;
            let known = self.sockets.find(id).is_some();
            return Some(match report {
                Report::Accepted(socket) => RingEvent::Accepted {
                    listener: id,
                    socket,
                },
                Report::Readable => RingEvent::Readable { token: 1 },
                Report::Synced(result) => RingEvent::Synced { result },
                _ if !known => continue,
                Report::Connected(result) => RingEvent::Connected { id, result },
                Report::Received(bytes) => {
                    self.sockets.current = bytes;
                    let bytes = &self.sockets.current;
                    RingEvent::Received { id, bytes }
                }
                Report::Eof => RingEvent::Eof { id },
                Report::Failed => RingEvent::Failed {
                    id,
                    error: io::ErrorKind::ConnectionReset.into(),
                },
                Report::Sent(buffer, result) => RingEvent::Sent { id, buffer, result },
            });
        }
    }

    fn adopt(&mut self, wire: WireId) -> io::Result<(SocketId, SocketAddr)> {
        if self.network.get(wire).dead {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let socket = self.sockets.open(wire, 1);
        let shard = self.shard;
        self.network.get(wire).ends[1] = Party::Shard { shard, socket };
        Ok((self.sockets.id(socket), self.listen))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<SocketId> {
        if !self.lasts() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let wire = self
            .network
            .add(Party::Nobody, Party::Nobody, Some(address));
        let socket = self.sockets.open(wire, 0);
        let shard = self.shard;
        self.network.get(wire).ends[0] = Party::Shard { shard, socket };
        let lag_us = self.core.rng.range(50, 1_500);
        self.core.after(lag_us, Event::Connect(wire));
        Ok(self.sockets.id(socket))
    }

    fn tune(&mut self, _: SocketId) {}

    fn start_recv(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find(id) else {
            return;
        };
        let it = &mut self.sockets.table[socket];
        it.wants_bytes = true;
        if it.is_cut {
            return self.sockets.report(socket, Report::Failed);
        }
        let (wire, end) = (it.wire.unwrap(), it.end);
        self.network.read(self.core, wire, 1 - end, true);
    }

    fn pause_recv(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find(id) else {
            return;
        };
        let it = &mut self.sockets.table[socket];
        it.wants_bytes = false;
        let (wire, end) = (it.wire.unwrap(), it.end);
        if !it.is_cut {
            self.network.read(self.core, wire, 1 - end, false);
        }
    }

    fn send(&mut self, id: SocketId, buffer: Vec<u8>) {
        let Some(socket) = self.sockets.find(id) else {
            return;
        };
        let it = &mut self.sockets.table[socket];
        assert!(it.sending.is_none(), "one send per socket at a time");
        if it.is_cut || buffer.is_empty() {
            let result = match it.is_cut {
                true => Err(io::ErrorKind::BrokenPipe.into()),
                false => Ok(()),
            };
            return self.sockets.report(socket, Report::Sent(buffer, result));
        }
        if !self.fuse.as_mut().is_none_or(|fuse| fuse.lasts()) {
            return;
        }
        let bytes = buffer.clone();
        it.sending = Some(buffer);
        let (wire, end) = (it.wire.unwrap(), it.end);
        self.network.send(self.core, wire, end, bytes);
    }

    fn is_sending(&self, id: SocketId) -> bool {
        self.sockets.find(id).is_some_and(|socket| {
            let sent = |(other, report): &(SocketId, Report)| {
                *other == id && matches!(report, Report::Sent(..))
            };
            self.sockets.table[socket].sending.is_some() || self.sockets.reports.iter().any(sent)
        })
    }

    fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find(id) else {
            return;
        };
        if !self.lasts() {
            return;
        }
        let it = &mut self.sockets.table[socket];
        it.generation += 1;
        it.sending = None;
        let (wire, end, is_cut) = (it.wire.take().unwrap(), it.end, it.is_cut);
        self.sockets.free.push(socket);
        if !is_cut {
            self.network.hang_up(self.core, wire, end);
        }
    }

    fn sync(&mut self, file: Arc<File>) {
        if !self.lasts() {
            return;
        }
        // what is stored while it is under way may come to the disk, or not
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = std::fs::read_link(link).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(self.sockets.syncing.is_none(), "one sync at a time");
        self.sockets.syncing = Some((path, bytes));
        let after_us = self.core.rng.range(100, 20_000);
        let (shard, process) = (self.shard, self.process);
        self.core.after(after_us, Event::Synced { shard, process });
    }
}
