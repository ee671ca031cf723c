//! A text compiled against the schema: its plan, its bind markers, its result columns.

use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{BatchKind, Modify, QName, Select, Statement};
use crate::node::parser::{Parsed, parse};
use crate::node::schema::{Schema, Table};
use crate::node::types::CqlType;

use super::expr::{BindSpec, Compiler, Expr};
use super::modify::ModifyPlan;
use super::restrict::Part;
use super::select::{ColumnSpec, SelectPlan};

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Select(Box<SelectPlan>),
    Modify(Box<ModifyPlan>),
    /// `BEGIN BATCH`: kind, timestamp, statements.
    Batch(BatchKind, Option<Expr>, Vec<ModifyPlan>),
    Other(Statement),
}

/// A compiled statement.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// The session's keyspace when it was prepared.
    pub(crate) keyspace: Option<String>,
    /// The schema it was compiled against.
    pub(crate) version: u64,
    pub(crate) specs: Vec<BindSpec>,
    /// The markers that make the partition key, in the key's order; empty when not all do.
    pub(crate) key_markers: Vec<u16>,
    pub(crate) plan: Plan,
    /// True when it means the same table in every session.
    qualified: bool,
}

impl Prepared {
    pub(crate) fn new(schema: &Schema, text: &str, keyspace: Option<&str>) -> CqlResult<Prepared> {
        let Parsed { statement, binds } = parse(text)?;
        if binds.len() > usize::from(u16::MAX) {
            return Err(CqlError::invalid(
                "Too many markers(?). 65535 markers are allowed",
            ));
        }
        let mut compiler = Compiler::new(schema, &binds);
        let mut qualified = true;
        let is_full = |name: &QName| name.keyspace.is_some();
        let mut key_parts = Vec::new();
        let plan = match statement {
            Statement::Select(select) => {
                qualified &= is_full(&select.table);
                let (plan, specs) = compile_select(schema, &binds, &select, keyspace)?;
                compiler.specs = specs;
                key_parts = plan.restrictions.partition.clone();
                Plan::Select(Box::new(plan))
            }
            Statement::Modify(modify) => {
                qualified &= is_full(&modify.table);
                let (plan, specs) = compile_modify(schema, &binds, &modify, keyspace)?;
                compiler.specs = specs;
                key_parts = plan.restrictions.partition.clone();
                Plan::Modify(Box::new(plan))
            }
            Statement::Batch(batch) => {
                let stamp = match &batch.using.timestamp {
                    Some(term) => Some(compiler.compile(term, &CqlType::Bigint, "[timestamp]")?),
                    None => None,
                };
                let mut plans = Vec::with_capacity(batch.children.len());
                for child in &batch.children {
                    qualified &= is_full(&child.table);
                    let (plan, specs) = compile_modify(schema, &binds, child, keyspace)?;
                    if batch.using.timestamp.is_some() && plan.stamp.is_some() {
                        return Err(CqlError::invalid(
                            "Timestamp must be set either on BATCH or individual statements",
                        ));
                    }
                    for (place, spec) in compiler.specs.iter_mut().zip(specs) {
                        *place = place.take().or(spec);
                    }
                    plans.push(plan);
                }
                Plan::Batch(batch.kind, stamp, plans)
            }
            other => {
                qualified = false;
                Plan::Other(other)
            }
        };
        let specs: Option<Vec<BindSpec>> = compiler.specs.into_iter().collect();
        let specs =
            specs.ok_or_else(|| CqlError::invalid("A bind marker stands where no value can be"))?;
        Ok(Prepared {
            text: text.to_owned(),
            keyspace: keyspace.map(str::to_owned),
            version: schema.version,
            specs,
            key_markers: key_markers(&key_parts),
            plan,
            qualified,
        })
    }

    pub(crate) fn is_qualified(&self) -> bool {
        self.qualified
    }

    /// The columns that a SELECT answers with.
    pub(crate) fn result_columns(&self) -> &[ColumnSpec] {
        match &self.plan {
            Plan::Select(plan) => &plan.columns,
            _ => &[],
        }
    }

    /// The table a statement is about, for fault rules.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.plan {
            Plan::Select(plan) => Some(&plan.table),
            Plan::Modify(plan) => Some(&plan.table),
            Plan::Batch(_, _, plans) => plans.first().map(|plan| &*plan.table),
            Plan::Other(_) => None,
        }
    }
}

fn compile_modify(
    schema: &Schema,
    binds: &[Option<String>],
    modify: &Modify,
    keyspace: Option<&str>,
) -> CqlResult<(ModifyPlan, Vec<Option<BindSpec>>)> {
    let table = Rc::clone(schema.table(&modify.table, keyspace)?);
    let mut compiler = Compiler::new(schema, binds);
    compiler.table = Some(&table);
    let plan = ModifyPlan::compile(&mut compiler, &table, modify)?;
    Ok((plan, compiler.specs))
}

fn compile_select(
    schema: &Schema,
    binds: &[Option<String>],
    select: &Select,
    keyspace: Option<&str>,
) -> CqlResult<(SelectPlan, Vec<Option<BindSpec>>)> {
    let table = Rc::clone(schema.table(&select.table, keyspace)?);
    let mut compiler = Compiler::new(schema, binds);
    compiler.table = Some(&table);
    let plan = SelectPlan::compile(&mut compiler, &table, select)?;
    Ok((plan, compiler.specs))
}

fn key_markers(parts: &[Option<Part>]) -> Vec<u16> {
    let marker = |part: &Option<Part>| match part {
        Some(Part::One(Expr::Bind(at, _))) => u16::try_from(*at).ok(),
        _ => None,
    };
    let all: Option<Vec<u16>> = parts.iter().map(marker).collect();
    all.unwrap_or_default()
}
