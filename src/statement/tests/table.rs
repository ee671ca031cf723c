//! The table of statements, and what Cassandra's own parser says of them.

use super::describe::describe;

/// Statements with the line that describes each; see the head of the file.
pub(super) const TABLE: &str = include_str!("statements.txt");

/// The statements of the table, unescaped, each with what is expected.
pub(super) fn rows() -> Vec<(String, &'static str)> {
    let mut lines = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut rows = Vec::new();
    while let Some(statement) = lines.next() {
        let expected = lines.next().and_then(|line| line.strip_prefix("    "));
        rows.push((
            unescape(statement),
            expected.expect("an indented line follows a statement"),
        ));
    }
    rows
}

pub(super) fn unescape(line: &str) -> String {
    let escapes = [
        ("\\n", "\n"),
        ("\\r", "\r"),
        ("\\t", "\t"),
        ("\\u00a0", "\u{a0}"),
    ];
    let plain = |part: &str| {
        escapes
            .iter()
            .fold(part.to_owned(), |s, (from, to)| s.replace(from, to))
    };
    line.split("\\\\").map(plain).collect::<Vec<_>>().join("\\")
}

#[test]
fn statements_are_what_the_table_says() {
    let rows = rows();
    assert!(rows.len() >= 400, "the table is read: {} rows", rows.len());
    let mut wrong = Vec::new();
    for (statement, expected) in &rows {
        let got = describe(statement);
        if got != *expected {
            wrong.push(format!(
                "{statement}\n    is       {got}\n    expected {expected}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
