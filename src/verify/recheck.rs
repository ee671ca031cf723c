//! A second look: what differed is read again, row by row, up to three times. Only what differs
//! each time, and does not change meanwhile, is a difference.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::diff::{self, CellDifference, RowDifference};
use super::fingerprint::Fingerprint;
use super::report::{Class, Difference, hex};
use super::table::{Found, TableVerify, odd};
use crate::history::cells::Row;
use crate::history::scan::Page;
use crate::history::select::{Pass, Select};
use crate::history::send::Failure;
use crate::history::value::Elements;
use crate::limits;

/// Rows that are looked at at once, for each token range.
const AT_ONCE: usize = 64;

/// What both sides have of a row now.
pub(super) struct Look {
    pub key: Box<[u8]>,
    pub source: Page,
    pub difference: Option<RowDifference>,
    /// The row's fingerprints at source and target.
    prints: [Option<Fingerprint>; 2],
    is_changing: bool,
}

impl TableVerify {
    /// Looks again at rows that differed; what still does is repaired if that is asked for, and
    /// entered.
    pub(super) async fn look_again(
        self: Arc<Self>,
        mut keys: Vec<Box<[u8]>>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        keys.sort_unstable();
        keys.dedup();
        let mut keys = keys.into_iter();
        loop {
            let some: Vec<_> = keys.by_ref().take(limits::RECHECK_ROWS).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.clone().look_at(some, found).await?;
        }
    }

    async fn look_at(
        self: Arc<Self>,
        keys: Vec<Box<[u8]>>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let mut open: Vec<(Box<[u8]>, Option<Look>)> =
            keys.into_iter().map(|key| (key, None)).collect();
        for read in 0..limits::RECHECK_READS {
            if read > 0 {
                sleep(self.settle).await;
            }
            let mut looks = JoinSet::new();
            let mut differing = Vec::new();
            let mut note = |look: Look| match look.difference {
                None => found.settled += 1,
                Some(_) => differing.push((look.key.clone(), Some(look))),
            };
            for (key, before) in std::mem::take(&mut open) {
                while looks.len() >= AT_ONCE
                    && let Some(look) = looks.join_next().await
                {
                    note(joined(look)?);
                }
                looks.spawn(self.clone().look(key, before));
            }
            while let Some(look) = looks.join_next().await {
                note(joined(look)?);
            }
            open = differing;
            if open.is_empty() {
                return Ok(());
            }
        }
        let mut repairs = JoinSet::new();
        for look in open.into_iter().filter_map(|(_, look)| look) {
            while repairs.len() >= AT_ONCE
                && let Some(entered) = repairs.join_next().await
            {
                found.differences.extend(joined(entered)?);
            }
            found.rows_differing += 1;
            repairs.spawn(self.clone().settle(look));
        }
        while let Some(entered) = repairs.join_next().await {
            found.differences.extend(joined(entered)?);
        }
        Ok(())
    }

    /// Reads a row at both sides and compares it; `before` is what was there the last time.
    pub(super) async fn look(
        self: Arc<Self>,
        key: Box<[u8]>,
        before: Option<Look>,
    ) -> Result<Look, Failure> {
        let (source, target) = tokio::join!(self.source.one(&key), self.target.one(&key));
        let (source, target) = (source?, target?);
        let select = &self.source.select;
        let mut difference = None;
        let mut prints = [None, None];
        let print = |row: &Row<'_>| Fingerprint::of(row, &self.columns, &self.tolerance);
        with_row(&source, select, |here| {
            with_row(&target, select, |there| {
                difference = diff::rows(here, there, &self.columns, &self.tolerance);
                prints = [here.map(print), there.map(print)];
                Ok(())
            })
        })
        .map_err(|error| odd(&error))?;
        let is_changing = before.is_some_and(|before| {
            let pairs = before.prints.iter().zip(&prints);
            !pairs.into_iter().all(|(then, now)| match (then, now) {
                (Some(then), Some(now)) => then.matches(now, &self.tolerance),
                (None, None) => true,
                _ => false,
            })
        });
        Ok(Look {
            key,
            source,
            difference,
            prints,
            is_changing,
        })
    }

