//! SELECT compiled against the schema.

use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{Op, Select, Selector};
use crate::node::schema::{ColumnKind, Table};
use crate::node::types::{CqlType, quote_name};

use super::expr::{Compiler, Expr};
use super::restrict::{Filter, Restrictions};
use super::selector::{Sel, compile};

/// One column of a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnSpec {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) ty: CqlType,
}

/// A compiled SELECT.
#[derive(Clone, Debug)]
pub(crate) struct SelectPlan {
    pub(crate) table: Rc<Table>,
    pub(crate) restrictions: Restrictions,
    pub(crate) items: Vec<Sel>,
    pub(crate) columns: Rc<Vec<ColumnSpec>>,
    /// For SELECT JSON: the names and types that make the document.
    pub(crate) json: Option<Vec<(String, CqlType)>>,
    pub(crate) distinct: bool,
    pub(crate) aggregate: bool,
    /// GROUP BY this many of the first key columns.
    pub(crate) group_by: usize,
    pub(crate) reversed: bool,
    /// ORDER BY over several partitions: the rows are sorted at the end.
    pub(crate) sorted: bool,
    pub(crate) limit: Option<Expr>,
    pub(crate) per_partition_limit: Option<Expr>,
}

const FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus \
                         may have unpredictable performance. If you want to execute this query \
                         despite the performance unpredictability, use ALLOW FILTERING";

impl SelectPlan {
    pub(crate) fn compile(
        compiler: &mut Compiler<'_>,
        table: &Rc<Table>,
        select: &Select,
    ) -> CqlResult<SelectPlan> {
        let (items, columns) = compile_items(compiler, table, select)?;
        let mut restrictions = Restrictions::compile(compiler, table, &select.wheres)?;
        check_filtering(&mut restrictions, table, select)?;
        let aggregate = items.iter().any(Sel::has_aggregate);
        let (reversed, sorted) = ordering(&restrictions, table, select)?;
        let json = select.json.then(|| {
            columns
                .iter()
                .map(|column| (quote_name(&column.name), column.ty.clone()))
                .collect()
        });
        let columns = if select.json {
            vec![ColumnSpec {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
                name: "[json]".to_owned(),
                ty: CqlType::Text,
            }]
        } else {
            columns
        };
        let mut limit = |term: &Option<_>, name: &str| match term {
            Some(term) => compiler.compile(term, &CqlType::Int, name).map(Some),
            None => Ok(None),
        };
        let per_partition_limit = limit(&select.per_partition_limit, "[per_partition_limit]")?;
        Ok(SelectPlan {
            table: Rc::clone(table),
            restrictions,
            items,
            columns: Rc::new(columns),
            json,
            distinct: select.distinct,
            aggregate,
            group_by: group_by(table, &select.group_by)?,
            reversed,
            sorted,
            limit: limit(&select.limit, "[limit]")?,
            per_partition_limit,
        })
    }
}

fn compile_items(
    compiler: &mut Compiler<'_>,
    table: &Table,
    select: &Select,
) -> CqlResult<(Vec<Sel>, Vec<ColumnSpec>)> {
    let all: Vec<(Selector, Option<String>)>;
    let items = if select.items.is_empty() {
        let names = table.columns.iter().map(|column| column.name.clone());
        all = names.map(|name| (Selector::Column(name), None)).collect();
        &all
    } else {
        &select.items
    };
    let mut selectors = Vec::with_capacity(items.len());
    let mut columns = Vec::with_capacity(items.len());
    for (selector, alias) in items {
        let compiled = compile(compiler, table, selector)?;
        if select.distinct {
            check_distinct(table, &compiled.sel)?;
        }
        selectors.push(compiled.sel);
        columns.push(ColumnSpec {
            keyspace: table.keyspace.clone(),
            table: table.name.clone(),
            name: alias.clone().unwrap_or(compiled.name),
            ty: compiled.ty,
        });
    }
    Ok((selectors, columns))
}

fn check_distinct(table: &Table, sel: &Sel) -> CqlResult<()> {
    let Sel::Column(at) = sel else {
        return Ok(());
    };
    let column = &table.columns[*at];
    match column.kind {
        ColumnKind::Partition(_) | ColumnKind::Static => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static \
             columns (not {})",
            column.name
        ))),
    }
}

fn check_filtering(
    restrictions: &mut Restrictions,
    table: &Table,
    select: &Select,
) -> CqlResult<()> {
    let indexed = restrictions
        .filters
        .iter()
        .any(|filter| table.has_index(&table.columns[filter.column].name));
    let may_filter = select.filtering || indexed;
    let given = restrictions
        .partition
        .iter()
        .filter(|part| part.is_some())
        .count();
    let full_key = given == table.partition_len;
    if !may_filter {
        if let Some((at, gap)) = restrictions.gap() {
            let columns = table.clustering();
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not \
                 restricted",
                columns[at].name, columns[gap].name
            )));
        }
        let partial = given > 0 && !full_key;
        let rows_of_all = !full_key && restrictions.has_clustering();
        if partial || rows_of_all || !restrictions.filters.is_empty() {
            return Err(CqlError::invalid(FILTERING));
        }
    }
    if restrictions.gap().is_some() {
        restrictions.filter_gap(table);
    }
    if !full_key {
        for (at, part) in restrictions.partition.iter_mut().enumerate() {
            if let Some(part) = part.take() {
                let filter = Filter {
                    column: at,
                    element: None,
                    op: Op::In,
                    part,
                };
                restrictions.filters.push(filter);
            }
        }
    }
    Ok(())
}

/// Whether rows come backwards, and whether they must be sorted at the end.
fn ordering(
    restrictions: &Restrictions,
    table: &Table,
    select: &Select,
) -> CqlResult<(bool, bool)> {
    let Some((first, _)) = select.order_by.first() else {
        return Ok((false, false));
    };
    if restrictions.partition.iter().any(Option::is_none) {
        return Err(CqlError::invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    let mut reversed = None;
    let start = table
        .clustering()
        .iter()
        .position(|column| column.name == *first)
        .unwrap_or(0);
    for (i, (name, descending)) in select.order_by.iter().enumerate() {
        let (_, column) = table.column(name)?;
        let ColumnKind::Clustering(at) = column.kind else {
            return Err(CqlError::invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY \
                 KEY, got {name}"
            )));
        };
        if at != start + i || (start > restrictions.given_clustering()) {
            return Err(CqlError::invalid(
                "Order by currently only supports the ordering of columns following their \
                 declared order in the PRIMARY KEY",
            ));
        }
        let turned = column.descending != *descending;
        if reversed.is_some_and(|earlier| earlier != turned) {
            return Err(CqlError::invalid("Unsupported order by relation"));
        }
        reversed = Some(turned);
    }
    let several = restrictions
        .partition
        .iter()
        .any(|part| !matches!(part, Some(super::restrict::Part::One(_))));
    Ok((reversed.unwrap_or(false), several))
}

fn group_by(table: &Table, names: &[String]) -> CqlResult<usize> {
    for (i, name) in names.iter().enumerate() {
        let (at, _) = table.column(name)?;
        if at != i || at >= table.partition_len + table.clustering_len {
            return Err(CqlError::invalid(format!(
                "Group by is currently only supported on the columns of the PRIMARY KEY, got {name}"
            )));
        }
    }
    Ok(names.len())
}
