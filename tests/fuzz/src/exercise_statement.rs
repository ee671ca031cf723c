//! Everything that the statement module does with a text, and what must hold of it.
//!
//! Used by the fuzz target `statement` and by the unit tests of `src/statement`, which compile it
//! too.

use crate::statement::rewrite::{parametrize_functions, qualify, replace_functions, with_ttl};
use crate::statement::{
    Generated, GeneratedValue, Kind, Lexer, Span, Statement, TokenKind, Value, ValueKind, classify,
};

/// Panics when something about the text is not sound.
pub fn exercise(text: &str) {
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
    if statement.functions_are_bindable() {
        check_parametrized(text, &statement);
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

fn check_parametrized(text: &str, statement: &Statement) {
    let made = parametrize_functions(text, statement);
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
