//! How often a statement may be sent: what its columns are decides.

use crate::spill::{Kind as RecordKind, Repeat};
use crate::statement::{self, Assignment, Kind, Operation, Statement, Value, ValueKind};
use crate::tables::{Shape, Tables};

/// What the source said about a bind marker when it prepared a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindKind {
    /// A list, frozen or not.
    List,
    /// A counter.
    Counter,
    /// The index of a list element (`l[?] = …`), which the server names `idx(l)`.
    ListIndex,
    /// Anything else: writing it twice is writing it once.
    Other,
}

impl BindKind {
    /// By the marker's name and the number of its type (native protocol v4, section 4.2.5.2).
    #[must_use]
    pub fn of(name: &str, type_number: u16) -> Self {
        match type_number {
            0x0005 => Self::Counter,
            0x0020 => Self::List,
            _ if name.starts_with("idx(") => Self::ListIndex,
            _ => Self::Other,
        }
    }
}

/// How often it may be sent, and what a record calls it.
///
/// The column's shape decides, if it is known; else what the source said about the markers; else
/// the form of the values, on the side of care.
#[must_use]
pub fn of(
    statement: &Statement,
    binds: &[BindKind],
    text: &str,
    session: Option<&str>,
    tables: &Tables,
) -> (Repeat, RecordKind) {
    match statement.kind {
        Kind::Ddl(..) => return (Repeat::Free, RecordKind::Ddl),
        Kind::Truncate => return (Repeat::Free, RecordKind::Truncate),
        Kind::Batch(statement::BatchType::Counter) => return (Repeat::Once, RecordKind::Counter),
        _ => {}
    }
    if binds.contains(&BindKind::Counter) {
        return (Repeat::Once, RecordKind::Counter);
    }
    let mut worst = (Repeat::Free, RecordKind::Write);
    for mutation in &statement.mutations {
        let keyspace = mutation.table.keyspace_or(session).unwrap_or_default();
        let table = tables.get(keyspace, &mutation.table.name);
        let assigned = mutation.assignments.iter().map(|assignment| {
            let column = table.and_then(|table| table.column(&assignment.column));
            match column {
                // what no single cell can take: the table is another since it was read
                Some(column) if column.shape == Shape::Single && changes_part(assignment) => {
                    by_form(assignment, binds, text, true)
                }
                Some(column) => by_shape(assignment, column.shape),
                None => by_form(assignment, binds, text, !tables.is_empty()),
            }
        });
        let shown = table.filter(|table| !table.columns.is_empty());
        let json = mutation.json.filter(|json| match shown {
            // what the document leaves out becomes null, a list too
            Some(table) => table.has_shape(Shape::List),
            None => may_hold_list(*json, text),
        });
        for found in assigned.chain(json.map(|_| (Repeat::Bump, RecordKind::List))) {
            worst = if found.0 > worst.0 { found } else { worst };
        }
    }
    // a stamp in the text cannot be raised by one: then the second try is out
    if worst.0 == Repeat::Bump && statement.has_timestamp() {
        worst.0 = Repeat::Once;
    }
    worst
}

/// A JSON document without `[` writes no list.
fn may_hold_list(json: Value, text: &str) -> bool {
    match json.kind {
        ValueKind::Literal => json.span.of(text).contains('['),
        _ => true,
    }
}

const FREE: (Repeat, RecordKind) = (Repeat::Free, RecordKind::Write);

fn by_shape(assignment: &Assignment, shape: Shape) -> (Repeat, RecordKind) {
    let whole = assignment.operation == Operation::Set;
    match (shape, assignment.operation) {
        (Shape::Counter, Operation::Delete) => FREE,
        (Shape::Counter, _) => (Repeat::Once, RecordKind::Counter),
        (Shape::List, Operation::Delete) => FREE,
        // null too: what follows by index must find the list gone
        (Shape::List, _) if whole => (Repeat::Bump, RecordKind::List),
        (Shape::List, _) => (Repeat::Once, RecordKind::List),
        (Shape::Single | Shape::Set | Shape::Map | Shape::UserType, _) => FREE,
    }
}

fn changes_part(assignment: &Assignment) -> bool {
    use Operation::*;
    let operation = assignment.operation;
    matches!(
        operation,
        Add | Prepend | Subtract | SetElement { .. } | DeleteElement { .. }
    )
}

/// `is_new`: the tables are known but for this one or this column, which has just been made.
fn by_form(
    assignment: &Assignment,
    binds: &[BindKind],
    text: &str,
    is_new: bool,
) -> (Repeat, RecordKind) {
    let bind_of = |value: Value| match value.kind {
        ValueKind::Marker(ordinal) => binds.get(usize::from(ordinal)).copied(),
        _ => None,
    };
    match assignment.operation {
        Operation::Add | Operation::Prepend | Operation::Subtract => {
            match (assignment.value.kind, bind_of(assignment.value)) {
                (ValueKind::Literal, _) | (_, Some(BindKind::Counter)) => {
                    (Repeat::Once, RecordKind::Counter)
                }
                (ValueKind::Braces, _) | (_, Some(BindKind::Other)) => FREE,
                _ => (Repeat::Once, RecordKind::List),
            }
        }
        Operation::SetElement { key } | Operation::DeleteElement { key } => {
            let index = match (key.kind, bind_of(key)) {
                (_, Some(kind)) => kind == BindKind::ListIndex,
                (ValueKind::Literal, _) => {
                    key.span.of(text).bytes().all(|byte| byte.is_ascii_digit())
                }
                (ValueKind::Marker(_), None) => true,
                _ => false,
            };
            if index {
                (Repeat::Once, RecordKind::List)
            } else {
                FREE
            }
        }
        Operation::Set => match (assignment.value.kind, bind_of(assignment.value)) {
            (ValueKind::List, _) | (_, Some(BindKind::List)) => (Repeat::Bump, RecordKind::List),
            (ValueKind::Marker(_), None) if is_new => (Repeat::Bump, RecordKind::List),
            (ValueKind::Marker(_), None) => (Repeat::Bump, RecordKind::Write),
            _ => FREE,
        },
        Operation::SetField | Operation::Delete | Operation::DeleteField => FREE,
    }
}
