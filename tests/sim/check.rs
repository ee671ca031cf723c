//! What must be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use twinring::node::{Fact, Line, Reply};
use twinring::spill::dir::shards_in;
use twinring::spill::read::SegmentReader;
use twinring::spill::{Body, Holds, Kind, Step as Scanned};

use crate::cluster::{SOURCE, TARGET};
use crate::work::{Fate, Ledger};
use crate::world::World;

/// Expiry may differ by this much (s), as the contract says.
const EXPIRY_S: i64 = 2;
/// And by this much more, where a request lay at a target that stood still: a TTL counts from when
/// the node looks at it, and the proxy gives up after so long (s).
const LINGER_S: i64 = 12;

/// The handshake of a line.
pub fn open(line: &mut Line) {
    let ready = line.request(b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    assert!(matches!(ready, Reply::Bytes(..)));
}

/// Runs a statement that must not fail: the message of its answer.
pub fn run(line: &mut Line, text: &str) -> Vec<u8> {
    let mut raw = vec![4, 0, 0, 1, 7];
    let body_len = u32::try_from(4 + text.len() + 3).unwrap();
    raw.extend(body_len.to_be_bytes());
    raw.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    raw.extend_from_slice(text.as_bytes());
    raw.extend([0, 1, 0]);
    let Reply::Bytes(_, answer) = line.request(&raw) else {
        panic!("{text}");
    };
    assert_eq!(answer[4], 8, "{text}: {}", String::from_utf8_lossy(&answer));
    answer[9..].to_vec()
}

/// What was put aside: refused, and in doubt.
#[derive(Debug, Default)]
struct Aside {
    /// Bytes of the records, by table.
    records: BTreeMap<String, Vec<Vec<u8>>>,
    wrong: Vec<String>,
}

impl Aside {
    fn read(folder: &Path) -> Self {
        let mut aside = Self::default();
        for dir in shards_in(folder).unwrap() {
            for file in dir.segments(Holds::Rejected).unwrap() {
                let mut reader = SegmentReader::open(&file, 0).unwrap();
                loop {
                    match reader.next_step().unwrap() {
                        Scanned::Record { record, .. } => aside.take(&record),
                        Scanned::End(_) => break,
                        Scanned::Damage(damage) => {
                            aside
                                .wrong
                                .push(format!("{}: {damage:?}", file.path.display()));
                        }
                        Scanned::NeedBytes => {}
                    }
                }
            }
        }
        aside
    }

    fn take(&mut self, record: &twinring::spill::Record<'_>) {
        let table = format!("{}.{}", record.keyspace, record.table);
        let mut bytes = Vec::new();
        match &record.body {
            Body::Query { text, params } => {
                bytes.extend_from_slice(text.as_bytes());
                bytes.extend_from_slice(params);
            }
            Body::Batch { children, .. } => {
                for (text, values) in children.iter() {
                    bytes.extend_from_slice(text.as_bytes());
                    bytes.extend_from_slice(values);
                }
            }
        }
        let refusal = record.refusal.as_ref().unwrap();
        if refusal.in_doubt && record.kind == Kind::Write {
            // it can be asked for again until it is answered
            self.wrong.push(format!(
                "a stamped write is in doubt ({}): {}",
                refusal.words,
                String::from_utf8_lossy(&bytes)
            ));
        }
        if !refusal.in_doubt && record.kind != Kind::Ddl && record.table != "rej" {
            self.wrong.push(format!(
                "refused though the target refuses nothing there ({}): {}",
                refusal.words,
                String::from_utf8_lossy(&bytes)
            ));
        }
        self.records.entry(table).or_default().push(bytes);
    }

    fn names(&self, table: &str, key: &str) -> bool {
        let key = key.as_bytes();
        let records = self.records.get(table);
        records.into_iter().flatten().any(|record| {
            let truncates = record.starts_with(b"TRUNCATE");
            truncates || record.windows(key.len()).any(|window| window == key)
        })
    }
}

fn key_of(fact: &Fact) -> String {
    String::from_utf8_lossy(fact.key.first().map_or(&[], Vec::as_slice)).into_owned()
}

fn show(fact: &Fact) -> String {
    let value = fact
        .value
        .as_ref()
        .map(|value| String::from_utf8_lossy(value).into_owned());
    format!(
        "{} {} row {:?} {} {:?} = {value:?} at {} until {}",
        fact.table,
        key_of(fact),
        fact.row,
        fact.what,
        fact.element,
        fact.stamp_us,
        fact.ends_s
    )
}

/// Where a fact is, without what it is.
type Place = (String, Vec<Vec<u8>>, Vec<Vec<u8>>, String, Vec<u8>);

fn places(facts: Vec<Fact>) -> BTreeMap<Place, Vec<Fact>> {
    let mut places: BTreeMap<Place, Vec<Fact>> = BTreeMap::new();
    for fact in facts {
        // the place of a list's element follows from the others, its key tells what is meant
        let place = (
            fact.table.clone(),
            fact.key.clone(),
            fact.row.clone(),
            fact.what.clone(),
            fact.element.clone(),
        );
        places.entry(place).or_default().push(fact);
    }
    places
}

/// Everything that is wrong with the world.
pub fn all(world: &World) -> Vec<String> {
    let mut wrong = world.complaints.clone();
    let now_s = world.core.now_us / 1_000_000;
    let folder = world.folder.path();
    let aside = Aside::read(folder);
    wrong.extend(aside.wrong.iter().cloned());
    let open_tables = world.ledger.open_tables();
    let excused =
        |table: &str, key: &str| aside.names(table, key) || open_tables.contains_key(table);
    let source = places(world.clusters[SOURCE].model.facts());
    let target = places(world.clusters[TARGET].model.facts());
    let slack_s = EXPIRY_S
        + world.slowest_source_us / 1_000_000
        + if world.target_lingers { LINGER_S } else { 0 };
    let all: BTreeSet<&Place> = source.keys().chain(target.keys()).collect();
    for place in all {
        let (at_source, at_target) = (source.get(place), target.get(place));
        let same = match (at_source, at_target) {
            (Some(one), Some(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| {
                        is_same(one, other, now_s, slack_s, world.forecast.steps)
                    })
            }
            _ => false,
        };
        let any = at_source
            .or(at_target)
            .and_then(|facts| facts.first())
            .unwrap();
        if !same && !excused(&any.table, &key_of(any)) {
            let shown = |facts: Option<&Vec<Fact>>| match facts {
                Some(facts) => facts.iter().map(show).collect::<Vec<_>>().join(", "),
                None => "nothing".to_owned(),
            };
            let (one, other) = (shown(at_source), shown(at_target));
            wrong.push(format!("differs:\n  source {one}\n  target {other}"));
        }
    }
    let tables = |cluster: usize| -> BTreeSet<String> {
        let tables = world.clusters[cluster].model.tables();
        let settled = |table: &String| {
            let name = table.split('(').next().unwrap();
            !open_tables.contains_key(name)
        };
        tables.into_iter().filter(settled).collect()
    };
    if tables(SOURCE) != tables(TARGET) {
        let (one, other) = (tables(SOURCE), tables(TARGET));
        let differ: Vec<_> = one.symmetric_difference(&other).collect();
        wrong.push(format!("schemas differ: {differ:?}"));
    }
    wrong.extend(spill_left(folder));
    wrong.extend(acknowledged(&world.ledger, &source));
    wrong
}

fn is_same(one: &Fact, other: &Fact, now_s: i64, slack_s: i64, steps: bool) -> bool {
    if one.value != other.value {
        return false;
    }
    // a list that had to be written again got a later stamp
    let again_us = if one.table == "sim.lst" { 16 } else { 0 };
    let later_us = other.stamp_us - one.stamp_us;
    // a delete of counters has each cluster's own time, as its counters have
    if one.table != "sim.cnt" && !(0..=again_us).contains(&later_us) {
        return false;
    }
    let over = |fact: &Fact| fact.ends_s != 0 && fact.ends_s <= now_s;
    let expires = |fact: &Fact| fact.ends_s != 0;
    match (expires(one), expires(other)) {
        (false, false) => true,
        (true, true) => {
            steps || (over(one) && over(other)) || (one.ends_s - other.ends_s).abs() <= slack_s
        }
        _ => false,
    }
}

/// Segments of the backlog that are still there.
fn spill_left(folder: &Path) -> Vec<String> {
    let dirs = shards_in(folder).unwrap();
    let files = dirs
        .iter()
        .flat_map(|dir| dir.segments(Holds::Backlog).unwrap());
    files
        .map(|file| format!("the spill still has {}", file.path.display()))
        .collect()
}

/// What the clients were told is at the source: this checks the model.
fn acknowledged(ledger: &Ledger, source: &BTreeMap<Place, Vec<Fact>>) -> Vec<String> {
    type Held<'f> = (&'f str, &'f [u8], &'f str, Option<&'f [u8]>);
    let held: BTreeSet<Held<'_>> = source
        .values()
        .flatten()
        .map(|fact| {
            let key = fact.key.first().map_or(&[][..], Vec::as_slice);
            (
                fact.table.as_str(),
                key,
                fact.what.as_str(),
                fact.value.as_deref(),
            )
        })
        .collect();
    let done = ledger
        .deeds
        .iter()
        .filter(|deed| deed.fate == Fate::Acknowledged);
    done.filter_map(|deed| {
        let (column, value) = deed.leaves.as_ref()?;
        let wanted = (
            deed.table.as_str(),
            deed.key.as_bytes(),
            *column,
            Some(value.as_slice()),
        );
        let missing = !held.contains(&wanted);
        missing.then(|| {
            format!(
                "acknowledged, not at the source: {}",
                crate::client::describe(deed)
            )
        })
    })
    .collect()
}
