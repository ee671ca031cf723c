//! WHERE: which partitions, which slices of them, and what is left to filter.

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{Op, Operand, Relation, Target, Term};
use crate::node::schema::{ColumnDef, ColumnKind, Table};
use crate::node::store::Slice;
use crate::node::types::CqlType;
use crate::node::value::{Value, split_collection, split_parts};

use super::expr::{Compiler, Expr, Scope, order_key};
use super::slices::{self, Place, Side, extend};

/// Rows that the IN lists of one statement may name together.
const COMBINATIONS_MAX: usize = 65_535;

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    One(Expr),
    Many(Vec<Expr>),
    /// `IN ?`
    ListMarker(Expr),
}

/// The right side of a relation over several columns.
#[derive(Clone, Debug, PartialEq)]
enum TupleValue {
    Each(Vec<Expr>),
    /// `(a, b) > ?`
    Whole(Expr),
}

#[derive(Clone, Debug, PartialEq)]
struct Bound {
    /// The first clustering column it bounds.
    at: usize,
    value: TupleValue,
    inclusive: bool,
}

/// A condition that is checked on each row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    pub(crate) column: usize,
    pub(crate) element: Option<Expr>,
    pub(crate) op: Op,
    pub(crate) part: Part,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Restrictions {
    pub(crate) partition: Vec<Option<Part>>,
    /// Token bounds with their inclusiveness.
    pub(crate) token_from: Option<(Expr, bool)>,
    pub(crate) token_to: Option<(Expr, bool)>,
    clustering: Vec<Option<Part>>,
    /// `(a, b) IN (…)`: the number of columns, the tuples.
    tuples: Option<(usize, Vec<TupleValue>, Option<Expr>)>,
    lower: Option<Bound>,
    upper: Option<Bound>,
    pub(crate) filters: Vec<Filter>,
}

impl Part {
    /// All values, without null and unset, which are errors for the column `name`.
    pub(crate) fn values(&self, name: &str, scope: &mut Scope<'_>) -> CqlResult<Vec<Vec<u8>>> {
        match self {
            Part::One(expr) => Ok(vec![needed(expr.eval(scope)?, name)?]),
            Part::Many(all) => all
                .iter()
                .map(|expr| needed(expr.eval(scope)?, name))
                .collect(),
            Part::ListMarker(expr) => {
                let list = needed(expr.eval(scope)?, name)?;
                Ok(split_collection(&list, false)?
                    .into_iter()
                    .map(<[u8]>::to_vec)
                    .collect())
            }
        }
    }
}

fn needed(value: Value, name: &str) -> CqlResult<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Null => Err(CqlError::invalid(format!(
            "Invalid null value in condition for column {name}"
        ))),
        Value::Unset => Err(CqlError::invalid(format!(
            "Invalid unset value for column {name}"
        ))),
    }
}

impl TupleValue {
    fn values(&self, name: &str, scope: &mut Scope<'_>) -> CqlResult<Vec<Vec<u8>>> {
        match self {
            TupleValue::Each(all) => all
                .iter()
                .map(|expr| needed(expr.eval(scope)?, name))
                .collect(),
            TupleValue::Whole(expr) => tuple_parts(&needed(expr.eval(scope)?, name)?, name),
        }
    }
}

fn tuple_parts(bytes: &[u8], name: &str) -> CqlResult<Vec<Vec<u8>>> {
    split_parts(bytes)?
        .into_iter()
        .map(|part| needed(Value::from(part.map(<[u8]>::to_vec)), name))
        .collect()
}

/// Compiles what stands after an operator.
pub(crate) fn compile_part(
    compiler: &mut Compiler<'_>,
    op: Op,
    operand: &Operand,
    ty: &CqlType,
    name: &str,
) -> CqlResult<Part> {
    match (op, operand) {
        (Op::In, Operand::One(term)) => {
            let list = CqlType::List(Box::new(ty.freeze()), true);
            compiler
                .compile(term, &list, &format!("in({name})"))
                .map(Part::ListMarker)
        }
        (_, Operand::One(term)) => compiler.compile(term, ty, name).map(Part::One),
        (_, Operand::Many(terms)) => {
            let all: CqlResult<Vec<Expr>> = terms
                .iter()
                .map(|term| compiler.compile(term, ty, name))
                .collect();
            all.map(Part::Many)
        }
    }
}

