//! INSERT, UPDATE, DELETE compiled against the schema.

use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{
    Assign, Condition, LiteralKind, Modify, ModifyKind, Op, Operand, Relation, Target, Term,
};
use crate::node::schema::{ColumnKind, Table};
use crate::node::types::CqlType;

use super::expr::{Compiler, Expr};
use super::restrict::{Part, Restrictions, compile_part};

/// A compiled write.
#[derive(Clone, Debug)]
pub(crate) struct ModifyPlan {
    pub(crate) table: Rc<Table>,
    pub(crate) restrictions: Restrictions,
    pub(crate) edits: Vec<Edit>,
    /// INSERT: the row exists even if every cell is null.
    pub(crate) marker: bool,
    /// DELETE without columns.
    pub(crate) delete_rows: bool,
    pub(crate) stamp: Option<Expr>,
    pub(crate) ttl: Option<Expr>,
    pub(crate) condition: ConditionPlan,
    /// INSERT JSON: the document, and whether what it lacks stays as it is.
    pub(crate) json: Option<(Expr, bool)>,
}

/// One change to one column, which is given by its place in the table.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) column: usize,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Set(Expr),
    Add(Expr),
    Prepend(Expr),
    Subtract(Expr),
    /// Key, set element or index; the new value, or none to delete it.
    Element(Expr, Option<Expr>),
    /// Number of the field; the new value, or none to delete it.
    Field(usize, Option<Expr>),
    Delete,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum ConditionPlan {
    #[default]
    None,
    NotExists,
    Exists,
    Columns(Vec<ColumnCondition>),
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnCondition {
    pub(crate) column: usize,
    pub(crate) element: Option<Expr>,
    pub(crate) field: Option<usize>,
    pub(crate) op: Op,
    pub(crate) part: Part,
}

impl ModifyPlan {
    pub(crate) fn is_conditional(&self) -> bool {
        !matches!(self.condition, ConditionPlan::None)
    }

    /// True when the statement touches only static columns of the partition.
    pub(crate) fn only_statics(&self) -> bool {
        self.table.clustering_len > 0
            && !self.edits.is_empty()
            && self.edits.iter().all(|edit| self.is_static(edit.column))
            && !self.restrictions.has_clustering()
    }

    pub(crate) fn is_static(&self, column: usize) -> bool {
        self.table.columns[column].kind == ColumnKind::Static
    }

    pub(crate) fn compile(
        compiler: &mut Compiler<'_>,
        table: &Rc<Table>,
        modify: &Modify,
    ) -> CqlResult<ModifyPlan> {
        let mut plan = ModifyPlan {
            table: Rc::clone(table),
            restrictions: Restrictions::default(),
            edits: Vec::new(),
            marker: false,
            delete_rows: false,
            stamp: None,
            ttl: None,
            condition: ConditionPlan::None,
            json: None,
        };
        match &modify.kind {
            ModifyKind::Insert { columns } => plan.insert(compiler, columns)?,
            ModifyKind::InsertJson {
                json,
                default_unset,
            } => {
                plan.marker = true;
                let json = compiler.compile(json, &CqlType::Text, "[json]")?;
                plan.json = Some((json, *default_unset));
            }
            ModifyKind::Update { assigns } => {
                plan.using(compiler, modify)?;
                plan.update(compiler, assigns)?;
                plan.restrict(compiler, &modify.wheres)?;
            }
            ModifyKind::Delete { targets } => {
                plan.using(compiler, modify)?;
                plan.delete(compiler, targets)?;
                plan.restrict(compiler, &modify.wheres)?;
            }
        }
        if matches!(
            modify.kind,
            ModifyKind::Insert { .. } | ModifyKind::InsertJson { .. }
        ) {
            plan.using(compiler, modify)?;
        }
        plan.condition = plan.conditions(compiler, &modify.condition)?;
        plan.check(modify)?;
        Ok(plan)
    }

    fn using(&mut self, compiler: &mut Compiler<'_>, modify: &Modify) -> CqlResult<()> {
        if let Some(term) = &modify.using.timestamp {
            self.stamp = Some(compiler.compile(term, &CqlType::Bigint, "[timestamp]")?);
        }
        if let Some(term) = &modify.using.ttl {
            self.ttl = Some(compiler.compile(term, &CqlType::Int, "[ttl]")?);
        }
        Ok(())
    }

    fn insert(&mut self, compiler: &mut Compiler<'_>, columns: &[(String, Term)]) -> CqlResult<()> {
        if self.table.is_counter() {
            return Err(CqlError::invalid(
                "INSERT statements are not allowed on counter tables, use UPDATE instead",
            ));
        }
        self.marker = true;
        let table = Rc::clone(&self.table);
        let mut wheres = Vec::new();
        for (i, (name, _)) in columns.iter().enumerate() {
            if columns[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(CqlError::invalid("The column names contains duplicates"));
            }
        }
        for (name, term) in columns {
            let (at, column) = table.column(name)?;
            match column.kind {
                ColumnKind::Partition(_) | ColumnKind::Clustering(_) => wheres.push(Relation {
                    target: Target::Column(name.clone()),
                    op: Op::Eq,
                    operand: Operand::One(term.clone()),
                }),
                ColumnKind::Static | ColumnKind::Regular => {
                    let expr = compiler.compile(term, &column.ty, name)?;
                    self.edits.push(Edit {
                        column: at,
                        action: Action::Set(expr),
                    });
                }
            }
        }
        self.restrict(compiler, &wheres)
    }

    fn update(
        &mut self,
        compiler: &mut Compiler<'_>,
        assigns: &[(String, Assign)],
    ) -> CqlResult<()> {
        let table = Rc::clone(&self.table);
        for (name, assign) in assigns {
            let (at, column) = table.column(name)?;
            if matches!(
                column.kind,
                ColumnKind::Partition(_) | ColumnKind::Clustering(_)
            ) {
                return Err(CqlError::invalid(format!(
                    "PRIMARY KEY part {name} found in SET part"
                )));
            }
            let action = compile_assign(compiler, assign, &column.ty, name)?;
            self.edits.push(Edit { column: at, action });
        }
        Ok(())
    }

    fn delete(&mut self, compiler: &mut Compiler<'_>, targets: &[Target]) -> CqlResult<()> {
        self.delete_rows = targets.is_empty();
        let table = Rc::clone(&self.table);
        for target in targets {
            let (name, key, field) = match target {
                Target::Column(name) => (name, None, None),
                Target::Element(name, key) => (name, Some(key), None),
                Target::Field(name, field) => (name, None, Some(field)),
                Target::Token(_) | Target::Tuple(_) => {
                    return Err(CqlError::syntax("only columns can be deleted"));
                }
            };
            let (at, column) = table.column(name)?;
            if matches!(
                column.kind,
                ColumnKind::Partition(_) | ColumnKind::Clustering(_)
            ) {
                return Err(CqlError::invalid(format!(
                    "Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)"
                )));
            }
            let action = match (key, field, &column.ty) {
                (Some(_), _, ty) if !ty.is_collection() => {
                    return Err(CqlError::invalid(format!(
                        "Invalid deletion operation for non collection column {name}"
                    )));
                }
                (Some(key), _, ty) => Action::Element(compile_key(compiler, key, ty, name)?, None),
                (_, Some(field), ty) => Action::Field(field_of(ty, field, name)?.0, None),
                _ => Action::Delete,
            };
            self.edits.push(Edit { column: at, action });
        }
        Ok(())
    }

    fn restrict(&mut self, compiler: &mut Compiler<'_>, wheres: &[Relation]) -> CqlResult<()> {
        let table = Rc::clone(&self.table);
        self.restrictions = Restrictions::compile(compiler, &table, wheres)?;
        if self.restrictions.token_from.is_some() || self.restrictions.token_to.is_some() {
            return Err(CqlError::invalid(
                "The token function cannot be used in WHERE clauses for UPDATE and DELETE \
                 statements",
            ));
        }
        let missing: Vec<&str> = self
            .restrictions
            .partition
            .iter()
            .zip(table.partition())
            .filter(|(part, _)| part.is_none())
            .map(|(_, column)| column.name.as_str())
            .collect();
        let on_key = self
            .restrictions
            .filters
            .iter()
            .any(|f| f.column < table.partition_len);
        if missing.is_empty() || on_key {
            return self.check_filters();
        }
        Err(CqlError::invalid(format!(
            "Some partition key parts are missing: {}",
            missing.join(", ")
        )))
    }

    /// A write has no filters: what is left over is an error.
    fn check_filters(&self) -> CqlResult<()> {
        if let Some(filter) = self.restrictions.filters.first() {
            let column = &self.table.columns[filter.column];
            return Err(match column.kind {
                ColumnKind::Partition(_) => CqlError::invalid(
                    "Only EQ and IN relation are supported on the partition key (unless you use \
                     the token() function) for DELETE statements",
                ),
                _ => CqlError::invalid(format!(
                    "Non PRIMARY KEY columns found in where clause: {} ",
                    column.name
                )),
            });
        }
        Ok(())
    }

    fn conditions(
        &self,
        compiler: &mut Compiler<'_>,
        condition: &Condition,
    ) -> CqlResult<ConditionPlan> {
        let relations = match condition {
            Condition::None => return Ok(ConditionPlan::None),
            Condition::Exists => return Ok(ConditionPlan::Exists),
            Condition::NotExists => return Ok(ConditionPlan::NotExists),
            Condition::Columns(relations) => relations,
        };
        let mut all = Vec::with_capacity(relations.len());
        for relation in relations {
            all.push(self.condition(compiler, relation)?);
        }
        Ok(ConditionPlan::Columns(all))
    }

    fn condition(
        &self,
        compiler: &mut Compiler<'_>,
        relation: &Relation,
    ) -> CqlResult<ColumnCondition> {
        let (name, key, field) = match &relation.target {
            Target::Column(name) => (name, None, None),
            Target::Element(name, key) => (name, Some(key), None),
            Target::Field(name, field) => (name, None, Some(field)),
            _ => return Err(CqlError::syntax("unsupported condition")),
        };
        let (at, column) = self.table.column(name)?;
        if matches!(
            column.kind,
            ColumnKind::Partition(_) | ColumnKind::Clustering(_)
        ) {
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY column '{name}' cannot have IF conditions"
            )));
        }
        let mut ty = column.ty.clone();
        let mut element = None;
        if let Some(key) = key {
            element = Some(compile_key(compiler, key, &column.ty, name)?);
            ty = match &column.ty {
                CqlType::Map(_, value, _) => (**value).clone(),
                CqlType::List(item, _) => (**item).clone(),
                _ => ty,
            };
        }
        let mut field_at = None;
        if let Some(field) = field {
            let (number, field_ty) = field_of(&column.ty, field, name)?;
            (field_at, ty) = (Some(number), field_ty.clone());
        }
        let part = compile_part(compiler, relation.op, &relation.operand, &ty, name)?;
        Ok(ColumnCondition {
            column: at,
            element,
            field: field_at,
            op: relation.op,
            part,
        })
    }

    /// Who may bring a stamp or a TTL of their own.
    fn check_stamp(&self) -> CqlResult<()> {
        if self.is_conditional() && self.stamp.is_some() {
            return Err(CqlError::invalid(
                "Cannot provide custom timestamp for conditional updates",
            ));
        }
        if self.table.is_counter() {
            let what = match (&self.stamp, &self.ttl) {
                (Some(_), _) => "timestamp",
                (_, Some(_)) => "TTL",
                _ => "",
            };
            if self.is_conditional() {
                return Err(CqlError::invalid(
                    "Conditional updates are not supported on counter tables",
                ));
            }
            if !what.is_empty() {
                return Err(CqlError::invalid(format!(
                    "Cannot provide custom {what} for counter updates"
                )));
            }
        }
        Ok(())
    }

    /// The rules between the parts of a write.
    fn check(&self, modify: &Modify) -> CqlResult<()> {
        let table = &self.table;
        self.check_stamp()?;
        if self.json.is_some() {
            return Ok(());
        }
        let given = self.restrictions.given_clustering();
        if let Some((at, gap)) = self.restrictions.gap() {
            let columns = table.clustering();
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not \
                 restricted",
                columns[at].name, columns[gap].name
            )));
        }
        let full = given == table.clustering_len;
        let is_delete = matches!(modify.kind, ModifyKind::Delete { .. });
        if is_delete && self.delete_rows {
            if self.is_conditional() && !full {
                return Err(CqlError::invalid(
                    "DELETE statements must restrict all PRIMARY KEY columns with equality \
                     relations in order to delete non static columns",
                ));
            }
            return Ok(());
        }
        let touches_rows = self.edits.iter().any(|edit| !self.is_static(edit.column))
            || (self.edits.is_empty() && self.marker);
        if touches_rows && !full {
            if is_delete {
                return Err(CqlError::invalid(
                    "Range deletions are not supported for specific columns",
                ));
            }
            let missing: Vec<&str> = table.clustering()[given..]
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            return Err(CqlError::invalid(format!(
                "Some clustering keys are missing: {}",
                missing.join(", ")
            )));
        }
        if !touches_rows && self.restrictions.has_clustering() && !full {
            return Err(CqlError::invalid(
                "Invalid restrictions on clustering columns since the UPDATE statement modifies \
                 only static columns",
            ));
        }
        Ok(())
    }
}

