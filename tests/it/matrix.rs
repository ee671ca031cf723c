//! Every kind of statement, one by one, in every way that a client can send it; afterwards source
//! and target are equal cell by cell: value, WRITETIME and TTL. And the source holds what it holds
//! without a proxy.

mod batched;
mod case;
mod changes;
mod collections;
mod conditional;
mod counted;
mod expiring;
mod generated;
mod plain;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use self::case::{Case, Step, V, Where};
use crate::support::cassandra::Cassandra;
use crate::support::compare::{self, Depth, Place};
use crate::support::cql::{Beside, Bound, Cql, Failure, Words};
use crate::support::lab::{self, Pair};

const SETTLE_LIMIT: Duration = Duration::from_secs(20);
const UNPREPARED: i32 = 0x2500;

/// Numbers of one way's cases; more than there are cases.
const WAY_NUMBERS: i32 = 1_000;

const SCHEMA: &[&str] = &[
    "CREATE TYPE addr (street text, no int)",
    "CREATE TYPE outer_addr (a frozen<addr>, b frozen<list<int>>)",
    "CREATE TYPE gen_type (id uuid, at timestamp)",
    "CREATE TABLE t (k int, c int, a int, b text, PRIMARY KEY (k, c))",
    "CREATE TABLE only_key (k int, c int, PRIMARY KEY (k, c))",
    "CREATE TABLE wide (k int, p text, c1 int, c2 text, a int, \
     PRIMARY KEY ((k, p), c1, c2)) WITH CLUSTERING ORDER BY (c1 ASC, c2 DESC)",
    "CREATE TABLE words (k int, c int, ttl int, timestamp int, key int, type int, list int, \
     json int, values int, PRIMARY KEY (k, c))",
    "CREATE TABLE \"QuotedT\" (k int, \"C d\" int, \"select\" text, \"a\"\"b\" int, \"ü 漢\" text, \
     \"USING TIMESTAMP 5\" int, PRIMARY KEY (k, \"C d\"))",
    "CREATE TABLE types (k int PRIMARY KEY, a ascii, bi bigint, bl blob, bo boolean, d date, \
     de decimal, dou double, du duration, f float, i inet, si smallint, te text, ti time, \
     ts timestamp, tu timeuuid, ty tinyint, u uuid, vi varint)",
    "CREATE TABLE keys (k int, a ascii, b blob, c decimal, d date, e inet, f timeuuid, \
     g frozen<tuple<int, text>>, v int, PRIMARY KEY (k, a, b, c, d, e, f, g))",
    "CREATE TABLE coll (k int, c int, l list<int>, lt list<text>, lf list<frozen<list<int>>>, \
     st set<int>, st2 set<text>, m map<text, int>, m2 map<int, frozen<map<text, int>>>, u addr, \
     uu outer_addr, fl frozen<list<int>>, fs frozen<set<int>>, fm frozen<map<text, int>>, \
     fu frozen<addr>, tup tuple<int, text>, PRIMARY KEY (k, c))",
    "CREATE TABLE stat (k int, c int, s int STATIC, sl list<int> STATIC, ss set<int> STATIC, \
     sm map<text, int> STATIC, su addr STATIC, a int, PRIMARY KEY (k, c))",
    "CREATE TABLE ttl (k int, c int, a int, b text, st set<int>, PRIMARY KEY (k, c)) \
     WITH default_time_to_live = 7200",
    "CREATE TABLE counters (k int, c int, n counter, m counter, PRIMARY KEY (k, c))",
    "CREATE TABLE counters_static (k int, c int, s counter STATIC, n counter, PRIMARY KEY (k, c))",
    "CREATE TABLE gen (k int, c timeuuid, u uuid, tu timeuuid, ts timestamp, d date, ti time, \
     b bigint, bl blob, x text, a text, su set<uuid>, m map<uuid, timestamp>, l list<timeuuid>, \
     fl frozen<list<uuid>>, tup tuple<uuid, timestamp>, ug gen_type, PRIMARY KEY (k, c))",
    "CREATE TABLE gen_key (k int, u uuid, d date, PRIMARY KEY ((k, u), d))",
];

