//! Literals to bytes: which constant may stand for which type, and how it is read.

use std::net::IpAddr;

use super::error::{CqlError, CqlResult};
use super::numeric::{decimal_from_text, varint_from_text};
use super::parser::ast::LiteralKind;
use super::time;
use super::types::CqlType;

/// The bytes of a constant for a column of type `ty`; `name` is for the message.
pub(crate) fn literal(
    kind: LiteralKind,
    text: &str,
    ty: &CqlType,
    name: &str,
) -> CqlResult<Vec<u8>> {
    if !fits(kind, ty) {
        return Err(CqlError::invalid(format!(
            "Invalid {} constant ({text}) for \"{name}\" of type {}",
            kind_name(kind),
            ty.name()
        )));
    }
    bytes_of(text, ty, kind)
}

/// A string, as a JSON document or a quoted literal has it, to bytes of `ty`.
pub(crate) fn from_text(text: &str, ty: &CqlType) -> CqlResult<Vec<u8>> {
    bytes_of(text, ty, LiteralKind::Text)
}

fn kind_name(kind: LiteralKind) -> &'static str {
    match kind {
        LiteralKind::Text => "STRING",
        LiteralKind::Integer => "INTEGER",
        LiteralKind::Float => "FLOAT",
        LiteralKind::Uuid => "UUID",
        LiteralKind::Boolean => "BOOLEAN",
        LiteralKind::Hex => "HEX",
        LiteralKind::Duration => "DURATION",
    }
}

/// `Constants.Literal.testAssignment` of Cassandra 4.1.
fn fits(kind: LiteralKind, ty: &CqlType) -> bool {
    use CqlType as T;
    match kind {
        LiteralKind::Text => {
            matches!(
                ty,
                T::Ascii | T::Text | T::Inet | T::Timestamp | T::Date | T::Time
            )
        }
        LiteralKind::Integer => matches!(
            ty,
            T::Bigint
                | T::Counter
                | T::Date
                | T::Decimal
                | T::Double
                | T::Duration
                | T::Float
                | T::Int
                | T::Smallint
                | T::Time
                | T::Timestamp
                | T::Tinyint
                | T::Varint
        ),
        LiteralKind::Float => matches!(ty, T::Decimal | T::Double | T::Float),
        LiteralKind::Uuid => matches!(ty, T::Uuid | T::Timeuuid),
        LiteralKind::Boolean => matches!(ty, T::Boolean),
        LiteralKind::Hex => matches!(ty, T::Blob),
        LiteralKind::Duration => matches!(ty, T::Duration),
    }
}

fn bytes_of(text: &str, ty: &CqlType, kind: LiteralKind) -> CqlResult<Vec<u8>> {
    let bad = |what: &str| CqlError::invalid(format!("Unable to make {what} from '{text}'"));
    macro_rules! number {
        ($ty:ty, $what:literal) => {
            text.parse::<$ty>()
                .map(|n| n.to_be_bytes().to_vec())
                .map_err(|_| bad($what))
        };
    }
    match ty {
        CqlType::Ascii if !text.is_ascii() => Err(CqlError::invalid(
            "Invalid ASCII character in string literal: \
             java.nio.charset.UnmappableCharacterException: Input length = 1",
        )),
        CqlType::Ascii | CqlType::Text => Ok(text.as_bytes().to_vec()),
        CqlType::Blob => hex_bytes(text.get(2..).unwrap_or("")).ok_or_else(|| bad("bytes")),
        CqlType::Boolean => match text {
            "true" => Ok(vec![1]),
            "false" => Ok(vec![0]),
            _ => Err(bad("boolean")),
        },
        CqlType::Tinyint => number!(i8, "byte"),
        CqlType::Smallint => number!(i16, "short"),
        CqlType::Int => number!(i32, "int"),
        CqlType::Bigint | CqlType::Counter => number!(i64, "long"),
        CqlType::Float => number!(f32, "float"),
        CqlType::Double => number!(f64, "double"),
        CqlType::Varint => varint_from_text(text).ok_or_else(|| bad("varint")),
        CqlType::Decimal => decimal_from_text(text).ok_or_else(|| bad("BigDecimal")),
        CqlType::Uuid | CqlType::Timeuuid => {
            let uuid = uuid_bytes(text).ok_or_else(|| bad("UUID"))?;
            if *ty == CqlType::Timeuuid && uuid[6] >> 4 != 1 {
                return Err(CqlError::invalid("TimeUUID supports only version 1 UUIDs"));
            }
            Ok(uuid)
        }
        CqlType::Inet => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => Ok(ip.octets().to_vec()),
            Ok(IpAddr::V6(ip)) => Ok(ip.octets().to_vec()),
            Err(_) => Err(CqlError::invalid(format!(
                "Unable to make inet address from '{text}'"
            ))),
        },
        CqlType::Timestamp | CqlType::Date | CqlType::Time | CqlType::Duration => {
            time_bytes(text, ty, kind)
        }
        _ => Err(CqlError::invalid(format!(
            "Invalid constant ({text}) for type {}",
            ty.name()
        ))),
    }
}

/// The types of dates, times and spans.
fn time_bytes(text: &str, ty: &CqlType, kind: LiteralKind) -> CqlResult<Vec<u8>> {
    match ty {
        CqlType::Timestamp => match text.parse::<i64>() {
            Ok(millis) => Ok(millis.to_be_bytes().to_vec()),
            Err(_) => time::timestamp_from_text(text)
                .map(|millis| millis.to_be_bytes().to_vec())
                .ok_or_else(|| {
                    CqlError::invalid(format!("Unable to parse a date/time from '{text}'"))
                }),
        },
        CqlType::Date if kind == LiteralKind::Integer => text
            .parse::<u32>()
            .map(|days| days.to_be_bytes().to_vec())
            .map_err(|_| CqlError::invalid(format!("Unable to make int from '{text}'"))),
        CqlType::Date => match text.parse::<u32>() {
            Ok(days) => Ok(days.to_be_bytes().to_vec()),
            Err(_) => time::date_from_text(text)
                .map(|days| days.to_be_bytes().to_vec())
                .ok_or_else(|| {
                    CqlError::invalid(format!(
                        "Unable to coerce '{text}' to a formatted date (long)"
                    ))
                }),
        },
        CqlType::Time => match text.parse::<i64>() {
            Ok(nanos) if (0..86_400_000_000_000).contains(&nanos) => {
                Ok(nanos.to_be_bytes().to_vec())
            }
            _ => time::time_from_text(text)
                .map(|nanos| nanos.to_be_bytes().to_vec())
                .ok_or_else(|| {
                    CqlError::invalid(format!(
                        "Unable to coerce '{text}' to a formatted time (long)"
                    ))
                }),
        },
        _ => time::duration_from_text(text)
            .ok_or_else(|| CqlError::invalid(format!("Unable to convert '{text}' to a duration"))),
    }
}

/// Pairs of hexadecimal digits to bytes.
pub(crate) fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(nibble(pair.first()?)? << 4 | nibble(pair.last()?)?))
        .collect()
}

fn uuid_bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = hex_bytes(&text.replace('-', ""))?;
    (bytes.len() == 16).then_some(bytes)
}
