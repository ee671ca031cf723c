//! INSERT, UPDATE, DELETE, BATCH, and the conditions they share with SELECT.

use super::ast::{
    Assign, Batch, BatchKind, Condition, Modify, ModifyKind, Op, Operand, Relation, Target, Term,
    Using,
};
use super::{CqlError, CqlResult, Parser, TokenKind};

impl Parser<'_> {
    pub(super) fn modify(&mut self) -> CqlResult<Modify> {
        if self.eat_word("insert") {
            self.insert()
        } else if self.eat_word("update") {
            self.update()
        } else if self.eat_word("delete") {
            self.delete()
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn batch(&mut self) -> CqlResult<Batch> {
        self.expect_word("begin")?;
        let kind = if self.eat_word("unlogged") {
            BatchKind::Unlogged
        } else if self.eat_word("counter") {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_word("batch")?;
        let using = self.using()?;
        let mut children = Vec::new();
        while !self.is_word("apply") {
            children.push(self.modify()?);
            self.eat(TokenKind::Semicolon);
        }
        self.expect_word("apply")?;
        self.expect_word("batch")?;
        Ok(Batch {
            kind,
            using,
            children,
        })
    }

    fn insert(&mut self) -> CqlResult<Modify> {
        self.expect_word("into")?;
        let table = self.qname()?;
        let kind = if self.is_word("json") && self.token(1).kind != TokenKind::OpenParen {
            self.at += 1;
            let json = self.term()?;
            let default_unset = self.eat_words(&["default", "unset"]);
            if !default_unset {
                self.eat_words(&["default", "null"]);
            }
            ModifyKind::InsertJson {
                json,
                default_unset,
            }
        } else {
            let names = self.paren_list(Self::name)?;
            self.expect_word("values")?;
            let values = self.paren_list(Self::term)?;
            if names.len() != values.len() {
                return Err(CqlError::invalid("Unmatched column names/values"));
            }
            ModifyKind::Insert {
                columns: names.into_iter().zip(values).collect(),
            }
        };
        let condition = if self.if_not_exists() {
            Condition::NotExists
        } else {
            Condition::None
        };
        let using = self.using()?;
        Ok(Modify {
            table,
            kind,
            using,
            wheres: Vec::new(),
            condition,
        })
    }

    fn update(&mut self) -> CqlResult<Modify> {
        let table = self.qname()?;
        let using = self.using()?;
        self.expect_word("set")?;
        let assigns = self.comma_list(Self::assignment)?;
        for (at, (column, assign)) in assigns.iter().enumerate() {
            let part = |assign: &Assign| matches!(assign, Assign::Element(..) | Assign::Field(..));
            let clash = |(other, earlier): &(String, Assign)| {
                other == column && !(part(earlier) && part(assign))
            };
            if assigns[..at].iter().any(clash) {
                return Err(CqlError::syntax(format!(
                    "Multiple incompatible setting of column {column}"
                )));
            }
        }
        self.expect_word("where")?;
        let wheres = self.relations()?;
        let condition = self.condition()?;
        Ok(Modify {
            table,
            kind: ModifyKind::Update { assigns },
            using,
            wheres,
            condition,
        })
    }

    fn delete(&mut self) -> CqlResult<Modify> {
        let targets = if self.is_word("from") {
            Vec::new()
        } else {
            self.comma_list(Self::target)?
        };
        self.expect_word("from")?;
        let table = self.qname()?;
        let using = self.using()?;
        if using.ttl.is_some() {
            return Err(CqlError::syntax("TTL is not allowed in DELETE"));
        }
        self.expect_word("where")?;
        let wheres = self.relations()?;
        let condition = self.condition()?;
        Ok(Modify {
            table,
            kind: ModifyKind::Delete { targets },
            using,
            wheres,
            condition,
        })
    }

    fn using(&mut self) -> CqlResult<Using> {
        let mut using = Using::default();
        if !self.eat_word("using") {
            return Ok(using);
        }
        loop {
            let is_timestamp = self.eat_word("timestamp");
            if !is_timestamp {
                self.expect_word("ttl")?;
            }
            let term = self.term()?;
            let place = if is_timestamp {
                &mut using.timestamp
            } else {
                &mut using.ttl
            };
            *place = Some(term); // given twice, the last one counts
            if !self.eat_word("and") {
                return Ok(using);
            }
        }
    }

    fn assignment(&mut self) -> CqlResult<(String, Assign)> {
        let column = self.name()?;
        if self.eat(TokenKind::OpenBracket) {
            let key = self.term()?;
            self.expect(TokenKind::CloseBracket)?;
            self.expect(TokenKind::Equal)?;
            return Ok((column, Assign::Element(key, self.term()?)));
        }
        if self.eat(TokenKind::Dot) {
            let field = self.name()?;
            self.expect(TokenKind::Equal)?;
            return Ok((column, Assign::Field(field, self.term()?)));
        }
        if self.eat(TokenKind::PlusEqual) {
            return Ok((column, Assign::Add(self.term()?)));
        }
        if self.eat(TokenKind::MinusEqual) {
            return Ok((column, Assign::Subtract(self.term()?)));
        }
        self.expect(TokenKind::Equal)?;
        let assign = self.right_side(&column)?;
        Ok((column, assign))
    }

    /// `x`, `c + x`, `c - x`, `c -5` or `x + c`.
    fn right_side(&mut self, column: &str) -> CqlResult<Assign> {
        let named = matches!(self.kind(), TokenKind::Word | TokenKind::QuotedName);
        let next = self.token(1).kind;
        if named
            && matches!(
                next,
                TokenKind::Plus | TokenKind::Minus | TokenKind::Integer
            )
        {
            let name = self.name()?;
            if name != column {
                return Err(CqlError::syntax(
                    "Only expressions of the form X = X + are supported.",
                ));
            }
            if self.eat(TokenKind::Plus) {
                return Ok(Assign::Add(self.term()?));
            }
            if self.eat(TokenKind::Minus) {
                return Ok(Assign::Subtract(self.term()?));
            }
            return Ok(Assign::Add(self.term()?)); // `c -5`: the sign belongs to the number
        }
        let term = self.term()?;
        if self.eat(TokenKind::Plus) {
            let name = self.name()?;
            if name != column {
                return Err(CqlError::syntax(
                    "Only expressions of the form X = <value> + X are supported.",
                ));
            }
            return Ok(Assign::Prepend(term));
        }
        Ok(Assign::Set(term))
    }

    fn condition(&mut self) -> CqlResult<Condition> {
        if self.if_exists() {
            return Ok(Condition::Exists);
        }
        if self.if_not_exists() {
            return Ok(Condition::NotExists);
        }
        if !self.eat_word("if") {
            return Ok(Condition::None);
        }
        self.relations().map(Condition::Columns)
    }

    /// `a = 1 AND b IN (…)`, also in parentheses.
    pub(super) fn relations(&mut self) -> CqlResult<Vec<Relation>> {
        let mut all = vec![self.relation()?];
        while self.eat_word("and") {
            all.push(self.relation()?);
        }
        Ok(all)
    }

    fn relation(&mut self) -> CqlResult<Relation> {
        self.deeper(Self::relation_inner)
    }

    fn relation_inner(&mut self) -> CqlResult<Relation> {
        let target = if self.is_word("token") && self.token(1).kind == TokenKind::OpenParen {
            self.at += 1;
            Target::Token(self.paren_list(Self::name)?)
        } else if self.kind() == TokenKind::OpenParen {
            Target::Tuple(self.paren_list(Self::name)?)
        } else {
            self.target()?
        };
        let op = self.operator()?;
        let operand = match op {
            Op::IsNotNull => Operand::One(Term::Null),
            Op::In if self.kind() == TokenKind::OpenParen => {
                Operand::Many(self.paren_list(Self::term)?)
            }
            _ => Operand::One(self.term()?),
        };
        Ok(Relation {
            target,
            op,
            operand,
        })
    }

    /// `c`, `c[x]` or `c.f`.
    fn target(&mut self) -> CqlResult<Target> {
        let column = self.name()?;
        if self.eat(TokenKind::OpenBracket) {
            let key = self.term()?;
            self.expect(TokenKind::CloseBracket)?;
            return Ok(Target::Element(column, key));
        }
        if self.eat(TokenKind::Dot) {
            return Ok(Target::Field(column, self.name()?));
        }
        Ok(Target::Column(column))
    }

    fn operator(&mut self) -> CqlResult<Op> {
        let op = match self.kind() {
            TokenKind::Equal => Op::Eq,
            TokenKind::NotEqual => Op::Ne,
            TokenKind::Less => Op::Lt,
            TokenKind::LessEqual => Op::Le,
            TokenKind::Greater => Op::Gt,
            TokenKind::GreaterEqual => Op::Ge,
            _ if self.is_word("in") => Op::In,
            _ if self.is_word("like") => Op::Like,
            _ if self.eat_words(&["contains", "key"]) => return Ok(Op::ContainsKey),
            _ if self.is_word("contains") => Op::Contains,
            _ if self.eat_words(&["is", "not", "null"]) => return Ok(Op::IsNotNull),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(op)
    }
}
