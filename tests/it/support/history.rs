//! Rows of every kind, as a cluster has them that was written to for years: each cell with a
//! writetime of its own, some with a TTL, some deleted, collections grown element by element.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cql::Cql;

/// The statements that create the tables, keyspace left out.
pub const SCHEMA: [&str; 5] = [
    "TYPE addr (street text, \"No\" int)",
    "TABLE every (p int, \"P 2\" text, c bigint, d uuid, s int STATIC, ss set<int> STATIC, \
     a ascii, b bigint, bl blob, bo boolean, da date, de decimal, dou double, f float, i inet, \
     si smallint, t text, ti time, ts timestamp, tu timeuuid, tiny tinyint, v varint, \
     du duration, tup tuple<int, text>, fl frozen<list<int>>, fm frozen<map<text, int>>, \
     fu frozen<addr>, \"Odd \"\"Name\" int, l list<text>, st set<int>, m map<text, int>, u addr, \
     PRIMARY KEY ((p, \"P 2\"), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)",
    "TABLE \"CaseCounts\" (k text PRIMARY KEY, v int) WITH default_time_to_live = 80000",
    "TABLE keys_only (k int, c int, PRIMARY KEY (k, c))",
    "TABLE counted (k int, c int, n counter, m counter, s counter STATIC, PRIMARY KEY (k, c))",
];

/// Columns of one cell, each with a few values; extremes and empty ones among them.
const SINGLES: [(&str, [&str; 3]); 22] = [
    ("a", ["'x'", "''", "'ascii text'"]),
    ("b", ["-9223372036854775808", "0", "77"]),
    ("bl", ["0x", "0x00ff", "0xdeadbeef"]),
    ("bo", ["true", "false", "true"]),
    ("da", ["'1970-01-01'", "'2038-01-20'", "'-1000-01-01'"]),
    (
        "de",
        ["1.000", "-0.0000000001", "123456789012345678901234567890"],
    ),
    ("dou", ["NaN", "-Infinity", "0.1"]),
    ("f", ["NaN", "-0.0", "1.5"]),
    ("i", ["'127.0.0.1'", "'::1'", "'10.1.2.3'"]),
    ("si", ["-32768", "0", "5"]),
    ("t", ["'grüße'", "''", "'it''s'"]),
    ("ti", ["'00:00:00'", "'23:59:59.999999999'", "'08:12:54.1'"]),
    ("ts", ["-62135596800000", "9223372036854775807", "0"]),
    ("tu", ["50554d6e-29bb-11e5-b345-feff819cdc9f"; 3]),
    ("tiny", ["-128", "127", "0"]),
    ("v", ["0", "-1", "99999999999999999999999999"]),
    ("du", ["1y2mo", "3d4h", "-5m"]),
    ("tup", ["(1, 'a')", "(2, null)", "(null, '')"]),
    ("fl", ["[1, 2]", "[]", "[3]"]),
    ("fm", ["{'a': 1}", "{}", "{'b': 2, 'c': 3}"]),
    (
        "fu",
        ["{street: 'x', \"No\": 1}", "{street: 'y'}", "{\"No\": 2}"],
    ),
    ("\"Odd \"\"Name\"", ["1", "2", "3"]),
];

/// Writes with random stamps.
pub struct Past {
    random: SmallRng,
    keyspace: String,
    /// Stamps lie before this, in µs.
    now_us: i64,
}

impl Past {
    pub fn new(keyspace: &str, seed: u64, now_us: i64) -> Past {
        Past {
            random: SmallRng::seed_from_u64(seed),
            keyspace: keyspace.to_owned(),
            now_us,
        }
    }

    /// Fills all tables; `rows` in the large one.
    pub fn write(&mut self, cql: &mut Cql, rows: i32) {
        let keyspace = self.keyspace.clone();
        let mut run = |text: String| {
            cql.query(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        };
        for row in 0..rows {
            let at = self.row(row);
            for _ in 0..self.random.random_range(1..5) {
                run(self.change(&at));
            }
        }
        for p in 0..rows / 4 {
            let using = self.using();
            let partition = format!("p = {p} AND \"P 2\" = 'only static'");
            let set = ["s = 5", "ss = ss + {1, 2}"][self.random.random_range(0..2)];
            run(format!(
                "UPDATE {keyspace}.every {using} SET {set} WHERE {partition}"
            ));
        }
        for n in 0..20 {
            let using = self.using();
            run(format!(
                "INSERT INTO {keyspace}.\"CaseCounts\" (k, v) VALUES ('{n}', {n}) {using}"
            ));
            run(format!(
                "INSERT INTO {keyspace}.keys_only (k, c) VALUES ({n}, {n})"
            ));
            run(format!(
                "UPDATE {keyspace}.counted SET n = n + {n}, m = m - 3 WHERE k = {n} AND c = 1"
            ));
            run(format!(
                "UPDATE {keyspace}.counted SET s = s + 2 WHERE k = {n}"
            ));
        }
    }

    fn row(&mut self, row: i32) -> String {
        let p = row / 5;
        format!(
            "p = {p} AND \"P 2\" = 'x' AND c = {} AND d = 00000000-0000-4000-8000-{row:012}",
            row % 3
        )
    }

    /// A statement that changes one row, or the statics of its partition.
    fn change(&mut self, at: &str) -> String {
        let (table, using) = (format!("{}.every", self.keyspace), self.using());
        match self.random.random_range(0..10) {
            0..5 => {
                let first = self.random.random_range(0..SINGLES.len());
                let set: Vec<_> = (0..self.random.random_range(1..6))
                    .map(|n| {
                        let (name, values) = SINGLES[(first + n * 3) % SINGLES.len()];
                        format!("{name} = {}", values[self.random.random_range(0..3)])
                    })
                    .collect();
                format!("UPDATE {table} {using} SET {} WHERE {at}", set.join(", "))
            }
            5 => {
                let keys = at.replace(" AND ", ", ");
                let (names, values): (Vec<_>, Vec<_>) = keys
                    .split(", ")
                    .filter_map(|part| part.split_once(" = "))
                    .unzip();
                format!(
                    "INSERT INTO {table} ({}) VALUES ({}) {using}",
                    names.join(", "),
                    values.join(", ")
                )
            }
            6 => {
                let n = self.random.random_range(0..9);
                format!(
                    "UPDATE {table} {using} SET l = l + ['{n}', 'x'], m['k{n}'] = {n}, \
                     st = st + {{{n}, {}}} WHERE {at}",
                    n + 1
                )
            }
            7 => {
                let field = ["u.street = 'way'", "u.\"No\" = 4"][self.random.random_range(0..2)];
                format!("UPDATE {table} {using} SET {field} WHERE {at}")
            }
            8 => {
                let partition = at.split(" AND c").next().unwrap();
                let n = self.random.random_range(0..9);
                format!("UPDATE {table} {using} SET s = {n} WHERE {partition}")
            }
            _ => {
                let (name, _) = SINGLES[self.random.random_range(0..SINGLES.len())];
                let using = using.split(" AND").next().unwrap();
                format!("DELETE {name}, m FROM {table} {using} WHERE {at}")
            }
        }
    }

    /// A stamp in the last twelve days; a TTL in one of three.
    fn using(&mut self) -> String {
        let stamp = self.now_us - self.random.random_range(1_000_000..1_000_000_000_000);
        let ttl = match self.random.random_range(0..3) {
            0 => self.random.random_range(50_000..500_000),
            _ => 0,
        };
        format!("USING TIMESTAMP {stamp} AND TTL {ttl}")
    }
}
