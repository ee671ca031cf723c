//! Column types: the `[option]` of RESULT metadata (§4.2.5.2).

use core::fmt;

use crate::error::{DecodeError, Notation, offset};
use crate::primitive::{Reader, Writer};

/// How deep types may be nested on the wire. Cassandra's own schemas stay far below; the limit
/// bounds the stack that a hostile server could take.
pub const MAX_DEPTH: usize = 32;

const CUSTOM: u16 = 0x0000;
const LIST: u16 = 0x0020;
const MAP: u16 = 0x0021;
const SET: u16 = 0x0022;
const UDT: u16 = 0x0030;
const TUPLE: u16 = 0x0031;

/// A column type, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of CQL")]
pub enum ColumnType {
    /// A type that the protocol has no number for, by the name of its Java class (`vector` too).
    Custom(String),
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Decimal,
    Double,
    Float,
    Int,
    Timestamp,
    Uuid,
    Varchar,
    Varint,
    Timeuuid,
    Inet,
    Date,
    Time,
    Smallint,
    Tinyint,
    /// Has a number from v5 on; v4 servers send it as [`ColumnType::Custom`].
    Duration,
    List(Box<ColumnType>),
    /// Key type, value type.
    Map(Box<ColumnType>, Box<ColumnType>),
    Set(Box<ColumnType>),
    Udt(Box<UdtType>),
    Tuple(Vec<ColumnType>),
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdtType {
    /// Keyspace of the type.
    pub keyspace: String,
    /// Name of the type.
    pub name: String,
    /// Names and types of the fields, in order.
    pub fields: Vec<(String, ColumnType)>,
}

/// The types without parameters: number, type, name in CQL.
const SIMPLE: [(u16, ColumnType, &str); 20] = [
    (0x0001, ColumnType::Ascii, "ascii"),
    (0x0002, ColumnType::Bigint, "bigint"),
    (0x0003, ColumnType::Blob, "blob"),
    (0x0004, ColumnType::Boolean, "boolean"),
    (0x0005, ColumnType::Counter, "counter"),
    (0x0006, ColumnType::Decimal, "decimal"),
    (0x0007, ColumnType::Double, "double"),
    (0x0008, ColumnType::Float, "float"),
    (0x0009, ColumnType::Int, "int"),
    (0x000B, ColumnType::Timestamp, "timestamp"),
    (0x000C, ColumnType::Uuid, "uuid"),
    (0x000D, ColumnType::Varchar, "text"),
    (0x000E, ColumnType::Varint, "varint"),
    (0x000F, ColumnType::Timeuuid, "timeuuid"),
    (0x0010, ColumnType::Inet, "inet"),
    (0x0011, ColumnType::Date, "date"),
    (0x0012, ColumnType::Time, "time"),
    (0x0013, ColumnType::Smallint, "smallint"),
    (0x0014, ColumnType::Tinyint, "tinyint"),
    (0x0015, ColumnType::Duration, "duration"),
];

fn simple(number: u16) -> Option<ColumnType> {
    let found = SIMPLE.iter().find(|(known, ..)| *known == number);
    found.map(|(_, column_type, _)| column_type.clone())
}

impl ColumnType {
    /// Appends the `[option]`.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Custom(class) => {
                w.short(CUSTOM);
                w.string(class);
            }
            Self::List(item) => {
                w.short(LIST);
                item.encode(w);
            }
            Self::Set(item) => {
                w.short(SET);
                item.encode(w);
            }
            Self::Map(key, value) => {
                w.short(MAP);
                key.encode(w);
                value.encode(w);
            }
            Self::Udt(udt) => {
                w.short(UDT);
                w.string(&udt.keyspace);
                w.string(&udt.name);
                encode_count(udt.fields.len(), w);
                for (name, field) in &udt.fields {
                    w.string(name);
                    field.encode(w);
                }
            }
            Self::Tuple(items) => {
                w.short(TUPLE);
                encode_count(items.len(), w);
                items.iter().for_each(|item| item.encode(w));
            }
            plain => {
                let found = SIMPLE.iter().find(|(_, known, _)| known == plain);
                w.short(found.map_or(CUSTOM, |(number, ..)| *number));
            }
        }
    }

    fn decode(reader: &mut Reader<'_>, depth: usize) -> Result<Self, DecodeError> {
        let at = offset(reader.position());
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep { at });
        }
        let inner = |reader: &mut Reader<'_>| Self::decode(reader, depth + 1);
        let number = reader.short()?;
        Ok(match number {
            CUSTOM => Self::Custom(reader.string()?.to_owned()),
            LIST => Self::List(Box::new(inner(reader)?)),
            SET => Self::Set(Box::new(inner(reader)?)),
            MAP => Self::Map(Box::new(inner(reader)?), Box::new(inner(reader)?)),
            UDT => {
                let keyspace = reader.string()?.to_owned();
                let name = reader.string()?.to_owned();
                let count = reader.short()?;
                let field = |_| Ok((reader.string()?.to_owned(), inner(reader)?));
                let fields = (0..count).map(field).collect::<Result<_, DecodeError>>()?;
                Self::Udt(Box::new(UdtType {
                    keyspace,
                    name,
                    fields,
                }))
            }
            TUPLE => {
                let count = reader.short()?;
                Self::Tuple(
                    (0..count)
                        .map(|_| inner(reader))
                        .collect::<Result<_, _>>()?,
                )
            }
            other => simple(other).ok_or(unknown(other, at))?,
        })
    }
}

