//! Executing writes: a compiled statement and its values to changes of partitions.

use crate::node::error::{CqlError, CqlResult};
use crate::node::json;
use crate::node::literal::from_text;
use crate::node::order::push_clustering_key;
use crate::node::schema::{ColumnDef, ColumnKind};
use crate::node::store::cell::{Cell, Marker};
use crate::node::store::row::{ColumnId, Row, RowChange};
use crate::node::store::{Change, Partition, PartitionKey, TableData};
use crate::node::types::CqlType;
use crate::node::value::{Value, split_collection, split_parts};

use super::expr::{Expr, Scope, order_key};
use super::modify::{Action, Edit, ModifyPlan};
use super::slices::Place;

/// Twenty years, Cassandra's greatest TTL.
const TTL_MAX_S: i32 = 630_720_000;

/// Changes of one partition of one table.
#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) table: u32,
    pub(crate) key: PartitionKey,
    pub(crate) components: Vec<Vec<u8>>,
    pub(crate) changes: Vec<Change>,
}

/// Stamp and life of the cells of one statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Microseconds.
    pub(crate) stamp: i64,
    /// 0 for ever.
    pub(crate) ttl_s: i32,
    pub(crate) now_s: i64,
}

impl Life {
    fn cell(&self, value: Option<&[u8]>) -> Cell {
        let ttl_s = if value.is_some() { self.ttl_s } else { 0 };
        Cell {
            stamp: self.stamp,
            ttl_s,
            ends_s: self.now_s + i64::from(ttl_s),
            value: value.map(Into::into),
        }
    }
}

/// The stamp of a statement: its own, the request's, the server's.
pub(crate) fn stamp_of(
    own: Option<&Expr>,
    request: Option<i64>,
    scope: &mut Scope<'_>,
) -> CqlResult<i64> {
    if let Some(expr) = own {
        match expr.eval(scope)? {
            Value::Bytes(bytes) => {
                let bytes = bytes.as_slice().try_into();
                let stamp = bytes.map(i64::from_be_bytes);
                let stamp = stamp.map_err(|_| CqlError::invalid("Invalid timestamp value"))?;
                return if stamp == i64::MIN {
                    Err(CqlError::invalid("Out of bound timestamp"))
                } else {
                    Ok(stamp)
                };
            }
            Value::Null => return Err(CqlError::invalid("Invalid null value of timestamp")),
            Value::Unset => {}
        }
    }
    Ok(request.unwrap_or_else(|| scope.clock.stamp()))
}

fn ttl_of(plan: &ModifyPlan, scope: &mut Scope<'_>) -> CqlResult<i32> {
    let default = if plan.delete_rows {
        0
    } else {
        plan.table.default_ttl_s
    };
    let Some(expr) = &plan.ttl else {
        return Ok(default);
    };
    let ttl_s = match expr.eval(scope)? {
        Value::Unset => return Ok(default),
        Value::Null => return Ok(0),
        Value::Bytes(bytes) if bytes.is_empty() => return Ok(0),
        Value::Bytes(bytes) => bytes
            .as_slice()
            .try_into()
            .map(i32::from_be_bytes)
            .map_err(|_| CqlError::invalid("Invalid ttl value"))?,
    };
    if ttl_s < 0 {
        return Err(CqlError::invalid(format!(
            "A TTL must be greater or equal to 0, but was {ttl_s}"
        )));
    }
    if ttl_s > TTL_MAX_S {
        return Err(CqlError::invalid(format!(
            "ttl is too large. requested ({ttl_s}) maximum ({TTL_MAX_S})"
        )));
    }
    Ok(ttl_s)
}

/// The changes that one execution of `plan` makes.
pub(crate) fn mutations(
    plan: &ModifyPlan,
    data: Option<&TableData>,
    stamp: i64,
    now_s: i64,
    scope: &mut Scope<'_>,
) -> CqlResult<Vec<Mutation>> {
    let life = Life {
        stamp,
        ttl_s: ttl_of(plan, scope)?,
        now_s,
    };
    if let Some((document, default_unset)) = &plan.json {
        return json_mutation(plan, document, *default_unset, life, scope);
    }
    let Some(keys) = plan.restrictions.partitions(&plan.table, scope)? else {
        return Err(CqlError::invalid("Some partition key parts are missing"));
    };
    let mut all = Vec::with_capacity(keys.len());
    for components in keys {
        let key = PartitionKey::new(&components);
        let partition = data.and_then(|data| data.get(&key));
        let changes = partition_changes(plan, partition, life, scope)?;
        all.push(Mutation {
            table: plan.table.id,
            key,
            components,
            changes,
        });
    }
    Ok(all)
}

