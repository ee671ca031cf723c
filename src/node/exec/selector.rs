//! What stands between SELECT and FROM.

use std::cmp::Ordering;

use crate::node::error::{CqlError, CqlResult};
use crate::node::json::to_json;
use crate::node::literal::from_text;
use crate::node::parser::ast::{LiteralKind, Selector, Term};
use crate::node::schema::{ColumnKind, Table};
use crate::node::types::CqlType;
use crate::node::value::{Value, split_collection, split_parts};

use super::expr::{Compiler, Expr, Scope, order_key};
use super::functions::{self, Signature};
use super::modify::{field_of, show};
use super::view::RowView;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Min,
    Max,
    Sum,
    Avg,
}

/// A compiled selector.
#[derive(Clone, Debug)]
pub(crate) enum Sel {
    Column(usize),
    Writetime(usize),
    Ttl(usize),
    Call(Box<Signature>, Vec<Sel>),
    /// Number of the field.
    Field(Box<Sel>, usize),
    /// The map or set, its key type, the key.
    Element(Box<Sel>, CqlType, Expr, bool),
    /// From, to.
    Cast(Box<Sel>, CqlType, CqlType),
    Term(Expr),
    /// The argument and its type; none for `count(*)`.
    Aggregate(Aggregate, Option<Box<Sel>>, CqlType),
}

/// A selector, its type, and the name its column has.
pub(crate) struct Compiled {
    pub(crate) sel: Sel,
    pub(crate) ty: CqlType,
    pub(crate) name: String,
}

pub(crate) fn compile(
    compiler: &mut Compiler<'_>,
    table: &Table,
    selector: &Selector,
) -> CqlResult<Compiled> {
    match selector {
        Selector::Column(name) => {
            let (at, column) = table.column(name)?;
            Ok(Compiled {
                sel: Sel::Column(at),
                ty: column.ty.clone(),
                name: name.clone(),
            })
        }
        Selector::CountAll => Ok(Compiled {
            sel: Sel::Aggregate(Aggregate::Count, None, CqlType::Bigint),
            ty: CqlType::Bigint,
            name: "count".to_owned(),
        }),
        Selector::Writetime(name) => {
            let at = timed_column(table, name, "writeTime")?;
            let name = format!("writetime({name})");
            Ok(Compiled {
                sel: Sel::Writetime(at),
                ty: CqlType::Bigint,
                name,
            })
        }
        Selector::Ttl(name) => {
            let at = timed_column(table, name, "ttl")?;
            let name = format!("ttl({name})");
            Ok(Compiled {
                sel: Sel::Ttl(at),
                ty: CqlType::Int,
                name,
            })
        }
        Selector::Field(inner, field) => {
            let inner = compile(compiler, table, inner)?;
            if !matches!(inner.ty, CqlType::Udt(..)) {
                return Err(CqlError::invalid(format!(
                    "Invalid field selection: {} of type {} is not a user type",
                    inner.name,
                    inner.ty.name()
                )));
            }
            let (at, ty) = field_of(&inner.ty, field, &inner.name)?;
            let ty = ty.clone();
            let name = format!("{}.{field}", inner.name);
            Ok(Compiled {
                sel: Sel::Field(Box::new(inner.sel), at),
                ty,
                name,
            })
        }
        Selector::Element(inner, key) => element(compiler, table, inner, key),
        Selector::Cast(inner, raw) => {
            let inner = compile(compiler, table, inner)?;
            let to = compiler.schema.resolve(&table.keyspace, raw)?;
            let name = format!("cast({} as {})", inner.name, to.name());
            let sel = Sel::Cast(Box::new(inner.sel), inner.ty, to.clone());
            Ok(Compiled { sel, ty: to, name })
        }
        Selector::Call(name, args) => call(compiler, table, name, args),
        Selector::Term(term) => {
            let ty = literal_type(term);
            let expr = compiler.compile(term, &ty, "[selection]")?;
            Ok(Compiled {
                sel: Sel::Term(expr),
                ty,
                name: show(term),
            })
        }
    }
}

