//! Terms and types.

use super::ast::{LiteralKind, RawType, Term};
use super::{CqlResult, Parser, TokenKind, text_of};

impl Parser<'_> {
    pub(super) fn term(&mut self) -> CqlResult<Term> {
        self.deeper(Self::term_inner)
    }

    fn term_inner(&mut self) -> CqlResult<Term> {
        let token = self.token(0);
        let slice = self.slice(token);
        let literal = |kind| Ok(Term::Literal(kind, slice.to_owned()));
        match token.kind {
            TokenKind::Question | TokenKind::Colon => self.bind(),
            TokenKind::OpenBracket => self.list(),
            TokenKind::OpenBrace => self.braces(),
            TokenKind::OpenParen => self.cast_or_tuple(),
            TokenKind::Word => self.word_term(),
            TokenKind::Minus => self.negative_word(),
            TokenKind::Text => {
                self.at += 1;
                Ok(Term::Literal(LiteralKind::Text, text_of(slice)))
            }
            TokenKind::Integer
            | TokenKind::Float
            | TokenKind::Uuid
            | TokenKind::Hex
            | TokenKind::Duration => {
                self.at += 1;
                literal(match token.kind {
                    TokenKind::Integer => LiteralKind::Integer,
                    TokenKind::Float => LiteralKind::Float,
                    TokenKind::Uuid => LiteralKind::Uuid,
                    TokenKind::Hex => LiteralKind::Hex,
                    _ => LiteralKind::Duration,
                })
            }
            _ => Err(self.unexpected()),
        }
    }

    fn bind(&mut self) -> CqlResult<Term> {
        let name = if self.eat(TokenKind::Question) {
            None
        } else {
            self.expect(TokenKind::Colon)?;
            let token = self.token(0);
            let name = match token.kind {
                TokenKind::Word => self.slice(token).to_ascii_lowercase(),
                TokenKind::QuotedName => super::unquote(self.slice(token), '"'),
                _ => return Err(self.unexpected()),
            };
            self.at += 1;
            Some(name)
        };
        self.binds.push(name);
        Ok(Term::Bind(self.binds.len() - 1))
    }

    fn list(&mut self) -> CqlResult<Term> {
        self.expect(TokenKind::OpenBracket)?;
        if self.eat(TokenKind::CloseBracket) {
            return Ok(Term::List(Vec::new()));
        }
        let items = self.comma_list(Self::term)?;
        self.expect(TokenKind::CloseBracket)?;
        Ok(Term::List(items))
    }

    /// A set, a map or a user type.
    fn braces(&mut self) -> CqlResult<Term> {
        self.expect(TokenKind::OpenBrace)?;
        if self.eat(TokenKind::CloseBrace) {
            return Ok(Term::Set(Vec::new()));
        }
        let named = matches!(self.kind(), TokenKind::Word | TokenKind::QuotedName)
            && self.token(1).kind == TokenKind::Colon;
        if named {
            let fields = self.comma_list(|parser| {
                let name = parser.name()?;
                parser.expect(TokenKind::Colon)?;
                Ok((name, parser.term()?))
            })?;
            self.expect(TokenKind::CloseBrace)?;
            return Ok(Term::Udt(fields));
        }
        let first = self.term()?;
        if self.eat(TokenKind::Colon) {
            let mut pairs = vec![(first, self.term()?)];
            while self.eat(TokenKind::Comma) {
                let key = self.term()?;
                self.expect(TokenKind::Colon)?;
                pairs.push((key, self.term()?));
            }
            self.expect(TokenKind::CloseBrace)?;
            return Ok(Term::Map(pairs));
        }
        let mut items = vec![first];
        while self.eat(TokenKind::Comma) {
            items.push(self.term()?);
        }
        self.expect(TokenKind::CloseBrace)?;
        Ok(Term::Set(items))
    }

    /// `(int) 5`, or `(1, 2)`. A type name followed by `)` and then a term is a cast.
    fn cast_or_tuple(&mut self) -> CqlResult<Term> {
        let start = (self.at, self.binds.len());
        if self.token(1).kind == TokenKind::Word {
            self.at += 1;
            if let Ok(ty) = self.raw_type()
                && self.eat(TokenKind::CloseParen)
                && let Ok(term) = self.term()
            {
                return Ok(Term::Cast(ty, Box::new(term)));
            }
            self.at = start.0;
            self.binds.truncate(start.1);
        }
        self.paren_list(Self::term).map(Term::Tuple)
    }

    fn word_term(&mut self) -> CqlResult<Term> {
        let word = self.word().to_ascii_lowercase();
        let literal = |kind, text: &str| Ok(Term::Literal(kind, text.to_owned()));
        if self.token(1).kind == TokenKind::OpenParen {
            self.at += 1;
            let args = self.paren_list(Self::term)?;
            return Ok(Term::Call(word, args));
        }
        if self.token(1).kind == TokenKind::Dot && self.token(3).kind == TokenKind::OpenParen {
            self.at += 2;
            return self.word_term();
        }
        self.at += 1;
        match word.as_str() {
            "null" => Ok(Term::Null),
            "true" | "false" => literal(LiteralKind::Boolean, &word),
            "nan" => literal(LiteralKind::Float, "NaN"),
            "infinity" => literal(LiteralKind::Float, "inf"),
            _ => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn negative_word(&mut self) -> CqlResult<Term> {
        self.expect(TokenKind::Minus)?;
        if self.eat_word("infinity") {
            return Ok(Term::Literal(LiteralKind::Float, "-inf".to_owned()));
        }
        if self.eat_word("nan") {
            return Ok(Term::Literal(LiteralKind::Float, "NaN".to_owned()));
        }
        Err(self.unexpected())
    }

    pub(super) fn raw_type(&mut self) -> CqlResult<RawType> {
        self.deeper(Self::raw_type_inner)
    }

    fn raw_type_inner(&mut self) -> CqlResult<RawType> {
        if self.kind() == TokenKind::Text {
            return self.string().map(RawType::Custom);
        }
        if self.token(1).kind != TokenKind::Less {
            return self.qname().map(RawType::Named);
        }
        let outer = self.word().to_ascii_lowercase();
        self.at += 2;
        let ty = match outer.as_str() {
            "list" => RawType::List(Box::new(self.raw_type()?)),
            "set" => RawType::Set(Box::new(self.raw_type()?)),
            "frozen" => RawType::Frozen(Box::new(self.raw_type()?)),
            "map" => {
                let key = self.raw_type()?;
                self.expect(TokenKind::Comma)?;
                RawType::Map(Box::new(key), Box::new(self.raw_type()?))
            }
            "tuple" => RawType::Tuple(self.comma_list(Self::raw_type)?),
            _ => {
                self.at -= 2;
                return Err(self.unexpected());
            }
        };
        self.expect(TokenKind::Greater)?;
        Ok(ty)
    }
}
