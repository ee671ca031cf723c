//! Every write that a client has made, and what it knows of its fate.

use std::collections::BTreeMap;

/// What is known of a write's fate, to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Waiting,
    Acknowledged,
    /// An error that says that it is not there.
    Refused,
    /// Timeout, lost connection, an error that leaves it open.
    Unknown,
}

/// A write, as its client sees it.
#[derive(Debug, Clone)]
pub struct Deed {
    pub table: String,
    pub key: String,
    /// Tables and keys that it may change besides.
    pub also: Vec<(&'static str, String)>,
    /// When the proxy may have got it, by the proxy's clock (µs).
    pub from_us: i64,
    pub until_us: i64,
    /// The value that it leaves, if nothing else ever writes there.
    pub leaves: Option<(&'static str, Vec<u8>)>,
    /// The client waits for its fate before the next one of this kind.
    pub ordered: bool,
    pub step: Step,
    pub fate: Fate,
}

/// What the fate of a write changes for those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    None,
    List,
    Truncated,
    TruncateRow,
    CountersGone,
    Created,
    Altered,
    Dropped,
}

impl Deed {
    /// Whether it may have changed all of its table.
    pub fn is_of_table(&self) -> bool {
        !matches!(self.step, Step::None | Step::List | Step::TruncateRow)
    }
}

/// All writes, by number.
#[derive(Debug, Default)]
pub struct Ledger {
    pub deeds: Vec<Deed>,
}

impl Ledger {
    /// Tables of which a client could not learn whether a schema change was done.
    pub fn open_tables(&self) -> BTreeMap<String, Step> {
        let open = self.deeds.iter().filter(|deed| {
            let schema = matches!(deed.step, Step::Created | Step::Altered | Step::Dropped);
            schema && matches!(deed.fate, Fate::Unknown | Fate::Waiting)
        });
        open.map(|deed| (deed.table.clone(), deed.step)).collect()
    }
}
