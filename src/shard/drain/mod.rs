//! The reading end: spilled records go to the target in the background, beside live traffic.
//!
//! ```text
//! log     segments → records, one directory each       pace   how many at once, and how fast
//! group   records whose place matters, or that must not be repeated
//! postponed    records that the target could not take
//! ```
//! Oldest first over all logs of the shard: none starves, and what came before a schema change goes
//! before it. Only complete segments are read; the shard completes the open one when there is
//! nothing else to drain. What is done is written down in the log's progress file, which may lag: a
//! stamped write that is sent once more changes nothing; unless a schema change or TRUNCATE lies
//! between, so that waits until all is written down. Memory does not grow with the backlog: per
//! log a chunk, a record and the places of what is under way.

mod group;
mod log;
pub mod pace;
mod postponed;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use self::group::Group;
pub use self::log::Inherited;
use self::log::{Counted, Head, Log, Offer, Purpose};
use self::pace::{Pace, Seen};
use self::postponed::Postponed;
use super::barrier::ChangeId;
use super::disk::Disk;
use crate::relay::mirror::{Mirror, Origin};
use crate::relay::plan::{PlanCache, Repeat};
use crate::relay::write::Write;
use crate::spill::Holds;
use crate::spill::append::Position;
use crate::spill::progress::{self, Progress, Standing};
use crate::tables::Known;

/// Progress is written down this often while something moves (µs).
const STORE_US: i64 = 1_000_000;

/// Records of failing tables that are passed over in one turn (each takes 2 µs or so).
const SKIPPED_MAX: usize = 64;

/// What a task has done.
enum Done {
    Read {
        log: usize,
        purpose: Purpose,
        bytes: Result<Vec<u8>, String>,
    },
    Stored {
        log: usize,
        progress: Progress,
        result: Result<(), String>,
    },
}

/// What the drain works with in a turn.
pub struct Means<'t> {
    /// Where the records go.
    pub owed: &'t mut Mirror,
    /// How their texts are treated.
    pub plans: &'t mut PlanCache,
    /// Where they come from.
    pub disk: &'t dyn Disk,
    /// The time (µs).
    pub now_us: i64,
    /// How many may be sent at most in this turn.
    pub limit: usize,
    /// The target is only to be tried.
    pub is_tried: bool,
    /// What the shard has to see to.
    pub found: Vec<Found>,
}

/// What the shard knows about a record.
pub trait Rules {
    /// Whether it waits for a schema change.
    fn is_gated(&self, write: &Write) -> bool;
    /// The name of a schema change or TRUNCATE, if all shards wait for it.
    fn change(&self, write: &Write) -> Option<ChangeId>;
    /// Whether it deletes something and is so old that it could let old data come back.
    fn is_too_old(&self, write: &Write) -> bool;
}

/// See the module.
pub struct Drain {
    logs: Vec<Log>,
    done: Rc<RefCell<Vec<Done>>>,
    storing: bool,
    /// All that is done was found to be written down, and nothing has been done since.
    stored_all: bool,
    store_at_us: i64,
    /// Where the records lie that were read and are not done, by the mirror's name for them.
    sending: HashMap<u64, (usize, Position)>,
    /// When each arrived (µs), and its name; in front one that is not done. Those behind it may be
    /// done: as many as a log may have done behind a record that is not.
    arrivals: BinaryHeap<Reverse<(i64, u64)>>,
    next_key: u64,
    /// Those that came back from the mirror: the target could not take them then.
    postponed: Postponed,
    group: Group,
    pace: Pace,
    /// A record that waits; nothing behind it is read.
    held: Option<Held>,
    /// A schema change or TRUNCATE is on its way: nothing behind it is sent.
    barrier: Option<u64>,
    /// The held record waits for a schema change.
    at_gate: bool,
    /// Arrival of the oldest record that was not read yet, as far as is known (µs).
    oldest_us: Option<i64>,
    /// Arrival of the oldest of those that went to the end of a log since all were empty (µs).
    carried_us: Option<i64>,
    recount: i64,
}

/// A record that waits before it is sent.
struct Held {
    head: Head,
    key: u64,
}

/// What [`Drain::look`] found.
struct Looked {
    /// The log that has the oldest record.
    log: Option<usize>,
    /// Some log has to be read first.
    wants_bytes: bool,
    /// Reads were started.
    reads: bool,
}

