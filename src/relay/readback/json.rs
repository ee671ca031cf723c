//! The top level of a JSON document, as far as the key's columns lie in it.

use super::piece::{Bound, Piece};
use crate::cql::Value as Wire;
use crate::statement::{Value, ValueKind};

/// Names and raw values of the outermost object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document(Vec<(String, String)>);

impl Document {
    /// Reads what follows JSON in an INSERT. None: it is no object.
    #[must_use]
    pub fn read(value: Value, bound: &Bound<'_>) -> Option<Self> {
        match value.kind {
            ValueKind::Marker(marker) => match bound.value(marker) {
                Wire::Bytes(bytes) => Self::parse(std::str::from_utf8(bytes).ok()?),
                Wire::Null | Wire::Unset => None,
            },
            _ => {
                let literal = value.span.of(bound.text);
                match literal
                    .strip_prefix("$$")
                    .and_then(|t| t.strip_suffix("$$"))
                {
                    Some(inner) => Self::parse(inner),
                    None => {
                        let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
                        Self::parse(&inner.replace("''", "'"))
                    }
                }
            }
        }
    }

    /// The term that stands for a column's value.
    #[must_use]
    pub fn term(&self, column: &str) -> Option<Piece> {
        let (_, raw) = self.0.iter().rev().find(|(name, _)| name == column)?;
        if raw == "null" {
            return None;
        }
        let mut piece = Piece::of("fromJson(?)");
        piece.value(Some(raw.as_bytes()));
        Some(piece)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim_start().strip_prefix('{')?.trim_start();
        let mut fields = Vec::new();
        while !rest.starts_with('}') {
            if !fields.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
            let (name, after) = rest.split_at(string_end(rest)?);
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            let (value, after) = rest.split_at(value_end(rest)?);
            fields.push((column(name)?, value.trim_end().to_owned()));
            rest = after.trim_start();
        }
        Some(Self(fields))
    }
}

/// The column that a name in a document means: folded, unless it has quotes of its own.
fn column(raw: &str) -> Option<String> {
    let name: String = serde_json::from_str(raw).ok()?;
    let quoted = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    Some(match quoted {
        Some(inner) => inner.to_owned(),
        None => name.to_lowercase(),
    })
}

/// Length of the string that `text` begins with (bytes).
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let mut bytes = text.bytes().enumerate();
    if bytes.next()?.1 != b'"' {
        return None;
    }
    for (at, byte) in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Length of the value that `text` begins with (bytes): up to the comma or bracket behind it.
fn value_end(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let byte = *text.as_bytes().get(at)?;
        match byte {
            b'"' => {
                at += string_end(text.get(at..)?)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}
