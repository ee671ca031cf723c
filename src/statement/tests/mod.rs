#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tests of the statement module; the table of statements is in `table.rs`.

mod describe;
mod golden;
mod lexer;
mod properties;
mod rewrite;
mod table;