/// What the shard has to do for the drain.
pub enum Found {
    /// A record whose fate an earlier process left open.
    InDoubt(Write, u64),
    /// A delete that could let old data come back.
    TooOld(Write, u64),
    /// A record that the target cannot take while too many others behind it are done: it goes to
    /// the end of the log.
    Carry(Write, u64),
    /// A schema change or TRUNCATE that all shards wait for.
    Change(ChangeId, u64),
    /// Bytes that are no good record.
    Damage(String),
}

impl Drain {
    /// What the control plane knows of the tables.
    pub fn know(&mut self, known: Arc<Known>) {
        self.group.know(known);
    }

    /// Drains these directories, the shard's own first, at most `rate` records a second.
    #[must_use]
    pub fn new(inherited: Vec<Inherited>, rate: Option<u32>) -> Self {
        let count = inherited.len();
        Self {
            logs: inherited
                .into_iter()
                .map(|log| Log::new(log, count))
                .collect(),
            done: Rc::default(),
            storing: false,
            stored_all: false,
            store_at_us: 0,
            sending: HashMap::new(),
            arrivals: BinaryHeap::new(),
            next_key: 0,
            postponed: Postponed::default(),
            group: Group::default(),
            pace: Pace::new(rate),
            held: None,
            barrier: None,
            at_gate: false,
            oldest_us: None,
            carried_us: None,
            recount: 0,
        }
    }

