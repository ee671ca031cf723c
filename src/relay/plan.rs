//! How a statement is treated: decided once per text and keyspace, then remembered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use regex::Regex;

use super::wanted::Wanted;
use super::{expiry, nature};
use crate::limits;
use crate::spill::Kind as RecordKind;
pub use crate::spill::Repeat;
use crate::statement::rewrite::AddedMarker;
use crate::statement::{self, Action, Kind, Object, Statement, SystemTable};
use crate::tables::Known;

pub use super::nature::BindKind;

/// What the relay does with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Source only, nothing to learn: reads.
    Pass,
    /// Source only, though it may change something there.
    SourceOnly(Reason),
    /// A read of a table that tells drivers where to connect: the answer is rewritten.
    System(SystemTable),
    /// The session's keyspace changes.
    Use,
    /// Stamped and mirrored.
    Mirror,
    /// Conditional: only the source decides.
    Lwt,
    /// DDL or TRUNCATE: to the target behind a barrier.
    Schema,
}

/// Why a statement that may change something is not for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `--filter-tables` matches its text, or its tables are not wanted (`--include`, `--exclude`).
    Filter,
    /// `--mirror-ddl` leaves it out.
    Ddl,
    /// Roles, grants, passwords.
    Roles,
    /// A keyspace that belongs to the cluster itself.
    System,
    /// A transaction over tables, which this version does not look into.
    Transaction,
}

impl Reason {
    /// All reasons, in the order of [`Tally::skipped`](super::output::Tally::skipped).
    pub const ALL: [Self; 5] = [
        Self::Filter,
        Self::Ddl,
        Self::Roles,
        Self::System,
        Self::Transaction,
    ];
}

/// What DDL goes to the target (`--mirror-ddl`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MirrorDdl {
    /// No DDL and no TRUNCATE… of schema objects at all; TRUNCATE is data and still goes.
    None,
    /// Everything inside a keyspace.
    #[default]
    Tables,
    /// Keyspaces too.
    All,
}

/// What decides about treatment beside the text.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `--mirror-ddl`.
    pub mirror_ddl: MirrorDdl,
    /// Replication of keyspaces at the target (`--target-replication`), a map as CQL writes it.
    pub replication: Option<String>,
    /// Texts that are not mirrored (`--filter-tables`).
    pub filter: Option<Regex>,
    /// Tables that are (`--include`, `--exclude`).
    pub wanted: Wanted,
}

/// A statement text with all that is known about it.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The text as the client sent it.
    pub text: Rc<str>,
    /// The session's keyspace when it was sent or prepared.
    pub session_keyspace: Option<Rc<str>>,
    /// What the text says.
    pub statement: Statement,
    /// What is done with it.
    pub treatment: Treatment,
    /// What may be done after a try whose outcome is unknown.
    pub repeat: Repeat,
    /// What a spill record calls it.
    pub kind: RecordKind,
    /// The keyspace that it is about, or nothing.
    pub keyspace: Rc<str>,
    /// The table that it is about (of a batch the first), or nothing.
    pub table: Rc<str>,
    /// It deletes something, or may: a row, a column, an element.
    pub deletes: bool,
    /// The text for the target: all names qualified.
    pub target_text: Rc<str>,
    /// It writes cells that expire: it has a TTL, or a table's default counts.
    pub expires: bool,
    /// What the source said about the markers, when it prepared the text; else empty.
    pub binds: Box<[BindKind]>,
    /// Markers that the client does not know of; see [`super::hidden`].
    pub added: Box<[AddedMarker]>,
}

/// Keyspaces that belong to a cluster itself; what is written there is never mirrored.
const OWN_KEYSPACES: &[&str] = &[
    "system",
    "system_auth",
    "system_distributed",
    "system_schema",
    "system_traces",
    "system_views",
    "system_virtual_schema",
];

impl Plan {
    /// Classifies `text` as sent by a session in `session_keyspace`. `binds`: what the source said
    /// about the markers, when it prepared the text; empty if it was not prepared. `known`: the
    /// tables, as far as they are known.
    #[must_use]
    pub fn new(
        text: &str,
        session_keyspace: Option<Rc<str>>,
        binds: Box<[BindKind]>,
        rules: &Rules,
        known: &Known,
    ) -> Self {
        let statement = statement::classify(text);
        let session = session_keyspace.as_deref();
        let (keyspace, table) = match statement.table() {
            Some(name) => (name.keyspace_or(session), &*name.name),
            None => (statement.keyspace.as_deref(), ""),
        };
        let keyspace: Rc<str> = keyspace.unwrap_or_default().into();
        let table: Rc<str> = table.into();
        let treatment = treatment(&statement, session, &keyspace, text, rules);
        let (repeat, kind) = nature::of(&statement, &binds, text, session, &known.source);
        let deletes = statement
            .mutations
            .iter()
            .any(|m| m.verb == statement::Verb::Delete);
        let text: Rc<str> = text.into();
        let target_text = target_text(&text, &statement, session, treatment, rules, known);
        let expires = expiry::expires(&statement, session, known);
        Self {
            text,
            session_keyspace,
            statement,
            treatment,
            repeat,
            kind,
            keyspace,
            table,
            deletes,
            target_text,
            expires,
            binds,
            added: Box::default(),
        }
    }
}

