//! What a case of the matrix is, and its values.

use crate::support::cql::Bound;

/// A kind of statement, by name, with the statements that show it. In every text `@` stands for
/// the case's own number: the partition that it writes to, and the end of names that it creates.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub steps: &'static [Step],
    /// No row of it is left.
    pub gone: bool,
    /// It changes the schema, which is slow: not once more in a BATCH, where that is not possible.
    pub schema: bool,
    /// The version of the source that knows such statements, 40 for 4.0.
    pub since: u32,
    /// Source and target hold the same values, and the stamps of elements may differ: lists that
    /// were written under a condition are read back and written whole.
    pub values_only: bool,
}

/// One request of a case.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Do(&'static str),
    With(&'static str, &'static [V]),
    /// With values by name, never in a BATCH: names do not work there.
    Named(&'static str, &'static [(&'static str, V)]),
    /// With a default timestamp.
    At(i64, &'static str, &'static [V]),
    /// A BATCH message of this type, with a default timestamp or without.
    Batch(u8, Option<i64>, &'static [(&'static str, &'static [V])]),
    /// The source refuses it.
    Refused(&'static str, &'static [V]),
    /// Prepared before the steps that follow, executed when it comes again as [`Step::With`].
    Prepare(&'static str),
    /// `USE`, on this connection, of the keyspace of the run or of its twin.
    Use(Where),
    /// A text with its keyspace in the request itself (v5; else a plain text).
    In(Where, &'static str, &'static [V]),
    PauseMs(u64),
}

/// Two keyspaces with the same tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Home,
    Twin,
}

/// A bound value.
#[derive(Debug, Clone, Copy)]
pub enum V {
    /// The case's own number.
    K,
    Tiny(i8),
    Small(i16),
    Int(i32),
    Big(i64),
    Double(f64),
    Text(&'static str),
    Bytes(&'static [u8]),
    /// Elements of a list or set.
    Many(&'static [V]),
    Map(&'static [(V, V)]),
    /// Fields of a tuple or user type.
    Fields(&'static [V]),
    Null,
    Unset,
}

pub const fn case(name: &'static str, steps: &'static [Step]) -> Case {
    Case {
        name,
        steps,
        gone: false,
        schema: false,
        since: 0,
        values_only: false,
    }
}

impl Case {
    pub const fn gone(mut self) -> Case {
        self.gone = true;
        self
    }

    pub const fn schema(mut self) -> Case {
        self.schema = true;
        self.gone = true;
        self
    }

    pub const fn since(mut self, version: u32) -> Case {
        self.since = version;
        self
    }

    pub const fn values_only(mut self) -> Case {
        self.values_only = true;
        self
    }
}

impl V {
    pub fn bound(&self, number: i32) -> Bound {
        match self {
            V::Null => Bound::Null,
            V::Unset => Bound::Unset,
            value => Bound::Value(value.bytes(number)),
        }
    }

    fn bytes(&self, number: i32) -> Vec<u8> {
        let one = |value: &V| match value {
            V::Null => (-1_i32).to_be_bytes().to_vec(),
            value => {
                let bytes = value.bytes(number);
                [&count(bytes.len())[..], &bytes].concat()
            }
        };
        match self {
            V::K => number.to_be_bytes().to_vec(),
            V::Tiny(value) => value.to_be_bytes().to_vec(),
            V::Small(value) => value.to_be_bytes().to_vec(),
            V::Int(value) => value.to_be_bytes().to_vec(),
            V::Big(value) => value.to_be_bytes().to_vec(),
            V::Double(value) => value.to_be_bytes().to_vec(),
            V::Text(text) => text.as_bytes().to_vec(),
            V::Bytes(bytes) => bytes.to_vec(),
            V::Many(values) => {
                let values = values.iter().flat_map(one);
                count(self.len()).into_iter().chain(values).collect()
            }
            V::Map(pairs) => {
                let pairs = pairs.iter().flat_map(|(k, v)| [one(k), one(v)].concat());
                count(self.len()).into_iter().chain(pairs).collect()
            }
            V::Fields(values) => values.iter().flat_map(one).collect(),
            V::Null | V::Unset => panic!("no bytes"),
        }
    }

    fn len(&self) -> usize {
        match self {
            V::Many(values) => values.len(),
            V::Map(pairs) => pairs.len(),
            _ => 1,
        }
    }
}

fn count(length: usize) -> Vec<u8> {
    i32::try_from(length).unwrap().to_be_bytes().to_vec()
}
