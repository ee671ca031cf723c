//! What clients ask: writes of all kinds, each with a key that tells it from others.

use crate::ledger::{Deed, Fate, Step};
use crate::random::Rng;
use crate::weather::Forecast;

/// The tables that are there from the start, at both clusters.
pub const SCHEMA: &[&str] = &[
    "CREATE KEYSPACE sim WITH replication={'class':'SimpleStrategy','replication_factor':1}",
    "CREATE TABLE sim.u (k text PRIMARY KEY, v text, n int)",
    "CREATE TABLE sim.w (k text, c int, v text, s set<text>, PRIMARY KEY (k, c))",
    "CREATE TABLE sim.cnt (k text PRIMARY KEY, n counter)",
    "CREATE TABLE sim.lst (k text PRIMARY KEY, l list<text>)",
    "CREATE TABLE sim.lsw (k text, c int, l list<text>, s list<text> static, PRIMARY KEY (k, c))",
    "CREATE TABLE sim.rej (k text PRIMARY KEY, v text)",
    "CREATE TABLE sim.lwt (k text PRIMARY KEY, v text, n int)",
    "CREATE TABLE sim.lwl (k text PRIMARY KEY, l list<text>)",
];

/// Statements that every client prepares.
pub const PREPARED: &[&str] = &[
    "INSERT INTO sim.u (k, v, n) VALUES (?, ?, ?)",
    "INSERT INTO sim.u (k, v, n) VALUES (?, ?, ?) USING TTL ?",
    "UPDATE sim.u SET v = ? WHERE k = ?",
    "DELETE FROM sim.u WHERE k = ?",
    "INSERT INTO sim.w (k, c, v) VALUES (?, ?, ?)",
    "UPDATE sim.w SET s = s + ? WHERE k = ? AND c = ?",
    "DELETE FROM sim.w WHERE k = ? AND c = ?",
    "UPDATE sim.cnt SET n = n + ? WHERE k = ?",
    "UPDATE sim.lst SET l = l + ? WHERE k = ?",
    "INSERT INTO sim.lst (k, l) VALUES (?, ?)",
    "UPDATE sim.u USING TIMESTAMP ? SET v = ? WHERE k = ?",
    "INSERT INTO sim.rej (k, v) VALUES (?, ?)",
    "INSERT INTO sim.lwt (k, v) VALUES (?, ?) IF NOT EXISTS",
    "UPDATE sim.lwt SET v = ?, n = ? WHERE k = ? IF v = ?",
    "INSERT INTO sim.lwt (k, v, n) VALUES (?, ?, ?)",
    "UPDATE sim.lwl SET l = l + ? WHERE k = ? IF EXISTS",
    "INSERT INTO sim.lwl (k, l) VALUES (?, ?)",
    "UPDATE sim.lst SET l = ? + l WHERE k = ?",
    "UPDATE sim.lst SET l = l - ? WHERE k = ?",
    "UPDATE sim.lsw SET l = l + ? WHERE k = ? AND c = ?",
    "UPDATE sim.lsw SET s = s + ? WHERE k = ?",
    "DELETE FROM sim.lsw WHERE k = ? AND c = ?",
];

/// Lists that a client writes to in turn.
const LISTS: usize = 3;

/// A statement of a batch, or alone.
#[derive(Debug, Clone)]
pub enum Statement {
    Text(String, Vec<Vec<u8>>),
    Prepared(usize, Vec<Vec<u8>>),
}

/// A request.
#[derive(Debug, Clone)]
pub enum Ask {
    Startup,
    Use,
    Prepare(usize),
    One(Statement),
    /// Type of the batch (0 logged, 1 unlogged, 2 counter).
    Batch(u8, Vec<Statement>),
}

/// What a client remembers for its writes whose order matters.
#[derive(Debug)]
pub struct Work {
    client: usize,
    rng: Rng,
    pub ordered_busy: bool,
    list_keys: Vec<String>,
    counter_key: Option<String>,
    /// Its own table for TRUNCATE; not used any more after an unknown fate.
    truncate_ok: bool,
    table_number: usize,
    table_exists: bool,
    table_altered: bool,
    /// Its stamps, if it brings its own.
    pub own_stamps: bool,
    /// The proxy's clock is behind those of the nodes: its stamps on deletes of counters do not
    /// reach the time at which the source counted.
    pub behind: bool,
    /// It truncates tables and changes the schema.
    schema: bool,
    /// It does nothing but append to lists of so many partitions.
    lists: Option<usize>,
    /// It makes conditional writes: not where a clock is set, which none of them survives.
    conditions: bool,
    last_value: String,
}