impl Restrictions {
    pub(crate) fn compile(
        compiler: &mut Compiler<'_>,
        table: &Table,
        wheres: &[Relation],
    ) -> CqlResult<Restrictions> {
        let mut all = Restrictions {
            partition: vec![None; table.partition_len],
            clustering: vec![None; table.clustering_len],
            ..Restrictions::default()
        };
        for relation in wheres {
            match &relation.target {
                Target::Column(name) => all.column(compiler, table, name, relation)?,
                Target::Token(names) => all.token(compiler, table, names, relation)?,
                Target::Tuple(names) => all.tuple(compiler, table, names, relation)?,
                Target::Element(name, key) => all.element(compiler, table, name, key, relation)?,
                Target::Field(name, _) => {
                    return Err(CqlError::invalid(format!(
                        "Fields of {name} cannot be restricted"
                    )));
                }
            }
        }
        Ok(all)
    }

    fn column(
        &mut self,
        compiler: &mut Compiler<'_>,
        table: &Table,
        name: &str,
        relation: &Relation,
    ) -> CqlResult<()> {
        let (at, column) = table.column(name)?;
        let ty = operand_type(&column.ty, relation.op, name)?;
        let part = compile_part(compiler, relation.op, &relation.operand, &ty, name)?;
        let equal = matches!(relation.op, Op::Eq | Op::In);
        match column.kind {
            ColumnKind::Partition(i) if equal => {
                fill(&mut self.partition[i], part, name)?;
            }
            ColumnKind::Clustering(i) if equal => {
                fill(&mut self.clustering[i], part, name)?;
            }
            ColumnKind::Clustering(i) if is_slice(relation.op) => {
                let Part::One(expr) = part else {
                    return Err(CqlError::invalid("IN and a bound do not go together"));
                };
                if self.clustering[i].is_some() {
                    return Err(twice(name));
                }
                self.bound(i, TupleValue::Each(vec![expr]), relation.op, name)?;
            }
            _ => self.filters.push(Filter {
                column: at,
                element: None,
                op: relation.op,
                part,
            }),
        }
        Ok(())
    }

    fn bound(&mut self, at: usize, value: TupleValue, op: Op, name: &str) -> CqlResult<()> {
        let inclusive = matches!(op, Op::Ge | Op::Le);
        let place = if matches!(op, Op::Gt | Op::Ge) {
            &mut self.lower
        } else {
            &mut self.upper
        };
        if place
            .replace(Bound {
                at,
                value,
                inclusive,
            })
            .is_some()
        {
            return Err(CqlError::invalid(format!(
                "More than one restriction was found for the {} bound on {name}",
                if matches!(op, Op::Gt | Op::Ge) {
                    "start"
                } else {
                    "end"
                }
            )));
        }
        Ok(())
    }

    fn element(
        &mut self,
        compiler: &mut Compiler<'_>,
        table: &Table,
        name: &str,
        key: &Term,
        relation: &Relation,
    ) -> CqlResult<()> {
        let (at, column) = table.column(name)?;
        let CqlType::Map(key_ty, value_ty, _) = &column.ty else {
            return Err(CqlError::invalid(format!(
                "Column {name} cannot be used as a map: it is of type {}",
                column.ty.name()
            )));
        };
        let element = compiler.compile(key, key_ty, &format!("key({name})"))?;
        let value_name = format!("value({name})");
        let part = compile_part(
            compiler,
            relation.op,
            &relation.operand,
            value_ty,
            &value_name,
        )?;
        self.filters.push(Filter {
            column: at,
            element: Some(element),
            op: relation.op,
            part,
        });
        Ok(())
    }

