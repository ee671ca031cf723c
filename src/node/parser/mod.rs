//! Text to [`ast::Statement`]: the tokens are those of `statement::lexer`, the grammar is our own.

pub(crate) mod ast;
mod ddl;
mod dml;
mod select;
mod term;
#[cfg(test)]
mod tests;

use crate::statement::{Lexer, Token, TokenKind};

use self::ast::{QName, Statement};
use super::error::{CqlError, CqlResult};

/// How deep terms and types may nest.
const DEPTH_MAX: u32 = 64;

/// A parsed text.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    /// The bind markers in the order of the text, with the names of those that have one.
    pub(crate) binds: Vec<Option<String>>,
}

/// Parses one statement.
pub(crate) fn parse(text: &str) -> CqlResult<Parsed> {
    let mut parser = Parser {
        text,
        tokens: Lexer::new(text).collect(),
        at: 0,
        binds: Vec::new(),
        depth: 0,
    };
    if parser.tokens.is_empty() {
        return Err(CqlError::syntax(
            "line 0:-1 no viable alternative at input '<EOF>'",
        ));
    }
    let statement = parser.statement()?;
    while parser.eat(TokenKind::Semicolon) {}
    if parser.kind() != TokenKind::End {
        return Err(parser.unexpected());
    }
    Ok(Parsed {
        statement,
        binds: parser.binds,
    })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    binds: Vec<Option<String>>,
    depth: u32,
}

/// Words that cannot be a name without quotes (`ReservedKeywords` of Cassandra 4.1).
const RESERVED: [&str; 54] = [
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "update",
    "use",
];
const RESERVED_MORE: [&str; 5] = ["using", "view", "where", "with", "unset"];

impl<'t> Parser<'t> {
    fn statement(&mut self) -> CqlResult<Statement> {
        let first = self.word().to_ascii_lowercase();
        match first.as_str() {
            "select" => self
                .select()
                .map(|select| Statement::Select(Box::new(select))),
            "insert" | "update" | "delete" => self.modify().map(Statement::Modify),
            "begin" => self.batch().map(Statement::Batch),
            "use" => {
                self.at += 1;
                self.name().map(Statement::Use)
            }
            "truncate" => {
                self.at += 1;
                self.eat_table_word();
                self.qname().map(Statement::Truncate)
            }
            "create" | "alter" | "drop" => self.ddl().map(Statement::Ddl),
            "grant" | "revoke" | "list" | "describe" | "desc" => Err(CqlError::invalid(format!(
                "{} is not supported by this in-memory node",
                first.to_ascii_uppercase()
            ))),
            _ => Err(self.unexpected()),
        }
    }

    fn token(&self, ahead: usize) -> Token {
        let end = Token {
            kind: TokenKind::End,
            span: Default::default(),
        };
        self.tokens.get(self.at + ahead).copied().unwrap_or(end)
    }

    fn kind(&self) -> TokenKind {
        self.token(0).kind
    }

    fn slice(&self, token: Token) -> &'t str {
        token.span.of(self.text)
    }

    /// The current token's text if it is an unquoted word, else nothing.
    fn word(&self) -> &'t str {
        self.word_ahead(0)
    }

    fn word_ahead(&self, ahead: usize) -> &'t str {
        let token = self.token(ahead);
        if token.kind == TokenKind::Word {
            self.slice(token)
        } else {
            ""
        }
    }

    fn is_word(&self, word: &str) -> bool {
        self.word().eq_ignore_ascii_case(word)
    }

    fn eat(&mut self, kind: TokenKind) -> bool {
        let found = self.kind() == kind;
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(i, word)| self.word_ahead(i).eq_ignore_ascii_case(word));
        self.at += if found { words.len() } else { 0 };
        found
    }

    fn expect(&mut self, kind: TokenKind) -> CqlResult<()> {
        if self.eat(kind) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect_word(&mut self, word: &str) -> CqlResult<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn eat_table_word(&mut self) {
        let _ = self.eat_word("table") || self.eat_word("columnfamily");
    }

    /// A name: folded to lower case unless quoted.
    fn name(&mut self) -> CqlResult<String> {
        let token = self.token(0);
        let slice = self.slice(token);
        let name = match token.kind {
            TokenKind::Word => {
                let lower = slice.to_ascii_lowercase();
                if RESERVED.contains(&lower.as_str()) || RESERVED_MORE.contains(&lower.as_str()) {
                    return Err(self.unexpected());
                }
                lower
            }
            TokenKind::QuotedName => unquote(slice, '"'),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(name)
    }

    fn qname(&mut self) -> CqlResult<QName> {
        let first = self.name()?;
        if self.eat(TokenKind::Dot) {
            let name = self.name()?;
            return Ok(QName {
                keyspace: Some(first),
                name,
            });
        }
        Ok(QName {
            keyspace: None,
            name: first,
        })
    }

    fn if_exists(&mut self) -> bool {
        self.eat_words(&["if", "exists"])
    }

    fn if_not_exists(&mut self) -> bool {
        self.eat_words(&["if", "not", "exists"])
    }

    fn string(&mut self) -> CqlResult<String> {
        let token = self.token(0);
        if token.kind != TokenKind::Text {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(text_of(self.slice(token)))
    }

    /// `item (, item)*`
    fn comma_list<T>(&mut self, item: fn(&mut Self) -> CqlResult<T>) -> CqlResult<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(TokenKind::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `( item, … )`
    fn paren_list<T>(&mut self, item: fn(&mut Self) -> CqlResult<T>) -> CqlResult<Vec<T>> {
        self.expect(TokenKind::OpenParen)?;
        if self.eat(TokenKind::CloseParen) {
            return Ok(Vec::new());
        }
        let items = self.comma_list(item)?;
        self.expect(TokenKind::CloseParen)?;
        Ok(items)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> CqlResult<T>) -> CqlResult<T> {
        if self.depth >= DEPTH_MAX {
            return Err(CqlError::syntax("terms or types nest too deep"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// The error for the current token, placed as ANTLR does.
    fn unexpected(&self) -> CqlError {
        let token = self.token(0);
        if token.kind == TokenKind::End {
            return CqlError::syntax("line 1:0 no viable alternative at input '<EOF>'");
        }
        let start = usize::try_from(token.span.start).unwrap_or(0);
        let before = self.text.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count());
        let slice: String = self.slice(token).chars().take(64).collect();
        let what = match token.kind {
            TokenKind::Junk | TokenKind::Unterminated => {
                format!("line {line}:{column} no viable alternative at character '{slice}'")
            }
            _ => format!("line {line}:{column} no viable alternative at input '{slice}'"),
        };
        CqlError::syntax(what)
    }
}

fn unquote(slice: &str, quote: char) -> String {
    let inner = slice
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote));
    let twice: String = [quote, quote].iter().collect();
    inner.unwrap_or(slice).replace(&twice, &quote.to_string())
}

/// The content of `'…'` or `$$…$$`.
fn text_of(slice: &str) -> String {
    match slice
        .strip_prefix("$$")
        .and_then(|rest| rest.strip_suffix("$$"))
    {
        Some(inner) => inner.to_owned(),
        None => unquote(slice, '\''),
    }
}
