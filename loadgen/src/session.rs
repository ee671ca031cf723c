//! A blocking connection of protocol v4: what is asked one at a time before and after the load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use twinring_cql::decoder::{DecodeLimits, split};
use twinring_cql::envelope::EVENT_STREAM;
use twinring_cql::request::{self, QueryParams};
use twinring_cql::response::{Response, ResultBody};
use twinring_cql::{Consistency, Envelope, Flags, Opcode, Version, Writer, encode};

/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer taken, in bytes.
const ANSWER_MAX_BYTES: u32 = 64 << 20;
/// Read at once, in bytes.
const READ_BYTES: usize = 64 << 10;
/// Rows of a page.
const PAGE_ROWS: i32 = 1000;

/// One row: the cells in the order of the columns; `None` is null.
pub type Row = Vec<Option<Vec<u8>>>;

/// A connection that is ready for requests.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    inbox: Inbox,
}

impl Session {
    /// Connects and says STARTUP.
    ///
    /// # Errors
    /// Nobody there, no CQL there, or a password is wanted.
    pub fn connect(endpoint: SocketAddr) -> anyhow::Result<Session> {
        let stream = TcpStream::connect_timeout(&endpoint, PATIENCE)
            .with_context(|| format!("connect to {endpoint}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let inbox = Inbox::default();
        let mut session = Session { stream, inbox };
        session
            .call(
                Opcode::Startup,
                |w| request::startup::encode(w, [("CQL_VERSION", "3.0.0")]),
                |response| match response {
                    Response::Ready => Ok(()),
                    Response::Authenticate(_) => bail!("a password is wanted"),
                    _ => bail!("STARTUP is not answered with READY"),
                },
            )
            .with_context(|| format!("greet {endpoint}"))?;
        Ok(session)
    }

    /// Runs a statement and gives all its rows, page after page.
    ///
    /// # Errors
    /// The server's own words, or a broken connection.
    pub fn query(&mut self, text: &str) -> anyhow::Result<Vec<Row>> {
        let mut all = Vec::new();
        let mut page: Option<Vec<u8>> = None;
        loop {
            let params = QueryParams {
                page_size: Some(PAGE_ROWS),
                paging_state: page.as_deref(),
                ..QueryParams::new(Consistency::One)
            };
            let next = self.call(
                Opcode::Query,
                |w| request::query::encode(w, text, &params),
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

    /// Prepares a statement; gives its id.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn prepare(&mut self, text: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.call(
            Opcode::Prepare,
            |w| request::prepare::encode(w, text),
            |response| match response {
                Response::Result(ResultBody::Prepared(prepared)) => Ok(prepared.id.to_vec()),
                _ => bail!("PREPARE is not answered with an id"),
            },
        );
        answer.with_context(|| format!("prepare {text}"))
    }

    /// The connection itself; nothing is in flight on it.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn call<T>(
        &mut self,
        opcode: Opcode,
        body: impl FnOnce(&mut Writer<'_>),
        read: impl FnOnce(Response<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut out = Vec::new();
        encode::envelope(&mut out, Version::V4, Flags::NONE, 0, opcode, body)?;
        self.stream.write_all(&out)?;
        let mut read = Some(read);
        loop {
            let mut answer = None;
            self.inbox.each(|envelope| {
                if envelope.header.stream != EVENT_STREAM
                    && let Some(read) = read.take()
                {
                    answer = Some(understand(&envelope, read));
                }
                Ok(())
            })?;
            if let Some(answer) = answer {
                return answer;
            }
            if self.inbox.fill(&mut &self.stream)? == 0 {
                bail!("the server has closed the connection");
            }
        }
    }
}

fn understand<T>(
    envelope: &Envelope<'_>,
    read: impl FnOnce(Response<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let body = envelope.response_body()?;
    match Response::parse(envelope.header.opcode, body.message, Version::V4)? {
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

/// Bytes received and not yet cut.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    chunk: Vec<u8>,
}

impl Inbox {
    /// Reads once; 0 is the end of the connection.
    pub(crate) fn fill(&mut self, stream: &mut impl Read) -> std::io::Result<usize> {
        self.chunk.resize(READ_BYTES, 0);
        let count = stream.read(&mut self.chunk)?;
        self.bytes
            .extend_from_slice(self.chunk.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// Hands out each whole envelope.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(Envelope<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut at = 0;
        let limits = DecodeLimits::responses(ANSWER_MAX_BYTES);
        while let Some(envelope) = split(self.bytes.get(at..).unwrap_or_default(), &limits)? {
            at += envelope.raw.len();
            take(envelope)?;
        }
        self.bytes.drain(..at);
        Ok(())
    }
}
