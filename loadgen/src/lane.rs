//! One connection without its socket: which requests are due, in flight, answered. Pure: bytes and
//! times in, bytes and samples out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use twinring_cql::response::result::peek_result_kind;
use twinring_cql::response::{ResultBody, peek_error_code};
use twinring_cql::{Opcode, Version};

use crate::codec::{Answer, Codec};
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::request::{Requests, Statements};
use crate::samples::Samples;
use crate::schedule::Schedule;
use crate::workload::{Kind, Operation, is_value_of};

/// A request sent later than this after it was due counts as late.
const LATE: Duration = Duration::from_millis(1);
/// Requests that are overdue go out in calls of at most this many bytes.
const CALL_BYTES: usize = 32 << 10;
/// A slot without a request.
const FREE: u64 = u64::MAX;

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
struct Slot {
    n: u64,
    sent: Duration,
    /// The lane's step when it was sent.
    step: u64,
}

/// What stands still during a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) schedule: &'r Schedule,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) connection: u16,
    pub(crate) codec: Codec,
    version: Version,
    requests: Requests,
    slots: Vec<Slot>,
    free: Vec<i16>,
    /// The next request to send.
    next: u64,
    /// Requests that are due by now.
    released: u64,
    /// Requests below this one had to wait for the server.
    waited: u64,
    /// Streams of the requests that were encoded and not yet handed over.
    encoded: Vec<i16>,
    /// Counts sendings and answers.
    step: u64,
    ledger: Option<Ledger>,
    scratch: Vec<u8>,
    pub(crate) counts: Counts,
}

