//! Bind markers that the client does not know of: prepared statements with `now()` and kin.
//!
//! Such a statement is prepared at the source with a marker in the place of each call. The client
//! sees the answer without these markers, and each EXECUTE gets the values on its way, so both
//! clusters store the same.

use super::functions::Generator;
use super::plan::{Plan, Treatment};
use crate::cql::request::params::QueryParams;
use crate::cql::response::Prepared;
use crate::cql::values::{self, Edit, Values};
use crate::cql::{Value, Version};
use crate::statement::rewrite::{AddedMarker, Parametrized};
use crate::statement::{Generated, GeneratedBytes, rewrite};

/// The text to prepare instead, if the plan is mirrored and has calls that markers can stand for.
#[must_use]
pub fn parametrize(plan: &Plan) -> Option<Parametrized> {
    let statement = &plan.statement;
    let wanted = !statement.functions.is_empty()
        && matches!(plan.treatment, Treatment::Mirror | Treatment::Lwt)
        && statement.functions_are_bindable();
    wanted.then(|| rewrite::parametrize_functions(&plan.text, statement))
}

/// Appends the message of the answer to PREPARE without the added markers. `None`: it is not what
/// was expected.
#[must_use]
pub fn hide(
    message: &[u8],
    version: Version,
    added: &[AddedMarker],
    out: &mut Vec<u8>,
) -> Option<()> {
    let prepared = Prepared::parse(message, version).ok()?;
    let ordinals: Vec<u16> = added.iter().map(|marker| marker.ordinal).collect();
    prepared.hide_binds(out, &ordinals).ok()
}

/// Gives added markers without a name the one that the server calls them by: clients may bind by
/// name what they wrote as `?`, and then all values have names.
pub fn name(added: &mut [AddedMarker], prepared: &Prepared<'_>) {
    for marker in added.iter_mut().filter(|marker| marker.name.is_none()) {
        let mut columns = prepared.bind.columns();
        let column = columns.nth(usize::from(marker.ordinal));
        marker.name = column.map(|column| column.name.into());
    }
}

/// Values for the added markers of one execution.
fn generate(added: &[AddedMarker], generator: &mut Generator, now_us: i64) -> Vec<GeneratedBytes> {
    let value = |kind: Generated, generator: &mut Generator| generator.value(kind, now_us).bytes();
    added
        .iter()
        .map(|marker| value(marker.returns, generator))
        .collect()
}

/// `named`: the client's values have names. Those of a statement in a BATCH never do.
fn edits<'e>(added: &'e [AddedMarker], bytes: &'e [GeneratedBytes], named: bool) -> Vec<Edit<'e>> {
    (0..)
        .zip(added.iter().zip(bytes))
        .map(|(earlier, (marker, bytes))| Edit::Insert {
            before: usize::from(marker.ordinal) - earlier,
            name: marker.name.as_deref().filter(|_| named),
            value: Value::Bytes(bytes),
        })
        .collect()
}

/// The `<query_parameters>` of an EXECUTE with the added values.
#[must_use]
pub fn with_values(
    params: &[u8],
    version: Version,
    added: &[AddedMarker],
    generator: &mut Generator,
    now_us: i64,
) -> Option<Vec<u8>> {
    let bytes = generate(added, generator, now_us);
    let mut out = Vec::with_capacity(params.len() + 20 * added.len());
    let parsed = QueryParams::parse_as(params, version).ok()?;
    let named = parsed.values.as_ref().is_some_and(Values::is_named);
    let edits = edits(added, &bytes, named);
    parsed.rewrite_as(&mut out, version, &edits, None).ok()?;
    Some(out)
}

/// Appends the values of a statement in a BATCH with the added ones.
#[must_use]
pub fn with_batch_values(
    bound: &[u8],
    added: &[AddedMarker],
    generator: &mut Generator,
    now_us: i64,
    out: &mut Vec<u8>,
) -> Option<()> {
    let bytes = generate(added, generator, now_us);
    let parsed = Values::parse(bound, false).ok()?;
    values::rewrite(out, Some(parsed), &edits(added, &bytes, false)).ok()?;
    Some(())
}
