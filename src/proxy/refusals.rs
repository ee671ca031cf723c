//! Names the tables whose writes the target turns down: each once, whichever shards meet it.

use std::collections::BTreeSet;

use crate::limits;
use crate::shard::refused::Refused;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeSet<(Box<str>, Box<str>, bool)>);

impl Refusals {
    /// A shard met it.
    pub(super) fn name(&mut self, refused: &Refused) {
        if self.is_new(refused) {
            tracing::warn!(
                keyspace = %refused.keyspace,
                table = %refused.table,
                "{}: {}; more of this table are counted and kept: see twinring rejects",
                match refused.in_doubt {
                    true => "a write is in doubt",
                    false => "the target refused a write",
                },
                refused.words,
            );
        }
    }

    fn is_new(&mut self, refused: &Refused) -> bool {
        let table = (refused.keyspace.clone(), refused.table.clone());
        let all = &mut self.0;
        all.len() < limits::TABLES_NAMED && all.insert((table.0, table.1, refused.in_doubt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_new_once_for_each_reason() {
        let mut refusals = Refusals::default();
        let refused = |table: &str, in_doubt, words: &str| Refused {
            keyspace: "ks".into(),
            table: table.into(),
            in_doubt,
            words: words.into(),
        };
        let said = [
            (refused("t", false, "no such column"), true),
            (refused("t", false, "no such table"), false),
            (refused("t", true, "the link was lost"), true),
            (refused("u", false, "no such table"), true),
            (refused("u", false, "no such table"), false),
        ];
        for (refused, expected) in said {
            assert_eq!(refusals.is_new(&refused), expected, "{refused:?}");
        }
        for number in 0..2 * limits::TABLES_NAMED {
            refusals.is_new(&refused(&number.to_string(), false, ""));
        }
        assert_eq!(refusals.0.len(), limits::TABLES_NAMED);
    }
}
