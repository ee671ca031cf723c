//! What a statement's text says: kind, tables, stamps, and what two clusters could disagree on.
//!
//! # Story
//! [`Lexer`] cuts a text into tokens, so that nothing in a string, comment or quoted name is ever
//! taken for something else. [`classify`] reads the tokens: the first word tells the [`Kind`], and
//! a reader for that kind collects what the proxy needs. Terms are only skipped over, in balanced
//! brackets, with the bind markers and [`FunctionCall`]s in them noted. [`rewrite`] makes new
//! texts: with qualified names, with generated values in the place of `now()` and kin, with the TTL
//! that is left.
//!
//! # Never guess
//! The source decides whether a text is valid; this module only has to be right about valid ones.
//! What it does not understand is [`opaque`](Statement::opaque) with the kind that the first word
//! tells, or [`Kind::Unknown`], and never an error: such a text still goes to the source, and if it
//! is a write and the source takes it, to the target.
//!
//! # Sources
//! Cassandra's `Lexer.g` and `Parser.g`, 3.11 to 5.0, and the few words that ScyllaDB adds
//! (`USING TIMEOUT`). `tests/golden/statements.tsv` holds what Cassandra's own parser says of the
//! statements in the tests.

mod classify;
mod classify_ddl;
mod classify_mutation;
mod cursor;
mod functions;
mod lexer;
mod model;
mod name;
pub mod rewrite;
mod select;

pub use classify::classify;
pub use functions::{FunctionCall, Generated, GeneratedBytes, GeneratedValue};
pub use lexer::{Lexer, Span, Token, TokenKind};
pub use model::*;
pub use name::{TableName, quote};
pub use select::{PlainSelect, Term};

#[cfg(test)]
mod tests;
