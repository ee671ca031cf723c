//! Lists that are not frozen. Whoever writes an element makes a new one, whatever its stamp, so a
//! list is written only when it is known not to be at the target: read back first, unless the
//! table was empty there when the copy began and this is the first try.
//!
//! The elements go to the list's front, run by run from the last to the first, so that they keep
//! their order, and stand before what the proxy has appended since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use scylla::deserialize::row::ColumnIterator;
use scylla::statement::prepared::PreparedStatement;
use tokio::time::{Instant, sleep};

use crate::history::cells::Stamp;
use crate::history::ends::Cluster;
use crate::history::scan;
use crate::history::schema::{Shape, Table};
use crate::history::select::{Select, conditions, list};
use crate::history::send::{Failure, KeyRow, Sender, backoff};
use crate::history::value::{self, Elements};
use crate::history::write::{ListTexts, ListWrite, Rules, Write, WritePlan};
use crate::limits;
use crate::side::Side;

const GIVE_UP: Duration = Duration::from_secs(60);

/// What became of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOutcome {
    Written,
    /// It was at the target.
    There,
    /// Another list was there; now it is this one, 1 µs younger.
    Replaced,
}

/// Writes the lists of one table.
pub(crate) struct ListCopier {
    sender: Arc<Sender>,
    columns: Vec<Option<OfColumn>>,
    began_us: i64,
    /// The table at the target may hold lists already.
    beware: AtomicBool,
    /// A list that holds the wanted one, but more, is another list.
    is_exact: bool,
    any_row: String,
}

struct OfColumn {
    texts: ListTexts,
    read_back: PreparedStatement,
}

impl ListCopier {
    pub(crate) async fn new(
        sender: Arc<Sender>,
        table: &Table,
        select: &Select,
        plan: &WritePlan,
        rules: Rules,
    ) -> Result<ListCopier> {
        let cluster = sender.cluster.clone();
        let mut columns = Vec::new();
        for (index, wanted) in select.wanted.iter().enumerate() {
            let texts = plan
                .list_texts(index)
                .filter(|_| wanted.column.shape == Shape::List);
            columns.push(match texts {
                Some(texts) => {
                    let name = wanted.column.quoted();
                    let stamps = match cluster.per_element {
                        true => format!(", writetime({name})"),
                        false => String::new(),
                    };
                    let from = table.quoted();
                    let at = conditions(&select.key);
                    let text = format!("SELECT {name}{stamps} FROM {from} WHERE {at}");
                    let read_back = cluster.prepare(&text).await?;
                    Some(OfColumn { texts, read_back })
                }
                None => None,
            });
        }
        let (key, from) = (list(&table.partition_key), table.quoted());
        Ok(ListCopier {
            sender,
            columns,
            began_us: rules.began_us,
            beware: AtomicBool::new(true),
            is_exact: false,
            any_row: format!("SELECT token({key}) FROM {from} LIMIT 1"),
        })
    }

    /// For repairs: the target's list shall be the source's, and no element is the proxy's.
    pub(crate) fn exact(mut self) -> ListCopier {
        self.is_exact = true;
        self
    }

    /// Finds out whether the table is empty at the target; if it cannot be found out, it is not.
    pub(crate) async fn beware(&self) {
        if self.columns.iter().flatten().next().is_none() {
            return;
        }
        let found = scan::scalar::<i64>(&self.sender.cluster, &self.any_row).await;
        self.beware
            .store(!matches!(found, Ok(None)), Ordering::Relaxed);
    }

    /// Brings a list to the target; `again`: this was tried before.
    pub(crate) async fn copy(&self, list: &ListWrite, again: bool) -> Result<ListOutcome, Failure> {
        let Some(Some(column)) = self.columns.get(list.column) else {
            return Ok(ListOutcome::There);
        };
        let began = Instant::now();
        let mut look = again || self.beware.load(Ordering::Relaxed);
        let mut tries = 0;
        loop {
            let tried = self.try_once(column, list, look).await;
            let failure = match tried {
                Ok(outcome) => {
                    self.sender.throttle.succeeded();
                    return Ok(outcome);
                }
                Err(failure) => failure,
            };
            if failure.is_final || began.elapsed() > GIVE_UP {
                return Err(failure);
            }
            look = true;
            tries += 1;
            self.sender.throttle.pushed_back();
            self.sender.complaint.again(Side::Target, &failure, tries);
            sleep(failure.wait.unwrap_or_else(|| backoff(tries))).await;
        }
    }

