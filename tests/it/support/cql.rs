//! A small blocking CQL client on raw bytes, written for the tests alone: it shares no code with
//! the proxy, so that one mistake cannot hide on both sides. Protocol v4 or v3, no compression.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One value as it stands on the wire; `None` is null.
pub type Cell = Option<Vec<u8>>;

/// One bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Value(Vec<u8>),
    Null,
    Unset,
}

/// A statement in a request.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    Text(&'a str),
    /// What `prepare` gave.
    Id(&'a [u8]),
}

/// What came instead of an answer.
#[derive(Debug)]
pub enum Failure {
    /// The server's ERROR: code and words.
    Server(i32, String),
    /// The connection, or bytes that make no sense.
    Connection(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Server(code, words) => write!(f, "server error {code:#06x}: {words}"),
            Failure::Connection(words) => write!(f, "connection: {words}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Connection(error.to_string())
    }
}

/// A result set, raw.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Vec<Cell>>,
    next_page: Option<Vec<u8>>,
}

/// A connection past STARTUP.
#[derive(Debug)]
pub struct Cql {
    stream: TcpStream,
    version: u8,
}

const STARTUP: u8 = 1;
const OPTIONS: u8 = 5;
const QUERY: u8 = 7;
const AUTH_RESPONSE: u8 = 15;
/// What a fresh node that asks for a login takes.
const SUPERUSER: (&str, &str) = ("cassandra", "cassandra");
const PREPARE: u8 = 9;
const EXECUTE: u8 = 10;
const BATCH: u8 = 13;
const PAGE_ROWS: i32 = 1000;

impl Cql {
    /// Connects and says STARTUP; waits at most 30 s for any answer.
    pub fn connect(address: SocketAddr) -> Result<Cql, Failure> {
        Self::login(address, SUPERUSER)
    }

    /// As [`Cql::connect`], in this version of the protocol: 3 or 4.
    pub fn connect_in(address: SocketAddr, version: u8) -> Result<Cql, Failure> {
        Self::start(address, SUPERUSER, version)
    }

    /// The same as another user, if the node asks.
    pub fn login(address: SocketAddr, login: (&str, &str)) -> Result<Cql, Failure> {
        Self::start(address, login, 4)
    }

