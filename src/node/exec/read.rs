//! Executing SELECT: walk partitions and slices, keep what is live and wanted, page by page.

use std::ops::RangeInclusive;
use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::json::to_json;
use crate::node::parser::ast::Op;
use crate::node::store::{Partition, PartitionKey, Slice, TableData};
use crate::node::types::CqlType;
use crate::node::value::{Value, split_collection};

use super::expr::{Expr, Scope};
use super::paging::PagePosition;
use super::select::{ColumnSpec, SelectPlan};
use super::selector::{compare, find_element};
use super::view::RowView;

/// A result with rows.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) columns: Rc<Vec<ColumnSpec>>,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    pub(crate) paging_state: Option<Vec<u8>>,
    /// True when a client that knows the columns may be spared them.
    pub(crate) skippable: bool,
}

/// The page that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Page<'p> {
    /// `None` for all rows.
    pub(crate) size: Option<usize>,
    pub(crate) state: Option<&'p [u8]>,
}

/// A filter with its values at hand.
struct ReadyFilter {
    column: usize,
    element: Option<Vec<u8>>,
    op: Op,
    values: Vec<Vec<u8>>,
}

struct Walk<'d> {
    plan: &'d SelectPlan,
    now_s: i64,
    slices: Vec<Slice>,
    filters: Vec<ReadyFilter>,
    per_partition: u64,
    left: u64,
    page_left: usize,
    from: Option<PagePosition>,
    found: Vec<RowView<'d>>,
    last: Option<PagePosition>,
    /// A row was found that did not fit on the page.
    more: bool,
}

/// Runs a SELECT over the table's data.
pub(crate) fn select(
    plan: &SelectPlan,
    data: Option<&TableData>,
    page: Page<'_>,
    now_s: i64,
    scope: &mut Scope<'_>,
) -> CqlResult<Rows> {
    let whole = plan.aggregate || plan.group_by > 0 || plan.sorted;
    if plan.sorted && page.size.is_some() && !plan.aggregate {
        return Err(CqlError::invalid(
            "Cannot page queries with both ORDER BY and a IN restriction on the partition key; \
             you must either remove the ORDER BY or the IN and sort client side, or disable \
             paging for this query",
        ));
    }
    let limit = limit_of(plan.limit.as_ref(), "LIMIT", scope)?;
    let from = page.state.map(PagePosition::decode).transpose()?;
    let left = from.as_ref().map_or(limit, |from| from.left.min(limit));
    let mut walk = Walk {
        plan,
        now_s,
        slices: plan.restrictions.slices(&plan.table, scope)?,
        filters: ready_filters(plan, scope)?,
        per_partition: limit_of(
            plan.per_partition_limit.as_ref(),
            "PER PARTITION LIMIT",
            scope,
        )?,
        left: if whole { u64::MAX } else { left },
        page_left: if whole {
            usize::MAX
        } else {
            page.size.unwrap_or(usize::MAX)
        },
        from,
        found: Vec::new(),
        last: None,
        more: false,
    };
    let keys = plan.restrictions.partitions(&plan.table, scope)?;
    let tokens = token_range(plan, scope)?;
    if let Some(data) = data {
        match keys {
            Some(keys) => walk.named_partitions(data, &keys, &tokens),
            None => walk.all_partitions(data, tokens),
        }
    }
    let state = walk.last.take().filter(|_| walk.more);
    let found = sorted(plan, std::mem::take(&mut walk.found));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let rows = project(plan, &found, limit, scope)?;
    Ok(Rows {
        columns: Rc::clone(&plan.columns),
        rows,
        paging_state: state.map(|position| position.encode()),
        skippable: true,
    })
}

fn limit_of(expr: Option<&Expr>, name: &str, scope: &mut Scope<'_>) -> CqlResult<u64> {
    let Some(expr) = expr else {
        return Ok(u64::MAX);
    };
    match expr.eval(scope)? {
        Value::Unset => Ok(u64::MAX),
        Value::Null => Err(CqlError::invalid(format!(
            "Invalid null value of {}",
            name.to_lowercase()
        ))),
        Value::Bytes(bytes) => {
            let value = bytes.as_slice().try_into().map_or(0, i32::from_be_bytes);
            match u64::try_from(value) {
                Ok(value) if value > 0 => Ok(value),
                _ => Err(CqlError::invalid(format!(
                    "{name} must be strictly positive"
                ))),
            }
        }
    }
}

fn ready_filters(plan: &SelectPlan, scope: &mut Scope<'_>) -> CqlResult<Vec<ReadyFilter>> {
    let mut all = Vec::with_capacity(plan.restrictions.filters.len());
    for filter in &plan.restrictions.filters {
        let name = &plan.table.columns[filter.column].name;
        let element = match &filter.element {
            None => None,
            Some(expr) => match expr.eval(scope)? {
                Value::Bytes(bytes) => Some(bytes),
                _ => {
                    return Err(CqlError::invalid(format!(
                        "Invalid null map key for {name}"
                    )));
                }
            },
        };
        let values = filter.part.values(name, scope)?;
        all.push(ReadyFilter {
            column: filter.column,
            element,
            op: filter.op,
            values,
        });
    }
    Ok(all)
}