/// Where a case that leaves something leaves it: tables that begin with `k int`.
const TABLES: &[&str] = &[
    "t",
    "only_key",
    "wide",
    "words",
    "\"QuotedT\"",
    "types",
    "keys",
    "coll",
    "stat",
    "ttl",
    "counters",
    "counters_static",
    "gen",
    "gen_key",
];

/// Tables of values that are generated, or have them in their keys: two runs differ.
const GENERATED: &[&str] = &["gen", "made_"];

/// How the statements of a case are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Query,
    Execute,
    /// Alone in a BATCH message, as text.
    BatchOfText,
    /// Alone in a BATCH message, prepared.
    BatchOfPrepared,
}

const WAYS: &[(Form, u8)] = &[
    (Form::Query, 4),
    (Form::Execute, 5),
    (Form::Query, 5),
    (Form::Execute, 4),
    (Form::Execute, 3),
    (Form::BatchOfText, 5),
    (Form::BatchOfPrepared, 4),
];

/// The `number`th of them at a source of this version. Cassandra 4.0 itself refuses a PREPARE in
/// version 3 that names its table without a keyspace after USE: it wants to warn of USE, and says
/// "Must not send frame with WARNING flag for native protocol version < 4" instead of preparing
/// (4.0.19, without a proxy; a qualified table is prepared and executed). That way sends text.
fn way(number: usize, version: u32) -> (Form, u8) {
    match WAYS[number] {
        (Form::Execute, 3) if version == 40 => (Form::Query, 3),
        way => way,
    }
}

/// So many of them run cases that change the schema.
const SCHEMA_WAYS: usize = 2;

fn cases() -> impl Iterator<Item = &'static Case> {
    let all = [
        plain::CASES,
        values::CASES,
        collections::CASES,
        conditional::CASES,
        counted::CASES,
        expiring::CASES,
        generated::CASES,
        batched::CASES,
        changes::CASES,
    ];
    all.into_iter().flatten()
}

/// The cases with their numbers, as the `way`th way runs them at a source of this version.
fn numbered(way: usize, version: u32, exact: bool) -> impl Iterator<Item = (i32, &'static Case)> {
    let first = WAY_NUMBERS * i32::try_from(way + 1).unwrap();
    let (_, protocol) = self::way(way, version);
    let only = std::env::var("TWINRING_MATRIX_ONLY").unwrap_or_default();
    (first + 1..).zip(cases()).filter(move |(_, case)| {
        case.name.contains(&only)
            && case.since <= version
            && !(case.schema && way >= SCHEMA_WAYS)
            && !(case.values_only && exact)
            && !(protocol < 4 && case.steps.iter().any(leaves_unset))
    })
}

fn leaves_unset(step: &Step) -> bool {
    let unset = |values: &[V]| values.iter().any(|value| matches!(value, V::Unset));
    match step {
        Step::With(_, values) | Step::At(_, _, values) | Step::Refused(_, values) => unset(values),
        Step::In(_, _, values) => unset(values),
        Step::Named(_, values) => values.iter().any(|(_, value)| matches!(value, V::Unset)),
        Step::Batch(_, _, parts) => parts.iter().any(|(_, values)| unset(values)),
        _ => false,
    }
}

/// One way's connection.
struct Client {
    cql: Cql,
    form: Form,
    protocol: u8,
    home: String,
    ids: HashMap<String, Vec<u8>>,
    number: i32,
}

type Answer = Result<Vec<Vec<Option<Vec<u8>>>>, Failure>;

impl Client {
    fn connect(contact: SocketAddr, (form, protocol): (Form, u8), home: &str) -> Client {
        let cql = Cql::connect_in(contact, protocol);
        let mut client = Client {
            cql: cql.unwrap_or_else(|e| panic!("{contact}: {e}")),
            form,
            protocol,
            home: home.to_owned(),
            ids: HashMap::new(),
            number: 0,
        };
        client.cql.query(&format!("USE {home}")).unwrap();
        client
    }

