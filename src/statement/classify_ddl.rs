//! CREATE, ALTER and DROP; roles, permissions and the statements that only ask.

use super::cursor::{Cursor, NotUnderstood, Result};
use super::lexer::{Span, TokenKind};
use super::model::{Action, Ddl, Kind, Object, Statement};
use super::name::TableName;

/// Reads a statement that begins with CREATE, ALTER or DROP.
pub(super) fn read(cursor: &mut Cursor<'_>, to: &mut Statement, action: Action) -> Result<()> {
    cursor.advance();
    if cursor.take_word("OR") {
        cursor.expect_word("REPLACE")?;
    }
    let custom = cursor.take_word("CUSTOM");
    to.kind = Kind::Ddl(action, Object::Other);
    let Some(object) = object(cursor) else {
        return role(cursor, to);
    };
    to.kind = Kind::Ddl(action, object);
    if custom && object != Object::Index {
        return Err(NotUnderstood);
    }
    let mut ddl = Ddl {
        guarded: guard(cursor)?,
        ..Ddl::default()
    };
    let read = named(cursor, to, &mut ddl, action, object).and_then(|()| cursor.rest());
    to.ddl = Some(Box::new(ddl));
    read
}

/// Consumes the words that name an object. Nothing is consumed when they name none.
fn object(cursor: &mut Cursor<'_>) -> Option<Object> {
    const OBJECTS: &[(&str, Object)] = &[
        ("TABLE", Object::Table),
        ("COLUMNFAMILY", Object::Table),
        ("KEYSPACE", Object::Keyspace),
        ("SCHEMA", Object::Keyspace),
        ("TYPE", Object::Type),
        ("INDEX", Object::Index),
        ("FUNCTION", Object::Function),
        ("AGGREGATE", Object::Aggregate),
        ("TRIGGER", Object::Trigger),
    ];
    for (word, object) in OBJECTS {
        if cursor.take_word(word) {
            return Some(*object);
        }
    }
    (cursor.take_word("MATERIALIZED") && cursor.take_word("VIEW")).then_some(Object::View)
}

fn role(cursor: &mut Cursor<'_>, to: &mut Statement) -> Result<()> {
    let known = ["ROLE", "USER", "IDENTITY"]
        .iter()
        .any(|word| cursor.take_word(word));
    if !known {
        return Err(NotUnderstood);
    }
    to.kind = Kind::Role;
    cursor.rest()
}

/// `IF NOT EXISTS` or `IF EXISTS`.
fn guard(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.take_word("IF") {
        return Ok(false);
    }
    cursor.take_word("NOT");
    cursor.expect_word("EXISTS")?;
    Ok(true)
}

/// The name, and the other names that belong to a keyspace.
fn named(
    cursor: &mut Cursor<'_>,
    to: &mut Statement,
    ddl: &mut Ddl,
    action: Action,
    object: Object,
) -> Result<()> {
    match (object, action) {
        (Object::Keyspace, _) => {
            to.keyspace = Some(cursor.name()?.into());
            ddl.replication = replication(cursor)?;
        }
        (Object::Index, Action::Create) => {
            // the index lives in its table's keyspace and may have no name
            if !cursor.at_word("ON") {
                to.object = Some(cursor.qualified_name()?);
            }
            cursor.expect_word("ON")?;
            ddl.on = Some(table_of(cursor, to.object.as_ref())?);
        }
        (Object::Trigger, _) => {
            to.object = Some(cursor.qualified_name()?);
            cursor.expect_word("ON")?;
            ddl.on = Some(cursor.table_name()?);
        }
        (Object::View, Action::Create) => {
            to.object = Some(cursor.table_name()?);
            cursor.expect_word("AS")?;
            cursor.expect_word("SELECT")?;
            while !cursor.at_word("FROM") {
                cursor.term(&["FROM"])?;
                cursor.take(TokenKind::Comma);
            }
            cursor.advance();
            ddl.on = Some(table_of(cursor, to.object.as_ref())?);
        }
        _ => {
            to.object = Some(cursor.table_name()?);
            if object == Object::Table && cursor.take_word("LIKE") {
                ddl.on = Some(cursor.table_name()?);
            }
            if (object, action) == (Object::Table, Action::Alter) && cursor.take_word("DROP") {
                ddl.undated_drop = undated_drop(cursor)?;
            }
        }
    }
    Ok(())
}

/// The columns behind DROP: where their timestamp goes, if they are columns and have none.
fn undated_drop(cursor: &mut Cursor<'_>) -> Result<Option<u32>> {
    let next = cursor.peek();
    if cursor.at_word("COMPACT") && super::cursor::is_word(next, cursor.text, "STORAGE") {
        return Ok(None);
    }
    guard(cursor)?;
    if cursor.at(TokenKind::OpenParen) {
        cursor.brackets()?;
    } else {
        cursor.name()?;
        while cursor.take(TokenKind::Comma) {
            cursor.name()?;
        }
    }
    let at_end = matches!(cursor.token.kind, TokenKind::End | TokenKind::Semicolon);
    Ok(at_end.then_some(cursor.previous_end))
}

/// The table below an index or a view: without a keyspace of its own it is in that of `object`,
/// whatever the session's is, if that one is written.
fn table_of(cursor: &mut Cursor<'_>, object: Option<&TableName>) -> Result<TableName> {
    match object.and_then(|object| object.keyspace.clone()) {
        None => cursor.table_name(),
        Some(keyspace) => {
            let mut table = cursor.qualified_name()?;
            table.keyspace.get_or_insert(keyspace);
            Ok(table)
        }
    }
}

/// `WITH property = value AND …` of a keyspace, up to the value of `replication`.
fn replication(cursor: &mut Cursor<'_>) -> Result<Option<Span>> {
    cursor.take_word("WITH");
    while cursor.at(TokenKind::Word) || cursor.at(TokenKind::QuotedName) {
        let replication = cursor.at_name("replication");
        cursor.advance();
        cursor.expect(TokenKind::Equal)?;
        let value = cursor.term(&["AND"])?;
        if replication {
            return Ok(Some(value.span));
        }
        cursor.take_word("AND");
    }
    Ok(None)
}

/// Reads what neither touches data nor the schema; only a GRANT's table is of interest.
pub(super) fn other(cursor: &mut Cursor<'_>, to: &mut Statement, kind: Kind) -> Result<()> {
    cursor.advance();
    if kind == Kind::Role && !cursor.at_word("IDENTITY") {
        return Err(NotUnderstood); // ADD of something else
    }
    to.kind = kind;
    if kind == Kind::Grant {
        to.object = granted_table(cursor)?;
    }
    cursor.rest()
}

/// Consumes up to the resource behind ON, and returns it when it is a table or function.
fn granted_table(cursor: &mut Cursor<'_>) -> Result<Option<TableName>> {
    while !cursor.take_word("ON") {
        if matches!(cursor.token.kind, TokenKind::End | TokenKind::Semicolon) {
            return Ok(None); // GRANT of a role
        }
        cursor.advance();
    }
    let bare = ["TABLE", "COLUMNFAMILY", "FUNCTION"]
        .iter()
        .any(|word| cursor.take_word(word));
    let next = cursor.peek();
    let followed = |word| super::cursor::is_word(next, cursor.text, word);
    // `ALL`, `ROLE`… are names too: `GRANT SELECT ON role TO x`
    if bare || next.kind == TokenKind::Dot || followed("TO") || followed("FROM") {
        return Ok(Some(cursor.table_name()?));
    }
    Ok(None)
}
