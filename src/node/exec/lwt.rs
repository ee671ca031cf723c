//! Conditions of lightweight transactions: checked against the data, answered with `[applied]`.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::Op;
use crate::node::schema::{ColumnDef, ColumnKind, Table};
use crate::node::store::{PartitionKey, TableData};
use crate::node::types::CqlType;
use crate::node::value::{Value, split_collection, split_parts};

use super::expr::Scope;
use super::modify::{ColumnCondition, ConditionPlan, ModifyPlan};
use super::read::{Rows, op_holds};
use super::restrict::Part;
use super::select::ColumnSpec;
use super::selector::{compare, find_element};
use super::slices::Place;
use super::view::RowView;

/// What the conditions of a statement or batch came to.
pub(crate) enum Verdict {
    Applied,
    /// The answer that says why not.
    Refused(Rows),
}

/// The row that a conditional statement is about.
struct Subject<'d> {
    view: Option<RowView<'d>>,
    /// A live row, or live statics when the statement is about them.
    exists: bool,
}

/// One conditional or plain statement of the group, with its values.
pub(crate) struct Guarded<'p> {
    pub(crate) plan: &'p ModifyPlan,
    pub(crate) binds: &'p [Value],
}

/// Checks the conditions of all statements; none may fail.
pub(crate) fn judge(
    group: &[Guarded<'_>],
    data: Option<&TableData>,
    now_s: i64,
    in_batch: bool,
    clock: &mut crate::node::clock::Clock,
) -> CqlResult<Verdict> {
    let mut all_hold = true;
    let mut rows: Vec<(Vec<u8>, Option<RowView<'_>>)> = Vec::new();
    let mut keys = BTreeSet::new();
    for guarded in group {
        let plan = guarded.plan;
        let mut scope = Scope {
            binds: guarded.binds,
            clock: &mut *clock,
        };
        let Some(mut components) = plan.restrictions.partitions(&plan.table, &mut scope)? else {
            continue;
        };
        let several = components.len() > 1;
        let components = components.pop().unwrap_or_default();
        let key = PartitionKey::new(&components);
        keys.insert(key.clone());
        if several || keys.len() > 1 {
            return Err(CqlError::invalid(if in_batch {
                "Batch with conditions cannot span multiple partitions"
            } else {
                "IN on the partition key is not supported with conditional updates"
            }));
        }
        if !plan.is_conditional() {
            continue;
        }
        let place = place_of(plan, &mut scope)?;
        let subject = subject(plan, data, &key, place.as_ref(), now_s);
        all_hold &= match &plan.condition {
            ConditionPlan::None => true,
            ConditionPlan::NotExists => !subject.exists,
            ConditionPlan::Exists => subject.exists,
            ConditionPlan::Columns(conditions) => hold_all(plan, conditions, &subject, &mut scope)?,
        };
        let place_key = place.map(|(key, _)| key).unwrap_or_default();
        if !rows.iter().any(|(known, _)| *known == place_key) {
            rows.push((place_key, subject.view.filter(|_| subject.exists)));
        }
    }
    let first = group.first().filter(|_| !all_hold);
    let Some(first) = first else {
        return Ok(Verdict::Applied);
    };
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let views: Vec<RowView<'_>> = rows.into_iter().filter_map(|(_, view)| view).collect();
    Ok(Verdict::Refused(refuse(
        group,
        &first.plan.table,
        &views,
        in_batch,
    )))
}

/// The answer when a condition did not hold: what the rows have instead.
fn refuse(group: &[Guarded<'_>], table: &Table, views: &[RowView<'_>], in_batch: bool) -> Rows {
    let (mut columns, mut whole_row) = (Vec::new(), false);
    for guarded in group {
        match &guarded.plan.condition {
            ConditionPlan::None => {}
            ConditionPlan::NotExists | ConditionPlan::Exists => whole_row = true,
            ConditionPlan::Columns(conditions) => {
                for condition in conditions {
                    if !columns.contains(&condition.column) {
                        columns.push(condition.column);
                    }
                }
            }
        }
    }
    let shown = shown_columns(table, &columns, whole_row, in_batch);
    // Statics are read only when the request writes one or a condition names it.
    let writes_static = group.iter().any(|guarded| {
        guarded
            .plan
            .edits
            .iter()
            .any(|edit| guarded.plan.is_static(edit.column))
    });
    let hidden = |at: usize| {
        let is_static = table.columns[at].kind == ColumnKind::Static;
        is_static && !writes_static && !columns.contains(&at)
    };
    refusal(table, &shown, views, hidden)
}

/// The clustering place of a conditional statement; `None` when it is about the statics.
fn place_of(plan: &ModifyPlan, scope: &mut Scope<'_>) -> CqlResult<Option<Place>> {
    let table = &plan.table;
    if plan.restrictions.given_clustering() < table.clustering_len {
        return Ok(None);
    }
    let mut places = plan.restrictions.places(table, scope)?;
    if places.len() > 1 {
        return Err(CqlError::invalid(
            "IN on the clustering key columns is not supported with conditional updates",
        ));
    }
    Ok(places.pop())
}

fn subject<'d>(
    plan: &'d ModifyPlan,
    data: Option<&'d TableData>,
    key: &PartitionKey,
    place: Option<&Place>,
    now_s: i64,
) -> Subject<'d> {
    let Some(partition) = data.and_then(|data| data.get(key)) else {
        return Subject {
            view: None,
            exists: false,
        };
    };
    let row = place
        .and_then(|(key, _)| partition.row(key))
        .filter(|row| row.is_live(now_s));
    let statics = partition.statics.is_live(now_s);
    let about_statics = place.is_none() || conditions_on_statics(plan);
    let exists = row.is_some() || (about_statics && statics);
    let view = RowView::new(&plan.table, partition, row, now_s);
    Subject {
        view: Some(view),
        exists,
    }
}

