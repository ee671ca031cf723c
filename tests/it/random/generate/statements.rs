//! The text and the values of one statement.

use rand::RngExt;

use super::tables::Shape;
use super::{Generator, Statement};
use crate::random::value::{self, Kind, Value};
use crate::support::cql::Bound;

impl Generator {
    pub(super) fn plain_into(&mut self, draft: &mut Statement, shape: &Shape) {
        match self.roll(20) {
            0..6 => self.insert(draft, shape, false),
            6 | 7 => self.json(draft, shape, false),
            8..15 => self.update(draft, shape),
            _ => self.delete(draft, shape),
        }
    }

    /// With a condition. The source refuses a stamp beside one.
    pub(super) fn conditional_into(&mut self, draft: &mut Statement, shape: &Shape) {
        match self.roll(8) {
            0 | 1 => self.insert(draft, shape, true),
            2 => self.json(draft, shape, true),
            3..6 => {
                draft.text = format!("UPDATE {}", shape.name);
                self.using(draft, true);
                draft.text += " SET ";
                for (n, (name, kind)) in self.columns(shape).into_iter().enumerate() {
                    draft.text += if n > 0 { ", " } else { "" };
                    self.assign(draft, name, kind);
                }
                self.at_row(draft, shape);
                self.condition(draft);
            }
            6 => {
                let columns = self.random.random_range(0..shape.columns.len());
                let (name, _) = shape.columns[columns];
                draft.text = format!("DELETE {name} FROM {}", shape.name);
                self.at_row(draft, shape);
                self.condition(draft);
            }
            _ => {
                draft.text = format!("DELETE FROM {}", shape.name);
                self.at_row(draft, shape);
                self.condition(draft);
            }
        }
    }

    fn condition(&mut self, draft: &mut Statement) {
        let operator = match self.roll(6) {
            0 | 1 => {
                draft.text += " IF EXISTS";
                return;
            }
            2 => {
                draft.text += " IF a = null";
                return;
            }
            3 => "!=",
            4 => "<",
            _ => "=",
        };
        draft.text += &format!(" IF a {operator} ");
        let value = value::small(&mut self.random);
        self.put(draft, value);
    }

    fn insert(&mut self, draft: &mut Statement, shape: &Shape, conditional: bool) {
        let columns = self.columns(shape);
        let columns = if self.roll(8) == 0 { vec![] } else { columns };
        let names: String = columns.iter().map(|(n, _)| format!(", {n}")).collect();
        draft.text = format!("INSERT INTO {} (p, c{names}) VALUES (", shape.name);
        let (p, c) = (self.partition(shape), Value::int(self.roll(4)));
        draft.row = format!("{} p={} c={}", shape.name, p.cql, c.cql);
        self.put(draft, p);
        draft.text += ", ";
        self.put(draft, c);
        for (_, kind) in columns {
            draft.text += ", ";
            self.put_any(draft, kind);
        }
        draft.text += ")";
        if conditional {
            draft.text += " IF NOT EXISTS";
        }
        self.using(draft, true);
    }

    fn json(&mut self, draft: &mut Statement, shape: &Shape, conditional: bool) {
        let (p, c) = (self.partition(shape), self.roll(4));
        draft.row = format!("{} p={} c={c}", shape.name, p.cql);
        let mut document = format!("{{\"p\": {}, \"c\": {c}", p.json);
        for (name, kind) in self.columns(shape) {
            let json = match self.roll(8) {
                0 => "null".to_owned(),
                _ => value::value(&mut self.random, kind).json,
            };
            document += &format!(", \"{name}\": {json}");
        }
        document += "}";
        draft.text = format!("INSERT INTO {} JSON ", shape.name);
        let mut value = Value::text(&document);
        value.bytes = document.into_bytes();
        self.put(draft, value);
        draft.text += [" DEFAULT UNSET", " DEFAULT NULL", ""][self.random.random_range(0..3)];
        if conditional {
            draft.text += " IF NOT EXISTS";
        }
        self.using(draft, true);
    }

    fn update(&mut self, draft: &mut Statement, shape: &Shape) {
        draft.text = format!("UPDATE {}", shape.name);
        self.using(draft, true);
        draft.text += " SET ";
        if !shape.statics.is_empty() && self.roll(8) == 0 {
            let (name, kind) = self.pick(shape.statics);
            self.assign(draft, name, kind);
            self.at_partition(draft, shape);
            return;
        }
        for (n, (name, kind)) in self.columns(shape).into_iter().enumerate() {
            draft.text += if n > 0 { ", " } else { "" };
            self.assign(draft, name, kind);
        }
        self.at_row(draft, shape);
    }

