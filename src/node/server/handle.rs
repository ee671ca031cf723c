//! One request to its answer.

use std::rc::Rc;
use std::time::Duration;

use crate::cql::request::{
    AuthResponse, Batch, BatchEntry, BatchType, Execute, Prepare, Query, QueryFlags, QueryParams,
    Register, Startup,
};
use crate::cql::{self, Compression, Flags, Opcode, Values, Version, envelope};
use crate::node::error::{CqlError, CqlResult, code};
use crate::node::exec::expr::BindSpec;
use crate::node::exec::system::CQL_VERSION;
use crate::node::exec::{BatchItem, Outcome, Page, Plan, Prepared, Request, SchemaChange};
use crate::node::fault::{Reaction, Subject, error_of};
use crate::node::parser::ast::{BatchKind, Statement};
use crate::node::value::Value;

use super::Shared;
use super::connection::Outbox;
use super::reply::{self, Envelope};

/// What a client has said so far.
#[derive(Debug, Default)]
pub(super) struct Session {
    stage: Stage,
    compression: Compression,
    keyspace: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Authenticating,
    Ready,
}

impl Session {
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }
}

/// What the connection does next.
pub(super) enum Answer {
    /// The answer is in the outbox, or there is none.
    Now,
    /// These bytes, after this while.
    After(Duration, Vec<u8>),
    Drop,
    /// Read nothing more.
    Stall,
    /// This error, then the end.
    Fatal(CqlError),
}

/// The message of an answer.
enum Message {
    Ready,
    Supported,
    Authenticate,
    AuthSuccess,
    Result(Outcome, bool),
    Prepared([u8; 16], Rc<Prepared>),
}

