//! From text to [`Statement`]: the first word decides, and then a reader of that kind goes on.

use super::cursor::{Cursor, NotUnderstood, Result, is_word};
use super::lexer::{Lexer, Token, TokenKind};
use super::model::{BatchType, Kind, Mutation, Statement, Using};
use super::name::TableName;
use super::{classify_ddl as ddl, classify_mutation as mutation};

/// Says what `text` is. Never fails: what is not understood is [`Kind::Unknown`] or, when the
/// first words tell the kind, [`opaque`](Statement::opaque).
pub fn classify(text: &str) -> Statement {
    let mut cursor = Cursor::new(text);
    let mut statement = empty();
    let understood = read(&mut cursor, &mut statement);
    if understood.is_err() && statement.kind != Kind::Unknown {
        statement.opaque = true;
        look_over(text, &mut cursor, &mut statement);
    }
    if !statement.is_mutation() {
        cursor.functions.clear(); // no value is stored
    }
    statement.lwt |= statement
        .mutations
        .iter()
        .any(|mutation| mutation.condition.is_some());
    statement.markers = cursor.markers.into();
    statement.functions = cursor.functions.into();
    statement.unqualified = cursor.unqualified.into();
    statement
}

fn empty() -> Statement {
    Statement {
        kind: Kind::Unknown,
        opaque: false,
        lwt: false,
        object: None,
        keyspace: None,
        batch_using: Using::default(),
        mutations: Box::default(),
        markers: Box::default(),
        functions: Box::default(),
        unqualified: Box::default(),
        ddl: None,
    }
}

/// Reads the whole statement. On an error `statement` holds what was certain until then.
fn read(cursor: &mut Cursor<'_>, statement: &mut Statement) -> Result<()> {
    match Verb::of(cursor.token, cursor.text) {
        Some(Verb::Select) => select(cursor, statement),
        Some(Verb::Insert) => {
            statement.kind = Kind::Insert { json: false };
            let insert = mutation::insert(cursor)?;
            statement.kind = Kind::Insert {
                json: insert.json.is_some(),
            };
            one(cursor, statement, insert)
        }
        Some(Verb::Update) => {
            statement.kind = Kind::Update;
            let update = mutation::update(cursor)?;
            one(cursor, statement, update)
        }
        Some(Verb::Delete) => {
            statement.kind = Kind::Delete;
            let delete = mutation::delete(cursor)?;
            one(cursor, statement, delete)
        }
        Some(Verb::Begin) => batch(cursor, statement),
        Some(Verb::Truncate) => truncate(cursor, statement),
        Some(Verb::Use) => use_keyspace(cursor, statement),
        Some(Verb::Ddl(action)) => ddl::read(cursor, statement, action),
        Some(Verb::Other(kind)) => ddl::other(cursor, statement, kind),
        None => Err(NotUnderstood),
    }
}

/// What the first word says.
enum Verb {
    Select,
    Insert,
    Update,
    Delete,
    Begin,
    Truncate,
    Use,
    Ddl(super::model::Action),
    Other(Kind),
}

impl Verb {
    fn of(first: Token, text: &str) -> Option<Self> {
        use super::model::Action::{Alter, Create, Drop};
        if first.kind != TokenKind::Word {
            return None;
        }
        let word = first.span.of(text);
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        Some(match word.len() {
            3 if is("USE") => Self::Use,
            3 if is("ADD") => Self::Other(Kind::Role),
            4 if is("DROP") => Self::Ddl(Drop),
            4 if is("LIST") => Self::Other(Kind::List),
            4 if is("DESC") => Self::Other(Kind::Describe),
            5 if is("BEGIN") => Self::Begin,
            5 if is("ALTER") => Self::Ddl(Alter),
            5 if is("GRANT") => Self::Other(Kind::Grant),
            6 if is("SELECT") => Self::Select,
            6 if is("INSERT") => Self::Insert,
            6 if is("UPDATE") => Self::Update,
            6 if is("DELETE") => Self::Delete,
            6 if is("CREATE") => Self::Ddl(Create),
            6 if is("REVOKE") => Self::Other(Kind::Grant),
            8 if is("TRUNCATE") => Self::Truncate,
            8 if is("DESCRIBE") => Self::Other(Kind::Describe),
            _ => return None,
        })
    }
}

