//! What the source showed → plain writes that make the target show the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::SLACK_US;
use super::look::{Answer, Look, Read, Touch};
use super::piece::{Piece, collection, elements};
use crate::cql::Reader;
use crate::relay::plan::Repeat;
use crate::relay::write::{Body, Write};
use crate::spill::Kind;
use crate::statement::quote;
use crate::tables::{Shape, Table};

/// When the source was looked at.
#[derive(Clone, Copy)]
pub struct Moment<'m> {
    /// When the answer came (µs).
    pub now_us: i64,
    /// About now (µs), and no other look has it.
    pub own_us: i64,
    /// All writes that arrived before this (µs) had their verdict before the look was taken.
    pub fence_us: Option<i64>,
    /// Whether a list with this stamp (µs) may be at the target, or on its way.
    pub is_taken: &'m dyn Fn(i64) -> bool,
}

/// What follows from a look.
#[derive(Debug, Default)]
pub struct Composed {
    /// For the target.
    pub writes: Vec<Write>,
    /// Nothing is left to say; else another look is needed, behind a fence.
    pub settled: bool,
    /// The lists that were written as they were seen, for [`Look::seen`].
    pub seen: Vec<u64>,
}

/// Stamp (µs) and time to live (s).
type Life = (i64, i32);
/// Values by their lives: the columns or fields that they go to, as CQL writes these.
type Groups<'n> = BTreeMap<Life, Vec<(Cow<'n, str>, Vec<u8>)>>;

struct Composer<'c> {
    look: &'c Look,
    moment: Moment<'c>,
    /// `UPDATE ks.t`, `DELETE … FROM ks.t`: the table as CQL writes it.
    table: String,
    /// Names the row.
    relation: Piece,
    out: Composed,
}

/// Says what the target needs. `row`: as read; none if the source has no such row.
#[must_use]
pub fn compose(
    look: &Look,
    table: &Table,
    row: Option<&Answer<'_>>,
    moment: Moment<'_>,
) -> Composed {
    let mut composer = Composer {
        look,
        moment,
        table: format!("{}.{}", quote(&look.keyspace), quote(&look.table)),
        relation: match row {
            Some(row) if !look.range => relation(row),
            _ => look.relation.clone(),
        },
        out: Composed {
            settled: true,
            ..Composed::default()
        },
    };
    match row {
        _ if look.range => composer.range(table, row),
        Some(row) => composer.present(table, row),
        None => composer.absent(),
    }
    composer.out
}

/// The row by the values of its key.
fn relation(row: &Answer<'_>) -> Piece {
    let mut relation = Piece::default();
    for (name, value) in &row.keys {
        if !relation.text.is_empty() {
            relation.text(" AND ");
        }
        relation.text(&format!("{} = ?", quote(name)));
        relation.value(*value);
    }
    relation
}

