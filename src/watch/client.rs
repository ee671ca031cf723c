//! One connection of the control plane to a node: handshake, queries page by page, events.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::Wire;
use crate::config::Credentials;
use crate::cql::decoder::{self, DecodeLimits};
use crate::cql::envelope::response_message;
use crate::cql::request::{self, params::QueryParams};
use crate::cql::response::rows::Rows;
use crate::cql::response::{ErrorBody, ResultKind, peek_result_kind};
use crate::cql::{Consistency, Flags, Opcode, Version, Writer, encode};
use crate::limits;
use crate::tls::Outgoing;

/// The stream of all requests: there is one at a time.
const STREAM: i16 = 0;
const LIMITS: DecodeLimits = DecodeLimits::responses(64 << 20);

/// Why something could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer in {} s", limits::SCHEMA_READ_TIMEOUT_MS / 1_000)]
    Late(#[from] tokio::time::error::Elapsed),
    /// The node wants a login and none is known.
    #[error("it asks for credentials, and none are known yet")]
    NoCredentials,
    /// The node's own words.
    #[error("{0}")]
    Server(String),
    /// TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Bytes that make no sense.
    #[error("an answer that cannot be read: {0}")]
    Malformed(String),
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    bytes: Vec<u8>,
    events: u64,
}

/// An answer: its opcode and message.
type Answer = (Opcode, Vec<u8>);

impl Client {
    /// Connects and logs in. `tls`: with this, to a node called so.
    ///
    /// # Errors
    /// The node cannot be reached or does not let us in.
    pub async fn connect(
        address: SocketAddr,
        credentials: Option<&Credentials>,
        tls: Option<(&Outgoing, &str)>,
    ) -> Result<Self, Failure> {
        let limit = Duration::from_millis(limits::CONNECT_TIMEOUT_MS);
        let stream = timeout(limit, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let wire = timeout(limit, Wire::new(stream, tls)).await??;
        let mut client = Self {
            wire,
            bytes: Vec::new(),
            events: 0,
        };
        let hello = client.ask(Opcode::Startup, |body| {
            request::startup::encode(body, request::startup::OWN);
        });
        let (mut opcode, _) = hello.await?;
        if opcode == Opcode::Authenticate {
            let login = credentials.ok_or(Failure::NoCredentials)?;
            let token = plain(login);
            let answer = client.ask(Opcode::AuthResponse, |body| {
                request::auth_response::encode(body, Some(&token));
            });
            opcode = answer.await?.0;
        }
        match opcode {
            Opcode::Ready | Opcode::AuthSuccess => Ok(client),
            other => Err(Failure::Malformed(format!("{other} to the login"))),
        }
    }

    /// Asks for news of the schema, and of the nodes if `nodes`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn register(&mut self, nodes: bool) -> Result<(), Failure> {
        let all = ["SCHEMA_CHANGE", "TOPOLOGY_CHANGE", "STATUS_CHANGE"];
        let wanted = if nodes { &all[..] } else { &all[..1] };
        let put = |body: &mut Writer<'_>| {
            request::register::encode(body, wanted.iter().copied());
        };
        self.ask(Opcode::Register, put).await.map(drop)
    }

    /// Runs a SELECT and gives each page's message to `page`.
    ///
    /// # Errors
    /// The connection is lost, the node says no, or the answer is malformed.
    pub async fn query(
        &mut self,
        text: &str,
        mut page: impl FnMut(&[u8]) -> Result<(), crate::cql::DecodeError>,
    ) -> Result<(), Failure> {
        let malformed = |error: crate::cql::DecodeError| Failure::Malformed(error.to_string());
        let mut state: Option<Vec<u8>> = None;
        loop {
            let params = QueryParams {
                page_size: Some(limits::SCHEMA_PAGE_ROWS),
                paging_state: state.as_deref(),
                ..QueryParams::new(Consistency::One)
            };
            let asked = self.ask(Opcode::Query, |body| {
                request::query::encode(body, text, &params);
            });
            let (_, message) = asked.await?;
            if peek_result_kind(&message).map_err(malformed)? != ResultKind::Rows {
                return Err(Failure::Malformed("no rows".to_owned()));
            }
            page(&message).map_err(malformed)?;
            let rows = Rows::parse(&message).map_err(malformed)?;
            match rows.metadata.paging_state {
                Some(next) => state = Some(next.to_vec()),
                None => return Ok(()),
            }
        }
    }

    /// Waits for news.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn event(&mut self) -> Result<(), Failure> {
        while self.events == 0 {
            self.receive().await?;
        }
        self.events = 0;
        Ok(())
    }

    /// Forgets the news so far: what follows is read anyway.
    pub fn forget_events(&mut self) {
        self.events = 0;
    }

    async fn ask(
        &mut self,
        opcode: Opcode,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Answer, Failure> {
        let mut out = Vec::new();
        encode::envelope(&mut out, Version::V4, Flags::NONE, STREAM, opcode, body)
            .map_err(|error| Failure::Malformed(error.to_string()))?;
        let limit = Duration::from_millis(limits::SCHEMA_READ_TIMEOUT_MS);
        let exchange = async {
            self.wire.send(&out).await?;
            loop {
                if let Some(answer) = self.receive().await? {
                    return Ok(answer);
                }
            }
        };
        timeout(limit, exchange).await?
    }

    /// One envelope: an answer, or `None` for an event, which is counted.
    async fn receive(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            let cut = decoder::split(&self.bytes, &LIMITS)
                .map_err(|error| Failure::Malformed(error.to_string()))?;
            if let Some(envelope) = cut {
                let header = envelope.header;
                let message = response_message(header.flags, envelope.body)
                    .map_err(|error| Failure::Malformed(error.to_string()))?
                    .message
                    .to_vec();
                let length = envelope.raw.len();
                self.bytes.drain(..length);
                return match header.opcode {
                    Opcode::Event => {
                        self.events += 1;
                        Ok(None)
                    }
                    Opcode::Error => Err(server_error(&message)),
                    opcode => Ok(Some((opcode, message))),
                };
            }
            if self.wire.receive(&mut self.bytes).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn server_error(message: &[u8]) -> Failure {
    match ErrorBody::parse(message, Version::V4) {
        Ok(error) => Failure::Server(error.message.to_owned()),
        Err(error) => Failure::Malformed(error.to_string()),
    }
}

/// SASL PLAIN (RFC 4616).
fn plain(login: &Credentials) -> Vec<u8> {
    let (user, password) = (
        login.username.as_bytes(),
        login.password.reveal().as_bytes(),
    );
    [&[0][..], user, &[0], password].concat()
}
