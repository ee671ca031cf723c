//! One spilled write: a borrowed view, its encoding, its checked decoding. Pure.

use super::format::{u16_at, u32_at, u64_at};

/// What sort of write a record is, as far as a replay has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Carries a stamp: may be sent again and in any order.
    Write,
    /// Changes a counter: sent at most once.
    Counter,
    /// Appends to or prepends to a list, or writes one: sent at most once, in order.
    List,
    /// Changes the schema: a barrier.
    Ddl,
    /// Empties a table: a barrier.
    Truncate,
}

impl Kind {
    /// Every kind, in the order of the numbers on disk.
    pub const ALL: [Kind; 5] = [
        Kind::Write,
        Kind::Counter,
        Kind::List,
        Kind::Ddl,
        Kind::Truncate,
    ];

    /// The word for it in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Counter => "counter",
            Kind::List => "list",
            Kind::Ddl => "ddl",
            Kind::Truncate => "truncate",
        }
    }

    /// True if all that arrived earlier must be at the target before it, and all later ones after.
    pub fn is_barrier(self) -> bool {
        matches!(self, Kind::Ddl | Kind::Truncate)
    }

    /// True if sending it a second time changes nothing.
    pub fn is_repeatable(self) -> bool {
        !matches!(self, Kind::Counter | Kind::List)
    }

    /// Its number on disk.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Kind::Write => 1,
            Kind::Counter => 2,
            Kind::List => 3,
            Kind::Ddl => 4,
            Kind::Truncate => 5,
        }
    }

    /// The kind with this number.
    pub(crate) fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// What may be done after a try whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Repeat {
    /// Send it again: a stamped write twice is a stamped write once.
    Free,
    /// Send it again one µs later: the same list literal twice with one stamp doubles the elements
    /// (CASSANDRA-11368), with a later stamp it replaces them.
    Bump,
    /// Never: counters, and list operations that depend on what is there.
    Once,
}

/// The target's words when it refused a write, or what left a write in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Error code of the native protocol (section 9), 0 if the words are not the target's.
    pub code: i32,
    /// The words. What goes beyond 65,535 bytes is cut when it is written.
    pub words: &'a str,
    /// True if the target may or may not have applied it: it must not be sent again unseen.
    pub in_doubt: bool,
}

/// A spilled write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the record: segment × 2³² + index. The writer sets it; what a caller gives is
    /// ignored.
    pub sequence: u64,
    /// When the client's request arrived, µs since 1970.
    pub arrival_us: u64,
    /// The write timestamp in µs, if the request carries one beside its text.
    pub stamp_us: Option<i64>,
    /// What sort of write it is.
    pub kind: Kind,
    /// Protocol version by whose rules the values are encoded: 3, 4 or 5.
    pub version: u8,
    /// The keyspace that names without one belong to; empty if the session had none.
    pub session_keyspace: &'a str,
    /// The keyspace written to (of a batch: by the first child), as stored, without quotes; may be
    /// empty.
    pub keyspace: &'a str,
    /// The table written to (of a batch: by the first child), as stored, without quotes; may be
    /// empty.
    pub table: &'a str,
    /// Set when the target refused it for good or may have applied it.
    pub refusal: Option<Refusal<'a>>,
    /// The statement.
    pub body: Body<'a>,
}

/// The statement of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// From a QUERY, or an EXECUTE with its id replaced by the text.
    Query {
        /// CQL text.
        text: &'a str,
        /// `<query_parameters>` of native protocol v4 (section 4.1.4), timestamp included.
        params: &'a [u8],
    },
    /// From a BATCH.
    Batch {
        /// 0 logged, 1 unlogged, 2 counter.
        batch_type: u8,
        /// The statements.
        children: Children<'a>,
        /// The BATCH body of native protocol v4 (section 4.1.7) from `<consistency>` on.
        tail: &'a [u8],
    },
}

/// The statements of a batch: checked, encoded, walked without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Children<'a> {
    count: u16,
    encoded: &'a [u8],
}

impl<'a> Children<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Text and values (`[short n]` and n `[value]`s, as in the BATCH body) of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut cursor = Cursor {
            bytes: self.encoded,
            at: 0,
        };
        std::iter::from_fn(move || Some((cursor.text32()?, cursor.bytes32()?)))
    }

    fn decode(cursor: &mut Cursor<'a>) -> Option<Children<'a>> {
        let count = cursor.u16()?;
        let start = cursor.at;
        for _ in 0..count {
            cursor.text32()?;
            cursor.bytes32()?;
        }
        Some(Children {
            count,
            encoded: cursor.bytes.get(start..cursor.at)?,
        })
    }
}

/// Collects the statements of a batch; may be kept and cleared for the next one.
#[derive(Debug, Clone, Default)]
pub struct ChildrenBuf {
    count: u16,
    encoded: Vec<u8>,
}

