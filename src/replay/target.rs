//! The target cluster: sessions, prepared statements, one try to send a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{Context, Result};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::frame::types::{Consistency, SerialConsistency};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::Statement;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Mutex, OnceCell};

use crate::offline::connect::Endpoint;
use crate::offline::verdict::{self, Verdict};
use crate::side::Side;

use super::args::ReplayArgs;
use super::schema;
use super::statement::{Cell, Part, Request};
use crate::tables::Tables;

/// Prepared statements that are kept; beyond this all are forgotten.
const PREPARED_MAX: usize = 10_000;

const NO_AGREEMENT: &str =
    "the target's nodes do not agree on the schema; see nodetool describecluster";

type PreparedCell = Rc<OnceCell<PreparedStatement>>;

/// A connection to the target cluster for each keyspace that texts need.
pub(super) struct Target {
    builder: SessionBuilder,
    contact: String,
    main: Rc<Session>,
    /// For all writes; `None`: each has its own.
    level: Option<Consistency>,
    by_keyspace: Mutex<HashMap<String, Rc<Session>>>,
    prepared: RefCell<HashMap<(Option<String>, String), PreparedCell>>,
    tables: RefCell<Rc<Tables>>,
}

impl Target {
    /// Connects.
    pub(super) async fn connect(args: &ReplayArgs, password: Option<String>) -> Result<Target> {
        let (tls, doors) = args.target_bundle.ways(&args.target_tls).await?;
        let endpoint = Endpoint {
            side: Side::Target,
            nodes: &args.target,
            port: args.target_port,
            username: args.target_username.as_deref(),
            password,
            tls,
            doors,
        };
        let contact = endpoint.place();
        let builder = endpoint.builder(Consistency::LocalQuorum);
        let session = builder
            .build()
            .await
            .with_context(|| endpoint.unreachable())?;
        // An earlier replay may have died between a schema change and the agreement on it.
        session
            .await_schema_agreement()
            .await
            .context(NO_AGREEMENT)?;
        let tables = schema::load(&session).await?;
        Ok(Target {
            builder,
            contact,
            main: Rc::new(session),
            level: args.target_consistency.and_then(of_number),
            by_keyspace: Mutex::default(),
            prepared: RefCell::default(),
            tables: RefCell::new(Rc::new(tables)),
        })
    }

    /// Where the cluster is.
    pub(super) fn contact(&self) -> &str {
        &self.contact
    }

    /// What is known of the tables.
    pub(super) fn tables(&self) -> Rc<Tables> {
        self.tables.borrow().clone()
    }

    /// Waits until all nodes agree on the schema, and learns it anew.
    pub(super) async fn settle_schema(&self) -> Result<()> {
        self.main
            .await_schema_agreement()
            .await
            .context(NO_AGREEMENT)?;
        let tables = schema::load(&self.main).await?;
        self.prepared.borrow_mut().clear();
        *self.tables.borrow_mut() = Rc::new(tables);
        Ok(())
    }

    /// Sends a request once.
    pub(super) async fn send(&self, request: &Request) -> Result<(), Verdict> {
        let session = self.session(request.keyspace.as_deref()).await?;
        let result = match (request.batch_type, request.parts.as_slice()) {
            (None, [part]) if part.cells.is_empty() => {
                let mut statement = Statement::new(part.text.as_str());
                statement.set_consistency(self.level(request)?);
                statement.set_serial_consistency(serial_consistency(request));
                statement.set_timestamp(request.timestamp_us);
                session.query_unpaged(statement, &[]).await.map(drop)
            }
            (None, [part]) => {
                let mut prepared = self.prepare(&session, request, part).await?;
                prepared.set_consistency(self.level(request)?);
                prepared.set_serial_consistency(serial_consistency(request));
                prepared.set_timestamp(request.timestamp_us);
                session
                    .execute_unpaged(&prepared, Row(part))
                    .await
                    .map(drop)
            }
            (batch_type, parts) => {
                let batch = self.batch(&session, request, batch_type, parts).await?;
                let rows: Vec<Row<'_>> = parts.iter().map(Row).collect();
                session.batch(&batch, rows).await.map(drop)
            }
        };
        result.map_err(|error| verdict::of(&error))
    }

