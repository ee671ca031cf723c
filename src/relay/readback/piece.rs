//! Bits of CQL with the values of their markers.

use std::ops::Range;

use crate::cql::values::Values;
use crate::cql::{Reader, Value};
use crate::statement::{Lexer, Span, Statement, TokenKind};

/// A bit of CQL and the values of its `?`s, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// `[value]`s.
    pub values: Vec<u8>,
    /// How many.
    pub count: u16,
}

impl Piece {
    /// A text without markers.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends the value of a marker that is in the text.
    pub fn value(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.values.extend_from_slice(&length.to_be_bytes());
        self.values.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
    }

    /// A marker, with an element of a collection as its value.
    #[must_use]
    pub fn of_element(element: &[u8]) -> Self {
        Self {
            text: "?".to_owned(),
            values: element.to_vec(),
            count: 1,
        }
    }

    /// `column[key]`, of the key.
    #[must_use]
    pub fn in_brackets(&self, column: &str) -> Self {
        let mut piece = Self::of(format!("{column}["));
        piece.push(self);
        piece.text("]");
        piece
    }

    /// Appends another piece.
    pub fn push(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        self.values.extend_from_slice(&other.values);
        self.count += other.count;
    }
}

/// A statement's text and the values that a request binds to its markers.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'b> {
    /// The text that `statement` was made from.
    pub text: &'b str,
    /// What it says.
    pub statement: &'b Statement,
    /// What is bound.
    pub values: Option<Values<'b>>,
}

impl<'b> Bound<'b> {
    /// The value of a marker; unset if nothing is bound to it.
    #[must_use]
    pub fn value(&self, marker: u16) -> Value<'b> {
        let name = self
            .statement
            .markers
            .get(usize::from(marker))
            .and_then(|marker| marker.name.as_deref());
        let mut values = self.values.iter().flat_map(Values::iter).enumerate();
        values
            .find(|(index, bound)| match bound.name {
                None => *index == usize::from(marker),
                found => found == name,
            })
            .map_or(Value::Unset, |(_, bound)| bound.value)
    }

    /// A term as it stands, with `?` for each of its markers. None if one is not set.
    #[must_use]
    pub fn term(&self, span: Span) -> Option<Piece> {
        let mut piece = Piece::default();
        let mut copied = span.start;
        for (ordinal, marker) in (0..).zip(&self.statement.markers) {
            let at = marker.span;
            if at.start < span.start || at.end > span.end {
                continue;
            }
            piece.text(self.cut(copied..at.start));
            piece.text("?");
            match self.value(ordinal) {
                Value::Bytes(bytes) => piece.value(Some(bytes)),
                Value::Null => piece.value(None),
                Value::Unset => return None,
            }
            copied = at.end;
        }
        piece.text(self.cut(copied..span.end));
        Some(piece)
    }

    fn cut(&self, range: Range<u32>) -> &'b str {
        let (start, end) = (range.start, range.end);
        Span { start, end }.of(self.text)
    }

    /// The terms in `(a, b, …)`.
    #[must_use]
    pub fn list(&self, span: Span) -> Vec<Span> {
        let (mut depth, mut from, mut found) = (0, span.start, Vec::new());
        for token in Lexer::new(span.of(self.text)) {
            let (start, end) = (span.start + token.span.start, span.start + token.span.end);
            match token.kind {
                TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => {
                    depth += 1;
                    if depth == 1 {
                        from = end;
                    }
                    continue;
                }
                TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::CloseBrace => {
                    depth -= 1;
                    if depth > 0 {
                        continue;
                    }
                }
                TokenKind::Comma if depth == 1 => {}
                _ => continue,
            }
            if !self.cut(from..start).trim().is_empty() {
                let end = start;
                found.push(Span { start: from, end });
            }
            from = end;
        }
        found
    }
}

/// The elements of a list, set or map as the protocol writes it from v3 on (`width` 2 for maps):
/// each with its length. None if it is malformed.
#[must_use]
pub fn elements(bytes: &[u8], width: usize) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(bytes);
    let count = usize::try_from(reader.int().ok()?).ok()?;
    let mut found = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let start = reader.position();
        for _ in 0..width {
            reader.value().ok()?;
        }
        found.push(reader.since(start));
    }
    Some(found)
}

/// A collection of these elements.
#[must_use]
pub fn collection<'e>(elements: impl ExactSizeIterator<Item = &'e [u8]>) -> Vec<u8> {
    let count = i32::try_from(elements.len()).unwrap_or(i32::MAX);
    let mut out = count.to_be_bytes().to_vec();
    elements.for_each(|element| out.extend_from_slice(element));
    out
}