fn conditions_on_statics(plan: &ModifyPlan) -> bool {
    match &plan.condition {
        ConditionPlan::Columns(conditions) => conditions
            .iter()
            .any(|condition| plan.is_static(condition.column)),
        _ => false,
    }
}

fn hold_all(
    plan: &ModifyPlan,
    conditions: &[ColumnCondition],
    subject: &Subject<'_>,
    scope: &mut Scope<'_>,
) -> CqlResult<bool> {
    for condition in conditions {
        let column = &plan.table.columns[condition.column];
        let value = subject
            .view
            .as_ref()
            .and_then(|view| view.value(condition.column));
        if !holds(column, condition, value, scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(
    column: &ColumnDef,
    condition: &ColumnCondition,
    value: Option<Vec<u8>>,
    scope: &mut Scope<'_>,
) -> CqlResult<bool> {
    let (mut value, mut ty) = (value, &column.ty);
    if let Some(key) = &condition.element {
        let Value::Bytes(key) = key.eval(scope)? else {
            return Err(CqlError::invalid("Invalid null value for map access"));
        };
        (value, ty) = element(ty, value.as_deref(), &key)?;
    }
    if let (Some(field), CqlType::Udt(udt, _)) = (condition.field, ty) {
        value = match value {
            None => None,
            Some(bytes) => split_parts(&bytes)?
                .get(field)
                .copied()
                .flatten()
                .map(<[u8]>::to_vec),
        };
        ty = udt.fields.get(field).map_or(ty, |(_, ty)| ty);
    }
    for other in operands(&condition.part, scope)? {
        let other = match other {
            Value::Unset => return Err(CqlError::invalid("Invalid 'unset' value in condition")),
            Value::Null => None,
            Value::Bytes(bytes) => Some(bytes),
        };
        if compare_nullable(condition.op, ty, value.as_deref(), other.as_deref())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn operands(part: &Part, scope: &mut Scope<'_>) -> CqlResult<Vec<Value>> {
    match part {
        Part::One(expr) => Ok(vec![expr.eval(scope)?]),
        Part::Many(all) => all.iter().map(|expr| expr.eval(scope)).collect(),
        Part::ListMarker(expr) => match expr.eval(scope)? {
            Value::Bytes(bytes) => Ok(split_collection(&bytes, false)?
                .into_iter()
                .map(|item| Value::Bytes(item.to_vec()))
                .collect()),
            other => Ok(vec![other]),
        },
    }
}

fn compare_nullable(
    op: Op,
    ty: &CqlType,
    value: Option<&[u8]>,
    other: Option<&[u8]>,
) -> CqlResult<bool> {
    match (value, other) {
        (Some(value), Some(other)) => Ok(op_holds(op, compare(ty, value, other))),
        (value, other) => match op {
            Op::Eq | Op::In => Ok(value.is_none() && other.is_none()),
            Op::Ne => Ok(value.is_some() != other.is_some()),
            _ if other.is_none() => Err(CqlError::invalid(format!(
                "Invalid comparison with null for operator \"{}\"",
                op.symbol()
            ))),
            _ => Ok(false),
        },
    }
}

/// What `c[key]` holds, with its type.
fn element<'t>(
    ty: &'t CqlType,
    value: Option<&[u8]>,
    key: &[u8],
) -> CqlResult<(Option<Vec<u8>>, &'t CqlType)> {
    match ty {
        CqlType::Map(key_ty, value_ty, _) => {
            let found = match value {
                Some(bytes) => find_element(bytes, key_ty, key, true)?,
                None => None,
            };
            Ok((found, value_ty))
        }
        CqlType::List(item, _) => {
            let index = key.try_into().map_or(-1, i32::from_be_bytes);
            let at = usize::try_from(index)
                .map_err(|_| CqlError::invalid(format!("Invalid negative list index {index}")))?;
            let items = value
                .map(|bytes| split_collection(bytes, false))
                .transpose()?;
            let found = items.and_then(|items| items.get(at).map(|item| item.to_vec()));
            Ok((found, item))
        }
        other => Ok((None, other)),
    }
}

/// The columns of a refusal: all of the row, or the key (in a batch) and those of the conditions.
fn shown_columns(table: &Table, columns: &[usize], whole_row: bool, in_batch: bool) -> Vec<usize> {
    if whole_row {
        return (0..table.columns.len()).collect();
    }
    let keys = if in_batch {
        table.partition_len + table.clustering_len
    } else {
        0
    };
    (0..keys).chain(columns.iter().copied()).collect()
}

fn spec(table: &Table, name: &str, ty: CqlType) -> ColumnSpec {
    ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: name.to_owned(),
        ty,
    }
}

/// `[applied]` = true.
pub(crate) fn applied(table: &Table) -> Rows {
    Rows {
        columns: Rc::new(vec![spec(table, "[applied]", CqlType::Boolean)]),
        rows: vec![vec![Some(vec![1])]],
        paging_state: None,
        skippable: false,
    }
}

fn refusal(
    table: &Table,
    shown: &[usize],
    views: &[RowView<'_>],
    hidden: impl Fn(usize) -> bool,
) -> Rows {
    let mut columns = vec![spec(table, "[applied]", CqlType::Boolean)];
    let mut rows = Vec::new();
    if views.is_empty() || shown.is_empty() {
        rows.push(vec![Some(vec![0])]);
    } else {
        for at in shown {
            let column = &table.columns[*at];
            columns.push(spec(table, &column.name, column.ty.clone()));
        }
        for view in views {
            let mut row = vec![Some(vec![0])];
            row.extend(
                shown
                    .iter()
                    .map(|at| view.value(*at).filter(|_| !hidden(*at))),
            );
            rows.push(row);
        }
    }
    Rows {
        columns: Rc::new(columns),
        rows,
        paging_state: None,
        skippable: false,
    }
}