/// A column that can tell its stamp: no key, one cell.
fn timed_column(table: &Table, name: &str, function: &str) -> CqlResult<usize> {
    let (at, column) = table.column(name)?;
    if matches!(
        column.kind,
        ColumnKind::Partition(_) | ColumnKind::Clustering(_)
    ) {
        return Err(CqlError::invalid(format!(
            "Cannot use selection function {function} on PRIMARY KEY part {name}"
        )));
    }
    if column.ty.is_multi_cell() {
        let kind = if column.ty.is_collection() {
            "collection"
        } else {
            "UDT"
        };
        return Err(CqlError::invalid(format!(
            "Cannot use selection function {function} on non-frozen {kind} {name}"
        )));
    }
    Ok(at)
}

fn literal_type(term: &Term) -> CqlType {
    match term {
        Term::Literal(LiteralKind::Integer, _) => CqlType::Int,
        Term::Literal(LiteralKind::Float, _) => CqlType::Double,
        Term::Literal(LiteralKind::Boolean, _) => CqlType::Boolean,
        Term::Literal(LiteralKind::Uuid, _) => CqlType::Uuid,
        Term::Literal(LiteralKind::Hex, _) => CqlType::Blob,
        _ => CqlType::Text,
    }
}

fn element(
    compiler: &mut Compiler<'_>,
    table: &Table,
    inner: &Selector,
    key: &Term,
) -> CqlResult<Compiled> {
    let inner = compile(compiler, table, inner)?;
    let (key_ty, ty, is_map) = match &inner.ty {
        CqlType::Map(key, value, _) => ((**key).clone(), (**value).clone(), true),
        CqlType::Set(item, _) => ((**item).clone(), (**item).clone(), false),
        CqlType::List(..) => {
            return Err(CqlError::invalid(format!(
                "Element selection is only allowed on sets and maps, but {} is a list",
                inner.name
            )));
        }
        other => {
            return Err(CqlError::invalid(format!(
                "Invalid element selection: {} is of type {} is not a collection",
                inner.name,
                other.name()
            )));
        }
    };
    let expr = compiler.compile(key, &key_ty, &format!("key({})", inner.name))?;
    let shown = match (key, &expr) {
        (Term::Literal(LiteralKind::Text, text), _) => format!("'{text}'"),
        (Term::Literal(_, text), _) => text.clone(),
        _ => "?".to_owned(),
    };
    let name = format!("{}[{shown}]", inner.name);
    Ok(Compiled {
        sel: Sel::Element(Box::new(inner.sel), key_ty, expr, is_map),
        ty,
        name,
    })
}

fn call(
    compiler: &mut Compiler<'_>,
    table: &Table,
    name: &str,
    args: &[Selector],
) -> CqlResult<Compiled> {
    let key: Vec<CqlType> = table
        .partition()
        .iter()
        .map(|column| column.ty.clone())
        .collect();
    let mut compiled = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        compiled.push(match (name, arg, key.get(i)) {
            ("token", Selector::Term(term), Some(ty)) => {
                let column = &table.partition()[i].name;
                let sel = Sel::Term(compiler.compile(term, ty, column)?);
                Compiled {
                    sel,
                    ty: ty.clone(),
                    name: column.clone(),
                }
            }
            _ => compile(compiler, table, arg)?,
        });
    }
    let aggregate = match name {
        "count" => Some(Aggregate::Count),
        "min" => Some(Aggregate::Min),
        "max" => Some(Aggregate::Max),
        "sum" => Some(Aggregate::Sum),
        "avg" => Some(Aggregate::Avg),
        _ => None,
    };
    let names: Vec<&str> = compiled.iter().map(|arg| arg.name.as_str()).collect();
    let shown = format!("system.{name}({})", names.join(", "));
    if let (Some(aggregate), [arg]) = (aggregate, compiled.as_slice()) {
        let summed = matches!(aggregate, Aggregate::Sum | Aggregate::Avg);
        if summed && !is_number(&arg.ty) {
            return Err(CqlError::invalid(format!(
                "Invalid call to function {name}, none of its type signatures match"
            )));
        }
        let ty = if aggregate == Aggregate::Count {
            CqlType::Bigint
        } else {
            arg.ty.clone()
        };
        let sel = Sel::Aggregate(aggregate, Some(Box::new(arg.sel.clone())), arg.ty.clone());
        return Ok(Compiled {
            sel,
            ty,
            name: shown,
        });
    }
    let given: Vec<Option<CqlType>> = compiled.iter().map(|arg| Some(arg.ty.clone())).collect();
    let signature = functions::find(name, &given, None, &key)?;
    let ty = signature.result.clone();
    let args = compiled.into_iter().map(|arg| arg.sel).collect();
    Ok(Compiled {
        sel: Sel::Call(Box::new(signature), args),
        ty,
        name: shown,
    })
}