/// A request with what is needed to run it.
enum Work<'m> {
    Options,
    Startup(Startup<'m>),
    Auth(AuthResponse<'m>),
    Register(Register<'m>),
    Prepare(&'m str),
    Statement {
        prepared: Rc<Prepared>,
        params: QueryParams<'m>,
        id: &'m [u8],
    },
    Batch {
        kind: BatchKind,
        items: Vec<BatchItem>,
        stamp: Option<i64>,
    },
}

/// Handles one request.
pub(super) fn handle(
    shared: &Rc<Shared>,
    session: &mut Session,
    outbox: &Rc<Outbox>,
    request: &cql::Envelope<'_>,
) -> Answer {
    let header = request.header;
    let version = header.protocol().unwrap_or(Version::V4);
    let mut plain = Vec::new();
    let body = if header.flags.contains(Flags::COMPRESSION) {
        let limit = shared.config.body_max_bytes;
        if let Err(error) = session
            .compression
            .decompress(request.body, &mut plain, limit)
        {
            return Answer::Fatal(CqlError::protocol(error.to_string()));
        }
        plain.as_slice()
    } else {
        request.body
    };
    let message = match envelope::request_message(header.flags, body) {
        Ok(message) => message.message,
        Err(error) => return Answer::Fatal(CqlError::protocol(error.to_string())),
    };
    let tracing_id = (header.flags.contains(Flags::TRACING) && session.is_ready())
        .then(|| shared.engine.borrow_mut().clock.next_timeuuid());
    let envelope = Envelope {
        version,
        stream: header.stream,
        compression: session.compression,
        tracing_id,
    };
    outbox.version.set(Some(version));
    let work = parse(shared, session, header.opcode, version, message);
    let reaction = match &work {
        Ok(work) => react(shared, header.opcode, work),
        Err(_) => None,
    };
    let (reaction, apply, fault) = match reaction {
        None => (None, true, None),
        Some((reaction, apply, fault)) => (Some(reaction), apply, fault),
    };
    let executes = apply || matches!(reaction, Some(Reaction::Delay(_)));
    let mut outcome = match work {
        Ok(work) if executes => run(shared, session, outbox, version, work),
        Ok(_) => Err(CqlError::new(code::SERVER, "not executed")),
        Err(error) => Err(error),
    };
    if let Some(fault) = fault {
        outcome = Err(fault);
    }
    let delay = match reaction {
        Some(Reaction::Drop) => return Answer::Drop,
        Some(Reaction::Silence) => return Answer::Now,
        Some(Reaction::Stall) => return Answer::Stall,
        Some(Reaction::Delay(delay)) => delay,
        Some(Reaction::Error(_) | Reaction::Absent) | None => Duration::ZERO,
    };
    send(shared, outbox, envelope, delay, outcome)
}

/// Writes the answer, now or after the node's latency.
fn send(
    shared: &Shared,
    outbox: &Rc<Outbox>,
    envelope: Envelope,
    delay: Duration,
    outcome: CqlResult<Message>,
) -> Answer {
    let write = |out: &mut Vec<u8>| match &outcome {
        Ok(message) => push_message(out, envelope, message),
        Err(error) => {
            reply::push(out, envelope, Opcode::Error, |out| {
                reply::push_error(out, error)
            });
        }
    };
    let delay = delay + latency(shared);
    let answer = if delay.is_zero() {
        outbox.push(write);
        Answer::Now
    } else {
        let mut bytes = Vec::new();
        write(&mut bytes);
        Answer::After(delay, bytes)
    };
    if let Ok(Message::Result(Outcome::Schema(change), _)) = &outcome {
        announce(shared, change);
    }
    answer
}

fn latency(shared: &Shared) -> Duration {
    let faults = shared.faults.borrow();
    let jitter_us = u64::try_from(faults.plan.jitter.as_micros()).unwrap_or(u64::MAX);
    if jitter_us == 0 {
        return faults.plan.latency;
    }
    let random = shared.engine.borrow_mut().clock.next_random();
    faults.plan.latency + Duration::from_micros(random % jitter_us)
}

fn push_message(out: &mut Vec<u8>, envelope: Envelope, message: &Message) {
    match message {
        Message::Ready => reply::push(out, envelope, Opcode::Ready, |_| {}),
        Message::Supported => reply::push(out, envelope, Opcode::Supported, |out| {
            reply::push_supported(out, CQL_VERSION);
        }),
        Message::Authenticate => reply::push(out, envelope, Opcode::Authenticate, |out| {
            crate::node::error::push_string(out, "org.apache.cassandra.auth.PasswordAuthenticator");
        }),
        Message::AuthSuccess => reply::push(out, envelope, Opcode::AuthSuccess, |out| {
            crate::node::value::push_bytes(out, None);
        }),
        Message::Result(outcome, skip) => reply::push(out, envelope, Opcode::Result, |out| {
            reply::push_outcome(out, outcome, *skip);
        }),
        Message::Prepared(id, prepared) => reply::push(out, envelope, Opcode::Result, |out| {
            reply::push_prepared(out, envelope.version, *id, prepared);
        }),
    }
}

/// Tells every client that asked about a schema change.
fn announce(shared: &Shared, change: &SchemaChange) {
    shared.subscribers.borrow_mut().retain(|subscriber| {
        let Some(outbox) = subscriber.upgrade() else {
            return false;
        };
        let envelope = Envelope {
            version: outbox.version.get().unwrap_or(Version::V4),
            stream: envelope::EVENT_STREAM,
            compression: outbox.compression.get(),
            tracing_id: None,
        };
        outbox.push(|out| {
            reply::push(out, envelope, Opcode::Event, |out| {
                crate::node::error::push_string(out, "SCHEMA_CHANGE");
                reply::push_change(out, change);
            });
        });
        true
    });
}

fn malformed(error: cql::DecodeError) -> CqlError {
    CqlError::protocol(error.to_string())
}

/// Reads a message and finds its statements.
fn parse<'m>(
    shared: &Shared,
    session: &Session,
    opcode: Opcode,
    version: Version,
    message: &'m [u8],
) -> CqlResult<Work<'m>> {
    let expected = match session.stage {
        Stage::New if !matches!(opcode, Opcode::Startup | Opcode::Options) => "STARTUP or OPTIONS",
        Stage::Authenticating if !matches!(opcode, Opcode::AuthResponse | Opcode::Options) => {
            "AUTH_RESPONSE"
        }
        Stage::Ready if matches!(opcode, Opcode::Startup | Opcode::AuthResponse) => "a request",
        _ => "",
    };
    if !expected.is_empty() {
        return Err(CqlError::protocol(format!(
            "Unexpected message {}, expecting {expected}",
            opcode.name()
        )));
    }
    let keyspace = session.keyspace.as_deref();
    match opcode {
        Opcode::Options => Ok(Work::Options),
        Opcode::Startup => Startup::parse(message)
            .map(Work::Startup)
            .map_err(malformed),
        Opcode::AuthResponse => AuthResponse::parse(message)
            .map(Work::Auth)
            .map_err(malformed),
        Opcode::Register => Register::parse(message)
            .map(Work::Register)
            .map_err(malformed),
        Opcode::Prepare => {
            let prepare = Prepare::parse(message).map_err(malformed)?;
            Ok(Work::Prepare(prepare.text))
        }
        Opcode::Query => {
            let query = Query::parse(message).map_err(malformed)?;
            let engine = shared.engine.borrow();
            let prepared = Rc::new(Prepared::new(&engine.schema, query.text, keyspace)?);
            Ok(Work::Statement {
                prepared,
                params: query.params,
                id: &[],
            })
        }
        Opcode::Execute => {
            let execute = Execute::parse(message).map_err(malformed)?;
            let prepared = shared.engine.borrow_mut().prepared(execute.id)?;
            Ok(Work::Statement {
                prepared,
                params: execute.params,
                id: execute.id,
            })
        }
        Opcode::Batch => parse_batch(shared, keyspace, version, message),
        _ => Err(CqlError::protocol(format!(
            "Unexpected message {}",
            opcode.name()
        ))),
    }
}

fn parse_batch<'m>(
    shared: &Shared,
    keyspace: Option<&str>,
    version: Version,
    message: &'m [u8],
) -> CqlResult<Work<'m>> {
    let batch = Batch::parse(message).map_err(malformed)?;
    let mut engine = shared.engine.borrow_mut();
    let mut items = Vec::with_capacity(usize::from(batch.count));
    for entry in batch.entries() {
        let prepared = match entry {
            BatchEntry::Text { text, .. } => {
                Rc::new(Prepared::new(&engine.schema, text, keyspace)?)
            }
            BatchEntry::Prepared { id, .. } => engine.prepared(id)?,
        };
        let binds = bind(&prepared.specs, Some(entry.values()), version)?;
        items.push(BatchItem { prepared, binds });
    }
    let kind = match batch.kind {
        BatchType::Logged => BatchKind::Logged,
        BatchType::Unlogged => BatchKind::Unlogged,
        BatchType::Counter => BatchKind::Counter,
    };
    Ok(Work::Batch {
        kind,
        items,
        stamp: batch.timestamp,
    })
}

