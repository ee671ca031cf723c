//! Between a write in memory and its record in the spill.

use std::borrow::Cow;
use std::rc::Rc;

use super::expiry;
use super::plan::{Plan, PlanCache, Repeat};
use super::write::{Body, Child, ChildStatement, Write};
use crate::cql::request::params::QueryParams;
use crate::cql::values::{self, Edit, Values};
use crate::cql::{Value, Version};
use crate::journal::{Full, Journal};
use crate::spill::record::TooLarge;
use crate::spill::{self, ChildrenBuf, Kind, Record, Refusal, Repeated};
use crate::statement::rewrite::{self, WithTtl};
use crate::tables::Known;

/// Puts a client's write into the journal and notes its place in it.
///
/// # Errors
/// There is no room now, or never will be: the write is larger than the journal or than a record.
pub fn journal(write: &mut Write, conditional: bool, journal: &mut Journal) -> Result<(), Full> {
    let nature = write.nature(conditional);
    write.journal = match repeated(write) {
        Some(repeated) => journal.append(&repeated, nature)?,
        None => record(write, None, |record| Ok(journal.append(record, nature)))
            .unwrap_or(Err(Full::Never))?,
    };
    Ok(())
}

/// As [`journal`], of a write that others wait for ([`Journal::append_awaited`]).
///
/// # Errors
/// As there.
pub fn journal_awaited(write: &mut Write, journal: &mut Journal) -> Result<(), Full> {
    let nature = write.nature(false);
    let append = |record: &Record<'_>| Ok(journal.append_awaited(record, nature));
    write.journal = record(write, None, append).unwrap_or(Err(Full::Never))?;
    Ok(())
}

/// The record of a prepared statement, without putting it together.
#[inline]
fn repeated(write: &Write) -> Option<Repeated<'_>> {
    let Body::Execute { prepared, params } = write.original() else {
        return None;
    };
    Some(Repeated {
        arrival_us: arrival_us(write),
        stamp_us: write.stamp_us,
        kind: write.kind,
        version: Version::V4.number(),
        head: prepared.head.as_ref()?,
        params,
    })
}

fn arrival_us(write: &Write) -> u64 {
    u64::try_from(write.arrived_us).unwrap_or_default()
}