    fn assign(&mut self, draft: &mut Statement, name: &str, kind: Kind) {
        match (kind, self.roll(4)) {
            (Kind::Set, sign @ 0..3) => {
                draft.text += &format!("{name} = {name} {} ", if sign == 2 { '-' } else { '+' });
                let value = value::set(&mut self.random);
                self.put(draft, value);
            }
            (Kind::Map, 0) => {
                draft.text += &format!("{name} = {name} + ");
                let value = value::value(&mut self.random, Kind::Map);
                self.put(draft, value);
            }
            (Kind::Map, 1) => {
                draft.text += &format!("{name} = {name} - ");
                let key = value::key(&mut self.random);
                self.put(draft, Value::sequence(&[key], '{', '}'));
            }
            (Kind::Map, 2) => {
                draft.text += &format!("{name}[");
                let key = value::key(&mut self.random);
                self.put(draft, key);
                draft.text += "] = ";
                self.put_any(draft, Kind::Int);
            }
            (Kind::User, 0) => {
                draft.text += &format!("{name}.street = ");
                self.put_any(draft, Kind::Text);
            }
            (Kind::User, 1) => {
                draft.text += &format!("{name}.no = ");
                self.put_any(draft, Kind::Int);
            }
            (Kind::List, 0 | 1) => {
                draft.text += &format!("{name} = {name} + ");
                let value = value::list(&mut self.random);
                self.put(draft, value);
            }
            (Kind::List, 2) => {
                draft.text += &format!("{name} = ");
                let value = value::list(&mut self.random);
                self.put(draft, value);
                draft.text += &format!(" + {name}");
            }
            _ => {
                draft.text += &format!("{name} = ");
                self.put_any(draft, kind);
            }
        }
    }

    fn delete(&mut self, draft: &mut Statement, shape: &Shape) {
        let kind = self.roll(12);
        draft.text = "DELETE".to_owned();
        match kind {
            0..4 => {
                let columns = self.columns(shape);
                let own = columns.iter().filter(|c| shape.columns.contains(c));
                let names: Vec<_> = own.map(|(name, _)| *name).collect();
                draft.text += &format!(" {}", names.join(", "));
            }
            4 | 5 => self.element(draft, shape),
            6 if !shape.statics.is_empty() => {
                draft.text += &format!(" {}", self.pick(shape.statics).0);
            }
            _ => {}
        }
        draft.text += &format!(" FROM {}", shape.name);
        self.using(draft, false);
        match kind {
            6 => self.at_partition(draft, shape),
            7 if self.roll(3) == 0 => self.at_partition(draft, shape),
            8 | 9 => self.range(draft, shape),
            _ => self.at_row(draft, shape),
        }
    }

    /// One element of a collection, one field; without such a column the whole row.
    fn element(&mut self, draft: &mut Statement, shape: &Shape) {
        let many = shape.columns.iter().copied();
        let many: Vec<_> = many
            .filter(|(_, kind)| matches!(kind, Kind::Set | Kind::Map | Kind::User))
            .collect();
        if many.is_empty() {
            return;
        }
        let (name, kind) = self.pick(&many);
        draft.text += &format!(" {name}");
        match kind {
            Kind::User => draft.text += self.pick(&[".street", ".no"]),
            _ => {
                draft.text.push('[');
                let element = match kind {
                    Kind::Map => value::key(&mut self.random),
                    _ => value::small(&mut self.random),
                };
                self.put(draft, element);
                draft.text.push(']');
            }
        }
    }

    fn range(&mut self, draft: &mut Statement, shape: &Shape) {
        self.at_partition(draft, shape);
        let (from, to) = (Value::int(self.roll(4)), Value::int(self.roll(5)));
        match self.roll(4) {
            0 => {
                draft.text += " AND c > ";
                self.put(draft, from);
                draft.text += " AND c <= ";
                self.put(draft, to);
            }
            1 => {
                draft.text += " AND c >= ";
                self.put(draft, from);
            }
            2 => {
                draft.text += " AND c < ";
                self.put(draft, to);
            }
            _ => {
                draft.text += " AND c IN (";
                self.put(draft, from);
                draft.text += ", ";
                self.put(draft, to);
                draft.text += ")";
            }
        }
    }