fn partition_changes(
    plan: &ModifyPlan,
    partition: Option<&Partition>,
    life: Life,
    scope: &mut Scope<'_>,
) -> CqlResult<Vec<Change>> {
    let table = &plan.table;
    if plan.delete_rows {
        if !plan.restrictions.has_clustering() {
            return Ok(vec![Change::DeletePartition(life.stamp)]);
        }
        if plan.restrictions.given_clustering() == table.clustering_len {
            let places = plan.restrictions.places(table, scope)?;
            let delete =
                |(key, values)| Change::Row(key, values, vec![RowChange::DeleteRow(life.stamp)]);
            return Ok(places.into_iter().map(delete).collect());
        }
        let slices = plan.restrictions.slices(table, scope)?;
        return Ok(slices
            .into_iter()
            .map(|s| Change::DeleteRange(s, life.stamp))
            .collect());
    }
    let mut changes = Vec::new();
    for edit in plan.edits.iter().filter(|edit| plan.is_static(edit.column)) {
        let mut made = Vec::new();
        let row = partition.map(|partition| &partition.statics);
        edit_column(plan, edit, row, life, scope, &mut made)?;
        changes.extend(made.into_iter().map(Change::Static));
    }
    if plan.only_statics() {
        return Ok(changes);
    }
    for (key, values) in plan.restrictions.places(table, scope)? {
        check_clustering(&values)?;
        let mut made = Vec::with_capacity(plan.edits.len() + 1);
        if plan.marker {
            made.push(marker(life));
        }
        let row = partition.and_then(|partition| partition.row(&key));
        for edit in plan
            .edits
            .iter()
            .filter(|edit| !plan.is_static(edit.column))
        {
            edit_column(plan, edit, row, life, scope, &mut made)?;
        }
        if !made.is_empty() {
            changes.push(Change::Row(key, values, made));
        }
    }
    Ok(changes)
}

fn check_clustering(values: &[Box<[u8]>]) -> CqlResult<()> {
    match values
        .iter()
        .find(|value| value.len() > usize::from(u16::MAX))
    {
        None => Ok(()),
        Some(long) => Err(CqlError::invalid(format!(
            "Key length of {} is longer than maximum of 65535",
            long.len()
        ))),
    }
}

fn marker(life: Life) -> RowChange {
    RowChange::Marker(Marker {
        stamp: life.stamp,
        ttl_s: life.ttl_s,
        ends_s: life.now_s + i64::from(life.ttl_s),
    })
}

/// The changes of one column of one row.
fn edit_column(
    plan: &ModifyPlan,
    edit: &Edit,
    row: Option<&Row>,
    life: Life,
    scope: &mut Scope<'_>,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    let column = &plan.table.columns[edit.column];
    let id = column.id;
    match &edit.action {
        Action::Set(expr) => set_column(column, &expr.eval(scope)?, life, scope, out),
        Action::Delete if column.ty == CqlType::Counter => {
            out.push(RowChange::DeleteCounter(id));
            Ok(())
        }
        Action::Delete if column.ty.is_multi_cell() => {
            out.push(RowChange::DeleteElements(id, life.stamp));
            Ok(())
        }
        Action::Delete => {
            out.push(RowChange::Cell(id, life.cell(None)));
            Ok(())
        }
        Action::Add(expr) => {
            let value = expr.eval(scope)?;
            if column.ty == CqlType::Counter {
                return add_counter(id, &value, false, life, out);
            }
            add_elements(column, &value, life, scope, out)
        }
        Action::Prepend(expr) => {
            if let Value::Bytes(bytes) = expr.eval(scope)? {
                for item in split_collection(&bytes, false)?.into_iter().rev() {
                    let step = scope.clock.next_step().wrapping_neg();
                    out.push(list_item(id, step, life.cell(Some(item))));
                }
            }
            Ok(())
        }
        Action::Subtract(expr) => {
            let value = expr.eval(scope)?;
            if column.ty == CqlType::Counter {
                return add_counter(id, &value, true, life, out);
            }
            remove_elements(column, &value, row, life, out)
        }
        Action::Element(key, value) => {
            let key = key.eval(scope)?;
            let value = match value {
                Some(value) => value.eval(scope)?,
                None => Value::Null,
            };
            set_element(column, &key, &value, row, life, out)
        }
        Action::Field(number, value) => {
            let value = match value {
                Some(value) => value.eval(scope)?,
                None => Value::Null,
            };
            if value != Value::Unset {
                out.push(field_change(id, *number, life.cell(value.bytes())));
            }
            Ok(())
        }
    }
}

