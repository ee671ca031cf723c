//! A small blocking CQL client on raw bytes, written for the tests alone: it shares no code with
//! the proxy, so that one mistake cannot hide on both sides. Protocol v3 to v5, no compression.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::noise::frame;

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

/// What a request says beside its statement and values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The default timestamp.
    pub stamp: Option<i64>,
    /// Of each value, if they are given by name; not in a BATCH.
    pub names: &'a [&'a str],
    /// The keyspace of this request alone; v5.
    pub keyspace: Option<&'a str>,
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
    /// Both sides speak in frames: v5, behind the answer to STARTUP.
    framed: bool,
    /// What came in frames and is not read yet.
    unread: Vec<u8>,
    /// What an EXECUTE in v5 must know of the rows, by the statement's id.
    result_ids: HashMap<Vec<u8>, Vec<u8>>,
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
/// What one frame of v5 holds.
const FRAME_MAX: usize = 131_071;

/// A uuid as CQL writes it.
pub fn uuid_text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| hex[part].to_owned()).join("-")
}

impl Cql {
    /// Connects and says STARTUP; waits at most 30 s for any answer.
    pub fn connect(address: SocketAddr) -> Result<Cql, Failure> {
        Self::login(address, SUPERUSER)
    }

    /// As [`Cql::connect`], in this version of the protocol: 3, 4 or 5.
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
        let mut cql = Cql {
            stream,
            version,
            framed: false,
            unread: Vec::new(),
            result_ids: HashMap::new(),
        };
        let mut body = 1u16.to_be_bytes().to_vec();
        for text in ["CQL_VERSION", "3.0.0"] {
            push_string(&mut body, text);
        }
        let answer = cql.call(STARTUP, &body)?;
        cql.framed = version > 4;
        match answer {
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
            self.push_parameters(&mut body, &[], page.as_deref());
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
        body.extend_from_slice(&[0, 1]); // consistency ONE; a serial one follows
        self.push_flags(&mut body, 0x10);
        body.extend_from_slice(&serial.to_be_bytes());
        let (_, answer) = self.call(QUERY, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    /// Prepares a statement; returns its id.
    pub fn prepare(&mut self, text: &str) -> Result<Vec<u8>, Failure> {
        self.prepare_in(text, None)
    }

    /// The same in this keyspace; v5.
    pub fn prepare_in(&mut self, text: &str, keyspace: Option<&str>) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        push_long_string(&mut body, text);
        if self.version > 4 {
            body.extend_from_slice(&u32::from(keyspace.is_some()).to_be_bytes());
        }
        keyspace
            .iter()
            .for_each(|name| push_string(&mut body, name));
        let (_, answer) = self.call(PREPARE, &body)?;
        let mut reader = Reader(&answer);
        let kind = reader.int()?;
        if kind != 4 {
            return Err(Failure::Connection(format!("PREPARE answered kind {kind}")));
        }
        let id = reader.short_bytes()?.to_vec();
        if self.version > 4 {
            let result_id = reader.short_bytes()?.to_vec();
            self.result_ids.insert(id.clone(), result_id);
        }
        Ok(id)
    }

    fn push_id(&self, body: &mut Vec<u8>, id: &[u8]) {
        push_short_bytes(body, id);
        if self.version > 4 {
            let result_id = self.result_ids.get(id);
            push_short_bytes(body, result_id.map_or(&[], |id| &id[..]));
        }
    }

    fn push_flags(&self, body: &mut Vec<u8>, flags: u8) {
        if self.version > 4 {
            body.extend_from_slice(&[0; 3]);
        }
        body.push(flags);
    }

    /// `<query_parameters>`: consistency ONE, values, page size, paging state; no timestamp.
    fn push_parameters(&self, body: &mut Vec<u8>, values: &[Cell], page: Option<&[u8]>) {
        body.extend_from_slice(&1u16.to_be_bytes());
        let has_values = u8::from(!values.is_empty());
        self.push_flags(
            body,
            has_values | 0x04 | if page.is_some() { 0x08 } else { 0 },
        );
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

    /// Executes a prepared statement; the first page of its rows.
    pub fn execute(&mut self, id: &[u8], values: &[Cell]) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = Vec::new();
        self.push_id(&mut body, id);
        self.push_parameters(&mut body, values, None);
        let (_, answer) = self.call(EXECUTE, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    /// A statement with bound values; the first page of its rows.
    pub fn send_with(
        &mut self,
        words: Words<'_>,
        values: &[Bound],
        beside: &Beside<'_>,
    ) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut body = Vec::new();
        let opcode = match words {
            Words::Text(text) => {
                push_long_string(&mut body, text);
                QUERY
            }
            Words::Id(id) => {
                self.push_id(&mut body, id);
                EXECUTE
            }
        };
        body.extend_from_slice(&[0, 1]); // consistency ONE
        let named = if beside.names.is_empty() { 0 } else { 0x40 };
        let has_values = u8::from(!values.is_empty());
        self.push_flags(&mut body, has_values | named | beside.flags());
        if !values.is_empty() {
            push_bound(&mut body, values, beside.names);
        }
        beside.push_end(&mut body);
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
        let beside = Beside {
            stamp,
            ..Beside::default()
        };
        self.send_batch_with(kind, parts, &beside)
    }

    /// The same with all that a request can say.
    pub fn send_batch_with(
        &mut self,
        kind: u8,
        parts: &[(Words<'_>, &[Bound])],
        beside: &Beside<'_>,
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
            push_bound(&mut body, values, &[]);
        }
        body.extend_from_slice(&[0, 1]); // consistency ONE
        self.push_flags(&mut body, beside.flags());
        beside.push_end(&mut body);
        let (_, answer) = self.call(BATCH, &body)?;
        Ok(Reader(&answer).result()?.rows)
    }

    fn call(&mut self, opcode: u8, body: &[u8]) -> Result<(u8, Vec<u8>), Failure> {
        let mut request = vec![self.version, 0, 0, 0, opcode];
        request.extend_from_slice(&i32_len(body.len()).to_be_bytes());
        request.extend_from_slice(body);
        self.write(&request)?;
        loop {
            let mut head = [0; 9];
            self.read(&mut head)?;
            let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if length > 256 << 20 {
                return Err(Failure::Connection(format!("an answer of {length} bytes")));
            }
            let mut answer = vec![0; length as usize];
            self.read(&mut answer)?;
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

impl Cql {
    fn write(&mut self, request: &[u8]) -> Result<(), Failure> {
        if !self.framed {
            return Ok(self.stream.write_all(request)?);
        }
        let whole = request.len() <= FRAME_MAX;
        for part in request.chunks(FRAME_MAX) {
            self.stream.write_all(&frame(part, whole))?;
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Failure> {
        if !self.framed {
            return Ok(self.stream.read_exact(into)?);
        }
        while self.unread.len() < into.len() {
            let mut head = [0; 6];
            self.stream.read_exact(&mut head)?;
            let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) & 0x1_ffff;
            let mut frame = vec![0; length as usize + 4];
            self.stream.read_exact(&mut frame)?;
            frame.truncate(length as usize);
            self.unread.append(&mut frame);
        }
        into.copy_from_slice(&self.unread[..into.len()]);
        self.unread.drain(..into.len());
        Ok(())
    }
}

impl Beside<'_> {
    fn flags(&self) -> u8 {
        u8::from(self.stamp.is_some()) << 5 | u8::from(self.keyspace.is_some()) << 7
    }

    fn push_end(&self, body: &mut Vec<u8>) {
        body.extend(self.stamp.iter().flat_map(|stamp| stamp.to_be_bytes()));
        self.keyspace
            .iter()
            .for_each(|name| push_string(body, name));
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

/// Values, each behind its name if there are `names`.
fn push_bound(body: &mut Vec<u8>, values: &[Bound], names: &[&str]) {
    body.extend_from_slice(&u16_len(values.len()).to_be_bytes());
    for (index, value) in values.iter().enumerate() {
        names
            .get(index)
            .iter()
            .for_each(|name| push_string(body, name));
        let (length, bytes) = match value {
            Bound::Value(bytes) => (i32_len(bytes.len()), &bytes[..]),
            Bound::Null => (-1, &[][..]),
            Bound::Unset => (-2, &[][..]),
        };
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(bytes);
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
