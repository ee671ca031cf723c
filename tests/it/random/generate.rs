//! Statements by seed. What two correct clusters may legitimately hold differently is not made
//! here; each such abstention says why, by the promises (SEMANTICS) and by Cassandra's own rules.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::value::{self, Kind, Value};
use crate::support::cql::Bound;

/// One statement of a request.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub text: String,
    pub values: Vec<Bound>,
    pub prepared: bool,
    /// Of each value, if they are given by name.
    pub names: Vec<String>,
    is_named: bool,
    /// Table and key, for the trace.
    pub row: String,
}

impl Statement {
    /// Puts names in the place of the marks; no string that is generated has one.
    fn name_values(&mut self) {
        let mut parts = self.text.split('?');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (number, part) in parts.enumerate() {
            let name = format!("v{number}");
            text += &format!(":{name}{part}");
            self.names.push(name);
        }
        self.text = text;
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Several only with `batch`.
    pub statements: Vec<Statement>,
    /// The type of a BATCH message.
    pub batch: Option<u8>,
    /// The client's clock goes along as default timestamp.
    pub clock: bool,
    /// The source may find it invalid: an index that the list does not have.
    pub may_fail: bool,
}

/// A table, and which clients write to which rows.
struct Shape {
    name: &'static str,
    statics: &'static [(&'static str, Kind)],
    columns: &'static [(&'static str, Kind)],
    /// Each client has a partition of its own.
    own: bool,
    /// Stamps of the past or of the client's clock are allowed.
    stamps: bool,
}

pub const SCHEMA: &[&str] = &[
    "CREATE TYPE addr (street text, no int)",
    "CREATE TABLE plain (p int, c int, s int STATIC, ss set<int> STATIC, a int, big bigint, \
     t text, bl blob, bo boolean, dou double, de decimal, v varint, u uuid, tu timeuuid, \
     ts timestamp, tup tuple<int, text>, fl frozen<list<int>>, fu frozen<addr>, st set<int>, \
     m map<text, int>, ud addr, PRIMARY KEY (p, c))",
    "CREATE TABLE expiring (p int, c int, s text STATIC, a int, t text, m map<text, int>, \
     PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC) AND default_time_to_live = 80000",
    "CREATE TABLE cond (p int, c int, s int STATIC, a int, t text, fl frozen<list<int>>, \
     PRIMARY KEY (p, c))",
    "CREATE TABLE checked (p int, c int, a int, st set<int>, m map<text, int>, ud addr, \
     PRIMARY KEY (p, c))",
    "CREATE TABLE lists (p int, c int, a int, l list<int>, PRIMARY KEY (p, c))",
    "CREATE TABLE counts (p int, c int, n counter, m counter, PRIMARY KEY (p, c))",
];

const PLAIN: Shape = Shape {
    name: "plain",
    statics: &[("s", Kind::Int), ("ss", Kind::Set)],
    columns: &[
        ("a", Kind::Int),
        ("big", Kind::Big),
        ("t", Kind::Text),
        ("bl", Kind::Blob),
        ("bo", Kind::Bool),
        ("dou", Kind::Double),
        ("de", Kind::Decimal),
        ("v", Kind::Varint),
        ("u", Kind::Uuid),
        ("tu", Kind::TimeUuid),
        ("ts", Kind::Stamp),
        ("tup", Kind::Tuple),
        ("fl", Kind::FrozenList),
        ("fu", Kind::FrozenUser),
        ("st", Kind::Set),
        ("m", Kind::Map),
        ("ud", Kind::User),
    ],
    own: false,
    stamps: true,
};

const EXPIRING: Shape = Shape {
    name: "expiring",
    statics: &[("s", Kind::Text)],
    columns: &[("a", Kind::Int), ("t", Kind::Text), ("m", Kind::Map)],
    own: false,
    stamps: true,
};

