//! The half of a connection that follows the schedule.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use twinring_cql::request::{QueryParams, execute};
use twinring_cql::{
    Consistency, EncodeError, Flags, Opcode, Value, Values, Version, encode, values,
};

use crate::load::{GLANCE, Lane, Shared};
use crate::report;
use crate::schedule::{sleep, wake_on_time};

/// A request sent later than this after it was due counts as late.
const LATE: Duration = Duration::from_millis(1);
/// Requests due before the end may still be sent for this long after it.
const OVERTIME: Duration = Duration::from_millis(100);
/// Requests that are overdue go out in calls of at most this many bytes.
const CALL_BYTES: usize = 32 << 10;

/// Ids of the prepared statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) insert: Vec<u8>,
    pub(crate) select: Vec<u8>,
}

/// What a sender has done. Only the measured part, but for `total`.
#[derive(Debug)]
pub(crate) struct Sent {
    /// All requests sent, warm-up included.
    pub(crate) total: u64,
    pub(crate) measured: u64,
    pub(crate) late: u64,
    /// Due, never sent; warm-up included.
    pub(crate) unsent: u64,
    /// From the intended start to the call that sent it, in ns.
    pub(crate) delay_ns: Histogram<u64>,
}

/// Runs until the schedule ends, the run is stopped or the connection breaks.
pub(crate) fn run(
    shared: &Shared,
    connection: u16,
    stream: TcpStream,
    statements: &Statements,
    free: &Receiver<i16>,
) -> Sent {
    wake_on_time();
    let Some(lane) = shared.lanes.get(usize::from(connection)) else {
        return Sent::new();
    };
    let mut sender = Sender {
        shared,
        lane,
        connection,
        stream,
        out: Vec::new(),
        waiting: Vec::new(),
        block: Vec::new(),
        sent: Sent::new(),
    };
    if sender.follow(statements, free).is_err() {
        lane.broken.store(true, Ordering::Relaxed);
    }
    let due = shared.schedule.due_until(connection, shared.end());
    sender.sent.unsent = due.saturating_sub(sender.sent.total);
    lane.finished.store(true, Ordering::Release);
    sender.sent
}

struct Sender<'s> {
    shared: &'s Shared,
    lane: &'s Lane,
    connection: u16,
    stream: TcpStream,
    /// Encoded, not yet sent.
    out: Vec<u8>,
    /// When the requests in `out` were due.
    waiting: Vec<Duration>,
    block: Vec<u8>,
    sent: Sent,
}

impl Sender<'_> {
    fn follow(&mut self, statements: &Statements, free: &Receiver<i16>) -> anyhow::Result<()> {
        let schedule = self.shared.schedule;
        let mut n = 0;
        while let Some(due) = schedule.due(self.connection, n) {
            if !self.wait_until(due)? {
                break;
            }
            let Some(stream) = self.take_stream(free)? else {
                break;
            };
            if let Some(slot) = self.lane.slot(stream) {
                slot.store(n, Ordering::Release);
            }
            self.encode(statements, stream, n)?;
            self.waiting.push(due);
            n += 1;
            if self.out.len() >= CALL_BYTES {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Sends what is overdue and sleeps until the next request is; false when it shall not be sent.
    fn wait_until(&mut self, due: Duration) -> anyhow::Result<bool> {
        loop {
            let now = self.shared.schedule.now();
            if due >= self.shared.end() || self.must_end(now) {
                return Ok(false);
            }
            if now >= due {
                return Ok(true);
            }
            if self.out.is_empty() {
                sleep((due - now).min(GLANCE));
            } else {
                self.flush()?;
            }
        }
    }

    /// A free stream id; waits for one when all are in use.
    fn take_stream(&mut self, free: &Receiver<i16>) -> anyhow::Result<Option<i16>> {
        match free.try_recv() {
            Ok(stream) => return Ok(Some(stream)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => self.flush()?,
        }
        loop {
            match free.recv_timeout(GLANCE) {
                Ok(stream) => return Ok(Some(stream)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if self.must_end(self.shared.schedule.now()) => {
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn must_end(&self, now: Duration) -> bool {
        self.lane.broken.load(Ordering::Relaxed) || now >= self.shared.end() + OVERTIME
    }

    fn encode(&mut self, statements: &Statements, stream: i16, n: u64) -> Result<(), EncodeError> {
        let plan = &self.shared.plan;
        let operation = plan.operation(self.connection, n);
        let key = operation.key.to_be_bytes();
        let mut value = Vec::new();
        self.block.clear();
        let id = if operation.write {
            plan.push_value(&mut value, n);
            let both = [Value::Bytes(&key), Value::Bytes(&value)];
            values::write(&mut self.block, both.map(|value| (None, value)))?;
            &statements.insert
        } else {
            values::write(&mut self.block, [(None, Value::Bytes(&key))])?;
            &statements.select
        };
        // What was just written can be read.
        let values = Values::parse(&self.block, false).unwrap_or(Values::EMPTY);
        let params = QueryParams {
            values: Some(values),
            timestamp: plan.client_stamps.then(now_us),
            ..QueryParams::new(Consistency::LocalQuorum)
        };
        let (version, flags) = (Version::V4, Flags::NONE);
        encode::envelope(
            &mut self.out,
            version,
            flags,
            stream,
            Opcode::Execute,
            |w| {
                execute::encode(w, id, &params);
            },
        )
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let schedule = self.shared.schedule;
        let now = schedule.now();
        for due in self.waiting.drain(..) {
            self.sent.total += 1;
            if schedule.is_measured(due) {
                let delay = now.saturating_sub(due);
                self.sent.measured += 1;
                self.sent.late += u64::from(delay > LATE);
                self.sent.delay_ns.saturating_record(report::ns(delay));
            }
        }
        self.lane.sent.store(self.sent.total, Ordering::Release);
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }
}

impl Sent {
    fn new() -> Sent {
        Sent {
            total: 0,
            measured: 0,
            late: 0,
            unsent: 0,
            delay_ns: report::histogram(),
        }
    }
}

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
