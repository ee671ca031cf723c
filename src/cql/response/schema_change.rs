//! The description of a schema change, in RESULT (§4.2.5.5) and in EVENT (§4.2.6).

use crate::error::{DecodeError, Notation, offset};
use crate::primitive::{Reader, StringList, Writer};

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Change {
    Created,
    Updated,
    Dropped,
}

/// The object that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaTarget<'a> {
    /// A keyspace.
    Keyspace,
    /// A table or view.
    Table(&'a str),
    /// A user-defined type.
    Type(&'a str),
    /// A function: name, types of the arguments.
    Function(&'a str, StringList<'a>),
    /// An aggregate: name, types of the arguments.
    Aggregate(&'a str, StringList<'a>),
}

/// A schema change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaChange<'a> {
    /// What happened.
    pub change: Change,
    /// Keyspace of the object, or the keyspace itself.
    pub keyspace: &'a str,
    /// The object.
    pub target: SchemaTarget<'a>,
}

impl Change {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Dropped => "DROPPED",
        }
    }
}

impl<'a> SchemaChange<'a> {
    /// Reads at the position of `reader`, as the last thing of its message: bytes behind it are
    /// left alone. A change of a function, which v3 cannot say, reaches a v3 client as the change
    /// of the keyspace with an empty `[string]` too many (Cassandra 4.1 and 5.0, recorded).
    ///
    /// # Errors
    /// Malformed, or an unknown change or target.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let unknown = |at: usize| {
            let (what, at) = (Notation::SchemaChange, offset(at));
            DecodeError::Unknown { what, at, found: 0 }
        };
        let at = reader.position();
        let name = reader.string()?;
        let known = [Change::Created, Change::Updated, Change::Dropped];
        let change = known
            .into_iter()
            .find(|change| change.name() == name)
            .ok_or(unknown(at))?;
        let at = reader.position();
        let target = reader.string()?;
        let keyspace = reader.string()?;
        let target = match target {
            "KEYSPACE" => SchemaTarget::Keyspace,
            "TABLE" => SchemaTarget::Table(reader.string()?),
            "TYPE" => SchemaTarget::Type(reader.string()?),
            "FUNCTION" => SchemaTarget::Function(reader.string()?, reader.string_list()?),
            "AGGREGATE" => SchemaTarget::Aggregate(reader.string()?, reader.string_list()?),
            _ => return Err(unknown(at)),
        };
        Ok(Self {
            change,
            keyspace,
            target,
        })
    }

    /// Appends the description.
    pub fn encode(&self, w: &mut Writer<'_>) {
        w.string(self.change.name());
        let (target, name, arguments) = match self.target {
            SchemaTarget::Keyspace => ("KEYSPACE", None, None),
            SchemaTarget::Table(name) => ("TABLE", Some(name), None),
            SchemaTarget::Type(name) => ("TYPE", Some(name), None),
            SchemaTarget::Function(name, args) => ("FUNCTION", Some(name), Some(args)),
            SchemaTarget::Aggregate(name, args) => ("AGGREGATE", Some(name), Some(args)),
        };
        w.string(target);
        w.string(self.keyspace);
        if let Some(name) = name {
            w.string(name);
        }
        if let Some(arguments) = arguments {
            w.string_list(arguments);
        }
    }
}
