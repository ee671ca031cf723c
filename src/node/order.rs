//! Order keys: bytes whose plain comparison is the order of the CQL type.
//!
//! Clustering columns, set elements and map keys live in ordinary maps under these keys. The
//! key of one component is never the beginning of another one's, so keys can be put one after
//! the other, and a descending component is its key with every bit turned.

use super::numeric::{digits_from_twos, shorten};
use super::types::CqlType;
use super::value::split_collection;

const NULL: u8 = 0;
const EMPTY: u8 = 1;
const VALUE: u8 = 2;

/// Appends the order key of `value`; `None` is null (a part of a tuple can be).
pub(crate) fn push_order_key(ty: &CqlType, value: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = value else {
        out.push(NULL);
        return;
    };
    if bytes.is_empty() {
        out.push(EMPTY);
        return;
    }
    out.push(VALUE);
    match ty {
        CqlType::Bigint
        | CqlType::Counter
        | CqlType::Int
        | CqlType::Smallint
        | CqlType::Tinyint
        | CqlType::Timestamp => push_signed(bytes, out),
        CqlType::Double | CqlType::Float => push_float(bytes, out),
        CqlType::Boolean | CqlType::Date | CqlType::Time => out.extend_from_slice(bytes),
        CqlType::Uuid => push_uuid(bytes, out),
        CqlType::Timeuuid => push_timeuuid(bytes, out),
        CqlType::Varint => push_varint(bytes, out),
        CqlType::Decimal => push_decimal(bytes, out),
        CqlType::List(item, _) | CqlType::Set(item, _) => push_items(&[item], bytes, false, out),
        CqlType::Map(key, value, _) => push_items(&[key, value], bytes, true, out),
        CqlType::Tuple(items) => push_parts(items.iter(), bytes, out),
        CqlType::Udt(udt, _) => push_parts(udt.fields.iter().map(|(_, ty)| ty), bytes, out),
        CqlType::Ascii | CqlType::Text | CqlType::Blob | CqlType::Inet | CqlType::Duration => {
            push_bytes(bytes, out)
        }
    }
}

/// The order key of one clustering value, turned when the column is descending.
pub(crate) fn push_clustering_key(ty: &CqlType, descending: bool, value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    push_order_key(ty, Some(value), out);
    if descending {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// The first key after all that begin with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if let Some(more) = last.checked_add(1) {
            next.push(more);
            return Some(next);
        }
    }
    None
}

fn push_signed(bytes: &[u8], out: &mut Vec<u8>) {
    if let [first, rest @ ..] = bytes {
        out.push(first ^ 0x80);
        out.extend_from_slice(rest);
    }
}

fn push_float(bytes: &[u8], out: &mut Vec<u8>) {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    for (i, byte) in bytes.iter().enumerate() {
        out.push(match (negative, i) {
            (true, _) => !byte,
            (false, 0) => byte ^ 0x80,
            (false, _) => *byte,
        });
    }
}

/// Zero bytes become `00 FF`, the end is `00 00`.
fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// Version 1: the time, then the rest; the version decides before all.
fn push_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    let Ok(uuid) = <&[u8; 16]>::try_from(bytes) else {
        return push_bytes(bytes, out);
    };
    let version = uuid[6] >> 4;
    out.push(version);
    if version == 1 {
        push_time_first(uuid, out);
    } else {
        out.extend_from_slice(&uuid[..8]);
    }
    out.extend_from_slice(&uuid[8..]);
}

/// Time, then the last eight bytes compared as *signed* bytes, as `TimeUUIDType` does.
fn push_timeuuid(bytes: &[u8], out: &mut Vec<u8>) {
    let Ok(uuid) = <&[u8; 16]>::try_from(bytes) else {
        return push_bytes(bytes, out);
    };
    push_time_first(uuid, out);
    out.extend(uuid[8..].iter().map(|byte| byte ^ 0x80));
}

fn push_time_first(uuid: &[u8; 16], out: &mut Vec<u8>) {
    out.push(uuid[6] & 0x0F);
    out.push(uuid[7]);
    out.extend_from_slice(&uuid[4..6]);
    out.extend_from_slice(&uuid[..4]);
}

fn push_varint(bytes: &[u8], out: &mut Vec<u8>) {
    let short = shorten(bytes);
    let len = u32::try_from(short.len()).unwrap_or(u32::MAX);
    if short.first().is_some_and(|first| first & 0x80 != 0) {
        out.push(0);
        out.extend_from_slice(&(!len).to_be_bytes());
    } else {
        out.push(1);
        out.extend_from_slice(&len.to_be_bytes());
    }
    out.extend_from_slice(short);
}

/// Sign, decimal exponent of the first digit, digits without trailing zeros.
fn push_decimal(bytes: &[u8], out: &mut Vec<u8>) {
    let parts = bytes
        .split_first_chunk::<4>()
        .and_then(|(scale, unscaled)| {
            Some((
                i64::from(i32::from_be_bytes(*scale)),
                digits_from_twos(unscaled)?,
            ))
        });
    let Some((scale, (negative, digits))) = parts else {
        return push_bytes(bytes, out);
    };
    let stripped = digits.trim_end_matches('0');
    if stripped.is_empty() {
        out.push(1);
        return;
    }
    let exponent = i64::try_from(digits.len()).unwrap_or(i64::MAX) - scale;
    out.push(if negative { 0 } else { 2 });
    let start = out.len();
    push_signed(&exponent.to_be_bytes(), out);
    out.extend_from_slice(stripped.as_bytes());
    out.push(0);
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

fn push_items(types: &[&CqlType], bytes: &[u8], pairs: bool, out: &mut Vec<u8>) {
    let Ok(items) = split_collection(bytes, pairs) else {
        return push_bytes(bytes, out);
    };
    for (item, ty) in items.iter().zip(types.iter().cycle()) {
        out.push(1);
        push_order_key(ty, Some(item), out);
    }
    out.push(0);
}

fn push_parts<'t>(types: impl Iterator<Item = &'t CqlType>, bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    for ty in types {
        let Some((part, after)) = super::value::split_part(rest) else {
            break;
        };
        out.push(1);
        push_order_key(ty, part, out);
        rest = after;
    }
    out.push(0);
}