fn encode_count(count: usize, w: &mut Writer<'_>) {
    match u16::try_from(count) {
        Ok(short) => w.short(short),
        Err(_) => {
            w.fail(crate::error::EncodeError::TooLong {
                what: Notation::Type,
                length: count,
            });
        }
    }
}

fn unknown(number: u16, at: u32) -> DecodeError {
    DecodeError::Unknown {
        what: Notation::Type,
        at,
        found: number.into(),
    }
}

/// Walks over one type without memory, checking it to its leaves.
pub(crate) fn skip(reader: &mut Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    let at = offset(reader.position());
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep { at });
    }
    match reader.short()? {
        CUSTOM => drop(reader.string()?),
        LIST | SET => skip(reader, depth + 1)?,
        MAP => {
            skip(reader, depth + 1)?;
            skip(reader, depth + 1)?;
        }
        UDT => {
            reader.string()?;
            reader.string()?;
            for _ in 0..reader.short()? {
                reader.string()?;
                skip(reader, depth + 1)?;
            }
        }
        TUPLE => {
            for _ in 0..reader.short()? {
                skip(reader, depth + 1)?;
            }
        }
        0x0001..=0x0009 | 0x000B..=0x0015 => {}
        other => return Err(unknown(other, at)),
    }
    Ok(())
}

/// A column type that was checked and stays in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeView<'a> {
    raw: &'a [u8],
}

impl<'a> TypeView<'a> {
    #[inline]
    pub(crate) const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// Number of the outermost type, for example 0x0009 for int and 0x0020 for list.
    #[inline]
    #[must_use]
    pub fn number(&self) -> u16 {
        self.raw
            .first_chunk()
            .map_or(CUSTOM, |number| u16::from_be_bytes(*number))
    }

    /// The `[option]` as it lies in the body.
    #[inline]
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The type with all its parts. Takes memory in proportion to the bytes at hand.
    ///
    /// # Errors
    /// None for a view that a [`Reader`] gave out.
    pub fn to_type(&self) -> Result<ColumnType, DecodeError> {
        ColumnType::decode(&mut Reader::new(self.raw), 0)
    }
}

impl fmt::Display for ColumnType {
    /// As CQL writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(class) => write!(f, "'{}'", class.replace('\'', "''")),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Set(item) => write!(f, "set<{item}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Udt(udt) => write!(f, "{}.{}", udt.keyspace, udt.name),
            Self::Tuple(items) => {
                f.write_str("tuple<")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str(">")
            }
            plain => {
                let found = SIMPLE.iter().find(|(_, known, _)| known == plain);
                f.write_str(found.map_or("custom", |(.., name)| name))
            }
        }
    }
}
