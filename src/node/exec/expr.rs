//! Terms bound to types: compiled once, evaluated for each execution.

use crate::node::clock::Clock;
use crate::node::error::{CqlError, CqlResult};
use crate::node::literal::literal;
use crate::node::order::push_order_key;
use crate::node::parser::ast::{RawType, Term};
use crate::node::schema::{Schema, Table};
use crate::node::types::{CqlType, UserType};
use crate::node::value::{Value, check, join_collection, push_bytes};

use super::functions::{self, Signature};

/// What a client is told about one bind marker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BindSpec {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) ty: CqlType,
}

/// Collects the bind markers while a statement is compiled.
pub(crate) struct Compiler<'s> {
    pub(crate) schema: &'s Schema,
    /// The names of the markers that have one.
    pub(crate) names: &'s [Option<String>],
    pub(crate) specs: Vec<Option<BindSpec>>,
    pub(crate) table: Option<&'s Table>,
}

/// A compiled term.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Const(Value),
    Bind(usize, CqlType),
    List(Vec<Expr>),
    /// Element type, elements.
    Set(CqlType, Vec<Expr>),
    /// Key type, pairs.
    Map(CqlType, Vec<(Expr, Expr)>),
    /// A tuple, or the fields of a user type.
    Parts(Vec<Expr>),
    Call(Box<Signature>, Vec<Expr>),
}

