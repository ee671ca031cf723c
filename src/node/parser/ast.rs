//! What a CQL text says, before the schema is asked.

/// A name that may carry its keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QName {
    pub(crate) keyspace: Option<String>,
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiteralKind {
    Text,
    Integer,
    Float,
    Uuid,
    Boolean,
    Hex,
    Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Null,
    Literal(LiteralKind, String),
    /// Number of the bind marker, from 0, in the order of the text.
    Bind(usize),
    List(Vec<Term>),
    /// `{}` is a set without elements: a map when the column is one.
    Set(Vec<Term>),
    Map(Vec<(Term, Term)>),
    Udt(Vec<(String, Term)>),
    Tuple(Vec<Term>),
    Call(String, Vec<Term>),
    Cast(RawType, Box<Term>),
}

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawType {
    Named(QName),
    List(Box<RawType>),
    Set(Box<RawType>),
    Map(Box<RawType>, Box<RawType>),
    Tuple(Vec<RawType>),
    Frozen(Box<RawType>),
    /// `'org.apache.cassandra.db.marshal.…'`
    Custom(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Contains,
    ContainsKey,
    IsNotNull,
    Like,
}

impl Op {
    /// As error messages show it.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Op::Eq => "=",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::In => "IN",
            Op::Contains => "CONTAINS",
            Op::ContainsKey => "CONTAINS KEY",
            Op::IsNotNull => "IS NOT",
            Op::Like => "LIKE",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Column(String),
    Element(String, Term),
    Field(String, String),
    Token(Vec<String>),
    Tuple(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    One(Term),
    /// `IN (…, …)`; `IN ?` is `One`.
    Many(Vec<Term>),
}

/// One condition, of WHERE or of IF.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation {
    pub(crate) target: Target,
    pub(crate) op: Op,
    pub(crate) operand: Operand,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Using {
    pub(crate) timestamp: Option<Term>,
    pub(crate) ttl: Option<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Assign {
    Set(Term),
    /// `c = c + x`, `c += x`
    Add(Term),
    /// `l = x + l`
    Prepend(Term),
    /// `c = c - x`, `c -= x`
    Subtract(Term),
    /// `c[i] = x`
    Element(Term, Term),
    /// `u.f = x`
    Field(String, Term),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ModifyKind {
    Insert {
        columns: Vec<(String, Term)>,
    },
    InsertJson {
        json: Term,
        default_unset: bool,
    },
    Update {
        assigns: Vec<(String, Assign)>,
    },
    /// Columns, elements and fields; none is the whole row.
    Delete {
        targets: Vec<Target>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    None,
    NotExists,
    Exists,
    Columns(Vec<Relation>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Modify {
    pub(crate) table: QName,
    pub(crate) kind: ModifyKind,
    pub(crate) using: Using,
    pub(crate) wheres: Vec<Relation>,
    pub(crate) condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchKind {
    Logged,
    Unlogged,
    Counter,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) kind: BatchKind,
    pub(crate) using: Using,
    pub(crate) children: Vec<Modify>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Selector {
    Column(String),
    CountAll,
    Writetime(String),
    Ttl(String),
    Call(String, Vec<Selector>),
    Cast(Box<Selector>, RawType),
    Field(Box<Selector>, String),
    Element(Box<Selector>, Term),
    Term(Term),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) table: QName,
    pub(crate) json: bool,
    pub(crate) distinct: bool,
    /// With their aliases; none is `*`.
    pub(crate) items: Vec<(Selector, Option<String>)>,
    pub(crate) wheres: Vec<Relation>,
    pub(crate) group_by: Vec<String>,
    /// The flag says descending.
    pub(crate) order_by: Vec<(String, bool)>,
    pub(crate) per_partition_limit: Option<Term>,
    pub(crate) limit: Option<Term>,
    pub(crate) filtering: bool,
}

/// The value of an option after WITH.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OptionValue {
    Text(String),
    Map(Vec<(String, String)>),
}

pub(crate) type Options = Vec<(String, OptionValue)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) table: QName,
    pub(crate) if_not_exists: bool,
    /// Name, type, static.
    pub(crate) columns: Vec<(String, RawType, bool)>,
    pub(crate) partition_key: Vec<String>,
    pub(crate) clustering: Vec<String>,
    /// The flag says descending.
    pub(crate) order: Vec<(String, bool)>,
    pub(crate) options: Options,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlterTable {
    /// Name, type, static.
    Add(Vec<(String, RawType, bool)>),
    Drop(Vec<String>),
    Rename(Vec<(String, String)>),
    With(Options),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlterType {
    Add(String, RawType),
    Rename(Vec<(String, String)>),
}

/// A schema change. The flag of a creation is IF NOT EXISTS, else IF EXISTS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ddl {
    CreateKeyspace(String, bool, Options),
    AlterKeyspace(String, bool, Options),
    DropKeyspace(String, bool),
    CreateTable(CreateTable),
    AlterTable(QName, bool, AlterTable),
    DropTable(QName, bool),
    CreateType(QName, bool, Vec<(String, RawType)>),
    AlterType(QName, bool, AlterType),
    DropType(QName, bool),
    /// Index name, table, target column.
    CreateIndex(Option<String>, bool, QName, String),
    DropIndex(QName, bool),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Use(String),
    Truncate(QName),
    Ddl(Ddl),
    Modify(Modify),
    Batch(Batch),
    Select(Box<Select>),
}