impl ChildrenBuf {
    /// Adds a statement. Fails beyond 65,535 statements, which no BATCH can hold.
    pub fn push(&mut self, text: &str, values: &[u8]) -> Result<(), TooLarge> {
        let count = self.count.checked_add(1).ok_or(TooLarge)?;
        let text_bytes = u32::try_from(text.len()).map_err(|_| TooLarge)?;
        let values_bytes = u32::try_from(values.len()).map_err(|_| TooLarge)?;
        self.encoded.extend_from_slice(&text_bytes.to_le_bytes());
        self.encoded.extend_from_slice(text.as_bytes());
        self.encoded.extend_from_slice(&values_bytes.to_le_bytes());
        self.encoded.extend_from_slice(values);
        self.count = count;
        Ok(())
    }

    /// What was collected.
    pub fn children(&self) -> Children<'_> {
        Children {
            count: self.count,
            encoded: &self.encoded,
        }
    }

    /// Forgets what was collected and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.encoded.clear();
    }
}

/// A field does not fit into its length: no request of the protocol can be that large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write is too large for a spill record")]
pub struct TooLarge;

/// Why a body with a good checksum is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record's field {field} is not valid")]
pub struct DecodeError {
    /// Name of the field.
    pub field: &'static str,
}

/// Length of the fields that every record has first.
pub(super) const FIXED_BYTES: usize = 32;
const STAMPED: u8 = 1;
const REJECTED: u8 = 2;
const IN_DOUBT: u8 = 4;
const QUERY: u8 = 1;
const BATCH: u8 = 2;

/// Length of the body that [`encode`] gives.
pub fn encoded_len(record: &Record<'_>) -> usize {
    let words = record.refusal.map_or("", |refusal| cut(refusal.words));
    let names = record.session_keyspace.len() + record.keyspace.len() + record.table.len();
    let statement = match record.body {
        Body::Query { text, params } => 8 + text.len() + params.len(),
        Body::Batch { children, tail, .. } => 7 + children.encoded.len() + tail.len(),
    };
    FIXED_BYTES + 8 + names + words.len() + statement
}

/// Appends the body of `record` to `out`. On failure `out` is as it was.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let start = out.len();
    let done = encode_fields(record, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Writes the body of `record` to the front of `out` and says how long it is: what [`encode`]
/// gives, without memory of its own.
pub fn encode_into(record: &Record<'_>, out: &mut [u8]) -> Result<usize, TooLarge> {
    let mut sink = Front { bytes: out, at: 0 };
    encode_fields(record, &mut sink)?;
    Ok(sink.at)
}

/// Where encoded bytes go.
trait Sink {
    fn put(&mut self, bytes: &[u8]) -> Result<(), TooLarge>;
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

struct Front<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Sink for Front<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let end = self.at + bytes.len();
        let room = self.bytes.get_mut(self.at..end).ok_or(TooLarge)?;
        room.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }
}

/// The fields that every record has first.
pub(super) struct Fixed {
    pub(super) sequence: u64,
    pub(super) arrival_us: u64,
    pub(super) stamp_us: Option<i64>,
    pub(super) kind: Kind,
    pub(super) refused: u8,
    pub(super) version: u8,
    pub(super) shape: u8,
    pub(super) code: i32,
}

impl Fixed {
    /// A statement that nobody has refused.
    pub(super) const QUERY: Self = Self {
        sequence: 0,
        arrival_us: 0,
        stamp_us: None,
        kind: Kind::Write,
        refused: 0,
        version: 4,
        shape: QUERY,
        code: 0,
    };

