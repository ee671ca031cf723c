//! The reading end: spilled records go to the target in the background, beside live traffic.
//!
//! Only complete segments are read; the shard completes the open one when there is nothing else to
//! drain. What is done is written down in the log's progress file, which may lag: a stamped write
//! that is sent once more changes nothing. A record that must not be repeated is entered as
//! started,
//! and that is on disk, before it is sent.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::disk::Disk;
use crate::relay::mirror::{Entry, Mirror, Origin};
use crate::relay::plan::{PlanCache, Repeat};
use crate::relay::spilled;
use crate::relay::write::Write;
use crate::spill::append::Position;
use crate::spill::dir::ShardDir;
use crate::spill::progress::{self, Ledger, Progress, Standing};
use crate::spill::{Holds, Kind, Scanner, Step};

/// Read at once (bytes).
const CHUNK_BYTES: usize = 256 << 10;
/// Progress is written down this often while something moves (µs).
const STORE_US: i64 = 1_000_000;
/// Records in the mirror at once, so that live writes keep their turn.
const WINDOW: usize = 256;

/// One directory's backlog.
struct Log {
    dir: ShardDir,
    /// Complete segments that were not read yet, and their lengths (bytes).
    segments: VecDeque<(u64, u64)>,
    ledger: Ledger,
    stored: Progress,
    /// Segments in which something could not be read: kept under another name.
    damaged: Vec<u64>,
    /// Segments that are wholly done, until their files are away.
    retiring: Vec<u64>,
}

impl Log {
    /// Bytes of a segment that cannot be read: the segment will be kept.
    fn damage(&mut self, segment: u64, from: u64, to: u64) -> Found {
        self.damaged.push(segment);
        let dir = self.dir.path.display();
        Found::Damage(format!(
            "bytes {from} to {to} of segment {segment} in {dir}"
        ))
    }
}

/// The segment that is being read.
struct Cursor {
    log: usize,
    segment: u64,
    length: u64,
    scanner: Scanner,
    bytes_left: u64,
}

/// What a task has done.
enum Done {
    Read(Result<Vec<u8>, String>),
    Stored {
        log: usize,
        progress: Progress,
        result: Result<(), String>,
    },
}

/// What a shard starts with: one directory that it drains.
pub struct Inherited {
    /// Where.
    pub dir: ShardDir,
    /// Segments and their lengths (bytes), in order.
    pub segments: Vec<(u64, u64)>,
    /// What is done.
    pub progress: Progress,
}

/// See the module.
pub struct Drain {
    logs: Vec<Log>,
    cursor: Option<Cursor>,
    done: Rc<RefCell<Vec<Done>>>,
    reading: bool,
    storing: bool,
    read_again_us: i64,
    store_at_us: i64,
    /// Where the records in the mirror lie, by the mirror's name for them.
    sending: HashMap<u64, (usize, Position)>,
    next_key: u64,
    /// Records that came back from the mirror: the target could not take them then.
    postponed: VecDeque<Entry>,
    postponed_until_us: i64,
    /// A record that waits; nothing behind it is read.
    held: Option<Held>,
    /// A write whose place matters is on its way: nothing behind it is sent.
    barrier: Option<u64>,
    /// The held record waits for a schema change.
    at_gate: bool,
    /// Arrival of the oldest record that is not on the target, as far as is known (µs).
    oldest_us: Option<i64>,
}

/// A record that waits before it is sent.
struct Held {
    write: Write,
    key: u64,
    why: Why,
}

/// What a held record waits for.
#[derive(PartialEq, Eq)]
enum Why {
    /// The same, and that it is written down as started: it must not be repeated.
    Once,
    /// That all before it are on the target, and nothing behind it is sent until it is: a schema
    /// change, TRUNCATE, or a write whose place among others matters.
    Barrier,
    /// That a schema change is through, which came before it.
    Gate,
}

