//! Lists and maps that were checked once and are walked as often as wanted, without memory.

use super::Reader;

/// Makes a view with `count` entries whose bytes were checked by the reader; its iterator
/// therefore never meets malformed bytes.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $iter:ident, $item:ty, $next:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct $name<'a> {
            count: u16,
            raw: &'a [u8],
        }

        impl<'a> $name<'a> {
            #[inline]
            pub(super) const fn new(count: u16, raw: &'a [u8]) -> Self {
                Self { count, raw }
            }

            /// Number of entries.
            #[inline]
            #[must_use]
            pub fn len(&self) -> usize {
                self.count.into()
            }

            /// Whether there are no entries.
            #[inline]
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.count == 0
            }

            /// The entries as they lie in the body, without the count.
            #[inline]
            #[must_use]
            pub const fn raw(&self) -> &'a [u8] {
                self.raw
            }

            /// The entries, in the order of the wire.
            #[inline]
            #[must_use]
            pub const fn iter(&self) -> $iter<'a> {
                $iter { left: self.count, reader: Reader::new(self.raw) }
            }
        }

        impl<'a> IntoIterator for $name<'a> {
            type Item = $item;
            type IntoIter = $iter<'a>;
            #[inline]
            fn into_iter(self) -> $iter<'a> {
                self.iter()
            }
        }

        impl<'a> IntoIterator for &$name<'a> {
            type Item = $item;
            type IntoIter = $iter<'a>;
            #[inline]
            fn into_iter(self) -> $iter<'a> {
                self.iter()
            }
        }

        #[doc = concat!("Iterator over [`", stringify!($name), "`].")]
        #[derive(Clone, Debug)]
        pub struct $iter<'a> {
            left: u16,
            reader: Reader<'a>,
        }

        impl<'a> Iterator for $iter<'a> {
            type Item = $item;
            #[inline]
            fn next(&mut self) -> Option<$item> {
                self.left = self.left.checked_sub(1)?;
                let next: fn(&mut Reader<'a>) -> Option<$item> = $next;
                next(&mut self.reader)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                (self.left.into(), Some(self.left.into()))
            }
        }
    };
}

view!(
    /// `[string list]`.
    StringList, StringListIter, &'a str, |r| r.string().ok()
);
view!(
    /// `[string map]`, in the order of the wire.
    StringMap, StringMapIter, (&'a str, &'a str),
    |r| Some((r.string().ok()?, r.string().ok()?))
);
view!(
    /// `[string multimap]`, in the order of the wire.
    StringMultimap, StringMultimapIter, (&'a str, StringList<'a>),
    |r| Some((r.string().ok()?, r.string_list().ok()?))
);
view!(
    /// `[bytes map]`, in the order of the wire.
    BytesMap, BytesMapIter, (&'a str, Option<&'a [u8]>),
    |r| Some((r.string().ok()?, r.bytes().ok()?))
);

impl<'a> StringMap<'a> {
    /// The value of the first entry with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }
}

impl<'a> StringMultimap<'a> {
    /// The values of the first entry with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<StringList<'a>> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, values)| values)
    }
}
