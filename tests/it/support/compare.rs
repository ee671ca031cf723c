//! Both clusters cell by cell: every row of every table, every value, WRITETIME and TTL.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::cql::{Cell, Cql, Failure};

/// How far apart a cell may expire at the two sides.
const TTL_TOLERANCE_S: i64 = 2;
/// How many differences a report spells out.
const SHOWN: usize = 25;

/// One side: a connection past the proxy, and the keyspace there.
#[derive(Debug)]
pub struct Place<'a> {
    pub cql: &'a mut Cql,
    pub keyspace: &'a str,
}

/// What is compared beside the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// WRITETIME and TTL too: the two clusters of a mirror.
    Cells,
    /// Only values: two runs of one suite, at different times.
    Values,
}

/// Counts over all tables, and the first differences in words.
#[derive(Debug, Default)]
pub struct Report {
    pub tables: usize,
    pub rows: usize,
    pub cells: usize,
    pub missing: usize,
    pub extra: usize,
    pub differing: usize,
    pub words: Vec<String>,
}

impl Report {
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.differing == 0
    }

    fn note(&mut self, words: String) {
        if self.words.len() < SHOWN {
            self.words.push(words);
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report {
            tables,
            rows,
            cells,
            missing,
            extra,
            differing,
            words,
        } = self;
        write!(f, "{tables} tables, {rows} rows, {cells} cells: ")?;
        write!(f, "{missing} missing, {extra} extra, {differing} differing")?;
        words.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    name: String,
    kind: String,
    kind_type: String,
}

impl Column {
    fn is_key(&self) -> bool {
        self.kind == "partition_key" || self.kind == "clustering"
    }

    /// Collections and user types that are stored cell by cell.
    fn is_multi_cell(&self) -> bool {
        let native = "ascii bigint blob boolean counter date decimal double duration float inet \
                      int \
                      smallint text time timestamp timeuuid tinyint uuid varchar varint";
        let head = self.kind_type.split('<').next().unwrap_or_default();
        !(native.split(' ').any(|n| n == self.kind_type)
            || matches!(head, "frozen" | "tuple" | "vector"))
    }
}

/// What one selected expression is, and so how two results of it are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expression {
    Value,
    Stamp,
    Ttl,
}

/// Key cells → the other cells.
type Table = HashMap<Vec<Cell>, Vec<Cell>>;
type Schema = BTreeMap<String, BTreeSet<Column>>;

/// Compares all tables but those whose name begins with one of `skipped`.
pub fn compare(
    source: &mut Place<'_>,
    target: &mut Place<'_>,
    depth: Depth,
    skipped: &[&str],
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let per_element = release(source.cql)? >= 5 && release(target.cql)? >= 5;
    let (here, there) = (schema(source)?, schema(target)?);
    let names: BTreeSet<_> = here.keys().chain(there.keys()).collect();
    for name in names {
        if skipped.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        report.tables += 1;
        let (Some(columns), Some(other)) = (here.get(name), there.get(name)) else {
            let at_source = here.contains_key(name);
            *if at_source {
                &mut report.missing
            } else {
                &mut report.extra
            } += 1;
            report.note(format!("table {name} is only at the {}", side(at_source)));
            continue;
        };
        if columns != other {
            report.differing += 1;
            let odd: Vec<_> = columns.symmetric_difference(other).collect();
            report.note(format!("table {name} has other columns: {odd:?}"));
            continue;
        }
        let plan = plan(columns, depth, per_element);
        rows(source, target, name, "", &plan, &mut report)?;
    }
    Ok(report)
}

/// Compares the rows of one table that `condition` allows (`WHERE …`), cell by cell.
pub fn compare_part(
    source: &mut Place<'_>,
    target: &mut Place<'_>,
    table: &str,
    condition: &str,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let per_element = release(source.cql)? >= 5 && release(target.cql)? >= 5;
    let plan = plan(&schema(source)?[table], Depth::Cells, per_element);
    rows(source, target, table, condition, &plan, &mut report)?;
    Ok(report)
}

fn rows(
    source: &mut Place<'_>,
    target: &mut Place<'_>,
    table: &str,
    condition: &str,
    plan: &[(String, Expression, bool)],
    report: &mut Report,
) -> Result<(), Failure> {
    let began = Instant::now();
    let left = read(source, table, condition, plan)?;
    // what is left to live at the target is read later
    let later_s = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let right = read(target, table, condition, plan)?;
    diff(table, plan, [&left, &right], later_s, report);
    Ok(())
}

