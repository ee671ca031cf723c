//! The reader that the classifiers share: one token at a time, names, bind markers, and terms.
//!
//! Terms are not parsed into trees. A term is a run of tokens with balanced brackets, ended by a
//! comma, a closing bracket or a reserved word at its own level: reserved words cannot be names, so
//! this is exact for every text that a server accepts, and needs no knowledge of operators that
//! later versions add.

use super::functions::{FunctionCall, Generated};
use super::lexer::{Lexer, Span, Token, TokenKind};
use super::model::{Marker, Value, ValueKind};
use super::name::{TableName, fold};
use std::borrow::Cow;

/// The text does not have the form that the classifier knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUnderstood;

pub(super) type Result<T> = std::result::Result<T, NotUnderstood>;

/// Brackets deeper than this are not followed. The server's own parser is recursive and gives up
/// at a few hundred.
const DEPTH_LIMIT: usize = 256;

/// Reads a text and keeps what was met on the way.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    lexer: Lexer<'a>,
    /// The next token that is not consumed.
    pub(super) token: Token,
    /// End of the last consumed token.
    pub(super) previous_end: u32,
    pub(super) markers: Vec<Marker>,
    pub(super) functions: Vec<FunctionCall>,
    pub(super) unqualified: Vec<u32>,
    /// Index of the mutation that is being read.
    pub(super) mutation: u16,
    open: Vec<Open>,
}

