//! The bytes of the requests.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use twinring_cql::request::QueryParams;
use twinring_cql::request::batch::{self, BatchEntry, BatchTail, BatchType};
use twinring_cql::request::execute::{self, Execute};
use twinring_cql::{Consistency, EncodeError, Opcode, Value, Values, values};

use crate::codec::Codec;
use crate::plan::Plan;
use crate::session::Prepared;
use crate::workload::{Kind, Operation};

/// The prepared statements of each kind, by [`Kind::index`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Statements([Arc<[Prepared]>; Kind::ALL.len()]);

impl Statements {
    /// Those of a kind.
    pub(crate) fn set(&mut self, kind: Kind, texts: Vec<Prepared>) {
        if let Some(place) = self.0.get_mut(kind.index()) {
            *place = texts.into();
        }
    }

    /// The one for request `n` of a connection: they take turns, and connections do not go in step.
    fn turn(&self, kind: Kind, connection: u16, n: u64) -> Option<&Prepared> {
        let own = self.0.get(kind.index())?;
        let turn = n.wrapping_add(u64::from(connection).wrapping_mul(STRIDE));
        own.get(usize::try_from(turn.checked_rem(own.len() as u64)?).ok()?)
    }
}

/// Between the turns of neighbouring connections; a prime.
const STRIDE: u64 = 7_919;

/// Encodes the requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    ids: Statements,
    /// The last timestamp, in µs: they never repeat.
    stamp_us: i64,
    value: Vec<u8>,
    /// The blocks of bound values, one after the other.
    blocks: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    pub(crate) fn new(ids: Statements) -> Requests {
        Requests {
            ids,
            stamp_us: 0,
            value: Vec::new(),
            blocks: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Appends request `n` of a connection, on a stream.
    pub(crate) fn encode(
        &mut self,
        plan: &Plan,
        codec: &mut Codec,
        out: &mut Vec<u8>,
        (connection, stream, n): (u16, i16, u64),
    ) -> Result<(), EncodeError> {
        let operation = plan.operation(connection, n);
        self.bind(plan, connection, operation, n)?;
        // Conditional statements must not have one.
        let stamped = plan.client_stamps && operation.kind.changes();
        let timestamp = (stamped && operation.kind != Kind::Lwt).then(|| self.stamp());
        let version = codec.version;
        let none = Prepared::default();
        let statement = self.ids.turn(operation.kind, connection, n);
        let statement = statement.unwrap_or(&none);
        let id = statement.id.as_slice();
        if operation.kind == Kind::Batch {
            let tail = BatchTail {
                consistency: plan.consistency,
                serial_consistency: None,
                timestamp,
                keyspace: None,
                now_in_seconds: None,
            };
            let mut start = 0;
            let entries = self.ends.iter().map(|&end| {
                let block = self.blocks.get(start..end).unwrap_or_default();
                start = end;
                let values = Values::parse(block, false).unwrap_or(Values::EMPTY);
                BatchEntry::Prepared { id, values }
            });
            return codec.request(out, stream, Opcode::Batch, |w| {
                batch::encode_as(w, version, BatchType::Unlogged, entries, &tail);
            });
        }
        // What was just written can be read.
        let values = Values::parse(&self.blocks, false).unwrap_or(Values::EMPTY);
        let lwt = operation.kind == Kind::Lwt;
        let execute = Execute {
            id,
            result_metadata_id: statement.result_id.as_deref(),
            params: QueryParams {
                values: Some(values),
                timestamp,
                serial_consistency: lwt.then_some(Consistency::LocalSerial),
                ..QueryParams::new(plan.consistency)
            },
            params_at: 0,
        };
        codec.request(out, stream, Opcode::Execute, |w| {
            execute::encode_as(w, version, &execute);
        })
    }

    /// Writes the blocks of bound values, one for each key.
    fn bind(
        &mut self,
        plan: &Plan,
        connection: u16,
        operation: Operation,
        n: u64,
    ) -> Result<(), EncodeError> {
        self.blocks.clear();
        self.ends.clear();
        let with_value = !matches!(operation.kind, Kind::Read | Kind::Delete);
        for key in plan.keys_of(connection, operation) {
            let bytes = key.to_be_bytes();
            if with_value {
                self.value.clear();
                plan.push_value(&mut self.value, key, n);
                let both = [Value::Bytes(&bytes), Value::Bytes(&self.value)];
                values::write(&mut self.blocks, both.map(|value| (None, value)))?;
            } else {
                values::write(&mut self.blocks, [(None, Value::Bytes(&bytes))])?;
            }
            self.ends.push(self.blocks.len());
        }
        Ok(())
    }

    fn stamp(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_us = now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        self.stamp_us = now_us.max(self.stamp_us + 1);
        self.stamp_us
    }
}