    /// Whether the target has this list and nothing more, with stamps that verify accepts.
    fn is_same(&self, there: &[Element], list: &ListWrite, wanted: &[&[u8]]) -> bool {
        let stamps = list.runs.iter().flat_map(|(stamp, run)| {
            let count = Elements::of_collection(run).map_or(0, |(count, _)| count);
            std::iter::repeat_n(stamp.writetime_us, count)
        });
        let is_near = |(element, us): (&Element, i64)| {
            let there = element.writetime_us.unwrap_or(us);
            there.abs_diff(us) <= limits::LIST_STAMP_SLACK_US
        };
        there.len() == wanted.len() && there.iter().zip(stamps).all(is_near)
    }

    async fn try_once(
        &self,
        column: &OfColumn,
        list: &ListWrite,
        look: bool,
    ) -> Result<ListOutcome, Failure> {
        let there = match look {
            true => read_back(&self.sender.cluster, column, list).await?,
            false => Vec::new(),
        };
        let old: Vec<&Element> = there
            .iter()
            .filter(|element| element.writetime_us.is_none_or(|us| us < self.began_us))
            .collect();
        let wanted = elements(list).map_err(|error| odd(&error))?;
        let (writes, outcome) = if old.is_empty() {
            (written(column.texts, list), ListOutcome::Written)
        } else if holds(&old, &wanted) && (!self.is_exact || self.is_same(&there, list, &wanted)) {
            return Ok(ListOutcome::There);
        } else {
            let youngest = old.iter().filter_map(|element| element.writetime_us);
            let youngest = youngest.chain(list.runs.iter().map(|(stamp, _)| stamp.writetime_us));
            let above_us = youngest.max().map_or(self.began_us, |us| us + 1);
            (
                replaced(column.texts, list, above_us),
                ListOutcome::Replaced,
            )
        };
        let sent = self.sender.once(&writes).await;
        sent.map(|()| outcome)
            .map_err(|error| Failure::of(Side::Target, &error))
    }
}

/// An element at the target.
struct Element {
    bytes: Vec<u8>,
    writetime_us: Option<i64>,
}

async fn read_back(
    cluster: &Cluster,
    column: &OfColumn,
    list: &ListWrite,
) -> Result<Vec<Element>, Failure> {
    let session = &cluster.session;
    let answer = session
        .execute_unpaged(&column.read_back, KeyRow(&list.key))
        .await
        .map_err(|error| Failure::of(Side::Target, &error))?;
    parse(answer).map_err(|error| odd(&error))
}

fn parse(answer: scylla::response::query_result::QueryResult) -> Result<Vec<Element>> {
    let rows = answer.into_rows_result()?;
    let Some(columns) = rows.rows::<ColumnIterator<'_, '_>>()?.next() else {
        return Ok(Vec::new());
    };
    let mut columns = columns?;
    let mut next = || -> Result<Option<&[u8]>> {
        let column = columns.next().transpose()?;
        Ok(column
            .and_then(|column| column.slice)
            .map(|slice| slice.as_slice()))
    };
    let (list, stamps) = (next()?, next()?);
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let (count, mut elements) = Elements::of_collection(list)?;
    let mut stamps = stamps.map(Elements::of_collection).transpose()?;
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = elements.next_present()?.to_vec();
        let writetime_us = match &mut stamps {
            Some((_, stamps)) => stamps.next()?.map(value::long).transpose()?,
            None => None,
        };
        found.push(Element {
            bytes,
            writetime_us,
        });
    }
    Ok(found)
}

fn odd(error: &anyhow::Error) -> Failure {
    Failure::odd(format!("target: a list that makes no sense: {error:#}"))
}

