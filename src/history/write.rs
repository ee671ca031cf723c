//! From a row's cells to the statements that write them: one for each writetime and expiry that
//! occurs in the row, never one for all. Pure.
//!
//! One UPDATE text serves a table: what a group of cells does not touch is bound as "not set".
//! Elements of sets and maps are added (`c = c + ?`), fields of user types set one by one, so a
//! column of many cells needs no text of its own either. Only lists do: see [`ListWrite`].

use std::collections::BTreeSet;

use super::cells::{Cell, Content, Row, Stamp};
use super::schema::{Column, Shape, Table};
use super::select::{Pass, Select, conditions, list};
use super::value::{self, CollectionWriter};

/// Whether a row gets a row marker, as INSERT writes one. CQL does not tell whether it has one, nor
/// when it was written or expires; only that of a row without cells is certain to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RowMarker {
    /// A row without any other cell gets one, written 1 µs before the copy began: nothing else can
    /// hold it. Others do not, so one that loses its last cell later is gone
    Infer,
    /// Every row gets one, with the writetime and expiry of its oldest cells; so one that UPDATE
    /// made, and that loses its last cell later, is not gone
    Always,
    /// No row gets one: rows of nothing but a key are not written
    Never,
}

/// Which writetime cells get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Writetime {
    /// That of the source, cell by cell
    Preserve,
    /// 1 µs before the copy began: older than everything that the proxy mirrors since
    Backdate,
}

/// Which writetime the cells of collections and user types get where the source does not tell it
/// (before Cassandra 5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CollectionWritetime {
    /// 1 µs before the copy began: every later write and delete wins
    Backdate,
    /// That of the row's oldest cell; without one, as backdate
    RowMin,
    /// That of the row's youngest cell; without one, as backdate
    RowMax,
}

/// How cells become writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub marker: RowMarker,
    pub writetime: Writetime,
    pub collections: CollectionWritetime,
    /// When the copy first began, µs.
    pub began_us: i64,
    /// Cells written at or before this are left out.
    pub written_after_us: Option<i64>,
    /// Cells written at or after this are left out.
    pub written_before_us: Option<i64>,
}

impl Rules {
    fn backdated_us(&self) -> i64 {
        self.began_us - 1
    }

    fn takes(&self, cell: &Cell<'_>) -> bool {
        let Some(stamp) = cell.stamp else { return true };
        self.written_after_us
            .is_none_or(|after| stamp.writetime_us > after)
            && self
                .written_before_us
                .is_none_or(|before| stamp.writetime_us < before)
    }

    fn filters(&self) -> bool {
        self.written_after_us.is_some() || self.written_before_us.is_some()
    }
}

/// A statement with its values, all but the stamp: what is left to live is computed when it is
/// sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Number of its text in [`WritePlan::texts`].
    pub text: usize,
    pub token: i64,
    pub stamp: Stamp,
    /// The values that follow (UPDATE) or precede (INSERT) timestamp and TTL, as `[bytes]`.
    pub values: Vec<u8>,
    pub stamp_first: bool,
}

/// The elements of one list of one row. Each write of an element makes a new one, whatever its
/// stamp, so it must be known whether an earlier try reached the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListWrite {
    /// Place of the column among those that are read.
    pub column: usize,
    pub token: i64,
    /// The key, as `[bytes]`.
    pub key: Vec<u8>,
    /// Neighbours with one stamp, in the list's order; each a list as bytes.
    pub runs: Vec<(Stamp, Vec<u8>)>,
    /// Where the elements go beside those that the proxy has mirrored.
    pub at_the_end: bool,
}

/// What a row became.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    pub plain: Vec<Write>,
    pub lists: Vec<ListWrite>,
    /// Cells in them.
    pub cells: u64,
    /// List elements left to the proxy: written after the copy began.
    pub young_elements: u64,
}

/// The texts that write to one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListTexts {
    pub prepend: usize,
    pub append: usize,
    pub replace: usize,
}

/// How one pass over a table is written.
#[derive(Clone, Debug)]
pub(crate) struct WritePlan {
    pub texts: Vec<String>,
    update: Option<usize>,
    marker: Option<usize>,
    lists: Vec<Option<ListTexts>>,
    /// First slot of each column in the update, and its fields if it is a user type.
    slots: Vec<usize>,
    slot_count: usize,
    shapes: Vec<Shape>,
    default_ttl_s: i64,
}

const USING: &str = "USING TIMESTAMP ? AND TTL ?";