/// What the shard has to do for the drain.
pub enum Found {
    /// A record whose fate an earlier process left open.
    InDoubt(Write, u64),
    /// Bytes that are no good record.
    Damage(String),
}

impl Drain {
    /// Drains these directories, the shard's own first.
    #[must_use]
    pub fn new(inherited: Vec<Inherited>) -> Self {
        let logs = inherited
            .into_iter()
            .map(|log| Log {
                dir: log.dir,
                retiring: log
                    .segments
                    .iter()
                    .map(|(segment, _)| *segment)
                    .filter(|segment| *segment < log.progress.next.segment)
                    .collect(),
                segments: log.segments.into(),
                ledger: Ledger::resume(log.progress.clone()),
                stored: log.progress,
                damaged: Vec::new(),
            })
            .collect();
        Self {
            logs,
            cursor: None,
            done: Rc::default(),
            reading: false,
            storing: false,
            read_again_us: 0,
            store_at_us: 0,
            sending: HashMap::new(),
            next_key: 0,
            postponed: VecDeque::new(),
            postponed_until_us: 0,
            held: None,
            barrier: None,
            at_gate: false,
            oldest_us: None,
        }
    }

    /// The shard's own log got a complete segment.
    pub fn add_segment(&mut self, segment: u64, bytes: u64) {
        if let Some(own) = self.logs.first_mut() {
            own.segments.push_back((segment, bytes));
        }
    }