    /// Forgets what was prepared for a request.
    pub(super) fn forget(&self, request: &Request) {
        let mut prepared = self.prepared.borrow_mut();
        for part in &request.parts {
            prepared.remove(&(request.keyspace.clone(), part.text.clone()));
        }
    }

    async fn batch(
        &self,
        session: &Session,
        request: &Request,
        batch_type: Option<u8>,
        parts: &[Part],
    ) -> Result<Batch, Verdict> {
        let mut batch = Batch::new(match batch_type {
            Some(1) => BatchType::Unlogged,
            Some(2) => BatchType::Counter,
            _ => BatchType::Logged,
        });
        for part in parts {
            if part.cells.is_empty() {
                batch.append_statement(part.text.as_str());
            } else {
                batch.append_statement(self.prepare(session, request, part).await?);
            }
        }
        batch.set_consistency(self.level(request)?);
        batch.set_serial_consistency(serial_consistency(request));
        batch.set_timestamp(request.timestamp_us);
        Ok(batch)
    }

    fn level(&self, request: &Request) -> Result<Consistency, Verdict> {
        let number = request.consistency;
        let own = || Consistency::try_from(number);
        self.level
            .map_or_else(own, Ok)
            .map_err(|_| Verdict::Refused {
                code: 0,
                words: format!("no consistency level {number}"),
            })
    }

    async fn session(&self, keyspace: Option<&str>) -> Result<Rc<Session>, Verdict> {
        let Some(keyspace) = keyspace else {
            return Ok(self.main.clone());
        };
        let mut sessions = self.by_keyspace.lock().await;
        if let Some(session) = sessions.get(keyspace) {
            return Ok(session.clone());
        }
        let opened = self
            .builder
            .clone()
            .use_keyspace(keyspace, true)
            .build()
            .await;
        let session = opened.map_err(|error| Verdict::NotApplied {
            words: error.to_string(),
            wait: None,
        })?;
        let session = Rc::new(session);
        sessions.insert(keyspace.to_owned(), session.clone());
        Ok(session)
    }

    async fn prepare(
        &self,
        session: &Session,
        request: &Request,
        part: &Part,
    ) -> Result<PreparedStatement, Verdict> {
        let key = (request.keyspace.clone(), part.text.clone());
        let cell = {
            let mut prepared = self.prepared.borrow_mut();
            if prepared.len() >= PREPARED_MAX {
                prepared.clear();
            }
            prepared.entry(key).or_default().clone()
        };
        let made = cell
            .get_or_try_init(async || session.prepare(part.text.as_str()).await)
            .await;
        made.cloned().map_err(|error| verdict::of_prepare(&error))
    }
}

fn of_number(level: crate::cql::Consistency) -> Option<Consistency> {
    Consistency::try_from(level.number()).ok()
}

fn serial_consistency(request: &Request) -> Option<SerialConsistency> {
    match request.serial_consistency? {
        0x0008 => Some(SerialConsistency::Serial),
        _ => Some(SerialConsistency::LocalSerial),
    }
}

/// Binds a part's cells as they are.
struct Row<'a>(&'a Part);

/// The statement at the target takes another number of values.
#[derive(Debug, thiserror::Error)]
#[error("the statement takes {wanted} values at the target and has {given}")]
struct WrongCount {
    wanted: usize,
    given: usize,
}

impl SerializeRow for Row<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let Row(part) = self;
        let columns = context.columns();
        let Some(names) = &part.names else {
            let (wanted, given) = (columns.len(), part.cells.len());
            if wanted != given {
                return Err(SerializationError::new(WrongCount { wanted, given }));
            }
            return part.cells.iter().try_for_each(|cell| put(cell, writer));
        };
        for column in columns {
            let index = names.iter().position(|name| name == column.name());
            let cell = index
                .and_then(|index| part.cells.get(index))
                .unwrap_or(&Cell::Unset);
            put(cell, writer)?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.cells.is_empty()
    }
}

fn put(cell: &Cell, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
    let cell_writer = writer.make_cell_writer();
    let _written = match cell {
        Cell::Null => cell_writer.set_null(),
        Cell::Unset => cell_writer.set_unset(),
        Cell::Bytes(bytes) => cell_writer
            .set_value(bytes)
            .map_err(SerializationError::new)?,
    };
    Ok(())
}
