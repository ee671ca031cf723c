//! The engine: schema, data, prepared statements. One thread owns it; nothing in it waits.

mod ddl;
pub(crate) mod expr;
pub(crate) mod functions;
mod lwt;
mod modify;
mod paging;
mod prepare;
pub(crate) mod read;
mod restrict;
pub(crate) mod select;
mod selector;
mod slices;
pub(crate) mod system;
mod view;
mod write;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use self::expr::Scope;
use self::lwt::{Guarded, Verdict};
use self::modify::ModifyPlan;
pub(crate) use self::prepare::{Plan, Prepared};
pub(crate) use self::read::{Page, Rows};
use self::write::{Mutation, mutations, stamp_of};
use super::clock::Clock;
use super::error::{CqlError, CqlResult};
use super::parser::ast::{BatchKind, Statement};
use super::schema::Schema;
use super::store::{Change, TableData};
use super::value::Value;

/// Prepared statements that are kept; the oldest goes first and then answers UNPREPARED.
pub(crate) const PREPARED_MAX: usize = 10_000;

/// What a schema change was, as the protocol names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaChange {
    /// CREATED, UPDATED or DROPPED.
    pub(crate) change: &'static str,
    /// KEYSPACE, TABLE or TYPE.
    pub(crate) target: &'static str,
    pub(crate) keyspace: String,
    /// Empty for a keyspace.
    pub(crate) name: String,
}

/// What a statement came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Void,
    Rows(Rows),
    Use(String),
    Schema(SchemaChange),
}

/// The values and options of one request.
#[derive(Clone, Copy, Default)]
pub(crate) struct Request<'r> {
    /// The session's keyspace.
    pub(crate) keyspace: Option<&'r str>,
    pub(crate) binds: &'r [Value],
    /// Default timestamp in microseconds.
    pub(crate) stamp: Option<i64>,
    pub(crate) page: Page<'r>,
}

/// One statement of a batch with its values.
pub(crate) struct BatchItem {
    pub(crate) prepared: Rc<Prepared>,
    pub(crate) binds: Vec<Value>,
}

/// Who the node says it is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) data_center: String,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) host_id: [u8; 16],
}

/// Schema and data of the node.
pub(crate) struct Engine {
    pub(crate) schema: Schema,
    pub(crate) data: HashMap<u32, TableData>,
    prepared: HashMap<[u8; 16], Rc<Prepared>>,
    prepared_order: VecDeque<[u8; 16]>,
    pub(crate) clock: Clock,
    pub(crate) identity: Identity,
    /// While the node makes its own system tables.
    booting: bool,
}

impl Engine {
    /// A node with its system tables and nothing else.
    pub(crate) fn new(identity: Identity, clock: Clock) -> CqlResult<Engine> {
        let mut engine = Engine {
            schema: Schema::default(),
            data: HashMap::new(),
            prepared: HashMap::new(),
            prepared_order: VecDeque::new(),
            clock,
            identity,
            booting: true,
        };
        system::boot(&mut engine)?;
        engine.booting = false;
        Ok(engine)
    }

    /// Compiles and keeps a statement; its id is the MD5 of keyspace and text.
    pub(crate) fn prepare(
        &mut self,
        text: &str,
        keyspace: Option<&str>,
    ) -> CqlResult<([u8; 16], Rc<Prepared>)> {
        let prepared = Prepared::new(&self.schema, text, keyspace)?;
        let id_keyspace = if prepared.is_qualified() {
            None
        } else {
            keyspace
        };
        let id = functions::prepared_id(id_keyspace, text);
        let prepared = Rc::new(prepared);
        if self.prepared.insert(id, Rc::clone(&prepared)).is_none() {
            self.prepared_order.push_back(id);
            if self.prepared_order.len() > PREPARED_MAX
                && let Some(oldest) = self.prepared_order.pop_front()
            {
                self.prepared.remove(&oldest);
            }
        }
        Ok((id, prepared))
    }

