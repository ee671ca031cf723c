//! Brings writes to the target: bound as raw bytes, several in one unlogged batch, again until
//! the target answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use scylla::errors::ExecutionError;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::time::{Instant, sleep};

use super::complaint::Complaint;
use super::ends::Cluster;
use super::now_s;
use super::throttle::Throttle;
use super::write::Write;
use crate::limits;
use crate::offline::verdict::{self, Verdict};
use crate::side::Side;

/// How long a write is tried.
const GIVE_UP: Duration = Duration::from_secs(60);
/// The target refuses a batch for its size; one by one its statements may pass.
const INVALID: i32 = 0x2200;

/// Why something could not be read or written.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub words: String,
    /// Trying again will not help.
    pub is_final: bool,
    /// Too few replicas took part: a lower consistency might help.
    pub lacks_replicas: bool,
    /// How long the cluster asked to wait.
    pub wait: Option<Duration>,
}

impl Failure {
    pub(crate) fn of(side: Side, error: &ExecutionError) -> Failure {
        let (words, is_final, wait) = match verdict::of(error) {
            Verdict::Refused { code, words } => {
                (format!("refused (0x{code:04x}): {words}"), true, None)
            }
            Verdict::AlreadyThere { words } => (words, true, None),
            Verdict::NotApplied { words, wait } => (words, false, wait),
            Verdict::Unknown { words, .. } | Verdict::Stale { words } => (words, false, None),
        };
        Failure {
            words: format!("{side}: {words}"),
            is_final,
            lacks_replicas: verdict::lacks_replicas(error),
            wait,
        }
    }