    fn start(address: SocketAddr, login: (&str, &str), version: u8) -> Result<Cql, Failure> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut cql = Cql { stream, version };
        let mut body = 1u16.to_be_bytes().to_vec();
        for text in ["CQL_VERSION", "3.0.0"] {
            push_string(&mut body, text);
        }
        match cql.call(STARTUP, &body)? {
            (2, _) => Ok(cql),
            (3, _) => {
                let token = format!("\0{}\0{}", login.0, login.1);
                let mut body = i32_len(token.len()).to_be_bytes().to_vec();
                body.extend_from_slice(token.as_bytes());
                cql.call(AUTH_RESPONSE, &body).map(|_| cql)
            }
            (opcode, _) => Err(Failure::Connection(format!("STARTUP answered {opcode}"))),
        }
    }

    /// OPTIONS: the cheapest question there is.
    pub fn options(&mut self) -> Result<(), Failure> {
        self.call(OPTIONS, &[]).map(drop)
    }

    /// All rows of a statement's answer, every page.
    pub fn query(&mut self, text: &str) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut all = Vec::new();
        let mut page = None;
        loop {
            let mut body = i32_len(text.len()).to_be_bytes().to_vec();
            body.extend_from_slice(text.as_bytes());
            push_parameters(&mut body, &[], page.as_deref());
            let (_, answer) = self.call(QUERY, &body)?;
            let mut rows = Reader(&answer).result()?;
            all.append(&mut rows.rows);
            match rows.next_page {
                Some(state) => page = Some(state),
                None => return Ok(all),
            }
        }
    }

    /// One statement with this serial consistency; the first page of its rows.
    pub fn query_serial(&mut self, text: &str, serial: u16) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = i32_len(text.len()).to_be_bytes().to_vec();
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&[0, 1, 0x10]); // consistency ONE; a serial consistency follows
        body.extend_from_slice(&serial.to_be_bytes());
        let (_, answer) = self.call(QUERY, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    /// Prepares a statement; returns its id.
    pub fn prepare(&mut self, text: &str) -> Result<Vec<u8>, Failure> {
        let mut body = i32_len(text.len()).to_be_bytes().to_vec();
        body.extend_from_slice(text.as_bytes());
        let (_, answer) = self.call(PREPARE, &body)?;
        let mut reader = Reader(&answer);
        match reader.int()? {
            4 => Ok(reader.short_bytes()?.to_vec()),
            kind => Err(Failure::Connection(format!("PREPARE answered kind {kind}"))),
        }
    }

    /// Executes a prepared statement; the first page of its rows.
    pub fn execute(&mut self, id: &[u8], values: &[Cell]) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = u16_len(id.len()).to_be_bytes().to_vec();
        body.extend_from_slice(id);
        push_parameters(&mut body, values, None);
        let (_, answer) = self.call(EXECUTE, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    /// A statement with bound values, and the client's stamp as default timestamp; the first page
    /// of its rows.
    pub fn send(
        &mut self,
        words: Words<'_>,
        values: &[Bound],
        stamp: Option<i64>,
    ) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = Vec::new();
        let opcode = match words {
            Words::Text(text) => {
                push_long_string(&mut body, text);
                QUERY
            }
            Words::Id(id) => {
                push_short_bytes(&mut body, id);
                EXECUTE
            }
        };
        body.extend_from_slice(&[0, 1]); // consistency ONE
        let has_values = u8::from(!values.is_empty());
        body.push(has_values | if stamp.is_some() { 0x20 } else { 0 });
        if !values.is_empty() {
            push_bound(&mut body, values);
        }
        body.extend(stamp.iter().flat_map(|stamp| stamp.to_be_bytes()));
        let (_, answer) = self.call(opcode, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    /// A BATCH message: 0 is logged, 1 unlogged, 2 of counters.
    pub fn send_batch(
        &mut self,
        kind: u8,
        parts: &[(Words<'_>, &[Bound])],
        stamp: Option<i64>,
    ) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = vec![kind];
        body.extend_from_slice(&u16_len(parts.len()).to_be_bytes());
        for (words, values) in parts {
            match words {
                Words::Text(text) => {
                    body.push(0);
                    push_long_string(&mut body, text);
                }
                Words::Id(id) => {
                    body.push(1);
                    push_short_bytes(&mut body, id);
                }
            }
            push_bound(&mut body, values);
        }
        body.extend_from_slice(&[0, 1, if stamp.is_some() { 0x20 } else { 0 }]);
        body.extend(stamp.iter().flat_map(|stamp| stamp.to_be_bytes()));
        let (_, answer) = self.call(BATCH, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    fn call(&mut self, opcode: u8, body: &[u8]) -> Result<(u8, Vec<u8>), Failure> {
        let mut request = vec![self.version, 0, 0, 0, opcode];
        request.extend_from_slice(&i32_len(body.len()).to_be_bytes());
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if length > 256 << 20 {
                return Err(Failure::Connection(format!("an answer of {length} bytes")));
            }
            let mut answer = vec![0; length as usize];
            self.stream.read_exact(&mut answer)?;
            if head[2..4] == [0xff, 0xff] {
                continue; // an event
            }
            return match head[4] {
                0 => {
                    let mut reader = Reader(&answer);
                    Err(Failure::Server(reader.int()?, reader.string()?))
                }
                opcode => Ok((opcode, skip_warnings(head[1], answer)?)),
            };
        }
    }
}

/// Server warnings (flag 0x08) come before the body proper.
fn skip_warnings(flags: u8, answer: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if flags & 0x08 == 0 {
        return Ok(answer);
    }
    let mut reader = Reader(&answer);
    for _ in 0..reader.short()? {
        reader.string()?;
    }
    Ok(reader.0.to_vec())
}

fn i32_len(length: usize) -> i32 {
    i32::try_from(length).unwrap()
}

fn u16_len(length: usize) -> u16 {
    u16::try_from(length).unwrap()
}

fn push_string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16_len(text.len()).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn push_long_string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&i32_len(text.len()).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn push_short_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(&u16_len(bytes.len()).to_be_bytes());
    body.extend_from_slice(bytes);
}

fn push_bound(body: &mut Vec<u8>, values: &[Bound]) {
    body.extend_from_slice(&u16_len(values.len()).to_be_bytes());
    for value in values {
        let (length, bytes) = match value {
            Bound::Value(bytes) => (i32_len(bytes.len()), &bytes[..]),
            Bound::Null => (-1, &[][..]),
            Bound::Unset => (-2, &[][..]),
        };
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(bytes);
    }
}

/// `<query_parameters>`: consistency ONE, values, page size, paging state; no timestamp.
fn push_parameters(body: &mut Vec<u8>, values: &[Cell], page: Option<&[u8]>) {
    body.extend_from_slice(&1u16.to_be_bytes());
    let has_values = u8::from(!values.is_empty());
    body.push(has_values | 0x04 | if page.is_some() { 0x08 } else { 0 });
    if !values.is_empty() {
        body.extend_from_slice(&u16_len(values.len()).to_be_bytes());
        for value in values {
            let length = value.as_ref().map_or(-1, |v| i32_len(v.len()));
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }
    body.extend_from_slice(&PAGE_ROWS.to_be_bytes());
    if let Some(state) = page {
        body.extend_from_slice(&i32_len(state.len()).to_be_bytes());
        body.extend_from_slice(state);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        if self.0.len() < count {
            return Err(Failure::Connection("an answer ends too early".into()));
        }
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        Ok(head)
    }

    fn short(&mut self) -> Result<u16, Failure> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    fn int(&mut self) -> Result<i32, Failure> {
        let b = self.take(4)?;
        Ok(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn string(&mut self) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(self.short_bytes()?).into_owned())
    }

    fn short_bytes(&mut self) -> Result<&'a [u8], Failure> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    fn bytes(&mut self) -> Result<Cell, Failure> {
        match usize::try_from(self.int()?) {
            Ok(length) => Ok(Some(self.take(length)?.to_vec())),
            Err(_) => Ok(None),
        }
    }

    /// Skips an `[option]`: the type of a column.
    fn skip_type(&mut self) -> Result<(), Failure> {
        match self.short()? {
            0x00 => drop(self.string()?),
            0x20 | 0x22 => self.skip_type()?,
            0x21 => {
                self.skip_type()?;
                self.skip_type()?;
            }
            0x30 => {
                self.string()?;
                self.string()?;
                for _ in 0..self.short()? {
                    self.string()?;
                    self.skip_type()?;
                }
            }
            0x31 => {
                for _ in 0..self.short()? {
                    self.skip_type()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A RESULT body; anything but rows is no rows.
    fn result(&mut self) -> Result<Rows, Failure> {
        if self.int()? != 2 {
            return Ok(Rows::default());
        }
        let flags = self.int()?;
        let columns = self.int()?;
        let next_page = if flags & 0x02 == 0 {
            None
        } else {
            self.bytes()?
        };
        if flags & 0x04 == 0 {
            let global = flags & 0x01 != 0;
            for _ in 0..if global { 2 } else { 0 } {
                self.string()?;
            }
            for _ in 0..columns {
                for _ in 0..if global { 1 } else { 3 } {
                    self.string()?;
                }
                self.skip_type()?;
            }
        }
        let count = self.int()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push(
                (0..columns)
                    .map(|_| self.bytes())
                    .collect::<Result<_, _>>()?,
            );
        }
        Ok(Rows { rows, next_page })
    }
}
