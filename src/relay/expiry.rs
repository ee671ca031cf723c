//! Cells of the target expire when those of the source do, whatever the tables' defaults are.

use crate::statement::rewrite::{self, WithTtl};
use crate::statement::{Mutation, Statement, UsingValue};
use crate::tables::Known;

fn keyspace_of<'s>(mutation: &'s Mutation, session: Option<&'s str>) -> &'s str {
    mutation.table.keyspace_or(session).unwrap_or_default()
}

/// Whether a statement writes cells that expire, at the source or by the target's default.
#[must_use]
pub fn expires(statement: &Statement, session: Option<&str>, known: &Known) -> bool {
    statement.mutations.iter().any(|mutation| {
        let keyspace = keyspace_of(mutation, session);
        let by_default = |tables: &crate::tables::Tables| {
            tables
                .default_ttl_s(keyspace, &mutation.table.name)
                .is_some()
        };
        mutation.using.ttl != UsingValue::None
            || (mutation.takes_ttl() && (by_default(&known.source) || by_default(&known.target)))
    })
}

/// The text that a statement needs at the target `elapsed_s` after the source got it: what is left
/// of each TTL, and the source's default where the target's would be another.
#[must_use]
pub fn with_ttl<'t>(
    text: &'t str,
    statement: &Statement,
    session: Option<&str>,
    known: &Known,
    elapsed_s: i64,
) -> WithTtl<'t> {
    rewrite::with_ttl(text, statement, elapsed_s, |index| {
        let mutation = statement.mutations.get(index)?;
        known.explicit_ttl_s(
            keyspace_of(mutation, session),
            &mutation.table.name,
            elapsed_s,
        )
    })
}