fn set_column(
    column: &ColumnDef,
    value: &Value,
    life: Life,
    scope: &mut Scope<'_>,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    if *value == Value::Unset {
        return Ok(());
    }
    if !column.ty.is_multi_cell() {
        out.push(RowChange::Cell(column.id, life.cell(value.bytes())));
        return Ok(());
    }
    // What was there before goes, with the stamp just below, so that the new elements stay.
    out.push(RowChange::DeleteElements(
        column.id,
        life.stamp.saturating_sub(1),
    ));
    if let (CqlType::Udt(..), Value::Bytes(bytes)) = (&column.ty, value) {
        for (number, part) in split_parts(bytes)?.into_iter().enumerate() {
            if let Some(part) = part {
                out.push(field_change(column.id, number, life.cell(Some(part))));
            }
        }
        return Ok(());
    }
    add_elements(column, value, life, scope, out)
}

fn add_elements(
    column: &ColumnDef,
    value: &Value,
    life: Life,
    scope: &mut Scope<'_>,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    let Value::Bytes(bytes) = value else {
        return Ok(());
    };
    let id = column.id;
    match &column.ty {
        CqlType::List(..) => {
            for item in split_collection(bytes, false)? {
                let step = scope.clock.next_step();
                out.push(list_item(id, step, life.cell(Some(item))));
            }
        }
        CqlType::Set(ty, _) => {
            for item in split_collection(bytes, false)? {
                let key = order_key(ty, item);
                out.push(RowChange::Element(
                    id,
                    key,
                    item.into(),
                    life.cell(Some(&[])),
                ));
            }
        }
        CqlType::Map(ty, _, _) => {
            for pair in split_collection(bytes, true)?.chunks_exact(2) {
                let key = order_key(ty, pair[0]);
                out.push(RowChange::Element(
                    id,
                    key,
                    pair[0].into(),
                    life.cell(Some(pair[1])),
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

fn remove_elements(
    column: &ColumnDef,
    value: &Value,
    row: Option<&Row>,
    life: Life,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    let Value::Bytes(bytes) = value else {
        return Ok(());
    };
    let items = split_collection(bytes, false)?;
    match &column.ty {
        CqlType::Set(ty, _) | CqlType::Map(ty, _, _) => {
            for item in items {
                let key = order_key(ty, item);
                out.push(RowChange::Element(
                    column.id,
                    key,
                    item.into(),
                    life.cell(None),
                ));
            }
        }
        CqlType::List(..) => {
            let elements = row.map(|row| row.elements(column.id, life.now_s));
            for element in elements.into_iter().flatten() {
                if items
                    .iter()
                    .any(|item| Some(*item) == element.cell.value.as_deref())
                {
                    let (key, path) = (element.path.to_vec(), element.path.clone());
                    out.push(RowChange::Element(column.id, key, path, life.cell(None)));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn set_element(
    column: &ColumnDef,
    key: &Value,
    value: &Value,
    row: Option<&Row>,
    life: Life,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    let is_list = matches!(column.ty, CqlType::List(..));
    let kind = if is_list { "list index" } else { "map key" };
    let key = match key {
        Value::Bytes(key) => key,
        Value::Null => return Err(CqlError::invalid(format!("Invalid null {kind}"))),
        Value::Unset => {
            return Err(CqlError::invalid(format!("Invalid unset {kind}")));
        }
    };
    if *value == Value::Unset {
        return Ok(());
    }
    let cell = life.cell(value.bytes());
    match &column.ty {
        CqlType::Map(ty, _, _) | CqlType::Set(ty, _) => {
            let path = key.as_slice().into();
            out.push(RowChange::Element(
                column.id,
                order_key(ty, key),
                path,
                cell,
            ));
            Ok(())
        }
        _ => {
            let index = key.as_slice().try_into().map_or(-1, i32::from_be_bytes);
            let path = list_path(column, index, row, life)?;
            out.push(RowChange::Element(column.id, path.to_vec(), path, cell));
            Ok(())
        }
    }
}

/// The path of a list's element at an index.
fn list_path(
    column: &ColumnDef,
    index: i32,
    row: Option<&Row>,
    life: Life,
) -> CqlResult<Box<[u8]>> {
    let elements = row
        .into_iter()
        .flat_map(|row| row.elements(column.id, life.now_s));
    let paths: Vec<&Box<[u8]>> = elements.map(|element| &element.path).collect();
    if paths.is_empty() {
        return Err(CqlError::invalid(
            "Attempted to set an element on a list which is null",
        ));
    }
    let found = usize::try_from(index).ok().and_then(|at| paths.get(at));
    found.map(|path| (*path).clone()).ok_or_else(|| {
        CqlError::invalid(format!(
            "List index {index} out of bound, list has size {}",
            paths.len()
        ))
    })
}

fn list_item(id: ColumnId, step: i64, cell: Cell) -> RowChange {
    let path = (step.cast_unsigned() ^ (1 << 63)).to_be_bytes();
    RowChange::Element(id, path.to_vec(), path.into(), cell)
}

fn field_change(id: ColumnId, number: usize, cell: Cell) -> RowChange {
    let path = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    RowChange::Element(id, path.to_vec(), path.into(), cell)
}

fn add_counter(
    id: ColumnId,
    value: &Value,
    negative: bool,
    life: Life,
    out: &mut Vec<RowChange>,
) -> CqlResult<()> {
    let bytes = match value {
        Value::Bytes(bytes) => bytes,
        Value::Unset => return Ok(()),
        Value::Null => {
            return Err(CqlError::invalid(
                "Invalid null value for counter increment",
            ));
        }
    };
    let amount = bytes
        .as_slice()
        .try_into()
        .map(i64::from_be_bytes)
        .map_err(|_| CqlError::invalid("Expected 8 or 0 byte long"))?;
    let amount = if negative {
        amount.wrapping_neg()
    } else {
        amount
    };
    out.push(RowChange::Add(id, amount, life.stamp));
    Ok(())
}

/// INSERT JSON: what the document names is set, the rest is nulled unless DEFAULT UNSET.
fn json_mutation(
    plan: &ModifyPlan,
    document: &Expr,
    default_unset: bool,
    life: Life,
    scope: &mut Scope<'_>,
) -> CqlResult<Vec<Mutation>> {
    let Value::Bytes(text) = document.eval(scope)? else {
        return Err(CqlError::invalid("Got null for INSERT JSON values"));
    };
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
        CqlError::invalid(format!("Could not decode JSON string as a map: {error}"))
    })?;
    let serde_json::Value::Object(mut fields) = json else {
        return Err(CqlError::invalid("Could not decode JSON string as a map"));
    };
    let table = &plan.table;
    let mut components = Vec::new();
    let mut place: Place = (Vec::new(), Vec::new());
    let (mut row, mut changes) = (vec![marker(life)], Vec::new());
    for column in &table.columns {
        let given = json_field(&mut fields, &column.name);
        let missing = given.is_none();
        let value = match given {
            None => None,
            Some(serde_json::Value::String(text)) if plain_string(&column.ty) => {
                Some(from_text(&text, &column.ty)?)
            }
            Some(json) => json::from_json(&column.ty, &json)?,
        };
        match (column.kind, value) {
            (ColumnKind::Partition(_) | ColumnKind::Clustering(_), None) => {
                return Err(CqlError::invalid(format!(
                    "Invalid null value in condition for column {}",
                    column.name
                )));
            }
            (ColumnKind::Partition(_), Some(bytes)) => components.push(bytes),
            (ColumnKind::Clustering(_), Some(bytes)) => {
                push_clustering_key(&column.ty, column.descending, &bytes, &mut place.0);
                place.1.push(bytes.into());
            }
            (_, None) if missing && default_unset => {}
            (kind, value) => {
                let mut made = Vec::new();
                set_column(column, &Value::from(value), life, scope, &mut made)?;
                match kind {
                    ColumnKind::Static => changes.extend(made.into_iter().map(Change::Static)),
                    _ => row.extend(made),
                }
            }
        }
    }
    if let Some(unknown) = fields.keys().next() {
        return Err(CqlError::invalid(format!(
            "JSON values map contains unrecognized column: {unknown}"
        )));
    }
    changes.push(Change::Row(place.0, place.1, row));
    let key = PartitionKey::new(&components);
    Ok(vec![Mutation {
        table: table.id,
        key,
        components,
        changes,
    }])
}

fn plain_string(ty: &CqlType) -> bool {
    matches!(ty, CqlType::Text | CqlType::Ascii)
}

/// Takes a column's value out of the document: names are folded unless quoted in it.
fn json_field(
    fields: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Option<serde_json::Value> {
    let quoted = format!("\"{name}\"");
    if let Some(value) = fields.remove(&quoted) {
        return Some(value);
    }
    let found = fields
        .keys()
        .find(|key| key.to_lowercase() == name)?
        .clone();
    fields.remove(&found)
}