/// Conditional and plain writes of all clients.
const CONDITIONAL: Shape = Shape {
    name: "cond",
    statics: &[("s", Kind::Int)],
    columns: &[
        ("a", Kind::Int),
        ("t", Kind::Text),
        ("fl", Kind::FrozenList),
    ],
    own: false,
    stamps: true,
};

/// Conditional writes to collections. Before 5.0 the source does not tell the stamps of elements,
/// so what is read back gets the stamp of the conditional write ("LWT" in SEMANTICS): a write with
/// an older stamp that comes later could only be told apart by the source. So here each client has
/// rows of its own, and the stamps are the proxy's, which never go back.
const CHECKED: Shape = Shape {
    name: "checked",
    statics: &[],
    columns: &[
        ("a", Kind::Int),
        ("st", Kind::Set),
        ("m", Kind::Map),
        ("ud", Kind::User),
    ],
    own: true,
    stamps: false,
};

/// The order of a list's elements is that in which the source took the operations ("non-frozen
/// lists" in SEMANTICS). Of operations that several clients have on their way at once nobody but
/// the source knows it, so each client has lists of its own. Stamps are the proxy's: an index or a
/// removal reads before it writes, so what it does under an older stamp depends on the moment.
const LISTS: Shape = Shape {
    name: "lists",
    statics: &[],
    columns: &[("a", Kind::Int), ("l", Kind::List)],
    own: true,
    stamps: false,
};

/// The statements of one client.
pub struct Generator {
    random: SmallRng,
    client: i32,
    /// Whether the client's protocol can leave a value unset.
    unset: bool,
    /// Before the run, in µs: stamps of the past are counted from here.
    base_us: i64,
    /// How the statement at hand gives its values.
    bind: bool,
    /// Stamps of the statement at hand, if the batch around it gives none.
    may_stamp: bool,
}