fn compile_assign(
    compiler: &mut Compiler<'_>,
    assign: &Assign,
    ty: &CqlType,
    name: &str,
) -> CqlResult<Action> {
    let open = ty.is_multi_cell();
    match assign {
        Assign::Set(_) if *ty == CqlType::Counter => Err(CqlError::invalid(format!(
            "Cannot set the value of counter column {name} (counters can only be \
             incremented/decremented, not set)"
        ))),
        Assign::Set(term) => compiler.compile(term, ty, name).map(Action::Set),
        Assign::Add(term) => match ty {
            CqlType::Counter => compiler.compile(term, ty, name).map(Action::Add),
            CqlType::List(..) | CqlType::Set(..) | CqlType::Map(..) if open => {
                compiler.compile(term, ty, name).map(Action::Add)
            }
            _ => {
                let operation = format!("{name} = {name} + {}", show(term));
                Err(no_operation(&operation, ty, name))
            }
        },
        Assign::Prepend(term) => match ty {
            CqlType::List(..) if open => compiler.compile(term, ty, name).map(Action::Prepend),
            _ => {
                let operation = format!("{name} = {} + {name}", show(term));
                Err(no_operation(&operation, ty, name))
            }
        },
        Assign::Subtract(term) => match ty {
            CqlType::Counter => compiler.compile(term, ty, name).map(Action::Subtract),
            CqlType::List(..) | CqlType::Set(..) if open => {
                compiler.compile(term, ty, name).map(Action::Subtract)
            }
            CqlType::Map(key, _, _) if open => {
                let keys = CqlType::Set(key.clone(), false);
                compiler.compile(term, &keys, name).map(Action::Subtract)
            }
            _ => {
                let operation = format!("{name} = {name} - {}", show(term));
                Err(no_operation(&operation, ty, name))
            }
        },
        Assign::Element(key, value) => {
            let value_ty = match ty {
                CqlType::List(item, false) => item,
                CqlType::Map(_, value, false) => value,
                _ => {
                    return Err(CqlError::invalid(format!(
                        "Invalid operation ({name}[{}] = {}) for non collection column {name}",
                        show(key),
                        show(value)
                    )));
                }
            };
            let key = compile_key(compiler, key, ty, name)?;
            let value = compiler.compile(value, value_ty, &format!("value({name})"))?;
            Ok(Action::Element(key, Some(value)))
        }
        Assign::Field(field, value) => {
            if !open {
                return Err(no_operation(".", ty, name));
            }
            let (number, field_ty) = field_of(ty, field, name)?;
            let value = compiler.compile(value, field_ty, &format!("{name}.{field}"))?;
            Ok(Action::Field(number, Some(value)))
        }
    }
}