/// What evaluation needs.
pub(crate) struct Scope<'e> {
    pub(crate) binds: &'e [Value],
    pub(crate) clock: &'e mut Clock,
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(schema: &'s Schema, names: &'s [Option<String>]) -> Compiler<'s> {
        Compiler {
            schema,
            names,
            specs: vec![None; names.len()],
            table: None,
        }
    }

    /// Compiles `term` for a place of type `ty`, called `name` in messages and metadata.
    pub(crate) fn compile(&mut self, term: &Term, ty: &CqlType, name: &str) -> CqlResult<Expr> {
        let expr = self.compile_inner(term, ty, name)?;
        Ok(fold(expr))
    }

    fn compile_inner(&mut self, term: &Term, ty: &CqlType, name: &str) -> CqlResult<Expr> {
        match (term, ty) {
            (Term::Null, _) => Ok(Expr::Const(Value::Null)),
            (Term::Bind(at), _) => {
                self.bind(*at, ty, name);
                Ok(Expr::Bind(*at, ty.clone()))
            }
            (Term::Literal(kind, text), _) => {
                literal(*kind, text, ty, name).map(|bytes| Expr::Const(Value::Bytes(bytes)))
            }
            (Term::List(items), CqlType::List(item, _)) => self
                .items(items, item, &format!("value({name})"))
                .map(Expr::List),
            (Term::Set(items), CqlType::Set(item, _)) => {
                let items = self.items(items, item, &format!("value({name})"))?;
                Ok(Expr::Set((**item).clone(), items))
            }
            (Term::Set(items), CqlType::Map(key, _, _)) if items.is_empty() => {
                Ok(Expr::Map((**key).clone(), Vec::new()))
            }
            (Term::Set(items), CqlType::Udt(udt, _)) if items.is_empty() => {
                self.fields(&[], udt, name)
            }
            (Term::Map(pairs), CqlType::Map(key, value, _)) => {
                let (key_name, value_name) = (format!("key({name})"), format!("value({name})"));
                let mut compiled = Vec::with_capacity(pairs.len());
                for (k, v) in pairs {
                    let k = self.compile(k, key, &key_name)?;
                    compiled.push((k, self.compile(v, value, &value_name)?));
                }
                Ok(Expr::Map((**key).clone(), compiled))
            }
            (Term::Udt(fields), CqlType::Udt(udt, _)) => self.fields(fields, udt, name),
            (Term::Tuple(items), CqlType::Tuple(types)) => self.tuple(items, types, name),
            (Term::Tuple(items), _) if items.len() == 1 => self.compile(&items[0], ty, name),
            (Term::Call(function, args), _) => self.call(function, args, Some(ty), name),
            (Term::Cast(raw, inner), _) => {
                let to = self.cast_type(raw)?;
                if !assignable(&to, ty) {
                    return Err(CqlError::invalid(format!(
                        "Cannot assign value of type {} to {name} of type {}",
                        to.name(),
                        ty.name()
                    )));
                }
                self.compile(inner, &to, name)
            }
            (Term::List(_) | Term::Set(_) | Term::Map(_) | Term::Udt(_) | Term::Tuple(_), _) => {
                Err(CqlError::invalid(format!(
                    "Invalid {} literal for {name} of type {}",
                    match term {
                        Term::List(_) => "list",
                        Term::Set(_) => "set",
                        Term::Map(_) => "map",
                        Term::Udt(_) => "user type",
                        _ => "tuple",
                    },
                    ty.name()
                )))
            }
        }
    }

    fn cast_type(&self, raw: &RawType) -> CqlResult<CqlType> {
        let keyspace = self.table.map_or("", |table| table.keyspace.as_str());
        self.schema.resolve(keyspace, raw)
    }

    /// Notes the type of a marker.
    pub(crate) fn bind(&mut self, at: usize, ty: &CqlType, name: &str) {
        let own = self.names.get(at).cloned().flatten();
        let (keyspace, table) = match self.table {
            Some(table) => (table.keyspace.clone(), table.name.clone()),
            None => (String::new(), String::new()),
        };
        if let Some(place) = self.specs.get_mut(at) {
            let name = own.unwrap_or_else(|| name.to_owned());
            *place = Some(BindSpec {
                keyspace,
                table,
                name,
                ty: ty.clone(),
            });
        }
    }

    fn items(&mut self, items: &[Term], ty: &CqlType, name: &str) -> CqlResult<Vec<Expr>> {
        items
            .iter()
            .map(|item| self.compile(item, ty, name))
            .collect()
    }

    fn tuple(&mut self, items: &[Term], types: &[CqlType], name: &str) -> CqlResult<Expr> {
        if items.len() > types.len() {
            return Err(CqlError::invalid(format!(
                "Invalid tuple literal for {name}: too many elements. Type {} expects {} but got \
                 {}",
                CqlType::Tuple(types.to_vec()).name(),
                types.len(),
                items.len()
            )));
        }
        let mut parts = Vec::with_capacity(items.len());
        for (i, (item, ty)) in items.iter().zip(types).enumerate() {
            parts.push(self.compile(item, ty, &format!("{name}[{i}]"))?);
        }
        Ok(Expr::Parts(parts))
    }

    fn fields(&mut self, fields: &[(String, Term)], udt: &UserType, name: &str) -> CqlResult<Expr> {
        if let Some((unknown, _)) = fields
            .iter()
            .find(|(field, _)| !udt.fields.iter().any(|(known, _)| known == field))
        {
            return Err(CqlError::invalid(format!(
                "Unknown field '{unknown}' in value of user defined type {}",
                udt.name
            )));
        }
        let mut parts = Vec::with_capacity(udt.fields.len());
        for (field, ty) in &udt.fields {
            let given = fields.iter().find(|(known, _)| known == field);
            parts.push(match given {
                Some((_, term)) => self.compile(term, ty, &format!("{name}.{field}"))?,
                None => Expr::Const(Value::Null),
            });
        }
        Ok(Expr::Parts(parts))
    }

    /// A call standing where `expected` is wanted (any type when `None`).
    pub(crate) fn call(
        &mut self,
        function: &str,
        args: &[Term],
        expected: Option<&CqlType>,
        name: &str,
    ) -> CqlResult<Expr> {
        let key: Vec<CqlType> = self
            .table
            .map(|table| {
                table
                    .partition()
                    .iter()
                    .map(|column| column.ty.clone())
                    .collect()
            })
            .unwrap_or_default();
        let given: Vec<Option<CqlType>> = args.iter().map(|arg| self.type_of(arg)).collect();
        let signature = functions::find(function, &given, expected, &key)?;
        if let Some(expected) = expected
            && !assignable(&signature.result, expected)
        {
            return Err(CqlError::invalid(format!(
                "Type error: cannot assign result of function system.{function} (type {}) to \
                 {name} (type {})",
                signature.result.name(),
                expected.name()
            )));
        }
        let mut compiled = Vec::with_capacity(args.len());
        for (i, (arg, ty)) in args.iter().zip(&signature.args).enumerate() {
            compiled.push(self.compile(arg, ty, &format!("arg{i}(system.{function})"))?);
        }
        Ok(Expr::Call(Box::new(signature), compiled))
    }

    /// The type of a term that says it by itself.
    fn type_of(&self, term: &Term) -> Option<CqlType> {
        match term {
            Term::Call(function, args) => {
                let given: Vec<Option<CqlType>> =
                    args.iter().map(|arg| self.type_of(arg)).collect();
                functions::find(function, &given, None, &[])
                    .ok()
                    .map(|found| found.result)
            }
            Term::Cast(raw, _) => self.cast_type(raw).ok(),
            Term::Literal(kind, text) => Some(match kind {
                crate::node::parser::ast::LiteralKind::Text => {
                    let date = CqlType::Date;
                    let is_date = literal(*kind, text, &date, "").is_ok();
                    if is_date { date } else { CqlType::Timestamp }
                }
                crate::node::parser::ast::LiteralKind::Integer => CqlType::Timestamp,
                crate::node::parser::ast::LiteralKind::Uuid => CqlType::Timeuuid,
                _ => return None,
            }),
            _ => None,
        }
    }
}

