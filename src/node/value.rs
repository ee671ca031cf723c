//! Values as the protocol serializes them: joining, splitting, checking.

use super::error::{CqlError, CqlResult};
use super::types::CqlType;

/// A term after its evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// A bind marker that the client left unset (v4): the column is not touched.
    Unset,
    Bytes(Vec<u8>),
}

impl Value {
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            Value::Null | Value::Unset => None,
        }
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Value {
        bytes.map_or(Value::Null, Value::Bytes)
    }
}

/// A length as the protocol's `[int]`; lengths are bounded far below by the largest body.
pub(crate) fn int_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Appends `[bytes]`: length and content, or −1 for null.
pub(crate) fn push_bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&int_len(bytes.len()).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// A collection from its elements (for a map: key, value, key, value…).
pub(crate) fn join_collection<'i>(
    count: usize,
    items: impl IntoIterator<Item = &'i [u8]>,
) -> Vec<u8> {
    let mut out = int_len(count).to_be_bytes().to_vec();
    for item in items {
        push_bytes(&mut out, Some(item));
    }
    out
}

/// The next `[bytes]` and what follows; `None` when malformed. Ends quietly at the end.
pub(crate) fn split_part(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    match usize::try_from(i32::from_be_bytes(*len)) {
        Err(_) => Some((None, rest)),
        Ok(len) => {
            let (part, rest) = rest.split_at_checked(len)?;
            Some((Some(part), rest))
        }
    }
}

/// The elements of a collection (for a map, keys and values in turn).
pub(crate) fn split_collection(bytes: &[u8], pairs: bool) -> CqlResult<Vec<&[u8]>> {
    let kind = if pairs { "map" } else { "list" };
    let bad = || CqlError::invalid(format!("Not enough bytes to read a {kind}"));
    let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    let count = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| bad())?;
    let count = if pairs {
        count.checked_mul(2).ok_or_else(bad)?
    } else {
        count
    };
    if count > rest.len() / 4 {
        return Err(bad());
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (part, after) = split_part(rest).ok_or_else(bad)?;
        items.push(
            part.ok_or_else(|| CqlError::invalid("null is not supported inside collections"))?,
        );
        rest = after;
    }
    if rest.is_empty() {
        Ok(items)
    } else {
        Err(CqlError::invalid(format!(
            "Unexpected extraneous bytes after {kind} value"
        )))
    }
}

/// The parts of a tuple or user type, as many as there are.
pub(crate) fn split_parts(bytes: &[u8]) -> CqlResult<Vec<Option<&[u8]>>> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, after) = split_part(rest)
            .ok_or_else(|| CqlError::invalid("Not enough bytes to read a tuple"))?;
        parts.push(part);
        rest = after;
    }
    Ok(parts)
}

/// Checks that `bytes` can be a value of `ty`, as the server does with each bound value.
pub(crate) fn check(ty: &CqlType, bytes: &[u8]) -> CqlResult<()> {
    let fixed = |len: usize, or_empty: bool, what: &str| {
        if bytes.len() == len || (or_empty && bytes.is_empty()) {
            return Ok(());
        }
        let zero = if or_empty { " or 0" } else { "" };
        Err(CqlError::invalid(format!(
            "Expected {len}{zero} byte {what} ({})",
            bytes.len()
        )))
    };
    match ty {
        CqlType::Bigint | CqlType::Counter => fixed(8, true, "long"),
        CqlType::Timestamp => fixed(8, true, "long for date"),
        CqlType::Double => fixed(8, true, "value for a double"),
        CqlType::Float => fixed(4, true, "value for a float"),
        CqlType::Int => fixed(4, true, "int"),
        CqlType::Date => fixed(4, false, "long for date"),
        CqlType::Time => fixed(8, false, "long for time"),
        CqlType::Smallint => fixed(2, false, "short"),
        CqlType::Tinyint => fixed(1, false, "byte"),
        CqlType::Boolean => fixed(1, true, "value"),
        CqlType::Uuid => fixed(16, true, "UUID"),
        CqlType::Timeuuid => check_timeuuid(bytes),
        CqlType::Inet if !matches!(bytes.len(), 0 | 4 | 16) => Err(CqlError::invalid(format!(
            "Expected 4 or 16 byte inetaddress; got {}",
            bytes.len()
        ))),
        CqlType::Decimal if !bytes.is_empty() && bytes.len() < 4 => {
            Err(CqlError::invalid("Expected 0 or at least 4 bytes"))
        }
        CqlType::Text if std::str::from_utf8(bytes).is_err() => {
            Err(CqlError::invalid("String didn't validate."))
        }
        CqlType::Ascii if !bytes.is_ascii() => {
            Err(CqlError::invalid("Invalid byte for ascii: not in 0..=127"))
        }
        CqlType::List(item, _) | CqlType::Set(item, _) => check_items(&[item], bytes, false),
        CqlType::Map(key, value, _) => check_items(&[key, value], bytes, true),
        CqlType::Tuple(items) => check_parts(items.iter(), items.len(), bytes),
        CqlType::Udt(udt, _) => {
            check_parts(udt.fields.iter().map(|(_, ty)| ty), udt.fields.len(), bytes)
        }
        _ => Ok(()),
    }
}

fn check_timeuuid(bytes: &[u8]) -> CqlResult<()> {
    match bytes {
        [] => Ok(()),
        bytes if bytes.len() != 16 => Err(CqlError::invalid(format!(
            "Expected 16 or 0 byte UUID ({})",
            bytes.len()
        ))),
        bytes if bytes[6] >> 4 != 1 => Err(CqlError::invalid("Invalid version for TimeUUID type.")),
        _ => Ok(()),
    }
}

fn check_items(types: &[&CqlType], bytes: &[u8], pairs: bool) -> CqlResult<()> {
    let items = split_collection(bytes, pairs)?;
    items
        .iter()
        .zip(types.iter().cycle())
        .try_for_each(|(item, ty)| check(ty, item))
}

fn check_parts<'t>(
    types: impl Iterator<Item = &'t CqlType>,
    count: usize,
    bytes: &[u8],
) -> CqlResult<()> {
    let parts = split_parts(bytes)?;
    if parts.len() > count {
        return Err(CqlError::invalid(format!(
            "Invalid remaining data after end of tuple value: {} parts for {count}",
            parts.len()
        )));
    }
    parts
        .iter()
        .zip(types)
        .try_for_each(|(part, ty)| part.map_or(Ok(()), |part| check(ty, part)))
}
