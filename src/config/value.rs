//! The forms in which values are written on the command line, in the environment and in the file.
//!
//! Each type is read from text; the file may also use the natural TOML form (a number, a list, a
//! table), which is turned into the same text first, so there is one parser for each type.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A TOML value on its way to text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Natural {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Natural>),
    Table(BTreeMap<String, String>),
}

impl Natural {
    fn text(self) -> Result<String, String> {
        Ok(match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(value) => value,
            Self::List(values) => {
                let one = values.len() == 1;
                let texts: Result<Vec<_>, _> = values.into_iter().map(Self::text).collect();
                let mut joined = texts?.join(",");
                if one {
                    joined.push(','); // a list of one stays a list
                }
                joined
            }
            Self::Table(table) => serde_json::to_string(&table).map_err(|e| e.to_string())?,
        })
    }
}

/// Reads any TOML value by way of the text form of `T`.
pub(super) fn natural<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let text = Natural::deserialize(deserializer)?
        .text()
        .map_err(D::Error::custom)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

/// A size: `65536`, `64KiB`, `16M`, `10GiB` (K, M, G and T are powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(
    /// Bytes.
    pub u64,
);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => {
                return Err(format!(
                    "`{text}` is no size; write for example 64KiB or 10GiB"
                ));
            }
        };
        let count: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is no size; write for example 10GiB"))?;
        count
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large"))
    }
}

/// A duration: `30s`, `500ms`, `2m`, `1h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(
    /// The duration.
    pub Duration,
);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let wrong = || format!("`{text}` is no duration; write for example 30s, 500ms or 2m");
        let count: u64 = number.parse().map_err(|_| wrong())?;
        let ms_per_unit = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        count
            .checked_mul(ms_per_unit)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(wrong)
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// Which cores run a shard: `4` (that many), `0,2-3` (these); one core alone is `3,`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// So many of the cores that the process may use.
    Count(usize),
    /// Exactly these, sorted, none twice.
    List(Vec<usize>),
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is neither a number of cores (4) nor a list of cores (0,2-3)");
        let number = |word: &str| word.trim().parse::<usize>().map_err(|_| wrong());
        if !text.contains([',', '-']) {
            return number(text).map(Self::Count);
        }
        let mut cores = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last || last - first >= crate::limits::SHARDS_MAX {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() {
            Err(wrong())
        } else {
            Ok(Self::List(cores))
        }
    }
}

/// A host name or address with an optional port: `db1`, `db1:9043`, `10.0.0.1`, `[::1]:9042`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port, when one was written.
    pub port: Option<u16>,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("`{text}` is not host or host:port");
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self {
                host: text.to_owned(),
                port: None,
            });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (
                    host,
                    rest.strip_prefix(':')
                        .or(rest.is_empty().then_some(""))
                        .ok_or_else(wrong)?,
                )
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let bad = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | ',' | '[' | ']');
        if host.is_empty() || host.contains(bad) {
            return Err(wrong());
        }
        let port = match port {
            "" if text.ends_with(':') => return Err(wrong()),
            "" => None,
            digits => Some(digits.parse().map_err(|_| wrong())?),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Contact points of one cluster: `db1,db2:9043`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(
    /// At least one.
    pub Vec<HostPort>,
);

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .collect();
        if parts.is_empty() {
            return Err("no host is named; write host[:port][,host[:port]…]".to_owned());
        }
        parts
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The seed's `--ghostIps`: a JSON object from a node's address to the one that drivers get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostIps(
    /// Node's address → address in the answers to `system.peers`.
    pub BTreeMap<IpAddr, IpAddr>,
);

impl FromStr for GhostIps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|e| {
            format!("no JSON object of addresses ({e}); write {{\"10.0.0.1\":\"10.0.0.2\"}}")
        })
    }
}

/// Patterns of tables, separated by commas; [`super::build`] says what is wrong with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(
    /// As written.
    pub String,
);

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// Texts of a flag that may be repeated; commas separate too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(
    /// At least one.
    pub Vec<String>,
);

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text
            .split(',')
            .map(|word| word.trim().to_owned())
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            Err("the value is empty".to_owned())
        } else {
            Ok(Self(words))
        }
    }
}
