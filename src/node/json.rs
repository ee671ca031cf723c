//! CQL values from and to JSON, as INSERT JSON and SELECT JSON have them.

use serde_json::Value as Json;

use super::error::{CqlError, CqlResult};
use super::literal::{from_text, hex_bytes};
use super::numeric;
use super::order::push_order_key;
use super::time;
use super::types::CqlType;
use super::value::{join_collection, push_bytes, split_collection, split_parts};

/// A JSON document to a value; null is none.
pub(crate) fn from_json_text(ty: &CqlType, text: &[u8]) -> CqlResult<Option<Vec<u8>>> {
    let json: Json = serde_json::from_slice(text)
        .map_err(|error| CqlError::invalid(format!("Could not decode JSON string: {error}")))?;
    from_json(ty, &json)
}

/// A JSON value to the bytes of `ty`.
pub(crate) fn from_json(ty: &CqlType, json: &Json) -> CqlResult<Option<Vec<u8>>> {
    let bad = |what: &str| {
        CqlError::invalid(format!(
            "Expected {what}, but got a {}: {json}",
            json_kind(json)
        ))
    };
    match (ty, json) {
        (_, Json::Null) => Ok(None),
        (CqlType::Blob, Json::String(text)) => {
            let digits = text.strip_prefix("0x").and_then(hex_bytes);
            digits.map(Some).ok_or_else(|| bad("a blob literal"))
        }
        (CqlType::Boolean, Json::Bool(value)) => Ok(Some(vec![u8::from(*value)])),
        (CqlType::Boolean, Json::String(text)) => from_text(&text.to_lowercase(), ty).map(Some),
        (CqlType::List(item, _), Json::Array(items)) => {
            let items: CqlResult<Vec<Vec<u8>>> = items.iter().map(|j| inner(item, j)).collect();
            let items = items?;
            Ok(Some(join_collection(
                items.len(),
                items.iter().map(Vec::as_slice),
            )))
        }
        (CqlType::Set(item, _), Json::Array(items)) => {
            let mut sorted = std::collections::BTreeMap::new();
            for json in items {
                let bytes = inner(item, json)?;
                sorted.insert(key_of(item, &bytes), bytes);
            }
            Ok(Some(join_collection(
                sorted.len(),
                sorted.values().map(Vec::as_slice),
            )))
        }
        (CqlType::Map(key, value, _), Json::Object(pairs)) => {
            let mut sorted = std::collections::BTreeMap::new();
            for (name, json) in pairs {
                let name = key_from_json(key, name)?;
                sorted.insert(key_of(key, &name), (name, inner(value, json)?));
            }
            let items = sorted
                .values()
                .flat_map(|(k, v)| [k.as_slice(), v.as_slice()]);
            Ok(Some(join_collection(sorted.len(), items)))
        }
        (CqlType::Tuple(types), Json::Array(items)) if items.len() <= types.len() => {
            let mut out = Vec::new();
            for (ty, json) in types.iter().zip(items) {
                push_bytes(&mut out, from_json(ty, json)?.as_deref());
            }
            Ok(Some(out))
        }
        (CqlType::Udt(udt, _), Json::Object(fields)) => {
            let mut out = Vec::new();
            for (name, ty) in &udt.fields {
                let value = fields
                    .get(name)
                    .map_or(Ok(None), |json| from_json(ty, json))?;
                push_bytes(&mut out, value.as_deref());
            }
            Ok(Some(out))
        }
        (_, Json::String(text)) if !is_composite(ty) => from_text(text, ty).map(Some),
        (CqlType::Text | CqlType::Ascii, _) => Err(bad("a UTF-8 String")),
        (_, Json::Number(number)) if !is_composite(ty) => {
            from_text(&number.to_string(), ty).map(Some)
        }
        _ => Err(bad(&ty.name())),
    }
}

fn key_from_json(ty: &CqlType, name: &str) -> CqlResult<Vec<u8>> {
    if is_composite(ty) {
        return from_json_text(ty, name.as_bytes())?
            .ok_or_else(|| CqlError::invalid("Invalid null map key in JSON"));
    }
    inner(ty, &Json::String(name.to_owned()))
}

fn key_of(ty: &CqlType, bytes: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    push_order_key(ty, Some(bytes), &mut key);
    key
}

fn is_composite(ty: &CqlType) -> bool {
    ty.is_collection() || matches!(ty, CqlType::Tuple(_) | CqlType::Udt(..))
}

