//! Records of a statement that comes again and again: what is the same each time is encoded once.
//!
//! A record in nine short pieces costs 17 ns more than the same bytes in three, and as much again
//! when they are read right after (`benches/README.md`, "What the journal costs").

use super::record::{self, Body, FIXED_BYTES, Fixed, Kind, Record, TooLarge};

/// What can be written as the body of a record.
pub trait Encode {
    /// When the client's request arrived, µs since 1970.
    fn arrival_us(&self) -> u64;

    /// Length of the body (bytes).
    fn encoded_len(&self) -> usize;

    /// Writes the body to `out`, which is as long as [`Self::encoded_len`] says.
    ///
    /// # Errors
    /// A field does not fit its length, or `out` is too short.
    fn encode_into(&self, out: &mut [u8]) -> Result<(), TooLarge>;
}

impl Encode for Record<'_> {
    fn arrival_us(&self) -> u64 {
        self.arrival_us
    }

    fn encoded_len(&self) -> usize {
        record::encoded_len(self)
    }

    fn encode_into(&self, out: &mut [u8]) -> Result<(), TooLarge> {
        record::encode_into(self, out).map(|_| ())
    }
}

/// Names and text of a statement, as they stand between the fixed fields and the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head(Box<[u8]>);

impl Head {
    /// That of records with these names and this text.
    ///
    /// # Errors
    /// One of them does not fit its length.
    pub fn new(keyspace: &str, table: &str, text: &str) -> Result<Self, TooLarge> {
        let mut encoded = Vec::new();
        let record = Record {
            sequence: 0,
            arrival_us: 0,
            stamp_us: None,
            kind: Kind::Write,
            version: 4,
            session_keyspace: "",
            keyspace,
            table,
            refusal: None,
            body: Body::Query { text, params: &[] },
        };
        record::encode(&record, &mut encoded)?;
        let end = encoded.len() - size_of::<u32>(); // the length of the parameters
        Ok(Self(encoded[FIXED_BYTES..end].into()))
    }

    /// Memory that it holds (bytes).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.len()
    }
}

/// One write of a statement whose [`Head`] is at hand: the fields of the [`Record`] that it is.
#[derive(Debug, Clone, Copy)]
pub struct Repeated<'a> {
    /// When the client's request arrived, µs since 1970.
    pub arrival_us: u64,
    /// The write timestamp in µs, if the request carries one beside its text.
    pub stamp_us: Option<i64>,
    /// What sort of write it is.
    pub kind: Kind,
    /// Protocol version by whose rules the values are encoded.
    pub version: u8,
    /// Names and text.
    pub head: &'a Head,
    /// `<query_parameters>`, timestamp included.
    pub params: &'a [u8],
}

impl Encode for Repeated<'_> {
    #[inline]
    fn arrival_us(&self) -> u64 {
        self.arrival_us
    }

    #[inline]
    fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.head.0.len() + size_of::<u32>() + self.params.len()
    }

    #[inline]
    fn encode_into(&self, out: &mut [u8]) -> Result<(), TooLarge> {
        let length = u32::try_from(self.params.len()).map_err(|_| TooLarge)?;
        let head = &*self.head.0;
        let (fixed, rest) = out.split_first_chunk_mut().ok_or(TooLarge)?;
        Fixed {
            arrival_us: self.arrival_us,
            stamp_us: self.stamp_us,
            kind: self.kind,
            version: self.version,
            ..Fixed::QUERY
        }
        .put(fixed);
        let (names, rest) = rest.split_at_mut_checked(head.len()).ok_or(TooLarge)?;
        let (before, params) = rest.split_first_chunk_mut().ok_or(TooLarge)?;
        if params.len() != self.params.len() {
            return Err(TooLarge);
        }
        names.copy_from_slice(head);
        *before = length.to_le_bytes();
        params.copy_from_slice(self.params);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_record_that_it_stands_for(
            keyspace in "[a-zé]{0,20}",
            table in "\\PC{0,30}",
            text in "\\PC{0,300}",
            params in proptest::collection::vec(any::<u8>(), 0..300),
            arrival_us: u64,
            stamp_us: Option<i64>,
            counter: bool,
        ) {
            let kind = if counter { Kind::Counter } else { Kind::Write };
            let record = Record {
                sequence: 0,
                arrival_us,
                stamp_us,
                kind,
                version: 4,
                session_keyspace: "",
                keyspace: &keyspace,
                table: &table,
                refusal: None,
                body: Body::Query { text: &text, params: &params },
            };
            let head = Head::new(&keyspace, &table, &text).unwrap();
            let repeated = Repeated {
                arrival_us,
                stamp_us,
                kind,
                version: 4,
                head: &head,
                params: &params,
            };
            prop_assert_eq!(repeated.encoded_len(), record.encoded_len());
            let length = record.encoded_len();
            let (mut one, mut other) = (vec![1; length], vec![2; length]);
            record.encode_into(&mut one).unwrap();
            repeated.encode_into(&mut other).unwrap();
            prop_assert_eq!(one, other);
            let mut short = vec![0; length - 1];
            prop_assert!(repeated.encode_into(&mut short).is_err());
        }
    }

    #[test]
    fn a_name_that_does_not_fit_has_no_head() {
        let long = "n".repeat(usize::from(u16::MAX) + 1);
        assert_eq!(Head::new(&long, "t", ""), Err(TooLarge));
    }
}