    fn token(
        &mut self,
        compiler: &mut Compiler<'_>,
        table: &Table,
        names: &[String],
        relation: &Relation,
    ) -> CqlResult<()> {
        let key: Vec<&str> = table
            .partition()
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        if names.iter().map(String::as_str).ne(key.iter().copied()) {
            return Err(CqlError::invalid(format!(
                "The token function arguments must be in the partition key order: {}",
                key.join(", ")
            )));
        }
        let Operand::One(term) = &relation.operand else {
            return Err(CqlError::invalid(
                "IN cannot be used with the token function",
            ));
        };
        let expr = compiler.compile(term, &CqlType::Bigint, "partition key token")?;
        match relation.op {
            Op::Eq => {
                self.token_from = Some((expr.clone(), true));
                self.token_to = Some((expr, true));
            }
            Op::Gt | Op::Ge => self.token_from = Some((expr, relation.op == Op::Ge)),
            Op::Lt | Op::Le => self.token_to = Some((expr, relation.op == Op::Le)),
            _ => return Err(CqlError::invalid("Unsupported operator on a token")),
        }
        Ok(())
    }

    fn tuple(
        &mut self,
        compiler: &mut Compiler<'_>,
        table: &Table,
        names: &[String],
        relation: &Relation,
    ) -> CqlResult<()> {
        let mut columns: Vec<(usize, &ColumnDef)> = Vec::with_capacity(names.len());
        for name in names {
            let (_, column) = table.column(name)?;
            let ColumnKind::Clustering(at) = column.kind else {
                return Err(CqlError::invalid(format!(
                    "Multi-column relations can only be applied to clustering columns but was \
                     applied to: {name}"
                )));
            };
            if columns.last().is_some_and(|(last, _)| last + 1 != at) {
                return Err(CqlError::invalid(format!(
                    "Clustering columns must appear in the PRIMARY KEY order in multi-column \
                     relations: ({})",
                    names.join(", ")
                )));
            }
            columns.push((at, column));
        }
        let first = columns.first().map_or(0, |(at, _)| *at);
        match (relation.op, &relation.operand) {
            (Op::In, operand) if first == 0 => {
                self.tuples = Some(tuple_in(compiler, &columns, operand)?);
                Ok(())
            }
            (Op::Eq, Operand::One(Term::Tuple(items))) if items.len() == columns.len() => {
                for ((at, column), term) in columns.iter().zip(items) {
                    let expr = compiler.compile(term, &column.ty, &column.name)?;
                    fill(&mut self.clustering[*at], Part::One(expr), &column.name)?;
                }
                Ok(())
            }
            (op, Operand::One(term)) if is_slice(op) => {
                let value = tuple_value(compiler, &columns, term)?;
                self.bound(first, value, op, &names.join(", "))
            }
            _ => Err(CqlError::invalid("Unsupported multi-column relation")),
        }
    }

    /// The keys of all partitions named; `None` when the partition key is not fully given.
    pub(crate) fn partitions(
        &self,
        table: &Table,
        scope: &mut Scope<'_>,
    ) -> CqlResult<Option<Vec<Vec<Vec<u8>>>>> {
        let mut keys: Vec<Vec<Vec<u8>>> = vec![Vec::with_capacity(table.partition_len)];
        for (part, column) in self.partition.iter().zip(table.partition()) {
            let Some(part) = part else {
                return Ok(None);
            };
            let mut values = part.values(&column.name, scope)?;
            if values.len() > 1 {
                values.sort_by_cached_key(|value| order_key(&column.ty, value));
                values.dedup();
            }
            if let ([key], [value]) = (keys.as_mut_slice(), values.as_slice()) {
                key.push(value.clone());
                continue;
            }
            if keys.len().saturating_mul(values.len()) > COMBINATIONS_MAX {
                return Err(CqlError::invalid(
                    "Too many partition keys in one statement",
                ));
            }
            keys = keys
                .iter()
                .flat_map(|key| {
                    values.iter().map(move |value| {
                        let mut longer = key.clone();
                        longer.push(value.clone());
                        longer
                    })
                })
                .collect();
        }
        let single = table.partition_len == 1;
        for key in &keys {
            if single && key.iter().any(Vec::is_empty) {
                return Err(CqlError::invalid("Key may not be empty"));
            }
            if let Some(long) = key.iter().find(|part| part.len() > usize::from(u16::MAX)) {
                return Err(CqlError::invalid(format!(
                    "Key length of {} is longer than maximum of 65535",
                    long.len()
                )));
            }
        }
        Ok(Some(keys))
    }

