//! Writing the notations of §3.

use core::net::{IpAddr, SocketAddr};

use super::Value;
use crate::column_type::ColumnType;
use crate::consistency::Consistency;
use crate::error::{EncodeError, Notation};

/// Appends to a buffer. The methods do not fail one by one: the first thing that its length field
/// cannot express is remembered, and [`Writer::finish`] reports it.
#[derive(Debug)]
#[must_use = "call finish() to learn whether all could be written"]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    error: Option<EncodeError>,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    #[inline]
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, error: None }
    }

    /// Ends writing.
    ///
    /// # Errors
    /// The first thing that could not be written. What was appended is then of no use.
    #[inline]
    pub const fn finish(self) -> Result<(), EncodeError> {
        match self.error {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// The whole buffer, including what was in it before.
    #[inline]
    #[must_use]
    pub const fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Remembers an error for [`Writer::finish`]; the first one stays.
    #[cold]
    pub const fn fail(&mut self, error: EncodeError) {
        if self.error.is_none() {
            self.error = Some(error);
        }
    }

    #[inline]
    fn short_length(&mut self, length: usize, what: Notation) {
        match u16::try_from(length) {
            Ok(short) => self.short(short),
            Err(_) => self.fail(EncodeError::TooLong { what, length }),
        }
    }

    #[inline]
    fn int_length(&mut self, length: usize, what: Notation) {
        match i32::try_from(length) {
            Ok(int) => self.int(int),
            Err(_) => self.fail(EncodeError::TooLong { what, length }),
        }
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `[byte]`.
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// `[short]`.
    #[inline]
    pub fn short(&mut self, short: u16) {
        self.raw(&short.to_be_bytes());
    }

    /// `[int]`.
    #[inline]
    pub fn int(&mut self, int: i32) {
        self.raw(&int.to_be_bytes());
    }

    /// `[int]` that counts something.
    #[inline]
    pub fn count(&mut self, count: usize, what: Notation) {
        self.int_length(count, what);
    }

    /// `[long]`.
    #[inline]
    pub fn long(&mut self, long: i64) {
        self.raw(&long.to_be_bytes());
    }

    /// `[uuid]`.
    #[inline]
    pub fn uuid(&mut self, uuid: &[u8; 16]) {
        self.raw(uuid);
    }

    /// `[string]`, up to 65,535 bytes.
    #[inline]
    pub fn string(&mut self, text: &str) {
        self.short_length(text.len(), Notation::String);
        self.raw(text.as_bytes());
    }

    /// `[long string]`.
    #[inline]
    pub fn long_string(&mut self, text: &str) {
        self.int_length(text.len(), Notation::LongString);
        self.raw(text.as_bytes());
    }

    /// `[short bytes]`, up to 65,535 bytes.
    #[inline]
    pub fn short_bytes(&mut self, bytes: &[u8]) {
        self.short_length(bytes.len(), Notation::ShortBytes);
        self.raw(bytes);
    }

    /// `[bytes]`; `None` is null.
    #[inline]
    pub fn bytes(&mut self, bytes: Option<&[u8]>) {
        self.value(bytes.into());
    }

    /// `[value]`.
    #[inline]
    pub fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Null => self.int(-1),
            Value::Unset => self.int(-2),
            Value::Bytes(bytes) => {
                self.int_length(bytes.len(), Notation::Value);
                self.raw(bytes);
            }
        }
    }

    /// `[consistency]`.
    #[inline]
    pub fn consistency(&mut self, consistency: Consistency) {
        self.short(consistency.number());
    }

    /// `[inetaddr]`: an address without a port.
    pub fn inet_addr(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.byte(4);
                self.raw(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.byte(16);
                self.raw(&v6.octets());
            }
        }
    }

    /// `[inet]`: address and port.
    pub fn inet(&mut self, address: SocketAddr) {
        self.inet_addr(address.ip());
        self.int(address.port().into());
    }

    /// Counts entries while `each` writes them, and puts the count in front.
    fn counted<T>(
        &mut self,
        entries: impl IntoIterator<Item = T>,
        what: Notation,
        mut each: impl FnMut(&mut Self, T),
    ) {
        let at = self.out.len();
        self.short(0);
        let mut length = 0_usize;
        for entry in entries {
            each(self, entry);
            length += 1;
        }
        match u16::try_from(length) {
            Ok(count) => {
                if let Some(place) = self.out.get_mut(at..at + 2) {
                    place.copy_from_slice(&count.to_be_bytes());
                }
            }
            Err(_) => self.fail(EncodeError::TooLong { what, length }),
        }
    }

    /// `[string list]`.
    pub fn string_list<'s>(&mut self, texts: impl IntoIterator<Item = &'s str>) {
        self.counted(texts, Notation::StringList, |w, text| w.string(text));
    }

    /// `[string map]`.
    pub fn string_map<'s>(&mut self, entries: impl IntoIterator<Item = (&'s str, &'s str)>) {
        self.counted(entries, Notation::StringMap, |w, (key, value)| {
            w.string(key);
            w.string(value);
        });
    }

    /// `[string multimap]`.
    pub fn string_multimap<'s, L>(&mut self, entries: impl IntoIterator<Item = (&'s str, L)>)
    where
        L: IntoIterator<Item = &'s str>,
    {
        self.counted(entries, Notation::StringMultimap, |w, (key, values)| {
            w.string(key);
            w.string_list(values);
        });
    }

    /// `[bytes map]`.
    pub fn bytes_map<'s>(
        &mut self,
        entries: impl IntoIterator<Item = (&'s str, Option<&'s [u8]>)>,
    ) {
        self.counted(entries, Notation::BytesMap, |w, (key, value)| {
            w.string(key);
            w.bytes(value);
        });
    }

    /// `[option]` that names a column type.
    pub fn option(&mut self, column_type: &ColumnType) {
        column_type.encode(self);
    }
}
