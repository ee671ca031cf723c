//! Names as the server understands them: folded, unquoted, quoted again.

use super::lexer::{Span, Token, TokenKind};
use std::borrow::Cow;

/// Name of a table, or of a type, function, view, index…, with its keyspace when the text has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The keyspace, when written in the text: folded to lower case unless it was quoted.
    pub keyspace: Option<Box<str>>,
    /// The name, folded likewise.
    pub name: Box<str>,
    /// Where it stands in the text, keyspace included.
    pub span: Span,
}

impl TableName {
    /// The keyspace that is meant when the session's is `session`.
    pub fn keyspace_or<'a>(&'a self, session: Option<&'a str>) -> Option<&'a str> {
        self.keyspace.as_deref().or(session)
    }
}

/// The name that a word or quoted name stands for: lower case, or what is between the quotes.
pub(super) fn fold(token: Token, text: &str) -> Cow<'_, str> {
    let raw = token.span.of(text);
    if token.kind == TokenKind::QuotedName {
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or("");
        return match inner.contains('"') {
            true => Cow::Owned(inner.replace("\"\"", "\"")),
            false => Cow::Borrowed(inner),
        };
    }
    match raw.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(raw.to_ascii_lowercase()),
        false => Cow::Borrowed(raw),
    }
}

/// `name` as it must be written in a statement: bare when that is safe, quoted otherwise.
///
/// Safe is lower case letters, digits and `_` after a letter, and no reserved word.
pub fn quote(name: &str) -> Cow<'_, str> {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !RESERVED.contains(&name)
        && !looks_like_literal(name);
    match plain {
        true => Cow::Borrowed(name),
        false => Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))),
    }
}

/// Words that the lexer or the grammar takes for a value, though no keyword list names them.
fn looks_like_literal(name: &str) -> bool {
    matches!(name, "true" | "false" | "nan" | "infinity" | "null")
}

/// Cassandra's `ReservedKeywords` (5.0, a superset of 3.11's), and words that ScyllaDB adds.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "any",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "check",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "each_quorum",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "indexes",
    "inet",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "local_one",
    "local_quorum",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "norecursive",
    "not",
    "of",
    "on",
    "one",
    "or",
    "order",
    "password",
    "primary",
    "quorum",
    "rename",
    "replace",
    "revoke",
    "schema",
    "scylla_clustering_bound",
    "scylla_counter_shard_list",
    "scylla_timeuuid_list_index",
    "select",
    "set",
    "table",
    "three",
    "to",
    "token",
    "truncate",
    "two",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];
