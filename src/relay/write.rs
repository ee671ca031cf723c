//! A write on its way to the target: what the live mirror sends and what a spill record holds.

use std::ops::Range;
use std::rc::Rc;

use super::plan::{Plan, Repeat};
use super::registry::Prepared;
use crate::cql::request::params::QueryFlags;
use crate::cql::{Consistency, EncodeError, Flags, Opcode, Version, Writer, encode};
use crate::journal::{Nature, Place};
use crate::spill::Kind as RecordKind;

/// A delete that is later than this (µs) is not dated back.
const DELETES_DATED_BACK_US: i64 = 60_000_000;

/// Slot of a prepared statement within its shard; see [`Prepared::slot`].
pub type Slot = u32;

/// One write that the source applied, complete enough to be sent to the target at any later time.
#[derive(Debug)]
pub struct Write {
    /// When the client's request was read (µs since the Unix epoch).
    pub arrived_us: i64,
    /// The write timestamp that both clusters store (µs), if it is in the request's parameters.
    pub stamp_us: Option<i64>,
    /// What may be done after a try whose outcome is unknown.
    pub repeat: Repeat,
    /// What a spill record calls it.
    pub kind: RecordKind,
    /// It deletes something.
    pub deletes: bool,
    /// How much of its age is already taken off its TTL (s).
    pub aged_s: i64,
    /// Statement and values with the whole TTL, if `body` has only what is left of it.
    pub unaged: Option<Box<Body>>,
    /// Its record in the journal; who holds the write stores its state there.
    pub journal: Option<Place>,
    /// Keyspace of the written table, or of the first one in a batch; for barriers and filters.
    pub keyspace: Rc<str>,
    /// The written table, or the first one in a batch.
    pub table: Rc<str>,
    /// Statement and values.
    pub body: Body,
}

/// Keyspace and table.
pub type Table = (Rc<str>, Rc<str>);

/// Statement and values of a write in the forms that the protocol has.
#[derive(Debug)]
pub enum Body {
    /// A statement text with the `<query_parameters>` (native protocol v4, section 4.1.4).
    Query {
        /// The text, names qualified.
        text: Rc<str>,
        /// `<query_parameters>`, the timestamp included.
        params: Vec<u8>,
    },
    /// A prepared statement with its `<query_parameters>`.
    Execute {
        /// What was prepared.
        prepared: Rc<Prepared>,
        /// `<query_parameters>`, the timestamp included.
        params: Vec<u8>,
    },
    /// A batch (section 4.1.7).
    Batch {
        /// 0 logged, 1 unlogged, 2 counter.
        kind: u8,
        /// Its statements in order.
        children: Vec<Child>,
        /// The bound values of all children, `[short n][value]…` each, one after the other.
        values: Vec<u8>,
        /// What follows the statements: consistency, flags, serial consistency, timestamp.
        tail: Vec<u8>,
    },
}

/// One statement of a batch.
#[derive(Debug)]
pub struct Child {
    /// Text or prepared statement.
    pub statement: ChildStatement,
    /// Its bound values, a range of the batch's `values`.
    pub values: Range<usize>,
}

/// How a batch names a statement.
#[derive(Debug)]
pub enum ChildStatement {
    /// By its text; the plan holds the qualified form.
    Text(Rc<Plan>),
    /// By what was prepared.
    Prepared(Rc<Prepared>),
}

impl ChildStatement {
    /// The statement's plan.
    #[must_use]
    pub fn plan(&self) -> &Rc<Plan> {
        match self {
            Self::Text(plan) => plan,
            Self::Prepared(prepared) => &prepared.plan,
        }
    }
}

impl Body {
    fn cost_bytes(&self) -> usize {
        match self {
            Self::Query { text, params } => text.len() + params.len(),
            Self::Execute { params, .. } => params.len(),
            Self::Batch {
                children,
                values,
                tail,
                ..
            } => children.len() * size_of::<Child>() + values.len() + tail.len(),
        }
    }

    /// Those that the stamp is the end of, if there is one.
    fn last_bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Query { params, .. } | Self::Execute { params, .. } => params,
            Self::Batch { tail, .. } => tail,
        }
    }
}

impl Write {
    /// The table it is counted to: its own, or the first one of a batch.
    #[must_use]
    pub fn of_table(&self) -> Table {
        (self.keyspace.clone(), self.table.clone())
    }

    /// A write that may be repeated as it is, deletes nothing, and has no stamp in its parameters.
    #[inline(always)] // put together where it stays: see `relay::spare`
    #[must_use]
    pub fn new(
        arrived_us: i64,
        keyspace: impl Into<Rc<str>>,
        table: impl Into<Rc<str>>,
        body: Body,
    ) -> Self {
        Self {
            arrived_us,
            stamp_us: None,
            repeat: Repeat::Free,
            kind: RecordKind::Write,
            deletes: false,
            aged_s: 0,
            unaged: None,
            journal: None,
            keyspace: keyspace.into(),
            table: table.into(),
            body,
        }
    }

