//! Properties of all texts, sensible or not.

use super::describe::shape;
use super::table::rows;
use crate::statement::{Lexer, TokenKind, classify};
use exercise_statement::exercise;
use proptest::prelude::*;

#[path = "../../../tests/fuzz/src/exercise_statement.rs"]
mod exercise_statement;

/// What may stand between two tokens.
fn blank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        " ",
        "\n",
        "\t\r\n",
        "/**/ ",
        " /* ' \" $$ */ ",
        " -- ' IF EXISTS\n",
        "// now() \"\r",
        " /* USING TIMESTAMP 5 */",
        " --\n",
    ])
}

/// Pieces that a text of CQL is made of.
fn piece() -> impl Strategy<Value = String> {
    let tokens: Vec<String> = rows()
        .iter()
        .flat_map(|(text, _)| Lexer::new(text).map(|token| token.span.of(text).to_owned()))
        .collect();
    prop_oneof![
        8 => prop::sample::select(tokens),
        1 => any::<char>().prop_map(String::from),
        1 => prop::sample::select(vec!["'", "\"", "$$", "/*", "*/", "--", "µs", "é"])
            .prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn any_heap_of_pieces_is_taken(pieces in prop::collection::vec((piece(), blank()), 0..40)) {
        let text: String = pieces.iter().flat_map(|(piece, blank)| [piece, *blank]).collect();
        exercise(&text);
        let dense: String = pieces.iter().map(|(piece, _)| piece.as_str()).collect();
        exercise(&dense);
    }

    #[test]
    fn blanks_and_case_change_nothing(
        row in prop::sample::select(rows()),
        blanks in prop::collection::vec(blank(), 1..20),
        flips in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (text, _) = row;
        let mut plain = String::new();
        let mut dressed = blanks[0].to_owned();
        let mut flips = flips.iter().cycle();
        let tokens: Vec<_> = Lexer::new(&text).collect();
        for (token, blank) in tokens.iter().zip(blanks.iter().cycle()) {
            let part = token.span.of(&text);
            plain.push_str(part);
            plain.push(' ');
            if token.kind == TokenKind::Word {
                let flip = |c: char| match flips.next() {
                    Some(true) => c.to_ascii_uppercase(),
                    _ => c.to_ascii_lowercase(),
                };
                dressed.extend(part.chars().map(flip));
            } else {
                dressed.push_str(part);
            }
            dressed.push_str(blank);
        }
        prop_assume!(!tokens.iter().any(|token| token.kind == TokenKind::Unterminated));
        prop_assert_eq!(shape(&dressed), shape(&plain));
        prop_assert_eq!(shape(&plain), shape(&text));
        exercise(&dressed);
    }
}

#[test]
fn every_statement_of_the_table_is_sound() {
    for (text, _) in rows() {
        exercise(&text);
        for end in (0..text.len())
            .step_by(5)
            .filter(|end| text.is_char_boundary(*end))
        {
            exercise(&text[..end]);
        }
    }
}

#[test]
fn deep_and_long_texts_end() {
    for open in ["(", "[", "{", "now(", "{:a:", "(1,"] {
        exercise(&format!("INSERT INTO t (a) VALUES ({}", open.repeat(5_000)));
        exercise(&format!("UPDATE t SET a = 1 WHERE {}", open.repeat(5_000)));
        exercise(&format!("SELECT {} FROM t", open.repeat(5_000)));
    }
    let markers = "?, ".repeat(70_000);
    let text = format!("INSERT INTO t (a, b) VALUES ([{markers}1], 1)");
    assert!(
        classify(&text).opaque,
        "more markers than the protocol can bind"
    );
    let batch = "DELETE FROM t WHERE a=1;".repeat(70_000);
    let text = format!("BEGIN BATCH {batch} APPLY BATCH");
    assert!(
        classify(&text).opaque,
        "more statements than the protocol can batch"
    );
}