fn is_number(ty: &CqlType) -> bool {
    use CqlType as T;
    matches!(
        ty,
        T::Tinyint | T::Smallint | T::Int | T::Bigint | T::Counter | T::Float | T::Double
    )
}

impl Sel {
    pub(crate) fn has_aggregate(&self) -> bool {
        match self {
            Sel::Aggregate(..) => true,
            Sel::Call(_, args) => args.iter().any(Sel::has_aggregate),
            Sel::Field(inner, _) | Sel::Element(inner, ..) | Sel::Cast(inner, ..) => {
                inner.has_aggregate()
            }
            _ => false,
        }
    }

    /// The value for one row, or for a group of rows when there are aggregates in it.
    pub(crate) fn eval(
        &self,
        rows: &[RowView<'_>],
        scope: &mut Scope<'_>,
    ) -> CqlResult<Option<Vec<u8>>> {
        let first = rows.first();
        Ok(match self {
            Sel::Column(at) => first.and_then(|row| row.value(*at)),
            Sel::Writetime(at) => first
                .and_then(|row| row.writetime(*at))
                .map(|n| n.to_be_bytes().to_vec()),
            Sel::Ttl(at) => first
                .and_then(|row| row.ttl_s(*at))
                .map(|n| n.to_be_bytes().to_vec()),
            Sel::Call(signature, args) => {
                let args: CqlResult<Vec<Option<Vec<u8>>>> =
                    args.iter().map(|arg| arg.eval(rows, scope)).collect();
                let args = args?;
                let args: Vec<Option<&[u8]>> = args.iter().map(Option::as_deref).collect();
                functions::call(signature, &args, scope.clock)?
            }
            Sel::Field(inner, at) => match inner.eval(rows, scope)? {
                None => None,
                Some(bytes) => split_parts(&bytes)?
                    .get(*at)
                    .copied()
                    .flatten()
                    .map(<[u8]>::to_vec),
            },
            Sel::Element(inner, key_ty, key, is_map) => {
                let (Some(bytes), Value::Bytes(key)) = (inner.eval(rows, scope)?, key.eval(scope)?)
                else {
                    return Ok(None);
                };
                find_element(&bytes, key_ty, &key, *is_map)?
            }
            Sel::Cast(inner, from, to) => match inner.eval(rows, scope)? {
                None => None,
                Some(bytes) => cast(from, to, &bytes)?,
            },
            Sel::Term(expr) => match expr.eval(scope)? {
                Value::Bytes(bytes) => Some(bytes),
                Value::Null | Value::Unset => None,
            },
            Sel::Aggregate(Aggregate::Count, None, _) => Some(count(rows.len())),
            Sel::Aggregate(kind, arg, ty) => {
                let mut values = Vec::new();
                for row in rows {
                    let Some(arg) = arg else { continue };
                    values.extend(arg.eval(std::slice::from_ref(row), scope)?);
                }
                aggregate(*kind, ty, &values)
            }
        })
    }
}

fn count(rows: usize) -> Vec<u8> {
    i64::try_from(rows)
        .unwrap_or(i64::MAX)
        .to_be_bytes()
        .to_vec()
}

/// The value of a map's key, or a set's element if it is there.
pub(crate) fn find_element(
    bytes: &[u8],
    key_ty: &CqlType,
    key: &[u8],
    is_map: bool,
) -> CqlResult<Option<Vec<u8>>> {
    let wanted = order_key(key_ty, key);
    let items = split_collection(bytes, is_map)?;
    let width = if is_map { 2 } else { 1 };
    let found = items
        .chunks_exact(width)
        .find(|entry| order_key(key_ty, entry[0]) == wanted);
    Ok(found
        .and_then(|entry| entry.last())
        .map(|value| value.to_vec()))
}

fn aggregate(kind: Aggregate, ty: &CqlType, values: &[Vec<u8>]) -> Option<Vec<u8>> {
    let by_order = |a: &&Vec<u8>, b: &&Vec<u8>| order_key(ty, a).cmp(&order_key(ty, b));
    match kind {
        Aggregate::Count => Some(count(values.len())),
        Aggregate::Min => values.iter().min_by(by_order).cloned(),
        Aggregate::Max => values.iter().max_by(by_order).cloned(),
        Aggregate::Sum | Aggregate::Avg => {
            let divide = kind == Aggregate::Avg && !values.is_empty();
            let len = if divide {
                i64::try_from(values.len()).unwrap_or(i64::MAX)
            } else {
                1
            };
            if matches!(ty, CqlType::Float | CqlType::Double) {
                let sum: f64 = values.iter().filter_map(|bytes| float(ty, bytes)).sum();
                let small = i32::try_from(len).unwrap_or(i32::MAX);
                return from_text(&(sum / f64::from(small)).to_string(), ty).ok();
            }
            let sum = values
                .iter()
                .filter_map(|b| integer(b))
                .fold(0i64, i64::wrapping_add);
            Some(sized(sum.wrapping_div(len), ty))
        }
    }
}

fn integer(bytes: &[u8]) -> Option<i64> {
    Some(match bytes.len() {
        1 => i8::from_be_bytes(bytes.try_into().ok()?).into(),
        2 => i16::from_be_bytes(bytes.try_into().ok()?).into(),
        4 => i32::from_be_bytes(bytes.try_into().ok()?).into(),
        8 => i64::from_be_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// The last bytes of a number, as many as the type has.
fn sized(value: i64, ty: &CqlType) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = match ty {
        CqlType::Tinyint => 7,
        CqlType::Smallint => 6,
        CqlType::Int => 4,
        _ => 0,
    };
    bytes[skip..].to_vec()
}

fn float(ty: &CqlType, bytes: &[u8]) -> Option<f64> {
    match ty {
        CqlType::Float => Some(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        CqlType::Double => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// CAST between numbers, and of anything to text.
fn cast(from: &CqlType, to: &CqlType, bytes: &[u8]) -> CqlResult<Option<Vec<u8>>> {
    if from == to {
        return Ok(Some(bytes.to_vec()));
    }
    let text = to_json(from, Some(bytes));
    let text = text.trim_matches('"');
    if matches!(to, CqlType::Text | CqlType::Ascii) {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    let whole = matches!(
        to,
        CqlType::Tinyint | CqlType::Smallint | CqlType::Int | CqlType::Bigint
    );
    if whole && let Some(number) = integer(bytes).filter(|_| !is_float(from)) {
        return Ok(Some(sized(number, to)));
    }
    if whole && let Some(number) = float(from, bytes) {
        return Ok(Some(truncated(number, to)));
    }
    let text = if whole {
        text.split('.').next().unwrap_or(text)
    } else {
        text
    };
    from_text(text, to).map(Some)
}

/// A float as a whole number, cut as Java does: at the ends of `int` or `long`, then to size.
fn truncated(number: f64, ty: &CqlType) -> Vec<u8> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, as Java's cast does"
    )]
    let whole = if *ty == CqlType::Bigint {
        number as i64
    } else {
        i64::from(number as i32)
    };
    sized(whole, ty)
}

fn is_float(ty: &CqlType) -> bool {
    matches!(ty, CqlType::Float | CqlType::Double)
}

/// How two values of a type compare.
pub(crate) fn compare(ty: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    order_key(ty, a).cmp(&order_key(ty, b))
}
