//! SELECT.

use super::ast::{Select, Selector};
use super::{CqlResult, Parser, TokenKind};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> CqlResult<Select> {
        self.expect_word("select")?;
        let json = self.is_word("json") && self.starts_selection(1);
        self.at += usize::from(json);
        let distinct = self.is_word("distinct") && self.starts_selection(1);
        self.at += usize::from(distinct);
        let items = if self.eat(TokenKind::Star) {
            Vec::new()
        } else {
            self.comma_list(|parser| {
                let selector = parser.selector()?;
                let alias = if parser.eat_word("as") {
                    Some(parser.name()?)
                } else {
                    None
                };
                Ok((selector, alias))
            })?
        };
        self.expect_word("from")?;
        let table = self.qname()?;
        let wheres = if self.eat_word("where") {
            self.relations()?
        } else {
            Vec::new()
        };
        let group_by = if self.eat_words(&["group", "by"]) {
            self.comma_list(Self::name)?
        } else {
            Vec::new()
        };
        let order_by = if self.eat_words(&["order", "by"]) {
            self.comma_list(Self::ordering)?
        } else {
            Vec::new()
        };
        let per_partition_limit = if self.eat_words(&["per", "partition", "limit"]) {
            Some(self.term()?)
        } else {
            None
        };
        let limit = if self.eat_word("limit") {
            Some(self.term()?)
        } else {
            None
        };
        let filtering = self.eat_words(&["allow", "filtering"]);
        Ok(Select {
            table,
            json,
            distinct,
            items,
            wheres,
            group_by,
            order_by,
            per_partition_limit,
            limit,
            filtering,
        })
    }

    /// True when what follows `json` or `distinct` shows that it is a keyword, not a column.
    fn starts_selection(&self, ahead: usize) -> bool {
        let token = self.token(ahead);
        let word = self.word_ahead(ahead);
        match token.kind {
            TokenKind::Star | TokenKind::QuotedName | TokenKind::OpenParen => true,
            TokenKind::Word => {
                !word.eq_ignore_ascii_case("from") && !word.eq_ignore_ascii_case("as")
            }
            _ => false,
        }
    }

    pub(super) fn ordering(&mut self) -> CqlResult<(String, bool)> {
        let name = self.name()?;
        let descending = self.eat_word("desc");
        if !descending {
            self.eat_word("asc");
        }
        Ok((name, descending))
    }

    fn selector(&mut self) -> CqlResult<Selector> {
        self.deeper(Self::selector_inner)
    }

    fn selector_inner(&mut self) -> CqlResult<Selector> {
        let mut selector = self.plain_selector()?;
        loop {
            if self.eat(TokenKind::Dot) {
                selector = Selector::Field(Box::new(selector), self.name()?);
            } else if self.eat(TokenKind::OpenBracket) {
                let key = self.term()?;
                self.expect(TokenKind::CloseBracket)?;
                selector = Selector::Element(Box::new(selector), key);
            } else {
                return Ok(selector);
            }
        }
    }

    fn plain_selector(&mut self) -> CqlResult<Selector> {
        let word = self.word().to_ascii_lowercase();
        let called = self.token(1).kind == TokenKind::OpenParen && !word.is_empty();
        if !called {
            return match self.kind() {
                TokenKind::Word if matches!(word.as_str(), "true" | "false" | "null") => {
                    self.term().map(Selector::Term)
                }
                TokenKind::Word | TokenKind::QuotedName => self.name().map(Selector::Column),
                _ => self.term().map(Selector::Term),
            };
        }
        self.at += 1;
        match word.as_str() {
            "writetime" | "ttl" => {
                self.expect(TokenKind::OpenParen)?;
                let column = self.name()?;
                self.expect(TokenKind::CloseParen)?;
                Ok(if word == "ttl" {
                    Selector::Ttl(column)
                } else {
                    Selector::Writetime(column)
                })
            }
            "count" if self.counts_all() => {
                self.at += 3;
                Ok(Selector::CountAll)
            }
            "cast" => {
                self.expect(TokenKind::OpenParen)?;
                let inner = self.selector()?;
                self.expect_word("as")?;
                let ty = self.raw_type()?;
                self.expect(TokenKind::CloseParen)?;
                Ok(Selector::Cast(Box::new(inner), ty))
            }
            _ => Ok(Selector::Call(word, self.paren_list(Self::selector)?)),
        }
    }

    /// `(*)` or `(1)`
    fn counts_all(&self) -> bool {
        matches!(self.token(1).kind, TokenKind::Star | TokenKind::Integer)
            && self.token(2).kind == TokenKind::CloseParen
    }
}