/// Of the whole run, warm-up included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) good: u64,
    pub(crate) failed: u64,
    /// Answers that are not what was written.
    pub(crate) wrong: u64,
    /// Conditional writes that were not applied.
    pub(crate) not_applied: u64,
    /// Reads that found no row.
    pub(crate) empty: u64,
    /// Error code and name → how many.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Lane {
    pub(crate) fn new(plan: &Plan, connection: u16, codec: Codec, ids: Statements) -> Lane {
        let depth = plan.depth.min(i16::MAX.unsigned_abs());
        let free = Slot {
            n: FREE,
            sent: Duration::ZERO,
            step: 0,
        };
        Lane {
            connection,
            version: codec.version,
            codec,
            requests: Requests::new(ids),
            slots: vec![free; usize::from(depth)],
            free: (0..depth)
                .rev()
                .filter_map(|id| id.try_into().ok())
                .collect(),
            next: 0,
            released: 0,
            waited: 0,
            encoded: Vec::new(),
            step: 0,
            ledger: plan.ledger.then(Ledger::default),
            scratch: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The first `count` requests are due.
    pub(crate) fn release(&mut self, count: u64) {
        self.released = self.released.max(count);
    }

    /// Whether a request is due and not sent.
    pub(crate) fn has_due(&self) -> bool {
        self.next < self.released
    }

    /// Requests without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Requests sent.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Notes that what is due cannot be sent now because of the server.
    pub(crate) fn must_wait(&mut self) {
        self.waited = self.released;
    }

    /// Appends to `out` what is due and has a free stream, a call's worth of bytes at most.
    ///
    /// # Errors
    /// A request that does not fit into the protocol.
    pub(crate) fn encode(&mut self, plan: &Plan, out: &mut Vec<u8>) -> anyhow::Result<()> {
        while self.has_due() && out.len() + self.codec.unsealed() < CALL_BYTES {
            let Some(stream) = self.free.pop() else {
                self.must_wait();
                break;
            };
            let (connection, n) = (self.connection, self.next);
            self.requests
                .encode(plan, &mut self.codec, out, (connection, stream, n))?;
            self.next += 1;
            self.step += 1;
            let step = self.step;
            if let Some(slot) = self.slot(stream) {
                slot.n = n;
                slot.step = step;
            }
            self.encoded.push(stream);
        }
        self.codec.seal(out);
        Ok(())
    }

    /// Notes that what was encoded goes to the socket at `now`.
    pub(crate) fn handed_over(&mut self, run: Run<'_>, now: Duration, samples: &mut Samples) {
        for at in 0..self.encoded.len() {
            let stream = self.encoded.get(at).copied().unwrap_or_default();
            let Some(slot) = self.slot(stream) else {
                continue;
            };
            slot.sent = now;
            let n = slot.n;
            self.counts.sent += 1;
            let due = run.schedule.due(self.connection, n).unwrap_or(now);
            if run.schedule.is_measured(due) {
                samples.sent(now.saturating_sub(due), LATE, n < self.waited);
            }
        }
        self.encoded.clear();
    }

    /// All whole answers that the codec holds, which came at `now`.
    ///
    /// # Errors
    /// Bytes that are no answer, or an answer to nothing.
    pub(crate) fn take_all(
        &mut self,
        run: Run<'_>,
        now: Duration,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let mut codec = std::mem::take(&mut self.codec);
        let taken = codec.each(|answer| self.take(run, &answer, now, samples));
        self.codec = codec;
        taken
    }

    fn take(
        &mut self,
        run: Run<'_>,
        answer: &Answer<'_>,
        now: Duration,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let stream = answer.stream;
        if stream < 0 {
            return Ok(()); // an event
        }
        let slot = self.slot(stream);
        let slot = slot.with_context(|| format!("an answer on stream {stream}, never used"))?;
        let Slot { n, sent, step } = *slot;
        slot.n = FREE;
        if n == FREE {
            bail!("a second answer on stream {stream}");
        }
        self.free.push(stream);
        self.step += 1;
        let operation = run.plan.operation(self.connection, n);
        let due = run.schedule.due(self.connection, n).unwrap_or(sent);
        let measured = run.schedule.is_measured(due);
        match answer.opcode {
            Opcode::Error => {
                let code = peek_error_code(answer.message)?;
                let name = format!("{:#06x} {code:?}", code.number());
                *self.counts.errors.entry(name).or_default() += 1;
                self.counts.failed += 1;
                samples.failed += u64::from(measured);
                self.unknown(run.plan, operation, n, self.step);
            }
            Opcode::Result => {
                self.counts.good += 1;
                if measured {
                    let latency = now.saturating_sub(due);
                    samples.answered(operation.kind, latency, now.saturating_sub(sent));
                }
                self.good(run.plan, operation, (n, step), answer.message)?;
            }
            other => bail!("{} answers a request", other.name()),
        }
        Ok(())
    }

    /// Looks into a good answer and notes what it means.
    fn good(
        &mut self,
        plan: &Plan,
        operation: Operation,
        (n, sent): (u64, u64),
        message: &[u8],
    ) -> anyhow::Result<()> {
        match operation.kind {
            Kind::Read => return self.read(plan, operation, message),
            Kind::Lwt if !is_applied(message, self.version)? => {
                self.counts.not_applied += 1;
                return Ok(());
            }
            _ => {
                peek_result_kind(message)?;
            }
        }
        if let Some(ledger) = &mut self.ledger {
            for key in plan.keys_of(self.connection, operation) {
                ledger.acknowledged(key, n, (sent, self.step));
            }
        }
        Ok(())
    }

    fn read(&mut self, plan: &Plan, operation: Operation, message: &[u8]) -> anyhow::Result<()> {
        let ResultBody::Rows(rows) = ResultBody::parse(message, self.version)? else {
            self.counts.wrong += 1;
            return Ok(());
        };
        let key = plan.keys_of(self.connection, operation).next();
        match rows.cells().next().transpose()?.and_then(|cell| cell.bytes) {
            None => self.counts.empty += 1,
            Some(value) => {
                let right = is_value_of(value, key.unwrap_or_default(), &mut self.scratch);
                self.counts.wrong += u64::from(!right);
            }
        }
        Ok(())
    }

    fn unknown(&mut self, plan: &Plan, operation: Operation, n: u64, ended: u64) {
        if let Some(ledger) = &mut self.ledger
            && operation.kind.changes()
        {
            for key in plan.keys_of(self.connection, operation) {
                ledger.unknown(key, n, ended);
            }
        }
    }

    /// The end: gives the requests that got no answer, and the ledger.
    pub(crate) fn close(&mut self, plan: &Plan) -> (u64, Ledger) {
        let mut unanswered = 0;
        for at in 0..self.slots.len() {
            let n = self.slots.get(at).map_or(FREE, |slot| slot.n);
            if n != FREE {
                unanswered += 1;
                let operation = plan.operation(self.connection, n);
                self.unknown(plan, operation, n, u64::MAX);
            }
        }
        (unanswered, self.ledger.take().unwrap_or_default())
    }

    fn slot(&mut self, stream: i16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(stream).ok()?)
    }
}

/// Whether the first column of the answer, `[applied]`, is true.
fn is_applied(message: &[u8], version: Version) -> anyhow::Result<bool> {
    let ResultBody::Rows(rows) = ResultBody::parse(message, version)? else {
        bail!("a conditional write is not answered with rows");
    };
    let first = rows.cells().next().transpose()?;
    Ok(first.and_then(|cell| cell.bytes) == Some(&[1]))
}