/// A bracket that is not closed yet.
struct Open {
    /// What closes it.
    closing: TokenKind,
    /// It begins a list, set or map, or stands inside one.
    collection: bool,
    /// In braces, before the `:` between a key and its value.
    key: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let end = Token {
            kind: TokenKind::End,
            span: Span::default(),
        };
        let mut cursor = Self {
            text,
            lexer: Lexer::new(text),
            token: end,
            previous_end: 0,
            markers: Vec::new(),
            functions: Vec::new(),
            unqualified: Vec::new(),
            mutation: 0,
            open: Vec::new(),
        };
        cursor.advance();
        cursor.previous_end = 0;
        cursor
    }

    /// Consumes the current token and returns it. At the end it stays there.
    pub(super) fn advance(&mut self) -> Token {
        let consumed = self.token;
        self.previous_end = consumed.span.end;
        self.token = self.lexer.next().unwrap_or(self.end_token());
        consumed
    }

    fn end_token(&self) -> Token {
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        Token {
            kind: TokenKind::End,
            span: Span { start: end, end },
        }
    }

    /// The token after the current one.
    pub(super) fn peek(&self) -> Token {
        self.ahead().next().unwrap_or(self.end_token())
    }

    /// The tokens behind the current one, without consuming any.
    pub(super) fn ahead(&self) -> Lexer<'a> {
        self.lexer
    }

    pub(super) fn at(&self, kind: TokenKind) -> bool {
        self.token.kind == kind
    }

    pub(super) fn at_word(&self, word: &str) -> bool {
        is_word(self.token, self.text, word)
    }

    /// Consumes the token if it is of that kind.
    pub(super) fn take(&mut self, kind: TokenKind) -> bool {
        let found = self.at(kind);
        if found {
            self.advance();
        }
        found
    }

    /// Consumes the token if it is that keyword.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, kind: TokenKind) -> Result<()> {
        if self.take(kind) {
            Ok(())
        } else {
            Err(NotUnderstood)
        }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(NotUnderstood)
        }
    }

    /// Consumes a name and returns it folded.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>> {
        match self.token.kind {
            TokenKind::Word | TokenKind::QuotedName => Ok(fold(self.advance(), self.text)),
            _ => Err(NotUnderstood),
        }
    }

    /// Whether the token is the name `folded`.
    pub(super) fn at_name(&self, folded: &str) -> bool {
        same_name(self.token, self.text, folded)
    }

    /// Consumes `name` or `keyspace.name`, and remembers where the keyspace is missing.
    pub(super) fn table_name(&mut self) -> Result<TableName> {
        let table = self.qualified_name()?;
        if table.keyspace.is_none() {
            self.unqualified.push(table.span.start);
        }
        Ok(table)
    }

    /// Consumes `name` or `keyspace.name`.
    pub(super) fn qualified_name(&mut self) -> Result<TableName> {
        let start = self.token.span.start;
        let first = self.name()?;
        let (keyspace, name) = match self.take(TokenKind::Dot) {
            true => (Some(Box::from(first)), self.name()?),
            false => (None, first),
        };
        let span = Span {
            start,
            end: self.previous_end,
        };
        if name.is_empty() || keyspace.as_deref() == Some("") {
            return Err(NotUnderstood);
        }
        Ok(TableName {
            keyspace,
            name: Box::from(name),
            span,
        })
    }

    /// Consumes a bind marker if there is one, and returns its ordinal.
    pub(super) fn take_marker(&mut self) -> Result<Option<u16>> {
        let start = self.token.span.start;
        let name = match self.token.kind {
            TokenKind::Question => {
                self.advance();
                None
            }
            TokenKind::Colon => {
                self.advance();
                Some(Box::from(self.name()?))
            }
            _ => return Ok(None),
        };
        let ordinal = u16::try_from(self.markers.len()).map_err(|_| NotUnderstood)?;
        self.markers.push(Marker {
            name,
            span: Span {
                start,
                end: self.previous_end,
            },
        });
        Ok(Some(ordinal))
    }

    /// Consumes a term that ends before a comma, `;`, closing bracket, or one of the reserved
    /// `stops`, at its own level.
    pub(super) fn term(&mut self, stops: &[&str]) -> Result<Value> {
        self.term_and_tail(stops, None).map(|(value, _)| value)
    }

    /// Like [`term`](Self::term); when the term ends with `+ column`, that is left out of the value
    /// and the second result is true.
    pub(super) fn term_and_tail(
        &mut self,
        stops: &[&str],
        column: Option<&str>,
    ) -> Result<(Value, bool)> {
        let mut form = Form::new(self.token.span.start);
        let mut before_plus = None;
        while !self.at_end_of_term(stops) {
            if let Some(column) = column.filter(|_| self.at(TokenKind::Plus))
                && same_name(self.peek(), self.text, column)
            {
                before_plus = Some((form.value(self.previous_end), self.peek().span.end));
            }
            self.unit(&mut form)?;
        }
        if form.units == 0 {
            return Err(NotUnderstood);
        }
        match before_plus {
            Some((value, end)) if end == self.previous_end => Ok((value, true)),
            _ => Ok((form.value(self.previous_end), false)),
        }
    }

    /// Whether the current token ends a term; see [`term`](Self::term).
    pub(super) fn at_end_of_term(&self, stops: &[&str]) -> bool {
        use TokenKind::*;
        match self.token.kind {
            End | Comma | Semicolon | CloseParen | CloseBracket | CloseBrace => true,
            Word => stops.iter().any(|stop| self.at_word(stop)),
            _ => false,
        }
    }

    /// Consumes one token of a term, or a whole bracket with all that is in it.
    fn unit(&mut self, form: &mut Form) -> Result<()> {
        use TokenKind::*;
        let token = self.token;
        match token.kind {
            OpenParen | OpenBracket | OpenBrace => {
                self.brackets()?;
                form.bracket(token.kind);
            }
            Question | Colon => {
                let marker = self.take_marker()?.ok_or(NotUnderstood)?;
                form.add(ValueKind::Marker(marker));
            }
            Word | QuotedName => {
                self.name_or_call()?;
                form.name(constant(token, self.text));
            }
            Text | Integer | Float | Duration | Hex | Uuid => {
                self.advance();
                form.add(ValueKind::Literal);
            }
            Junk | Unterminated | End => return Err(NotUnderstood),
            _ => {
                self.advance();
                form.add(ValueKind::Other);
            }
        }
        Ok(())
    }

    /// Consumes a bracket and everything up to the one that closes it.
    pub(super) fn brackets(&mut self) -> Result<()> {
        use TokenKind::*;
        self.open.clear();
        // after a key, in braces, `:` stands before its value; else it begins a bind marker
        let mut after_term = false;
        loop {
            let kind = self.token.kind;
            match kind {
                open @ (OpenParen | OpenBracket | OpenBrace) => {
                    if self.open.len() == DEPTH_LIMIT {
                        return Err(NotUnderstood);
                    }
                    self.advance();
                    self.push(open);
                    after_term = false;
                }
                close @ (CloseParen | CloseBracket | CloseBrace) => {
                    if self.open.pop().map(|open| open.closing) != Some(close) {
                        return Err(NotUnderstood);
                    }
                    self.advance();
                    if self.open.is_empty() {
                        return Ok(());
                    }
                    after_term = true;
                }
                Colon if after_term && self.take_key() => {
                    self.advance();
                    after_term = false;
                }
                Comma => {
                    self.advance();
                    self.expect_key();
                    after_term = false;
                }
                Question | Colon => {
                    self.take_marker()?;
                    after_term = true;
                }
                Word | QuotedName => {
                    self.name_or_call()?;
                    after_term = true;
                }
                Text | Integer | Float | Duration | Hex | Uuid => {
                    self.advance();
                    after_term = true;
                }
                Junk | Unterminated | End => return Err(NotUnderstood),
                _ => {
                    self.advance();
                    after_term = false;
                }
            }
        }
    }

    /// Notes a bracket that was just consumed.
    fn push(&mut self, open: TokenKind) {
        let outer = self.open.last().is_some_and(|open| open.collection);
        let user_type = || {
            // `{name: …`; no term is a bare name
            matches!(self.token.kind, TokenKind::Word | TokenKind::QuotedName)
                && self.peek().kind == TokenKind::Colon
        };
        let (closing, collection) = match open {
            TokenKind::OpenParen => (TokenKind::CloseParen, false),
            TokenKind::OpenBracket => (TokenKind::CloseBracket, true),
            _ => (TokenKind::CloseBrace, !user_type()),
        };
        let key = closing == TokenKind::CloseBrace;
        let collection = collection || outer;
        self.open.push(Open {
            closing,
            collection,
            key,
        });
    }

    /// Whether a key of the innermost bracket has been read, but not its value yet; the value is
    /// next then.
    fn take_key(&mut self) -> bool {
        self.open
            .last_mut()
            .is_some_and(|open| std::mem::take(&mut open.key))
    }

    /// After a comma in braces a key comes next.
    fn expect_key(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.key = open.closing == TokenKind::CloseBrace;
        }
    }

    /// Consumes a name with its qualifier, and the brackets too when it is a call of a function
    /// whose value must be generated.
    fn name_or_call(&mut self) -> Result<()> {
        let first = self.advance();
        let mut function = first;
        let mut known_keyspace = true;
        if self.at(TokenKind::Dot)
            && matches!(self.peek().kind, TokenKind::Word | TokenKind::QuotedName)
        {
            self.advance();
            known_keyspace = same_name(first, self.text, "system");
            function = self.advance();
        }
        if !known_keyspace || !self.at(TokenKind::OpenParen) {
            return Ok(());
        }
        let Some(returns) = Generated::by_function(&fold(function, self.text)) else {
            return Ok(());
        };
        if self.peek().kind != TokenKind::CloseParen {
            return Ok(());
        }
        // The `(` and `)` are left to be consumed as brackets: their end is known already.
        let span = Span {
            start: first.span.start,
            end: self.peek().span.end,
        };
        let markers_before = u16::try_from(self.markers.len()).map_err(|_| NotUnderstood)?;
        self.functions.push(FunctionCall {
            returns,
            span,
            mutation: self.mutation,
            markers_before,
            in_collection: self.open.last().is_some_and(|open| open.collection),
        });
        Ok(())
    }

    /// Consumes everything up to the end, for the markers and to see that brackets match.
    pub(super) fn rest(&mut self) -> Result<()> {
        let mut form = Form::new(0);
        loop {
            match self.token.kind {
                TokenKind::End => return Ok(()),
                TokenKind::Semicolon => return self.end(),
                TokenKind::Comma => {
                    self.advance();
                }
                _ => self.unit(&mut form)?,
            }
        }
    }

    /// Consumes the `;` behind a statement; nothing else may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        while self.take(TokenKind::Semicolon) {}
        if self.at(TokenKind::End) {
            Ok(())
        } else {
            Err(NotUnderstood)
        }
    }
}

