//! What must be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use twinring::node::{Fact, Line, Reply};
use twinring::spill::Holds;
use twinring::spill::dir::shards_in;

use crate::aside::Aside;
use crate::cluster::{Cluster, SOURCE, TARGET};
use crate::ledger::{Fate, Ledger};
use crate::world::World;

/// Expiry may differ by this much (s), as the contract says.
const EXPIRY_S: i64 = 2;
/// And by this much more, where a request lay at a target that stood still: a TTL counts from when
/// the node looks at it, and the proxy gives up after so long (s).
const LINGER_S: i64 = 12;

/// Tables of which rows are read back from the source, with what a client can see there: what
/// conditional writes left, and lists whose writes had an unknown end.
const READ_BACK: [(&str, &str); 4] = [
    ("sim.lwl", "l"),
    ("sim.lwt", "v, writetime(v), n, writetime(n)"),
    ("sim.lst", "l"),
    ("sim.lsw", "c, l, s"),
];

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
    let all_told = world.forecast.machine && !world.forecast.drops;
    let aside = Aside::read(folder, &world.ledger, all_told);
    wrong.extend(aside.wrong.iter().cloned());
    let states_are_old = world.journal_on_disk && world.boots > 1;
    if !states_are_old {
        wrong.extend(aside.forgotten(&world.ledger));
    }
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
        if READ_BACK.iter().any(|(table, _)| place.0 == *table) {
            continue; // only what is to be seen can be the same
        }
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
            !open_tables.contains_key(name) && !aside.is_open(name)
        };
        tables.into_iter().filter(settled).collect()
    };
    if tables(SOURCE) != tables(TARGET) {
        let (one, other) = (tables(SOURCE), tables(TARGET));
        let differ: Vec<_> = one.symmetric_difference(&other).collect();
        wrong.push(format!("schemas differ: {differ:?}"));
    }
    for (table, columns) in READ_BACK {
        wrong.extend(rows_differ(world, &aside, table, columns));
    }
    wrong.extend(spill_left(folder));
    wrong.extend(journal_left(world));
    wrong.extend(acknowledged(&world.ledger, &source));
    wrong
}

fn is_same(one: &Fact, other: &Fact, now_s: i64, slack_s: i64, steps: bool) -> bool {
    if one.value != other.value {
        return false;
    }
    // a delete of counters has each cluster's own time, as its counters have
    if one.table != "sim.cnt" && one.stamp_us != other.stamp_us {
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

/// Rows as a client sees them.
fn rows_differ(world: &World, aside: &Aside, table: &str, columns: &str) -> Vec<String> {
    let deeds = world.ledger.deeds.iter();
    let keys: BTreeSet<_> = deeds
        .filter(|deed| deed.table == table && !aside.names(table, &deed.key))
        .map(|deed| deed.key.as_str())
        .collect();
    let connect = |cluster: &Cluster| {
        let mut line = cluster.model.connect();
        open(&mut line);
        line
    };
    let [mut source, mut target] = world.clusters.each_ref().map(connect);
    let differ = |key: &str| {
        let text = format!("SELECT {columns} FROM {table} WHERE k = '{key}'");
        let (one, other) = (run(&mut source, &text), run(&mut target, &text));
        let shown = |rows: &[u8]| rows.escape_ascii().to_string();
        (one != other).then(|| {
            let (one, other) = (shown(&one), shown(&other));
            format!("row {key} of {table} differs:\n  source {one}\n  target {other}")
        })
    };
    keys.into_iter().filter_map(differ).collect()
}

/// Journals that are still there, though all is settled and the proxy has stopped.
fn journal_left(world: &World) -> Vec<String> {
    let mut left: Vec<_> = world.journal_files();
    left.extend(Some(world.folder.path().join("running")).filter(|path| path.exists()));
    let left = left.into_iter();
    left.map(|path| format!("{} is left", path.display()))
        .collect()
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