    // ---- pieces

    pub(super) fn put(&mut self, draft: &mut Statement, value: Value) {
        if self.bind {
            draft.text.push('?');
            draft.values.push(Bound::Value(value.bytes));
        } else {
            draft.text += &value.cql;
        }
    }

    /// A value, null, nothing at all, or what a function gives.
    pub(super) fn put_any(&mut self, draft: &mut Statement, kind: Kind) {
        let function = match kind {
            Kind::Uuid => Some("uuid()"),
            Kind::TimeUuid => Some("now()"),
            Kind::Stamp => Some(self.pick(&["toTimestamp(now())", "currentTimestamp()"])),
            Kind::Big => Some("toUnixTimestamp(now())"),
            _ => None,
        };
        match self.roll(10) {
            0 if self.bind => {
                draft.text.push('?');
                draft.values.push(Bound::Null);
            }
            0 => draft.text += "null",
            1 if self.bind && self.unset => {
                draft.text.push('?');
                draft.values.push(Bound::Unset);
            }
            2..6 if function.is_some() => draft.text += function.unwrap_or_default(),
            _ => {
                let value = value::value(&mut self.random, kind);
                self.put(draft, value);
            }
        }
    }

    /// ` USING …`, or nothing. TTLs are long, so that nothing expires before it is compared.
    pub(super) fn using(&mut self, draft: &mut Statement, ttl: bool) {
        let mut word = " USING ";
        let has_ttl = ttl && self.roll(4) == 0;
        if has_ttl {
            draft.text += word;
            draft.text += "TTL ";
            word = " AND ";
            let seconds = [0, 5_000, 70_000, 900_000][self.random.random_range(0..4)];
            let value = Value::int(seconds);
            if self.bind && self.unset && self.roll(4) == 0 {
                draft.text.push('?');
                draft.values.push(Bound::Unset);
            } else {
                self.put(draft, value);
            }
        }
        if self.may_stamp && self.roll(5) == 0 {
            draft.text += word;
            draft.text += "TIMESTAMP ";
            let value = Value::big(self.past_us(has_ttl || ttl));
            self.put(draft, value);
        }
    }

    /// A stamp of the hour before the run. Two cells with one stamp and TTLs are told apart by the
    /// second in which they expire (Cassandra's `Cells.resolveRegular`), which may lie 2 s apart
    /// ("Expiry agrees" in SEMANTICS): what can have a TTL gets a stamp of its own.
    fn past_us(&mut self, expires: bool) -> i64 {
        if !expires && self.roll(3) == 0 {
            return self.base_us - 4_000_000_000 + i64::from(self.roll(3));
        }
        let slot = i64::from(self.roll(400_000_000));
        self.base_us - 3_600_000_000 + slot * 8 + i64::from(self.client)
    }

    fn partition(&mut self, shape: &Shape) -> Value {
        Value::int(if shape.own { self.client } else { self.roll(3) })
    }

    /// ` WHERE` one row.
    pub(super) fn at_row(&mut self, draft: &mut Statement, shape: &Shape) {
        let (p, c) = (self.partition(shape), Value::int(self.roll(4)));
        draft.row = format!("{} p={} c={}", shape.name, p.cql, c.cql);
        draft.text += " WHERE p = ";
        self.put(draft, p);
        draft.text += " AND c = ";
        self.put(draft, c);
    }

    fn at_partition(&mut self, draft: &mut Statement, shape: &Shape) {
        let p = self.partition(shape);
        draft.row = format!("{} p={}", shape.name, p.cql);
        draft.text += " WHERE p = ";
        self.put(draft, p);
    }

    /// Some columns of a row, and now and then a static one.
    fn columns(&mut self, shape: &Shape) -> Vec<(&'static str, Kind)> {
        let first = self.random.random_range(0..shape.columns.len());
        let count = self.random.random_range(1..=shape.columns.len().min(4));
        let mut chosen: Vec<_> = (0..count)
            .map(|n| shape.columns[(first + n) % shape.columns.len()])
            .collect();
        if !shape.statics.is_empty() && self.roll(6) == 0 {
            chosen.push(self.pick(shape.statics));
        }
        chosen
    }
}