    /// What went wrong, in words.
    fn run(&mut self, number: i32, case: &Case) -> Option<String> {
        self.number = number;
        for step in case.steps {
            let refused = matches!(step, Step::Refused(..));
            match self.step(step) {
                Ok(_) if !refused => {}
                Err(Failure::Server(..)) if refused => {}
                answer => {
                    let (form, protocol) = (self.form, self.protocol);
                    let name = case.name;
                    return Some(format!(
                        "{name} ({form:?}, v{protocol}), {step:?}: {answer:?}"
                    ));
                }
            }
        }
        None
    }

    fn step(&mut self, step: &Step) -> Answer {
        let text = |text: &str| text.replace('@', &self.number.to_string());
        match step {
            Step::Do(words) => self.send(&text(words), &[], Beside::default()),
            Step::With(words, values) | Step::Refused(words, values) => {
                self.send(&text(words), values, Beside::default())
            }
            Step::Named(words, values) => {
                let (names, values): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
                let names = &names[..];
                let beside = Beside {
                    names,
                    ..Beside::default()
                };
                self.send(&text(words), &values, beside)
            }
            Step::At(stamp, words, values) => {
                let stamp = Some(*stamp);
                let beside = Beside {
                    stamp,
                    ..Beside::default()
                };
                self.send(&text(words), values, beside)
            }
            Step::Batch(kind, stamp, parts) => {
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(words, values)| (text(words), *values))
                    .collect();
                let beside = Beside {
                    stamp: *stamp,
                    ..Beside::default()
                };
                self.batch(*kind, &parts, beside)
            }
            Step::Prepare(words) => {
                if matches!(self.form, Form::Execute | Form::BatchOfPrepared) {
                    self.id(&text(words))?;
                }
                Ok(Vec::new())
            }
            Step::Use(place) => self.cql.query(&format!("USE {}", self.keyspace(*place))),
            Step::In(place, words, values) => {
                let keyspace = self.keyspace(*place);
                let keyspace = (self.protocol > 4).then_some(&*keyspace);
                let beside = Beside {
                    keyspace,
                    ..Beside::default()
                };
                self.send(&text(words), values, beside)
            }
            Step::PauseMs(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(Vec::new())
            }
        }
    }

    fn keyspace(&self, place: Where) -> String {
        match place {
            Where::Home => self.home.clone(),
            Where::Twin => format!("{}_twin", self.home),
        }
    }

    fn bound(&self, values: &[V]) -> Vec<Bound> {
        values.iter().map(|v| v.bound(self.number)).collect()
    }

    fn send(&mut self, text: &str, values: &[V], mut beside: Beside<'_>) -> Answer {
        let alone = matches!(self.form, Form::Query | Form::Execute) || !beside.names.is_empty();
        if let (false, Some(kind)) = (alone, kind(text)) {
            return self.batch(kind, &[(text.to_owned(), values)], beside);
        }
        let values = self.bound(values);
        if matches!(self.form, Form::Query | Form::BatchOfText) {
            return self.cql.send_with(Words::Text(text), &values, &beside);
        }
        if let Some(keyspace) = beside.keyspace.take() {
            let id = self.cql.prepare_in(text, Some(keyspace))?;
            return self.cql.send_with(Words::Id(&id), &values, &beside);
        }
        let id = self.id(text)?;
        let answer = self.cql.send_with(Words::Id(&id), &values, &beside);
        if !matches!(answer, Err(Failure::Server(UNPREPARED, _))) {
            return answer;
        }
        self.ids.clear(); // as drivers do: a change of the schema makes a node forget
        let id = self.id(text)?;
        self.cql.send_with(Words::Id(&id), &values, &beside)
    }

    fn batch(&mut self, kind: u8, parts: &[(String, &[V])], beside: Beside<'_>) -> Answer {
        let prepared = self.form != Form::Query && self.form != Form::BatchOfText;
        for last_try in [false, true] {
            let (mut ids, mut values) = (Vec::new(), Vec::new());
            for (text, of_part) in parts {
                ids.push(if prepared && beside.keyspace.is_none() {
                    Some(self.id(text)?)
                } else {
                    None
                });
                values.push(self.bound(of_part));
            }
            let parts = parts.iter().zip(&ids).zip(&values);
            let parts: Vec<(Words<'_>, &[Bound])> = parts
                .map(|(((text, _), id), values)| match id {
                    Some(id) => (Words::Id(id), &values[..]),
                    None => (Words::Text(text), &values[..]),
                })
                .collect();
            match self.cql.send_batch_with(kind, &parts, &beside) {
                Err(Failure::Server(UNPREPARED, _)) if !last_try => self.ids.clear(),
                answer => return answer,
            }
        }
        unreachable!("the last try returns")
    }

    fn id(&mut self, text: &str) -> Result<Vec<u8>, Failure> {
        if let Some(id) = self.ids.get(text) {
            return Ok(id.clone());
        }
        let id = self.cql.prepare(text)?;
        self.ids.insert(text.to_owned(), id.clone());
        Ok(id)
    }
}

