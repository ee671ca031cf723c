//! Checked reading over borrowed bytes.

use core::net::{IpAddr, SocketAddr};

use super::{BytesMap, StringList, StringMap, StringMultimap, Value};
use crate::column_type::{self, TypeView};
use crate::consistency::Consistency;
use crate::error::{DecodeError, Notation, offset};

/// A cursor over bytes. Every method checks; none panics or takes memory. After an error the
/// position is somewhere inside the thing that failed.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    #[must_use]
    pub const fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    /// Offset of the next byte in the bytes given to [`Reader::new`].
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.pos
    }

    /// What is not read yet.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.buf.get(self.pos..).unwrap_or_default()
    }

    /// How many bytes are not read yet.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// The bytes read since the position `start`.
    #[inline]
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.buf.get(start..self.pos).unwrap_or_default()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    #[inline]
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "only says how much is too much"
            )]
            left => Err(DecodeError::Trailing { left: left as u32 }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: Notation) -> Result<[u8; N], DecodeError> {
        let Some(array) = self.rest().first_chunk::<N>() else {
            return Err(self.truncated(what, self.pos));
        };
        self.pos += N;
        Ok(*array)
    }

    /// The next `length` bytes; `start` is where the thing `what` begins.
    #[inline]
    fn slice(
        &mut self,
        length: usize,
        what: Notation,
        start: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let Some(slice) = self.rest().get(..length) else {
            return Err(self.truncated(what, start));
        };
        self.pos += length;
        Ok(slice)
    }

    #[cold]
    #[expect(clippy::unused_self, reason = "keeps the call sites short")]
    fn truncated(&self, what: Notation, at: usize) -> DecodeError {
        DecodeError::Truncated {
            what,
            at: offset(at),
        }
    }

    #[inline]
    fn text(&self, bytes: &'a [u8], what: Notation, at: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 {
            what,
            at: offset(at),
        })
    }

    /// `[byte]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array(Notation::Byte)?;
        Ok(byte)
    }

    /// `[short]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn short(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(Notation::Short)?))
    }

    /// `[int]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array(Notation::Int)?))
    }

    /// `[int]` that counts or measures something, so must not be negative.
    ///
    /// # Errors
    /// Cut short or negative.
    #[inline]
    pub fn count(&mut self, what: Notation) -> Result<usize, DecodeError> {
        let at = offset(self.pos);
        let found = self.int()?;
        usize::try_from(found).map_err(|_| DecodeError::Unknown { what, at, found })
    }

    /// `[long]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array(Notation::Long)?))
    }

    /// `[uuid]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.array(Notation::Uuid)
    }

    /// `[string]`.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.pos;
        let length = self.short()?;
        let bytes = self.slice(length.into(), Notation::String, start)?;
        self.text(bytes, Notation::String, start)
    }

    /// `[long string]`.
    ///
    /// # Errors
    /// Cut short, negative length or not UTF-8.
    #[inline]
    pub fn long_string(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.pos;
        let length = self.count(Notation::LongString)?;
        let bytes = self.slice(length, Notation::LongString, start)?;
        self.text(bytes, Notation::LongString, start)
    }

    /// `[short bytes]`.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.pos;
        let length = self.short()?;
        self.slice(length.into(), Notation::ShortBytes, start)
    }

    /// `[bytes]`: any negative length is null.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let start = self.pos;
        match usize::try_from(self.int()?) {
            Ok(length) => self.slice(length, Notation::Bytes, start).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[value]`: length -1 is null, -2 unset, less is an error.
    ///
    /// # Errors
    /// Cut short or a length below -2.
    #[inline]
    pub fn value(&mut self) -> Result<Value<'a>, DecodeError> {
        let start = self.pos;
        let found = self.int()?;
        match (usize::try_from(found), found) {
            (Ok(length), _) => self.slice(length, Notation::Value, start).map(Value::Bytes),
            (Err(_), -1) => Ok(Value::Null),
            (Err(_), -2) => Ok(Value::Unset),
            _ => Err(DecodeError::Unknown {
                what: Notation::Value,
                at: offset(start),
                found,
            }),
        }
    }

    /// `[consistency]`.
    ///
    /// # Errors
    /// Cut short or no level has this number.
    #[inline]
    pub fn consistency(&mut self) -> Result<Consistency, DecodeError> {
        let at = offset(self.pos);
        let number = self.short()?;
        let (what, found) = (Notation::Consistency, i32::from(number));
        Consistency::from_number(number).ok_or(DecodeError::Unknown { what, at, found })
    }

    /// `[inetaddr]`: an address without a port.
    ///
    /// # Errors
    /// Cut short or neither 4 nor 16 bytes.
    pub fn inet_addr(&mut self) -> Result<IpAddr, DecodeError> {
        let at = offset(self.pos);
        match self.byte()? {
            4 => Ok(IpAddr::from(self.array::<4>(Notation::Inet)?)),
            16 => Ok(IpAddr::from(self.array::<16>(Notation::Inet)?)),
            other => Err(DecodeError::Unknown {
                what: Notation::Inet,
                at,
                found: i32::from(other),
            }),
        }
    }

    /// `[inet]`: address and port.
    ///
    /// # Errors
    /// As [`Reader::inet_addr`], or the port is out of range.
    pub fn inet(&mut self) -> Result<SocketAddr, DecodeError> {
        let address = self.inet_addr()?;
        let at = offset(self.pos);
        let found = self.int()?;
        let port = u16::try_from(found);
        let port = port.map_err(|_| DecodeError::Unknown {
            what: Notation::Inet,
            at,
            found,
        })?;
        Ok(SocketAddr::new(address, port))
    }

    /// `[string list]`, checked item by item.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    #[inline]
    pub fn string_list(&mut self) -> Result<StringList<'a>, DecodeError> {
        let count = self.short()?;
        let start = self.pos;
        for _ in 0..count {
            self.string()?;
        }
        Ok(StringList::new(count, self.since(start)))
    }

    /// `[string map]`, checked entry by entry.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    pub fn string_map(&mut self) -> Result<StringMap<'a>, DecodeError> {
        let count = self.short()?;
        let start = self.pos;
        for _ in 0..count {
            self.string()?;
            self.string()?;
        }
        Ok(StringMap::new(count, self.since(start)))
    }

    /// `[string multimap]`, checked entry by entry.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    pub fn string_multimap(&mut self) -> Result<StringMultimap<'a>, DecodeError> {
        let count = self.short()?;
        let start = self.pos;
        for _ in 0..count {
            self.string()?;
            self.string_list()?;
        }
        Ok(StringMultimap::new(count, self.since(start)))
    }

    /// `[bytes map]`, checked entry by entry.
    ///
    /// # Errors
    /// Cut short or a key is not UTF-8.
    pub fn bytes_map(&mut self) -> Result<BytesMap<'a>, DecodeError> {
        let count = self.short()?;
        let start = self.pos;
        for _ in 0..count {
            self.string()?;
            self.bytes()?;
        }
        Ok(BytesMap::new(count, self.since(start)))
    }

    /// `[option]` that names a column type, checked to its leaves.
    ///
    /// # Errors
    /// Cut short, an unknown type, nested too deep.
    #[inline]
    pub fn option(&mut self) -> Result<TypeView<'a>, DecodeError> {
        let start = self.pos;
        column_type::skip(self, 0)?;
        Ok(TypeView::new(self.since(start)))
    }
}
