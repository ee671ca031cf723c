//! CQL types: their names, and their `[option]` on the wire.

use std::rc::Rc;

use super::error::push_string;

/// The type of a column, a bind marker or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CqlType {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Float,
    Inet,
    Int,
    Smallint,
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varint,
    /// Element type; the flag says frozen.
    List(Box<CqlType>, bool),
    /// Element type; the flag says frozen.
    Set(Box<CqlType>, bool),
    /// Key and value type; the flag says frozen.
    Map(Box<CqlType>, Box<CqlType>, bool),
    Tuple(Vec<CqlType>),
    /// The flag says frozen.
    Udt(Rc<UserType>, bool),
}

/// What CREATE TYPE made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserType {
    pub(crate) keyspace: String,
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, CqlType)>,
}

const NATIVE: [(&str, CqlType, u16); 20] = [
    ("ascii", CqlType::Ascii, 0x01),
    ("bigint", CqlType::Bigint, 0x02),
    ("blob", CqlType::Blob, 0x03),
    ("boolean", CqlType::Boolean, 0x04),
    ("counter", CqlType::Counter, 0x05),
    ("decimal", CqlType::Decimal, 0x06),
    ("double", CqlType::Double, 0x07),
    ("float", CqlType::Float, 0x08),
    ("int", CqlType::Int, 0x09),
    ("timestamp", CqlType::Timestamp, 0x0B),
    ("uuid", CqlType::Uuid, 0x0C),
    ("text", CqlType::Text, 0x0D),
    ("varint", CqlType::Varint, 0x0E),
    ("timeuuid", CqlType::Timeuuid, 0x0F),
    ("inet", CqlType::Inet, 0x10),
    ("date", CqlType::Date, 0x11),
    ("time", CqlType::Time, 0x12),
    ("smallint", CqlType::Smallint, 0x13),
    ("tinyint", CqlType::Tinyint, 0x14),
    ("duration", CqlType::Duration, 0x15),
];

impl CqlType {
    /// The native type of this name, in lower case.
    pub(crate) fn native(name: &str) -> Option<CqlType> {
        let name = if name == "varchar" { "text" } else { name };
        NATIVE
            .iter()
            .find(|(known, _, _)| *known == name)
            .map(|(_, ty, _)| ty.clone())
    }

    /// True when a column of this type has one cell per element.
    pub(crate) fn is_multi_cell(&self) -> bool {
        matches!(
            self,
            CqlType::List(_, false)
                | CqlType::Set(_, false)
                | CqlType::Map(_, _, false)
                | CqlType::Udt(_, false)
        )
    }

    pub(crate) fn is_collection(&self) -> bool {
        matches!(
            self,
            CqlType::List(..) | CqlType::Set(..) | CqlType::Map(..)
        )
    }

    /// This type with everything in it frozen.
    pub(crate) fn freeze(&self) -> CqlType {
        match self {
            CqlType::List(item, _) => CqlType::List(Box::new(item.freeze()), true),
            CqlType::Set(item, _) => CqlType::Set(Box::new(item.freeze()), true),
            CqlType::Map(key, value, _) => {
                CqlType::Map(Box::new(key.freeze()), Box::new(value.freeze()), true)
            }
            CqlType::Tuple(items) => CqlType::Tuple(items.iter().map(CqlType::freeze).collect()),
            CqlType::Udt(udt, _) => CqlType::Udt(Rc::clone(udt), true),
            other => other.clone(),
        }
    }