impl WritePlan {
    pub(crate) fn new(table: &Table, select: &Select) -> WritePlan {
        let name = table.quoted();
        let at = conditions(&select.key);
        let mut plan = WritePlan {
            texts: Vec::new(),
            update: None,
            marker: None,
            lists: Vec::new(),
            slots: Vec::new(),
            slot_count: 0,
            shapes: Vec::new(),
            default_ttl_s: table.default_ttl_s,
        };
        let mut set = Vec::new();
        for wanted in &select.wanted {
            let column = &wanted.column;
            plan.slots.push(set.len());
            set.extend(assignments(column));
            let texts = (column.shape == Shape::List).then(|| {
                let column = column.quoted();
                let mut text = |set: String| {
                    plan.texts
                        .push(format!("UPDATE {name} {USING} SET {set} WHERE {at}"));
                    plan.texts.len() - 1
                };
                ListTexts {
                    prepend: text(format!("{column} = ? + {column}")),
                    append: text(format!("{column} = {column} + ?")),
                    replace: text(format!("{column} = ?")),
                }
            });
            plan.lists.push(texts);
            plan.shapes.push(column.shape.clone());
        }
        plan.slot_count = set.len();
        if !set.is_empty() {
            let set = set.join(", ");
            plan.update = Some(plan.texts.len());
            plan.texts
                .push(format!("UPDATE {name} {USING} SET {set} WHERE {at}"));
        }
        if select.pass == Pass::Rows {
            let marks = vec!["?"; select.key.len()].join(", ");
            plan.marker = Some(plan.texts.len());
            plan.texts.push(format!(
                "INSERT INTO {name} ({}) VALUES ({marks}) {USING}",
                list(&select.key)
            ));
        }
        plan
    }

    /// The texts for the list in this column.
    pub(crate) fn list_texts(&self, column: usize) -> Option<ListTexts> {
        self.lists.get(column).copied().flatten()
    }

    /// Makes the writes of a row; `now_s` is the present second.
    pub(crate) fn writes(&self, row: &Row<'_>, rules: &Rules, now_s: i64, out: &mut Writes) {
        let taken: Vec<&Cell<'_>> = row.cells.iter().filter(|cell| rules.takes(cell)).collect();
        let fallback = fallback(&row.cells, rules);
        let stamp_of = |cell: &Cell<'_>| {
            let mut stamp = cell.stamp.unwrap_or(fallback);
            if rules.writetime == Writetime::Backdate {
                stamp.writetime_us = rules.backdated_us();
            }
            stamp
        };
        let is_list = |cell: &Cell<'_>| self.shapes.get(cell.column) == Some(&Shape::List);
        let (lists, plain): (Vec<&Cell<'_>>, Vec<&Cell<'_>>) =
            taken.iter().partition(|cell| is_list(cell));
        out.cells += u64::try_from(taken.len()).unwrap_or(u64::MAX);
        if let Some(stamp) = self.marker_stamp(row, rules, now_s) {
            out.plain.extend(self.marker(row, stamp));
        }
        let stamps: BTreeSet<Stamp> = plain.iter().map(|cell| stamp_of(cell)).collect();
        for stamp in stamps {
            let group = plain.iter().filter(|cell| stamp_of(cell) == stamp);
            out.plain.extend(self.group(row, stamp, group.copied()));
        }
        for column in self.list_columns() {
            let mut of_list = lists.iter().filter(|cell| cell.column == column).peekable();
            if of_list.peek().is_some() {
                self.list(row, rules, column, of_list.copied(), &stamp_of, out);
            }
        }
    }

    fn list_columns(&self) -> impl Iterator<Item = usize> {
        let lists = self.lists.iter().enumerate();
        lists.filter_map(|(column, texts)| texts.map(|_| column))
    }

    fn marker_stamp(&self, row: &Row<'_>, rules: &Rules, now_s: i64) -> Option<Stamp> {
        if self.marker.is_none() || rules.marker == RowMarker::Never {
            return None;
        }
        if row.cells.is_empty() {
            // Of a marker nothing can be read. In a table with a default TTL it was written with
            // that, at the latest now.
            let expires_s = (self.default_ttl_s > 0).then_some(now_s + self.default_ttl_s);
            return (!rules.filters()).then_some(Stamp {
                writetime_us: rules.backdated_us(),
                expires_s,
            });
        }
        if rules.marker == RowMarker::Infer {
            return None;
        }
        let oldest = row.cells.iter().filter_map(|cell| cell.stamp);
        // Of one writetime the cell that never expires, else the one that expires last.
        let first = oldest.min_by_key(|stamp| {
            let lives = stamp.expires_s.map_or(i64::MAX, |expires| expires);
            (stamp.writetime_us, std::cmp::Reverse(lives))
        });
        let mut stamp = first.unwrap_or(fallback(&row.cells, rules));
        if rules.writetime == Writetime::Backdate {
            stamp.writetime_us = rules.backdated_us();
        }
        Some(stamp)
    }

    fn marker(&self, row: &Row<'_>, stamp: Stamp) -> Option<Write> {
        Some(Write {
            text: self.marker?,
            token: row.token,
            stamp,
            values: key_bytes(row),
            stamp_first: false,
        })
    }

    /// One UPDATE for the cells that share a stamp.
    fn group<'a, 'c: 'a>(
        &self,
        row: &Row<'_>,
        stamp: Stamp,
        cells: impl Iterator<Item = &'a Cell<'c>>,
    ) -> Option<Write> {
        let mut values = Vec::with_capacity(self.slot_count * 12 + 64);
        let mut slot = 0;
        let mut cells = cells.peekable();
        let fill = |values: &mut Vec<u8>, slot: &mut usize, upto: usize| {
            while *slot < upto {
                value::put_unset(values);
                *slot += 1;
            }
        };
        while let Some(cell) = cells.next() {
            let first = self.slots.get(cell.column).copied().unwrap_or(0);
            match cell.content {
                Content::Whole(bytes) => {
                    fill(&mut values, &mut slot, first);
                    value::put(&mut values, bytes);
                }
                Content::Field(field, bytes) => {
                    fill(&mut values, &mut slot, first + field);
                    value::put(&mut values, bytes);
                }
                Content::Element(_) | Content::Entry(..) => {
                    fill(&mut values, &mut slot, first);
                    let mut collection = CollectionWriter::new();
                    let mut current = Some(cell);
                    while let Some(one) = current {
                        match one.content {
                            Content::Element(element) => collection.element(element),
                            Content::Entry(key, value) => collection.entry(key, value),
                            Content::Whole(_) | Content::Field(..) => {}
                        }
                        current = cells.next_if(|next| next.column == cell.column);
                    }
                    value::put(&mut values, &collection.finish());
                }
            }
            slot += 1;
        }
        fill(&mut values, &mut slot, self.slot_count);
        values.extend(key_bytes(row));
        Some(Write {
            text: self.update?,
            token: row.token,
            stamp,
            values,
            stamp_first: true,
        })
    }

    fn list<'a, 'c: 'a>(
        &self,
        row: &Row<'_>,
        rules: &Rules,
        column: usize,
        cells: impl Iterator<Item = &'a Cell<'c>>,
        stamp_of: &dyn Fn(&Cell<'_>) -> Stamp,
        out: &mut Writes,
    ) {
        let mut runs: Vec<(Stamp, CollectionWriter)> = Vec::new();
        let (mut young_before, mut young_after) = (false, false);
        for cell in cells {
            let is_young = |stamp: Stamp| stamp.writetime_us >= rules.began_us;
            if cell.stamp.is_some_and(is_young) {
                out.young_elements += 1;
                *if runs.is_empty() {
                    &mut young_before
                } else {
                    &mut young_after
                } = true;
                continue;
            }
            let Content::Element(element) = cell.content else {
                continue;
            };
            let stamp = stamp_of(cell);
            match runs.last_mut() {
                Some((last, run)) if *last == stamp => run.element(element),
                _ => {
                    let mut run = CollectionWriter::new();
                    run.element(element);
                    runs.push((stamp, run));
                }
            }
        }
        if !runs.is_empty() {
            out.lists.push(ListWrite {
                column,
                token: row.token,
                key: key_bytes(row),
                runs: runs
                    .into_iter()
                    .map(|(stamp, run)| (stamp, run.finish()))
                    .collect(),
                at_the_end: young_before && !young_after,
            });
        }
    }
}