/// The type of the BATCH message that can hold this statement.
fn kind(text: &str) -> Option<u8> {
    let text = text.to_ascii_lowercase();
    let verbs = ["insert", "update", "delete"];
    let is_write = verbs.iter().any(|verb| text.starts_with(verb));
    is_write.then(|| if text.contains(" counters") { 2 } else { 1 })
}

/// Tables, then all cases in all ways at once, each way with partitions of its own.
fn run_all(contact: SocketAddr, home: &str, version: u32, exact: bool) {
    let mut first = Client::connect(contact, WAYS[0], home);
    for keyspace in [home.to_owned(), format!("{home}_twin")] {
        first.cql.query(&format!("USE {keyspace}")).unwrap();
        for text in SCHEMA {
            let made = first.cql.query(text);
            made.unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let run = |way: usize| {
            let mut client = Client::connect(contact, self::way(way, version), home);
            let cases = numbered(way, version, exact);
            let wrong = cases.filter_map(|(number, case)| client.run(number, case));
            wrong.collect::<Vec<_>>()
        };
        let ways = (0..WAYS.len()).map(|way| scope.spawn(move || run(way)));
        let ways: Vec<_> = ways.collect();
        let ended = ways.into_iter().map(|way| way.join().unwrap());
        ended.flatten().collect()
    });
    assert!(wrong.is_empty(), "unexpected answers: {wrong:#?}");
}

/// Cases that should have left a row at the source and did not.
fn without_rows(cql: &mut Cql, keyspace: &str, version: u32, exact: bool) -> Vec<String> {
    let mut found = BTreeSet::new();
    for table in TABLES {
        let rows = cql
            .query(&format!("SELECT k FROM {keyspace}.{table}"))
            .unwrap();
        found.extend(rows.into_iter().map(|row| row[0].clone().unwrap()));
    }
    let ways = (0..WAYS.len()).flat_map(|way| numbered(way, version, exact));
    let empty =
        ways.filter(|(number, case)| !case.gone && !found.contains(&number.to_be_bytes()[..]));
    empty
        .map(|(number, case)| format!("{number} {}", case.name))
        .collect()
}

/// What the numbers in a report of differences stand for.
fn legend(report: &str, version: u32, exact: bool) -> String {
    let ways = (0..WAYS.len()).flat_map(|way| numbered(way, version, exact).map(move |n| (way, n)));
    let named = ways.filter(|(_, (number, _))| {
        let forms = ["{},", "{})", "_{} "].map(|form| form.replace("{}", &number.to_string()));
        forms.iter().any(|form| report.contains(form))
    });
    named
        .map(|(number, (id, case))| format!("\n  {id}: {} {:?}", case.name, way(number, version)))
        .collect()
}

