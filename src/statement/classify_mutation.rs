//! INSERT, UPDATE and DELETE, alone or inside BEGIN BATCH.

use super::cursor::{Cursor, NotUnderstood, Result, is_word};
use super::lexer::{Lexer, Span, TokenKind};
use super::model::{
    Assignment, Condition, Mutation, Operation, Relation, Restriction, Using, UsingValue, Value,
    ValueKind, Verb,
};
use super::name::{TableName, fold};

/// Reserved words that end a relation. Inside BEGIN BATCH the next verb is one, for `;` may be left
/// out.
const RELATION_END: &[&str] = &["AND", "IF", "INSERT", "UPDATE", "DELETE", "APPLY", "USING"];

/// Reserved words that may follow a mutation inside BEGIN BATCH.
const VERBS: &[&str] = &["INSERT", "UPDATE", "DELETE", "APPLY"];

/// `INSERT INTO table (…) VALUES (…) [IF NOT EXISTS] [USING …]`, or with JSON.
pub(super) fn insert(cursor: &mut Cursor<'_>) -> Result<Mutation> {
    let start = cursor.token.span.start;
    cursor.advance();
    cursor.expect_word("INTO")?;
    let table = cursor.table_name()?;
    let mut insert = Mutation::new(Verb::Insert, table);
    if cursor.take_word("JSON") {
        insert.json = Some(json_value(cursor)?);
        if cursor.take_word("DEFAULT") && !cursor.take_word("UNSET") {
            cursor.expect_word("NULL")?;
        }
    } else {
        insert.assignments = columns_and_values(cursor)?;
    }
    if cursor.take_word("IF") {
        cursor.expect_word("NOT")?;
        cursor.expect_word("EXISTS")?;
        insert.condition = Some(Condition::NotExists);
    }
    insert.using = using(cursor)?;
    insert.span = Span {
        start,
        end: cursor.previous_end,
    };
    Ok(insert)
}

fn json_value(cursor: &mut Cursor<'_>) -> Result<Value> {
    let start = cursor.token.span.start;
    let kind = match cursor.take_marker()? {
        Some(marker) => ValueKind::Marker(marker),
        None => {
            cursor.expect(TokenKind::Text)?;
            ValueKind::Literal
        }
    };
    Ok(Value {
        kind,
        span: Span {
            start,
            end: cursor.previous_end,
        },
    })
}

fn columns_and_values(cursor: &mut Cursor<'_>) -> Result<Box<[Assignment]>> {
    let mut assignments = Vec::new();
    cursor.expect(TokenKind::OpenParen)?;
    loop {
        let column = cursor.name()?.into();
        let value = Value::default();
        assignments.push(Assignment {
            column,
            operation: Operation::Set,
            value,
        });
        if !cursor.take(TokenKind::Comma) {
            break;
        }
    }
    cursor.expect(TokenKind::CloseParen)?;
    cursor.expect_word("VALUES")?;
    cursor.expect(TokenKind::OpenParen)?;
    for (index, assignment) in assignments.iter_mut().enumerate() {
        if index > 0 {
            cursor.expect(TokenKind::Comma)?;
        }
        assignment.value = cursor.term(&[])?;
    }
    cursor.expect(TokenKind::CloseParen)?;
    Ok(assignments.into())
}

/// `UPDATE table [USING …] SET … WHERE … [IF …]`.
pub(super) fn update(cursor: &mut Cursor<'_>) -> Result<Mutation> {
    let start = cursor.token.span.start;
    cursor.advance();
    let table = cursor.table_name()?;
    let mut update = Mutation::new(Verb::Update, table);
    update.using = using(cursor)?;
    cursor.expect_word("SET")?;
    let mut assignments = Vec::new();
    loop {
        assignments.push(assignment(cursor)?);
        if !cursor.take(TokenKind::Comma) {
            break;
        }
    }
    update.assignments = assignments.into();
    update.restrictions = where_clause(cursor)?;
    update.condition = condition(cursor)?;
    update.span = Span {
        start,
        end: cursor.previous_end,
    };
    Ok(update)
}