/// The key as `[bytes]`.
pub(crate) fn key_bytes(row: &Row<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(row.key.iter().map(|part| part.len() + 4).sum());
    for part in &row.key {
        value::put(&mut bytes, part);
    }
    bytes
}

fn assignments(column: &Column) -> Vec<String> {
    let name = column.quoted();
    match &column.shape {
        Shape::Single => vec![format!("{name} = ?")],
        Shape::Set | Shape::Map => vec![format!("{name} = {name} + ?")],
        Shape::Udt(fields) => {
            let fields = fields.iter();
            fields
                .map(|field| format!("{name}.{} = ?", super::schema::quote(field)))
                .collect()
        }
        Shape::List | Shape::Counter => Vec::new(),
    }
}

/// The stamp of cells whose stamp the source does not tell. Where all others of the row expire in
/// the same second, these do too: they were most likely written together.
fn fallback(cells: &[Cell<'_>], rules: &Rules) -> Stamp {
    let stamps = || cells.iter().filter_map(|cell| cell.stamp);
    let writetimes = stamps().map(|stamp| stamp.writetime_us);
    let writetime_us = match rules.collections {
        CollectionWritetime::Backdate => None,
        CollectionWritetime::RowMin => writetimes.min(),
        CollectionWritetime::RowMax => writetimes.max(),
    };
    let mut expiries = stamps().map(|stamp| stamp.expires_s);
    let first = expiries.next().flatten();
    Stamp {
        writetime_us: writetime_us.unwrap_or(rules.backdated_us()),
        expires_s: first.filter(|_| expiries.all(|other| other == first)),
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