/// Numbers for keys, for all clients together.
#[derive(Debug, Default)]
pub struct Keys(usize);

impl Keys {
    pub fn fresh(&mut self) -> String {
        self.0 += 1;
        format!("k{:06}", self.0)
    }
}

pub fn text(value: &str) -> Vec<u8> {
    value.as_bytes().to_vec()
}

fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn bigint(value: i64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn collection(items: &[&str]) -> Vec<u8> {
    let mut bytes = int(i32::try_from(items.len()).unwrap());
    for item in items {
        bytes.extend(int(i32::try_from(item.len()).unwrap()));
        bytes.extend_from_slice(item.as_bytes());
    }
    bytes
}

impl Work {
    pub fn new(client: usize, mut rng: Rng, forecast: &Forecast) -> Self {
        let own_stamps = rng.chance(400);
        Self {
            client,
            rng,
            ordered_busy: false,
            list_keys: Vec::new(),
            counter_key: None,
            truncate_ok: true,
            table_number: 0,
            table_exists: false,
            table_altered: false,
            own_stamps,
            behind: false,
            schema: forecast.schema,
            lists: forecast.lists,
            conditions: !forecast.steps,
            last_value: "none".to_owned(),
        }
    }

    /// The client's own table for TRUNCATE, made before it starts.
    pub fn own_table(client: usize) -> String {
        format!("sim.tr{client}")
    }

    fn made_table(&self) -> String {
        format!("sim.d{}_{}", self.client, self.table_number)
    }

    /// The next write.
    pub fn next(&mut self, keys: &mut Keys, now_us: i64) -> (Deed, Ask) {
        if let Some(partitions) = self.lists {
            return Self::append(partitions, keys);
        }
        let kinds = if self.schema { 100 } else { 90 };
        match self.rng.below(kinds) {
            0..12 if self.conditions => self.conditional(keys),
            0..30 => self.unique(keys, now_us),
            30..48 => self.hot(now_us),
            48..62 => self.wide(keys),
            62..70 => self.batch(keys),
            70..77 => self.count(keys),
            77 => self.refused(keys),
            _ if self.ordered_busy => self.unique(keys, now_us),
            78..90 => self.list(keys),
            90..95 => self.truncate(keys),
            _ => self.schema(keys),
        }
    }

    fn append(partitions: usize, keys: &mut Keys) -> (Deed, Ask) {
        let item = keys.fresh();
        let key = format!("a{:03}", keys.0 % partitions);
        let values = vec![collection(&[&item]), text(&key)];
        let deed = Self::deed("sim.lst", &key);
        (deed, Ask::One(Statement::Prepared(8, values)))
    }

    fn deed(table: &str, key: &str) -> Deed {
        Deed {
            table: table.to_owned(),
            key: key.to_owned(),
            also: Vec::new(),
            from_us: 0,
            until_us: i64::MAX,
            leaves: None,
            ordered: false,
            step: Step::None,
            fate: Fate::Waiting,
        }
    }

    fn unique(&mut self, keys: &mut Keys, now_us: i64) -> (Deed, Ask) {
        let key = keys.fresh();
        let value = format!("v{key}");
        let number = i32::try_from(self.rng.below(1_000)).unwrap();
        let mut deed = Self::deed("sim.u", &key);
        deed.leaves = Some(("v", text(&value)));
        let ttl_s = *[5, 60, 3_600, 200_000].get(self.rng.below(4)).unwrap();
        let statement = match self.rng.below(6) {
            0 | 1 => Statement::Prepared(0, vec![text(&key), text(&value), int(number)]),
            2 => {
                deed.leaves = None;
                let values = vec![text(&key), text(&value), int(number), int(ttl_s)];
                Statement::Prepared(1, values)
            }
            3 => {
                deed.leaves = None;
                let text = format!(
                    "INSERT INTO sim.u (k, v) VALUES ('{key}', '{value}') USING TTL {ttl_s}"
                );
                Statement::Text(text, Vec::new())
            }
            4 => {
                let stamp_us = now_us - self.rng.range(0, 5_000_000);
                let values = vec![bigint(stamp_us), text(&value), text(&key)];
                Statement::Prepared(10, values)
            }
            // only who knows the table knows that none of these is a list
            _ => Statement::Text(
                format!("INSERT INTO sim.u (k, v, n) VALUES ('{key}', ?, {number})"),
                vec![text(&value)],
            ),
        };
        (deed, Ask::One(statement))
    }

    fn hot(&mut self, now_us: i64) -> (Deed, Ask) {
        let key = format!("h{:02}", self.rng.below(6));
        let value = format!("v{}", self.rng.below(1_000_000));
        let deed = Self::deed("sim.u", &key);
        let statement = match self.rng.below(7) {
            0 | 1 => Statement::Prepared(2, vec![text(&value), text(&key)]),
            2 => Statement::Prepared(3, vec![text(&key)]),
            3 => Statement::Text(format!("DELETE v FROM sim.u WHERE k = '{key}'"), Vec::new()),
            4 => {
                let stamp_us = now_us + self.rng.range(-3_000_000, 3_000);
                let text =
                    format!("UPDATE sim.u USING TIMESTAMP {stamp_us} SET v='{value}' WHERE k=?");
                Statement::Text(text, vec![key.into_bytes()])
            }
            5 => Statement::Text(
                format!("UPDATE sim.u SET v = '{value}', n = 7 WHERE k = '{key}' -- hot"),
                Vec::new(),
            ),
            _ => Statement::Prepared(0, vec![text(&key), text(&value), int(1)]),
        };
        (deed, Ask::One(statement))
    }

    fn wide(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let shared = self.rng.chance(600);
        let key = match shared {
            true => format!("p{:02}", self.rng.below(4)),
            false => keys.fresh(),
        };
        let row = i32::try_from(self.rng.below(8)).unwrap();
        let value = format!("v{}", self.rng.below(1_000_000));
        let mut deed = Self::deed("sim.w", &key);
        let statement = match self.rng.below(8) {
            _ if !shared => {
                deed.leaves = Some(("v", text(&value)));
                Statement::Prepared(4, vec![text(&key), int(row), text(&value)])
            }
            0..3 => Statement::Prepared(4, vec![text(&key), int(row), text(&value)]),
            3 | 4 => {
                let members = collection(&[&value]);
                Statement::Prepared(5, vec![members, text(&key), int(row)])
            }
            5 => Statement::Prepared(6, vec![text(&key), int(row)]),
            6 => Statement::Text(
                format!("DELETE FROM sim.w WHERE k = '{key}' AND c > {row}"),
                Vec::new(),
            ),
            _ => Statement::Text(
                format!("UPDATE sim.w SET s = s - {{'{value}'}} WHERE k = '{key}' AND c = {row}"),
                Vec::new(),
            ),
        };
        (deed, Ask::One(statement))
    }

    fn batch(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let key = keys.fresh();
        let value = format!("v{key}");
        let mut deed = Self::deed("sim.u", &key);
        deed.leaves = Some(("v", text(&value)));
        let hot = format!("h{:02}", self.rng.below(6));
        deed.also = vec![("sim.u", hot.clone()), ("sim.w", key.clone())];
        if self.rng.chance(300) {
            let text = format!(
                "BEGIN BATCH INSERT INTO sim.u (k, v) VALUES ('{key}', '{value}'); \
                 DELETE n FROM sim.u WHERE k = '{hot}'; APPLY BATCH"
            );
            return (deed, Ask::One(Statement::Text(text, Vec::new())));
        }
        let mut statements = vec![Statement::Prepared(
            0,
            vec![text(&key), text(&value), int(1)],
        )];
        for _ in 0..self.rng.below(3) {
            let row = i32::try_from(self.rng.below(8)).unwrap();
            statements.push(match self.rng.below(3) {
                0 => Statement::Prepared(4, vec![text(&key), int(row), text("b")]),
                1 => Statement::Text(
                    format!("UPDATE sim.u SET n = {row} WHERE k = '{hot}'"),
                    Vec::new(),
                ),
                _ => Statement::Prepared(2, vec![text(&hot), text(&hot)]),
            });
        }
        let kind = u8::from(self.rng.chance(500));
        (deed, Ask::Batch(kind, statements))
    }

    fn count(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let by = self.rng.range(-50, 50);
        let shared = self.rng.chance(400);
        let key = match (&self.counter_key, shared) {
            (_, true) => format!("n{:02}", self.rng.below(4)),
            (Some(key), false) => key.clone(),
            (None, false) => keys.fresh(),
        };
        let mut deed = Self::deed("sim.cnt", &key);
        let deletes = !shared && !self.ordered_busy && !self.behind;
        if deletes && self.counter_key.is_some() && self.rng.chance(80) {
            (deed.ordered, deed.step) = (true, Step::CountersGone);
            self.counter_key = None;
            let text = format!("DELETE FROM sim.cnt WHERE k = '{key}'");
            return (deed, Ask::One(Statement::Text(text, Vec::new())));
        }
        if !shared {
            // a delete that follows must not race with it
            if self.ordered_busy {
                deed.key = format!("n{:02}", self.rng.below(4));
            } else {
                self.counter_key = Some(key);
                deed.ordered = true;
            }
        }
        let key = deed.key.clone();
        let ask = match self.rng.below(4) {
            0 => Ask::One(Statement::Text(
                format!("UPDATE sim.cnt SET n = n + {by} WHERE k = '{key}'"),
                Vec::new(),
            )),
            1 => {
                let one = Statement::Prepared(7, vec![bigint(by), text(&key)]);
                Ask::Batch(2, vec![one.clone(), one])
            }
            _ => Ask::One(Statement::Prepared(7, vec![bigint(by), text(&key)])),
        };
        (deed, ask)
    }

    fn conditional(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        if self.rng.chance(250) {
            return self.conditional_list(keys);
        }
        let key = match self.rng.chance(700) {
            true => format!("c{:02}", self.rng.below(5)),
            false => keys.fresh(),
        };
        let deed = Self::deed("sim.lwt", &key);
        let value = format!("v{}", self.rng.below(1_000_000));
        let last = std::mem::replace(&mut self.last_value, value.clone());
        let kinds = if self.own_stamps { 7 } else { 9 };
        let statement = match self.rng.below(kinds) {
            0..3 => Statement::Prepared(12, vec![text(&key), text(&value)]),
            3 | 4 => {
                let values = vec![text(&value), int(7), text(&key), text(&last)];
                Statement::Prepared(13, values)
            }
            5 => Statement::Text(
                format!("DELETE FROM sim.lwt WHERE k = '{key}' IF EXISTS"),
                Vec::new(),
            ),
            6 => Statement::Text(
                format!("UPDATE sim.lwt SET n = null WHERE k = '{key}' IF v != '{value}'"),
                Vec::new(),
            ),
            // and plain ones at the same rows; see `conditional_list`
            7 => Statement::Prepared(14, vec![text(&key), text(&value), int(1)]),
            _ => Statement::Text(
                format!("DELETE n FROM sim.lwt WHERE k = '{key}'"),
                Vec::new(),
            ),
        };
        (deed, Ask::One(statement))
    }

    /// Of lists, several clients at one row; also plain ones that replace the list, whose order
    /// their stamps tell: not those of a client, which may lie there longer than clocks may differ.
    fn conditional_list(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let key = format!("l{:02}", self.rng.below(3));
        let deed = Self::deed("sim.lwl", &key);
        let item = keys.fresh();
        let text_of = |words: String| Statement::Text(words, Vec::new());
        let kinds = if self.own_stamps { 5 } else { 7 };
        let statement = match self.rng.below(kinds) {
            0 => Statement::Prepared(15, vec![collection(&[&item]), text(&key)]),
            1 => text_of(format!(
                "INSERT INTO sim.lwl (k, l) VALUES ('{key}', ['{item}']) IF NOT EXISTS"
            )),
            2 => text_of(format!(
                "UPDATE sim.lwl SET l = ['{item}', 'plain'] WHERE k = '{key}' IF EXISTS"
            )),
            3 => text_of(format!(
                "UPDATE sim.lwl SET l = l - ['plain'] WHERE k = '{key}' IF EXISTS"
            )),
            4 => text_of(format!("DELETE FROM sim.lwl WHERE k = '{key}' IF EXISTS")),
            5 => Statement::Prepared(16, vec![text(&key), collection(&[&item, "plain"])]),
            _ => text_of(format!(
                "INSERT INTO sim.lwl (k, l) VALUES ('{key}', ['{item}'])"
            )),
        };
        (deed, Ask::One(statement))
    }

    fn refused(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let key = keys.fresh();
        let deed = Self::deed("sim.rej", &key);
        let statement = Statement::Prepared(11, vec![text(&key), text("refused")]);
        (deed, Ask::One(statement))
    }

    /// Lists of its own, by bound keys and by keys in the text.
    fn list(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        if self.list_keys.len() < LISTS {
            self.list_keys.push(keys.fresh());
        }
        let key = self.list_keys[self.rng.below(self.list_keys.len())].clone();
        let item = keys.fresh();
        let wide = self.rng.chance(300);
        let mut deed = Self::deed(if wide { "sim.lsw" } else { "sim.lst" }, &key);
        (deed.ordered, deed.step) = (true, Step::List);
        if wide {
            return (deed, Ask::One(self.wide_list(&key, &item)));
        }
        let one = collection(&[&item]);
        let statement = match self.rng.below(8) {
            0 | 1 => Statement::Prepared(8, vec![one, text(&key)]),
            2 => Statement::Prepared(9, vec![text(&key), collection(&[&item, "second"])]),
            3 => Statement::Prepared(17, vec![one, text(&key)]),
            4 => Statement::Prepared(18, vec![collection(&["second"]), text(&key)]),
            5 => Statement::Text(
                format!("UPDATE sim.lst SET l = ['{item}'] + l WHERE k = '{key}'"),
                Vec::new(),
            ),
            6 => Statement::Text(
                format!("UPDATE sim.lst SET l = l - ['second'] WHERE k = '{key}'"),
                Vec::new(),
            ),
            _ => Statement::Text(
                format!("INSERT INTO sim.lst (k, l) VALUES ('{key}', ['{item}'])"),
                Vec::new(),
            ),
        };
        let other = self.list_keys.iter().find(|other| **other != key);
        if let Some(other) = other.filter(|_| self.rng.chance(100)) {
            // of two partitions
            deed.also = vec![("sim.lst", other.clone())];
            let second = Statement::Prepared(8, vec![collection(&[&item]), text(other)]);
            return (deed, Ask::Batch(1, vec![statement, second]));
        }
        (deed, Ask::One(statement))
    }

    /// Of rows that share a partition.
    fn wide_list(&mut self, key: &str, item: &str) -> Statement {
        let row = i32::try_from(self.rng.below(2)).unwrap();
        let one = collection(&[item]);
        match self.rng.below(6) {
            0 | 1 => Statement::Prepared(19, vec![one, text(key), int(row)]),
            2 => Statement::Prepared(20, vec![one, text(key)]),
            3 => Statement::Prepared(21, vec![text(key), int(row)]),
            4 => Statement::Text(
                format!("UPDATE sim.lsw SET l = l + ['{item}'] WHERE k = ? AND c = {row}"),
                vec![text(key)],
            ),
            _ => Statement::Text(
                format!("UPDATE sim.lsw SET s = ['{item}'] + s WHERE k = '{key}'"),
                Vec::new(),
            ),
        }
    }

    fn truncate(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let table = Self::own_table(self.client);
        let key = keys.fresh();
        let mut deed = Self::deed(&table, &key);
        deed.ordered = true;
        let statement = match self.truncate_ok && self.rng.chance(350) {
            true => {
                deed.step = Step::Truncated;
                format!("TRUNCATE {table}")
            }
            false => {
                deed.step = Step::TruncateRow;
                format!("INSERT INTO {table} (k, v) VALUES ('{key}', 'x')")
            }
        };
        (deed, Ask::One(Statement::Text(statement, Vec::new())))
    }

    fn schema(&mut self, keys: &mut Keys) -> (Deed, Ask) {
        let table = self.made_table();
        let key = keys.fresh();
        let mut deed = Self::deed(&table, &key);
        deed.ordered = true;
        let statement = match (self.table_exists, self.table_altered, self.rng.below(10)) {
            (false, ..) => {
                deed.step = Step::Created;
                format!("CREATE TABLE {table} (k text PRIMARY KEY, v text)")
            }
            (true, false, 0..3) => {
                deed.step = Step::Altered;
                format!("ALTER TABLE {table} ADD x text")
            }
            (true, true, 0) => {
                deed.step = Step::Dropped;
                format!("DROP TABLE {table}")
            }
            (true, true, _) => format!("INSERT INTO {table} (k, x) VALUES ('{key}', 'new')"),
            (true, false, _) => format!("INSERT INTO {table} (k, v) VALUES ('{key}', 'old')"),
        };
        (deed, Ask::One(Statement::Text(statement, Vec::new())))
    }

    /// The client has learned the fate of a write.
    pub fn settled(&mut self, deed: &Deed) {
        if deed.ordered {
            self.ordered_busy = false;
        }
        let unknown = deed.fate == Fate::Unknown;
        let done = deed.fate == Fate::Acknowledged;
        match deed.step {
            Step::None if deed.ordered && unknown => self.counter_key = None,
            Step::None => {}
            Step::List if unknown => self.list_keys.clear(),
            Step::List => {}
            Step::Truncated | Step::TruncateRow if unknown => self.truncate_ok = false,
            Step::Truncated | Step::TruncateRow | Step::CountersGone => {}
            Step::Created if done => (self.table_exists, self.table_altered) = (true, false),
            Step::Altered if done => self.table_altered = true,
            Step::Created | Step::Altered if !unknown => {}
            Step::Created | Step::Altered | Step::Dropped => {
                self.table_exists = false;
                self.table_number += 1;
            }
        }
    }
}
