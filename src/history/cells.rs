//! From a row's bytes to its cells, each with its writetime and the second when it expires. Pure.

use anyhow::{Context, Result, ensure};

use super::schema::Shape;
use super::select::Select;
use super::value::{self, Elements};

/// When a cell was written and when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// µs since 1970.
    pub writetime_us: i64,
    /// Seconds since 1970; none: never.
    pub expires_s: Option<i64>,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A column of a single cell.
    Whole(&'a [u8]),
    /// An element of a list or set.
    Element(&'a [u8]),
    /// An entry of a map.
    Entry(&'a [u8], &'a [u8]),
    /// A field of a user type, by its place.
    Field(usize, &'a [u8]),
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell<'a> {
    /// Place of its column among those that are read.
    pub column: usize,
    pub content: Content<'a>,
    /// None where the cluster does not tell, and for counters.
    pub stamp: Option<Stamp>,
}

/// A row that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row<'a> {
    pub token: i64,
    /// Partition key, then clustering key.
    pub key: Vec<&'a [u8]>,
    pub cells: Vec<Cell<'a>>,
}

impl<'a> Row<'a> {
    /// Takes the columns of `select` apart; `read_s` is the second when the row was read.
    ///
    /// Gives false when this is no row: with rows are read, a partition of which only static cells
    /// are left shows as one without a clustering key.
    pub(crate) fn decode(
        &mut self,
        select: &Select,
        columns: &[Option<&'a [u8]>],
        read_s: i64,
    ) -> Result<bool> {
        self.key.clear();
        self.cells.clear();
        let mut columns = columns.iter().copied();
        let mut next = || columns.next().context("a row with too few columns");
        self.token = value::long(next()?.context("a row without token")?)?;
        for _ in &select.key {
            match next()? {
                Some(bytes) => self.key.push(bytes),
                None => return Ok(false),
            }
        }
        for (index, wanted) in select.wanted.iter().enumerate() {
            let bytes = next()?;
            let stamps = match wanted.is_stamped {
                true => Some((next()?, next()?)),
                false => None,
            };
            let Some(bytes) = bytes else { continue };
            let reader = Reader {
                column: index,
                read_s,
            };
            reader
                .column(&wanted.column.shape, bytes, stamps, &mut self.cells)
                .with_context(|| format!("column {}", wanted.column.name))?;
        }
        Ok(true)
    }
}

struct Reader {
    column: usize,
    read_s: i64,
}

type Stamps<'a> = Option<(Option<&'a [u8]>, Option<&'a [u8]>)>;

impl Reader {
    fn column<'a>(
        &self,
        shape: &Shape,
        bytes: &'a [u8],
        stamps: Stamps<'a>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<()> {
        let mut add = |content, stamp| {
            cells.push(Cell {
                column: self.column,
                content,
                stamp,
            });
        };
        match shape {
            Shape::Single | Shape::Counter => {
                let stamp = match stamps {
                    Some((Some(writetime), ttl)) => Some(self.stamp(writetime, ttl)?),
                    Some((None, _)) | None => None,
                };
                add(Content::Whole(bytes), stamp);
            }
            Shape::List | Shape::Set => {
                let (count, mut elements) = Elements::of_collection(bytes)?;
                let mut stamps = self.stamps(stamps, count)?;
                for _ in 0..count {
                    let element = elements.next_present()?;
                    add(Content::Element(element), stamps.next()?);
                }
            }
            Shape::Map => {
                let (count, mut elements) = Elements::of_collection(bytes)?;
                let mut stamps = self.stamps(stamps, count)?;
                for _ in 0..count {
                    let (key, value) = (elements.next_present()?, elements.next_present()?);
                    add(Content::Entry(key, value), stamps.next()?);
                }
            }
            Shape::Udt(fields) => {
                let mut elements = Elements::of_fields(bytes);
                let mut stamps = self.stamps(stamps, fields.len())?;
                for field in 0..fields.len() {
                    if elements.is_empty() {
                        break;
                    }
                    let stamp = stamps.next()?;
                    if let Some(value) = elements.next()? {
                        add(Content::Field(field, value), stamp);
                    }
                }
            }
        }
        Ok(())
    }

    fn stamp(&self, writetime: &[u8], ttl: Option<&[u8]>) -> Result<Stamp> {
        let expires_s = match ttl {
            Some(ttl) => Some(self.read_s + i64::from(value::int(ttl)?)),
            None => None,
        };
        Ok(Stamp {
            writetime_us: value::long(writetime)?,
            expires_s,
        })
    }

    fn stamps<'a>(&'a self, stamps: Stamps<'a>, count: usize) -> Result<ElementStamps<'a>> {
        let Some((Some(writetimes), ttls)) = stamps else {
            return Ok(ElementStamps {
                reader: self,
                lists: None,
            });
        };
        let (told, writetimes) = Elements::of_collection(writetimes)?;
        ensure!(told == count, "{told} writetimes for {count} elements");
        let ttls = match ttls {
            Some(ttls) => Some(Elements::of_collection(ttls)?.1),
            None => None,
        };
        Ok(ElementStamps {
            reader: self,
            lists: Some((writetimes, ttls)),
        })
    }
}

/// The stamps of the elements of one collection, in their order.
struct ElementStamps<'a> {
    reader: &'a Reader,
    lists: Option<(Elements<'a>, Option<Elements<'a>>)>,
}

impl ElementStamps<'_> {
    fn next(&mut self) -> Result<Option<Stamp>> {
        let Some((writetimes, ttls)) = &mut self.lists else {
            return Ok(None);
        };
        let writetime = writetimes.next()?;
        let ttl = match ttls {
            Some(ttls) => ttls.next()?,
            None => None,
        };
        writetime
            .map(|writetime| self.reader.stamp(writetime, ttl))
            .transpose()
    }
}
