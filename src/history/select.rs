//! What to ask a cluster for: the rows of a token range, or one row, with the writetime and TTL of
//! all that has one. Pure.

use super::schema::{Column, Shape, Table};

/// Which part of a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Pass {
    /// The rows: keys and regular columns.
    Rows,
    /// The partitions: partition keys and static columns, also where there are no rows.
    Statics,
}

impl Pass {
    /// Its name in checkpoints and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pass::Rows => "rows",
            Pass::Statics => "statics",
        }
    }
}

/// A column that is read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub column: Column,
    /// Its writetime and TTL follow it in the row.
    pub is_stamped: bool,
}

/// How one pass over a table is read. A row is: token, key, then each wanted column.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub pass: Pass,
    pub key: Vec<Column>,
    pub wanted: Vec<Wanted>,
    /// Text for a token range: binds the token before it and the last one in it.
    pub range_text: String,
    /// Text for one row or, for statics, one partition: binds the key.
    pub one_text: String,
}

impl Select {
    /// `per_element`: the cluster tells writetime and TTL of each element of a collection
    /// (Cassandra 5.0).
    pub(crate) fn new(
        table: &Table,
        pass: Pass,
        per_element: bool,
        condition: Option<&str>,
    ) -> Select {
        let mut key = table.partition_key.clone();
        let columns = match pass {
            Pass::Rows => {
                key.extend(table.clustering.iter().cloned());
                &table.regulars
            }
            Pass::Statics => &table.statics,
        };
        let wanted: Vec<Wanted> = columns
            .iter()
            .map(|column| Wanted {
                is_stamped: column.shape != Shape::Counter
                    && (per_element || !column.is_multi_cell()),
                column: column.clone(),
            })
            .collect();
        let partition = list(&table.partition_key);
        let mut selected = vec![format!("token({partition})"), list(&key)];
        for one in &wanted {
            let name = one.column.quoted();
            if one.is_stamped {
                selected.push(format!("{name}, writetime({name}), ttl({name})"));
            } else {
                selected.push(name);
            }
        }
        let distinct = if pass == Pass::Statics {
            "DISTINCT "
        } else {
            ""
        };
        let from = format!(
            "SELECT {distinct}{} FROM {} WHERE",
            selected.join(", "),
            table.quoted()
        );
        let filter = condition
            .filter(|_| pass == Pass::Rows)
            .map(|condition| format!(" AND {condition} ALLOW FILTERING"))
            .unwrap_or_default();
        Select {
            pass,
            range_text: format!(
                "{from} token({partition}) > ? AND token({partition}) <= ?{filter}"
            ),
            one_text: format!("{from} {}", conditions(&key)),
            key,
            wanted,
        }
    }
}

impl Select {
    pub(crate) fn is_statics(&self) -> bool {
        self.pass == Pass::Statics
    }

    /// The names of the columns that are read, key left out.
    pub(crate) fn names(&self) -> String {
        let columns: Vec<_> = self.wanted.iter().map(|one| one.column.clone()).collect();
        list(&columns)
    }
}

/// The passes that a table needs.
pub(crate) fn passes(table: &Table) -> Vec<Pass> {
    match table.statics.is_empty() {
        true => vec![Pass::Rows],
        false => vec![Pass::Rows, Pass::Statics],
    }
}

/// Column names, comma separated.
pub(crate) fn list(columns: &[Column]) -> String {
    columns
        .iter()
        .map(Column::quoted)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `a = ? AND b = ?`.
pub(crate) fn conditions(key: &[Column]) -> String {
    let each: Vec<_> = key
        .iter()
        .map(|column| format!("{} = ?", column.quoted()))
        .collect();
    each.join(" AND ")
}
