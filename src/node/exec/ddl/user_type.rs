//! User types.

use std::rc::Rc;

use crate::node::error::{CqlError, CqlResult};
use crate::node::parser::ast::{AlterType, RawType};
use crate::node::schema::Table;
use crate::node::types::{CqlType, UserType};

use super::super::{Engine, SchemaChange};
use super::change;

pub(super) fn create_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
    fields: &[(String, RawType)],
) -> CqlResult<Option<SchemaChange>> {
    let Some(known) = engine.schema.keyspaces.get(keyspace) else {
        return Err(CqlError::invalid(format!(
            "Keyspace '{keyspace}' doesn't exist"
        )));
    };
    if known.types.contains_key(name) {
        return if quiet {
            Ok(None)
        } else {
            Err(CqlError::invalid(format!(
                "A user type with name '{name}' already exists"
            )))
        };
    }
    let mut all = Vec::with_capacity(fields.len());
    for (field, raw) in fields {
        let ty = engine.schema.resolve(keyspace, raw)?;
        if matches!(ty, CqlType::Udt(_, false)) {
            return Err(CqlError::invalid(
                "Non-frozen UDTs are not allowed inside UDTs",
            ));
        }
        all.push((field.clone(), ty));
    }
    let udt = UserType {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        fields: all,
    };
    engine
        .schema
        .keyspace_mut(keyspace)?
        .types
        .insert(name.to_owned(), Rc::new(udt));
    Ok(change("CREATED", "TYPE", keyspace, name))
}

fn no_type(keyspace: &str, name: &str) -> CqlError {
    CqlError::invalid(format!("Type '{keyspace}.{name}' doesn't exist"))
}

pub(super) fn alter_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
    alter: &AlterType,
) -> CqlResult<Option<SchemaChange>> {
    let found = engine.schema.keyspace(keyspace)?.types.get(name);
    let Some(old) = found else {
        return if quiet {
            Ok(None)
        } else {
            Err(no_type(keyspace, name))
        };
    };
    let mut udt = UserType::clone(old);
    match alter {
        AlterType::Add(field, raw) => {
            if udt.fields.iter().any(|(known, _)| known == field) {
                return Err(CqlError::invalid(format!(
                    "Cannot add field {field} to type {keyspace}.{name}: a field with name \
                     {field} already exists"
                )));
            }
            let ty = engine.schema.resolve(keyspace, raw)?;
            udt.fields.push((field.clone(), ty));
        }
        AlterType::Rename(pairs) => {
            for (from, to) in pairs {
                let field = udt.fields.iter_mut().find(|(known, _)| known == from);
                let field = field.ok_or_else(|| {
                    CqlError::invalid(format!(
                        "Unkown field {from} in user type {keyspace}.{name}"
                    ))
                })?;
                field.0.clone_from(to);
            }
        }
    }
    let udt = Rc::new(udt);
    let keyspace_mut = engine.schema.keyspace_mut(keyspace)?;
    for table in keyspace_mut.tables.values_mut() {
        if table.columns.iter().any(|column| column.ty.mentions(name)) {
            let mut fresh = Table::clone(table);
            for column in &mut fresh.columns {
                column.ty = column.ty.with_udt(&udt);
            }
            *table = Rc::new(fresh);
        }
    }
    for other in keyspace_mut.types.values_mut() {
        if other.fields.iter().any(|(_, ty)| ty.mentions(name)) {
            let mut fresh = UserType::clone(other);
            for (_, ty) in &mut fresh.fields {
                *ty = ty.with_udt(&udt);
            }
            *other = Rc::new(fresh);
        }
    }
    keyspace_mut.types.insert(name.to_owned(), udt);
    Ok(change("UPDATED", "TYPE", keyspace, name))
}

pub(super) fn drop_type(
    engine: &mut Engine,
    keyspace: &str,
    name: &str,
    quiet: bool,
) -> CqlResult<Option<SchemaChange>> {
    let known = engine.schema.keyspace_mut(keyspace)?;
    if !known.types.contains_key(name) {
        return if quiet {
            Ok(None)
        } else {
            Err(no_type(keyspace, name))
        };
    }
    let user = known
        .tables
        .values()
        .find(|table| table.columns.iter().any(|column| column.ty.mentions(name)));
    if let Some(table) = user {
        return Err(CqlError::invalid(format!(
            "Cannot drop user type '{keyspace}.{name}' as it is still used by tables {}",
            table.name
        )));
    }
    known.types.remove(name);
    Ok(change("DROPPED", "TYPE", keyspace, name))
}
