//! A write on its way to the target: what the live mirror sends and what a spill record holds.

use std::ops::Range;
use std::rc::Rc;

use super::plan::{Plan, Repeat};
use super::registry::Prepared;
use crate::cql::{EncodeError, Flags, Opcode, Version, encode};
use crate::journal::{Nature, Place};
use crate::spill::Kind as RecordKind;

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

    /// Appends the request for the target. `id_of` gives the target's id of a prepared statement;
    /// every one that [`Self::each_prepared`] names must be known.
    ///
    /// # Errors
    /// Something does not fit its length field, which no request that a client sent can cause.
    pub fn encode<'i>(
        &self,
        out: &mut Vec<u8>,
        stream: i16,
        id_of: impl Fn(Slot) -> &'i [u8],
    ) -> Result<(), EncodeError> {
        let opcode = match &self.body {
            Body::Query { .. } => Opcode::Query,
            Body::Execute { .. } => Opcode::Execute,
            Body::Batch { .. } => Opcode::Batch,
        };
        encode::envelope(
            out,
            Version::V4,
            Flags::NONE,
            stream,
            opcode,
            |body| match &self.body {
                Body::Query { text, params } => {
                    body.long_string(text);
                    body.raw(params);
                }
                Body::Execute { prepared, params } => {
                    body.short_bytes(id_of(prepared.slot));
                    body.raw(params);
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
                                body.short_bytes(id_of(prepared.slot));
                            }
                        }
                        body.raw(&values[child.values.clone()]);
                    }
                    body.raw(tail);
                }
            },
        )
    }
}