impl Composer<'_> {
    fn absent(&mut self) {
        let Some(fence_us) = self.moment.fence_us else {
            self.out.settled = false;
            return;
        };
        if self.look.is_static {
            let columns: Vec<_> = self.look.columns.keys().map(|name| quote(name)).collect();
            self.delete(&columns, fence_us);
        } else {
            self.delete(&[], fence_us);
        }
    }

    /// Rows of a range were deleted. Whatever is there now came later: the delete is stamped right
    /// before the oldest of it, so that it hides what it has hidden at the source and nothing else.
    /// Where a stamp cannot be read, it is that of the request.
    fn range(&mut self, table: &Table, rows: Option<&Answer<'_>>) {
        let Some(fence_us) = self.moment.fence_us else {
            self.out.settled = false;
            return;
        };
        let Some(rows) = rows else {
            return self.delete(&[], fence_us);
        };
        let known = rows.cells.iter().filter_map(|read| life(read));
        let oldest = known.map(|(stamp_us, _)| stamp_us).min();
        let multi_cell = |name: &str| {
            let column = table.column(name);
            column.is_some_and(|column| column.shape.is_multi_cell())
        };
        let unread = oldest.is_none() || self.look.columns.keys().any(|name| multi_cell(name));
        let stamp_us = oldest.map_or(fence_us, |oldest_us| oldest_us - 1);
        let stamp_us = match unread {
            true => stamp_us.min(self.look.since_us),
            false => stamp_us,
        };
        self.delete(&[], stamp_us.min(fence_us));
    }

    fn present(&mut self, table: &Table, row: &Answer<'_>) {
        let (mut groups, mut fields, mut adds) = (Groups::new(), Groups::new(), Groups::new());
        let mut gone = Vec::new();
        if self.look.whole_row {
            self.old_row(row);
        }
        for ((name, touch), read) in self.look.columns.iter().zip(&row.cells) {
            let shape = table
                .column(name)
                .map_or(Shape::Single, |column| column.shape);
            if let (Shape::UserType, Some(found)) = (shape, fields_of(read)) {
                for (field, cell) in found {
                    let field = format!("{}.{}", quote(name), quote(field)).into();
                    match cell {
                        Some((value, life)) => {
                            fields
                                .entry(life)
                                .or_default()
                                .push((field, value.to_vec()));
                        }
                        None => gone.push(field),
                    }
                }
                continue;
            }
            match (shape.is_multi_cell(), read.value, life(read)) {
                (true, ..) => self.collection(name, shape, touch, read, &mut adds),
                (false, Some(value), Some(life)) => {
                    let cells = groups.entry(life).or_default();
                    cells.push((quote(name), value.to_vec()));
                }
                (false, ..) => gone.push(quote(name)),
            }
        }
        match self.moment.fence_us {
            _ if gone.is_empty() => {}
            Some(fence_us) => self.delete(&gone, fence_us),
            None => self.out.settled = false,
        }
        if self.look.inserted {
            self.insert(&mut groups, row);
        }
        for (groups, operator) in [(groups, ""), (fields, ""), (adds, " + ?")] {
            for (life, cells) in groups {
                self.update(life, &cells, operator);
            }
        }
    }

    /// The row was deleted, and is there: what it had before goes, unless it never was deleted.
    fn old_row(&mut self, row: &Answer<'_>) {
        let oldest = row
            .cells
            .iter()
            .filter_map(|read| stamps(read)?.into_iter().min())
            .min();
        match (self.moment.fence_us, oldest) {
            (None, _) => self.out.settled = false,
            (Some(fence_us), Some(oldest_us)) if self.is_recent(oldest_us) => {
                // a collection without stamps may be older than all cells: it is said at the fence
                self.delete(&[], oldest_us.min(fence_us) - 1);
            }
            (Some(_), _) => {}
        }
    }

    fn is_recent(&self, stamp_us: i64) -> bool {
        stamp_us > self.look.since_us - SLACK_US
    }

    /// The row exists by itself: it gets the stamp of the cells that came with it, if there are
    /// any. Those with another time to live than the INSERT's came later, and the row outlives
    /// them, or they it.
    fn insert(&mut self, groups: &mut Groups<'_>, row: &Answer<'_>) {
        let first = groups
            .keys()
            .find(|life| self.came_with_the_row(**life))
            .copied();
        let (life, cells) = match (first, self.moment.fence_us) {
            (Some(life), _) => (life, groups.remove(&life).unwrap_or_default()),
            (None, Some(fence_us)) => {
                let ttl_s = self.left_of(self.look.inserted_ttl_s);
                ((fence_us, ttl_s), Vec::new())
            }
            (None, None) => {
                self.out.settled = false;
                return;
            }
        };
        let keys = row.keys.iter().map(|(name, value)| (quote(name), *value));
        let cells = cells
            .iter()
            .map(|(name, value)| (name.clone(), Some(&**value)));
        let (mut names, mut values) = (Vec::new(), Piece::default());
        for (name, value) in keys.chain(cells) {
            names.push(name);
            values.value(value);
        }
        let marks = vec!["?"; names.len()].join(", ");
        let names = names.join(", ");
        let mut piece = Piece::of(format!(
            "INSERT INTO {} ({names}) VALUES ({marks})",
            self.table
        ));
        piece.push(&values);
        piece.text(" USING TTL ?");
        piece.value(Some(&life.1.to_be_bytes()));
        self.put(piece, life.0, Kind::Write, false);
    }

    fn came_with_the_row(&self, (stamp_us, left_s): Life) -> bool {
        const INEXACT_S: i64 = 2;
        let age_s = (self.moment.now_us - stamp_us) / 1_000_000;
        let fits = match (self.look.inserted_ttl_s, left_s) {
            (0, _) | (_, 0) => self.look.inserted_ttl_s == i64::from(left_s),
            (ttl_s, _) => (ttl_s - age_s - i64::from(left_s)).abs() <= INEXACT_S,
        };
        fits && self.is_recent(stamp_us)
    }

    /// What is left of a time to live that a statement gave (s); 0 for none.
    fn left_of(&self, ttl_s: i64) -> i32 {
        let elapsed_s = (self.moment.now_us - self.look.since_us) / 1_000_000;
        match ttl_s {
            0 => 0,
            ttl_s => i32::try_from((ttl_s - elapsed_s).max(1)).unwrap_or(i32::MAX),
        }
    }

    /// A value of several cells.
    fn collection<'n>(
        &mut self,
        name: &'n str,
        shape: Shape,
        touch: &Touch,
        read: &Read<'_>,
        adds: &mut Groups<'n>,
    ) {
        let width = match shape {
            Shape::Set => 1,
            Shape::Map => 2,
            _ => 0,
        };
        let parts = elements_of(read, width).filter(|_| width > 0 && !touch.unclear);
        let oldest_us = parts.iter().flatten().map(|(_, life)| life.0).min();
        let (Some(parts), Some(oldest_us)) = (parts, oldest_us) else {
            return self.whole(name, shape, read);
        };
        if touch.overwritten {
            // whatever came later than that is there, or was taken out since; without a fence an
            // element that is older may still be on its way to the source
            match self.moment.fence_us {
                Some(fence_us) => self.delete(&[quote(name)], fence_us.min(oldest_us - 1)),
                None => self.out.settled = false,
            }
        }
        // what is there again tells its stamp, which is later than that of its removal
        for (key, is_there) in touch.removed.iter().zip(&read.is_there) {
            if !is_there {
                self.remove(&key.in_brackets(&quote(name)));
            }
        }
        let mut groups: BTreeMap<Life, Vec<&[u8]>> = BTreeMap::new();
        for (element, life) in parts {
            groups.entry(life).or_default().push(element);
        }
        for (life, elements) in groups {
            let value = collection(elements.into_iter());
            adds.entry(life).or_default().push((quote(name), value));
        }
    }

    /// A value as a whole, stamped with the fence.
    ///
    /// Not a list, whose appends are no cells that may come twice: what was seen of it includes
    /// some that arrived behind the fence. It is stamped with this moment, so that it takes the
    /// place of all that was seen; and looked at again, in case one was under way. When two looks
    /// see the same, none was.
    fn whole(&mut self, name: &str, shape: Shape, read: &Read<'_>) {
        let Some(fence_us) = self.moment.fence_us else {
            self.out.settled = false;
            return;
        };
        let Some(value) = read.value else {
            return self.delete(&[quote(name)], fence_us);
        };
        let stamp_us = match (shape, self.uniform(read, fence_us)) {
            (Shape::List, Some(stamp_us)) => stamp_us,
            (Shape::List, None) => {
                let seen = hash_of(name, value);
                self.out.seen.push(seen);
                if self.look.seen.contains(&seen) {
                    return;
                }
                self.out.settled = false;
                self.moment.own_us
            }
            _ => fence_us,
        };
        let ttl_s = match lives(read) {
            Some(lives) => lives.into_iter().flatten().map(|life| life.1).min(),
            None => Some(self.left_of(self.look.ttl_s)),
        };
        let ttl_s = ttl_s.unwrap_or(0);
        let kind = match shape {
            Shape::List => Kind::List,
            _ => Kind::Write,
        };
        let piece = self.assignment(&[(quote(name), value.to_vec())], "", ttl_s);
        self.put(piece, stamp_us, kind, false);
    }

    /// The stamp of a list that was written at once, by a conditional write: such a one keeps it,
    /// and is said once. None of it may be at the target. What is stamped behind the fence may be
    /// of a write that is only being mirrored.
    fn uniform(&self, read: &Read<'_>, fence_us: i64) -> Option<i64> {
        let stamps = stamps(read).filter(|_| !self.look.may_be_there)?;
        let first = *stamps.first()?;
        let is_uniform = stamps.iter().all(|stamp| *stamp == first);
        let may_be = is_uniform && self.is_recent(first) && first < fence_us;
        (may_be && !(self.moment.is_taken)(first)).then_some(first)
    }

    fn update(&mut self, life: Life, cells: &[(Cow<'_, str>, Vec<u8>)], operator: &str) {
        let piece = self.assignment(cells, operator, life.1);
        self.put(piece, life.0, Kind::Write, false);
    }

    /// `operator`: empty for `c = ?`, else what stands behind `c = c`.
    fn assignment(&self, cells: &[(Cow<'_, str>, Vec<u8>)], operator: &str, ttl_s: i32) -> Piece {
        let mut piece = Piece::of(format!("UPDATE {} USING TTL ? SET ", self.table));
        piece.value(Some(&ttl_s.to_be_bytes()));
        for (index, (name, value)) in cells.iter().enumerate() {
            piece.text(if index > 0 { ", " } else { "" });
            piece.text(&match operator {
                "" => format!("{name} = ?"),
                more => format!("{name} = {name}{more}"),
            });
            piece.value(Some(value));
        }
        piece.text(" WHERE ");
        piece.push(&self.relation);
        piece
    }

    /// Deletes one element, `column[key]`, with the stamp of the fence.
    fn remove(&mut self, element: &Piece) {
        let Some(fence_us) = self.moment.fence_us else {
            self.out.settled = false;
            return;
        };
        let mut piece = Piece::of("DELETE ");
        piece.push(element);
        piece.text(&format!(" FROM {} WHERE ", self.table));
        piece.push(&self.relation);
        self.put(piece, fence_us, Kind::Write, true);
    }

    /// Deletes columns and fields, or with none the row.
    fn delete(&mut self, columns: &[Cow<'_, str>], stamp_us: i64) {
        let mut piece = Piece::of("DELETE ");
        if !columns.is_empty() {
            piece.text(&columns.join(", "));
            piece.text(" ");
        }
        piece.text(&format!("FROM {} WHERE ", self.table));
        piece.push(&self.relation);
        self.put(piece, stamp_us, Kind::Write, true);
    }

    fn put(&mut self, piece: Piece, stamp_us: i64, kind: Kind, deletes: bool) {
        const VALUES_AND_STAMP: u8 = 0x21;
        let mut params = self.look.level.number().to_be_bytes().to_vec();
        params.push(VALUES_AND_STAMP);
        params.extend_from_slice(&piece.count.to_be_bytes());
        params.extend_from_slice(&piece.values);
        params.extend_from_slice(&stamp_us.to_be_bytes());
        let (keyspace, table) = (self.look.keyspace.clone(), self.look.table.clone());
        let text = piece.text.into();
        let body = Body::Query { text, params };
        self.out.writes.push(Write {
            stamp_us: Some(stamp_us),
            repeat: match kind {
                Kind::List => Repeat::Bump,
                _ => Repeat::Free,
            },
            kind,
            deletes,
            ..Write::new(self.moment.now_us, keyspace, table, body)
        });
    }
}

fn hash_of(name: &str, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, value).hash(&mut hasher);
    hasher.finish()
}

/// Stamp and time to live of a single cell.
fn life(read: &Read<'_>) -> Option<Life> {
    let stamp_us = i64::from_be_bytes(read.stamps?.try_into().ok()?);
    let ttl_s = read.ttls.and_then(|bytes| bytes.try_into().ok());
    Some((stamp_us, ttl_s.map_or(0, i32::from_be_bytes)))
}

/// All stamps of a value, if they can be read (µs).
fn stamps(read: &Read<'_>) -> Option<Vec<i64>> {
    read.value?;
    let lives = match life(read) {
        Some(one) => vec![Some(one)],
        None => lives(read)?,
    };
    Some(lives.into_iter().flatten().map(|life| life.0).collect())
}

/// Stamp and time to live of each part of a value, if they can be read; none of a field that is
/// null.
fn lives(read: &Read<'_>) -> Option<Vec<Option<Life>>> {
    let stamps = numbers(read.stamps?)?;
    let ttls = match read.ttls {
        Some(list) => numbers(list)?,
        None => vec![None; stamps.len()],
    };
    let life = |(stamp, ttl): (Option<_>, Option<_>)| {
        let ttl_s = ttl.map_or(0, i32::from_be_bytes);
        stamp.map(|stamp| (i64::from_be_bytes(stamp), ttl_s))
    };
    let same = stamps.len() == ttls.len();
    same.then(|| stamps.into_iter().zip(ttls).map(life).collect())
}

/// The numbers in a list; none where one is null.
fn numbers<const N: usize>(list: &[u8]) -> Option<Vec<Option<[u8; N]>>> {
    let number = |element: &[u8]| match element.get(4..)? {
        [] => Some(None),
        bytes => bytes.try_into().ok().map(Some),
    };
    elements(list, 1)?.into_iter().map(number).collect()
}

/// The elements of a set or map, each with its stamp and time to live; none if these cannot be
/// read.
fn elements_of<'m>(read: &Read<'m>, width: usize) -> Option<Vec<(&'m [u8], Life)>> {
    // an empty collection is null; whether stamps could be read shows in nothing
    let elements = elements(read.value?, width.max(1))?;
    let lives: Vec<Life> = lives(read)?.into_iter().collect::<Option<_>>()?;
    let same = elements.len() == lives.len();
    same.then(|| elements.into_iter().zip(lives).collect())
}

/// A field of a user type and its cell, if it is not null.
type Field<'r> = (&'r str, Option<(&'r [u8], Life)>);

/// The fields of a user type; none if their stamps cannot be read.
fn fields_of<'r>(read: &'r Read<'_>) -> Option<Vec<Field<'r>>> {
    let (mut values, lives) = (Reader::new(read.value?), lives(read)?);
    let field = |(name, life): (&'r String, Option<Life>)| {
        let value = match values.rest() {
            [] => None,
            _ => values.bytes().ok()?,
        };
        match (value, life) {
            (Some(value), Some(life)) => Some((&**name, Some((value, life)))),
            (Some(_), None) => None,
            (None, _) => Some((&**name, None)),
        }
    };
    let same = read.fields.len() == lives.len();
    same.then(|| read.fields.iter().zip(lives).map(field).collect())?
}