impl Generator {
    pub fn new(seed: u64, client: i32, unset: bool, base_us: i64) -> Generator {
        let own = u64::from(client.cast_unsigned()) + 1;
        Generator {
            random: SmallRng::seed_from_u64(seed ^ own.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            client,
            unset,
            base_us,
            bind: false,
            may_stamp: true,
        }
    }

    fn roll(&mut self, below: i32) -> i32 {
        self.random.random_range(0..below)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())]
    }

    pub fn request(&mut self) -> Request {
        match self.roll(20) {
            0..7 => self.single(&PLAIN),
            7..9 => self.single(&EXPIRING),
            9 => self.batch(&[&PLAIN, &EXPIRING, &CONDITIONAL], 1),
            10..12 => self.single(&CONDITIONAL),
            12..15 => self.conditional(&CONDITIONAL),
            15 => self.conditional_batch(),
            16 if self.roll(3) == 0 => self.single(&CHECKED),
            16 => self.conditional(&CHECKED),
            17 | 18 => self.lists(),
            _ => self.counters(),
        }
    }

    /// Text, text with values, or prepared.
    fn draft(&mut self) -> Statement {
        let style = self.roll(4);
        self.bind = style > 1;
        Statement {
            prepared: style == 3 || (style == 1 && self.roll(4) == 0),
            is_named: style > 1 && self.roll(4) == 0,
            ..Statement::default()
        }
    }

    fn one(mut statement: Statement) -> Request {
        if statement.is_named {
            statement.name_values();
        }
        Request {
            statements: vec![statement],
            batch: None,
            clock: false,
            may_fail: false,
        }
    }

    /// A BATCH message: 0 is logged, 1 unlogged, 2 of counters.
    fn message(kind: u8, statements: Vec<Statement>) -> Request {
        Request {
            statements,
            batch: Some(kind),
            clock: false,
            may_fail: false,
        }
    }

    fn single(&mut self, shape: &Shape) -> Request {
        self.may_stamp = shape.stamps;
        let statement = self.plain(shape);
        let mut request = Self::one(statement);
        request.clock = shape.stamps && self.roll(3) == 0;
        request
    }

    /// A BATCH message of one or more tables, or a `BEGIN BATCH` text of one.
    fn batch(&mut self, shapes: &[&Shape], least: i32) -> Request {
        let unlogged = self.roll(2);
        let count = least + self.roll(4);
        if self.roll(3) == 0 {
            // the text's own stamp, or those of its statements
            let whole = self.roll(2) == 0;
            let mut draft = self.draft();
            draft.text =
                ["BEGIN BATCH", "BEGIN UNLOGGED BATCH"][usize::from(unlogged == 1)].to_owned();
            self.may_stamp = true;
            if whole {
                self.using(&mut draft, false);
            }
            self.may_stamp = !whole;
            for _ in 0..count {
                let shape = self.pick(shapes);
                self.append(&mut draft, |generator, part| {
                    generator.plain_into(part, shape)
                });
            }
            draft.text += " APPLY BATCH";
            return Self::one(draft);
        }
        self.may_stamp = true;
        let statements = (0..count).map(|_| {
            let shape = self.pick(shapes);
            self.plain(shape)
        });
        let statements = statements.collect();
        let mut request = Self::message(u8::from(unlogged == 1), statements);
        request.clock = self.roll(3) == 0;
        request
    }

    /// One more statement inside of a text.
    fn append(&mut self, draft: &mut Statement, make: impl FnOnce(&mut Self, &mut Statement)) {
        let mut part = Statement::default();
        make(self, &mut part);
        draft.text += " ";
        draft.text += &part.text;
        draft.values.append(&mut part.values);
        if !draft.row.contains(&part.row) {
            draft.row += if draft.row.is_empty() { "" } else { " + " };
            draft.row += &part.row;
        }
    }

    fn plain(&mut self, shape: &Shape) -> Statement {
        let mut draft = self.draft();
        self.plain_into(&mut draft, shape);
        draft
    }

    fn plain_into(&mut self, draft: &mut Statement, shape: &Shape) {
        match self.roll(20) {
            0..6 => self.insert(draft, shape, false),
            6 | 7 => self.json(draft, shape, false),
            8..15 => self.update(draft, shape),
            _ => self.delete(draft, shape),
        }
    }

    // ---- pieces

    fn put(&mut self, draft: &mut Statement, value: Value) {
        if self.bind {
            draft.text.push('?');
            draft.values.push(Bound::Value(value.bytes));
        } else {
            draft.text += &value.cql;
        }
    }

    /// A value, null, nothing at all, or what a function gives.
    fn put_any(&mut self, draft: &mut Statement, kind: Kind) {
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
    fn using(&mut self, draft: &mut Statement, ttl: bool) {
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
    fn at_row(&mut self, draft: &mut Statement, shape: &Shape) {
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

    // ---- statements

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

    // ---- conditions; the source refuses stamps beside them

    fn conditional(&mut self, shape: &Shape) -> Request {
        self.may_stamp = false;
        let mut draft = self.draft();
        self.conditional_into(&mut draft, shape);
        let mut request = Self::one(draft);
        request.clock = shape.stamps && self.roll(3) == 0;
        request
    }

    fn conditional_into(&mut self, draft: &mut Statement, shape: &Shape) {
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

    /// One partition of one table, as the source demands; at least one statement with a condition.
    /// As one text, or as a BATCH message of texts and prepared statements.
    fn conditional_batch(&mut self) -> Request {
        self.may_stamp = false;
        let (p, c, others) = (self.roll(3), self.roll(4), 1 + self.roll(2));
        let part = |generator: &mut Self, part: &mut Statement, number| {
            part.row = format!("cond p={p}");
            match number {
                0 => generator.part_with_condition(part, p, c),
                _ => generator.part_beside(part, p, c),
            }
        };
        if self.roll(2) == 0 {
            let statements = (0..=others).map(|number| {
                let mut draft = self.draft();
                part(self, &mut draft, number);
                draft
            });
            let statements = statements.collect();
            return Self::message(self.pick(&[0, 1]), statements);
        }
        let mut draft = self.draft();
        draft.text = "BEGIN BATCH".to_owned();
        for number in 0..=others {
            self.append(&mut draft, |generator, one| part(generator, one, number));
        }
        draft.text += " APPLY BATCH";
        Self::one(draft)
    }

    fn part_with_condition(&mut self, part: &mut Statement, p: i32, c: i32) {
        let (column, sign) = self.pick(&[("a", "="), ("a", "!="), ("s", "=")]);
        let [value, compared] = [self.roll(5), self.roll(3)].map(Value::int);
        part.text = "UPDATE cond SET a = ".to_owned();
        self.put(part, value);
        part.text += &format!(" WHERE p = {p} AND c = {c} IF {column} {sign} ");
        match self.roll(4) {
            0 => part.text += "null",
            _ => self.put(part, compared),
        }
    }

    /// At another row than that with the condition, or at the static column.
    fn part_beside(&mut self, part: &mut Statement, p: i32, condition_c: i32) {
        let c = (condition_c + 1 + self.roll(3)) % 4;
        let value = value::small(&mut self.random);
        match self.roll(3) {
            0 => part.text = format!("DELETE FROM cond WHERE p = {p} AND c = {c}"),
            1 => part.text = format!("INSERT INTO cond (p, c, t) VALUES ({p}, {c}, 'batch')"),
            _ => {
                part.text = "UPDATE cond SET s = ".to_owned();
                self.put(part, value);
                part.text += &format!(" WHERE p = {p}");
            }
        }
    }

    // ---- what is not repeatable

    fn lists(&mut self) -> Request {
        self.may_stamp = false;
        let mut draft = self.draft();
        let may_fail = match self.roll(8) {
            0 => {
                let index = Value::int(self.roll(3));
                draft.text = "UPDATE lists SET l[".to_owned();
                self.put(&mut draft, index);
                draft.text += "] = ";
                self.put_any(&mut draft, Kind::Int);
                self.at_row(&mut draft, &LISTS);
                true
            }
            1 => {
                draft.text = "UPDATE lists SET l = l - ".to_owned();
                let value = value::list(&mut self.random);
                self.put(&mut draft, value);
                self.at_row(&mut draft, &LISTS);
                false
            }
            2 => {
                let index = Value::int(self.roll(3));
                draft.text = "DELETE l[".to_owned();
                self.put(&mut draft, index);
                draft.text += "] FROM lists";
                self.at_row(&mut draft, &LISTS);
                true
            }
            _ => {
                self.plain_into(&mut draft, &LISTS);
                false
            }
        };
        let mut request = Self::one(draft);
        request.may_fail = may_fail;
        request
    }

    /// Never deleted: what a counter is after a delete and an update Cassandra leaves undefined.
    /// None is static: Cassandra itself loses some of the updates of one static counter that come
    /// at once (4.1.10 by itself, eight connections, 1,600 times + 1: it had 1,590, and 1,600 in a
    /// counter of a row), so even one cluster is not what its clients wrote.
    fn counters(&mut self) -> Request {
        let (unlogged, count) = (self.roll(3) > 0, 1 + self.roll(3));
        let statements: Vec<_> = (0..count)
            .map(|_| {
                let mut draft = self.draft();
                let column = self.pick(&["n", "m"]);
                let sign = self.pick(&['+', '-']);
                draft.text = format!("UPDATE counts SET {column} = {column} {sign} ");
                let value = Value::big(i64::from(self.roll(1000)));
                self.put(&mut draft, value);
                self.at_row(&mut draft, &COUNTS);
                draft
            })
            .collect();
        if unlogged {
            return Self::one(statements.into_iter().next().unwrap_or_default());
        }
        Self::message(2, statements)
    }
}

const COUNTS: Shape = Shape {
    name: "counts",
    statics: &[],
    columns: &[],
    own: false,
    stamps: false,
};