fn inner(ty: &CqlType, json: &Json) -> CqlResult<Vec<u8>> {
    from_json(ty, json)?
        .ok_or_else(|| CqlError::invalid("Invalid null element in a JSON collection"))
}

fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "Null",
        Json::Bool(_) => "Boolean",
        Json::Number(_) => "Number",
        Json::String(_) => "String",
        Json::Array(_) => "ArrayList",
        Json::Object(_) => "LinkedHashMap",
    }
}

/// A value as JSON text; none is `null`.
pub(crate) fn to_json(ty: &CqlType, bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else {
        return "null".to_owned();
    };
    to_json_inner(ty, bytes).unwrap_or_else(|| "null".to_owned())
}

fn quoted(text: &str) -> String {
    Json::String(text.to_owned()).to_string()
}

fn to_json_inner(ty: &CqlType, bytes: &[u8]) -> Option<String> {
    Some(match ty {
        CqlType::Ascii | CqlType::Text => quoted(&String::from_utf8_lossy(bytes)),
        CqlType::Bigint | CqlType::Counter => {
            i64::from_be_bytes(bytes.try_into().ok()?).to_string()
        }
        CqlType::Int => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        CqlType::Smallint => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        CqlType::Tinyint => i8::from_be_bytes(bytes.try_into().ok()?).to_string(),
        CqlType::Float => format!("{:?}", f32::from_be_bytes(bytes.try_into().ok()?)),
        CqlType::Double => format!("{:?}", f64::from_be_bytes(bytes.try_into().ok()?)),
        CqlType::Boolean => (bytes.first()? != &0).to_string(),
        CqlType::Varint => {
            let (negative, digits) = numeric::digits_from_twos(bytes)?;
            format!("{}{digits}", if negative { "-" } else { "" })
        }
        CqlType::Decimal => numeric::decimal_to_text(bytes)?,
        CqlType::Blob | CqlType::Duration => quoted(&format!("0x{}", hex(bytes))),
        CqlType::Uuid | CqlType::Timeuuid => quoted(&uuid_text(bytes)?),
        CqlType::Inet => quoted(&inet_text(bytes)?),
        CqlType::Timestamp => quoted(&time::timestamp_to_text(i64::from_be_bytes(
            bytes.try_into().ok()?,
        ))),
        CqlType::Date => {
            let days = i64::from(u32::from_be_bytes(bytes.try_into().ok()?)) - (1 << 31);
            let (year, month, day) = time::civil_from_days(days);
            quoted(&format!("{year:04}-{month:02}-{day:02}"))
        }
        CqlType::Time => quoted(&time::time_to_text(i64::from_be_bytes(
            bytes.try_into().ok()?,
        ))),
        composite => composite_to_json(composite, bytes)?,
    })
}

fn composite_to_json(ty: &CqlType, bytes: &[u8]) -> Option<String> {
    Some(match ty {
        CqlType::List(item, _) | CqlType::Set(item, _) => {
            let items = split_collection(bytes, false).ok()?;
            let items: Vec<String> = items.iter().map(|b| to_json(item, Some(b))).collect();
            format!("[{}]", items.join(", "))
        }
        CqlType::Map(key, value, _) => {
            let items = split_collection(bytes, true).ok()?;
            let pairs: Vec<String> = items
                .chunks_exact(2)
                .map(|pair| {
                    let key = to_json(key, pair.first().copied());
                    let key = if key.starts_with('"') {
                        key
                    } else {
                        quoted(&key)
                    };
                    format!("{key}: {}", to_json(value, pair.last().copied()))
                })
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        CqlType::Tuple(types) => {
            let parts = split_parts(bytes).ok()?;
            let parts: Vec<String> = types
                .iter()
                .zip(parts)
                .map(|(ty, part)| to_json(ty, part))
                .collect();
            format!("[{}]", parts.join(", "))
        }
        CqlType::Udt(udt, _) => {
            let mut parts = split_parts(bytes).ok()?;
            parts.resize(udt.fields.len(), None);
            let fields: Vec<String> = udt
                .fields
                .iter()
                .zip(parts)
                .map(|((name, ty), part)| format!("{}: {}", quoted(name), to_json(ty, part)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 36 characters of a UUID.
pub(crate) fn uuid_text(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 16 {
        return None;
    }
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16];
    Some(parts.map(|range| hex(&bytes[range])).join("-"))
}

fn inet_text(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}
