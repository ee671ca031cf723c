//! Requests by seed. What two correct clusters may legitimately hold differently is not made here;
//! each such abstention says why, by the promises (SEMANTICS) and by Cassandra's own rules.

mod statements;
mod tables;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::value::{self, Kind, Value};
use crate::support::cql::Bound;

use tables::{CHECKED, CONDITIONAL, COUNTS, EXPIRING, LISTS, PLAIN, Shape};

pub use tables::SCHEMA;

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

    fn conditional(&mut self, shape: &Shape) -> Request {
        self.may_stamp = false;
        let mut draft = self.draft();
        self.conditional_into(&mut draft, shape);
        let mut request = Self::one(draft);
        request.clock = shape.stamps && self.roll(3) == 0;
        request
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