    /// Whether nothing is left to read or to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_read() && self.sending.is_empty() && self.postponed.is_empty()
    }

    /// Whether nothing is left to read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.cursor.is_none()
            && self.held.is_none()
            && self.logs.iter().all(|log| log.segments.is_empty())
    }

    /// Whether all that may go is on the target: nothing is left, or only what waits for a schema
    /// change.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_empty() || (self.waits_at_gate() && self.sending.len() == 1)
    }

    /// Whether the next record waits for a schema change.
    #[must_use]
    pub fn waits_at_gate(&self) -> bool {
        self.held.is_some() && self.at_gate
    }

    /// A record was spilled that arrived then (µs).
    pub fn note_arrival(&mut self, arrived_us: i64) {
        self.oldest_us.get_or_insert(arrived_us);
    }

    /// The spill is empty.
    pub fn clear_arrival(&mut self) {
        self.oldest_us = None;
    }

    /// When the oldest record arrived that is not on the target, as far as is known (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        self.oldest_us
    }

    /// Bytes of complete segments that were not read yet.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        let segments = self.logs.iter().flat_map(|log| log.segments.iter());
        segments.map(|(_, bytes)| bytes).sum::<u64>()
            + self.cursor.as_ref().map_or(0, |cursor| cursor.bytes_left)
    }

    /// A record of the spill is dealt with.
    pub fn finish(&mut self, key: u64) {
        let Some((log, at)) = self.sending.remove(&key) else {
            return;
        };
        if let Some(log) = self.logs.get_mut(log) {
            log.ledger.finish(at);
        }
        if self.barrier == Some(key) {
            self.barrier = None;
        }
    }

    /// The target could not take a record: later again.
    pub fn postpone(&mut self, entry: Entry, until_us: i64) {
        self.postponed.push_back(entry);
        self.postponed_until_us = self.postponed_until_us.max(until_us);
    }

    /// Feeds the mirror as far as the window allows. True if a task was spawned.
    pub fn fill(
        &mut self,
        owed: &mut Mirror,
        plans: &mut PlanCache,
        disk: &dyn Disk,
        now_us: i64,
        found: &mut Vec<Found>,
        gated: impl Fn(&Write) -> bool,
    ) -> bool {
        if now_us >= self.postponed_until_us {
            while let Some(entry) = self.postponed.pop_front() {
                owed.admit(entry.write, entry.origin);
            }
        }
        while self.sending.len() < WINDOW && self.barrier.is_none() {
            if let Some(held) = self.held.take() {
                self.at_gate = !held.write.kind.is_barrier() && gated(&held.write);
                if self.at_gate || !self.may_go(&held) {
                    self.held = Some(held);
                    return false;
                }
                if held.why != Why::Gate {
                    self.barrier = Some(held.key);
                }
                owed.admit(held.write, Origin::Spill(held.key));
                continue;
            }
            match self.step(owed, plans, now_us, found, &gated) {
                Next::Go => {}
                Next::Read => return self.read(now_us, disk),
                Next::Nothing => return false,
            }
        }
        false
    }

    fn may_go(&self, held: &Held) -> bool {
        match held.why {
            // the record itself is the only one that is left
            Why::Barrier => self.sending.len() == 1,
            Why::Gate => true,
            Why::Once if self.sending.len() > 1 => false,
            Why::Once => self.sending.get(&held.key).is_some_and(|(log, at)| {
                self.logs
                    .get(*log)
                    .is_some_and(|log| log.stored.started.contains(at))
            }),
        }
    }

    fn step(
        &mut self,
        owed: &mut Mirror,
        plans: &mut PlanCache,
        now_us: i64,
        found: &mut Vec<Found>,
        gated: &impl Fn(&Write) -> bool,
    ) -> Next {
        if self.cursor.is_none() && !self.open_next() {
            return Next::Nothing;
        }
        let Some(cursor) = self.cursor.as_mut() else {
            return Next::Nothing;
        };
        let Some(log) = self.logs.get_mut(cursor.log) else {
            return Next::Nothing;
        };
        let segment = cursor.segment;
        let place = |offset| Position { segment, offset };
        match cursor.scanner.next_step() {
            Ok(Step::NeedBytes) => return Next::Read,
            Ok(Step::Record {
                offset,
                end,
                record,
            }) => {
                let standing = log.ledger.seen(place(offset), place(end));
                if standing == Standing::Done {
                    return Next::Go;
                }
                let arrived_us = i64::try_from(record.arrival_us).unwrap_or(i64::MAX);
                self.oldest_us = Some(arrived_us);
                let elapsed_s = (now_us - arrived_us).max(0) / 1_000_000;
                let record_kind = record.kind;
                let write = spilled::write(&record, plans, elapsed_s);
                let key = self.next_key;
                self.next_key += 1;
                self.sending.insert(key, (cursor.log, place(offset)));
                let why = match (standing, write.repeat, record_kind.is_barrier()) {
                    (Standing::InDoubt, ..) => {
                        found.push(Found::InDoubt(write, key));
                        return Next::Go;
                    }
                    (_, _, true) => Why::Barrier,
                    (_, Repeat::Once, _) => {
                        log.ledger.start(place(offset));
                        self.store_at_us = now_us;
                        Why::Once
                    }
                    _ if record_kind == Kind::List => Why::Barrier,
                    _ if gated(&write) => Why::Gate,
                    _ => {
                        owed.admit(write, Origin::Spill(key));
                        return Next::Go;
                    }
                };
                self.held = Some(Held { write, key, why });
            }
            Ok(Step::Damage(damage)) => {
                found.push(log.damage(segment, damage.from, damage.to));
            }
            Ok(Step::End(ending)) => {
                if let crate::spill::scan::Ending::TornTail { from, to } = ending {
                    found.push(log.damage(segment, from, to));
                }
                log.ledger.segment_ended(segment);
                self.cursor = None;
            }
            Err(error) => {
                let words = format!("segment {segment} in {}: {error}", log.dir.path.display());
                found.push(Found::Damage(words));
                self.cursor = None; // left where it is, for the version that can read it
            }
        }
        Next::Go
    }

    fn open_next(&mut self) -> bool {
        for (index, log) in self.logs.iter_mut().enumerate() {
            while let Some((segment, length)) = log.segments.pop_front() {
                if segment < log.ledger.next().segment {
                    continue;
                }
                let scanner = Scanner::with_keys(log.dir.keys.clone());
                self.cursor = Some(Cursor {
                    log: index,
                    segment,
                    length,
                    scanner,
                    bytes_left: length,
                });
                return true;
            }
        }
        false
    }

    /// Starts reading what the scanner wants. True if a task was spawned.
    fn read(&mut self, now_us: i64, disk: &dyn Disk) -> bool {
        let Some(cursor) = self.cursor.as_mut() else {
            return false;
        };
        if self.reading || now_us < self.read_again_us {
            return false;
        }
        let offset = cursor.scanner.wanted_offset();
        if offset >= cursor.length {
            cursor.scanner.finish();
            return true; // nothing was spawned, but there is something to do at once
        }
        let Some(log) = self.logs.get(cursor.log) else {
            return false;
        };
        let path = log.dir.segment_path(Holds::Backlog, cursor.segment);
        let size = usize::try_from(cursor.length - offset)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let done = self.done.clone();
        self.reading = true;
        let ended = move |bytes| done.borrow_mut().push(Done::Read(bytes));
        disk.read(path, offset, size, Box::new(ended));
        true
    }

    /// Takes what the tasks have done. Words about what went wrong go to the log.
    pub fn poll(&mut self, now_us: i64) {
        let done = std::mem::take(&mut *self.done.borrow_mut());
        for done in done {
            match done {
                Done::Read(bytes) => {
                    self.reading = false;
                    let Some(cursor) = self.cursor.as_mut() else {
                        continue;
                    };
                    match bytes {
                        Ok(bytes) if bytes.is_empty() => cursor.scanner.finish(),
                        Ok(bytes) => {
                            cursor.scanner.push(&bytes);
                            cursor.bytes_left =
                                cursor.length.saturating_sub(cursor.scanner.wanted_offset());
                        }
                        Err(words) => {
                            tracing::error!("the spill cannot be read: {words}; trying again");
                            self.read_again_us = now_us + STORE_US;
                        }
                    }
                }
                Done::Stored {
                    log,
                    progress,
                    result,
                } => {
                    self.storing = false;
                    match (result, self.logs.get_mut(log)) {
                        (Ok(()), Some(log)) => {
                            log.stored = progress;
                            log.retiring.clear();
                        }
                        (Err(words), _) => {
                            tracing::error!("progress cannot be written: {words}; trying again");
                        }
                        (Ok(()), None) => {}
                    }
                }
            }
        }
    }

    /// Writes down what is done, if it is time and something is. True if a task was spawned.
    pub fn store(&mut self, now_us: i64, disk: &dyn Disk) -> bool {
        if self.storing || now_us < self.store_at_us {
            return false;
        }
        let Some((index, log, progress)) = self.logs.iter_mut().enumerate().find_map(|(i, log)| {
            let progress = log.ledger.progress();
            let due = progress != log.stored || !log.retiring.is_empty();
            due.then_some((i, log, progress))
        }) else {
            return false;
        };
        self.store_at_us = now_us + STORE_US;
        self.storing = true;
        let path = progress::path_of(&log.dir, Holds::Backlog);
        let bytes = progress.encode(Holds::Backlog, log.dir.shard);
        log.retiring.extend(log.ledger.take_finished_segments());
        let path_of = |segment: &u64| {
            let path = log.dir.segment_path(Holds::Backlog, *segment);
            (path, log.damaged.contains(segment))
        };
        let finished: Vec<_> = log.retiring.iter().map(path_of).collect();
        let done = self.done.clone();
        let ended = move |result| {
            done.borrow_mut().push(Done::Stored {
                log: index,
                progress,
                result,
            });
        };
        disk.store(path, bytes, finished, Box::new(ended));
        true
    }

    /// Whether all that is done is also written down.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.storing
            && self
                .logs
                .iter()
                .all(|log| log.ledger.progress() == log.stored && log.retiring.is_empty())
    }
}

/// What [`Drain::step`] wants.
enum Next {
    /// To be called again.
    Go,
    /// Bytes.
    Read,
    /// Nothing: all is read.
    Nothing,
}
