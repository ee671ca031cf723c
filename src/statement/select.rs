//! The SELECTs that drivers send to learn about the cluster: columns by name, equalities, a limit.

use super::lexer::{Lexer, Token, TokenKind};
use super::name::fold;

/// A SELECT of columns with equalities. Anything more is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainSelect {
    /// The column behind each column of the answer, whatever its alias; `None`: all (`*`).
    pub columns: Option<Vec<Box<str>>>,
    /// `column = term`, all of them must hold.
    pub equals: Vec<(Box<str>, Term)>,
    /// `LIMIT`.
    pub limit: Option<usize>,
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The literal as it stands in the text, without quotes.
    Literal(Box<str>),
    /// The bind marker with this index (from 0), and its name if it has one.
    Marker(usize, Option<Box<str>>),
}

impl PlainSelect {
    /// Reads a text; `None` if it is anything more than such a SELECT.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut words = Words {
            text,
            lexer: Lexer::new(text),
            markers: 0,
        };
        let select = words.select()?;
        words.take_if(TokenKind::Semicolon);
        words.lexer.next().is_none().then_some(select)
    }
}

struct Words<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    markers: usize,
}

impl Words<'_> {
    fn select(&mut self) -> Option<PlainSelect> {
        self.expect("select")?;
        let columns = self.columns()?;
        self.expect("from")?;
        self.name()?;
        if self.take_if(TokenKind::Dot) {
            self.name()?;
        }
        let mut equals = Vec::new();
        if self.take_word("where") {
            equals.push(self.equality()?);
            while self.take_word("and") {
                equals.push(self.equality()?);
            }
        }
        let mut limit = None;
        if self.take_word("limit") {
            let number = self.expect_kind(TokenKind::Integer)?;
            limit = Some(number.span.of(self.text).parse().ok()?);
        }
        if self.take_word("allow") {
            self.expect("filtering")?;
        }
        Some(PlainSelect {
            columns,
            equals,
            limit,
        })
    }

    fn columns(&mut self) -> Option<Option<Vec<Box<str>>>> {
        if self.take_if(TokenKind::Star) {
            return Some(None);
        }
        let mut columns = Vec::new();
        loop {
            columns.push(self.name()?);
            if self.take_word("as") {
                self.name()?;
            }
            if !self.take_if(TokenKind::Comma) {
                return Some(Some(columns));
            }
        }
    }

    fn equality(&mut self) -> Option<(Box<str>, Term)> {
        let column = self.name()?;
        self.expect_kind(TokenKind::Equal)?;
        let token = self.lexer.next()?;
        let raw = token.span.of(self.text);
        let index = self.markers;
        let term = match token.kind {
            TokenKind::Text if raw.starts_with('\'') => {
                let inner = raw.get(1..raw.len().saturating_sub(1))?;
                Term::Literal(inner.replace("''", "'").into())
            }
            TokenKind::Integer | TokenKind::Uuid => Term::Literal(raw.into()),
            TokenKind::Question => {
                self.markers += 1;
                Term::Marker(index, None)
            }
            TokenKind::Colon => {
                self.markers += 1;
                Term::Marker(index, Some(self.name()?))
            }
            _ => return None,
        };
        Some((column, term))
    }

    fn name(&mut self) -> Option<Box<str>> {
        let token = self.lexer.next()?;
        match token.kind {
            TokenKind::Word | TokenKind::QuotedName => Some(fold(token, self.text).into()),
            _ => None,
        }
    }

    fn take(&mut self, wanted: impl Fn(Token, &str) -> bool) -> bool {
        let mut ahead = self.lexer;
        let found = ahead.next().is_some_and(|token| wanted(token, self.text));
        if found {
            self.lexer = ahead;
        }
        found
    }

    fn take_if(&mut self, kind: TokenKind) -> bool {
        self.take(|token, _| token.kind == kind)
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take(|token, text| {
            token.kind == TokenKind::Word && token.span.of(text).eq_ignore_ascii_case(word)
        })
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.take_word(word).then_some(())
    }

    fn expect_kind(&mut self, kind: TokenKind) -> Option<Token> {
        self.lexer.next().filter(|token| token.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drivers_ask_is_read() {
        let all = PlainSelect::of("select * from system.peers_v2;").unwrap();
        assert_eq!((all.columns, all.equals, all.limit), (None, vec![], None));
        let one = "SELECT peer AS p, \"host_id\" FROM peers WHERE peer = '10.0.0.1' \
                   AND peer_port = :port LIMIT 1 ALLOW FILTERING";
        let one = PlainSelect::of(one).unwrap();
        assert_eq!(one.columns, Some(vec!["peer".into(), "host_id".into()]));
        assert_eq!(one.limit, Some(1));
        let expected = [
            ("peer".into(), Term::Literal("10.0.0.1".into())),
            ("peer_port".into(), Term::Marker(0, Some("port".into()))),
        ];
        assert_eq!(one.equals, expected);
        let two = PlainSelect::of("SELECT tokens FROM t WHERE a=? AND b=?").unwrap();
        assert_eq!(two.equals[1].1, Term::Marker(1, None));
    }

    #[test]
    fn anything_more_is_not() {
        for text in [
            "",
            "SELECT",
            "SELECT JSON * FROM system.peers",
            "SELECT count(*) FROM system.peers",
            "SELECT a FROM t WHERE b IN (1)",
            "SELECT a FROM t WHERE b > 1",
            "SELECT a FROM t WHERE token(b) = 1",
            "SELECT a FROM t ORDER BY b",
            "SELECT a FROM t; SELECT b FROM t",
            "SELECT a FROM t LIMIT 99999999999999999999999",
            "SELECT a FROM t WHERE b = 'x",
            "INSERT INTO t (a) VALUES (1)",
        ] {
            assert_eq!(PlainSelect::of(text), None, "{text}");
        }
    }
}