    /// How many clustering columns, from the first on, are given by `=` or IN.
    pub(crate) fn given_clustering(&self) -> usize {
        match &self.tuples {
            Some((count, ..)) => *count,
            None => self
                .clustering
                .iter()
                .take_while(|part| part.is_some())
                .count(),
        }
    }

    pub(crate) fn has_clustering(&self) -> bool {
        self.tuples.is_some()
            || self.clustering.iter().any(Option::is_some)
            || self.lower.is_some()
            || self.upper.is_some()
    }

    /// The first clustering column that is restricted behind one that is not, with that one.
    pub(crate) fn gap(&self) -> Option<(usize, usize)> {
        let given = self.given_clustering();
        if self.tuples.is_some() {
            return None;
        }
        let bounds = [&self.lower, &self.upper]
            .into_iter()
            .flatten()
            .map(|bound| bound.at);
        let equals = self
            .clustering
            .iter()
            .enumerate()
            .filter(|(_, p)| p.is_some())
            .map(|(i, _)| i);
        equals
            .chain(bounds)
            .filter(|at| *at > given)
            .min()
            .map(|at| (at, given))
    }

    /// Turns the restrictions behind a gap into filters.
    pub(crate) fn filter_gap(&mut self, table: &Table) {
        let given = self.given_clustering();
        let offset = table.partition_len;
        for at in given..self.clustering.len() {
            if let Some(part) = self.clustering[at].take() {
                self.filters.push(Filter {
                    column: offset + at,
                    element: None,
                    op: Op::In,
                    part,
                });
            }
        }
        for (bound, lower) in [(self.lower.take(), true), (self.upper.take(), false)] {
            match bound {
                Some(bound) if bound.at > given => {
                    if let TupleValue::Each(mut exprs) = bound.value
                        && let Some(expr) = exprs.pop()
                    {
                        let op = match (lower, bound.inclusive) {
                            (true, true) => Op::Ge,
                            (true, false) => Op::Gt,
                            (false, true) => Op::Le,
                            (false, false) => Op::Lt,
                        };
                        self.filters.push(Filter {
                            column: offset + bound.at,
                            element: None,
                            op,
                            part: Part::One(expr),
                        });
                    }
                }
                kept if lower => self.lower = kept,
                kept => self.upper = kept,
            }
        }
    }

    /// The places that `=` and IN on the first clustering columns name, in order.
    pub(crate) fn places(&self, table: &Table, scope: &mut Scope<'_>) -> CqlResult<Vec<Place>> {
        let mut places: Vec<Place> = vec![(Vec::new(), Vec::new())];
        if let Some((count, tuples, marker)) = &self.tuples {
            let mut all: Vec<Vec<Vec<u8>>> = Vec::new();
            for tuple in tuples {
                all.push(tuple.values("tuple", scope)?);
            }
            if let Some(marker) = marker {
                let list = needed(marker.eval(scope)?, "tuple")?;
                for tuple in split_collection(&list, false)? {
                    all.push(tuple_parts(tuple, "tuple")?);
                }
            }
            places.clear();
            for values in all.into_iter().filter(|values| values.len() == *count) {
                places.push(extend(
                    &(Vec::new(), Vec::new()),
                    table.clustering(),
                    values,
                ));
            }
        } else {
            let given = self.given_clustering();
            for (part, column) in self.clustering.iter().take(given).zip(table.clustering()) {
                let Some(part) = part else { break };
                let values = part.values(&column.name, scope)?;
                if places.len().saturating_mul(values.len()) > COMBINATIONS_MAX {
                    return Err(CqlError::invalid(
                        "Too many clustering keys in one statement",
                    ));
                }
                let column = std::slice::from_ref(column);
                places = places
                    .iter()
                    .flat_map(|place| {
                        values
                            .iter()
                            .map(move |value| extend(place, column, vec![value.clone()]))
                    })
                    .collect();
            }
        }
        if places.len() > 1 {
            places.sort();
            places.dedup();
        }
        Ok(places)
    }

