//! CREATE, ALTER, DROP.

use super::ast::{
    AlterTable, AlterType, CreateTable, Ddl, LiteralKind, OptionValue, Options, RawType, Term,
};
use super::{CqlError, CqlResult, Parser, TokenKind};

impl Parser<'_> {
    pub(super) fn ddl(&mut self) -> CqlResult<Ddl> {
        let verb = self.word().to_ascii_lowercase();
        self.at += 1;
        let noun = self.word().to_ascii_lowercase();
        self.at += 1;
        match (verb.as_str(), noun.as_str()) {
            ("create", "keyspace" | "schema") => {
                let quiet = self.if_not_exists();
                let name = self.name()?;
                Ok(Ddl::CreateKeyspace(name, quiet, self.with_options()?))
            }
            ("alter", "keyspace" | "schema") => {
                let quiet = self.if_exists();
                let name = self.name()?;
                Ok(Ddl::AlterKeyspace(name, quiet, self.with_options()?))
            }
            ("drop", "keyspace" | "schema") => {
                let quiet = self.if_exists();
                Ok(Ddl::DropKeyspace(self.name()?, quiet))
            }
            ("create", "table" | "columnfamily") => self.create_table().map(Ddl::CreateTable),
            ("alter", "table" | "columnfamily") => self.alter_table(),
            ("drop", "table" | "columnfamily") => {
                let quiet = self.if_exists();
                Ok(Ddl::DropTable(self.qname()?, quiet))
            }
            ("create", "type") => {
                let quiet = self.if_not_exists();
                let name = self.qname()?;
                let fields = self.paren_list(|parser| Ok((parser.name()?, parser.raw_type()?)))?;
                Ok(Ddl::CreateType(name, quiet, fields))
            }
            ("alter", "type") => self.alter_type(),
            ("drop", "type") => {
                let quiet = self.if_exists();
                Ok(Ddl::DropType(self.qname()?, quiet))
            }
            ("create", "index" | "custom") => self.create_index(&noun),
            ("drop", "index") => {
                let quiet = self.if_exists();
                Ok(Ddl::DropIndex(self.qname()?, quiet))
            }
            (_, "materialized" | "role" | "user" | "function" | "aggregate" | "trigger" | "or") => {
                Err(CqlError::invalid(format!(
                    "{} {} is not supported by this in-memory node",
                    verb.to_ascii_uppercase(),
                    noun.to_ascii_uppercase()
                )))
            }
            _ => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn create_table(&mut self) -> CqlResult<CreateTable> {
        let if_not_exists = self.if_not_exists();
        let table = self.qname()?;
        let mut create = CreateTable {
            table,
            if_not_exists,
            columns: Vec::new(),
            partition_key: Vec::new(),
            clustering: Vec::new(),
            order: Vec::new(),
            options: Vec::new(),
        };
        self.expect(TokenKind::OpenParen)?;
        loop {
            if self.kind() == TokenKind::CloseParen {
                break;
            }
            self.table_item(&mut create)?;
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::CloseParen)?;
        if self.eat_word("with") {
            loop {
                if self.eat_words(&["clustering", "order", "by"]) {
                    create.order = self.paren_list(Self::ordering)?;
                } else if self.eat_words(&["compact", "storage"]) {
                    return Err(CqlError::syntax(
                        "Compact tables are not allowed in Cassandra starting with 4.0 version.",
                    ));
                } else {
                    create.options.push(self.option()?);
                }
                if !self.eat_word("and") {
                    break;
                }
            }
        }
        Ok(create)
    }

    /// A column, or `PRIMARY KEY (…)`.
    fn table_item(&mut self, create: &mut CreateTable) -> CqlResult<()> {
        if self.eat_words(&["primary", "key"]) {
            self.expect(TokenKind::OpenParen)?;
            create.partition_key = if self.kind() == TokenKind::OpenParen {
                self.paren_list(Self::name)?
            } else {
                vec![self.name()?]
            };
            while self.eat(TokenKind::Comma) {
                create.clustering.push(self.name()?);
            }
            return self.expect(TokenKind::CloseParen);
        }
        let column = self.column()?;
        if self.eat_words(&["primary", "key"]) {
            if !create.partition_key.is_empty() {
                return Err(CqlError::invalid(
                    "Multiple PRIMARY KEY specifed (exactly one required)",
                ));
            }
            create.partition_key = vec![column.0.clone()];
        }
        create.columns.push(column);
        Ok(())
    }

    fn column(&mut self) -> CqlResult<(String, RawType, bool)> {
        let name = self.name()?;
        let ty = self.raw_type()?;
        Ok((name, ty, self.eat_word("static")))
    }

    fn alter_table(&mut self) -> CqlResult<Ddl> {
        let quiet = self.if_exists();
        let table = self.qname()?;
        let change = if self.eat_word("add") {
            self.if_not_exists();
            if self.kind() == TokenKind::OpenParen {
                AlterTable::Add(self.paren_list(Self::column)?)
            } else {
                AlterTable::Add(self.comma_list(Self::column)?)
            }
        } else if self.eat_word("drop") {
            self.if_exists();
            let names = if self.kind() == TokenKind::OpenParen {
                self.paren_list(Self::name)?
            } else {
                self.comma_list(Self::name)?
            };
            if self.eat_words(&["using", "timestamp"]) {
                self.term()?;
            }
            AlterTable::Drop(names)
        } else if self.eat_word("rename") {
            AlterTable::Rename(self.renames()?)
        } else {
            AlterTable::With(self.with_options()?)
        };
        Ok(Ddl::AlterTable(table, quiet, change))
    }

    fn alter_type(&mut self) -> CqlResult<Ddl> {
        let quiet = self.if_exists();
        let name = self.qname()?;
        let change = if self.eat_word("rename") {
            AlterType::Rename(self.renames()?)
        } else {
            self.expect_word("add")?;
            self.if_not_exists();
            AlterType::Add(self.name()?, self.raw_type()?)
        };
        Ok(Ddl::AlterType(name, quiet, change))
    }

    /// `a TO b AND c TO d`
    fn renames(&mut self) -> CqlResult<Vec<(String, String)>> {
        let mut all = Vec::new();
        loop {
            let from = self.name()?;
            self.expect_word("to")?;
            all.push((from, self.name()?));
            if !self.eat_word("and") {
                return Ok(all);
            }
        }
    }

    fn create_index(&mut self, noun: &str) -> CqlResult<Ddl> {
        if noun == "custom" {
            self.expect_word("index")?;
        }
        let quiet = self.if_not_exists();
        let name = if self.is_word("on") {
            None
        } else {
            Some(self.name()?)
        };
        self.expect_word("on")?;
        let table = self.qname()?;
        self.expect(TokenKind::OpenParen)?;
        let part = ["values", "keys", "entries", "full"];
        let wrapped = part.iter().any(|word| self.is_word(word))
            && self.token(1).kind == TokenKind::OpenParen;
        if wrapped {
            self.at += 2;
        }
        let column = self.name()?;
        if wrapped {
            self.expect(TokenKind::CloseParen)?;
        }
        self.expect(TokenKind::CloseParen)?;
        if self.eat_word("using") {
            self.string()?;
        }
        if self.is_word("with") {
            self.with_options()?;
        }
        Ok(Ddl::CreateIndex(name, quiet, table, column))
    }

    /// `WITH a = 1 AND b = {…}`; nothing is no option.
    fn with_options(&mut self) -> CqlResult<Options> {
        let mut options = Vec::new();
        if !self.eat_word("with") {
            return Ok(options);
        }
        loop {
            options.push(self.option()?);
            if !self.eat_word("and") {
                return Ok(options);
            }
        }
    }

    fn option(&mut self) -> CqlResult<(String, OptionValue)> {
        let name = self.name()?;
        self.expect(TokenKind::Equal)?;
        let value = match self.term()? {
            Term::Literal(_, text) => OptionValue::Text(text),
            Term::Map(pairs) => {
                let mut map = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    match pair {
                        (Term::Literal(LiteralKind::Text, key), Term::Literal(_, value)) => {
                            map.push((key, value));
                        }
                        _ => return Err(self.unexpected()),
                    }
                }
                OptionValue::Map(map)
            }
            Term::Set(items) if items.is_empty() => OptionValue::Map(Vec::new()),
            _ => return Err(self.unexpected()),
        };
        Ok((name, value))
    }
}
