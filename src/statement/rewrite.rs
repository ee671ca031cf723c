//! Texts made from a statement's text. Only what must change does: all other bytes stay.

use super::functions::{Generated, GeneratedBytes, GeneratedValue};
use super::lexer::Span;
use super::model::{Statement, UsingValue};
use super::name::quote;
use crate::limits;
use std::borrow::Cow;
use std::fmt::Write;

/// Writes `keyspace` in front of each table (or type, index…) name that has none, so that the text
/// means the same on a connection with another keyspace.
///
/// `statement` must be made from `text`. Nothing changes when all names are qualified.
pub fn qualify<'a>(text: &'a str, statement: &Statement, keyspace: &str) -> Cow<'a, str> {
    if statement.unqualified.is_empty() {
        return Cow::Borrowed(text);
    }
    let keyspace = quote(keyspace);
    let mut edit = Edit::new(text, statement.unqualified.len() * (keyspace.len() + 1));
    for &at in &statement.unqualified {
        edit.replace(Span { start: at, end: at }, |out| {
            out.push_str(&keyspace);
            out.push('.');
        });
    }
    Cow::Owned(edit.finish())
}

/// What stands before the moment of a drop.
const DATED: &str = " USING TIMESTAMP ";

/// Gives an ALTER TABLE that drops columns, and does not say when, this timestamp (µs): what was
/// written to them before it is gone, also if columns of these names are added again. None if
/// `text` is no such statement.
#[must_use]
pub fn date_drop(text: &str, statement: &Statement, stamp_us: i64) -> Option<String> {
    let at = statement.ddl.as_ref()?.undated_drop?;
    let mut edit = Edit::new(text, 40);
    edit.replace(Span { start: at, end: at }, |out| {
        _ = write!(out, "{DATED}{stamp_us}");
    });
    Some(edit.finish())
}

/// Takes out what [`date_drop`] put in. None if it is not there.
#[must_use]
pub fn undate_drop(text: &str) -> Option<String> {
    let (before, after) = text.rsplit_once(DATED)?;
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < after.len()).then(|| format!("{before}{rest}"))
}

/// Puts `values`, one for each of [`Statement::functions`], in the place of the calls, as
/// literals. Calls without a value stay.
pub fn replace_functions(text: &str, statement: &Statement, values: &[GeneratedValue]) -> String {
    let mut edit = Edit::new(text, values.len() * 52);
    for (call, value) in statement.functions.iter().zip(values) {
        let gap = gap_after(text, call.span);
        edit.replace(call.span, |out| _ = write!(out, "{value}{gap}"));
    }
    edit.finish()
}

/// A prepared statement whose function calls have become bind markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parametrized {
    /// The text to prepare.
    pub text: String,
    /// The added markers, by ascending ordinal.
    pub added: Box<[AddedMarker]>,
}

/// A bind marker that the client does not know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedMarker {
    /// Its ordinal among all markers of the new text.
    pub ordinal: u16,
    /// Its name, for requests that bind by name; none when the statement's markers have none, until
    /// the server has said what it calls them.
    pub name: Option<Box<str>>,
    /// What to bind.
    pub returns: Generated,
}

/// Puts a bind marker, with its type as a cast, in the place of each call of
/// [`Statement::functions`]. The markers are named when the statement has named ones only.
///
/// A server refuses to prepare the text unless [`Statement::functions_are_bindable`]; then the
/// statement can be sent as a plain query with literals instead, with the same bound values.
pub fn parametrize_functions(text: &str, statement: &Statement) -> Parametrized {
    let named = !statement.markers.is_empty()
        && statement.markers.iter().all(|marker| marker.name.is_some());
    let mut edit = Edit::new(text, statement.functions.len() * 40);
    let mut added = Vec::with_capacity(statement.functions.len());
    for (index, call) in statement.functions.iter().enumerate() {
        let before = u16::try_from(index).unwrap_or(u16::MAX);
        let name = named.then(|| unused_name(statement, index));
        let gap = gap_after(text, call.span);
        edit.replace(call.span, |out| {
            _ = match &name {
                Some(name) => write!(out, "({}):{name}{gap}", call.returns.type_name()),
                None => write!(out, "({})?{gap}", call.returns.type_name()),
            }
        });
        let ordinal = call.markers_before.saturating_add(before);
        added.push(AddedMarker {
            ordinal,
            name,
            returns: call.returns,
        });
    }
    Parametrized {
        text: edit.finish(),
        added: added.into(),
    }
}