/// Calls `with` with the record of a write: texts instead of prepared ids.
///
/// # Errors
/// What `with` says, or the write does not fit into a record, which no request's length can cause.
pub fn record<T>(
    write: &Write,
    refusal: Option<Refusal<'_>>,
    with: impl FnOnce(&Record<'_>) -> Result<T, TooLarge>,
) -> Result<T, TooLarge> {
    let mut children = ChildrenBuf::default();
    let body = match write.original() {
        Body::Query { text, params } => spill::Body::Query { text, params },
        Body::Execute { prepared, params } => spill::Body::Query {
            text: &prepared.plan.target_text,
            params,
        },
        Body::Batch {
            kind,
            children: own,
            values,
            tail,
        } => {
            for child in own {
                let text = &child.statement.plan().target_text;
                children.push(text, values.get(child.values.clone()).unwrap_or_default())?;
            }
            spill::Body::Batch {
                batch_type: *kind,
                children: children.children(),
                tail,
            }
        }
    };
    with(&Record {
        sequence: 0,
        arrival_us: arrival_us(write),
        stamp_us: write.stamp_us,
        kind: write.kind,
        version: Version::V4.number(),
        session_keyspace: "", // the texts are qualified
        keyspace: &write.keyspace,
        table: &write.table,
        refusal,
        body,
    })
}

/// The write of a record, to be sent `elapsed_s` seconds after it arrived: what is left of its TTL,
/// and never less than one second, since an expired cell must still hide older ones.
#[must_use]
pub fn write(record: &Record<'_>, plans: &mut PlanCache, elapsed_s: i64) -> Write {
    let whole = after(record, plans, 0);
    if elapsed_s <= 0 || !carries_ttl(&whole, plans) {
        return whole;
    }
    Write {
        unaged: Some(Box::new(whole.body)),
        aged_s: elapsed_s,
        ..after(record, plans, elapsed_s)
    }
}

fn after(record: &Record<'_>, plans: &mut PlanCache, elapsed_s: i64) -> Write {
    let mut deletes = false;
    let (mut repeat, body) = match record.body {
        spill::Body::Query { text, params } => {
            let plan = plans.plan(text, None);
            deletes = plan.deletes;
            let (text, params) = aged_query(&plan, params, elapsed_s, plans.known());
            (plan.repeat, Body::Query { text, params })
        }
        spill::Body::Batch {
            batch_type,
            children,
            tail,
        } => {
            let mut values = Vec::new();
            let mut worst = Repeat::Free;
            let children = children
                .iter()
                .map(|(text, bound)| {
                    let from = values.len();
                    let plan = plans.plan(text, None);
                    deletes |= plan.deletes;
                    let plan = aged_child(plan, bound, elapsed_s, &mut values, plans);
                    worst = worst.max(plan.repeat);
                    Child {
                        statement: ChildStatement::Text(plan),
                        values: from..values.len(),
                    }
                })
                .collect();
            (
                worst,
                Body::Batch {
                    kind: batch_type,
                    children,
                    values,
                    tail: tail.to_vec(),
                },
            )
        }
    };
    // The record knows better than the text alone: it was made with the source's column types.
    match record.kind {
        Kind::Write | Kind::Ddl | Kind::Truncate => repeat = Repeat::Free,
        Kind::Counter => repeat = Repeat::Once,
        Kind::List => repeat = repeat.max(Repeat::Bump),
    }
    let arrived_us = i64::try_from(record.arrival_us).unwrap_or(i64::MAX);
    Write {
        stamp_us: record.stamp_us,
        repeat,
        kind: record.kind,
        deletes,
        ..Write::new(arrived_us, record.keyspace, record.table, body)
    }
}

/// The write as it must be sent now, if it has waited so long that its TTL is to be shortened.
#[must_use]
pub fn aged(write: &Write, plans: &mut PlanCache, now_us: i64) -> Option<Write> {
    // to the nearest second: both clusters round their own times down
    let elapsed_s = (now_us - write.arrived_us + 500_000).max(0) / 1_000_000;
    if elapsed_s <= write.aged_s || !carries_ttl(write, plans) {
        return None;
    }
    let made = record(write, None, |view| Ok(self::write(view, plans, elapsed_s))).ok()?;
    Some(Write {
        repeat: write.repeat,
        journal: write.journal,
        ..made
    })
}

/// The client said which second it has (`now_in_seconds` of v5): the TTL of its write becomes one
/// that counts from the write's arrival, as all others do.
pub fn count_from_arrival(write: &mut Write, second: i32, plans: &mut PlanCache) {
    let arrived_s = write.arrived_us.div_euclid(1_000_000);
    let elapsed_s = arrived_s - i64::from(second);
    if elapsed_s == 0 || !carries_ttl(write, plans) {
        return;
    }
    if let Ok(made) = record(write, None, |view| Ok(after(view, plans, elapsed_s))) {
        write.body = made.body;
    }
}

/// By what is known of the tables now: their default may not have been when it was planned.
fn carries_ttl(write: &Write, plans: &mut PlanCache) -> bool {
    let expires = |plan: &Plan, known: &Known| {
        expiry::expires(&plan.statement, plan.session_keyspace.as_deref(), known)
    };
    match &write.body {
        Body::Query { text, .. } => plans.plan(text, None).expires,
        Body::Execute { prepared, .. } => expires(&prepared.plan, plans.known()),
        Body::Batch { children, .. } => {
            let mut children = children.iter();
            children.any(|child| expires(child.statement.plan(), plans.known()))
        }
    }
}

fn aged_query(plan: &Rc<Plan>, params: &[u8], elapsed_s: i64, known: &Known) -> (Rc<str>, Vec<u8>) {
    if elapsed_s == 0 || !plan.expires {
        return (plan.target_text.clone(), params.to_vec());
    }
    let aged = aged_text(plan, known, elapsed_s);
    let mut rewritten = Vec::with_capacity(params.len());
    let bound = QueryParams::parse(params)
        .ok()
        .filter(|_| !aged.bound.is_empty());
    let done = bound.is_some_and(|parsed| {
        let lefts = lefts(plan, parsed.values, &aged.bound, elapsed_s);
        parsed.rewrite(&mut rewritten, &edits(&lefts), None).is_ok()
    });
    let params = if done { rewritten } else { params.to_vec() };
    (text_of(plan, aged.text), params)
}

fn aged_child(
    plan: Rc<Plan>,
    bound: &[u8],
    elapsed_s: i64,
    out: &mut Vec<u8>,
    plans: &mut PlanCache,
) -> Rc<Plan> {
    if elapsed_s == 0 || !plan.expires {
        out.extend_from_slice(bound);
        return plan;
    }
    let aged = aged_text(&plan, plans.known(), elapsed_s);
    let done = Values::parse(bound, false).is_ok_and(|parsed| {
        let lefts = lefts(&plan, Some(parsed), &aged.bound, elapsed_s);
        values::rewrite(out, Some(parsed), &edits(&lefts)).is_ok()
    });
    if !done {
        out.extend_from_slice(bound);
    }
    match aged.text {
        Cow::Borrowed(_) => plan.clone(),
        Cow::Owned(text) => plans.plan(&text, None),
    }
}

fn aged_text<'p>(plan: &'p Plan, known: &Known, elapsed_s: i64) -> WithTtl<'p> {
    let session = plan.session_keyspace.as_deref();
    expiry::with_ttl(&plan.text, &plan.statement, session, known, elapsed_s)
}

fn text_of(plan: &Plan, text: Cow<'_, str>) -> Rc<str> {
    match text {
        Cow::Borrowed(_) => plan.target_text.clone(),
        Cow::Owned(text) => text.into(),
    }
}

/// Index and new bytes of each bound TTL.
fn lefts(
    plan: &Plan,
    values: Option<Values<'_>>,
    markers: &[u16],
    elapsed_s: i64,
) -> Vec<(usize, [u8; 4])> {
    let Some(values) = values else {
        return Vec::new();
    };
    let mut lefts = Vec::new();
    for (index, bound) in values.iter().enumerate() {
        let is_ttl = markers.iter().any(|marker| match bound.name {
            None => usize::from(*marker) == index,
            Some(name) => plan
                .statement
                .markers
                .get(usize::from(*marker))
                .is_some_and(|marker| marker.name.as_deref() == Some(name)),
        });
        let Value::Bytes(bytes) = bound.value else {
            continue;
        };
        let (true, Ok(bytes)) = (is_ttl, <[u8; 4]>::try_from(bytes)) else {
            continue;
        };
        let ttl_s = i64::from(i32::from_be_bytes(bytes));
        let left = rewrite::ttl_left(ttl_s, elapsed_s).and_then(|left| i32::try_from(left).ok());
        lefts.extend(left.map(|left| (index, left.to_be_bytes())));
    }
    lefts
}

fn edits(lefts: &[(usize, [u8; 4])]) -> Vec<Edit<'_>> {
    lefts
        .iter()
        .map(|(index, bytes)| Edit::Replace {
            index: *index,
            value: Value::Bytes(bytes),
        })
        .collect()
}