/// The values in the order of the markers.
fn bind(specs: &[BindSpec], values: Option<Values<'_>>, version: Version) -> CqlResult<Vec<Value>> {
    let Some(values) = values else {
        return Ok(Vec::new());
    };
    let own = |value: cql::Value<'_>| match value {
        cql::Value::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        cql::Value::Unset if version == Version::V4 => Value::Unset,
        cql::Value::Null | cql::Value::Unset => Value::Null,
    };
    if !values.is_named() {
        return Ok(values.iter().map(|bound| own(bound.value)).collect());
    }
    specs
        .iter()
        .map(|spec| {
            let found = values
                .iter()
                .find(|bound| bound.name == Some(spec.name.as_str()));
            found
                .map(|bound| own(bound.value))
                .ok_or_else(|| CqlError::invalid("Invalid amount of bind variables"))
        })
        .collect()
}

/// What the fault rules say to a request: reaction, whether it is executed, the error to answer.
fn react(
    shared: &Shared,
    opcode: Opcode,
    work: &Work<'_>,
) -> Option<(Reaction, bool, Option<CqlError>)> {
    let faults = shared.faults.borrow();
    if faults.plan.rules.is_empty() {
        return None;
    }
    let (prepared, id) = match work {
        Work::Statement { prepared, id, .. } => (Some(prepared), *id),
        Work::Batch { items, .. } => (items.first().map(|item| &item.prepared), &[][..]),
        _ => (None, &[][..]),
    };
    let text = match work {
        Work::Prepare(text) => text,
        _ => prepared.map_or("", |prepared| prepared.text.as_str()),
    };
    let table = prepared.and_then(|prepared| prepared.table());
    let subject = Subject {
        opcode: opcode.name(),
        kind: kind_of(work),
        keyspace: table.map_or("", |table| table.keyspace.as_str()),
        table: table.map_or("", |table| table.name.as_str()),
        text,
    };
    let mut engine = shared.engine.borrow_mut();
    let rule = faults.decide(&subject, || engine.clock.next_random())?;
    let error = match rule.reaction {
        Reaction::Error(code) => Some(error_of(code, &subject, id)),
        Reaction::Absent => Some(CqlError::no_table(subject.table)),
        _ => None,
    };
    Some((rule.reaction, rule.apply, error))
}