fn assignment(cursor: &mut Cursor<'_>) -> Result<Assignment> {
    const STOP: &[&str] = &[
        "WHERE", "USING", "IF", "INSERT", "UPDATE", "DELETE", "APPLY",
    ];
    let column: Box<str> = cursor.name()?.into();
    let (operation, value) = match cursor.advance().kind {
        TokenKind::Equal => whole_column(cursor, &column, STOP)?,
        TokenKind::PlusEqual => (Operation::Add, cursor.term(STOP)?),
        TokenKind::MinusEqual => (Operation::Subtract, cursor.term(STOP)?),
        TokenKind::OpenBracket => {
            let key = cursor.term(&[])?;
            cursor.expect(TokenKind::CloseBracket)?;
            cursor.expect(TokenKind::Equal)?;
            (Operation::SetElement { key }, cursor.term(STOP)?)
        }
        TokenKind::Dot => {
            cursor.name()?;
            cursor.expect(TokenKind::Equal)?;
            (Operation::SetField, cursor.term(STOP)?)
        }
        _ => return Err(NotUnderstood),
    };
    Ok(Assignment {
        column,
        operation,
        value,
    })
}

/// What follows `column =`.
fn whole_column(
    cursor: &mut Cursor<'_>,
    column: &str,
    stop: &[&str],
) -> Result<(Operation, Value)> {
    if cursor.at_name(column) {
        let operation = match cursor.peek().kind {
            TokenKind::Plus => Some(Operation::Add),
            TokenKind::Minus => Some(Operation::Subtract),
            // `c = c -3` has no minus: it belongs to the number
            TokenKind::Integer => {
                cursor.advance();
                return Ok((Operation::Add, cursor.term(stop)?));
            }
            _ => None,
        };
        if let Some(operation) = operation {
            cursor.advance();
            cursor.advance();
            return Ok((operation, cursor.term(stop)?));
        }
    }
    let (value, tail) = cursor.term_and_tail(stop, Some(column))?;
    Ok((
        if tail {
            Operation::Prepend
        } else {
            Operation::Set
        },
        value,
    ))
}

/// `DELETE [column…] FROM table [USING …] WHERE … [IF …]`.
pub(super) fn delete(cursor: &mut Cursor<'_>) -> Result<Mutation> {
    let start = cursor.token.span.start;
    cursor.advance();
    let mut assignments = Vec::new();
    while !cursor.at_word("FROM") {
        if !assignments.is_empty() {
            cursor.expect(TokenKind::Comma)?;
        }
        assignments.push(deletion(cursor)?);
    }
    cursor.advance();
    let table = cursor.table_name()?;
    let mut delete = Mutation::new(Verb::Delete, table);
    delete.assignments = assignments.into();
    delete.using = using(cursor)?;
    delete.restrictions = where_clause(cursor)?;
    delete.condition = condition(cursor)?;
    delete.span = Span {
        start,
        end: cursor.previous_end,
    };
    Ok(delete)
}

fn deletion(cursor: &mut Cursor<'_>) -> Result<Assignment> {
    let column = cursor.name()?.into();
    let operation = if cursor.take(TokenKind::OpenBracket) {
        let key = cursor.term(&[])?;
        cursor.expect(TokenKind::CloseBracket)?;
        Operation::DeleteElement { key }
    } else if cursor.take(TokenKind::Dot) {
        cursor.name()?;
        Operation::DeleteField
    } else {
        Operation::Delete
    };
    Ok(Assignment {
        column,
        operation,
        value: Value::default(),
    })
}

/// `USING objective AND objective…`, or nothing. ScyllaDB's TIMEOUT is passed over.
pub(super) fn using(cursor: &mut Cursor<'_>) -> Result<Using> {
    let mut using = Using {
        insert_at: cursor.previous_end,
        ..Using::default()
    };
    if !cursor.take_word("USING") {
        return Ok(using);
    }
    using.present = true;
    loop {
        if cursor.take_word("TIMESTAMP") {
            using.timestamp = using_value(cursor)?;
        } else if cursor.take_word("TTL") {
            using.ttl = using_value(cursor)?;
        } else {
            cursor.expect_word("TIMEOUT")?;
            if cursor.take_marker()?.is_none() {
                cursor.expect(TokenKind::Duration)?;
            }
        }
        if !cursor.take_word("AND") {
            break;
        }
    }
    using.insert_at = cursor.previous_end;
    Ok(using)
}

fn using_value(cursor: &mut Cursor<'_>) -> Result<UsingValue> {
    if let Some(marker) = cursor.take_marker()? {
        return Ok(UsingValue::Bound { marker });
    }
    let span = cursor.token.span;
    cursor.expect(TokenKind::Integer)?;
    let value = span.of(cursor.text).parse().map_err(|_| NotUnderstood)?;
    Ok(UsingValue::Literal { value, span })
}

