//! What is known of a statement: plain data, made by [`classify`](super::classify).

use super::functions::FunctionCall;
use super::lexer::Span;
use super::name::TableName;

/// A classified statement. Spans and offsets are bytes of the text that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it does.
    pub kind: Kind,
    /// The text was not understood to its end. The kind follows from the first word alone, the
    /// lists may be short, `lwt` is true when an `IF` stands anywhere. The source may still accept
    /// it: such a text can be forwarded and mirrored, and qualified when it is no batch, but no
    /// value in it can be replaced.
    pub opaque: bool,
    /// Some mutation is conditional: only the source can decide whether it applies.
    pub lwt: bool,
    /// The table of a SELECT or TRUNCATE, the object of a DDL statement, the resource of a GRANT.
    /// Those of mutations are in [`mutations`](Self::mutations); see [`table`](Self::table).
    pub object: Option<TableName>,
    /// The keyspace named by USE and by DDL about keyspaces, folded.
    pub keyspace: Option<Box<str>>,
    /// `USING` at the head of a BEGIN BATCH.
    pub batch_using: Using,
    /// One for INSERT, UPDATE and DELETE; the children of a BEGIN BATCH; else none.
    pub mutations: Box<[Mutation]>,
    /// Bind markers in the order of their ordinals.
    pub markers: Box<[Marker]>,
    /// Calls of functions of a mutation that give another value each time.
    pub functions: Box<[FunctionCall]>,
    /// Where `keyspace.` goes to qualify the names that are not, ascending.
    pub unqualified: Box<[u32]>,
    /// More about a DDL statement.
    pub ddl: Option<Box<Ddl>>,
}

impl Statement {
    /// Memory that it holds beside itself (bytes), about: what stands in the text decides how much
    /// that is, and a short text can make it large.
    pub fn heap_bytes(&self) -> usize {
        /// What the allocator adds to each piece.
        const PIECE: usize = 16;
        let name = |name: &TableName| {
            let keyspace = name.keyspace.as_ref().map_or(0, |k| k.len() + PIECE);
            name.name.len() + PIECE + keyspace
        };
        let of_mutation = |mutation: &Mutation| {
            let columns = mutation.assignments.iter();
            let columns = columns.map(|one| size_of_val(one) + one.column.len() + PIECE);
            let relations = mutation.restrictions.iter().map(|one| {
                let names = one.columns.iter().map(|c| size_of_val(c) + c.len() + PIECE);
                size_of_val(one) + names.sum::<usize>() + PIECE
            });
            size_of_val(mutation)
                + name(&mutation.table)
                + columns.sum::<usize>()
                + relations.sum::<usize>()
                + 2 * PIECE
        };
        let markers = self.markers.iter().map(|marker| {
            let name = marker.name.as_ref().map_or(0, |name| name.len() + PIECE);
            size_of_val(marker) + name
        });
        self.object.as_ref().map_or(0, name)
            + self.mutations.iter().map(of_mutation).sum::<usize>()
            + markers.sum::<usize>()
            + size_of_val(&*self.functions)
            + size_of_val(&*self.unqualified)
            + self.ddl.as_ref().map_or(0, |ddl| size_of_val(&**ddl))
            + 4 * PIECE
    }

    /// The first table that the statement is about.
    pub fn table(&self) -> Option<&TableName> {
        self.object
            .as_ref()
            .or_else(|| self.mutations.first().map(|first| &first.table))
    }

    /// Whether it may change data: INSERT, UPDATE, DELETE and batches, conditional or not.
    pub fn is_mutation(&self) -> bool {
        use Kind::*;
        matches!(
            self.kind,
            Insert { .. } | Update | Delete | Batch(_) | Transaction
        )
    }

    /// Whether every mutation has a timestamp of its own or from the head of its batch.
    pub fn has_timestamp(&self) -> bool {
        let own = |mutation: &Mutation| mutation.using.timestamp.is_given();
        self.batch_using.timestamp.is_given()
            || (!self.mutations.is_empty() && self.mutations.iter().all(own))
    }

    /// Whether all of [`functions`](Self::functions) can become bind markers of a prepared
    /// statement.
    pub fn functions_are_bindable(&self) -> bool {
        !self.functions.iter().any(|call| call.in_collection)
    }

    /// Which of the tables that tell drivers about the cluster a SELECT reads, if any.
    pub fn system_table(&self, session_keyspace: Option<&str>) -> Option<SystemTable> {
        let table = self.object.as_ref().filter(|_| self.kind == Kind::Select)?;
        if table.keyspace_or(session_keyspace) != Some("system") {
            return None;
        }
        match &*table.name {
            "local" => Some(SystemTable::Local),
            "peers" => Some(SystemTable::Peers),
            "peers_v2" => Some(SystemTable::PeersV2),
            _ => None,
        }
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SELECT.
    Select,
    /// INSERT.
    Insert {
        /// `INSERT … JSON`.
        json: bool,
    },
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// BEGIN … BATCH.
    Batch(BatchType),
    /// BEGIN TRANSACTION (Cassandra's Accord): never looked into, always
    /// [`lwt`](Statement::lwt) and [`opaque`](Statement::opaque).
    Transaction,
    /// TRUNCATE.
    Truncate,
    /// USE.
    Use,
    /// CREATE, ALTER or DROP of a schema object.
    Ddl(Action, Object),
    /// CREATE, ALTER, DROP of roles, users and identities.
    Role,
    /// GRANT and REVOKE.
    Grant,
    /// LIST.
    List,
    /// DESCRIBE.
    Describe,
    /// Anything else.
    Unknown,
}

/// Type of a BEGIN BATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchType {
    /// `BEGIN BATCH`.
    Logged,
    /// `BEGIN UNLOGGED BATCH`.
    Unlogged,
    /// `BEGIN COUNTER BATCH`.
    Counter,
}