    /// This type with each mention of the user type of `new`'s name replaced by `new`.
    pub(crate) fn with_udt(&self, new: &Rc<UserType>) -> CqlType {
        match self {
            CqlType::List(item, f) => CqlType::List(Box::new(item.with_udt(new)), *f),
            CqlType::Set(item, f) => CqlType::Set(Box::new(item.with_udt(new)), *f),
            CqlType::Map(key, value, f) => CqlType::Map(
                Box::new(key.with_udt(new)),
                Box::new(value.with_udt(new)),
                *f,
            ),
            CqlType::Tuple(items) => {
                CqlType::Tuple(items.iter().map(|item| item.with_udt(new)).collect())
            }
            CqlType::Udt(udt, f) if udt.name == new.name => CqlType::Udt(Rc::clone(new), *f),
            CqlType::Udt(udt, f) => {
                let fields = udt
                    .fields
                    .iter()
                    .map(|(n, ty)| (n.clone(), ty.with_udt(new)))
                    .collect();
                let udt = UserType {
                    keyspace: udt.keyspace.clone(),
                    name: udt.name.clone(),
                    fields,
                };
                CqlType::Udt(Rc::new(udt), *f)
            }
            other => other.clone(),
        }
    }

    /// True when the user type `name` is named anywhere in this type.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        match self {
            CqlType::List(item, _) | CqlType::Set(item, _) => item.mentions(name),
            CqlType::Map(key, value, _) => key.mentions(name) || value.mentions(name),
            CqlType::Tuple(items) => items.iter().any(|item| item.mentions(name)),
            CqlType::Udt(udt, _) => {
                udt.name == name || udt.fields.iter().any(|(_, ty)| ty.mentions(name))
            }
            _ => false,
        }
    }

    /// The name as `system_schema.columns.type` and error messages have it.
    pub(crate) fn name(&self) -> String {
        let frozen = |inner: String, frozen: bool| {
            if frozen {
                format!("frozen<{inner}>")
            } else {
                inner
            }
        };
        match self {
            CqlType::List(item, f) => frozen(format!("list<{}>", item.name()), *f),
            CqlType::Set(item, f) => frozen(format!("set<{}>", item.name()), *f),
            CqlType::Map(key, value, f) => {
                frozen(format!("map<{}, {}>", key.name(), value.name()), *f)
            }
            CqlType::Tuple(items) => {
                let items: Vec<String> = items.iter().map(CqlType::name).collect();
                format!("frozen<tuple<{}>>", items.join(", "))
            }
            CqlType::Udt(udt, f) => frozen(quote_name(&udt.name), *f),
            native => NATIVE
                .iter()
                .find(|(_, ty, _)| ty == native)
                .map_or_else(String::new, |(name, _, _)| (*name).to_owned()),
        }
    }

    /// Appends the `[option]` of section 4.2.5.2 of the protocol.
    pub(crate) fn push_option(&self, out: &mut Vec<u8>) {
        match self {
            CqlType::List(item, _) => {
                out.extend_from_slice(&0x20u16.to_be_bytes());
                item.push_option(out);
            }
            CqlType::Map(key, value, _) => {
                out.extend_from_slice(&0x21u16.to_be_bytes());
                key.push_option(out);
                value.push_option(out);
            }
            CqlType::Set(item, _) => {
                out.extend_from_slice(&0x22u16.to_be_bytes());
                item.push_option(out);
            }
            CqlType::Udt(udt, _) => {
                out.extend_from_slice(&0x30u16.to_be_bytes());
                push_string(out, &udt.keyspace);
                push_string(out, &udt.name);
                push_count(out, udt.fields.len());
                for (name, ty) in &udt.fields {
                    push_string(out, name);
                    ty.push_option(out);
                }
            }
            CqlType::Tuple(items) => {
                out.extend_from_slice(&0x31u16.to_be_bytes());
                push_count(out, items.len());
                for item in items {
                    item.push_option(out);
                }
            }
            // No number of its own before protocol v5.
            CqlType::Duration => {
                out.extend_from_slice(&0u16.to_be_bytes());
                push_string(out, "org.apache.cassandra.db.marshal.DurationType");
            }
            native => {
                let id = NATIVE
                    .iter()
                    .find(|(_, ty, _)| ty == native)
                    .map_or(0x03, |(_, _, id)| *id);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
    }
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

/// An identifier in double quotes when it would not be read back as it is without them.
pub(crate) fn quote_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