fn condition(cursor: &mut Cursor<'_>) -> Result<Option<Condition>> {
    if !cursor.take_word("IF") {
        return Ok(None);
    }
    if cursor.at_word("EXISTS") {
        // `exists` may also be a column
        let next = cursor.peek();
        let verb = |word: &&str| is_word(next, cursor.text, word);
        if matches!(next.kind, TokenKind::End | TokenKind::Semicolon) || VERBS.iter().any(verb) {
            cursor.advance();
            return Ok(Some(Condition::Exists));
        }
    }
    loop {
        cursor.term(RELATION_END)?;
        if !cursor.take_word("AND") {
            return Ok(Some(Condition::Columns));
        }
    }
}

fn where_clause(cursor: &mut Cursor<'_>) -> Result<Box<[Restriction]>> {
    cursor.expect_word("WHERE")?;
    let mut restrictions = Vec::new();
    loop {
        restrictions.push(restriction(cursor, 0)?);
        if !cursor.take_word("AND") {
            return Ok(restrictions.into());
        }
    }
}

/// Brackets that may stand around a relation.
const DEPTH_LIMIT: usize = 16;

fn restriction(cursor: &mut Cursor<'_>, depth: usize) -> Result<Restriction> {
    let start = cursor.token.span.start;
    let Some(columns) = columns(cursor)? else {
        if depth == DEPTH_LIMIT {
            return Err(NotUnderstood);
        }
        cursor.expect(TokenKind::OpenParen)?;
        let inner = restriction(cursor, depth + 1)?;
        cursor.expect(TokenKind::CloseParen)?;
        return Ok(inner);
    };
    let relation = match cursor.token.kind {
        TokenKind::Equal => Relation::Equal,
        TokenKind::Less | TokenKind::LessEqual => Relation::Range,
        TokenKind::Greater | TokenKind::GreaterEqual => Relation::Range,
        _ if cursor.at_word("IN") => Relation::In,
        _ => return other_restriction(cursor, start),
    };
    if columns.is_empty() {
        return other_restriction(cursor, start);
    }
    cursor.advance();
    let value = cursor.term(RELATION_END)?;
    Ok(Restriction {
        columns,
        relation,
        value,
    })
}

/// The left side of a relation: `a` or `(a, b)`; empty for `token(…)`. None, and nothing consumed,
/// when a bracket stands around a whole relation.
fn columns(cursor: &mut Cursor<'_>) -> Result<Option<Box<[Box<str>]>>> {
    if cursor.at(TokenKind::OpenParen) {
        let names = tuple_of_names(cursor.ahead(), cursor.text);
        if names.is_some() {
            cursor.brackets()?;
        }
        return Ok(names.map(Into::into));
    }
    if cursor.at_word("TOKEN") {
        cursor.advance();
        cursor.brackets()?;
        return Ok(Some(Box::default()));
    }
    Ok(Some(Box::new([cursor.name()?.into()])))
}

/// The names in `a, b)`, if `tokens` begins like that.
fn tuple_of_names(mut tokens: Lexer<'_>, text: &str) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    loop {
        let name = tokens.next()?;
        if !matches!(name.kind, TokenKind::Word | TokenKind::QuotedName) {
            return None;
        }
        names.push(fold(name, text).into());
        match tokens.next()?.kind {
            TokenKind::Comma => {}
            TokenKind::CloseParen => return Some(names),
            _ => return None,
        }
    }
}

/// Relations that are of no use to find a row: consumed whole. `BETWEEN` has an `AND` of its own.
fn other_restriction(cursor: &mut Cursor<'_>, start: u32) -> Result<Restriction> {
    let between = cursor.at_word("BETWEEN");
    if !cursor.at_end_of_term(RELATION_END) {
        cursor.term(RELATION_END)?;
    }
    if between {
        cursor.expect_word("AND")?;
        cursor.term(RELATION_END)?;
    }
    let span = Span {
        start,
        end: cursor.previous_end,
    };
    let value = Value {
        kind: ValueKind::Other,
        span,
    };
    Ok(Restriction {
        columns: Box::default(),
        relation: Relation::Other,
        value,
    })
}

impl Mutation {
    fn new(verb: Verb, table: TableName) -> Self {
        Self {
            verb,
            table,
            span: Span::default(),
            condition: None,
            using: Using::default(),
            assignments: Box::default(),
            json: None,
            restrictions: Box::default(),
        }
    }
}