/// Compares again and again until nothing differs or `limit` is over: mirroring lags a little.
pub fn compare_until_equal(
    source: &mut Place<'_>,
    target: &mut Place<'_>,
    skipped: &[&str],
    limit: Duration,
) -> Result<Report, Failure> {
    let began = Instant::now();
    loop {
        let report = compare(source, target, Depth::Cells, skipped);
        match report {
            Ok(report) if report.is_equal() || began.elapsed() > limit => return Ok(report),
            // a table that is only now being made
            Err(Failure::Server(..)) if began.elapsed() <= limit => {}
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn side(is_source: bool) -> &'static str {
    if is_source { "source" } else { "target" }
}

/// The major version of the node.
fn release(cql: &mut Cql) -> Result<u32, Failure> {
    let rows = cql.query("SELECT release_version FROM system.local")?;
    let text = string(&rows[0][0]);
    Ok(text
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0))
}

fn string(cell: &Cell) -> String {
    String::from_utf8_lossy(cell.as_deref().unwrap_or_default()).into_owned()
}

fn schema(place: &mut Place<'_>) -> Result<Schema, Failure> {
    let mut tables = Schema::new();
    for row in place.cql.query(&format!(
        "SELECT table_name, column_name, kind, type FROM system_schema.columns \
         WHERE keyspace_name = '{}'",
        place.keyspace
    ))? {
        let [table, name, kind, kind_type] = [0, 1, 2, 3].map(|n| string(&row[n]));
        tables.entry(table).or_default().insert(Column {
            name,
            kind,
            kind_type,
        });
    }
    Ok(tables)
}

/// What to select: key columns first, then each value with its WRITETIME and TTL.
fn plan(
    columns: &BTreeSet<Column>,
    depth: Depth,
    per_element: bool,
) -> Vec<(String, Expression, bool)> {
    let mut keys = Vec::new();
    let mut cells = Vec::new();
    for column in columns {
        let name = format!("\"{}\"", column.name.replace('"', "\"\""));
        if column.is_key() {
            keys.push((name, Expression::Value, true));
            continue;
        }
        cells.push((name.clone(), Expression::Value, false));
        let has_stamp = column.kind_type != "counter" && (per_element || !column.is_multi_cell());
        if depth == Depth::Cells && has_stamp {
            cells.push((format!("writetime({name})"), Expression::Stamp, false));
            cells.push((format!("ttl({name})"), Expression::Ttl, false));
        }
    }
    keys.append(&mut cells);
    keys
}

fn read(
    place: &mut Place<'_>,
    table: &str,
    condition: &str,
    plan: &[(String, Expression, bool)],
) -> Result<Table, Failure> {
    let wanted: Vec<_> = plan.iter().map(|(text, ..)| text.as_str()).collect();
    let keys = plan.iter().filter(|(.., is_key)| *is_key).count();
    let table = table.replace('"', "\"\"");
    let text = format!(
        "SELECT {} FROM {}.\"{table}\" {condition}",
        wanted.join(", "),
        place.keyspace
    );
    let rows = place.cql.query(&text)?.into_iter();
    Ok(rows
        .map(|mut row| {
            let cells = row.split_off(keys);
            (row, cells)
        })
        .collect())
}

fn diff(
    table: &str,
    plan: &[(String, Expression, bool)],
    [left, right]: [&Table; 2],
    later_s: i64,
    report: &mut Report,
) {
    let cells: Vec<_> = plan.iter().filter(|(.., is_key)| !is_key).collect();
    report.rows += left.len();
    for (key, here) in left {
        let Some(there) = right.get(key) else {
            report.missing += 1;
            report.note(format!("{table} {}: missing at the target", show(key)));
            continue;
        };
        for ((text, expression, _), (a, b)) in cells.iter().zip(here.iter().zip(there)) {
            report.cells += 1;
            if !same(*expression, a, b, later_s) {
                report.differing += 1;
                let [a, b] = [a, b].map(|cell| show(std::slice::from_ref(cell)));
                report.note(format!(
                    "{table} {} {text}: source {a}, target {b}",
                    show(key)
                ));
            }
        }
    }
    for key in right.keys().filter(|key| !left.contains_key(*key)) {
        report.extra += 1;
        report.note(format!("{table} {}: only at the target", show(key)));
    }
}

fn same(expression: Expression, a: &Cell, b: &Cell, later_s: i64) -> bool {
    match (expression, a, b) {
        (Expression::Ttl, Some(a), Some(b)) => {
            a.len() == b.len() && words(a).zip(words(b)).all(|(a, b)| close(a, b, later_s))
        }
        _ => a == b,
    }
}

/// An int, or a list of ints with its lengths: either way words of four bytes.
fn words(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.chunks(4).map(|w| {
        w.iter()
            .fold(0, |value, byte| value << 8 | i64::from(*byte))
    })
}

fn close(a: i64, b: i64, later_s: i64) -> bool {
    let gone_s = a - b; // a list's length is the same on both sides
    gone_s == 0 || (gone_s - later_s).abs() <= TTL_TOLERANCE_S
}

/// A short form of raw cells: printable text as text, up to eight bytes as a number, else hex.
fn show(cells: &[Cell]) -> String {
    let one = |cell: &Cell| match cell.as_deref() {
        None => "null".to_owned(),
        Some(b) if b.iter().all(|c| (32..127).contains(c)) => {
            format!("{:?}", String::from_utf8_lossy(&b[..b.len().min(40)]))
        }
        Some(b) if b.len() <= 8 => {
            let start = if b.first().is_some_and(|first| *first > 127) {
                -1
            } else {
                0
            };
            b.iter()
                .fold(start, |value: i64, byte| value << 8 | i64::from(*byte))
                .to_string()
        }
        Some(b) => {
            let hex: String = b
                .iter()
                .take(24)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("0x{hex}… ({} bytes)", b.len())
        }
    };
    format!("({})", cells.iter().map(one).collect::<Vec<_>>().join(", "))
}
