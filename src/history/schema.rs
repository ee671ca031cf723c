//! A table as the cluster describes it: key, columns, and how each column is stored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;

/// How a column is stored, and so how many writetimes it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One cell: native types, and everything frozen.
    Single,
    /// A cell for each element.
    List,
    /// A cell for each element.
    Set,
    /// A cell for each entry.
    Map,
    /// A cell for each of these fields.
    Udt(Vec<String>),
    /// A number without writetime.
    Counter,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    /// The type, in CQL.
    pub cql_type: String,
    pub shape: Shape,
}

impl Column {
    /// The name as it must stand in CQL.
    pub(crate) fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// Whether it is stored cell by cell.
    pub(crate) fn is_multi_cell(&self) -> bool {
        !matches!(self.shape, Shape::Single | Shape::Counter)
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub keyspace: String,
    pub name: String,
    pub partition_key: Vec<Column>,
    pub clustering: Vec<Column>,
    pub statics: Vec<Column>,
    pub regulars: Vec<Column>,
    /// 0: none.
    pub default_ttl_s: i64,
    pub gc_grace_s: i64,
    /// WITH COMPACT STORAGE and without clustering key.
    pub is_static_compact: bool,
    /// The user may see masks in the place of its values.
    pub is_masked: bool,
}

impl Table {
    /// `"keyspace"."table"`.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.keyspace), quote(&self.name))
    }

    /// `keyspace.table`, for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    pub(crate) fn is_counter(&self) -> bool {
        let mut values = self.regulars.iter().chain(&self.statics);
        values.any(|column| column.shape == Shape::Counter)
    }

    /// Why its rows cannot be read by name and type; none if they can.
    pub(crate) fn unreadable(&self) -> Option<String> {
        if self.is_static_compact {
            return Some(
                "WITH COMPACT STORAGE and without clustering key it lists columns that no SELECT \
                 may name; use another tool for this table, or DROP COMPACT STORAGE first"
                    .to_owned(),
            );
        }
        if self.is_masked {
            return Some(
                "it has masked columns, and the source's user cannot be seen to have UNMASK for \
                 it; grant that, or name another --source-username"
                    .to_owned(),
            );
        }
        let key = self.partition_key.iter().chain(&self.clustering);
        let mut columns = key.chain(&self.statics).chain(&self.regulars);
        let column = columns.find(|column| is_custom(column))?;
        Some(format!(
            "column {} has the type {}, which only the cluster itself can read; use another tool \
             for this table",
            column.name, column.cql_type
        ))
    }

    /// What keeps cells of this table from being written to `other`; none if nothing does.
    pub(crate) fn differs_from(&self, other: &Table) -> Option<String> {
        if self.unreadable().is_some() {
            return None; // it is left out, whatever the other is
        }
        let kinds = [
            ("partition key", &self.partition_key, &other.partition_key),
            ("clustering key", &self.clustering, &other.clustering),
            ("static columns", &self.statics, &other.statics),
            ("regular columns", &self.regulars, &other.regulars),
        ];
        for (kind, here, there) in kinds {
            if here != there {
                let list = |columns: &[Column]| {
                    let names = columns
                        .iter()
                        .map(|column| format!("{} {}", column.name, column.cql_type));
                    names.collect::<Vec<_>>().join(", ")
                };
                return Some(format!(
                    "{kind}: ({}) at the source, ({}) at the target",
                    list(here),
                    list(there)
                ));
            }
        }
        None
    }
}

/// A name as it must stand in CQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables of a keyspace, by name; materialized views are none.
pub(crate) async fn load(session: &Session, keyspace: &str) -> Result<BTreeMap<String, Table>> {
    let types = user_types(session, keyspace).await?;
    let mut tables = BTreeMap::new();
    let text = "SELECT table_name, default_time_to_live, gc_grace_seconds, flags \
                FROM system_schema.tables WHERE keyspace_name = ?";
    type Row = (String, Option<i32>, Option<i32>, Option<Vec<String>>);
    for (name, ttl, grace, flags) in rows::<Row>(session, text, keyspace).await? {
        let flags = flags.unwrap_or_default();
        let has = |flag: &str| flags.iter().any(|one| one == flag);
        let table = Table {
            keyspace: keyspace.to_owned(),
            name: name.clone(),
            partition_key: Vec::new(),
            clustering: Vec::new(),
            statics: Vec::new(),
            regulars: Vec::new(),
            default_ttl_s: ttl.unwrap_or(0).into(),
            gc_grace_s: grace.unwrap_or(0).into(),
            // as TableMetadata.isStaticCompactTable of Cassandra has it
            is_static_compact: !has("compound") && !has("dense") && !has("super"),
            is_masked: false,
        };
        tables.insert(name, table);
    }
    let text = "SELECT table_name, column_name, kind, position, type \
                FROM system_schema.columns WHERE keyspace_name = ?";
    let mut columns =
        rows::<(String, String, String, i32, String)>(session, text, keyspace).await?;
    columns.sort_by_key(|(_, name, _, position, _)| (*position, name.clone()));
    for (table, name, kind, _, cql_type) in columns {
        let Some(table) = tables.get_mut(&table) else {
            continue; // a view's
        };
        let shape = shape(&cql_type, &types);
        let column = Column {
            name,
            cql_type,
            shape,
        };
        match kind.as_str() {
            "partition_key" => table.partition_key.push(column),
            "clustering" => table.clustering.push(column),
            "static" => table.statics.push(column),
            "regular" => table.regulars.push(column),
            other => bail!("{}: a column of unknown kind {other}", table.shown()),
        }
    }
    for table in tables.values() {
        ensure!(
            !table.partition_key.is_empty(),
            "{}: no partition key",
            table.shown()
        );
    }
    Ok(tables)
}