impl<'d> Walk<'d> {
    fn named_partitions(
        &mut self,
        data: &'d TableData,
        keys: &[Vec<Vec<u8>>],
        tokens: &RangeInclusive<i64>,
    ) {
        let keys: Vec<PartitionKey> = keys
            .iter()
            .map(|components| PartitionKey::new(components))
            .collect();
        let resumed = self
            .from
            .as_ref()
            .and_then(|from| keys.iter().position(|k| *k == from.key));
        for key in keys.into_iter().skip(resumed.unwrap_or(0)) {
            if tokens.contains(&key.token)
                && let Some(partition) = data.get(&key)
                && !self.partition(&key, partition)
            {
                return;
            }
        }
    }

    fn all_partitions(&mut self, data: &'d TableData, tokens: RangeInclusive<i64>) {
        let mut start = PartitionKey {
            token: *tokens.start(),
            bytes: Box::default(),
        };
        if let Some(from) = &self.from {
            start = start.max(from.key.clone());
        }
        for (key, partition) in data.from(&start) {
            if key.token > *tokens.end() || !self.partition(key, partition) {
                break;
            }
        }
    }

    /// Walks one partition; false when no more rows are wanted.
    fn partition(&mut self, key: &PartitionKey, partition: &'d Partition) -> bool {
        let resumed = self.from.take_if(|from| from.key == *key);
        let mut in_partition = resumed.as_ref().map_or(0, |from| from.in_partition);
        let seen = resumed.is_some();
        let past = resumed.and_then(|from| from.row);
        if seen && past.is_none() {
            return true;
        }
        let mut any = seen;
        let slices = std::mem::take(&mut self.slices);
        let plan = self.plan;
        let mut on = true;
        let order: Vec<&Slice> = if plan.reversed {
            slices.iter().rev().collect()
        } else {
            slices.iter().collect()
        };
        'slices: for slice in order {
            let slice = after(slice, past.as_deref(), plan.reversed);
            let mut rows = partition.rows_in(&slice);
            while let Some((row_key, row)) = if plan.reversed {
                rows.next_back()
            } else {
                rows.next()
            } {
                if !row.is_live(self.now_s) {
                    continue;
                }
                let view = RowView::new(&plan.table, partition, Some(row), self.now_s);
                if !self.wanted(&view) {
                    continue;
                }
                any = true;
                if in_partition >= self.per_partition || (plan.distinct && in_partition > 0) {
                    break 'slices;
                }
                if !self.take(view, key, Some(row_key), in_partition + 1) {
                    on = false;
                    break 'slices;
                }
                in_partition += 1;
            }
        }
        self.slices = slices;
        let full = !plan.restrictions.has_clustering();
        if on && !any && full && partition.statics.is_live(self.now_s) {
            let view = RowView::new(&plan.table, partition, None, self.now_s);
            let only_statics = self.filters.iter().all(|filter| {
                plan.table.columns[filter.column].kind != crate::node::schema::ColumnKind::Regular
            });
            if only_statics && self.wanted(&view) {
                on = self.take(view, key, None, 1);
            }
        }
        on
    }

    /// Puts a row on the page; false when it is full or LIMIT is reached.
    fn take(
        &mut self,
        view: RowView<'d>,
        key: &PartitionKey,
        row: Option<&Vec<u8>>,
        in_partition: u64,
    ) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.page_left == 0 {
            self.more = true;
            return false;
        }
        self.left -= 1;
        self.page_left -= 1;
        self.found.push(view);
        if self.page_left == 0 {
            self.last = Some(PagePosition {
                key: key.clone(),
                row: row.cloned(),
                left: self.left,
                in_partition,
            });
        }
        self.left > 0
    }

    fn wanted(&self, view: &RowView<'_>) -> bool {
        self.filters.iter().all(|filter| {
            let column = &self.plan.table.columns[filter.column];
            let Some(value) = view.value(filter.column) else {
                return false;
            };
            matches_filter(filter, &column.ty, &value)
        })
    }
}

/// The tokens that the bounds on `token(…)` allow.
fn token_range(plan: &SelectPlan, scope: &mut Scope<'_>) -> CqlResult<RangeInclusive<i64>> {
    let none = RangeInclusive::new(1, 0);
    let (mut start, mut end) = (i64::MIN, i64::MAX);
    if let Some((expr, inclusive)) = &plan.restrictions.token_from {
        start = token_value(expr, scope)?;
        if !inclusive {
            match start.checked_add(1) {
                Some(next) => start = next,
                None => return Ok(none),
            }
        }
    }
    if let Some((expr, inclusive)) = &plan.restrictions.token_to {
        match token_value(expr, scope)? {
            i64::MIN => {} // the least token ends the ring
            token if *inclusive => end = token,
            token => end = token - 1,
        }
    }
    Ok(start..=end)
}