    /// Whether there is nothing to do before something comes: another turn would change nothing.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.stored_all && self.is_empty() && self.recount == 0 && self.done.borrow().is_empty()
    }

    /// The shard's own log got a complete segment.
    pub fn add_segment(&mut self, segment: u64, bytes: u64) {
        self.stored_all = false;
        if let Some(own) = self.logs.first_mut() {
            own.add_segment(segment, bytes);
        }
    }

    /// Whether nothing is left to read or to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_read() && self.sending.is_empty()
    }

    /// Whether nothing is left to read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.held.is_none() && self.logs.iter().all(Log::is_read)
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
        (self.oldest_us, self.carried_us) = (None, None);
    }

    /// When the oldest record arrived that is not on the target, as far as is known (µs).
    #[must_use]
    pub fn oldest_us(&self) -> Option<i64> {
        let sent = self
            .arrivals
            .peek()
            .map(|Reverse((arrived_us, _))| *arrived_us);
        [self.oldest_us, self.carried_us, sent]
            .into_iter()
            .flatten()
            .min()
    }

    /// Bytes of complete segments that were not read yet.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.logs.iter().map(Log::unread_bytes).sum()
    }

    /// Bytes of complete segments that are on the disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.logs.iter().map(Log::disk_bytes).sum()
    }

    /// As [`Self::disk_bytes`], of what earlier processes left elsewhere than in the shard's own
    /// directory.
    #[must_use]
    pub fn inherited_bytes(&self) -> u64 {
        self.logs.iter().skip(1).map(Log::disk_bytes).sum()
    }

    /// What the count of the backlog has to be changed by: records that an earlier process left
    /// were counted, or turned out to be done or lost.
    pub fn take_recount(&mut self) -> i64 {
        std::mem::take(&mut self.recount)
    }

    /// Looks at how the live writes fare; called each tick.
    pub fn tick(&mut self, seen: Seen) {
        self.pace.tick(seen);
    }

    /// A record of the spill is dealt with.
    pub fn finish(&mut self, key: u64) {
        let Some((log, at)) = self.sending.remove(&key) else {
            return;
        };
        self.postponed.finish(key);
        while let Some(Reverse((_, key))) = self.arrivals.peek()
            && !self.sending.contains_key(key)
        {
            self.arrivals.pop();
        }
        self.stored_all = false;
        if let Some(log) = self.logs.get_mut(log) {
            log.ledger.finish(at);
        }
        self.group.left(key);
        if self.barrier == Some(key) {
            self.barrier = None;
        }
    }

    /// The target could not take the record of this name: later again.
    pub fn postpone(&mut self, key: u64, write: Box<Write>, now_us: i64) {
        self.postponed.add(key, write, now_us);
    }

    /// Feeds the mirror as far as window and rate allow. True if a task was spawned.
    pub fn fill(&mut self, means: &mut Means<'_>, rules: &impl Rules) -> bool {
        self.stored_all = false;
        let begun = self.postponed.len();
        let mut spawned = false;
        let stuck = loop {
            let most = self
                .pace
                .window()
                .min(means.limit.saturating_add(self.group.len()));
            let under_way = self.sending.len() - self.postponed.len();
            if under_way >= most
                || self.postponed.is_full()
                || self.barrier.is_some()
                || means.limit == 0
            {
                break true;
            }
            if let Some(held) = self.held.take() {
                if let Some(held) = self.try_held(held, means, rules) {
                    self.held = Some(held);
                    break true;
                }
                continue;
            }
            let Looked {
                log,
                wants_bytes,
                reads,
            } = self.look(means);
            spawned |= reads;
            let Some(log) = log else {
                break !wants_bytes;
            };
            if !self.pace.take(means.now_us) {
                break true;
            }
            let head = self.logs.get_mut(log).and_then(Log::take_head);
            if let Some(head) = head {
                self.dispatch(log, head, means, rules);
            }
            if means.is_tried && self.postponed.len() >= begun + SKIPPED_MAX {
                break true;
            }
        };
        self.work_on_group(stuck, means);
        self.try_again(means);
        self.carry(means);
        spawned
    }

    fn try_again(&mut self, means: &mut Means<'_>) {
        let (limit, with_failing) = (means.limit, !means.is_tried);
        let is_failing = |write: &Write| means.owed.is_failing(write);
        let again = self
            .postponed
            .take_due(means.now_us, limit, with_failing, is_failing);
        for (key, write) in again {
            means.owed.admit_again(write, Origin::Spill(key));
        }
    }

    /// Looks for the oldest record of all logs, and starts the reads that it takes.
    fn look(&mut self, means: &mut Means<'_>) -> Looked {
        let mut oldest: Option<(i64, usize)> = None;
        let (mut wants_bytes, mut reads) = (false, false);
        for (index, log) in self.logs.iter_mut().enumerate() {
            let recount = &mut self.recount;
            let offer = log.look(means.plans, means.now_us, &mut means.found, recount);
            match offer {
                Offer::Head(arrived_us) => {
                    oldest =
                        Some(oldest.map_or((arrived_us, index), |o| o.min((arrived_us, index))));
                }
                Offer::Bytes => wants_bytes = true,
                Offer::Nothing => {}
            }
            if offer != Offer::Nothing {
                let done = self.done.clone();
                reads |= log.read(means.now_us, means.disk, move |purpose, bytes| {
                    let log = index;
                    done.borrow_mut().push(Done::Read {
                        log,
                        purpose,
                        bytes,
                    });
                });
            }
        }
        // what is not read yet may be older
        let log = oldest.filter(|_| !wants_bytes).map(|(_, log)| log);
        Looked {
            log,
            wants_bytes,
            reads,
        }
    }

    fn dispatch(&mut self, log: usize, head: Head, means: &mut Means<'_>, rules: &impl Rules) {
        self.oldest_us = Some(head.write.arrived_us);
        let key = self.next_key;
        self.next_key += 1;
        self.sending.insert(key, (log, head.place));
        let arrived_us = head.write.arrived_us;
        self.arrivals.push(Reverse((arrived_us, key)));
        if head.kind.is_barrier()
            && let Some(id) = rules.change(&head.write)
        {
            means.found.push(Found::Change(id, key));
        } else if head.standing == Standing::InDoubt {
            means.found.push(Found::InDoubt(head.write, key));
        } else if rules.is_too_old(&head.write) {
            means.found.push(Found::TooOld(head.write, key));
        } else if head.kind.is_barrier() || rules.is_gated(&head.write) {
            self.held = Some(Held { head, key });
        } else {
            self.route(head.write, key, means);
        }
    }

    /// Sends a record that nothing holds, or puts it into the group.
    fn route(&mut self, write: Write, key: u64, means: &mut Means<'_>) {
        if !self.group.wants(&write) {
            // while the target is only to be tried: with what it may take
            if means.is_tried && means.owed.is_failing(&write) {
                return self.postponed.add(key, Box::new(write), means.now_us);
            }
            means.limit = means.limit.saturating_sub(1);
            means.owed.admit(write, Origin::Spill(key));
            return;
        }
        // a whole list with the same stamp again would have each element twice (CASSANDRA-11368)
        let noted = write.repeat != Repeat::Free;
        let place = self.sending.get(&key).copied().filter(|_| noted);
        if let Some((log, at)) = place
            && let Some(log) = self.logs.get_mut(log)
        {
            log.ledger.start(at);
        }
        self.group.collect(write, key, place, means.now_us);
    }

    /// Gives the held record back if it still has to wait.
    fn try_held(&mut self, held: Held, means: &mut Means<'_>, rules: &impl Rules) -> Option<Held> {
        if held.head.kind.is_barrier() {
            self.at_gate = false;
            if self.sending.len() > 1 || !self.write_down(means.now_us) {
                return Some(held);
            }
            self.barrier = Some(held.key);
            means.limit = means.limit.saturating_sub(1);
            means.owed.admit(held.head.write, Origin::Spill(held.key));
            return None;
        }
        self.at_gate = rules.is_gated(&held.head.write);
        if self.at_gate {
            return Some(held);
        }
        self.route(held.head.write, held.key, means);
        None
    }

    /// Lets the group go when it is due, all before it is on the target, and what must not be
    /// repeated is stored as started.
    fn work_on_group(&mut self, stuck: bool, means: &mut Means<'_>) {
        if self.group.is_due(stuck, means.now_us) {
            let logs = &self.logs;
            self.group.awaited.retain(|(log, at)| {
                let stored = logs.get(*log).map(|log| &log.stored.started);
                !stored.is_some_and(|started| started.contains(at))
            });
            let waiting = usize::from(self.held.is_some());
            // but for what is postponed and can come at any time
            let before = self.sending.len()
                - self
                    .postponed
                    .harmless(|table| self.group.is_ordered(table));
            let alone = before == self.group.len() + waiting;
            if !self.group.awaited.is_empty() {
                self.store_at_us = self.store_at_us.min(means.now_us);
            } else if alone {
                self.group.release(means.plans);
            }
        }
        let owed = &mut *means.owed;
        self.group.pump(|write, key| {
            owed.admit(write, Origin::Spill(key));
        });
    }

    /// Where too much is done behind a record that the target cannot take, or too many such wait,
    /// one of them goes to the end of the log, or nothing more could be read. Not past a change of
    /// the schema: one may lie in what an earlier process left.
    fn carry(&mut self, means: &mut Means<'_>) {
        if !self.postponed.is_full() && !self.logs.iter().any(Log::is_at_limit) {
            return;
        }
        if self.held.is_some() || self.barrier.is_some() || self.logs.iter().any(Log::is_inherited)
        {
            return;
        }
        if let Some((key, write)) = self.postponed.take_first_free() {
            let carried = [self.carried_us, Some(write.arrived_us)];
            self.carried_us = carried.into_iter().flatten().min();
            means.found.push(Found::Carry(*write, key));
        }
    }

    /// Takes what the tasks have done. Words about what went wrong go to the log.
    pub fn poll(&mut self, now_us: i64, disk: &dyn Disk) {
        let done = std::mem::take(&mut *self.done.borrow_mut());
        for done in done {
            match done {
                Done::Read {
                    log: index,
                    purpose,
                    bytes,
                } => {
                    let mut counted = Counted::default();
                    let Some(log) = self.logs.get_mut(index) else {
                        continue;
                    };
                    let next = log.take_bytes(purpose, bytes, now_us, &mut counted);
                    if let Some(next) = next {
                        let done = self.done.clone();
                        log.read_on(next, disk, move |purpose, bytes| {
                            done.borrow_mut().push(Done::Read {
                                log: index,
                                purpose,
                                bytes,
                            });
                        });
                    }
                    self.recount += counted.records;
                    if let Some(oldest_us) = counted.oldest_us {
                        self.note_arrival(oldest_us);
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
                            log.retired();
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

    /// Counts what earlier processes left, before anything is sent. True if a task was spawned.
    pub fn count(&mut self, now_us: i64, disk: &dyn Disk) -> bool {
        let mut spawned = false;
        for (index, log) in self.logs.iter_mut().enumerate() {
            let done = self.done.clone();
            spawned |= log.count_next(now_us, disk, move |purpose, bytes| {
                done.borrow_mut().push(Done::Read {
                    log: index,
                    purpose,
                    bytes,
                });
            });
        }
        spawned
    }

    /// Writes down what is done, if it is time and something is. True if a task was spawned.
    pub fn store(&mut self, now_us: i64, disk: &dyn Disk) -> bool {
        if self.storing || now_us < self.store_at_us {
            return false;
        }
        // what a group waits for comes first
        let first = self.group.awaited.first().map_or(0, |(log, _)| *log);
        let count = self.logs.len();
        let mut order: Vec<_> = self.logs.iter_mut().enumerate().collect();
        order.rotate_left(first.min(count));
        let Some((index, log, progress)) = order.into_iter().find_map(|(i, log)| {
            let progress = log.ledger.progress();
            let due = progress != log.stored || !log.retiring.is_empty();
            due.then_some((i, log, progress))
        }) else {
            self.stored_all = true;
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

    /// As [`Self::is_stored`]; what is not written down will be at once.
    pub fn write_down(&mut self, now_us: i64) -> bool {
        let stored = self.is_stored();
        if !stored {
            self.store_at_us = self.store_at_us.min(now_us);
        }
        stored
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