fn one(cursor: &mut Cursor<'_>, statement: &mut Statement, only: Mutation) -> Result<()> {
    statement.mutations = Box::new([only]);
    cursor.end()
}

fn select(cursor: &mut Cursor<'_>, statement: &mut Statement) -> Result<()> {
    statement.kind = Kind::Select;
    cursor.advance();
    loop {
        cursor.term(&["FROM"])?;
        if !cursor.take(TokenKind::Comma) {
            break;
        }
    }
    cursor.expect_word("FROM")?;
    statement.object = Some(cursor.table_name()?);
    cursor.rest()
}

fn batch(cursor: &mut Cursor<'_>, statement: &mut Statement) -> Result<()> {
    cursor.advance();
    let batch_type = if cursor.take_word("UNLOGGED") {
        BatchType::Unlogged
    } else if cursor.take_word("COUNTER") {
        BatchType::Counter
    } else if cursor.at_word("TRANSACTION") {
        statement.kind = Kind::Transaction;
        statement.lwt = true;
        return Err(NotUnderstood);
    } else {
        BatchType::Logged
    };
    statement.kind = Kind::Batch(batch_type);
    cursor.expect_word("BATCH")?;
    statement.batch_using = mutation::using(cursor)?;
    let mut mutations = Vec::new();
    while !cursor.at_word("APPLY") {
        cursor.mutation = u16::try_from(mutations.len()).map_err(|_| NotUnderstood)?;
        mutations.push(match Verb::of(cursor.token, cursor.text) {
            Some(Verb::Insert) => mutation::insert(cursor)?,
            Some(Verb::Update) => mutation::update(cursor)?,
            Some(Verb::Delete) => mutation::delete(cursor)?,
            _ => return Err(NotUnderstood),
        });
        cursor.take(TokenKind::Semicolon);
    }
    cursor.advance();
    cursor.expect_word("BATCH")?;
    statement.mutations = mutations.into();
    cursor.end()
}

fn truncate(cursor: &mut Cursor<'_>, statement: &mut Statement) -> Result<()> {
    statement.kind = Kind::Truncate;
    cursor.advance();
    let _ = cursor.take_word("TABLE") || cursor.take_word("COLUMNFAMILY");
    statement.object = Some(cursor.table_name()?);
    cursor.end()
}

fn use_keyspace(cursor: &mut Cursor<'_>, statement: &mut Statement) -> Result<()> {
    statement.kind = Kind::Use;
    cursor.advance();
    statement.keyspace = Some(cursor.name()?.into());
    cursor.end()
}

/// After a text was not understood: no value in it can be replaced, and an `IF` anywhere may make
/// it
/// conditional. The table of a single mutation is still told.
fn look_over(text: &str, cursor: &mut Cursor<'_>, statement: &mut Statement) {
    let mutation = statement.is_mutation();
    statement.lwt |= mutation && Lexer::new(text).any(|token| is_word(token, text, "IF"));
    cursor.functions.clear();
    let before = match statement.kind {
        Kind::Insert { .. } => "INTO",
        Kind::Update => "UPDATE",
        Kind::Delete => "FROM",
        Kind::Batch(_) | Kind::Transaction => return cursor.unqualified.clear(),
        _ => return,
    };
    if statement.mutations.is_empty() {
        statement.object = table_behind(text, before);
    }
}

fn table_behind(text: &str, word: &str) -> Option<TableName> {
    let mut cursor = Cursor::new(text);
    while !cursor.take_word(word) {
        if cursor.advance().kind == TokenKind::End {
            return None;
        }
    }
    cursor.table_name().ok()
}
