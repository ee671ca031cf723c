//! One function for each kind of file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Found, Wanted};
use crate::journal::format::{FRAME_BYTES, MAGIC as JOURNAL_MAGIC};
use crate::journal::memory::cut;
use crate::journal::{Damage, Header, scan};
use crate::spill::dir::{SegmentFile, open_file};
use crate::spill::format::SEGMENT_MAGIC;
use crate::spill::progress::Progress;
use crate::spill::read::SegmentReader;
use crate::spill::record::{self, Body, Record};
use crate::spill::scan::{Ending, Step};
use crate::spill::segment::Holds;

/// Small texts of a data directory, which are shown as they are.
const TEXTS: &[&str] = &["running", "dirty-windows", "stamps"];
const PROGRESS_MAGIC: &[u8] = b"TWRPROGR";
const TEXT_MAX_BYTES: u64 = 1 << 20;

/// What is in a file; `None` if it is none of ours.
pub(super) fn read(path: &Path, wanted: &Wanted) -> anyhow::Result<Option<Found>> {
    let name = path.file_name().map(|name| name.to_string_lossy());
    if name.is_some_and(|name| TEXTS.contains(&&*name)) {
        return text(path).map(Some);
    }
    let mut front = Vec::new();
    open_file(path)?.take(8).read_to_end(&mut front)?;
    let mut found = match front.as_slice() {
        magic if *magic == JOURNAL_MAGIC || path.extension().is_some_and(|e| e == "journal") => {
            journal(path, wanted)?
        }
        magic if *magic == SEGMENT_MAGIC || path.extension().is_some_and(|e| e == "spill") => {
            segment(path, wanted)?
        }
        magic if magic == PROGRESS_MAGIC || path.extension().is_some_and(|e| e == "progress") => {
            progress(path)?
        }
        _ => return Ok(None),
    };
    found.path = path.to_owned();
    Ok(Some(found))
}

fn text(path: &Path) -> anyhow::Result<Found> {
    let mut words = String::new();
    File::open(path)?
        .take(TEXT_MAX_BYTES)
        .read_to_string(&mut words)?;
    let mut facts = vec![("text", json!(words.trim_end()))];
    if let Some(dir) = words.lines().find_map(|line| line.strip_prefix("journal ")) {
        facts.push(("journal", json!(dir)));
    }
    Ok(Found {
        path: path.to_owned(),
        kind: "text",
        facts,
        ..Found::default()
    })
}

fn journal(path: &Path, wanted: &Wanted) -> anyhow::Result<Found> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    let mut found = Found {
        kind: "journal",
        ..Found::default()
    };
    let (header, copy_damaged) = match Header::read(&bytes) {
        Ok(read) => read,
        Err(error) => {
            found.damage.push(error.to_string());
            return Ok(found);
        }
    };
    let (words, data) = cut(&bytes, header.geometry);
    let scanned = scan(&header, &words, data);
    let damage = copy_damaged.then_some(Damage::Header);
    let damage = damage.into_iter().chain(scanned.damage);
    found.damage = damage.map(|damage| damage.to_string()).collect();
    let mut tally = Tally::default();
    for live in &scanned.live {
        let state = live.state.map_or("unknown", |state| state.name());
        let body = data.get(live.body.clone()).unwrap_or_default();
        let at = header.geometry.data_at() + live.body.start - FRAME_BYTES;
        let Ok(record) = record::decode(body) else {
            found
                .damage
                .push(format!("the record at {at} is not understood"));
            continue;
        };
        *tally.by_state.entry(state).or_default() += 1;
        tally.add(&record);
        if wanted.records {
            let mut shown = Map::new();
            shown.insert("at".to_owned(), json!(at));
            shown.insert("id".to_owned(), json!(live.id));
            shown.insert("state".to_owned(), json!(state));
            found.records.push(show(shown, &record, wanted));
        }
    }
    found.facts = vec![
        ("shard", json!(header.shard)),
        ("process", json!(format!("{:016x}", header.instance))),
        ("made_s_ago", ago(wanted, header.created_us)),
        ("block_bytes", json!(header.geometry.block_bytes)),
        ("blocks", json!(header.geometry.blocks)),
        ("done", json!(scanned.done)),
        ("not_done", json!(scanned.live.len())),
    ];
    if !tally.by_state.is_empty() {
        found.facts.push(("states", json!(tally.by_state)));
    }
    found.facts.extend(tally.facts(wanted));
    Ok(found)
}