/// True when a value of `from` may stand where `to` is wanted.
pub(crate) fn assignable(from: &CqlType, to: &CqlType) -> bool {
    from.freeze() == to.freeze()
        || matches!(
            (from, to),
            (CqlType::Timeuuid, CqlType::Uuid)
                | (CqlType::Ascii, CqlType::Text)
                | (CqlType::Bigint, CqlType::Counter | CqlType::Timestamp)
                | (_, CqlType::Blob)
        )
}

impl Expr {
    /// The value for one execution.
    pub(crate) fn eval(&self, scope: &mut Scope<'_>) -> CqlResult<Value> {
        match self {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Bind(at, ty) => {
                let value = scope
                    .binds
                    .get(*at)
                    .ok_or_else(|| CqlError::invalid("Invalid amount of bind variables"))?;
                if let Value::Bytes(bytes) = value {
                    check(ty, bytes)?;
                }
                Ok(value.clone())
            }
            Expr::List(items) => {
                let items = eval_all(items, scope)?;
                Ok(Value::Bytes(join_collection(
                    items.len(),
                    items.iter().map(Vec::as_slice),
                )))
            }
            Expr::Set(ty, items) => {
                let mut items = eval_all(items, scope)?;
                items.sort_by_cached_key(|item| order_key(ty, item));
                items.dedup();
                Ok(Value::Bytes(join_collection(
                    items.len(),
                    items.iter().map(Vec::as_slice),
                )))
            }
            Expr::Map(ty, pairs) => eval_map(ty, pairs, scope),
            Expr::Parts(parts) => {
                let mut out = Vec::new();
                for part in parts {
                    match part.eval(scope)? {
                        Value::Unset => {
                            return Err(CqlError::invalid(
                                "Invalid unset value for tuple or user type field",
                            ));
                        }
                        value => push_bytes(&mut out, value.bytes()),
                    }
                }
                Ok(Value::Bytes(out))
            }
            Expr::Call(signature, args) => {
                let args: CqlResult<Vec<Value>> = args.iter().map(|arg| arg.eval(scope)).collect();
                let args = args?;
                let args: Vec<Option<&[u8]>> = args.iter().map(Value::bytes).collect();
                functions::call(signature, &args, scope.clock).map(Value::from)
            }
        }
    }
}

/// The order key of one non-null value.
pub(crate) fn order_key(ty: &CqlType, bytes: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(bytes.len() + 8);
    push_order_key(ty, Some(bytes), &mut key);
    key
}

fn eval_all(items: &[Expr], scope: &mut Scope<'_>) -> CqlResult<Vec<Vec<u8>>> {
    items
        .iter()
        .map(|item| element(item.eval(scope)?))
        .collect()
}

fn element(value: Value) -> CqlResult<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Null => Err(CqlError::invalid(
            "null is not supported inside collections",
        )),
        Value::Unset => Err(CqlError::invalid(
            "unset value is not supported inside collections",
        )),
    }
}

fn eval_map(ty: &CqlType, pairs: &[(Expr, Expr)], scope: &mut Scope<'_>) -> CqlResult<Value> {
    let mut sorted = std::collections::BTreeMap::new();
    for (key, value) in pairs {
        let key = element(key.eval(scope)?)?;
        let value = element(value.eval(scope)?)?;
        sorted.insert(order_key(ty, &key), (key, value));
    }
    let items = sorted
        .values()
        .flat_map(|(key, value)| [key.as_slice(), value.as_slice()]);
    Ok(Value::Bytes(join_collection(sorted.len(), items)))
}

/// Makes a constant of what needs neither client nor clock. Whatever goes wrong in it will go
/// wrong again, with its message, when it is evaluated.
fn fold(expr: Expr) -> Expr {
    fn constant(expr: &Expr) -> bool {
        match expr {
            Expr::Const(_) => true,
            Expr::Bind(..) | Expr::Call(..) => false,
            Expr::List(items) | Expr::Set(_, items) | Expr::Parts(items) => {
                items.iter().all(constant)
            }
            Expr::Map(_, pairs) => pairs.iter().all(|(k, v)| constant(k) && constant(v)),
        }
    }
    if matches!(expr, Expr::Const(_)) || !constant(&expr) {
        return expr;
    }
    let mut clock = Clock::new();
    match expr.eval(&mut Scope {
        binds: &[],
        clock: &mut clock,
    }) {
        Ok(value) => Expr::Const(value),
        Err(_) => expr,
    }
}
