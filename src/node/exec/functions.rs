//! The native functions, by name.

use crate::node::clock::Clock;
use crate::node::digest;
use crate::node::error::{CqlError, CqlResult};
use crate::node::json;
use crate::node::store::PartitionKey;
use crate::node::time::{timeuuid, timeuuid_millis};
use crate::node::types::CqlType;
use crate::node::value::check;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Func {
    Now,
    Uuid,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    /// The argument's type: timeuuid, timestamp or date.
    ToTimestamp,
    ToDate,
    ToUnixTimestamp,
    MinTimeuuid,
    MaxTimeuuid,
    Token,
    /// A value's bytes as they are.
    AsBlob,
    /// A blob's bytes as a value.
    BlobAs,
    ToJson,
    FromJson,
}

/// A function with the types of its arguments and of its result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signature {
    pub(crate) func: Func,
    pub(crate) args: Vec<CqlType>,
    pub(crate) result: CqlType,
    /// The name in lower case, as result columns show it.
    pub(crate) name: String,
}

/// Finds a function. `given` are the types of the arguments as far as they are known, `expected`
/// the type of the place it stands in, `key` the types of the table's partition key.
pub(crate) fn find(
    name: &str,
    given: &[Option<CqlType>],
    expected: Option<&CqlType>,
    key: &[CqlType],
) -> CqlResult<Signature> {
    let folded = if name == "token" {
        name.to_owned()
    } else {
        name.replace('_', "")
    };
    let first = given.first().cloned().flatten();
    let time = first.clone().unwrap_or(CqlType::Timeuuid);
    let (func, args, result) = match (folded.as_str(), given.len()) {
        ("now" | "currenttimeuuid", 0) => (Func::Now, vec![], CqlType::Timeuuid),
        ("uuid", 0) => (Func::Uuid, vec![], CqlType::Uuid),
        ("currenttimestamp", 0) => (Func::CurrentTimestamp, vec![], CqlType::Timestamp),
        ("currentdate", 0) => (Func::CurrentDate, vec![], CqlType::Date),
        ("currenttime", 0) => (Func::CurrentTime, vec![], CqlType::Time),
        ("totimestamp" | "dateof", 1) => (Func::ToTimestamp, vec![time], CqlType::Timestamp),
        ("todate", 1) => (Func::ToDate, vec![time], CqlType::Date),
        ("tounixtimestamp" | "unixtimestampof", 1) => {
            (Func::ToUnixTimestamp, vec![time], CqlType::Bigint)
        }
        ("mintimeuuid", 1) => (
            Func::MinTimeuuid,
            vec![CqlType::Timestamp],
            CqlType::Timeuuid,
        ),
        ("maxtimeuuid", 1) => (
            Func::MaxTimeuuid,
            vec![CqlType::Timestamp],
            CqlType::Timeuuid,
        ),
        ("token", _) => {
            if given.len() != key.len() {
                return Err(CqlError::invalid(format!(
                    "Invalid number of arguments in call to function token: {} required but {} \
                     provided",
                    key.len(),
                    given.len()
                )));
            }
            (Func::Token, key.to_vec(), CqlType::Bigint)
        }
        ("tojson", 1) => (
            Func::ToJson,
            vec![first.unwrap_or(CqlType::Text)],
            CqlType::Text,
        ),
        ("fromjson", 1) => (
            Func::FromJson,
            vec![CqlType::Text],
            expected.cloned().unwrap_or(CqlType::Text),
        ),
        (other, 1) => conversion(other).ok_or_else(|| unknown(name))?,
        _ => return Err(unknown(name)),
    };
    Ok(Signature {
        func,
        args,
        result,
        name: name.to_owned(),
    })
}

fn unknown(name: &str) -> CqlError {
    CqlError::invalid(format!("Unknown function {name} called"))
}