/// `exact`: both ends tell the stamps of the elements of collections.
fn matrix(
    name: &str,
    [source, target]: [&'static Cassandra; 2],
    version: u32,
    exact: bool,
) -> Pair {
    let pair = match version {
        40 => Pair::in_v4(name, source, target), // as a target before 4.0 would have it
        _ => Pair::new(name, source, target),
    };
    let twin = Pair {
        keyspace: format!("{}_twin", pair.keyspace),
        proxy: None,
        ..pair
    };
    for node in [source, target] {
        lab::create_keyspace(node, &twin.keyspace);
    }
    run_all(pair.contact(), &pair.keyspace, version, exact);
    let mut cql = source.connect();
    let empty = without_rows(&mut cql, &pair.keyspace, version, exact);
    assert!(empty.is_empty(), "no rows at the source: {empty:#?}");
    for pair in [&pair, &twin] {
        let report = pair.compare(&[], SETTLE_LIMIT);
        let words = report.to_string();
        eprintln!("{}: {words}", pair.keyspace);
        let legend = legend(&words, version, exact);
        assert!(report.is_equal() && report.cells > 0, "{words}{legend}");
    }
    let target = if lab::is_direct() { source } else { target };
    let objects = [source, target].map(|node| objects(&mut node.connect(), &pair.keyspace));
    let odd: Vec<_> = objects[0].symmetric_difference(&objects[1]).collect();
    assert!(
        odd.is_empty() && !objects[0].is_empty(),
        "only at one side: {odd:#?}"
    );
    let held = pair.proxy.as_ref().map(|proxy| proxy.held());
    assert_eq!(held.unwrap_or_default(), Vec::<String>::new());
    pair
}

/// What a keyspace has beside tables and columns, and what tables are told.
fn objects(cql: &mut Cql, keyspace: &str) -> BTreeSet<String> {
    let wanted = [
        ("indexes", "table_name, index_name, kind"),
        ("types", "type_name, field_names, field_types"),
        ("views", "view_name, base_table_name, where_clause, comment"),
        (
            "functions",
            "function_name, argument_names, argument_types, body, return_type",
        ),
        (
            "aggregates",
            "aggregate_name, argument_types, state_func, initcond",
        ),
        (
            "tables",
            "table_name, default_time_to_live, gc_grace_seconds, comment, \
          bloom_filter_fp_chance",
        ),
    ];
    let rows = wanted.iter().flat_map(|(table, columns)| {
        let rows = cql.query(&format!(
            "SELECT {columns} FROM system_schema.{table} WHERE keyspace_name = '{keyspace}'"
        ));
        let rows = rows.unwrap_or_else(|e| panic!("{table}: {e}")).into_iter();
        rows.map(move |row| {
            let cells = row.into_iter().map(|cell| {
                String::from_utf8_lossy(&cell.unwrap_or_default())
                    .escape_debug()
                    .to_string()
            });
            format!("{table}: {}", cells.collect::<Vec<_>>().join(" | "))
        })
    });
    rows.collect()
}

// Alone: what waits for a node that is busy with other tests expires later there.
#[test]
fn between_41() {
    let _turn = lab::alone();
    let pair = matrix("matrix41", [lab::source_41(), lab::durable_41()], 41, false);
    let plain = format!("{}_plain", pair.keyspace);
    for keyspace in [plain.clone(), format!("{plain}_twin")] {
        lab::create_keyspace(pair.source, &keyspace);
    }
    run_all(pair.source.address, &plain, 41, false);
    let (mut left, mut right) = (pair.source.connect(), pair.source.connect());
    let [mut left, mut right] = [(&mut left, &plain), (&mut right, &pair.keyspace)]
        .map(|(cql, keyspace)| Place { cql, keyspace });
    let report = compare::compare(&mut left, &mut right, Depth::Values, GENERATED).unwrap();
    let legend = legend(&report.to_string(), 41, false);
    assert!(
        report.is_equal() && report.cells > 0,
        "without a proxy: {report}{legend}"
    );
}

#[test]
fn from_40_to_50() {
    let _turn = lab::alone();
    matrix(
        "matrix4050",
        [lab::source_40(), lab::target_50()],
        40,
        false,
    );
}

/// Elements of collections too.
#[test]
fn between_50() {
    let _turn = lab::alone();
    matrix("matrix50", [lab::source_50(), lab::target_50()], 50, true);
}