    /// Memory that it holds, near enough for the bounds (bytes).
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        let unaged = self.unaged.as_ref().map(|unaged| unaged.cost_bytes());
        size_of::<Self>() + self.body.cost_bytes() + unaged.unwrap_or_default()
    }

    /// Statement and values as they came.
    #[must_use]
    pub fn original(&self) -> &Body {
        self.unaged.as_deref().unwrap_or(&self.body)
    }

    /// Calls `visit` with the slot of every prepared statement that it needs.
    pub fn each_prepared(&self, mut visit: impl FnMut(&Rc<Prepared>)) {
        match &self.body {
            Body::Query { .. } => {}
            Body::Execute { prepared, .. } => visit(prepared),
            Body::Batch { children, .. } => {
                for child in children {
                    if let ChildStatement::Prepared(prepared) = &child.statement {
                        visit(prepared);
                    }
                }
            }
        }
    }

    /// What the journal has to know of it beside its record.
    #[must_use]
    pub fn nature(&self, conditional: bool) -> Nature {
        Nature {
            kind: self.kind,
            repeat: self.repeat,
            conditional,
        }
    }

    /// Raises the stamp by one µs, as a second try of a whole-list write needs (CASSANDRA-11368).
    pub fn bump_stamp(&mut self) {
        let Some(stamp) = &mut self.stamp_us else {
            return;
        };
        *stamp += 1;
        let stamp = stamp.to_be_bytes();
        for body in std::iter::once(&mut self.body).chain(self.unaged.as_deref_mut()) {
            let bytes = body.last_bytes();
            // The timestamp is the last field of <query_parameters> and of a batch in v3 and v4.
            if let Some(at) = bytes.len().checked_sub(8) {
                bytes[at..].copy_from_slice(&stamp);
            }
        }
    }

    /// Takes the stamp off, so that the cluster gives its own.
    pub fn unstamp(&mut self) {
        let bytes = self.body.last_bytes(); // a delete has no TTL
        // consistency, then flags; the timestamp is the last field
        if self.stamp_us.take().is_some()
            && let (Some(flags), Some(end)) = (bytes.get(2).copied(), bytes.len().checked_sub(8))
            && flags & 0x20 != 0
        {
            bytes.truncate(end);
            bytes[2] = flags & !0x20;
        }
    }

    /// What a node of v5 is told to take for the current second, so that cells expire when they do
    /// at the source however late this arrives, by a table's default as well. `None` when the node
    /// has to go by its own clock: for what has no cells, and for deletes that come late, which
    /// would otherwise be forgotten (gc_grace_seconds) before all replicas can have them.
    #[must_use]
    pub fn now_in_seconds(&self, now_us: i64) -> Option<i32> {
        let is_late = now_us - self.arrived_us > DELETES_DATED_BACK_US;
        let has_cells = !matches!(self.kind, RecordKind::Ddl | RecordKind::Truncate);
        let arrived_s = self.arrived_us.div_euclid(1_000_000);
        i32::try_from(arrived_s + self.aged_s)
            .ok()
            .filter(|_| has_cells && !(is_late && self.deletes))
    }

    /// Appends the request for the target. `ids_of` gives the target's names of a prepared
    /// statement; every one that [`Self::each_prepared`] names must be known.
    ///
    /// # Errors
    /// Something does not fit its length field, which no request that a client sent can cause.
    pub fn encode<'i>(
        &self,
        out: &mut Vec<u8>,
        stream: i16,
        form: Form,
        ids_of: impl Fn(Slot) -> Ids<'i>,
    ) -> Result<(), EncodeError> {
        let opcode = match &self.body {
            Body::Query { .. } => Opcode::Query,
            Body::Execute { .. } => Opcode::Execute,
            Body::Batch { .. } => Opcode::Batch,
        };
        encode::envelope(
            out,
            form.version,
            Flags::NONE,
            stream,
            opcode,
            |body| match &self.body {
                Body::Query { text, params } => {
                    body.long_string(text);
                    form.put(body, params);
                }
                Body::Execute { prepared, params } => {
                    let ids = ids_of(prepared.slot);
                    body.short_bytes(ids.statement);
                    if form.version >= Version::V5 {
                        body.short_bytes(ids.columns);
                    }
                    form.put(body, params);
                }
                Body::Batch {
                    kind,
                    children,
                    values,
                    tail,
                } => {
                    body.byte(*kind);
                    body.short(u16::try_from(children.len()).unwrap_or(u16::MAX));
                    for child in children {
                        match &child.statement {
                            ChildStatement::Text(plan) => {
                                body.byte(0);
                                body.long_string(&plan.target_text);
                            }
                            ChildStatement::Prepared(prepared) => {
                                body.byte(1);
                                body.short_bytes(ids_of(prepared.slot).statement);
                            }
                        }
                        body.raw(&values[child.values.clone()]);
                    }
                    form.put(body, tail);
                }
            },
        )
    }
}

/// How a node names a prepared statement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ids<'i> {
    /// The statement.
    pub statement: &'i [u8],
    /// The columns that it gives; v5.
    pub columns: &'i [u8],
}

/// How a request is put for a node.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The version that is spoken with it.
    pub version: Version,
    /// The current second, in v5; see [`Write::now_in_seconds`].
    pub now_s: Option<i32>,
    /// The consistency level; `None`: the client's own.
    pub level: Option<Consistency>,
}

impl Form {
    /// Appends `<query_parameters>`, or the end of a batch, that are in the form of v4: in v5 the
    /// flags are an `[int]`, and the second is the last field (v5 specification, 4.1.4 and 4.1.7).
    fn put(self, body: &mut Writer<'_>, v4: &[u8]) {
        if self.version != Version::V5 && self.level.is_none() {
            return body.raw(v4);
        }
        let Some((own, behind)) = v4.split_first_chunk::<2>() else {
            return body.raw(v4);
        };
        let level = self.level.map(|level| level.number().to_be_bytes());
        body.raw(&level.unwrap_or(*own));
        let (Version::V5, [flags, rest @ ..]) = (self.version, behind) else {
            body.raw(behind);
            return;
        };
        let flags = QueryFlags(u32::from(*flags));
        let flags = flags.with_if(self.now_s.is_some(), QueryFlags::NOW_IN_SECONDS);
        body.int(flags.0.cast_signed());
        body.raw(rest);
        if let Some(now_s) = self.now_s {
            body.int(now_s);
        }
    }
}