/// `intAsBlob`, `blobAsInt` and so on.
fn conversion(name: &str) -> Option<(Func, Vec<CqlType>, CqlType)> {
    if let Some(ty) = name.strip_suffix("asblob").and_then(CqlType::native) {
        return Some((Func::AsBlob, vec![ty], CqlType::Blob));
    }
    let ty = name.strip_prefix("blobas").and_then(CqlType::native)?;
    Some((Func::BlobAs, vec![CqlType::Blob], ty))
}

/// Calls a function. A null argument gives null.
pub(crate) fn call(
    signature: &Signature,
    args: &[Option<&[u8]>],
    clock: &mut Clock,
) -> CqlResult<Option<Vec<u8>>> {
    let now_us = clock.micros();
    let now_ms = now_us / 1000;
    Ok(match (&signature.func, args) {
        (Func::Now, _) => Some(clock.next_timeuuid().to_vec()),
        (Func::Uuid, _) => Some(clock.next_uuid().to_vec()),
        (Func::CurrentTimestamp, _) => Some(now_ms.to_be_bytes().to_vec()),
        (Func::CurrentDate, _) => date_of(now_ms),
        (Func::CurrentTime, _) => {
            let nanos = now_us.rem_euclid(86_400_000_000) * 1000;
            Some(nanos.to_be_bytes().to_vec())
        }
        (Func::Token, parts) => {
            let parts: Option<Vec<Vec<u8>>> =
                parts.iter().map(|part| part.map(<[u8]>::to_vec)).collect();
            parts.map(|parts| PartitionKey::new(&parts).token.to_be_bytes().to_vec())
        }
        (Func::ToJson, [arg]) => {
            let ty = signature.args.first().unwrap_or(&CqlType::Text);
            Some(json::to_json(ty, *arg).into_bytes())
        }
        (_, [Some(arg)]) => one_argument(signature, arg)?,
        _ => None,
    })
}

fn one_argument(signature: &Signature, arg: &[u8]) -> CqlResult<Option<Vec<u8>>> {
    let ty = signature.args.first().unwrap_or(&CqlType::Blob);
    Ok(match signature.func {
        Func::ToTimestamp | Func::ToUnixTimestamp => {
            millis(ty, arg).map(|millis| millis.to_be_bytes().to_vec())
        }
        Func::ToDate => millis(ty, arg).and_then(date_of),
        Func::MinTimeuuid => millis(ty, arg)
            .map(|millis| timeuuid(millis.saturating_mul(10_000), [0x80; 8]).to_vec()),
        Func::MaxTimeuuid => millis(ty, arg).map(|millis| {
            timeuuid(
                millis.saturating_mul(10_000).saturating_add(9999),
                [0x7F; 8],
            )
            .to_vec()
        }),
        Func::AsBlob => Some(arg.to_vec()),
        Func::BlobAs => {
            check(&signature.result, arg).map_err(|_| {
                CqlError::invalid(format!(
                    "In call to function system.{}, value 0x{} is not a valid binary \
                     representation for type {}",
                    signature.name,
                    arg.iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect::<String>(),
                    signature.result.name()
                ))
            })?;
            Some(arg.to_vec())
        }
        Func::FromJson => json::from_json_text(&signature.result, arg)?,
        _ => None,
    })
}

/// Milliseconds since 1970 of a timeuuid, timestamp or date.
fn millis(ty: &CqlType, bytes: &[u8]) -> Option<i64> {
    match ty {
        CqlType::Timeuuid => timeuuid_millis(bytes),
        CqlType::Timestamp => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        CqlType::Date => {
            let days = u32::from_be_bytes(bytes.try_into().ok()?);
            Some((i64::from(days) - (1 << 31)) * 86_400_000)
        }
        _ => None,
    }
}

fn date_of(millis: i64) -> Option<Vec<u8>> {
    let days = u32::try_from(millis.div_euclid(86_400_000) + (1 << 31)).ok()?;
    Some(days.to_be_bytes().to_vec())
}

/// The MD5 of a statement and its keyspace: a prepared id as Cassandra makes it.
pub(crate) fn prepared_id(keyspace: Option<&str>, text: &str) -> [u8; 16] {
    digest::md5(format!("{}{text}", keyspace.unwrap_or("")).as_bytes())
}
