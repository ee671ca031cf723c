//! Makes a row at the target what it is at the source, with the source's own stamps. What the
//! target holds with a newer stamp stays: it is reported, never overruled.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::args::VerifyArgs;
use super::diff::{CellDifference, RowDifference};
use super::recheck::{Look, with_row};
use super::report::Class;
use super::table::{Throttles, odd};
use crate::copy::Tally;
use crate::copy::counters::CounterCopy;
use crate::copy::lists::ListCopier;
use crate::copy::table::Throttles as CopyThrottles;
use crate::history::complaint::Complaint;
use crate::history::ends::{Cluster, Ends};
use crate::history::progress::Progress;
use crate::history::schema::{Shape, Table, quote};
use crate::history::select::{Select, conditions};
use crate::history::send::{Failure, KeyRow, Sender};
use crate::history::value;
use crate::history::write::{CollectionWritetime, RowMarker, Rules, WritePlan, Writes, Writetime};
use crate::history::{now_s, now_us};
use crate::side::Side;

/// Writes to one table what its rows at the target lack.
pub(super) struct Repair {
    write: bool,
    delete: bool,
    plan: WritePlan,
    select: Select,
    table: Table,
    target: Arc<Cluster>,
    sender: Option<Arc<Sender>>,
    lists: Option<ListCopier>,
    counters: Option<Arc<CounterCopy>>,
    rules: Rules,
}

/// What a repair did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    pub wrote: bool,
    pub deleted: bool,
}

impl Repair {
    pub(super) async fn new(
        ends: &Ends,
        table: &Table,
        select: &Select,
        args: &VerifyArgs,
        throttles: &Throttles,
        progress: &Arc<Progress>,
    ) -> Result<Repair> {
        let rules = Rules {
            marker: RowMarker::Infer,
            writetime: Writetime::Preserve,
            collections: CollectionWritetime::Backdate,
            began_us: now_us(),
            written_after_us: None,
            written_before_us: None,
        };
        let plan = WritePlan::new(table, select);
        let mut repair = Repair {
            write: args.repair && !table.is_counter(),
            delete: args.delete_extra,
            select: select.clone(),
            table: table.clone(),
            target: ends.target.clone(),
            sender: None,
            lists: None,
            counters: None,
            rules,
            plan,
        };
        if repair.write {
            let target = ends.target.clone();
            let (writes, texts) = (throttles.writes.clone(), &repair.plan.texts);
            let complaint = Complaint::new(table, progress);
            let sender = Arc::new(Sender::new(target, writes, complaint, texts).await?);
            let lists = ListCopier::new(sender.clone(), table, select, &repair.plan, rules);
            repair.lists = Some(lists.await?.exact());
            repair.sender = Some(sender);
        }
        if args.repair_counters && table.is_counter() {
            let quiet = Duration::from_millis(args.settle_ms);
            let limits = CopyThrottles {
                source: throttles.source.clone(),
                target: throttles.target.clone(),
            };
            let progress = progress.clone();
            let select = select.clone();
            let copy = CounterCopy::new(ends, table, select, quiet, &limits, progress).await?;
            repair.counters = Some(Arc::new(copy));
        }
        Ok(repair)
    }

    /// Repairs one row.
    pub(super) async fn row(
        &self,
        look: &Look,
        difference: &RowDifference,
    ) -> Result<Tried, Failure> {
        let mut tried = Tried::default();
        if let Some(counters) = &self.counters {
            let mut tally = Tally::default();
            let keys = vec![look.key.to_vec()];
            counters.clone().settle_keys(keys, &mut tally).await?;
            tried.wrote = true;
            return Ok(tried);
        }
        let lacks = match difference {
            RowDifference::Missing => true,
            RowDifference::Extra => false,
            RowDifference::Cells(cells) => cells
                .iter()
                .any(|cell| cell.class != Class::Extra || self.is_list(cell)),
        };
        if self.write && lacks {
            self.write(look).await?;
            tried.wrote = true;
        }
        if self.delete {
            tried.deleted = self.delete(look, difference).await?;
        }
        Ok(tried)
    }

