//! The half of a connection that takes answers, measures them and keeps the ledger.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use twinring_cql::response::peek_error_code;
use twinring_cql::{Envelope, Opcode};

use crate::ledger::Ledger;
use crate::load::{FREE, Lane, Shared};
use crate::report;
use crate::schedule::wake_on_time;
use crate::session::Inbox;

/// What a receiver has seen. Latencies only of the measured part.
#[derive(Debug)]
pub(crate) struct Received {
    /// From the intended start to the answer, in ns; errors are not in it.
    pub(crate) writes_ns: Histogram<u64>,
    pub(crate) reads_ns: Histogram<u64>,
    /// Error code and name → how many, warm-up included.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Sent, and no answer came; warm-up included.
    pub(crate) unanswered: u64,
    /// Why the connection ended early.
    pub(crate) broken: Option<String>,
    pub(crate) ledger: Ledger,
}

/// Runs until the sender is done and every answer is there, or patience is at its end.
pub(crate) fn run(
    shared: &Shared,
    connection: u16,
    mut stream: TcpStream,
    free: &Sender<i16>,
) -> Received {
    wake_on_time();
    let mut received = Received::new();
    let Some(lane) = shared.lanes.get(usize::from(connection)) else {
        return received;
    };
    let mut receiver = Receiver {
        shared,
        lane,
        connection,
        free,
        received: &mut received,
    };
    if let Err(error) = receiver.follow(&mut stream) {
        lane.broken.store(true, Ordering::Relaxed);
        receiver.received.broken = Some(format!("{error:#}"));
        // The sender must be done before its slots are looked at.
        while !lane.finished.load(Ordering::Acquire) {
            crate::schedule::sleep(Duration::from_millis(1));
        }
    }
    receiver.count_unanswered();
    received
}

struct Receiver<'r> {
    shared: &'r Shared,
    lane: &'r Lane,
    connection: u16,
    free: &'r Sender<i16>,
    received: &'r mut Received,
}

impl Receiver<'_> {
    fn follow(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let mut inbox = Inbox::default();
        let mut give_up = None;
        loop {
            match inbox.fill(stream) {
                Ok(0) => anyhow::bail!("the server has closed the connection"),
                Ok(_) => {
                    let now = self.shared.schedule.now();
                    inbox.each(|envelope| self.take(&envelope, now))?;
                }
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return Err(error).context("read from the server"),
            }
            if self.lane.finished.load(Ordering::Acquire) {
                let sent = self.lane.sent.load(Ordering::Acquire);
                if self.answered() >= sent || self.lane.broken.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let patience = self.shared.plan.patience;
                if Instant::now() >= *give_up.get_or_insert_with(|| Instant::now() + patience) {
                    return Ok(());
                }
            }
        }
    }

    fn answered(&self) -> u64 {
        self.lane.good.load(Ordering::Relaxed) + self.lane.failed.load(Ordering::Relaxed)
    }

    /// One answer, that came at `now`.
    fn take(&mut self, envelope: &Envelope<'_>, now: Duration) -> anyhow::Result<()> {
        let stream = envelope.header.stream;
        if stream < 0 {
            return Ok(()); // an event
        }
        let slot = self.lane.slot(stream);
        let slot = slot.with_context(|| format!("an answer on stream {stream}, never used"))?;
        let n = slot.swap(FREE, Ordering::AcqRel);
        let operation = self.shared.plan.operation(self.connection, n);
        let due = self.shared.schedule.due(self.connection, n);
        let due = due.with_context(|| format!("a second answer on stream {stream}"))?;
        let measured = self.shared.schedule.is_measured(due);
        let latency_ns = report::ns(now.saturating_sub(due));
        match envelope.header.opcode {
            Opcode::Error => {
                let code = peek_error_code(envelope.response_body()?.message)?;
                let name = format!("{:#06x} {code:?}", code.number());
                *self.received.errors.entry(name).or_default() += 1;
                add_one(&self.lane.failed);
                if operation.write {
                    self.received.ledger.unknown(operation.key, n);
                }
            }
            Opcode::Result => {
                add_one(&self.lane.good);
                if operation.write {
                    self.received.ledger.acknowledged(operation.key, n);
                }
                if measured && operation.write {
                    self.received.writes_ns.saturating_record(latency_ns);
                } else if measured {
                    self.received.reads_ns.saturating_record(latency_ns);
                }
            }
            other => anyhow::bail!("{} answers a request", other.name()),
        }
        let _ = self.free.send(stream); // the sender may have ended
        Ok(())
    }

    fn count_unanswered(&mut self) {
        for slot in &self.lane.slots {
            let n = slot.load(Ordering::Acquire);
            if n == FREE {
                continue;
            }
            self.received.unanswered += 1;
            let operation = self.shared.plan.operation(self.connection, n);
            if operation.write {
                self.received.ledger.unknown(operation.key, n);
            }
        }
    }
}

impl Received {
    fn new() -> Received {
        Received {
            writes_ns: report::histogram(),
            reads_ns: report::histogram(),
            errors: BTreeMap::new(),
            unanswered: 0,
            broken: None,
            ledger: Ledger::default(),
        }
    }
}

/// A counter with one writer.
fn add_one(counter: &std::sync::atomic::AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
