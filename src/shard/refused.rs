//! Writes that will not be sent by themselves any more: the target has turned them down, or nobody
//! knows whether it has them. Each is kept with the reason; the log names each table once.

use std::collections::HashSet;
use std::rc::Rc;

use super::Shard;
use super::inbox::Ask;
use crate::limits;
use crate::metrics::Event as Counted;
use crate::relay::write::Write;
use crate::spill::Refusal;

/// A table that has not been named in the log yet, for this reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its keyspace.
    pub keyspace: Box<str>,
    /// Its name.
    pub table: Box<str>,
    /// Whether the target may have the write.
    pub in_doubt: bool,
    /// Why, in the words of the target where it has said any.
    pub words: Box<str>,
}

/// The tables that the control thread was told of, and for which of the two reasons.
#[derive(Debug, Default)]
pub(super) struct Named(HashSet<(Rc<str>, Rc<str>, bool)>);

impl Shard {
    /// Keeps a write that will not be sent by itself any more, with the reason.
    pub(super) fn reject(&mut self, write: &Write, code: i32, words: &str, in_doubt: bool) {
        let refusal = Refusal {
            code,
            words,
            in_doubt,
        };
        let counted = if in_doubt {
            Counted::InDoubt
        } else {
            Counted::Rejected
        };
        self.recorder.count(counted, 1);
        self.name(write, words, in_doubt);
        if let Err(error) = self.rejects.append(write, Some(refusal), self.now_us) {
            tracing::error!(keyspace = %write.keyspace, table = %write.table, "lost: {error}");
        }
    }

    /// Has the table named in the log, the first time.
    fn name(&mut self, write: &Write, words: &str, in_doubt: bool) {
        let table = (write.keyspace.clone(), write.table.clone(), in_doubt);
        let named = &mut self.named.0;
        if named.len() >= limits::TABLES_NAMED || named.contains(&table) {
            return;
        }
        let refused = Refused {
            keyspace: (*write.keyspace).into(),
            table: (*write.table).into(),
            in_doubt,
            words: words.into(),
        };
        if self.asks.try_send(Ask::Name(Box::new(refused))).is_ok() {
            named.insert(table); // else with the next one
        }
    }
}
