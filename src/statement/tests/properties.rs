//! Properties of all texts, sensible or not.

use super::describe::shape;
use super::table::rows;
use crate::statement::rewrite::{parametrize_functions, qualify, replace_functions, with_ttl};
use crate::statement::{
    Generated, GeneratedValue, Kind, Lexer, Span, Statement, TokenKind, Value, ValueKind, classify,
};
use proptest::prelude::*;

/// Everything that the module does with a text; panics when something about it is not sound. The
/// fuzz target and the properties below end here.
fn exercise(text: &str) {
    let mut end = 0;
    for token in Lexer::new(text) {
        assert!(
            token.span.start >= end && token.span.end > token.span.start,
            "{token:?}"
        );
        assert!(
            text.get(span_range(token.span)).is_some(),
            "boundaries of {token:?}"
        );
        assert_ne!(token.kind, TokenKind::End);
        end = token.span.end;
    }
    let statement = classify(text);
    check_spans(text, &statement);
    let qualified = qualify(text, &statement, "Ks");
    if !statement.opaque && statement.kind != Kind::Unknown {
        assert!(classify(&qualified).unqualified.is_empty(), "{qualified}");
        assert!(!classify(&qualified).opaque, "{qualified}");
    }
    let made = parametrize_functions(text, &statement);
    let again = classify(&made.text);
    assert_eq!(
        again.markers.len(),
        statement.markers.len() + made.added.len(),
        "{}",
        made.text
    );
    assert!(again.functions.is_empty(), "{}", made.text);
    for added in &made.added {
        let marker = &again.markers[usize::from(added.ordinal)];
        assert_eq!(marker.name, added.name);
    }
    let values: Vec<_> = statement
        .functions
        .iter()
        .map(|call| value(call.returns))
        .collect();
    let replaced = classify(&replace_functions(text, &statement, &values));
    assert_eq!(replaced.markers.len(), statement.markers.len());
    assert!(replaced.functions.is_empty());
    let with_ttl = with_ttl(text, &statement, 1, |_| Some(9));
    assert_eq!(
        classify(&with_ttl.text).opaque,
        statement.opaque,
        "{}",
        with_ttl.text
    );
}

fn value(of: Generated) -> GeneratedValue {
    match of {
        Generated::TimeUuid => GeneratedValue::TimeUuid([1; 16]),
        Generated::Uuid => GeneratedValue::Uuid([2; 16]),
        Generated::Timestamp => GeneratedValue::Timestamp(-3),
        Generated::Date => GeneratedValue::Date(-4),
        Generated::Time => GeneratedValue::Time(5),
    }
}

fn span_range(span: Span) -> std::ops::Range<usize> {
    span.start as usize..span.end as usize
}

fn check_spans(text: &str, statement: &Statement) {
    let mut spans = Vec::new();
    spans.extend(statement.object.iter().map(|object| object.span));
    spans.extend(statement.markers.iter().map(|marker| marker.span));
    spans.extend(statement.functions.iter().map(|call| call.span));
    for mutation in &statement.mutations {
        spans.push(mutation.span);
        spans.push(mutation.table.span);
        let values = mutation
            .assignments
            .iter()
            .map(|assignment| &assignment.value);
        let values = values.chain(mutation.restrictions.iter().map(|one| &one.value));
        for value in values.chain(&mutation.json) {
            spans.push(value.span);
            check_marker(statement, value);
        }
    }
    for span in spans {
        assert!(text.get(span_range(span)).is_some(), "{span:?} of {text}");
    }
    assert!(statement.unqualified.is_sorted());
    for at in &statement.unqualified {
        assert!(text.is_char_boundary(*at as usize));
    }
    let ordered = |pair: &[Span]| pair[0].end <= pair[1].start;
    let functions: Vec<Span> = statement.functions.iter().map(|call| call.span).collect();
    assert!(functions.windows(2).all(ordered), "{functions:?}");
    let markers: Vec<Span> = statement.markers.iter().map(|marker| marker.span).collect();
    assert!(markers.windows(2).all(ordered), "{markers:?}");
}

fn check_marker(statement: &Statement, value: &Value) {
    if let ValueKind::Marker(ordinal) = value.kind {
        assert_eq!(statement.markers[usize::from(ordinal)].span, value.span);
    }
}

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
