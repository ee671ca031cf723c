//! How a statement is treated: decided once per text and keyspace, then remembered.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::rc::Rc;

use regex::Regex;

use crate::limits;
use crate::spill::Kind as RecordKind;
use crate::statement::rewrite::AddedMarker;
use crate::statement::{
    self, Action, Assignment, Kind, Object, Operation, Statement, SystemTable, Value, ValueKind,
};

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
    /// `--filter-tables` matches its text.
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

/// What may be done after a try whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repeat {
    /// Send it again: a stamped write twice is a stamped write once.
    Free,
    /// Send it again one µs later: the same list literal twice with one stamp doubles the elements
    /// (CASSANDRA-11368), with a later stamp it replaces them.
    Bump,
    /// Never: counters, and list operations that depend on what is there.
    Once,
}

/// What DDL goes to the target (`--mirror-ddl`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorDdl {
    /// No DDL and no TRUNCATE… of schema objects at all; TRUNCATE is data and still goes.
    None,
    /// Everything inside a keyspace.
    Tables,
    /// Keyspaces too.
    All,
}

/// What decides about treatment beside the text.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `--mirror-ddl`.
    pub mirror_ddl: MirrorDdl,
    /// Replication of keyspaces at the target (`--target-replication`), a map as CQL writes it.
    pub replication: Option<String>,
    /// Texts that are not mirrored (`--filter-tables`).
    pub filter: Option<Regex>,
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
    /// Markers that the client does not know of; see [`super::hidden`].
    pub added: Box<[AddedMarker]>,
}

/// What the source said about a bind marker when it prepared a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindKind {
    /// A list, frozen or not.
    List,
    /// A counter.
    Counter,
    /// The index of a list element (`l[?] = …`), which the server names `idx(l)`.
    ListIndex,
    /// Anything else: writing it twice is writing it once.
    Other,
}

impl BindKind {
    /// By the marker's name and the number of its type (native protocol v4, section 4.2.5.2).
    #[must_use]
    pub fn of(name: &str, type_number: u16) -> Self {
        match type_number {
            0x0005 => Self::Counter,
            0x0020 => Self::List,
            _ if name.starts_with("idx(") => Self::ListIndex,
            _ => Self::Other,
        }
    }
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
    /// about the markers, when it prepared the text; empty if it was not prepared.
    #[must_use]
    pub fn new(
        text: &str,
        session_keyspace: Option<Rc<str>>,
        binds: &[BindKind],
        rules: &Rules,
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
        let (repeat, kind) = nature(&statement, binds, text);
        let deletes = statement
            .mutations
            .iter()
            .any(|m| m.verb == statement::Verb::Delete);
        let text: Rc<str> = text.into();
        let target_text = target_text(&text, &statement, session, treatment, rules);
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
            added: Box::default(),
        }
    }
}