fn kind_of(work: &Work<'_>) -> &'static str {
    let plan = match work {
        Work::Batch { .. } => return "batch",
        Work::Statement { prepared, .. } => &prepared.plan,
        _ => return "other",
    };
    match plan {
        Plan::Select(_) => "read",
        Plan::Batch(..) => "batch",
        Plan::Modify(plan) if plan.is_conditional() => "lwt",
        Plan::Modify(plan) if plan.table.is_counter() => "counter",
        Plan::Modify(_) => "write",
        Plan::Other(Statement::Ddl(_) | Statement::Truncate(_)) => "schema",
        Plan::Other(_) => "other",
    }
}

fn run(
    shared: &Shared,
    session: &mut Session,
    outbox: &Rc<Outbox>,
    version: Version,
    work: Work<'_>,
) -> CqlResult<Message> {
    match work {
        Work::Options => Ok(Message::Supported),
        Work::Startup(startup) => start(shared, session, outbox, &startup),
        Work::Auth(response) => authenticate(shared, session, &response),
        Work::Register(register) => {
            if register.events.iter().any(|event| event == "SCHEMA_CHANGE") {
                shared.subscribers.borrow_mut().push(Rc::downgrade(outbox));
            }
            Ok(Message::Ready)
        }
        Work::Prepare(text) => {
            let keyspace = session.keyspace.as_deref();
            let (id, prepared) = shared.engine.borrow_mut().prepare(text, keyspace)?;
            Ok(Message::Prepared(id, prepared))
        }
        Work::Statement {
            prepared, params, ..
        } => {
            let binds = bind(&prepared.specs, params.values, version)?;
            let size = params.page_size.and_then(|size| usize::try_from(size).ok());
            let page = Page {
                size: size.filter(|size| *size > 0),
                state: params.paging_state,
            };
            let request = Request {
                keyspace: session.keyspace.as_deref(),
                binds: &binds,
                stamp: params.timestamp,
                page,
            };
            let outcome = shared.engine.borrow_mut().execute(&prepared, request)?;
            if let Outcome::Use(keyspace) = &outcome {
                session.keyspace = Some(keyspace.clone());
            }
            let skip = params.flags.contains(QueryFlags::SKIP_METADATA);
            Ok(Message::Result(outcome, skip))
        }
        Work::Batch { kind, items, stamp } => {
            let request = Request {
                keyspace: session.keyspace.as_deref(),
                stamp,
                ..Request::default()
            };
            let outcome = shared.engine.borrow_mut().batch(kind, &items, request)?;
            Ok(Message::Result(outcome, false))
        }
    }
}

fn start(
    shared: &Shared,
    session: &mut Session,
    outbox: &Outbox,
    startup: &Startup<'_>,
) -> CqlResult<Message> {
    if startup.cql_version().is_none() {
        return Err(CqlError::protocol(
            "Missing value CQL_VERSION in STARTUP message",
        ));
    }
    if let Some(name) = startup.compression().filter(|name| !name.is_empty()) {
        session.compression = Compression::from_name(name)
            .ok_or_else(|| CqlError::protocol(format!("Unknown compression algorithm: {name}")))?;
        outbox.compression.set(session.compression);
    }
    if shared.config.credentials.is_some() {
        session.stage = Stage::Authenticating;
        return Ok(Message::Authenticate);
    }
    session.stage = Stage::Ready;
    Ok(Message::Ready)
}

fn authenticate(
    shared: &Shared,
    session: &mut Session,
    response: &AuthResponse<'_>,
) -> CqlResult<Message> {
    let plain = response.plain();
    let given = plain.map(|plain| (plain.user, plain.password));
    let wanted = shared
        .config
        .credentials
        .as_ref()
        .map(|credentials| (credentials.0.as_bytes(), credentials.1.as_bytes()));
    if wanted.is_some() && given == wanted {
        session.stage = Stage::Ready;
        return Ok(Message::AuthSuccess);
    }
    let user = given.map_or_else(String::new, |(user, _)| {
        String::from_utf8_lossy(user).into()
    });
    Err(CqlError::new(
        code::BAD_CREDENTIALS,
        format!("Provided username {user} and/or password are incorrect"),
    ))
}