fn no_operation(operation: &str, ty: &CqlType, name: &str) -> CqlError {
    let kind = match ty {
        CqlType::List(..) | CqlType::Set(..) | CqlType::Map(..) => "frozen collection",
        CqlType::Udt(..) => "frozen user type",
        _ => "non counter",
    };
    CqlError::invalid(format!(
        "Invalid operation ({operation}) for {kind} column {name}"
    ))
}

/// A term as error messages show it.
pub(crate) fn show(term: &Term) -> String {
    let join = |items: &[Term]| items.iter().map(show).collect::<Vec<_>>().join(", ");
    match term {
        Term::Literal(LiteralKind::Text, text) => format!("'{text}'"),
        Term::Literal(_, text) => text.clone(),
        Term::List(items) => format!("[{}]", join(items)),
        Term::Set(items) => format!("{{{}}}", join(items)),
        Term::Null => "null".to_owned(),
        Term::Bind(_) => "?".to_owned(),
        _ => "…".to_owned(),
    }
}

/// What stands between the brackets of `c[…]`.
fn compile_key(
    compiler: &mut Compiler<'_>,
    key: &Term,
    ty: &CqlType,
    name: &str,
) -> CqlResult<Expr> {
    match ty {
        CqlType::Map(key_ty, _, _) => compiler.compile(key, key_ty, &format!("key({name})")),
        CqlType::Set(item, _) => compiler.compile(key, item, &format!("value({name})")),
        CqlType::List(..) => compiler.compile(key, &CqlType::Int, &format!("idx({name})")),
        _ => Err(CqlError::invalid(format!(
            "Invalid element access syntax for non-collection column {name}"
        ))),
    }
}

/// Number and type of a user type's field.
pub(crate) fn field_of<'t>(
    ty: &'t CqlType,
    field: &str,
    name: &str,
) -> CqlResult<(usize, &'t CqlType)> {
    let CqlType::Udt(udt, _) = ty else {
        return Err(CqlError::invalid(format!(
            "{name} of type {} has no fields",
            ty.name()
        )));
    };
    let found = udt
        .fields
        .iter()
        .enumerate()
        .find(|(_, (known, _))| known == field);
    found.map(|(at, (_, ty))| (at, ty)).ok_or_else(|| {
        CqlError::invalid(format!(
            "UDT column {name} does not have a field named {field}"
        ))
    })
}