    /// The slices of a partition that hold every row wanted, in order, none overlapping.
    pub(crate) fn slices(&self, table: &Table, scope: &mut Scope<'_>) -> CqlResult<Vec<Slice>> {
        let places = self.places(table, scope)?;
        let bounds = [(&self.lower, true), (&self.upper, false)];
        let mut slices = Vec::with_capacity(places.len());
        for (prefix, _) in places {
            let mut parts = vec![slices::under(&prefix)];
            for (bound, is_lower) in bounds {
                let Some(bound) = bound else { continue };
                let columns = table.clustering().get(bound.at..).unwrap_or(&[]);
                let name = columns.first().map_or("", |column| column.name.as_str());
                let values = bound.value.values(name, scope)?;
                let side = Side {
                    is_lower,
                    inclusive: bound.inclusive,
                };
                let allowed = slices::beyond(&prefix, columns, &values, side);
                parts = slices::both(&parts, &allowed);
            }
            slices.extend(parts);
        }
        Ok(slices)
    }
}

fn fill(place: &mut Option<Part>, part: Part, name: &str) -> CqlResult<()> {
    if place.replace(part).is_some() {
        return Err(twice(name));
    }
    Ok(())
}

fn twice(name: &str) -> CqlError {
    CqlError::invalid(format!(
        "{name} cannot be restricted by more than one relation if it includes an Equal"
    ))
}

fn is_slice(op: Op) -> bool {
    matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge)
}

/// The type that the right side has, given the column's and the operator.
fn operand_type(ty: &CqlType, op: Op, name: &str) -> CqlResult<CqlType> {
    match (op, ty) {
        (Op::Contains, CqlType::List(item, _) | CqlType::Set(item, _)) => Ok((**item).clone()),
        (Op::Contains, CqlType::Map(_, value, _)) => Ok((**value).clone()),
        (Op::ContainsKey, CqlType::Map(key, _, _)) => Ok((**key).clone()),
        (Op::Contains | Op::ContainsKey, _) => Err(CqlError::invalid(format!(
            "Cannot use CONTAINS on non-collection column {name}"
        ))),
        (Op::Ne | Op::Like | Op::IsNotNull, _) => {
            Err(CqlError::invalid("Unsupported operator in WHERE"))
        }
        _ => Ok(ty.clone()),
    }
}

fn tuple_value(
    compiler: &mut Compiler<'_>,
    columns: &[(usize, &ColumnDef)],
    term: &Term,
) -> CqlResult<TupleValue> {
    let Term::Tuple(items) = term else {
        let ty = CqlType::Tuple(
            columns
                .iter()
                .map(|(_, column)| column.ty.clone())
                .collect(),
        );
        let names: Vec<&str> = columns
            .iter()
            .map(|(_, column)| column.name.as_str())
            .collect();
        let name = format!("({})", names.join(","));
        return compiler.compile(term, &ty, &name).map(TupleValue::Whole);
    };
    if items.len() > columns.len() {
        return Err(CqlError::invalid(
            "Too many values in a multi-column relation",
        ));
    }
    let mut all = Vec::with_capacity(items.len());
    for ((_, column), item) in columns.iter().zip(items) {
        all.push(compiler.compile(item, &column.ty, &column.name)?);
    }
    Ok(TupleValue::Each(all))
}

type TupleIn = (usize, Vec<TupleValue>, Option<Expr>);

fn tuple_in(
    compiler: &mut Compiler<'_>,
    columns: &[(usize, &ColumnDef)],
    operand: &Operand,
) -> CqlResult<TupleIn> {
    match operand {
        Operand::Many(terms) => {
            let all: CqlResult<Vec<TupleValue>> = terms
                .iter()
                .map(|term| tuple_value(compiler, columns, term))
                .collect();
            Ok((columns.len(), all?, None))
        }
        Operand::One(term) => {
            let tuple = CqlType::Tuple(
                columns
                    .iter()
                    .map(|(_, column)| column.ty.clone())
                    .collect(),
            );
            let names: Vec<&str> = columns.iter().map(|(_, c)| c.name.as_str()).collect();
            let name = format!("in({})", names.join(","));
            let list = CqlType::List(Box::new(tuple), true);
            Ok((
                columns.len(),
                Vec::new(),
                Some(compiler.compile(term, &list, &name)?),
            ))
        }
    }
}
