//! Keyspaces, tables, types: what the data looks like.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::error::{CqlError, CqlResult};
use super::parser::ast::{QName, RawType};
use super::store::row::ColumnId;
use super::types::{CqlType, UserType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Place in the partition key.
    Partition(usize),
    /// Place among the clustering columns.
    Clustering(usize),
    Static,
    Regular,
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnDef {
    pub(crate) id: ColumnId,
    pub(crate) name: String,
    pub(crate) ty: CqlType,
    pub(crate) kind: ColumnKind,
    pub(crate) descending: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) column: String,
}

/// One table; replaced as a whole when it is altered.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Names its data; never given again.
    pub(crate) id: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) keyspace: String,
    pub(crate) name: String,
    /// In the order of `SELECT *`: partition key, clustering, statics and regulars by name.
    pub(crate) columns: Vec<ColumnDef>,
    by_name: HashMap<String, usize>,
    pub(crate) partition_len: usize,
    pub(crate) clustering_len: usize,
    pub(crate) next_column: ColumnId,
    pub(crate) default_ttl_s: i32,
    pub(crate) gc_grace_s: i32,
    pub(crate) comment: String,
    pub(crate) indexes: Vec<Index>,
}

impl Table {
    /// Sorts the columns into place and numbers them for look-up by name.
    pub(crate) fn finish(mut self) -> Table {
        let rank = |column: &ColumnDef| match column.kind {
            ColumnKind::Partition(at) => (0, at),
            ColumnKind::Clustering(at) => (1, at),
            ColumnKind::Static => (2, 0),
            ColumnKind::Regular => (3, 0),
        };
        self.columns
            .sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
        self.by_name = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| (column.name.clone(), i))
            .collect();
        let count = |of: fn(&ColumnKind) -> bool| {
            self.columns
                .iter()
                .filter(|column| of(&column.kind))
                .count()
        };
        let partition_len = count(|kind| matches!(kind, ColumnKind::Partition(_)));
        let clustering_len = count(|kind| matches!(kind, ColumnKind::Clustering(_)));
        (self.partition_len, self.clustering_len) = (partition_len, clustering_len);
        self
    }

    /// A table without columns.
    pub(crate) fn empty(keyspace: &str, name: &str, id: u32, uuid: [u8; 16]) -> Table {
        Table {
            id,
            uuid,
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            by_name: HashMap::new(),
            partition_len: 0,
            clustering_len: 0,
            next_column: 0,
            default_ttl_s: 0,
            gc_grace_s: 864_000,
            comment: String::new(),
            indexes: Vec::new(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<(usize, &ColumnDef)> {
        let at = *self.by_name.get(name)?;
        self.columns.get(at).map(|column| (at, column))
    }

    /// The column, or the error that Cassandra gives.
    pub(crate) fn column(&self, name: &str) -> CqlResult<(usize, &ColumnDef)> {
        self.find(name).ok_or_else(|| {
            CqlError::invalid(format!(
                "Undefined column name {name} in table {}",
                self.full_name()
            ))
        })
    }

    pub(crate) fn full_name(&self) -> String {
        let quote = super::types::quote_name;
        format!("{}.{}", quote(&self.keyspace), quote(&self.name))
    }

    pub(crate) fn partition(&self) -> &[ColumnDef] {
        &self.columns[..self.partition_len]
    }

    pub(crate) fn clustering(&self) -> &[ColumnDef] {
        &self.columns[self.partition_len..self.partition_len + self.clustering_len]
    }

    pub(crate) fn is_counter(&self) -> bool {
        self.columns
            .iter()
            .any(|column| column.ty == CqlType::Counter)
    }

    pub(crate) fn has_index(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| index.column == column)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    pub(crate) name: String,
    pub(crate) replication: Vec<(String, String)>,
    pub(crate) durable_writes: bool,
    pub(crate) tables: BTreeMap<String, Rc<Table>>,
    pub(crate) types: BTreeMap<String, Rc<UserType>>,
}

/// All keyspaces, and how often they changed.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) keyspaces: BTreeMap<String, Keyspace>,
    /// Grows with each change.
    pub(crate) version: u64,
    pub(crate) next_table: u32,
}

impl Schema {
    /// The keyspace a name means, given the session's.
    pub(crate) fn keyspace_of<'n>(
        &self,
        name: &'n QName,
        session: Option<&'n str>,
    ) -> CqlResult<&'n str> {
        name.keyspace.as_deref().or(session).ok_or_else(|| {
            CqlError::invalid(
                "No keyspace has been specified. USE a keyspace, or explicitly specify \
                 keyspace.tablename",
            )
        })
    }

    pub(crate) fn keyspace(&self, name: &str) -> CqlResult<&Keyspace> {
        self.keyspaces
            .get(name)
            .ok_or_else(|| CqlError::invalid(format!("keyspace {name} does not exist")))
    }

    pub(crate) fn keyspace_mut(&mut self, name: &str) -> CqlResult<&mut Keyspace> {
        self.keyspaces
            .get_mut(name)
            .ok_or_else(|| CqlError::invalid(format!("keyspace {name} does not exist")))
    }

    pub(crate) fn table(&self, name: &QName, session: Option<&str>) -> CqlResult<&Rc<Table>> {
        let keyspace = self.keyspace(self.keyspace_of(name, session)?)?;
        keyspace
            .tables
            .get(&name.name)
            .ok_or_else(|| CqlError::no_table(&name.name))
    }

    /// The type that a raw type means in this keyspace.
    pub(crate) fn resolve(&self, keyspace: &str, raw: &RawType) -> CqlResult<CqlType> {
        match raw {
            RawType::Named(name) => self.resolve_name(keyspace, name),
            RawType::List(item) => Ok(CqlType::List(self.inner(keyspace, item)?, false)),
            RawType::Set(item) => Ok(CqlType::Set(self.inner(keyspace, item)?, false)),
            RawType::Map(key, value) => Ok(CqlType::Map(
                self.inner(keyspace, key)?,
                self.inner(keyspace, value)?,
                false,
            )),
            RawType::Tuple(items) => {
                let items: CqlResult<Vec<CqlType>> = items
                    .iter()
                    .map(|item| Ok(self.resolve(keyspace, item)?.freeze()))
                    .collect();
                Ok(CqlType::Tuple(items?))
            }
            RawType::Frozen(inner) => Ok(self.resolve(keyspace, inner)?.freeze()),
            RawType::Custom(class) => custom_type(class),
        }
    }

    fn inner(&self, keyspace: &str, raw: &RawType) -> CqlResult<Box<CqlType>> {
        let ty = self.resolve(keyspace, raw)?;
        if ty.is_multi_cell() {
            return Err(CqlError::invalid(format!(
                "Non-frozen {} are not allowed inside collections: {}",
                if ty.is_collection() {
                    "collections"
                } else {
                    "UDTs"
                },
                ty.name()
            )));
        }
        if ty == CqlType::Counter {
            return Err(CqlError::invalid(
                "Counters are not allowed inside collections",
            ));
        }
        Ok(Box::new(ty))
    }

    fn resolve_name(&self, keyspace: &str, name: &QName) -> CqlResult<CqlType> {
        if name.keyspace.is_none()
            && let Some(native) = CqlType::native(&name.name)
        {
            return Ok(native);
        }
        let keyspace = name.keyspace.as_deref().unwrap_or(keyspace);
        let udt = self.keyspace(keyspace)?.types.get(&name.name);
        udt.map(|udt| CqlType::Udt(Rc::clone(udt), false))
            .ok_or_else(|| CqlError::invalid(format!("Unknown type {keyspace}.{}", name.name)))
    }
}

/// `'org.apache.cassandra.db.marshal.UTF8Type'` and its simple kin.
fn custom_type(class: &str) -> CqlResult<CqlType> {
    let short = class.rsplit('.').next().unwrap_or(class);
    let name = match short {
        "UTF8Type" => "text",
        "AsciiType" => "ascii",
        "LongType" => "bigint",
        "Int32Type" => "int",
        "BytesType" => "blob",
        "UUIDType" => "uuid",
        "TimeUUIDType" => "timeuuid",
        "BooleanType" => "boolean",
        "TimestampType" | "DateType" => "timestamp",
        _ => "",
    };
    CqlType::native(name)
        .ok_or_else(|| CqlError::invalid(format!("Unable to find custom type '{class}'")))
}
