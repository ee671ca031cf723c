//! Collections and user types as bytes of the native protocol (v3 and later): taken apart into
//! elements and put together again, the elements untouched. Pure.

use anyhow::{Context, Result, ensure};

/// Reads `[bytes]` after `[bytes]`.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a> {
    left: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Of a list or set, or the keys and values of a map in turns; and how many elements (entries)
    /// it says it has.
    pub(crate) fn of_collection(bytes: &'a [u8]) -> Result<(usize, Elements<'a>)> {
        let (count, left) = bytes
            .split_first_chunk()
            .context("a collection without length")?;
        let count = usize::try_from(i32::from_be_bytes(*count)).context("a negative count")?;
        Ok((count, Elements { left }))
    }

    /// Of a user type or tuple: the fields, as far as there are any.
    pub(crate) fn of_fields(bytes: &'a [u8]) -> Elements<'a> {
        Elements { left: bytes }
    }

    /// The next element; null is `None`.
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>> {
        let (length, rest) = self
            .left
            .split_first_chunk()
            .context("an element without length")?;
        self.left = rest;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Ok(None);
        };
        ensure!(
            length <= rest.len(),
            "an element is longer than its collection"
        );
        let (element, left) = rest.split_at(length);
        self.left = left;
        Ok(Some(element))
    }

    /// The next element, which must not be null.
    pub(crate) fn next_present(&mut self) -> Result<&'a [u8]> {
        self.next()?.context("a null element")
    }

    /// Whether there are no more.
    pub(crate) fn is_empty(self) -> bool {
        self.left.is_empty()
    }
}

/// Appends `[bytes]`.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // A value came from a message whose length is an i32.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends "not set".
pub(crate) fn put_unset(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-2i32).to_be_bytes());
}

/// Puts a collection together.
pub(crate) struct CollectionWriter {
    bytes: Vec<u8>,
    count: i32,
}

impl CollectionWriter {
    pub(crate) fn new() -> CollectionWriter {
        CollectionWriter {
            bytes: vec![0; 4],
            count: 0,
        }
    }

    /// Adds an element.
    pub(crate) fn element(&mut self, element: &[u8]) {
        put(&mut self.bytes, element);
        self.count += 1;
    }

    /// Adds a map's entry.
    pub(crate) fn entry(&mut self, key: &[u8], value: &[u8]) {
        put(&mut self.bytes, key);
        self.element(value);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes[..4].copy_from_slice(&self.count.to_be_bytes());
        self.bytes
    }
}

/// A `[bytes]` of eight bytes as a number.
pub(crate) fn long(bytes: &[u8]) -> Result<i64> {
    Ok(i64::from_be_bytes(
        bytes.try_into().context("not a bigint")?,
    ))
}

/// A `[bytes]` of four bytes as a number.
pub(crate) fn int(bytes: &[u8]) -> Result<i32> {
    Ok(i32::from_be_bytes(bytes.try_into().context("not an int")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_taken_apart_can_be_put_together() {
        let mut map = CollectionWriter::new();
        map.entry(b"a", b"1");
        map.entry(b"", b"22");
        let bytes = map.finish();
        let (count, mut elements) = Elements::of_collection(&bytes).unwrap();
        assert_eq!(count, 2);
        let all: Vec<_> = std::iter::from_fn(|| {
            (!elements.is_empty()).then(|| elements.next_present().unwrap().to_vec())
        })
        .collect();
        assert_eq!(all, [b"a".to_vec(), b"1".to_vec(), vec![], b"22".to_vec()]);
    }

    #[test]
    fn what_is_cut_short_is_an_error_and_null_is_none() {
        assert!(Elements::of_collection(&[0, 0]).is_err());
        let fields = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, 1];
        let mut elements = Elements::of_fields(&fields);
        assert_eq!(elements.next().unwrap(), None);
        assert!(elements.next().is_err());
    }
}
