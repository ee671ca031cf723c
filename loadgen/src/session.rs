//! A blocking connection: what is asked one at a time before and after the load.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use twinring_cql::envelope::EVENT_STREAM;
use twinring_cql::request::prepare::Prepare;
use twinring_cql::request::{self, QueryParams};
use twinring_cql::response::{Response, ResultBody};
use twinring_cql::{Consistency, Opcode, Version, Writer};

use crate::codec::{Answer, Codec};
use crate::link::{Access, Credentials, Wire};

/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rows of a page.
const PAGE_ROWS: i32 = 1000;

/// One row: the cells in the order of the columns; `None` is null.
pub type Row = Vec<Option<Vec<u8>>>;

/// A connection that is ready for requests.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    codec: Codec,
}

/// A statement that the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// How to name it.
    pub id: Vec<u8>,
    /// How to name the columns of its result; only in v5.
    pub result_id: Option<Vec<u8>>,
}

/// What a server wants after STARTUP.
enum Welcome {
    Ready,
    Password,
}

impl Session {
    /// Connects with protocol v4, without compression, TLS or password.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn connect(endpoint: SocketAddr) -> anyhow::Result<Session> {
        Session::open(endpoint, &Access::default())
    }

    /// Connects and introduces itself.
    ///
    /// # Errors
    /// Nobody there, no CQL there, or a password is wanted and there is none, or another.
    pub fn open(endpoint: SocketAddr, access: &Access) -> anyhow::Result<Session> {
        let wire = Wire::connect(endpoint, access.tls.as_ref(), PATIENCE)?;
        let codec = Codec::new(access.version, access.compression);
        let mut session = Session { wire, codec };
        session
            .greet(access)
            .with_context(|| format!("greet {endpoint}"))?;
        Ok(session)
    }

    fn greet(&mut self, access: &Access) -> anyhow::Result<()> {
        let mut options = vec![("CQL_VERSION", "3.0.0")];
        options.extend(access.compression.name().map(|name| ("COMPRESSION", name)));
        let welcome = self.call(
            Opcode::Startup,
            |w| request::startup::encode(w, options),
            |response| match response {
                Response::Ready => Ok(Welcome::Ready),
                Response::Authenticate(_) => Ok(Welcome::Password),
                _ => bail!("STARTUP is not answered with READY"),
            },
        )?;
        self.codec.established();
        match (welcome, &access.credentials) {
            (Welcome::Ready, _) => Ok(()),
            (Welcome::Password, Some(credentials)) => self.log_in(credentials),
            (Welcome::Password, None) => {
                bail!("a password is wanted: give --user and --password-file")
            }
        }
    }

    fn log_in(&mut self, credentials: &Credentials) -> anyhow::Result<()> {
        let Credentials { user, password } = credentials;
        let token = format!("\0{user}\0{password}");
        self.call(
            Opcode::AuthResponse,
            |w| w.bytes(Some(token.as_bytes())),
            |response| match response {
                Response::AuthSuccess(_) => Ok(()),
                _ => bail!("the server wants more than user and password"),
            },
        )
    }

    /// Runs a statement and gives all its rows, page after page.
    ///
    /// # Errors
    /// The server's own words, or a broken connection.
    pub fn query(&mut self, text: &str) -> anyhow::Result<Vec<Row>> {
        let mut all = Vec::new();
        let mut page: Option<Vec<u8>> = None;
        let version = self.codec.version;
        loop {
            let params = QueryParams {
                page_size: Some(PAGE_ROWS),
                paging_state: page.as_deref(),
                ..QueryParams::new(Consistency::One)
            };
            let next = self.call(
                Opcode::Query,
                |w| request::query::encode_as(w, version, text, &params),
                |response| match response {
                    Response::Result(result) => take_rows(&result, &mut all),
                    _ => bail!("QUERY is not answered with a RESULT"),
                },
            );
            page = next.with_context(|| format!("run {text}"))?;
            if page.is_none() {
                return Ok(all);
            }
        }
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn prepare(&mut self, text: &str) -> anyhow::Result<Prepared> {
        let version = self.codec.version;
        let answer = self.call(
            Opcode::Prepare,
            |w| {
                let prepare = Prepare {
                    text,
                    keyspace: None,
                };
                request::prepare::encode_as(w, version, &prepare);
            },
            |response| match response {
                Response::Result(ResultBody::Prepared(prepared)) => Ok(Prepared {
                    id: prepared.id.to_vec(),
                    result_id: prepared.result_metadata_id.map(<[u8]>::to_vec),
                }),
                _ => bail!("PREPARE is not answered with an id"),
            },
        );
        answer.with_context(|| format!("prepare {text}"))
    }

    /// The connection itself; nothing is in flight on it.
    pub(crate) fn into_parts(self) -> (Wire, Codec) {
        (self.wire, self.codec)
    }

    fn call<T>(
        &mut self,
        opcode: Opcode,
        body: impl FnOnce(&mut Writer<'_>),
        read: impl FnOnce(Response<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut out = Vec::new();
        self.codec.request(&mut out, 0, opcode, body)?;
        self.codec.seal(&mut out);
        self.wire.write_all(&out)?;
        self.wire.flush()?;
        let version = self.codec.version;
        let mut read = Some(read);
        loop {
            let mut found = None;
            self.codec.each(|answer| {
                if answer.stream != EVENT_STREAM
                    && let Some(read) = read.take()
                {
                    found = Some(understand(&answer, version, read));
                }
                Ok(())
            })?;
            if let Some(found) = found {
                return found;
            }
            if self.codec.fill(&mut self.wire)? == 0 {
                bail!("the server has closed the connection");
            }
        }
    }
}

fn understand<T>(
    answer: &Answer<'_>,
    version: Version,
    read: impl FnOnce(Response<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match Response::parse(answer.opcode, answer.message, version)? {
        None => bail!("the answer is a request"),
        Some(Response::Error(error)) => {
            bail!("error {:#06x}: {}", error.code.number(), error.message)
        }
        Some(response) => read(response),
    }
}

/// Appends the rows of one page; gives the state that asks for the next.
fn take_rows(result: &ResultBody<'_>, all: &mut Vec<Row>) -> anyhow::Result<Option<Vec<u8>>> {
    let ResultBody::Rows(rows) = result else {
        return Ok(None);
    };
    let mut row = Vec::new();
    for cell in rows.cells() {
        row.push(cell?.bytes.map(<[u8]>::to_vec));
        if row.len() == rows.metadata.column_count {
            all.push(std::mem::take(&mut row));
        }
    }
    Ok(rows.metadata.paging_state.map(<[u8]>::to_vec))
}