/// What a DDL statement does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// CREATE.
    Create,
    /// ALTER.
    Alter,
    /// DROP.
    Drop,
}

/// What a DDL statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// KEYSPACE or SCHEMA; the only one that is not inside a keyspace.
    Keyspace,
    /// TABLE or COLUMNFAMILY.
    Table,
    /// TYPE.
    Type,
    /// INDEX, CUSTOM or not.
    Index,
    /// MATERIALIZED VIEW.
    View,
    /// FUNCTION.
    Function,
    /// AGGREGATE.
    Aggregate,
    /// TRIGGER.
    Trigger,
    /// Something that this version does not know; the statement is opaque.
    Other,
}

/// More about a DDL statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ddl {
    /// `IF NOT EXISTS` or `IF EXISTS` stands before the name.
    pub guarded: bool,
    /// The other table that it names: of an index or trigger, the base of a view, the model of
    /// CREATE TABLE … LIKE.
    pub on: Option<TableName>,
    /// The `{…}` behind `replication =` of CREATE or ALTER KEYSPACE.
    pub replication: Option<Span>,
    /// Where `USING TIMESTAMP` can go in an ALTER TABLE that drops columns and has none.
    pub undated_drop: Option<u32>,
}

/// The tables that drivers read to learn about the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemTable {
    /// `system.local`
    Local,
    /// `system.peers`
    Peers,
    /// `system.peers_v2`
    PeersV2,
}

/// One INSERT, UPDATE or DELETE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Which of the three.
    pub verb: Verb,
    /// The table.
    pub table: TableName,
    /// From the verb to the last token; no `;`.
    pub span: Span,
    /// Its `IF`.
    pub condition: Option<Condition>,
    /// Its `USING`.
    pub using: Using,
    /// Columns and what happens to them: INSERT (…) VALUES (…), SET, DELETE …; empty for a DELETE
    /// of rows and for JSON.
    pub assignments: Box<[Assignment]>,
    /// What follows JSON.
    pub json: Option<Value>,
    /// The relations of WHERE.
    pub restrictions: Box<[Restriction]>,
}

impl Mutation {
    /// Whether `USING TTL` may stand in it.
    pub fn takes_ttl(&self) -> bool {
        self.verb != Verb::Delete
    }
}

/// Verb of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// INSERT … VALUES, or INSERT … JSON when [`Mutation::json`] is there.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

/// The condition of a light-weight transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `IF NOT EXISTS`.
    NotExists,
    /// `IF EXISTS`.
    Exists,
    /// `IF column …`.
    Columns,
}

/// The `USING` clause of a mutation or batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Using {
    /// `TIMESTAMP`, µs since 1970 by convention.
    pub timestamp: UsingValue,
    /// `TTL`, seconds.
    pub ttl: UsingValue,
    /// The clause is there.
    pub present: bool,
    /// Where more can be written: at the end of the clause (`AND …`), or where one would begin.
    pub insert_at: u32,
}

/// A value in a USING clause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsingValue {
    /// Not given.
    #[default]
    None,
    /// Written in the text.
    Literal {
        /// Its value.
        value: i64,
        /// The number in the text.
        span: Span,
    },
    /// A bind marker.
    Bound {
        /// Index into [`Statement::markers`].
        marker: u16,
    },
}

impl UsingValue {
    /// Whether it is given, by literal or marker.
    pub fn is_given(self) -> bool {
        self != Self::None
    }
}

/// A bind marker; its ordinal is its index in [`Statement::markers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The name of `:name`, folded; none for `?`.
    pub name: Option<Box<str>>,
    /// Where it is.
    pub span: Span,
}

/// What a mutation does to one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The column, folded.
    pub column: Box<str>,
    /// How.
    pub operation: Operation,
    /// With what. [`ValueKind::Null`] with an empty span for deletions.
    pub value: Value,
}

/// How a column changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The whole column: `c = v`, or INSERT.
    Set,
    /// `c = c + v`, `c += v`, and `c = c -3`, whose value is the negative number.
    Add,
    /// `c = v + c`.
    Prepend,
    /// `c = c - v`, `c -= v`.
    Subtract,
    /// `c[key] = v`.
    SetElement {
        /// The key or index.
        key: Value,
    },
    /// `c.field = v`.
    SetField,
    /// `DELETE c`.
    Delete,
    /// `DELETE c[key]`.
    DeleteElement {
        /// The key or index.
        key: Value,
    },
    /// `DELETE c.field`.
    DeleteField,
}

/// A term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its form.
    pub kind: ValueKind,
    /// Where it is.
    pub span: Span,
}

/// Form of a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// `null`.
    #[default]
    Null,
    /// Nothing but a bind marker: index into [`Statement::markers`].
    Marker(u16),
    /// A string, number, boolean, UUID, blob or duration.
    Literal,
    /// `[…]`.
    List,
    /// `{…}`: a set, a map or a user type.
    Braces,
    /// `(…)`: a tuple.
    Tuple,
    /// One function call.
    Function,
    /// An expression or type cast.
    Other,
}

/// One relation of a WHERE clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The column, or the columns of `(a, b) = …`, folded; empty when the relation has another
    /// form, like `token(a) > ?`.
    pub columns: Box<[Box<str>]>,
    /// The operator.
    pub relation: Relation,
    /// What stands behind the operator; the whole relation when `columns` is empty.
    pub value: Value,
}

/// Operator of a [`Restriction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `=`
    Equal,
    /// `IN`
    In,
    /// `<`, `<=`, `>`, `>=`: a range.
    Range,
    /// Any other.
    Other,
}