pub(super) fn is_word(token: Token, text: &str, word: &str) -> bool {
    token.kind == TokenKind::Word && token.span.of(text).eq_ignore_ascii_case(word)
}

/// Whether `token` is a name that folds to `folded`.
pub(super) fn same_name(token: Token, text: &str, folded: &str) -> bool {
    match token.kind {
        TokenKind::Word | TokenKind::QuotedName => fold(token, text) == folded,
        _ => false,
    }
}

/// What a word of a term is when it is a constant.
fn constant(token: Token, text: &str) -> Option<ValueKind> {
    let is = |word| is_word(token, text, word);
    if is("null") {
        Some(ValueKind::Null)
    } else if is("true") || is("false") || is("nan") || is("infinity") {
        Some(ValueKind::Literal)
    } else {
        None
    }
}

/// The form of a term, told from its units: tokens and whole brackets.
struct Form {
    start: u32,
    units: usize,
    kind: ValueKind,
    /// All so far is a function's name.
    name_only: bool,
}

impl Form {
    fn new(start: u32) -> Self {
        Self {
            start,
            units: 0,
            kind: ValueKind::Other,
            name_only: false,
        }
    }

    fn add(&mut self, kind: ValueKind) {
        self.kind = if self.units == 0 {
            kind
        } else {
            ValueKind::Other
        };
        self.name_only = false;
        self.units += 1;
    }

    fn name(&mut self, constant: Option<ValueKind>) {
        let first = self.units == 0;
        self.add(constant.unwrap_or(ValueKind::Other));
        self.name_only = first && constant.is_none();
    }

    fn bracket(&mut self, open: TokenKind) {
        let call = self.name_only && open == TokenKind::OpenParen;
        self.add(match open {
            TokenKind::OpenBracket => ValueKind::List,
            TokenKind::OpenBrace => ValueKind::Braces,
            _ => ValueKind::Tuple,
        });
        if call {
            self.kind = ValueKind::Function;
        }
    }

    fn value(&self, end: u32) -> Value {
        Value {
            kind: self.kind,
            span: Span {
                start: self.start,
                end,
            },
        }
    }
}