    /// In words of eight bytes: a checksum reads them so at once, and the processor waits when a
    /// read spans several writes that are still on their way.
    #[inline]
    pub(super) fn put(&self, out: &mut [u8; FIXED_BYTES]) {
        let stamped = self.stamp_us.map_or(0, |_| STAMPED);
        let kind = self.kind.to_byte();
        let low = u32::from_le_bytes([kind, self.refused | stamped, self.version, self.shape]);
        let last = u64::from(low) | u64::from(self.code.cast_unsigned()) << 32;
        let stamp = self.stamp_us.unwrap_or(0).cast_unsigned();
        let words = [self.sequence, self.arrival_us, stamp, last];
        for (place, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }
}

fn encode_fields(record: &Record<'_>, out: &mut impl Sink) -> Result<(), TooLarge> {
    let shape = match record.body {
        Body::Query { .. } => QUERY,
        Body::Batch { .. } => BATCH,
    };
    let refused = match record.refusal {
        None => 0,
        Some(refusal) if refusal.in_doubt => IN_DOUBT,
        Some(_) => REJECTED,
    };
    let words = record.refusal.map_or("", |refusal| cut(refusal.words));
    let mut fixed = [0; FIXED_BYTES];
    Fixed {
        sequence: record.sequence,
        arrival_us: record.arrival_us,
        stamp_us: record.stamp_us,
        kind: record.kind,
        refused,
        version: record.version,
        shape,
        code: record.refusal.map_or(0, |refusal| refusal.code),
    }
    .put(&mut fixed);
    out.put(&fixed)?;
    let names = [record.session_keyspace, record.keyspace, record.table];
    for name in names.into_iter().chain([words]) {
        let length = u16::try_from(name.len()).map_err(|_| TooLarge)?;
        out.put(&length.to_le_bytes())?;
        out.put(name.as_bytes())?;
    }
    match record.body {
        Body::Query { text, params } => {
            put32(out, text.as_bytes())?;
            put32(out, params)
        }
        Body::Batch {
            batch_type,
            children,
            tail,
        } => {
            out.put(&[batch_type])?;
            out.put(&children.count.to_le_bytes())?;
            out.put(children.encoded)?;
            put32(out, tail)
        }
    }
}

/// Reads a body. Never panics, takes no memory; the view borrows from `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let field = |field| DecodeError { field };
    let mut cursor = Cursor {
        bytes,
        at: FIXED_BYTES,
    };
    let byte = |at: usize, name| bytes.get(at).copied().ok_or(field(name));
    let flags = byte(25, "flags")?;
    if flags & !(STAMPED | REJECTED | IN_DOUBT) != 0 || flags & (REJECTED | IN_DOUBT) == 6 {
        return Err(field("flags"));
    }
    let version = byte(26, "version")?;
    if !(3..=5).contains(&version) {
        return Err(field("version"));
    }
    let shape = byte(27, "shape")?;
    let code = i32::from_le_bytes(u32_at(bytes, 28).ok_or(field("code"))?.to_le_bytes());
    let stamp = u64_at(bytes, 16).ok_or(field("stamp"))?;
    let stamp = i64::from_le_bytes(stamp.to_le_bytes());
    if flags & STAMPED == 0 && stamp != 0 {
        return Err(field("stamp"));
    }
    let session_keyspace = cursor.text16().ok_or(field("session keyspace"))?;
    let keyspace = cursor.text16().ok_or(field("keyspace"))?;
    let table = cursor.text16().ok_or(field("table"))?;
    let words = cursor.text16().ok_or(field("reason"))?;
    let refused = flags & (REJECTED | IN_DOUBT) != 0;
    if !refused && (code != 0 || !words.is_empty()) {
        return Err(field("reason"));
    }
    let body = decode_statement(shape, &mut cursor)?;
    if cursor.at != bytes.len() {
        return Err(field("end"));
    }
    Ok(Record {
        sequence: u64_at(bytes, 0).ok_or(field("sequence"))?,
        arrival_us: u64_at(bytes, 8).ok_or(field("arrival"))?,
        stamp_us: (flags & STAMPED != 0).then_some(stamp),
        kind: Kind::from_byte(byte(24, "kind")?).ok_or(field("kind"))?,
        version,
        session_keyspace,
        keyspace,
        table,
        refusal: refused.then_some(Refusal {
            code,
            words,
            in_doubt: flags & IN_DOUBT != 0,
        }),
        body,
    })
}

fn decode_statement<'a>(shape: u8, cursor: &mut Cursor<'a>) -> Result<Body<'a>, DecodeError> {
    let field = |field| DecodeError { field };
    match shape {
        QUERY => Ok(Body::Query {
            text: cursor.text32().ok_or(field("text"))?,
            params: cursor.bytes32().ok_or(field("parameters"))?,
        }),
        BATCH => Ok(Body::Batch {
            batch_type: cursor.u8().filter(|t| *t <= 2).ok_or(field("batch type"))?,
            children: Children::decode(cursor).ok_or(field("batch statements"))?,
            tail: cursor.bytes32().ok_or(field("batch tail"))?,
        }),
        _ => Err(field("shape")),
    }
}

fn put32(out: &mut impl Sink, bytes: &[u8]) -> Result<(), TooLarge> {
    let length = u32::try_from(bytes.len()).map_err(|_| TooLarge)?;
    out.put(&length.to_le_bytes())?;
    out.put(bytes)
}

/// The longest front of `words` that fits, ending between two characters.
fn cut(words: &str) -> &str {
    let limit = usize::from(u16::MAX);
    if words.len() <= limit {
        return words;
    }
    let end = (0..=limit)
        .rev()
        .find(|at| words.is_char_boundary(*at))
        .unwrap_or(0);
    words.get(..end).unwrap_or("")
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn u8(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let number = u16_at(self.bytes, self.at)?;
        self.at += 2;
        Some(number)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn bytes32(&mut self) -> Option<&'a [u8]> {
        let length = u32_at(self.bytes, self.at)?;
        self.at += 4;
        self.take(usize::try_from(length).ok()?)
    }

    fn text32(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes32()?).ok()
    }

    fn text16(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