    /// A kept statement, compiled anew if the schema changed since.
    pub(crate) fn prepared(&mut self, id: &[u8]) -> CqlResult<Rc<Prepared>> {
        let key: Option<[u8; 16]> = id.try_into().ok();
        let known = key.and_then(|key| self.prepared.get(&key).map(|found| (key, found)));
        let Some((key, prepared)) = known else {
            return Err(CqlError::unprepared(id));
        };
        if prepared.version == self.schema.version {
            return Ok(Rc::clone(prepared));
        }
        let (text, keyspace) = (prepared.text.clone(), prepared.keyspace.clone());
        let fresh = Rc::new(Prepared::new(&self.schema, &text, keyspace.as_deref())?);
        self.prepared.insert(key, Rc::clone(&fresh));
        Ok(fresh)
    }

    /// Forgets every prepared statement, as a restarted node has.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared.clear();
        self.prepared_order.clear();
    }

    /// Runs a compiled statement.
    pub(crate) fn execute(
        &mut self,
        prepared: &Prepared,
        request: Request<'_>,
    ) -> CqlResult<Outcome> {
        if request.binds.len() != prepared.specs.len() {
            return Err(CqlError::invalid("Invalid amount of bind variables"));
        }
        match &prepared.plan {
            Plan::Select(plan) => {
                let now_s = self.clock.seconds();
                let mut scope = Scope {
                    binds: request.binds,
                    clock: &mut self.clock,
                };
                let data = self.data.get(&plan.table.id);
                read::select(plan, data, request.page, now_s, &mut scope).map(Outcome::Rows)
            }
            Plan::Modify(plan) => {
                let group = [Guarded {
                    plan,
                    binds: request.binds,
                }];
                self.modify(&group, None, request, false)
            }
            Plan::Batch(kind, stamp, plans) => {
                let group: Vec<Guarded<'_>> = plans
                    .iter()
                    .map(|plan| Guarded {
                        plan,
                        binds: request.binds,
                    })
                    .collect();
                check_batch(*kind, &group)?;
                self.modify(&group, stamp.as_ref(), request, true)
            }
            Plan::Other(statement) => self.other(statement, request.keyspace),
        }
    }

    /// Runs a BATCH message.
    pub(crate) fn batch(
        &mut self,
        kind: BatchKind,
        items: &[BatchItem],
        request: Request<'_>,
    ) -> CqlResult<Outcome> {
        let mut group = Vec::with_capacity(items.len());
        for item in items {
            let Plan::Modify(plan) = &item.prepared.plan else {
                return Err(CqlError::invalid(
                    "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are \
                     allowed.",
                ));
            };
            if item.binds.len() != item.prepared.specs.len() {
                return Err(CqlError::invalid(format!(
                    "There were {} markers(?) in CQL but {} bound variables",
                    item.prepared.specs.len(),
                    item.binds.len()
                )));
            }
            group.push(Guarded {
                plan,
                binds: &item.binds,
            });
        }
        check_batch(kind, &group)?;
        self.modify(&group, None, request, true)
    }

    /// Applies a group of writes together, or none of them.
    fn modify(
        &mut self,
        group: &[Guarded<'_>],
        batch_stamp: Option<&expr::Expr>,
        request: Request<'_>,
        in_batch: bool,
    ) -> CqlResult<Outcome> {
        for guarded in group {
            self.check_writable(guarded.plan)?;
        }
        let now_s = self.clock.seconds();
        let conditional = group.iter().find(|guarded| guarded.plan.is_conditional());
        let stamped = group.iter().any(|guarded| guarded.plan.stamp.is_some());
        if conditional.is_some() && (stamped || batch_stamp.is_some()) {
            return Err(CqlError::invalid(
                "Cannot provide custom timestamp for conditional BATCH",
            ));
        }
        if let Some(first) = conditional {
            let table = first.plan.table.id;
            if group.iter().any(|guarded| guarded.plan.table.id != table) {
                return Err(CqlError::invalid(
                    "Batch with conditions cannot span multiple tables",
                ));
            }
            let data = self.data.get(&table);
            match lwt::judge(group, data, now_s, in_batch, &mut self.clock)? {
                Verdict::Applied => {}
                Verdict::Refused(rows) => return Ok(Outcome::Rows(rows)),
            }
        }
        let mut scope = Scope {
            binds: request.binds,
            clock: &mut self.clock,
        };
        let default = match (conditional, group) {
            (Some(_), _) => scope.clock.stamp(),
            (None, [single]) if single.plan.stamp.is_some() => 0,
            (None, _) => stamp_of(batch_stamp, request.stamp, &mut scope)?,
        };
        let mut all: Vec<Mutation> = Vec::with_capacity(group.len());
        for guarded in group {
            let plan = guarded.plan;
            let mut scope = Scope {
                binds: guarded.binds,
                clock: &mut self.clock,
            };
            let stamp = match &plan.stamp {
                Some(own) => stamp_of(Some(own), request.stamp, &mut scope)?,
                None => default,
            };
            let data = self.data.get(&plan.table.id);
            all.extend(mutations(plan, data, stamp, now_s, &mut scope)?);
        }
        self.apply(all);
        match conditional {
            Some(first) => Ok(Outcome::Rows(lwt::applied(&first.plan.table))),
            None => Ok(Outcome::Void),
        }
    }

    fn apply(&mut self, mutations: Vec<Mutation>) {
        for Mutation {
            table,
            key,
            components,
            changes,
        } in mutations
        {
            if !changes.is_empty() {
                self.data
                    .entry(table)
                    .or_default()
                    .apply(key, components, changes);
            }
        }
    }

    fn check_writable(&self, plan: &ModifyPlan) -> CqlResult<()> {
        let keyspace = plan.table.keyspace.as_str();
        if !self.booting && system::is_system(keyspace) {
            return Err(CqlError::new(
                super::error::code::UNAUTHORIZED,
                format!("{keyspace} keyspace is not user-modifiable."),
            ));
        }
        Ok(())
    }

    fn other(&mut self, statement: &Statement, session: Option<&str>) -> CqlResult<Outcome> {
        match statement {
            Statement::Use(name) => {
                let known = self.schema.keyspaces.contains_key(name);
                if known {
                    Ok(Outcome::Use(name.clone()))
                } else {
                    Err(CqlError::invalid(format!(
                        "Keyspace '{name}' does not exist"
                    )))
                }
            }
            Statement::Truncate(name) => {
                let table = Rc::clone(self.schema.table(name, session)?);
                if system::is_system(&table.keyspace) {
                    return Err(CqlError::new(
                        super::error::code::UNAUTHORIZED,
                        format!("{} keyspace is not user-modifiable.", table.keyspace),
                    ));
                }
                if let Some(data) = self.data.get_mut(&table.id) {
                    data.truncate();
                }
                Ok(Outcome::Void)
            }
            Statement::Ddl(ddl) => {
                let change = ddl::run(self, ddl, session)?;
                Ok(change.map_or(Outcome::Void, Outcome::Schema))
            }
            Statement::Select(_) | Statement::Modify(_) | Statement::Batch(_) => {
                Err(CqlError::invalid("not a statement of this kind"))
            }
        }
    }

    /// Puts one row of plain values into a system table.
    fn put_system(&mut self, table: u32, components: Vec<Vec<u8>>, changes: Vec<Change>) {
        let key = super::store::PartitionKey::new(&components);
        self.data
            .entry(table)
            .or_default()
            .apply(key, components, changes);
    }
}

fn check_batch(kind: BatchKind, group: &[Guarded<'_>]) -> CqlResult<()> {
    let counters = group
        .iter()
        .filter(|guarded| guarded.plan.table.is_counter())
        .count();
    let conditional = group.iter().any(|guarded| guarded.plan.is_conditional());
    let message = match kind {
        BatchKind::Counter if counters < group.len() => {
            "Cannot include non-counter statement in a counter batch"
        }
        BatchKind::Logged if counters > 0 => "Cannot include a counter statement in a logged batch",
        BatchKind::Unlogged if counters > 0 && counters < group.len() => {
            "Counter and non-counter mutations cannot exist in the same batch"
        }
        BatchKind::Counter if conditional => {
            "Conditional updates are not supported in counter batches"
        }
        _ => return Ok(()),
    };
    Err(CqlError::invalid(message))
}
