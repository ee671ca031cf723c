//! Any text: the lexer and the classifier take it, and the rewriters make texts that say what they
//! should.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../../src/statement/mod.rs"]
mod statement;

use statement::rewrite::{parametrize_functions, qualify, replace_functions, with_ttl};
use statement::{Generated, GeneratedValue, Kind, Lexer, Span, Statement, classify};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut end = 0;
    for token in Lexer::new(text) {
        assert!(
            token.span.start >= end && token.span.end > token.span.start,
            "{token:?}"
        );
        inside(text, token.span);
        end = token.span.end;
    }
    let statement = classify(text);
    spans(&statement).for_each(|span| inside(text, span));
    let qualified = classify(&qualify(text, &statement, "Ks"));
    if !statement.opaque && statement.kind != Kind::Unknown {
        assert!(qualified.unqualified.is_empty() && !qualified.opaque);
    }
    let made = parametrize_functions(text, &statement);
    let again = classify(&made.text);
    assert_eq!(
        again.markers.len(),
        statement.markers.len() + made.added.len()
    );
    assert!(again.functions.is_empty());
    let values: Vec<_> = statement
        .functions
        .iter()
        .map(|call| value(call.returns))
        .collect();
    let replaced = classify(&replace_functions(text, &statement, &values));
    assert_eq!(replaced.markers.len(), statement.markers.len());
    assert!(replaced.functions.is_empty());
    let aged = with_ttl(text, &statement, 1, |_| Some(9));
    assert_eq!(classify(&aged.text).opaque, statement.opaque);
});

fn spans(statement: &Statement) -> impl Iterator<Item = Span> {
    let markers = statement.markers.iter().map(|marker| marker.span);
    let functions = statement.functions.iter().map(|call| call.span);
    let mutations = statement
        .mutations
        .iter()
        .flat_map(|one| [one.span, one.table.span]);
    let object = statement.object.iter().map(|object| object.span);
    markers.chain(functions).chain(mutations).chain(object)
}

fn inside(text: &str, span: Span) {
    let range = span.start as usize..span.end as usize;
    assert!(text.get(range).is_some(), "{span:?} of {text}");
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