/// The elements of all runs.
fn elements(list: &ListWrite) -> Result<Vec<&[u8]>> {
    let mut all = Vec::new();
    for (_, run) in &list.runs {
        let (count, mut elements) = Elements::of_collection(run).context("a run")?;
        for _ in 0..count {
            all.push(elements.next_present()?);
        }
    }
    Ok(all)
}

/// Whether `wanted` stands in `there`, in one piece.
fn holds(there: &[&Element], wanted: &[&[u8]]) -> bool {
    let same = |piece: &[&Element]| {
        let pairs = piece.iter().zip(wanted);
        pairs.into_iter().all(|(a, b)| a.bytes == *b)
    };
    there.windows(wanted.len().max(1)).any(same)
}

/// Writes the runs, each with its own stamp, in an order that keeps theirs.
fn written(texts: ListTexts, list: &ListWrite) -> Vec<Write> {
    let one = |text, (stamp, run): &(Stamp, Vec<u8>)| write(text, list, *stamp, run);
    if list.at_the_end {
        let runs = list.runs.iter();
        return runs.map(|run| one(texts.append, run)).collect();
    }
    let runs = list.runs.iter().rev();
    runs.map(|run| one(texts.prepend, run)).collect()
}

/// Writes the whole list in place of what is there.
fn replaced(texts: ListTexts, list: &ListWrite, writetime_us: i64) -> Vec<Write> {
    let mut writes = Vec::with_capacity(list.runs.len());
    for (stamp, run) in &list.runs {
        let text = match writes.is_empty() {
            true => texts.replace,
            false => texts.append,
        };
        let stamp = Stamp {
            writetime_us,
            ..*stamp
        };
        writes.push(write(text, list, stamp, run));
    }
    writes
}

fn write(text: usize, list: &ListWrite, stamp: Stamp, run: &[u8]) -> Write {
    let mut values = Vec::with_capacity(run.len() + list.key.len() + 4);
    value::put(&mut values, run);
    values.extend_from_slice(&list.key);
    Write {
        text,
        token: list.token,
        stamp,
        values,
        stamp_first: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::value::CollectionWriter;

    fn run(elements: &[&[u8]]) -> Vec<u8> {
        let mut run = CollectionWriter::new();
        elements.iter().for_each(|element| run.element(element));
        run.finish()
    }

    #[test]
    fn runs_go_to_the_front_from_the_last_to_the_first() {
        let stamp = |writetime_us| Stamp {
            writetime_us,
            expires_s: None,
        };
        let texts = ListTexts {
            prepend: 1,
            append: 2,
            replace: 3,
        };
        let mut list = ListWrite {
            column: 0,
            token: 5,
            key: vec![],
            runs: vec![(stamp(10), run(&[b"a"])), (stamp(20), run(&[b"b", b"c"]))],
            at_the_end: false,
        };
        let of = |writes: Vec<Write>| -> Vec<_> {
            let each = writes.iter();
            each.map(|write| (write.text, write.stamp.writetime_us))
                .collect()
        };
        assert_eq!(of(written(texts, &list)), [(1, 20), (1, 10)]);
        assert_eq!(of(replaced(texts, &list, 21)), [(3, 21), (2, 21)]);
        list.at_the_end = true;
        assert_eq!(of(written(texts, &list)), [(2, 10), (2, 20)]);
    }

    #[test]
    fn a_list_is_there_if_it_stands_in_one_piece() {
        let there: Vec<Element> = [b"a", b"b", b"c", b"b"]
            .map(|bytes| Element {
                bytes: bytes.to_vec(),
                writetime_us: None,
            })
            .into();
        let there: Vec<&Element> = there.iter().collect();
        assert!(holds(&there, &[b"b", b"c"]));
        assert!(holds(&there, &[b"a", b"b", b"c", b"b"]));
        assert!(!holds(&there, &[b"a", b"c"]));
        assert!(!holds(&there, &[b"a", b"b", b"c", b"b", b"b"]));
    }
}