impl Plan {
    /// Memory that it holds, with itself (bytes), about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        /// What a counted piece of memory takes beside its contents: counts, and the allocator's.
        const COUNTED: usize = 32;
        let target = match Rc::ptr_eq(&self.text, &self.target_text) {
            true => 0,
            false => self.target_text.len() + COUNTED,
        };
        let names = self.keyspace.len() + self.table.len() + 2 * COUNTED;
        let lists = size_of_val(&*self.binds) + size_of_val(&*self.added);
        let texts = self.text.len() + COUNTED + target + names;
        size_of::<Self>() + COUNTED + texts + lists + self.statement.heap_bytes()
    }

    /// Whether the text gives all its mutations a timestamp. A bound one may be unset, and then the
    /// default counts.
    #[must_use]
    pub fn has_literal_stamp(&self) -> bool {
        let literal = |using: &statement::Using| {
            matches!(using.timestamp, statement::UsingValue::Literal { .. })
        };
        let mutations = &self.statement.mutations;
        literal(&self.statement.batch_using)
            || (!mutations.is_empty() && mutations.iter().all(|m| literal(&m.using)))
    }

    /// Whether it writes a JSON document.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.statement
            .mutations
            .iter()
            .any(|mutation| mutation.json.is_some())
    }
}

/// The text for the target: names qualified, keyspaces replicated as the operator wants.
fn target_text(
    text: &Rc<str>,
    statement: &Statement,
    session: Option<&str>,
    treatment: Treatment,
    rules: &Rules,
    known: &Known,
) -> Rc<str> {
    if treatment == Treatment::Mirror
        && let Cow::Owned(timed) = expiry::with_ttl(text, statement, session, known, 0).text
    {
        let timed_statement = statement::classify(&timed);
        return match session {
            Some(session) => statement::rewrite::qualify(&timed, &timed_statement, session).into(),
            None => timed.into(),
        };
    }
    let replication = statement.ddl.as_ref().and_then(|ddl| ddl.replication);
    if let (Some(span), Some(wanted)) = (replication, &rules.replication) {
        let (start, end) = (span.start as usize, span.end as usize);
        if let (Some(before), Some(after)) = (text.get(..start), text.get(end..)) {
            return format!("{before}{wanted}{after}").into();
        }
    }
    match (session, treatment) {
        (Some(session), Treatment::Mirror | Treatment::Schema | Treatment::Lwt)
            if !statement.unqualified.is_empty() =>
        {
            statement::rewrite::qualify(text, statement, session).into()
        }
        _ => text.clone(),
    }
}

fn treatment(
    statement: &Statement,
    session: Option<&str>,
    keyspace: &str,
    text: &str,
    rules: &Rules,
) -> Treatment {
    if let Some(table) = statement.system_table(session) {
        return Treatment::System(table);
    }
    let own = OWN_KEYSPACES.contains(&keyspace);
    match statement.kind {
        Kind::Select | Kind::List | Kind::Describe | Kind::Unknown => Treatment::Pass,
        Kind::Use => Treatment::Use,
        Kind::Role | Kind::Grant => Treatment::SourceOnly(Reason::Roles),
        Kind::Transaction => Treatment::SourceOnly(Reason::Transaction),
        _ if own => Treatment::SourceOnly(Reason::System),
        _ if is_filtered(text, rules) || !is_wanted(statement, session, keyspace, rules) => {
            Treatment::SourceOnly(Reason::Filter)
        }
        Kind::Truncate => Treatment::Schema,
        Kind::Ddl(action, object) => match (rules.mirror_ddl, action, object) {
            (MirrorDdl::All, _, _) => Treatment::Schema,
            (MirrorDdl::None, _, _)
            | (
                MirrorDdl::Tables,
                Action::Create | Action::Alter | Action::Drop,
                Object::Keyspace,
            ) => Treatment::SourceOnly(Reason::Ddl),
            (MirrorDdl::Tables, _, _) => Treatment::Schema,
        },
        _ if statement.lwt => Treatment::Lwt,
        Kind::Insert { .. } | Kind::Update | Kind::Delete | Kind::Batch(_) => Treatment::Mirror,
    }
}

/// A text that writes to several tables is wanted if one of them is: its parts share markers and
/// timestamp.
fn is_wanted(statement: &Statement, session: Option<&str>, keyspace: &str, rules: &Rules) -> bool {
    let wanted = &rules.wanted;
    if statement.mutations.is_empty() {
        let table = statement.table().map_or("", |table| &*table.name);
        return wanted.has(keyspace, table);
    }
    statement.mutations.iter().any(|mutation| {
        let table = &mutation.table;
        wanted.has(table.keyspace_or(session).unwrap_or_default(), &table.name)
    })
}