fn token_value(expr: &Expr, scope: &mut Scope<'_>) -> CqlResult<i64> {
    let value = expr.eval(scope)?;
    let bytes = value.bytes().and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(i64::from_be_bytes)
        .ok_or_else(|| CqlError::invalid("Invalid null value for the partition key token"))
}

/// The part of a slice that comes behind the row `past`.
fn after(slice: &Slice, past: Option<&[u8]>, reversed: bool) -> Slice {
    let mut rest = slice.clone();
    match past {
        None => {}
        Some(past) if reversed => {
            let end = rest.end.take().filter(|end| end.as_slice() <= past);
            rest.end = Some(end.unwrap_or_else(|| past.to_vec()));
        }
        Some(past) => {
            let behind = [past, &[0]].concat();
            rest.start = rest.start.max(behind);
        }
    }
    rest
}

fn matches_filter(filter: &ReadyFilter, ty: &CqlType, value: &[u8]) -> bool {
    let first = filter.values.first().map_or(&[][..], Vec::as_slice);
    if let (Some(key), CqlType::Map(key_ty, value_ty, _)) = (&filter.element, ty) {
        let found = find_element(value, key_ty, key, true).ok().flatten();
        return found.is_some_and(|found| test(filter, value_ty, &found));
    }
    let contains = |pairs: bool, skip: usize, ty: &CqlType| {
        let items = split_collection(value, pairs).unwrap_or_default();
        let step = if pairs { 2 } else { 1 };
        items
            .iter()
            .skip(skip)
            .step_by(step)
            .any(|item| compare(ty, item, first).is_eq())
    };
    match (filter.op, ty) {
        (Op::Contains, CqlType::List(item, _) | CqlType::Set(item, _)) => contains(false, 0, item),
        (Op::Contains, CqlType::Map(_, item, _)) => contains(true, 1, item),
        (Op::ContainsKey, CqlType::Map(item, _, _)) => contains(true, 0, item),
        _ => test(filter, ty, value),
    }
}

fn test(filter: &ReadyFilter, ty: &CqlType, value: &[u8]) -> bool {
    filter
        .values
        .iter()
        .any(|other| op_holds(filter.op, compare(ty, value, other)))
}

/// What an operator says of an order.
pub(crate) fn op_holds(op: Op, order: std::cmp::Ordering) -> bool {
    match op {
        Op::Eq | Op::In => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
        Op::Contains | Op::ContainsKey | Op::IsNotNull | Op::Like => false,
    }
}

/// ORDER BY over several partitions: by clustering key alone.
fn sorted<'d>(plan: &SelectPlan, mut found: Vec<RowView<'d>>) -> Vec<RowView<'d>> {
    if plan.sorted {
        found.sort_by_cached_key(|view| {
            let mut key = Vec::new();
            if view.row.is_none() {
                // The row of a partition with statics only: first, or last when turned.
                return if plan.reversed { vec![0xFF] } else { key };
            }
            let values = view
                .row
                .map(|row| row.clustering.as_slice())
                .unwrap_or_default();
            for (column, value) in plan.table.clustering().iter().zip(values) {
                let descending = column.descending != plan.reversed;
                crate::node::order::push_clustering_key(&column.ty, descending, value, &mut key);
            }
            key
        });
    }
    found
}

type Row = Vec<Option<Vec<u8>>>;

fn project(
    plan: &SelectPlan,
    found: &[RowView<'_>],
    limit: usize,
    scope: &mut Scope<'_>,
) -> CqlResult<Vec<Row>> {
    let mut groups: Vec<&[RowView<'_>]> = Vec::new();
    if plan.group_by > 0 {
        let key = |view: &RowView<'_>| -> Vec<Option<Vec<u8>>> {
            (0..plan.group_by).map(|at| view.value(at)).collect()
        };
        groups.extend(found.chunk_by(|a, b| key(a) == key(b)));
    } else if plan.aggregate {
        groups.push(found);
    } else {
        groups.extend(found.chunks(1));
    }
    groups
        .into_iter()
        .take(limit)
        .map(|group| project_one(plan, group, scope))
        .collect()
}

fn project_one(plan: &SelectPlan, group: &[RowView<'_>], scope: &mut Scope<'_>) -> CqlResult<Row> {
    let mut row = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        row.push(item.eval(group, scope)?);
    }
    let Some(names) = &plan.json else {
        return Ok(row);
    };
    let fields: Vec<String> = names
        .iter()
        .zip(&row)
        .map(|((name, ty), value)| {
            let name = serde_json::Value::String(name.clone());
            format!("{name}: {}", to_json(ty, value.as_deref()))
        })
        .collect();
    Ok(vec![Some(
        format!("{{{}}}", fields.join(", ")).into_bytes(),
    )])
}