    /// What makes no sense, and will not the next time.
    pub(crate) fn odd(words: String) -> Failure {
        Failure {
            words,
            is_final: true,
            lacks_replicas: false,
            wait: None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failure {}

/// Doubles with each try.
pub(crate) fn backoff(tries: u32) -> Duration {
    Duration::from_millis(50)
        .saturating_mul(1 << tries.min(10))
        .min(Duration::from_secs(5))
}

/// Writes to one table.
pub(crate) struct Sender {
    pub cluster: Arc<Cluster>,
    pub throttle: Arc<Throttle>,
    pub complaint: Complaint,
    prepared: Vec<PreparedStatement>,
    /// Tokens of the target's nodes: between two neighbours all partitions have the same replicas.
    node_tokens: Vec<i64>,
}

impl Sender {
    pub(crate) async fn new(
        cluster: Arc<Cluster>,
        throttle: Arc<Throttle>,
        complaint: Complaint,
        texts: &[String],
    ) -> Result<Sender> {
        let mut prepared = Vec::with_capacity(texts.len());
        for text in texts {
            prepared.push(cluster.prepare(text).await?);
        }
        let node_tokens = cluster.node_tokens();
        Ok(Sender {
            cluster,
            throttle,
            complaint,
            prepared,
            node_tokens,
        })
    }

    /// Puts writes that may travel together into batches; they keep their order.
    pub(crate) fn batches(&self, writes: Vec<Write>) -> Vec<Vec<Write>> {
        let single = self.node_tokens.len() <= 1;
        let segment = |token: i64| match single {
            true => 0,
            false => self.node_tokens.partition_point(|node| *node < token),
        };
        let mut batches: Vec<Vec<Write>> = Vec::new();
        let (mut bytes, mut partitions) = (0, 0);
        for write in writes {
            let size = write.values.len();
            if let Some(batch) = batches.last_mut()
                && let Some(last) = batch.last()
            {
                let more = usize::from(last.token != write.token);
                if bytes + size <= limits::COPY_BATCH_BYTES
                    && partitions + more <= limits::COPY_BATCH_PARTITIONS
                    && segment(last.token) == segment(write.token)
                {
                    bytes += size;
                    partitions += more;
                    batch.push(write);
                    continue;
                }
            }
            (bytes, partitions) = (size, 1);
            batches.push(vec![write]);
        }
        batches
    }

    /// Sends writes that may be sent again, until the target has taken them.
    pub(crate) async fn send(&self, writes: &[Write]) -> Result<(), Failure> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let error = match self.once(writes).await {
                Ok(()) => {
                    self.throttle.succeeded();
                    return Ok(());
                }
                Err(error) => error,
            };
            let is_invalid = matches!(verdict::of(&error), Verdict::Refused { code: INVALID, .. });
            if is_invalid && writes.len() > 1 {
                for write in writes {
                    Box::pin(self.send(std::slice::from_ref(write))).await?;
                }
                return Ok(());
            }
            let failure = Failure::of(Side::Target, &error);
            if failure.is_final || began.elapsed() > GIVE_UP {
                return Err(failure);
            }
            self.throttle.pushed_back();
            tries += 1;
            self.complaint.again(Side::Target, &failure, tries);
            sleep(failure.wait.unwrap_or_else(|| backoff(tries))).await;
        }
    }

    /// Sends writes once.
    pub(crate) async fn once(&self, writes: &[Write]) -> Result<(), ExecutionError> {
        let session = &self.cluster.session;
        let statements: Vec<&PreparedStatement> = writes
            .iter()
            .filter_map(|write| self.prepared.get(write.text))
            .collect();
        if let ([write], [statement]) = (writes, statements.as_slice()) {
            let done = session.execute_unpaged(statement, WriteRow(write)).await;
            return done.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        for statement in statements {
            batch.append_statement(statement.clone());
        }
        let values: Vec<WriteRow<'_>> = writes.iter().map(WriteRow).collect();
        session.batch(&batch, values).await.map(drop)
    }

    /// Executes one of the texts with values that are `[bytes]` already, once.
    pub(crate) async fn raw(&self, text: usize, values: &[u8]) -> Result<(), Failure> {
        let Some(statement) = self.prepared.get(text) else {
            return Ok(());
        };
        let session = &self.cluster.session;
        let done = session.execute_unpaged(statement, KeyRow(values)).await;
        done.map(drop)
            .map_err(|error| Failure::of(Side::Target, &error))
    }
}

/// Binds a write.
struct WriteRow<'a>(&'a Write);

impl SerializeRow for WriteRow<'_> {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let WriteRow(write) = self;
        if !write.stamp_first {
            put_all(&write.values, writer)?;
        }
        let left_s = match write.stamp.expires_s {
            // 0 would be for ever, and what has expired still hides what is older.
            Some(expires_s) => (expires_s - now_s()).clamp(1, limits::TTL_MAX_S),
            None => 0,
        };
        let left_s = i32::try_from(left_s).unwrap_or(i32::MAX);
        put_one(&write.stamp.writetime_us.to_be_bytes(), writer)?;
        put_one(&left_s.to_be_bytes(), writer)?;
        if write.stamp_first {
            put_all(&write.values, writer)?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// Binds values that are `[bytes]` already.
pub(crate) struct KeyRow<'a>(pub &'a [u8]);

impl SerializeRow for KeyRow<'_> {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        put_all(self.0, writer)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Values that end too early: a mistake of ours, never of the data.
#[derive(Debug, thiserror::Error)]
#[error("bound values end too early")]
struct CutShort;

fn put_all(mut values: &[u8], writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
    while let Some((length, rest)) = values.split_first_chunk() {
        let length = i32::from_be_bytes(*length);
        let cell = writer.make_cell_writer();
        let Ok(length) = usize::try_from(length) else {
            let _written = match length {
                -2 => cell.set_unset(),
                _ => cell.set_null(),
            };
            values = rest;
            continue;
        };
        let (bytes, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| SerializationError::new(CutShort))?;
        cell.set_value(bytes).map_err(SerializationError::new)?;
        values = rest;
    }
    Ok(())
}

fn put_one(bytes: &[u8], writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
    let cell = writer.make_cell_writer();
    cell.set_value(bytes)
        .map(drop)
        .map_err(SerializationError::new)
}