fn is_filtered(text: &str, rules: &Rules) -> bool {
    rules
        .filter
        .as_ref()
        .is_some_and(|filter| filter.is_match(text))
}

/// Plans by text and keyspace, bounded: when the newer half is full, the older one is dropped.
///
/// The map's key is a hash of text and keyspace, keyed at random per process; a plan found is
/// compared in full, so a collision costs a classification and never a wrong answer.
#[derive(Debug)]
pub struct PlanCache {
    rules: Rules,
    known: Arc<Known>,
    hasher: RandomState,
    newer: HashMap<u64, Rc<Plan>, BuildHasherDefault<Ready>>,
    older: HashMap<u64, Rc<Plan>, BuildHasherDefault<Ready>>,
    newer_bytes: usize,
    max_bytes: usize,
}

/// What a map takes for an entry beside its plan, as far as it is filled on average (bytes).
const ENTRY_BYTES: usize = 32;

/// The key is a hash already.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

impl PlanCache {
    /// Holds plans of about `max_bytes` in all.
    #[must_use]
    pub fn new(rules: Rules, max_bytes: usize) -> Self {
        Self {
            rules,
            known: Arc::default(),
            hasher: RandomState::default(),
            newer: HashMap::default(),
            older: HashMap::default(),
            newer_bytes: 0,
            max_bytes,
        }
    }

    /// The rules that its plans follow.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is known of the tables.
    #[must_use]
    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }

    /// The tables are these now: what was planned with others is forgotten.
    pub fn know(&mut self, known: Arc<Known>) {
        self.known = known;
        self.newer.clear();
        self.older.clear();
        self.newer_bytes = 0;
    }

    /// Whether what `plan` was made with is not what `known` says of its tables.
    #[must_use]
    pub fn differs(&self, known: &Known, plan: &Plan) -> bool {
        let session = plan.session_keyspace.as_deref();
        plan.statement.mutations.iter().any(|mutation| {
            let keyspace = mutation.table.keyspace_or(session).unwrap_or_default();
            let of = |known: &Known| {
                let source = known.source.get(keyspace, &mutation.table.name).cloned();
                (
                    source,
                    known.explicit_ttl_s(keyspace, &mutation.table.name, 0),
                )
            };
            of(&self.known) != of(known)
        })
    }

    /// The plan of a text that the source has prepared and said `binds` about.
    #[must_use]
    pub fn prepared(&self, text: &str, keyspace: Option<Rc<str>>, binds: Box<[BindKind]>) -> Plan {
        Plan::new(text, keyspace, binds, &self.rules, &self.known)
    }

    /// The plan of a text that was not prepared.
    pub fn plan(&mut self, text: &str, keyspace: Option<&Rc<str>>) -> Rc<Plan> {
        let key = self.hasher.hash_one((text, keyspace));
        let same =
            |plan: &&Rc<Plan>| *plan.text == *text && plan.session_keyspace.as_ref() == keyspace;
        if let Some(plan) = self.newer.get(&key).filter(same) {
            return plan.clone();
        }
        let plan = match self.older.get(&key).filter(same) {
            Some(plan) => plan.clone(),
            None => Rc::new(self.prepared(text, keyspace.cloned(), Box::default())),
        };
        if text.len() > limits::CLASSIFIED_TEXT_MAX_BYTES {
            return plan; // a text full of values, which will not come again
        }
        let bytes = plan.memory_bytes() + ENTRY_BYTES;
        if self.newer_bytes + bytes > self.max_bytes / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.newer_bytes = 0;
            if bytes > self.max_bytes / 2 {
                return plan; // few characters can say much
            }
        }
        self.newer_bytes += bytes;
        self.newer.insert(key, plan.clone());
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer can send takes no more memory than it should, whatever the texts.
    #[test]
    fn the_memory_of_texts_is_bounded_whatever_they_say() {
        const MAX_BYTES: usize = 256 << 10;
        let rules = Rules::default();
        type Text = fn(usize) -> String;
        let texts: [(usize, Text); 4] = [
            (2_000, |n| format!("INSERT INTO t{n} (a, b) VALUES (1, 2)")),
            (40, |n| {
                format!("INSERT INTO t{n} (a) VALUES ({})", "?,".repeat(1_900))
            }),
            (100, |n| {
                format!("UPDATE t{n} SET a = 1{} WHERE k = 1", ",b=?".repeat(100))
            }),
            (4_000, |n| format!("{n}")),
        ];
        let session: Rc<str> = "ks".into();
        for (count, text) in texts {
            let mut kept = None;
            let counted = allocation_counter::measure(|| {
                let mut cache = PlanCache::new(rules.clone(), MAX_BYTES);
                for n in 0..count {
                    cache.plan(&text(n), Some(&session));
                }
                kept = Some(cache);
            });
            assert!(kept.is_some());
            let bytes = usize::try_from(counted.bytes_current).unwrap();
            assert!(bytes < MAX_BYTES * 5 / 4, "{}: {bytes}", &text(1)[..1]);
        }
    }
}