type UserTypes = BTreeMap<String, Vec<String>>;

async fn user_types(session: &Session, keyspace: &str) -> Result<UserTypes> {
    let text = "SELECT type_name, field_names FROM system_schema.types WHERE keyspace_name = ?";
    Ok(rows::<(String, Vec<String>)>(session, text, keyspace)
        .await?
        .into_iter()
        .collect())
}

async fn rows<R>(session: &Session, text: &str, keyspace: &str) -> Result<Vec<R>>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let what = || format!("cannot read the schema of keyspace {keyspace}");
    let answer = session
        .query_unpaged(text, (keyspace,))
        .await
        .with_context(what)?;
    let rows = answer.into_rows_result().with_context(what)?;
    let rows = rows.rows::<R>().with_context(what)?;
    rows.collect::<Result<_, _>>().with_context(what)
}

/// Whether only classes of the cluster can read it: the name of one stands in the type, such as
/// `'org.apache.cassandra.db.marshal.LexicalUUIDType'`, in single quotes, outside of double ones;
/// or it is `empty`, which DROP COMPACT STORAGE leaves behind and no driver knows.
fn is_custom(column: &Column) -> bool {
    let mut outside = column.cql_type.split('"').step_by(2);
    let class = outside.any(|part| part.contains('\''));
    class || (column.cql_type == "empty" && column.shape == Shape::Single)
}

/// How a column of this type is stored.
fn shape(cql_type: &str, types: &UserTypes) -> Shape {
    let head = cql_type.split('<').next().unwrap_or_default();
    match head {
        "list" => Shape::List,
        "set" => Shape::Set,
        "map" => Shape::Map,
        "counter" => Shape::Counter,
        _ => {
            let bare = cql_type
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .map(|inner| inner.replace("\"\"", "\""));
            let name = bare.as_deref().unwrap_or(cql_type);
            types
                .get(name)
                .map_or(Shape::Single, |fields| Shape::Udt(fields.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_from_names() {
        let column = |cql_type: &str, shape| Column {
            name: "v".to_owned(),
            cql_type: cql_type.to_owned(),
            shape,
        };
        let class = "'org.apache.cassandra.db.marshal.LexicalUUIDType'";
        for custom in [class, &format!("frozen<map<text, {class}>>"), "empty"] {
            assert!(is_custom(&column(custom, Shape::Single)), "{custom}");
        }
        for other in ["map<text, int>", "\"it's\"", "list<frozen<\"a\"\"'b\">>"] {
            assert!(!is_custom(&column(other, Shape::Single)), "{other}");
        }
        assert!(!is_custom(&column("empty", Shape::Udt(Vec::new()))));
    }

    #[test]
    fn only_what_is_not_frozen_is_stored_cell_by_cell() {
        let fields = vec!["a".to_owned()];
        let types: UserTypes = [("addr", &fields), ("Odd \"Name", &fields)]
            .map(|(name, fields)| (name.to_owned(), fields.clone()))
            .into();
        let single = [
            "int",
            "frozen<list<int>>",
            "frozen<addr>",
            "frozen<tuple<int, text>>",
            "vector<float, 3>",
        ];
        for text in single {
            assert_eq!(shape(text, &types), Shape::Single, "{text}");
        }
        assert_eq!(shape("list<int>", &types), Shape::List);
        assert_eq!(shape("set<frozen<addr>>", &types), Shape::Set);
        assert_eq!(shape("map<text, int>", &types), Shape::Map);
        assert_eq!(shape("counter", &types), Shape::Counter);
        assert_eq!(shape("addr", &types), Shape::Udt(fields.clone()));
        assert_eq!(shape("\"Odd \"\"Name\"", &types), Shape::Udt(fields));
    }
}