    fn is_list(&self, cell: &CellDifference) -> bool {
        let column = self.select.wanted.get(cell.place.column);
        column.is_some_and(|wanted| wanted.column.shape == Shape::List)
    }

    async fn write(&self, look: &Look) -> Result<(), Failure> {
        let (Some(sender), Some(lists)) = (&self.sender, &self.lists) else {
            return Ok(());
        };
        let mut writes = Writes::default();
        let now_s = now_s();
        with_row(&look.source, &self.select, |row| {
            if let Some(row) = row {
                self.plan.writes(row, &self.rules, now_s, &mut writes);
            }
            Ok(())
        })
        .map_err(|error| odd(&error))?;
        let _permit = sender.throttle.acquire().await;
        for batch in sender.batches(writes.plain) {
            sender.send(&batch).await?;
        }
        for list in &writes.lists {
            lists.copy(list, true).await?;
        }
        Ok(())
    }

    /// Deletes what only the target has, at the stamp that it has there.
    async fn delete(&self, look: &Look, difference: &RowDifference) -> Result<bool, Failure> {
        let at = conditions(&self.select.key);
        let table = self.table.quoted();
        match difference {
            RowDifference::Missing => Ok(false),
            RowDifference::Extra => {
                let what = match self.select.is_statics() {
                    true => self.select.names(),
                    false => String::new(),
                };
                // A row marker's writetime is not told: now is later than all that was seen. A
                // write that comes meanwhile is younger still.
                let text = format!("DELETE {what} FROM {table} USING TIMESTAMP ? WHERE {at}");
                self.run(&text, now_us(), None, &look.key).await?;
                Ok(true)
            }
            RowDifference::Cells(cells) => {
                let mut deleted = false;
                for cell in cells.iter().filter(|cell| cell.class == Class::Extra) {
                    deleted |= self.delete_cell(look, cell).await?;
                }
                Ok(deleted)
            }
        }
    }

    async fn delete_cell(&self, look: &Look, cell: &CellDifference) -> Result<bool, Failure> {
        let Some(wanted) = self.select.wanted.get(cell.place.column) else {
            return Ok(false);
        };
        let name = wanted.column.quoted();
        let element = cell.place.element.as_deref();
        let (what, bound) = match &wanted.column.shape {
            Shape::Single => (name, None),
            Shape::Map | Shape::Set => (format!("{name}[?]"), element),
            Shape::Udt(fields) => {
                let index = element.and_then(|bytes| bytes.try_into().ok());
                let index = index.map_or(0, u32::from_be_bytes);
                let field = usize::try_from(index).ok().and_then(|i| fields.get(i));
                let Some(field) = field else { return Ok(false) };
                (format!("{name}.{}", quote(field)), None)
            }
            // A list is written whole; a counter that was deleted must not be counted again.
            Shape::List => match cell.source.is_none() && self.write {
                true => return Ok(false),
                false => (name, None),
            },
            Shape::Counter => return Ok(false),
        };
        let seen_us = cell.target.as_ref().and_then(|side| side.writetime_us);
        let (table, at) = (self.table.quoted(), conditions(&self.select.key));
        let text = format!("DELETE {what} FROM {table} USING TIMESTAMP ? WHERE {at}");
        let at_us = seen_us.unwrap_or_else(now_us);
        self.run(&text, at_us, bound, &look.key).await?;
        Ok(true)
    }

    /// Executes a delete: timestamp, what is deleted if it is bound, key.
    async fn run(
        &self,
        text: &str,
        stamp_us: i64,
        bound: Option<&[u8]>,
        key: &[u8],
    ) -> Result<(), Failure> {
        let prepared = self
            .target
            .prepare(text)
            .await
            .map_err(|error| odd(&error))?;
        // `DELETE m[?] … USING TIMESTAMP ?`: markers are numbered as they stand.
        let mut values = Vec::new();
        if let Some(bound) = bound {
            value::put(&mut values, bound);
        }
        value::put(&mut values, &stamp_us.to_be_bytes());
        values.extend_from_slice(key);
        let session = &self.target.session;
        let done = session.execute_unpaged(&prepared, KeyRow(&values)).await;
        done.map(drop)
            .map_err(|error| Failure::of(Side::Target, &error))
    }
}
