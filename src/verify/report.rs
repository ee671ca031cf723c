//! What a comparison found: a line of JSON for each difference, and a summary.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::copy::FailedRange;

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    /// Another value.
    Value,
    /// Another writetime.
    Stamp,
    /// Another expiry, or one of them never expires.
    Expiry,
    /// The row kept changing while it was looked at.
    InFlight,
    /// A repair did not help: the target has a newer delete, a newer value, or a greater one of
    /// the same writetime.
    Shadowed,
}

impl Class {
    /// All of them, in the order of the summary.
    pub const ALL: [Class; 7] = [
        Class::Missing,
        Class::Extra,
        Class::Value,
        Class::Stamp,
        Class::Expiry,
        Class::InFlight,
        Class::Shadowed,
    ];

    fn word(self) -> &'static str {
        match self {
            Class::Missing => "missing",
            Class::Extra => "extra",
            Class::Value => "value",
            Class::Stamp => "stamp",
            Class::Expiry => "expiry",
            Class::InFlight => "in-flight",
            Class::Shadowed => "shadowed",
        }
    }
}

/// One side's cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The bytes, in hexadecimal digits.
    #[serde(serialize_with = "as_hex")]
    pub value: Vec<u8>,
    /// µs since 1970, where the cluster tells it.
    pub writetime_us: Option<i64>,
    /// Seconds since 1970; none: never, or not told.
    pub expires_s: Option<i64>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its table.
    pub table: String,
    /// `rows` or `statics`.
    pub pass: String,
    /// The key's columns and their bytes in hexadecimal digits.
    pub key: Vec<(String, String)>,
    /// How it differs.
    pub class: Class,
    /// The column; none: the whole row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Which of the column's cells, in hexadecimal digits: key of a map's entry, element of a set,
    /// place in a list or user type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// What the source has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Side>,
    /// What the target has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Side>,
    /// Whether it is gone now.
    pub repaired: bool,
    /// Whether the proxy knows that writes to this table may be missing.
    pub dirty: bool,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Tables compared.
    pub tables: u64,
    /// Rows that are equal.
    pub equal: u64,
    /// Rows that differed at first and were equal when they were looked at again.
    pub settled: u64,
    /// Rows that differ, or did before they were repaired.
    pub rows_differing: u64,
    /// Cells and rows that differ, by class; repaired ones included.
    pub differences: BTreeMap<Class, u64>,
    /// Differences that were repaired.
    pub repaired: u64,
    /// Differences of tables that the proxy's dirty set names.
    pub dirty: u64,
    /// Token ranges that could not be compared.
    pub failed: Vec<FailedRange>,
    /// The first differences.
    pub shown: Vec<Difference>,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl Summary {
    /// Differences that were found, repaired ones included.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.differences.values().sum()
    }

    /// How many differences of a class were found.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.differences.get(&class).copied().unwrap_or(0)
    }

    /// Whether both clusters are equal now, as far as they were compared.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.found() == self.repaired
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.shown {
            writeln!(f, "{difference}")?;
        }
        let seconds = self.elapsed_ms / 1000;
        let rate = (self.equal + self.rows_differing) * 1000 / self.elapsed_ms.max(1);
        writeln!(
            f,
            "{} tables in {seconds} s, {rate} rows/s: {} rows equal, {} of them only when looked \
             at again; {} differ",
            self.tables,
            self.equal + self.settled,
            self.settled,
            self.rows_differing
        )?;
        for class in Class::ALL {
            if self.of(class) > 0 {
                writeln!(f, "{:>12}  {}", self.of(class), class.word())?;
            }
        }
        if self.found() > 0 {
            writeln!(f, "{:>12}  of these are repaired", self.repaired)?;
            writeln!(
                f,
                "{:>12}  of these are in tables of the proxy's dirty set",
                self.dirty
            )?;
        }
        for failed in &self.failed {
            writeln!(
                f,
                "NOT COMPARED: {} ({}) --token-range {}: {}",
                failed.table, failed.pass, failed.range, failed.words
            )?;
        }
        f.write_str(match (self.is_equal(), self.failed.is_empty()) {
            (true, true) => "equal",
            (true, false) => "equal as far as compared",
            (false, _) => "NOT EQUAL",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self
            .key
            .iter()
            .map(|(name, bytes)| format!("{name}=0x{bytes}"));
        let key = key.collect::<Vec<_>>().join(" ");
        write!(f, "{} {key}: {}", self.table, self.class.word())?;
        if let Some(column) = &self.column {
            write!(f, " {column}")?;
        }
        if let Some(element) = &self.element {
            write!(f, "[0x{element}]")?;
        }
        for (word, side) in [("source", &self.source), ("target", &self.target)] {
            let Some(side) = side else { continue };
            let mut value = hex(&side.value);
            if value.len() > 32 {
                value.truncate(32);
                value.push('…');
            }
            write!(f, ", {word} 0x{value}")?;
            if let Some(us) = side.writetime_us {
                write!(f, " written {us}")?;
            }
            if let Some(s) = side.expires_s {
                write!(f, " expires {s}")?;
            }
        }
        f.write_str(if self.repaired { " (repaired)" } else { "" })
    }
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
    }
    text
}

fn as_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}