    /// Repairs a row if that is asked for, and says what was found.
    async fn settle(self: Arc<Self>, look: Look) -> Result<Vec<Difference>, Failure> {
        let Some(difference) = &look.difference else {
            return Ok(Vec::new());
        };
        if look.is_changing {
            return Ok(vec![self.entry(&look.key, Class::InFlight, None, false)]);
        }
        let tried = self.repair.row(&look, difference).await?;
        if !tried.wrote && !tried.deleted {
            return Ok(self.entries(&look, difference, |_| None));
        }
        let after = self.clone().look(look.key.clone(), None).await?;
        let is_left = |cell: Option<&CellDifference>| match (&after.difference, cell) {
            (None, _) => false,
            (Some(RowDifference::Cells(left)), Some(cell)) => {
                left.iter().any(|other| other.place == cell.place)
            }
            (Some(RowDifference::Cells(_)), None) => false,
            (Some(RowDifference::Missing | RowDifference::Extra), _) => true,
        };
        let mut entries = self.entries(&look, difference, |cell| {
            let class = cell.map_or(row_class(difference), |cell| cell.class);
            let attempted = match class {
                Class::Extra => tried.deleted,
                _ => tried.wrote,
            };
            match (is_left(cell), attempted) {
                (false, _) => Some((class, true)),
                (true, true) => Some((Class::Shadowed, false)),
                (true, false) => Some((class, false)),
            }
        });
        // A row that was missing may be there now, but for cells that something newer hides.
        if let (RowDifference::Missing, Some(left @ RowDifference::Cells(_))) =
            (difference, &after.difference)
        {
            entries.extend(self.entries(&after, left, |_| Some((Class::Shadowed, false))));
        }
        Ok(entries)
    }

    /// An entry for each cell that differs, or for the row. `fate` may say another class, and
    /// whether it is repaired.
    fn entries(
        &self,
        look: &Look,
        difference: &RowDifference,
        fate: impl Fn(Option<&CellDifference>) -> Option<(Class, bool)>,
    ) -> Vec<Difference> {
        match difference {
            RowDifference::Missing | RowDifference::Extra => {
                let (class, repaired) = fate(None).unwrap_or((row_class(difference), false));
                vec![self.entry(&look.key, class, None, repaired)]
            }
            RowDifference::Cells(cells) => cells
                .iter()
                .map(|cell| {
                    let (class, repaired) = fate(Some(cell)).unwrap_or((cell.class, false));
                    self.entry(&look.key, class, Some(cell), repaired)
                })
                .collect(),
        }
    }

    fn entry(
        &self,
        key: &[u8],
        class: Class,
        cell: Option<&CellDifference>,
        repaired: bool,
    ) -> Difference {
        let mut parts = Elements::of_fields(key);
        let names = self.source.select.key.iter();
        let key = names
            .map(|column| {
                let part = parts.next().ok().flatten().unwrap_or_default();
                (column.name.clone(), hex(part))
            })
            .collect();
        let column = cell.and_then(|cell| self.columns.get(cell.place.column));
        Difference {
            table: self.table.name.clone(),
            pass: self.pass().name().to_owned(),
            key,
            class,
            column: column.map(|column| column.name.clone()),
            element: cell.and_then(|cell| cell.place.element.as_deref().map(hex)),
            source: cell.and_then(|cell| cell.source.clone()),
            target: cell.and_then(|cell| cell.target.clone()),
            repaired,
            dirty: self.is_dirty,
        }
    }
}

fn row_class(difference: &RowDifference) -> Class {
    match difference {
        RowDifference::Extra => Class::Extra,
        RowDifference::Missing | RowDifference::Cells(_) => Class::Missing,
    }
}

/// Calls `what` with the only row of an answer, or with none; a partition without static cells is
/// none.
pub(super) fn with_row(
    page: &Page,
    select: &Select,
    mut what: impl FnMut(Option<&Row<'_>>) -> Result<()>,
) -> Result<()> {
    let mut seen = false;
    page.each(select, |row| {
        if seen || (select.pass == Pass::Statics && row.cells.is_empty()) {
            return Ok(());
        }
        seen = true;
        what(Some(row))
    })?;
    match seen {
        true => Ok(()),
        false => what(None),
    }
}

fn joined<T>(ended: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.map_err(|error| odd(&error.into()))?
}
