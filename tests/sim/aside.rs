//! What the proxy has put aside: writes that the target refused, writes in doubt, windows of time.
//! Only where these point may the clusters differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use twinring::spill::dir::shards_in;
use twinring::spill::dirty::Windows;
use twinring::spill::read::SegmentReader;
use twinring::spill::{Body, Holds, Kind, Record, Step as Scanned};

use crate::ledger::{Deed, Fate, Ledger};

/// See the module.
#[derive(Debug, Default)]
pub struct Aside {
    /// Bytes of the records, by table.
    records: BTreeMap<String, Vec<Vec<u8>>>,
    /// Tables and keys that writes in a window may have changed; an empty key: all of the table.
    windows: BTreeSet<(String, String)>,
    /// Bytes of records in doubt because a process died, with their tables.
    unsure: Vec<(String, Vec<u8>)>,
    /// What must not be there.
    pub wrong: Vec<String>,
}

fn is_in(windows: &Windows, deed: &Deed) -> bool {
    let first_us = u64::try_from(deed.from_us.min(deed.until_us)).unwrap_or_default();
    let last_us = u64::try_from(deed.from_us.max(deed.until_us)).unwrap_or_default();
    windows.iter().any(|window| {
        let table = window.table.as_ref();
        first_us <= window.to_us
            && last_us >= window.from_us
            && table.is_none_or(|table| deed.table.ends_with(&format!(".{table}")))
    })
}

impl Aside {
    /// `all_told`: no write that was acknowledged may be lost, whatever the windows say. What
    /// changes a table as a whole is in doubt after a crash of the machine, and not done again.
    pub fn read(folder: &Path, ledger: &Ledger, all_told: bool) -> Self {
        let mut aside = Self::default();
        let windows = Windows::load(folder).unwrap();
        let may_be_lost = |deed: &&Deed| {
            let must_be_there = deed.fate == Fate::Acknowledged && !deed.is_of_table();
            is_in(&windows, deed) && !(all_told && must_be_there)
        };
        for deed in ledger.deeds.iter().filter(may_be_lost) {
            let key = if deed.is_of_table() { "" } else { &deed.key };
            aside.windows.insert((deed.table.clone(), key.to_owned()));
            let also = deed.also.iter();
            let also = also.map(|(table, key)| ((*table).to_owned(), key.clone()));
            aside.windows.extend(also);
        }
        for dir in shards_in(folder).unwrap() {
            for file in dir.segments(Holds::Rejected).unwrap() {
                let mut reader = SegmentReader::open(&file, 0).unwrap();
                loop {
                    match reader.next_step().unwrap() {
                        Scanned::Record { record, .. } => aside.take(&record),
                        Scanned::End(_) => break,
                        Scanned::Damage(damage) => {
                            let path = file.path.display();
                            aside.wrong.push(format!("{path}: {damage:?}"));
                        }
                        Scanned::NeedBytes => {}
                    }
                }
            }
        }
        aside
    }

    fn take(&mut self, record: &Record<'_>) {
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
        let words = refusal.words;
        let shown = String::from_utf8_lossy(&bytes);
        let conditional = shown.contains(" IF ");
        let stops = words.contains("stop"); // nobody waits for the source any longer
        let fails = words.starts_with("it fails at the source each time");
        let is_settled = conditional || stops || fails;
        if refusal.in_doubt && record.kind == Kind::Write && !is_settled {
            // it can be asked for again until it is answered
            let wrong = format!("a stamped write is in doubt ({words}): {shown}");
            self.wrong.push(wrong);
        }
        let whole = (table.clone(), String::new());
        let refused = !refusal.in_doubt && record.kind != Kind::Ddl && record.table != "rej";
        if refused && !self.windows.contains(&whole) {
            let wrong =
                format!("refused though the target refuses nothing there ({words}): {shown}");
            self.wrong.push(wrong);
        }
        if words.starts_with("the proxy died before the source") && !conditional {
            self.unsure.push((table.clone(), bytes.clone()));
        }
        self.records.entry(table).or_default().push(bytes);
    }

    /// Writes of which the journal of a dead process did not know that the source had answered,
    /// though the client did: only a crash of the machine takes that away.
    pub fn forgotten(&self, ledger: &Ledger) -> Vec<String> {
        let forgotten = self.unsure.iter().filter_map(|(table, bytes)| {
            let is_named = |deed: &&Deed| {
                let key = deed.key.as_bytes();
                deed.table == *table && bytes.windows(key.len()).any(|window| window == key)
            };
            let mut deeds = ledger.deeds.iter().filter(is_named).peekable();
            deeds.peek()?;
            let known = deeds.all(|deed| deed.fate == Fate::Acknowledged);
            let shown = || String::from_utf8_lossy(bytes).into_owned();
            known.then(|| format!("in doubt, though it was acknowledged: {}", shown()))
        });
        forgotten.collect()
    }

    /// Whether a write to this key is put aside, or was made at a time that is.
    pub fn names(&self, table: &str, key: &str) -> bool {
        let lost = |key: &str| self.windows.contains(&(table.to_owned(), key.to_owned()));
        let records = self.records.get(table);
        self.is_open(table)
            || lost(key)
            || records.into_iter().flatten().any(|record| {
                let truncates = record.starts_with(b"TRUNCATE");
                let key = key.as_bytes();
                truncates || record.windows(key.len()).any(|window| window == key)
            })
    }

    /// Whether a change of the whole table was made at a time that is put aside.
    pub fn is_open(&self, table: &str) -> bool {
        self.windows.contains(&(table.to_owned(), String::new()))
    }
}