/// A space when the next token would melt into what replaces `call`, as in `now()WHERE`.
fn gap_after(text: &str, call: Span) -> &'static str {
    match text.as_bytes().get(call.end as usize) {
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-' => " ",
        _ => "",
    }
}

/// A marker name that the statement does not use.
fn unused_name(statement: &Statement, index: usize) -> Box<str> {
    let taken = |name: &str| {
        statement
            .markers
            .iter()
            .any(|m| m.name.as_deref() == Some(name))
    };
    let mut name = format!("generated_{index}");
    while taken(&name) {
        name.push('_');
    }
    name.into()
}

/// The values to bind for the [`added`](Parametrized::added) markers.
pub fn bound_values(values: &[GeneratedValue]) -> impl Iterator<Item = GeneratedBytes> {
    values.iter().map(|value| value.bytes())
}

/// A text whose TTLs are what is left of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithTtl<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// Markers whose bound value is a TTL and must be edited by the caller, ascending.
    pub bound: Box<[u16]>,
}

/// Lets a statement that was made `elapsed_seconds` ago expire when it should.
///
/// A literal TTL becomes what is left of it, but at least 1: 0 would mean forever, and an expired
/// cell must still hide older ones. A literal 0 stays. A TTL that is bound is reported. Where there
/// is none, and it is an INSERT or UPDATE, `missing` is asked with the mutation's index for the
/// seconds to write (those left of the table's default); `None` writes nothing.
pub fn with_ttl<'a>(
    text: &'a str,
    statement: &Statement,
    elapsed_seconds: i64,
    mut missing: impl FnMut(usize) -> Option<i64>,
) -> WithTtl<'a> {
    let mut edit = Edit::new(text, statement.mutations.len() * 24);
    let mut bound = Vec::new();
    for (index, mutation) in statement.mutations.iter().enumerate() {
        match mutation.using.ttl {
            UsingValue::Bound { marker } => bound.push(marker),
            UsingValue::Literal { value, span } => {
                if let Some(left) = ttl_left(value, elapsed_seconds).filter(|left| *left != value) {
                    edit.replace(span, |out| _ = write!(out, "{left}"));
                }
            }
            UsingValue::None => {
                if let Some(seconds) = missing(index).filter(|_| mutation.takes_ttl()) {
                    let word = if mutation.using.present {
                        "AND"
                    } else {
                        "USING"
                    };
                    let at = mutation.using.insert_at;
                    edit.replace(Span { start: at, end: at }, |out| {
                        _ = write!(out, " {word} TTL {seconds} ");
                    });
                }
            }
        }
    }
    let text = if edit.used {
        Cow::Owned(edit.finish())
    } else {
        Cow::Borrowed(text)
    };
    WithTtl {
        text,
        bound: bound.into(),
    }
}

/// What is left of a TTL of `ttl` seconds; none when it never expires (0) or is not valid (< 0).
/// `elapsed_seconds` is negative when the time has not begun yet.
pub fn ttl_left(ttl: i64, elapsed_seconds: i64) -> Option<i64> {
    let left = ttl.saturating_sub(elapsed_seconds);
    (ttl > 0).then(|| left.clamp(1, limits::TTL_MAX_S.max(ttl)))
}

/// Copies a text with some places changed; the places come in ascending order.
struct Edit<'a> {
    text: &'a str,
    out: String,
    copied: usize,
    used: bool,
}

impl<'a> Edit<'a> {
    fn new(text: &'a str, more: usize) -> Self {
        Self {
            text,
            out: String::with_capacity(text.len() + more),
            copied: 0,
            used: false,
        }
    }

    fn replace(&mut self, span: Span, write: impl FnOnce(&mut String)) {
        let kept = self.text.get(self.copied..span.start as usize);
        self.out.push_str(kept.unwrap_or_default());
        write(&mut self.out);
        self.copied = span.end as usize;
        self.used = true;
    }

    fn finish(mut self) -> String {
        self.out
            .push_str(self.text.get(self.copied..).unwrap_or_default());
        self.out
    }
}
