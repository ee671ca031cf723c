//! The tables that are written to, and what may be done to each.

use crate::random::value::Kind;

/// A table, and which clients write to which rows.
pub struct Shape {
    pub name: &'static str,
    pub statics: &'static [(&'static str, Kind)],
    pub columns: &'static [(&'static str, Kind)],
    /// Each client has a partition of its own.
    pub own: bool,
    /// Stamps of the past or of the client's clock are allowed.
    pub stamps: bool,
}

pub const SCHEMA: &[&str] = &[
    "CREATE TYPE addr (street text, no int)",
    "CREATE TABLE plain (p int, c int, s int STATIC, ss set<int> STATIC, a int, big bigint, \
     t text, bl blob, bo boolean, dou double, de decimal, v varint, u uuid, tu timeuuid, \
     ts timestamp, tup tuple<int, text>, fl frozen<list<int>>, fu frozen<addr>, st set<int>, \
     m map<text, int>, ud addr, PRIMARY KEY (p, c))",
    "CREATE TABLE expiring (p int, c int, s text STATIC, a int, t text, m map<text, int>, \
     PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC) AND default_time_to_live = 80000",
    "CREATE TABLE cond (p int, c int, s int STATIC, a int, t text, fl frozen<list<int>>, \
     PRIMARY KEY (p, c))",
    "CREATE TABLE checked (p int, c int, a int, st set<int>, m map<text, int>, ud addr, \
     PRIMARY KEY (p, c))",
    "CREATE TABLE lists (p int, c int, a int, l list<int>, PRIMARY KEY (p, c))",
    "CREATE TABLE counts (p int, c int, n counter, m counter, PRIMARY KEY (p, c))",
];

pub const PLAIN: Shape = Shape {
    name: "plain",
    statics: &[("s", Kind::Int), ("ss", Kind::Set)],
    columns: &[
        ("a", Kind::Int),
        ("big", Kind::Big),
        ("t", Kind::Text),
        ("bl", Kind::Blob),
        ("bo", Kind::Bool),
        ("dou", Kind::Double),
        ("de", Kind::Decimal),
        ("v", Kind::Varint),
        ("u", Kind::Uuid),
        ("tu", Kind::TimeUuid),
        ("ts", Kind::Stamp),
        ("tup", Kind::Tuple),
        ("fl", Kind::FrozenList),
        ("fu", Kind::FrozenUser),
        ("st", Kind::Set),
        ("m", Kind::Map),
        ("ud", Kind::User),
    ],
    own: false,
    stamps: true,
};

pub const EXPIRING: Shape = Shape {
    name: "expiring",
    statics: &[("s", Kind::Text)],
    columns: &[("a", Kind::Int), ("t", Kind::Text), ("m", Kind::Map)],
    own: false,
    stamps: true,
};

/// Conditional and plain writes of all clients.
pub const CONDITIONAL: Shape = Shape {
    name: "cond",
    statics: &[("s", Kind::Int)],
    columns: &[
        ("a", Kind::Int),
        ("t", Kind::Text),
        ("fl", Kind::FrozenList),
    ],
    own: false,
    stamps: true,
};

/// Conditional writes to collections. Before 5.0 the source does not tell the stamps of elements,
/// so what is read back gets the stamp of the conditional write ("LWT" in SEMANTICS): a write with
/// an older stamp that comes later could only be told apart by the source. So here each client has
/// rows of its own, and the stamps are the proxy's, which never go back.
pub const CHECKED: Shape = Shape {
    name: "checked",
    statics: &[],
    columns: &[
        ("a", Kind::Int),
        ("st", Kind::Set),
        ("m", Kind::Map),
        ("ud", Kind::User),
    ],
    own: true,
    stamps: false,
};

/// The order of a list's elements is that in which the source took the operations ("non-frozen
/// lists" in SEMANTICS). Of operations that several clients have on their way at once nobody but
/// the source knows it, so each client has lists of its own. Stamps are the proxy's: an index or a
/// removal reads before it writes, so what it does under an older stamp depends on the moment.
pub const LISTS: Shape = Shape {
    name: "lists",
    statics: &[],
    columns: &[("a", Kind::Int), ("l", Kind::List)],
    own: true,
    stamps: false,
};

pub const COUNTS: Shape = Shape {
    name: "counts",
    statics: &[],
    columns: &[],
    own: false,
    stamps: false,
};