impl Plan {
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
) -> Rc<str> {
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
        _ if is_filtered(text, rules) => Treatment::SourceOnly(Reason::Filter),
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

fn is_filtered(text: &str, rules: &Rules) -> bool {
    rules
        .filter
        .as_ref()
        .is_some_and(|filter| filter.is_match(text))
}

/// How often it may be sent, and what a record calls it.
fn nature(statement: &Statement, binds: &[BindKind], text: &str) -> (Repeat, RecordKind) {
    match statement.kind {
        Kind::Ddl(..) => return (Repeat::Free, RecordKind::Ddl),
        Kind::Truncate => return (Repeat::Free, RecordKind::Truncate),
        Kind::Batch(statement::BatchType::Counter) => return (Repeat::Once, RecordKind::Counter),
        _ => {}
    }
    if binds.contains(&BindKind::Counter) {
        return (Repeat::Once, RecordKind::Counter);
    }
    let mut worst = (Repeat::Free, RecordKind::Write);
    for mutation in &statement.mutations {
        let assigned = mutation
            .assignments
            .iter()
            .map(|a| assignment_nature(a, binds, text));
        let json = mutation.json.filter(|json| may_hold_list(*json, text));
        for found in assigned.chain(json.map(|_| (Repeat::Bump, RecordKind::List))) {
            worst = if found.0 > worst.0 { found } else { worst };
        }
    }
    // a stamp in the text cannot be raised by one: then the second try is out
    if worst.0 == Repeat::Bump && statement.has_timestamp() {
        worst.0 = Repeat::Once;
    }
    worst
}

/// A JSON document without `[` writes no list.
fn may_hold_list(json: Value, text: &str) -> bool {
    match json.kind {
        ValueKind::Literal => json.span.of(text).contains('['),
        _ => true,
    }
}

fn assignment_nature(
    assignment: &Assignment,
    binds: &[BindKind],
    text: &str,
) -> (Repeat, RecordKind) {
    let bind_of = |value: Value| match value.kind {
        ValueKind::Marker(ordinal) => binds.get(usize::from(ordinal)).copied(),
        _ => None,
    };
    const FREE: (Repeat, RecordKind) = (Repeat::Free, RecordKind::Write);
    match assignment.operation {
        Operation::Add | Operation::Prepend | Operation::Subtract => {
            match (assignment.value.kind, bind_of(assignment.value)) {
                (ValueKind::Literal, _) | (_, Some(BindKind::Counter)) => {
                    (Repeat::Once, RecordKind::Counter)
                }
                (ValueKind::Braces, _) | (_, Some(BindKind::Other)) => FREE,
                _ => (Repeat::Once, RecordKind::List),
            }
        }
        Operation::SetElement { key } | Operation::DeleteElement { key } => {
            let index = match (key.kind, bind_of(key)) {
                (_, Some(kind)) => kind == BindKind::ListIndex,
                (ValueKind::Literal, _) => {
                    key.span.of(text).bytes().all(|byte| byte.is_ascii_digit())
                }
                (ValueKind::Marker(_), None) => true,
                _ => false,
            };
            if index {
                (Repeat::Once, RecordKind::List)
            } else {
                FREE
            }
        }
        Operation::Set => match (assignment.value.kind, bind_of(assignment.value)) {
            (ValueKind::List, _) | (_, Some(BindKind::List)) => (Repeat::Bump, RecordKind::List),
            (ValueKind::Marker(_), None) => (Repeat::Bump, RecordKind::Write),
            _ => FREE,
        },
        Operation::SetField | Operation::Delete | Operation::DeleteField => FREE,
    }
}

/// Plans by text and keyspace, bounded: when the newer half is full, the older one is dropped.
///
/// The map's key is a hash of text and keyspace, keyed at random per process; a plan found is
/// compared in full, so a collision costs a classification and never a wrong answer.
#[derive(Debug)]
pub struct PlanCache {
    rules: Rules,
    hasher: RandomState,
    newer: HashMap<u64, Rc<Plan>, BuildHasherDefault<Ready>>,
    older: HashMap<u64, Rc<Plan>, BuildHasherDefault<Ready>>,
    newer_bytes: usize,
    max_bytes: usize,
}

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
    /// Holds texts of about `max_bytes` in all.
    #[must_use]
    pub fn new(rules: Rules, max_bytes: usize) -> Self {
        Self {
            rules,
            hasher: RandomState::new(),
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
            None => Rc::new(Plan::new(text, keyspace.cloned(), &[], &self.rules)),
        };
        if text.len() > limits::CLASSIFIED_TEXT_MAX_BYTES {
            return plan; // a text full of values, which will not come again
        }
        let bytes = size_of::<Plan>() + 4 * text.len();
        if self.newer_bytes + bytes > self.max_bytes / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.newer_bytes = 0;
        }
        self.newer_bytes += bytes;
        self.newer.insert(key, plan.clone());
        plan
    }
}