fn segment(path: &Path, wanted: &Wanted) -> anyhow::Result<Found> {
    let mut found = Found {
        kind: "segment",
        ..Found::default()
    };
    let mut reader = SegmentReader::open(
        &SegmentFile {
            holds: Holds::Backlog,
            segment: 0,
            bytes: 0,
            path: path.to_owned(),
            keys: wanted.keys.clone(),
        },
        0,
    )?;
    let mut tally = Tally::default();
    loop {
        let step = match reader.next_step() {
            Ok(step) => step,
            Err(error) => {
                // of another version, or without its key: what is in it stays unknown
                found.damage.push(format!("it cannot be read on: {error}"));
                break;
            }
        };
        match step {
            Step::NeedBytes => {}
            Step::Record { offset, record, .. } => {
                tally.add(&record);
                if wanted.records {
                    let mut shown = Map::new();
                    shown.insert("at".to_owned(), json!(offset));
                    found.records.push(show(shown, &record, wanted));
                }
            }
            Step::Damage(damage) => found.damage.push(format!(
                "bytes {} to {} are no good record{}",
                damage.from,
                damage.to,
                damage
                    .records
                    .map_or(String::new(), |n| format!(" ({n} are lost)"))
            )),
            Step::End(Ending::Clean) => break,
            Step::End(Ending::TornTail { from, to }) => {
                found
                    .damage
                    .push(format!("torn at {from}, {} bytes", to - from));
                break;
            }
        }
    }
    match reader.header() {
        Some(header) => {
            let holds = match header.holds {
                Holds::Backlog => "backlog",
                Holds::Rejected => "rejected and in doubt",
            };
            found.facts = vec![
                ("holds", json!(holds)),
                ("shard", json!(header.shard)),
                ("segment", json!(header.segment)),
                ("process", json!(format!("{:016x}", header.instance))),
                ("made_s_ago", ago(wanted, header.created_us)),
            ];
        }
        None => found.damage.push("the header cannot be read".to_owned()),
    }
    found.facts.push(("records", json!(tally.records)));
    found.facts.extend(tally.facts(wanted));
    Ok(found)
}

fn progress(path: &Path) -> anyhow::Result<Found> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    let mut found = Found {
        kind: "progress",
        ..Found::default()
    };
    let holds = match bytes.get(10) {
        Some(1) => Holds::Rejected,
        _ => Holds::Backlog,
    };
    let shard = bytes.get(12..16).and_then(|field| field.try_into().ok());
    let shard = shard.map(u32::from_le_bytes).unwrap_or_default();
    match Progress::decode(&bytes, holds, shard) {
        Ok(progress) => {
            let next = progress.next;
            found.facts = vec![
                ("shard", json!(shard)),
                (
                    "done_before",
                    json!(format!("{}:{}", next.segment, next.offset)),
                ),
                ("done_behind", json!(progress.done.len())),
                ("being_sent", json!(progress.started.len())),
            ];
        }
        Err(Some(version)) => found.damage.push(format!("format version {version}")),
        Err(None) => found.damage.push("it is damaged".to_owned()),
    }
    Ok(found)
}

/// Counts over records.
#[derive(Default)]
struct Tally {
    records: u64,
    by_kind: BTreeMap<&'static str, u64>,
    by_state: BTreeMap<&'static str, u64>,
    refused: u64,
    in_doubt: u64,
    oldest_us: Option<u64>,
    newest_us: Option<u64>,
}

impl Tally {
    fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        *self.by_kind.entry(record.kind.name()).or_default() += 1;
        match record.refusal {
            Some(refusal) if refusal.in_doubt => self.in_doubt += 1,
            Some(_) => self.refused += 1,
            None => {}
        }
        let at_us = record.arrival_us;
        self.oldest_us = Some(self.oldest_us.map_or(at_us, |oldest| oldest.min(at_us)));
        self.newest_us = Some(self.newest_us.map_or(at_us, |newest| newest.max(at_us)));
    }

    fn facts(&self, wanted: &Wanted) -> Vec<(&'static str, Value)> {
        let mut facts = Vec::new();
        if let (Some(oldest_us), Some(newest_us)) = (self.oldest_us, self.newest_us) {
            facts.push(("kinds", json!(self.by_kind)));
            facts.push(("oldest_s_ago", ago(wanted, oldest_us)));
            facts.push(("newest_s_ago", ago(wanted, newest_us)));
        }
        if self.refused + self.in_doubt > 0 {
            facts.push(("rejected", json!(self.refused)));
            facts.push(("in_doubt", json!(self.in_doubt)));
        }
        facts
    }
}

/// Seconds from then until now; clocks differ, so they may be negative.
fn ago(wanted: &Wanted, at_us: u64) -> Value {
    let us = i128::from(wanted.now_us) - i128::from(at_us);
    json!(i64::try_from(us / 1_000).unwrap_or(i64::MAX) as f64 / 1e3)
}

/// A record without its values, unless they are wanted.
fn show(mut shown: Map<String, Value>, record: &Record<'_>, wanted: &Wanted) -> Value {
    let table = format!("{}.{}", record.keyspace, record.table);
    shown.insert("kind".to_owned(), json!(record.kind.name()));
    shown.insert("table".to_owned(), json!(table));
    shown.insert("arrival_us".to_owned(), json!(record.arrival_us));
    if let Some(stamp_us) = record.stamp_us {
        shown.insert("stamp_us".to_owned(), json!(stamp_us));
    }
    if let Some(refusal) = record.refusal {
        shown.insert("code".to_owned(), json!(refusal.code));
        shown.insert("reason".to_owned(), json!(refusal.words));
        shown.insert("in_doubt".to_owned(), json!(refusal.in_doubt));
    }
    // a text may hold values, too
    let texts: Vec<&str> = match record.body {
        Body::Query { text, .. } => vec![text],
        Body::Batch { children, .. } => children.iter().map(|(text, _)| text).collect(),
    };
    shown.insert("statements".to_owned(), json!(texts.len()));
    if wanted.values {
        let values: Vec<String> = match record.body {
            Body::Query { params, .. } => vec![hex(params)],
            Body::Batch { children, tail, .. } => {
                let values = children.iter().map(|(_, values)| hex(values));
                values.chain([hex(tail)]).collect()
            }
        };
        shown.insert("texts".to_owned(), json!(texts));
        shown.insert("values".to_owned(), json!(values));
    }
    Value::Object(shown)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
