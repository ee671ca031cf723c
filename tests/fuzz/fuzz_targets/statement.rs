//! libFuzzer's door to the lexer, the classifier and the rewrites of `src/statement`, which need
//! nothing but the standard library and are compiled right here.
#![no_main]

#[path = "../src/exercise_statement.rs"]
mod exercise_statement;
#[allow(dead_code, unused_imports, reason = "the target calls a part of the module")]
#[path = "../../../src/statement/mod.rs"]
mod statement;

libfuzzer_sys::fuzz_target!(|text: &str| exercise_statement::exercise(text));
